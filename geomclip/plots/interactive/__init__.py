"""Interactive pictures by plotly: the same names and arguments as `geomclip.plots.static`, plotly figures out.

Traces carry `meta` ("image", "text", "link", "mean", "globe") and points carry their row as `customdata`, so that the
script of a page knows what is pointed at. Text given to them is shown as it is: markup in it is escaped.
"""

from __future__ import annotations

from geomclip.plots.interactive.charts import alignment_uniformity, reliability, similarities
from geomclip.plots.interactive.curves import gap_curves, k_occurrence, spectrum
from geomclip.plots.interactive.heat_maps import heat_map, time_line
from geomclip.plots.interactive.planes import plane, plane_pair
from geomclip.plots.interactive.spheres import space, sphere, sphere_pair

__all__ = [
    "alignment_uniformity",
    "gap_curves",
    "heat_map",
    "k_occurrence",
    "plane",
    "plane_pair",
    "reliability",
    "similarities",
    "space",
    "spectrum",
    "sphere",
    "sphere_pair",
    "time_line",
]
