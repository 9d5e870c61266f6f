"""Panels, models, data sets and findings as tables: for a terminal, a notebook, or JSON. Computes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from io import StringIO
from textwrap import fill
from typing import TYPE_CHECKING, Any

from geomclip.metrics import GROUPS, METRICS
from geomclip.panels.sentences import number, read

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from geomclip.cli.doctor import Finding
    from geomclip.encoders import ModelInfo
    from geomclip.pairs import DatasetInfo
    from geomclip.panels.record import Panel

ARROW = {"lower": "↓", "higher": "↑", "": ""}
LEGEND = "↓ lower is better, ↑ higher is better; null: what random rows or guesses give."
SKIPS_SHOWN = 3
KEYS_SHOWN = 4
OTHER = "other"

NAME, VALUE, INTERVAL, NULL = 34, 9, 20, 8
"""Columns of a panel, the first as wide as its longest key; with gaps of two and an arrow they make 80."""
CURVES = {
    "gap_shift_curve": "Both clouds shifted together, in units of the gap",
    "gap_ablation_curve": "The dimensions that differ most removed",
}
SHORT = {
    "modality_gap": "gap",
    "text_retrieval_recall@1": "R@1 image→text",
    "image_retrieval_recall@1": "R@1 text→image",
    "uniformity_joint": "uniformity",
}
"""Names of a curve's quantities that fit its columns."""
CURVE_COLUMN = 16

COLUMN = 12
"""Width of a group's column under --by."""


def panel_text(panel: Panel, width: int = 80) -> str:
    """The panel as plain text."""
    from rich.console import Console

    text = StringIO()
    print_panel(panel, Console(file=text, width=width, highlight=False, markup=False, emoji=False))
    return text.getvalue()


def print_panel(panel: Panel, console: Console) -> None:
    """Header, the groups of numbers each with its sentence, notes, and the groups of --by side by side."""
    for line in header(panel):
        console.print(line)
    console.print()
    console.print(columns("", "value", "95 % interval" if panel.ci else "", "", "null"), style="dim")
    for group, keys in grouped(panel):
        console.print(heading(group), style="bold")
        for key in keys:
            console.print(columns(*row(panel, key)))
        reading = read(group, panel)
        if reading:
            console.print(indented(reading, console.width), style="italic")
        console.print()
    for name, points in panel.curves.items():
        console.print(CURVES.get(name, name), style="bold")
        for line in curve_lines(points):
            console.print(line)
        console.print()
    console.print(LEGEND, style="dim")
    for line in footnotes(panel):
        console.print(line)
    for line in by_group(panel, console.width):
        console.print(line)


def curve_lines(points: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """A curve as a table: a column a quantity, a row a point."""
    cells = [[SHORT.get(name, name) for name in points]]
    cells += [[f"{place:g}", *map(number, values)] for place, *values in zip(*points.values(), strict=True)]
    return ("".join(f"{cell:>{CURVE_COLUMN}}" for cell in line) for line in cells)


def columns(key: str, value: str, interval: str, arrow: str, null: str) -> str:
    """One line of a panel."""
    return f"{key:<{NAME}}  {value:>{VALUE}}  {interval:>{INTERVAL}}  {arrow:1}  {null:>{NULL}}".rstrip()


def indented(text: str, width: int) -> str:
    """A paragraph set in by two."""
    return fill(text, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def header(panel: Panel) -> Iterator[str]:
    """What was measured, in as few lines as it takes."""
    made = panel.made_from
    data = made.get("dataset") or "unnamed data"
    split = f" ({made['split']})" if made.get("split") else ""
    model = made.get("model") or "unnamed model"
    weights = f", {made['pretrained']}" if made.get("pretrained") not in (None, "", model) else ""
    yield f"{data}{split} · {model}{weights}"
    texts = f"{panel.n_texts:,} {'classes' if 'class' in panel.task else 'texts'}"
    counts = f"{panel.n_images:,} images · {texts} · {panel.dim} dimensions"
    scale = f"logit scale {panel.logit_scale:.6g} ({panel.logit_scale_source})"
    precision = f" · {made['precision']}" if made.get("precision") else ""
    yield f"{counts} · {scale}{precision}"
    for line in (*skipped(made.get("skipped", ())), *panel.warnings):
        yield f"! {line}"


def skipped(items: Sequence[Any]) -> Iterator[str]:
    """One line that counts and names what was left out."""
    if not items:
        return
    named = [f"{item.get('path') or item.get('image_id')} ({item.get('reason', 'unreadable')})" for item in items]
    more = f"; {len(items) - SKIPS_SHOWN} more in the result" if len(items) > SKIPS_SHOWN else ""
    noun = "image" if len(items) == 1 else "images"
    yield f"{len(items)} {noun} skipped: {'; '.join(named[:SKIPS_SHOWN])}{more}"


def footnotes(panel: Panel) -> Iterator[str]:
    """The notes of the panel, mostly why a value is undefined; keys with the same note share a line."""
    keys_of: dict[str, list[str]] = {}
    for key, note in panel.notes.items():
        keys_of.setdefault(note, []).append(key)
    for note, keys in keys_of.items():
        more = f" and {len(keys) - KEYS_SHOWN} more" if len(keys) > KEYS_SHOWN else ""
        yield f"{', '.join(keys[:KEYS_SHOWN])}{more}: {note}"


def grouped(panel: Panel) -> Iterator[tuple[str, list[str]]]:
    """The groups of the panel in the order of the table of metrics, each with its keys."""
    return grouped_keys(panel.values)


def grouped_keys(known: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Keys by group, both in the order of the table of metrics."""
    groups: dict[str, list[str]] = {group: [] for group in (*GROUPS, OTHER)}
    places = {key: place for place, key in enumerate(METRICS)}
    for key in sorted(known, key=lambda key: places.get(key, len(places))):
        groups[METRICS[key].group if key in METRICS else OTHER].append(key)
    return ((group, keys) for group, keys in groups.items() if keys)


def heading(group: str) -> str:
    """What a group is called where people read."""
    return GROUPS.get(group, "Other")


def row(panel: Panel, key: str) -> tuple[str, str, str, str, str]:
    """Key, value, interval, arrow and null of one metric as they are shown."""
    interval = panel.ci.get(key)
    between = f"{number(interval[0])} to {number(interval[1])}" if interval else ""
    arrow = ARROW[METRICS[key].better] if key in METRICS else ""
    null = number(panel.null[key]) if panel.null.get(key) is not None else ""
    return key, number(panel.values[key]), between, arrow, null


def by_group(panel: Panel, width: int) -> Iterator[str]:
    """The panels of --by side by side, a column each, in as many blocks as the width asks for."""
    names = list(panel.groups)
    keys = [key for _, keys in grouped(panel) for key in keys]
    fit = max(1, (width - NAME) // COLUMN - 1)  # "all" takes one
    for start in range(0, len(names), fit):
        some = {"all": panel} | {name: panel.groups[name] for name in names[start : start + fit]}
        yield ""
        yield side_by_side(f"by {panel.params.get('by', 'group')}", some)
        yield side_by_side("images", (f"{one.n_images:,}" for one in some.values()))
        for key in keys:
            yield side_by_side(key, (number(one.values.get(key)) for one in some.values()))


def side_by_side(name: str, cells: Iterable[str]) -> str:
    """One line of the groups of --by."""
    return f"{name:<{NAME}}{''.join(f'{shortened(cell, COLUMN - 2):>{COLUMN}}' for cell in cells)}"


def shortened(text: str, length: int) -> str:
    """The text, its end replaced by … where it is longer.

    Examples
    --------
    >>> shortened("Animals & Nature", 10), shortened("flags", 10)
    ('Animals &…', 'flags')
    """
    return text if len(text) <= length else f"{text[: length - 1]}…"


def panel_json(panel: Panel) -> str:
    """The result as `measure --out` writes it."""
    return json.dumps(panel.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)


def panel_html(panel: Panel) -> str:
    """The panel as an HTML table for a notebook; every text from outside is escaped."""
    parts = ["<div>", *(f"<div>{escape(line)}</div>" for line in header(panel))]
    parts.append('<table style="font-variant-numeric: tabular-nums">')
    heads = ("metric", "value", "95 % interval", "", "null")
    parts.append(f"<thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead><tbody>")
    for group, keys in grouped(panel):
        parts.append(f'<tr><th colspan="5" style="text-align: left">{escape(heading(group))}</th></tr>')
        parts.extend(html_row(row(panel, key)) for key in keys)
        reading = read(group, panel)
        if reading:
            parts.append(f'<tr><td colspan="5" style="text-align: left"><em>{escape(reading)}</em></td></tr>')
    parts.append("</tbody></table>")
    for name, points in panel.curves.items():
        lines = escape("\n".join(curve_lines(points)))
        parts.append(f"<div><strong>{escape(CURVES.get(name, name))}</strong></div><pre>{lines}</pre>")
    parts.extend(f"<div>{escape(line)}</div>" for line in (LEGEND, *footnotes(panel)))
    return "".join((*parts, "</div>"))


def html_row(cells: Iterable[str]) -> str:
    """One row of cells, the first aligned left as names are."""
    name, *values = (escape(cell) for cell in cells)
    return f'<tr><td style="text-align: left">{name}</td>{"".join(f"<td>{value}</td>" for value in values)}</tr>'


def print_datasets(datasets: Sequence[DatasetInfo], console: Console) -> None:
    """Each data set that can be named: what it is, size, licence, splits, where it is or is looked for."""
    table = plain_table()
    for dataset in datasets:
        if ":" in dataset.name:  # a form of one's own data: nothing to fetch, nowhere to look
            table.add_row(dataset.name, "", dataset.description)
            continue
        facts = f"{dataset.size}; {dataset.licence}"
        place = f"{'in' if dataset.present else 'looked for in'} {dataset.where}"
        about = f"{dataset.description}\n{facts}\nsplits {', '.join(dataset.splits)}; {place}"
        table.add_row(dataset.name, "here" if dataset.present else "absent", about)
    console.print(table)


def plain_table() -> Table:
    """Three columns without lines: a name, a word, and text that wraps."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def print_models(models: Sequence[ModelInfo], console: Console) -> None:
    """Each model that can be named, open_clip's in a row an architecture; * marks weights that are here."""
    table = plain_table()
    tags: dict[str, list[str]] = {}
    for model in models:
        star = "*" if model.present else ""
        if model.group == "open_clip":
            arch, _, tag = model.name.partition(":")
            tags.setdefault(arch, []).append(f"{tag}{star}")
        else:
            table.add_row(model.name, star, model.about)
    console.print(table)
    console.print("\nopen_clip's, as ARCHITECTURE:TAG")
    table = plain_table()
    for arch, its_tags in tags.items():
        table.add_row(arch, "", ", ".join(its_tags))
    console.print(table)
    console.print("\n* on this machine", style="dim")


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """What `doctor` found, with what to do beneath where there is something to do."""
    table = plain_table()
    for finding in findings:
        found = f"{finding.found}\n-> {finding.advice}" if finding.advice else finding.found
        table.add_row(finding.name, "ok" if finding.well else "!!", found)
    console.print(table)
