"""Static pictures by matplotlib, for paper: PNG, SVG, PDF at 85 or 180 mm; the names are those of `interactive`."""

from __future__ import annotations

from geomclip.plots.canvas import save
from geomclip.plots.charts import k_occurrence, similarities, spectrum
from geomclip.plots.curves import alignment_uniformity, gap_curves, reliability
from geomclip.plots.gallery import gallery
from geomclip.plots.plane_views import plane, plane_pair
from geomclip.plots.sphere_views import sphere, sphere_pair

__all__ = [
    "alignment_uniformity",
    "gallery",
    "gap_curves",
    "k_occurrence",
    "plane",
    "plane_pair",
    "reliability",
    "save",
    "similarities",
    "spectrum",
    "sphere",
    "sphere_pair",
]
