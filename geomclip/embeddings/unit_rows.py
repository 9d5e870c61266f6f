"""Unit rows, and the way back to the rows that they were made from, which float64 starts from.

Normalising float32 rows rounds them, by 1e-7 of each number. A set that is asked for float64 later must start from the
rows as they were given, and need not hold them twice: a unit row times its length is the row it came from to within
a few steps of float32, and those steps fit into a byte a number.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geomclip.embeddings import exact
from geomclip.embeddings.geometry import normalize
from geomclip.machine import scratch


@dataclass(frozen=True, eq=False)
class UnitRows:
    """Rows of length 1 with the lengths they came with, and what leads back to the rows they came as.

    Parameters
    ----------
    rows : Tensor of shape (n, d), float32 or float64
    norms : Tensor of shape (n,), float64
    origin : Tensor of shape (n, d) or torch.dtype, optional
        int8: steps of float32 from row times length to the row as it came. float64: the row itself, at length 1. A half
        type: row times length is the row as it came once it is rounded to that type. Left out: the rows came as they
        are.

    Examples
    --------
    >>> rows = UnitRows.of(torch.tensor([[1.0, 3.0]]), "x")
    >>> rows.in_precision(torch.float64).rows[0, 1].item() == 3 / 10**0.5
    True
    """

    rows: Tensor
    norms: Tensor
    origin: Tensor | torch.dtype | None = None

    @classmethod
    def of(cls, x: Tensor, name: str) -> UnitRows:
        """The rows of x (n, d), a floating type, at length 1; ValueError as of `normalize`, which calls them `name`."""
        rows, norms = normalize(x, name=name)
        if x.dtype == torch.float32:
            return cls(rows, norms, _steps(rows, norms, x))
        return cls(rows, norms, None if x.dtype == torch.float64 else x.dtype)

    def __getitem__(self, chosen: Tensor) -> UnitRows:
        """Some of the rows."""
        origin = scratch.rows(self.origin, chosen) if isinstance(self.origin, Tensor) else self.origin
        return UnitRows(scratch.rows(self.rows, chosen), self.norms[chosen], origin)

    def in_precision(self, dtype: torch.dtype) -> UnitRows:
        """The same rows at length 1 in float32 or float64; in float64 from the rows as they came."""
        if self.rows.dtype == dtype:
            return self
        if dtype == torch.float64:
            return UnitRows(self._exact(), self.norms)
        return UnitRows(normalize(scratch.to(self.rows, dtype))[0], self.norms)

    def beside(self, dtype: torch.dtype) -> UnitRows:
        """The same rows in the type of other rows: float64 rows are rounded to float32 and kept as their origin."""
        if self.rows.dtype == dtype or dtype == torch.float64:
            return self.in_precision(dtype)
        return UnitRows(scratch.to(self.rows, dtype), self.norms, self.rows)

    def _exact(self) -> Tensor:
        """The rows as they came, at length 1 in float64."""
        if self.origin is None:
            return normalize(scratch.to(self.rows, torch.float64))[0]
        if isinstance(self.origin, Tensor) and self.origin.dtype == torch.float64:
            return self.origin
        came = scratch.empty(*self.rows.shape, dtype=torch.float64)
        for some in exact.slices(self.rows):
            product = self.rows[some].double() * self.norms[some, None]
            if isinstance(self.origin, Tensor):
                came[some] = (product.float().view(torch.int32) + self.origin[some]).view(torch.float32)
            else:
                came[some] = product.to(self.origin)
        return normalize(came)[0]


def _steps(rows: Tensor, norms: Tensor, x: Tensor) -> Tensor:
    """How many numbers of float32 lie between each entry of x (n, d) and its row times its length: (n, d), int8.

    At most four, but for entries 1e-38 of their row's largest or less, which it does not matter to lose.
    """
    steps = scratch.empty(*x.shape, dtype=torch.int8)
    for some in exact.slices(x):
        product = (rows[some].double() * norms[some, None]).float()
        # floats of one sign are in the order of their bits
        steps[some] = (x[some].view(torch.int32) - product.view(torch.int32)).clamp_(-128, 127)
    return steps
