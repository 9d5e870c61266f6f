"""A map on the plane: both modalities, matched pairs, means and the gap; two maps on common axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from geomclip.plots.coloring import Coloring, coloring_of
from geomclip.plots.static import marks
from geomclip.plots.static.canvas import (
    COLUMN,
    HEADING,
    INCH,
    MARGIN,
    PAGE,
    POINT,
    Picture,
    drawn,
    finished,
    heading,
    in_columns,
    sheet,
)

if TYPE_CHECKING:
    from geomclip.projections.maps import Map

BETWEEN = 3.0
SHAPES = 0.6, 1.0
"""Height of the field by its width: what is longer is turned by nobody, it gets room beside it."""

ROOM = 0.04
"""Of the larger extent, left free around the points."""


@drawn
def plane(
    map: Map, *, links: bool | None = None, title: str = "", color: str | None = None, width: float = COLUMN
) -> Picture:
    """Images and texts on the plane, matched pairs joined, the gap as an arrow; what the map keeps below.

    Both axes have one scale and no ticks: of most maps neither the directions nor the unit mean anything.

    Parameters
    ----------
    map : Map
        On the plane.
    links : bool, optional
        All, or none. Left out: an even share of at most 200, and the key says so.
    title : str
    color : str, optional
        Column of the images (a name in `Map.attributes`) that gives the colours; images and texts are told apart by
        their signs. Left out: a colour a modality.
    width : float
        Millimetres; text keeps its size.

    Returns
    -------
    Picture
        A matplotlib Figure.

    Raises
    ------
    ValueError
        If the map is not on the plane.
    InputError
        If there is no such column, or it has too many different texts.
    """
    return _planes([map], [""], links=links, title=title, width=width, color=color)


@drawn
def plane_pair(
    before: Map,
    after: Map,
    *,
    links: bool | None = None,
    title: str = "",
    names: Sequence[str] = ("before", "after"),
    color: str | None = None,
    width: float = PAGE,
) -> Picture:
    """Two maps of the same items side by side, at one scale and with the same limits; as `plane` otherwise.

    Raises
    ------
    ValueError
        If a map is not on the plane, or the rows of both are not the same items.
    """
    marks.check_same_rows(before, after)
    return _planes([before, after], names, links=links, title=title, width=width, color=color)


def _planes(
    maps: Sequence[Map], names: Sequence[str], *, links: bool | None, title: str, width: float, color: str | None
) -> Picture:
    for each in maps:
        if each.kind != "plane":
            raise ValueError(
                f"a map of kind {each.kind!r} is not on the plane: draw it with `plots.static.sphere` (a sphere) or "
                "`plots.interactive` (three dimensions)"
            )
    first = maps[0]
    shown = [marks.linked(each, links) for each in maps]
    side = (width - 2 * MARGIN - (len(maps) - 1) * BETWEEN) / len(maps)
    low, high = _limits(maps)
    tall = side * float((high - low)[1] / (high - low)[0])
    head = HEADING if any(names) else 0.0
    colors = coloring_of(first, color)
    figure, (_, bottom, _, share) = sheet(
        width,
        tall + head + marks.room_of(colors),
        title=title,
        key=marks.key_of(first, len(shown[0]), mean=first.text is not None, color=colors),
        facts=in_columns(first.facts(), width) if len(maps) == 1 else [each.facts() for each in maps],
    )
    whole = figure.get_figheight() * INCH
    marks.scale(figure, colors, (bottom + share) * whole)
    share -= marks.room_of(colors) / whole
    for place, (each, name) in enumerate(zip(maps, names, strict=True)):
        x = MARGIN + place * (side + BETWEEN)
        if name:
            heading(figure, (x + side / 2) / width, bottom + share, name, room=side)
        axes = figure.add_axes((x / width, bottom, side / width, tall / whole))
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xticks=[], yticks=[])
        axes.set_aspect("equal")
        axes.grid(visible=False)
        axes.spines[:].set_visible(True)
        axes.spines[:].set_color("#d3d8de")
        unit = side / float((high - low)[0]) / POINT
        _cloud(axes, each, shown[place], area=0.6 * side * tall / POINT**2, unit=unit, color=colors)
    return finished(figure)


def _cloud(axes: Axes, map: Map, shown: NDArray[np.int64], *, area: float, unit: float, color: Coloring | None) -> None:
    image = np.asarray(map.image, dtype=np.float64)
    text = np.zeros((0, 2)) if map.text is None else np.asarray(map.text, dtype=np.float64)
    if len(shown):
        own = np.asarray(map.image_of_text)[shown]
        marks.lines(axes, np.stack([image[own], text[shown]], axis=1), zorder=2)
    # from both modalities in turn: the last drawn would hide the other
    turns = np.concatenate([(np.arange(len(part)) + 0.5) / max(1, len(part)) for part in (image, text)])
    order = np.argsort(turns, kind="stable")
    count = len(order)
    look: dict[str, Any] = {"size": marks.size_of(count, area), "opacity": marks.opacity_of(count), "color": color}
    marks.points(axes, image, text, order, zorder=3, **look)
    if map.text is not None:
        means = {"image": np.asarray(map.image_mean, float), "text": np.asarray(map.text_mean, float)}
        marks.arrow(axes, np.stack(list(means.values())), unit=unit, zorder=4)
        for modality, at in means.items():
            marks.mean(axes, at, modality, zorder=5)


def _limits(maps: Sequence[Map]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest corner (2,) of all points with some room, on a field of a shape within `SHAPES`."""
    rows = np.concatenate([part for each in maps for part in (each.image, each.text) if part is not None])
    low, high = rows.min(0).astype(np.float64), rows.max(0).astype(np.float64)
    reach = float((high - low).max()) or 1.0  # of a single place: a unit about it
    extent = high - low + 2 * ROOM * reach
    flattest, tallest = SHAPES
    extent = np.maximum(extent, [extent[1] / tallest, flattest * extent[0]])
    return (low + high - extent) / 2, (low + high + extent) / 2
