"""Graphs of neighbours that heat flows on: searched, in one part, and with rows for new points."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from geomclip.embeddings.graphs import Graph, graph_of_neighbors
from geomclip.projections.neighbors import NeighborSearch, nearest_among

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

WIDEST = 3
"""The alpha-decay kernel looks at no more than this times k neighbours of a point.

With the usual decay of 40 it ends at 1.06 times the distance of the k-th. In many dimensions, where distances are
much alike, that ball holds a good part of all points.
"""


def neighbor_graph(
    x: NDArray[Any],
    *,
    kind: str = "alpha",
    k: int = 10,
    decay: float = 40.0,
    metric: str = "euclidean",
    seed: int = 0,
    near: NeighborSearch | None = None,
) -> Graph:
    """`graph_of_neighbors` of the rows of x (n, d), which are all different; `near` holds those of x."""
    n = len(x)
    count = min(WIDEST * k, n - 1) if kind == "alpha" else k
    distances, indices = (near or NeighborSearch(x)).nearest(count, metric=metric, random_state=seed)
    return graph_of_neighbors(distances, indices, kind=kind, k=k, decay=decay)


def row_weights(distances: Floats, decay: float) -> Floats:
    """Rows of the graph for new points: shares (n, k) of the k nearest old points, whose distances these are.

    The alpha-decay kernel over the square of the distance, summing to 1: an old point is its own row, whole.
    """
    nearest_is = np.maximum(distances[:, :1], np.finfo(np.float64).tiny)
    kernel = np.exp(-((distances / np.maximum(distances[:, -1:], nearest_is)) ** decay))
    shares = kernel * (nearest_is / np.maximum(distances, nearest_is)) ** 2
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


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
    distances, indices = nearest_among(x[here].astype(np.float64), x[there].astype(np.float64), 1, metric=metric)
    shortest = np.argsort(distances[:, 0], kind="stable")[:k]
    return here[shortest], there[indices[shortest, 0]], distances[shortest, 0]
