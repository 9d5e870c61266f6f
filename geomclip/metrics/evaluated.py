"""What evaluations promise of their numbers: rows as those of `METRICS`, of keys that `measure` does not make."""

from __future__ import annotations

from math import inf

from geomclip.metrics import METRICS, Metric

SHOTS = (1, 2, 4, 8, 16)
"""Images a class that few-shot classification learns from."""
FINETUNED = (
    *("ft", "m2mix", "m3mix", "vmix", "lmix", "vlmix", "imix", "unmix", "hcl", "cyclip", "cua", "cuaxu"),
    *("geodesic", "g2l", "siglip", "lp_ft"),
)
"""Methods of fine-tuning on shots, as keys have them."""
NONE = "none known to hold"
OF_OTHERS = "of other images"


def _row(
    key: str,
    group: str,
    title: str,
    better: str = "higher",
    low: float = 0.0,
    high: float = 1.0,
    *,
    interval: str = "share",
    why: str = "",
    judged: bool = True,
) -> Metric:
    return Metric(key, group, title, better, low, high, False, interval=interval, why=why, judged=judged)


def _fewshot() -> list[Metric]:
    rows = []
    for name, title in (
        ("probe", "linear probe"),
        ("prototypes", "prototypes"),
        ("zeroshot_probe", "zero-shot + probe"),
        *((f"finetuned_{method}", f"tuned by {method.replace('_', '-')}") for method in FINETUNED),
    ):
        for shots in SHOTS:
            rows.append(_row(f"fewshot_{name}_acc1@{shots}", "fewshot", f"{title}, {shots} a class"))
            honest = f"ECE, {title}, {shots} a class"
            rows.append(_row(f"fewshot_{name}_ece@{shots}", "fewshot", honest, "lower", interval="", why=NONE))
    return rows


def _zeroshot() -> list[Metric]:
    """What a classification has beside the numbers of `measure`: single templates, and another temperature."""
    several = "of several templates"
    return [
        _row("zeroshot_template_acc1_mean", "zeroshot", "Accuracy@1, one template, mean"),
        _row("zeroshot_template_acc1_min", "zeroshot", "Accuracy@1, worst template", interval="", why=several),
        _row("zeroshot_template_acc1_max", "zeroshot", "Accuracy@1, best template", interval="", why=several),
        _row("zeroshot_template_acc1_sd", "zeroshot", "SD over templates", "", interval="", why=several),
        _row("zeroshot_chosen_acc1", "zeroshot", "Accuracy@1, chosen templates"),
        _row("zeroshot_ece_fitted", "zeroshot", "ECE, fitted temperature", "lower", interval="", why=NONE),
        _row("zeroshot_nll_fitted", "zeroshot", "NLL, fitted temperature", "lower", 0, inf, interval="plain"),
        _row("zeroshot_temperature_fitted", "zeroshot", "Fitted temperature", "", 0, inf, interval="", why=OF_OTHERS),
    ]


def _shift() -> list[Metric]:
    """One model on a family of sets."""
    lowest = "the worst of several"
    return [
        _row("shift_acc1_mean", "shift", "Accuracy@1, shifted, mean"),
        _row("shift_acc1_worst", "shift", "Accuracy@1, worst set", interval="", why=lowest),
        _row("shift_drop", "shift", "Accuracy lost to the shift", "lower", -1, 1, interval="plain"),
        _row("shift_ece_mean", "shift", "ECE, shifted, mean", "lower", interval="", why=NONE),
        _row("shift_ece_worst", "shift", "ECE, worst set", "lower", interval="", why=lowest),
        _row("shift_ece_rise", "shift", "ECE added by the shift", "lower", -1, 1, interval="", why=NONE),
        _row("shift_effective_robustness", "shift", "Effective robustness", "higher", -1, 1, interval="plain"),
    ]


def _simat() -> list[Metric]:
    def row(key: str, title: str, *how: object, **more: object) -> Metric:
        return _row(f"simat_{key}", "simat", title, *how, **more)  # type: ignore[arg-type]

    rows = [
        row("success", "OSCAR success"),
        row("success_max", "OSCAR success, maximum over λ", interval="", why="the largest of 13"),
    ]
    for kind, what in (("caption", "captions"), ("word", "words")):
        rows += [
            row(f"{kind}_acc1", f"target is nearest, {what}"),
            row(f"{kind}_rank", f"rank of the target, {what}", "lower", 1.0, inf, interval="plain"),
            row(f"{kind}_cosine", f"cosine of differences, {what}", "higher", -1.0, 1.0, interval="plain"),
        ]
    return rows


def _missing_modality() -> list[Metric]:
    def row(key: str, title: str, *how: object, **more: object) -> Metric:
        return _row(f"missing_modality_{key}", "missing_modality", title, *how, **more)  # type: ignore[arg-type]

    def error(key: str, title: str) -> Metric:
        return row(key, title, "lower", 0.0, inf, interval="plain")

    known = [error("mean_mae", "MAE, mean label"), row("mean_corr", "correlation, mean label", "higher", -1.0, 1.0)]
    for end, what in (("", ""), ("_nonzero", " without 0")):
        known.append(row(f"majority_acc{end}", f"accuracy{what}, more frequent sign"))
        known.append(row(f"majority_f1{end}", f"F1{what}, more frequent sign", interval="", why=NONE))
    for name, title in (("gmc", "GMC"), ("m2mix", "GMC + m²-mix")):
        known += [
            error(f"{name}_mae", f"MAE, {title}"),
            row(f"{name}_corr", f"correlation, {title}", "higher", -1.0, 1.0, interval="plain"),
        ]
        for end, what in (("", ""), ("_nonzero", " without 0")):
            known.append(row(f"{name}_acc{end}", f"accuracy{what}, {title}"))
            known.append(row(f"{name}_f1{end}", f"F1{what}, {title}", interval="", why=NONE))
    gain = "gain of m²-mix in"
    return [
        *known,
        row("m2mix_gain_mae", f"{gain} MAE", "higher", -inf, inf, interval="plain"),
        row("m2mix_gain_acc", f"{gain} accuracy", "higher", -1.0, 1.0, interval="plain"),
        row("m2mix_gain_acc_nonzero", f"{gain} accuracy without 0", "higher", -1.0, 1.0, interval="plain"),
    ]


def _captioning() -> list[Metric]:
    rows = []
    for name, title in (("", ""), ("frequent_", ", one caption for all"), ("human_", ", people")):
        rows.append(_row(f"caption_{name}cider_d", "captioning", f"CIDEr-D{title}", high=10.0, interval="plain"))
        rows.append(_row(f"caption_{name}rouge_l", "captioning", f"ROUGE-L{title}", interval="plain"))
        for size in {"": (1, 2, 3, 4), "frequent_": (1, 4), "human_": ()}[name]:
            rows.append(_row(f"caption_{name}bleu@{size}", "captioning", f"BLEU-{size}{title}", interval="plain"))
    of_set = "of all together"
    rows += [
        _row("caption_distinct", "captioning", "distinct captions", interval="", why=of_set),
        _row("caption_most_common", "captioning", "most common caption", "lower", interval="", why=of_set),
        _row("caption_length", "captioning", "words of a caption", "", high=inf, interval="plain", judged=False),
        _row("caption_retrieval_recall@1", "captioning", "R@1 caption → image"),
    ]
    return rows


def _interpolation() -> list[Metric]:
    """How far rows between two times are from those of the time that was left out, beside the best and the idle way."""
    rows = []
    for name, title in (("w1", "W1"), ("w2", "W2"), ("mmd_rbf", "MMD, RBF"), ("mmd_linear", "MMD, linear")):
        for key, of in (
            (name, "interpolated"),
            (f"{name}_nearer", "nearer time"),
            (f"{name}_floor", "truth in halves"),
            (f"{name}_over_nearer", "of the nearer time's"),
            (f"{name}_over_floor", "of the floor"),
        ):
            judged = key not in (f"{name}_nearer", f"{name}_floor")
            better = "lower" if judged else ""
            rows.append(
                _row(f"interpolation_{key}", "interpolation", f"{title}, {of}", better, 0, inf, interval="plain")
            )
    return rows


_ROWS = [*_zeroshot(), *_fewshot(), *_shift(), *_simat(), *_captioning(), *_missing_modality(), *_interpolation()]

TASKS = {
    "fewshot": "Few-shot classification",
    "shift": "Under shift",
    "simat": "Embedding arithmetic",
    "captioning": "Captioning",
    "missing_modality": "Missing views",
    "interpolation": "Times left out",
}
"""Name of each group of an evaluation and its heading, after those of `GROUPS`."""

EVALUATED: dict[str, Metric] = {row.key: row for row in _ROWS}
"""Every key of an evaluation that is none of a panel, and what it promises."""

KNOWN: dict[str, Metric] = {**METRICS, **EVALUATED}
"""Every key that a table, a comparison or a gate may meet."""

PRIMARY = (
    "fewshot_probe_acc1@16",
    "shift_acc1_mean",
    "simat_success",
    "simat_caption_acc1",
    "caption_cider_d",
    "missing_modality_m2mix_mae",
    "interpolation_w2_over_nearer",
)
"""What a comparison of two evaluations is about, if nobody says."""

__all__ = ["EVALUATED", "FINETUNED", "KNOWN", "PRIMARY", "SHOTS", "TASKS"]
