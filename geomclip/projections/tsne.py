"""t-SNE by openTSNE, with exact neighbours."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomclip.machine.extras import optional
from geomclip.projections.base import PlacesNewPoints, whole
from geomclip.projections.neighbors import NeighborSearch, nearest_among

EXAGGERATED = 250
"""Steps with attraction 12 times as strong, by which clusters find their places; none from drawn points."""


class TSNE(PlacesNewPoints):
    """Near neighbours stay near: matches the distribution of each point's neighbours in the space and on a plane.

    Clusters come apart well; how far apart, and how large they are, means nothing.

    Parameters
    ----------
    n_components : int
        2: openTSNE draws planes.
    perplexity : float
        How many neighbours count, from 1 to a third of the points.
    metric : str
        "angular" (of directions) or "euclidean".
    n_iter : int
        Steps, after 250 of early exaggeration.
    init : str or array of shape (n, 2)
        Where points start: "pca", "spectral", "random"; or drawn points, which then move from there without
        early exaggeration.
    n_jobs : int
        Threads; −1: all.
    random_state : int, optional
        None: another map each time.

    Attributes
    ----------
    embedding_ : ndarray of shape (n, 2)
    kl_divergence_ : float
        What is minimised, at the end.

    References
    ----------
    van der Maaten and Hinton (2008), "Visualizing data using t-SNE", JMLR 9. Poličar, Stražar and Zupan (2024),
    "openTSNE: a modular Python library for t-SNE dimensionality reduction and embedding", JSS 109. Linderman et al.
    (2019), "Fast interpolation-based t-SNE for improved visualization of single-cell RNA-seq data", Nature Methods.
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        perplexity: float = 30.0,
        metric: str = "angular",
        n_iter: int = 500,
        init: str | NDArray[Any] = "pca",
        n_jobs: int = 1,
        random_state: int | None = 0,
    ) -> None:
        self.n_components = n_components
        self.perplexity = perplexity
        self.metric = metric
        self.n_iter = n_iter
        self.init = init
        self.n_jobs = n_jobs
        self.random_state = random_state

    def _least(self) -> tuple[int, str]:
        if not self.perplexity >= 1:
            raise ValueError(f"perplexity must be at least 1, got {self.perplexity}")
        return int(3 * self.perplexity) + 1, f"perplexity={self.perplexity:g}"

    def _fit(self, x: NDArray[Any], near: NeighborSearch) -> NDArray[Any]:
        if self.n_components != 2:
            raise ValueError(f"TSNE draws planes: n_components={self.n_components} must be 2")
        start = self._start(len(x))
        open_tsne = optional("openTSNE", "TSNE")
        k = int(3 * self.perplexity)
        found = near.nearest(k, metric=self.metric, random_state=self.random_state)
        mapper = open_tsne.TSNE(
            n_components=2,
            perplexity=self.perplexity,
            neighbors=_search(x, k, self.metric, [found]),
            initialization=start,
            early_exaggeration_iter=EXAGGERATED if isinstance(start, str) else 0,
            n_iter=whole("n_iter", self.n_iter, 1),
            n_jobs=self.n_jobs,
            random_state=self.random_state,
        )
        with _without_advice():
            drawn = mapper.fit(x.astype(np.float64))
        self._drawn = drawn
        self.kl_divergence_ = float(drawn.kl_divergence)
        return np.asarray(drawn)

    def _transform(self, x: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(self._drawn.transform(x.astype(np.float64), k=min(25, len(self._drawn))))

    def _start(self, n: int) -> Any:
        if isinstance(self.init, str):
            if self.init not in ("pca", "spectral", "random"):
                raise ValueError(f"init must be pca, spectral, random or an array, got {self.init!r}")
            return self.init
        start = np.array(self.init, dtype=np.float64)
        if start.shape != (n, 2) or not np.isfinite(start).all():
            raise ValueError(f"init must hold {n} finite points of a plane, got shape {start.shape}")
        return start - start.mean(axis=0)


@contextmanager
def _without_advice() -> Iterator[None]:
    """Keep openTSNE from saying that a start from drawn points is wide, which is what it is to be."""

    def other(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Standard deviation of embedding")

    log = logging.getLogger("openTSNE.tsne")
    log.addFilter(other)
    try:
        yield
    finally:
        log.removeFilter(other)


def _search(x: NDArray[Any], k: int, metric: str, found: list[Any]) -> Any:
    """An exact search among the rows of x, as openTSNE takes one; those `found` are handed over once and not kept."""
    known = optional("openTSNE.nearest_neighbors", "TSNE").KNNIndex

    class Exact(known):  # type: ignore[misc, valid-type]
        VALID_METRICS = ("angular", "euclidean")

        def build(self) -> tuple[NDArray[Any], NDArray[Any]]:
            distances, indices = found.pop()
            return indices.copy(), distances.astype(np.float64)

        def __reduce__(self) -> tuple[Any, ...]:
            return _search, (x, k, metric, [])

        def query(self, query: NDArray[Any], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
            distances, indices = nearest_among(query, x, k, metric=metric)
            return indices, distances.astype(np.float32).astype(np.float64)  # as precise as those of `build`

    return Exact(x, k, metric)
