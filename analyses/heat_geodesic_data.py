"""Clouds whose true distances are known: Swiss rolls, trees of random walks, and sets with labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import dijkstra
from scipy.spatial.distance import cdist
from scipy.stats import rankdata
from sklearn.datasets import load_digits
from sklearn.neighbors import kneighbors_graph

Floats = NDArray[np.float64]

BRANCHES = 5

QUERIES = 300
"""Rows that are compared with the truth. Sorting all takes longer than most of the methods."""


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points, and what is known of them beforehand.

    Attributes
    ----------
    x : ndarray of shape (n, d)
        With noise.
    truth : ndarray of shape (n, n), or None
        Distances along the cloud without noise.
    labels : ndarray of shape (n,)
        What a figure colours by: the angle on a roll, else the branch, cluster or digit.
    """

    x: Floats
    truth: Floats | None
    labels: NDArray[np.generic]

    @cached_property
    def queries(self) -> NDArray[np.intp]:
        """Rows that measures are averaged over: all up to 300 points, else 300 of them, the same each time."""
        n = len(self.x)
        return np.sort(np.random.default_rng(0).permutation(n)[:QUERIES])

    def others(self, rows: Floats) -> Floats:
        """Rows (q, n) of the queries without their own columns: (q, n − 1)."""
        kept = np.ones(rows.shape, dtype=bool)
        kept[np.arange(len(rows)), self.queries] = False
        return rows[kept].reshape(len(rows), -1)

    @cached_property
    def true_others(self) -> Floats:
        """True distances from each query to the others: (q, n − 1)."""
        if self.truth is None:
            raise ValueError("nothing is known of the true distances")
        return self.others(self.truth[self.queries])

    @cached_property
    def true_ranks(self) -> Floats:
        """Their ranks in each row, from 1 on."""
        return np.asarray(rankdata(self.true_others, axis=1))


def roll(n: int, noise: float, height: float, seed: int) -> Cloud:
    """(t cos t, h, t sin t) + N(0, noise²), t = 1.5π(1 + 2u), h = height·v, u and v uniform; unrolled, a rectangle."""
    draw = np.random.default_rng(seed)
    t = 1.5 * np.pi * (1 + 2 * draw.random(n))
    h = height * draw.random(n)
    x = rolled(t, h) + noise * draw.standard_normal((n, 3))
    flat = np.stack([arc_length(t), h], axis=1)
    return Cloud(x, cdist(flat, flat), t)


def two_on_a_roll(n: int, noise: float, height: float, seed: int) -> Cloud:
    """Two clusters on a roll: t from N(7, 1) and from N(12, 1)."""
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    t = np.where(labels == 0, 7.0, 12.0) + draw.standard_normal(n)
    h = height * draw.random(n)
    x = rolled(t, h) + noise * draw.standard_normal((n, 3))
    flat = np.stack([arc_length(t), h], axis=1)
    return Cloud(x, cdist(flat, flat), labels)


def tree(n: int, noise: float, dimensions: int, seed: int) -> Cloud:
    """Five random walks of n/5 steps, uniform in [−1, 1] on each axis, + N(0, (10 noise)²).

    The first starts at 0 and each other at some point of the first. Distances are those of shortest paths over the
    10 nearest neighbours, without the noise.
    """
    draw = np.random.default_rng(seed)
    length = n // BRANCHES
    trunk = np.cumsum(draw.uniform(-1, 1, (length, dimensions)), axis=0)
    parts = [trunk]
    for _ in range(BRANCHES - 1):
        start = trunk[draw.integers(length)]
        parts.append(start + np.cumsum(draw.uniform(-1, 1, (length, dimensions)), axis=0))
    clean = np.concatenate(parts)
    truth = dijkstra(kneighbors_graph(clean, 10, mode="distance"), directed=False)
    x = clean + 10 * noise * draw.standard_normal(clean.shape)
    return Cloud(x, truth, np.repeat(np.arange(BRANCHES), length))


def digits() -> Cloud:
    """1,797 images of handwritten digits, 8 x 8, that scikit-learn brings."""
    x, labels = load_digits(return_X_y=True)
    return Cloud(x, None, labels)


def rolled(t: Floats, h: Floats) -> Floats:
    """Points (n, 3) of the roll without noise."""
    return np.stack([t * np.cos(t), h, t * np.sin(t)], axis=1)


def arc_length(t: Floats) -> Floats:
    """Of the spiral (t cos t, t sin t) from 0 to t."""
    return (t * np.sqrt(t**2 + 1) + np.arcsinh(t)) / 2


# what `--data` names; the noise of a tree is ten times as large, as in the paper's protocol
KINDS = {
    "roll, height 5": lambda n, noise, seed: roll(n, noise, 5, seed),
    "roll, height 21": lambda n, noise, seed: roll(n, noise, 21, seed),
    "tree, 10-D": lambda n, noise, seed: tree(n, noise, 10, seed),
    "tree, 30-D": lambda n, noise, seed: tree(n, noise, 30, seed),
}
LABELLED = {
    "two on a roll, height 5": lambda n, noise, seed: two_on_a_roll(n, noise, 5, seed),
    "two on a roll, height 21": lambda n, noise, seed: two_on_a_roll(n, noise, 21, seed),
    "tree, 10-D": KINDS["tree, 10-D"],
    "tree, 30-D": KINDS["tree, 30-D"],
    "digits": lambda n, noise, seed: digits(),
}
