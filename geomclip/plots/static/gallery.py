"""Galleries: pictures with their numbers and texts, for the best and worst pairs and for hubs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patches import Rectangle

from geomclip.plots.static.canvas import (
    FACT,
    INCH,
    MARGIN,
    PAGE,
    POINT,
    QUIET,
    Picture,
    drawn,
    finished,
    sheet,
    wrapped,
)

if TYPE_CHECKING:
    from PIL.Image import Image

TILE, BETWEEN = 27.0, 3.0
"""Millimetres: the least side of a picture, and between two."""

NUMBER_LINES, TEXT_LINES = 2, 3
ROOM = 1.2
"""Millimetres between a picture and what is said of it."""

DOTS = 12
"""Pixels a millimetre that a picture is brought to: 300 an inch."""


@drawn
def gallery(
    pictures: Sequence[Image | None] | None,
    texts: Sequence[str],
    numbers: Sequence[str] = (),
    title: str = "",
    *,
    credit: str = "",
    width: float = PAGE,
) -> Picture:
    """Tiles of a picture, its number and its text, as many a row as there is room for.

    Parameters
    ----------
    pictures : sequence of (PIL image or None), optional
        Shown whole; None is an empty tile. Left out: texts alone.
    texts : sequence of str
        At most three lines are shown, the rest is an ellipsis.
    numbers : sequence of str
        What is said first of each tile, at most two lines: "rank 12, cosine 0.21".
    title : str
    credit : str
        Who made the pictures, printed below.
    width : float
        Millimetres.

    Returns
    -------
    Picture
        A matplotlib Figure.

    Raises
    ------
    ValueError
        If there is no tile, or pictures, texts and numbers differ in number.
    """
    count = len(texts)
    for name, values in (("pictures", pictures), ("numbers", numbers)):
        if values and len(values) != count:
            raise ValueError(f"{len(values)} {name} for {count} captions")
    if not count:
        raise ValueError("there is nothing to show")
    columns = min(count, int((width - 2 * MARGIN + BETWEEN) // (TILE + BETWEEN)))
    side = min((width - 2 * MARGIN + BETWEEN) / columns - BETWEEN, 1.5 * TILE)
    line = FACT * POINT * 1.35
    above = side if pictures is not None else 0.0
    lines = [
        [(part, "bold", "#1b1f24") for part in wrapped(number, side, FACT, lines=NUMBER_LINES, bold=True)]
        + [(part, "normal", QUIET) for part in wrapped(text, side, FACT, lines=TEXT_LINES)]
        for number, text in zip(numbers or [""] * count, texts, strict=True)
    ]
    rows = [range(start, min(start + columns, count)) for start in range(0, count, columns)]
    heights = [above + ROOM + line * max(len(lines[i]) for i in row) + BETWEEN for row in rows]
    figure, (_, bottom, _, share) = sheet(width, sum(heights), title=title, facts=[[credit]] if credit else ())
    whole = figure.get_figheight() * INCH
    y = (bottom + share) * whole
    for row, height in zip(rows, heights, strict=True):
        for place, i in enumerate(row):
            x = MARGIN + place * (side + BETWEEN)
            if pictures is not None:
                _tile(figure, (x / width, (y - side) / whole, side / width, side / whole), pictures[i], side)
            below = y - above - ROOM
            for part, weight, color in lines[i]:
                figure.text(x / width, below / whole, part, size=FACT, weight=weight, color=color, va="top")
                below -= line
        y -= height
    return finished(figure)


def _tile(figure: Picture, place: tuple[float, float, float, float], picture: Image | None, side: float) -> None:
    """A picture, whole, on a square of the sheet; an empty square where there is none."""
    axes = figure.add_axes(place)
    axes.axis("off")
    if picture is None:
        axes.add_patch(Rectangle((0, 0), 1, 1, facecolor="#f2f4f7", edgecolor="#d3d8de", transform=axes.transAxes))
        axes.text(0.5, 0.5, "no picture", transform=axes.transAxes, ha="center", va="center", size=FACT, color=QUIET)
        return
    small = picture.convert("RGB")
    most = math.ceil(side * DOTS)
    if max(small.size) > most:
        small.thumbnail((most, most))
    axes.imshow(np.asarray(small), interpolation="antialiased")
    axes.set_anchor("S")
