"""One pass over the similarity matrix, in blocks, for every statistic that needs it.

A statistic is a fold: it starts a state, takes each block of similarities once, and finishes with numbers.
`sweep` computes each block once and feeds it to all folds, so the cost is one matrix product, the memory one
block; states of different blocks merge, so the same folds run over many processes.

`update` takes a block by torch operations. A fold that also has `take` has it for large float32 sweeps: loops that
numba compiled (`geomclip.metrics.kernels`), with the same result, in threads side by side.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.threads import Workers, free_threads
from geomclip.metrics.folds import Block, CompiledFold, Fold
from geomclip.metrics.pairing import Pairing

CPU_BLOCK = (625, 1250)
"""Rows (texts) and columns (images) of a block: 3 MB in float32, which stays in the cache between the folds."""

GPU_BLOCK = (8192, 16384)
"""Of one that fills a GPU: 0.5 GB in float32, and as much again of scratch."""

FLOAT32_DOUBT = 2e-6
"""A float32 product of two unit rows lies this close to the exact one; closer calls go to float64."""

TIE = 1e-9
"""Scores this close count as equal, whatever rounding says."""

KERNELS_FROM = 2**25
"""Scores from which a sweep is worth loading compiled loops, which takes a third of a second."""


def block_size(device: str | torch.device) -> tuple[int, int]:
    """Rows and columns of a block that a device likes."""
    return CPU_BLOCK if torch.device(device).type == "cpu" else GPU_BLOCK


def text_slices(pairing: Pairing, size: int, images: slice | None = None) -> Iterator[tuple[slice, slice]]:
    """Consecutive texts, about `size` of them, that never split the texts of one image; and those images.

    Of all images, or of some consecutive ones.
    """
    ends = pairing.starts[1:]
    first_image, end = (0, pairing.n) if images is None else (images.start, images.stop)
    first_text = int(pairing.starts[first_image])
    while first_text < int(pairing.starts[end]):
        # the last image whose texts still fit, at least one image that has texts
        stop = int(torch.searchsorted(ends, first_text + size, right=True))
        stop = min(max(stop, int(torch.searchsorted(ends, first_text, right=True)) + 1), end)
        last_text = int(ends[stop - 1])
        yield slice(first_text, last_text), slice(first_image, stop)
        first_image, first_text = stop, last_text


def blocks(
    pairing: Pairing, *, text_block: int = CPU_BLOCK[0], image_block: int = CPU_BLOCK[1]
) -> Iterator[Callable[[bool], Block]]:
    """The blocks of a pairing, each as a function: called with False it holds all scores, then with True
    the matched ones become -inf. Buffers are reused: a block is valid until the next one is made."""
    for rows in text_slices(pairing, text_block):
        yield from _row_of_blocks(pairing, *rows, (text_block, image_block), slice(0, pairing.n))


@dataclass(frozen=True)
class Window:
    """Some rows of blocks, by their places, with their texts, and some images: these begin and end where blocks do."""

    rows: slice
    texts: slice
    images: slice


@dataclass(frozen=True)
class Asking:
    """The queries of some images: these themselves (axis "image"), or their texts ("text").

    `images` are runs of consecutive images that do not overlap, rising.
    """

    axis: str
    images: Sequence[slice]

    def rows(self, pairing: Pairing, size: int) -> list[tuple[slice, slice]]:
        """The rows of blocks that they need."""
        if self.axis == "image":
            return list(text_slices(pairing, size))
        return [row for images in self.images for row in text_slices(pairing, size, images)]

    def columns(self, pairing: Pairing) -> Sequence[slice]:
        """The images whose scores they need."""
        return self.images if self.axis == "image" else [slice(0, pairing.n)]


def _row_of_blocks(
    pairing: Pairing,
    texts: slice,
    group_images: slice,
    size: tuple[int, int],
    within: slice,
    axes: tuple[str, ...] = ("text", "image"),
) -> Iterator[Callable[[bool], Block]]:
    text_block, image_block = size
    rows = texts.stop - texts.start
    # an image with very many texts makes a tall block: it gets narrower
    width = max(1, min(image_block, text_block * image_block // rows)) if rows > text_block else image_block
    buffers = pairing.image.new_empty(2, rows * min(width, within.stop - within.start))
    groups = pairing.own[texts] - group_images.start
    begin = max(within.start, texts.start) if pairing.mirrored else within.start
    for images in _columns(begin, within.stop, width, image_block):
        s, scratch = (buffer[: rows * (images.stop - images.start)].view(rows, -1) for buffer in buffers)
        torch.mm(pairing.text[texts], pairing.image[images].T, out=s)
        block = Block(pairing, s, scratch, texts, images, groups, group_images, axes)

        def ready(unmatched: bool, block: Block = block) -> Block:
            if unmatched:
                _hide_matched(block)
            return block

        yield ready


def _columns(begin: int, end: int, width: int, whole: int) -> Iterator[slice]:
    """Consecutive images, at most `width`; multiples of `whole` always end one, whatever is begun with."""
    while begin < end:
        stop = min(begin + width, begin - begin % whole + whole, end)
        yield slice(begin, stop)
        begin = stop


def _hide_matched(block: Block) -> None:
    low, high = block.images.start, block.images.stop
    if block.pairing.mirrored:
        if low < block.texts.stop:
            below = torch.ones_like(block.s, dtype=torch.bool).tril(block.texts.start - low)
            block.s.masked_fill_(below, -torch.inf)
        return
    first = max(low, block.group_images.start)
    last = min(high, block.group_images.stop)
    if first >= last:
        return
    starts = block.pairing.starts
    rows = torch.arange(int(starts[first]), int(starts[last]), device=starts.device)
    block.s[rows - block.texts.start, block.pairing.own[rows] - low] = -torch.inf


@cache
def load_kernels() -> str | None:
    """Compile the loops of the folds, or read them from the cache of an earlier run; why not, where it cannot be."""
    try:
        import_module("geomclip.metrics.kernels")
    except ImportError as missing:
        return f"numba cannot be used ({missing}): pip install numba"
    return None


def runs_compiled(pairing: Pairing, device: str | torch.device = "cpu") -> bool:
    """Whether a sweep of this pairing is large enough for compiled loops, and of their kind: float32 on the CPU."""
    on_cpu = torch.device(device).type == "cpu"
    return pairing.scores >= KERNELS_FROM and pairing.text.dtype == torch.float32 and on_cpu


class Swept:
    """Folds with their states, and how blocks come to them.

    Threads take rows of blocks side by side, each a block behind the row above it: every text and every image meets
    its blocks in one order, so that the number of threads changes no bit of what is learnt.
    """

    def __init__(
        self,
        pairing: Pairing,
        folds: Sequence[Fold[Any, Any]],
        compiled: bool,
        window: Window | None = None,
        size: tuple[int, int] | None = None,
        asking: Asking | None = None,
    ) -> None:
        self.pairing, self.compiled = pairing, compiled
        self.size = block_size(pairing.image.device) if size is None else size
        self.states = [fold.start(pairing) for fold in folds]
        pairs = list(zip(folds, self.states, strict=True))
        # those that see all scores come before the matched ones are hidden
        self.phases = [(hidden, [pair for pair in pairs if pair[0].unmatched == hidden]) for hidden in (False, True)]
        rows = list(text_slices(pairing, self.size[0])) if asking is None else asking.rows(pairing, self.size[0])
        self.rows = rows if window is None else rows[window.rows]
        self.axes = ("text", "image") if asking is None else (asking.axis,)
        columns = [slice(0, pairing.n)] if asking is None else asking.columns(pairing)
        self.columns = columns if window is None else [window.images]
        self.done = [0] * len(self.rows)  # of each row of blocks, images that it has met
        self.moved = threading.Condition()
        self.alone = threading.Lock()  # for folds without loops

    def run(self, stage: str = "sweep", progress: Progress = SILENT) -> None:
        """Every row of blocks, in threads where there are loops that let others work meanwhile."""
        threads = free_threads() if self.compiled else 1
        with ExitStack() as stack:
            takes: list[Callable[[], None]] = [partial(self.take, place) for place in range(len(self.rows))]
            if threads > 1:  # a single row too: its product by several torch threads would have other bits
                workers = stack.enter_context(Workers(min(threads, len(self.rows)), "sweep"))
                calls = [workers.add(self.take, place, workers.check) for place in range(len(self.rows))]
                takes = [partial(workers.result, call) for call in calls]
            done, of = 0, sum(texts.stop - texts.start for texts, _ in self.rows)
            for (texts, _), take in zip(self.rows, takes, strict=True):
                take()
                done += texts.stop - texts.start
                progress.stage(stage, done, of)

    def take(self, place: int, check: Callable[[], None] = lambda: None) -> None:
        """One row of blocks; `check` may raise to end it."""
        for ready in self.blocks_of(place):
            block: Block | None = None
            for hidden, members in self.phases:
                if not members:
                    continue
                block = ready(hidden)
                self.wait(place, block.images.stop, check)
                for fold, state in members:
                    if self.compiled and isinstance(fold, CompiledFold):
                        fold.take(state, block)
                    else:
                        with self.alone:
                            fold.update(state, block)
            if block is not None:
                with self.moved:
                    self.done[place] = block.images.stop
                    self.moved.notify_all()

    def blocks_of(self, place: int) -> Iterator[Callable[[bool], Block]]:
        """The blocks of a row, from left to right."""
        for images in self.columns:
            yield from _row_of_blocks(self.pairing, *self.rows[place], self.size, images, self.axes)

    def wait(self, place: int, images: int, check: Callable[[], None]) -> None:
        """Until the row above has met so many images; `check` raises where that row failed."""
        with self.moved:
            while place and self.done[place - 1] < images:
                self.moved.wait(0.1)
                check()


def sweep(
    pairing: Pairing,
    folds: Sequence[Fold[Any, Any]],
    *,
    text_block: int | None = None,
    image_block: int | None = None,
    device: str | torch.device = "cpu",
    compiled: bool | None = None,
    asking: Asking | None = None,
    stage: str = "sweep",
    progress: Progress = SILENT,
) -> list[Any]:
    """What each fold finishes with, from one pass over all n x m similarities.

    Parameters
    ----------
    pairing : Pairing
        Unit rows in float32 or float64; blocks are computed in that precision, sums across blocks in float64.
    folds : sequence of Fold
    text_block, image_block : int, optional
        Rows and columns of a block; no result depends on them beyond rounding. Left out: what the device likes.
    device : str or torch.device
        Where blocks are computed and taken; what comes out lies where the pairing lies.
    compiled : bool, optional
        Whether folds take blocks in compiled loops; left out: where that is faster and numba is there.
    asking : Asking, optional
        Whose queries are answered, each from the whole gallery; what folds find of others says nothing.
    stage : str
        What progress calls the sweep.
    progress : Progress
        Gets the texts that are done after each row of blocks.

    Returns
    -------
    list
        One result a fold, in their order.

    Raises
    ------
    ValueError
        If a fold of a cloud against itself would see matched entries, some queries of it are asked for, or compiled
        loops are wanted and not there.
    """
    if pairing.mirrored and asking is not None:
        raise ValueError("of a cloud against itself half is swept, which is no gallery: pair the cloud with itself")
    if pairing.mirrored and not all(fold.unmatched for fold in folds):
        raise ValueError("folds of a cloud against itself must be unmatched: the matched entries are no scores")
    if compiled and (why := load_kernels()):
        raise ValueError(f"no compiled loops: {why}")
    if compiled is None:
        compiled = runs_compiled(pairing, device) and load_kernels() is None
    home, pairing = pairing.image.device, pairing.to(device)
    usual = block_size(pairing.image.device)
    size = (text_block or usual[0], image_block or usual[1])
    swept = Swept(pairing, folds, compiled, size=size, asking=asking)
    swept.run(stage, progress)
    finished = (fold.finish(state, pairing) for fold, state in zip(folds, swept.states, strict=True))
    return [_brought(result, home) for result in finished]


def _brought(result: Any, device: torch.device) -> Any:
    """What a fold finished with, its tensors on a device."""
    if isinstance(result, Tensor):
        return result.to(device)
    if isinstance(result, dict):
        return {key: _brought(each, device) for key, each in result.items()}
    return replace(result, **{field.name: _brought(getattr(result, field.name), device) for field in fields(result)})
