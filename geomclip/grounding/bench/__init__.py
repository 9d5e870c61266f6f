"""A benchmark of grounding that runs on two cores: videos composed of pictures, with repeats that nobody annotated."""
