"""The sphere, one or a pair, side by side or as a morph; and maps in space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from geomclip.plots.arcs import along
from geomclip.plots.camera import plotly_camera
from geomclip.plots.coloring import Coloring, coloring_of
from geomclip.plots.interactive import traces
from geomclip.plots.interactive.layouts import check_kind, check_same_rows
from geomclip.plots.interactive.scenes import arrange_scenes, globe, on_sphere
from geomclip.plots.interactive.traces import HoverText, directions, facts, gap_arrow, go, keys, means, plain, points

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from geomclip.projections.maps import Map

MOST_VALUES = 2_000_000
"""Coordinates in all frames of a morph, 4 bytes each: with many points there are fewer frames."""
FRAMES = (6, 25)


def sphere(
    map: Map, *, links: bool | None = None, title: str = "", hover: HoverText = None, color: str | None = None
) -> Figure:
    """Both modalities on a globe that can be turned: pairs joined on great circles, mean directions, the gap's arrow.

    Parameters
    ----------
    map : Map
        Of kind "sphere".
    links : bool, optional
        All, or none. Left out: an even share of at most 300, and the legend says so.
    title : str
    hover : mapping or False, optional
        "image" and "text" to one str a row, shown at the pointer as it is; long ones are cut. False: none is made.
        Left out: ids and captions.
    color : str, optional
        Column of the images (a name in `Map.attributes`) that gives the colours; images and texts are then told apart
        by their signs. Left out: a colour a modality.

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    ValueError
        If the map is not of a sphere.
    InputError
        If there is no such column, or it has too many different texts.
    """
    check_kind(map, "sphere")
    figure = go.Figure([*globe(), *on_sphere(map, links, hover, coloring_of(map, color))])
    arrange_scenes(figure, title, cameras={"scene": plotly_camera(map)}, annotations=[facts(map)])
    return figure


def space(
    map: Map, *, links: bool | None = None, title: str = "", hover: HoverText = None, color: str | None = None
) -> Figure:
    """A map of three coordinates without a globe, with links and means; arguments as `sphere`."""
    check_kind(map, "space")
    colors = coloring_of(map, color)
    dots = [points(map, meta, hover=hover, color=colors) for meta in ("image", "text")]
    parts = [*dots, traces.links(map, links), *means(map), *keys(colors, flat=False)]
    ends = directions(map)
    if len(ends) == 2:
        parts += gap_arrow(np.stack([ends["image"], ends["text"]]))
    figure = go.Figure([part for part in parts if part is not None])
    arrange_scenes(figure, title, cameras={"scene": {}}, annotations=[facts(map)])
    for axis in ("xaxis", "yaxis", "zaxis"):
        figure.update_scenes({axis: {"range": None, "title": "", "visible": True, "showticklabels": False}})
    figure.update_scenes(aspectmode="data")
    return figure


def sphere_pair(
    before: Map,
    after: Map,
    *,
    links: bool | None = None,
    title: str = "",
    hover: HoverText = None,
    names: Sequence[str] = ("before", "after"),
    morph: bool = False,
    color: str | None = None,
) -> Figure:
    """The same pairs before and after: two globes side by side, or one that goes over from one to the other.

    Parameters
    ----------
    before, after : Map
        Of kind "sphere", row i of both the same item.
    links, title, hover, color
        As `sphere`; the column is that of `before`.
    names : sequence of two str
        How both are called.
    morph : bool
        One globe with a slider: every dot goes its great circle, the shortest way. The ends are the maps; what
        lies between is only the way there.

    Returns
    -------
    plotly.graph_objects.Figure
        Two scenes turn together in geomclip's pages (`layout.meta["linked"]`).

    Raises
    ------
    ValueError
        If a map is not of a sphere, or rows are not the same.
    """
    for map in (before, after):
        check_kind(map, "sphere")
    check_same_rows(before, after)
    colors = coloring_of(before, color)
    if morph:
        return _morph(before, after, links, title, hover, names, colors)
    parts = []
    for map, scene in ((before, "scene"), (after, "scene2")):
        own = [*globe(), *on_sphere(map, links, hover, colors)]
        if scene == "scene2":
            own = [part.update(showlegend=False) for part in own if part.meta != "key"]
        parts += [part.update(scene=scene) for part in own]
    figure = go.Figure(parts)
    seen = plotly_camera(before)
    annotations = [facts(map, name) for map, name in zip((before, after), names, strict=True)]
    arrange_scenes(figure, title, cameras={"scene": seen, "scene2": seen}, annotations=annotations)
    return figure


def _morph(
    before: Map,
    after: Map,
    links: bool | None,
    title: str,
    hover: HoverText,
    names: Sequence[str],
    color: Coloring | None,
) -> Figure:
    key = keys(color, flat=False)
    moving = on_sphere(before, links, hover, color)
    moving = moving[: len(moving) - len(key)]
    still = [*globe(), *key]
    figure = go.Figure([*still, *moving])
    values = sum(part.x.size for part in moving) * 3
    shares = np.linspace(0, 1, int(np.clip(MOST_VALUES // max(values, 1), *FRAMES)))
    place = {part.name: len(still) + index for index, part in enumerate(moving)}
    figure.frames = [_frame(between(before, after, float(share)), place, links, f"{share:.4f}") for share in shares]
    labels = [names[0], *(f"{share:.0%} of the way" for share in shares[1:-1]), names[1]]
    annotations = [facts(map, name) for map, name in zip((before, after), names, strict=True)]
    arrange_scenes(figure, title, cameras={"scene": plotly_camera(before)}, annotations=annotations)
    at_once = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    steps = [
        {"method": "animate", "label": plain(label), "args": [[frame.name], at_once]}
        for frame, label in zip(figure.frames, labels, strict=True)
    ]
    slider = {"active": 0, "steps": steps, "currentvalue": {"visible": True}, "transition": {"duration": 0}}
    below = figure.layout.margin.b
    figure.update_layout(
        sliders=[{**slider, "pad": {"t": below}}], margin_b=below + 90, height=figure.layout.height + 90
    )
    return figure


def between(before: Map, after: Map, share: float) -> Map:
    """The map at this share of the way: every row on its great circle."""
    text = None if before.text is None or after.text is None else along(before.text, after.text, share)
    return before.replace(image=along(before.image, after.image, share), text=text)


def _frame(map: Map, place: dict[str, int], links: bool | None, name: str) -> Any:
    parts = [part for part in on_sphere(map, links, False) if part.name in place]
    moved = [
        {"type": part.type, **{axis: part[axis] for axis in "xyzuvw" if axis in part and part[axis] is not None}}
        for part in parts
    ]
    return go.Frame(data=moved, traces=[place[part.name] for part in parts], name=name)
