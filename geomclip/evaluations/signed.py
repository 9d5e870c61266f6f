"""Signed labels: how well numbers are told, and how well their signs, with 0 as negative or left out."""

from __future__ import annotations

import torch
from torch import Tensor


def correlation(x: Tensor, y: Tensor) -> float | None:
    """Pearson's correlation; None where either is constant."""
    x, y = x - x.mean(), y - y.mean()
    product = float(x.norm() * y.norm())
    return None if is_constant(x) or is_constant(y) else float(x @ y) / product


def correlation_influence(x: Tensor, y: Tensor) -> Tensor:
    """What each entry moves the correlation by, to first order: (n,), summing to 0."""
    x, y = (each - each.mean() for each in (x, y))
    x, y = (each / each.square().mean().sqrt() for each in (x, y))
    moved = x * y - (x * y).mean() * (x.square() + y.square()) / 2
    return moved / (len(x) * (len(x) - 1)) ** 0.5


def is_constant(x: Tensor) -> bool:
    """Whether all entries are one number, up to rounding."""
    return bool(x.max() - x.min() <= 1e-12 * max(1.0, float(x.abs().max())))


def hits(predicted: Tensor, label: Tensor, *, zeros: bool) -> Tensor:
    """Whether the sign is right (n,): 0 or 1. With `zeros` 0 is negative, else labels of 0 are NaN."""
    right = ((predicted > 0) == (label > 0)).double()
    return right if zeros else torch.where(label == 0, torch.nan, right)


def weighted_f1(predicted: Tensor, label: Tensor, *, zeros: bool) -> float:
    """F1 of positive and of not positive, averaged by how many labels are of each; 0 for one that is never right.

    Without `zeros` labels of 0 are left out.
    """
    there = torch.ones_like(label, dtype=torch.bool) if zeros else label != 0
    said, true = predicted[there] > 0, label[there] > 0
    total = 0.0
    for said_so, is_so in ((said, true), (~said, ~true)):
        both = float((said_so & is_so).sum())
        of_either = float(said_so.sum() + is_so.sum())
        total += float(is_so.sum()) * (2 * both / of_either if of_either else 0.0)
    return total / int(there.sum())
