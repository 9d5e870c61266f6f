"""The sphere as a camera far away sees it: what is near, what is behind; arrays in and out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from geomclip.plots.arcs import along, graticule
from geomclip.plots.camera import LOOK_DOWN, Rows, unit

if TYPE_CHECKING:
    from geomclip.projections.maps import Map

STEPS = 48
"""Segments of a great-circle arc."""


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

    They belong to the view, not to the data, whose axes mean nothing: the equator is the great circle of both means,
    seen from as far above it as the camera is.
    """
    c, s = math.cos(LOOK_DOWN), math.sin(LOOK_DOWN)
    leant = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
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
