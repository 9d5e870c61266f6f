"""Several runs side by side, as people see them and as files: a line a number, a column a run. Computes nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from html import escape
from io import StringIO
from pathlib import Path
from textwrap import wrap
from typing import Any, Protocol

from geomclip.embeddings.wording import worded
from geomclip.machine.errors import InputError
from geomclip.machine.files import atomic_bytes
from geomclip.machine.sums import write_sealed
from geomclip.machine.words import markdown, spreadsheet_cell
from geomclip.panels.chosen import digits, label, short_label, written
from geomclip.panels.comparison import short, tables
from geomclip.panels.comparison.answer import LABEL
from geomclip.panels.comparison.blocks import STYLES
from geomclip.panels.comparison.short import MARKS, marked
from geomclip.panels.comparison.shown import Change, Changes
from geomclip.panels.lines import Line, in_blocks, markdown_row, plain, shortened, told_apart
from geomclip.panels.short import NARROW, PERCENT, left_out, with_unit
from geomclip.panels.tables import NAME, html_row

SUFFIXES = (".json", ".csv", ".md")
VALUE, RUN, CHANGE = 8, 18, 11
"""Columns of the value of the reference, of a value with its change, and of a change alone on a narrow terminal."""
LEGEND = "* better, ! worse: beyond chance, corrected over all runs."
POINTS = "Shares are in %, their changes in percentage points."


class Runs(Protocol):
    """What a table shows of several runs."""

    @property
    def reference(self) -> str:
        """The name of the run that all are compared with."""

    @property
    def comparisons(self) -> Mapping[str, Changes]:
        """Name of a run to what changed."""

    def to_dict(self) -> dict[str, Any]:
        """The record that a file holds."""


def several_text(runs: Runs, width: int = 80, *, full: bool = False) -> str:
    """The comparisons as plain text."""
    return plain(several_lines(runs, width, full=full), width)


def several_lines(runs: Runs, width: int, *, full: bool = False) -> Iterator[Line]:
    """The verdicts, which runs they are, notes, each number with its change in each run, groups, and the verdicts."""
    block = [*verdicts(runs, width)]
    yield from (*block, Line())
    yield from map(Line, header(runs))
    yield from (Line(f"! {note}") for note in notes(runs))
    names = list(runs.comparisons)
    keys = every_key(runs) if full else keys_of(runs)
    room = NAME if full else PERCENT - 1
    column = RUN if width >= NARROW else CHANGE
    shown = dict(zip(names, told_apart(names, column - 2), strict=True))
    reference = shortened(runs.reference, room + VALUE - 1)
    for some in in_blocks(names, (width - room - VALUE) // column):
        yield Line()
        heads = "".join(f"{shown[name]:>{column - 1}} " for name in some)
        yield Line(f"{reference:>{room + VALUE}}{heads}".rstrip(), "bold")
        for key in keys:
            rows = [runs.comparisons[name].rows.get(key) for name in some]
            named = shortened(key if full else worded(_any(runs), with_unit(key)), room)
            cells = "".join(_cell(key, row, width) for row in rows)
            yield Line(f"{named:<{room}}{_reference(key, rows):>{VALUE}}{cells}".rstrip())
    yield Line()
    yield from (Line(line, "dim") for line in legend(runs, full=full))
    for name, comparison in runs.comparisons.items():
        if comparison.groups:
            yield Line()
            yield Line(name, "bold")
            yield from map(Line, tables.by_group(comparison, width)) if full else short.by_group(comparison, width)
    yield from (Line(), *block)


def verdicts(runs: Runs, width: int) -> Iterator[Line]:
    """The headline of each run, with its name; the first begins with the word `verdict`."""
    for place, (name, comparison) in enumerate(runs.comparisons.items()):
        label = "" if place else "verdict"
        indent = " " * LABEL
        lines = wrap(
            f"{name}: {comparison.verdict.sentence}",
            width,
            initial_indent=f"{label:<{LABEL}}",
            subsequent_indent=indent,
            max_lines=2,
            placeholder=" ...",
            break_on_hyphens=False,
        )
        yield from (Line(line, STYLES.get(comparison.verdict.headline, "bold")) for line in lines)


def _reference(key: str, rows: list[Change | None]) -> str:
    """The value of the reference, in the digits of the change that is known best."""
    known = [row for row in rows if row is not None]
    places = [found for row in known if (found := digits(key, row.ci)) is not None]
    value = next((row.before for row in known if row.before is not None), None)
    return _value(key, value, max(places, default=None))


def _cell(key: str, row: Change | None, width: int) -> str:
    """Value, change and mark of a run; on a narrow terminal without the value."""
    moved = marked(key, row)
    moved = moved if moved.endswith(tuple(MARKS.values())) else f"{moved} "
    if width < NARROW:
        return f"{moved:>{CHANGE}}"
    value = _value(key, None if row is None else row.after, None if row is None else digits(key, row.ci))
    return f"{value:>{VALUE}}{moved:>{RUN - VALUE}}"


def _value(key: str, value: float | None, places: int | None) -> str:
    text = written(key, value, places, unit=False)
    return text if len(text) < VALUE or value is None else f"{value:.1e}"


def header(runs: Runs) -> Iterator[str]:
    """The runs by the names that the table has, and how they were compared."""
    (first, *_) = runs.comparisons.values()
    yield f"{runs.reference}  {tables.described(first.before)} (reference)"
    for name, comparison in runs.comparisons.items():
        yield f"{name}  {tables.described(comparison.after)}"
    ways = {name: list(tables.header(comparison))[-1] for name, comparison in runs.comparisons.items()}
    yield from _once(ways)


def notes(runs: Runs) -> Iterator[str]:
    """The notes of all runs, those that all share once."""
    known = dict.fromkeys(note for comparison in runs.comparisons.values() for note in comparison.notes)
    for note in known:
        of = [name for name, comparison in runs.comparisons.items() if note in comparison.notes]
        yield note if len(of) == len(runs.comparisons) else f"{', '.join(of)}: {note}"


def _once(lines: Mapping[str, str]) -> Iterator[str]:
    """A line that all have, or that of each with its name."""
    if len(set(lines.values())) == 1:
        yield next(iter(lines.values()))
    else:
        yield from (f"{name}: {line}" for name, line in lines.items())


def every_key(runs: Runs) -> list[str]:
    """The keys of all runs, primary ones first."""
    rows = [(key, row.primary) for comparison in runs.comparisons.values() for key, row in comparison.rows.items()]
    return list(dict.fromkeys([*(key for key, primary in rows if primary), *(key for key, _ in rows)]))


def keys_of(runs: Runs) -> list[str]:
    """The keys of the short table: those of the first run, and what the table of metrics has not of any."""
    return list(dict.fromkeys(key for comparison in runs.comparisons.values() for key in short.keys_of(comparison)))


def legend(runs: Runs, *, full: bool) -> Iterator[str]:
    """What the marks mean, and what is left out."""
    yield LEGEND
    yield POINTS
    if not full:
        yield from filter(None, [left_out(len(every_key(runs)) - len(keys_of(runs)))])


def several_json(runs: Runs) -> str:
    """The comparisons as `compare --out x.json` writes them."""
    return json.dumps(runs.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)


def several_csv(runs: Runs) -> str:
    """A line a run and number, as that of one comparison with the name of the run before it."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for place, (name, comparison) in enumerate(runs.comparisons.items()):
        heads, *lines = csv.reader(StringIO(tables.comparison_csv(comparison)))
        if place == 0:
            writer.writerow(("run", *heads))
        writer.writerows((spreadsheet_cell(name), *line) for line in lines)
    return text.getvalue()


def several_markdown(runs: Runs) -> str:
    """A table of the ten numbers of all runs, then the tables of each."""
    names = [runs.reference, *(each for name in runs.comparisons for each in (name, "change"))]
    lines = [f"- {markdown(line)}" for line in (*header(runs), *notes(runs))]
    lines += ["", markdown_row(["metric", *map(markdown, names)]), f"|---|{'--:|' * len(names)}"]
    for key in keys_of(runs):
        lines.append(markdown_row([markdown(worded(_any(runs), label(key))), *_wide(key, runs)]))
    lines += ["", f"{LEGEND} {POINTS}"]
    for name, comparison in runs.comparisons.items():
        lines += ["", f"## {markdown(name)}", "", tables.comparison_markdown(comparison).rstrip()]
    return "\n".join(lines).rstrip() + "\n"


def _wide(key: str, runs: Runs) -> list[str]:
    """The value of the reference, then the value and change of each run."""
    rows = [comparison.rows.get(key) for comparison in runs.comparisons.values()]
    cells = [_reference(key, rows)]
    for row in rows:
        cells += ["—", "—"] if row is None else [_value(key, row.after, digits(key, row.ci)), marked(key, row)]
    return cells


def several_html(runs: Runs, *, full: bool = False) -> str:
    """The comparisons as an HTML table for a notebook; every text from outside is escaped."""
    parts = ["<div>", *(f"<div>{escape(line)}</div>" for line in header(runs))]
    heads = ("metric", runs.reference, *(each for name in runs.comparisons for each in (name, "change")))
    parts.append('<table style="font-variant-numeric: tabular-nums">')
    parts.append(f"<thead><tr>{''.join(f'<th>{escape(head)}</th>' for head in heads)}</tr></thead><tbody>")
    for key in every_key(runs) if full else keys_of(runs):
        parts.append(html_row((key if full else worded(_any(runs), _percent(key)), *_wide(key, runs))))
    parts.append("</tbody></table>")
    parts.extend(f"<div>{escape(line)}</div>" for line in (*legend(runs, full=full), *notes(runs)))
    return "".join((*parts, "</div>"))


def _any(runs: Runs) -> object:
    """One of the comparisons, by which the words of all are chosen."""
    return next(iter(runs.comparisons.values()), None)


def _percent(key: str) -> str:
    return f"{label(key)}{with_unit(key).removeprefix(short_label(key))}"


def check_name(path: Path) -> None:
    """Refuse a file that comparisons of several runs cannot be written to, by its name; InputError says why."""
    if path.suffix == ".html":
        raise InputError(f"{path}: a page shows two sides: compare two, or write .json, .csv or .md")
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: several comparisons are written to {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")


def save(runs: Runs, path: str | Path) -> Path:
    """Write the comparisons as the name of the file says, whole or not at all; see `Comparisons.save`."""
    path = Path(path)
    check_name(path)
    if path.suffix == ".json":
        write_sealed(path, runs.to_dict())
    else:
        atomic_bytes(path, (several_csv(runs) if path.suffix == ".csv" else several_markdown(runs)).encode())
    return path
