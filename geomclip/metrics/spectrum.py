"""Spectrum: the singular values of one cloud, as the rows are and about their mean.

Few rows are factored (`FactoredSpectrum`), many are multiplied (`GramSpectrum`): a Gram matrix costs a tenth of a
triangular factor, but its eigenvalues are squares, whose roots leave 1e-8 where a singular value is zero. So where
some are faint the rows are multiplied once more, along those directions alone (`_with_faint`), and no digit is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from geomclip.embeddings import exact

ROWS = 8192
"""Rows cast to float64 and factored at a time: 8192 x 512 x 8 bytes = 34 MB."""

MANY = 2
"""Rows a dimension from which a cloud is multiplied: fewer are factored in no time, and most often deficient."""

FAINT = 1e-8
"""Eigenvalues of a Gram matrix below this share of the largest have lost half of their digits, or more."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """What the spectra of n rows need: their mean (d,), and what the rows less it are, up to a rotation of rows.

    Examples
    --------
    >>> spectrum = Spectrum.of(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    >>> spectrum.n, [round(value, 12) for value in spectrum.singular_values.tolist()]
    (2, [1.414213562373, 0.0])
    """

    n: int
    mean: Tensor  # (d,), float64

    @staticmethod
    def of(x: Tensor) -> Spectrum:
        """The cloud of the rows of x (n, d), in float64, some rows at a time."""
        if x.ndim != 2 or len(x) == 0:
            raise ValueError(f"x must be (n, d) with n at least 1, got {tuple(x.shape)}")
        if len(x) < MANY * x.shape[1]:
            return _factored(x)
        mean = exact.total(x) / len(x)
        spectrum = GramSpectrum(len(x), mean, exact.gram(x, mean))
        faintest, largest = spectrum.singular_values_centered[-1], spectrum.singular_values[0]
        return spectrum if faintest.square() >= FAINT * largest.square() else _with_faint(x, spectrum)

    @property
    def d(self) -> int:
        """Dimensions."""
        return len(self.mean)

    @property
    def root(self) -> Tensor:
        """A factor (at most d, d) of the scatter: rootᵀ root = XcᵀXc, Xc the rows less their mean."""
        raise NotImplementedError

    def gram(self, *, centered: bool) -> Tensor:
        """The Gram matrix (d, d) of the rows less their mean, or of the rows as they are."""
        scatter = self._scatter()
        return scatter if centered else scatter + self.n * torch.outer(self.mean, self.mean)

    def _scatter(self) -> Tensor:
        return self.root.T @ self.root

    @property
    def singular_values(self) -> Tensor:
        """Of the rows as they are: (min(n, d),), largest first."""
        raise NotImplementedError

    @property
    def singular_values_centered(self) -> Tensor:
        """Of the rows less their mean: (min(n, d),), largest first; at least one is 0 where n <= d."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class FactoredSpectrum(Spectrum):
    """A cloud known by a factor R of its centred rows, RᵀR = XcᵀXc."""

    factor: Tensor  # (at most d, d), float64

    @property
    def root(self) -> Tensor:
        """The factor."""
        return self.factor

    @cached_property
    def singular_values(self) -> Tensor:
        """Of the rows as they are: (min(n, d),), largest first."""
        stacked = torch.cat([self.mean[None] * self.n**0.5, self.factor])  # (at most d + 1, d)
        return torch.linalg.svdvals(stacked)[: min(self.n, self.d)]

    @cached_property
    def singular_values_centered(self) -> Tensor:
        """Of the rows less their mean: (min(n, d),), largest first; at least one is 0 where n <= d."""
        values = torch.linalg.svdvals(self.factor) if len(self.factor) else self.mean[:0]
        return torch.nn.functional.pad(values, (0, min(self.n, self.d) - len(values)))


@dataclass(frozen=True, eq=False)
class GramSpectrum(Spectrum):
    """A cloud known by its scatter (d, d), the Gram matrix of its centred rows; what nobody reads is not computed."""

    scatter: Tensor

    @cached_property
    def root(self) -> Tensor:
        """A factor (d, d) of the scatter: rootᵀ root = scatter."""
        lower, failed = torch.linalg.cholesky_ex(self.scatter)
        if not failed:
            return lower.T
        # fewer rows than dimensions, or rounding below zero: four times slower, always right
        values, vectors = torch.linalg.eigh(self.scatter)
        return values.clamp(min=0).sqrt()[:, None] * vectors.T

    @cached_property
    def singular_values(self) -> Tensor:
        """Of the rows as they are: (min(n, d),), largest first."""
        return _roots(self.gram(centered=False))[: min(self.n, self.d)]

    @cached_property
    def singular_values_centered(self) -> Tensor:
        """Of the rows less their mean: (min(n, d),), largest first."""
        return _roots(self.scatter)[: min(self.n, self.d)]

    def _scatter(self) -> Tensor:
        return self.scatter

    def shape_distance(self, other: Spectrum) -> Tensor:
        """`gap_after_centering` of the two in trace form: a factor of one cloud about the scatter of the other."""
        # few rows are a small factor; of two scatters that of more rows is the one that Cholesky can factor
        if isinstance(other, GramSpectrum) and other.n <= self.n:
            return _trace_distance(self.root, self.n, other)
        return _trace_distance(other.root, other.n, self)


def _trace_distance(root: Tensor, n: int, other: GramSpectrum) -> Tensor:
    inner = root @ other.scatter @ root.T / (n * other.n)  # the roots of its eigenvalues are summed
    squared = root.square().sum() / n + other.scatter.trace() / other.n - 2 * _roots(inner).sum()
    return squared.clamp(min=0).sqrt()


def _roots(gram: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(gram).flip(0).clamp(min=0).sqrt()


def _factored(x: Tensor) -> FactoredSpectrum:
    """A triangular factor of the rows with a column of ones before them: its first row holds the mean, the rest is
    the centred cloud up to rotation."""
    factor = x.new_zeros(0, x.shape[1] + 1, dtype=torch.float64)
    for rows in x.split(ROWS):
        block = torch.cat([rows.new_ones(len(rows), 1, dtype=torch.float64), rows.double()], dim=1)
        factor = torch.linalg.qr(torch.cat([factor, block]), mode="r").R
    return FactoredSpectrum(len(x), factor[0, 1:] / factor[0, 0], factor[1:, 1:])


def _with_faint(x: Tensor, spectrum: GramSpectrum) -> FactoredSpectrum:
    """The same cloud with all digits of its faint directions, from a Gram matrix of their own.

    The eigenvectors of the scatter part the space: the products of a strong with a faint one are rounding, and do
    not matter. Along the faint ones the rows are short, so that their Gram matrix has digits for what it holds.
    """
    values, vectors = torch.linalg.eigh(spectrum.scatter)  # rising
    least = FAINT * spectrum.singular_values[0].square()
    factors = []
    while True:
        faint = values < least
        factors.append(values[~faint].sqrt()[:, None] * vectors[:, ~faint].T)
        if not faint.any():
            return FactoredSpectrum(spectrum.n, spectrum.mean, torch.cat(factors))
        vectors = vectors[:, faint]
        within = torch.zeros(vectors.shape[1], vectors.shape[1], dtype=torch.float64)
        for rows in exact.slices(x):
            along = (x[rows].double() - spectrum.mean) @ vectors
            within.addmm_(along.T, along)
        values, turn = torch.linalg.eigh(within)
        values, vectors = values.clamp(min=0), vectors @ turn
        least = FAINT * values[-1]
