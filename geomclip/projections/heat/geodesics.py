"""Distances along the data by heat: from a graph to all its points, or to landmarks."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from geomclip.embeddings.graphs import Graph, laplacian, masses
from geomclip.projections.heat.kernels import LogHeat, heat_kernels, largest_eigenvalue
from geomclip.projections.heat.landmarks import log_diagonal, sample, seeing_time
from geomclip.projections.heat.stopping import entropy_knee, relaxation_time
from geomclip.projections.heat.varadhan import (
    completed,
    completed_to_landmarks,
    filled,
    nats,
    near_pairs,
    triplet,
    varadhan,
)

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

JUMPS = 20.0
"""Steps that heat makes from the median point in the time "auto": found on rolls and trees, where 10 to 40 do."""

NEIGHBORS = 16
"""With landmarks the time is doubled until the median landmark sees so many others."""

NEAR_TOL = 1e-6
"""Of the Chebyshev sum where only the near entries are used, of which none is below 1e-3 of the largest.

So 1e-3 nats, and sums in float32: half the time.
"""

ANCHORS = 256
"""Points that the shortest paths go through which stand for heat that a method does not know."""

HEAT_WEIGHT = 1e-5
"""Added to the heat where it weighs the stress, so that no pair weighs nothing (as published)."""


EVEN = 1e-5
"""Distances all below this share of √(4t) are rounding errors."""


@dataclass(frozen=True, eq=False)
class Found:
    """Distances (n, n), or (n, m) to landmarks, and how they came about.

    Attributes
    ----------
    weights : ndarray like the distances, or None
        What the heat weighs each pair, if `weighed`.
    t : float, or ndarray for "multiscale"
    knee : float or None
    order : int
        Of the kernel at the longest time.
    """

    distances: Floats
    weights: Floats | None
    t: float | Floats
    knee: float | None
    order: int


@dataclass(frozen=True)
class HeatDistances:
    """The rule by which heat tells distances; the fields are the options of `HeatGeodesic` of these names."""

    laplacian: str
    method: str
    t: float | str
    rho: float
    harnack: str
    n_trusted: int | None
    power: float
    denoise: float
    floor: float
    tol: float
    order: int | None
    weighed: bool
    seed: int

    def of(self, graph: Graph, landmarks: Indices | None = None) -> Found:
        """Of all points of a connected graph, or from all to these rows."""
        operator = laplacian(graph, self.laplacian)
        options: dict[str, Any] = {"method": self.method, "tol": self.tol, "order": self.order, "seed": self.seed}
        if landmarks is not None and self.n_trusted is not None:
            options["tol"] = max(self.tol, NEAR_TOL)
        times, shares, knee = self._times(operator, graph, landmarks, options)
        total: Floats | None = None
        weights: Floats | None = None
        order = 0
        for heat, share in zip(heat_kernels(operator, times, columns=landmarks, **options), shares, strict=True):
            order = heat.order
            if self.weighed:
                near = np.exp(heat.log)
                near *= share / near.max()
                weights = near if weights is None else weights + near
            one = self._of_kernel(heat, graph, landmarks)
            total = share * one if total is None else total + share * one
        assert total is not None
        if not total.max() > EVEN * np.sqrt(4 * times[-1]) ** self.power:
            raise ValueError(
                f"in the time t={times[-1]:.3g} the heat has become even and tells no distances: shorten t"
            )
        t: float | Floats = float(times[0]) if len(times) == 1 else times
        weights = None if weights is None else weights + HEAT_WEIGHT
        return Found(triplet(total, self.denoise, landmarks), weights, t, knee, order)

    def _times(
        self, operator: csr_array, graph: Graph, landmarks: Indices | None, options: dict[str, Any]
    ) -> tuple[Floats, Floats, float | None]:
        """Times, what share the distances of each have, and the knee of the entropy."""
        if self.t == "multiscale":
            times = np.exp2(np.arange(1.0, 13.0)) / largest_eigenvalue(operator, seed=self.seed)
            return times, (1 - times / times.sum()) / (len(times) - 1), None
        knee = None
        if not isinstance(self.t, str):
            t = float(self.t)
        elif self.t == "knee" and (knee := entropy_knee(operator, self.seed)) is not None:
            t = knee
        else:
            if self.t == "knee":
                warnings.warn("the entropy of the heat has no knee: t is that of t='auto'", stacklevel=6)
            t = JUMPS / float(np.median(operator.diagonal()))
            longest = relaxation_time(operator, t, seed=self.seed)
            t = min(t, longest)
            if landmarks is not None:
                mass = masses(graph, self.laplacian)
                t = seeing_time(operator, mass, landmarks, (t, longest), NEIGHBORS, options, self.seed)
        return np.array([t]), np.ones(1), knee

    def _of_kernel(self, heat: LogHeat, graph: Graph, landmarks: Indices | None) -> Floats:
        """Distances of one time, (n, n) or (n, m)."""
        log, count = heat.log, self.n_trusted
        if self.floor:
            log = np.logaddexp(log, np.log(self.floor))
        if landmarks is None:
            log = (log + log.T) / 2
            columns = np.arange(len(log))
            own = among = log.diagonal()
        else:
            columns = landmarks
            own, among = log_diagonal(log, columns), log[columns, np.arange(len(columns))]
        distances = varadhan(nats(log, own, among, rho=self.rho, mean=self.harnack), heat.t)
        distances[columns, np.arange(len(columns))] = 0
        edges = edge_distances(graph, distances, columns)
        near = np.isfinite(distances) if count is None else near_pairs(distances, count, landmarks)
        if landmarks is not None:
            distances = completed_to_landmarks(distances, near, landmarks, edges)
        elif count is None:
            distances = filled(distances, near, edges, sample(len(log), min(ANCHORS, len(log)), self.seed))
        else:
            distances = completed(distances, near, edges)
        return distances if self.power == 1 else distances**self.power


def edge_distances(graph: Graph, distances: Floats, columns: Indices) -> csr_array:
    """The edges of a graph as long as heat has them; those it does not know, by their length.

    The heat's unit of length is that of the edges with an end in `columns` that it does know.
    """
    at = np.full(len(distances), -1)
    at[columns] = np.arange(len(columns))
    edges = graph.lengths.copy()
    i, j = np.repeat(np.arange(len(distances)), np.diff(edges.indptr)), edges.indices
    known = at[j] >= 0
    by_heat = np.full(len(i), np.inf)
    by_heat[known] = distances[i[known], at[j[known]]]
    sure = np.isfinite(by_heat) & (by_heat > 0)
    unit = np.median(by_heat[sure] / edges.data[sure]) if sure.any() else 1.0
    by_length = unit * edges.data
    edges.data = np.where(np.isfinite(by_heat), np.maximum(by_heat, np.finfo(float).tiny), by_length)
    return edges.maximum(edges.T)
