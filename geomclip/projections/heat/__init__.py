"""Heat: distances along the data from the diffusion of heat, and the maps that keep them."""
