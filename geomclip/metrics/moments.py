"""Spectra of many subsets at the price of one: second moments of groups of rows, which add.

For intervals, which take the spectra of 50 halves of the images. A half made of whole groups has as its Gram
matrix the sum of theirs, so the rows are multiplied once. Singular values are then roots of eigenvalues, good
to about 1e-4 of the largest from float32 rows: for the spread of a number, not for the number (`Cloud.of`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from geomclip.metrics.spectrum import Cloud

FEW_ROWS = 8
"""Below this many rows a dimension Gram matrices are float64: small eigenvalues matter, and it is cheap."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Count (g,), sum (g, d) and Gram matrix (g, d²) of the rows of each group.

    100 groups of 512 dimensions hold 105 MB in float32.

    Examples
    --------
    >>> rows = torch.eye(4, dtype=torch.float64)
    >>> moments = Moments.of(rows, torch.tensor([0, 1, 1, 0]), groups=2)
    >>> [round(value, 6) for value in moments.of_groups(torch.tensor([True, False])).singular_values.tolist()]
    [1.0, 1.0]
    """

    count: Tensor
    total: Tensor
    gram: Tensor

    @classmethod
    def of(cls, x: Tensor, group: Tensor, *, groups: int) -> Moments:
        """Moments of the rows of x (n, d), row i in group[i]; a group may be empty."""
        if group.shape != (len(x),):
            raise ValueError(f"group has shape {tuple(group.shape)} for {len(x)} rows")
        d = x.shape[1]
        if len(x) <= FEW_ROWS * d:
            x = x.double()
        count = torch.bincount(group, minlength=groups)
        total = torch.zeros(groups, d, dtype=torch.float64)
        gram = x.new_empty(groups, d * d)
        parts = x[group.argsort(stable=True)].split(count.tolist())
        for g, rows in enumerate(parts):
            total[g] = rows.sum(dim=0, dtype=torch.float64)
            gram[g] = (rows.T @ rows).flatten()
        return cls(count, total, gram)

    def of_groups(self, chosen: Tensor) -> GramCloud:
        """The rows of the chosen groups, a bool (g,), as one cloud."""
        n = int(self.count[chosen].sum())
        if n == 0:
            raise ValueError("the chosen groups have no rows")
        d = self.total.shape[1]
        gram = (chosen.to(self.gram.dtype) @ self.gram).view(d, d).double()
        return GramCloud(n, self.total[chosen].sum(dim=0) / n, self.total.new_empty(0, d), gram)


@dataclass(frozen=True, eq=False)
class GramCloud(Cloud):
    """A cloud known by its Gram matrix (d, d); what it does not need is not computed. Holds no factor."""

    gram: Tensor

    @cached_property
    def scatter(self) -> Tensor:
        """Gram matrix of the rows less their mean: (d, d)."""
        return self.gram - self.n * torch.outer(self.mean, self.mean)

    @cached_property
    def singular_values(self) -> Tensor:
        """Of the rows as they are: (min(n, d),), largest first."""
        return _roots(self.gram)[: min(self.n, self.d)]

    @cached_property
    def singular_values_centered(self) -> Tensor:
        """Of the rows less their mean: (min(n, d),), largest first."""
        return _roots(self.scatter)[: min(self.n, self.d)]

    @cached_property
    def root(self) -> Tensor:
        """A factor (d, d) of the scatter: rootᵀ root = scatter."""
        lower, failed = torch.linalg.cholesky_ex(self.scatter)
        if not failed:
            return lower.T
        # fewer rows than dimensions, or rounding below zero: four times slower, always right
        values, vectors = torch.linalg.eigh(self.scatter)
        return values.clamp(min=0).sqrt()[:, None] * vectors.T

    def shape_distance(self, other: GramCloud) -> Tensor:
        """`gap_after_centering` of the two, from the trace form."""
        inner = self.root @ other.scatter @ self.root.T / (self.n * other.n)  # the roots of its eigenvalues
        squared = self.scatter.trace() / self.n + other.scatter.trace() / other.n - 2 * _roots(inner).sum()
        return squared.clamp(min=0).sqrt()


def _roots(gram: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(gram).flip(0).clamp(min=0).sqrt()
