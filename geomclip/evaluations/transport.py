"""Transport: clouds of as many points held against each other, and what lies on the way from one to the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def interpolated(start: Floats, end: Floats, share: float) -> Floats:
    """The cloud that is this share of the way from one cloud to another of as many points (m, d), in the order of the
    first: each point moves straight to the one that it is assigned to, so that the squared ways are least in sum.

    References
    ----------
    McCann (1997), "A convexity principle for interacting gases", Advances in Mathematics 128.

    Examples
    --------
    >>> interpolated(np.array([[0.0], [2.0]]), np.array([[4.0], [1.0]]), 0.5)[:, 0].tolist()
    [0.5, 3.0]
    """
    rows, columns = _assigned(_squares(start, end))
    return np.asarray((1 - share) * start[rows] + share * end[columns])


def wasserstein(x: Floats, y: Floats) -> tuple[float, float]:
    """W₁ and W₂ of two clouds of as many points (m, d): the mean way, and the root of the mean squared way, of the
    assignment that makes each least.

    Examples
    --------
    >>> wasserstein(np.array([[0.0], [2.0]]), np.array([[5.0], [1.0]]))
    (2.0, 2.23606797749979)
    """
    squares = _squares(x, y)
    ways = np.sqrt(squares)
    return float(ways[_assigned(ways)].mean()), float(np.sqrt(squares[_assigned(squares)].mean()))


def median_distance(x: Floats) -> float:
    """The median distance of two different points of a cloud (m, d)."""
    return float(np.sqrt(np.median(_squares(x, x)[np.triu_indices(len(x), 1)])))


def mmd_rbf(x: Floats, y: Floats, width: float) -> float:
    """√(mean k(x, x′) − 2 mean k(x, y) + mean k(y, y′)) with k = exp(−d²/(2 width²)) over all pairs, equal ones too.

    From 0 on; for two draws from one distribution of m points each about √((2/m)(1 − mean k)). With a width of 0 (most
    points are equal) k tells only equal points from others.

    References
    ----------
    Gretton et al. (2012), "A kernel two-sample test", JMLR 13.
    """

    def mean(one: Floats, other: Floats) -> float:
        squares = _squares(one, other)
        return float((np.exp(-squares / (2 * width**2)) if width > 0 else squares == 0).mean())

    return float(np.sqrt(max(mean(x, x) - 2 * mean(x, y) + mean(y, y), 0.0)))


def mmd_linear(x: Floats, y: Floats) -> float:
    """The distance of the means: the same with k = xᵀy."""
    return float(np.linalg.norm(x.mean(axis=0) - y.mean(axis=0)))


def _squares(x: Floats, y: Floats) -> Floats:
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(x, y, "sqeuclidean"))


def _assigned(costs: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    from scipy.optimize import linear_sum_assignment

    if costs.shape[0] != costs.shape[1]:
        raise ValueError(f"clouds of {costs.shape[0]} and {costs.shape[1]} points: as many are needed")
    rows, columns = linear_sum_assignment(costs)
    return rows, columns
