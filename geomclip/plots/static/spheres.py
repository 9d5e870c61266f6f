"""A map on the sphere, seen from far away: near side crisp, far side faded, a view of each where both have points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle
from numpy.typing import ArrayLike, NDArray

from geomclip.plots.camera import Rows, back_view, front_view
from geomclip.plots.coloring import Coloring, coloring_of
from geomclip.plots.static import marks
from geomclip.plots.static.canvas import (
    COLUMN,
    FACT,
    HEADING,
    MARGIN,
    PAGE,
    POINT,
    QUIET,
    Picture,
    drawn,
    finished,
    heading,
    in_columns,
    sheet,
)
from geomclip.plots.static.orthographic import broken, ends, great_circles, net

if TYPE_CHECKING:
    from geomclip.projections.maps import Map

LARGEST, LARGEST_OF_PAIR = 84.0, 70.0
"""Diameter of a sphere in millimetres, at most."""

GAP_BETWEEN = 3.0
SHADES = "#e4e8ee", "#fbfcfd"
"""Of the ball, away from the light and in it."""

FRINGE = 0.05
"""Share of the points that may lie on the other side of a single view, faded: another view would be of them alone."""
OVER = 0.02
"""Depth behind the limb from which on a point lies on the other side: nearer it is seen from both."""


@drawn
def sphere(
    map: Map,
    *,
    links: bool | None = None,
    title: str = "",
    color: str | None = None,
    view: ArrayLike | None = None,
    width: float = COLUMN,
) -> Picture:
    """Images and texts on the sphere, matched pairs joined along great circles, the gap as an arrow.

    Orthographic. Where more than a twentieth of the points lie on the other side there are two views, of the front
    and, on the way round to the right, of the back; each shows its own hemisphere crisp and the other faded. What the
    map keeps of the full space is printed below.

    Parameters
    ----------
    map : Map
        On the sphere.
    links : bool, optional
        All, or none. Left out: an even share of at most 200, and the key says so.
    title : str
    color : str, optional
        Column of the images (a name in `Map.attributes`) that gives the colours; images and texts are told apart by
        their signs. Left out: a colour a modality.
    view : array of shape (3,), optional
        The direction towards the reader. Left out: 35° above the great circle of both means, the arrow goes to the
        right, and its middle is in the middle of the width; of means more than 110° apart each is in the middle of
        the width of a view, as near as can be.
    width : float
        Millimetres; text keeps its size.

    Returns
    -------
    Picture
        A matplotlib Figure.

    Raises
    ------
    ValueError
        If the map is not on the sphere, or `view` has no direction.
    InputError
        If there is no such column, or it has too many different texts.
    """
    _check(map)
    colors = coloring_of(map, color)
    front = front_view(map, view)
    cameras = [front, back_view(front)] if _both_sides([map], front) else [front]
    size = min(LARGEST, (width - 2 * MARGIN - (len(cameras) - 1) * GAP_BETWEEN) / len(cameras))
    shown = marks.linked(map, links)
    figure, (_, bottom, _, high) = sheet(
        width,
        size + (_CAPTION if len(cameras) > 1 else 0) + marks.room_of(colors),
        title=title,
        key=marks.key_of(map, len(shown), mean=len(ends(map)) > 0, color=colors),
        facts=in_columns(map.facts(), width),
    )
    high = _below_scale(figure, colors, bottom, high)
    left = (width - len(cameras) * size - (len(cameras) - 1) * GAP_BETWEEN) / 2
    for place, (seen, side) in enumerate(zip(cameras, _SIDES, strict=False)):
        axes = _axes(figure, left + place * (size + GAP_BETWEEN), bottom, high, size, width)
        _globe(axes, map, seen, shown, diameter=size, color=colors)
        if len(cameras) > 1:
            _caption(axes, side)
    return finished(figure)


@drawn
def sphere_pair(
    before: Map,
    after: Map,
    *,
    links: bool | None = None,
    title: str = "",
    names: Sequence[str] = ("before", "after"),
    color: str | None = None,
    view: ArrayLike | None = None,
    width: float = PAGE,
) -> Picture:
    """Two maps of the same items side by side, seen from the same direction; as `sphere` otherwise.

    The direction is that of `before`, so that what has moved on common axes is seen to have moved; `names` stand
    above the two.

    Raises
    ------
    ValueError
        If a map is not on the sphere, or the rows of both are not the same items.
    """
    maps = before, after
    for each in maps:
        _check(each)
    marks.check_same_rows(before, after)
    colors = coloring_of(before, color)
    front = front_view(before, view)
    cameras = [front, back_view(front)] if _both_sides(maps, front) else [front]
    column = (width - 2 * MARGIN - GAP_BETWEEN) / 2
    size = min(LARGEST_OF_PAIR, column)
    row = size + (_CAPTION if len(cameras) > 1 else 1)
    shown = [marks.linked(each, links) for each in maps]
    figure, (_, bottom, _, high) = sheet(
        width,
        HEADING + len(cameras) * row + marks.room_of(colors),
        title=title,
        key=marks.key_of(before, len(shown[0]), mean=len(ends(before)) > 0, color=colors),
        facts=[each.facts() for each in maps],
    )
    high = _below_scale(figure, colors, bottom, high)
    whole = figure.get_figheight() * 25.4
    for place, (each, name) in enumerate(zip(maps, names, strict=True)):
        x = MARGIN + place * (column + GAP_BETWEEN) + (column - size) / 2
        heading(figure, (x + size / 2) / width, bottom + high, name, room=column)
        for line, (seen, side) in enumerate(zip(cameras, _SIDES, strict=False)):
            base = bottom + (len(cameras) - 1 - line) * row / whole
            axes = _axes(figure, x, base, row / whole, size, width)
            _globe(axes, each, seen, shown[place], diameter=size, color=colors)
            if len(cameras) > 1:
                _caption(axes, side)
    return finished(figure)


_SIDES = ("front", "back")
_CAPTION = FACT * POINT * 1.6


def _below_scale(figure: Picture, color: Coloring | None, bottom: float, high: float) -> float:
    """Draw the scale of colours at the top of a part of the sheet; the height that is left, as a share."""
    whole = figure.get_figheight() * 25.4
    marks.scale(figure, color, (bottom + high) * whole)
    return high - marks.room_of(color) / whole


def _globe(
    axes: Axes, map: Map, seen: Rows, shown: NDArray[np.int64], *, diameter: float, color: Coloring | None = None
) -> None:
    """One view of a map: ball, graticule, links, points by depth, arrow and means."""
    _ball(axes)
    for path in broken(net(), near=True):
        axes.plot(*path.T, color="#d3d8de", linewidth=0.4, zorder=1)
    image = _rows(map.image) @ seen.T  # (n, 3): right, up, depth
    text = _rows(map.text) @ seen.T if map.text is not None else np.zeros((0, 3))
    depth = np.concatenate([image, text])[:, 2]
    order = np.argsort(depth, kind="stable")
    behind = int((depth < -OVER).sum())
    count = len(order)
    size = marks.size_of(count // 2, math.pi * (diameter / 2 / POINT) ** 2)  # the same in both views
    opacity = marks.opacity_of(count)
    if len(shown):
        own = np.asarray(map.image_of_text)[shown]
        arcs = great_circles(_rows(map.image)[own], _rows(map.text)[shown]) @ seen.T
        marks.lines(axes, broken(arcs, near=False), faded=True, zorder=2)
        marks.lines(axes, broken(arcs, near=True), zorder=4)
    flat = image[:, :2], text[:, :2]
    marks.points(axes, *flat, order[:behind], size=size * 0.7, opacity=opacity * 0.16, zorder=2.5, color=color)
    marks.points(axes, *flat, order[behind:], size=size, opacity=opacity, zorder=5, color=color)
    if len(ends(map)):
        _gap_arrow(axes, map, seen, unit=diameter / 2 / POINT)


def _ball(axes: Axes) -> None:
    """The body of the sphere: lit from the upper left, so that it is seen to be round, with its limb."""
    limb = Circle((0, 0), 1, facecolor="none", edgecolor="#b9bfc8", linewidth=0.7, zorder=0.5)
    axes.add_patch(limb)
    place = np.linspace(-1, 1, 96)
    x, y = np.meshgrid(place, place)
    height = np.sqrt(np.clip(1 - x**2 - y**2, 0, 1))
    light = np.clip((-0.35 * x + 0.45 * y + 0.82 * height), 0, 1)[..., None]
    dark, bright = (np.array(to_rgb(shade)) for shade in SHADES)
    axes.imshow(
        dark + light * (bright - dark), extent=(-1, 1, -1, 1), origin="lower", interpolation="bilinear",
        clip_path=limb, zorder=0, aspect="auto",
    )  # fmt: skip


def _gap_arrow(axes: Axes, map: Map, seen: Rows, *, unit: float) -> None:
    means = ends(map)
    arc = great_circles(means[:1], means[1:]) @ seen.T
    marks.arrow(axes, broken(arc, near=False)[0], unit=unit, head=False, opacity=0.35, zorder=3)
    marks.arrow(axes, broken(arc, near=True)[0], unit=unit, zorder=6)
    for modality, at in zip(marks.LOOKS, means @ seen.T, strict=True):
        if at[2] >= -OVER:
            marks.mean(axes, at[:2], modality, zorder=7)


def _axes(figure: Picture, left: float, bottom: float, high: float, size: float, width: float) -> Axes:
    """Square axes of `size` mm at the top of a part of the sheet; the unit circle fills them."""
    whole = figure.get_figheight() * 25.4
    axes = figure.add_axes((left / width, bottom + high - size / whole, size / width, size / whole))
    axes.set(xlim=(-1.02, 1.02), ylim=(-1.02, 1.02), aspect="equal")
    axes.axis("off")
    return axes


def _caption(axes: Axes, name: str) -> None:
    axes.text(0.5, 0, name, transform=axes.transAxes, ha="center", va="top", size=FACT, color=QUIET)


def _check(map: Map) -> None:
    if map.kind != "sphere":
        raise ValueError(f"a map of kind {map.kind!r} is no sphere: draw it with `plane`, or project with angles")


def _both_sides(maps: Sequence[Map], front: Rows) -> bool:
    """Whether more of a map lies behind than a faded fringe."""
    depths = [
        np.concatenate([_rows(part) @ front[2] for part in (each.image, each.text) if part is not None])
        for each in maps
    ]
    return any(float((depth < -OVER).mean()) > FRINGE for depth in depths)


def _rows(rows: Any) -> Rows:
    return np.asarray(rows, dtype=np.float64)
