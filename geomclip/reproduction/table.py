"""The table: a line a number in 80 columns, rows under their heads, and what all comes to."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from geomclip.machine.words import one_line
from geomclip.panels.chosen import is_share
from geomclip.panels.lines import Line
from geomclip.reproduction.availability import Place
from geomclip.reproduction.rows import Number, Row
from geomclip.reproduction.verdicts import HOLDS, OFF, Outcome, counts

LABEL, VALUE, INTERVAL, DIFFERENCE, WITHIN = 20, 9, 16, 8, 6
"""Columns; with the verdict and the gaps they make 80."""
NAMES = {
    "modality_gap": "Modality gap",
    "zeroshot_acc1": "Accuracy@1",
    "uniformity_joint": "Uniformity, m2mix−ft",
    "relative_alignment_text_to_image": "Alignment, m2mix−ft",
}
STYLES = {HOLDS: "green", OFF: "bold red"}


def label(number: Number) -> str:
    """What a number is called here.

    Examples
    --------
    >>> label(Number("text_retrieval_recall@10"))
    'R@10 image → text, %'
    """
    side, _, k = number.key.partition("_retrieval_recall@")
    if k:
        return f"R@{k} {'image → text' if side == 'text' else 'text → image'}, %"
    return f"{NAMES.get(number.key, number.key)}{', %' if is_share(number.key) else ''}"


def title(row: Row) -> str:
    """What a row is of."""
    first = ", first caption" if row.captions == "first" else ""
    what = f"{row.model} fine-tuned, m2mix and ft," if row.trained else row.model
    return f"{what} on {row.data}, {row.split}{first}"


def lines(outcomes: Sequence[Outcome], width: int = 80) -> Iterator[Line]:
    """All of it; the numbers take 80 columns, what is said of rows as many as there are."""
    ran = [outcome for outcome in outcomes if outcome.found is not None]
    for outcome in ran:
        yield from _of_row(outcome)
        yield Line()
    idle = [outcome for outcome in outcomes if outcome.found is None]
    for outcome in idle:
        yield from _hanging(
            f"{outcome.row.name} ", f"{'not here' if outcome.missing else 'not run'}: {outcome.why}", width
        )
    if idle:
        yield Line()
    yield Line(summary(outcomes), "bold")


def summary(outcomes: Sequence[Outcome]) -> str:
    """How many numbers have each verdict."""
    found = counts(outcomes)
    total = sum(found.values())
    said = ", ".join(f"{count} {verdict}" for verdict, count in found.items())
    return f"{total} {'number' if total == 1 else 'numbers'}: {said}"


def _of_row(outcome: Outcome) -> Iterator[Line]:
    row, found = outcome.row, outcome.found
    assert found is not None
    kept = ", kept from before" if outcome.kept else ""
    yield Line(f"{row.name}: {title(row)}{kept}", "bold")
    heads = f"{'published':>{VALUE}} {'ours':>{VALUE}} {'95 % interval':>{INTERVAL}}"
    yield Line(f"{'':<{LABEL}} {heads} {'differs':>{DIFFERENCE}} {'within':>{WITHIN}}", "dim")
    for number in row.numbers:
        verdict = outcome.verdict(number)
        yield Line(_cells(outcome, number), end=f" {verdict}", end_style=STYLES.get(verdict, "dim"))
    yield Line(f"  published: {row.source} (docs/reproduce.md)", "dim")
    if found.limited:
        yield Line(f"  the first {found.images:,} images alone: not comparable with numbers of {row.images:,}")
    elif outcome.other_images:
        yield Line(f"  {found.images:,} images, and the published numbers are of {row.images:,}: these are other data")


def _hanging(name: str, text: str, width: int) -> Iterator[Line]:
    """A name, and text that wraps beside it; a path or address that is longer stays whole."""
    further = " " * len(name) if len(name) < 12 else "    "
    wrap = textwrap.TextWrapper(width, name, further, break_long_words=False, break_on_hyphens=False)
    yield from map(Line, wrap.wrap(one_line(text)))


def _cells(outcome: Outcome, number: Number) -> str:
    found = outcome.found
    ci = None if found is None else found.ci.get(number.key)
    published = "< 0" if number.below_zero else _written(number, number.published)
    between = " to ".join(_written(number, end) for end in ci) if ci else ""
    within = _written(number, number.tolerance) if number.published is not None else ""
    return (
        f"{label(number):<{LABEL}} {published:>{VALUE}} {_written(number, outcome.ours(number)):>{VALUE}} "
        f"{between:>{INTERVAL}} {_signed(number, outcome.difference(number)):>{DIFFERENCE}} {within:>{WITHIN}}"
    )


def _written(number: Number, value: float | None) -> str:
    if value is None:
        return ""
    return f"{100 * value:.2f}" if is_share(number.key) else f"{value:.4f}"


def _signed(number: Number, value: float | None) -> str:
    if value is None:
        return ""
    return f"{'+' if value >= 0 else '−'}{_written(number, abs(value))}"


def list_lines(places: Sequence[Place], width: int = 80) -> Iterator[Line]:
    """What would be run: what is here, what is not, how large it is, and how to get it."""
    for place in places:
        row, count = place.row, len(place.row.numbers)
        yield Line(f"{row.name}: {title(row)}, {count} {'number' if count == 1 else 'numbers'}", "bold")
        for name, text in (("weights", place.weights), ("data", place.data), ("result", place.result)):
            yield from _hanging(f"  {name:<9}", text, width)
    ready = sum(place.ready for place in places)
    yield Line(f"{ready} of {len(places)} rows have all that they need here; sources: docs/reproduce.md", "bold")
