"""Extraction: pairs through an encoder into a store, in batches that a kill cannot spoil."""
