"""Lines of a table with their styles, as a terminal shows them or as plain text."""

from __future__ import annotations

from collections.abc import Iterable
from io import StringIO
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console


class Line(NamedTuple):
    """A line, its style, and what stands at its end in a style of its own."""

    text: str = ""
    style: str = ""
    end: str = ""
    end_style: str = ""


def show(lines: Iterable[Line], console: Console) -> None:
    """The lines on a console, which wraps those that are too long for it."""
    from rich.text import Text

    for line in lines:
        shown = Text(line.text).append(line.end, line.end_style)
        shown.rstrip()
        console.print(shown, style=line.style or None)


def plain(lines: Iterable[Line], width: int) -> str:
    """The lines as text, wrapped as a console of this width wraps them."""
    from rich.console import Console

    text = StringIO()
    show(lines, Console(file=text, width=width, highlight=False, markup=False, emoji=False))
    return text.getvalue()
