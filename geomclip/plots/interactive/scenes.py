"""Scenes: the globe, what a map draws on it, where it is seen from, and how scenes share a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geomclip.plots.arcs import ball, graticule, great_circles
from geomclip.plots.interactive.layouts import arrange
from geomclip.plots.interactive.traces import Hover, coordinates, directions, gap_arrow, go, links, means, points
from geomclip.plots.theme import LINK

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from geomclip.projections.maps import Map

BODY = 0.985
"""Radius of the translucent body, a little below the dots, so that it dims those behind it and cuts none in two."""
LIFT = 1.07
"""Radius of the means and of the gap's arrow: seen from DISTANCE, what is so far above the rim is not hidden by it."""
REACH = 1.1
"""Half the side of the box that a scene shows."""
LOOK_DOWN, DISTANCE = np.radians(20), 1.3
"""The camera is above the great circle of the means, and so far from the centre, in plotly's units."""


def globe() -> list[Any]:
    """The body of the sphere and its net."""
    body = ball()
    return [
        go.Mesh3d(
            **coordinates(BODY * body[0]),
            **dict(zip("ijk", body[1].T.copy(), strict=True)),
            opacity=0.55,
            flatshading=False,
            lighting={"ambient": 1, "diffuse": 0, "specular": 0, "fresnel": 0},
            hoverinfo="skip",
            meta="globe",
            showlegend=False,
        ),
        go.Scatter3d(
            **coordinates(graticule(radius=BODY)),
            mode="lines",
            line={"color": LINK, "width": 1},
            opacity=0.5,
            hoverinfo="skip",
            meta="globe",
            showlegend=False,
        ),
    ]


def on_sphere(map: Map, asked: bool | None, hover: Hover | None) -> list[Any]:
    """The traces of a map on its globe: dots, links, means, arrow."""
    parts = [
        points(map, "image", hover=hover),
        points(map, "text", hover=hover),
        links(map, asked),
        *means(map, lift=LIFT),
    ]
    ends = directions(map)
    if len(ends) == 2:
        parts += gap_arrow(LIFT * great_circles(ends["image"][None], ends["text"][None])[:-1])
    return [part for part in parts if part is not None]


def view(map: Map) -> dict[str, Any]:
    """A camera that sees both means, the images' on the left, the way between them across the picture."""
    ends = [mean.astype(np.float64) for mean in directions(map).values()]
    if not ends:
        return {}
    a, b = ends[0], ends[-1]
    top = np.cross(a, b)
    if np.linalg.norm(top) < 1e-3:  # one direction, or opposite ones: any great circle through them
        top = np.cross(a, np.eye(3)[np.abs(a).argmin()])
    top /= np.linalg.norm(top)
    middle = a + b
    middle = middle if np.linalg.norm(middle) > 1e-3 else np.cross(top, a)
    middle /= np.linalg.norm(middle)
    eye = np.cos(LOOK_DOWN) * middle + np.sin(LOOK_DOWN) * top
    return {"eye": _named(DISTANCE * eye), "up": _named(top)}


def _named(vector: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip("xyz", vector.round(4).tolist(), strict=True))


def arrange_scenes(
    figure: Figure, title: str, *, cameras: dict[str, dict[str, Any]], annotations: list[dict[str, Any]]
) -> None:
    """Scenes without axes, seen from these cameras, with their facts below; two of them turn together."""
    hidden = {"visible": False, "range": [-REACH, REACH], "showspikes": False}
    axes = dict.fromkeys(("xaxis", "yaxis", "zaxis"), hidden)
    for name, camera in cameras.items():
        figure.update_layout({name: {**axes, "aspectmode": "cube", "dragmode": "orbit", "camera": camera}})
    domains = [(f"{name}.domain.x", f"{name}.domain.y") for name in cameras]
    linked = list(cameras) if len(cameras) > 1 else []
    arrange(figure, title, annotations=annotations, domains=domains, linked=linked)
