"""Summaries: what a page of a job shows of a result, in a few lines of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from geomclip.machine.words import markdown, markdown_code
from geomclip.panels import chosen
from geomclip.panels.comparison import tables as of_changes
from geomclip.panels.comparison.record import Comparison
from geomclip.panels.comparison.several import Comparisons
from geomclip.panels.gates import CONDITION, Outcome
from geomclip.panels.lines import coded, markdown_row
from geomclip.panels.record import Panel
from geomclip.panels.tables import footnotes, header, row

NOTES = 8
"""Notes that a summary has at most."""
CHANGES = ("metric", "better", "before", "after", "change", "95 % interval", "q", "")
"""Heads of a table of changes."""
WORDS = ("tripped", "not judged", "warned", "passed")
"""Outcomes of conditions, the first that a reader must see first."""


def of_panel(panel: Panel, command: str, outcomes: Sequence[Outcome] = ()) -> str:
    """The summary of a panel: what was measured, the gates, ten numbers with their intervals, notes.

    Parameters
    ----------
    panel : Panel
    command : str
        What the summary is of, its heading.
    outcomes : sequence of Outcome
        Of the conditions that it was judged by.

    Returns
    -------
    str
        Markdown that ends with an empty line, so that another summary can follow.
    """
    first, *more = header(panel)
    lines = [first, *(line.removeprefix("! ") for line in more)]
    heads = ("metric", "better", "value", "95 % interval", "null")
    cells = []
    for key in chosen.chosen(panel.values, gated(outcomes)):
        _, value, between, arrow, null = row(panel, key)
        cells.append((coded(key), arrow, value, between, null))
    return _document(command, lines, outcomes, heads, cells, list(footnotes(panel)))


def of_comparison(
    comparison: Comparison, command: str, outcomes: Sequence[Outcome] = (), *, notes: Sequence[str] = ()
) -> str:
    """The summary of a comparison: what came of it, the gates, ten changes with their intervals, notes.

    The numbers are the primary ones, those of the conditions, and the usual ones. `notes` go before its own. Otherwise
    as `of_panel`.
    """
    lines = [": ".join(each) for each in comparison.verdict.paragraphs()]
    lines += [" ".join(line.split()) for line in of_changes.header(comparison)]
    cells = change_cells(comparison, gated(outcomes))
    return _document(command, lines, outcomes, CHANGES, cells, [*notes, *comparison.notes])


def change_cells(comparison: Comparison, keys: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """A row under the heads `CHANGES` of each primary number, of these keys, and of the usual ones."""
    found: list[tuple[str, ...]] = []
    for key in chosen.chosen(comparison.rows, (*comparison.primary, *keys)):
        change = comparison.rows[key]
        _, before, after, difference, low, high, q = of_changes.cells(key, change)
        between = f"{low} to {high}" if low else ""
        found.append((coded(key), of_changes.arrow(key), before, after, difference, between, q, change.verdict))
    return found


def of_comparisons(comparisons: Comparisons, command: str, outcomes: Sequence[Outcome] = ()) -> str:
    """The summary of each run beside the first; the conditions, which are of all, stand with the first of them."""
    parts: list[str] = []
    for name, comparison in comparisons.comparisons.items():
        parts.append(of_comparison(comparison, f"{command}: {name}", () if parts else outcomes))
    return "".join(parts)


def gated(outcomes: Sequence[Outcome]) -> list[str]:
    """The keys of conditions."""
    found = (CONDITION.fullmatch(each.condition) for each in outcomes)
    return list(dict.fromkeys(match[1] for match in found if match))


def _document(
    command: str,
    lines: Sequence[str],
    outcomes: Sequence[Outcome],
    heads: tuple[str, ...],
    cells: Sequence[tuple[str, ...]],
    notes: Sequence[str],
) -> str:
    marks = {word: [each for each in outcomes if each.word == word] for word in WORDS}
    counted = ", ".join(f"{len(some)} {word}" for word, some in marks.items() if some)
    title = f"{command}: gates {counted}" if counted else command
    document = [f"### {markdown(title)}", "", *(f"- {markdown(line)}" for line in lines)]
    if outcomes:
        document += ["", *table(("gate", "", ""), (_cells(each) for word in WORDS for each in marks[word]))]
    document += ["", *table(heads, ((cell[0], *map(markdown, cell[1:])) for cell in cells))]
    if notes:
        more = len(notes) - NOTES
        document += ["", *(f"- {markdown(note)}" for note in notes[:NOTES])]
        document += [f"- {more} more notes in the result"] if more > 0 else []
    return "\n".join(document) + "\n\n"


def _cells(outcome: Outcome) -> tuple[str, str, str]:
    """A condition as code, its word, and the line without the condition, which stands before it."""
    why = outcome.line.removeprefix("condition ").removeprefix(f"{outcome.condition!r}: ")
    word = outcome.word if outcome.word == "passed" else f"**{outcome.word}**"
    return markdown_code(outcome.condition), word, markdown(why)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown, a line an element."""
    return [markdown_row(heads), f"|{'---|' * len(heads)}", *map(markdown_row, rows)]
