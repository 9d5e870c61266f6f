"""Captions: words, scores against references, files of captions, and a decoder that writes them."""
