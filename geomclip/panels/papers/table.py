"""Table: a row a number, a column a panel; as LaTeX, Markdown, CSV, a frame and text. Computes nothing."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from geomclip.machine.errors import InputError
from geomclip.machine.files import atomic_bytes
from geomclip.machine.words import markdown, near, spreadsheet_cell
from geomclip.metrics.evaluated import KNOWN
from geomclip.panels.chosen import change, chosen, decimals, is_share, label, written
from geomclip.panels.comparison.shown import Change
from geomclip.panels.intervals import Interval
from geomclip.panels.lines import markdown_row
from geomclip.panels.papers import latex

if TYPE_CHECKING:
    import pandas

INTERVALS = ("±", "range", None)
"""How an interval is written: half its width behind the number, its ends in brackets, or not."""
SUFFIXES = (".tex", ".md", ".csv")
ARROW = {"lower": " ↓", "higher": " ↑", "": ""}
LOPSIDED = 0.15
"""A number further from the middle of its interval than this part of half of it has both ends in place of ±."""


class Column(Protocol):
    """What a column shows of a panel."""

    @property
    def values(self) -> Mapping[str, float | None]:
        """Key to value."""

    @property
    def ci(self) -> Mapping[str, Interval]:
        """Key to the ends of its interval."""

    @property
    def sampled(self) -> Mapping[str, Interval]:
        """Key of a number that is estimated from blocks to the ends of where that of the whole set lies."""


@dataclass(frozen=True)
class Cell:
    """A number of a table, the ends of its 95 % interval, and whether it is the best of its row beyond chance."""

    value: float | None
    ci: Interval | None = None
    best: bool = False


@dataclass(frozen=True, eq=False)
class Table:
    """Numbers of several panels side by side, or of a comparison. Shows as a table in a notebook.

    Parameters
    ----------
    names : sequence of str
        Of the columns.
    rows : mapping of key to sequence of Cell
        A cell a column.
    interval : "±", "range" or None
        How intervals are written: half the width, and both ends in brackets where a number is not in the middle;
        always both ends; or not.
    changes : sequence of int
        The places of columns that are differences: they have a sign, those of shares are percentage points.
    notes : sequence of str
        What a caption should say.

    Raises
    ------
    ValueError
        If a row has not a cell a column, or `interval` is another.

    Examples
    --------
    >>> table = Table(["a", "b"], {"alignment": [Cell(1.2612, (1.2515, 1.2709)), Cell(1.19, best=True)]})
    >>> print(table.to_markdown().splitlines()[2])
    | Alignment ↓ | 1.261 ± 0.010 | **1.1900** |
    """

    names: Sequence[str]
    rows: Mapping[str, Sequence[Cell]]
    interval: str | None = "±"
    changes: Sequence[int] = ()
    notes: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        if self.interval not in INTERVALS:
            raise ValueError(f"interval must be '±', 'range' or None, got {self.interval!r}")
        for key, cells in self.rows.items():
            if len(cells) != len(self.names):
                raise ValueError(f"{key} has {len(cells)} cells for {len(self.names)} columns")

    def to_latex(self, caption: str = "", label: str = "") -> str:
        """The table as LaTeX that needs the package booktabs; with a caption or label inside a table that floats."""
        heads = ["", *map(latex.escaped, self.names)]
        rows = ([latex.escaped(titled(key)), *(self._latex(key, place) for place in self._places)] for key in self.rows)
        return latex.tabular(heads, rows, notes=self.notes, caption=caption, label=label)

    def to_markdown(self) -> str:
        """The table in Markdown."""
        lines = [["", *map(markdown, self.names)], ["---", *["--:"] * len(self.names)]]
        lines += [
            [markdown(titled(key)), *(self._text(key, place, "**") for place in self._places)] for key in self.rows
        ]
        return "".join(f"{markdown_row(line)}\n" for line in lines)

    def to_csv(self) -> str:
        """A line a row and column, numbers to the last digit."""
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("metric", "column", "value", "low", "high", "best"))
        for key, cells in self.rows.items():
            for name, cell in zip(self.names, cells, strict=True):
                low, high = cell.ci or (None, None)
                line = (key, name, cell.value, low, high, str(cell.best).lower())
                writer.writerow(map(spreadsheet_cell, line))
        return text.getvalue()

    def to_pandas(self) -> pandas.DataFrame:
        """A row a key, and of each column its value, low, high and best: `frame["name"]["value"]`."""
        import pandas

        heads = [(name, what) for name in self.names for what in ("value", "low", "high", "best")]
        rows = [
            [part for cell in cells for part in (cell.value, *(cell.ci or (None, None)), cell.best)]
            for cells in self.rows.values()
        ]
        keys = pandas.Index(list(self.rows), name="metric")
        return pandas.DataFrame(rows, index=keys, columns=pandas.MultiIndex.from_tuples(heads))

    def save(self, path: str | Path) -> Path:
        """Write PATH whole or not at all: .tex, .md or .csv.

        Raises
        ------
        InputError, GeomclipError
            If the name ends in none of these, the place cannot be written to, or the disk is full.
        """
        path = Path(path)
        if path.suffix not in SUFFIXES:
            raise InputError(f"{path} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
        text = {".tex": self.to_latex, ".md": self.to_markdown, ".csv": self.to_csv}[path.suffix]()
        atomic_bytes(path, text.encode("utf-8", "replace"))
        return path

    def __str__(self) -> str:
        lines = [["", *self.names]]
        lines += [[titled(key), *(self._text(key, place, "*") for place in self._places)] for key in self.rows]
        first, *others = (max(map(len, column)) for column in zip(*lines, strict=True))
        padded = (
            [line[0].ljust(first), *(cell.rjust(room) for cell, room in zip(line[1:], others, strict=True))]
            for line in lines
        )
        return "\n".join([*("  ".join(line).rstrip() for line in padded), *self.notes])

    def __repr__(self) -> str:
        return f"Table({len(self.rows)} numbers of {', '.join(self.names)})"

    def _repr_html_(self) -> str:
        parts = ['<table style="font-variant-numeric: tabular-nums"><thead><tr>']
        parts += [f"<th>{escape(name)}</th>" for name in ("", *self.names)]
        parts.append("</tr></thead><tbody>")
        for key, cells in self.rows.items():
            parts.append(f'<tr><td style="text-align: left">{escape(titled(key))}</td>')
            texts = (escape(self._text(key, place)) for place in self._places)
            shown = (f"<strong>{text}</strong>" if cell.best else text for text, cell in zip(texts, cells, strict=True))
            parts += [*(f"<td>{text}</td>" for text in shown), "</tr>"]
        return "".join([*parts, "</tbody></table>", *(f"<div>{escape(note)}</div>" for note in self.notes)])

    @property
    def _places(self) -> range:
        return range(len(self.names))

    def _numbers(self, key: str, place: int) -> tuple[str, list[str]]:
        """The number of a cell as it is written, and those of its interval: half of it, both ends, or none."""
        cell = self.rows[key][place]
        sign = change if place in self.changes else written
        if cell.ci is None or self.interval is None or cell.value is None or cell.ci[0] == cell.ci[1]:
            return sign(key, cell.value, unit=False), []
        half = (cell.ci[1] - cell.ci[0]) / 2
        places = digits(100 * half if is_share(key) else half)
        alike = abs(sum(cell.ci) / 2 - cell.value) <= LOPSIDED * half
        ends = [half] if self.interval == "±" and alike else cell.ci
        return sign(key, cell.value, places, unit=False), [written(key, end, places, unit=False) for end in ends]

    def _text(self, key: str, place: int, mark: str = "") -> str:
        """A cell as text, the number between marks where it is the best."""
        value, ends = self._numbers(key, place)
        star = mark if self.rows[key][place].best else ""
        interval = "" if not ends else f" ± {ends[0]}" if len(ends) == 1 else f" [{', '.join(ends)}]"
        return f"{star}{value}{star}{interval}"

    def _latex(self, key: str, place: int) -> str:
        """A cell as LaTeX."""
        cell = self.rows[key][place]
        if cell.value is None:
            return latex.MISSING
        value, ends = self._numbers(key, place)
        both = ",\\ ".join(map(latex.math, ends))
        interval = "" if not ends else f" \\pm {both}" if len(ends) == 1 else f"\\ [{both}]"
        return f"${latex.math(value, bold=cell.best)}{interval}$"


def titled(key: str) -> str:
    """What the row of a key is called: its title, its unit if that is percent, and which way is better.

    Examples
    --------
    >>> titled("text_retrieval_recall@1"), titled("modality_gap"), titled("mine")
    ('Recall@1, image → text (%) ↑', 'Modality gap', 'mine')
    """
    return f"{label(key)}{' (%)' if is_share(key) else ''}{ARROW[KNOWN[key].better] if key in KNOWN else ''}"


def digits(half: float) -> int | None:
    """The decimals that an interval of this half width supports, at least one digit of which is not 0.

    Examples
    --------
    >>> digits(3.26), digits(0.0097), digits(0.00004), digits(0.0)
    (1, 3, 5, None)
    """
    places = decimals(half)
    while places is not None and float(f"{half:.{places}f}") == 0:
        places += 1
    return places


def keys_of(known: Iterable[str], keys: str | Sequence[str] | None, first: Iterable[str] = ()) -> list[str]:
    """The keys of a table: those named, "all", or the chosen ten.

    Raises
    ------
    ValueError
        If one that is named is not known; the message has the nearest.

    Examples
    --------
    >>> keys_of(["alignment", "modality_gap"], "modality_gap, alignment")
    ['modality_gap', 'alignment']
    """
    there = list(dict.fromkeys(known))
    if keys is None:
        return chosen(there, first)
    if keys == "all":
        return there
    named = keys.replace(",", " ").split() if isinstance(keys, str) else list(keys)
    for key in named:
        if key not in there:
            close = near(key, there)
            nearest = f"; nearest: {', '.join(close)}" if close else ""
            raise ValueError(f"{key} is not among the numbers of these panels{nearest}")
    return list(dict.fromkeys(named))


def of_panels(
    panels: Sequence[Column],
    names: Sequence[str],
    keys: str | Sequence[str] | None = None,
    *,
    interval: str | None = "±",
    best: Mapping[str, int] | None = None,
    notes: Sequence[str] = (),
) -> Table:
    """The table of panels, a column each; `best` is the column of each key that is in bold."""
    bold = best or {}
    known = (key for panel in panels for key in panel.values)
    rows = {
        key: [Cell(panel.values.get(key), panel.ci.get(key), bold.get(key) == i) for i, panel in enumerate(panels)]
        for key in keys_of(known, keys)
    }
    estimated = [
        f"sampled: {name} has numbers that are estimated from blocks of its set, without an interval over images"
        for name, panel in zip(names, panels, strict=True)
        if panel.sampled.keys() & rows.keys()
    ]
    return Table(names, rows, interval, notes=[*explained(rows.values(), interval), *estimated, *notes])


def explained(rows: Iterable[Sequence[Cell]], interval: str | None, what: str = "") -> list[str]:
    """What is said of the intervals of a table, if it has any."""
    if interval is None or not any(cell.ci for cells in rows for cell in cells):
        return []
    ends = f"in brackets: the 95 % interval{what}"
    return [f"±: half of the 95 % interval{what}; in brackets: all of it" if interval == "±" else ends]


def of_changes(
    rows: Mapping[str, Change],
    names: Sequence[str],
    keys: str | Sequence[str] | None = None,
    *,
    interval: str | None = "±",
) -> Table:
    """The table of a comparison: both sides, and the change with its interval; what is better beyond chance is bold."""
    first = [key for key, row in rows.items() if row.primary]
    cells = {
        key: [
            Cell((row := rows[key]).before, best=row.verdict == "worse"),
            Cell(row.after, best=row.verdict == "better"),
            Cell(row.difference, row.ci),
        ]
        for key in keys_of(rows, keys, first)
    }
    notes = ["change: after - before, of shares in percentage points"]
    notes += explained(cells.values(), interval, " of the change")
    if any(cell.best for row in cells.values() for cell in row):
        notes.append("bold: better beyond chance (q < 0.05)")
    return Table([*names, "change"], cells, interval, (2,), notes)
