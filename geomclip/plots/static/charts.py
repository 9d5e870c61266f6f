"""Charts of distributions: similarities, singular values, and how often items are neighbours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike, NDArray

from geomclip.embeddings.record import EmbeddingSet
from geomclip.panels.details import Details
from geomclip.plots.records import Counts, counts_of
from geomclip.plots.static.canvas import COLUMN, Picture, drawn, finished, sheet
from geomclip.plots.theme import AFTER, GAP, IMAGE, TEXT

SIMILARITIES: dict[str, dict[str, Any]] = {
    "matched": {"color": GAP, "linestyle": "-", "linewidth": 1.6},
    "unmatched": {"color": "#6b7380", "linestyle": "-"},
    "within images": {"color": IMAGE, "linestyle": (0, (4, 1.2))},
    "within texts": {"color": TEXT, "linestyle": (0, (1.2, 1.2))},
}
"""How each kind of pair looks; told apart by dashes too."""

SERIES = (IMAGE, TEXT, GAP, AFTER, "#b8860b")
"""Colours of what is neither of images nor of texts alone."""


@drawn
def similarities(
    edges: EmbeddingSet | Details | ArrayLike, counts: Counts | None = None, title: str = "", *, width: float = COLUMN
) -> Picture:
    """Densities of the cosines of matched and unmatched pairs, and of pairs within each modality.

    Parameters
    ----------
    edges : EmbeddingSet, Details, or array of shape (b + 1,)
        A set, or what `details_of` found of it; or the edges of bins, rising.
    counts : mapping of name to array of shape (b,), optional
        Left out beside a set. Else in each bin,
        As `geomclip.panels.details.Details.similarities`; a name that is not known there gets a colour
        of its own. An empty one is in the key, and not drawn.
    title : str
    width : float
        Millimetres.

    Returns
    -------
    Picture
        A matplotlib Figure.

    Raises
    ------
    ValueError
        If there is nothing to draw, bins and counts differ in number, or a panel is given, which has no vectors.

    Examples
    --------
    >>> figure = similarities([0, 0.5, 1], {"matched": [1, 3], "unmatched": [12, 0]})
    """
    edges, counts = counts_of(edges, counts)
    places = np.asarray(edges, dtype=np.float64)
    _some(counts, "similarities")
    looks = {name: _look(place, name) for place, name in enumerate(counts)}
    figure, rect = sheet(
        width,
        0.5 * COLUMN,
        title=title,
        key=[(f"{name}, {_count(counts[name])}", look) for name, look in looks.items()],
    )
    axes = figure.add_subplot()
    for name, each in counts.items():
        found = np.asarray(each, dtype=np.float64)
        if found.shape != (len(places) - 1,):
            raise ValueError(f"{name} has counts of shape {found.shape} for {len(places) - 1} bins")
        if not found.sum():
            continue
        density = found / found.sum() / np.diff(places)
        axes.stairs(density, places, baseline=0, **{**looks[name], "zorder": 3})
        axes.stairs(density, places, baseline=0, fill=True, color=looks[name]["color"], alpha=0.12, linewidth=0)
    axes.set(xlabel="cosine similarity", ylabel="density", ylim=(0, None), xlim=(places[0], places[-1]))
    axes.yaxis.set_major_locator(MaxNLocator(5, min_n_ticks=2))
    return finished(figure, rect)


def _look(place: int, name: str) -> dict[str, Any]:
    return SIMILARITIES.get(name, {"color": SERIES[place % len(SERIES)], "linestyle": "-"})


@drawn
def spectrum(values: Mapping[str, ArrayLike], title: str = "", *, width: float = COLUMN) -> Picture:
    """Singular values of each modality, largest first, as shares of their sum; the faster they fall, the fewer count.

    Parameters
    ----------
    values : mapping of name to array
        As `Details.singular_values`, say under the names "images" and "texts".
    title : str
    width : float
        Millimetres.

    Raises
    ------
    ValueError
        If there is nothing to draw.
    """
    _some(values, "singular values")
    shares = {name: np.asarray(each, dtype=np.float64) for name, each in values.items()}
    looks = {name: _modality(place, name) for place, name in enumerate(shares)}
    # what rounding leaves of a direction that is not used is no value
    used = {name: each > 1e-9 * max(float(each.max(initial=0)), 1e-300) for name, each in shares.items()}
    unused = [f"{name}: {int((~kept).sum()):,} of {len(kept):,} are 0" for name, kept in used.items() if not kept.all()]
    figure, rect = sheet(
        width, 0.5 * COLUMN, title=title, key=list(looks.items()), facts=[["; ".join(unused)]] if unused else ()
    )
    axes = figure.add_subplot()
    for name, each in shares.items():
        kept = each[used[name]]
        sign = "o" if len(kept) == 1 else ""  # one value has no line
        axes.plot(np.arange(1, len(kept) + 1), 100 * kept, **{**looks[name], "marker": sign})
    axes.set_yscale("log")
    axes.set(xlabel="singular value", ylabel="share of the sum (%)", xlim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _plain_log(axes)
    return finished(figure, rect)


def _modality(place: int, name: str) -> dict[str, Any]:
    known = {"image": (IMAGE, "-"), "text": (TEXT, (0, (4, 1.2)))}
    color, dashes = known.get(name.rstrip("s"), (SERIES[(place + 2) % len(SERIES)], "-"))
    return {"color": color, "linestyle": dashes}


@drawn
def k_occurrence(
    images: ArrayLike | None, texts: ArrayLike | None, k: int, title: str = "", *, width: float = COLUMN
) -> Picture:
    """How often items are among the k nearest of the other modality: most a few times, hubs very often, some never.

    Parameters
    ----------
    images, texts : arrays of shape (n,) and (m,), optional
        As `Details.k_occurrence`; one may be absent.
    k : int
    title : str
    width : float
        Millimetres.

    Raises
    ------
    ValueError
        If both are absent.
    """
    by_modality = {"images": images, "texts": texts}
    counts = {name: np.asarray(each, dtype=np.float64) for name, each in by_modality.items() if each is not None}
    counts = {name: each for name, each in counts.items() if len(each)}
    if not counts:
        raise ValueError("there are no counts to draw")
    edges, labels = _spans(max(float(each.max()) for each in counts.values()))
    colors = {"images": IMAGE, "texts": TEXT}
    figure, rect = sheet(
        width,
        0.5 * COLUMN,
        title=title,
        key=[(name, {"color": colors[name], "marker": "s", "markersize": 6}) for name in counts],
        facts=[[_summary(name, each) for name, each in counts.items()]],
    )
    axes = figure.add_subplot()
    wide = 0.8 / len(counts)
    for place, (name, each) in enumerate(counts.items()):
        share = 100 * np.histogram(each, [*edges[:-1], math.inf])[0] / len(each)
        at = np.arange(len(labels)) + (place - (len(counts) - 1) / 2) * wide
        axes.bar(at, share, wide, color=colors[name], hatch="" if name == "images" else "////", edgecolor="white")
    axes.set_xticks(np.arange(len(labels)), labels)
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=False, axis="x")
    axes.set(xlabel=f"times among the {k} nearest", ylabel="share of items (%)")
    return finished(figure, rect)


MOST_SPANS = 8


def _spans(top: float) -> tuple[list[float], list[str]]:
    """Edges and names of spans of counts up to `top`: never, up to 1, then each as many times longer as there is room.

    Ties share a place, so that a count may lie between whole numbers.
    """
    growth = 2
    while 2 + math.log(max(top, 1.0) / 1.5, growth) > MOST_SPANS:
        growth *= 2
    edges, first = [0.0, 1e-9, 1.5], 2
    labels = ["never", "1"]
    while edges[-1] <= top:
        after = growth * (1 if first == 2 and growth > 2 else first)
        labels.append(f"{first}–{after - 1}" if after <= 100 else f"{first:,}+")
        edges.append(after - 0.5)
        first = after
    return edges, labels


def _summary(name: str, counts: NDArray[np.float64]) -> str:
    never = 100 * float((counts == 0).mean())
    return f"{name}: mean {counts.mean():.3g}, most {counts.max():,.0f}, never {never:.3g} %"


def _some(values: Mapping[str, ArrayLike], what: str) -> None:
    if not any(np.asarray(each).size for each in values.values()):
        raise ValueError(f"there are no {what} to draw")


def _count(counts: ArrayLike) -> str:
    return f"{int(np.asarray(counts).sum()):,}"


def _plain_log(axes: Axes) -> None:
    """Ticks of a logarithmic axis in plain numbers: 0.01, 0.1, 1."""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.10f}".rstrip("0").rstrip(".")))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
