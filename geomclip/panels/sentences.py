"""One sentence for each group of a panel: what its numbers say, true of the numbers shown, no more."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from geomclip.metrics.bins import wilson_interval

QUERIES = {"image_retrieval": ("a text", "its image"), "text_retrieval": ("an image", "one of its texts")}
"""Prefix of the keys: who asks, and what it looks for."""


class Numbers(Protocol):
    """What a sentence reads of a panel."""

    @property
    def values(self) -> Mapping[str, float | None]:
        """Key to value."""

    @property
    def ci(self) -> Mapping[str, tuple[float, float]]:
        """Key to the ends of its interval."""

    @property
    def null(self) -> Mapping[str, float]:
        """Key to what random rows or guesses give."""

    @property
    def reliability(self) -> Mapping[str, Sequence[Mapping[str, float | None]]]:
        """Kind of query to the bins of its reliability diagram."""

    @property
    def n_images(self) -> int:
        """Images."""

    @property
    def dim(self) -> int:
        """Dimensions."""


def alignment(panel: Numbers) -> str | None:
    """Whether the own partner or the hardest other one is nearer, both ways."""
    ways = (
        ("relative_alignment_text_to_image", "a text", "its own image", "the nearest other image"),
        ("relative_alignment_image_to_text", "an image", "its own texts", "the nearest other text"),
    )
    statements = []
    for key, who, own, other in ways:
        side = against(panel, key, 0.0)
        if side is not None:
            how = {-1: "nearer to", 1: "further from", 0: "about as near to"}[side]
            than = "as to" if side == 0 else "than to" if side < 0 else "than from"
            statements.append(f"{who} is {how} {own} {than} {other} ({number(panel.values[key])})")
    return f"On average {' and '.join(statements)}." if statements else None


def gap(panel: Numbers) -> str | None:
    """Whether the gap exceeds its null, a hyperplane tells the modalities apart, the cones are narrow."""
    statements = []
    value, null = panel.values.get("modality_gap"), panel.null.get("modality_gap")
    side = None if null is None else against(panel, "modality_gap", null)
    if value is not None and null and side is not None:
        if side > 0:
            statements.append(f"the gap {number(value)} is {value / null:.3g} times its null {number(null)}")
        elif side == 0:
            statements.append(f"the gap {number(value)} is not told from its null {number(null)}")
        else:
            statements.append(f"the gap {number(value)} is below its null {number(null)}")
    separability = panel.values.get("linear_separability")
    if separability is not None:
        statements.append(f"a hyperplane tells images from texts in {percent(separability)} of cases (chance 50 %)")
    cones = []
    for modality, name in (("image", "two images"), ("text", "two texts")):
        cosine = panel.values.get(f"mean_cosine_{modality}")
        if cosine is not None:
            cones.append(f"{name} {number(cosine)} ({degrees(cosine)})")
    if cones:
        statements.append(f"mean cosine of {' and of '.join(cones)}, against 0 (90°) if spread evenly")
    return sentence(statements)


def retrieval(panel: Numbers) -> str | None:
    """How often the first answer is right, against chance."""
    statements = []
    for prefix, (who, what) in QUERIES.items():
        key = f"{prefix}_recall@1"
        value, chance = panel.values.get(key), panel.null.get(key)
        if value is None:
            continue
        found = f"{who} finds {what} first in {percent(value)} of cases"
        if chance:
            side = against(panel, key, chance)
            often = f"{value / chance:.3g} times chance" if side == 1 else "no more than chance"
            found += f" ({often}, {percent(chance)})"
        statements.append(found)
    return sentence(statements)


def calibration(panel: Numbers) -> str | None:
    """Whether the confidence is above or below the accuracy, beyond the interval of the accuracy."""
    queries = {prefix: f"queries by {who.split()[-1]}" for prefix, (who, _) in QUERIES.items()}
    return sentence([statement for prefix, who in queries.items() if (statement := confidence(panel, prefix, who))])


def confidence(panel: Numbers, prefix: str, who: str) -> str | None:
    """Mean confidence and accuracy of one kind of query, from its reliability diagram."""
    bins = panel.reliability.get(prefix, [])
    total = sum(one["count"] or 0 for one in bins)
    if not total:
        return None
    # accuracy and confidence of an empty bin are None
    sure, right = (
        sum((one["count"] or 0) * (one[name] or 0) for one in bins) / total for name in ("confidence", "accuracy")
    )
    # texts of one image are right together, so there are no more independent cases than images
    count = min(round(total), panel.n_images)
    low, high = wilson_interval(min(right, 1.0) * count, count)
    shown = f"confidence {percent(sure)}, accuracy {percent(right)}"
    if sure > high:
        return f"{who} are overconfident ({shown})"
    if sure < low:
        return f"{who} are underconfident ({shown})"
    return f"{who} are, on the whole, as sure as they are right ({shown})"


def shape(panel: Numbers) -> str | None:
    """How many of the directions are used, and how many dimensions the cloud has near a point."""
    ranks = {cloud: panel.values.get(f"effective_rank_{cloud}") for cloud in ("image", "text")}
    statements = [f"{cloud}s use {rank:.3g}" for cloud, rank in ranks.items() if rank is not None]
    if not statements:
        return None
    line = f"of {panel.dim} directions {' and '.join(statements)}"
    image, text = panel.values.get("twonn_image"), panel.values.get("twonn_text")
    if image is not None and text is not None:
        line += f"; locally they have {image:.3g} and {text:.3g} dimensions (TwoNN)"
    return sentence([line])


def neighborhood(panel: Numbers) -> str | None:
    """Whether a few items are in the lists of many, beyond what the null has."""
    statements = []
    for key, items, queries in (("text_hubness", "texts", "images"), ("image_hubness", "images", "texts")):
        value, null = panel.values.get(key), panel.null.get(key)
        if value is None or null is None:
            continue
        side = against(panel, key, null)
        if side == 1:
            statements.append(f"a few {items} are neighbours of many {queries} ({number(value)}, null {number(null)})")
        else:
            word = "not told from" if side == 0 else "below"
            statements.append(f"the hubness of {items} is {word} its null ({number(value)}, null {number(null)})")
    return sentence(statements)


def zeroshot(panel: Numbers) -> str | None:
    """How often the class is right, against chance, and how sure the model is of it."""
    value, chance = panel.values.get("zeroshot_acc1"), panel.null.get("zeroshot_acc1")
    if value is None:
        return None
    statements = [f"the class of an image is right in {percent(value)} of cases"]
    if chance:
        side = against(panel, "zeroshot_acc1", chance)
        often = f"{value / chance:.3g} times" if side == 1 else "no more than"
        statements[0] += f" ({often} chance, {percent(chance)})"
    sure = confidence(panel, "zeroshot", "the answers")
    return sentence(statements + ([sure] if sure else []))


def similarity(panel: Numbers) -> str | None:
    """How many neighbours images and their texts have in common, against chance."""
    shared, chance = panel.values.get("mutual_knn"), panel.null.get("mutual_knn")
    if shared is None:
        return None
    statement = f"an image and its text have {percent(shared)} of their 10 nearest neighbours in common"
    return sentence([statement if chance is None else f"{statement} (chance {percent(chance)})"])


READINGS: dict[str, Callable[[Numbers], str | None]] = {
    "alignment": alignment,
    "gap": gap,
    "retrieval": retrieval,
    "calibration": calibration,
    "shape": shape,
    "neighborhood": neighborhood,
    "similarity": similarity,
    "zeroshot": zeroshot,
}
"""Group of the metrics: the function that reads it."""


def read(group: str, panel: Numbers) -> str | None:
    """The sentence of one group; None where its numbers are not in the panel or are undefined."""
    return READINGS[group](panel) if group in READINGS else None


def against(panel: Numbers, key: str, reference: float) -> int | None:
    """-1 below the reference, 1 above, 0 if it lies in the interval; None if the value is undefined.

    A value without interval is its own.
    """
    value = panel.values.get(key)
    if value is None:
        return None
    low, high = panel.ci.get(key, (value, value))
    if low <= reference <= high:
        return 0
    return -1 if value < reference else 1


def number(value: float | None) -> str:
    """A number in at most 9 characters: four decimals where they say something; '—' if undefined.

    Examples
    --------
    >>> [number(v) for v in (0.84301, -0.0672, 71.7547, 227.19, 12345.6, 1.0, 0.00002, 0.0, None)]
    ['0.8430', '-0.0672', '71.755', '227.19', '12,346', '1.0000', '2.0e-05', '0', '—']
    """
    if value is None:
        return "—"
    size = abs(value)
    if value == 0:
        return "0"
    if size < 5e-4 or size >= 1e7:
        return f"{value:.1e}"
    if size < 10:
        return f"{value:.4f}"
    if size < 100:
        return f"{value:.3f}"
    return f"{value:.2f}" if size < 1000 else f"{value:,.0f}"


def percent(share: float) -> str:
    """A share in percent: whole from 10 % up, else two digits; 100 % and 0 % only if they are.

    Examples
    --------
    >>> [percent(v) for v in (1.0, 0.9996, 0.832, 0.01, 0.0025, 0.0)]
    ['100 %', '>99.9 %', '83 %', '1 %', '0.25 %', '0 %']
    """
    if 0.995 <= share < 1:
        return f"{100 * share:.1f} %" if share < 0.9995 else ">99.9 %"
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.2g} %"


def degrees(cosine: float) -> str:
    """The angle of a cosine in whole degrees."""
    return f"{math.degrees(math.acos(max(-1.0, min(1.0, cosine)))):.0f}°"


def sentence(statements: list[str]) -> str | None:
    """Statements joined into one sentence; None if there are none."""
    if not statements:
        return None
    text = "; ".join(statements)
    return f"{text[0].upper()}{text[1:]}."
