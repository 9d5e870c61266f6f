"""SphericalMDS: a map on the sphere that keeps angles, and the width and distance of the clouds exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from geomclip.embeddings.geometry import normalize
from geomclip.machine.extras import optional
from geomclip.projections.base import Projection, alike, whole
from geomclip.projections.neighbors import NeighborSearch
from geomclip.projections.spherical.descent import descended
from geomclip.projections.spherical.moments import Clouds, means_in_space, turned_towards
from geomclip.projections.spherical.start import carried, resized, starts

Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]
S = TypeVar("S", bound="SphericalMDS")

EXACT_UP_TO = 5_000
"""Points whose angles are all taken: 100 MB of them."""

LANDMARKS = 1_000
"""Points that the others' angles are taken to where there are more: 40 MB at 10,000, 0.4 GB at 100,000."""

TRIED_ON = 300
"""Points that the starts are tried on, and the steps of that."""
TRIED_FOR = 15


@dataclass(frozen=True, eq=False)
class Points:
    """Unit rows (n, d), cloud by cloud, with a weight each."""

    x: NDArray[np.float32]
    group: Rows
    weight: Doubles

    @property
    def slices(self) -> list[slice]:
        """The rows of each cloud."""
        ends = np.cumsum(np.bincount(self.group))
        return [slice(*bounds) for bounds in zip([0, *ends[:-1]], ends, strict=True)]

    @cached_property
    def means(self) -> Doubles:
        """Vectors (g, 3) as long as the mean rows of the clouds, and as far apart."""
        return means_in_space(np.stack([self.x[each].mean(axis=0, dtype=np.float64) for each in self.slices]))

    def some(self, rows: Rows) -> Points:
        """Those of these rows, which rise."""
        return Points(self.x[rows], self.group[rows], self.weight[rows])

    def clouds(self, means: Doubles | None, degree: Doubles) -> Clouds:
        """What they may be drawn as."""
        return Clouds(self.slices, means, degree[:, None])


class SphericalMDS(Projection):
    """Multidimensional scaling on the sphere: x (n, d) to unit rows (n, 3) whose great-circle distances are the angles.

    Minimises the spherical stress Σ W_ij (θ'_ij − θ_ij)² of drawn angles θ' and true ones θ between rows. Of two
    clouds, such as images and texts, the pairs within each and across have a third of the weight each, so that no
    cloud counts by its number of points; within a third W goes by θ², nine parts in ten, so that what is far apart is
    not laid together.

    And with `moments`, of all maps those are looked at whose first moments are right: the mean vector of each drawn
    cloud is as long as that of its rows, and the two are as far apart. So the mean cosine of each cloud over its
    pairs and the gap between both are those of the rows, to rounding: two vectors have a place in space whatever the
    dimension. Stress alone draws cones of CLIP too narrow and too far apart, for on a sphere of two dimensions points
    cannot all be as far from each other as they are in hundreds.

    Parameters
    ----------
    moments : bool
        Hold the mean cosine of each cloud and the gap. False: the least stress of all maps.
    landmarks : int or None
        Points drawn by lot, evenly from the clouds. They get a map of their own, then all points their places by
        their angles to these. None: all points up to 5,000, else 1,000. No more is held than n x landmarks.
    init : "auto" or array of shape (n, 3)
        "auto": the best of five starts by principal directions, tried on 300 points. Rows of an array are only taken
        as directions; each cloud is resized to what it must be.
    n_iter : int
        Steps of the descent at most.
    tol : float
        It ends where the stress has fallen by less than this share in 10 steps.
    random_state : int or None
        Of the landmarks, and of the small noise that parts equal points at the start. The same one gives the same
        bytes on the same machine.

    Attributes
    ----------
    embedding_ : ndarray of shape (n, 3)
        Unit rows. Both means lie in the plane of x and y, their halves about x; of an array as `init` near its own.
    angle_error_ : float
        Root mean square difference of drawn and true angles in radians: of each kind of pairs, then over kinds.
    n_iter_ : int
    landmarks_ : ndarray of shape (l,)
        Rows whose angles to all were taken.

    Raises
    ------
    ValueError
        If a row is zero and has no angle, an option or what `fit` is told of the points is out of range; and as
        `Projection.fit`.
    NotAvailableError
        If numba is not installed.

    References
    ----------
    Cox and Cox (1991), "Multidimensional scaling on a sphere", Communications in Statistics 20. De Leeuw and Mair
    (2009), "Multidimensional scaling using majorization: SMACOF in R", JSS 31, for spherical constraints. De Silva
    and Tenenbaum (2004), "Sparse multidimensional scaling using landmark points".

    Examples
    --------
    >>> image, text = np.eye(6) + 0.5, np.eye(6) - 0.5
    >>> drawn = SphericalMDS().fit_transform(np.concatenate([image, text]), groups=[0] * 6 + [1] * 6)
    >>> true = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (image, text)]
    >>> [float(np.linalg.norm(rows.mean(axis=0)).round(4)) for rows in (true[0], drawn[:6])]
    [0.8729, 0.8729]
    """

    def __init__(
        self,
        moments: bool = True,
        landmarks: int | None = None,
        init: str | ArrayLike = "auto",
        n_iter: int = 200,
        tol: float = 1e-3,
        random_state: int | None = 0,
    ) -> None:
        self.moments = moments
        self.landmarks = landmarks
        self.init = init
        self.n_iter = n_iter
        self.tol = tol
        self.random_state = random_state

    def fit(
        self: S,
        x: Any,
        y: None = None,
        *,
        neighbors: NeighborSearch | None = None,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> S:
        """Draw the points.

        Parameters
        ----------
        x, y, neighbors
            As `Projection.fit` takes them; no neighbours are needed.
        groups : array of shape (n,), optional
            The cloud of each point, one of two values at most. Left out: one cloud.
        sample_weight : array of shape (n,), optional
            What a point counts in the stress of its cloud, above 0: a caption of five one fifth. The moments are
            those of all rows alike, as `geomclip.metrics` has them.

        Returns
        -------
        self
        """

        def draw(rows: NDArray[Any], near: NeighborSearch) -> Doubles:
            return self._drawn(rows, _groups(groups, len(rows)), _weights(sample_weight, len(rows)))

        return self._fit_by(x, neighbors, draw)

    def fit_transform(
        self,
        x: Any,
        y: None = None,
        *,
        neighbors: NeighborSearch | None = None,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Any:
        """`fit`, then the drawn points (n, 3): a tensor if x is one, else a numpy array."""
        fitted = self.fit(x, neighbors=neighbors, groups=groups, sample_weight=sample_weight)
        return alike(fitted.embedding_, x)

    def _check(self, x: NDArray[Any]) -> None:
        super()._check(x)
        whole("n_iter", self.n_iter, 1)
        if self.landmarks is not None:
            whole("landmarks", self.landmarks, 2)
        if not (isinstance(self.tol, int | float) and np.isfinite(self.tol) and self.tol >= 0):
            raise ValueError(f"tol must be 0 or more, got {self.tol!r}")
        if not isinstance(self.moments, bool):
            raise ValueError(f"moments must be True or False, got {self.moments!r}")

    def _drawn(self, x: NDArray[Any], group: Rows, weight: Doubles) -> Doubles:
        optional("numba", "SphericalMDS")
        from geomclip.machine.loops import one_thread
        from geomclip.projections.spherical.stress import ALONE_UP_TO

        given = self._given(len(x))
        rows = normalize(torch.from_numpy(x))[0].numpy().astype(np.float32)
        order = np.argsort(group, kind="stable")
        points = Points(rows[order], group[order], weight[order])
        few = self._landmarks_of(points)
        with one_thread(len(x) * len(few) <= ALONE_UP_TO):
            end = self._descended(points, few, None if given is None else given[order])
        self.landmarks_ = np.sort(order[few])
        placed = np.empty_like(end)
        placed[order] = end
        return placed

    def _descended(self, points: Points, few: Rows, given: Doubles | None) -> Doubles:
        """Drawn points (n, 3): where all are landmarks by the stress of all pairs, else these first, then all."""
        from geomclip.projections.spherical.stress import Stress

        means = points.means
        if given is None:
            start = self._best_start(points)
        else:
            means = turned_towards(means, np.stack([given[each].mean(axis=0) for each in points.slices]))
            noise = np.random.default_rng(self.random_state).normal(size=given.shape)
            parts = zip(points.slices, means, strict=True)
            start = np.concatenate([resized(given[each], mean, noise[each]) for each, mean in parts])
        if len(few) == len(points.x):
            stress = Stress.of(points.x, few, points.group, points.weight)
            clouds = points.clouds(means if self.moments else None, 2 * stress.degree)
            found = descended(stress, clouds, clouds.surely_onto(start), most=self.n_iter, tol=self.tol)
        else:
            marks, before = self._marks(points.some(few), start[few])
            stress = Stress.of(points.x, few, points.group, points.weight)
            clouds = points.clouds(means if self.moments else None, stress.degree)
            start = carried(start, few, marks, points.slices)
            found = descended(
                stress.about(marks), clouds, clouds.surely_onto(start), most=max(1, self.n_iter - before), tol=self.tol
            )
            found = replace(found, steps=found.steps + before)
        end = clouds.surely_onto(found.u)
        self.n_iter_, self.angle_error_ = found.steps, stress.root_mean_square(end)
        return end

    def _marks(self, points: Points, start: Doubles) -> tuple[Doubles, int]:
        """Where the landmarks lie in a map of their own, and the steps that it took."""
        from geomclip.projections.spherical.stress import Stress

        stress = Stress.of(points.x, np.arange(len(points.x)), points.group, points.weight)
        means = turned_towards(points.means, np.stack([start[each].mean(axis=0) for each in points.slices]))
        clouds = points.clouds(means if self.moments else None, 2 * stress.degree)
        found = descended(stress, clouds, clouds.surely_onto(start), most=self.n_iter, tol=self.tol)
        return found.u, found.steps

    def _landmarks_of(self, points: Points) -> Rows:
        """Rows of the points that are landmarks, rising: as many of each cloud, as far as it has them."""
        n = len(points.x)
        wanted = (n if n <= EXACT_UP_TO else LANDMARKS) if self.landmarks is None else min(n, self.landmarks)
        if wanted == n:
            return np.arange(n)
        rng = np.random.default_rng(self.random_state)
        by_lot = [rng.permutation(np.arange(n)[each]) for each in points.slices]
        chosen: list[Rows] = []
        # the smaller first: what it does not have, the larger gives
        for left, each in enumerate(sorted(by_lot, key=len)):
            share = (wanted - sum(map(len, chosen))) // (len(by_lot) - left)
            chosen.append(each[: max(1, share)])
        return np.sort(np.concatenate(chosen))

    def _best_start(self, points: Points) -> Doubles:
        """The start from which the stress of a few points falls furthest."""
        from geomclip.projections.spherical.stress import Stress

        step = -(-len(points.x) // TRIED_ON)  # rounded up
        few = np.concatenate([np.arange(len(points.x))[each][::step] for each in points.slices])
        some = points.some(few)
        stress = Stress.of(some.x, np.arange(len(few)), some.group, some.weight)
        clouds = some.clouds(some.means if self.moments else None, 2 * stress.degree)
        ways = list(starts(points.x, points.slices, points.means, points.weight, self.random_state))
        ends = [descended(stress, clouds, clouds.surely_onto(way[few]), most=TRIED_FOR, tol=0).value for way in ways]
        return ways[int(np.argmin(ends))]

    def _given(self, n: int) -> Doubles | None:
        """Unit rows of `init`; None for "auto"."""
        if isinstance(self.init, str):
            if self.init != "auto":
                raise ValueError(f"init must be 'auto' or an array, got {self.init!r}")
            return None
        start = np.asarray(self.init, dtype=np.float64)
        if start.shape != (n, 3):
            raise ValueError(f"init must be 'auto' or of shape ({n}, 3), got {start.shape}")
        lengths = np.linalg.norm(start, axis=1, keepdims=True)
        bad = ~(np.isfinite(lengths) & (lengths > 0))[:, 0]
        if bad.any():
            raise ValueError(f"init row {int(bad.argmax())} has no direction")
        return np.asarray(start / lengths)


def _groups(groups: ArrayLike | None, n: int) -> Rows:
    """The cloud of each point, from 0 in the order of the labels."""
    if groups is None:
        return np.zeros(n, dtype=np.int64)
    labels = np.asarray(groups)
    if labels.shape != (n,):
        raise ValueError(f"groups must hold a label for each of {n} points, got shape {labels.shape}")
    values, group = np.unique(labels, return_inverse=True)
    if len(values) > 2:
        raise ValueError(f"groups must hold at most 2 labels, got {len(values)}")
    return group.astype(np.int64)


def _weights(weights: ArrayLike | None, n: int) -> Doubles:
    if weights is None:
        return np.ones(n)
    found = np.asarray(weights, dtype=np.float64)
    if found.shape != (n,):
        raise ValueError(f"sample_weight must hold a number for each of {n} points, got shape {found.shape}")
    bad = ~(np.isfinite(found) & (found > 0))
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"sample_weight row {row} must be above 0, got {found[row]:g}")
    return found
