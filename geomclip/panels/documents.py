"""A panel as a file for other programs and pages: a table of values with commas, a table in Markdown."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path

from geomclip.machine.errors import InputError
from geomclip.machine.files import atomic_bytes
from geomclip.machine.words import markdown, spreadsheet_cell
from geomclip.panels.lines import coded, markdown_row
from geomclip.panels.sentences import read
from geomclip.panels.short import ARROW
from geomclip.panels.shown import SAMPLED_ENDS, Shown
from geomclip.panels.tables import footnotes, grouped, header, heading, legend, row

SUFFIXES = (".json", ".csv", ".md", ".tex")


def panel_csv(panel: Shown) -> str:
    """A line a number, those of groups after those of all; numbers to the last digit.

    Examples
    --------
    >>> from geomclip.panels.record import Panel
    >>> print(panel_csv(Panel({"alignment": 0.5}, ci={"alignment": (0.4, 0.6)})), end="")
    group,metric,value,low,high,null,better,note
    ,alignment,0.5,0.4,0.6,,lower,
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    more = SAMPLED_ENDS if panel.sampled else ()
    writer.writerow(("group", "metric", "value", "low", "high", "null", "better", "note", *more))
    ways = {arrow: way for way, arrow in ARROW.items()}
    for name, one in {"": panel, **panel.groups}.items():
        for key, value in one.values.items():
            low, high = one.ci.get(key, (None, None))
            way, note = ways[row(one, key)[3]], one.notes.get(key, "")
            ends = one.sampled.get(key, (None, None)) if more else ()
            cells = (name, key, value, low, high, one.null.get(key), way, note, *ends)
            writer.writerow(map(spreadsheet_cell, cells))
    return text.getvalue()


def panel_markdown(panel: Shown) -> str:
    """A table for each group of numbers in Markdown and what they say, then the notes; panels of groups below.

    Examples
    --------
    >>> from geomclip.panels.record import Panel
    >>> "| `alignment` | ↓ | 0.5000 | 0.4000 to 0.6000 |  |" in panel_markdown(
    ...     Panel({"alignment": 0.5}, ci={"alignment": (0.4, 0.6)})
    ... )
    True
    """
    lines = [f"- {markdown(line)}" for line in header(panel)]
    for group, keys in grouped(panel):
        heads = ("metric", "better", "value", "95 % interval", "null")
        lines += ["", f"**{heading(group)}**", "", markdown_row(heads), "|---|---|--:|--:|--:|"]
        for key in keys:
            _, value, between, arrow, null = row(panel, key)
            lines.append(markdown_row((coded(key), arrow, value, between, null)))
        lines += ["", markdown(reading)] if (reading := read(group, panel)) else []
    lines += ["", " ".join(legend(panel)), "", *(f"- {markdown(note)}" for note in footnotes(panel))]
    for name, one in panel.groups.items():
        title = f"{panel.params.get('by', 'group')}: {name}"
        lines += ["", f"## {markdown(title)}", "", panel_markdown(one).rstrip()]
    return "\n".join(lines).rstrip() + "\n"


def panel_latex(panel: Shown) -> str:
    """The chosen rows as a table for a paper."""
    return panel.to_latex()


def save(panel: Shown, path: Path) -> Path:
    """Write a panel to a file as its name says, whole or not at all: .csv, .md or .tex; see `Panel.save`."""
    if path.suffix not in SUFFIXES[1:]:
        raise InputError(f"{path} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    text = {".csv": panel_csv, ".md": panel_markdown, ".tex": panel_latex}[path.suffix](panel)
    atomic_bytes(path, text.encode("utf-8", "replace"))
    return path
