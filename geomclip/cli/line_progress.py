"""Progress as lines: for logs of jobs, where a bar would be noise and silence looks like a hang."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from geomclip.machine.words import harmless

LOG_EVERY = 30
"""Seconds between two lines where nobody says how many."""
MINUTE, HOUR = 60, 3600


def to_stderr(line: str) -> None:
    """A line on stderr."""
    sys.stderr.write(f"{harmless(line)}\n")
    sys.stderr.flush()


class LineProgress:
    """Reports how far long work is, a line at most every so many seconds; 0: no such line, only what is logged.

    Parameters
    ----------
    every : float
        Seconds between two lines; the first comes when so many have passed since this was made.
    of_bytes : bool
        Whether stages count bytes.
    clock : callable
        Seconds that go forward.
    write : callable
        Takes a line.

    Examples
    --------
    >>> seconds = iter([0.0, 10.0, 30.0, 45.0, 60.0])
    >>> progress = LineProgress(30, clock=lambda: next(seconds), write=print)
    >>> for done in (0, 100, 200, 400):
    ...     progress.stage("encoding", done, 1000)
    encoding: 100 of 1,000 (10 %), 5.0/s, 3 min left
    encoding: 400 of 1,000 (40 %), 8.0/s, 1 min 15 s left
    """

    def __init__(
        self,
        every: float,
        *,
        of_bytes: bool = False,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], None] = to_stderr,
    ) -> None:
        self.every, self.of_bytes, self.clock, self.write = every, of_bytes, clock, write
        self.said = clock()
        self.began: dict[str, tuple[float, int]] = {}  # when a stage was first heard of, and what was done of it then

    def stage(self, name: str, done: int, total: int | None, note: str = "") -> None:
        """A line, if the last one is long enough ago."""
        if not self.every:
            return
        now = self.clock()
        began, before = self.began.setdefault(name, (now, done))
        if now - self.said < self.every:
            return
        self.said = now
        rate = (done - before) / (now - began) if now > began else 0.0
        self.write(f"{', '.join(filter(None, (name, note)))}: {self._far(done, total)}{self._left(done, total, rate)}")

    def log(self, line: str) -> None:
        """The line as it is."""
        self.write(line)

    def _far(self, done: int, total: int | None) -> str:
        if total is None:
            return self._count(done)
        share = f" ({100 * done // total} %)" if total else ""
        return f"{self._count(done)} of {self._count(total)}{share}"

    def _left(self, done: int, total: int | None, rate: float) -> str:
        if rate <= 0:
            return ""
        speed = f", {rate / 1e6:,.1f} MB/s" if self.of_bytes else f", {rate:,.1f}/s"
        return speed if total is None or total <= done else f"{speed}, {duration((total - done) / rate)} left"

    def _count(self, number: int) -> str:
        return f"{number / 1e6:,.1f} MB" if self.of_bytes else f"{number:,}"


def duration(seconds: float) -> str:
    """A time in its two largest units.

    Examples
    --------
    >>> [duration(seconds) for seconds in (0.2, 59, 60, 75, 3600, 9000, 200_000)]
    ['1 s', '59 s', '1 min', '1 min 15 s', '1 h', '2 h 30 min', '55 h 33 min']
    """
    whole = max(1, round(seconds))
    if whole < MINUTE:
        return f"{whole} s"
    large, small, names = (MINUTE, 1, ("min", "s")) if whole < HOUR else (HOUR, MINUTE, ("h", "min"))
    rest = whole % large // small
    return f"{whole // large} {names[0]}" + (f" {rest} {names[1]}" if rest else "")
