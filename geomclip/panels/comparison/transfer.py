"""Transfer: what a fine-tune did to every task that it was asked, what got worse first. Computes no number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from geomclip.embeddings.wording import worded
from geomclip.machine.words import markdown, one_line
from geomclip.metrics.evaluated import KNOWN, TASKS
from geomclip.panels.chosen import label
from geomclip.panels.comparison import short
from geomclip.panels.comparison.shown import Change, Changes
from geomclip.panels.lines import Line, markdown_row, shortened

TITLE = "Transfer: what it did to every task"
HEADS = ("task", "number", "before", "after", "change", "95 % interval", "")
WORDS = {
    "worse": "worse",
    "unclear": "no difference told",
    "": "not judged",
    "lower": "lower, not judged",
    "same": "no change",
    "better": "better",
}
"""Word of a verdict and what a card says of it, in the order of the card."""
HEADLINES = ("worse", "mixed", "collapsed", "narrowed", "widened", "no difference", "unclear", "at chance", "better")
"""Words of what a task comes to, in the order of the card."""
OF_FIRST = ("worse", "no difference", "unclear", "better")
"""Those of them that a verdict has from the numbers that count first."""
WIDTH = 24
"""Characters of the names of a task and of data, which a folder and a file may have made long."""
MOST, LINES = 5, 40
"""Rows of a task and of a card: what a sheet of A4 has room for."""
FIRST, WORST, ERRORS = 2, 3, 2
"""Primary numbers of a task, numbers that are worse, and calibration errors, whatever they did: at most."""
LEGEND = (
    "What got worse stands first; in each word the largest change in units of its interval. better, worse: beyond "
    "chance, corrected within the task."
)
NAMES = ("zeroshot", *(name.replace("_", "-") for name in TASKS))
"""Tasks that a run can be asked."""


@dataclass(frozen=True)
class Told:
    """A number of a task, as a card has it."""

    task: str
    shown: str  # the names of the tasks that have it, as long as there is room
    data: str
    key: str
    title: str
    before: str
    after: str
    change: str
    interval: str
    verdict: str  # of VERDICTS
    word: str
    order: tuple[int, float]  # by its word, then by how far it moved towards worse, in half widths of its interval
    number: tuple[Any, ...]  # which it is: of two tasks alike where both have it of the same data
    also: tuple[str, ...] = ()  # the other tasks that have it


@dataclass(frozen=True)
class Transfer:
    """A card: rows, what each task comes to in a sentence, and what is not there."""

    rows: Sequence[Told]
    summary: str
    notes: Sequence[str]


def transfer_of(comparison: Changes) -> Transfer | None:
    """The card of a comparison and the evaluations in it; None where there are none, of which nothing is said."""
    if not comparison.evaluations:
        return None
    places = {name: place for place, name in enumerate(NAMES)}
    tasks = sorted(comparison.evaluations.items(), key=lambda item: places.get(item[0], len(places)))
    parts = {_own(comparison): comparison, **dict(tasks)}
    rows = _once(sorted((row for name, each in parts.items() for row in _rows(name, each)), key=lambda row: row.order))
    left = sum(_worse(each) - sum(row.verdict == "worse" for row in _rows(name, each)) for name, each in parts.items())
    notes = [LEGEND]
    if left:
        notes.append(f"{left} more numbers of these tasks are worse: their own tables have them")
    if len(rows) > LINES:
        notes.append(f"{len(rows) - LINES} rows are left out, none of them before those that are here")
    if missing := [name for name in NAMES if name not in comparison.evaluations]:
        notes.append(f"Not asked, so nothing is known: {', '.join(missing)}.")
    return Transfer(rows[:LINES], _summary(parts), notes)


def _own(comparison: Changes) -> str:
    """What the data of the run itself are called among tasks."""
    return "classes" if comparison.after.get("task") == "classification" else "retrieval"


def _once(rows: Sequence[Told]) -> list[Told]:
    """Each number once, where its word is worst: accuracy, say, which several tasks have beside their own."""
    found: dict[tuple[Any, ...], Told] = {}
    for row in rows:
        first = found.setdefault(row.number, row)
        if first is not row:
            also = (*first.also, row.task)
            found[row.number] = replace(first, also=also, shown=_short(", ".join((first.task, *also))))
    return list(found.values())


def _rows(name: str, comparison: Changes) -> Iterator[Told]:
    of = " ".join(filter(None, (str(comparison.after.get(key) or "") for key in ("dataset", "split"))))
    shown, data = _short(name), _short(of)
    for key in _keys(comparison):
        row = comparison.rows[key]
        before, after, change, interval = short.cells(key, row)
        title = worded(comparison, label(key))
        places = (list(WORDS).index(row.verdict), _moved(key, row))
        ends = (None if value is None else round(value, 9) for value in (row.before, row.after))
        number = (key, of, comparison.n_images, *ends)
        yield Told(
            name,
            shown,
            data,
            key,
            title,
            before,
            after,
            change,
            interval,
            row.verdict,
            WORDS[row.verdict],
            places,
            number,
        )


def _keys(comparison: Changes) -> list[str]:
    """Of the numbers of a short table: those named before looking, the worst, calibration errors, what is better."""
    rows = comparison.rows
    keys = short.keys_of(comparison)
    worse = [key for key in keys if rows[key].verdict == "worse"]
    first = [key for key, row in rows.items() if row.primary]
    errors = [key for key in keys if "_ece" in key][:ERRORS]
    better = [key for key in keys if rows[key].verdict == "better"]
    worse.sort(key=lambda key: _moved(key, rows[key]))
    return list(dict.fromkeys((*first[:FIRST], *worse[:WORST], *errors, *better)))[:MOST]


def _short(name: str) -> str:
    return shortened(one_line(name), WIDTH)


def _worse(comparison: Changes) -> int:
    return sum(row.verdict == "worse" for row in comparison.rows.values())


def _moved(key: str, row: Change) -> float:
    """How far it moved towards better, below 0 towards worse, in half widths of its interval."""
    if row.difference is None or row.ci is None or not row.ci[1] > row.ci[0]:
        return 0.0
    sign = {"higher": 1.0, "lower": -1.0}.get(KNOWN[key].better if key in KNOWN else "", 0.0)
    return sign * 2 * row.difference / (row.ci[1] - row.ci[0])


def _summary(parts: Mapping[str, Changes]) -> str:
    """The tasks by what each comes to, what is worse first."""
    found: dict[tuple[int, str], list[str]] = {}
    for name, each in parts.items():
        found.setdefault(_comes_to(each), []).append(_short(name))
    return "; ".join(f"{told}: {', '.join(found[place, told])}" for place, told in sorted(found))


def _comes_to(comparison: Changes) -> tuple[int, str]:
    """What a task comes to, and its place: by its verdict, and by the numbers that this does not go by."""
    word = comparison.verdict.headline
    place = HEADLINES.index(word) if word in HEADLINES else len(HEADLINES)
    said = {"mixed": ("better", "worse")}.get(word, (word,))
    known = {row.verdict for row in comparison.rows.values()}
    others = [each for each in ("worse", "better") if each in known and each not in said]
    if not others:
        return place, word or "nothing compared"
    first = f"{word} in what counts first" if word in OF_FIRST else word or "nothing compared"
    return min(place, 1) if "worse" in others else place, f"{first}, other numbers {' and '.join(others)}"


def transfer_lines(comparison: Changes, width: int) -> Iterator[Line]:
    """The evaluations for a terminal: what each task comes to, and its rows, in the order of the card."""
    card = transfer_of(comparison)
    if card is None:
        return
    yield Line(TITLE, "bold")
    yield Line(card.summary)
    for name in dict.fromkeys(name for row in card.rows for name in (row.task, *row.also)):
        if name in comparison.evaluations:
            each = comparison.evaluations[name]
            yield Line()
            yield Line(f"{_short(name)} ({each.n_images:,} {short.units_of(each)})" if each.n_images else _short(name))
            if keys := [row.key for row in card.rows if row.task == name]:
                yield from short.rows(each, width, keys)
            for row in card.rows:
                if name in row.also:
                    yield Line(f"{row.title}: as of {_short(row.task)}", "dim")
    yield Line()
    yield from (Line(note, "dim") for note in card.notes)
    yield Line()


def transfer_markdown(comparison: Changes) -> list[str]:
    """The card as a table."""
    card = transfer_of(comparison)
    if card is None:
        return []
    rows = [
        markdown_row(map(markdown, (*_first(row), row.before, row.after, row.change, row.interval, row.word)))
        for row in card.rows
    ]
    heads = [markdown_row(HEADS), "|---|---|--:|--:|--:|--:|---|"]
    return [
        "",
        f"**{TITLE}**",
        "",
        markdown(card.summary),
        "",
        *heads,
        *rows,
        "",
        *(f"- {markdown(n)}" for n in card.notes),
    ]


def _first(row: Told) -> tuple[str, str]:
    return f"{row.shown} · {row.data}" if row.data else row.shown, row.title
