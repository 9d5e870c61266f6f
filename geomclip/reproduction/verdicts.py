"""What came out of a row, laid beside what was published: a verdict a number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from geomclip.reproduction.rows import SOURCES, Number, Row

HOLDS, OFF, UNLIKE, UNJUDGED, NOT_RUN = "holds", "off", "not compared", "not judged", "not run"
VERDICTS = (HOLDS, OFF, UNLIKE, UNJUDGED, NOT_RUN)


@dataclass(frozen=True)
class Found:
    """What a row gave here, as `kept.json` has it.

    Parameters
    ----------
    values, ci : mapping
        Of each key: ours, and its 95 % interval where it has one.
    images : int
        How many ours are of.
    limited : bool
        Whether only the first so many were wanted.
    key : str
        Of the contents that the values are of.
    made_from : mapping
        Model, weights, data, precision.
    """

    values: Mapping[str, float | None]
    ci: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    images: int = 0
    limited: bool = False
    key: str = ""
    made_from: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """A row, and what it gave: `found`, or `why` it was not run; `missing` where that is what is not here."""

    row: Row
    found: Found | None = None
    why: str = ""
    missing: bool = False
    kept: bool = False  # from an earlier run

    @property
    def other_images(self) -> bool:
        """Whether ours are of more or fewer images than the published numbers."""
        return self.found is not None and bool(self.row.images) and self.found.images != self.row.images

    def ours(self, number: Number) -> float | None:
        """The value that came out; None if none did."""
        return None if self.found is None else self.found.values.get(number.key)

    def difference(self, number: Number) -> float | None:
        """Ours less the published number; None if there is none of the two."""
        ours = self.ours(number)
        return None if ours is None or number.published is None else ours - number.published

    def verdict(self, number: Number) -> str:
        """One of `VERDICTS`."""
        ours = self.ours(number)
        if self.found is None or ours is None or not math.isfinite(ours):
            return NOT_RUN
        if number.published is None and not number.below_zero:
            return UNJUDGED
        if self.found.limited:
            return UNLIKE
        if not self._within(number, ours):
            return OFF
        return UNLIKE if self.other_images else HOLDS

    def _within(self, number: Number, ours: float) -> bool:
        if number.published is not None:
            return abs(ours - number.published) <= number.tolerance + 1e-9
        assert self.found is not None
        return max(ours, *self.found.ci.get(number.key, ())) < 0 if number.key in self.found.ci else ours < 0

    def to_dict(self) -> dict[str, Any]:
        """As --json has it."""
        row, found = self.row, self.found
        source = SOURCES.get(row.source)
        numbers = [
            {
                "key": number.key,
                "published": number.published,
                "tolerance": number.tolerance,
                "below_zero": number.below_zero,
                "ours": self.ours(number),
                "ci": None if found is None or number.key not in found.ci else list(found.ci[number.key]),
                "difference": self.difference(number),
                "verdict": self.verdict(number),
            }
            for number in row.numbers
        ]
        return {
            "row": row.name,
            "model": row.model,
            "dataset": row.data,
            "split": row.split,
            "captions": row.captions,
            "source": row.source if source is None else f"{source.where}: {source.column}",
            "images_published": row.images,
            "images": 0 if found is None else found.images,
            "kept": self.kept,
            "missing": self.missing,
            "why": self.why,
            "made_from": {} if found is None else dict(found.made_from),
            "numbers": numbers,
        }


def counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many numbers have each verdict, in the order of `VERDICTS`, without those that none has."""
    every = [outcome.verdict(number) for outcome in outcomes for number in outcome.row.numbers]
    return {verdict: every.count(verdict) for verdict in VERDICTS if verdict in every}
