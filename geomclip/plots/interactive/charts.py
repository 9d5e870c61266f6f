"""Pictures of numbers: how similarities are spread, calibration, the plane of alignment and uniformity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geomclip.embeddings.record import EmbeddingSet
from geomclip.panels.details import Details
from geomclip.panels.record import Panel
from geomclip.plots.interactive.layouts import arrange_chart, typed
from geomclip.plots.interactive.traces import go, plain
from geomclip.plots.records import Bins, Counts, counts_of, diagram_of
from geomclip.plots.theme import AFTER, GAP, IMAGE, TEXT

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SIMILARITY_COLORS = {"matched": GAP, "unmatched": "#7a818c", "within images": IMAGE, "within texts": TEXT}


def similarities(edges: EmbeddingSet | Details | ArrayLike, counts: Counts | None = None, title: str = "") -> Figure:
    """How cosines are spread, a curve a kind of pair, each of area 1.

    Parameters
    ----------
    edges : EmbeddingSet, Details, or array of shape (b + 1,)
        A set, or what `details_of` found of it; or the edges of bins.
    counts : mapping of name to array of shape (b,), optional
        Left out beside a set. Else in each bin:
        "matched", "unmatched", "within images", "within texts", or names of your own.
    title : str

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    ValueError
        If an array has not as many entries as there are bins, or a panel is given, which has no vectors.
    """
    edges, counts = counts_of(edges, counts)
    edges = np.asarray(edges, dtype=np.float64)
    width = np.diff(edges)
    figure = go.Figure()
    for name, values in counts.items():
        count = np.asarray(values, dtype=np.float64)
        if count.shape != width.shape:
            raise ValueError(f"{name}: {len(count)} counts for {len(width)} bins")
        total = count.sum()
        if total == 0:
            continue
        density = count / total / width
        bins = np.stack([edges[:-1], edges[1:], count], axis=1)
        figure.add_scatter(
            x=typed((edges[:-1] + edges[1:]) / 2),
            y=typed(density),
            customdata=typed(bins),
            line={"shape": "hvh", "width": 2, "color": SIMILARITY_COLORS.get(name)},
            fill="tozeroy",
            fillcolor=_faint(SIMILARITY_COLORS.get(name, AFTER)),
            name=plain(name),
            hovertemplate="%{customdata[0]:.3f} to %{customdata[1]:.3f}: %{customdata[2]:,} pairs, density %{y:.3g}",
        )
    seen = np.flatnonzero(sum(np.asarray(values, dtype=np.float64) for values in counts.values()) > 0)
    arrange_chart(figure, title, "cosine similarity", "density", hovermode="x unified")
    if len(seen):
        figure.update_xaxes(range=[float(edges[seen[0]]), float(edges[seen[-1] + 1])])
    figure.update_yaxes(rangemode="tozero")
    return figure


def reliability(
    bins: Panel | Bins,
    ece: float | None = None,
    ci: Sequence[float] | None = None,
    title: str = "",
    *,
    queries: str | None = None,
) -> Figure:
    """Accuracy against confidence with intervals and counts; on the diagonal is a calibrated model.

    Parameters
    ----------
    bins : Panel or sequence of mappings
        A panel; or as in `Panel.reliability`: low, high, count, accuracy, confidence, accuracy_low, accuracy_high.
    ece : float, optional
        Expected calibration error, printed with its interval. Left out: the panel's.
    ci : (float, float), optional
    title : str
        Left out: the direction, of a panel.
    queries : str, optional
        Which diagram of a panel: "text_retrieval" (image → text), "image_retrieval" or "zeroshot". Left out: the first.

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    ValueError
        If the panel has no such diagram.
    """
    bins, ece, ci, title = diagram_of(bins, queries, ece, ci, title)
    figure = go.Figure()
    filled = [row for row in bins if row.get("count")]
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"color": "#7a818c", "dash": "dash", "width": 1.5},
        name="calibrated", hoverinfo="skip",
    )  # fmt: skip
    columns = np.stack([_column(filled, key) for key in ("low", "high", "count")], axis=1) if filled else None
    figure.add_scatter(
        x=_column(filled, "confidence"),
        y=_column(filled, "accuracy"),
        error_y=_intervals(filled),
        customdata=columns,
        mode="lines+markers",
        line={"color": IMAGE, "width": 2},
        marker={"size": 8, "color": IMAGE},
        name="accuracy, 95 % interval",
        hovertemplate="confidence %{x:.3f}, accuracy %{y:.3f}<br>%{customdata[2]:,} queries between "
        "%{customdata[0]:.2f} and %{customdata[1]:.2f}<extra></extra>",
    )
    figure.add_bar(
        x=[(_value(row, "low") + _value(row, "high")) / 2 for row in bins],
        y=_column(bins, "count"),
        width=[_value(row, "high") - _value(row, "low") for row in bins],
        marker={"color": "#7a818c", "line": {"width": 0}},
        opacity=0.6,
        yaxis="y2",
        name="queries",
        hovertemplate="%{y:,} queries<extra></extra>",
    )
    arrange_chart(figure, title, "confidence", "accuracy", height=520)
    figure.update_layout(
        xaxis={"range": [0, 1], "anchor": "y2"},
        yaxis={"range": [0, 1.02], "domain": [0.3, 1]},
        yaxis2={"domain": [0, 0.22], "title": {"text": "queries"}, "rangemode": "tozero", "nticks": 4},
        bargap=0.04,
    )
    if ece is not None:
        interval = "" if ci is None else f" [{ci[0]:.3f}, {ci[1]:.3f}]"
        figure.add_annotation(
            text=f"ECE {ece:.3f}{interval}", x=0.02, y=0.99, xref="paper", yref="paper", xanchor="left", yanchor="top"
        )
    return figure


def _intervals(bins: Sequence[Mapping[str, float | None]]) -> dict[str, Any]:
    """The intervals of accuracy as plotly has them."""
    accuracy = _column(bins, "accuracy")
    return {
        "type": "data",
        "symmetric": False,
        "array": np.maximum(_column(bins, "accuracy_high") - accuracy, 0),
        "arrayminus": np.maximum(accuracy - _column(bins, "accuracy_low"), 0),
        "thickness": 1.5,
        "width": 4,
        "color": IMAGE,
    }


def alignment_uniformity(
    points: Mapping[str, tuple[float, float]],
    path: Sequence[tuple[int, float, float]] | None = None,
    title: str = "",
) -> Figure:
    """The plane of alignment (lower: pairs closer) and uniformity (lower: points spread wider); down left is better.

    Parameters
    ----------
    points : mapping of name to (alignment, uniformity)
    path : sequence of (step, alignment, uniformity), optional
        Of a training log, joined by a line.
    title : str

    Returns
    -------
    plotly.graph_objects.Figure
    """
    figure = go.Figure()
    if path:
        steps, alignment, uniformity = (np.asarray(column, dtype=np.float64) for column in zip(*path, strict=True))
        figure.add_scatter(
            x=typed(alignment),
            y=typed(uniformity),
            customdata=steps.astype(np.int32),
            mode="lines+markers",
            line={"color": "#7a818c", "width": 1.5},
            marker={
                "size": 7,
                "color": typed(steps),
                "colorscale": "Cividis",
                "colorbar": {"title": {"text": "step"}, "thickness": 12},
            },
            name="training",
            showlegend=False,
            hovertemplate="step %{customdata:,}<br>alignment %{x:.3f}, uniformity %{y:.3f}<extra></extra>",
        )
    for index, (name, (alignment_at, uniformity_at)) in enumerate(points.items()):
        figure.add_scatter(
            x=[alignment_at],
            y=[uniformity_at],
            mode="markers+text",
            text=[plain(name)],
            textposition="top center",
            cliponaxis=False,
            marker={"size": 13, "symbol": index % 8, "color": (IMAGE, TEXT, GAP, AFTER)[index % 4]},
            name=plain(name),
            showlegend=False,
            hovertemplate=f"{plain(name)}<br>alignment %{{x:.3f}}, uniformity %{{y:.3f}}<extra></extra>",
        )
    arrange_chart(figure, title, "alignment (lower is better)", "uniformity (lower is better)", hovermode="closest")
    return figure


def _column(rows: Sequence[Mapping[str, float | None]], key: str) -> NDArray[np.float64]:
    return np.array([_value(row, key) for row in rows], dtype=np.float64)


def _value(row: Mapping[str, float | None], key: str) -> float:
    value = row.get(key)
    return float("nan") if value is None else float(value)


def _faint(color: str) -> str:
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.12)"
