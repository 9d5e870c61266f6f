"""Embeddings: the frozen record of one set, its geometry, exact arithmetic, and stores of it."""
