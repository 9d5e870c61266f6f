"""A comparison as people see it: terminal, notebook, Markdown; and as files. Computes nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any

from geomclip.embeddings.wording import worded
from geomclip.machine.errors import InputError
from geomclip.machine.files import atomic_bytes
from geomclip.machine.sums import write_sealed
from geomclip.machine.words import markdown, spreadsheet_cell
from geomclip.metrics.evaluated import KNOWN
from geomclip.panels.chosen import label
from geomclip.panels.comparison import blocks as forms
from geomclip.panels.comparison import short
from geomclip.panels.comparison.estimates import FOLDS
from geomclip.panels.comparison.short import STYLES
from geomclip.panels.comparison.shown import Change, Changes
from geomclip.panels.comparison.transfer import transfer_lines, transfer_markdown
from geomclip.panels.lines import Line, coded, markdown_row, plain
from geomclip.panels.sentences import number
from geomclip.panels.short import ARROW
from geomclip.panels.tables import COLUMN, NAME, grouped_keys, heading, html_row, side_by_side

SUFFIXES = (".json", ".csv", ".md", ".tex")
ENDS = (32, 39, 46, 53, 60, 67, 72)
"""Where the key, the numbers and q of a line end; the verdict follows, and 80 columns are full."""
ROOM = 6
"""Characters of a number in a line."""
HEADS = ("before", "after", "change", "", "95 % interval", "q")
PRIMARY = "Primary, named before looking"
"""The heading of the keys that a comparison is about."""
LEGEND = (
    "change: after - before. better, worse: q is below 0.05; unclear: it is not; same: no change at all; no word: "
    "neither way is better, or nothing says how sure the change is.",
    "q: p corrected for all that are judged (primary: Holm; others: Benjamini-Hochberg). Where nothing changed, about "
    "5 % of tables at most have a false word on a primary key, and as many one on others; of all words on others about "
    "5 % at most are false.",
)
LOWER = "lower: it fell, which is not called better where recall fell too, or is at chance."
GROUPS_LEGEND = "change in each group; * better or worse, by a correction within that group alone"


def comparison_text(comparison: Changes, width: int = 80, *, full: bool = False) -> str:
    """The comparison as plain text."""
    return plain(comparison_lines(comparison, width, full=full), width)


def comparison_lines(comparison: Changes, width: int, *, full: bool = False) -> Iterator[Line]:
    """The verdict, what was compared, the ten numbers that answer, or in `full` all, the groups, the verdict again.

    Notes stand above the ten, so that a terminal of 24 lines shows the answer.
    """
    block = list(forms.verdict_lines(comparison.verdict, width))
    yield from (*block, *([Line()] if block else []))
    yield from map(Line, header(comparison))
    yield from _full_lines(comparison, width) if full else _short_lines(comparison, width)
    yield from (*([Line()] if block else []), *block)


def _short_lines(comparison: Changes, width: int) -> Iterator[Line]:
    yield from (Line(f"! {note}") for note in comparison.notes)
    yield Line()
    yield from short.rows(comparison, width)
    yield Line()
    yield from _other_lines(comparison)
    yield from transfer_lines(comparison, width)
    yield from (Line(line, "dim") for line in short.legend(comparison))
    yield from short.by_group(comparison, width)


def _full_lines(comparison: Changes, width: int) -> Iterator[Line]:
    yield Line()
    yield Line(flowed(("", *HEADS)), "dim")
    for name, keys in blocks(comparison):
        yield Line(name, "bold")
        for key in keys:
            row = comparison.rows[key]
            yield Line(f"{flowed(cells(key, row, brief))} ", end=row.verdict, end_style=STYLES[row.verdict])
        yield Line()
    yield from _other_lines(comparison)
    yield from transfer_lines(comparison, width)
    yield from (Line(line, "dim") for line in legend(comparison))
    yield from (Line(f"! {note}") for note in comparison.notes)
    yield from map(Line, by_group(comparison, width))


def _other_lines(comparison: Changes) -> Iterator[Line]:
    found = {
        name: (other.n_images, list(short.wide(other, [key for key, row in other.rows.items() if row.primary])))
        for name, other in comparison.others.items()
    }
    return forms.other_lines(found)


def primary_cells(comparison: Changes) -> list[list[str]]:
    """Of each primary number its key, before, after, change and interval."""
    found = []
    for key, row in comparison.rows.items():
        if row.primary:
            _, before, after, change, low, high, _ = cells(key, row)
            found.append([key, before, after, change, f"{low} to {high}" if low else ""])
    return found


def header(comparison: Changes) -> Iterator[str]:
    """The two sides, and how they were compared."""
    for name, side in (("before", comparison.before), ("after ", comparison.after)):
        yield f"{name}  {described(side)}"
    what = short.units_of(comparison)
    how = {
        "gallery": f"paired intervals, for other {what} of their kind",
        "queries": f"paired intervals of {comparison.bootstrap:,} resamples, for this gallery",
        FOLDS: f"unpaired intervals, over folds of the {what} of each side",
    }.get(comparison.resample, "unpaired intervals")
    some = any(row.ci is not None for row in comparison.rows.values())
    counted = f"{comparison.n_images:,} {what}" if comparison.n_images else f"{what} not counted"
    yield f"{counted} · {how if some else 'no intervals'}"


def blocks(comparison: Changes) -> Iterator[tuple[str, list[str]]]:
    """Headings with their keys: the primary ones, then the others as panels group them."""
    first = [key for key, row in comparison.rows.items() if row.primary]
    if first:
        yield PRIMARY, first
    others = (key for key in comparison.rows if key not in first)
    yield from ((worded(comparison, heading(group)), keys) for group, keys in grouped_keys(others))


def legend(comparison: Changes) -> Iterator[str]:
    """What the words and q mean, as far as they are there."""
    yield from LEGEND
    if any(row.verdict == "lower" for row in comparison.rows.values()):
        yield LOWER


def described(side: Mapping[str, Any]) -> str:
    """Data, split, model and weights of one side, and its name, or the file it came from."""
    split = f" ({side['split']})" if side.get("split") else ""
    model = side.get("model") or "unnamed model"
    weights = f", {side['pretrained']}" if side.get("pretrained") not in (None, "", model) else ""
    file = f"{side['name']}: " if side.get("name") not in (None, "", model) else ""
    return f"{file}{side.get('dataset') or 'unnamed data'}{split} · {model}{weights}"


def cells(key: str, row: Change, shown: Callable[[float | None], str] = number) -> tuple[str, ...]:
    """Key, before, after, change, the ends of its interval, and q, with numbers as they are shown."""
    low, high = (shown(end) for end in row.ci) if row.ci else ("", "")
    change = "—" if row.difference is None else signed(row.difference, shown)
    return key, shown(row.before), shown(row.after), change, low, high, chance(row.q)


def brief(value: float | None) -> str:
    """A number in as many of its digits as 6 characters hold.

    Examples
    --------
    >>> [brief(value) for value in (0.832, -0.0123, -1.38, 71.7547, -227.19, 12345.6, -2.34e-5, 0.0, None)]
    ['.8320', '-.0123', '-1.380', '71.755', '-227.2', '12,346', '-2e-05', '0', '—']
    """
    text = number(value)
    if value is None or value == 0:
        return text
    text = text.replace("0.", ".", 1) if abs(value) < 1 else text
    for digits in (3, 2, 1, 0):
        if len(text) > ROOM and "e" not in text:
            text = f"{value:.{digits}f}"
    return text if len(text) <= ROOM else f"{value:.0e}"


def signed(value: float, shown: Callable[[float | None], str] = number) -> str:
    """A change with its sign.

    Examples
    --------
    >>> signed(0.0123), signed(-2.0), signed(0.0), signed(0.0123, brief), signed(1.2345, brief)
    ('+0.0123', '-2.0000', '0', '+.0123', '+1.234')
    """
    if value <= 0:
        return shown(value)
    # as much room as below 0
    return f"+{shown(-value).removeprefix('-')}"


def chance(q: float | None) -> str:
    """A q in at most 4 characters; '' where there is none.

    Examples
    --------
    >>> [chance(q) for q in (0.0312, 0.9997, 1.0, 0.0004, 1.3e-12, 0.0, None)]
    ['.031', '1', '1', '4e-4', '0', '0', '']
    """
    if q is None:
        return ""
    if q >= 0.9995:
        return "1"
    if q >= 0.0005:
        return f"{q:.3f}"[1:]
    return "0" if q < 1e-9 else f"{q:.0e}".replace("e-0", "e-")


def flowed(texts: Sequence[str]) -> str:
    """Texts in columns: the first from the left, each other up to its end or as far right as it must.

    Examples
    --------
    >>> flowed(("participation_ratio_centered_image", "12.650", "13.1", "+.4500"))
    'participation_ratio_centered_image 12.650 13.1 +.4500'
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
        yield side_by_side(short.units_of(comparison), (f"{one.n_images:,}" for one in some.values()))
        for key in comparison.rows:
            yield side_by_side(key, (starred(one.rows.get(key)) for one in some.values()))
    if names:
        yield GROUPS_LEGEND


def starred(row: Change | None) -> str:
    """A change, with a star if it is better or worse."""
    if row is None or row.difference is None:
        return "—"
    return f"{signed(row.difference)}{'*' if row.verdict in ('better', 'worse') else ''}"


def comparison_json(comparison: Changes) -> str:
    """The comparison as `compare --out x.json` writes it."""
    return json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)


def comparison_markdown(comparison: Changes) -> str:
    """Tables in Markdown, for a pull request: the primary keys, and the others."""
    lines = forms.verdict_markdown(comparison.verdict)
    lines += [f"- {markdown(line)}" for line in header(comparison)]
    first = [key for key, row in comparison.rows.items() if row.primary]
    others = [key for key in comparison.rows if key not in first]
    for name, keys in ((PRIMARY, first), ("All others" if first else "", others)):
        if not keys:
            continue
        lines += ["", f"**{name}**"] if name else []
        heads = ("metric", "better", "before", "after", "change", "95 % interval", "q", "")
        lines += ["", markdown_row(heads), "|---|---|--:|--:|--:|--:|--:|---|"]
        for key in keys:
            row = comparison.rows[key]
            _, before, after, change, low, high, q = cells(key, row)
            texts = (
                coded(key),
                arrow(key),
                before,
                after,
                change,
                f"{low} to {high}" if low else "",
                q,
                row.verdict,
            )
            lines.append(markdown_row(texts))
    lines += forms.other_markdown({name: primary_cells(other) for name, other in comparison.others.items()})
    lines += transfer_markdown(comparison)
    lines += ["", " ".join(legend(comparison)), "", *(f"- {markdown(note)}" for note in comparison.notes)]
    for name, group in comparison.groups.items():
        title = f"{comparison.by or 'group'}: {name}"
        lines += ["", f"## {markdown(title)}", "", comparison_markdown(group).rstrip()]
    return "\n".join(lines).rstrip() + "\n"


def comparison_latex(comparison: Changes) -> str:
    """The chosen rows as a table for a paper."""
    return comparison.to_latex()


def comparison_csv(comparison: Changes) -> str:
    """A line a number, those of groups after those of all; numbers to the last digit."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = ("group", "metric", "before", "after", "difference", "low", "high", "verdict", "paired")
    writer.writerow((*heads, "p", "q", "primary"))
    for name, one in {"": comparison, **comparison.groups}.items():
        for key, row in one.rows.items():
            low, high = row.ci or (None, None)
            paired = "" if row.ci is None else str(row.paired).lower()
            change = (row.before, row.after, row.difference, low, high, row.verdict, paired)
            line = (name, key, *change, row.p, row.q, str(row.primary).lower())
            writer.writerow(map(spreadsheet_cell, line))
    return text.getvalue()


def comparison_html(comparison: Changes, *, full: bool = False) -> str:
    """The comparison as an HTML table for a notebook; every text from outside is escaped."""
    parts = ["<div>", forms.verdict_html(comparison.verdict)]
    parts += [f"<div>{escape(line)}</div>" for line in header(comparison)]
    heads = ("metric", "better", "before", "after", "change", "95 % interval", *(["q"] if full else []), "")
    parts.append('<table style="font-variant-numeric: tabular-nums">')
    parts.append(f"<thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead><tbody>")
    parts.extend(_full_rows(comparison) if full else _short_rows(comparison))
    parts.append("</tbody></table>")
    parts.append(forms.other_html({name: primary_cells(other) for name, other in comparison.others.items()}))
    lines = legend(comparison) if full else short.legend(comparison)
    parts.extend(f"<div>{escape(line)}</div>" for line in (*lines, *comparison.notes))
    return "".join((*parts, "</div>"))


def _short_rows(comparison: Changes) -> Iterator[str]:
    for key in short.keys_of(comparison):
        row = comparison.rows[key]
        yield html_row((worded(comparison, label(key)), arrow(key), *short.cells(key, row), row.verdict))


def _full_rows(comparison: Changes) -> Iterator[str]:
    for name, keys in blocks(comparison):
        yield f'<tr><th colspan="8" style="text-align: left">{escape(name)}</th></tr>'
        for key in keys:
            row = comparison.rows[key]
            _, before, after, change, low, high, q = cells(key, row)
            between = f"{low} to {high}" if low else ""
            yield html_row((key, arrow(key), before, after, change, between, q, row.verdict))


def arrow(key: str) -> str:
    """Which way is better."""
    return ARROW[KNOWN[key].better] if key in KNOWN else ""


def check_name(path: Path, also: tuple[str, ...] = ()) -> None:
    """Refuse a file that a comparison cannot be written to, by its name.

    Raises
    ------
    InputError
        If it ends in none of .json, .csv, .md, .tex, nor in one of those that the caller writes `also`.
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
        write_sealed(path, comparison.to_dict())
    else:
        text = {".csv": comparison_csv, ".md": comparison_markdown, ".tex": comparison_latex}[path.suffix](comparison)
        atomic_bytes(path, text.encode("utf-8", "replace"))
    return path
