"""Float64 answers from float32 rows: sums, products and distances, a few rows at a time.

A float64 copy of all rows would double them twice over; one of some hundred rows stays in the cache, which is also
several times faster.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

CELLS = 2**16
"""Entries cast at a time: half a megabyte in float64."""

PANEL = 128
"""Columns of a Gram matrix computed at a time: all to the right of its diagonal, the rest by symmetry."""


def slices(x: Tensor) -> Iterator[slice]:
    """Consecutive rows of x (n, d), about CELLS entries of it at a time."""
    step = max(1, CELLS // max(1, x.shape[1]))
    return (slice(start, min(start + step, len(x))) for start in range(0, len(x), step))


def total(x: Tensor) -> Tensor:
    """Sum of the rows of x (n, d): (d,), float64.

    Examples
    --------
    >>> total(torch.eye(3)).tolist()
    [1.0, 1.0, 1.0]
    """
    sums = torch.zeros(x.shape[1], dtype=torch.float64)
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
    products = torch.empty(len(x), *vector.shape[1:], dtype=torch.float64)
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
    products = torch.empty(len(y), dtype=torch.float64)
    for rows in slices(y):
        both = x.index_select(0, own[rows]).double()
        products[rows] = both.mul_(y[rows]).sum(1)
    return products


def distances(x: Tensor, y: Tensor, near: Tensor) -> Tensor:
    """Euclidean distances of each row of x (n, d) to rows near (n, k) of y (m, d): (n, k), float64.

    From differences of the rows: 2 − 2c of a float32 cosine has no digits left where rows are close.

    Examples
    --------
    >>> distances(torch.zeros(1, 2), torch.tensor([[0.0, 1.0], [3.0, 4.0]]), torch.tensor([[1, 0]])).tolist()
    [[5.0, 1.0]]
    """
    found = torch.empty(near.shape, dtype=torch.float64)
    for rows in slices(x):
        for place in range(near.shape[1]):
            apart = y.index_select(0, near[rows, place]).double()
            found[rows, place] = apart.sub_(x[rows]).square_().sum(1).sqrt()
    return found


def gram(x: Tensor, centre: Tensor) -> Tensor:
    """(x − centre)ᵀ (x − centre) of rows x (n, d), float64: (d, d), symmetric to the last bit.

    The centre, float64 (d,), is taken away first: from XᵀX it would take digits along where the rows lie close.

    Examples
    --------
    >>> gram(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([2.0, 0.0])).tolist()
    [[2.0, 0.0], [0.0, 0.0]]
    """
    d = x.shape[1]
    upper = torch.zeros(d, d, dtype=torch.float64)
    for rows in slices(x):
        moved = x[rows].double() - centre
        for first in range(0, d, PANEL):
            upper[first : first + PANEL, first:].addmm_(moved[:, first : first + PANEL].T, moved[:, first:])
    return upper.triu() + upper.triu(1).T
