"""A panel in short: ten numbers that answer, and the groups of --by in one table. Computes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from geomclip.embeddings.wording import worded
from geomclip.machine.words import option
from geomclip.metrics.evaluated import KNOWN
from geomclip.panels.chosen import chosen, digits, is_share, label, short_label, written
from geomclip.panels.lines import Line, in_blocks, shortened, told_apart
from geomclip.panels.sentences import number, percent
from geomclip.panels.shown import Shown

ARROW = {"lower": "↓", "higher": "↑", "": ""}
LABEL, VALUE, INTERVAL, NULL = 34, 9, 20, 8
"""Columns, the first at most; with gaps of two and an arrow they make 80."""
NARROW = 66
"""A terminal below so many columns gets a half width in place of an interval, and no null."""
SHORT, HALF = 16, 8
"""Columns of a name and of a half width there."""
GROUP = 10
"""Column of a group, with room for a mark."""
PERCENT = 19
"""Column of a name with its unit."""
JUDGED_BY = {"modality_gap": "modality_gap_debiased"}
"""Numbers that are higher in small groups by chance alone: key to what tells whether a group is like all."""
NEARLY = ("mean_cosine_text", "uniformity_joint")
"""Numbers that the size of a group moves so little that they are judged as those that it does not move."""
GROUPS_LEGEND = (
    "* the 95 % interval of the group does not hold the value of all (1 in 20 by chance); never on what depends on the "
    "number of images, as recall, ECE and Robin Hood do."
)
ALL = "all"
SAMPLED = "sampled"
"""What stands behind half the interval of a number that is estimated from blocks of the set."""
COUNTED = {
    "simat": (("target word", "target words"), ("word", "words")),
    "missing-modality": (("test sample", "test samples"), ("view", "views")),
    "interpolation": (("row", "rows"), ("time left out", "times left out")),
}
"""What one and several units of a task are called, and its texts, where they are neither images nor pairs."""


def units(panel: object, task: str) -> str:
    """What the units of a panel or comparison of a task are called, several of them."""
    return COUNTED[task][0][1] if task in COUNTED else worded(panel, "images")


def keys_of(panel: Shown) -> list[str]:
    """The keys of a short table: the chosen ones, and all that were named by whoever measured."""
    by_name = panel.params.get("metrics", "default") not in ("default", "all")
    return chosen(panel.values, named=[key for key in panel.values if by_name or key not in KNOWN])


def more(panel: Shown) -> str:
    """How many numbers the short table leaves out, and how to see them; '' if none."""
    return left_out(len(panel.values) - len(keys_of(panel)))


def left_out(count: int, note: str = "") -> str:
    """So many numbers are left out, and how to see them; '' if none."""
    if not count:
        return ""
    way = option("full", True)
    return f"{count} more{note}: {way if way.startswith('--') else f'.table({way})'}"


def rows(panel: Shown, width: int) -> Iterator[Line]:
    """The heads, and a line a number, in as many columns as the width has room for."""
    keys = keys_of(panel)
    if width < NARROW:
        half = "±" if panel.ci else SAMPLED if panel.sampled else ""
        yield Line(f"{'':<{SHORT}} {'value':>{VALUE}} {half:>{HALF}}".rstrip(), "dim")
        yield from (Line(_narrow(panel, key)) for key in keys)
        return
    room = min(LABEL, max((len(worded(panel, label(key))) for key in keys), default=0))
    yield Line(f"{'':<{room}}  {'value':>{VALUE}}  {head_of_intervals(panel):>{INTERVAL}}     {'null':>{NULL}}", "dim")
    for key in keys:
        value, between, arrow, null = cells(panel, key)
        named = f"{shortened(worded(panel, label(key)), room):<{room}}  {value:>{VALUE}}"
        yield Line(f"{named}  {between:>{INTERVAL}}  {arrow:1}  {null:>{NULL}}".rstrip())


def cells(panel: Shown, key: str) -> tuple[str, str, str, str]:
    """Value, interval (or why there is none), arrow and null of a number, in the digits that its interval supports."""
    value, ci = panel.values[key], panel.ci.get(key)
    places = digits(key, ci or panel.sampled.get(key))
    between = " to ".join(_fitting(key, end, places, unit=False) for end in ci) if ci else ""
    if key in panel.sampled:
        between = f"±{_fitting(key, half_of_sampled(panel, key), places, unit=False)} {SAMPLED}"
    elif ci is None and value is not None:
        between = shortened(worded(panel, panel.no_interval.get(key, "")), INTERVAL)
    return _fitting(key, value, places), between, _arrow(key), _null(panel, key)


def head_of_intervals(panel: Shown) -> str:
    """The head of the column of intervals; '' where it is empty."""
    return "95 % interval" if panel.ci or panel.no_interval or panel.sampled else ""


def half_of_sampled(panel: Shown, key: str) -> float:
    """The longer side of the interval of a number that is estimated from blocks."""
    value, (low, high) = panel.values[key], panel.sampled[key]
    return 0.0 if value is None else max(high - value, value - low)


def _arrow(key: str) -> str:
    return ARROW[KNOWN[key].better] if key in KNOWN else ""


def _null(panel: Shown, key: str) -> str:
    """The null in the digits that it is known to."""
    null = panel.null.get(key)
    if null is None:
        return ""
    return percent(null) if is_share(key) else number(null, panel.null_error.get(key, 0.0))


def _narrow(panel: Shown, key: str) -> str:
    ci = panel.ci.get(key)
    places = digits(key, ci or panel.sampled.get(key))
    half = f"±{written(key, (ci[1] - ci[0]) / 2, places, unit=False)}" if ci else ""
    if key in panel.sampled:
        half = f"±{written(key, half_of_sampled(panel, key), places, unit=False)}"
    value = _fitting(key, panel.values[key], places)
    named = f"{shortened(worded(panel, short_label(key)), SHORT):<{SHORT}} {value:>{VALUE}}"
    return f"{named} {half:>{HALF}} {_arrow(key)}".rstrip()


def _fitting(key: str, value: float | None, places: int | None, *, unit: bool = True) -> str:
    """A value in the room of a column: in usual digits where its own would not fit."""
    text = written(key, value, places, unit=unit)
    return text if len(text) <= VALUE or value is None else number(value)


def by_group(panel: Shown, width: int) -> Iterator[Line]:
    """All and each group of --by, a column each: the chosen numbers, with a mark where a group is not like all."""
    names = list(panel.groups)
    shown = dict(zip(names, told_apart(names, GROUP - 1), strict=True))
    keys = keys_of(panel)
    by = shortened(f"by {panel.params.get('by', 'group')}", PERCENT)
    whole = panel.params.get("whole") or {"name": ALL, "n_images": panel.n_images}
    for some in in_blocks(names, (width - PERCENT) // GROUP - 1):
        yield Line()
        yield Line(aligned(by, [whole["name"], *(shown[name] for name in some)], GROUP), "bold")
        panels = [panel, *(panel.groups[name] for name in some)]
        counts = [whole["n_images"], *(one.n_images for one in panels[1:])]
        counted = units(panel, panel.task)
        yield Line(aligned(counted, [f"{count:,}" for count in counts], GROUP))
        for key in keys:
            if "whole" in panel.params and all(one.values.get(key) is None for one in panels[1:]):
                continue
            yield Line(aligned(worded(panel, with_unit(key)), [_beside(panel, one, key) for one in panels], GROUP))
    if any(_beside(panel, one, key).endswith("*") for one in panel.groups.values() for key in keys):
        yield Line(worded(panel, GROUPS_LEGEND), "dim")


def with_unit(key: str) -> str:
    """The short name of a number with the unit of its column."""
    return f"{shortened(short_label(key), PERCENT - 3)}{' %' if is_share(key) else ''}"


def aligned(name: str, cells: list[str], column: int) -> str:
    """A name and cells to the right of it, each with room for a mark at its end."""
    marked = (cell if cell.endswith(("*", "!")) else f"{cell} " for cell in cells)
    return f"{name:<{PERCENT}}{''.join(f'{cell:>{column}}' for cell in marked)}".rstrip()


def _beside(panel: Shown, one: Shown, key: str) -> str:
    """The value of a group, with a star where its interval does not hold that of all."""
    text = _fitting(key, one.values.get(key), digits(key, one.ci.get(key)), unit=False)
    judged = JUDGED_BY.get(key, key)
    ci, whole = one.ci.get(judged), panel.values.get(judged)
    if one is panel or ci is None or whole is None or not _of_any_size(judged):
        return text
    return text if ci[0] <= whole <= ci[1] else f"{text}*"


def _of_any_size(key: str) -> bool:
    return key in KNOWN and (KNOWN[key].target == "population" or key in NEARLY)
