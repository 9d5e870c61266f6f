"""DOSNES: a map of neighbours on the sphere, where no point has to lie in the middle and none at the rim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geomclip.machine.extras import optional
from geomclip.projections.base import Projection, whole
from geomclip.projections.dosnes.affinities import balanced, of_bandwidth, of_perplexity
from geomclip.projections.neighbors import NeighborSearch

if TYPE_CHECKING:
    from geomclip.projections.dosnes.forces import Cells, Edges

Floats = NDArray[np.float32]

EXACT_UP_TO = 3_000
"""Points for which "auto" takes the repulsion of all pairs; at 10,000 cells take a twentieth of its time."""

FULL_UP_TO = 5_000
"""Points that a fixed bandwidth, whose graph is full, is started with."""

EVERY = 25
"""Iterations between two looks at the objective, and between two sortings of the cells."""

LONGEST = 5.0
"""Step of one iteration, in units of the kernel's width; half the radius on a small sphere."""

EARLY = 100
"""Iterations under early exaggeration."""


@dataclass(frozen=True)
class Schedule:
    """Iterations at most, the step of log radius along its slope, and the limit of that step."""

    iterations: int
    pace: float
    stride: float


PATIENT = Schedule(iterations=500, pace=0.1, stride=0.05)
QUICK = Schedule(iterations=300, pace=0.3, stride=0.1)
"""Of very many points most iterations go into the growth of the radius."""

QUICK_FROM = 30_000
"""Points: with more the schedule is the quick one."""


class DOSNES(Projection):
    """Doubly stochastic neighbour embedding on the sphere: x (n, d) to unit rows (n, 3).

    t-SNE's objective KL(P ‖ Q), Q ∝ w = 1/(1 + ‖y_i − y_j‖²), with three changes. P is scaled to rows and columns of
    1/n (Sinkhorn and Knopp), so every point has as many neighbours as any other and none belongs in the middle. The
    points y_i = r u_i lie on a sphere in space, u_i being the answer. And its radius r is learned: where it is small
    the kernel is as wide as the sphere and orders the whole, where it is large neighbours are told apart. It starts
    at 1 and grows by the slope ∂KL/∂log r = 2(Σ q w − Σ p w).

    Where the authors take a step in space and put the points back to their mean radius, the step here is along the
    sphere: the gradient's tangent part, momentum carried along, one gain a point. So a turned start gives a turned
    map, and the radius has a rule of its own instead of drifting out by the length of the steps.

    Parameters
    ----------
    perplexity : float or None
        Neighbours that count for a point, 1 on; the graph holds three times as many. Of n points at most (n − 1)/3
        are taken: `perplexity_` tells. None: see `bandwidth`.
    bandwidth : float or None
        With perplexity=None: P of all pairs, exp(−D²/(2 bandwidth²)) of squared distances D, the same everywhere. 1
        is what the authors draw unit rows with. Up to 5,000 points.
    n_iter : int or "auto"
        Iterations at most. The first 100 are under early exaggeration. After them it ends where KL has fallen by less
        than `tol` in 25. "auto": 500; of more than 30,000 points 300, whose radius grows three times as fast, which is
        as good for embeddings in clusters, while noise without any (a Gaussian in 20 dimensions) is kept less truly
        (trustworthiness 0.86 for 0.88). A number, such as 500, has the slower radius for any number of points.
    early_exaggeration : float
        What attraction is multiplied by at first, at least 1. No more than all points have more pairs than edges: a
        nearly full graph would be drawn together into one place.
    learning_rate : float or "auto"
        Of KL's gradient for y. "auto": n/early_exaggeration at first, then n.
    init : "pca" or array of shape (n, 3)
        "pca": directions of the first three principal components, each at variance 1. Rows of an array are only
        taken as directions.
    neighbors : {"auto", "exact", "approximate"}
        As `neighbors.nearest` takes it; exact up to 30,000 points.
    repulsion : {"auto", "exact", "cells"}
        "exact" sums over all pairs, n² terms an iteration. "cells" takes the points of a far cell of a balanced tree
        at their centroid: forces are right to 0.5 % (root mean square), in n log n. "auto": exact up to 3,000 points.
    tol : float
        In nats. 0 goes through all iterations.
    random_state : int or None
        Of the small noise that parts equal points at the start, of PCA and of an approximate search. The same one
        gives the same bytes on the same machine, with any number of threads that the BLAS behind PCA does not change.

    Attributes
    ----------
    embedding_ : ndarray of shape (n, 3)
        Unit rows. The orientation is that of the start: for "pca" the first principal component lies along x.
    radius_ : float
        In units of the kernel's width.
    kl_divergence_ : float
        In nats, at the end.
    n_iter_ : int
    method_ : {"exact", "cells"}
        How repulsion was summed.
    perplexity_ : float or None
        What was used.

    Raises
    ------
    ValueError
        If an option is out of range, perplexity and bandwidth are both or neither set, or there is a bandwidth for
        more than 5,000 points; and as `Projection.fit`.
    NotAvailableError
        If numba is not installed.

    References
    ----------
    Lu, Corander and Yang (2019), "Doubly stochastic neighbor embedding on spheres", Pattern Recognition Letters 128.
    Start, rate and exaggeration follow Belkina et al. (2019), Nature Communications 10, and Kobak and Berens (2019),
    same journal.

    Examples
    --------
    >>> corners = np.eye(4).repeat(5, axis=0) + 0.1 * np.random.default_rng(0).normal(size=(20, 4))
    >>> drawn = DOSNES(random_state=0).fit_transform(corners)
    >>> drawn.shape, np.linalg.norm(drawn, axis=1).round(6).tolist() == [1] * 20
    ((20, 3), True)
    """

    def __init__(
        self,
        perplexity: float | None = 30.0,
        bandwidth: float | None = None,
        n_iter: int | str = "auto",
        early_exaggeration: float = 4.0,
        learning_rate: float | str = "auto",
        init: str | ArrayLike = "pca",
        neighbors: str = "auto",
        repulsion: str = "auto",
        tol: float = 1e-3,
        random_state: int | None = 0,
    ) -> None:
        self.perplexity = perplexity
        self.bandwidth = bandwidth
        self.n_iter = n_iter
        self.early_exaggeration = early_exaggeration
        self.learning_rate = learning_rate
        self.init = init
        self.neighbors = neighbors
        self.repulsion = repulsion
        self.tol = tol
        self.random_state = random_state

    def _check(self, x: NDArray[Any]) -> None:
        super()._check(x)
        if isinstance(self.n_iter, str) and self.n_iter != "auto":
            raise ValueError(f"n_iter must be 'auto' or a whole number from 1 on, got {self.n_iter!r}")
        if not isinstance(self.n_iter, str):
            whole("n_iter", self.n_iter, 1)
        if (self.perplexity is None) == (self.bandwidth is None):
            raise ValueError("give a perplexity or a bandwidth: for a bandwidth, perplexity=None")
        for name, least in (("perplexity", 1), ("bandwidth", None), ("early_exaggeration", 1), ("tol", 0)):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and (value > 0 if least is None else value >= least)):
                raise ValueError(f"{name} must be {'above 0' if least is None else f'{least} or more'}, got {value!r}")
        rate = self.learning_rate
        if not (rate == "auto" if isinstance(rate, str) else np.isfinite(rate) and rate > 0):
            raise ValueError(f"learning_rate must be 'auto' or above 0, got {rate!r}")
        if self.repulsion not in ("auto", "exact", "cells"):
            raise ValueError(f"repulsion must be auto, exact or cells, got {self.repulsion!r}")
        if self.bandwidth is not None and len(x) > FULL_UP_TO:
            raise ValueError(
                f"a bandwidth joins all pairs: {len(x):,} points take {len(x) ** 2 * 36 / 1e9:.1f} GB, and it is "
                f"started with up to {FULL_UP_TO:,}; a perplexity (30) joins near ones only, to 100,000 points and on"
            )

    def _fit(self, x: NDArray[Any], near: NeighborSearch) -> Floats:
        optional("numba", "DOSNES")
        from geomclip.machine.loops import one_thread
        from geomclip.projections.dosnes import forces

        with one_thread(len(x) <= forces.ALONE_UP_TO):
            return self._descended(x, near)

    def _descended(self, x: NDArray[Any], near: NeighborSearch) -> Floats:
        from geomclip.projections.dosnes import forces

        directions = self._start(x)
        graph, _ = balanced(self._graph(x, near))
        n = len(x)
        exact = self.repulsion == "exact" or (self.repulsion == "auto" and n <= EXACT_UP_TO)
        self.method_ = "exact" if exact else "cells"
        schedule = QUICK if n > QUICK_FROM and isinstance(self.n_iter, str) else PATIENT
        edges = forces.Edges(graph * n, copies=n > QUICK_FROM)
        descent = Descent(directions, edges, None if exact else forces.Cells(directions), schedule)
        entropy = float((graph.data * np.log(np.maximum(graph.data, 1e-300))).sum())  # Σ p log p
        exaggerated = max(1.0, min(float(self.early_exaggeration), n * (n - 1) / max(1, graph.nnz)))
        most = schedule.iterations if isinstance(self.n_iter, str) else self.n_iter
        del graph
        before, step = np.inf, 0
        while step < most:
            step += 1
            exaggeration = exaggerated if step <= EARLY else 1.0
            rate = 1 / exaggeration if isinstance(self.learning_rate, str) else self.learning_rate / n
            descent.step(exaggeration, rate)
            if step > EARLY and step % EVERY == 0:
                now = entropy + descent.cross_entropy()
                if before - now < self.tol:
                    break
                before = now
        self.n_iter_ = step
        self.kl_divergence_ = entropy + descent.cross_entropy()
        self.radius_ = descent.radius
        return descent.u

    def _graph(self, x: NDArray[Any], near: NeighborSearch) -> Any:
        """Symmetric affinities before they are balanced."""
        if self.bandwidth is not None:
            self.perplexity_ = None
            return of_bandwidth(x, self.bandwidth)
        assert self.perplexity is not None
        n = len(x)
        self.perplexity_ = min(float(self.perplexity), max(1.0, (n - 1) / 3))
        k = min(n - 1, int(np.ceil(3 * self.perplexity_)))
        found = near.nearest(k, metric="euclidean", method=self.neighbors, random_state=self.random_state)
        return of_perplexity(*found, self.perplexity_)

    def _start(self, x: NDArray[Any]) -> Floats:
        """Unit rows (n, 3) to begin with."""
        if not isinstance(self.init, str):
            start = np.asarray(self.init, dtype=np.float64)
            if start.shape != (len(x), 3):
                raise ValueError(f"init must be 'pca' or of shape ({len(x)}, 3), got {start.shape}")
            lengths = np.linalg.norm(start, axis=1, keepdims=True)
            bad = ~(np.isfinite(lengths) & (lengths > 0))[:, 0]
            if bad.any():
                raise ValueError(f"init row {int(bad.argmax())} has no direction")
            return (start / lengths).astype(np.float32)
        if self.init != "pca":
            raise ValueError(f"init must be 'pca' or an array, got {self.init!r}")
        from sklearn.decomposition import PCA

        count = min(3, *x.shape)
        scores = np.zeros((len(x), 3))
        scores[:, :count] = PCA(count, random_state=self.random_state).fit_transform(x)
        spread = scores.std(axis=0)
        scores /= np.where(spread > 1e-6 * spread[0], spread, np.inf)
        # equal points, and points on a line, would otherwise stay one
        scores += 0.01 * np.random.default_rng(self.random_state).normal(size=scores.shape)
        return (scores / np.linalg.norm(scores, axis=1, keepdims=True)).astype(np.float32)


class Descent:
    """Points u on the unit sphere, and its radius, on their way down KL(P ‖ Q) of y = radius · u.

    `edges` hold n p_ij, so that all forces are n times the gradient's, and of the order of 1 whatever n is.
    """

    def __init__(self, u: Floats, edges: Edges, cells: Cells | None, schedule: Schedule = PATIENT) -> None:
        from geomclip.projections.dosnes import moves

        self.u = u
        self.schedule = schedule
        self.move = moves.moved_by_loop if len(u) > QUICK_FROM else moves.moved
        self.radius = 1.0
        self.edges, self.cells = edges, cells
        self.mass = float(edges.weight.sum(dtype=np.float64)) / len(u)  # Σ p beside the diagonal, just under 1
        self.velocity = np.zeros_like(u)
        self.gains = np.ones((len(u), 1), dtype=np.float32)
        self.steps = 0

    def gradient(self, exaggeration: float = 1.0) -> tuple[Floats, float]:
        """n ∂KL/∂y (n, 3), before it is brought to the tangent plane, and ∂KL/∂log radius."""
        from geomclip.projections.dosnes.forces import exact

        y = np.float32(self.radius) * self.u
        pull, pw = self.edges.attraction(y)
        push, w, ww = exact(y) if self.cells is None else self.cells(y)
        self.z = float(w.sum(dtype=np.float64))  # normalises q
        n = len(y)
        gradient = np.float32(4 * exaggeration) * pull - np.float32(4 * n * self.mass / self.z) * push
        # y_i·(y_i − y_j) is half the squared distance, and w times that distance squared is 1 − w
        near = exaggeration * (self.mass - float(pw.sum(dtype=np.float64)) / n)
        return gradient, 2 * (near - self.mass * (1 - float(ww.sum(dtype=np.float64)) / self.z))

    def step(self, exaggeration: float, rate: float) -> None:
        """One iteration; `rate` multiplies n times the gradient."""
        if self.cells is not None and self.steps % EVERY == 0:
            self.cells.sort(self.u)
        self.steps += 1
        gradient, slope = self.gradient(exaggeration)
        longest = min(LONGEST, self.radius / 2)
        state = self.u, self.velocity, self.gains
        self.u, self.velocity, self.gains = self.move(*state, gradient, rate, longest, self.radius)
        pace, stride = self.schedule.pace, self.schedule.stride
        self.radius *= float(np.exp(-np.clip(pace * slope / (2 * exaggeration), -stride, stride)))

    def cross_entropy(self) -> float:
        """−Σ p log q of the points as they are."""
        self.gradient()  # for z
        stretch = self.edges.stretch(np.float32(self.radius) * self.u)
        return float(stretch.sum(dtype=np.float64)) / len(self.u) + self.mass * float(np.log(self.z))
