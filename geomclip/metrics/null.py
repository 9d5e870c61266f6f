"""What each number is for random data of the same size: in closed form, or simulated once."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from geomclip.metrics.alignment import relative_alignment_image_to_text, relative_alignment_text_to_image
from geomclip.metrics.gap import gap_after_centering
from geomclip.metrics.intrinsic_dimension import twonn
from geomclip.metrics.neighborhood import hubness, k_occurrence
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.retrieval import chance_recall
from geomclip.metrics.shape import spectral_measures
from geomclip.metrics.similarity import mutual_knn_chance
from geomclip.metrics.spectrum import Spectrum

NULL_ROWS = 2000
"""Simulated clouds have at most this many rows; numbers that depend on the count are then those of 2,000."""


def closed_form(n: int, m: int, d: int) -> dict[str, float]:
    """Expectations for rows drawn independently and evenly from the unit sphere.

    Parameters
    ----------
    n, m, d : int
        Images, texts, dimensions.

    Returns
    -------
    dict of key to value

    Notes
    -----
    E exp(4c − 4) over the cosine c of two random directions is e⁻⁴ ₀F₁(; d/2; 4): the uniformity of an even
    sphere, near −4 for many dimensions. The gap of two random clouds has squared mean 1/n + 1/m.
    """
    even = math.log(_hyp0f1(d / 2, 4.0)) - 4
    return {
        "alignment": 2.0,
        **{f"uniformity_{which}": even for which in ("image", "text", "joint", "cross")},
        "modality_gap": (1 / n + 1 / m) ** 0.5,
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


def simulated(n: int, m: int, d: int, *, seed: int) -> dict[str, float]:
    """The keys without a closed form, of one draw of n and m random unit rows (each at most 2,000).

    Same arguments, same numbers. Texts are dealt to images in turn, as evenly as they come.
    """
    n, m = min(n, NULL_ROWS), min(m, NULL_ROWS)
    generator = torch.Generator().manual_seed(seed)
    image, text = (torch.randn(rows, d, generator=generator, dtype=torch.float64) for rows in (n, m))
    image, text = (rows / rows.norm(dim=1, keepdim=True) for rows in (image, text))
    own = torch.arange(m) % n
    result: dict[str, float] = {}
    for suffix, rows in (("image", image), ("text", text)):
        values, _ = spectral_measures(Spectrum.of(rows))
        result |= {f"{key}_{suffix}": float(value) for key, value in values.items()}
        _put(result, f"twonn_{suffix}", twonn, rows)
    _put(result, "gap_after_centering", gap_after_centering, image, text)
    _put(result, "relative_alignment_text_to_image", relative_alignment_text_to_image, image, text, own)
    _put(result, "relative_alignment_image_to_text", relative_alignment_image_to_text, image, text, own)
    _put(result, "text_hubness", lambda: hubness(k_occurrence(image, text)))
    _put(result, "image_hubness", lambda: hubness(k_occurrence(text, image)))
    return result


def _put(result: dict[str, float], key: str, statistic: Callable[..., Tensor], *args: Tensor) -> None:
    try:
        result[key] = float(statistic(*args))
    except ValueError:  # undefined at this size: no null
        return
