"""Heat maps and time lines: values of cells, and values along time with stretches of it shaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from geomclip.plots.cells import Axis, Ends, grid, limits, outline, span, steps
from geomclip.plots.static.canvas import COLUMN, FACT, Picture, drawn, finished, legible, sheet, wrapped
from geomclip.plots.static.charts import SERIES
from geomclip.plots.theme import TEXT

STEP = 3.4
"""Millimetres from a name to the next; where there is less room, every so many is named."""
NAME = 24.0
"""Millimetres of a name beside a map."""
HATCHES = ("", "////", "\\\\\\\\", "....")


@drawn
def heat_map(
    values: ArrayLike,
    title: str = "",
    *,
    rows: Ends,
    columns: Ends,
    x: str = "",
    y: str = "",
    of: str = "",
    marks: Mapping[str, tuple[int, int]] | None = None,
    about: float | None = None,
    width: float = COLUMN,
) -> Picture:
    """A value a cell as a colour: scores of moments by start and end, or interactions of words and moments.

    Parameters
    ----------
    values : array of shape (r, c)
        What is not finite is left blank.
    title : str
    rows, columns : sequence of str, or array of numbers
        Names of the cells along each axis, or where they end: r + 1 and c + 1 numbers, rising.
    x, y, of : str
        What runs along, what runs up, and what the colours are of.
    marks : mapping of name to (row, column), optional
        Cells with an outline, as the true moment.
    about : float, optional
        The value of the middle colour, as 0 of interactions; left out: colours run from the lowest to the highest.
    width : float
        Millimetres.

    Returns
    -------
    Picture
        A matplotlib Figure.

    Raises
    ------
    ValueError
        If there is nothing to draw, or names, ends or marks do not fit the values.

    Examples
    --------
    >>> scores = [[0.1, 0.9], [float("nan"), 0.2]]
    >>> figure = heat_map(scores, rows=[0, 5, 10], columns=[0, 5, 10], x="end (s)", y="start (s)")
    """
    cells, up, along = grid(values, rows, columns)
    low, high = limits(cells, about)
    looks: dict[str, dict[str, Any]] = {
        name: {"color": SERIES[(place + 1) % len(SERIES)], "linestyle": (0, (2, 1)) if place else "-", "linewidth": 1.8}
        for place, name in enumerate(marks or {})
    }
    beside, below = (NAME + 8 if axis.names else 14 for axis in (up, along))
    tall = max(0.75 * width, min(1.5 * width, below + STEP * len(up.names)))
    figure, rect = sheet(width, tall, title=title, key=list(looks.items()))
    axes = figure.add_subplot()
    colors = "cividis" if about is None else "RdBu_r"
    mesh = axes.pcolormesh(along.edges, up.edges, cells, cmap=colors, vmin=low, vmax=high, rasterized=cells.size > 4096)
    for name, cell in (marks or {}).items():
        axes.plot(*outline(cell, up, along), **looks[name], clip_on=False, zorder=4)
    _ticks(axes, "x", along, width - beside - 22)
    _ticks(axes, "y", up, tall - below)
    if up.names:  # read downwards
        axes.invert_yaxis()
    axes.grid(visible=False)
    axes.set(xlabel=legible(x), ylabel=legible(y))
    bar = figure.colorbar(mesh, ax=axes, label=legible(of), aspect=28, pad=0.02, use_gridspec=False)
    bar.outline.set_visible(False)
    return finished(figure, rect)


def _ticks(axes: Axes, side: Literal["x", "y"], axis: Axis, room: float) -> None:
    """Names in the middles of their cells, upright below the map; numbers as matplotlib has them."""
    each = axes.xaxis if side == "x" else axes.yaxis
    if not axis.names:
        each.set_major_locator(MaxNLocator(6))
        return
    every = math.ceil(len(axis.names) * STEP / room)
    names = [" ".join(wrapped(name, NAME, FACT, lines=1)) for name in axis.names[::every]]
    each.set_ticks(axis.middles[::every], names, rotation=90 if side == "x" else 0, fontsize=FACT)
    axes.tick_params(axis=side, length=0)


@drawn
def time_line(
    edges: ArrayLike,
    values: Mapping[str, ArrayLike],
    title: str = "",
    *,
    spans: Mapping[str, tuple[float, float]] | None = None,
    x: str = "seconds",
    y: str = "",
    width: float = COLUMN,
) -> Picture:
    """Values along time, a step a clip, with stretches of time shaded: scores of clips, or distances from a moment.

    Parameters
    ----------
    edges : array of shape (T + 1,)
        When the clips end, rising.
    values : mapping of name to array of shape (T,)
        What is not finite (no path leads there) leaves a gap.
    title : str
    spans : mapping of name to (start, end), optional
        Stretches to shade, as the moment that is meant; one named as a line has its colour.
    x, y : str
    width : float
        Millimetres.

    Raises
    ------
    ValueError
        If there is nothing to draw, ends and values differ in number, or a stretch has no length.

    Examples
    --------
    >>> figure = time_line([0, 5, 10], {"a dog": [0.2, 0.3]}, spans={"found": (5, 10)}, y="cosine")
    """
    ends, lines = steps(edges, values)
    stretches = {name: span(name, each) for name, each in (spans or {}).items()}
    lines_key: list[tuple[str, dict[str, Any]]] = [
        (name, {"color": SERIES[place % len(SERIES)], "linestyle": "-"}) for place, name in enumerate(lines)
    ]
    of_lines = dict(lines_key)
    shades = {
        name: {"color": of_lines[name]["color"]} if name in lines else _shade(place)
        for place, name in enumerate(stretches)
    }
    key: list[tuple[str, dict[str, Any]]] = [
        *lines_key,
        *(
            (each, {"color": look["color"], "marker": "s", "alpha": 0.5})
            for each, look in shades.items()
            if each not in lines
        ),
    ]
    figure, rect = sheet(width, 0.4 * width, title=title, key=key)
    axes = figure.add_subplot()
    for name, (start, end) in stretches.items():
        axes.axvspan(start, end, alpha=0.22, linewidth=0, zorder=1, **shades[name])
    for (name, line), (_, look) in zip(lines.items(), lines_key, strict=True):
        axes.stairs(line, ends, baseline=None, **look, linewidth=1.4, zorder=3, label=name)
    axes.set(xlabel=legible(x), ylabel=legible(y), xlim=(ends[0], ends[-1]))
    axes.yaxis.set_major_locator(MaxNLocator(5, min_n_ticks=2))
    return finished(figure, rect)


def _shade(place: int) -> dict[str, Any]:
    return {"color": (TEXT, *SERIES[2:])[place % 4], "hatch": HATCHES[place % len(HATCHES)]}
