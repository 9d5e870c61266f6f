"""A comparison in short: ten numbers that answer, and the changes of groups in one table. Computes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from geomclip.embeddings.wording import worded
from geomclip.metrics.evaluated import KNOWN
from geomclip.panels.chosen import change, chosen, digits, label, short_label, written
from geomclip.panels.comparison.shown import Change, Changes
from geomclip.panels.lines import Line, in_blocks, shortened, told_apart
from geomclip.panels.sentences import number
from geomclip.panels.short import ALL, GROUP, NARROW, PERCENT, SHORT, aligned, left_out, units, with_unit

LABEL, VALUE, CHANGE, INTERVAL = 24, 8, 9, 18
"""Columns, the first at most; with gaps and the word at the end they make 80."""
NARROW_VALUE, NARROW_CHANGE = 7, 8
"""Columns of a narrow terminal."""
STYLES = {"better": "green", "worse": "red", "unclear": "dim", "same": "dim", "lower": "dim", "": ""}
"""Of the words of verdicts."""
MARKS = {"better": "*", "worse": "!"}
LEGEND = "better, worse: beyond chance, corrected for all judged; pp: percentage points."
LOWER = "lower: it fell while recall fell too, or is at chance: not called better."
GROUPS_LEGEND = "change in each group, of % in pp; * better, ! worse, by a correction within that group alone"


def keys_of(comparison: Changes) -> list[str]:
    """The keys of a short table: the primary ones, the chosen ones, and those that the table of metrics has not."""
    rows = comparison.rows
    return chosen(rows, [key for key, row in rows.items() if row.primary], [key for key in rows if key not in KNOWN])


def units_of(comparison: Changes) -> str:
    """What is counted of both sides: images, queries, rows, ..."""
    return units(comparison, str(comparison.before.get("task") or ""))


def more(comparison: Changes) -> str:
    """How many numbers the short table leaves out, how many of them changed, and how to see them; '' if none."""
    shown = set(keys_of(comparison))
    words = [row.verdict for key, row in comparison.rows.items() if key not in shown]
    told = [f"{count} {word}" for word in ("better", "worse") if (count := words.count(word))]
    return left_out(len(words), f" ({', '.join(told)})" if told else "")


def legend(comparison: Changes) -> Iterator[str]:
    """What the words mean, as far as they are there, and what is left out."""
    yield LEGEND
    if any(comparison.rows[key].verdict == "lower" for key in keys_of(comparison)):
        yield LOWER
    yield from filter(None, [more(comparison)])


def rows(comparison: Changes, width: int, keys: Sequence[str] | None = None) -> Iterator[Line]:
    """The heads, and a line for each of these numbers (left out: the short table's), as wide as there is room."""
    keys = keys_of(comparison) if keys is None else keys
    if width < NARROW:
        heads = f"{'before':>{NARROW_VALUE}} {'after':>{NARROW_VALUE}} {'change':>{NARROW_CHANGE - 1}}"
        yield Line(f"{'':<{SHORT}}{heads}", "dim")
        yield from (_narrow(worded(comparison, short_label(key)), key, comparison.rows[key]) for key in keys)
        return
    yield from wide(comparison, keys)


def wide(comparison: Changes, keys: Sequence[str]) -> Iterator[Line]:
    """The heads, and a line for each of these numbers, in 80 columns."""
    named = {key: worded(comparison, label(key)) for key in keys}
    room = min(LABEL, max(map(len, named.values()), default=0))
    heads = f"{'before':>{VALUE}} {'after':>{VALUE}} {'change':>{CHANGE}}  {'95 % interval':>{INTERVAL}}"
    yield Line(f"{'':<{room}} {heads}", "dim")
    for key in keys:
        row = comparison.rows[key]
        before, after, moved, between = cells(key, row)
        values = f"{before:>{VALUE}} {after:>{VALUE}} {moved:>{CHANGE}}  {between:>{INTERVAL}}"
        yield Line(f"{shortened(named[key], room):<{room}} {values} ", "", row.verdict, STYLES[row.verdict])


def cells(key: str, row: Change) -> tuple[str, str, str, str]:
    """Before, after, change and its interval, in the digits that the interval supports."""
    places = digits(key, row.ci)
    before, after = (_fitting(key, value, places) for value in (row.before, row.after))
    between = " to ".join(change(key, end, places, unit=False) for end in row.ci) if row.ci else ""
    if len(between) > INTERVAL and row.ci:
        between = " to ".join(f"{end:+.1e}" for end in row.ci)
    return before, after, _moved(key, row), between


def _moved(key: str, row: Change, *, unit: bool = True, room: int = CHANGE) -> str:
    text = change(key, row.difference, digits(key, row.ci), unit=unit)
    return text if len(text) <= room or row.difference is None else f"{row.difference:+.1e}"


def _fitting(key: str, value: float | None, places: int | None) -> str:
    """A value in the room of a column: in fewer digits where its own would not fit."""
    text = written(key, value, places)
    return text if len(text) <= VALUE or value is None else f"{value:.1e}"


def _narrow(name: str, key: str, row: Change) -> Line:
    places = digits(key, row.ci)
    values = (written(key, value, places, unit=False) for value in (row.before, row.after))
    cells = " ".join(f"{shortened(text, NARROW_VALUE):>{NARROW_VALUE}}" for text in values)
    moved = f"{_moved(key, row, unit=False, room=NARROW_CHANGE - 1)}{MARKS.get(row.verdict, ' ')}"
    return Line(f"{shortened(name, SHORT):<{SHORT}}{cells} {moved:>{NARROW_CHANGE}}".rstrip())


def by_group(comparison: Changes, width: int) -> Iterator[Line]:
    """The changes of all images and of each group, a column each, with a mark where they are better or worse."""
    names = list(comparison.groups)
    shown = dict(zip(names, told_apart(names, GROUP - 1), strict=True))
    by = shortened(f"by {comparison.by or 'group'}", PERCENT)
    for some in in_blocks(names, (width - PERCENT) // GROUP - 1):
        yield Line()
        yield Line(aligned(by, [ALL, *(shown[name] for name in some)], GROUP), "bold")
        each = [comparison, *(comparison.groups[name] for name in some)]
        yield Line(aligned(units_of(comparison), [f"{one.n_images:,}" for one in each], GROUP))
        for key in keys_of(comparison):
            yield Line(aligned(with_unit(key), [marked(key, one.rows.get(key)) for one in each], GROUP))
    if names:
        yield Line(GROUPS_LEGEND, "dim")


def marked(key: str, row: Change | None) -> str:
    """A change without its unit, with a mark where it is better or worse."""
    if row is None or row.difference is None:
        return number(None)
    return f"{_moved(key, row, unit=False, room=GROUP - 2)}{MARKS.get(row.verdict, '')}"
