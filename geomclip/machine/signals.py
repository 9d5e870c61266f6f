"""Signals that ask a process to end: Ctrl-C, SIGTERM (SLURM, Kubernetes), SIGHUP (a terminal that is gone)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

OF_OTHERS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Those that Python does not turn into KeyboardInterrupt by itself."""


class Ending(KeyboardInterrupt):
    """Another signal than Ctrl-C asked this process to end; whatever saves at Ctrl-C saves at this one."""

    def __init__(self, number: int, message: str = "") -> None:
        super().__init__(message) if message else super().__init__()
        self.number = number


def interruption(number: int | None, message: str) -> KeyboardInterrupt:
    """What to raise once the work is saved: of the signal that came, with what was saved and how to go on.

    Examples
    --------
    >>> interruption(None, "step 3 is saved"), interruption(signal.SIGTERM, "step 3 is saved").number
    (KeyboardInterrupt('step 3 is saved'), <Signals.SIGTERM: 15>)
    """
    return KeyboardInterrupt(message) if number in (None, signal.SIGINT) else Ending(number, message)


def number_of(stop: KeyboardInterrupt) -> int:
    """The signal that a KeyboardInterrupt came from."""
    return stop.number if isinstance(stop, Ending) else signal.SIGINT


@contextmanager
def handled(by: Callable[[int, FrameType | None], Any], *numbers: int) -> Iterator[None]:
    """These signals call a function while the block runs, in the main thread; in other threads nothing is changed.

    One that this process was started to ignore (nohup) stays ignored.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, by)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end(number: int, frame: FrameType | None) -> None:
    """A handler: raise `Ending` where the main thread is."""
    raise Ending(number)
