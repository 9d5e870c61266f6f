"""Maps: drawn points of a set of embeddings, with the numbers that say how far to trust them."""

from geomclip.maps.cloud import Cloud
from geomclip.maps.projecting import project, project_pair
from geomclip.maps.record import Map

__all__ = ["Cloud", "Map", "project", "project_pair"]
