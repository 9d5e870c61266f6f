"""Embedding arithmetic: does what a difference of words is added to land where it should? On unit rows, in float64."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ROWS = 1024
"""Queries whose cosines with all candidates are in memory at a time: of 6,000 candidates 50 MB."""
RIGHT = 0.5
"""From where on OSCAR says that a caption fits an image."""


def hits(points: Tensor, own: Tensor, delta: Tensor, wanted: Tensor, oscar: Tensor, lambdas: Sequence[float]) -> Tensor:
    """Whether the image nearest to x + λΔ, that of x itself aside, fits the wanted caption: (lambdas, q), 0 or 1.

    Parameters
    ----------
    points : Tensor of shape (n, d)
        Unit rows of the images. What is moved is not made unit again: that would change no order.
    own : integer Tensor of shape (q,)
        The image of each query.
    delta : Tensor of shape (q, d)
    wanted : integer Tensor of shape (q,)
        Column of `oscar`.
    oscar : Tensor of shape (n, captions)
    lambdas : sequence of float
    """
    found = points.new_empty(len(lambdas), len(own))
    for rows in torch.arange(len(own)).split(ROWS):
        at, towards = points[own[rows]] @ points.T, delta[rows] @ points.T
        for place, lam in enumerate(lambdas):
            scores = (at + lam * towards).scatter(1, own[rows, None], -torch.inf)
            found[place, rows] = (oscar[scores.argmax(dim=1), wanted[rows]] > RIGHT).to(found)
    return found


def ranks(points: Tensor, candidates: Tensor, own: Tensor, wanted: Tensor) -> Tensor:
    """Rank of the wanted candidate by its dot product with each point, its own aside: (q,), 1 is the nearest.

    Of equally near ones the wanted is the last, so that a space in one point finds nothing.

    Parameters
    ----------
    points : Tensor of shape (q, d)
    candidates : Tensor of shape (m, d)
        Unit rows.
    own, wanted : integer Tensors of shape (q,)
        Rows of `candidates` that differ.
    """
    parts = []
    for rows in torch.arange(len(points)).split(ROWS):
        scores = points[rows] @ candidates.T
        reached = scores.gather(1, wanted[rows, None])
        parts.append((scores >= reached).scatter(1, own[rows, None], False).sum(dim=1))
    return torch.cat(parts)


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of each row of a with that of b; 0 where either has no direction."""
    return (torch.nn.functional.normalize(a, dim=1) * torch.nn.functional.normalize(b, dim=1)).sum(dim=1)


def parallel(words: Tensor, value: Tensor, target: Tensor, of: Tensor) -> Tensor:
    """Mean cosine of each difference with the others to the same target: (q,), NaN where there is no other.

    Parameters
    ----------
    words : Tensor of shape (m, d)
    value, target : integer Tensors of shape (q,)
        Rows of `words`: the difference is target − value.
    of : integer Tensor of shape (q,)
        Which target, numbered from 0: that of one word in two fields is two.
    """
    unit = torch.nn.functional.normalize(words[target] - words[value], dim=1)
    total, count = summed(unit, of)
    others = (unit * (total[of] - unit)).sum(dim=1)
    return torch.where(count[of] > 1, others / (count[of] - 1), torch.nan)


def carried(words: Tensor, value: Tensor, target: Tensor, of: Tensor) -> Tensor:
    """For each query the mean difference of the others to the same target: (q, d), NaN where there is no other."""
    delta = words[target] - words[value]
    total, count = summed(delta, of)
    left = (total[of] - delta) / (count[of] - 1)[:, None]
    return torch.where((count[of] > 1)[:, None], left, torch.nan)


def summed(rows: Tensor, of: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of rows by number, and how many rows each has: (g, d) and (g,)."""
    groups = int(of.max()) + 1
    return rows.new_zeros(groups, rows.shape[1]).index_add_(0, of, rows), torch.bincount(of, minlength=groups)


def shuffled(of: Tensor, generator: torch.Generator) -> Tensor:
    """A permutation of (q,) that moves entries within their group alone."""
    order = torch.arange(len(of))
    for each in of.unique():
        own = (of == each).nonzero()[:, 0]
        order[own] = own[torch.randperm(len(own), generator=generator)]
    return order
