"""What each number is for random data of the same size: closed forms, and means over the law of a cosine.

What has no closed form is simulated in `geomclip.metrics.null_draws`; what answers give that are right as often as
they say is in `geomclip.metrics.honest`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from geomclip.embeddings import exact
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.retrieval import chance_recall
from geomclip.metrics.similarity import mutual_knn_chance

NODES = 2**15
"""Angles at which the law of a cosine is tabulated."""

IMAGES = 1024
"""Images whose texts are summed at a time: 1024 x 512 x 8 bytes = 4 MB."""

LARGE = 100
"""Rows from which the mean of a ratio is that of two terms of its series to about 2/n³, which no digit shows."""


def closed_form(d: int) -> dict[str, float]:
    """Expectations for rows drawn independently and evenly from the unit sphere in d dimensions, at any number of rows.

    Notes
    -----
    E exp(4c − 4) over the cosine c of two random directions is e⁻⁴ ₀F₁(; d/2; 4): the uniformity of an even
    sphere, near −4 for many dimensions.
    """
    even = math.log(_hyp0f1(d / 2, 4.0)) - 4
    return {
        "alignment": 2.0,
        **{f"uniformity_{which}": even for which in ("image", "text", "joint", "cross")},
        "relative_modality_gap": 0.5,
        "linear_separability": 0.5,
        **{f"mean_cosine_{which}": 0.0 for which in ("image", "text", "matched", "unmatched")},
    }


def _hyp0f1(b: float, z: float) -> float:
    """₀F₁(; b; z) = Σ_k z^k / (k! b (b + 1) … (b + k − 1)), for b > 0 and z ≥ 0: all terms are positive.

    scipy.special has it, and takes a tenth of what torch takes to import.
    """
    total, term, k = 1.0, z / b, 1
    while total + term > total:
        total += term
        term *= z / ((k + 1) * (b + k))
        k += 1
    return total


def participation(n: int, d: int) -> dict[str, float]:
    """Participation ratios and IsoScore of n random unit rows, for n of at least 100, without a suffix.

    With G = XᵀX: tr G = n and E tr G² = n + n(n − 1)/d. About the mean E (tr S)² = (n − 1)² + 2(n − 1)/(nd) and
    E tr S² = n − 1 + (n − 1)(n − 2 + 2/n)/d. The mean of a ratio is the ratio of the means, times 1 plus the relative
    variance of the denominator, 4n(n − 1)(d − 1)/(d²(d + 2)) over its squared mean.

    Examples
    --------
    >>> {key: round(value, 2) for key, value in participation(1000, 512).items() if key != "isoscore"}
    {'participation_ratio': 338.85, 'participation_ratio_centered': 338.73}
    """
    if n < LARGE:
        raise ValueError(f"the closed form is right from {LARGE:,} rows on, got {n:,}")
    square = n + n * (n - 1) / d
    about_mean = n - 1 + (n - 1) * (n - 2 + 2 / n) / d
    moves = 1 + 4 * n * (n - 1) * (d - 1) / (d**2 * (d + 2)) / square**2
    centered = moves * ((n - 1) ** 2 + 2 * (n - 1) / (n * d)) / about_mean
    ratios = {"participation_ratio": moves * n**2 / square, "participation_ratio_centered": centered}
    return ratios if d < 2 else ratios | {"isoscore": (centered - 1) / (d - 1)}


@dataclass(frozen=True, eq=False)
class CosineLaw:
    """The angle between two random directions, (1 + cos)/2 ~ Beta((d−1)/2, (d−1)/2), as a table.

    `angle` rises from near 0 to π, ever finer towards 0, where nearest neighbours lie; `log_share` is the logarithm
    of the chance to be at most as far.
    """

    angle: np.ndarray
    log_share: np.ndarray

    @staticmethod
    @lru_cache(maxsize=8)
    def of(d: int) -> CosineLaw:
        """The law in d dimensions, 2 or more: its density is sin^(d−2) of the angle, added up by trapezoids."""
        if d < 2:
            raise ValueError(f"directions in {d} dimension have no angles between 0 and π")
        angle = math.pi * np.linspace(0, 1, NODES + 1)[1:] ** 3
        log_density = (d - 2) * np.log(np.sin(angle))
        before = np.concatenate([[-np.inf if d > 2 else 0.0], log_density[:-1]])
        cells = np.logaddexp(before, log_density) + np.log(np.diff(angle, prepend=0.0) / 2)
        log_share = np.logaddexp.accumulate(cells)
        return CosineLaw(angle, log_share - log_share[-1])

    def largest(self, count: int) -> float:
        """Mean of the largest of `count` independent cosines.

        With F the chance of a smaller angle, E cos of the least one is 1 − ∫ sin a (1 − F(a))^count da.
        """
        with np.errstate(divide="ignore"):  # the last share is 1, and none is further
            beyond = np.exp(count * np.log1p(-np.exp(np.minimum(self.log_share, 0))))
        height = np.sin(self.angle) * beyond
        return 1 - float(np.trapezoid(np.concatenate([[0.0], height]), np.concatenate([[0.0], self.angle])))

    def two_nearest(self, others: int, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Distances (count,) to the nearest and the second nearest of `others` random directions.

        The chances to be further are order statistics of uniform numbers: V^(1/N) and V^(1/N) W^(1/(N−1)).
        """
        first = -generator.standard_exponential(count) / others
        second = first - generator.standard_exponential(count) / (others - 1)
        near, far = (
            2 * np.sin(np.exp(np.interp(np.log(-np.expm1(log)), self.log_share, np.log(self.angle))) / 2)
            for log in (first, second)
        )
        return near, far


def hardest_partners(pairing: Pairing) -> dict[str, float]:
    """The relative alignments of random rows: twice the mean of the largest unmatched cosine, the own one being 0.

    A text has n − 1 images of others; an image with g texts has m − g of others. Given one row its cosines with
    others are independent, so this is exact at every n and m.
    """
    d = pairing.image.shape[1]

    def largest(count: int) -> float:
        return 1 - 2.0 ** (1 - count) if d == 1 else CosineLaw.of(d).largest(count)

    result: dict[str, float] = {}
    if pairing.n > 1:
        result["relative_alignment_text_to_image"] = 2 * largest(pairing.n - 1)
    own, images = pairing.texts_of_image.unique(return_counts=True)
    asks = (own > 0) & (own < pairing.m)
    if asks.any():
        others = (pairing.m - own[asks]).tolist()
        hardest = torch.tensor([largest(count) for count in others], dtype=torch.float64)
        mean = (hardest * images[asks]).sum() / images[asks].sum()
        result["relative_alignment_image_to_text"] = 2 * float(mean)
    return result


def chance(pairing: Pairing) -> dict[str, float]:
    """Recall, rank and likelihood of answers in random order."""
    result: dict[str, float] = {}
    for k in (1, 5, 10):
        by_image, by_text = chance_recall(pairing, k)
        result[f"text_retrieval_recall@{k}"] = by_image
        result[f"image_retrieval_recall@{k}"] = by_text
    # with g right among m the best right one stands, on average, before m − g others shared by g + 1 gaps
    counts = pairing.texts_of_image
    g = counts[counts > 0].double()
    result["text_retrieval_mean_rank"] = float((1 + (pairing.m - g) / (g + 1)).mean())
    result["image_retrieval_mean_rank"] = (pairing.n + 1) / 2
    with_text = len(g)
    if with_text > 10:
        result["mutual_knn"] = mutual_knn_chance(with_text)
    result["text_retrieval_nll"] = result["image_retrieval_nll"] = float(torch.tensor(float(pairing.n)).log())
    return result


def gap_null(n: int, mean_cosine_image: float, text_variance: float) -> float:
    """The gap of two samples of one law, √((1 − c)/n + V): what is left of it where there is no gap.

    The two means differ by chance only, so the square of their distance is on average the sum of the variances of
    both. That of the mean of n independent images is (1 − c)/n, c their mean cosine: E‖x − Ex‖² = 1 − ‖Ex‖², and c
    is the unbiased estimate of ‖Ex‖². With one independent text an image V is (1 − c)/m alike. The texts of one
    image are alike, and then neither that c (its pairs are also of one image) nor that m counts what is independent:
    V comes from the differences between images, `variance_of_mean_text`. A sphere that is covered evenly has c = 0
    and the old √(1/n + 1/m); a cone has less.

    Examples
    --------
    >>> gap_null(100, 0.0, 0.01), gap_null(100, 1.0, 0.0)
    (0.1414213562373095, 0.0)
    """
    return math.sqrt(max(0.0, (1 - mean_cosine_image) / n) + max(0.0, text_variance))


def variance_of_mean_text(pairing: Pairing) -> float:
    """Variance of the mean of all texts, summed over dimensions, from images as independent units.

    The mean text is the ratio Σ T_i / Σ g_i over images with texts, T_i the sum of the g_i texts of image i: its
    variance is, to first order, q/(q − 1) Σ ‖T_i − g_i ȳ‖² / m² for q of them. For one text an image that is
    (1 − c)/m, c the mean cosine of different texts, to the digit.

    Raises
    ------
    ValueError
        If fewer than 2 images have texts.

    Examples
    --------
    >>> round(variance_of_mean_text(Pairing.of(torch.eye(4), torch.eye(4))), 12)
    0.25
    """
    counts, m = pairing.texts_of_image, pairing.m
    units = int((counts > 0).sum())
    if units < 2:
        raise ValueError(f"a variance between images needs texts of at least 2 images, got {units}")
    mean = exact.total(pairing.text) / m
    spread = 0.0
    for first in range(0, pairing.n, IMAGES):
        some = counts[first : first + IMAGES]
        texts = slice(int(pairing.starts[first]), int(pairing.starts[first + len(some)]))
        sums = torch.zeros(len(some), len(mean), dtype=torch.float64)
        for part in pairing.text[texts].split(IMAGES):
            sums.index_add_(0, pairing.own[texts][: len(part)] - first, part.double())
            texts = slice(texts.start + len(part), texts.stop)
        spread += float((sums - some[:, None] * mean).square().sum())
    return spread * units / (units - 1) / m**2


def variance_of_mean(x: Tensor) -> float:
    """Variance of the mean of independent unit rows x (n, d), summed over dimensions: (1 − c)/n; n at least 2."""
    if len(x) < 2:
        raise ValueError(f"a variance needs at least 2 rows, got {len(x)}")
    length = float((exact.total(x) / len(x)).square().sum())
    return max(0.0, 1 - length) / (len(x) - 1)
