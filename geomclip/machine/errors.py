"""What can go wrong in the world outside, each with the exit code that the command line gives it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class GeomclipError(Exception):
    """Something failed while running; the message is one line that says what, where, and the way out."""

    exit_code = 1


class GateError(GeomclipError):
    """A condition that the caller set holds: what was asked for was done, and its result is not wanted."""

    exit_code = 3


class InputError(GeomclipError, ValueError):
    """What the caller gave cannot be used: a file, a name, a value."""

    exit_code = 2


class DamagedError(InputError):
    """Something that was kept is not what was written: cut short, changed, or of other bytes."""


class NotAvailableError(InputError):
    """Something is not on this machine and cannot be fetched: weights, data, an optional package."""


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put a name before the message of what cannot be used, to say which of several things it is; '' changes nothing.

    Examples
    --------
    >>> with naming("b.json"):
    ...     raise ValueError("the two sets differ")
    Traceback (most recent call last):
    ValueError: b.json: the two sets differ
    """
    try:
        yield
    except ValueError as error:
        if not name:
            raise
        kind = InputError if isinstance(error, InputError) else ValueError
        raise kind(f"{name}: {error}") from error
