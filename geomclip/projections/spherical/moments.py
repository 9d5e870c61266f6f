"""First moments: drawn clouds whose mean vectors have the lengths, and the distance, of the true ones.

Two mean vectors span a plane whatever the dimension, so both have a place in space; and n unit vectors can have any
mean of length at most 1 (n = 1: of length 1). The points are held to it by the nearest points that have that mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

ONE_POINT = 1e-9
"""A cloud whose mean is longer than 1 less this is drawn as one point: it spans less than float32 can tell."""

EXACT = 1e-10
"""How far a mean may be from the wanted one when Newton's method ends."""

ROUNDS = 60


def means_in_space(means: Doubles) -> Doubles:
    """Vectors (g, 3), g 1 or 2, with the lengths and the distance of `means` (g, d): in one plane, halves about x."""
    lengths = np.linalg.norm(means, axis=1)
    if len(means) == 1:
        return np.array([[min(lengths[0], 1.0), 0, 0]])
    # the angle between from a difference of unit vectors, which loses no digits near 0; a mean of 0 has none
    directions = means / np.maximum(lengths, 1e-12)[:, None]
    apart, joint = (np.linalg.norm(directions[0] + sign * directions[1]) for sign in (-1, 1))
    half = np.arctan2(apart, joint) if min(lengths) > 1e-12 else 0.0
    lengths = np.minimum(lengths, 1)
    cosine, sine = np.cos(half), np.sin(half)
    return lengths[:, None] * np.array([[cosine, sine, 0], [cosine, -sine, 0]])


def turned_towards(means: Doubles, start: Doubles) -> Doubles:
    """`means` (g, 3) under the rotation that brings them nearest to those of a start (g, 3)."""
    u, _, v = np.linalg.svd(means.T @ start)
    sign = np.diag([1, 1, np.sign(np.linalg.det(u @ v)) or 1])
    return np.asarray(means @ u @ sign @ v)


@dataclass(frozen=True, eq=False)
class Clouds:
    """Unit rows (n, 3), cloud by cloud: all of them (`means` None), or those whose means are the wanted ones.

    Attributes
    ----------
    slices : sequence of slice
        The rows of each cloud.
    means : ndarray of shape (g, 3), or None
    metric : ndarray of shape (n, 1)
        What a move of each point counts: the product of two moves is Σ metric_i v_i·w_i.
    """

    slices: Sequence[slice]
    means: Doubles | None
    metric: Doubles

    def dot(self, v: Doubles, w: Doubles) -> float:
        """Of two moves (n, 3)."""
        return float((self.metric * v * w).sum())

    def tangent(self, u: Doubles, moves: Doubles) -> Doubles:
        """The part of moves (n, 3) along the sphere that leaves the means where they are, nearest by the metric."""
        along = moves - (moves * u).sum(axis=1, keepdims=True) * u
        if self.means is None:
            return along
        for rows in self.slices:
            # the multiplier: Σ P_i (v_i − λ/metric_i) = 0, P_i the projection on the plane at u_i
            share = 1 / self.metric[rows]
            planes = np.eye(3) * share.sum() - (share * u[rows]).T @ u[rows]
            pull = np.linalg.lstsq(planes, along[rows].sum(axis=0), rcond=1e-9)[0]
            along[rows] -= share * (pull - (u[rows] @ pull)[:, None] * u[rows])
        return along

    def onto(self, y: Doubles) -> Doubles | None:
        """The nearest such unit rows to y (n, 3); None where Newton's method does not find them."""
        if self.means is None:
            return _unit(y)
        found = np.empty_like(y)
        for rows, mean in zip(self.slices, self.means, strict=True):
            shifted = shifted_to(y[rows], mean)
            if shifted is None:
                return None
            found[rows] = shifted
        return found

    def surely_onto(self, y: Doubles) -> Doubles:
        """Unit rows near y whose means are the wanted ones to rounding, whatever y is."""
        if self.means is None:
            return _unit(y)
        found = np.empty_like(y)
        for rows, mean in zip(self.slices, self.means, strict=True):
            shifted = shifted_to(y[rows], mean)
            found[rows] = repaired(_unit(y[rows]), mean) if shifted is None else shifted
        return found


def shifted_to(y: Doubles, mean: Doubles) -> Doubles | None:
    """The nearest unit rows to y (n, 3) with this mean; None where there is no one such.

    They are (y_i + s)/‖y_i + s‖ with one s for all, which minimises the convex mean ‖y_i + s‖ − mean·s: by Newton's
    method, with halved steps. There is none where the minimum lies on a −y_i, whose direction is then free.
    """
    length = float(np.linalg.norm(mean))
    if length > 1 - ONE_POINT:
        return np.tile(mean / length, (len(y), 1))
    s = np.zeros(3)
    value, lengths = _tilted(y, s, mean)
    for _ in range(ROUNDS):
        if lengths.min() < 1e-9:
            return None
        q = (y + s) / lengths
        slope = q.mean(axis=0) - mean
        if np.abs(slope).max() < EXACT:
            return q
        curvature = (np.eye(3) * (1 / lengths).sum() - (q / lengths).T @ q) / len(y)
        step = np.linalg.lstsq(curvature, -slope, rcond=1e-12)[0]
        downhill = float(step @ slope)
        share = 1.0
        while share > 1e-6:
            trial, far = _tilted(y, s + share * step, mean)
            # near the end the values differ by rounding only, and Newton's step is right
            if trial <= value + 1e-4 * share * downhill + 1e-15 * (1 + abs(value)):
                break
            share /= 2
        else:
            return None
        s, value, lengths = s + share * step, trial, far
    return None


def _tilted(y: Doubles, s: Doubles, mean: Doubles) -> tuple[float, Doubles]:
    lengths = np.linalg.norm(y + s, axis=1, keepdims=True)
    return float(lengths.mean() - mean @ s), lengths


def repaired(q: Doubles, mean: Doubles) -> Doubles:
    """Unit rows q (n, 3) with as few as can be moved so that their mean is the wanted one, of length at most 1.

    c of them can have any sum up to length c: they are put evenly on a circle about it, in the order in which they
    lay around. The first are those that point away from where the sum must go.
    """
    n, total = len(q), len(q) * mean
    if n == 1:
        return mean[None] / np.linalg.norm(mean)
    q = q.copy()
    missing: Doubles = total - q.sum(axis=0)
    order = np.argsort(q @ missing, kind="stable")
    count = 2
    while count < n and np.linalg.norm(missing + q[order[:count]].sum(axis=0)) > count:
        count = min(n, 2 * count)
    some = order[:count]
    centre = (missing + q[some].sum(axis=0)) / count
    height = float(np.linalg.norm(centre))
    axis = centre / height if height > 1e-12 else np.array([0.0, 0, 1])
    across = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    across /= np.linalg.norm(across)
    upward = np.cross(axis, across)
    around = np.arctan2(q[some] @ upward, q[some] @ across)
    place = np.empty(count)
    place[np.argsort(around, kind="stable")] = np.arange(count)
    first = around[place == 0][0]
    turn = first + 2 * np.pi * place / count
    ring = np.cos(turn)[:, None] * across + np.sin(turn)[:, None] * upward
    q[some] = min(height, 1.0) * axis + np.sqrt(max(0.0, 1 - height**2)) * ring
    return q


def _unit(y: Doubles) -> Doubles:
    lengths = np.linalg.norm(y, axis=1, keepdims=True)
    return np.asarray(y / np.where(lengths > 0, lengths, 1))
