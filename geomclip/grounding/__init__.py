"""Grounding: the moment of a video that a sentence describes."""
