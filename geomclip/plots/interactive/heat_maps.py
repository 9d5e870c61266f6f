"""Heat maps and time lines: values of cells, and values along time with stretches of it shaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from geomclip.plots.cells import Axis, Ends, grid, limits, outline, span, steps
from geomclip.plots.interactive.layouts import CHART, arrange_chart, typed
from geomclip.plots.interactive.traces import go, plain
from geomclip.plots.theme import AFTER, GAP, IMAGE, TEXT

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SERIES = (IMAGE, TEXT, GAP, AFTER, "#b8860b")
NAMED = 40
"""Names along an axis that there is room for; of more, every so many."""
NAME = 24
"""Characters of a name beside a map."""


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
) -> Figure:
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

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    ValueError
        If there is nothing to draw, or names, ends or marks do not fit the values.
    """
    cells, up, along = grid(values, rows, columns)
    low, high = limits(cells, about)
    figure = go.Figure()
    figure.add_heatmap(
        x=typed(along.edges),
        y=typed(up.edges),
        z=np.ascontiguousarray(cells, dtype=np.float32),
        customdata=_labels(up, along),
        colorscale="Cividis" if about is None else "RdBu",
        reversescale=about is not None,
        zmin=low,
        zmax=high,
        colorbar={"title": {"text": plain(of)}, "thickness": 14},
        hoverongaps=False,
        hovertemplate="%{customdata[0]}<br>%{customdata[1]}<br>%{z:.3g}<extra></extra>",
    )
    for place, (name, cell) in enumerate((marks or {}).items()):
        across, upward = outline(cell, up, along)
        figure.add_scatter(
            x=typed(across),
            y=typed(upward),
            mode="lines",
            line={"color": SERIES[(place + 1) % len(SERIES)], "width": 3, "dash": "dot" if place else "solid"},
            name=plain(name),
            cliponaxis=False,
            hoverinfo="skip",
        )
    arrange_chart(figure, title, plain(x), plain(y))
    figure.update_xaxes(showgrid=False, zeroline=False, **_ticks(along))
    figure.update_yaxes(showgrid=False, zeroline=False, **_ticks(up))
    if up.names:  # read downwards
        figure.update_yaxes(autorange="reversed")
    return figure


def _labels(up: Axis, along: Axis) -> Any:
    """What the pointer shows of each cell: (r, c, 2) texts."""
    table = np.empty((len(up.edges) - 1, len(along.edges) - 1, 2), dtype=object)
    table[..., 0] = np.array(_named(up), dtype=object)[:, None]
    table[..., 1] = np.array(_named(along), dtype=object)[None, :]
    return table.tolist()


def _named(axis: Axis) -> list[str]:
    if axis.names:
        return [plain(name, width=48) for name in axis.names]
    return [f"{low:.6g} to {high:.6g}" for low, high in zip(axis.edges[:-1], axis.edges[1:], strict=True)]


def _ticks(axis: Axis) -> dict[str, Any]:
    if not axis.names:
        return {}
    every = -(-len(axis.names) // NAMED)
    names = [plain(name if len(name) <= NAME else f"{name[: NAME - 1]}…") for name in axis.names[::every]]
    return {"tickmode": "array", "tickvals": axis.middles[::every].tolist(), "ticktext": names, "ticks": ""}


def time_line(
    edges: ArrayLike,
    values: Mapping[str, ArrayLike],
    title: str = "",
    *,
    spans: Mapping[str, tuple[float, float]] | None = None,
    x: str = "seconds",
    y: str = "",
) -> Figure:
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

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    ValueError
        If there is nothing to draw, ends and values differ in number, or a stretch has no length.
    """
    ends, lines = steps(edges, values)
    colors = {name: SERIES[place % len(SERIES)] for place, name in enumerate(lines)}
    figure = go.Figure()
    for place, (name, each) in enumerate((spans or {}).items()):
        start, end = span(name, each)
        color = colors.get(name, (TEXT, *SERIES[2:])[place % 4])
        # filled to the top of an axis of its own, beneath that of the lines, so that an entry of the legend hides it
        figure.add_scatter(
            x=[start, start, end, end],
            y=[0, 1, 1, 0],
            mode="lines",
            line={"width": 0, "color": color},
            fill="tozeroy",
            fillcolor=_faint(color),
            name=plain(name),
            legendgroup=plain(name),
            showlegend=name not in lines,
            hoverinfo="skip",
        )
    along = np.stack([ends[:-1], ends[1:]], axis=1)  # (T, 2): both ends of each step
    for name, line in lines.items():
        figure.add_scatter(
            x=typed(along.ravel()),
            y=typed(line.repeat(2)),
            customdata=along.repeat(2, axis=0).tolist(),
            yaxis="y2",
            mode="lines",
            line={"width": 2, "color": colors[name]},
            name=plain(name),
            legendgroup=plain(name),
            hovertemplate=f"%{{customdata[0]:.6g}} to %{{customdata[1]:.6g}}: %{{y:.3g}}<extra>{plain(name)}</extra>",
        )
    arrange_chart(figure, title, plain(x), "", height=CHART - 100)
    figure.update_xaxes(range=[float(ends[0]), float(ends[-1])])
    figure.update_layout(
        yaxis={"range": [0, 1], "visible": False, "fixedrange": True},
        yaxis2={
            "overlaying": "y",
            "tickmode": "auto",
            "showgrid": True,
            "title": {"text": plain(y)},
            "zeroline": False,
        },
    )
    return figure


def _faint(color: str) -> str:
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.2)"
