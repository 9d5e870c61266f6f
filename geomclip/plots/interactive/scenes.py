"""Scenes: the globe, what a map draws on it, and how scenes share a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geomclip.plots.arcs import ball, graticule, great_circles
from geomclip.plots.coloring import Coloring
from geomclip.plots.interactive.layouts import arrange
from geomclip.plots.interactive.traces import (
    HoverText,
    coordinates,
    directions,
    gap_arrow,
    go,
    keys,
    links,
    means,
    points,
)
from geomclip.plots.theme import LINK

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from geomclip.projections.maps import Map

BODY = 0.985
"""Radius of the translucent body, a little below the dots, so that it dims those behind it and cuts none in two."""
LIFT = 1.07
"""Radius of the means and of the gap's arrow: from `camera.DISTANCE` what is so far above the rim is seen beside it."""
REACH = 1.1
"""Half the side of the box that a scene shows."""


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


def on_sphere(map: Map, shown: bool | None, hover: HoverText, color: Coloring | None = None) -> list[Any]:
    """The traces of a map on its globe: dots, links, means, arrow; and a key of the colours."""
    parts = [
        points(map, "image", hover=hover, color=color),
        points(map, "text", hover=hover, color=color),
        links(map, shown),
        *means(map, lift=LIFT),
    ]
    ends = directions(map)
    if len(ends) == 2:
        parts += gap_arrow(LIFT * great_circles(ends["image"][None], ends["text"][None])[:-1])
    parts += keys(color, flat=False)
    return [part for part in parts if part is not None]


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
