"""What evaluations promise of their numbers: rows as those of `METRICS`, of keys that `measure` does not make."""

from __future__ import annotations

from math import inf

from geomclip.metrics import METRICS, Metric

SHOTS = (1, 2, 4, 8, 16)
"""Images a class that few-shot classification learns from."""
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
        ("finetuned", "fine-tuned"),
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


_ROWS = [*_zeroshot(), *_fewshot(), *_shift()]

EVALUATED: dict[str, Metric] = {row.key: row for row in _ROWS}
"""Every key of an evaluation that is none of a panel, and what it promises."""

KNOWN: dict[str, Metric] = {**METRICS, **EVALUATED}
"""Every key that a table, a comparison or a gate may meet."""

PRIMARY = ("fewshot_probe_acc1@16", "shift_acc1_mean")
"""What a comparison of two evaluations is about, if nobody says."""

__all__ = ["EVALUATED", "KNOWN", "PRIMARY", "SHOTS"]
