"""The figures of the study, drawn from what it keeps; nothing is computed here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from heat_geodesic_pictures import JUMPS, NOISES, SIDE_BY_SIDE
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from geomclip.plots.static.canvas import in_style, save

COLUMN, PAGE = 85 / 25.4, 180 / 25.4  # inches, of print
# Okabe and Ito's colours; the marker tells apart what a reader's eye or a printer does not
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK = "#000000", "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#cc79a7"
LOOK = {
    "heat geodesic": (RED, "o", "-"),
    "shortest path, Isomap": (BLACK, "s", "-"),
    "random-walk geodesic": (ORANGE, "^", "-"),
    "diffusion map": (BLUE, "v", "-"),
    "PHATE-like potential": (PINK, "D", "-"),
    "t-SNE": (GREEN, "P", "--"),
    "UMAP": (SKY, "X", "--"),
}
OKABE_ITO = (BLUE, RED, GREEN, ORANGE, PINK)
VARIANTS = ((SKY, "v", ":"), (BLUE, "^", ":"), (BLACK, "s", ":"), (ORANGE, "D", "-"), (RED, "o", "-"))


def bare(axes: Axes, title: str, below: str = "") -> None:
    """No ticks, no frame, one scale on both axes."""
    axes.set(xticks=[], yticks=[], title=title, xlabel=below)
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def scatter(axes: Axes, points: np.ndarray, labels: np.ndarray) -> None:
    """Coloured by a number that runs (viridis) or by a branch (Okabe-Ito)."""
    few = len(np.unique(labels)) <= len(OKABE_ITO)
    colours: Any = [OKABE_ITO[int(each)] for each in labels] if few else labels
    axes.scatter(*points[:, :2].T, c=colours, s=3, linewidths=0, cmap=None if few else "viridis", rasterized=True)


def turned(points: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Turned (or mirrored) and scaled to lie on other points as well as can be, so that eyes can compare."""
    points, to = points - points.mean(axis=0), to - to.mean(axis=0)
    u, sizes, v = np.linalg.svd(points.T @ to)
    return np.asarray(points @ u @ v * (sizes.sum() / (points**2).sum()))


def maps(folder: Path) -> Figure:
    """One roll and one tree, drawn by every method; below each how its distances correlate with the true ones."""
    figure = Figure(figsize=(PAGE, 4.3), layout="constrained")
    rows = figure.subplots(4, 4)
    for block, kind in enumerate(SIDE_BY_SIDE):
        held = np.load(folder / f"{kind}.npz")
        labels = held["labels"]
        cells = rows[2 * block : 2 * block + 2].ravel()
        x = held["x"]
        seen = x[:, [0, 2]] if kind == "roll" else np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[0][:, :2]
        scatter(cells[0], seen, labels)
        bare(
            cells[0],
            f"{kind}, {SIDE_BY_SIDE[kind][0]}",
            "seen from the side" if kind == "roll" else "two principal axes",
        )
        ours = held["heat geodesic: points"]
        for axes, method in zip(cells[1:], LOOK, strict=True):
            pearson, spearman, _ = held[f"{method}: keeps"]
            scatter(axes, turned(held[f"{method}: points"], ours), labels)
            bare(axes, method, f"{pearson:.3f} / {spearman:.3f}")
    figure.supxlabel("Pearson / Spearman: drawn distances with true ones along the data, mean over points", fontsize=7)
    return figure


def lines(
    axes: Axes, x: Sequence[float], curves: Mapping[str, Sequence[float]], looks: Mapping[str, tuple[str, str, str]]
) -> None:
    """A curve each, as its look says."""
    for name, values in curves.items():
        colour, marker, dash = looks[name]
        axes.plot(x, values, color=colour, marker=marker, linestyle=dash, label=name, markersize=3)


def plain(axis: Axis, form: str) -> None:
    """Ticks of a logarithmic axis as plain numbers: the style reads no formulas."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: form.format(value)))
    axis.set_minor_formatter(NullFormatter())


def below(figure: Figure, axes: Axes, columns: int) -> None:
    """One legend under all axes."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns, frameon=False)


def noise(folder: Path) -> Figure:
    """Correlation with the true distances against the noise."""
    curves = json.loads((folder / "noise.json").read_text(encoding="utf-8"))
    figure = Figure(figsize=(PAGE, 2.6), layout="constrained")
    cells = figure.subplots(1, 2, sharey=True)
    for axes, (kind, by) in zip(cells, curves.items(), strict=True):
        lines(axes, NOISES, by, LOOK)
        axes.set(
            title=kind, xlabel="noise" if "roll" in kind else "noise (a tenth of its standard deviation)", xticks=NOISES
        )
    cells[0].set_ylabel("Pearson's correlation\nwith true distances")
    below(figure, cells[0], 4)
    return figure


def time(folder: Path) -> Figure:
    """What t and ρ do, for the formula alone and with shortest paths over near pairs."""
    curves = json.loads((folder / "time.json").read_text(encoding="utf-8"))
    figure = Figure(figsize=(PAGE, 2.6), layout="constrained")
    cells = figure.subplots(1, 2)
    for axes, (kind, by) in zip(cells, curves.items(), strict=True):
        lines(axes, JUMPS, by, dict(zip(by, VARIANTS, strict=True)))
        axes.axvline(20, color="#8a8f98", linewidth=0.8)
        axes.set_xscale("log")
        plain(axes.xaxis, "{:g}")
        axes.set(title=kind, xlabel="t in steps of the median point (line: the default)")
    cells[0].set_ylabel("Pearson's correlation\nwith true distances")
    below(figure, cells[0], 3)
    return figure


def chebyshev(folder: Path) -> Figure:
    """The error of a Chebyshev sum whose order does not follow t."""
    curves = json.loads((folder / "chebyshev.json").read_text(encoding="utf-8"))
    x, orders = curves.pop("x"), curves.pop("chosen order")
    figure = Figure(figsize=(COLUMN, 2.6), layout="constrained")
    axes = figure.subplots()
    looks = dict(zip(curves, ((BLACK, "s", "-"), (BLUE, "^", "-"), (RED, "o", "-")), strict=True))
    lines(axes, x, {name: np.maximum(values, 1e-17) for name, values in curves.items()}, looks)
    axes.set(xscale="log", yscale="log", xlabel="x = t λmax / 2", ylabel="largest error / largest entry")
    for at in (0, len(x) // 2, len(x) - 1):
        side = "left" if at == 0 else "right" if at == len(x) - 1 else "center"
        over = (x[at], curves["order chosen for 1e-12"][at])
        axes.annotate(f"K = {orders[at]}", over, xytext=(0, 6), textcoords="offset points", ha=side)
    plain(axes.xaxis, "{:g}")
    plain(axes.yaxis, "{:.0e}")
    axes.legend(frameon=False, loc="upper left")
    return figure


def likenesses(folder: Path) -> Figure:
    """Settings that are like PHATE's and SNE's, each beside what it is like."""
    held = np.load(folder / "likenesses.npz")
    kinds = [name.removesuffix(": labels") for name in held if name.endswith(": labels")]
    pairs = (("HeatGeodesic.like_phate()", "PHATE's potential"), ("HeatGeodesic.like_sne()", "t-SNE"))
    figure = Figure(figsize=(PAGE, 3.4), layout="constrained")
    rows = figure.subplots(len(kinds), 4)
    for row, kind in zip(rows, kinds, strict=True):
        labels = held[f"{kind}: labels"]
        for at, (first, second) in enumerate(pairs):
            share, rank, *_ = held[f"{kind}: {first} and {second}"]
            to = held[f"{kind}: {first}"]
            for axes, name in zip(row[2 * at : 2 * at + 2], (first, second), strict=True):
                scatter(axes, turned(held[f"{kind}: {name}"], to), labels)
                bare(
                    axes,
                    name.replace("HeatGeodesic.", ""),
                    kind if name == first else f"Procrustes {share:.2f}, ranks {rank:.2f}",
                )
    return figure


def clip(folder: Path) -> Figure:
    """The space of the demo model by heat, UMAP and t-SNE, with what each keeps of the angles."""
    held, results = np.load(folder / "demo.npz"), json.loads((folder / "demo.json").read_text(encoding="utf-8"))
    image = held["is_image"] > 0
    figure = Figure(figsize=(PAGE, 2.5), layout="constrained")
    for axes, name in zip(figure.subplots(1, 3), results["maps"], strict=True):
        for some, colour, label in ((image, BLUE, "images"), (~image, RED, "texts")):
            axes.scatter(*held[name][some].T, s=3, c=colour, linewidths=0, label=label, rasterized=True)
        within = results["maps"][name]["within a modality"]["pearson"]
        ratio = results["across_over_within"]
        every = results["maps"][name]["all pairs"]["pearson"]
        told_below = f"angles kept {every:.2f}, within a modality {within:.2f}"
        bare(axes, name, f"{told_below}\nacross / within {ratio[name]:.2f} (of angles {ratio['angles']:.2f})")
    below(figure, axes, 2)
    return figure


def draw_all(study: Path, folder: Path) -> None:
    """Each figure whose numbers are there, as PNG."""
    pictures = study / "pictures"
    wanted: tuple[tuple[str, Path, Callable[[Path], Figure], str], ...] = (
        ("maps", pictures, maps, "tree.npz"),
        ("noise", pictures, noise, "noise.json"),
        ("time", pictures, time, "time.json"),
        ("chebyshev", pictures, chebyshev, "chebyshev.json"),
        ("likenesses", pictures, likenesses, "likenesses.npz"),
        ("clip", study / "clip", clip, "demo.json"),
    )
    with in_style():
        for name, where, draw, needed in wanted:
            if (where / needed).exists():
                save(draw(where), folder / f"heat_geodesic_{name}.png")
