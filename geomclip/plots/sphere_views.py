"""A map on the sphere, seen from far away: near side crisp, far side faded, a view of each where both have points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from numpy.typing import ArrayLike, NDArray

from geomclip.plots import marks
from geomclip.plots.arcs import along
from geomclip.plots.canvas import (
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
from geomclip.plots.theme import PALETTES

if TYPE_CHECKING:
    from geomclip.maps import Map

Rows = NDArray[np.float64]

LARGEST, LARGEST_OF_PAIR = 84.0, 70.0
"""Diameter of a sphere in millimetres, at most."""

GAP_BETWEEN = 3.0
APART = math.radians(110)
"""Means that are further from each other are shown in a view each."""

STEPS = 48
"""Segments of a great-circle arc."""

OVER = 0.02
"""Depth behind the limb from which on a point lies on the other side: nearer it is seen from both."""


@drawn
def sphere(
    map: Map, *, links: bool | None = None, title: str = "", view: ArrayLike | None = None, width: float = COLUMN
) -> Picture:
    """Images and texts on the sphere, matched pairs joined along great circles, the gap as an arrow.

    Orthographic. Where points lie on both sides there are two views, of the front and, on the way round to the
    right, of the back; each shows its own hemisphere crisp and the other faded. What the map keeps of the full
    space is printed below.

    Parameters
    ----------
    map : Map
        On the sphere.
    links : bool, optional
        All, or none. Left out: an even share of at most 200, and the key says so.
    title : str
    view : array of shape (3,), optional
        The direction towards the reader. Left out: both means lie on the horizontal, the arrow goes to the right, and
        its middle is in the middle; of means more than 110° apart each is in the middle of a view, as near as can be.
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
    """
    _check(map)
    front = camera(map, view)
    cameras = [front, turned(front)] if _both_sides([map], front) else [front]
    size = min(LARGEST, (width - 2 * MARGIN - (len(cameras) - 1) * GAP_BETWEEN) / len(cameras))
    shown = marks.linked(map, links)
    figure, (_, bottom, _, high) = sheet(
        width,
        size + (_CAPTION if len(cameras) > 1 else 0),
        title=title,
        key=marks.key_of(map, len(shown), mean=_gap(map)),
        facts=in_columns(map.facts(), width),
    )
    left = (width - len(cameras) * size - (len(cameras) - 1) * GAP_BETWEEN) / 2
    for place, (seen, side) in enumerate(zip(cameras, _SIDES, strict=False)):
        axes = _axes(figure, left + place * (size + GAP_BETWEEN), bottom, high, size, width)
        _globe(axes, map, seen, shown, diameter=size)
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
    front = camera(before, view)
    cameras = [front, turned(front)] if _both_sides(maps, front) else [front]
    column = (width - 2 * MARGIN - GAP_BETWEEN) / 2
    size = min(LARGEST_OF_PAIR, column)
    row = size + (_CAPTION if len(cameras) > 1 else 1)
    shown = [marks.linked(each, links) for each in maps]
    figure, (_, bottom, _, high) = sheet(
        width,
        HEADING + len(cameras) * row,
        title=title,
        key=marks.key_of(before, len(shown[0]), mean=_gap(before)),
        facts=[each.facts() for each in maps],
    )
    whole = figure.get_figheight() * 25.4
    for place, (each, name) in enumerate(zip(maps, names, strict=True)):
        x = MARGIN + place * (column + GAP_BETWEEN) + (column - size) / 2
        heading(figure, (x + size / 2) / width, bottom + high, name, room=column)
        for line, (seen, side) in enumerate(zip(cameras, _SIDES, strict=False)):
            base = bottom + (len(cameras) - 1 - line) * row / whole
            axes = _axes(figure, x, base, row / whole, size, width)
            _globe(axes, each, seen, shown[place], diameter=size)
            if len(cameras) > 1:
                _caption(axes, side)
    return finished(figure)


_SIDES = ("front", "back")
_CAPTION = FACT * POINT * 1.6


def camera(map: Map, view: ArrayLike | None = None) -> Rows:
    """Rows right, up and towards the reader (3, 3) of the front view: a rotation."""
    north = np.array([0.0, 0.0, 1.0])
    if view is not None:
        toward = _unit(np.asarray(view, dtype=np.float64).reshape(-1))
        if toward is None or toward.shape != (3,):
            raise ValueError(f"view is a direction of three numbers that are not all 0, got {view!r}")
        right = _unit(np.cross(north, toward))
        right = np.array([1.0, 0.0, 0.0]) if right is None else right
        return np.stack([right, np.cross(toward, right), toward])
    image = _direction(map.image_mean)
    text = None if map.text is None else _direction(map.text_mean)
    image = north if image is None else image
    text = image if text is None else text
    # the direction in which the great circle leaves the mean image; any, where there is none
    leaving = _unit(text - (text @ image) * image)
    if leaving is None:
        leaving = _unit(np.cross(north, image))
        leaving = np.array([1.0, 0.0, 0.0]) if leaving is None else leaving
    between = math.acos(min(1.0, max(-1.0, float(image @ text))))
    angle = (between if between <= APART else between - math.pi) / 2  # of the mean image, left of the middle
    toward = math.cos(angle) * image + math.sin(angle) * leaving
    right = math.cos(angle) * leaving - math.sin(angle) * image
    return np.stack([right, np.cross(toward, right), toward])


def turned(front: Rows) -> Rows:
    """The camera on the other side of the sphere: what left the front view on the right comes in on the left."""
    return front * np.array([[-1.0], [1.0], [-1.0]])


def great_circles(start: Rows, end: Rows) -> Rows:
    """Points of the arcs from `start` to `end` (l, 3): (l, STEPS + 1, 3)."""
    return np.stack([along(start, end, step / STEPS).astype(np.float64) for step in range(STEPS + 1)], axis=1)


def _globe(axes: Axes, map: Map, seen: Rows, shown: NDArray[np.int64], *, diameter: float) -> None:
    """One view of a map: ball, graticule, links, points by depth, arrow and means."""
    colors = PALETTES["light"]
    axes.add_patch(Circle((0, 0), 1, facecolor=colors["globe"], edgecolor="#b9bfc8", linewidth=0.7, zorder=0))
    _graticule(axes, seen)
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
        marks.lines(axes, _broken(arcs, near=False), faded=True, zorder=2)
        marks.lines(axes, _broken(arcs, near=True), zorder=4)
    flat = image[:, :2], text[:, :2]
    marks.points(axes, *flat, order[:behind], size=size * 0.7, opacity=opacity * 0.16, zorder=2.5)
    marks.points(axes, *flat, order[behind:], size=size, opacity=opacity, zorder=5)
    if _gap(map):
        _gap_arrow(axes, map, seen, unit=diameter / 2 / POINT)


def _gap_arrow(axes: Axes, map: Map, seen: Rows, *, unit: float) -> None:
    means = {"image": _direction(map.image_mean), "text": _direction(map.text_mean)}
    assert means["image"] is not None
    assert means["text"] is not None
    arc = great_circles(means["image"][None], means["text"][None]) @ seen.T
    marks.arrow(axes, _broken(arc, near=False)[0], unit=unit, head=False, opacity=0.35, zorder=3)
    marks.arrow(axes, _broken(arc, near=True)[0], unit=unit, zorder=6)
    for modality, at in means.items():
        if (place := at @ seen.T)[2] >= -OVER:
            marks.mean(axes, place[:2], modality, zorder=7)


def _broken(arcs: Rows, *, near: bool) -> Rows:
    """Right and up (l, s, 2) of arcs (l, s, 3) where they are on the near side (or the far one), NaN elsewhere."""
    away = arcs[..., 2] < 0
    # a vertex stays if a neighbour is on the side: segments that cross the limb are in both
    mine = ~away if near else away
    kept = mine.copy()
    kept[:, 1:] |= mine[:, :-1]
    kept[:, :-1] |= mine[:, 1:]
    return np.where(kept[..., None], arcs[..., :2], np.nan)


def _graticule(axes: Axes, seen: Rows) -> None:
    """Meridians and parallels every 30°, about the vertical of the view."""
    around = np.radians(np.arange(0, 361, 3))
    circles = []
    for longitude in np.radians(np.arange(0, 180, 30)):
        flat = np.stack([np.cos(around), np.sin(around)], 1)
        circles.append(np.stack([flat[:, 0] * math.sin(longitude), flat[:, 1], flat[:, 0] * math.cos(longitude)], 1))
    for latitude in np.radians(np.arange(-60, 61, 30)):
        ring = np.cos(latitude)
        circles.append(
            np.stack([ring * np.sin(around), np.full(len(around), np.sin(latitude)), ring * np.cos(around)], 1)
        )
    # tilted a little, so that parallels are seen as rings; the same in both views
    tilt = math.radians(18)
    lean = np.array([[1, 0, 0], [0, math.cos(tilt), -math.sin(tilt)], [0, math.sin(tilt), math.cos(tilt)]])
    net = np.stack(circles) @ lean.T
    for path in _broken(net, near=True):
        axes.plot(*path.T, color="#d3d8de", linewidth=0.4, zorder=1)


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
        raise ValueError(f"a map of kind {map.kind!r} is no sphere: draw it with `plane`, or project with DOSNES")


def _both_sides(maps: Sequence[Map], front: Rows) -> bool:
    rows = [part for each in maps for part in (each.image, each.text) if part is not None]
    return any(bool((_rows(part) @ front[2] < -OVER).any()) for part in rows)


def _gap(map: Map) -> bool:
    """Whether there are two means to join."""
    return map.text is not None and _direction(map.image_mean) is not None and _direction(map.text_mean) is not None


def _rows(rows: Any) -> Rows:
    return np.asarray(rows, dtype=np.float64)


def _direction(mean: Any) -> Rows | None:
    return _unit(np.asarray(mean, dtype=np.float64))


def _unit(vector: Rows) -> Rows | None:
    """The vector at length 1; None if it has no direction."""
    length = float(np.linalg.norm(vector))
    return vector / length if math.isfinite(length) and length > 1e-9 else None
