"""Messages as the command line has them, in a test that calls Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from geomclip.machine.words import speak_of_flags


@contextmanager
def command_line() -> Iterator[None]:
    """Within the block options are named by their flags."""
    speak_of_flags()
    try:
        yield
    finally:
        speak_of_flags(False)
