"""SVD and PCA: the linear maps, whose axes mean something and on which new points have a place."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd

from geomclip.embeddings.geometry import normalize
from geomclip.projections.base import PlacesNewPoints, whole
from geomclip.projections.neighbors import NeighborSearch

ITERATIONS = 12
"""Power iterations: CLIP spectra fall slowly, and each doubles the digits that tell two singular values apart."""


class SVD(PlacesNewPoints):
    """Coordinates along the first singular directions of the unit rows, without centring.

    Rows are brought to length 1 and mapped to x V, so that the origin stays where it is: cones and the gap
    between two of them stay to be seen. Randomised, with a sign that the data decide.

    Parameters
    ----------
    n_components : int
        At most min(n, d).
    random_state : int, optional
        Of the randomised decomposition; None: another one each time.

    Attributes
    ----------
    embedding_ : ndarray of shape (n, n_components)
    components_ : ndarray of shape (n_components, d)
        Orthonormal rows.
    singular_values_ : ndarray of shape (n_components,)
    share_ : float
        Share of the sum of squares of the rows that the map holds, 0 to 1.

    References
    ----------
    Halko, Martinsson and Tropp (2011), "Finding structure with randomness", SIAM Review 53.

    Examples
    --------
    >>> points = np.array([[3.0, 0, 0], [0, 2, 0], [1, 0, 0], [-1, 0, 0]])
    >>> abs(SVD(n_components=1).fit_transform(points)).round(6)[:, 0].tolist()
    [1.0, 0.0, 1.0, 1.0]
    """

    def __init__(self, n_components: int = 2, *, random_state: int | None = 0) -> None:
        self.n_components = n_components
        self.random_state = random_state

    def _fit(self, x: NDArray[Any], near: NeighborSearch) -> NDArray[Any]:
        rows = _unit(x)
        self.components_, self.singular_values_ = _directions(rows, self.n_components, self.random_state)
        self.share_ = float(np.square(self.singular_values_, dtype=np.float64).sum() / len(rows))
        return rows @ self.components_.T

    def _transform(self, x: NDArray[Any]) -> NDArray[Any]:
        return _unit(x) @ self.components_.T.astype(x.dtype)


class PCA(PlacesNewPoints):
    """Coordinates along the directions of largest variance of the rows as they are.

    The mean is taken away first, which hides where the cloud lies on the sphere and how narrow its cone is.
    Randomised, with a sign that the data decide.

    Parameters
    ----------
    n_components : int
        At most min(n, d).
    random_state : int, optional
        Of the randomised decomposition; None: another one each time.

    Attributes
    ----------
    embedding_ : ndarray of shape (n, n_components)
    components_ : ndarray of shape (n_components, d)
        Orthonormal rows.
    mean_ : ndarray of shape (d,)
    singular_values_ : ndarray of shape (n_components,)
        Of the centred rows.
    share_ : float
        Share of the variance that the map holds, 0 to 1.

    References
    ----------
    Halko, Martinsson and Tropp (2011), "Finding structure with randomness", SIAM Review 53.

    Examples
    --------
    >>> abs(PCA(n_components=1).fit_transform(np.array([[5.0, 0], [5, 2], [5, 4]]))).round(6)[:, 0].tolist()
    [2.0, 0.0, 2.0]
    """

    def __init__(self, n_components: int = 2, *, random_state: int | None = 0) -> None:
        self.n_components = n_components
        self.random_state = random_state

    def _fit(self, x: NDArray[Any], near: NeighborSearch) -> NDArray[Any]:
        self.mean_ = x.mean(axis=0, dtype=np.float64).astype(x.dtype)
        rows = x - self.mean_
        self.components_, self.singular_values_ = _directions(rows, self.n_components, self.random_state)
        total = np.square(rows, dtype=np.float64).sum()
        self.share_ = float(np.square(self.singular_values_, dtype=np.float64).sum() / total)
        return rows @ self.components_.T

    def _transform(self, x: NDArray[Any]) -> NDArray[Any]:
        return (x - self.mean_).astype(x.dtype) @ self.components_.T.astype(x.dtype)


def _unit(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(normalize(torch.from_numpy(x))[0].numpy())


def _directions(rows: NDArray[Any], n_components: int, random_state: int | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """The first right singular vectors (k, d) of rows (n, d) and their singular values (k,)."""
    k = whole("n_components", n_components, 1)
    if k > min(rows.shape):
        raise ValueError(f"n_components={k} needs as many points and dimensions, got {len(rows)} x {rows.shape[1]}")
    _, values, directions = randomized_svd(rows, k, n_iter=ITERATIONS, random_state=random_state, flip_sign=False)
    # the largest entry of each direction is made positive: the sign of a sum may be decided by rounding
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    return directions * np.sign(largest), values
