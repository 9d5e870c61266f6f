"""HeatGeodesic: a map whose distances are those along the data, from how heat spreads over a graph of neighbours.

The file is long by its options, of which each has its line where it is described, kept and checked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomclip.embeddings.graphs import GRAPHS, LAPLACIANS, Graph, even_density
from geomclip.projections.base import PlacesNewPoints, whole
from geomclip.projections.heat.geodesics import HeatDistances
from geomclip.projections.heat.graphs import join, neighbor_graph, row_weights
from geomclip.projections.heat.kernels import HEAT_METHODS
from geomclip.projections.heat.landmarks import sample
from geomclip.projections.heat.scaling import classical, placed, sgd, smacof, stress, triangulated
from geomclip.projections.neighbors import NeighborSearch, nearest_among

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

ALL_UP_TO = 5_000
"""Points of which `n_landmarks="auto"` makes every one a landmark."""

AT_MOST = 10_000
"""Points whose heat is held as one dense array: 0.8 GB, and about five of them at a time."""

LANDMARKS = 1_000
"""Of more points."""


ROWS = 1 << 23
"""Numbers of a block of new points: 64 MB."""

PHATE_FLOOR = 1e-7
"""What PHATE adds to a probability before its logarithm."""

TIMES = ("auto", "knee", "multiscale")

CHOICES: dict[str, tuple[str, ...]] = {
    "graph": GRAPHS,
    "metric": ("euclidean", "angular"),
    "laplacian": LAPLACIANS,
    "heat": ("auto", *HEAT_METHODS),
    "harnack": ("geometric", "arithmetic"),
    "scaling": ("smacof", "sgd", "classical"),
    "weights": ("equal", "heat"),
    "disconnected": ("join", "error"),
}

RANGES = [
    ("decay", 1.0, 1e4),
    ("anisotropy", 0.0, 1.0),
    ("rho", 0.0, 10.0),
    ("power", 0.1, 10.0),
    ("denoise", 0.0, 1.0),
    ("floor", 0.0, 0.1),
    ("tol", 1e-15, 0.1),
]


RULES = ("t", "rho", "harnack", "n_trusted", "power", "denoise", "floor", "tol", "order")
"""Options that `HeatDistances` takes as they are."""


class HeatGeodesic(PlacesNewPoints):
    """Points (n, d) drawn so that straight distances are those along the data, by the spread of heat.

    A graph of neighbours, its heat kernel H = exp(−tL), Varadhan's d_ij² = −4t log H_ij + 4tρ log V_ij, shortest
    paths over the pairs that heat has reached well, and multidimensional scaling. Distances and map keep their
    scale: with the unit-speed Laplacian both are in the unit of the data, up to one factor (about √2 times the root
    of the number of dimensions in which the data spread).

    Parameters
    ----------
    n_components : int
    graph : str
        "alpha": weights exp(−(d/ε)^decay), ε the distance of a point's k-th neighbour; "knn": 1 where one is among
        the k nearest of the other; "mutual": where each is, so that sparse ends are not tied to a dense sheet that
        passes by, and where noise is heavy the graph falls into parts.
    k : int
        Neighbours.
    decay : float
        Of the alpha kernel.
    metric : str
        "euclidean" or "angular" (the angle between rows).
    anisotropy : float
        Weights are divided by this power of the density at both ends; 0 to 1.
    laplacian : str
        "unit-speed" (heat runs at one speed in the metric of the data, see `graphs.laplacian`), "combinatorial" or
        "normalized".
    heat : str
        "series" (n² memory, every entry to many digits), "exact" (eigenvectors), "chebyshev" (sparse; the order
        from t λmax and tol), "euler" (32 implicit steps). "auto" is "chebyshev", but "series" where n_trusted is
        None and there are no landmarks, since then far entries count.
    t : float or str
        Time, in the unit of 1/L. "auto": 20 steps of the median point, but no longer than heat needs to
        become even (1/λ2); with landmarks as many times twice that as let 16 others be
        seen from one. "knee": where the entropy of the heat turns flat, the published rule on a grid of t λmax;
        without a knee as "auto", with a warning and `knee_` None. "multiscale": distances averaged over t λmax
        from 2 to 4096, with weights proportional to 1 − t/Σt.
    rho : float
        Share of the volume term; 1 makes the distance of a point to itself 0.
    harnack : str
        V_ij of H_ii and H_jj: their "geometric" mean, or the "arithmetic" one, as published.
    n_trusted : int or None
        Near pairs are those where one is among so many nearest to the other by heat; the distances of all others
        are shortest paths over near pairs (with landmarks: over the nearest landmarks). Heat tells short ways well,
        whatever the noise, and long ones badly: on a graph it gets there by rare long walks, about which the
        formula is wrong. None: the formula for all pairs, as published (but for entries the method cannot know).
    power : float
        The distances are raised to it in the end.
    denoise : float
        Share, 0 to 1, of the distance between rows of distances in place of the distance itself.
    floor : float
        Added to the heat before its logarithm, as PHATE and heatgeo do: distances that it hides are all the same. 0:
        nothing is hidden.
    scaling : str
        "smacof", "sgd" or "classical".
    weights : str
        Of the pairs in the stress: "equal" or "heat" (more to see of near ones).
    disconnected : str
        What is done about a graph in several parts: "join" them by their k shortest edges, or "error".
    n_landmarks : int, "auto" or None
        Points to which distances are taken, and between which the map is made; the others are placed by their
        distances to them. "auto": all up to 5,000 points, else 1,000. None: all.
    tol : float
        What the Chebyshev sum may leave out; with landmarks and n_trusted no less than 1e-6, since only near
        entries are used.
    order : int, optional
        Terms of Chebyshev or steps of Euler instead.
    n_iter : int
        Steps of smacof at most.
    random_state : int or None

    Attributes
    ----------
    embedding_ : ndarray of shape (n, n_components)
    distances_ : ndarray of shape (n, n), or (n, m) with landmarks
        What the map is made from.
    landmarks_ : ndarray of shape (m,), or None
        Rows of the landmarks.
    t_ : float, or ndarray of shape (12,) for "multiscale"
    knee_ : float or None
        The knee of the entropy, for t="knee", where there is one.
    order_ : int
        Terms or steps used, at the longest time; 0 for eigenvectors.
    n_connected_components_ : int
        Parts of the graph before they were joined.
    stress_ : float
        Of the map (of the landmarks): 0 is perfect.

    References
    ----------
    Huguet, Tong, De Brouwer, Zhang, Wolf, Adelstein and Krishnaswamy (2023), "A heat diffusion perspective on
    geodesic preserving dimensionality reduction", NeurIPS. The unit-speed Laplacian, reach and landmarks are ours.

    Examples
    --------
    >>> angle = np.linspace(0, 1.5 * np.pi, 60)
    >>> arc = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    >>> drawn = HeatGeodesic(n_components=1, k=4).fit_transform(arc)
    >>> bool((np.diff(drawn[:, 0]) > 0).all() or (np.diff(drawn[:, 0]) < 0).all())
    True
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        graph: str = "alpha",
        k: int = 10,
        decay: float = 40.0,
        metric: str = "euclidean",
        anisotropy: float = 0.0,
        laplacian: str = "unit-speed",
        heat: str = "auto",
        t: float | str = "auto",
        rho: float = 1.0,
        harnack: str = "geometric",
        n_trusted: int | None = 20,
        power: float = 1.0,
        denoise: float = 0.0,
        floor: float = 0.0,
        scaling: str = "smacof",
        weights: str = "equal",
        disconnected: str = "join",
        n_landmarks: int | str | None = "auto",
        tol: float = 1e-12,
        order: int | None = None,
        n_iter: int = 300,
        random_state: int | None = 0,
    ) -> None:
        self.n_components = n_components
        self.graph = graph
        self.k = k
        self.decay = decay
        self.metric = metric
        self.anisotropy = anisotropy
        self.laplacian = laplacian
        self.heat = heat
        self.t = t
        self.rho = rho
        self.harnack = harnack
        self.n_trusted = n_trusted
        self.power = power
        self.denoise = denoise
        self.floor = floor
        self.scaling = scaling
        self.weights = weights
        self.disconnected = disconnected
        self.n_landmarks = n_landmarks
        self.tol = tol
        self.order = order
        self.n_iter = n_iter
        self.random_state = random_state

    @classmethod
    def as_published(cls, **options: Any) -> HeatGeodesic:
        """The settings of Huguet et al. (2023) with the Laplacian of their sweeps; t = 10 by default."""
        settings = {"k": 5, "laplacian": "combinatorial", "t": 10.0, "harnack": "arithmetic", "n_trusted": None}
        return cls(**{**settings, **options})

    @classmethod
    def like_phate(cls, **options: Any) -> HeatGeodesic:
        """Potential distances: rows of −log(H + 1e-7) of the random walk compared, at the knee of the entropy.

        What is far is cut off by the floor, as in PHATE: with `floor=0` the map is less like that of PHATE, and nearer
        to the distances along the data.

        References
        ----------
        Moon et al. (2019), "Visualizing structure and transitions in high-dimensional biological data".
        """
        settings = {"k": 5, "laplacian": "normalized", "t": "knee", "rho": 0.0, "n_trusted": None}
        return cls(**{**settings, "power": 2.0, "denoise": 1.0, "floor": PHATE_FLOOR, **options})

    @classmethod
    def like_sne(cls, **options: Any) -> HeatGeodesic:
        """Near pairs first: the stress weighed by the heat itself, which takes the place of SNE's affinities."""
        settings = {"laplacian": "normalized", "t": 10.0, "weights": "heat"}
        return cls(**{**settings, **options})

    def _least(self) -> tuple[int, str]:
        k = whole("k", self.k, 1)
        return max(k + 1, whole("n_components", self.n_components, 1) + 1, 4), f"k={k}"

    def _check(self, x: NDArray[Any]) -> None:
        super()._check(x)
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        for name, low, high in RANGES:
            value = getattr(self, name)
            if not (isinstance(value, int | float | np.number) and low <= value <= high):
                raise ValueError(f"{name} must be a number from {low:g} to {high:g}, got {value!r}")
        if self.t not in TIMES if isinstance(self.t, str) else not self.t > 0:
            raise ValueError(f"t must be a number above 0 or one of {', '.join(TIMES)}, got {self.t!r}")
        for name in ("n_trusted", "order", "n_landmarks"):
            value = getattr(self, name)
            if value is not None and value != "auto":
                whole(name, value, self.n_components + 2 if name == "n_landmarks" else 1)
        whole("n_iter", self.n_iter, 1)
        self._check_cost(len(x))

    def _check_cost(self, n: int) -> None:
        """Refuse before starting what would not end or not fit."""
        dense = self._landmark_count(n) is None
        cubic = self.heat in ("series", "exact", "euler")
        if n <= AT_MOST or not (dense or cubic):
            return
        what = f"heat={self.heat!r}" if cubic else f"n_landmarks={self.n_landmarks!r}"
        # 60 products of n x n at 50 Gflop/s, which two cores reach
        hours, size = 60 * 2 * n**3 / 50e9 / 3600, 5 * 8 * n**2 / 1e9
        raise ValueError(
            f"HeatGeodesic with {what} would need about {size:,.0f} GB and {hours:,.0f} hours for {n:,} points: "
            f'use n_landmarks="auto" and heat="chebyshev"'
        )

    def _landmark_count(self, n: int) -> int | None:
        if self.n_landmarks is None or (self.n_landmarks == "auto" and n <= ALL_UP_TO):
            return None
        wanted = LANDMARKS if self.n_landmarks == "auto" else int(self.n_landmarks)
        return wanted if wanted < n else None

    def _fit(self, x: NDArray[Any], near: NeighborSearch) -> NDArray[Any]:
        first, copies = different_rows(x, self.metric)
        if len(first) < self._least()[0]:
            raise ValueError(
                f"HeatGeodesic with k={self.k} needs at least {self._least()[0]} different points, "
                f"got {len(first)} among {len(x)}"
            )
        self._points = x[first]
        seed = int(np.random.default_rng(self.random_state).integers(2**31))
        count = self._landmark_count(len(first))
        chosen = None if count is None else sample(len(first), count, seed)
        # far entries are used only where all pairs are believed: Chebyshev does not know them, and is faster
        best = "series" if chosen is None and self.n_trusted is None else "chebyshev"
        rule = HeatDistances(
            laplacian=self.laplacian,
            method=best if self.heat == "auto" else self.heat,
            **{name: getattr(self, name) for name in RULES},
            weighed=self.weights == "heat",
            seed=seed,
        )
        # equal points are one here: where there are some, `near` is of other points
        found = rule.of(self._graph(seed, near if len(first) == len(x) else None), chosen)
        self.t_, self.knee_, self.order_ = found.t, found.knee, found.order
        distances, heat_weights = found.distances, found.weights
        self._seen, self._weights = distances, heat_weights
        self._map = self._drawn(distances, chosen, heat_weights, seed)
        self._chosen = np.arange(len(first)) if chosen is None else chosen
        self.landmarks_ = None if chosen is None else first[chosen]
        if len(first) < len(x):
            distances = distances[np.ix_(copies, copies)] if chosen is None else distances[copies]
        self.distances_ = distances
        return self._map if len(first) == len(x) else self._map[copies]

    def _graph(self, seed: int, near: NeighborSearch | None = None) -> Graph:
        options: dict[str, Any] = {"kind": self.graph, "k": self.k, "decay": self.decay, "metric": self.metric}
        graph = neighbor_graph(self._points, **options, seed=seed, near=near)
        self.n_connected_components_, of = graph.components()
        if self.n_connected_components_ > 1:
            if self.disconnected == "error":
                sizes = ", ".join(str(size) for size in np.sort(np.bincount(of))[::-1][:5])
                raise ValueError(
                    f"the graph of k={self.k} neighbours falls into {self.n_connected_components_} parts "
                    f'(the largest: {sizes}); raise k or use disconnected="join"'
                )
            graph = join(graph, self._points, k=self.k, metric=self.metric)
        return even_density(graph, self.anisotropy) if self.anisotropy else graph

    # --- the map ------------------------------------------------------------------------------------------------

    def _drawn(self, distances: Floats, chosen: Indices | None, weights: Floats | None, seed: int) -> Floats:
        among = distances if chosen is None else distances[chosen]
        among = (among + among.T) / 2
        pairs = None
        if weights is not None:
            pairs = weights if chosen is None else weights[chosen]
            pairs = (pairs + pairs.T) / 2
        drawn = classical(among, self.n_components, seed=seed)
        self.n_iter_ = 0
        if self.scaling == "smacof":
            drawn, self.n_iter_ = smacof(among, drawn, weights=pairs, n_iter=self.n_iter)
        elif self.scaling == "sgd":
            drawn, self.n_iter_ = sgd(among, drawn, weights=pairs, seed=seed)
        self.stress_ = stress(among, drawn, pairs)
        if chosen is None:
            return drawn
        rest = triangulated(distances, drawn)
        if self.scaling != "classical":
            rest = placed(distances, drawn, rest, weights=weights)
        rest[chosen] = drawn
        return rest

    def _transform(self, x: NDArray[Any]) -> NDArray[Any]:
        """By rows of the graph: a new point sees the landmarks as the mean of its neighbours does."""
        drawn = np.empty((len(x), self._map.shape[1]))
        step = max(1, ROWS // (self.k * len(self._chosen)))
        for first in range(0, len(x), step):
            drawn[first : first + step] = self._placed(x[first : first + step])
        return drawn

    def _placed(self, x: NDArray[Any]) -> Floats:
        known = self._points.astype(np.float64)
        apart, neighbors = nearest_among(x.astype(np.float64), known, self.k, metric=self.metric)
        shares = row_weights(apart.astype(np.float64), self.decay)

        def mean(of: Floats) -> Floats:
            return np.asarray(np.einsum("qk,qkm->qm", shares, of[neighbors]))

        anchors, seen = self._map[self._chosen], mean(self._seen)
        if self.scaling == "classical":
            return triangulated(seen, anchors)
        return placed(seen, anchors, mean(self._map), weights=None if self._weights is None else mean(self._weights))


def different_rows(x: NDArray[Any], metric: str) -> tuple[Indices, Indices]:
    """The first of each set of equal rows, in order, and for every row which of those it equals.

    Rows of one direction are equal under angles; those that differ by rounding are not.
    """
    rows = x / np.linalg.norm(x, axis=1, keepdims=True) if metric == "angular" and (x != 0).any(axis=1).all() else x
    _, first, copies = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return first[order], place[copies]
