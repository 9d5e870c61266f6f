"""Where the sphere is seen from: `front_view` of a still picture, far away, and `plotly_camera` of one to turn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from geomclip.projections.maps import Map

Rows = NDArray[np.float64]

APART = math.radians(110)
"""Means that are further from each other are shown in a view each."""

LOOK_DOWN, DISTANCE = math.radians(35), 1.3
"""Cameras are so far above the great circle of the means, which is then seen as a ring and not as a line; plotly's is
so far from the centre, in plotly's units."""


def front_view(map: Map, view: ArrayLike | None = None) -> Rows:
    """Rows right, up and towards the reader (3, 3): a rotation.

    Parameters
    ----------
    map : Map
    view : array of shape (3,), optional
        The direction towards the reader. Left out: both means lie on one ring about the upright axis, which is leant
        35° towards the reader, that of the images left of the middle; of means more than 110° apart each is in the
        middle of the width of a view, as near as can be.

    Raises
    ------
    ValueError
        If `view` has no direction.
    """
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
    up = np.cross(toward, right)
    eye = math.cos(LOOK_DOWN) * toward + math.sin(LOOK_DOWN) * up
    return np.stack([right, np.cross(eye, right), eye])


def back_view(front: Rows) -> Rows:
    """The camera on the other side of the sphere: what left the front view on the right comes in on the left."""
    return front * np.array([[-1.0], [1.0], [-1.0]])


def plotly_camera(map: Map) -> dict[str, Any]:
    """A camera that sees both means, the images' on the left, the way between them across the picture.

    {} where the map has no mean direction: plotly's own.
    """
    means = (map.image_mean, map.text_mean)
    ends = [mean.astype(np.float64) for mean in means if mean is not None and mean.any()]
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
    return {"eye": _by_axis(DISTANCE * eye), "up": _by_axis(top)}


def unit(vector: Any) -> Rows | None:
    """The vector at length 1; None if it has no direction."""
    rows = np.asarray(vector, dtype=np.float64)
    length = float(np.linalg.norm(rows))
    return rows / length if math.isfinite(length) and length > 1e-9 else None


def _by_axis(vector: Rows) -> dict[str, float]:
    return dict(zip("xyz", vector.round(4).tolist(), strict=True))
