"""Panels, models, data sets and findings as tables: for a terminal, a notebook, or JSON. Computes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from geomclip.metrics import METRICS
from geomclip.reading import READINGS, number

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from geomclip.doctor import Finding
    from geomclip.measure import Panel

ARROW = {"lower": "↓", "higher": "↑", "": ""}
LEGEND = "↓ lower is better, ↑ higher is better; null: what random rows or guesses give."
SKIPS_SHOWN = 3
UNDEFINED = "—"

# 34 is the longest key of the default panel; the sum with four gaps of two is 80
WIDTHS = {"metric": 34, "value": 9, "interval": 20, "better": 1, "null": 8}


def print_panel(panel: Panel, console: Console) -> None:
    """Header, one table a group with its sentence, then a block of groups side by side if there are any."""
    for line in header(panel):
        console.print(line)
    first = True
    for group, keys in grouped(panel):
        console.print()
        console.print(group_table(panel, group, keys, heads=first))
        first = False
        reading = READINGS[group](panel) if group in READINGS else None
        if reading:
            console.print(f"  {reading}", style="italic")
    console.print()
    console.print(LEGEND, style="dim")
    for line in footnotes(panel):
        console.print(line)
    if panel.groups:
        for table in by_group(panel, console.width):
            console.print()
            console.print(table)


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
    for line in (*made.get("notes", ()), *skipped(made.get("skipped", ())), *panel.warnings):
        yield f"! {line}"


def skipped(items: Sequence[Any]) -> Iterator[str]:
    """One line that counts and names what was left out."""
    if not items:
        return
    named = [
        f"{item.get('path') or item.get('image_id')} ({item.get('reason', 'unreadable')})" for item in items
    ]
    more = f"; {len(items) - SKIPS_SHOWN} more in the result" if len(items) > SKIPS_SHOWN else ""
    noun = "image" if len(items) == 1 else "images"
    yield f"{len(items)} {noun} skipped: {'; '.join(named[:SKIPS_SHOWN])}{more}"


def footnotes(panel: Panel) -> Iterator[str]:
    """Why a value is undefined, key by key, and every other note of the panel."""
    for key, reason in panel.notes.items():
        yield f"{key}: {reason}"


def grouped(panel: Panel) -> Iterator[tuple[str, list[str]]]:
    """The groups of the panel in the order of the table of metrics, each with its keys."""
    order = list(dict.fromkeys(metric.group for metric in METRICS.values()))
    groups: dict[str, list[str]] = {group: [] for group in (*order, "Other")}
    places = {key: place for place, key in enumerate(METRICS)}
    for key in sorted(panel.values, key=lambda key: places.get(key, len(places))):
        groups[METRICS[key].group if key in METRICS else "Other"].append(key)
    return ((group, keys) for group, keys in groups.items() if keys)


def row(panel: Panel, key: str) -> tuple[str, str, str, str, str]:
    """Key, value, interval, arrow and null of one metric as they are shown."""
    interval = panel.ci.get(key)
    between = f"{number(interval[0])} to {number(interval[1])}" if interval else ""
    arrow = ARROW[METRICS[key].better] if key in METRICS else ""
    null = number(panel.null[key]) if panel.null.get(key) is not None else ""
    return key, number(panel.values[key]), between, arrow, null


def group_table(panel: Panel, group: str, keys: Sequence[str], *, heads: bool) -> Table:
    """One group; the heads of the columns only where they are asked for, since the columns line up."""
    from rich.table import Table
    from rich.text import Text

    titles = ("value", "95 % interval" if panel.ci else "", "", "null") if heads else ("", "", "", "")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(Text(group, style="bold not dim"), min_width=WIDTHS["metric"], no_wrap=True)
    table.add_column(titles[0], min_width=WIDTHS["value"], justify="right", no_wrap=True)
    table.add_column(titles[1], min_width=WIDTHS["interval"], justify="right", no_wrap=True)
    table.add_column(titles[2], min_width=WIDTHS["better"], no_wrap=True)
    table.add_column(titles[3], min_width=WIDTHS["null"], justify="right", no_wrap=True, style="dim")
    for key in keys:
        table.add_row(*row(panel, key))
    return table


def by_group(panel: Panel, width: int) -> Iterator[Table]:
    """The panels of `--by` side by side, a column each, in as many tables as the width asks for."""
    from rich.table import Table

    column = 12
    names = list(panel.groups)
    keys = [key for _, keys in grouped(panel) for key in keys]
    fit = max(1, (width - WIDTHS["metric"] - 2 - column) // column)
    for start in range(0, len(names), fit):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column(f"by {panel.params.get('by', 'group')}", min_width=WIDTHS["metric"], no_wrap=True)
        shown = names[start : start + fit]
        for name in ("all", *shown):
            table.add_column(shortened(name, column - 2), justify="right", min_width=column - 2, no_wrap=True)
        panels = [panel, *(panel.groups[name] for name in shown)]
        table.add_row("images", *(f"{one.n_images:,}" for one in panels), style="dim")
        for key in keys:
            table.add_row(key, *(number(one.values.get(key)) for one in panels))
        yield table


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
        parts.append(f'<tr><th colspan="5" style="text-align: left">{escape(group)}</th></tr>')
        parts.extend(html_row(row(panel, key)) for key in keys)
        reading = READINGS[group](panel) if group in READINGS else None
        if reading:
            parts.append(f'<tr><td colspan="5" style="text-align: left"><em>{escape(reading)}</em></td></tr>')
    parts.append("</tbody></table>")
    parts.extend(f"<div>{escape(line)}</div>" for line in (LEGEND, *footnotes(panel)))
    return "".join((*parts, "</div>"))


def html_row(cells: Iterable[str]) -> str:
    """One row of cells, the first aligned left as names are."""
    name, *values = (escape(cell) for cell in cells)
    return (
        f'<tr><td style="text-align: left">{name}</td>{"".join(f"<td>{value}</td>" for value in values)}</tr>'
    )


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """What `doctor` found, a line each, with what to do beneath those that ask for it."""
    for finding in findings:
        mark = "ok " if finding.well else "!! "
        console.print(f"{mark}{finding.name:<18}{finding.found}", style=None if finding.well else "bold")
        if finding.advice:
            console.print(f"{'':21}{finding.advice}", style="dim")
