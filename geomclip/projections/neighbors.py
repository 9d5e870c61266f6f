"""The k nearest other points of every point: exactly, a block of rows at a time, or nearly all, by clusters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomclip.embeddings.geometry import normalize
from geomclip.embeddings.neighbors import nearest_candidates
from geomclip.embeddings.record import as_tensor
from geomclip.machine.extras import optional
from geomclip.machine.threads import Workers, free_threads
from geomclip.projections.clusters import nearest_by_clusters

EXACT_UP_TO = 30_000
"""Points for which `auto` compares all with all: 20 s of products at 512 dimensions on two cores."""

DISTANCES = ("angular", "euclidean")

UNIT = 1e-6
"""Rows whose lengths differ from 1 by less are unit: that is what rounding to float32 leaves."""

CACHED = 1 << 18
"""Numbers of differences held at a time: 1 MB, which the cache of a core holds; 64 MB take half as long again."""

ROWS = 4_096
"""Rows whose distances a thread measures at a time."""

SPARE = 8
"""Candidates beyond k that are measured again, since rounding may have put the k-th behind them."""


def nearest(
    x: NDArray[Any] | Tensor,
    k: int,
    *,
    metric: str = "angular",
    method: str = "auto",
    random_state: int | None = 0,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Distances to the k nearest other rows and which they are, nearest first; equal ones in the order of rows.

    A point is not its own neighbour; its duplicates are, at distance 0.

    Parameters
    ----------
    x : array of shape (n, d)
        Finite numbers.
    k : int
        1 to n − 1.
    metric : str
        "angular": the angle between rows, 0 to π; "euclidean".
    method : str
        "exact" never holds an n x n array but takes n² d operations; "approximate" looks into the nearest clusters,
        as many as hold 0.99 of the neighbours of a sample, or, where those are too many, is pynndescent's; "auto" is
        exact up to 30,000 points.
    random_state : int, optional
        Of the approximate search.

    Returns
    -------
    distances : ndarray of shape (n, k), float32
        From differences of rows: near duplicates keep their digits.
    indices : ndarray of shape (n, k), int32

    Raises
    ------
    ValueError
        If k is not between 1 and n − 1, a row is zero and has no angles, or a name is unknown.
    NotAvailableError
        If pynndescent is needed and not installed.

    Examples
    --------
    >>> distances, indices = nearest(np.array([[0.0], [1.0], [3.0]]), 1, metric="euclidean")
    >>> distances[:, 0].tolist(), indices[:, 0].tolist()
    ([1.0, 1.0, 2.0], [1, 0, 1])
    """
    if metric not in DISTANCES:
        raise ValueError(f"metric must be angular or euclidean, got {metric!r}")
    rows = as_tensor(x, "x")
    n, exact = len(rows), _is_exact(method, len(rows))
    if not 1 <= k < n:
        raise ValueError(f"{k} neighbours need at least {k + 1} points, got {n}")
    rows = _placed(rows, rows, metric)
    if exact:
        candidates = _candidates(rows, rows, min(k + SPARE, n - 1), metric, exclude_self=True)
    else:
        candidates = _approximate(rows, k, random_state)
    lengths, indices = _measured(rows, rows, candidates, k, metric, by=_lengths if exact else _lengths_by_loops)
    return lengths.float().numpy(), indices.numpy()


class NeighborSearch:
    """The neighbours of one cloud of points: searched when they are first needed, then kept for the next.

    Handed to the `fit` of several projections of these points, they are searched once: those who ask for fewer get
    the first of more. So ask for the most first (t-SNE and DOSNES three times their perplexity, UMAP 15). At most
    one graph a metric is held, and as long as this object; of unit rows one serves both metrics, since the longer
    of two chords spans the larger angle.

    Parameters
    ----------
    x : array of shape (n, d)

    Examples
    --------
    >>> near = NeighborSearch(np.array([[0.0], [1.0], [3.0]]))
    >>> near.nearest(2, metric="euclidean")[1].tolist(), near.nearest(1, metric="euclidean")[1].tolist()
    ([[1, 2], [0, 2], [1, 0]], [[1], [0], [1]])
    """

    def __init__(self, x: NDArray[Any] | Tensor) -> None:
        self.x = x
        self._held: dict[str, _Held] = {}

    def nearest(
        self, k: int, *, metric: str = "angular", method: str = "auto", random_state: int | None = 0
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """As the function `nearest`, of these points; arrays that may not be written to."""
        exact = _is_exact(method, len(self.x))
        space = "unit" if metric in DISTANCES and self._has_unit_rows else metric
        held = self._held.get(space)
        if held is None or not held.serves(k, exact, random_state):
            found = nearest(self.x, k, metric=metric, method=method, random_state=random_state)
            held = self._held[space] = _Held(k, metric, exact, random_state, *found)
        distances = _by(metric, held)[:, :k]
        return _fixed(distances), _fixed(held.indices[:, :k])

    def of(self, x: NDArray[Any]) -> NeighborSearch:
        """These, if x are their points.

        Raises
        ------
        ValueError
            If they are not.
        """
        if self.x is not x and not np.array_equal(np.asarray(self.x), x):
            raise ValueError("these neighbours are of other points than those to be drawn")
        return self

    @cached_property
    def _has_unit_rows(self) -> bool:
        lengths = torch.linalg.vector_norm(as_tensor(self.x, "x").double(), dim=1)
        return bool((lengths - 1).abs().max() < UNIT)


@dataclass(frozen=True, eq=False)
class _Held:
    """A finished search."""

    k: int
    metric: str
    exact: bool
    seed: int | None
    distances: NDArray[np.float32]
    indices: NDArray[np.int32]

    def serves(self, k: int, exact: bool, seed: int | None) -> bool:
        """Whether these, or the first k of them, are what a search would find."""
        if exact != self.exact:
            return False
        # of an approximate search the first k are not those that asking for k finds
        return 1 <= k <= self.k if exact else (k, seed) == (self.k, self.seed)


def _by(metric: str, held: _Held) -> NDArray[np.float32]:
    """The distances found, as this metric has them."""
    if metric == held.metric:
        return held.distances
    half = held.distances.astype(np.float64) / 2
    # ½ chord = sin(½ angle)
    turned = 2 * np.sin(half) if metric == "euclidean" else 2 * np.arcsin(np.minimum(half, 1))
    return np.asarray(turned, dtype=np.float32)


def _fixed(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


def nearest_among(
    x: NDArray[Any] | Tensor, among: NDArray[Any] | Tensor, k: int, *, metric: str = "angular"
) -> tuple[NDArray[np.floating[Any]], NDArray[np.int32]]:
    """Distances to the k nearest rows of `among` (m, d) to every row of x (n, d), and which they are, exactly.

    As `nearest`, for new points: a row of x that is also one of `among` finds it, at distance 0. Distances have the
    wider of both precisions.
    """
    known, rows = as_tensor(among, "among"), as_tensor(x, "x")
    if not 1 <= k <= len(known):
        raise ValueError(f"{k} neighbours need at least {k} points, got {len(known)}")
    rows, known = _placed(rows, known, metric), _placed(known, known, metric)
    rows, known = (each.to(torch.promote_types(rows.dtype, known.dtype)) for each in (rows, known))
    candidates = _candidates(rows, known, min(k + SPARE, len(known)), metric)
    lengths, indices = _measured(rows, known, candidates, k, metric)
    return lengths.numpy(), indices.numpy()


def _is_exact(method: str, n: int) -> bool:
    if method not in ("auto", "exact", "approximate"):
        raise ValueError(f"method must be auto, exact or approximate, got {method!r}")
    return method == "exact" or (method == "auto" and n <= EXACT_UP_TO)


def _placed(rows: Tensor, among: Tensor, metric: str) -> Tensor:
    """Unit rows for angles; for Euclidean distances the mean is taken away, whose square would drown them."""
    if not rows.is_floating_point():
        rows, among = rows.double(), among.double()
    return normalize(rows)[0] if metric == "angular" else rows - among.mean(dim=0)


def _candidates(rows: Tensor, among: Tensor, count: int, metric: str, *, exclude_self: bool = False) -> Tensor:
    """The `count` nearest of `among` by the products of rows, about nearest first: (n, count)."""
    if metric == "euclidean":
        # x·y − ‖y‖²/2 falls as ‖x − y‖ grows: one more coordinate makes a product of it
        half = among.square().sum(dim=1, keepdim=True) / 2
        rows, among = torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1), torch.cat([among, -half], dim=1)
    return nearest_candidates(rows, among, count, exclude_self=exclude_self)[0].long()


def _approximate(rows: Tensor, k: int, random_state: int | None) -> Tensor:
    """About the k nearest others, k or some more: (n, k + s)."""
    found = nearest_by_clusters(rows, k, min(k + SPARE, len(rows) - 1), random_state)
    return _walked(rows, k, random_state) if found is None else found.long()


def _walked(rows: Tensor, k: int, random_state: int | None) -> Tensor:
    """About the k nearest others by a graph of neighbours: (n, k)."""
    pynndescent = optional("pynndescent", "a search for neighbours of so many points")
    index = pynndescent.NNDescent(
        rows.float().numpy(), metric="euclidean", n_neighbors=min(k + 1, len(rows)), random_state=random_state
    )
    found = torch.from_numpy(index.neighbor_graph[0]).long()
    here = found == torch.arange(len(rows))[:, None]
    here[~here.any(dim=1), -1] = True  # duplicates crowded the row itself out: the farthest goes in its place
    return found[~here].view(len(rows), -1)


def _measured(
    rows: Tensor,
    among: Tensor,
    candidates: Tensor,
    k: int,
    metric: str,
    by: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Distances to the k nearest of the candidates (n, c), and which they are, nearest first."""
    candidates = candidates.sort(dim=1).values
    lengths = (by or _lengths)(rows, among, candidates)
    lengths, order = lengths.sort(dim=1, stable=True)
    found = lengths[:, :k]
    if metric == "angular":
        found = 2 * torch.arcsin((found / 2).clamp(max=1))  # the angle that spans this chord
    return found.contiguous(), candidates.gather(1, order[:, :k]).int()


def _lengths(rows: Tensor, among: Tensor, candidates: Tensor) -> Tensor:
    """Lengths of the differences from rows (n, d) to their candidates (n, c) among others."""
    step = max(1, CACHED // (candidates.shape[1] * rows.shape[1]))
    blocks = zip(rows.split(step), candidates.split(step), strict=True)
    return torch.cat([torch.linalg.vector_norm(among[some] - block[:, None], dim=2) for block, some in blocks])


def _lengths_by_loops(rows: Tensor, among: Tensor, candidates: Tensor) -> Tensor:
    """The same but for the order of the sums, in a fifteenth of the time at 512 dimensions; needs numba."""
    optional("numba", "a search for neighbours of so many points")
    from geomclip.projections.lengths import lengths_to

    lengths = rows.new_empty(candidates.shape)
    blocks = [each.split(ROWS) for each in (rows, candidates, lengths)]
    workers = free_threads()
    with Workers(workers if workers > 1 else 0, "lengths") as crew:
        calls = [
            crew.add(lengths_to, block.numpy(), among.numpy(), some.numpy(), out.numpy())
            for block, some, out in zip(*blocks, strict=True)
        ]
        for call in calls:
            crew.result(call)
    return lengths
