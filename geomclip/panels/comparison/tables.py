"""A comparison as people see it: terminal, notebook, Markdown; and as files. Computes nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

from geomclip.machine.errors import InputError
from geomclip.machine.files import atomic_bytes, atomic_json
from geomclip.metrics import METRICS
from geomclip.panels.intervals import Interval
from geomclip.panels.lines import Line, plain
from geomclip.panels.sentences import number
from geomclip.panels.tables import ARROW, COLUMN, NAME, grouped_keys, heading, html_row, side_by_side

SUFFIXES = (".json", ".csv", ".md")
ENDS = (32, 40, 48, 56, 64, 72)
"""Where the key and the numbers of a line end; the verdict follows, and 80 columns are full."""
HEADS = ("before", "after", "change", "95 % interval")
BAR = "\\|"
"""A bar inside a cell of Markdown."""
STYLES = {"better": "green", "worse": "red", "unclear": "dim", "same": "dim", "": ""}
LEGEND = "change: after - before; better, worse: its interval leaves out 0; unclear: it does not."
GROUPS_LEGEND = "change in each group; * its interval leaves out 0"


class Change(Protocol):
    """What a table shows of one number."""

    @property
    def before(self) -> float | None:
        """The number before."""

    @property
    def after(self) -> float | None:
        """The number after."""

    @property
    def difference(self) -> float | None:
        """After - before."""

    @property
    def ci(self) -> Interval | None:
        """Of the difference."""

    @property
    def verdict(self) -> str:
        """Whether it is better."""

    @property
    def paired(self) -> bool:
        """Whether the interval is one of paired differences."""


class Changes(Protocol):
    """What a table shows of a comparison."""

    @property
    def rows(self) -> Mapping[str, Change]:
        """Key to its change."""

    @property
    def before(self) -> Mapping[str, Any]:
        """What one side is."""

    @property
    def after(self) -> Mapping[str, Any]:
        """What the other side is."""

    @property
    def paired(self) -> bool:
        """Whether the same images are on both sides."""

    @property
    def bootstrap(self) -> int:
        """Resamples."""

    @property
    def n_images(self) -> int:
        """Images that are on both sides."""

    @property
    def notes(self) -> Sequence[str]:
        """What a reader must know."""

    @property
    def by(self) -> str:
        """What the groups are values of."""

    @property
    def groups(self) -> Mapping[str, Changes]:
        """Comparisons by group."""

    def to_dict(self) -> dict[str, Any]:
        """The record that a file holds."""


def comparison_text(comparison: Changes, width: int = 80) -> str:
    """The comparison as plain text."""
    return plain(comparison_lines(comparison, width), width)


def comparison_lines(comparison: Changes, width: int) -> Iterator[Line]:
    """What was compared, a line a number, notes, and the changes of the groups side by side."""
    yield from map(Line, header(comparison))
    yield Line()
    yield Line(flowed(("", *HEADS[:3], "", HEADS[3])), "dim")
    for group, keys in grouped_keys(comparison.rows):
        yield Line(heading(group), "bold")
        for key in keys:
            row = comparison.rows[key]
            yield Line(f"{flowed(cells(key, row))} ", end=row.verdict, end_style=STYLES[row.verdict])
        yield Line()
    yield Line(LEGEND, "dim")
    yield from (Line(f"! {note}") for note in comparison.notes)
    yield from map(Line, by_group(comparison, width))


def header(comparison: Changes) -> Iterator[str]:
    """The two sides, and how they were compared."""
    for name, side in (("before", comparison.before), ("after ", comparison.after)):
        yield f"{name}  {described(side)}"
    how = "paired" if comparison.paired else "unpaired"
    drawn = f"{how} intervals of {comparison.bootstrap:,} resamples" if comparison.bootstrap else "no intervals"
    yield f"{comparison.n_images:,} images · {drawn}"


def described(side: Mapping[str, Any]) -> str:
    """Data, split, model and weights of one side, and the file it came from."""
    split = f" ({side['split']})" if side.get("split") else ""
    model = side.get("model") or "unnamed model"
    weights = f", {side['pretrained']}" if side.get("pretrained") not in (None, "", model) else ""
    file = f"{side['name']}: " if side.get("name") not in (None, "", model) else ""
    return f"{file}{side.get('dataset') or 'unnamed data'}{split} · {model}{weights}"


def cells(key: str, row: Change) -> tuple[str, ...]:
    """Key, before, after, change and the ends of its interval as they are shown."""
    low, high = (brief(end) for end in row.ci) if row.ci else ("", "")
    change = "—" if row.difference is None else signed(row.difference)
    return key, brief(row.before), brief(row.after), change, low, high


def brief(value: float | None) -> str:
    """A number as panels show it, in at most 7 characters.

    Examples
    --------
    >>> brief(-0.0123), brief(-0.0000234)
    ('-0.0123', '-2e-05')
    """
    text = number(value)
    return text if value is None or len(text) <= ENDS[1] - ENDS[0] - 1 else f"{value:.0e}"


def signed(value: float) -> str:
    """A change with its sign.

    Examples
    --------
    >>> signed(0.0123), signed(-2.0), signed(0.0)
    ('+0.0123', '-2.0000', '0')
    """
    text = f"+{number(value)}" if value > 0 else number(value)
    return text if len(text) < ENDS[1] - ENDS[0] else f"{value:+.0e}"


def flowed(texts: Sequence[str]) -> str:
    """Texts in columns: the first from the left, each other up to its end or as far right as it must.

    Examples
    --------
    >>> flowed(("participation_ratio_centered_image", "12.650", "13.1", "+0.45"))
    'participation_ratio_centered_image 12.650   13.1   +0.45'
    """
    line = texts[0]
    for text, end in zip(texts[1:], ENDS[1:], strict=False):
        room = end - len(line) - len(text)
        line += f"{' ' * max(1, room)}{text}" if text else ""
    return line.ljust(ENDS[-1]) if len(texts) == len(ENDS) else line


def by_group(comparison: Changes, width: int) -> Iterator[str]:
    """The changes of all images and of each group, a column each, in as many blocks as the width asks for."""
    names = list(comparison.groups)
    fit = max(1, (width - NAME) // COLUMN - 1)  # "all" takes one
    for start in range(0, len(names), fit):
        some = {"all": comparison} | {name: comparison.groups[name] for name in names[start : start + fit]}
        yield ""
        yield side_by_side(f"by {comparison.by or 'group'}", some)
        yield side_by_side("images", (f"{one.n_images:,}" for one in some.values()))
        for key in comparison.rows:
            yield side_by_side(key, (starred(one.rows.get(key)) for one in some.values()))
    if names:
        yield GROUPS_LEGEND


def starred(row: Change | None) -> str:
    """A change, with a star if its interval leaves out 0."""
    if row is None or row.difference is None:
        return "—"
    sure = row.ci is not None and not row.ci[0] <= 0 <= row.ci[1]
    return f"{signed(row.difference)}{'*' if sure else ''}"


def comparison_json(comparison: Changes) -> str:
    """The comparison as `compare --out x.json` writes it."""
    return json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)


def comparison_markdown(comparison: Changes) -> str:
    """A table in Markdown, for a pull request."""
    lines = [f"- {line.strip()}" for line in header(comparison)]
    lines += ["", "| metric | better | before | after | change | 95 % interval | |", "|---|---|--:|--:|--:|--:|---|"]
    for key, row in comparison.rows.items():
        _, before, after, change, low, high = cells(key, row)
        texts = (f"`{key}`", arrow(key), before, after, change, f"{low} to {high}" if low else "", row.verdict)
        lines.append(f"| {' | '.join(cell.replace('|', BAR) for cell in texts)} |")
    lines += ["", LEGEND, "", *(f"- {note}" for note in comparison.notes)]
    for name, group in comparison.groups.items():
        lines += ["", f"## {comparison.by or 'group'}: {name}", "", comparison_markdown(group).rstrip()]
    return "\n".join(line.replace("<", "&lt;") for line in lines).rstrip() + "\n"


def comparison_csv(comparison: Changes) -> str:
    """A line a number, those of groups after those of all; numbers to the last digit."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("group", "metric", "before", "after", "difference", "low", "high", "verdict", "paired"))
    for name, one in {"": comparison, **comparison.groups}.items():
        for key, row in one.rows.items():
            low, high = row.ci or (None, None)
            paired = "" if row.ci is None else str(row.paired).lower()
            writer.writerow((name, key, row.before, row.after, row.difference, low, high, row.verdict, paired))
    return text.getvalue()


def comparison_html(comparison: Changes) -> str:
    """The comparison as an HTML table for a notebook; every text from outside is escaped."""
    parts = ["<div>", *(f"<div>{escape(line)}</div>" for line in header(comparison))]
    heads = ("metric", "better", "before", "after", "change", "95 % interval", "")
    parts.append('<table style="font-variant-numeric: tabular-nums">')
    parts.append(f"<thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead><tbody>")
    for group, keys in grouped_keys(comparison.rows):
        parts.append(f'<tr><th colspan="7" style="text-align: left">{escape(heading(group))}</th></tr>')
        for key in keys:
            row = comparison.rows[key]
            _, before, after, change, low, high = cells(key, row)
            between = f"{low} to {high}" if low else ""
            parts.append(html_row((key, arrow(key), before, after, change, between, row.verdict)))
    parts.append("</tbody></table>")
    parts.extend(f"<div>{escape(line)}</div>" for line in (LEGEND, *comparison.notes))
    return "".join((*parts, "</div>"))


def arrow(key: str) -> str:
    """Which way is better."""
    return ARROW[METRICS[key].better] if key in METRICS else ""


def check_name(path: Path, also: tuple[str, ...] = ()) -> None:
    """Refuse a file that a comparison cannot be written to, by its name.

    Raises
    ------
    InputError
        If it ends in none of .json, .csv, .md, nor in one of those that the caller writes `also`.
    """
    known = (*SUFFIXES, *also)
    if path.suffix not in known:
        raise InputError(f"{path} must end in {', '.join(known[:-1])} or {known[-1]}")


def save(comparison: Changes, path: str | Path) -> Path:
    """Write the comparison as the name of the file says, whole or not at all; see `Comparison.save`."""
    path = Path(path)
    if path.suffix == ".html":
        raise InputError(f"{path}: a page of a comparison is made by geomclip.report(comparison, {str(path)!r})")
    check_name(path)
    if path.suffix == ".json":
        atomic_json(path, comparison.to_dict())
    else:
        text = comparison_csv(comparison) if path.suffix == ".csv" else comparison_markdown(comparison)
        atomic_bytes(path, text.encode())
    return path
