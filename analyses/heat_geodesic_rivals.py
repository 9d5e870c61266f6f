"""What the heat-geodesic embedding is held against, each in a few lines: distances where there are any, and a map.

A method is a function from a cloud to its results by setting. Settings are the grid from which the best is taken,
for each kind of data and noise, on the choosing seeds; `HeatGeodesic` has one setting for all.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from heat_geodesic_data import Floats
from scipy.sparse.csgraph import dijkstra
from scipy.spatial.distance import cdist
from sklearn.neighbors import kneighbors_graph

from geomclip import projections
from geomclip.projections.heat.scaling import classical, smacof

FLOOR = 1e-16
"""Of the powers of a walk before their logarithm, as heatgeo has it."""

PHATE_FLOOR = 1e-7
"""As phate has it."""


@dataclass(frozen=True, eq=False)
class Found:
    """Of one method at one setting: distances (n, n), or None where the method has only a map, and points (n, 2)."""

    distances: Floats | None
    points: Floats


Method = Callable[["Problem", tuple[object, ...]], Found]


class Problem:
    """Points, and what several rivals share."""

    def __init__(self, x: Floats) -> None:
        self.x = x

    def walk(self, k: int) -> Walk:
        """The random walk on the graph with k neighbours, made once."""
        return self._walks[k] if k in self._walks else self._walks.setdefault(k, Walk.on(self.x, k))

    @cached_property
    def _walks(self) -> dict[int, Walk]:
        return {}


@dataclass(frozen=True, eq=False)
class Walk:
    """A random walk P = D⁻¹K on the alpha-decay graph with loops, by its eigenvectors: K symmetric, kernel decay 40."""

    values: Floats
    vectors: Floats
    degree: Floats

    @classmethod
    def on(cls, x: Floats, k: int, decay: float = 40.0) -> Walk:
        """Of points (n, d)."""
        apart = cdist(x, x)
        width = np.partition(apart, k, axis=1)[:, k]
        kernel = np.exp(-((apart / width[:, None]) ** decay))
        kernel = (kernel + kernel.T) / 2
        kernel[kernel < 1e-4] = 0
        degree = kernel.sum(axis=1)
        values, vectors = np.linalg.eigh(kernel / np.sqrt(np.outer(degree, degree)))
        return cls(values[::-1], vectors[:, ::-1], degree)

    def power(self, t: int) -> Floats:
        """P^t, from 0 on."""
        symmetric = (self.vectors * self.values**t) @ self.vectors.T
        return np.maximum(symmetric * np.sqrt(self.degree / self.degree[:, None]), 0)

    def coordinates(self, t: int) -> Floats:
        """Diffusion coordinates λ^t φ without the constant one: (n, n − 1)."""
        return (self.vectors * self.values**t / np.sqrt(self.degree)[:, None])[:, 1:]

    def knee(self, at_most: int = 100) -> int:
        """Where the von Neumann entropy of P^t over t is best drawn by two lines (Moon et al., 2019)."""
        sizes = np.abs(self.values)[:, None] ** np.arange(1, at_most + 1)
        shares = sizes / sizes.sum(axis=0)
        entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=0)
        t = np.arange(at_most)

        def off(some: slice) -> float:
            line = np.polynomial.Polynomial.fit(t[some], entropy[some], 1)
            return float(((line(t[some]) - entropy[some]) ** 2).sum())

        return 1 + min(range(2, at_most - 2), key=lambda at: off(slice(0, at + 1)) + off(slice(at, at_most)))


def between_rows(x: Floats) -> Floats:
    """Euclidean distances of rows, by a matrix product: `cdist` of 1,500 columns takes ten times as long."""
    squares = (x**2).sum(axis=1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * x @ x.T, 0))
    np.fill_diagonal(apart, 0)
    return apart


def scaled(distances: Floats) -> Floats:
    """Metric scaling to the plane, from the classical solution."""
    return smacof(distances, classical(distances), tol=1e-4)[0]


def shortest_path(problem: Problem, setting: tuple[object, ...]) -> Found:
    """Isomap: shortest paths over k nearest neighbours, and their classical scaling."""
    (k,) = setting
    distances = dijkstra(kneighbors_graph(problem.x, k, mode="distance"), directed=False)
    finite = np.isfinite(distances)
    if not finite.all():  # parts that do not hang together are put as far apart as the farthest known
        distances = np.where(finite, distances, distances[finite].max())
    return Found(distances, classical(distances))


def diffusion_map(problem: Problem, setting: tuple[object, ...]) -> Found:
    """Distances in all diffusion coordinates; the map has the first two."""
    (t,) = setting
    coordinates = problem.walk(10).coordinates(int(str(t)))
    return Found(between_rows(coordinates), coordinates[:, :2] / np.abs(coordinates[:, :2]).max())


def random_walk_geodesic(problem: Problem, setting: tuple[object, ...]) -> Found:
    """Varadhan's formula with the random walk in place of heat, ρ = 1 (RandWalkGeo of Huguet et al.)."""
    (t,) = setting
    heat = problem.walk(10).power(int(str(t)))
    heat = np.maximum((heat + heat.T) / 2, FLOOR)
    own = heat.diagonal()
    squares = -4 * int(str(t)) * (np.log(heat) - np.log((own[:, None] + own) / 2))
    distances = np.sqrt(np.maximum(squares, 0))
    return Found(distances, scaled(distances))


def potential(problem: Problem, setting: tuple[object, ...]) -> Found:
    """PHATE's distances, of rows of −log P^t, and their metric scaling."""
    (t,) = setting
    walk = problem.walk(5)
    power = walk.power(walk.knee() if t == "knee" else int(str(t)))
    distances = between_rows(-np.log(power + PHATE_FLOOR))
    return Found(distances, scaled(distances))


def phate_package(problem: Problem, setting: tuple[object, ...]) -> Found:
    """The package itself, as it comes; only with `--phate`."""
    import phate  # not among geomclip's own: GPL

    return Found(None, phate.PHATE(verbose=0, random_state=0, n_jobs=1).fit_transform(problem.x))


def tsne(problem: Problem, setting: tuple[object, ...]) -> Found:
    """geomclip's, by openTSNE."""
    (perplexity,) = setting
    drawn = projections.TSNE(perplexity=perplexity, metric="euclidean", n_jobs=1, random_state=0)
    return Found(None, drawn.fit_transform(problem.x))


def umap(problem: Problem, setting: tuple[object, ...]) -> Found:
    """geomclip's, by umap-learn."""
    n_neighbors, min_dist = setting
    drawn = projections.UMAP(n_neighbors=n_neighbors, min_dist=min_dist, metric="euclidean", random_state=0)
    return Found(None, drawn.fit_transform(problem.x))


def heat_geodesic(problem: Problem, setting: tuple[object, ...]) -> Found:
    """geomclip's, as it comes, or with other neighbours."""
    options = {} if setting == ("default",) else dict(zip(("k", "n_trusted"), setting, strict=True))
    return _heat(projections.HeatGeodesic(**options, random_state=0), problem)


def heat_as_published(problem: Problem, setting: tuple[object, ...]) -> Found:
    """The formula of Huguet et al. for all pairs, on the combinatorial Laplacian."""
    t, rho = setting
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*knee.*")  # there is not always one
        return _heat(projections.HeatGeodesic.as_published(t=t, rho=rho, random_state=0), problem)


def _heat(estimator: projections.HeatGeodesic, problem: Problem) -> Found:
    drawn = estimator.fit_transform(problem.x)
    return Found(estimator.distances_, drawn)


# name -> what it is, its grid, and what a table says of it
METHODS: dict[str, tuple[Method, tuple[tuple[object, ...], ...]]] = {
    "heat geodesic": (heat_geodesic, (("default",),)),
    "heat geodesic, k = 15": (heat_geodesic, ((15, 30),)),
    "shortest path, Isomap": (shortest_path, ((5,), (10,), (15,))),
    "heat geodesic as published": (heat_as_published, ((10.0, 1.0), (50.0, 1.0))),
    "random-walk geodesic": (random_walk_geodesic, ((20,), (100,))),
    "diffusion map": (diffusion_map, ((10,), (20,), (100,))),
    "PHATE-like potential": (potential, (("knee",), (100,))),
    "t-SNE": (tsne, ((30.0,),)),
    "UMAP": (umap, ((15, 0.1),)),
}
OPTIONAL = {"PHATE": (phate_package, (("default",),))}


def settings(name: str) -> Iterator[tuple[object, ...]]:
    """The grid of a method."""
    yield from {**METHODS, **OPTIONAL}[name][1]
