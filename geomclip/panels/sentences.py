"""One sentence for each group of a panel: what its numbers say, true of the numbers shown, no more."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from geomclip.embeddings.wording import worded
from geomclip.metrics.bins import wilson_interval
from geomclip.panels.directions import DIRECTIONS

QUERIES = {"image_retrieval": ("a text", "its image"), "text_retrieval": ("an image", "one of its texts")}
"""Prefix of the keys: who asks, and what it looks for."""

DOUBT = 0.05 / 2
"""How often a number may be judged wrongly: sentences judge two, and as a whole err in one case of twenty."""

WIDER = 2.2414 / 1.9600
"""A 97.5 % interval of a normal beside one of 95 %: what a number that shares its sentence with another is held to."""


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
    def null_error(self) -> Mapping[str, float]:
        """Key to the error of its null, where that is simulated."""

    @property
    def p(self) -> Mapping[str, float]:
        """Key of a calibration error to how often honest confidences err as much."""

    @property
    def reliability(self) -> Mapping[str, Sequence[Mapping[str, float | None]]]:
        """Kind of query to the bins of its reliability diagram."""

    @property
    def n_images(self) -> int:
        """Images."""

    @property
    def n_texts(self) -> int:
        """Texts, or classes."""

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
        value = panel.values.get(key)
        if value is None:
            continue
        side = against(panel, key, 0.0, wider=WIDER)
        if side is None:
            less = f"the squared distance of {who} to {own} less that to {other}"
            statements.append(f"{less} is {number(value)}")
            continue
        how = {-1: "nearer to", 1: "further from", 0: "about as near to"}[side]
        than = "as to" if side == 0 else "than to" if side < 0 else "than from"
        statements.append(f"{who} is {how} {own} {than} {other} ({number(value)})")
    return f"On average {' and '.join(statements)}." if statements else None


def gap(panel: Numbers) -> str | None:
    """Whether there is a gap at all and how wide it is, a hyperplane tells the modalities apart, cones are narrow."""
    statements = [statement for statement in [width_of_gap(panel)] if statement]
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


def width_of_gap(panel: Numbers) -> str | None:
    """The gap without what chance adds, against none, and in units of the spread within the clouds.

    The plain gap is above 0 by chance, and so is every interval about it: it is not judged.
    """
    debiased, spreads = panel.values.get("modality_gap_debiased"), panel.values.get("modality_gap_standardized")
    if debiased is None:
        plain, null = panel.values.get("modality_gap"), panel.null.get("modality_gap")
        if plain is None:
            return None
        return f"the gap is {number(plain)}" + ("" if null is None else f" (null {number(null)})")
    wide = "" if spreads is None else f"{spreads:.3g} times the spread within the clouds"
    if against(panel, "modality_gap_debiased", 0.0) == 0:
        return f"the gap {number(debiased)} is not told apart from no gap" + (f" ({wide})" if wide else "")
    return f"the gap {number(debiased)} is {wide}" if wide else f"the gap is {number(debiased)}"


def retrieval(panel: Numbers) -> str | None:
    """How often the first answer is right, against chance."""
    statements = []
    for prefix, (who, what) in QUERIES.items():
        key = f"{prefix}_recall@1"
        value = panel.values.get(key)
        if value is not None:
            found = f"{who} finds {what} first in {percent(value)} of cases"
            statements.append(found + beside_chance(panel, key, value))
    return sentence(statements)


def beside_chance(panel: Numbers, key: str, value: float) -> str:
    """A share of right answers against that of guesses, in brackets; nothing without a null."""
    chance = panel.null.get(key)
    if not chance:
        return ""
    side = against(panel, key, chance, wider=WIDER)
    words = {1: f"{value / chance:.3g} times chance, ", 0: "not told apart from chance, ", -1: "below chance, "}
    return f" ({'chance ' if side is None else words[side]}{percent(chance)})"


def calibration(panel: Numbers) -> str | None:
    """Whether the confidence is above or below the accuracy, and its error above that of honest confidences."""
    statements = []
    for prefix in QUERIES:
        statements += trust(panel, prefix, f"queries {DIRECTIONS[prefix]}")
    return sentence(statements)


def trust(panel: Numbers, prefix: str, who: str) -> list[str]:
    """What is to be said of the confidence of one kind of query, and of its calibration error."""
    statements = [statement for statement in [confidence(panel, prefix, who)] if statement]
    p = panel.p.get(f"{prefix}_ece")
    if p is not None:
        shown = "p < 0.01" if p < 0.01 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
        beside = (
            "larger than honest confidences give" if p < DOUBT else "not told apart from that of honest confidences"
        )
        which = "their calibration error" if statements else f"the calibration error of {who}"
        statements.append(f"{which} is {beside} ({shown})")
    return statements


@dataclass(frozen=True)
class Sureness:
    """How sure answers are and how often they are right; `side` is 1 if they are surer beyond chance, -1 if less."""

    confidence: float
    accuracy: float
    side: int
    beyond: bool  # whether it is outside the interval of the accuracy, though perhaps by chance


def sureness(panel: Numbers, prefix: str) -> Sureness | None:
    """Mean confidence and accuracy of one kind of query, from its reliability diagram; None without one."""
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
    beyond = not low <= sure <= high
    by_chance = panel.p.get(f"{prefix}_ece", 0.0) >= DOUBT  # of few right answers the interval is too short
    return Sureness(sure, right, 0 if by_chance else 1 if sure > high else -1 if sure < low else 0, beyond)


def confidence(panel: Numbers, prefix: str, who: str) -> str | None:
    """Whether one kind of query is surer than it is right, or less."""
    found = sureness(panel, prefix)
    if found is None:
        return None
    shown = f"confidence {percent(found.confidence)}, accuracy {percent(found.accuracy)}"
    if found.beyond and not found.side:
        return f"{who} are neither over- nor underconfident beyond chance ({shown})"
    words = {1: "overconfident", -1: "underconfident", 0: "on the whole, as sure as they are right"}
    return f"{who} are{',' if not found.side else ''} {words[found.side]} ({shown})"


def shape(panel: Numbers) -> str | None:
    """How many of the directions are used, and how many dimensions the cloud has near a point."""
    rows = {"image": panel.n_images, "text": panel.n_texts}
    ranks = {cloud: panel.values.get(f"effective_rank_{cloud}") for cloud in rows}
    used = {cloud: rank for cloud, rank in ranks.items() if rank is not None}
    if not used:
        return None
    if any(0 < rows[cloud] < panel.dim for cloud in used):  # n rows use at most n directions
        each = [
            f"{cloud}s use {rank:.3g} of at most {min(rows[cloud] or panel.dim, panel.dim)} directions"
            for cloud, rank in used.items()
        ]
        line = " and ".join(each)
    else:
        line = f"of {panel.dim} directions " + " and ".join(f"{cloud}s use {rank:.3g}" for cloud, rank in used.items())
    image, text = panel.values.get("twonn_image"), panel.values.get("twonn_text")
    if image is not None and text is not None:
        line += f"; locally they have {image:.3g} and {text:.3g} dimensions (TwoNN)"
    return sentence([line])


def neighborhood(panel: Numbers) -> str | None:
    """Whether a few items are in the lists of many, beyond what the null has: by the Robin Hood index."""
    statements = []
    for items, queries in (("text", "images"), ("image", "texts")):
        key, hubness = f"{items}_robin_hood", panel.values.get(f"{items}_hubness")
        value, null, error = panel.values.get(key), panel.null.get(key), panel.null_error.get(key, 0.0)
        side = None if null is None else against(panel, key, null, error, wider=WIDER)
        shown = [] if value is None else [f"Robin Hood index {number(value)}"]
        shown += [] if value is None or null is None else [f"null {number(null, error)}"]
        shown += [] if hubness is None else [f"hubness {number(hubness)}"]
        if side is not None:
            words = {
                1: f"a few {items}s are neighbours of many {queries}",
                0: f"the neighbours that {queries} find among {items}s are not told apart from the null",
                -1: f"{items}s are neighbours of {queries} more evenly than the null",
            }
            statements.append(f"{words[side]} ({', '.join(shown)})")
        elif shown:
            statements.append(f"{items}s as neighbours of {queries}: {', '.join(shown)}")
    return sentence(statements)


def zeroshot(panel: Numbers) -> str | None:
    """How often the class is right, against chance, and how sure the model is of it."""
    value = panel.values.get("zeroshot_acc1")
    if value is None:
        return None
    right = f"the class of an image is right in {percent(value)} of cases"
    return sentence([right + beside_chance(panel, "zeroshot_acc1", value), *trust(panel, "zeroshot", "the answers")])


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
    sentence = READINGS[group](panel) if group in READINGS else None
    return None if sentence is None else worded(panel, sentence)


def against(panel: Numbers, key: str, reference: float, error: float = 0.0, *, wider: float = 1.0) -> int | None:
    """-1 if the whole interval is below the reference, 1 if above, 0 if neither; None without an interval.

    An interval without width is none: where all resamples agree they say nothing of other images. Two standard errors
    of a reference that is simulated count for "neither"; `wider` stretches the interval about its middle. The value
    itself decides nothing.
    """
    ends = panel.ci.get(key)
    if panel.values.get(key) is None or ends is None or ends[0] == ends[1]:
        return None
    middle, reach = (ends[0] + ends[1]) / 2, wider * (ends[1] - ends[0]) / 2
    if middle + reach < reference - 2 * error:
        return -1
    return 1 if middle - reach > reference + 2 * error else 0


def number(value: float | None, error: float = 0.0) -> str:
    """A number in at most 9 characters: four decimals where they say something; '—' if undefined.

    Of one with a standard error only digits are shown whose half is at least that error.

    Examples
    --------
    >>> [number(v) for v in (0.84301, -0.0672, 71.7547, 227.19, 12345.6, 1.0, 0.00002, 0.0, None)]
    ['0.8430', '-0.0672', '71.755', '227.19', '12,346', '1.0000', '2.0e-05', '0', '—']
    >>> number(32.226, 0.3), number(0.1411, 0.0009), number(0.2134, 0.00004), number(0.004, 0.03)
    ('32', '0.14', '0.2134', '0.0')
    """
    if value is None:
        return "—"
    size = abs(value)
    if value == 0:
        return "0"
    if (size < 5e-4 and error == 0) or size >= 1e7:
        return f"{value:.1e}"
    decimals = 4 if size < 10 else 3 if size < 100 else 2 if size < 1000 else 0
    if error > 0:
        decimals = min(decimals, max(0, math.floor(-math.log10(2 * error))))
    return f"{value:,.{decimals}f}"


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
