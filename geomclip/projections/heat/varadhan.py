"""From heat to distance: Varadhan's formula, and shortest paths where it is not to be trusted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import minimum_spanning_tree

from geomclip.embeddings.graphs import searchable, shortest_path_tree, shortest_paths

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

BLOCK = 1 << 21
"""Distances looked at together: 16 MB."""


STEPPING_STONES = 64
"""Landmarks near a point, at most, that its ways to the others are tried over."""


def nats(log_heat: Floats, rows: Floats, columns: Floats, *, rho: float = 1.0, mean: str = "geometric") -> Floats:
    """−log H_ij + ρ log V_ij, V_ij a mean of H_ii and H_jj: how rare it is that heat goes from i to j; from 0 on.

    Parameters
    ----------
    log_heat : ndarray of shape (n, m)
        log H; −inf where it is not known, and the answer is infinite.
    rows, columns : ndarray of shape (n,), (m,)
        log H_ii of the points of the rows and of the columns.
    rho : float
        Share of the volume term, which the parabolic Harnack inequality bounds: 1 makes the distance of a point to
        itself 0.
    mean : str
        "geometric", with which nothing depends on the masses of the points; "arithmetic", as published.
    """
    if mean == "geometric":
        volume = np.add.outer(rows / 2, columns / 2)
    else:
        volume = np.logaddexp.outer(rows, columns)
        volume -= np.log(2)
    volume *= rho  # in place from here on: with landmarks these are the largest arrays
    volume -= log_heat
    return np.maximum(volume, 0, out=volume)


def varadhan(rarity: Floats, t: float) -> Floats:
    """d = √(4t · nats): the geodesic distance where t → 0.

    References
    ----------
    Varadhan (1967), "On the behavior of the fundamental solution of the heat equation with variable coefficients",
    CPAM 20; Huguet et al. (2023), "A heat diffusion perspective on geodesic preserving dimensionality reduction".
    """
    distances = 4 * t * rarity
    np.sqrt(distances, out=distances)
    return distances


def near_pairs(distances: Floats, count: int, landmarks: Indices | None = None) -> NDArray[np.bool_]:
    """Pairs, as bool (n, m), where one is among the `count` nearest to the other."""
    n, m = distances.shape
    own = np.full(n, -1)
    own[np.arange(n) if landmarks is None else landmarks] = np.arange(m)
    count = min(count, m - 1)
    near = np.zeros((n, m), dtype=bool)
    step = max(1, BLOCK // m)
    for first in range(0, n, step):
        apart = distances[first : first + step].copy()
        rows = np.flatnonzero(own[first : first + step] >= 0)
        apart[rows, own[first : first + step][rows]] = np.inf
        some = np.argpartition(apart, count - 1, axis=1)[:, :count]
        np.put_along_axis(
            near[first : first + step], some, np.isfinite(np.take_along_axis(apart, some, axis=1)), axis=1
        )
    among = near if landmarks is None else near[landmarks]
    near[own >= 0] |= among.T
    return near


def completed(distances: Floats, near: NDArray[np.bool_], edges: csr_array) -> Floats:
    """Shortest paths (n, n) over the near pairs, and over what is needed beside them to hang together.

    Parameters
    ----------
    distances : ndarray of shape (n, n)
        Symmetric.
    near : bool ndarray of shape (n, n)
        The pairs that are trusted; symmetric.
    edges : csr_array of shape (n, n)
        Other pairs, with their distances, that connect all points: those of a shortest spanning tree are used.
    """
    i, j = np.nonzero(near)
    off = i != j
    i, j = i[off], j[off]
    trusted = csr_array((_positive(distances[i, j]), (i, j)), shape=near.shape)
    tree = minimum_spanning_tree(searchable(_least(trusted, edges)))
    ways = shortest_paths(_least(trusted, csr_array(tree)))
    return np.minimum(ways, ways.T)  # there and back are added in another order


def completed_to_landmarks(distances: Floats, near: NDArray[np.bool_], landmarks: Indices, edges: csr_array) -> Floats:
    """`completed` for n points and m landmarks: shortest paths (n, m) whose inner points are landmarks.

    Where no landmark is near a point it takes the way over its neighbours, and where the landmarks do not hang
    together they are joined by the shortest ways between their neighbourhoods.

    Parameters
    ----------
    distances, near : ndarray of shape (n, m)
    landmarks : ndarray of shape (m,)
        Their rows.
    edges : csr_array of shape (n, n)
        Of a connected graph of all points; in the unit of the distances.
    """
    n, m = distances.shape
    first = np.where(near, distances, np.inf)
    first[landmarks, np.arange(m)] = 0
    home, way = _homes(first, edges)
    a, b = np.repeat(np.arange(n), np.diff(edges.indptr)), edges.indices
    between = home[a] != home[b]
    a, b = a[between], b[between]
    shape = (m, m)
    crossing = _sparse_least(home[a], home[b], way[a] + edges.data[between] + way[b], shape)
    i, j = np.nonzero(np.isfinite(first[landmarks]) | np.isfinite(first[landmarks]).T)
    off = i != j
    i, j = i[off], j[off]
    known = np.minimum(first[landmarks], first[landmarks].T)
    trusted = csr_array((_positive(known[i, j]), (i, j)), shape=shape)
    tree = csr_array(minimum_spanning_tree(searchable(_least(trusted, crossing))))
    among = shortest_paths(_least(trusted, tree))
    among = np.minimum(among, among.T)
    far = ~np.isfinite(first).any(axis=1)
    first[far, home[far]] = way[far]
    return _through(first, among, first)


def filled(distances: Floats, known: NDArray[np.bool_], edges: csr_array, anchors: Indices) -> Floats:
    """The distances with those that are not known replaced by shortest paths over known ones, through anchors.

    Between its ends a path goes from anchor to anchor: with all points as anchors it is the shortest of all.
    """
    if known.all():
        return distances
    near = known[:, anchors]
    to_anchors = completed_to_landmarks(distances[:, anchors], near, anchors, edges)
    first = np.where(near, distances[:, anchors], np.inf)
    lost = ~near.any(axis=1)
    first[lost] = to_anchors[lost]
    return np.where(known, distances, _through(first, to_anchors.T, np.inf))


def _homes(first: Floats, edges: csr_array) -> tuple[Indices, Floats]:
    """The nearest landmark of each point, and how far it is: by near pairs, else by edges to points that have one."""
    home, way = first.argmin(axis=1), first.min(axis=1)
    lost = np.flatnonzero(~np.isfinite(way))
    if len(lost):
        # one more point stands for all that have a home: shortest ways from it, and by whom they come
        n = len(first)
        found = np.flatnonzero(np.isfinite(way))
        rim = coo_array((_positive(way[found]), (np.full(len(found), n), found)), shape=(n + 1, n + 1))
        inner = edges.tocoo()
        wide = coo_array((inner.data, inner.coords), shape=(n + 1, n + 1))
        reached, before = shortest_path_tree(csr_array(wide + rim), n)
        for point in lost[np.argsort(reached[lost], kind="stable")]:
            home[point], way[point] = home[before[point]], reached[point]
    return home, way


def _through(first: Floats, among: Floats, direct: Floats | float) -> Floats:
    """min_a first(i, a) + among(a, j), over the landmarks a that are near i; or the direct way, if that is shorter.

    Of more than 64 that are near every second, third ... is taken, in the order of their distances.
    """
    result = np.empty((len(first), among.shape[1]))
    for row, ways in enumerate(first):
        near = np.flatnonzero(np.isfinite(ways))
        if len(near) > STEPPING_STONES:
            near = near[np.argsort(ways[near])[np.linspace(0, len(near) - 1, STEPPING_STONES).astype(int)]]
        result[row] = (ways[near, None] + among[near]).min(axis=0)
    return np.minimum(result, direct)


def triplet(distances: Floats, share: float, landmarks: Indices | None = None) -> Floats:
    """(1 − share) d + share √(mean_k (d_ik − d_jk)²): two points are alike if they see the others alike.

    The second is the distance of rows of d; the square root of a mean, so that it has the size of a distance. With
    landmarks d is (n, m) and k is one of them.

    References
    ----------
    Huguet et al. (2023), section on denoising; with share 1 and logarithms of heat, the potential distance of
    Moon et al. (2019), "Visualizing structure and transitions in high-dimensional biological data".
    """
    if not share:
        return distances
    among = distances if landmarks is None else distances[landmarks]
    squares = (distances**2).sum(axis=1)[:, None] + (among**2).sum(axis=1)[None] - 2 * distances @ among.T
    rows = np.sqrt(np.maximum(squares, 0) / distances.shape[1])
    which = np.arange(len(among)) if landmarks is None else landmarks
    rows[which, np.arange(len(among))] = 0
    return (1 - share) * distances + share * rows


def _positive(distances: Floats) -> Floats:
    """Distances as entries of a sparse array, where 0 would be no entry."""
    return np.maximum(distances, np.finfo(np.float64).tiny)


def _least(first: csr_array, second: csr_array) -> csr_array:
    """The smaller of two entries, where either has one."""
    a, b = first.tocoo(), second.tocoo()
    (i, j), (k, other) = a.coords, b.coords
    return _sparse_least(np.append(i, k), np.append(j, other), np.append(a.data, b.data), first.shape)


def _sparse_least(i: NDArray[np.integer], j: NDArray[np.integer], values: Floats, shape: tuple[int, int]) -> csr_array:
    """A symmetric sparse array of the smallest value given for each pair."""
    i, j = np.minimum(i, j).astype(np.int64), np.maximum(i, j).astype(np.int64)
    order = np.lexsort((values, j, i))
    i, j, values = i[order], j[order], values[order]
    new = np.ones(len(i), dtype=bool)
    new[1:] = (i[1:] != i[:-1]) | (j[1:] != j[:-1])
    half = csr_array((values[new], (i[new], j[new])), shape=shape)
    return csr_array(half + half.T)
