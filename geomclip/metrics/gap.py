"""The modality gap, as a panel: how far apart the two clouds are, how wide each is, and whether they mix."""

from __future__ import annotations

import torch
from torch import Tensor

from geomclip.embeddings import exact
from geomclip.machine import scratch
from geomclip.machine.threads import Workers, free_threads
from geomclip.metrics.deletion import Decomposed
from geomclip.metrics.kinds import on_unit_rows
from geomclip.metrics.spectrum import GramSpectrum, Spectrum
from geomclip.metrics.squared_length import SquaredLength, squared_length

ROWS = 4096
"""Rows that one thread takes at a time."""

CANCELLED = 1e-4
"""Of what two equal terms sum to, a difference below this share has lost four digits or more."""


@on_unit_rows
def modality_gap(x: Tensor, y: Tensor) -> Tensor:
    """Distance between the mean image and the mean text: 0 (same centre) to 2 (opposite points). Rows are normalised.

    ‖mean x − mean y‖ over all rows of both. No better direction: a smaller gap is not a better model. Clouds
    without structure have a gap of about √(1/n + 1/m).

    Parameters
    ----------
    x : Tensor of shape (n, d)
    y : Tensor of shape (m, d)

    Returns
    -------
    Tensor of shape (), float64

    References
    ----------
    Liang et al. (2022), "Mind the gap", NeurIPS.

    Examples
    --------
    >>> modality_gap(torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]])).item()
    2.0
    """
    _check_two(x, y)
    return torch.linalg.vector_norm(exact.total(x) / len(x) - exact.total(y) / len(y))


@on_unit_rows
def mean_cosine(x: Tensor) -> Tensor:
    """Mean cosine over pairs of different rows: 1 (one point), about 0 (no cone), at least −1/(n − 1).
    Rows are normalised.

    (‖Σz‖² − n) / (n(n − 1)), without the pair matrix. How narrow the cone is in which the cloud lies.

    Parameters
    ----------
    x : Tensor of shape (n, d)

    Returns
    -------
    Tensor of shape (), float64

    Raises
    ------
    ValueError
        With fewer than 2 rows.

    References
    ----------
    Liang et al. (2022), "Mind the gap", NeurIPS (the cone effect).

    Examples
    --------
    >>> mean_cosine(torch.eye(4)).item()
    0.0
    """
    n = len(x)
    if n < 2:
        raise ValueError(f"a mean over pairs needs at least 2 rows, got {n}")
    # lengths as they are, not as 1: float32 rows are unit to 1e-7 only
    lengths = torch.linalg.vector_norm(x, dim=1, dtype=torch.float64)
    return (exact.total(x).square().sum() - lengths.square().sum()) / (n * (n - 1))


@on_unit_rows
def mean_cosine_matched(x: Tensor, y: Tensor, image_of_text: Tensor | None = None) -> Tensor:
    """Mean cosine of the texts with their own images: −1 to 1, higher is closer. Rows are normalised.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        Images.
    y : Tensor of shape (m, d)
        Texts.
    image_of_text : integer Tensor of shape (m,), optional
        Row of the image that each text describes; left out: text i describes image i.

    Returns
    -------
    Tensor of shape (), float64

    Examples
    --------
    >>> mean_cosine_matched(torch.eye(2), torch.eye(2)[[0, 0]], torch.tensor([0, 1])).item()
    0.5
    """
    own = owners(x, y, image_of_text)
    return exact.matched(x, y, own).sum() / len(y)


@on_unit_rows
def mean_cosine_unmatched(x: Tensor, y: Tensor, image_of_text: Tensor | None = None) -> Tensor:
    """Mean cosine of the texts with all images but their own: −1 to 1; 0 where nothing ties them. Rows are normalised.

    (Σx · Σy − sum over matched pairs) / (nm − m), without the pair matrix.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    y : Tensor of shape (m, d)
    image_of_text : integer Tensor of shape (m,), optional

    Returns
    -------
    Tensor of shape (), float64

    Raises
    ------
    ValueError
        With fewer than 2 images, where no pair is unmatched.

    Examples
    --------
    >>> mean_cosine_unmatched(torch.eye(2), torch.eye(2)).item()
    0.0
    """
    own = owners(x, y, image_of_text)
    if len(x) < 2:
        raise ValueError("unmatched pairs need at least 2 images, got 1")
    return (exact.total(x) @ exact.total(y) - exact.matched(x, y, own).sum()) / (len(x) * len(y) - len(y))


@on_unit_rows
def relative_modality_gap(x: Tensor, y: Tensor, image_of_text: Tensor | None = None) -> Tensor:
    """Distance of matched pairs against the spread within each modality: 0 (pairs coincide) to 1. Rows are normalised.

    m / (m + (I + T)/2): m is the mean of (1 − cos)/2 over matched pairs, I and T the same over pairs of
    different images, of different texts. About ½ where a pair is as far apart as two images are.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    y : Tensor of shape (m, d)
    image_of_text : integer Tensor of shape (m,), optional

    Returns
    -------
    Tensor of shape (), float64

    Raises
    ------
    ValueError
        If all rows are one point, or a cloud has fewer than 2 rows.

    References
    ----------
    Schrodi et al. (2025), "Two effects, one trigger", ICLR.

    Examples
    --------
    >>> x = torch.eye(3)
    >>> relative_modality_gap(x, x).item(), relative_modality_gap(x, -x).item()
    (0.0, 0.6666666666666666)
    """
    matched = (1 - mean_cosine_matched(x, y, image_of_text)).clamp(min=0) / 2
    within = ((1 - mean_cosine(x)).clamp(min=0) + (1 - mean_cosine(y)).clamp(min=0)) / 4
    # rows of one point are at length 1 to within rounding only
    if matched + within <= 4 * torch.finfo(x.dtype).eps:
        raise ValueError("all rows are one point, so the relative modality gap is 0/0")
    return matched / (matched + within)


@on_unit_rows
def gap_after_centering(x: Tensor, y: Tensor) -> Tensor:
    """Distance between the shapes of the two clouds once both means are taken away: 0 (same shape) to 2.
    Rows are normalised.

    √(tr A + tr B − 2 tr (A^½ B A^½)^½), A and B the covariances (1/n): the Wasserstein-2 distance of two
    Gaussians with one mean. A gap that a shift cannot close.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    y : Tensor of shape (m, d)

    Returns
    -------
    Tensor of shape (), float64
        Symmetric; unchanged by one rotation of both clouds.

    References
    ----------
    Olkin and Pukelsheim (1982), "The distance between two random vectors with given dispersion matrices".

    Examples
    --------
    >>> circle = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    >>> round(gap_after_centering(circle, circle[:1]).item(), 6)
    1.0
    """
    _check_two(x, y)
    return shape_distance(Spectrum.of(x), Spectrum.of(y))


def shape_distance(x: Spectrum, y: Spectrum) -> Tensor:
    """`gap_after_centering` of two clouds from their spectra."""
    p, s = _square(x.root) / x.n**0.5, _square(y.root) / y.n**0.5  # A = PᵀP, B = SᵀS
    overlap = p @ s.T  # its singular values are the eigenvalues of (A^½ B A^½)^½
    widths = p.square().sum() + s.square().sum()
    squared = widths - 2 * torch.linalg.svdvals(overlap).sum()
    if squared > CANCELLED * widths:
        return squared.sqrt()
    # The distance is also the least ‖P − QS‖ over orthogonal Q, which P Sᵀ = U Σ Vᵀ gives as Q = U Vᵀ. Taking that
    # norm itself loses no digits where A is close to B.
    u, _, vh = torch.linalg.svd(overlap)
    return torch.linalg.vector_norm(p - u @ vh @ s)


def rough_shape_distance(x: Spectrum, y: Spectrum) -> Tensor:
    """`gap_after_centering` in trace form: quicker, less the last digits where the shapes are nearly one; for draws."""
    for one, other in ((y, x), (x, y)):
        if isinstance(one, GramSpectrum):
            return one.shape_distance(other)
    p, s = (each.root / each.n**0.5 for each in (x, y))
    squared = p.square().sum() + s.square().sum() - 2 * torch.linalg.svdvals(p @ s.T).sum()
    return squared.clamp(min=0).sqrt()


def debiased_gap(image: Tensor, text_sums: Tensor, texts: Tensor, unit: Tensor | None = None) -> SquaredLength:
    """The squared modality gap of the laws that images and texts are drawn from, without the part of chance.

    The gap of two samples is above that of their laws: ‖mean x − mean y‖² has on average what the means vary by in
    addition. That is (1 − c_x)/n + (1 − c_y)/m, c the mean cosine of different rows, where all rows are independent;
    here the unit is an image with its texts, so texts of one image share their luck, and so does an image with its
    own texts: Σ ‖r_i‖² n/(n − 1), r_i = (x_i − mean x)/n − Σ over its texts of (y − mean y)/m.

    Parameters
    ----------
    image : Tensor of shape (n, d), float64
        Unit rows.
    text_sums : Tensor of shape (n, d), float64
        Of each image the sum of its unit text rows.
    texts : Tensor of shape (n,), float64
        How many those are.
    unit : Tensor of shape (n,), int64, optional
        Images of one number are copies, and one unit.

    Returns
    -------
    SquaredLength
        `value`: the square, which may be a little below 0; `value + bias`: the square of `modality_gap`.

    References
    ----------
    Liang et al. (2022), "Mind the gap", NeurIPS, for the gap; the correction is that of a U-statistic.
    """
    n, m = len(image), texts.sum()
    centre, other = image.mean(0), text_sums.sum(0) / m
    deviations = scratch.empty(*image.shape, dtype=torch.float64)
    for some in scratch.blocks(image):
        of_texts = (text_sums[some] - texts[some, None] * other) / m
        deviations[some] = (image[some] - centre) / n - of_texts
    return squared_length(centre - other, deviations, unit)


def shape_distance_influence(x: Decomposed, y: Decomposed) -> tuple[Tensor, Tensor]:
    """What each row of two centred clouds moves `gap_after_centering` by, to first order: (n,), (m,), float64.

    The square is tr A + tr B − 2 Σ s, s the singular values of P Sᵀ, P and S the rows over √n and √m. With P Sᵀ =
    U s Vᵀ a row p_i of weight w_i moves it by ‖p_i‖² − (U s Uᵀ)_ii, and a row of S likewise: no derivative of U or V
    enters, since s is largest over all rotations. Less each mean.
    """
    n, m = len(x.along), len(y.along)
    overlap = x.values.sqrt()[:, None] * (x.vectors.T @ y.vectors) * y.values.sqrt() / (n * m) ** 0.5
    u, s, vh = torch.linalg.svd(overlap, full_matrices=False)
    squared = x.values.sum() / n + y.values.sum() / m - 2 * s.sum()
    if squared <= CANCELLED * (x.values.sum() / n + y.values.sum() / m):
        return torch.zeros(n, dtype=torch.float64), torch.zeros(m, dtype=torch.float64)

    def of(along: Tensor, directions: Tensor, rows: int) -> Tensor:
        shared = (along @ directions).square_().sum(1).double()
        return along.square().sum(1).double() / rows - shared

    moved = []
    with Workers(free_threads(), "influences") as workers:
        calls = []
        for cloud, turn, rows in ((x, u, n), (y, vh.T, m)):
            directions = (turn / cloud.values.sqrt()[:, None] * s.sqrt()).to(cloud.along.dtype)
            calls.append([workers.add(of, some, directions, rows) for some in cloud.along.split(ROWS)])
        for parts in calls:
            part = torch.cat([workers.result(call) for call in parts])
            moved.append((part - part.mean()) / (2 * squared.sqrt()))
    return moved[0], moved[1]


def owners(x: Tensor, y: Tensor, image_of_text: Tensor | None) -> Tensor:
    """`image_of_text`, checked against the rows it joins: (m,) int64."""
    _check_two(x, y)
    if image_of_text is None:
        if len(x) != len(y):
            raise ValueError(f"{len(y)} texts for {len(x)} images: say which image each describes")
        return torch.arange(len(x))
    own = image_of_text.long()
    if own.shape != (len(y),):
        raise ValueError(f"image_of_text has shape {tuple(own.shape)} for {len(y)} texts")
    if own.min() < 0 or own.max() >= len(x):
        bad = int(((own < 0) | (own >= len(x))).nonzero()[0])
        raise ValueError(f"image_of_text entry {bad} is {int(own[bad])}, outside the {len(x)} images")
    return own


def _check_two(x: Tensor, y: Tensor) -> None:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"x (n, d) and y (m, d) must share d, got {tuple(x.shape)} and {tuple(y.shape)}")
    if len(x) == 0 or len(y) == 0:
        raise ValueError(f"both clouds need rows, got {len(x)} and {len(y)}")


def _square(factor: Tensor) -> Tensor:
    """The factor with rows of zeros below, so that every factor of d columns is (d, d)."""
    return torch.nn.functional.pad(factor, (0, 0, 0, factor.shape[1] - len(factor)))
