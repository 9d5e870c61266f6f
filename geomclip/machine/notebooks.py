"""Notebooks: pictures of records, drawn by what lies above them and is loaded when a notebook asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geomclip.machine.errors import NotAvailableError

Draw = Callable[[Any], bytes | None]
"""From a record to a picture as PNG; None of a record that has none."""

_DRAWS: dict[str, Draw] = {}


def drawn_by(kind: str, draw: Draw) -> None:
    """From here on records of this class, by its name, are drawn by this function."""
    _DRAWS[kind] = draw


def png(record: object) -> bytes | None:
    """The picture that a notebook shows of a record; None, so that it shows text, if none can be drawn here.

    Examples
    --------
    >>> png(3) is None
    True
    """
    draw = _DRAWS.get(type(record).__name__)
    if draw is None:
        return None
    try:
        return draw(record)
    except NotAvailableError:  # matplotlib is an extra
        return None
