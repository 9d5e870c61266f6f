"""The sphere as a camera far away sees it: where it stands, what is near, what is behind; arrays in and out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geomclip.plots.arcs import along, graticule

if TYPE_CHECKING:
    from geomclip.projections.maps import Map

Rows = NDArray[np.float64]

APART = math.radians(110)
"""Means that are further from each other are shown in a view each."""

STEPS = 48
"""Segments of a great-circle arc."""


def camera(map: Map, view: ArrayLike | None = None) -> Rows:
    """Rows right, up and towards the reader (3, 3) of the front view: a rotation."""
    north = np.array([0.0, 0.0, 1.0])
    if view is not None:
        toward = unit(np.asarray(view, dtype=np.float64).reshape(-1))
        if toward is None or toward.shape != (3,):
            raise ValueError(f"view is a direction of three numbers that are not all 0, got {view!r}")
        right = unit(np.cross(north, toward))
        right = np.array([1.0, 0.0, 0.0]) if right is None else right
        return np.stack([right, np.cross(toward, right), toward])
    image = unit(map.image_mean)
    text = None if map.text is None else unit(map.text_mean)
    image = north if image is None else image
    text = image if text is None else text
    # the direction in which the great circle leaves the mean image; any, where there is none
    leaving = unit(text - (text @ image) * image)
    if leaving is None:
        leaving = unit(np.cross(north, image))
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
    first, last = (rows.astype(np.float32) for rows in (start, end))
    return np.stack([along(first, last, step / STEPS).astype(np.float64) for step in range(STEPS + 1)], axis=1)


def broken(arcs: Rows, *, near: bool) -> Rows:
    """Right and up (l, s, 2) of arcs (l, s, 3) where they are on the near side (or the far one), NaN elsewhere."""
    away = arcs[..., 2] < 0
    # a vertex stays if a neighbour is on the side: segments that cross the limb are in both
    mine = ~away if near else away
    kept = mine.copy()
    kept[:, 1:] |= mine[:, :-1]
    kept[:, :-1] |= mine[:, 1:]
    return np.where(kept[..., None], arcs[..., :2], np.nan)


def net() -> Rows:
    """Meridians and parallels every 30° as a camera sees them: (l, s, 3).

    They belong to the view, not to the data, whose axes mean nothing: upright, and leant a little towards the reader,
    so that parallels are seen as rings.
    """
    lean = math.radians(18)
    leant = np.array([[1, 0, 0], [0, math.cos(lean), -math.sin(lean)], [0, math.sin(lean), math.cos(lean)]])
    circles = graticule().astype(np.float64)  # about its z axis, with a row of NaN after each circle
    length = int(np.flatnonzero(np.isnan(circles[:, 0]))[0]) + 1
    upright: Rows = circles.reshape(-1, length, 3)[:, :-1][:, :, [1, 2, 0]] @ leant.T
    return upright


def ends(map: Map) -> Rows:
    """The mean directions of images and texts (2, 3); none (0, 3) where one of them has no direction."""
    if map.text is None:
        return np.zeros((0, 3))
    image, text = unit(map.image_mean), unit(map.text_mean)
    return np.zeros((0, 3)) if image is None or text is None else np.stack([image, text])


def unit(vector: Any) -> Rows | None:
    """The vector at length 1; None if it has no direction."""
    rows = np.asarray(vector, dtype=np.float64)
    length = float(np.linalg.norm(rows))
    return rows / length if math.isfinite(length) and length > 1e-9 else None
