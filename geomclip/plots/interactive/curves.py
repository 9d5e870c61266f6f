"""Pictures of curves: singular values, what closing the gap does, how often items are neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from geomclip.panels.directions import DIRECTIONS
from geomclip.panels.record import Panel
from geomclip.plots.interactive.layouts import LEGEND, TITLE, arrange_chart, place, typed
from geomclip.plots.interactive.traces import go, plain
from geomclip.plots.records import Curve, curves_of
from geomclip.plots.theme import AFTER, GAP, IMAGE, TEXT

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

CURVES = {
    "gap": {"modality_gap": ("modality gap", GAP)},
    "Recall@1": {
        f"{prefix}_recall@1": (f"Recall@1, {direction}", {"text_retrieval": IMAGE, "image_retrieval": TEXT}[prefix])
        for prefix, direction in DIRECTIONS.items()
    },
    "uniformity": {"uniformity_joint": ("uniformity", AFTER)},
}
"""Panels of the gap's curves, from top to bottom: key, how it is called, colour."""
ROW = 170
"""Height of a panel in pixels."""


def spectrum(values: Mapping[str, ArrayLike], title: str = "") -> Figure:
    """Singular values in order, on logarithmic axes: how many directions a modality uses.

    Parameters
    ----------
    values : mapping of name to array
        "images", "texts", or names that begin so: largest first.
    title : str

    Returns
    -------
    plotly.graph_objects.Figure
    """
    figure = go.Figure()
    before: list[str] = []  # colours that were there: the second side of a modality is dashed
    for name, each in values.items():
        color = IMAGE if name.startswith("image") else TEXT if name.startswith("text") else AFTER
        found = np.asarray(each, dtype=np.float64)
        kept = found[found > 0]  # a logarithmic axis has no place for the others
        figure.add_scatter(
            x=np.arange(1, len(kept) + 1, dtype=np.int32),
            y=typed(kept),
            mode="lines",
            line={"width": 2.5, "color": color, "dash": "dash" if color in before else "solid"},
            name=plain(name),
            hovertemplate="%{y:.3g}",
        )
        before.append(color)
    arrange_chart(figure, title, "rank of the singular value", "share of their sum", hovermode="x unified")
    figure.update_xaxes(type="log", dtick=1)
    figure.update_yaxes(type="log", dtick=1, exponentformat="power")
    return figure


def k_occurrence(images: ArrayLike | None, texts: ArrayLike | None, k: int, title: str = "") -> Figure:
    """How often items are among the k nearest of the other modality: a tail far to the right of the mean are hubs.

    Parameters
    ----------
    images, texts : array of shape (n,) or (m,), optional
        How often each image, each text is a neighbour.
    k : int
    title : str

    Returns
    -------
    plotly.graph_objects.Figure
        Share of the items that are neighbours at least so often, both axes logarithmic.
    """
    figure = go.Figure()
    for name, counts, color, dash in (("images", images, IMAGE, "solid"), ("texts", texts, TEXT, "dash")):
        if counts is None or np.size(counts) == 0:
            continue
        found = np.sort(np.asarray(counts, dtype=np.float64))
        at = np.unique(found[found > 0])
        share = 1 - np.searchsorted(found, at) / len(found)
        mean, never = found.mean(), float((found == 0).mean())
        figure.add_scatter(
            x=typed(at),
            y=typed(share),
            mode="lines",
            line={"shape": "vh", "width": 2.5, "color": color},
            name=f"{name}: mean {mean:.1f}, most {found[-1]:,.0f}, never {never:.0%}",
            hovertemplate=f"%{{y:.2%}} of the {name} at least %{{x:,}} times<extra></extra>",
        )
        figure.add_vline(x=float(mean), line={"color": color, "width": 1.5, "dash": dash if dash != "solid" else "dot"})
    arrange_chart(
        figure, title, f"times among the {k} nearest<br>(upright lines: means)", "share of items, at least so often"
    )
    figure.update_xaxes(type="log", dtick=1)
    figure.update_yaxes(type="log", dtick=1, tickformat=".2~%")
    return figure


def gap_curves(shift: Panel | Curve | None, ablation: Curve | None = None, title: str = "") -> Figure:
    """What closing the gap does to gap, recall and uniformity: both clouds shifted together, or dimensions removed.

    Parameters
    ----------
    shift, ablation : mapping, optional
        A panel in place of both; or `Panel.curves["gap_shift_curve"]` and `["gap_ablation_curve"]`; one may be absent.
    title : str

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    ValueError
        If both are absent.
    """
    shift, ablation = curves_of(shift, ablation)
    curves = ((shift, "shift", "shift, in units of the gap"), (ablation, "removed", "dimensions removed"))
    columns = [each for each in curves if each[0]]
    if not columns:
        raise ValueError("give shift or ablation: there is no curve to draw")
    figure = go.Figure()
    arrange_chart(figure, title, "", "", hovermode="x unified")
    for column, (curve, key, label) in enumerate(columns):
        assert curve is not None
        for row, (unit, keys) in enumerate(CURVES.items()):
            number = len(CURVES) * column + row + 1
            name = "" if number == 1 else str(number)
            for value, (way, color) in keys.items():
                figure.add_scatter(
                    x=[f"{at:g}" for at in np.asarray(curve[key], dtype=np.float64)],
                    y=typed(np.asarray(curve[value], dtype=np.float64)),
                    mode="lines+markers",
                    line={"color": color, "width": 2},
                    marker={"size": 6},
                    name=way,
                    legendgroup=value,
                    showlegend=column == 0,
                    xaxis=f"x{name}",
                    yaxis=f"y{name}",
                    hovertemplate="%{y:.3f}",
                )
            last = row == len(CURVES) - 1
            axis = {"type": "category", "anchor": f"y{name}", "showticklabels": last, "title": label if last else ""}
            figure.update_layout({f"xaxis{name}": axis, f"yaxis{name}": {"anchor": f"x{name}", "title": unit}})
    wide, narrow = (_gap_places(len(columns), titled=bool(title), narrow=narrow) for narrow in (False, True))
    place(figure, [[0, narrow], [700, wide]])
    return figure


def _gap_places(columns: int, *, titled: bool, narrow: bool) -> dict[str, Any]:
    """Where the panels of the gap's curves are: columns beside each other, on narrow pages one below the other."""
    above = LEGEND + 12 + TITLE * titled
    height = ROW * len(CURVES) * (columns if narrow else 1) + above + 60
    changes: dict[str, Any] = {"height": height, "margin.t": above}
    rows = len(CURVES)
    stacks = columns if narrow else 1
    tall = 1 / stacks
    for column in range(columns):
        floor = 1 - tall * (column + 1) if narrow else 0.0
        room = tall - (0.09 if narrow and column < stacks - 1 else 0)
        left, right = (0.0, 1.0) if narrow or columns == 1 else ((0.0, 0.46), (0.54, 1.0))[column]
        for row in range(rows):
            number = rows * column + row + 1
            name = "" if number == 1 else str(number)
            top = floor + tall - row * room / rows
            changes[f"xaxis{name}.domain"] = [left, right]
            changes[f"yaxis{name}.domain"] = [max(0.0, top - 0.86 * room / rows), top]
    return changes
