"""Loops that numba compiles once a machine, or once a process where nothing can be kept; imported where they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from numba import get_num_threads, njit, set_num_threads

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(*rules: str, signature: Any = None) -> Callable[[Loop], Loop]:
    """A decorator: compiled without the interpreter's lock; `rules` of arithmetic may be broken.

    With a signature when the module is imported, so that nobody waits later; else at the first call.
    """

    def decorate(function: Loop) -> Loop:
        options: dict[str, Any] = {"nogil": True, "fastmath": set(rules)}
        try:
            return njit(signature, cache=True, **options)(function)
        except RuntimeError:  # no folder to keep a cache in, neither here nor in the user's
            return njit(signature, **options)(function)

    return decorate


@contextmanager
def one_thread(alone: bool) -> Iterator[None]:
    """One thread of numba's where little is to be done, else as many as it was told to take; the answer is the same."""
    before = get_num_threads()
    set_num_threads(1 if alone else before)
    try:
        yield
    finally:
        set_num_threads(before)
