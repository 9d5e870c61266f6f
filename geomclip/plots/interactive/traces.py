"""What maps are drawn with: dots, links, captions for the pointer, and the facts that a map prints on itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from geomclip.embeddings.wording import worded
from geomclip.machine.extras import optional
from geomclip.plots.arcs import great_circles, linked_rows
from geomclip.plots.coloring import SCALE, Coloring
from geomclip.plots.theme import GAP, IMAGE, LINK, TEXT

if TYPE_CHECKING:
    from geomclip.projections.maps import Map

go = optional("plotly.graph_objects", "an interactive picture")

Hover = Mapping[str, Sequence[str]]
"""Lines to show at the pointer: "image" and "text" to one str a row."""
HoverText: TypeAlias = "Hover | Literal[False] | None"
"""What is shown at the pointer: these lines; nothing (False); or the labels of the map (None)."""

HOVER_WIDTH, HOVER_LINES = 48, 4
RANKS = ("image", "text", "link", "mean")
"""The order of the legend; links are drawn first on a plane."""
COLORS = {"image": IMAGE, "text": TEXT}
SYMBOLS = {"image": "circle", "text": "diamond"}
"""What tells images and texts apart where a column gives the colours."""


def plain(text: object, *, width: int = 0) -> str:
    """Text as plotly shows it literally, on one line, or wrapped and cut to HOVER_LINES lines of this width.

    Examples
    --------
    >>> plain("<b>bold</b> & more")
    '&lt;b&gt;bold&lt;/b&gt; &amp; more'
    """
    words = " ".join(str(text).split())
    if not width:
        return escape(words, quote=False)
    lines = wrap(words[: (HOVER_LINES + 1) * width], width, max_lines=HOVER_LINES, placeholder=" …")
    return "<br>".join(escape(line, quote=False) for line in lines)


def dot_size(count: int, *, flat: bool) -> float:
    """The size at which so many dots fill a picture without becoming one; a dot in space is drawn larger than its."""
    return float(np.clip(45 / max(count, 1) ** 0.4, 1.2, 5)) * (1.6 if flat else 1)


def points(map: Map, meta: str, *, hover: HoverText = None, color: Coloring | None = None) -> Any:
    """The dots of a modality: scattergl on a plane, scatter3d else; None if the map has none of it.

    Parameters
    ----------
    hover : mapping or False, optional
        Left out: the labels of the map. Of a modality that it has not the number of the row is shown; False: nothing.
    color : Coloring, optional
        Left out: a colour a modality.
    """
    rows = map.image if meta == "image" else map.text
    if rows is None or len(rows) == 0:
        return None
    total = len(map.image) + (0 if map.text is None else len(map.text))
    size = dot_size(total, flat=rows.shape[1] == 2)
    options = {
        "mode": "markers",
        "marker": {"size": size, "opacity": 1, "line": {"width": 0}, **_looks(meta, color)},
        "customdata": np.arange(len(rows), dtype=np.int32),
        "meta": meta,
        "name": f"{len(rows):,} {kind_of(map, meta)}",
        "legendgroup": meta,
        "legendrank": RANKS.index(meta),
        **_at_pointer(map, meta, hover),
    }
    return (go.Scattergl if rows.shape[1] == 2 else go.Scatter3d)(**coordinates(rows), **options)


def _looks(meta: str, color: Coloring | None) -> dict[str, Any]:
    if color is None:
        return {"color": COLORS[meta]}
    return {"color": color.colors(meta).tolist(), "symbol": SYMBOLS[meta]}


def keys(color: Coloring | None, *, flat: bool) -> list[Any]:
    """What the colours mean, for the legend alone: an entry a group, or one with a bar of colours; meta "key"."""
    if color is None:
        return []
    make = go.Scatter if flat else go.Scatter3d
    nowhere = {"x": [None], "y": [None], **({} if flat else {"z": [None]})}
    common = {**nowhere, "mode": "markers", "meta": "key", "hoverinfo": "skip", "legendrank": len(RANKS)}
    found = [
        make(
            **common, marker={"size": 8, "color": code, "symbol": "square"}, name=plain(name), legendgroup=f"key {name}"
        )
        for name, code in color.palette()
    ]
    if color.groups:
        return found
    bar = {"title": {"text": plain(color.column)}, "thickness": 12, "len": 0.6}
    scale = [[place / (len(SCALE) - 1), code] for place, code in enumerate(SCALE)]
    ends = {"color": [color.low], "cmin": color.low, "cmax": color.high, "colorscale": scale}
    name = f"{plain(color.column)}, {color.low:g} to {color.high:g}"
    return [make(**common, marker={**ends, "showscale": True, "colorbar": bar}, name=name, showlegend=False), *found]


def _at_pointer(map: Map, meta: str, hover: HoverText) -> dict[str, Any]:
    """Options of plotly for what the pointer shows of a modality."""
    if hover is False:
        return {"hoverinfo": "none"}
    lines = map.labels(meta) if hover is None else hover.get(meta)
    if lines is None:
        return {"hovertemplate": f"{meta} %{{customdata}}<extra></extra>"}
    return {"hovertext": [plain(line, width=HOVER_WIDTH) for line in lines], "hoverinfo": "text"}


def kind_of(map: Map, meta: str) -> str:
    """What the dots of a modality are: images, texts (or the words of the set for them), or classes."""
    return worded(map, "images" if meta == "image" else "texts" if map.image_of_text is not None else "classes")


def coordinates(rows: NDArray[np.floating[Any]]) -> dict[str, NDArray[np.float32]]:
    """The columns of rows (n, 2 or 3) under the names that plotly gives them, as typed arrays."""
    columns = np.ascontiguousarray(np.asarray(rows, dtype=np.float32).T)
    return dict(zip("xyz", columns, strict=False))


def links(map: Map, shown: bool | None) -> Any:
    """Texts joined to their images, as one line with gaps; on the sphere along great circles. None if there are none.

    Parameters
    ----------
    shown : bool, optional
        All, or none. Left out: an even share of at most `arcs.MOST_LINKS`, and the name says so.
    """
    if map.text is None or map.image_of_text is None or shown is False or len(map.text) == 0:
        return None
    count = len(map.text)
    rows = linked_rows(count, shown)
    drawn = len(rows)
    line = link_line(map.image[map.image_of_text[rows]], map.text[rows], round=map.kind == "sphere")
    flat = line.shape[1] == 2
    options = {
        "mode": "lines",
        "line": {"color": LINK, "width": 1 if flat else 1.5},
        "opacity": 0.4,
        "hoverinfo": "skip",
        "connectgaps": False,
        "meta": "link",
        "name": f"{count:,} pairs" if drawn == count else f"{drawn:,} of {count:,} pairs",
        "legendgroup": "link",
        "legendrank": RANKS.index("link"),
    }
    return (go.Scattergl if flat else go.Scatter3d)(**coordinates(line), **options)


def link_line(start: NDArray[np.float32], end: NDArray[np.float32], *, round: bool) -> NDArray[np.float32]:
    """Lines from each start to each end with a row of NaN after each; round: great circles."""
    if round:
        return great_circles(start, end)
    line = np.full((len(start), 3, start.shape[1]), np.nan, dtype=np.float32)
    line[:, 0], line[:, 1] = start, end
    return line.reshape(-1, start.shape[1])


def directions(map: Map) -> dict[str, NDArray[np.float32]]:
    """The drawn means, "image" and "text", as far as there are: points spread evenly over a sphere have none."""
    both = {"image": map.image_mean, "text": map.text_mean}
    return {
        meta: mean for meta, mean in both.items() if mean is not None and (map.kind != "sphere" or bool(mean.any()))
    }


def means(map: Map, *, lift: float = 1.0) -> list[Any]:
    """The mean of each modality as a diamond in its colour; on a sphere lifted to this radius."""
    found = []
    for meta, mean in directions(map).items():
        flat = len(mean) == 2
        options = {
            "mode": "markers",
            "marker": {
                "symbol": "diamond",
                "size": 13 if flat else 8,
                "color": COLORS[meta],
                "line": {"color": "#ffffff", "width": 1.5},
            },
            "meta": "mean",
            "name": f"mean of the {kind_of(map, meta)}",
            "legendgroup": "mean",
            "showlegend": False,
            "hovertemplate": f"mean of the {kind_of(map, meta)}<extra></extra>",
        }
        found.append((go.Scatter if flat else go.Scatter3d)(**coordinates(lift * mean[None]), **options))
    return found


def gap_arrow(line: NDArray[np.float32]) -> list[Any]:
    """The gap along these points (points, 2 or 3), from the mean of the images to that of the texts."""
    flat = line.shape[1] == 2
    options = {
        "mode": "lines",
        "line": {"color": GAP, "width": 3 if flat else 6},
        "meta": "mean",
        "name": "means and gap",
        "legendgroup": "mean",
        "legendrank": RANKS.index("mean"),
        "hoverinfo": "skip",
    }
    if flat:
        head = {"symbol": "arrow", "size": [0] * (len(line) - 1) + [16], "angleref": "previous", "color": GAP}
        return [go.Scatter(**coordinates(line), **{**options, "mode": "lines+markers", "marker": head})]
    return [go.Scatter3d(**coordinates(line), **options), cone(line)]


def cone(line: NDArray[np.float32]) -> Any:
    """The head of an arrow along this line (points, 3)."""
    tip, before = line[-1].astype(np.float64), line[-2].astype(np.float64)
    way = (tip - before) / max(float(np.linalg.norm(tip - before)), 1e-12)
    return go.Cone(
        **coordinates(tip[None]),
        **dict(zip("uvw", way[None].T.astype(np.float32), strict=True)),
        sizemode="absolute",
        sizeref=0.09,
        anchor="tip",
        showscale=False,
        colorscale=[[0, GAP], [1, GAP]],
        lighting={"ambient": 1, "diffuse": 0, "specular": 0},
        hoverinfo="skip",
        meta="mean",
        legendgroup="mean",
        name="gap",
    )


def facts(map: Map, title: str = "") -> dict[str, Any]:
    """An annotation with what the map keeps, line by line, below the picture."""
    lines = [plain(line) for line in map.facts()]
    if title:
        lines.insert(0, f"<b>{plain(title)}</b>")
    return {
        "text": "<br>".join(lines),
        "x": 0,
        "y": 0,
        "xref": "paper",
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "top",
        "yshift": -6,
        "showarrow": False,
        "align": "left",
    }
