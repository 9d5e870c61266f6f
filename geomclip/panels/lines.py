"""Lines of a table with their styles, as a terminal shows them or as plain text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, NamedTuple

from geomclip.machine.words import harmless, markdown

if TYPE_CHECKING:
    from rich.console import Console


class Line(NamedTuple):
    """A line, its style, and what stands at its end in a style of its own."""

    text: str = ""
    style: str = ""
    end: str = ""
    end_style: str = ""


@dataclass(frozen=True)
class Printed:
    """A table as text, for print and the prompt, and as HTML, for a notebook."""

    text: str
    html: str

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.html


def show(lines: Iterable[Line], console: Console, *, whole: bool = False) -> None:
    """The lines on a console, which wraps those that are too long for it; `whole`: as they are, as of addresses."""
    from rich.text import Text

    for line in lines:
        shown = Text(harmless(line.text, lines=True)).append(harmless(line.end), line.end_style)
        shown.rstrip()
        console.print(shown, style=line.style or None, soft_wrap=whole)


def plain(lines: Iterable[Line], width: int) -> str:
    """The lines as text, wrapped as a console of this width wraps them."""
    from rich.console import Console

    text = StringIO()
    show(lines, Console(file=text, width=width, highlight=False, markup=False, emoji=False))
    return text.getvalue()


def shortened(text: str, length: int) -> str:
    """The text, its end replaced by … where it is longer.

    Examples
    --------
    >>> shortened("Animals & Nature", 10), shortened("flags", 10)
    ('Animals &…', 'flags')
    """
    return text if len(text) <= length else f"{text[: length - 1]}…"


def markdown_row(cells: Iterable[str]) -> str:
    """A row of a table in Markdown; a bar inside a cell parts nothing.

    Examples
    --------
    >>> print(markdown_row(["a|b", "1"]))
    | a\\|b | 1 |
    """
    return f"| {' | '.join(in_cell(cell) for cell in cells)} |"


def coded(key: str) -> str:
    """The key of a number as code in Markdown; one that is no name of a number, from a file of others, as text.

    Examples
    --------
    >>> coded("image_retrieval_recall@1"), coded("<b>")
    ('`image_retrieval_recall@1`', '&lt;b&gt;')
    """
    return f"`{key}`" if re.fullmatch(r"[\w@.+-]+", key) else markdown(key)


def in_cell(text: str) -> str:
    """Text in which a table of Markdown sees no bar."""
    return text.replace("|", "\\|")


def some(names: Sequence[str], most: int = 4, between: str = ", ") -> str:
    """The first names, and how many more there are.

    Examples
    --------
    >>> some(["a", "b"]), some(list("abcdef"))
    ('a, b', 'a, b, c, d and 2 more')
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{between.join(names[:most])}{more}"


def told_apart(names: Sequence[str], length: int | None = None) -> list[str]:
    """Names, all different, in so few characters if need be: cut at the end, else in the middle, or counted.

    Examples
    --------
    >>> told_apart(["emoji", "Animals & Nature"], 10), told_apart(["model-large-1", "model-large-2"], 8)
    (['emoji', 'Animals &…'], ['mode…e-1', 'mode…e-2'])
    >>> told_apart(["demo", "demo", "demo"], 8)
    ['demo', 'demo (2)', 'demo (3)']
    """
    if length is None:
        length = max(map(len, names), default=0) + len(" (99)")
    cut = [shortened(name, length) for name in names]
    half = length // 2
    middle = [name if len(name) <= length else f"{name[:half]}…{name[half + 1 - length :]}" for name in names]
    found: list[str] = []
    for at_end, inside in zip(cut, middle, strict=True):
        name = at_end if cut.count(at_end) == 1 else inside
        count, told = 1, name
        while told in found:
            count += 1
            told = f"{name[: length - len(f' ({count})')]} ({count})"
        found.append(told)
    return found


def in_blocks(names: Sequence[str], fit: int) -> Iterator[list[str]]:
    """The names, so many at a time, at least one."""
    for start in range(0, len(names), max(1, fit)):
        yield list(names[start : start + max(1, fit)])
