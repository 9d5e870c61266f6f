"""Calibration from what was predicted: confidence and hit of each query, or the probability of each class."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from geomclip.metrics.bins import BINS, bin_of, bin_sums, checked_queries
from geomclip.metrics.kinds import on_rows_as_they_are

GRID = 2**15
"""Cells of [0, 1] in `smece`: far finer than any bandwidth at which the value is worth reading."""

SCALES = (1e-2, 1e4)
"""Where `fit_logit_scale` looks: temperatures 100 to 0.0001."""


@on_rows_as_they_are
def ece(confidence: Tensor, hit: Tensor, *, bins: int = BINS) -> Tensor:
    """Expected calibration error: 0 (confidence is accuracy) to 1; lower is better.

    Σ (n_b/n) |accuracy − mean confidence| over equal-width bins (lo, hi], the first closed at 0.

    Parameters
    ----------
    confidence : Tensor of shape (n,)
        Probability of the prediction, 0 to 1.
    hit : Tensor of shape (n,)
        Whether the prediction is right, 0 or 1.
    bins : int

    Returns
    -------
    Tensor of shape (), float64

    Raises
    ------
    ValueError
        If there is no query, or a confidence is not in 0 to 1.

    References
    ----------
    Guo et al. (2017), "On calibration of modern neural networks", ICML, equation 3.

    Examples
    --------
    >>> ece(torch.tensor([0.75, 0.75]), torch.tensor([1, 0])).item()
    0.25
    """
    confidence, hit = checked_queries(confidence, hit)
    _, right, sure = bin_sums(confidence, hit, bins)
    return (right - sure).abs().sum() / len(hit)


@on_rows_as_they_are
def ece_debiased(confidence: Tensor, hit: Tensor, group: Tensor | None = None, *, bins: int = BINS) -> Tensor:
    """Calibration error without the part that chance adds: 0 (as honest as can be told) to 1; lower is better.

    √( Σ (n_b/n) (accuracy − confidence)² ) over the bins of `ece`, less what independent answers with the right
    confidences would have on average; 0 where that is more. With s_b the sum of hit − confidence in a bin, it is the
    root of Σ (s_b² − v_b)/(n n_b), v_b the variance of s_b, from how far the groups in a bin lie about its mean. `ece`
    of honest confidences is above 0, the more so the fewer queries there are; this is not.

    Parameters
    ----------
    confidence, hit
        As in `ece`.
    group : integer Tensor of shape (n,), optional
        Queries of one group, such as the captions of one image, are right together; left out, each is alone.
    bins : int

    Returns
    -------
    Tensor of shape (), float64

    Raises
    ------
    ValueError
        If there is no query, a confidence is not in 0 to 1, or all queries are of one group.

    References
    ----------
    Kumar, Liang and Ma (2019), "Verified uncertainty calibration", NeurIPS (the debiased estimator of the squared
    error; here the bins of `ece` and groups in place of single answers).

    Examples
    --------
    >>> ece_debiased(torch.tensor([0.75, 0.75, 0.75, 0.75]), torch.tensor([1, 1, 0, 1])).item()
    0.0
    """
    confidence, hit = checked_queries(confidence, hit)
    number = torch.arange(len(hit)) if group is None else group.unique(return_inverse=True)[1]
    groups = int(number.max()) + 1
    place = number * bins + bin_of(confidence, bins)
    over = torch.zeros(groups * bins, dtype=torch.float64).index_add_(0, place, hit - confidence).view(groups, bins)
    count = torch.bincount(place, minlength=groups * bins).view(groups, bins).double()
    return debiased_square(over, count).clamp(min=0).sqrt()


def debiased_square(over: Tensor, count: Tensor) -> Tensor:
    """The square that `ece_debiased` is the root of, which may be below 0.

    Parameters
    ----------
    over, count : Tensors of shape (groups, bins), float64
        Of each group, in each bin, the sum of hit − confidence and the number of queries.

    Raises
    ------
    ValueError
        If fewer than two groups have a query.
    """
    if int((count.sum(1) > 0).sum()) < 2:
        raise ValueError("all queries are of one group, so chance cannot be told from error")
    return _debiased(*(each.sum(0) for each in _moments(over, count)))


def debiased_square_without(over: Tensor, count: Tensor) -> Tensor:
    """`debiased_square` without each group: (groups,)."""
    return _debiased(*(each.sum(0) - each for each in _moments(over, count)))


def _moments(over: Tensor, count: Tensor) -> Iterator[Tensor]:
    """One after another: each is as large as the table itself."""
    yield over
    yield count
    yield over.square()
    yield over * count
    yield count.square()
    yield (count > 0).double()


def _debiased(
    over: Tensor, count: Tensor, squares: Tensor, products: Tensor, counts: Tensor, present: Tensor
) -> Tensor:
    """From sums over groups (..., bins): Σ_b (s_b² − v_b)/(n n_b); a bin of one group says nothing of its chance."""
    mean = over / count.clamp(min=1)
    about_mean = squares - 2 * mean * products + mean.square() * counts
    chance = about_mean * present / (present - 1).clamp(min=1)
    kept = torch.where(present > 1, over.square() - chance, 0.0)
    return (kept / count.clamp(min=1)).sum(-1) / count.sum(-1)


@on_rows_as_they_are
def mce(confidence: Tensor, hit: Tensor, *, bins: int = BINS) -> Tensor:
    """Largest |accuracy − mean confidence| of a bin that holds a query: 0 to 1; lower is better.

    Bins as in `ece`. One query alone in its bin can make it large: read beside the counts.

    References
    ----------
    Guo et al. (2017), "On calibration of modern neural networks", ICML, equation 4.

    Examples
    --------
    >>> mce(torch.tensor([0.75, 0.75, 0.125]), torch.tensor([1, 0, 1])).item()
    0.875
    """
    confidence, hit = checked_queries(confidence, hit)
    count, right, sure = bin_sums(confidence, hit, bins)
    return ((right - sure).abs() / count.clamp(min=1)).max()


@on_rows_as_they_are
def ace(confidence: Tensor, hit: Tensor, *, bins: int = BINS) -> Tensor:
    """`ece` over bins of equal mass: 0 to 1; lower is better.

    The queries sorted by confidence and cut into `bins` runs whose sizes differ by at most one. Queries of
    one confidence count with their mean hit, so that row order does not matter where a cut parts them.

    References
    ----------
    Nixon et al. (2019), "Measuring calibration in deep learning", CVPR workshops (adaptive calibration error,
    here of the prediction only).

    Examples
    --------
    >>> round(ace(torch.tensor([0.75, 0.25]), torch.tensor([1, 0])).item(), 6)
    0.25
    """
    confidence, hit = checked_queries(confidence, hit)
    level, group, size = confidence.unique(return_inverse=True, return_counts=True)  # sorted
    mean_hit = torch.zeros(len(level), dtype=torch.float64).index_add(0, group, hit) / size
    gap = (mean_hit - level).repeat_interleave(size)  # sorted by confidence
    return torch.stack([part.sum().abs() for part in gap.tensor_split(bins)]).sum() / len(hit)


@on_rows_as_they_are
def smece(confidence: Tensor, hit: Tensor) -> Tensor:
    """Smooth calibration error: 0 (calibrated) to 1; lower is better; no bins.

    smECE_σ = ∫₀¹ |mean over queries of (hit − confidence) K_σ(t, confidence)| dt with the Gaussian kernel
    reflected at 0 and 1; the value is the one σ at which smECE_σ = σ.

    Parameters
    ----------
    confidence : Tensor of shape (n,)
    hit : Tensor of shape (n,)

    Returns
    -------
    Tensor of shape (), float64
        To about 1e-6.

    References
    ----------
    Błasiok and Nakkiran (2024), "Smooth ECE: principled reliability diagrams via kernel smoothing", ICLR.

    Examples
    --------
    >>> round(smece(torch.ones(10), torch.zeros(10)).item(), 6), smece(torch.ones(10), torch.ones(10)).item()
    (1.0, 0.0)
    """
    from scipy.fft import dct, idct  # a sixth of what importing torch takes, and not of the default panel

    confidence, hit = checked_queries(confidence, hit)
    # residuals on the cell centres, each shared between its two neighbours so that its place is kept
    place = (confidence * GRID - 0.5).clamp(0, GRID - 1)
    low = place.floor().long().clamp(max=GRID - 2)
    residual = (hit - confidence) / len(hit)
    mass = torch.zeros(GRID, dtype=torch.float64)
    mass.index_add_(0, low, residual * (low + 1 - place)).index_add_(0, low + 1, residual * (place - low))
    # the reflected Gaussian is the heat kernel of [0, 1]: cosine k fades by exp(−(πkσ)²/2)
    cosines = torch.from_numpy(dct(mass.numpy(), type=2))
    frequency = torch.arange(GRID, dtype=torch.float64) * math.pi

    def smoothed(sigma: float) -> float:
        faded = cosines * torch.exp(-((frequency * sigma) ** 2) / 2)
        return float(torch.from_numpy(idct(faded.numpy(), type=2)).abs().sum())

    if smoothed(0.0) == 0:
        return torch.zeros((), dtype=torch.float64)
    # more smoothing never gives more: smoothed(σ) − σ falls, from above 0 to below it at 1
    below, above = 0.0, 1.0
    while above - below > 1e-9:
        middle = (below + above) / 2
        below, above = (middle, above) if smoothed(middle) > middle else (below, middle)
    return torch.tensor((below + above) / 2, dtype=torch.float64)


@on_rows_as_they_are
def brier(squares: Tensor, own: Tensor) -> Tensor:
    """Brier score over classes: 0 (sure and right) to 2 (sure and wrong); lower is better.

    Mean of Σ_c (p_c − [c is right])² = Σ_c p_c² − 2 p_right + 1.

    Parameters
    ----------
    squares : Tensor of shape (n,)
        Σ_c p_c² of each query.
    own : Tensor of shape (n,)
        Probability of the right class.

    Returns
    -------
    Tensor of shape (), float64

    References
    ----------
    Brier (1950), "Verification of forecasts expressed in terms of probability".

    Examples
    --------
    >>> brier(torch.tensor([0.5]), torch.tensor([0.5])).item()
    0.5
    """
    if squares.shape != own.shape or own.ndim != 1 or len(own) == 0:
        raise ValueError(f"squares and own must both be (n,), got {tuple(squares.shape)} and {tuple(own.shape)}")
    return brier_of(squares, own).mean()


def brier_of(squares: Tensor, own: Tensor) -> Tensor:
    """`brier` of each query (n,), float64: Σ p² − 2 p_own + 1, kept from falling below 0 by rounding."""
    return (squares.double() - 2 * own.double() + 1).clamp(min=0)


@on_rows_as_they_are
def classwise_ece(probability: Tensor, label: Tensor, *, bins: int = BINS) -> Tensor:
    """Mean over classes of the `ece` of that class's probability: 0 to 1; lower is better.

    For class c confidence is p_c of every row and a hit is a row of that class.

    Parameters
    ----------
    probability : Tensor of shape (n, c)
        Rows sum to 1.
    label : integer Tensor of shape (n,)
    bins : int

    Returns
    -------
    Tensor of shape (), float64

    References
    ----------
    Kull et al. (2019), "Beyond temperature scaling", NeurIPS.

    Examples
    --------
    >>> classwise_ece(torch.tensor([[0.75, 0.25], [0.25, 0.75]]), torch.tensor([0, 1])).item()
    0.25
    """
    if probability.ndim != 2 or len(probability) == 0 or label.shape != (len(probability),):
        raise ValueError(f"need (n, c) and (n,), got {tuple(probability.shape)} and {tuple(label.shape)}")
    if not ((probability >= 0) & (probability <= 1 + 1e-6)).all():
        raise ValueError("probability must be 0 to 1")
    if label.min() < 0 or label.max() >= probability.shape[1]:
        raise ValueError(f"labels must be 0 to {probability.shape[1] - 1}")
    return class_bin_gaps(probability, label, bins=bins).abs().sum(dim=1).mean() / len(label)


def class_bin_gaps(probability: Tensor, label: Tensor, *, bins: int = BINS) -> Tensor:
    """What `classwise_ece` adds up: rows of the class less its probabilities, by class and bin, (c, bins).

    Sums of blocks of rows add to the sums of all.
    """
    probability = probability.double().contiguous()
    n, c = probability.shape
    cell = bin_of(probability, bins).add_(bins * torch.arange(c))  # (n, c)
    gaps = torch.zeros(c * bins, dtype=torch.float64)
    gaps.index_add_(0, cell.flatten(), -probability.flatten())
    gaps.index_add_(0, cell.gather(1, label.long()[:, None])[:, 0], torch.ones(n, dtype=torch.float64))
    return gaps.view(c, bins)


def fit_logit_scale(nll: Callable[[float], float]) -> float:
    """The logit scale (1/temperature) at which a mean negative log-likelihood is least, between `SCALES`.

    Parameters
    ----------
    nll : callable
        Mean negative log-likelihood at a scale; convex in the scale for a plain softmax.

    Raises
    ------
    ValueError
        If it keeps falling to an end of the range: every query is right (or none better than chance), and no
        finite temperature is best.

    Examples
    --------
    >>> round(fit_logit_scale(lambda scale: (scale - 50) ** 2), 3)
    50.0
    """
    from scipy.optimize import minimize_scalar  # as slow to import

    low, high = math.log(SCALES[0]), math.log(SCALES[1])
    found = minimize_scalar(
        lambda log: nll(math.exp(log)), bounds=(low, high), method="bounded", options={"xatol": 1e-8}
    )
    # where every query is right the likelihood only flattens out: no scale inside beats the ends
    if min(nll(SCALES[0]), nll(SCALES[1])) <= found.fun + 1e-9 or min(found.x - low, high - found.x) < 1e-4:
        raise ValueError(
            f"the likelihood has no maximum between logit scales {SCALES[0]:g} and {SCALES[1]:g}: "
            "every query is right, or none better than chance"
        )
    return math.exp(found.x)
