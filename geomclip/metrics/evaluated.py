"""What evaluations promise of their numbers: rows as those of `METRICS`, of keys that `measure` does not make."""

from __future__ import annotations

import math

from geomclip.metrics import METRICS, Metric

SHOTS = (1, 2, 4, 8, 16)
"""Images a class that few-shot classification learns from."""
NONE = "none known to hold"


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
        _row("caption_length", "captioning", "words of a caption", "", high=math.inf, interval="plain", judged=False),
        _row("caption_retrieval_recall@1", "captioning", "R@1 caption → image"),
    ]
    return rows


_ROWS = [*_fewshot(), *_captioning()]

EVALUATED: dict[str, Metric] = {row.key: row for row in _ROWS}
"""Every key of an evaluation that is none of a panel, and what it promises."""

KNOWN: dict[str, Metric] = {**METRICS, **EVALUATED}
"""Every key that a table, a comparison or a gate may meet."""

PRIMARY = ("fewshot_probe_acc1@16", "caption_cider_d")
"""What a comparison of two evaluations is about, if nobody says."""

__all__ = ["EVALUATED", "KNOWN", "PRIMARY", "SHOTS"]
