"""The shape of one cloud, read from its singular values: how many directions it uses, and how evenly."""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from geomclip.metrics.kinds import on_unit_rows
from geomclip.metrics.spectrum import Spectrum

RANKME_EPSILON = 1e-7
"""Garrido et al. (2023): added to every share of the singular values."""


@on_unit_rows
def effective_rank(x: Tensor) -> Tensor:
    """Number of directions that the rows of x really use: 1 (a line) to min(n, d) (all alike). Rows are normalised.

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
    """`effective_rank` of the rows less their mean: 1 to min(n − 1, d); undefined for a single point.
    Rows are normalised.
    """
    return _entropy_rank(_some_spread(Spectrum.of(x)))


@on_unit_rows
def participation_ratio(x: Tensor) -> Tensor:
    """Number of directions that carry the squared length of the rows: 1 (a line) to min(n, d) (all alike).
    Rows are normalised.

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
    """`participation_ratio` of the rows less their mean: 1 to min(n − 1, d); undefined for a single point.
    Rows are normalised.
    """
    return _square_ratio(_some_spread(Spectrum.of(x)))


@on_unit_rows
def rankme(x: Tensor) -> Tensor:
    """`effective_rank` with 1e-7 added to each share of the singular values, as RankMe is published.
    Rows are normalised.

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
    Rows are normalised.

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
    Rows are normalised.

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
