"""How maps and the facts below them share a page: beside each other, and on narrow pages one below the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geomclip.plots.interactive.traces import plain
from geomclip.plots.theme import template

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from geomclip.projections.maps import Map

LINE_HEIGHT = 1.3
"""Of plotly's text, in font sizes."""
GUTTER = 0.02
LEGEND, TITLE = 34, 34
"""Pixels above the maps."""
CHART = 420
"""Height of a picture of numbers in pixels."""
PLACES = {
    1: ((0, 320, False), (480, 440, False), (760, 620, True), (1000, 720, True)),
    2: ((0, 320, False), (480, 440, False), (760, 350, True), (1000, 460, True), (1300, 600, True)),
}
"""For one map and for two: from this width of the page on, the height of a map, and whether things are beside each
other. A sphere fills its height, so no map is narrower than high."""
NOTEBOOK = 2
"""Which of them holds where no script chooses: the output of a notebook is 760 to 1,000 pixels wide."""


def arrange(
    figure: Figure,
    title: str,
    *,
    annotations: list[dict[str, Any]],
    domains: Sequence[tuple[str, str]],
    linked: Sequence[str] = (),
) -> None:
    """Put one or two maps and their facts in their places, and note the places for pages of other widths.

    `layout.meta` tells the script of a page: "places" are changes of the layout with the width from which on they
    hold, "legend" the pixels that it may take back where it lists the entries itself, "linked" the scenes that turn
    together.

    Parameters
    ----------
    figure : Figure
        Changed.
    title : str
    annotations : list of dict
        The facts of each map.
    domains : sequence of (str, str)
        Where plotly keeps the place of each map, across and upright.
    linked : sequence of str
    """
    lines = [annotation["text"].count("<br>") + 1 for annotation in annotations]
    places = [
        [width, placement(domains, lines, height=height, beside=beside, titled=bool(title))]
        for width, height, beside in PLACES[len(domains)]
    ]
    figure.update_layout(
        template=template("light"),
        title={"text": plain(title)} if title else None,
        annotations=annotations,
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "itemsizing": "constant"},
    )
    place(figure, places, chosen=NOTEBOOK, linked=linked)


def place(figure: Figure, places: list[list[Any]], *, chosen: int = -1, linked: Sequence[str] = ()) -> None:
    """Note the places, [width, changes] each, for the script of a page, and make the chosen changes."""
    figure.update_layout(meta={"places": places, "legend": LEGEND, "linked": list(linked)})
    for path, value in places[chosen][1].items():
        figure.layout[path] = value


def placement(
    domains: Sequence[tuple[str, str]], lines: Sequence[int], *, height: int, beside: bool, titled: bool
) -> dict[str, Any]:
    """Changes of the layout, path to value, that put maps and blocks of so many lines in their places.

    A block a map: each below its own. Two blocks of one map (a morph's): beside each other, or one below the other.
    """
    font = 12 if beside else 11
    blocks = [round(count * font * LINE_HEIGHT) + 16 for count in lines]
    stacked = not beside and len(domains) == 2
    inner = 2 * height + blocks[0] if stacked else height
    above = LEGEND + (TITLE if titled else 0)
    below = blocks[-1] if stacked else max(blocks) if beside else sum(blocks)
    halves = [[0.0, 0.5 - GUTTER / 2], [0.5 + GUTTER / 2, 1.0]]
    upright = [[1 - height / inner, 1.0], [0.0, height / inner]]  # both all of it where they are not stacked
    changes: dict[str, Any] = {"height": above + inner + below}
    changes |= {"margin.l": 8, "margin.r": 8, "margin.t": above, "margin.b": below}
    if len(domains) == 2:
        for index, (x, y) in enumerate(domains):
            changes |= {x: halves[index] if beside else [0.0, 1.0], y: upright[index]}
    for index in range(len(blocks)):
        lower = 0 if beside or stacked else sum(blocks[:index])
        changes |= {
            f"annotations[{index}].x": halves[index][0] if beside else 0.0,
            f"annotations[{index}].y": upright[index][0] if stacked else 0.0,
            f"annotations[{index}].yshift": -8 - lower,
            f"annotations[{index}].font.size": font,
        }
    return changes


def arrange_chart(
    figure: Figure, title: str, x: str, y: str, *, height: int = CHART, hovermode: str | bool = "closest"
) -> None:
    """Axes, legend and heights that all pictures of numbers share."""
    above = LEGEND + 12 + TITLE * bool(title)
    figure.update_layout(
        template=template("light"),
        title={"text": plain(title)} if title else None,
        height=height,
        margin={"l": 60, "r": 16, "t": above, "b": 56},
        xaxis={"title": {"text": x}},
        yaxis={"title": {"text": y}},
        hovermode=hovermode,
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
    )
    place(figure, [[width, {"height": tall, "margin.t": above}] for width, tall in ((0, height - 40), (640, height))])


def typed(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Numbers as plotly packs them best, half the size of its default."""
    return np.ascontiguousarray(values, dtype=np.float32)


def check_kind(map: Map, kind: str) -> None:
    """Refuse a map that is not of this kind."""
    if map.kind != kind:
        raise ValueError(f"a map of kind {kind!r} is needed, got {map.kind!r} ({map.method})")


def check_same_rows(before: Map, after: Map) -> None:
    """Refuse two maps that are not of the same items."""
    shapes = [(len(map.image), None if map.text is None else len(map.text)) for map in (before, after)]
    if shapes[0] != shapes[1]:
        counts = [f"{images} images and {texts or 'no'} texts" for images, texts in shapes]
        raise ValueError(f"before has {counts[0]}, after {counts[1]}: the rows of both must be the same items")
