"""Nearest neighbours by products of rows: exact, a block of rows at a time, no n x m array ever held."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 4_000_000
"""Scores held at a time: 16 MB in float32, 32 MB in float64."""


def nearest_candidates(
    x: Tensor, y: Tensor, count: int, *, exclude_self: bool = False, exact: bool = False
) -> tuple[Tensor, Tensor]:
    """The `count` nearest rows of y (m, d) to each row of x (n, d): indices and scores, best first.

    Ties fall as they may: meant for choosing among.

    Returns
    -------
    indices : Tensor of shape (n, count), int32
    scores : Tensor of shape (n, count), float64
        Dot products, in the precision of x; with `exact`, computed again in float64 from the rows.
    """
    check_neighbors(x, y, count, exclude_self=exclude_self)
    indices, values = [], []
    for start, rows in blocks(x, len(y)):
        best = products(rows, y, start, exclude_self=exclude_self).topk(count, dim=1)
        indices.append(best.indices.int())
        values.append(_rescored(rows, y, best.indices) if exact else best.values.double())
    found, scores = torch.cat(indices), torch.cat(values)
    if exact:
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        found = found.gather(1, order)
    return found, scores


def check_neighbors(x: Tensor, y: Tensor, k: int, *, exclude_self: bool = False) -> None:
    """Refuse x (n, d) and y (m, d) in which not every row of x has k neighbours among those of y.

    Raises
    ------
    ValueError
        If they do not share d, are not the same rows where a row is not its own neighbour, or k is too small or large.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"x (n, d) and y (m, d) must share d, got {tuple(x.shape)} and {tuple(y.shape)}")
    if exclude_self and len(x) != len(y):
        raise ValueError(f"rows of x and y must be the same items, got {len(x)} and {len(y)}")
    most = len(y) - exclude_self
    if not 1 <= k <= most:
        raise ValueError(f"k must be 1 to {most} for {len(y)} rows, got {k}")


def rows_at_a_time(m: int) -> int:
    """How many rows have BLOCK scores with m others each."""
    return max(1, BLOCK // m)


def blocks(x: Tensor, m: int, rows: tuple[int, int] | None = None) -> Iterator[tuple[int, Tensor]]:
    """Rows of x (n, d), all or those `rows` (from, to), a few at a time, each with the number of its first.

    So many that BLOCK products with m other rows are held.
    """
    first, last = rows or (0, len(x))
    step = rows_at_a_time(m)
    for start in range(first, last, step):
        yield start, x[start : min(start + step, last)]


def products(rows: Tensor, y: Tensor, start: int, *, exclude_self: bool = False) -> Tensor:
    """Dot products of rows (b, d), which are those from `start` on, with all rows of y (m, d): (b, m).

    With `exclude_self` that of a row with itself is −∞.
    """
    scores = rows @ y.T
    if exclude_self:
        here = torch.arange(len(rows))
        scores[here, here + start] = -torch.inf
    return scores


def _rescored(rows: Tensor, y: Tensor, indices: Tensor) -> Tensor:
    """Float64 dot products of rows (b, d) with the rows of y that they found (b, count)."""
    step = rows_at_a_time(indices.shape[1] * y.shape[1])
    parts = [
        torch.einsum("bd,bcd->bc", near.double(), y[index].double())
        for near, index in zip(rows.split(step), indices.split(step), strict=True)
    ]
    return torch.cat(parts)
