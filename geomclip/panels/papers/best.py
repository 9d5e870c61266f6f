"""Best: of each number the panel that is better than every other beyond chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from geomclip.machine.words import one_line
from geomclip.metrics.evaluated import KNOWN
from geomclip.panels.comparison.differences import compare
from geomclip.panels.comparison.record import Row
from geomclip.panels.comparison.verdicts import HITS, benjamini_hochberg, is_judged, withheld
from geomclip.panels.gates import SURE
from geomclip.panels.record import Panel


def best(panels: Sequence[Panel], keys: Iterable[str], *, seed: int = 0) -> tuple[dict[str, int], list[str]]:
    """The place of the panel that is best at each key, where chance does not explain it; and notes.

    A key has one if the largest p of the best against each other panel, corrected for all keys by Benjamini and
    Hochberg, is below 0.05. Panels of the same images are compared image by image, as `geomclip.compare` does.

    Parameters
    ----------
    panels : sequence of Panel
    keys : iterable of str
        Those that no direction is better of are passed over.
    seed : int
        Of draws, where an interval takes them.
    """
    judged = [key for key in keys if is_judged(key)]
    duels = _Duels(panels, judged, seed)
    p: dict[str, float] = {}
    places: dict[str, int] = {}
    for key in judged:
        known = {i: value for i, panel in enumerate(panels) if (value := panel.values.get(key)) is not None}
        if len(known) < 2:
            continue
        first = (min if KNOWN[key].better == "lower" else max)(known, key=known.__getitem__)
        chances = [duels.chance(key, other, first) for other in known if other != first]
        sure = [chance for chance in chances if chance is not None]
        if len(sure) == len(chances):
            p[key], places[key] = max(sure), first
    q = dict(zip(p, benjamini_hochberg(list(p.values())), strict=True))
    return {key: place for key, place in places.items() if q[key] < SURE}, duels.notes


class _Duels:
    """Comparisons of panels two by two, each made when it is first looked at."""

    def __init__(self, panels: Sequence[Panel], keys: Sequence[str], seed: int) -> None:
        known = {*keys, *HITS.values()}  # a calibration error is not better where its queries find less
        self.panels = [
            panel.replace(values={key: value for key, value in panel.values.items() if key in known}, groups={})
            for panel in panels
        ]
        self.seed = seed
        self.made: dict[tuple[int, int], tuple[dict[str, Row], set[str]]] = {}
        self.notes: list[str] = []

    def chance(self, key: str, other: int, first: int) -> float | None:
        """p of a panel's number being better than another's; None where nothing says so, or it may not be said."""
        rows, doubted = self._between(other, first)
        row = rows.get(key)
        return None if row is None or key in doubted else row.p

    def _between(self, other: int, first: int) -> tuple[dict[str, Row], set[str]]:
        if (other, first) in self.made:
            return self.made[other, first]
        if (first, other) in self.made:
            rows = {key: _turned(row) for key, row in self.made[first, other][0].items()}
        else:
            try:
                rows = dict(compare(self.panels[other], self.panels[first], seed=self.seed).rows)
            except ValueError as unlike:
                rows = {}
                self.notes.append(f"columns {other + 1} and {first + 1} cannot be compared: {one_line(unlike)}")
        found = rows, set(withheld(rows, self.panels[other], self.panels[first]))
        self.made[other, first] = found
        return found


def _turned(row: Row) -> Row:
    """The change the other way round."""
    back = None if row.difference is None else -row.difference
    return replace(row, before=row.after, after=row.before, difference=back)
