"""What all static pictures stand on: a sheet with title, key and facts, text that can always be set, and files.

Sheets are laid out in millimetres at the size they are printed at, and laid out once, so that a picture is the same
however often and wherever it is saved.
"""

from __future__ import annotations

import io
import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from itertools import islice
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from geomclip.machine.extras import optional
from geomclip.machine.files import atomic_bytes

# the first import that needs matplotlib says in one line where it comes from
optional("matplotlib", "a static picture")

from matplotlib import style  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.font_manager import FontProperties, findfont, get_font  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.textpath import text_to_path  # noqa: E402

P = ParamSpec("P")
R = TypeVar("R")
Rect = tuple[float, float, float, float]
"""Left, bottom, width and height as shares of the sheet."""

COLUMN, PAGE = 85.0, 180.0
"""Millimetres: a column of a journal, and its full width."""

NARROWEST = 60.0
INCH = 25.4
POINT = INCH / 72
MARGIN = 2.5
TITLE, KEY, FACT = 8.5, 7.0, 6.5
"""Font sizes in points."""

HEADING = 5.0
"""Millimetres that a heading takes."""

QUIET = "#4f5863"
MISSING = "\N{WHITE SQUARE}"
"""Stands for a character that the font has not."""

LONGEST = 2000
"""Characters of a text that are looked at; no picture has room for more."""

FORMATS: dict[str, dict[str, str | None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""What can be written, and what is left out of it so that the same picture has the same bytes."""

_STYLE = str(Path(__file__).with_name("geomclip.mplstyle"))


class Picture(Figure):
    """A matplotlib Figure that shows itself in a notebook; nothing of pyplot knows it."""

    def _repr_png_(self) -> bytes:
        return rendered(self, ".png")


@contextmanager
def in_style() -> Iterator[None]:
    """Our style over matplotlib's defaults; the reader's own settings are put back at the end."""
    with style.context(["default", _STYLE]):
        yield


def drawn(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function draw in our style."""

    @wraps(function)
    def styled(*args: P.args, **kwargs: P.kwargs) -> R:
        with in_style():
            return function(*args, **kwargs)

    return styled


def sheet(
    width: float,
    height: float,
    *,
    title: str = "",
    key: Sequence[tuple[str, Mapping[str, Any]]] = (),
    facts: Sequence[Sequence[str]] = (),
) -> tuple[Picture, Rect]:
    """A sheet with its title and key above the drawing and facts below, and where the drawing goes.

    Parameters
    ----------
    width, height : float
        Millimetres: of the sheet, and of the drawing; the sheet is as high as it must be.
    title : str
        At most three lines.
    key : sequence of (label, settings of a Line2D)
        What colours and signs mean; settings without a linestyle draw the marker alone.
    facts : sequence of columns of lines
        Small print; each line is wrapped to its column.
    """
    if not width >= NARROWEST:
        raise ValueError(f"width is in millimetres, at least {NARROWEST:g}, got {width:g}")
    room = width - 2 * MARGIN
    headline = wrapped(title, room, TITLE, lines=3, bold=True)
    rows = list(_rows(key, room))
    share = (room + 4) / max(1, len(facts)) - 4
    columns = [[line for fact in column for line in wrapped(fact, share, FACT, lines=3)] for column in facts]
    steps = TITLE * POINT * 1.3, KEY * POINT * 1.6, FACT * POINT * 1.4
    above = len(headline) * steps[0] + len(rows) * steps[1] + (1 if headline or rows else 0)
    below = max(map(len, columns), default=0) * steps[2] + (1.5 if any(columns) else 0)
    whole = above + height + below + 2 * MARGIN
    figure = Picture(figsize=(width / INCH, whole / INCH))
    top = whole - MARGIN
    for line in headline:
        figure.text(MARGIN / width, top / whole, line, size=TITLE, weight="bold", va="top")
        top -= steps[0]
    for row in rows:
        for x, label, look in row:
            _entry(figure, x / width, (top - steps[1] / 2) / whole, label, look, swatch=SWATCH / width)
        top -= steps[1]
    for place, column in enumerate(columns):
        left, y = MARGIN + place * (share + 4), MARGIN + below - 1.5
        for line in column:
            figure.text(left / width, y / whole, line, size=FACT, color=QUIET, va="top")
            y -= steps[2]
    return figure, (MARGIN / width, (MARGIN + below) / whole, room / width, height / whole)


SWATCH, GUTTER = 5.0, 4.0
"""Millimetres: of the sample in a key, and between its entries."""


def _rows(
    key: Sequence[tuple[str, Mapping[str, Any]]], room: float
) -> Iterator[list[tuple[float, str, Mapping[str, Any]]]]:
    """The entries of a key, as many a row as there is room for, each with its left end in millimetres."""
    row: list[tuple[float, str, Mapping[str, Any]]] = []
    x = 0.0
    for label, look in key:
        label = " ".join(wrapped(label, room - SWATCH - 1.5, KEY, lines=1))
        wide = SWATCH + 1.5 + width_of(label, KEY)
        if row and x + wide > room:
            yield row
            row, x = [], 0.0
        row.append((MARGIN + x, label, look))
        x += wide + GUTTER
    if row:
        yield row


def _entry(figure: Figure, x: float, y: float, label: str, look: Mapping[str, Any], *, swatch: float) -> None:
    alone, tipped = "linestyle" not in look, "marker" in look
    ends = [x + swatch / 2] if alone else [x, x + swatch * (0.75 if tipped else 1)]
    sample = Line2D(ends, [y] * len(ends), transform=figure.transFigure, **{"linestyle": "none", **look})
    sample.set_markevery([len(ends) - 1])
    figure.add_artist(sample)
    after = swatch * (1 + 1.5 / SWATCH)
    figure.text(x + after, y, label, size=KEY, va="center_baseline")


def heading(figure: Figure, x: float, y: float, name: str, *, room: float) -> None:
    """The name of one of several pictures on a sheet, centred below the point (x, y), in at most `room` mm."""
    line = " ".join(wrapped(name, room, TITLE, lines=1, bold=True))
    figure.text(x, y, line, size=TITLE, weight="bold", ha="center", va="top")


def in_columns(facts: Sequence[str], width: float) -> list[list[str]]:
    """Facts in as many columns as a sheet of this width (mm) has room for, read downwards."""
    count = max(1, min(len(facts), int(width // COLUMN)))
    size = math.ceil(len(facts) / count) or 1
    return [list(facts[start : start + size]) for start in range(0, len(facts), size)]


def finished(figure: Picture, rect: Rect | None = None) -> Picture:
    """The figure, laid out for good; with `rect` its axes share that part of the sheet, labels and all."""
    if rect is not None:
        figure.set_layout_engine("constrained", rect=rect, w_pad=0.02, h_pad=0.02, wspace=0.05, hspace=0.05)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as its file's extension says: .png (200 dots an inch), .svg or .pdf; whole or not at all.

    The same figure gives the same bytes: no date, no random ids, no fonts of the machine.

    Raises
    ------
    ValueError
        If the extension is another.
    GeomclipError
        If the file cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise ValueError(f"{path}: a picture is written as .png, .svg or .pdf, got {kind or 'no extension'}")
    atomic_bytes(path, rendered(figure, kind))
    return path


def rendered(figure: Figure, kind: str) -> bytes:
    """The bytes of a figure as .png, .svg or .pdf."""
    buffer = io.BytesIO()
    with in_style():
        figure.savefig(buffer, format=kind[1:], metadata=FORMATS[kind])
    return buffer.getvalue()


# ----------------------------------------------------------------------------------------------------------- text


def legible(text: str) -> str:
    """Text that our font can set on a line: control signs go, what has no glyph becomes a square.

    Examples
    --------
    >>> legible("a\\tlong\\n\\x00 name \\u4e2d\\ufe0f")
    'a long name □'
    """
    kept = []
    for sign in unicodedata.normalize("NFC", str(text)[:LONGEST]):
        kind = unicodedata.category(sign)
        if kind in ("Cc", "Zs", "Zl", "Zp"):
            kept.append(" ")
        elif kind in ("Mn", "Me") and kept[-1:] == [MISSING]:
            continue  # a mark on what is not drawn
        elif kind != "Cf":  # joiners, and what would turn the line round
            kept.append(sign if ord(sign) in _glyphs() else MISSING)
    return " ".join("".join(kept).split())


@cache
def _font(*, bold: bool) -> FontProperties:
    return FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")


@cache
def _glyphs() -> frozenset[int]:
    """Code points that our font has in both weights; it comes with matplotlib."""
    plain, strong = (set(get_font(findfont(_font(bold=bold))).get_charmap()) for bold in (False, True))
    return frozenset(plain & strong)


@cache
def width_of(text: str, size: float, *, bold: bool = False) -> float:
    """Millimetres that a line takes at this font size, as drawn without hinting."""
    font = _font(bold=bold).copy()
    font.set_size(size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) * POINT


def wrapped(text: str, width: float, size: float, *, lines: int, bold: bool = False) -> list[str]:
    """The text in at most `lines` lines of at most `width` mm; what is too much ends in an ellipsis.

    Words that are too long for a line are broken. No text has no lines.
    """
    found = list(islice(_lines(legible(text), width, size, bold=bold), lines + 1))
    if len(found) <= lines:
        return found
    last = found[lines - 1] + "…"
    while width_of(last, size, bold=bold) > width and len(last) > 1:
        last = last[:-2].rstrip() + "…"
    return [*found[: lines - 1], last]


def _lines(text: str, width: float, size: float, *, bold: bool) -> Iterator[str]:
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if width_of(longer, size, bold=bold) <= width:
            line = longer
            continue
        if line:
            yield line
        while width_of(word, size, bold=bold) > width and len(word) > 1:
            fits = max(1, int(len(word) * width / width_of(word, size, bold=bold)))
            while fits > 1 and width_of(word[:fits], size, bold=bold) > width:
                fits -= 1
            yield word[:fits]
            word = word[fits:]
        line = word
    if line:
        yield line
