"""Projection: what all projections are alike in — how they are fitted, what they take, what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from geomclip.machine.threads import same_torch_threads
from geomclip.projections.neighbors import NeighborSearch

P = TypeVar("P", bound="Projection")


class Projection(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A scikit-learn transformer from points (n, d) to drawn points (n, k).

    Subclasses write `_fit`, and `_transform` where new points can be placed on a finished map; their `__init__`
    only keeps its arguments, as scikit-learn asks.

    Attributes
    ----------
    embedding_ : ndarray of shape (n, k)
        The drawn points, after `fit`; in the floating type of the points.
    n_features_in_ : int
        d.
    """

    random_state: int | None = 0

    def fit(self: P, x: Any, y: None = None, *, neighbors: NeighborSearch | None = None) -> P:
        """Draw the points.

        Parameters
        ----------
        x : array of shape (n, d)
            numpy or torch, on the CPU; integers and half types are raised.
        y : None
            There for scikit-learn's pipelines.
        neighbors : NeighborSearch, optional
            Of these points, where several maps of them are drawn: a method that needs their neighbours takes them
            from there, and those of the next method are there already.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If x is not (n, d), holds NaN or infinity (names the row), has too few rows, or rows that are all equal;
            if the neighbours are of other points.
        """
        return self._fit_by(x, neighbors, self._fit)

    def fit_transform(self, x: Any, y: None = None, *, neighbors: NeighborSearch | None = None) -> Any:
        """`fit`, then the drawn points (n, k): a tensor if x is one, else a numpy array."""
        return alike(self.fit(x, neighbors=neighbors).embedding_, x)

    def _fit_by(
        self: P,
        x: Any,
        neighbors: NeighborSearch | None,
        draw: Callable[[NDArray[Any], NeighborSearch], NDArray[Any]],
    ) -> P:
        """`fit`, once it is known how: `draw` is `_fit`, or that with what else is known of the points."""
        rows = _rows(x)
        self._check(rows)
        self.n_features_in_ = rows.shape[1]
        near = NeighborSearch(rows) if neighbors is None else neighbors.of(rows)
        with same_torch_threads():
            self.embedding_ = np.ascontiguousarray(draw(rows, near), dtype=rows.dtype)
        return self

    @property
    def _n_features_out(self) -> int:
        """What scikit-learn names the columns of the answer by."""
        return int(self.embedding_.shape[1])

    def _fit(self, x: NDArray[Any], near: NeighborSearch) -> NDArray[Any]:
        """The drawn points (n, k) of x, (n, d) float32 or float64, contiguous, finite, not all equal; `near` of x."""
        raise NotImplementedError

    def _least(self) -> tuple[int, str]:
        """How many points are needed, and "" or the option that decides it (`n_neighbors=15`)."""
        return 2, ""

    def _check(self, x: NDArray[Any]) -> None:
        name = type(self).__name__
        seed = self.random_state
        if not (seed is None or (isinstance(seed, int | np.integer) and seed >= 0)):
            raise ValueError(f"random_state must be None or a whole number from 0 on, got {seed!r}")
        least, option = self._least()
        if len(x) < least:
            using = f" with {option}" if option else ""
            raise ValueError(f"{name}{using} needs at least {least} points, got {len(x)}")
        if (x == x[0]).all():
            raise ValueError(f"{name} cannot map {len(x)} points that are all equal")


class PlacesNewPoints(Projection):
    """A projection that can place new points on a finished map."""

    def transform(self, x: Any) -> Any:
        """Where new points lie on the map: (n, d) to (n, k), of the same kind as x.

        Raises
        ------
        ValueError
            If x is not (n, d) with the d of `fit`, or holds NaN or infinity.
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        check_is_fitted(self, "embedding_")
        rows = _rows(x)
        if rows.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {rows.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        with same_torch_threads():
            return alike(np.ascontiguousarray(self._transform(rows), dtype=rows.dtype), x)

    def _transform(self, x: NDArray[Any]) -> NDArray[Any]:
        """Drawn points (n, k) of new rows x."""
        raise NotImplementedError


def whole(name: str, value: object, at_least: int) -> int:
    """The value of an option that must be a whole number.

    Raises
    ------
    ValueError
        With the name, the bound and the value.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < at_least:
        raise ValueError(f"{name} must be a whole number from {at_least} on, got {value!r}")
    return int(value)


def _rows(x: Any) -> NDArray[Any]:
    """x as a finite, contiguous (n, d) numpy array, float32 or float64."""
    if isinstance(x, torch.Tensor):
        x = x.detach().cpu()
        x = (x.float() if x.dtype in (torch.float16, torch.bfloat16) else x).numpy()
    if isinstance(x, np.ndarray) and x.dtype == np.float16:
        x = x.astype(np.float32)
    if isinstance(x, np.ndarray) and x.ndim == 2 and x.dtype.kind == "f":
        finite = np.isfinite(x).all(axis=1)
        if not finite.all():  # before scikit-learn's check, which does not name the row
            raise ValueError(f"x row {int(np.argmin(finite))} holds NaN or infinity ({int((~finite).sum())} such rows)")
    rows = check_array(x, dtype=[np.float64, np.float32], order="C", input_name="x")
    # a copy of what may not be written to, such as a mapped file: torch takes no such array
    return np.require(rows, requirements=["C", "W"])


def alike(drawn: NDArray[Any], x: Any) -> Any:
    """The drawn points as a tensor if x is one."""
    return torch.from_numpy(drawn) if isinstance(x, torch.Tensor) else drawn
