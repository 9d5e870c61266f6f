"""What the figures of the study show, computed once and kept in the study's folder: smaller clouds, one seed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from heat_geodesic_data import Cloud, Floats, roll, tree
from heat_geodesic_measures import of_distances, of_map
from heat_geodesic_rivals import METHODS, Found, Problem
from scipy.spatial import procrustes
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from geomclip.embeddings.graphs import laplacian
from geomclip.projections import TSNE, HeatGeodesic
from geomclip.projections.heat.graphs import neighbor_graph
from geomclip.projections.heat.kernels import chebyshev_order, heat_kernels, largest_eigenvalue

SEED = 47
N = 1000
SHOWN = {  # the rivals' settings in figures: those that did best for most data
    "heat geodesic": ("default",),
    "shortest path, Isomap": (10,),
    "random-walk geodesic": (100,),
    "diffusion map": (100,),
    "PHATE-like potential": (100,),
    "t-SNE": (30.0,),
    "UMAP": (15, 0.1),
}
SIDE_BY_SIDE = {"roll": ("height 21, noise 0.5", lambda: roll(N, 0.5, 21, SEED)),
                "tree": ("30-D, noise 0.5", lambda: tree(N, 0.5, 30, SEED))}  # fmt: skip
NOISES = (0.1, 0.25, 0.5, 0.75, 1.0)
JUMPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
ORDERS = (30, 100)


def found(method: str, problem: Problem) -> Found:
    """What a method finds at the setting that figures show."""
    return METHODS[method][0](problem, SHOWN[method])


def side_by_side(kind: str) -> dict[str, Floats]:
    """Maps of one cloud by all methods, with what they keep."""
    cloud = SIDE_BY_SIDE[kind][1]()
    problem, kept = Problem(cloud.x), {"x": cloud.x, "labels": cloud.labels.astype(float)}
    for method in SHOWN:
        result = found(method, problem)
        measures = of_map(result.points, cloud)
        kept[f"{method}: points"] = result.points
        kept[f"{method}: keeps"] = np.array([measures["pearson"], measures["spearman"], measures["trustworthiness"]])
    return kept


def against_noise(n: int = 800) -> dict[str, dict[str, list[float]]]:
    """Pearson's correlation of distances (of map distances, where there are no others) by noise."""
    curves: dict[str, dict[str, list[float]]] = {"roll, height 21": {}, "tree, 30-D": {}}
    for noise in NOISES:
        for kind, cloud in (("roll, height 21", roll(n, noise, 21, SEED)), ("tree, 30-D", tree(n, noise, 30, SEED))):
            problem = Problem(cloud.x)
            for method in SHOWN:
                result = found(method, problem)
                if result.distances is None:
                    keeps = of_map(result.points, cloud)
                else:
                    keeps = of_distances(result.distances[cloud.queries], cloud)
                curves[kind].setdefault(method, []).append(keeps["pearson"])
    return curves


def against_time(n: int = 700) -> dict[str, dict[str, list[float]]]:
    """Pearson's correlation of heat distances by t, in steps of the median point, and by ρ; with paths and without."""
    variants = {
        "all pairs, ρ = 0": {"n_trusted": None, "rho": 0.0},
        "all pairs, ρ = 0.5": {"n_trusted": None, "rho": 0.5},
        "all pairs, ρ = 1": {"n_trusted": None, "rho": 1.0},
        "near pairs + paths, ρ = 0": {"rho": 0.0},
        "near pairs + paths, ρ = 1": {},
    }
    curves: dict[str, dict[str, list[float]]] = {}
    for kind, cloud in (
        ("roll, height 21, noise 0.1", roll(n, 0.1, 21, SEED)),
        ("tree, 30-D, noise 0.5", tree(n, 0.5, 30, SEED)),
    ):
        jump = 1 / np.median(laplacian(neighbor_graph(cloud.x, k=10)).diagonal())
        curves[kind] = {
            name: [quality(cloud, HeatGeodesic(t=jump * jumps, scaling="classical", **options)) for jumps in JUMPS]
            for name, options in variants.items()
        }
    return curves


def quality(cloud: Cloud, estimator: HeatGeodesic) -> float:
    """Pearson's correlation of an estimator's distances with the true ones; NaN where the heat has become even."""
    try:
        distances = estimator.fit(cloud.x).distances_
    except ValueError as error:
        if "has become even" not in str(error):
            raise
        return float("nan")
    return of_distances(distances[cloud.queries], cloud)["pearson"]


def chebyshev_errors(n: int = 300) -> dict[str, list[float]]:
    """Largest error of a Chebyshev sum, as a share of the largest entry, by x = t λmax/2."""
    matrix = laplacian(neighbor_graph(roll(n, 0.1, 5, SEED).x, k=10), "combinatorial")
    top = largest_eigenvalue(matrix)
    xs = np.geomspace(1, 1000, 13)
    curves: dict[str, list[float]] = {"x": xs.tolist(), "chosen order": [chebyshev_order(x, 1e-12) for x in xs]}
    for x in xs:
        times = np.array([2 * x / top])
        (true,) = heat_kernels(matrix, times, method="series")
        for name, order in (*((f"order {order}", order) for order in ORDERS), ("order chosen for 1e-12", None)):
            (made,) = heat_kernels(matrix, times, method="chebyshev", order=order, tol=1e-12)
            off = np.abs(np.exp(made.log) - np.exp(true.log)).max() / np.exp(true.log).max()
            curves.setdefault(name, []).append(float(off))
    return curves


def likenesses(n: int = 800) -> dict[str, Floats]:
    """Maps with settings that are like PHATE's (both at t = 100) and like SNE's, beside those; how alike they are."""
    kept: dict[str, Floats] = {}
    for kind, cloud in (
        ("tree, 10-D, noise 0.1", tree(n, 0.1, 10, SEED)),
        ("roll, height 5, noise 0.1", roll(n, 0.1, 5, SEED)),
    ):
        problem = Problem(cloud.x)
        maps = {
            "HeatGeodesic.like_phate()": HeatGeodesic.like_phate(t=100.0).fit_transform(cloud.x),
            "PHATE's potential": METHODS["PHATE-like potential"][0](problem, (100,)).points,
            "HeatGeodesic.like_sne()": HeatGeodesic.like_sne().fit_transform(cloud.x),
            "t-SNE": TSNE(metric="euclidean").fit_transform(cloud.x),
        }
        for name, points in maps.items():
            kept[f"{kind}: {name}"] = np.asarray(points)
        for first, second in (("HeatGeodesic.like_phate()", "PHATE's potential"), ("HeatGeodesic.like_sne()", "t-SNE")):
            a, b = maps[first], maps[second]
            share = 1 - procrustes(a, b)[2]  # of the variance of one that a rotation and scale of the other explains
            rank = spearmanr(pdist(a), pdist(b)).statistic
            trust = of_map(a, cloud)["trustworthiness"], of_map(b, cloud)["trustworthiness"]
            kept[f"{kind}: {first} and {second}"] = np.array([share, rank, *trust])
        kept[f"{kind}: labels"] = cloud.labels.astype(float)
    return kept


def compute_pictures(study: Path) -> None:
    """Everything that is missing."""
    folder = study / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for kind in SIDE_BY_SIDE:
        if not (folder / f"{kind}.npz").exists():
            np.savez(folder / f"{kind}.npz", **side_by_side(kind))
    if not (folder / "likenesses.npz").exists():
        np.savez(folder / "likenesses.npz", **likenesses())
    for name, make in (("time", against_time), ("chebyshev", chebyshev_errors), ("noise", against_noise)):
        path = folder / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(make(), indent=1, ensure_ascii=False), encoding="utf-8")
