"""The forces of a neighbour embedding in three dimensions, between points y with w = 1/(1 + ‖y_i − y_j‖²).

Attraction runs along the edges of a graph. Repulsion acts between all pairs of points: exactly, or with far groups of
points by their centroids. One kernel does both: it sums over bodies, and a body is a point or the centroid of a cell.
The loops are numba's because torch and numpy would write each of their ten steps to memory, at 20 times the cost.
Every sum belongs to one point and one thread, so that the number of threads changes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray
from scipy import sparse

LEAF = 24
"""Points, at most, in a cell. Fewer make longer lists of cells, more make longer lists of points."""

OPENING = 0.5
"""A cell is far from where its radius is less than this share of the distance to its centroid."""

STALE = 1.5
"""The tree is built anew where its leaves have grown so many times as wide, beside the whole, as they were."""

CHUNKS = 64
"""Parts of the points, each with a list of its own, whatever the number of threads."""

Floats = NDArray[np.float32]


def exact(y: Floats) -> tuple[Floats, Floats, Floats]:
    """Σ_j w² (y_i − y_j), Σ_j w and Σ_j w² over all j ≠ i, with w = 1/(1 + ‖y_i − y_j‖²): (n, 3), (n,), (n,)."""
    out = np.empty((5, len(y)), dtype=np.float32)
    _exact(np.ascontiguousarray(y.T), np.ones(len(y), dtype=np.float32), out)
    return np.ascontiguousarray(out[:3].T), out[3], out[4]


class Cells:
    """A balanced tree over points that move little, so that far cells stand for their points.

    Each cell is halved at the median of its longest axis, so that all cells of a level hold equally many points
    wherever these crowd, and the tree is a heap: only the order of the points is kept. Nothing in it is random, no
    sum depends on the number of threads. Where points have moved so far that its leaves are wide, and each sees many
    cells, the tree is built anew.
    """

    def __init__(self, y: Floats) -> None:
        n = len(y)
        self.depth = max(0, int(np.ceil(np.log2(n / LEAF))))
        self.leaf = -(-n >> self.depth) if self.depth else n  # rounded up
        self.n = n
        # one list a thread would do, but threads are not numbered; of each list only the used beginning takes memory
        self.lists = np.empty((min(64, 1 << self.depth), 4, self.leaf << self.depth), dtype=np.float32)
        self.sort(y)

    def sort(self, y: Floats) -> None:
        """Build the tree anew, for points (n, 3) that have moved."""
        order = np.arange(self.leaf << self.depth)
        for level in range(self.depth):
            cells = order.reshape(1 << level, -1)
            points = y[cells % self.n]  # (cells, points in each, 3)
            axis = (points.max(axis=1) - points.min(axis=1)).argmax(axis=1)
            along = np.take_along_axis(points, axis[:, None, None], axis=2)[:, :, 0]
            halves = np.argpartition(along, along.shape[1] // 2, axis=1)
            order = np.take_along_axis(cells, halves, axis=1)
        order = order.reshape(-1)
        # what fills the last places up to a whole number of points a leaf is a copy of a point, and has no mass
        self.mass = (order < self.n).astype(np.float32)
        self.order = order % self.n
        self.spread: float | None = None  # of the leaves, beside the whole; at the first call from here
        self.place = np.empty(self.n, dtype=np.int64)
        self.place[self.order[self.mass > 0]] = np.flatnonzero(self.mass)

    def __call__(self, y: Floats) -> tuple[Floats, Floats, Floats]:
        """As `exact`, with far cells by their centroids; the tree may be that of slightly older points."""
        sorted_y, nodes = self._summarized(y)
        spread = self._spread(nodes)
        if self.spread is not None and spread > STALE * self.spread:
            self.sort(y)
            sorted_y, nodes = self._summarized(y)
            spread = self._spread(nodes)
        if self.spread is None:
            self.spread = spread
        out = np.empty((5, len(self.order)), dtype=np.float32)
        _cells(sorted_y, self.mass, nodes, self.leaf, self.depth, np.float32(OPENING), self.lists, out)
        found = out[:, self.place]
        return np.ascontiguousarray(found[:3].T), found[3], found[4]

    def _spread(self, nodes: Floats) -> float:
        """How wide leaves are, beside the whole."""
        leaves = nodes[4, (1 << self.depth) - 1 :].mean(dtype=np.float64)
        return float(leaves) / max(float(nodes[4, 0]), 1e-30)

    def _summarized(self, y: Floats) -> tuple[Floats, Floats]:
        """The points in the order of the tree (3, size), and its cells (5, cells) as `_summarize` has them."""
        sorted_y = np.ascontiguousarray(y[self.order].T)
        nodes = np.empty((5, (2 << self.depth) - 1), dtype=np.float32)
        _summarize(sorted_y, self.mass, self.leaf << self.depth, nodes)
        return sorted_y, nodes


class Edges:
    """A sparse graph (n, n) of weights p_ij, and how it pulls.

    With `copies` the places of a point's neighbours are first copied side by side, one after the other: of very many
    points that takes two thirds of the time of gathering them sixteen at a time. The sums round otherwise.
    """

    def __init__(self, graph: sparse.csr_array, *, copies: bool = False) -> None:
        self.start = graph.indptr.astype(np.int64)
        self.other = graph.indices.astype(np.int32)
        self.weight = graph.data.astype(np.float32)
        most = int(np.diff(self.start).max(initial=0))
        self.copies = np.empty((CHUNKS, 3, most), dtype=np.float32) if copies else None

    def attraction(self, y: Floats) -> tuple[Floats, Floats]:
        """Σ_j p_ij w (y_i − y_j) and Σ_j p_ij w: (n, 3), (n,)."""
        out = np.empty((4, len(y)), dtype=np.float32)
        if self.copies is None:
            _attraction(np.ascontiguousarray(y.T), self.start, self.other, self.weight, out)
        else:
            _attraction_of_copies(y, self.start, self.other.view(np.uint32), self.weight, self.copies, out)
        return np.ascontiguousarray(out[:3].T), out[3]

    def stretch(self, y: Floats) -> Floats:
        """Σ_j p_ij log(1 + ‖y_i − y_j‖²): (n,)."""
        out = np.empty(len(y), dtype=np.float32)
        _stretch(np.ascontiguousarray(y.T), self.start, self.other, self.weight, out)
        return out


ALONE_UP_TO = 1_000
"""Points that one thread has done sooner than two have met: 500 iterations of 600 points take it 0.2 s."""


@njit(parallel=True, fastmath=True, cache=True)
def _attraction(y: Any, start: Any, other: Any, weight: Any, out: Any) -> None:
    """Every point of y (3, n) to its neighbours, into out (4, n)."""
    for i in prange(y.shape[1]):
        x, u, v = y[0, i], y[1, i], y[2, i]
        fx = fu = fv = total = np.float32(0)
        for edge in range(start[i], start[i + 1]):
            j = other[edge]
            dx, du, dv = x - y[0, j], u - y[1, j], v - y[2, j]
            k = weight[edge] / (np.float32(1) + dx * dx + du * du + dv * dv)
            total += k
            fx += k * dx
            fu += k * du
            fv += k * dv
        out[0, i], out[1, i], out[2, i], out[3, i] = fx, fu, fv, total


@njit(parallel=True, fastmath=True, cache=True)
def _attraction_of_copies(y: Any, start: Any, other: Any, weight: Any, copies: Any, out: Any) -> None:
    """As `_attraction`, of y (n, 3): `copies` come from outside, since LLVM gathers into a list of its own making."""
    n, chunks = len(y), len(copies)
    for chunk in prange(chunks):
        near = copies[chunk]
        for i in range(chunk * n // chunks, (chunk + 1) * n // chunks):
            first, count = start[i], start[i + 1] - start[i]
            for edge in range(count):
                j = other[first + edge]
                near[0, edge], near[1, edge], near[2, edge] = y[j, 0], y[j, 1], y[j, 2]
            x, u, v = y[i, 0], y[i, 1], y[i, 2]
            fx = fu = fv = total = np.float32(0)
            for edge in range(count):
                dx, du, dv = x - near[0, edge], u - near[1, edge], v - near[2, edge]
                k = weight[first + edge] / (np.float32(1) + dx * dx + du * du + dv * dv)
                total += k
                fx += k * dx
                fu += k * du
                fv += k * dv
            out[0, i], out[1, i], out[2, i], out[3, i] = fx, fu, fv, total


@njit(parallel=True, fastmath=True, cache=True)
def _stretch(y: Any, start: Any, other: Any, weight: Any, out: Any) -> None:
    """Σ p log(1 + d²) along the edges of every point of y (3, n), into out (n,)."""
    for i in prange(y.shape[1]):
        total = np.float32(0)
        for edge in range(start[i], start[i + 1]):
            j = other[edge]
            dx, du, dv = y[0, i] - y[0, j], y[1, i] - y[1, j], y[2, i] - y[2, j]
            total += weight[edge] * np.log1p(dx * dx + du * du + dv * dv)
        out[i] = total


@njit(fastmath=True, cache=True, inline="always")
def _two_points(i: int, j: int, y: Any, bodies: Any, count: int, out: Any) -> None:
    """What bodies 0 to `count`, rows x, y, z and mass, do to points i and j: one division serves both."""
    xi, yi, zi, xj, yj, zj = y[0, i], y[1, i], y[2, i], y[0, j], y[1, j], y[2, j]
    one = np.float32(1)
    fxi = fyi = fzi = wi = qi = fxj = fyj = fzj = wj = qj = np.float32(0)
    for b in range(count):
        dxi, dyi, dzi = xi - bodies[0, b], yi - bodies[1, b], zi - bodies[2, b]
        dxj, dyj, dzj = xj - bodies[0, b], yj - bodies[1, b], zj - bodies[2, b]
        si = one + dxi * dxi + dyi * dyi + dzi * dzi
        sj = one + dxj * dxj + dyj * dyj + dzj * dzj
        inverse = one / (si * sj)
        ki, kj = inverse * sj, inverse * si
        mi, mj = bodies[3, b] * ki, bodies[3, b] * kj
        wi += mi
        wj += mj
        mi *= ki
        mj *= kj
        qi += mi
        qj += mj
        fxi += mi * dxi
        fyi += mi * dyi
        fzi += mi * dzi
        fxj += mj * dxj
        fyj += mj * dyj
        fzj += mj * dzj
    out[0, i], out[1, i], out[2, i], out[3, i], out[4, i] = fxi, fyi, fzi, wi - one, qi - one  # less the point itself
    out[0, j], out[1, j], out[2, j], out[3, j], out[4, j] = fxj, fyj, fzj, wj - one, qj - one


@njit(parallel=True, fastmath=True, cache=True)
def _exact(y: Any, mass: Any, out: Any) -> None:
    """Every point of y (3, n) from every other, into out (5, n)."""
    n = y.shape[1]
    bodies = np.empty((4, n), dtype=np.float32)
    bodies[:3] = y
    bodies[3] = mass
    for pair in prange((n + 1) // 2):
        _two_points(2 * pair, min(2 * pair + 1, n - 1), y, bodies, n, out)


@njit(parallel=True, fastmath=True, cache=True)
def _summarize(y: Any, mass: Any, size: int, nodes: Any) -> None:
    """Centroid, mass and radius of every cell of the heap, into nodes (5, cells): x, y, z, mass, radius."""
    for node in prange(nodes.shape[1]):
        level, first = 0, 0
        while 2 * first + 1 <= node:
            first = 2 * first + 1
            level += 1
        points = size >> level
        begin = (node - first) * points
        cx = cy = cz = total = np.float32(0)
        for i in range(begin, begin + points):
            cx += mass[i] * y[0, i]
            cy += mass[i] * y[1, i]
            cz += mass[i] * y[2, i]
            total += mass[i]
        many = max(total, np.float32(1))  # a cell of nothing but fillers has no mass
        cx, cy, cz = cx / many, cy / many, cz / many
        farthest = np.float32(0)
        for i in range(begin, begin + points):
            dx, dy, dz = y[0, i] - cx, y[1, i] - cy, y[2, i] - cz
            farthest = max(farthest, dx * dx + dy * dy + dz * dz)
        nodes[0, node], nodes[1, node], nodes[2, node], nodes[3, node] = cx, cy, cz, total
        nodes[4, node] = np.sqrt(farthest)


@njit(parallel=True, fastmath=True, cache=True)
def _cells(y: Any, mass: Any, nodes: Any, leaf: int, depth: int, opening: Any, lists: Any, out: Any) -> None:
    """Every point of y (3, size) from near points and far cells, a leaf at a time, into out (5, size)."""
    leaves, chunks = 1 << depth, len(lists)
    for chunk in prange(chunks):
        bodies = lists[chunk]
        stack = np.empty(64, dtype=np.int32)
        for here in range(chunk * leaves // chunks, (chunk + 1) * leaves // chunks):
            count = _list(here, y, mass, nodes, leaf, leaves, opening, bodies, stack)
            for i in range(here * leaf, (here + 1) * leaf, 2):
                _two_points(i, min(i + 1, (here + 1) * leaf - 1), y, bodies, count, out)


@njit(fastmath=True, cache=True)
def _list(
    here: int, y: Any, mass: Any, nodes: Any, leaf: int, leaves: int, opening: Any, bodies: Any, stack: Any
) -> int:
    """The bodies that one leaf sees, and how many: every far cell whose parent is not far, every point else."""
    me = leaves - 1 + here
    cx, cy, cz, mine = nodes[0, me], nodes[1, me], nodes[2, me], nodes[4, me]
    count, top = 0, 1
    stack[0] = 0
    while top > 0:
        top -= 1
        node = stack[top]
        dx, dy, dz = nodes[0, node] - cx, nodes[1, node] - cy, nodes[2, node] - cz
        if nodes[4, node] < opening * (np.sqrt(dx * dx + dy * dy + dz * dz) - mine):
            for row in range(4):
                bodies[row, count] = nodes[row, node]
            count += 1
        elif node >= leaves - 1:
            first = (node - leaves + 1) * leaf
            for i in range(leaf):
                bodies[0, count + i] = y[0, first + i]
                bodies[1, count + i] = y[1, first + i]
                bodies[2, count + i] = y[2, first + i]
                bodies[3, count + i] = mass[first + i]
            count += leaf
        else:
            stack[top], stack[top + 1] = 2 * node + 2, 2 * node + 1
            top += 2
    return count
