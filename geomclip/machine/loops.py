"""Loops that numba compiles once a machine, or once a process where nothing can be kept; imported where they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(*rules: str) -> Callable[[Loop], Loop]:
    """A decorator: compiled at the first call, without the interpreter's lock; `rules` of arithmetic may be broken."""

    def decorate(function: Loop) -> Loop:
        options: dict[str, Any] = {"nogil": True, "fastmath": set(rules)}
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # no folder to keep a cache in, neither here nor in the user's
            return njit(**options)(function)

    return decorate
