"""Graphs of neighbours with weights and lengths of their edges, and their Laplacians."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

Floats = NDArray[np.float64]

GRAPHS = ("alpha", "knn", "mutual")
LAPLACIANS = ("combinatorial", "normalized", "unit-speed")

SMALLEST_WEIGHT = 1e-4
"""Smaller weights of the alpha-decay kernel are no edge."""

SLOWEST = 1e-2
"""No mass of the unit-speed Laplacian is less than this share of the median: near-duplicates would make it stiff."""


@dataclass(frozen=True, eq=False)
class Graph:
    """Points and the edges between near ones.

    Attributes
    ----------
    weights, lengths : csr_array of shape (n, n), float64
        Symmetric, the same entries, no diagonal, all positive: how much flows, and how far.
    bandwidths : ndarray of shape (n,)
        The distance of each point's k-th neighbour.
    """

    weights: csr_array
    lengths: csr_array
    bandwidths: Floats

    def components(self) -> tuple[int, NDArray[np.int32]]:
        """How many connected parts there are, and of which each point is."""
        return connected_components(self.weights, directed=False)


def graph_of_neighbors(
    distances: NDArray[Any], indices: NDArray[Any], *, kind: str = "alpha", k: int = 10, decay: float = 40.0
) -> Graph:
    """The graph of n points from the distances (n, count) to neighbours of each, nearest first, and their numbers.

    "alpha": weight exp(−(d/ε)^decay), ε the distance of the k-th neighbour, and the mean of the two directions;
    "knn": 1 if one is among the k nearest of the other; "mutual": 1 if each is. For the last two count is k.

    References
    ----------
    Moon et al. (2019), "Visualizing structure and transitions in high-dimensional biological data" (alpha-decay).
    """
    n = len(distances)
    lengths = np.maximum(distances.astype(np.float64), np.finfo(np.float32).tiny)  # an entry 0 would be no entry
    bandwidths = lengths[:, k - 1]
    weights = np.exp(-((lengths / bandwidths[:, None]) ** decay)) if kind == "alpha" else np.ones_like(lengths)
    kept = weights >= SMALLEST_WEIGHT
    where = (np.nonzero(kept)[0], indices[kept])
    one_way = csr_array((weights[kept], where), shape=(n, n))
    far = csr_array((lengths[kept], where), shape=(n, n))
    far = far.maximum(far.T)
    if kind == "alpha":
        both = (one_way + one_way.T) / 2
    else:
        both = one_way.maximum(one_way.T) if kind == "knn" else one_way.minimum(one_way.T)
        far = far.multiply(both)
    return Graph(csr_array(both), csr_array(far), bandwidths)


def even_density(graph: Graph, power: float) -> Graph:
    """The graph with each weight divided by (q_i q_j)^power, q the sum of a point's weights.

    References
    ----------
    Coifman and Lafon (2006), "Diffusion maps", section 3: power 1 takes the density of points out.
    """
    q = graph.weights.sum(axis=1) ** -power
    return replace(graph, weights=csr_array(graph.weights.multiply(q[:, None]).multiply(q[None, :])))


def masses(graph: Graph, kind: str = "unit-speed") -> Floats:
    """How much heat each point holds at one temperature: the M of `laplacian`, (n,)."""
    degree: Floats = np.asarray(graph.weights.sum(axis=1))
    if kind == "combinatorial":
        return np.ones(len(degree))
    if kind == "normalized":
        return degree
    step = np.asarray(graph.weights.multiply(graph.lengths.power(2)).sum(axis=1)) / degree
    return np.asarray(degree * np.maximum(step, SLOWEST * np.median(step)))


def laplacian(graph: Graph, kind: str = "unit-speed") -> csr_array:
    """L = M^(−1/2) (D − W) M^(−1/2), symmetric, D the sums of the weights W and M the masses of the points.

    "combinatorial": M = 1. "normalized": M = D. "unit-speed": M_i = Σ_j W_ij d_ij², with which the mean square
    step of the heat is 1 a unit of time from every point: by Varadhan's formula its distances are then those of
    the data, up to one factor, and not those of a metric that stretches where points are dense.
    """
    weights, mass = graph.weights, masses(graph, kind)
    scale = 1 / np.sqrt(mass)
    off = csr_array(weights.multiply(scale[:, None]).multiply(scale[None, :]))
    rates = np.asarray(weights.sum(axis=1)) / mass
    return csr_array(csr_array((rates, (np.arange(len(mass)),) * 2), shape=off.shape) - off)
