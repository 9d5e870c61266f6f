"""Tiles of a matrix with a row and a column for each pair, taken in strips side by side; the matrix is never there.

Strips go to as many threads as torch may use, one torch thread each. What is added to a column is added strip after
strip, so no bit depends on the number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from geomclip.machine.threads import Workers, free_threads

TILE = {"cpu": 1024, "cuda": 4096}
"""Rows and columns of a tile, by device."""
Strip = Callable[[int, slice, "Turns"], None]
"""Takes the tiles of some rows: the place of the strip, its rows, the turns."""


class Turns:
    """Strips of tiles taken side by side; what is added to a column comes strip after strip."""

    def __init__(self, rows: int, block: int, check: Callable[[], None] = lambda: None) -> None:
        self.slices = [slice(start, min(start + block, rows)) for start in range(0, rows, block)]
        self.check = check
        self._done = [0] * len(self.slices)  # of each strip, tiles that it has taken
        self._moved = threading.Condition()

    def __iter__(self) -> Iterator[slice]:
        return iter(self.slices)

    @contextmanager
    def of(self, place: int, column: slice) -> Iterator[None]:
        """The turn of a strip at a column: after the strip above it."""
        until = column.start // (self.slices[0].stop or 1) + 1
        with self._moved:
            while place and self._done[place - 1] < until:
                self._moved.wait(0.1)
                self.check()
        yield
        with self._moved:
            self._done[place] = until
            self._moved.notify_all()


def walk(rows: int, device: torch.device, strip: Strip) -> None:
    """All strips, in threads on the CPU."""
    block = TILE.get(device.type, TILE["cuda"])
    turns = Turns(rows, block)
    threads = min(free_threads(), len(turns.slices)) if device.type == "cpu" else 1
    if threads == 1:
        for place, row in enumerate(turns):
            strip(place, row, turns)
        return
    with Workers(threads, "tiles") as workers:
        turns.check = workers.check
        calls = [workers.add(strip, place, row, turns) for place, row in enumerate(turns)]
        for call in calls:
            workers.result(call)
