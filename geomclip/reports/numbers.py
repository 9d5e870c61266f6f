"""The numbers of a page: rows of the panel or the comparison as the template shows them, and as files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from geomclip.embeddings.wording import worded
from geomclip.metrics.evaluated import KNOWN
from geomclip.panels import short, tables
from geomclip.panels.comparison import short as short_comparison
from geomclip.panels.comparison.record import Comparison
from geomclip.panels.comparison.record import Row as Change
from geomclip.panels.comparison.tables import PRIMARY, chance, signed
from geomclip.panels.documents import panel_csv
from geomclip.panels.record import Panel
from geomclip.panels.sentences import number, read
from geomclip.panels.short import ARROW

BETTER = {"lower": "lower is better", "higher": "higher is better", "": ""}
CHANGED = ("before", "after", "change", "interval")
TIMES = ("seconds", "written")
"""Fields of a result that differ between two runs alike: a page does not have them, and is the same twice."""
TILES = 6
"""Numbers at the top of a page: the first of those that answer."""
ROOM = 0.15
"""Of the scale of a bar, beyond what is shown on it."""


@dataclass(frozen=True)
class Bar:
    """Where an interval, a value and a reference lie on their scale, in percent of its width."""

    low: float
    width: float
    value: float
    mark: float | None  # the null, or no change
    scale: str  # what its ends are


@dataclass(frozen=True)
class Line:
    """One number as it is shown."""

    key: str
    title: str
    cells: Mapping[str, str]
    better: str
    arrow: str
    bar: Bar | None = None
    note: str = ""
    verdict: str = ""
    without: bool = False  # no interval: the reason stands in its place


@dataclass(frozen=True)
class Group:
    """The numbers under one heading, and the sentence that reads them."""

    name: str
    heading: str
    reading: str
    lines: list[Line]


def groups_of(panel: Panel) -> list[Group]:
    """The panel as the terminal groups it."""
    return [
        Group(name, worded(panel, tables.heading(name)), sentence(name, panel), [_line(panel, key) for key in keys])
        for name, keys in tables.grouped(panel)
    ]


def changes_of(comparison: Comparison) -> list[Group]:
    """The comparison as the terminal groups it, the primary keys first.

    Sentences are those of the numbers after, where they are known.
    """
    after = comparison.sides[1].panel if comparison.sides else None
    first = [key for key, row in comparison.rows.items() if row.primary]
    groups = [
        Group(
            name,
            worded(comparison, tables.heading(name)),
            "" if after is None else sentence(name, after),
            [_change(comparison, key) for key in keys],
        )
        for name, keys in tables.grouped_keys(key for key in comparison.rows if key not in first)
    ]
    if not first:
        return groups
    return [Group("primary", PRIMARY, "", [_change(comparison, key) for key in first]), *groups]


def sentence(group: str, panel: Panel) -> str:
    """What the numbers of a group say and can be at most, percent signs kept with their numbers; '' if nothing."""
    sentences = filter(None, (read(group, panel), *tables.limits(group, panel)))
    return " ".join(sentences).replace(" %", "\N{NO-BREAK SPACE}%")


def tiles_of(panel: Panel) -> list[Line]:
    """The few lines that stand at the top, as the short table writes them."""
    return [
        replace(_line(panel, key), cells=dict(zip(("value", "interval", "arrow", "null"), cells, strict=True)))
        for key in short.keys_of(panel)[:TILES]
        for cells in [short.cells(panel, key)]
    ]


def tiles_of_changes(comparison: Comparison) -> list[Line]:
    """The same of a comparison, the primary keys first."""
    return [
        replace(_change(comparison, key), cells=dict(zip(CHANGED, cells, strict=True)))
        for key in short_comparison.keys_of(comparison)[:TILES]
        for cells in [short_comparison.cells(key, comparison.rows[key])]
    ]


def _line(panel: Panel, key: str) -> Line:
    _, value, interval, arrow, null = tables.row(panel, key)
    return Line(
        key,
        worded(panel, title(key)),
        {"value": value, "interval": interval, "null": null},
        better(key),
        arrow,
        _bar(key, panel),
        worded(panel, panel.notes.get(key, "")),
        without=bool(tables.no_interval(panel, key)),
    )


def _change(comparison: Comparison, key: str) -> Line:
    row = comparison.rows[key]
    between = f"{signed(row.ci[0])} to {signed(row.ci[1])}" if row.ci else ""
    change = "—" if row.difference is None else signed(row.difference)
    cells = {"before": number(row.before), "after": number(row.after), "change": change, "interval": between}
    cells["q"] = chance(row.q)
    note = "" if row.ci is None or row.paired else "unpaired interval"
    return Line(
        key,
        worded(comparison, title(key)),
        cells,
        better(key),
        ARROW[_way(key)],
        _bar_of_change(row),
        note,
        row.verdict,
    )


def title(key: str) -> str:
    """What a key is called where people read."""
    return KNOWN[key].title if key in KNOWN else key.replace("_", " ")


def better(key: str) -> str:
    """Which way is better, in words; '' where neither is."""
    return BETTER[_way(key)]


def _way(key: str) -> str:
    return KNOWN[key].better if key in KNOWN else ""


def _bar(key: str, panel: Panel) -> Bar | None:
    """Of a share the whole of 0 to 1; else of what is shown, with the null (0 where there is none) and some room."""
    value, null = panel.values[key], panel.null.get(key)
    if value is None or not isfinite(value):
        return None
    low, high = panel.ci.get(key, (value, value))
    start, end = min(low, value, null or 0.0), max(high, value, null or 0.0)
    room = ROOM * (end - start)
    if key in KNOWN and (KNOWN[key].low, KNOWN[key].high) == (0, 1):
        start, end, room = 0.0, 1.0, 0.0
    return _scaled(start - room, end + room, low, high, value, null)


def _bar_of_change(row: Change) -> Bar | None:
    """As wide to the left of no change as to the right of it."""
    if row.difference is None or row.ci is None:
        return None
    reach = max(abs(end) for end in (*row.ci, row.difference)) * (1 + ROOM)
    return _scaled(-reach, reach, *row.ci, row.difference, 0.0)


def _scaled(start: float, end: float, low: float, high: float, value: float, mark: float | None) -> Bar | None:
    if not end > start:
        return None

    def place(x: float) -> float:
        return round(100 * min(1.0, max(0.0, (x - start) / (end - start))), 2)

    scale = f"on a scale from {number(start)} to {number(end)}"
    width = round(place(high) - place(low), 2)
    return Bar(place(low), width, place(value), None if mark is None else place(mark), scale)


def panel_files(panel: Panel) -> dict[str, str]:
    """What the page of a panel gives to download: JSON as `measure --out`, and a table. Without TIMES."""
    return {"report.json": _json(_timeless(panel.to_dict())), "report.csv": panel_csv(panel)}


def comparison_files(comparison: Comparison) -> dict[str, str]:
    """The same of a comparison."""
    from geomclip.panels.comparison.tables import comparison_csv

    return {"compare.json": _json(_timeless(comparison.to_dict())), "compare.csv": comparison_csv(comparison)}


def _timeless(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in TIMES}


def _json(result: Mapping[str, Any]) -> str:
    return json.dumps(result, indent=2, allow_nan=False) + "\n"
