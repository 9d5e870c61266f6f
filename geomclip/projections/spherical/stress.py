"""Spherical stress: how far great-circle distances of drawn points are from the angles between rows.

½ Σ W_il (θ'_il − θ_il)² over points i and landmarks l, θ' between drawn points and θ between rows. The loops are
numba's: torch and numpy would write each of their ten steps to memory. Every sum belongs to one point and one thread,
so that the number of threads changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Singles = NDArray[np.float32]

BLOCK = 1 << 22
"""Cosines that are turned into angles at a time: 16 MB."""

EVEN = 0.1
"""Part of the weight of a block that goes evenly to its pairs; the rest by the square of their angle. Points far apart
that come to lie together, by which neighbourhoods mix, so cost most: trustworthiness is 0.01 to 0.04 above that of
even weights, at an angle error 1 % above."""

ALONE_UP_TO = 4_000_000
"""Pairs that one thread has done sooner, in 2 ms, than two have met."""


def angles_between(x: Singles, landmarks: NDArray[np.int64]) -> Singles:
    """Angles from all unit rows x (n, d) to some of them: (n, l); of a row with itself exactly 0."""
    n, marks = len(x), np.ascontiguousarray(x[landmarks].T)
    found = np.empty((n, len(landmarks)), dtype=np.float32)
    for first in range(0, n, max(1, BLOCK // len(landmarks))):
        rows = slice(first, first + max(1, BLOCK // len(landmarks)))
        np.matmul(x[rows], marks, out=found[rows])
        np.clip(found[rows], -1, 1, out=found[rows])
        np.arccos(found[rows], out=found[rows])
    found[landmarks, np.arange(len(landmarks))] = 0
    return found


@dataclass(frozen=True, eq=False)
class Stress:
    """The weighted spherical stress of points against landmarks among them.

    W_il = weight_i weight_l (even[g_i, g_l] + steep[g_i, g_l] θ_il²), g the clouds. Points come cloud by cloud. Each
    block, within a cloud or across two, has the same total of W, and all have 1 together; of it the part `EVEN` is
    shared out evenly, and the rest goes by the square of the angle.

    Attributes
    ----------
    angles : ndarray of shape (n, l), float32
    landmarks : ndarray of shape (l,)
        Rows of points, rising.
    group : ndarray of shape (n,)
        The cloud of each point, rising from 0.
    weight : ndarray of shape (n,), float32
    uniform, even, steep : ndarray of shape (g, g), float32
        `uniform` is what W would be of if it were all shared out evenly.
    degree : ndarray of shape (n,)
        Σ_l W_il.
    """

    angles: Singles
    landmarks: NDArray[np.int64]
    group: NDArray[np.int64]
    weight: Singles
    uniform: Singles
    even: Singles
    steep: Singles
    degree: Doubles

    @classmethod
    def of(cls, x: Singles, landmarks: NDArray[np.int64], group: NDArray[np.int64], weight: Doubles) -> Stress:
        """Of unit rows x (n, d) with a cloud and a weight each."""
        clouds, marks = int(group.max()) + 1, weight[landmarks]
        angles = angles_between(x, landmarks)
        ends = _ends(group[landmarks], clouds)
        squares = np.empty((len(x), clouds))
        _squares(angles, marks.astype(np.float32), ends, squares)

        counts = np.zeros((len(x), clouds)) + np.bincount(group[landmarks], marks, clouds)
        counts[landmarks, group[landmarks]] -= marks  # a point with itself is no pair
        rows = np.eye(clouds)[group] * weight[:, None]
        pairs, square = rows.T @ counts, rows.T @ squares  # (g, g)
        there = pairs > 1e-9 * pairs.max()
        # a pair of clouds is one block in two halves
        blocks = (np.trace(there) + there.sum()) / 2
        share = np.where(np.eye(clouds) > 0, 1.0, 0.5) / max(1.0, blocks)
        uniform = np.divide(share, pairs, where=there, out=np.zeros_like(pairs))
        apart = there & (square > 1e-12 * pairs)
        steep = np.divide(share * (1 - EVEN), square, where=apart, out=np.zeros_like(pairs))
        even = np.where(apart, EVEN, 1) * uniform

        degree = weight * (counts * even[group] + squares * steep[group]).sum(axis=1)
        shares = _single(uniform), _single(even), _single(steep)
        return cls(angles, landmarks, group, _single(weight), *shares, degree)

    def __call__(self, u: Doubles) -> tuple[float, Doubles]:
        """½ Σ W (θ' − θ)² of unit rows u (n, 3), all of them landmarks, and its gradient in space (n, 3)."""
        value, gradient = self._of(u, u, self.even, self.steep)
        return value, 2 * gradient  # each pair stands in the table twice

    def about(self, marks: Doubles) -> Callable[[Doubles], tuple[float, Doubles]]:
        """The same for landmarks that stay at `marks` (l, 3)."""

        def value_and_gradient(u: Doubles) -> tuple[float, Doubles]:
            return self._of(u, marks, self.even, self.steep)

        return value_and_gradient

    def root_mean_square(self, u: Doubles) -> float:
        """√ of the mean of (θ' − θ)², in radians: over the pairs of each block by their weights, then over blocks."""
        squares = 2 * self._of(u, u[self.landmarks], self.uniform, np.zeros_like(self.steep))[0]
        return float(np.sqrt(squares))

    def _of(self, u: Doubles, marks: Doubles, even: Singles, steep: Singles) -> tuple[float, Doubles]:
        """½ Σ W (θ' − θ)², and its gradient where the landmarks stay."""
        ends = _ends(self.group[self.landmarks], len(even))
        out = np.empty((4, len(u)), dtype=np.float32)
        column = self.weight[self.landmarks]
        _stress(_single(u.T), _single(marks.T), self.angles, self.group, column, even, steep, ends, out)
        out *= self.weight
        return float(out[3].sum(dtype=np.float64)) / 2, out[:3].T.astype(np.float64)


def _single(values: Doubles) -> Singles:
    return np.ascontiguousarray(values, dtype=np.float32)


def _ends(group: NDArray[np.int64], clouds: int) -> NDArray[np.int64]:
    """Where each cloud begins among the landmarks, and where the last ends: (g + 1,)."""
    return np.concatenate([[0], np.cumsum(np.bincount(group, minlength=clouds))])


@njit(parallel=True, cache=True)
def _squares(angles: Any, column: Any, ends: Any, out: Any) -> None:
    """Σ_l weight_l θ_il² over the landmarks of each cloud, into out (n, g)."""
    for i in prange(len(angles)):
        for cloud in range(len(ends) - 1):
            total = 0.0
            for k in range(ends[cloud], ends[cloud + 1]):
                total += column[k] * angles[i, k] * angles[i, k]
            out[i, cloud] = total


@njit(fastmath=True, cache=True, inline="always")
def _root_arccos(x: Any) -> Any:
    """arccos(x)/√(1 − x) for 0 ≤ x ≤ 1, to 2e-8: Abramowitz and Stegun (1964), 4.4.46."""
    high = np.float32(0.0308918810) + x * (
        np.float32(-0.0170881256) + x * (np.float32(0.0066700901) + x * np.float32(-0.0012624911))
    )
    return np.float32(1.5707963050) + x * (
        np.float32(-0.2145988016) + x * (np.float32(0.0889789874) + x * (np.float32(-0.0501743046) + x * high))
    )


@njit(fastmath=True, cache=True, inline="always")
def _pull(short: Any, angle: Any, weight: Any) -> tuple[Any, Any]:
    """Force along the chord whose half square is `short`, and stress, of two points that an angle belongs between."""
    # 1 − cos and 1 + cos from the chord, which loses no digits near 0
    long = max(np.float32(2) - short, np.float32(0))
    near = min(short, long)
    low = np.sqrt(near)
    bent = low * _root_arccos(np.float32(1) - near)
    off = (bent if short <= np.float32(1) else np.float32(3.1415927) - bent) - angle
    # the tangent part of the chord is sin θ' long
    pull = weight * off
    return pull / max(low * np.sqrt(np.float32(2) - near), np.float32(1e-6)), pull * off


@njit(parallel=True, fastmath=True, cache=True)
def _stress(
    u: Any, marks: Any, angles: Any, group: Any, column: Any, even: Any, steep: Any, ends: Any, out: Any
) -> None:
    """Gradient and stress of every point of u (3, n) into out (4, n)."""
    for i in prange(u.shape[1]):
        x, y, z = u[0, i], u[1, i], u[2, i]
        fx = fy = fz = total = np.float32(0)
        for cloud in range(len(ends) - 1):
            first, last = ends[cloud], ends[cloud + 1]
            mx, my, mz = marks[0, first:last], marks[1, first:last], marks[2, first:last]
            own, weight = angles[i, first:last], column[first:last]
            flat, rise = even[group[i], cloud], steep[group[i], cloud]
            gx = gy = gz = part = np.float32(0)
            for k in range(len(mx)):
                dx, dy, dz = x - mx[k], y - my[k], z - mz[k]
                short = np.float32(0.5) * (dx * dx + dy * dy + dz * dz)
                force, stress = _pull(short, own[k], weight[k] * (flat + rise * own[k] * own[k]))
                part += stress
                gx += force * dx
                gy += force * dy
                gz += force * dz
            total += part
            fx += gx
            fy += gy
            fz += gz
        out[0, i], out[1, i], out[2, i], out[3, i] = fx, fy, fz, total
