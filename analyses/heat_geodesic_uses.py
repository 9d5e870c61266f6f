# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # What is a heat-geodesic embedding good for, and where did it lose?
#
# Four tables of means and standard deviations over seeds from 47 on, for every method at one setting:
#
# 1. a time that was left out, interpolated between its neighbours (`geomclip evaluate --task interpolation`);
# 2. clean distances from noisy points;
# 3. how alike `HeatGeodesic.like_phate` is to PHATE, with its floor and without;
# 4. k-means on maps of two clusters on a roll, on trees and digits, beside what the unrolled truth allows.
#
#     python analyses/heat_geodesic_uses.py STUDY                   # the parts that are missing in the folder STUDY
#     python analyses/heat_geodesic_uses.py STUDY --report figures  # heat_geodesic_uses.md and .csv

# %%
"""What is a heat-geodesic embedding good for, and where did it lose? See the text above."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from heat_geodesic_data import LABELLED, Cloud, Floats, arc_length, roll, tree, two_on_a_roll
from heat_geodesic_measures import clusters, of_distances, of_map
from heat_geodesic_results import FIRST_REPORTED
from heat_geodesic_rivals import METHODS, Found, Problem, between_rows
from scipy.spatial import procrustes
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

import geomclip as gc
from geomclip.evaluations.asked import SPACES
from geomclip.evaluations.continuum import FORK, developed, generated
from geomclip.projections import HeatGeodesic

Rows = dict[tuple[str, str], dict[str, list[float]]]  # (data, method) -> measure -> by seed

# %% [markdown]
# ## A tree with times, and its distances


# %%
def way(moment: Floats, branch: np.ndarray) -> Floats:
    """How far cells have come from moment 0 along the clean curve of their fate: (n,)."""
    grid = np.linspace(0, 4, 4001)
    far = np.zeros(len(moment))
    for fate in np.unique(branch):
        steps = np.diff(developed(grid, np.full(len(grid), fate)), axis=0)
        along = np.append(0, np.cumsum(np.sqrt((steps**2).sum(axis=1))))
        own = branch == fate
        far[own] = np.interp(moment[own], grid, along)
    return far


def true_distances(moment: Floats, branch: np.ndarray) -> Floats:
    """Along the tree (n, n): cells of two fates go back to where these are one."""
    far = way(moment, branch)
    fork = np.minimum(np.minimum.outer(moment, moment), FORK)
    common = way(fork.ravel(), np.zeros(fork.size, dtype=branch.dtype)).reshape(fork.shape)
    same = branch[:, None] == branch
    return np.where(same, np.abs(far[:, None] - far), far[:, None] + far - 2 * common)


def tree_of_times(n: int, noise: float, seed: int) -> Cloud:
    """The generated tree of `geomclip evaluate`, its times as labels."""
    found = generated(seed, rows=n // 5, noise=noise)
    return Cloud(found.rows, true_distances(found.moment, found.branch), found.time)


def roll_of_times(n: int, noise: float, seed: int) -> Cloud:
    """A roll of height 21, seen at five times from its inner end to the outer one."""
    cloud = roll(n, noise, 21, seed)
    edges = np.quantile(cloud.labels, [0.2, 0.4, 0.6, 0.8])
    return Cloud(cloud.x, cloud.truth, np.searchsorted(edges, cloud.labels))


# %% [markdown]
# ## 1. A time that was left out

# %%
CONTINUA: dict[str, Callable[[int, int], Cloud]] = {
    "tree, noise 0.25": lambda n, seed: tree_of_times(n, 0.25, seed),
    "tree, noise 0.5": lambda n, seed: tree_of_times(n, 0.5, seed),
    "roll, noise 0.5": lambda n, seed: roll_of_times(n, 0.5, seed),
}
INTERPOLATED = ("w2_over_nearer", "w2_over_floor", "w1_over_nearer", "mmd_rbf_over_nearer", "mmd_linear_over_nearer")


def interpolation(n: int, seeds: Sequence[int]) -> Rows:
    """Ratios of the task, by space."""
    rows: Rows = {}
    for kind, make in CONTINUA.items():
        for seed in seeds:
            cloud = make(n, seed)
            cells = gc.EmbeddingSet(cloud.x, columns={"time": [f"{each:g}" for each in cloud.labels]})
            panel = gc.evaluate("interpolation", embeddings=cells, folds=2, seed=seed, bootstrap=0)
            for space, one in {SPACES[0]: panel, **panel.groups}.items():
                add(rows, kind, space, {name: one.values[f"interpolation_{name}"] for name in INTERPOLATED})
    return rows


# %% [markdown]
# ## 2. Clean distances from noisy points

# %%
NOISY: dict[str, Callable[[int, int], Cloud]] = {
    **{f"tree of times, noise {noise:g}": lambda n, seed, noise=noise: tree_of_times(n, noise, seed)
       for noise in (0.1, 0.25, 0.5, 1.0)},
    **{f"tree, 30-D, noise {noise:g}": lambda n, seed, noise=noise: tree(n, noise, 30, seed) for noise in (0.5, 1.0)},
    "roll, height 21, noise 0.5": lambda n, seed: roll(n, 0.5, 21, seed),
}  # fmt: skip


def straight(problem: Problem, setting: tuple[object, ...]) -> Found:
    """The noisy distances themselves, and PCA."""
    return Found(between_rows(problem.x), gc.projections.PCA().fit_transform(problem.x))


def like_phate(problem: Problem, setting: tuple[object, ...]) -> Found:
    """geomclip's, as it comes."""
    drawn = HeatGeodesic.like_phate()
    points = drawn.fit_transform(problem.x)
    return Found(drawn.distances_, points)


DENOISERS = {
    "noisy distances, PCA": (straight, ()),
    "heat geodesic": (METHODS["heat geodesic"][0], ("default",)),
    "heat geodesic, k = 15": (METHODS["heat geodesic, k = 15"][0], (15, 30)),
    "like_phate": (like_phate, ()),
    "PHATE-like potential": (METHODS["PHATE-like potential"][0], ("knee",)),
    "shortest path, Isomap": (METHODS["shortest path, Isomap"][0], (10,)),
    "t-SNE": (METHODS["t-SNE"][0], (30.0,)),
    "UMAP": (METHODS["UMAP"][0], (15, 0.1)),
}


def denoising(n: int, seeds: Sequence[int]) -> Rows:
    """Correlations with the clean distances: of distances where a method has some, and of its map."""
    rows: Rows = {}
    for kind, make in NOISY.items():
        for seed in seeds:
            cloud = make(n, seed)
            problem = Problem(cloud.x)
            for name, (method, setting) in DENOISERS.items():
                found = method(problem, setting)
                kept = {} if found.distances is None else of_distances(found.distances[cloud.queries], cloud)
                drawn = of_map(found.points, cloud)
                measures = {f"map {name}": drawn[name] for name in ("spearman", "pearson")}
                measures |= {f"distances {name}": kept[name] for name in ("spearman", "pearson") if kept}
                add(rows, kind, name, measures)
    return rows


# %% [markdown]
# ## 3. Is `like_phate` like PHATE?

# %%
ALIKE: dict[str, Callable[[int, int], Cloud]] = {
    "tree, 10-D, noise 0.1": lambda n, seed: tree(n, 0.1, 10, seed),
    "roll, height 5, noise 0.1": lambda n, seed: roll(n, 0.1, 5, seed),
    "roll, height 21, noise 0.5": lambda n, seed: roll(n, 0.5, 21, seed),
}


def likeness(n: int, seeds: Sequence[int], t: int = 100) -> Rows:
    """Procrustes share of PHATE's map at one t, and what the map keeps of the true distances."""
    rows: Rows = {}
    for kind, make in ALIKE.items():
        for seed in seeds:
            cloud = make(n, seed)
            phate = METHODS["PHATE-like potential"][0](Problem(cloud.x), (t,)).points
            for floor in (0.0, 1e-7):
                drawn = HeatGeodesic.like_phate(t=float(t), floor=floor).fit_transform(cloud.x)
                share = 1 - procrustes(drawn, phate)[2]
                kept = of_map(drawn, cloud)["pearson"]
                add(rows, kind, f"floor {floor:g}", {"Procrustes": share, "true distances": kept})
            add(
                rows,
                kind,
                "PHATE-like potential",
                {"Procrustes": 1.0, "true distances": of_map(phate, cloud)["pearson"]},
            )
    return rows


# %% [markdown]
# ## 4. Clusters


# %%
def unrolled(n: int, height: float, seed: int) -> Floats:
    """The two clusters of `two_on_a_roll` on the flat sheet, without noise."""
    draw = np.random.default_rng(seed)
    t = np.where(np.arange(n) % 2 == 0, 7.0, 12.0) + draw.standard_normal(n)
    return np.stack([arc_length(t), height * draw.random(n)], axis=1)


DRAWN: dict[str, Callable[[Cloud], Floats]] = {
    "heat geodesic": lambda cloud: HeatGeodesic().fit_transform(cloud.x),
    'heat geodesic, graph="mutual", k = 15': lambda cloud: HeatGeodesic(graph="mutual", k=15).fit_transform(cloud.x),
    "shortest path, Isomap": lambda cloud: METHODS["shortest path, Isomap"][0](Problem(cloud.x), (10,)).points,
    "t-SNE": lambda cloud: METHODS["t-SNE"][0](Problem(cloud.x), (30.0,)).points,
    "UMAP": lambda cloud: METHODS["UMAP"][0](Problem(cloud.x), (15, 0.1)).points,
}


def found_again(points: Floats, labels: np.ndarray, seed: int) -> dict[str, float]:
    """ARI of k-means on standardised axes, as the study has it, and on the points as they are drawn."""
    as_drawn = KMeans(len(np.unique(labels)), n_init=10, random_state=seed).fit_predict(points)
    return {"standardised": clusters(points, labels, seed), "as drawn": float(adjusted_rand_score(labels, as_drawn))}


def clustering(n: int, seeds: Sequence[int]) -> Rows:
    """ARI by map; of two clusters on a roll also on the flat sheet."""
    rows: Rows = {}
    for kind, make in LABELLED.items():
        for seed in seeds[:1] if kind == "digits" else seeds:
            cloud = make(n, 0.5, seed)
            for name, draw in DRAWN.items():
                add(rows, kind, name, found_again(draw(cloud), cloud.labels, seed))
            if kind.startswith("two"):
                height = float(kind.split()[-1])
                assert (two_on_a_roll(n, 0.5, height, seed).labels == cloud.labels).all()
                add(rows, kind, "the flat sheet itself", found_again(unrolled(n, height, seed), cloud.labels, seed))
    return rows


# %% [markdown]
# ## Tables


# %%
def add(rows: Rows, kind: str, method: str, measures: Mapping[str, float]) -> None:
    """One seed more."""
    for name, value in measures.items():
        rows.setdefault((kind, method), {}).setdefault(name, []).append(float(value))


def table(rows: Rows, measures: Sequence[str]) -> str:
    """Markdown: a row for each data and method, mean ± standard deviation over seeds."""
    lines = ["| data | method | " + " | ".join(measures) + " |", "|---" * (2 + len(measures)) + "|"]
    for (kind, method), by in rows.items():
        cells = [written(by[name]) if name in by else "-" for name in measures]
        lines.append(f"| {kind} | {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def written(values: Sequence[float]) -> str:
    """A mean, and with several seeds its spread."""
    return f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


def lines_of(parts: Mapping[str, Rows]) -> Iterable[Sequence[object]]:
    """Rows of the CSV."""
    for part, rows in parts.items():
        for (kind, method), by in rows.items():
            for measure, values in by.items():
                spread = f"{np.std(values, ddof=1):.5f}" if len(values) > 1 else ""
                yield part, kind, method, measure, f"{np.mean(values):.5f}", spread, len(values)


PARTS: dict[str, Callable[[int, Sequence[int]], Rows]] = {
    "interpolation": interpolation,
    "denoising": denoising,
    "likeness": likeness,
    "clusters": clustering,
}


def page(parts: Mapping[str, Rows], n: int, seeds: Sequence[int]) -> str:
    """heat_geodesic_uses.md."""
    return f"""# What is a heat-geodesic embedding good for, and where did it lose?

Mean ± standard deviation of {len(seeds)} seeds from {seeds[0]} on, {n} points, each method at one setting. Made by
`python analyses/heat_geodesic_uses.py STUDY`, and `--report figures`.

## A time that was left out

Of five times the three inner ones are left out in turn. Distance of interpolated rows to those seen, as a share of that
of the nearer time ("over nearer", below 1 better than to stand still) and of that of two halves of the truth ("over
floor", 1 is perfect). A tree of three fates in 30 dimensions; a roll seen from its inner end to the outer one.

{table(parts["interpolation"], INTERPOLATED)}

## Clean distances from noisy points

Rows' mean correlation with the distances along the data without noise, of distances (where a method has some) and of
maps.

{table(parts["denoising"], ("distances spearman", "distances pearson", "map spearman", "map pearson"))}

## Is like_phate like PHATE?

At t = 100: Procrustes share of PHATE's map (1 is the same), and Pearson's correlation of drawn with true distances.

{table(parts["likeness"], ("Procrustes", "true distances"))}

## Clusters

ARI of k-means with as many means as labels, on axes of one spread and on maps as they are drawn; noise 0.5.

{table(parts["clusters"], ("standardised", "as drawn"))}
"""


def stored(study: Path, name: str) -> Rows:
    """The numbers of a part that are there."""
    kept = json.loads((study / f"{name}.json").read_text(encoding="utf-8"))
    return {(kind, method): by for kind, method, by in kept}


def main(arguments: Sequence[str] | None = None) -> None:
    """Compute the parts that are missing, or write the tables of those that are there."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("study", type=Path, help="folder for the results, a file a part")
    parser.add_argument("--n", type=int, default=500, help="points of a cloud")
    parser.add_argument("--seeds", type=int, default=5, help="from 47 on")
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=list(PARTS), metavar="PART")
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="write heat_geodesic_uses.md and .csv")
    options = parser.parse_args(arguments)
    seeds = range(FIRST_REPORTED, FIRST_REPORTED + options.seeds)
    if options.report:
        parts = {name: stored(options.study, name) for name in PARTS}
        text = page(parts, options.n, seeds)
        (options.report / "heat_geodesic_uses.md").write_text(text, encoding="utf-8")
        with (options.report / "heat_geodesic_uses.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["part", "data", "method", "measure", "mean", "standard_deviation", "seeds"])
            writer.writerows(lines_of(parts))
        return
    options.study.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        path = options.study / f"{name}.json"
        if not path.exists():
            rows = PARTS[name](options.n, seeds)
            path.write_text(json.dumps([[*key, by] for key, by in rows.items()], indent=1), encoding="utf-8")
            print(name, "done", flush=True)


if __name__ == "__main__":
    main()
