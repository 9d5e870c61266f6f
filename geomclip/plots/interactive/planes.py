"""Planes: one map, or two side by side on common axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from geomclip.plots.coloring import Coloring, coloring_of
from geomclip.plots.interactive.layouts import arrange, check_kind, check_same_rows
from geomclip.plots.interactive.traces import HoverText, directions, facts, gap_arrow, go, keys, links, means, points

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from geomclip.projections.maps import Map


def plane(
    map: Map, *, links: bool | None = None, title: str = "", hover: HoverText = None, color: str | None = None
) -> Figure:
    """Both modalities on a plane of equal axes, with links, means and the gap; arguments as `sphere`.

    Raises
    ------
    ValueError
        If the map is not of a plane.
    """
    check_kind(map, "plane")
    figure = go.Figure(on_plane(map, links, hover, coloring_of(map, color)))
    arrange_planes(figure, title, [facts(map)])
    return figure


def plane_pair(
    before: Map,
    after: Map,
    *,
    links: bool | None = None,
    title: str = "",
    hover: HoverText = None,
    names: Sequence[str] = ("before", "after"),
    color: str | None = None,
) -> Figure:
    """The same pairs before and after, side by side: both planes have one scale and move together.

    Raises
    ------
    ValueError
        If a map is not of a plane, or rows are not the same.
    """
    for map in (before, after):
        check_kind(map, "plane")
    check_same_rows(before, after)
    colors = coloring_of(before, color)
    parts = on_plane(before, links, hover, colors)
    for part in on_plane(after, links, hover, colors, key=False):
        parts.append(part.update(xaxis="x2", yaxis="y2", showlegend=False))
    figure = go.Figure(parts)
    arrange_planes(figure, title, [facts(map, name) for map, name in zip((before, after), names, strict=True)])
    return figure


def on_plane(
    map: Map, shown: bool | None, hover: HoverText, color: Coloring | None = None, *, key: bool = True
) -> list[Any]:
    """The traces of a map on its plane: links below, dots, arrow, means; and a key of the colours."""
    parts = [links(map, shown), *(points(map, meta, hover=hover, color=color) for meta in ("image", "text"))]
    ends = directions(map)
    if len(ends) == 2:
        parts += gap_arrow(np.stack([ends["image"], ends["text"]]))
    parts += [*means(map), *(keys(color, flat=True) if key else [])]
    return [part for part in parts if part is not None]


def arrange_planes(figure: Figure, title: str, annotations: list[dict[str, Any]]) -> None:
    """Axes of one scale and without numbers, which mean nothing here; the second plane's are the first's."""
    bare = {"showticklabels": False, "ticks": "", "zeroline": False, "showgrid": False, "title": ""}
    numbers = ("", "2")[: len(annotations)]
    for number in numbers:
        # one scale for x and y; of the second plane by way of the first
        scales = ({"matches": "x"}, {"matches": "y"}) if number else ({}, {"scaleanchor": "x"})
        figure.update_layout(
            {
                f"xaxis{number}": {**bare, "anchor": f"y{number}", **scales[0]},
                f"yaxis{number}": {**bare, "anchor": f"x{number}", **scales[1]},
            }
        )
    domains = [(f"xaxis{number}.domain", f"yaxis{number}.domain") for number in numbers]
    arrange(figure, title, annotations=annotations, domains=domains)
    figure.update_layout(dragmode="pan", hovermode="closest")
