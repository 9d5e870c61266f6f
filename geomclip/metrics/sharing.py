"""A sweep shared out among the workers of an engine, with the bits of one that is not.

The similarity matrix is cut into tiles: some rows of blocks, and some of their columns. A text meets its blocks from
left to right and an image meets its from above to below, as in one process; so a tile is made once those left of it
and above it are, by whichever worker is free, with the states of its texts and images as those left them. Nothing is
added up in another order, and no bit depends on how many workers there are or how the matrix is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from geomclip.machine.crews import crew_of
from geomclip.machine.devices import gpus_of
from geomclip.machine.engines import Crew, Reply, count_of, map_in_order, payload_of
from geomclip.machine.errors import InputError
from geomclip.machine.progress import Progress
from geomclip.machine.threads import free_threads
from geomclip.metrics.folds import Fold
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.sweep import Swept, Window, block_size, load_kernels, runs_compiled, text_slices

TILES = 4
"""A worker, each way: while the first and the last corner are made, others wait."""

State = dict[str, Tensor]


@dataclass(frozen=True)
class Tile:
    """Part of a sweep, and the states of its texts and images before it."""

    stage: str
    cloud: str
    folds: Sequence[Fold[Any, Any]]
    window: Window
    states: Sequence[State]
    compiled: bool

    def __str__(self) -> str:
        rows, images = self.window.rows, self.window.images
        return f"{self.stage}: tile of blocks {rows.start} to {rows.stop}, images {images.start} to {images.stop}"


@dataclass(frozen=True)
class Holding:
    """What a worker has to know once: the rows of both clouds; called, it gives the function that makes tiles."""

    image: Tensor
    text: Tensor | None
    own: Tensor | None
    device: str
    threads: int

    def __call__(self) -> Callable[[Tile], list[State]]:
        """The function from a tile to the states after it."""
        torch.set_num_threads(self.threads)
        pairings: dict[str, Pairing] = {}

        def made(tile: Tile) -> list[State]:
            if tile.compiled and (why := load_kernels()):
                raise InputError(f"a worker has no compiled loops, and the process that asks has them: {why}")
            if tile.cloud not in pairings:
                pairings[tile.cloud] = self.pairing(tile.cloud).to(self.device)
            swept = Swept(pairings[tile.cloud], tile.folds, tile.compiled, tile.window)
            for whole, given in zip(swept.states, tile.states, strict=True):
                _put(whole, given, tile.window)
            swept.run()
            return [_cut(whole, tile.window) for whole in swept.states]

        return made

    def pairing(self, cloud: str) -> Pairing:
        """What a sweep is over: one cloud with itself, or both."""
        if cloud == "image":
            return Pairing.within(self.image)
        assert self.text is not None
        if cloud == "text":
            return Pairing.within(self.text)
        assert self.own is not None
        return Pairing.of(self.image, self.text, self.own)


def _rows_of(key: str, window: Window) -> slice:
    return window.texts if key.startswith("text") else window.images


def _cut(state: State, window: Window) -> State:
    """The rows of a state that belong to the texts and images of a window."""
    return {key: each[_rows_of(key, window)].clone().cpu() for key, each in state.items()}


def _put(state: State, part: State, window: Window) -> None:
    for key, each in part.items():
        state[key][_rows_of(key, window)] = each.to(state[key].device)


class Shared:
    """Workers with the rows of one set, who sweep it together; ended when left.

    Parameters
    ----------
    engine : str
        One of `geomclip.machine.engines.ENGINES`.
    image, text, own : Tensor
        As the pairings of the sweeps have them: unit rows, texts sorted by their image; texts may be left out.
    processes : int, optional
        Workers; left out: see `geomclip.machine.engines.count_of`.
    threads : int, optional
        Of each worker; left out: those that are free here, shared out.
    device : str
        Where each worker sweeps; with several GPUs each worker has one.

    Raises
    ------
    InputError
        If the engine is not known or cannot be used; a NotAvailableError if it is not installed.
    """

    def __init__(
        self,
        engine: str,
        image: Tensor,
        text: Tensor | None,
        own: Tensor | None,
        *,
        processes: int | None,
        threads: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.count = count_of(engine, processes)
        self.device = device
        threads = max(1, free_threads() // self.count) if threads is None else threads
        holding = Holding(image, text, own, device, threads)
        self._crew = crew_of(engine, payload_of(holding, "these vectors"), self.count, gpus=gpus_of(device))

    def __enter__(self) -> Shared:
        return self

    def __exit__(self, *_: object) -> None:
        self._crew.end()

    def sweep(
        self, cloud: str, pairing: Pairing, folds: Sequence[Fold[Any, Any]], *, stage: str, progress: Progress
    ) -> list[Any]:
        """As `geomclip.metrics.sweep.sweep` of a pairing, which is that of a cloud: "image", "text" or "cross"."""
        compiled = runs_compiled(pairing, self.device) and load_kernels() is None
        states = [cast(State, fold.start(pairing)) for fold in folds]
        windows = list(windows_of(pairing, block_size(self.device), TILES * self.count))
        made: set[tuple[int, int]] = set()

        def tiles() -> Iterator[Tile | None]:
            for place, window in windows:
                while not made.issuperset(before(place)):
                    yield None
                given = [_cut(state, window) for state in states]
                yield Tile(stage, cloud, folds, window, given, compiled)

        there = {place for place, _ in windows}

        def before(place: tuple[int, int]) -> list[tuple[int, int]]:
            row, column = place
            return [each for each in ((row - 1, column), (row, column - 1)) if each in there]

        results = map_in_order(_Lent(self._crew), tiles(), after="nothing is kept: begin again")
        with closing(results):
            for (place, window), after in zip(windows, results, strict=True):
                for state, part in zip(states, after, strict=True):
                    _put(state, part, window)
                made.add(place)
                progress.stage(stage, pairing.m * len(made) // len(windows), pairing.m)
        return [fold.finish(state, pairing) for fold, state in zip(folds, states, strict=True)]


def windows_of(pairing: Pairing, size: tuple[int, int], count: int) -> Iterator[tuple[tuple[int, int], Window]]:
    """Row, column and window of each tile, about `count` of them each way, those first that the others wait for.

    Of a cloud with itself only tiles that reach beyond the diagonal are there.
    """
    texts = [each for each, _ in text_slices(pairing, size[0])]
    rows = len(texts)
    columns = -(-pairing.n // size[1])
    tall, wide = -(-rows // min(rows, count)), -(-columns // min(columns, count))
    found = []
    for row, first in enumerate(range(0, rows, tall)):
        for column, left in enumerate(range(0, columns, wide)):
            images = slice(left * size[1], min((left + wide) * size[1], pairing.n))
            last = min(first + tall, rows)
            window = Window(slice(first, last), slice(texts[first].start, texts[last - 1].stop), images)
            if not pairing.mirrored or window.texts.start < images.stop:
                found.append(((row, column), window))
    yield from sorted(found, key=lambda each: (sum(each[0]), each[0]))


class _Lent:
    """A crew that outlives what is mapped over it."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    @property
    def count(self) -> int:
        """How many workers."""
        return self._crew.count

    def give(self, worker: int, item: Any) -> None:
        """Give an idle worker an item."""
        self._crew.give(worker, item)

    def wait(self) -> Reply:
        """The next reply of any worker that has an item."""
        return self._crew.wait()

    def end(self) -> None:
        """Nothing: its owner ends it."""
