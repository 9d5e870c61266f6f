"""Exact answers from float32 rows: float64 sums, products and distances, and which rows are equal; a few at a time.

A float64 copy of all rows would double them twice over; one of some hundred rows stays in the cache, which is also
several times faster.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

CELLS = 2**16
"""Entries cast at a time: half a megabyte in float64."""

PANEL = 128
"""Columns of a Gram matrix computed at a time: all to the right of its diagonal, the rest by symmetry."""


def step_of(x: Tensor) -> int:
    """How many rows of x (n, d) have about CELLS entries."""
    return max(1, CELLS // max(1, x.shape[1]))


def slices(x: Tensor) -> Iterator[slice]:
    """Consecutive rows of x (n, d), about CELLS entries of it at a time."""
    step = step_of(x)
    return (slice(start, min(start + step, len(x))) for start in range(0, len(x), step))


def total(x: Tensor) -> Tensor:
    """Sum of the rows of x (n, d): (d,), float64.

    Examples
    --------
    >>> total(torch.eye(3)).tolist()
    [1.0, 1.0, 1.0]
    """
    sums = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    for rows in slices(x):
        sums += x[rows].double().sum(0)
    return sums


def dots(x: Tensor, vector: Tensor) -> Tensor:
    """Products of each row of x (n, d) with one float64 vector (d,), or with each column of some (d, c).

    Examples
    --------
    >>> dots(torch.eye(2), torch.tensor([3.0, 4.0], dtype=torch.float64)).tolist()
    [3.0, 4.0]
    """
    products = torch.empty(len(x), *vector.shape[1:], dtype=torch.float64, device=x.device)
    for rows in slices(x):
        products[rows] = x[rows].double() @ vector
    return products


def matched(x: Tensor, y: Tensor, own: Tensor) -> Tensor:
    """Product of each row of y (m, d) with row own (m,) of x (n, d): (m,), float64.

    Examples
    --------
    >>> matched(torch.eye(2), torch.eye(2), torch.tensor([0, 0])).tolist()
    [1.0, 0.0]
    """
    products = torch.empty(len(y), dtype=torch.float64, device=y.device)
    for rows in slices(y):
        both = x.index_select(0, own[rows]).double()
        products[rows] = both.mul_(y[rows]).sum(1)
    return products


def distances(x: Tensor, y: Tensor, near: Tensor, rows: Tensor | None = None) -> Tensor:
    """Euclidean distances of rows of x (n, d), all or these (r,), to k rows near (r, k) of y (m, d): (r, k), float64.

    From differences of the rows: 2 − 2c of a float32 cosine has no digits left where rows are close.

    Examples
    --------
    >>> distances(torch.zeros(1, 2), torch.tensor([[0.0, 1.0], [3.0, 4.0]]), torch.tensor([[1, 0]])).tolist()
    [[5.0, 1.0]]
    """
    found = torch.empty(near.shape, dtype=torch.float64)
    for some in torch.arange(len(near)).split(step_of(x)):
        own = x[some] if rows is None else x[rows[some]]
        for place in range(near.shape[1]):
            apart = y.index_select(0, near[some, place]).double()
            found[some, place] = apart.sub_(own).square_().sum(1).sqrt()
    return found


def gram(x: Tensor, centre: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
    """Σ weight (x − centre)(x − centre)ᵀ over the rows of x (n, d), float64: (d, d), symmetric to the last bit.

    The centre, float64 (d,), is taken away first: from XᵀX it would take digits along where the rows lie close. The
    weights, float64 (n,), are 0 or more; left out they are 1, and the centre is 0.

    Examples
    --------
    >>> gram(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([2.0, 0.0])).tolist()
    [[2.0, 0.0], [0.0, 0.0]]
    """
    d = x.shape[1]
    upper = torch.zeros(d, d, dtype=torch.float64)
    for rows in slices(x):
        some = x[rows].double()
        if centre is not None:
            some = some - centre
        if weight is not None:
            some = some * weight[rows, None].sqrt()
        for first in range(0, d, PANEL):
            upper[first : first + PANEL, first:].addmm_(some[:, first : first + PANEL].T, some[:, first:])
    return upper.triu() + upper.triu(1).T


def first_equal(x: Tensor) -> Tensor:
    """For each row of x (n, d) the place of the first row that is equal to it, entry by entry: (n,), int64.

    Examples
    --------
    >>> first_equal(torch.tensor([[0.0, 1.0], [1.0, 0.0], [-0.0, 1.0]])).tolist()
    [0, 1, 0]
    """
    keys = _keys(x)
    order = keys.argsort(stable=True)
    first = torch.ones(len(x), dtype=torch.bool)
    first[1:] = keys[order[1:]] != keys[order[:-1]]
    found = torch.empty_like(order)
    found[order] = order[first][first.cumsum(0) - 1]
    copies = (found != torch.arange(len(x))).nonzero()[:, 0]
    for some in copies.split(step_of(x)):
        if (x[some] != x[found[some]]).any():
            return _first_equal_by_sorting(x)  # different rows of one key
    return found


def _keys(x: Tensor) -> Tensor:
    """A number of 64 bits for each row, the same for equal rows."""
    kind = torch.int32 if x.dtype == torch.float32 else torch.int64
    factors = torch.from_numpy(np.random.default_rng(0).integers(-(2**63), 2**63 - 1, x.shape[1], endpoint=True))
    keys = torch.empty(len(x), dtype=torch.int64)
    for rows in slices(x):
        bits = (x[rows] + 0.0).view(kind).long()  # -0 and 0 are equal, their bits are not
        keys[rows] = (bits ^ (bits >> 25)).mul_(factors).sum(1)  # the low bits of short numbers are all 0
    return keys


def _first_equal_by_sorting(x: Tensor) -> Tensor:
    rows = np.ascontiguousarray((x + 0.0).numpy())
    whole = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))[:, 0]
    _, first, group = np.unique(whole, return_index=True, return_inverse=True)
    return torch.from_numpy(first[group])
