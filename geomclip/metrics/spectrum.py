"""The shape of one cloud, read from its singular values: how many directions it uses, and how evenly.

Few rows are factored (`FactoredSpectrum`), many are multiplied (`GramSpectrum`): a Gram matrix costs a tenth of a
triangular factor, but its eigenvalues are squares, whose roots leave 1e-8 where a singular value is zero. So where
some are faint the rows are multiplied once more, along those directions alone (`_with_faint`), and no digit is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from geomclip.embeddings import exact
from geomclip.metrics.kinds import on_unit_rows

ROWS = 8192
"""Rows cast to float64 and factored at a time: 8192 x 512 x 8 bytes = 34 MB."""

MANY = 2
"""Rows a dimension from which a cloud is multiplied: fewer are factored in no time, and most often deficient."""

FAINT = 1e-8
"""Eigenvalues of a Gram matrix below this share of the largest have lost half of their digits, or more."""

RANKME_EPSILON = 1e-7
"""Garrido et al. (2023): added to every share of the singular values."""


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
    """A cloud known by its scatter (d, d), the Gram matrix of its centred rows; what is not asked is not computed."""

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
        return _roots(self.scatter + self.n * torch.outer(self.mean, self.mean))[: min(self.n, self.d)]

    @cached_property
    def singular_values_centered(self) -> Tensor:
        """Of the rows less their mean: (min(n, d),), largest first."""
        return _roots(self.scatter)[: min(self.n, self.d)]

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


@on_unit_rows
def effective_rank(x: Tensor) -> Tensor:
    """Number of directions that the rows of x really use: 1 (a line) to min(n, d) (all alike).

    The exponential of the entropy of the singular values, normalised to sum to 1. Not centred: the mean
    direction counts as one, and in CLIP it is the largest; `effective_rank_centered` leaves it out.

    Parameters
    ----------
    x : Tensor of shape (n, d)

    Returns
    -------
    Tensor of shape (), float64
        Unchanged by rotation.

    References
    ----------
    Roy and Vetterli (2007), "The effective rank: a measure of effective dimensionality", EUSIPCO.

    Examples
    --------
    >>> round(effective_rank(torch.eye(3)).item(), 6)
    3.0
    """
    return _entropy_rank(Spectrum.of(x).singular_values)


@on_unit_rows
def effective_rank_centered(x: Tensor) -> Tensor:
    """`effective_rank` of the rows less their mean: 1 to min(n − 1, d); undefined for a single point."""
    return _entropy_rank(_some_spread(Spectrum.of(x)))


@on_unit_rows
def participation_ratio(x: Tensor) -> Tensor:
    """Number of directions that carry the squared length of the rows: 1 (a line) to min(n, d) (all alike).

    (Σλ)² / Σλ², λ the squared singular values. Not centred. Squares weigh the strongest directions more than
    `effective_rank` does: in CLIP the mean direction alone holds it near 3.

    Parameters
    ----------
    x : Tensor of shape (n, d)

    Returns
    -------
    Tensor of shape (), float64

    References
    ----------
    Gao et al. (2017), "A theory of multineuronal dimensionality, dynamics and measurement", bioRxiv.

    Examples
    --------
    >>> round(participation_ratio(torch.eye(3)).item(), 6)
    3.0
    """
    return _square_ratio(Spectrum.of(x).singular_values)


@on_unit_rows
def participation_ratio_centered(x: Tensor) -> Tensor:
    """`participation_ratio` of the rows less their mean: 1 to min(n − 1, d); undefined for a single point."""
    return _square_ratio(_some_spread(Spectrum.of(x)))


@on_unit_rows
def rankme(x: Tensor) -> Tensor:
    """`effective_rank` with 1e-7 added to each share of the singular values, as RankMe is published.

    exp(−Σ p log p), p = σ/Σσ + 1e-7: above `effective_rank` by about 2e-6 of itself for each zero direction.

    Parameters
    ----------
    x : Tensor of shape (n, d)

    Returns
    -------
    Tensor of shape (), float64

    References
    ----------
    Garrido et al. (2023), "RankMe: assessing the downstream performance of pretrained self-supervised
    representations by their rank", ICML.

    Examples
    --------
    >>> round(rankme(torch.eye(3)).item(), 4)
    3.0
    """
    return _rankme(Spectrum.of(x).singular_values)


@on_unit_rows
def isoscore(x: Tensor) -> Tensor:
    """How evenly the cloud fills its space about its mean: 0 (one direction) to 1 (all variances alike).

    The variances λ along the principal axes are scaled to length √d; δ = ‖λ − 1‖ / √(2(d − √d)) is the
    isotropy defect, φ = (d − δ²(d − √d))² / d² the share of dimensions used, and (dφ − 1)/(d − 1) the score.
    Written out, dφ is the centred participation ratio, so that is what is computed.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        d at least 2; the rows are not all one point.

    Returns
    -------
    Tensor of shape (), float64
        At most (n − 2)/(d − 1) where n <= d: few rows cannot fill the space.

    Raises
    ------
    ValueError
        If d is 1, or all rows are one point.

    References
    ----------
    Rudman et al. (2022), "IsoScore: measuring the uniformity of embedding space utilization", ACL Findings.

    Examples
    --------
    >>> square = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    >>> round(isoscore(square).item(), 6), round(isoscore(square[[0, 2]]).item(), 6)
    (1.0, 0.0)
    """
    return _isoscore(Spectrum.of(x))


@on_unit_rows
def w2_uniformity(x: Tensor) -> Tensor:
    """Wasserstein-2 distance of the cloud to the normal with variance 1/d: lower is more uniform, 0 to √2.

    √(‖μ‖² + 1 + tr Σ − (2/√d) tr Σ^½), μ the mean and Σ the covariance (1/n). Sees collapsed dimensions that
    `uniformity` does not. Biased at small n: even uniform rows give about 0.37 at n = 1,000, d = 512, so
    compare at equal n and d, or with the null.

    Parameters
    ----------
    x : Tensor of shape (n, d)

    Returns
    -------
    Tensor of shape (), float64

    References
    ----------
    Fang et al. (2024), "Rethinking the uniformity metric in self-supervised learning", ICLR.

    Examples
    --------
    >>> square = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    >>> round(w2_uniformity(square).item(), 6)
    0.0
    """
    return _w2_uniformity(Spectrum.of(x))


def spectral_measures(
    spectrum: Spectrum, names: Collection[str] | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every measure of this file, or those named: values by name, and reasons by name of those undefined."""
    values, reasons = {}, {}
    for name in _MEASURES if names is None else names:
        try:
            values[name] = _MEASURES[name](spectrum)
        except ValueError as undefined:
            reasons[name] = str(undefined)
    return values, reasons


def _some_spread(spectrum: Spectrum) -> Tensor:
    values = spectrum.singular_values_centered
    # rounding of the mean leaves about 1e-16 of the length of the rows
    if spectrum.n < 2 or values[0] <= 1e-14 * spectrum.singular_values[0]:
        raise ValueError("all rows are one point, so nothing is left once the mean is taken away")
    return values


def _entropy_rank(values: Tensor) -> Tensor:
    return torch.special.entr(values / values.sum()).sum().exp()


def _square_ratio(values: Tensor) -> Tensor:
    energy = values.square()
    return energy.sum().square() / energy.square().sum()


def _rankme(values: Tensor) -> Tensor:
    return torch.special.entr(values / values.sum() + RANKME_EPSILON).sum().exp()


def _isoscore(spectrum: Spectrum) -> Tensor:
    if spectrum.d < 2:
        raise ValueError("isoscore needs at least 2 dimensions, got 1")
    return (_square_ratio(_some_spread(spectrum)) - 1) / (spectrum.d - 1)


def _w2_uniformity(spectrum: Spectrum) -> Tensor:
    deviations = spectrum.singular_values_centered / spectrum.n**0.5
    deviations = torch.nn.functional.pad(deviations, (0, spectrum.d - len(deviations)))
    # the trace form as a sum of squares: no digits lost near 0
    return (spectrum.mean.square().sum() + (deviations - spectrum.d**-0.5).square().sum()).sqrt()


_MEASURES: dict[str, Callable[[Spectrum], Tensor]] = {
    "effective_rank": lambda spectrum: _entropy_rank(spectrum.singular_values),
    "participation_ratio": lambda spectrum: _square_ratio(spectrum.singular_values),
    "effective_rank_centered": lambda spectrum: _entropy_rank(_some_spread(spectrum)),
    "participation_ratio_centered": lambda spectrum: _square_ratio(_some_spread(spectrum)),
    "rankme": lambda spectrum: _rankme(spectrum.singular_values),
    "isoscore": _isoscore,
    "w2_uniformity": _w2_uniformity,
}

SPECTRA = tuple(_MEASURES)
"""Names of the measures of one cloud, without `_image` or `_text`."""
