"""Maps: drawn points of a set of embeddings, with the numbers that say how far to trust them."""

from geomclip.projections.maps.cloud import PointSet
from geomclip.projections.maps.draw import project, project_pair
from geomclip.projections.maps.record import Map

__all__ = ["Map", "PointSet", "project", "project_pair"]
