"""Chosen: the ten numbers that a short table has, of pairs and of classes, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from geomclip.metrics.evaluated import FINETUNED, KNOWN
from geomclip.panels.intervals import Interval
from geomclip.panels.sentences import number

MOST = 10
"""Rows of a short table."""
LEAD = 3.55
"""A half width whose leading digits are below this is written with two digits, else with one.

Particle Data Group, "Review of Particle Physics", introduction, on rounding.
"""
FEWEST, FINEST = 0, 4
"""Decimals that a number is shown with."""


@dataclass(frozen=True)
class Chosen:
    """A number of a short table; `short` is its name where columns are narrow, of at most 16 characters."""

    key: str
    short: str
    unit: str = "plain"  # or "share": in percent, and its change in percentage points

    @property
    def label(self) -> str:
        """What the table of metrics calls it."""
        return KNOWN[self.key].title


PAIRS = (
    Chosen("text_retrieval_recall@1", "R@1 image → text", "share"),
    Chosen("image_retrieval_recall@1", "R@1 text → image", "share"),
    Chosen("text_retrieval_ece", "ECE image → text", "share"),
    Chosen("image_retrieval_ece", "ECE text → image", "share"),
    Chosen("modality_gap", "modality gap"),
    Chosen("alignment", "alignment"),
    Chosen("uniformity_joint", "uniformity, both"),
    Chosen("mean_cosine_image", "cosine, images"),
    Chosen("mean_cosine_text", "cosine, texts"),
    Chosen("text_robin_hood", "Robin Hood, text"),
)
"""Does it retrieve, is it honest, how do the two clouds lie to each other, how wide are they, are there hubs."""

CLASSES = (
    Chosen("zeroshot_acc1", "accuracy@1", "share"),
    Chosen("zeroshot_acc5", "accuracy@5", "share"),
    Chosen("zeroshot_mean_per_class_recall", "recall per class", "share"),
    Chosen("zeroshot_ece", "ECE", "share"),
    Chosen("zeroshot_nll", "NLL"),
    Chosen("modality_gap", "modality gap"),
    Chosen("uniformity_image", "uniformity, im."),
    Chosen("mean_cosine_image", "cosine, images"),
    Chosen("mean_cosine_text", "cosine, texts"),
    Chosen("effective_rank_centered_image", "rank, images"),
)
"""Is it right, in every class, is it honest, how do images and prompts lie to each other, how wide are they."""

FEWSHOT = (
    Chosen("zeroshot_acc1", "accuracy@1", "share"),
    *(Chosen(f"fewshot_probe_acc1@{n}", f"probe, {n}", "share") for n in (1, 4, 16)),
    *(Chosen(f"fewshot_zeroshot_probe_acc1@{n}", f"+ zero-shot, {n}", "share") for n in (1, 4, 16)),
    Chosen("fewshot_prototypes_acc1@16", "prototypes, 16", "share"),
    Chosen("fewshot_probe_ece@16", "ECE probe, 16", "share"),
    Chosen("fewshot_zeroshot_probe_ece@16", "ECE + zero., 16", "share"),
)
"""What the class texts alone give, what a few images give without and beside them, and is it honest."""

TUNED = (
    FEWSHOT[0],
    *(Chosen(f"fewshot_probe_acc1@{n}", f"probe, {n}", "share") for n in (1, 16)),
    *(Chosen(f"fewshot_zeroshot_probe_acc1@{n}", f"+ zero-shot, {n}", "share") for n in (1, 16)),
    *(
        Chosen(f"fewshot_finetuned_{method}_acc1@{n}", f"{method.replace('_', '-')}, {n}", "share")
        for method in FINETUNED
        for n in (1, 16)
    ),
    *(Chosen(f"fewshot_finetuned_{method}_ece@16", f"ECE {method.replace('_', '-')}", "share") for method in FINETUNED),
)
"""The same, and what fine-tuning on the shots gives."""

ZEROSHOT = (
    *CLASSES[:3],
    Chosen("zeroshot_template_acc1_mean", "one template", "share"),
    Chosen("zeroshot_template_acc1_min", "worst template", "share"),
    Chosen("zeroshot_template_acc1_max", "best template", "share"),
    Chosen("zeroshot_chosen_acc1", "chosen templates", "share"),
    Chosen("zeroshot_ece", "ECE", "share"),
    Chosen("zeroshot_ece_fitted", "ECE, fitted T", "share"),
    Chosen("zeroshot_temperature_fitted", "fitted T"),
    Chosen("zeroshot_nll", "NLL"),
    Chosen("zeroshot_nll_fitted", "NLL, fitted T"),
    Chosen("zeroshot_template_acc1_sd", "SD of templates", "share"),
)
"""Is it right, how much of that is the template, is it honest, and would it be at another temperature."""

SHIFT = (
    Chosen("zeroshot_acc1", "accuracy@1", "share"),
    Chosen("shift_acc1_mean", "shifted, mean", "share"),
    Chosen("shift_acc1_worst", "shifted, worst", "share"),
    Chosen("shift_drop", "lost", "share"),
    Chosen("shift_effective_robustness", "eff. robustness", "share"),
    Chosen("zeroshot_ece", "ECE", "share"),
    Chosen("shift_ece_mean", "ECE shifted", "share"),
    Chosen("shift_ece_worst", "ECE worst", "share"),
    Chosen("shift_ece_rise", "ECE added", "share"),
)
"""How right and how honest it is on the data themselves, and on other sets of the same classes."""

SIMAT = (
    Chosen("simat_success", "OSCAR success", "share"),
    Chosen("simat_success_max", "max over λ", "share"),
    Chosen("simat_caption_acc1", "nearest, capt.", "share"),
    Chosen("simat_caption_rank", "rank, captions"),
    Chosen("simat_caption_cosine", "cosine, captions"),
    Chosen("simat_word_acc1", "nearest, words", "share"),
    Chosen("simat_word_rank", "rank, words"),
    Chosen("simat_word_cosine", "cosine, words"),
)
"""Does a difference of words move images, captions and words to where it should."""

VIEWS = (
    Chosen("missing_modality_mean_mae", "MAE, mean label"),
    Chosen("missing_modality_gmc_mae", "MAE, GMC"),
    Chosen("missing_modality_m2mix_mae", "MAE, + m²-mix"),
    Chosen("missing_modality_m2mix_gain_mae", "gain in MAE"),
    Chosen("missing_modality_gmc_corr", "corr., GMC"),
    Chosen("missing_modality_m2mix_corr", "corr., + m²-mix"),
    Chosen("missing_modality_majority_acc", "majority sign", "share"),
    Chosen("missing_modality_gmc_acc", "sign, GMC", "share"),
    Chosen("missing_modality_m2mix_acc", "sign, + m²-mix", "share"),
    Chosen("missing_modality_m2mix_gain_acc", "gain in sign", "share"),
)
"""How far off, and how often the sign is right, where views are missing; beside constant answers."""

CAPTIONING = (
    Chosen("caption_cider_d", "CIDEr-D"),
    Chosen("caption_frequent_cider_d", "CIDEr-D, one"),
    Chosen("caption_human_cider_d", "CIDEr-D, people"),
    Chosen("caption_rouge_l", "ROUGE-L"),
    Chosen("caption_bleu@1", "BLEU-1"),
    Chosen("caption_bleu@4", "BLEU-4"),
    Chosen("caption_retrieval_recall@1", "R@1 caption", "share"),
    Chosen("caption_distinct", "distinct", "share"),
    Chosen("caption_most_common", "most common", "share"),
    Chosen("caption_length", "words"),
)
"""How near to people's captions, beside one caption for all and people themselves; do captions differ, and tell."""

INTERPOLATION = (
    Chosen("interpolation_w2_over_nearer", "W2 of nearer"),
    Chosen("interpolation_w2_over_floor", "W2 of floor"),
    Chosen("interpolation_w1_over_nearer", "W1 of nearer"),
    Chosen("interpolation_w1_over_floor", "W1 of floor"),
    Chosen("interpolation_mmd_rbf_over_nearer", "RBF of nearer"),
    Chosen("interpolation_mmd_rbf_over_floor", "RBF of floor"),
    Chosen("interpolation_mmd_linear_over_nearer", "mean of nearer"),
    Chosen("interpolation_w2", "W2"),
    Chosen("interpolation_w2_nearer", "W2, nearer"),
    Chosen("interpolation_w2_floor", "W2, floor"),
)
"""How far from the rows of a time that was left out, as a share of how far the nearer time is, and of the floor."""

_TABLES = {
    "caption_": CAPTIONING,
    "fewshot_finetuned": TUNED,
    "fewshot": FEWSHOT,
    "shift": SHIFT,
    "zeroshot_template": ZEROSHOT,
    "zeroshot_chosen": ZEROSHOT,
    "zeroshot_temperature": ZEROSHOT,
    "zeroshot": CLASSES,
    "simat": SIMAT,
    "missing_modality": VIEWS,
    "interpolation": INTERPOLATION,
}
"""Start of a key to the short table of a panel that has such a one."""
_ALL = (*PAIRS, *CLASSES, *FEWSHOT, *TUNED, *SHIFT, *ZEROSHOT, *SIMAT, *CAPTIONING, *VIEWS, *INTERPOLATION)
_KNOWN = {each.key: each for each in _ALL}


def chosen(known: Iterable[str], first: Iterable[str] = (), named: Iterable[str] = ()) -> list[str]:
    """The keys of a short table: `first`, the chosen ones, then others in their order, up to ten; and those `named`.

    Parameters
    ----------
    known : keys
        What there is to show.
    first : keys
        Those that must stand at the top, as far as known, such as the primary keys of a comparison.
    named : keys
        Those that must be there too, as far as known, at the end.

    Examples
    --------
    >>> chosen(["alignment", "twonn_image", "modality_gap"])
    ['modality_gap', 'alignment', 'twonn_image']
    """
    there = list(known)
    head = [key for key in dict.fromkeys(first) if key in there]
    table = next((rows for start, rows in _TABLES.items() if any(key.startswith(start) for key in there)), PAIRS)
    ordered = dict.fromkeys((*head, *(each.key for each in table if each.key in there), *there))
    return list(dict.fromkeys((*list(ordered)[: max(MOST, len(head))], *(key for key in named if key in there))))


def label(key: str) -> str:
    """What a key is called in a short table: its title in the table of metrics."""
    return KNOWN[key].title if key in KNOWN else key


def short_label(key: str) -> str:
    """What a key is called where columns are narrow."""
    return _KNOWN[key].short if key in _KNOWN else label(key)


def is_share(key: str) -> bool:
    """Whether a number is a share of queries or items, which is written in percent.

    Examples
    --------
    >>> is_share("text_retrieval_recall@5"), is_share("text_robin_hood"), is_share("text_retrieval_median_rank")
    (True, False, False)
    """
    if key in _KNOWN:
        return _KNOWN[key].unit == "share"
    metric = KNOWN.get(key)
    counted = metric is not None and metric.group in (
        "retrieval",
        "calibration",
        "zeroshot",
        "data",
        "fewshot",
        "shift",
    )
    return metric is not None and (metric.low, metric.high) == (0, 1) and (counted or metric.interval == "share")


def decimals(half_width: float) -> int | None:
    """The decimals that a number with this half of an interval has: as many as show one or two digits of that half.

    None where the half says nothing: it is 0, infinite or no number.

    Examples
    --------
    >>> [decimals(half) for half in (3.26, 0.0097, 0.0049, 17.0, 0.0)]
    [1, 3, 3, 0, None]
    """
    if not 0 < half_width < math.inf:
        return None
    power = math.floor(math.log10(half_width))
    lead = half_width / 10**power
    if lead >= 9.5:  # rounds to 10
        lead, power = 1.0, power + 1
    return min(FINEST, max(FEWEST, (1 if lead < LEAD else 0) - power))


def digits(key: str, ci: Interval | None) -> int | None:
    """The decimals that the interval of a number supports, as it is written; None without one."""
    if ci is None:
        return None
    half = (ci[1] - ci[0]) / 2
    return decimals(100 * half if is_share(key) else half)


def written(key: str, value: float | None, places: int | None = None, *, unit: bool = True) -> str:
    """A value with so many decimals: a share in percent, another number as it is; without `places` in usual digits.

    Examples
    --------
    >>> written("zeroshot_acc1", 0.8325, 1), written("alignment", 1.26124, 3), written("zeroshot_acc1", 0.8325)
    ('83.2 %', '1.261', '83.2 %')
    >>> written("zeroshot_acc1", None), written("alignment", 1.26124), written("alignment", -0.00001, 2)
    ('—', '1.2612', '0.00')
    """
    if value is None or math.isnan(value):
        return number(None)
    if value == 0:
        return "0 %" if unit and is_share(key) else "0"
    if is_share(key):
        return f"{_fixed(100 * value, 1 if places is None else places)}{' %' if unit else ''}"
    return number(value) if places is None or abs(value) >= 1e7 else _fixed(value, places)


def change(key: str, difference: float | None, places: int | None = None, *, unit: bool = True) -> str:
    """A difference with its sign: of shares in percentage points, "pp".

    Examples
    --------
    >>> change("zeroshot_acc1", 0.0312, 1), change("alignment", -0.5, 2), change("alignment", 0.0), change("x", 0.5)
    ('+3.1 pp', '-0.50', '0', '+0.5000')
    """
    if difference is None or math.isnan(difference):
        return number(None)
    if difference == 0:
        return "0"
    text = written(key, abs(difference), places, unit=False)
    sign = "-" if difference < 0 else "+"
    return f"{sign if text.strip('0.') else ''}{text}{' pp' if unit and is_share(key) else ''}"


def _fixed(value: float, places: int) -> str:
    """So many decimals, and no minus before a zero."""
    text = f"{value:,.{places}f}"
    return text if text.strip("-0.,") else text.removeprefix("-")
