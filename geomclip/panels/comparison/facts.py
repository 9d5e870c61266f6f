"""Facts: what the rules of a verdict read of a comparison, and how they write it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from geomclip.metrics.bins import Z95
from geomclip.metrics.evaluated import KNOWN, TASKS
from geomclip.panels.chosen import change as signed
from geomclip.panels.chosen import digits, is_share, label, written
from geomclip.panels.comparison.record import Comparison, Row
from geomclip.panels.comparison.verdicts import HITS, holm, verdict
from geomclip.panels.directions import direction_of
from geomclip.panels.record import Panel
from geomclip.panels.sentences import degrees, number, percent

ECE = ("text_retrieval_ece", "image_retrieval_ece", "zeroshot_ece")
"""The calibration errors that a verdict goes by."""
CLOUDS = ("image", "text")
NARROW = 3 / 4
"""A cloud is called narrowed if 1 - mean cosine falls below this part of what it was, widened if it was below it."""
ONE_DIRECTION = 2.0
"""Effective rank of a cloud that uses less than a second direction as much as the first."""
GAP_MOVED = 0.05
"""Part of the gap that a change of it must be to be told."""
FALSE = 0.05
"""Of verdicts after Benjamini and Hochberg at most this part is false, as expected."""
CHANCE_WIDER = 2.4977 / Z95
"""A two-sided interval of 98.75 %: two recalls on two sides are held to chance, and err together in one of 20 cases."""


@dataclass(frozen=True)
class Facts:
    """The rows of a comparison, which shares of right answers are at chance, and comparisons on other data."""

    rows: Mapping[str, Row]
    chance: Mapping[str, float]  # key of HITS to what guesses give
    at_chance: Mapping[str, tuple[bool, bool]]  # key of HITS to whether before and after are not told apart from it
    others: Mapping[str, Comparison]

    @classmethod
    def of(cls, rows: Mapping[str, Row], before: Panel, after: Panel, others: Mapping[str, Comparison]) -> Facts:
        """Those of the rows of two panels."""
        hits = [key for key in HITS.values() if key in rows and rows[key].difference is not None]
        chance = {key: panel.null[key] for panel in (before, after) for key in hits if key in panel.null}
        sides = {key: (is_at_chance(key, before), is_at_chance(key, after)) for key in hits}
        return cls(rows, chance, sides, others)

    @cached_property
    def hits(self) -> dict[str, Row]:
        """The shares of right answers that have a difference."""
        return self._defined(HITS.values())

    @cached_property
    def primary(self) -> dict[str, Row]:
        """Primary keys other than those shares: the caller named them."""
        return self._defined(key for key, row in self.rows.items() if row.primary and key not in HITS.values())

    @property
    def task(self) -> str:
        """The evaluation that all those keys are of, as `evaluate --task` has it; "" where they are of none."""
        groups = {KNOWN[key].group for key in self.primary if key in KNOWN}
        return groups.pop().replace("_", "-") if len(groups) == 1 and groups <= TASKS.keys() else ""

    @cached_property
    def errors(self) -> dict[str, Row]:
        """The calibration errors that have a difference."""
        return self._defined(ECE)

    @cached_property
    def cosines(self) -> dict[str, Row]:
        """Cloud to its mean cosine before and after."""
        found = {cloud: self._defined([f"mean_cosine_{cloud}"]) for cloud in CLOUDS}
        return {cloud: row for cloud, rows in found.items() for row in rows.values()}

    @cached_property
    def ranks(self) -> dict[str, Row]:
        """Cloud to its effective rank before and after."""
        found = {cloud: self._defined([f"effective_rank_{cloud}"]) for cloud in CLOUDS}
        return {cloud: row for cloud, rows in found.items() for row in rows.values()}

    @cached_property
    def gap(self) -> Row | None:
        """The modality gap, without what chance adds where that is known."""
        return next(iter(self._defined(("modality_gap_debiased", "modality_gap")).values()), None)

    @property
    def shown_gap(self) -> Row | None:
        """The gap as the table of ten has it."""
        return next(iter(self._defined(("modality_gap", "modality_gap_debiased")).values()), None)

    @property
    def judged(self) -> list[Row]:
        """The rows that have a q."""
        return [row for row in self.rows.values() if row.q is not None]

    @property
    def called(self) -> list[Row]:
        """The rows that are called changed."""
        return [row for row in self.judged if row.verdict in ("better", "worse", "lower")]

    @property
    def others_called(self) -> list[Row]:
        """Those of them that no line of the verdict is on."""
        known = {*HITS.values(), *ECE}
        return [row for key, row in self.rows.items() if row in self.called and not row.primary and key not in known]

    @property
    def is_muted(self) -> bool:
        """Whether all shares of right answers are at chance on both sides."""
        return bool(self.hits) and all(all(self.at_chance[key]) for key in self.hits)

    def _defined(self, keys: Iterable[str]) -> dict[str, Row]:
        return {key: row for key in keys if (row := self.rows.get(key)) is not None and row.difference is not None}


def is_at_chance(key: str, panel: Panel) -> bool:
    """Whether a share of right answers has an interval, and that is not above what guesses give."""
    chance, ends = panel.null.get(key), panel.ci.get(key)
    if chance is None or ends is None:
        return False
    return (ends[0] + ends[1]) / 2 - CHANCE_WIDER * (ends[1] - ends[0]) / 2 <= chance


def elsewhere(others: Mapping[str, Comparison]) -> dict[str, dict[str, Row]]:
    """Of each comparison on other data its shares of right answers, judged together: Holm over all of them."""
    found = {
        name: {
            key: row for key in HITS.values() if (row := other.rows.get(key)) is not None and row.difference is not None
        }
        for name, other in others.items()
    }
    places = [(name, key) for name, rows in found.items() for key, row in rows.items() if row.p is not None]
    q = dict(zip(places, holm([found[name][key].p or 0.0 for name, key in places]), strict=True))
    return {name: {key: _judged(row, q.get((name, key))) for key, row in rows.items()} for name, rows in found.items()}


def _judged(row: Row, q: float | None) -> Row:
    assert row.difference is not None
    return replace(row, q=q, verdict=verdict(row.difference, q, "higher", row.ci))


# ----------------------------------------------------------------------------------------------- how it is written


def all_same(rows: Mapping[str, Row]) -> bool:
    """Whether there are rows, and none moved at all."""
    return bool(rows) and all(row.verdict == "same" for row in rows.values())


def has_verdict(rows: Mapping[str, Row], word: str) -> bool:
    """Whether a row has this verdict."""
    return any(row.verdict == word for row in rows.values())


def have_intervals(rows: Mapping[str, Row]) -> bool:
    """Whether there are rows, and each has an interval."""
    return bool(rows) and all(row.ci is not None for row in rows.values())


def decimals(ends: Sequence[float]) -> int:
    """Decimals of percent points that an interval supports: one, two where it is narrower than one point."""
    wide = 100 * (ends[1] - ends[0])
    return 1 if wide >= 1 or wide == 0 else 2


def points(ends: Sequence[float], digits: int | None = None) -> str:
    """The ends of an interval of a change of shares, in percent points.

    Examples
    --------
    >>> points((0.031, 0.1119)), points((-0.0012, 0.003)), points((0.0002, 0.0302))
    ('+3.1 to +11.2', '-0.12 to +0.30', '+0.02 to +3.02')
    """
    digits = decimals(ends) if digits is None else digits
    while digits < 3 and any(end and not round(100 * end, digits) for end in ends):
        digits += 1  # an end that is not 0 does not look so
    return " to ".join(f"{round(100 * end, digits) + 0.0:+.{digits}f}" for end in ends)


def change(row: Row, unit: str = " points") -> str:
    """A share before and after, and the interval of its change; the interval alone where it is not told from none."""
    if row.ci is None:
        return shares(row)
    between = points(row.ci)
    if row.verdict not in ("better", "worse"):
        return f"within {between}{unit}"
    return f"{shares(row)} ({between}{unit})"


def shares(row: Row) -> str:
    """A share before and after in percent."""
    digits = decimals(row.ci) if row.ci else 1
    return f"{100 * (row.before or 0):.{digits}f} → {100 * (row.after or 0):.{digits}f} %"


def changes(rows: Mapping[str, Row]) -> str:
    """The changes of shares, each with its direction; the first says what they are shares of, and the unit."""
    parts: list[str] = []
    for key, row in rows.items():
        unit = "" if parts else " points"
        name = direction_of(key)
        measure = "" if parts else "recall@1 " if name else "accuracy "
        parts.append(f"{measure}{name} {change(row, unit)}" if name else f"{measure}{change(row, unit)}")
    return "; ".join(parts)


def moves(rows: Mapping[str, Row]) -> str:
    """The changes of shares in points with their intervals; of those that moved only, if any did.

    Examples
    --------
    >>> moves({"text_retrieval_recall@1": Row(0.3, 0.2, -0.1, (-0.15, -0.05), "worse")})
    'image → text -10.0 points (-15.0 to -5.0)'
    """
    moved = {key: row for key, row in rows.items() if row.verdict in ("better", "worse")} or rows
    parts: list[str] = []
    for key, row in moved.items():
        unit = "" if parts else " points"
        if row.ci is None:
            text = shares(row)
        elif row.verdict in ("better", "worse"):
            text = f"{100 * (row.difference or 0):+.{decimals(row.ci)}f}{unit} ({points(row.ci)})"
        else:
            text = f"within {points(row.ci)}{unit}"
        parts.append(f"{direction_of(key)} {text}".strip())
    return ", ".join(parts)


def guesses(rows: Mapping[str, Row], chance: Mapping[str, float]) -> str:
    """The shares before and after beside what guesses give."""
    parts: list[str] = []
    for key, row in rows.items():
        name = direction_of(key)
        parts.append(f"{name} {shares(row)}" if name else shares(row))
    of_guesses = {percent(chance[key]) for key in rows if key in chance}
    return f"{'; '.join(parts)}" + (f" (guesses {' and '.join(sorted(of_guesses))})" if of_guesses else "")


def numbers(rows: Mapping[str, Row], what: str = "") -> str:
    """Numbers before and after, shares in percent, by direction or by key.

    Examples
    --------
    >>> numbers({"text_retrieval_ece": Row(0.1234, 0.0871)}, "ECE ")
    'ECE image → text 12.3 → 8.7 %'
    """
    names = {key: direction_of(key) or ("" if what else key) for key in rows}
    parts = [f"{names[key]} {_moved(key, row)}".strip() for key, row in rows.items()]
    return f"{what}{', '.join(parts)}"


def told(rows: Mapping[str, Row]) -> str:
    """Numbers of a task by their titles, as shares of right answers are told: what moved, or how much may be hidden.

    Examples
    --------
    >>> told({"caption_cider_d": Row(0.138, 0.119, -0.019, (-0.035, -0.003), "worse")})
    'CIDEr-D 0.138 → 0.119 (-0.035 to -0.003)'
    >>> told({"fewshot_probe_acc1@16": Row(0.36, 0.35, -0.01, (-0.031, 0.011), "unclear")})
    'linear probe, 16 a class within -3.1 to +1.1 points'
    >>> told({"interpolation_w2": Row(0.81, 0.81, 0.0, (0.0, 0.0), "same")})
    'W2, interpolated 0.8100 on both sides'
    """
    return "; ".join(f"{label(key)} {_told(key, row)}" for key, row in rows.items())


def _told(key: str, row: Row) -> str:
    if row.verdict == "same":
        return f"{written(key, row.before)} on both sides"
    if is_share(key):
        return change(row)
    moved = _moved(key, row)
    if row.ci is None:
        return moved
    between = " to ".join(signed(key, end, digits(key, row.ci)) for end in row.ci)
    return f"{moved} ({between})" if row.verdict in ("better", "worse") else f"within {between}"


def pairs(rows: Mapping[str, Row]) -> str:
    """Numbers before and after, in the order of their keys alone."""
    return ", ".join(_moved(key, row) for key, row in rows.items())


def _moved(key: str, row: Row) -> str:
    """A number before and after, a share in percent."""
    return shares(row) if is_share(key) else f"{three(row.before)} → {three(row.after)}"


def three(value: float | None) -> str:
    """A number in three digits after the point."""
    return number(value) if value is None or abs(value) >= 10 else f"{value:.3f}"


def of_others(rows: Sequence[Row]) -> str:
    """How many other numbers are better and worse; '' if none.

    Examples
    --------
    >>> of_others([Row(1.0, 2.0, 1.0, verdict="worse")] * 6)
    '6 other numbers worse'
    """
    counts = {word: sum(row.verdict == word for row in rows) for word in ("better", "worse")}
    parts = [
        f"{count} {'' if place else 'other '}number{'s' * (count > 1)} {word}"
        for place, (word, count) in enumerate((word, count) for word, count in counts.items() if count)
    ]
    return " and ".join(parts)


def angles(cosines: Mapping[str, Row]) -> str:
    """The mean angle of two rows of each cloud, before and after."""
    return ", ".join(
        f"{cloud}s {degrees(row.before or 0)} → {degrees(row.after or 0)}" for cloud, row in cosines.items()
    )


def of_ranks(ranks: Mapping[str, Row]) -> str:
    """The effective rank of each cloud, before and after."""
    return ", ".join(f"{cloud}s {row.before:.3g} → {row.after:.3g}" for cloud, row in ranks.items())


def width_ratio(row: Row) -> float:
    """1 - mean cosine after, over the same before."""
    before, after = 1 - (row.before or 0.0), 1 - (row.after or 0.0)
    return after / before if before > 0 else math.inf if after > 0 else 1.0


def beyond_chance(row: Row, sign: int) -> bool:
    """Whether the whole interval of a change is on this side of 0."""
    return row.ci is not None and (row.ci[0] > 0 if sign > 0 else row.ci[1] < 0)
