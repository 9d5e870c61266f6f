"""geomclip: the geometry of CLIP-like embeddings, measured exactly, seen, and improved by fine-tuning."""

__version__ = "0.1.0"
