"""Graphs of neighbours with weights and lengths of their edges, their Laplacians, and shortest paths along them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra
from torch import Tensor

from geomclip.embeddings.neighbors import BLOCK

Floats = NDArray[np.float64]
Indices = NDArray[np.integer]

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


def shortest_paths(lengths: csr_array, sources: Indices | None = None, *, limit: float = np.inf) -> Floats:
    """How long the shortest way along edges is from each source to each point; infinite where there is none.

    Parameters
    ----------
    lengths : csr_array of shape (n, n)
        Of the edges, symmetric. An entry of 0 is an edge too.
    sources : integer ndarray of shape (S,), optional
        Left out: all points.
    limit : float
        Longer ways are infinite, and cost no time.

    Returns
    -------
    ndarray of shape (S, n), float64
        There and back may differ by rounding: the edges are added up from the source on.

    Examples
    --------
    >>> line = csr_array(np.array([[0, 2.0, 0, 0], [2, 0, 3, 0], [0, 3, 0, 0], [0, 0, 0, 0]]))
    >>> shortest_paths(line, np.array([0])).tolist()
    [[0.0, 2.0, 5.0, inf]]
    """
    return np.asarray(dijkstra(searchable(lengths), indices=sources, limit=limit))


def shortest_path_tree(lengths: csr_array, source: int) -> tuple[Floats, NDArray[np.int32]]:
    """The shortest ways from a point, and the point before each on its way: both (n,).

    As `shortest_paths`, for edges that may be there in one direction only; −9999 where nothing comes before.
    """
    ways, before = dijkstra(searchable(lengths), indices=source, return_predecessors=True)
    return np.asarray(ways), np.asarray(before)


def searchable(lengths: csr_array) -> csr_array:
    """The graph as scipy's searches take it: no entry 0, which is no edge to them, and, before 1.17, 32-bit indices."""
    indices, start = lengths.indices.astype(np.int32), lengths.indptr.astype(np.int32)
    return csr_array((np.maximum(lengths.data, np.finfo(np.float64).tiny), indices, start), shape=lengths.shape)


@torch.no_grad()
def geodesic_distances(rows: Tensor, *, k: int, sources: Tensor | None = None, limit: float = np.inf) -> Tensor:
    """How far the rows of each video are from some of them, along the graph of its nearest neighbours.

    Two rows are joined if one is no farther from the other than its k-th nearest, so of equally near ones all are,
    and their order changes nothing. An edge is as long as the angle between its rows. Rows that a dot product cannot
    tell apart are always joined.

    Parameters
    ----------
    rows : Tensor of shape (B, N, d)
        Unit rows of B videos (or batches, or other clouds of N points).
    k : int
        At least 1; all others are neighbours if there are no more than k.
    sources : integer Tensor of shape (B, S), optional
        Rows to measure from. Left out: all.
    limit : float
        Radians; what is farther is infinite.

    Returns
    -------
    Tensor of shape (B, S, N), float64 if the rows are, else float32
        Radians, where the rows are; infinite where no way leads. Without gradient.

    Raises
    ------
    ValueError
        If rows are not (B, N, d) floating-point numbers, k is below 1, or a source is no row.

    Notes
    -----
    Neighbours are found where the rows are, the ways by scipy on the CPU. Videos are taken a few at a time: beside
    rows and result, about 4 million cosines (16 MB) are held with as many flags, or the N² of one video if it has
    more.

    Examples
    --------
    >>> angle = torch.tensor([0.0, 0.3, 0.5, 2.0, 2.1])
    >>> on_circle = torch.stack([angle.cos(), angle.sin()], dim=1)[None]
    >>> geodesic_distances(on_circle, k=1, sources=torch.tensor([[0]])).round(decimals=4).tolist()
    [[[0.0, 0.30000001192092896, 0.5, inf, inf]]]
    """
    if rows.ndim != 3 or not rows.is_floating_point():
        raise ValueError(f"rows must be (B, N, d) floating-point numbers, got {rows.dtype} of {tuple(rows.shape)}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    videos, n = rows.shape[:2]
    if sources is None:
        sources = torch.arange(n, device=rows.device).expand(videos, n)
    if sources.ndim != 2 or len(sources) != videos or sources.is_floating_point():
        raise ValueError(f"sources must be ({videos}, S) integers, got {sources.dtype} of {tuple(sources.shape)}")
    if sources.numel() and not (int(sources.min()) >= 0 and int(sources.max()) < n):
        raise ValueError(f"sources must be 0 to {n - 1}, got {int(sources.min())} to {int(sources.max())}")
    rows = rows.detach().to(torch.promote_types(rows.dtype, torch.float32))
    found = rows.new_full((videos, sources.shape[1], n), torch.inf)
    together = max(1, BLOCK // max(1, n * n))
    for first in range(0, videos, together):
        some, of_some = rows[first : first + together], sources[first : first + together]
        found[first : first + together] = _ways(_angles(some, k), of_some, n, limit).to(found)
    return found


def _angles(rows: Tensor, k: int) -> csr_array:
    """The edges of a few videos as one graph of all their rows (B, N, d), as long as their angles."""
    videos, n, width = rows.shape
    if n < 2:
        return csr_array((videos * n, videos * n))
    with torch.autocast(rows.device.type, enabled=False):
        cosines = rows @ rows.mT  # (B, N, N)
    cosines.clamp_(max=1 - 8 * torch.finfo(rows.dtype).eps)  # rounding must not choose among copies of a row
    cosines.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    shape = (videos * n, videos * n)
    if rows.device.type == "cpu" and find_spec("numba"):
        from geomclip.embeddings.edges import joined

        i, j, far = joined(rows.contiguous().numpy(), cosines.numpy(), min(k, n - 1))
        return csr_array((np.concatenate([far, far]), (np.concatenate([i, j]), np.concatenate([j, i]))), shape=shape)
    near = cosines >= cosines.topk(min(k, n - 1), dim=-1).values[..., -1:]
    video, one, other = (near | near.mT).triu(1).nonzero().unbind(1)
    one, other, flat = one + video * n, other + video * n, rows.flatten(0, 1)
    # about a thousand edges at a time: their differences stay in the cache of the processor
    chunks = [each.split(max(1, (BLOCK >> 4) // width)) for each in (one, other)]
    apart = [(flat.index_select(0, i) - flat.index_select(0, j)).norm(dim=1) for i, j in zip(*chunks, strict=True)]
    lengths = 2 * torch.asin((torch.cat(apart) / 2).clamp(max=1))  # of the chord: exact for near ones, as acos is not
    i, j, far = (each.cpu().numpy() for each in (one, other, lengths.double()))
    return csr_array((np.concatenate([far, far]), (np.concatenate([i, j]), np.concatenate([j, i]))), shape=shape)


def _ways(lengths: csr_array, sources: Tensor, n: int, limit: float) -> Tensor:
    """Shortest paths (B, S, N) of B videos from sources (B, S), in one graph in which no edge leads out of a video."""
    videos = len(sources)
    own = torch.arange(videos)
    starts = (sources.cpu() + own[:, None] * n).flatten().numpy()
    ways = torch.from_numpy(shortest_paths(lengths, starts, limit=limit)).unflatten(0, tuple(sources.shape))
    return ways.unflatten(-1, (videos, n))[own, :, own]
