"""Where points of a spherical map begin: directions of their rows, bent onto the sphere at the right width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

Doubles = NDArray[np.float64]

NOISE = 0.01
"""Of the spread: parts points that would otherwise stay on a line, or in one place."""


def principal(rows: NDArray[np.float32], weight: Doubles, count: int, seed: int | None) -> Doubles:
    """Scores (n, count) of rows along their first singular directions, not centred; 0 for those that are not there."""
    from sklearn.utils.extmath import randomized_svd

    scores = np.zeros((len(rows), count))
    most = min(count, *rows.shape)
    scaled = rows * np.sqrt(weight)[:, None].astype(rows.dtype)
    _, _, directions = randomized_svd(scaled, most, n_iter=4, random_state=seed)
    scores[:, :most] = rows @ directions.T
    return scores


def starts(
    x: NDArray[np.float32], slices: Sequence[slice], means: Doubles, weight: Doubles, seed: int | None
) -> Iterator[Doubles]:
    """Unit rows (n, 3), one way after the other: each cloud about its mean, then all by their directions alone."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(len(x), 3))
    centred, even = np.empty_like(x), np.empty(len(x))
    for rows in slices:
        centred[rows] = x[rows] - x[rows].mean(axis=0, dtype=np.float64).astype(x.dtype)
        even[rows] = weight[rows] / weight[rows].sum()
    scores = principal(centred, even, 2, seed)
    scores += NOISE * max(scores.std(), 1e-6) * noise[:, :2]
    for flat in (scores, scores * [-1, 1], scores[:, ::-1], scores[:, ::-1] * [-1, 1]):
        yield np.concatenate([bent(flat[rows], mean) for rows, mean in zip(slices, means, strict=True)])
    whole = principal(x, even, 3, seed)
    spread = np.sqrt((whole**2).mean(axis=0))
    whole = whole / np.where(spread > 1e-6 * spread[0], spread, np.inf) + NOISE * noise
    yield whole / np.linalg.norm(whole, axis=1, keepdims=True)


def bent(flat: Doubles, mean: Doubles) -> Doubles:
    """Points of a plane (n, 2) on the sphere, about `mean`, and as wide as a cloud with this mean."""
    axis = direction(mean)
    upward = np.eye(3)[2 if abs(axis[2]) < 0.9 else 1]
    upward = upward - (upward @ axis) * axis
    upward /= np.linalg.norm(upward)
    flat = flat - flat.mean(axis=0)
    return wrapped(flat[:, :1] * np.cross(upward, axis) + flat[:, 1:] * upward, mean)


def resized(u: Doubles, mean: Doubles, noise: Doubles) -> Doubles:
    """Unit rows (n, 3) moved to lie about `mean`, as wide as a cloud with this mean; `noise` parts equal ones."""
    here, there = direction(u.mean(axis=0)), direction(mean)
    along = np.clip(u @ here, -1, 1)
    off = u - along[:, None] * here
    far = np.arctan2(np.linalg.norm(off, axis=1), along)
    lengths = np.linalg.norm(off, axis=1)
    moves = off * (far / np.where(lengths > 0, lengths, 1))[:, None]
    if far.max(initial=0) < 1e-6:
        moves = noise - (noise @ here)[:, None] * here
    # the shortest turn that brings here to there: two reflections
    for mirror in (here, direction(here + there)):
        moves = 2 * (moves @ mirror)[:, None] * mirror - moves
    return wrapped(moves, mean)


def wrapped(moves: Doubles, mean: Doubles) -> Doubles:
    """Moves along the sphere at `mean` (n, 3), made longer or shorter by one factor, by the exponential map."""
    axis, far = direction(mean), np.linalg.norm(moves, axis=1)
    angle = np.minimum(_scale(far, float(np.linalg.norm(mean))) * far, np.pi)
    around = moves / np.where(far > 0, far, 1)[:, None]
    return np.asarray(np.cos(angle)[:, None] * axis + np.sin(angle)[:, None] * around)


def carried(start: Doubles, some: NDArray[np.int64], marks: Doubles, slices: Sequence[slice]) -> Doubles:
    """A start (n, 3) moved as its rows `some` were to `marks` (l, 3): by the nearest affine map of each cloud."""
    found, at = start.copy(), np.full_like(start, np.nan)
    at[some] = marks
    for rows in slices:
        known = ~np.isnan(at[rows, 0])
        lifted = np.column_stack([start[rows], np.ones(rows.stop - rows.start)])
        found[rows] = lifted @ np.linalg.lstsq(lifted[known], at[rows][known], rcond=1e-6)[0]
    found[some] = marks
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12))


def direction(mean: Doubles) -> Doubles:
    """Of a vector (3,); that of x where it has none."""
    length = float(np.linalg.norm(mean))
    return mean / length if length > 1e-9 else np.array([1.0, 0, 0])


def _scale(far: Doubles, length: float) -> float:
    """What radii are multiplied by so that the mean of their cosines is the wanted one, as far as it can be."""
    typical = float(np.sqrt((far**2).mean()))
    if not typical or length >= 1:
        return 0.0

    def off(scale: float) -> float:
        return float(np.cos(np.minimum(scale * far, np.pi)).mean()) - length

    high = 1 / typical
    while off(high) > 0 and high < 8 / typical:
        high *= 1.5
    return high if off(high) > 0 else float(brentq(off, 0, high, xtol=1e-9 / typical))
