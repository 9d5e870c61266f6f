"""Spectra of many subsets at the price of one: second moments of groups of rows, which add.

For the interval of the centred gap, which takes the spectra of 20 halves of the images. A half made of whole groups
has as its Gram matrix the sum of theirs, so the rows are multiplied once. Singular values are then roots of
eigenvalues, good to about 1e-4 of the largest from float32 rows: for the spread of a number, not for the number
(`Spectrum.of`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from geomclip.metrics.spectrum import GramSpectrum

AT_ONCE = 10
"""Gram matrices added up at a time: 10 MB for 512 dimensions in float32."""

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
    >>> first, both = moments.of_each(torch.tensor([[True, False], [True, True]]))
    >>> [round(value, 6) for value in first.singular_values.tolist()], both.n
    ([1.0, 1.0], 4)
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

    def of_each(self, chosen: Tensor) -> Iterator[GramSpectrum | None]:
        """The cloud of each choice of groups, bool (c, g); None without rows. Ten are one pass over all groups."""
        d = self.total.shape[1]
        for some in chosen.split(AT_ONCE):
            grams = (some.to(self.gram.dtype) @ self.gram).view(-1, d, d)
            for groups, gram in zip(some, grams, strict=True):
                n = int(self.count[groups].sum())
                if n == 0:
                    yield None
                    continue
                mean = self.total[groups].sum(dim=0) / n
                yield GramSpectrum(n, mean, gram.double() - n * torch.outer(mean, mean))
