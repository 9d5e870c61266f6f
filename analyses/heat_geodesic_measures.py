"""How well distances and maps agree with the truth: rows' mean correlations, precision, trustworthiness, ARI."""

from __future__ import annotations

import numpy as np
from heat_geodesic_data import Cloud, Floats
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import rankdata
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler


def ranks(distances: Floats) -> Floats:
    """Of each row, ties averaged."""
    return np.asarray(rankdata(distances, axis=1))


def row_correlation(x: Floats, y: Floats) -> float:
    """Mean over rows of Pearson's correlation, −1 to 1; a constant row counts 0."""
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    size = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return float(np.divide((x * y).sum(axis=1), size, out=np.zeros(len(x)), where=size > 0).mean())


def of_distances(distances: Floats, cloud: Cloud) -> dict[str, float]:
    """Correlations of rows (q, n) from the cloud's queries with the true distances, and precision.

    The distance of a query to itself is left out. Infinite distances count as the largest finite one.
    """
    finite = np.isfinite(distances)
    distances = cloud.others(np.where(finite, distances, distances[finite].max()))
    return {
        "pearson": row_correlation(distances, cloud.true_others),
        "spearman": row_correlation(ranks(distances), cloud.true_ranks),
        **{f"precision@{k}": precision(nearest(distances, k), cloud, k) for k in (10, 50)},
    }


def nearest(distances: Floats, k: int) -> NDArray[np.intp]:
    """Columns of the k smallest in each row: (q, k)."""
    return np.argpartition(distances, k, axis=1)[:, :k]


def precision(found: NDArray[np.intp], cloud: Cloud, k: int) -> float:
    """Mean share of the k nearest (q, k) that are among the k truly nearest, 0 to 1."""
    true = nearest(cloud.true_others, k)
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(found.tolist(), true.tolist(), strict=True)]))


def of_map(points: Floats, cloud: Cloud, k: int = 15) -> dict[str, float]:
    """The same of the distances of drawn points ("DEMaP"), and trustworthiness against the true distances."""
    drawn = cdist(points[cloud.queries], points)
    intruders = np.take_along_axis(cloud.true_ranks, nearest(cloud.others(drawn), k), axis=1) - k
    n = len(points)
    trust = 1 - 2 / (k * (2 * n - 3 * k - 1)) * np.maximum(intruders, 0).sum(axis=1).mean()
    return {**of_distances(drawn, cloud), "trustworthiness": float(trust)}


def clusters(points: Floats, labels: NDArray[np.generic], seed: int) -> float:
    """Adjusted Rand index of k-means on standardised drawn points, with as many means as labels; 1 is perfect."""
    found = KMeans(len(np.unique(labels)), n_init=10, random_state=seed).fit_predict(
        StandardScaler().fit_transform(points)
    )
    return float(adjusted_rand_score(labels, found))
