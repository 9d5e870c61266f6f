"""Static pictures by matplotlib, for paper: PNG, SVG, PDF at 85 or 180 mm; the names are those of `interactive`."""

from __future__ import annotations

from geomclip.plots.static.canvas import save
from geomclip.plots.static.charts import k_occurrence, similarities, spectrum
from geomclip.plots.static.curves import alignment_uniformity, gap_curves, reliability
from geomclip.plots.static.gallery import gallery
from geomclip.plots.static.heat_maps import heat_map, time_line
from geomclip.plots.static.planes import plane, plane_pair
from geomclip.plots.static.spheres import sphere, sphere_pair

__all__ = [
    "alignment_uniformity",
    "gallery",
    "gap_curves",
    "heat_map",
    "k_occurrence",
    "plane",
    "plane_pair",
    "reliability",
    "save",
    "similarities",
    "spectrum",
    "sphere",
    "sphere_pair",
    "time_line",
]
