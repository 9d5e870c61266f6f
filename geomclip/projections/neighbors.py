"""The k nearest other points of every point: exactly, a block of rows at a time, or by pynndescent."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomclip.embeddings import as_tensor
from geomclip.extras import optional
from geomclip.geometry import normalize
from geomclip.metrics.neighborhood import nearest_candidates

EXACT_UP_TO = 30_000
"""Points for which `auto` compares all with all: 20 s of products at 512 dimensions on two cores."""

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
        "exact" never holds an n x n array but takes n² d operations; "approximate" is pynndescent's; "auto" is
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
        If k is not between 1 and n − 1, a row is zero where angles are asked for, or a name is unknown.
    NotAvailableError
        If pynndescent is needed and not installed.

    Examples
    --------
    >>> distances, indices = nearest(np.array([[0.0], [1.0], [3.0]]), 1, metric="euclidean")
    >>> distances[:, 0].tolist(), indices[:, 0].tolist()
    ([1.0, 1.0, 2.0], [1, 0, 1])
    """
    if metric not in ("angular", "euclidean"):
        raise ValueError(f"metric must be angular or euclidean, got {metric!r}")
    if method not in ("auto", "exact", "approximate"):
        raise ValueError(f"method must be auto, exact or approximate, got {method!r}")
    rows = as_tensor(x, "x")
    n = len(rows)
    if not 1 <= k < n:
        raise ValueError(f"{k} neighbours need at least {k + 1} points, got {n}")
    rows = _placed(rows, rows, metric)
    if method == "exact" or (method == "auto" and n <= EXACT_UP_TO):
        candidates = _candidates(rows, rows, min(k + SPARE, n - 1), metric, exclude_self=True)
    else:
        candidates = _approximate(rows, k, random_state)
    return _measured(rows, rows, candidates, k, metric)


def nearest_among(
    x: NDArray[Any] | Tensor, among: NDArray[Any] | Tensor, k: int, *, metric: str = "angular"
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Distances to the k nearest rows of `among` (m, d) to every row of x (n, d), and which they are, exactly.

    As `nearest`, for new points: a row of x that is also one of `among` finds it, at distance 0.
    """
    known, rows = as_tensor(among, "among"), as_tensor(x, "x")
    if not 1 <= k <= len(known):
        raise ValueError(f"{k} neighbours need at least {k} points, got {len(known)}")
    rows, known = _placed(rows, known, metric), _placed(known, known, metric)
    rows, known = (each.to(torch.promote_types(rows.dtype, known.dtype)) for each in (rows, known))
    return _measured(rows, known, _candidates(rows, known, min(k + SPARE, len(known)), metric), k, metric)


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
    """About the k nearest others: (n, k)."""
    pynndescent = optional("pynndescent", "a search for neighbours of so many points")
    index = pynndescent.NNDescent(
        rows.float().numpy(), metric="euclidean", n_neighbors=min(k + 1, len(rows)), random_state=random_state
    )
    found = torch.from_numpy(index.neighbor_graph[0]).long()
    here = found == torch.arange(len(rows))[:, None]
    here[~here.any(dim=1), -1] = True  # duplicates crowded the row itself out: the farthest goes in its place
    return found[~here].view(len(rows), -1)


def _measured(
    rows: Tensor, among: Tensor, candidates: Tensor, k: int, metric: str
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Distances to the k nearest of the candidates (n, c), and which they are, nearest first."""
    step = max(1, (1 << 24) // (candidates.shape[1] * rows.shape[1]))  # 64 MB of differences
    distances, indices = [], []
    for block, some in zip(rows.split(step), candidates.sort(dim=1).values.split(step), strict=True):
        lengths = torch.linalg.vector_norm(block[:, None] - among[some], dim=2)
        lengths, order = lengths.sort(dim=1, stable=True)
        distances.append(lengths[:, :k])
        indices.append(some.gather(1, order[:, :k]))
    found = torch.cat(distances)
    if metric == "angular":
        found = 2 * torch.arcsin((found / 2).clamp(max=1))  # the angle that spans this chord
    return found.float().numpy(), torch.cat(indices).int().numpy()
