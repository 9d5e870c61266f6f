"""Weights files as people hold them: what is in one, read without trusting it, and whether it fits a model."""
