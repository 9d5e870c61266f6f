"""The record of a reproduction: all rows that were wanted, and what they come to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from geomclip.machine.errors import GateError, GeomclipError
from geomclip.panels.lines import plain
from geomclip.reproduction.table import lines
from geomclip.reproduction.verdicts import NOT_RUN, OFF, UNJUDGED, UNLIKE, Outcome, counts

SCHEMA = "geomclip.reproduce/1"


@dataclass(frozen=True)
class Reproduction:
    """All rows that were wanted, with what they gave. Prints as a table of 80 columns."""

    outcomes: tuple[Outcome, ...]

    def verdicts(self) -> Iterator[str]:
        """Of every number."""
        return (outcome.verdict(number) for outcome in self.outcomes for number in outcome.row.numbers)

    def counts(self) -> dict[str, int]:
        """How many numbers have each verdict."""
        return counts(self.outcomes)

    def check(self) -> None:
        """Nothing, where all that is judged was run and holds.

        Raises
        ------
        GateError
            If a number is off.
        GeomclipError
            If none is, but some were not run or not compared: that is no success.
        """
        found = self.counts()
        judged = sum(count for verdict, count in found.items() if verdict != UNJUDGED)
        if found.get(OFF):
            raise GateError(f"numbers off: {found[OFF]} of {judged}")
        left = {verdict: found[verdict] for verdict in (UNLIKE, NOT_RUN) if verdict in found}
        if left:
            said = "; ".join(f"numbers {verdict}: {count} of {judged}" for verdict, count in left.items())
            raise GeomclipError(f"{said}; none is off, but that is no success")

    def to_dict(self) -> dict[str, Any]:
        """As --json has it."""
        return {"schema": SCHEMA, "counts": self.counts(), "rows": [outcome.to_dict() for outcome in self.outcomes]}

    def __str__(self) -> str:
        return plain(lines(self.outcomes), 80)
