"""UMAP on a plane, in space or on a sphere: umap-learn with exact neighbours, and its sphere read aright."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.utils.metaestimators import available_if

from geomclip.machine.extras import optional
from geomclip.machine.threads import same_torch_threads
from geomclip.projections.base import PlacesNewPoints, whole
from geomclip.projections.neighbors import NeighborSearch, nearest_among

OUTPUTS = ("plane", "sphere")
TIED = 0.1
"""How strongly AlignedUMAP ties each point to itself in the other map. At its default, a tenth of it, a set and itself
lie 0.5 of their spread apart (60 points) or 0.06 (600 of CLIP); so 0.15 and 0.03, and neighbours are kept as well."""

FARTHER_THAN_ALL = 1e30
"""No neighbour is so far that it is left out: umap-learn leaves out those of opposite direction."""


def _is_plane(estimator: UMAP) -> bool:
    """Whether new points can be placed: on its sphere umap-learn would average angles across 0 = 2π."""
    if estimator.output == "sphere":
        raise AttributeError("UMAP on a sphere cannot place new points: SVD, PCA, TSNE and UMAP on a plane can")
    return True


class UMAP(PlacesNewPoints):
    """Neighbours stay neighbours: a fuzzy graph of them, laid out by attraction along its edges and repulsion.

    Distances between far points, densities and sizes of clusters mean little on the map.

    Parameters
    ----------
    n_components : int
        On a sphere 2, its dimension, though its points have three coordinates.
    n_neighbors : int
        From 2 on; below the number of points. More: the large shape rather than the small one.
    min_dist : float
        From 0 to 1: how close points may lie. Smaller: denser clumps.
    metric : str
        "angular" (of directions; what umap-learn calls cosine) or "euclidean".
    output : str
        "plane" (or space, by `n_components`) or "sphere": unit rows (n, 3).
    random_state : int, optional
        A seed gives the same map each time on one thread; None: another one each time, on all threads.

    Attributes
    ----------
    embedding_ : ndarray of shape (n, n_components), or (n, 3) on a sphere

    Notes
    -----
    Neighbours are exact up to 30,000 points, by `geomclip.projections.neighbors.nearest`. On a sphere umap-learn
    gives two unbounded angles; though its haversine distance takes the first as a latitude, its gradient adds π/2
    to it, so the layout has it as a colatitude, and as one it is read here.

    References
    ----------
    McInnes, Healy and Melville (2018), "UMAP: uniform manifold approximation and projection", arXiv 1802.03426.
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        n_neighbors: int = 15,
        min_dist: float = 0.1,
        metric: str = "angular",
        output: str = "plane",
        random_state: int | None = 0,
    ) -> None:
        self.n_components = n_components
        self.n_neighbors = n_neighbors
        self.min_dist = min_dist
        self.metric = metric
        self.output = output
        self.random_state = random_state

    def _least(self) -> tuple[int, str]:
        neighbors = whole("n_neighbors", self.n_neighbors, 2)
        return max(4, neighbors + 1), f"n_neighbors={neighbors}" if neighbors > 3 else ""

    def _fit(self, x: NDArray[Any], near: NeighborSearch) -> NDArray[Any]:
        self._check_options()
        umap = umap_learn()
        sphere = self.output == "sphere"
        found = _found(x, near, self.n_neighbors, self.metric, self.random_state)
        with without_warnings():
            self._umap = umap.UMAP(
                **options_of(self),
                init=_start(x, found[0], self.n_components),
                output_metric="haversine" if sphere else "euclidean",
                precomputed_knn=found,
                disconnection_distance=FARTHER_THAN_ALL,
                n_jobs=-1 if self.random_state is None else 1,
            ).fit(x)
        drawn = np.asarray(self._umap.embedding_)
        return on_sphere(drawn) if sphere else drawn

    def aligned(self, before: NDArray[Any], after: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Two clouds of the same items, row by row, drawn on common axes by AlignedUMAP with these options."""
        for x in (before, after):
            self._check(x)
        self._check_options()
        rows = {row: row for row in range(len(before))}
        with without_warnings(), same_torch_threads():
            # the sum of both graphs is laid out as one; umap-learn finds the neighbours itself here
            aligned_umap = optional("umap.aligned_umap", "UMAP").AlignedUMAP
            mapper = aligned_umap(**options_of(self), alignment_regularisation=TIED)
            drawn = mapper.fit_transform([before, after], relations=[rows])
        return np.asarray(drawn[0]), np.asarray(drawn[1])

    def _transform(self, x: NDArray[Any]) -> NDArray[Any]:
        with without_warnings():
            return np.asarray(self._umap.transform(x.astype(np.float32)))

    def _check_options(self) -> None:
        if self.output not in OUTPUTS:
            raise ValueError(f"output must be {' or '.join(OUTPUTS)}, got {self.output!r}")
        if self.metric not in ("angular", "euclidean"):
            raise ValueError(f"metric must be angular or euclidean, got {self.metric!r}")
        if whole("n_components", self.n_components, 1) != 2 and self.output == "sphere":
            raise ValueError(f"a sphere has 2 dimensions: n_components={self.n_components} must be 2")
        if not 0 <= self.min_dist <= 1:
            raise ValueError(f"min_dist must be 0 to 1, got {self.min_dist}")


# here, since scikit-learn wraps what a class body holds and would hide the condition
UMAP.transform = available_if(_is_plane)(PlacesNewPoints.transform)  # type: ignore[method-assign]


def umap_learn() -> Any:
    """The package, without what it says of its part for TensorFlow."""
    with without_warnings():
        return optional("umap", "UMAP")


def options_of(estimator: UMAP) -> dict[str, Any]:
    """The options of umap-learn that one map and two aligned ones share."""
    return {
        "n_components": estimator.n_components,
        "n_neighbors": estimator.n_neighbors,
        "min_dist": estimator.min_dist,
        "metric": {"angular": "cosine"}.get(estimator.metric, estimator.metric),
        "random_state": estimator.random_state,
    }


def on_sphere(angles: NDArray[Any]) -> NDArray[np.float64]:
    """Unit rows (n, 3) of unbounded colatitudes and longitudes (n, 2).

    Examples
    --------
    >>> on_sphere(np.array([[0.0, 1.0], [np.pi / 2, 0.0], [-np.pi / 2, np.pi]])).round(6).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [1.0, -0.0, 0.0]]
    """
    colatitude, longitude = angles.astype(np.float64).T
    across = np.sin(colatitude)
    return np.stack([across * np.cos(longitude), across * np.sin(longitude), np.cos(colatitude)], axis=1)


def _start(x: NDArray[Any], neighbors: NDArray[Any], n_components: int) -> str:
    """Where points start: by the spectrum of the graph of neighbours (n, k), where that says how the whole lies.

    Of a graph in parts the spectrum is found part by part, and not the same twice: then by principal components.
    """
    n, k = neighbors.shape
    edges = (np.ones(n * k), (np.repeat(np.arange(n), k), neighbors.ravel()))
    parts, _ = connected_components(csr_matrix(edges, shape=(n, n)), directed=False)
    if parts == 1 and n > 8 * (n_components + 1):  # far fewer points than that have no such spectrum
        return "spectral"
    return "pca" if min(x.shape) >= n_components else "random"


def _found(
    x: NDArray[Any], near: NeighborSearch, n_neighbors: int, metric: str, random_state: int | None
) -> tuple[Any, Any, Any]:
    """Neighbours as umap-learn wants them: each row with itself first, its distances, and a search for new rows."""
    distances, indices = near.nearest(n_neighbors - 1, metric=metric, random_state=random_state)
    itself = np.arange(len(x), dtype=indices.dtype)[:, None]
    measured = np.concatenate([np.zeros((len(x), 1), np.float32), _as_umap(distances, metric)], axis=1)
    return np.concatenate([itself, indices], axis=1), measured, _search(x, metric)


def _search(x: NDArray[Any], metric: str) -> Any:
    """An exact search among the rows of x, dressed as the index of pynndescent that umap-learn looks for."""
    index = optional("pynndescent", "UMAP").NNDescent

    class Exact(index):  # type: ignore[misc, valid-type]
        _angular_trees = metric == "angular"

        def __init__(self) -> None:
            pass

        def __reduce__(self) -> tuple[Any, ...]:
            return _search, (x, metric)

        def query(self, new: NDArray[Any], k: int, epsilon: float) -> tuple[NDArray[Any], NDArray[Any]]:
            distances, indices = nearest_among(new, x, k, metric=metric)
            return indices, _as_umap(distances.astype(np.float32), metric)

    return Exact()


def _as_umap(distances: NDArray[np.float32], metric: str) -> NDArray[np.float32]:
    """1 − cos of angles: its cosine distance."""
    return 2 * np.sin(distances / 2) ** 2 if metric == "angular" else distances


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silence what umap-learn says of itself and the caller can do nothing about."""
    with warnings.catch_warnings():
        for message in (
            "Tensorflow not installed",  # of a part that is not used here
            "n_jobs value .* overridden to 1",  # what a seed asks for
            "gradient function is not yet implemented",  # of the inverse transform
            "Spectral initialisation failed",  # it then starts at random, with the same seed
            ".*force_all_finite.* was renamed",  # between its and scikit-learn's releases
            "Graph is not fully connected",  # of the start; it lays the parts out one by one
        ):
            warnings.filterwarnings("ignore", message)
        yield
