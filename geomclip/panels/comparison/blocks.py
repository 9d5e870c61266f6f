"""Blocks: the verdict of a comparison and the table of its other data, for terminal, Markdown and notebook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from geomclip.machine.words import markdown
from geomclip.panels.comparison.answer import Answer
from geomclip.panels.lines import Line, markdown_row

TITLE = "Other data, not trained on"
HEADS = ("metric", "before", "after", "change", "95 % interval")
STYLES = {"better": "bold green", "worse": "bold red", "at chance": "dim"}
"""Of the first line, by the word of the headline; others are bold."""


def verdict_lines(answer: Answer, width: int) -> Iterator[Line]:
    """The block, its first line by its headline; nothing where nothing was compared."""
    for place, line in enumerate(answer.block(width)):
        yield Line(line, "" if place else STYLES.get(answer.headline, "bold"))


def verdict_markdown(answer: Answer) -> list[str]:
    """The block as a list, its headline first and bold."""
    first, *others = answer.paragraphs() or [("", "")]
    if not first[1]:
        return []
    return [
        f"**{first[0]}: {markdown(first[1])}**",
        "",
        *(f"- {about}: {markdown(sentence)}" for about, sentence in others),
        "",
    ]


def verdict_html(answer: Answer) -> str:
    """The block for a notebook; what is muted looks so."""
    rows = [
        f"<{'b' if place == 0 else 'span'}>{escape(f'{about}: {sentence}')}</{'b' if place == 0 else 'span'}>"
        for place, (about, sentence) in enumerate(answer.paragraphs())
    ]
    style = ' style="opacity: 0.6"' if answer.is_muted else ""
    return f"<div{style}>{'<br>'.join(rows)}</div>" if rows else ""


def other_lines(others: Mapping[str, tuple[int, Sequence[Line]]]) -> Iterator[Line]:
    """The primary numbers on other data: of each set its name and images, and the lines of its numbers."""
    if not others:
        return
    yield Line(TITLE, "bold")
    for name, (n_images, rows) in others.items():
        yield Line(f"{name} ({n_images:,} images)")
        yield from rows
    yield Line()


def other_markdown(others: Mapping[str, Sequence[Sequence[str]]]) -> list[str]:
    """The same as a table: data, and what stands under the heads."""
    if not others:
        return []
    rows = [markdown_row(map(markdown, (name, *cells))) for name, some in others.items() for cells in some]
    return ["", f"**{TITLE}**", "", f"| data | {' | '.join(HEADS)} |", "|---|---|--:|--:|--:|--:|", *rows]


def other_html(others: Mapping[str, Sequence[Sequence[str]]]) -> str:
    """The same for a notebook; every text from outside is escaped."""
    if not others:
        return ""
    heads = "".join(f"<th>{head}</th>" for head in ("data", *HEADS))
    rows = [
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in (name, *cells))}</tr>"
        for name, some in others.items()
        for cells in some
    ]
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<div><strong>{TITLE}</strong></div>{table}"
