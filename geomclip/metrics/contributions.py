"""What each image adds to every mean, and how the sums become the numbers.

A panel keeps one table: a row an image, a column a quantity. A number is a formula of the column sums. The value
is the formula of the plain sums; its bootstrap is the same formula of weighted sums, so a number is defined once.
Means over pairs are not sums over images: their columns hold the first-order projection of the pair mean
(Hoeffding 1948), and a resampled sum moves the pair total to first order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from geomclip.embeddings.exact import dots, total
from geomclip.machine import scratch
from geomclip.metrics.alignment import relative_image_to_text, relative_text_to_image
from geomclip.metrics.bins import BINS, bin_of
from geomclip.metrics.pairing import Pairing

Columns = dict[str, Tensor]
"""Name to (n,) float64."""


@dataclass(frozen=True)
class Sums:
    """Sums of each column over images: `total` with each image once, `weighted` with resampled counts (b,)."""

    total: Mapping[str, Tensor]  # name -> ()
    weighted: Mapping[str, Tensor]  # name -> (b,)

    def __contains__(self, name: str) -> bool:
        return name in self.total

    def pairs(self, name: str) -> Tensor:
        """Twice the pair total, moved to first order: T + 2 (S − T) for a column that sums to T = 2 x total."""
        return self.total[name] + 2 * (self.weighted[name] - self.total[name])


def text_columns(pairing: Pairing) -> Columns:
    """How many texts each image has, and its part in means over matched pairs."""
    return {
        "texts": pairing.texts_of_image.double(),
        "queries": (pairing.texts_of_image > 0).double(),
        "matched": pairing.per_image(pairing.matched),
    }


def alignment_columns(pairing: Pairing, hardest: Mapping[str, Tensor]) -> Columns:
    """Part of each image in the two relative alignments."""
    image = relative_image_to_text(pairing, hardest["image"])
    return {
        "relative_text": pairing.per_image(relative_text_to_image(pairing, hardest["text"])),
        "relative_image": image.nan_to_num(0.0),
        "relative_image_queries": torch.isfinite(image).double(),
    }


def within_columns(name: str, sums: Tensor | None, cosines: Tensor, owner: Tensor, n: int) -> Columns:
    """Part of each image in the pair means of one modality.

    Parameters
    ----------
    name : str
        "image" or "text".
    sums : Tensor of shape (r,), optional
        Of each row: sum over the other rows of the Gaussian kernel; left out, so are the columns of uniformity.
    cosines : Tensor of shape (r,)
        Of each row: sum over the other rows of the cosine.
    owner : Tensor of shape (r,)
        Image of each row.
    n : int
        Number of images.
    """
    rows = len(owner)
    columns = {
        f"cosine_{name}": _gathered(cosines, owner, n),
        f"pairs_{name}": _gathered(torch.full((rows,), rows - 1.0), owner, n),
    }
    if sums is not None:
        columns[f"gauss_{name}"] = _gathered(sums, owner, n)
    return columns


def _gathered(each: Tensor, owner: Tensor, n: int) -> Tensor:
    """(n,) sums of a quantity over the rows of each image."""
    return torch.zeros(n, dtype=torch.float64).index_add_(0, owner, each.double())


def cross_columns(pairing: Pairing, sums: Mapping[str, Tensor] | None) -> Columns:
    """Part of each image in means over unmatched image-text pairs, as the image and through its texts.

    Without kernel sums the columns of uniformity are left out.
    """
    n, m = pairing.n, pairing.m
    texts = pairing.texts_of_image.double()
    image_total, text_total = total(pairing.image), total(pairing.text)
    cosines = dots(pairing.image, text_total) + pairing.per_image(dots(pairing.text, image_total))
    columns = {
        "cosine_cross": cosines - 2 * pairing.per_image(pairing.matched),
        "pairs_cross": (m - texts) + texts * (n - 1),
    }
    return columns if sums is None else columns | kernel_columns(pairing, sums)


def kernel_columns(pairing: Pairing, sums: Mapping[str, Tensor]) -> Columns:
    """Sums of the Gaussian kernel over the unmatched pairs of each image, and of its texts; over the matched ones."""
    return {
        "gauss_cross": sums["image"] + pairing.per_image(sums["text"]),
        "gauss_matched": pairing.per_image(torch.exp(4 * pairing.matched - 4)),
    }


def retrieval_columns(pairing: Pairing, ranks: Mapping[str, Tensor]) -> Columns:
    """Hits and ranks of the image query and, summed, of the text queries of each image."""
    columns = {}
    asks = ranks["image"] > 0
    for k in (1, 5, 10):
        columns[f"text_hit@{k}"] = (asks & (ranks["image"] <= k)).double()
        columns[f"image_hit@{k}"] = pairing.per_image(ranks["text"] <= k)
    columns["text_rank"] = ranks["image"].double()
    columns["image_rank"] = pairing.per_image(ranks["text"])
    return columns


def calibration_columns(
    prefix: str, confidence: Tensor, hit: Tensor, nll: Tensor, brier: Tensor | None, owner: Tensor, n: int
) -> Columns:
    """Part of each image in every bin of the reliability diagram, and in likelihood and Brier score.

    The vectors have an entry a query; `owner` is the image that each query belongs to.
    """
    place = owner * BINS + bin_of(confidence)

    def binned(each: Tensor) -> Tensor:
        return scratch.zeros(n * BINS, dtype=torch.float64).index_add_(0, place, each).view(n, BINS)

    over, count = binned(hit - confidence), binned(torch.ones_like(hit))
    columns = {f"{prefix}_over_{b:02d}": over[:, b] for b in range(BINS)}
    columns |= {f"{prefix}_bin_{b:02d}": count[:, b] for b in range(BINS)}
    columns[f"{prefix}_nll"] = _gathered(nll, owner, n)
    if brier is not None:
        columns[f"{prefix}_brier"] = _gathered(brier, owner, n)
    return columns


def _ratio(top: str, bottom: str) -> Callable[[Sums], Tensor]:
    return lambda sums: sums.weighted[top] / sums.weighted[bottom]


def _pair_mean(top: str, bottom: str) -> Callable[[Sums], Tensor]:
    return lambda sums: sums.pairs(top) / sums.pairs(bottom)


def _joint(sums: Sums) -> Tensor:
    # ordered pairs: within each modality once as they stand, across both ways; all of them sums over images
    kernel = sums.pairs("gauss_image") + sums.pairs("gauss_text")
    kernel = kernel + sums.pairs("gauss_cross") + 2 * sums.weighted["gauss_matched"]
    pairs = sums.pairs("pairs_image") + sums.pairs("pairs_text")
    pairs = pairs + sums.pairs("pairs_cross") + 2 * sums.weighted["texts"]
    return (kernel / pairs).log()


def _relative_gap(sums: Sums) -> Tensor:
    # rounding takes cosines of equal rows past 1
    matched = (1 - sums.weighted["matched"] / sums.weighted["texts"]).clamp(min=0) / 2
    image = (1 - sums.pairs("cosine_image") / sums.pairs("pairs_image")).clamp(min=0) / 2
    text = (1 - sums.pairs("cosine_text") / sums.pairs("pairs_text")).clamp(min=0) / 2
    return matched / (matched + (image + text) / 2)


def _log(formula: Callable[[Sums], Tensor]) -> Callable[[Sums], Tensor]:
    return lambda sums: formula(sums).log()


def _calibration_error(prefix: str, kind: str) -> Callable[[Sums], Tensor]:
    def error(sums: Sums) -> Tensor:
        over = torch.stack([sums.weighted[f"{prefix}_over_{b:02d}"] for b in range(BINS)]).abs()
        count = torch.stack([sums.weighted[f"{prefix}_bin_{b:02d}"] for b in range(BINS)])
        if kind == "ece":
            return over.sum(0) / count.sum(0)
        return torch.where(count > 0, over / count.clamp(min=1), 0.0).amax(0)

    return error


FORMULAS: dict[str, Callable[[Sums], Tensor]] = {
    "alignment": lambda sums: 2 - 2 * sums.weighted["matched"] / sums.weighted["texts"],
    "relative_alignment_text_to_image": _ratio("relative_text", "texts"),
    "relative_alignment_image_to_text": _ratio("relative_image", "relative_image_queries"),
    "uniformity_image": _log(_pair_mean("gauss_image", "pairs_image")),
    "uniformity_text": _log(_pair_mean("gauss_text", "pairs_text")),
    "uniformity_joint": _joint,
    "uniformity_cross": _log(_pair_mean("gauss_cross", "pairs_cross")),
    "relative_modality_gap": _relative_gap,
    "mean_cosine_image": _pair_mean("cosine_image", "pairs_image"),
    "mean_cosine_text": _pair_mean("cosine_text", "pairs_text"),
    "mean_cosine_matched": _ratio("matched", "texts"),
    "mean_cosine_unmatched": _pair_mean("cosine_cross", "pairs_cross"),
    **{f"text_retrieval_recall@{k}": _ratio(f"text_hit@{k}", "queries") for k in (1, 5, 10)},
    "text_retrieval_mean_rank": _ratio("text_rank", "queries"),
    **{f"image_retrieval_recall@{k}": _ratio(f"image_hit@{k}", "texts") for k in (1, 5, 10)},
    "image_retrieval_mean_rank": _ratio("image_rank", "texts"),
    **{
        f"{prefix}_{kind}": _calibration_error(prefix, kind)
        for prefix in ("text_retrieval", "image_retrieval", "zeroshot")
        for kind in ("ece", "mce")
    },
    **{
        f"{prefix}_{kind}": _ratio(f"{prefix}_{kind}", count)
        for prefix, count in (
            ("text_retrieval", "queries"),
            ("image_retrieval", "texts"),
            ("zeroshot", "images"),
        )
        for kind in ("nll", "brier")
    },
    "zeroshot_acc1": _ratio("zeroshot_hit@1", "images"),
    "zeroshot_acc5": _ratio("zeroshot_hit@5", "images"),
}
"""Key of spec to its formula of sums; with the plain sums it gives the value itself."""


def binned_columns(name: str, columns: Mapping[str, Tensor]) -> Tensor:
    """The columns `name`_00, `name`_01, … side by side: (n, bins)."""
    each = [columns[f"{name}_{b:02d}"] for b in range(BINS)]
    return torch.stack(each, 1, out=scratch.empty(len(each[0]), BINS, dtype=each[0].dtype))


COLUMNS: dict[str, tuple[str, ...]] = {
    "relative_alignment_text_to_image": ("relative_text",),
    "relative_alignment_image_to_text": ("relative_image",),
    **{
        f"{found}_retrieval_{key}": (f"{found}_{column}",)
        for found in ("text", "image")
        for key, column in (("mean_rank", "rank"), *((f"recall@{k}", f"hit@{k}") for k in (1, 5, 10)))
    },
    **{
        f"{found}_retrieval_{key}": tuple(f"{found}_retrieval_over_{b:02d}" for b in range(BINS))
        for found in ("text", "image")
        for key in ("ece", "ece_debiased")
    },
    **{
        f"{found}_retrieval_{key}": (f"{found}_retrieval_{key}",)
        for found in ("text", "image")
        for key in ("nll", "brier")
    },
}
"""Key to the columns that are sums over queries, to which an image adds as a candidate too."""


def value_of(key: str, columns: Columns) -> float | None:
    """The number itself; None where its columns are absent or the formula divides by 0."""
    total = {name: column.sum() for name, column in columns.items()}
    try:
        value = float(FORMULAS[key](Sums(total, total)))
    except KeyError:
        return None
    return value if abs(value) != float("inf") and value == value else None
