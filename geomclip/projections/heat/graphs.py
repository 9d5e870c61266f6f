"""Graphs of neighbours that heat flows on, with the lengths of their edges, and their Laplacians."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from geomclip.embeddings.geometry import normalize
from geomclip.metrics.neighborhood import nearest_candidates
from geomclip.projections.neighbors import Neighbors

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

GRAPHS = ("alpha", "knn", "mutual")
LAPLACIANS = ("combinatorial", "normalized", "unit-speed")

SMALLEST_WEIGHT = 1e-4
"""Smaller weights of the alpha-decay kernel are no edge."""

WIDEST = 3
"""The alpha-decay kernel looks at no more than this times k neighbours of a point.

With the usual decay of 40 it ends at 1.06 times the distance of the k-th. In many dimensions, where distances are
much alike, that ball holds a good part of all points.
"""

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


def neighbor_graph(
    x: NDArray[Any],
    *,
    kind: str = "alpha",
    k: int = 10,
    decay: float = 40.0,
    metric: str = "euclidean",
    seed: int = 0,
    near: Neighbors | None = None,
) -> Graph:
    """The graph of neighbours of the rows of x (n, d), which are all different; `near` holds those of x.

    "alpha": weight exp(−(d/ε)^decay), ε the distance of the k-th neighbour, and the mean of the two directions;
    "knn": 1 if one is among the k nearest of the other; "mutual": 1 if each is.

    References
    ----------
    Moon et al. (2019), "Visualizing structure and transitions in high-dimensional biological data" (alpha-decay).
    """
    n = len(x)
    count = min(WIDEST * k, n - 1) if kind == "alpha" else k
    distances, indices = (near or Neighbors(x)).nearest(count, metric=metric, random_state=seed)
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


def row_weights(distances: Floats, decay: float) -> Floats:
    """Rows of the graph for new points: shares (n, k) of the k nearest old points, whose distances these are.

    The alpha-decay kernel over the square of the distance, summing to 1: an old point is its own row, whole.
    """
    nearest_is = np.maximum(distances[:, :1], np.finfo(np.float64).tiny)
    kernel = np.exp(-((distances / np.maximum(distances[:, -1:], nearest_is)) ** decay))
    shares = kernel * (nearest_is / np.maximum(distances, nearest_is)) ** 2
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def nearest_among(new: NDArray[Any], old: NDArray[Any], k: int, metric: str) -> tuple[Floats, Indices]:
    """Distances to the k nearest rows of `old` of each row of `new`, and which they are, nearest first."""
    asking, found = torch.from_numpy(new).double(), torch.from_numpy(old).double()
    if metric == "angular":
        asking, found = normalize(asking)[0], normalize(found)[0]
        candidates = nearest_candidates(asking, found, k)[0].long()
    else:
        center = found.mean(dim=0)
        asking, found = asking - center, found - center
        half = found.square().sum(dim=1, keepdim=True) / 2
        # x·y − ‖y‖²/2 falls as ‖x − y‖ grows
        wide = torch.cat([asking, torch.ones(len(asking), 1, dtype=torch.float64)], dim=1)
        candidates = nearest_candidates(wide, torch.cat([found, -half], dim=1), k)[0].long()
    step = max(1, (1 << 23) // (k * old.shape[1]))  # 64 MB of differences
    pieces = zip(asking.split(step), candidates.split(step), strict=True)
    lengths = torch.cat([torch.linalg.vector_norm(rows[:, None] - found[some], dim=2) for rows, some in pieces])
    lengths, order = lengths.sort(dim=1, stable=True)
    if metric == "angular":
        lengths = 2 * torch.arcsin((lengths / 2).clamp(max=1))  # the angle that spans this chord
    return np.asarray(lengths.numpy()), np.asarray(candidates.gather(1, order).numpy())


def join(graph: Graph, x: NDArray[Any], *, k: int, metric: str) -> Graph:
    """The graph with its components joined by the shortest edges between them.

    Each component but the largest gets its k shortest edges to other points, one for a point, until all are one.
    An edge of length d between points of bandwidths ε and ε' weighs εε'/d²: a walk crosses it as slowly as a
    walk with steps ε would cover the distance.
    """
    while True:
        count, of = graph.components()
        if count == 1:
            return graph
        largest = int(np.bincount(of).argmax())
        ends = [_bridges(x, of == part, k, metric) for part in range(count) if part != largest]
        i, j, far = (np.concatenate([end[axis] for end in ends]) for axis in range(3))
        far = np.maximum(far, np.finfo(np.float32).tiny)
        weight = graph.bandwidths[i] * graph.bandwidths[j] / far**2
        shape = graph.weights.shape
        weights = csr_array(coo_array((weight, (i, j)), shape=shape))
        lengths = csr_array(coo_array((far, (i, j)), shape=shape))
        # two components may have chosen the same edge: a maximum, not a sum
        weights, lengths = weights.maximum(weights.T), lengths.maximum(lengths.T)
        graph = replace(graph, weights=graph.weights.maximum(weights), lengths=graph.lengths.maximum(lengths))


def _bridges(x: NDArray[Any], inside: NDArray[np.bool_], k: int, metric: str) -> tuple[Indices, Indices, Floats]:
    """The k shortest edges from the points inside to others, at most one a point: ends and lengths."""
    here, there = np.flatnonzero(inside), np.flatnonzero(~inside)
    distances, indices = nearest_among(x[here], x[there], 1, metric)
    shortest = np.argsort(distances[:, 0], kind="stable")[:k]
    return here[shortest], there[indices[shortest, 0]], distances[shortest, 0]


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
