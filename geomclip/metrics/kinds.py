"""What kind of array went in is what kind comes out: numpy in, numpy scalar out; torch in, 0-d tensor out."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np
from torch import Tensor

from geomclip.embeddings.geometry import normalize
from geomclip.embeddings.record import as_tensor

P = ParamSpec("P")
R = TypeVar("R")


def on_unit_rows(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function on unit torch rows take numpy or torch rows of any length, and answer in kind.

    Positional arrays that are two-dimensional and floating are clouds: they are normalised to unit rows.
    Other arrays (owners, labels) become integer tensors. Tensors in the answer become numpy where the first
    array was numpy.
    """
    return _wrapped(function, unit_rows=True)


def on_kept_rows(function: Callable[P, R]) -> Callable[P, R]:
    """A function `on_unit_rows` for torch rows that are unit already: they are not normalised once more.

    Once more would move float32 rows by 1e-7, and rows with cosines closer than that would change places.
    """
    return inspect.unwrap(function)


def on_rows_as_they_are(function: Callable[P, R]) -> Callable[P, R]:
    """As `on_unit_rows`, for rows that are not directions (probabilities, coordinates): taken as they are."""
    return _wrapped(function, unit_rows=False)


def _wrapped(function: Callable[P, R], *, unit_rows: bool) -> Callable[P, R]:
    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        numpy_in = not any(isinstance(value, Tensor) for value in (*args, *kwargs.values()))
        tensors = [_to_tensor(value, unit_rows) for value in args]
        named = {key: _to_tensor(value, unit_rows) for key, value in kwargs.items()}
        result = function(*tensors, **named)
        return _to_numpy(result) if numpy_in else result

    return wrapper


def _to_tensor(value: Any, unit_rows: bool) -> Any:
    if not isinstance(value, Tensor | np.ndarray | list):
        return value
    tensor = as_tensor(np.asarray(value) if isinstance(value, list) else value, "array")
    if tensor.ndim == 2 and unit_rows:
        return normalize(tensor if tensor.is_floating_point() else tensor.double(), name="array")[0]
    return tensor


def _to_numpy(result: Any) -> Any:
    if isinstance(result, Tensor):
        return result.numpy()[()]
    if isinstance(result, dict):
        return {key: _to_numpy(value) for key, value in result.items()}
    if isinstance(result, tuple):
        return tuple(_to_numpy(value) for value in result)
    return result
