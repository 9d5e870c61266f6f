"""Who is whose neighbour, and how much: affinities of a perplexity or of a fixed bandwidth, made doubly stochastic."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

TOLERANCE = 1e-5
"""How far the sum of a row may be from 1/n when balancing ends, as a share of it."""

AT_HOME = 1e-3
"""What of the affinities of a row goes to the row itself before balancing."""

MOST_ROUNDS = 1000
"""Rounds of balancing; some 20 to 60 are usual."""

BLOCK = 1 << 20
"""Entries that are calibrated at a time: 8 MB."""


def of_perplexity(distances: NDArray[Any], indices: NDArray[Any], perplexity: float) -> sparse.csr_array:
    """t-SNE's affinities of nearest neighbours: (n, n) sparse and symmetric, its rows about 1.

    p_j|i ∝ exp(−β_i d_ij²), with β_i such that the entropy of row i is log(perplexity); then (p_j|i + p_i|j)/2.

    Parameters
    ----------
    distances, indices : ndarray of shape (n, k)
        The k nearest others of every row, as of `neighbors.nearest`.
    perplexity : float
        1 to k: the number of neighbours that count. Where more than that are equally near, they count alike.

    References
    ----------
    van der Maaten and Hinton (2008), "Visualizing data using t-SNE", JMLR.
    """
    n, k = distances.shape
    shares = np.empty((n, k))
    for first in range(0, n, max(1, BLOCK // k)):
        rows = slice(first, first + max(1, BLOCK // k))
        shares[rows] = calibrated(distances[rows].astype(np.float64) ** 2, np.log(perplexity))
    start = np.arange(0, n * k + 1, k)
    one_way = sparse.csr_array((shares.reshape(-1), indices.reshape(-1), start), shape=(n, n))
    return (one_way + one_way.T).tocsr() / 2


def calibrated(squared: NDArray[np.float64], entropy: float) -> NDArray[np.float64]:
    """Rows (b, k) of exp(−β d²), normalised, with β by bisection on its logarithm."""
    squared = squared - squared.min(axis=1, keepdims=True)
    spread = squared.mean(axis=1, keepdims=True)
    squared = np.divide(squared, spread, out=squared, where=spread > 0)  # equal distances: all 0, and any β will do
    low, high = np.full((len(squared), 1), -10.0), np.full((len(squared), 1), 30.0)  # of log β
    for _ in range(26):  # to 1e-6
        middle = (low + high) / 2
        tilted = np.exp(middle) * squared
        weights = np.exp(-tilted)
        total = weights.sum(axis=1, keepdims=True)
        found = np.log(total) + (tilted * weights).sum(axis=1, keepdims=True) / total
        low, high = np.where(found > entropy, middle, low), np.where(found > entropy, high, middle)
    return weights / total


def of_bandwidth(x: NDArray[Any], bandwidth: float) -> sparse.csr_array:
    """exp(−D²/(2 bandwidth²)) of the squared Euclidean distances D of all pairs: (n, n), all but the diagonal.

    So distances enter by their fourth power, as in the code of Lu et al. with bandwidth 1.

    Raises
    ------
    ValueError
        If a row has no other within reach.
    """
    n = len(x)
    x = (x - x.mean(axis=0)).astype(np.float32)
    square = (x * x).sum(axis=1)
    graph = x @ x.T
    graph *= -2
    graph += square[:, None]
    graph += square
    np.square(graph, out=graph)
    graph *= -0.5 / bandwidth**2
    np.exp(graph, out=graph)
    np.fill_diagonal(graph, 0)
    graph = np.maximum(graph, graph.T)  # rounding
    alone = graph.sum(axis=1) == 0
    if alone.any():
        raise ValueError(
            f"row {int(alone.argmax())} has no other within reach of bandwidth={bandwidth:g} ({int(alone.sum())} such "
            "rows): take a larger one, unit rows, or a perplexity"
        )
    others = ~np.eye(n, dtype=bool)
    indices = np.broadcast_to(np.arange(n, dtype=np.int32), (n, n))[others]
    return sparse.csr_array((graph[others].astype(np.float64), indices, np.arange(n + 1) * (n - 1)), shape=(n, n))


def balanced(graph: sparse.csr_array) -> tuple[sparse.csr_array, NDArray[np.float64]]:
    """P_ij = a_i (graph + ε I)_ij a_j, whose rows and columns sum to 1/n: P less its diagonal, and its diagonal.

    Without ε there may be no such a: nine points whose only neighbour is a tenth cannot give it 1/10 each. With it,
    what the graph cannot place a point keeps for itself; elsewhere the diagonal stays near ε/n.

    Parameters
    ----------
    graph : sparse array of shape (n, n)
        Symmetric, not negative, without a diagonal, no row all zero.

    Returns
    -------
    graph : sparse array of shape (n, n), symmetric
    diagonal : ndarray of shape (n,)

    Raises
    ------
    ValueError
        If the rows are not balanced after 1,000 rounds.

    References
    ----------
    Sinkhorn and Knopp (1967), Pacific J. Math. 21(2). The symmetric rounds, a ← a/√(row sum): Knight, Ruiz and Uçar
    (2014), SIAM J. Matrix Anal. Appl. 35(3).

    Examples
    --------
    >>> weights, diagonal = balanced(sparse.csr_array(np.array([[0.0, 2, 1], [2, 0, 1], [1, 1, 0]])))
    >>> (weights.sum(axis=1) + diagonal).round(4).tolist()
    [0.3333, 0.3333, 0.3333]
    """
    n = graph.shape[0]
    home = np.asarray(graph.sum(axis=1), dtype=np.float64).reshape(n)
    a = 1 / np.sqrt(home)
    home = AT_HOME * home
    for _ in range(MOST_ROUNDS):
        rows = a * (graph @ a + home * a)
        if np.abs(rows - 1).max() < TOLERANCE:
            break
        a /= np.sqrt(rows)
    else:
        raise ValueError(
            f"affinities are not balanced after {MOST_ROUNDS} rounds: take a larger perplexity or bandwidth"
        )
    a /= np.sqrt(n)
    weights = graph.data * np.repeat(a, np.diff(graph.indptr)) * a[graph.indices]
    return sparse.csr_array((weights, graph.indices, graph.indptr), shape=(n, n)), home * a * a
