"""Metrics of embedding geometry: the functions, and the table of what each number promises."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import inf

from geomclip.metrics.alignment import (
    alignment,
    relative_alignment_image_to_text,
    relative_alignment_text_to_image,
)
from geomclip.metrics.bins import reliability
from geomclip.metrics.calibration import retrieval_posterior
from geomclip.metrics.calibration_scores import ace, brier, classwise_ece, ece, ece_debiased, mce, smece
from geomclip.metrics.gap import (
    gap_after_centering,
    mean_cosine,
    mean_cosine_matched,
    mean_cosine_unmatched,
    modality_gap,
    relative_modality_gap,
)
from geomclip.metrics.gap_curves import gap_ablation_curve, gap_shift_curve
from geomclip.metrics.intrinsic_dimension import twonn
from geomclip.metrics.neighborhood import antihub_share, hubness, k_occurrence, robin_hood
from geomclip.metrics.projection import continuity, trustworthiness
from geomclip.metrics.retrieval import retrieval
from geomclip.metrics.separability import linear_separability
from geomclip.metrics.shape import (
    RANKME_EPSILON,
    effective_rank,
    effective_rank_centered,
    isoscore,
    participation_ratio,
    participation_ratio_centered,
    rankme,
    w2_uniformity,
)
from geomclip.metrics.similarity import linear_cka, linear_cka_biased, mutual_knn, procrustes_distance
from geomclip.metrics.uniformity import uniformity, uniformity_cross, uniformity_joint
from geomclip.metrics.zeroshot import zeroshot


@dataclass(frozen=True)
class Metric:
    """What one key of a panel promises.

    `better` is "lower", "higher" or "" where neither is good in itself; the value never leaves [low, high];
    `judged` says whether a change in that direction is a judgement, so that `compare` may call it better or worse
    (uniformity is lower where rows are more uniform, which noise alone brings about);
    `default` says whether the default panel has it; `swaps_to` is the key that holds this value once images
    and texts change places (one text an image), "" where that is not defined; `interval` is how its interval
    is made (`geomclip.panels.intervals`): "plain", "positive", "share", "error", "root", "order", or "" for none, and
    then `why` says why; `least` images it needs; `target` is what it is an interval of: "population", what ever more
    images would lead to, or "size", the mean of the number over sets of this size; `folds` are what it reads of the
    sweeps, each a sweep ("image", "text", "cross") and a fold of it (`geomclip.panels.stages.sweeps.FOLDS`).
    """

    key: str
    group: str
    title: str
    better: str
    low: float
    high: float
    default: bool = True
    swaps_to: str = ""
    interval: str = "plain"
    folds: tuple[str, ...] = ()
    target: str = "size"
    least: int = 20
    why: str = ""
    judged: bool = True

    def __post_init__(self) -> None:
        if not self.better:
            object.__setattr__(self, "judged", False)


GROUPS = {
    "alignment": "Alignment and uniformity",
    "gap": "Modality gap",
    "retrieval": "Retrieval",
    "calibration": "Calibration",
    "shape": "Shape of each cloud",
    "neighborhood": "Neighbourhoods",
    "similarity": "Images and texts as two spaces",
    "zeroshot": "Zero-shot classification",
    "data": "The data",
    "fewshot": "Few-shot classification",
    "captioning": "Captioning",
}
"""Name of each group and its heading, in the order of the panel."""


def _both(
    key: str,
    title: str,
    better: str,
    low: float,
    high: float,
    *,
    default: bool = True,
    fold: str = "",
    judged: bool = True,
    least: int = 20,
) -> list[Metric]:
    """The image and the text number of the shape of one cloud; `fold` is of the sweep of each."""
    return [
        Metric(
            f"{key}_{cloud}",
            "shape",
            f"{title}, {cloud}s",
            better,
            low,
            high,
            default,
            f"{key}_{'text' if cloud == 'image' else 'image'}",
            "plain",
            (f"{cloud} {fold}",) if fold else (),
            judged=judged,
            least=least,
        )
        for cloud in ("image", "text")
    ]


def _directions(
    key: str,
    group: str,
    title: str,
    better: str,
    low: float,
    high: float,
    *,
    default: bool = True,
    interval: str = "plain",
    folds: tuple[str, ...] = (),
    least: int = 20,
    why: str = "",
) -> list[Metric]:
    """The two directions of a retrieval metric; the query is an image in text retrieval."""
    return [
        Metric(
            f"{what}_retrieval_{key}",
            group,
            f"{title}, {query} → {what}",
            better,
            low,
            high,
            default,
            f"{query}_retrieval_{key}",
            interval,
            folds,
            least=least,
            why=why,
        )
        for what, query in (("text", "image"), ("image", "text"))
    ]


_RANKS = ("cross ranks",)
_MASSES = ("cross masses",)
_UNKNOWN = "none known to hold"
_COUNTED = "counted, not drawn"
_ROWS: list[Metric] = [
    Metric("alignment", "alignment", "Alignment", "lower", 0, 4, swaps_to="alignment", target="population"),
    *(
        Metric(f"relative_alignment_{a}_to_{b}", "alignment", f"Relative alignment, {a} → {b}", "lower", -4, 4,
               swaps_to=f"relative_alignment_{b}_to_{a}", folds=("cross hardest",))
        for a, b in (("text", "image"), ("image", "text"))
    ),
    *(
        Metric(f"uniformity_{which}", "alignment", f"Uniformity, {title}", "lower", -8, 0,
               swaps_to=f"uniformity_{back}", folds=tuple(f"{sweep} kernel" for sweep in sweeps),
               target="population" if which in ("image", "cross") else "size", judged=False)
        for which, title, back, sweeps in (
            ("image", "images", "text", ("image",)), ("text", "texts", "image", ("text",)),
            ("joint", "both", "joint", ("image", "text", "cross")), ("cross", "image-text", "cross", ("cross",)),
        )
    ),
    Metric("modality_gap", "gap", "Modality gap", "", 0, 2, swaps_to="modality_gap", interval="root"),
    Metric("modality_gap_debiased", "gap", "Modality gap, debiased", "", 0, 2, swaps_to="modality_gap_debiased",
           interval="root", target="population"),
    Metric("modality_gap_squared", "gap", "Squared modality gap, debiased", "", -4, 4, False, "modality_gap_squared",
           "root", target="population"),
    Metric("modality_gap_standardized", "gap", "Modality gap in spreads within", "", 0, inf,
           swaps_to="modality_gap_standardized", interval="root"),
    Metric("relative_modality_gap", "gap", "Relative modality gap", "", 0, 1, swaps_to="relative_modality_gap"),
    Metric("linear_separability", "gap", "Linear separability", "", 0, 1, swaps_to="linear_separability",
           interval="share"),
    Metric("gap_after_centering", "gap", "Gap after centring", "", 0, 2, swaps_to="gap_after_centering",
           least=100),
    Metric("mean_cosine_image", "gap", "Mean cosine, images", "", -1, 1, swaps_to="mean_cosine_text",
           target="population"),
    Metric("mean_cosine_text", "gap", "Mean cosine, texts", "", -1, 1, swaps_to="mean_cosine_image"),
    Metric("mean_cosine_matched", "gap", "Mean cosine, matched", "higher", -1, 1, swaps_to="mean_cosine_matched",
           target="population", judged=False),
    Metric("mean_cosine_unmatched", "gap", "Mean cosine, unmatched", "lower", -1, 1, swaps_to="mean_cosine_unmatched",
           target="population", judged=False),
    *(row for k in (1, 5, 10)
      for row in _directions(f"recall@{k}", "retrieval", f"Recall@{k}", "higher", 0, 1, interval="share",
                             folds=_RANKS)),
    *_directions("median_rank", "retrieval", "Median rank", "lower", 1, inf, interval="order", folds=_RANKS),
    *_directions("mean_rank", "retrieval", "Mean rank", "lower", 1, inf, interval="positive", folds=_RANKS, least=100),
    *_directions("ece", "calibration", "ECE", "lower", 0, 1, interval="error", folds=_MASSES),
    *_directions("ece_debiased", "calibration", "ECE, debiased", "lower", 0, 1, interval="root", folds=_MASSES,
                 least=100),
    *_directions("mce", "calibration", "MCE", "lower", 0, 1, interval="", folds=_MASSES, why="one bin decides it"),
    *_directions("ace", "calibration", "ACE", "lower", 0, 1, default=False, interval="", folds=_MASSES, why=_UNKNOWN),
    *_directions("smece", "calibration", "Smooth ECE", "lower", 0, 1, default=False, interval="", folds=_MASSES,
                 why=_UNKNOWN),
    *_directions("brier", "calibration", "Brier score", "lower", 0, 2, default=False, interval="positive",
                 folds=(*_MASSES, "cross squares"), least=100),
    *_directions("nll", "calibration", "NLL", "lower", 0, inf, default=False, interval="positive", folds=_MASSES,
                 least=100),
    *_directions("temperature", "calibration", "Fitted temperature", "", 0, inf, default=False, interval="",
                 why=_UNKNOWN),
    *_directions("ece_calibrated", "calibration", "ECE at that temperature", "lower", 0, 1, default=False, interval="",
                 why=_UNKNOWN),
    *_both("effective_rank", "Effective rank", "", 1, inf, least=100),
    *_both("participation_ratio", "Participation ratio", "", 1, inf),
    *_both("twonn", "Intrinsic dimension", "", 0, inf, fold="nearest", least=100),
    *_both("effective_rank_centered", "Effective rank, centred", "", 1, inf, least=100),
    *_both("participation_ratio_centered", "Participation ratio, centred", "", 1, inf),
    *_both("rankme", "RankMe", "", 1 - RANKME_EPSILON, inf, default=False, least=100),  # one direction: below 1
    *_both("isoscore", "IsoScore", "", 0, 1, default=False),
    *_both("w2_uniformity", "W2 uniformity", "lower", 0, 2, default=False, judged=False),
    *(
        Metric(f"{what}_{key}", "neighborhood", f"{title}, {what}s", "lower", low, high, default,
               f"{back}_{key}", interval, ("cross nearest",), least=100, why=why)
        for key, title, low, high, default, interval, why in (
            ("robin_hood", "Robin Hood", 0, 1, True, "plain", ""),
            ("hubness", "Hubness", -inf, inf, True, "", "a few hubs decide it"),
            ("antihub_share", "Anti-hubs", 0, 1, False, "", _UNKNOWN),
        )
        for what, back in (("text", "image"), ("image", "text"))
    ),
    *(
        Metric(key, "similarity", title, better, low, 1, False, key, "", why=_UNKNOWN)
        for key, title, better, low in (
            ("linear_cka", "Linear CKA", "higher", -inf), ("linear_cka_biased", "Linear CKA, biased", "higher", 0),
            ("mutual_knn", "Mutual k-NN", "higher", 0), ("procrustes_distance", "Procrustes distance", "lower", 0),
        )
    ),
    Metric("duplicate_image_share", "data", "Images given more than once", "lower", 0, 1, interval="", why=_COUNTED,
           judged=False),
    Metric("duplicate_text_share", "data", "Texts under several images", "lower", 0, 1, interval="", why=_COUNTED,
           judged=False),
    Metric("truncated_text_share", "data", "Texts cut at the context length", "lower", 0, 1, interval="",
           why=_COUNTED, judged=False),
    Metric("zeroshot_acc1", "zeroshot", "Accuracy@1", "higher", 0, 1, interval="share", target="population"),
    Metric("zeroshot_acc5", "zeroshot", "Accuracy@5", "higher", 0, 1, interval="share", target="population"),
    Metric("zeroshot_mean_per_class_recall", "zeroshot", "Mean per-class recall", "higher", 0, 1, interval="share"),
    Metric("zeroshot_ece", "zeroshot", "ECE", "lower", 0, 1, interval="error"),
    Metric("zeroshot_ece_debiased", "zeroshot", "ECE, debiased", "lower", 0, 1, interval="root"),
    Metric("zeroshot_mce", "zeroshot", "MCE", "lower", 0, 1, interval="", why="one bin decides it"),
    Metric("zeroshot_nll", "zeroshot", "NLL", "lower", 0, inf, interval="positive", target="population"),
    Metric("zeroshot_brier", "zeroshot", "Brier score", "lower", 0, 2, interval="positive", target="population"),
    Metric("zeroshot_classwise_ece", "zeroshot", "Class-wise ECE", "lower", 0, 1, interval="", why=_UNKNOWN),
    Metric("zeroshot_ace", "zeroshot", "ACE", "lower", 0, 1, default=False, interval="", why=_UNKNOWN),
    Metric("zeroshot_smece", "zeroshot", "Smooth ECE", "lower", 0, 1, default=False, interval="", why=_UNKNOWN),
]  # fmt: skip

FIXED_SIZE = 500
"""Images of the draws in which numbers that move with the number of images are measured once more."""

AT_FIXED_SIZE: dict[str, str] = {
    key: f"{key}@{FIXED_SIZE}"
    for key in (
        "gap_after_centering",
        *(f"{what}_retrieval_{key}" for key in ("ece", "ece_debiased") for what in ("text", "image")),
        *(f"{key}_{cloud}"
          for key in ("effective_rank", "twonn", "effective_rank_centered", "rankme", "isoscore", "w2_uniformity")
          for cloud in ("image", "text")),
        *(f"{what}_{key}" for key in ("hubness", "robin_hood", "antihub_share") for what in ("text", "image")),
    )
}  # fmt: skip
"""Key of a number that moves with the number of images -> the key of its mean over draws of `FIXED_SIZE` images."""


def _with_fixed_size(rows: Iterable[Metric]) -> Iterator[Metric]:
    """The rows, each followed by that of the same number at `FIXED_SIZE` images, where there is one."""
    for row in rows:
        yield row
        if row.key in AT_FIXED_SIZE:
            yield replace(
                row,
                key=AT_FIXED_SIZE[row.key],
                title=f"{row.title}, at {FIXED_SIZE} images",
                default=False,
                swaps_to=AT_FIXED_SIZE[row.swaps_to],
                interval="",
                folds=(),
                why="draws share images",
            )


METRICS: dict[str, Metric] = {row.key: row for row in _with_fixed_size(_ROWS)}
"""Every key of a panel, in its order, and what it promises."""

__all__ = [
    "AT_FIXED_SIZE",
    "FIXED_SIZE",
    "GROUPS",
    "METRICS",
    "Metric",
    "ace",
    "alignment",
    "antihub_share",
    "brier",
    "classwise_ece",
    "continuity",
    "ece",
    "ece_debiased",
    "effective_rank",
    "effective_rank_centered",
    "gap_ablation_curve",
    "gap_after_centering",
    "gap_shift_curve",
    "hubness",
    "isoscore",
    "k_occurrence",
    "linear_cka",
    "linear_cka_biased",
    "linear_separability",
    "mce",
    "mean_cosine",
    "mean_cosine_matched",
    "mean_cosine_unmatched",
    "modality_gap",
    "mutual_knn",
    "participation_ratio",
    "participation_ratio_centered",
    "procrustes_distance",
    "rankme",
    "relative_alignment_image_to_text",
    "relative_alignment_text_to_image",
    "relative_modality_gap",
    "reliability",
    "retrieval",
    "retrieval_posterior",
    "robin_hood",
    "smece",
    "trustworthiness",
    "twonn",
    "uniformity",
    "uniformity_cross",
    "uniformity_joint",
    "w2_uniformity",
    "zeroshot",
]
