"""Panels as tables: for a terminal, a notebook, or JSON. Computes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from textwrap import fill
from typing import Any

from geomclip.embeddings.wording import worded
from geomclip.machine.words import amount
from geomclip.metrics import AT_FIXED_SIZE, FIXED_SIZE, GROUPS
from geomclip.metrics.evaluated import KNOWN, TASKS
from geomclip.panels import short
from geomclip.panels.chosen import label, short_label
from geomclip.panels.lines import Line, plain, shortened
from geomclip.panels.naming import PROGRAM, name_of
from geomclip.panels.sentences import number, read
from geomclip.panels.short import ARROW, COUNTED
from geomclip.panels.shown import Shown
from geomclip.panels.standouts import standout_lines

LEGEND = "↓ lower is better, ↑ higher is better; null: what random rows or guesses give."
HONEST = (
    "p: how often honest confidences (whose answers are right as often as they say) have by chance a calibration error "
    "at least this large; the null of ECE and MCE is their mean one."
)
SKIPS_SHOWN = 3
KEYS_SHOWN = 4
OTHER = "other"

NAME, VALUE, INTERVAL, NULL = 34, 9, 20, 8
"""Columns of a panel, the first as wide as its longest key; with gaps of two and an arrow they make 80."""
CURVES = {
    "gap_shift_curve": "Both clouds shifted together, in units of the gap",
    "gap_ablation_curve": "The dimensions that differ most removed",
    "simat_lambda": "Along λ: how far the difference of two words is followed",
    "wise_ft_curve": "Weights on the way from the base to the model",
}
CURVE_COLUMNS = 10, 17
"""Columns of a curve: where on it, and each number there."""

RANKS_AT = ("effective_rank", "effective_rank_centered", "rankme")
"""Numbers of directions of a cloud that are measured at a fixed size too."""
RANKS = (*RANKS_AT, "participation_ratio", "participation_ratio_centered")
"""Numbers of directions of a cloud: no more than it has rows, one less where the mean is taken away."""

COLUMN = 12
"""Width of a group's column under --by."""
HTML_WIDTH = 110
"""Columns of a notebook's table of groups."""


def panel_text(panel: Shown, width: int = 80, *, full: bool = False) -> str:
    """The panel as plain text."""
    return plain(panel_lines(panel, width, full=full), width)


def panel_lines(panel: Shown, width: int, *, full: bool = False) -> Iterator[Line]:
    """Header, the ten numbers that answer, curves, notes on them, and the groups of --by in one table.

    In `full` every number with the sentence of its group, and each group of --by as a panel of its own.
    """
    yield from map(Line, header(panel))
    yield Line()
    yield from _full_lines(panel, width) if full else _short_lines(panel, width)
    yield from (Line(), *standout_lines(panel, width))


def _short_lines(panel: Shown, width: int) -> Iterator[Line]:
    yield from short.rows(panel, width)
    yield Line()
    yield from _curves(panel)
    yield from (Line(line, "dim") for line in legend(panel, full=False))
    yield from map(Line, footnotes(panel, short.keys_of(panel)))
    yield from short.by_group(panel, width)


def _full_lines(panel: Shown, width: int) -> Iterator[Line]:
    yield Line(columns("", "value", short.head_of_intervals(panel), "", "null"), "dim")
    for group, keys in grouped(panel):
        yield Line(worded(panel, heading(group)), "bold")
        for key in keys:
            yield Line(columns(*row(panel, key)))
        reading = read(group, panel)
        if reading:
            yield Line(indented(reading, width), "italic")
        yield from (Line(indented(limit, width), "dim") for limit in limits(group, panel))
        yield Line()
    yield from _curves(panel)
    yield from (Line(line, "dim") for line in legend(panel))
    yield from map(Line, footnotes(panel))
    for name, group_panel in panel.groups.items():
        yield Line()
        yield Line(
            f"by {panel.params.get('by', 'group')}: {name} · {group_panel.n_images:,} {worded(panel, 'images')}", "bold"
        )
        yield Line()
        yield from _full_lines(group_panel, width)


def _curves(panel: Shown) -> Iterator[Line]:
    for name, points in panel.curves.items():
        yield Line(CURVES.get(name, name), "bold")
        yield from map(Line, curve_lines(points))
        yield Line()


def curve_lines(points: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """A curve as a table: a column a quantity, a row a point."""
    cells = [[short_label(name) for name in points]]
    cells += [[f"{place:g}", *map(number, values)] for place, *values in zip(*points.values(), strict=True)]
    first, others = CURVE_COLUMNS
    return (f"{line[0]:>{first}}{''.join(f'{cell:>{others}}' for cell in line[1:])}" for line in cells)


def legend(panel: Shown, *, full: bool = True) -> list[str]:
    """What the signs of a table mean, of those that it has, and what a short one leaves out."""
    if full:
        return [LEGEND, HONEST] if panel.p else [LEGEND]
    return [LEGEND, *filter(None, [short.more(panel)])]


def columns(key: str, value: str, interval: str, arrow: str, null: str) -> str:
    """One line of a panel."""
    return f"{key:<{NAME}}  {value:>{VALUE}}  {interval:>{INTERVAL}}  {arrow:1}  {null:>{NULL}}".rstrip()


def indented(text: str, width: int) -> str:
    """A paragraph set in by two."""
    return fill(text, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


OF_CLASSES = ("classification", "fewshot", "shift")
"""Tasks whose texts are classes."""


def header(panel: Shown) -> Iterator[str]:
    """What was measured, in as few lines as it takes."""
    made = panel.made_from
    data = made.get("dataset") or "unnamed data"
    split = f" ({made['split']})" if made.get("split") else ""
    model = name_of(made)
    yield f"{data}{split} · {f'{panel.name} ({model})' if panel.name else model}"
    if made.get(PROGRAM) and not panel.dim:  # read from a file of another program, which says no more
        yield f"{panel.n_images:,} images" if panel.n_images else "images not counted"
        yield from (f"! {line}" for line in panel.warnings)
        return
    counts = [f"{panel.n_images:,} {worded(panel, 'images')}"]
    if panel.task in COUNTED:
        of = zip((panel.n_images, panel.n_texts), COUNTED[panel.task], strict=True)
        counts = [amount(count, *what) for count, what in of if count]
    elif panel.task != "cloud":
        counts.append(f"{panel.n_texts:,} {'classes' if panel.task in OF_CLASSES else worded(panel, 'texts')}")
    if panel.dim or panel.task != "captioning":  # of captions alone there are no vectors
        counts.append(f"{panel.dim} dimensions")
    if panel.dim and panel.task != "cloud" and panel.task not in COUNTED:
        counts.append(f"logit scale {panel.logit_scale:.6g} ({panel.logit_scale_source})")
    yield " · ".join([*counts, *filter(None, [made.get("precision")])])
    yield from (f"read: {line}" for line in (made.get("read") or {}).get("how") or ())
    sides = (worded(panel, "images"), worded(panel, "texts"))
    for line in (*skipped(made.get("skipped", ()), *sides), *panel.warnings):
        yield f"! {line}"


def skipped(items: Sequence[Any], images: str = "images", texts: str = "texts") -> Iterator[str]:
    """A line that counts and names the images that were left out, and one for texts of images that were not."""
    for what, key, own in ((images, "path", False), (texts, "caption_id", True)):
        these = [item for item in items if ("caption_id" in item) == own]
        if not these:
            continue
        named = [f"{item.get(key) or item.get('image_id')} ({item.get('reason', 'unreadable')})" for item in these]
        more = f"; {len(these) - SKIPS_SHOWN} more in the result" if len(these) > SKIPS_SHOWN else ""
        noun = what if len(these) != 1 else "query" if what == "queries" else what.removesuffix("s")
        yield f"{len(these)} {noun} skipped: {'; '.join(named[:SKIPS_SHOWN])}{more}"


def footnotes(panel: Shown, shown: Iterable[str] | None = None) -> Iterator[str]:
    """The notes of the panel, or of the keys that are shown of it; keys with the same note share a line."""
    known = None if shown is None else set(shown)
    keys_of: dict[str, list[str]] = {}
    for key, note in panel.notes.items():
        if known is None or key in known or (key not in panel.values and key not in KNOWN):
            keys_of.setdefault(note, []).append(key)
    for note, keys in keys_of.items():
        more = f" and {len(keys) - KEYS_SHOWN} more" if len(keys) > KEYS_SHOWN else ""
        yield f"{', '.join(keys[:KEYS_SHOWN])}{more}: {worded(panel, note)}"


def grouped(panel: Shown) -> Iterator[tuple[str, list[str]]]:
    """The groups of the panel in the order of the table of metrics, each with its keys."""
    return grouped_keys(panel.values)


def grouped_keys(known: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Keys by group, both in the order of the table of metrics."""
    groups: dict[str, list[str]] = {group: [] for group in (*GROUPS, *TASKS, OTHER)}
    places = {key: place for place, key in enumerate(KNOWN)}
    for key in sorted(known, key=lambda key: places.get(key, len(places))):
        groups[KNOWN[key].group if key in KNOWN else OTHER].append(key)
    return ((group, keys) for group, keys in groups.items() if keys)


def heading(group: str) -> str:
    """What a group is called where people read."""
    return {**GROUPS, **TASKS}.get(group, "Other")


def row(panel: Shown, key: str) -> tuple[str, str, str, str, str]:
    """Key, value, interval (or why there is none), arrow and null of one metric as they are shown."""
    interval = panel.ci.get(key)
    between = f"{number(interval[0])} to {number(interval[1])}" if interval else no_interval(panel, key)
    if key in panel.sampled:
        between = f"±{number(short.half_of_sampled(panel, key))} {short.SAMPLED}"
    arrow = ARROW[KNOWN[key].better] if key in KNOWN else ""
    null = number(panel.null[key], panel.null_error.get(key, 0.0)) if panel.null.get(key) is not None else ""
    return key, number(panel.values[key]), between, arrow, null


def no_interval(panel: Shown, key: str) -> str:
    """Why a number has no interval, as short as its column is wide; '' where it has one, or none was wanted."""
    if key in panel.ci or panel.values[key] is None:
        return ""
    return shortened(worded(panel, panel.no_interval.get(key, "")), INTERVAL)


def limits(group: str, panel: Shown) -> Iterator[str]:
    """Sentences on a group: how large a rank can be at most, of each cloud of fewer rows than dimensions."""
    if group != "shape":
        return
    for cloud, rows in (("image", panel.n_images), ("text", panel.n_texts)):
        fewer = f"fewer {cloud}s than dimensions"
        if rows < panel.dim and _has(panel, (f"{rank}_{cloud}" for rank in RANKS)):
            yield worded(panel, f"Ranks of {cloud}s are of at most {rows:,} (centred {rows - 1:,}): {fewer}.")
        drawn = round(FIXED_SIZE * rows / max(1, panel.n_images))  # of texts on average
        if drawn < panel.dim and _has(panel, (AT_FIXED_SIZE[f"{rank}_{cloud}"] for rank in RANKS_AT)):
            most = f"{'about ' if cloud == 'text' else ''}{drawn:,} (centred {drawn - 1:,})"
            yield worded(panel, f"At {FIXED_SIZE} images ranks of {cloud}s are of at most {most}: {fewer}.")


def _has(panel: Shown, keys: Iterable[str]) -> bool:
    return any(panel.values.get(key) is not None for key in keys)


def side_by_side(name: str, cells: Iterable[str]) -> str:
    """One line of the groups of --by."""
    return f"{name:<{NAME}}{''.join(f'{shortened(cell, COLUMN - 2):>{COLUMN}}' for cell in cells)}"


def panel_json(panel: Shown) -> str:
    """The result as `measure --out` writes it."""
    return json.dumps(panel.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)


def panel_html(panel: Shown, *, full: bool = False) -> str:
    """The panel as an HTML table for a notebook; every text from outside is escaped."""
    parts = ["<div>", *(f"<div>{escape(line)}</div>" for line in header(panel))]
    parts.append('<table style="font-variant-numeric: tabular-nums">')
    heads = ("metric", "value", "95 % interval", "", "null")
    parts.append(f"<thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead><tbody>")
    parts.extend(_full_rows(panel) if full else _short_rows(panel))
    parts.append("</tbody></table>")
    for name, points in panel.curves.items():
        lines = escape("\n".join(curve_lines(points)))
        parts.append(f"<div><strong>{escape(CURVES.get(name, name))}</strong></div><pre>{lines}</pre>")
    notes = footnotes(panel, None if full else short.keys_of(panel))
    parts.extend(f"<div>{escape(line)}</div>" for line in (*legend(panel, full=full), *notes))
    if panel.groups and not full:
        lines = escape("\n".join(line.text for line in short.by_group(panel, HTML_WIDTH)))
        parts.append(f"<pre>{lines}</pre>")
    parts.extend(f"<div>{escape(line.text)}</div>" for line in standout_lines(panel, HTML_WIDTH))
    return "".join((*parts, "</div>"))


def _short_rows(panel: Shown) -> Iterator[str]:
    for key in short.keys_of(panel):
        yield html_row((worded(panel, label(key)), *short.cells(panel, key)), 2 if no_interval(panel, key) else None)


def _full_rows(panel: Shown) -> Iterator[str]:
    for group, keys in grouped(panel):
        yield f'<tr><th colspan="5" style="text-align: left">{escape(worded(panel, heading(group)))}</th></tr>'
        for key in keys:
            yield html_row(row(panel, key), 2 if no_interval(panel, key) else None)
        reading = read(group, panel)
        if reading:
            yield f'<tr><td colspan="5" style="text-align: left"><em>{escape(reading)}</em></td></tr>'
        for limit in limits(group, panel):
            yield f'<tr><td colspan="5" style="text-align: left">{escape(limit)}</td></tr>'


def html_row(cells: Iterable[str], dim: int | None = None) -> str:
    """One row of cells, the first aligned left as names are; the one at the place `dim` stands back."""
    styles = {0: ' style="text-align: left"', dim: ' style="opacity: 0.6"'}
    shown = (f"<td{styles.get(place, '')}>{escape(cell)}</td>" for place, cell in enumerate(cells))
    return f"<tr>{''.join(shown)}</tr>"
