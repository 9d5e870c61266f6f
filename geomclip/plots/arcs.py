"""Lines on the sphere that pictures draw: great circles between points, and the net of the globe."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from geomclip.embeddings.geometry import geodesic_mixup

Rows = NDArray[np.float32]

FINEST, COARSEST = np.radians(5.0), np.radians(45.0)
"""Of the pieces of an arc: at 5 degrees a chord leaves the sphere by a thousandth of the radius, less than a line is
wide; at 45, where very many arcs ask for few points, by an eighth."""
MOST_POINTS = 400_000
MOST_LINKS = 300
"""Links that a page draws unless all are asked for: more hide what they link."""


def linked_rows(count: int, shown: bool | None = None) -> NDArray[np.int64]:
    """Of so many texts those whose link is drawn: all, none, or, left out, an even share of at most MOST_LINKS.

    The share depends on the number alone, so that before and after the same pairs are joined.

    Examples
    --------
    >>> linked_rows(4).tolist(), len(linked_rows(1000)), len(linked_rows(1000, True)), len(linked_rows(1000, False))
    ([0, 1, 2, 3], 300, 1000, 0)
    """
    drawn = 0 if shown is False else count if shown else min(count, MOST_LINKS)
    return np.arange(drawn, dtype=np.int64) * count // max(1, drawn)


def great_circles(start: Rows, end: Rows, *, most_points: int = MOST_POINTS) -> Rows:
    """All arcs from start to end as one line with gaps: a row of NaN after each arc.

    Parameters
    ----------
    start, end : array of shape (m, 3)
        Unit rows. Of antipodal points one of the equal arcs is taken.
    most_points : int
        Beyond it arcs get fewer points, down to pieces of 45 degrees.

    Returns
    -------
    array of shape (points, 3), float32

    Examples
    --------
    >>> line = great_circles(np.eye(3, dtype=np.float32)[:1], np.eye(3, dtype=np.float32)[1:2])
    >>> line.shape, line[9].tolist() == [line[9, 0], line[9, 0], 0], bool(np.isnan(line[-1]).all())
    ((20, 3), True, True)
    """
    if len(start) == 0:
        return np.empty((0, 3), dtype=np.float32)
    angles = np.arccos(np.clip((start * end).sum(1, dtype=np.float64), -1, 1))
    step = FINEST
    while (points := int(np.ceil(angles / step).clip(1).sum()) + 2 * len(angles)) > most_points and step < COARSEST:
        step = min(step * max(1.2, points / most_points), COARSEST)
    pieces = np.ceil(angles / step - 1e-6).clip(1).astype(np.int64)
    owner = np.repeat(np.arange(len(angles)), pieces + 2)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(pieces + 2) - (pieces + 2), pieces + 2)
    # one place beyond the end is the gap
    share = np.where(place > pieces[owner], np.nan, place / pieces[owner])
    return along(start[owner], end[owner], share)


def along(start: Rows, end: Rows, share: float | NDArray[np.float64]) -> Rows:
    """The points at this share of the way from start (0) to end (1) on great circles: (m, 3), float32.

    Examples
    --------
    >>> along(np.eye(3, dtype=np.float32)[:1], np.eye(3, dtype=np.float32)[1:2], 1 / 3)[0].tolist()
    [0.8660253882408142, 0.5, 0.0]
    """
    a, b = (torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float64)) for rows in (start, end))
    part = share if isinstance(share, float | int) else torch.from_numpy(np.asarray(share))
    return geodesic_mixup(b, a, part).numpy().astype(np.float32)


def graticule(every: float = 30.0, *, radius: float = 1.0) -> Rows:
    """Meridians and parallels of the globe, each `every` degrees, as one line with gaps: (points, 3), float32."""
    circle = np.radians(np.arange(0, 361, 4.0))
    gap = np.full((1, 3), np.nan)
    lines = []
    for longitude in np.radians(np.arange(0, 180, every)):
        flat = np.stack([np.cos(circle) * np.cos(longitude), np.cos(circle) * np.sin(longitude), np.sin(circle)], 1)
        lines += [flat, gap]
    for latitude in np.radians(np.arange(every - 90, 90, every)):
        around = np.stack([np.cos(circle), np.sin(circle), np.full_like(circle, np.tan(latitude))], 1)
        lines += [around * np.cos(latitude), gap]
    return (radius * np.concatenate(lines)).astype(np.float32)


def ball(every: float = 7.5) -> tuple[Rows, NDArray[np.int32]]:
    """A sphere of triangles: corners (points, 3) float32, and the corners of each triangle (triangles, 3) int32."""
    around, down = round(360 / every), round(180 / every)
    longitude, colatitude = np.meshgrid(
        np.linspace(0, 2 * np.pi, around, endpoint=False), np.linspace(0, np.pi, down + 1), indexing="xy"
    )
    ring = np.sin(colatitude)
    corners = np.stack([ring * np.cos(longitude), ring * np.sin(longitude), np.cos(colatitude)], axis=-1)
    row, column = (grid.ravel() for grid in np.meshgrid(np.arange(down), np.arange(around), indexing="ij"))
    here, beside = row * around + column, row * around + (column + 1) % around
    below, across = here + around, beside + around
    triangles = np.concatenate([np.stack([here, beside, below], 1), np.stack([beside, across, below], 1)])
    return corners.reshape(-1, 3).astype(np.float32), triangles.astype(np.int32)
