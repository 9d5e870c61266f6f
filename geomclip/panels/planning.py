"""plan: how many images an interval of a wanted width needs, by the interval at hand and the square root of n."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geomclip.machine.words import near, option, typed
from geomclip.metrics import AT_FIXED_SIZE, METRICS
from geomclip.panels.intervals import LEAST, LEVEL
from geomclip.panels.lines import Line, plain
from geomclip.panels.record import Panel
from geomclip.panels.sentences import number
from geomclip.panels.tables import NAME, header, indented

SCHEMA = "geomclip.plan/1"

DEFAULT = (
    *(f"{what}_retrieval_recall@{k}" for k in (1, 5, 10) for what in ("text", "image")),
    "zeroshot_acc1",
    "zeroshot_acc5",
    "modality_gap",
)
"""What is planned for where nothing is named, as far as a panel has it."""

DIGITS = 2
"""That the number of images has, rounded up: the width at hand is no surer."""

MOST = 1e12
"""More images than this are out of reach."""

RULE = (
    "images: those at hand times (width / wanted width)², rounded up to two digits. This extrapolates from the "
    "interval at hand: a width shrinks with the square root of the number of images, if they are of the same kind."
)
GALLERY = (
    "each query is answered from all images of the set, so the value itself moves with their number: recall falls and "
    "confidences change as the gallery grows"
)
GROWS = "the value itself moves with the number of images, whatever its width"
EDGE = "the interval ends where the range of the number does, and shrinks faster than the rule says: fewer may do"
RANKS = ("mean_rank", "median_rank")


@dataclass(frozen=True)
class Need:
    """How many images one number needs: `ci` and `width` are those at hand, `reached` whether that width will do."""

    value: float
    ci: tuple[float, float]
    width: float
    images: int
    reached: bool
    notes: tuple[str, ...] = ()  # where the rule or the number at hand misleads


@dataclass(frozen=True)
class Plan:
    """How many images a wanted width needs, for each of some numbers: a mapping from key to `Need`."""

    width: float  # wanted: the high end of a 95 % interval less its low end
    n_images: int  # at hand
    source: str  # what the panel is of
    needs: Mapping[str, Need]
    notes: Sequence[str] = ()

    def __getitem__(self, key: str) -> Need:
        return self.needs[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.needs)

    def __len__(self) -> int:
        return len(self.needs)

    def to_dict(self) -> dict[str, Any]:
        """The plan as `plan --json` prints it: JSON types only."""
        return {
            "schema": SCHEMA,
            "width": self.width,
            "level": LEVEL,
            "source": self.source,
            "n_images": self.n_images,
            "metrics": {
                key: {**vars(need), "ci": list(need.ci), "notes": list(need.notes)} for key, need in self.needs.items()
            },
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        return plain(plan_lines(self, 80), 80)


def plan(panel: Panel, width: float, metrics: str | Sequence[str] | None = None) -> Plan:
    """How many images of the same kind a 95 % interval of a wanted width needs.

    n · (width at hand / wanted width)², rounded up to two digits: the width of an interval shrinks with the square
    root of the number of images.

    Parameters
    ----------
    panel : Panel
        With intervals.
    width : float
        Wanted: the high end less the low end.
    metrics : str or sequence of str, optional
        Keys; left out: recalls, accuracies and the gap, as far as the panel has intervals of them.

    Returns
    -------
    Plan
        A mapping from key to `Need`; prints as a table.

    Raises
    ------
    ValueError
        If the width is not above 0 and finite, or a number is unknown, has no interval, one of no width, or one that
        no number of images makes narrow.

    Examples
    --------
    >>> panel = Panel({"alignment": 1.0}, ci={"alignment": (0.9, 1.1)}, n_images=100)
    >>> plan(panel, 0.1, "alignment")["alignment"].images
    400
    """
    check_width(width)
    source = f"{next(header(panel))} · {panel.n_images:,} images"
    if not panel.ci:
        asked = f"was it measured with {option('bootstrap', 0)}, or is it of fewer than {LEAST} images?"
        if panel.sampled:
            asked = f"it was measured with {option('sample_blocks')}, whose ± is not of other images"
        why = [reason for key, reason in panel.no_interval.items() if key in METRICS and METRICS[key].interval]
        raise ValueError(f"this panel has no intervals to plan from: {(why or [asked])[0]}")
    if metrics is not None:
        needs = {key: _need(panel, key, width) for key in keys_of(metrics, also=panel.values)}
        return Plan(width, panel.n_images, source, needs)
    needs, notes = {}, []
    for key in DEFAULT:
        if panel.values.get(key) is not None:
            try:
                needs[key] = _need(panel, key, width)
            except ValueError as refused:
                notes.append(str(refused))
    if not needs:
        reasons = f" ({'; '.join(notes)})" if notes else ""
        raise ValueError(f"no recall, accuracy or gap to plan from{reasons}: name a number with {option('metric')}")
    return Plan(width, panel.n_images, source, needs, notes)


def check_width(width: float) -> None:
    """Refuse a width that cannot be wanted."""
    if not (math.isfinite(width) and width > 0):
        raise ValueError(f"{option('width')} must be above 0 and finite, got {width:g}")


def keys_of(metrics: str | Sequence[str], *, also: Mapping[str, object] | None = None) -> list[str]:
    """The named keys, each once; ValueError for one that is unknown, or of which no interval is ever made.

    `also` holds keys that a panel has beside those of the table of metrics.
    """
    keys = metrics.replace(",", " ").split() if isinstance(metrics, str) else list(metrics)
    if not keys:
        raise ValueError(f"no metric is named: leave {option('metric')} out, or name one")
    known = {**METRICS, **(also or {})}
    for key in keys:
        if key not in known:
            close = near(key, known)
            nearest = (
                f"nearest: {', '.join(close)}"
                if close
                else typed("`geomclip measure --metrics all` shows all keys", "geomclip.metrics.METRICS has all keys")
            )
            raise ValueError(f"unknown metric {key!r}; {nearest}")
        if key not in METRICS or not METRICS[key].interval:
            why = f" ({METRICS[key].why})" if key in METRICS else ""
            raise ValueError(f"{key} has no interval to plan from{why}: docs/metrics.md says how it is read")
        if key.endswith(RANKS):
            raise ValueError(
                f"{key} grows with the gallery, and its interval with it: no number of images makes it narrow; "
                "plan for a recall"
            )
    return list(dict.fromkeys(keys))


def rounded_up(images: float) -> int:
    """A number of images rounded up to two digits.

    Examples
    --------
    >>> [rounded_up(images) for images in (7.2, 99.0, 101, 1000.0, 12345)]
    [8, 99, 110, 1000, 13000]
    """
    unit = 10 ** max(0, math.floor(math.log10(max(1.0, images))) + 1 - DIGITS)
    return math.ceil(images / unit * (1 - 1e-9)) * unit  # what is round but for rounding stays


def _need(panel: Panel, key: str, width: float) -> Need:
    value, ends = panel.values.get(key), panel.ci.get(key)
    if value is None:
        reason = panel.notes.get(key) or f"it was not measured ({option('metrics', key)} does)"
        raise ValueError(f"{key} has no value here: {reason}")
    if ends is None:
        reason = panel.no_interval.get(key) or panel.notes.get(key) or "the panel does not say why"
        raise ValueError(f"{key} has no interval here: {reason}")
    at_hand = ends[1] - ends[0]
    if at_hand <= 0:
        between = f"{number(ends[0])} to {number(ends[1])}"
        raise ValueError(
            f"the interval of {key} has no width ({between}): it does not tell how many images another needs"
        )
    ratio = at_hand / width
    needed = panel.n_images * (ratio * ratio)
    if needed > MOST:
        raise ValueError(f"{option('width')} {width:g} is out of reach: {key} would need more than {MOST:.0e} images")
    reached = at_hand <= width
    images = max(LEAST, METRICS[key].least, rounded_up(needed))
    return Need(value, ends, at_hand, min(images, panel.n_images) if reached else images, reached, _notes(key, ends))


def _notes(key: str, ends: tuple[float, float]) -> tuple[str, ...]:
    metric = METRICS[key]
    notes = []
    if metric.group in ("retrieval", "calibration") or key.startswith("relative_alignment"):
        notes.append(GALLERY)
    elif key in AT_FIXED_SIZE or metric.group == "shape" or key in ("zeroshot_ece", "zeroshot_mce"):
        notes.append(GROWS)
    if ends[0] <= metric.low or ends[1] >= metric.high:
        notes.append(EDGE)
    return tuple(notes)


def plan_json(plan: Plan) -> str:
    """The plan as `plan --json` prints it."""
    return json.dumps(plan.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)


def plan_lines(plan: Plan, width: int) -> Iterator[Line]:
    """What is wanted of which set, a line a number, the rule, and where it misleads."""
    yield Line(plan.source)
    yield Line(f"wanted: 95 % intervals of width {plan.width:g}, from low end to high end")
    yield Line()
    yield Line(_columns("", "value", "width", "images"), "dim")
    for key, need in plan.needs.items():
        line = _columns(key, number(need.value), number(need.width), f"{need.images:,}")
        yield Line(line, end="  reached" if need.reached else "", end_style="green")
    yield Line()
    yield Line(indented(RULE, width), "dim")
    keys_of_note: dict[str, list[str]] = {}
    for key, need in plan.needs.items():
        for note in need.notes:
            keys_of_note.setdefault(note, []).append(key)
    yield from (Line(f"! {', '.join(keys)}: {note}") for note, keys in keys_of_note.items())
    yield from (Line(f"! {note}") for note in plan.notes)


def _columns(key: str, value: str, width: str, images: str) -> str:
    return f"{key:<{NAME}} {value:>9} {width:>9} {images:>13}"
