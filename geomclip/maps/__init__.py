"""Maps: drawn points of a set of embeddings, with the numbers that say how far to trust them."""

from geomclip.maps.record import Map

__all__ = ["Map"]
