"""Charts of a panel: calibration, the plane of alignment and uniformity, and what closing the gap does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from geomclip.panels.directions import DIRECTIONS
from geomclip.panels.record import Panel
from geomclip.plots.records import Bins, Curve, curves_of, diagram_of
from geomclip.plots.static.canvas import COLUMN, QUIET, Picture, drawn, finished, sheet
from geomclip.plots.theme import AFTER, GAP, IMAGE, TEXT

SERIES = (IMAGE, TEXT, GAP, AFTER, "#b8860b", "#3a9bd9", "#1b1f24")
SIGNS = "oDs^vPX"
"""Of named points: 7 colours with a sign each, then the same colours with other signs."""


OVER, UNDER = "#c6302b", "#3a9bd9"
"""More sure than right, and less."""


@drawn
def reliability(
    bins: Panel | Bins,
    ece: float | None = None,
    ci: Sequence[float] | None = None,
    title: str = "",
    *,
    queries: str | None = None,
    width: float = COLUMN,
) -> Picture:
    """The reliability diagram: accuracy against confidence with 95 % intervals, and how many queries each bin has.

    Parameters
    ----------
    bins : Panel or sequence of mappings
        A panel; or one direction of `Panel.reliability`: low, high, count, accuracy, confidence, accuracy_low,
        accuracy_high.
    ece : float, optional
        Expected calibration error, printed. Left out: the panel's.
    ci : (low, high), optional
        Its interval.
    title : str
        Left out: the direction, of a panel.
    queries : str, optional
        Which diagram of a panel: "text_retrieval" (image → text), "image_retrieval" or "zeroshot". Left out: the first.
    width : float
        Millimetres.

    Raises
    ------
    ValueError
        If no bin holds a query, or the panel has no such diagram.
    """
    bins, ece, ci, title = diagram_of(bins, queries, ece, ci, title)
    filled = [one for one in bins if one["count"]]
    if not filled:
        raise ValueError("no bin of the reliability diagram holds a query")
    total = sum(int(one["count"] or 0) for one in filled)
    error = "" if ece is None else f"ECE {ece:.3f}"
    error += f" [{ci[0]:.3f}, {ci[1]:.3f}], " if error and ci is not None else ", " if error else ""
    figure, rect = sheet(
        width,
        0.95 * COLUMN,
        title=title,
        key=[
            ("accuracy of a bin, 95 % interval", {"color": IMAGE, "linestyle": "-", "marker": "o", "linewidth": 0.9}),
            ("confidence = accuracy", {"color": QUIET, "linestyle": (0, (3, 2)), "linewidth": 0.9}),
        ],
        facts=[[f"{error}{_queries(total)} in {len(bins)} bins; red: more sure than right"]],
    )
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _against_confidence(above, filled)
    starts = [float(one["low"] or 0) for one in bins]
    widths = [float(one["high"] or 0) - start for one, start in zip(bins, starts, strict=True)]
    sizes = [float(one["count"] or 0) for one in bins]
    below.bar(starts, sizes, widths, align="edge", color=IMAGE, alpha=0.6, edgecolor="white")
    below.set(xlabel="confidence", ylabel="queries")
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True, min_n_ticks=2))
    below.yaxis.set_major_formatter(FuncFormatter(_thousands))
    return finished(figure, rect)


def _against_confidence(axes: Axes, bins: Sequence[Mapping[str, float | None]]) -> None:
    """Accuracy of each bin with its interval, the diagonal, and what lies between them: red where overconfident."""
    sure, right, low, high = (
        np.array([one[name] for one in bins], dtype=np.float64)
        for name in ("confidence", "accuracy", "accuracy_low", "accuracy_high")
    )
    axes.plot([0, 1], [0, 1], color=QUIET, linestyle=(0, (3, 2)), linewidth=0.9)
    colors = np.where(sure > right, OVER, UNDER).tolist()
    axes.vlines(sure, sure, right, colors=colors, linewidth=3.5, alpha=0.3)
    reach = np.stack([right - low, high - right]).clip(0)
    axes.errorbar(sure, right, yerr=reach, fmt="o-", color=IMAGE, linewidth=0.9, elinewidth=0.7, capsize=1.5)
    axes.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.03))


@drawn
def alignment_uniformity(
    points: Mapping[str, tuple[float, float]],
    path: Sequence[tuple[int, float, float]] | None = None,
    title: str = "",
    *,
    width: float = COLUMN,
) -> Picture:
    """Where models lie on the plane of alignment and uniformity (lower is better of each), and a training's path.

    Parameters
    ----------
    points : mapping of name to (alignment, uniformity)
    path : sequence of (step, alignment, uniformity), optional
        From the `probe` lines of a training log.
    title : str
    width : float
        Millimetres.

    Raises
    ------
    ValueError
        If there is neither a point nor a path.
    """
    steps = sorted((int(step), float(a), float(u)) for step, a, u in path or ())
    steps = [each for each in steps if all(map(math.isfinite, each))]
    if not points and not steps:
        raise ValueError("there is neither a point nor a path to draw")
    looks: list[dict[str, Any]] = [
        {"color": SERIES[i % 7], "marker": SIGNS[(i + i // 7) % 7]} for i in range(len(points))
    ]
    key: list[tuple[str, Mapping[str, Any]]] = list(zip(points, looks, strict=True))
    if steps:
        name = f"training, step {steps[0][0]:,} to {steps[-1][0]:,}"
        key.append((name, {"color": QUIET, "linestyle": "-", "marker": ">", "linewidth": 0.9}))
    figure, rect = sheet(width, 0.75 * COLUMN, title=title, key=key, facts=[["better: down and to the left"]])
    axes = figure.add_subplot()
    if steps:
        _, alignment, uniformity = np.array(steps, dtype=np.float64).T
        axes.plot(uniformity, alignment, color=QUIET, linewidth=0.9, zorder=2)
        shades = np.linspace(0.15, 1, len(steps))
        axes.scatter(uniformity, alignment, c=[(0.31, 0.345, 0.39, shade) for shade in shades], s=7, zorder=3)
        _heads(axes, uniformity, alignment)
    for (alignment, uniformity), look in zip(points.values(), looks, strict=True):
        axes.plot([uniformity], [alignment], linestyle="none", markersize=5.5, markeredgecolor="white",
                  markeredgewidth=0.7, zorder=4, **look)  # fmt: skip
    axes.margins(0.12)
    axes.set(xlabel="uniformity", ylabel="alignment")
    axes.xaxis.set_major_locator(MaxNLocator(5, min_n_ticks=2))
    axes.yaxis.set_major_locator(MaxNLocator(5, min_n_ticks=2))
    return finished(figure, rect)


def _heads(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """An arrow's head at the end of a path, where it moves at all."""
    moving = np.flatnonzero((x != x[-1]) | (y != y[-1]))
    if not len(moving):
        return
    start = moving[-1]
    axes.annotate(
        "", (x[-1], y[-1]), (x[start], y[start]),
        arrowprops={"arrowstyle": "-|>", "color": QUIET, "linewidth": 0.9, "mutation_scale": 8, "shrinkA": 0,
                    "shrinkB": 0},
        zorder=3,
    )  # fmt: skip


@drawn
def gap_curves(
    shift: Panel | Curve | None, ablation: Curve | None = None, title: str = "", *, width: float = COLUMN
) -> Picture:
    """What closing the gap does to retrieval, gap and uniformity: clouds shifted together, or cut in dimensions.

    Parameters
    ----------
    shift, ablation : mapping of str to sequence, optional
        A panel in place of both; or `Panel.curves["gap_shift_curve"]` and `Panel.curves["gap_ablation_curve"]`; one may
        be absent.
    title : str
    width : float
        Millimetres.

    Raises
    ------
    ValueError
        If both are absent.
    """
    shift, ablation = curves_of(shift, ablation)
    columns = [
        (each, name, label)
        for each, name, label in (
            (shift, "shift", "shift, in units of the gap"),
            (ablation, "removed", "dimensions removed"),
        )
        if each
    ]
    if not columns:
        raise ValueError("there is no curve to draw: measure with curves=True")
    ways: dict[str, tuple[str, dict[str, Any]]] = {
        "text_retrieval_recall@1": (DIRECTIONS["text_retrieval"], {"color": IMAGE, "linestyle": "-", "marker": "o"}),
        "image_retrieval_recall@1": (
            DIRECTIONS["image_retrieval"],
            {"color": TEXT, "linestyle": (0, (4, 1.2)), "marker": "D"},
        ),
    }
    figure, rect = sheet(
        width,
        1.05 * COLUMN,
        title=title,
        key=[(f"Recall@1, {name}", look) for name, look in ways.values()],
        facts=[["vertical line: the clouds as they are"]],
    )
    grid = figure.subplots(3, len(columns), sharex="col", sharey="row", squeeze=False)
    quiet = {"color": "#1b1f24", "marker": "o", "linestyle": "-"}
    for place, (curve, name, label) in enumerate(columns):
        at = np.asarray(curve[name], dtype=np.float64)
        # 0, 1, 2, 4, 8 ... dimensions: evenly spaced, since each step doubles
        x = at if name == "shift" else np.arange(len(at), dtype=np.float64)
        recall, gap, uniformity = grid[:, place]
        for key, (_, look) in ways.items():
            recall.plot(x, 100 * np.asarray(curve[key], dtype=np.float64), markersize=2.2, **look)
        gap.plot(x, curve["modality_gap"], markersize=2.2, **quiet)
        uniformity.plot(x, curve["uniformity_joint"], markersize=2.2, **quiet)
        for axes in grid[:, place]:
            axes.axvline(0, color=QUIET, linewidth=0.8, zorder=1)
        uniformity.set_xlabel(label)
        if name == "removed":
            shown = range(0, len(at), max(1, math.ceil(len(at) / 5)))
            uniformity.set_xticks([x[i] for i in shown], [f"{at[i]:,.0f}" for i in shown])
    for axes, label in zip(grid[:, 0], ("Recall@1 (%)", "modality gap", "joint uniformity"), strict=True):
        axes.set_ylabel(label)
        axes.yaxis.set_major_locator(MaxNLocator(4, min_n_ticks=2))
    for axes in grid[:2, 0]:
        axes.set_ylim(bottom=0)
    return finished(figure, rect)


def _queries(total: int) -> str:
    return f"{total:,} quer{'y' if total == 1 else 'ies'}"


def _thousands(value: float, _: int) -> str:
    return f"{value:,.0f}"
