"""Static pictures by matplotlib, for paper: PNG, SVG, PDF at 85 or 180 mm; the names are those of `interactive`."""

from __future__ import annotations

from geomclip.plots.canvas import save
from geomclip.plots.plane_views import plane, plane_pair
from geomclip.plots.sphere_views import sphere, sphere_pair

__all__ = ["plane", "plane_pair", "save", "sphere", "sphere_pair"]
