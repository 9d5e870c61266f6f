"""Pairs to rows, a batch at a time: workers read, decode, resize and tokenise while the model runs.

A batch is a fixed range of inputs at fixed places: an image that cannot be read leaves its place empty. So
the rows of the others depend neither on it, nor on the number of workers, nor on where a run was stopped.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import Tensor

from geomclip.arrays import one_line
from geomclip.errors import GeomclipError, NotAvailableError
from geomclip.geometry import normalize
from geomclip.pairs.record import Pair

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_SKIPPED = 0.10
"""Share of the images, and of the texts, that may be lost before extraction or training fails."""

In = TypeVar("In")
Out = TypeVar("Out")


class Encodes(Protocol):
    """What extraction asks of an encoder; `geomclip.encoders.Encoder` is one."""

    @property
    def dim(self) -> int:
        """Dimensions of a row."""

    @property
    def logit_scale(self) -> float:
        """1/temperature, as a factor."""

    @property
    def logit_bias(self) -> float | None:
        """What a SigLIP model adds to its logits."""

    def preprocess(self) -> Callable[[Image], Tensor]:
        """From a picture to pixels (3, h, w); called in worker threads."""

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens (m, context) and which texts were truncated (m,)."""

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Rows (b, d) on the CPU."""

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Rows (m, d) on the CPU."""

    def made_from(self) -> Mapping[str, Any]:
        """Everything about the encoder that its rows depend on, and its names."""


@dataclass
class Encoded:
    """Rows of a range of inputs: those that could be encoded, and why the others could not."""

    rows: Tensor  # (kept, d) float32
    kept: list[int] = field(default_factory=list)  # place in the range, ascending
    reasons: dict[int, str] = field(default_factory=dict)  # place in the range -> why it is not kept
    sha256: list[str] = field(default_factory=list)  # of the bytes of each image kept
    truncated: set[int] = field(default_factory=set)  # place of each text longer than the context


class Encoding:
    """An encoder with its workers: `with Encoding(encoder, batch=64) as encoding: encoding.images(...)`.

    Threads, not processes: reading, decoding and resizing run outside Python's lock, nothing is copied
    between address spaces, and nothing outlives the run however it ends.

    Parameters
    ----------
    encoder : Encodes
    batch : int
        Size of every batch; a shorter one is filled up with zeros.
    workers : int, optional
        Threads that decode; 0 decodes between the batches. Left out: one a processor, 4 at most.
    raw : bool
        Keep the lengths of the rows; else they are unit rows.
    """

    def __init__(self, encoder: Encodes, *, batch: int, workers: int | None = None, raw: bool = False) -> None:
        self.encoder, self.batch, self.raw = encoder, batch, raw
        self.workers = default_workers() if workers is None else workers
        self._preprocess = encoder.preprocess()
        self._pools: list[ThreadPoolExecutor] = []

    def __enter__(self) -> Encoding:
        self._threads = torch.get_num_threads()
        # tokenizers are not all safe to share between threads, so one thread has all of them
        for count, name in ((self.workers, "decode"), (min(1, self.workers), "tokenize")):
            if count:
                # one torch thread in each worker, or they would fight the model for the processor
                self._pools.append(ThreadPoolExecutor(count, name, initializer=torch.set_num_threads, initargs=(1,)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)
        # set_num_threads in a worker is its own, except for the default of threads yet to come
        torch.set_num_threads(self._threads)

    def images(self, pairs: Sequence[Pair], tick: Callable[[int, dict[int, str]], None]) -> Encoded:
        """Rows of the images; `tick(number done, reasons so far)` after each batch may raise to stop."""
        encoded = Encoded(torch.empty(0, self.encoder.dim))
        parts: list[Tensor] = []
        pixels = self._ahead(0, self._pixels, pairs, depth=self.batch)
        for start in range(0, len(pairs), self.batch):
            taken = list(islice(pixels, self.batch))
            good = {place: value for place, value in enumerate(taken) if not isinstance(value, str)}
            reasons = {place: value for place, value in enumerate(taken) if isinstance(value, str)}
            encoded.reasons |= {start + place: reason for place, reason in reasons.items()}
            tick(0, encoded.reasons)  # before the model runs: a set without images should fail at once
            if good:
                first = next(iter(good.values()))[0]
                batch = first.new_zeros(self.batch, *first.shape)
                for place, (picture, _) in good.items():
                    batch[place] = picture
                rows = self.encoder.encode_image(batch).float()
                for place in _without_direction(rows, good):
                    encoded.reasons[start + place] = "its embedding is zero or not finite"
                    del good[place]
                parts.append(rows[list(good)])
                encoded.kept += [start + place for place in good]
                encoded.sha256 += [digest for _, digest in good.values()]
            tick(len(taken), encoded.reasons)
        encoded.rows = self._finished(parts)
        return encoded

    def texts(self, texts: Sequence[str], tick: Callable[[int], None]) -> Encoded:
        """Rows of the texts; `tick(number done)` after each batch."""
        encoded = Encoded(torch.empty(0, self.encoder.dim))
        parts: list[Tensor] = []
        batches = [texts[start : start + self.batch] for start in range(0, len(texts), self.batch)]
        start = 0
        for tokens, truncated in self._ahead(1, self.encoder.tokenize, batches, depth=2):
            batch = tokens.new_zeros(self.batch, *tokens.shape[1:])
            batch[: len(tokens)] = tokens
            rows = self.encoder.encode_text(batch).float()
            lost = _without_direction(rows, range(len(tokens)))
            kept = [place for place in range(len(tokens)) if place not in lost]
            parts.append(rows[kept])
            encoded.kept += [start + place for place in kept]
            encoded.reasons |= {start + place: "its embedding is zero or not finite" for place in lost}
            encoded.truncated |= {start + place for place in truncated.nonzero()[:, 0].tolist()}
            start += len(tokens)
            tick(len(tokens))
        encoded.rows = self._finished(parts)
        return encoded

    def _finished(self, parts: list[Tensor]) -> Tensor:
        rows = torch.cat(parts) if parts else torch.empty(0, self.encoder.dim)
        return rows if self.raw or not len(rows) else unit_rows(rows)

    def _pixels(self, pair: Pair) -> tuple[Tensor, str] | str:
        """Pixels and the sha256 of the bytes; if there are none, the reason."""
        from geomclip.pairs.images import decode

        def read() -> tuple[Tensor, str]:
            content = pair.image.read()
            return self._preprocess(decode(content, name=pair.image.path)), hashlib.sha256(content).hexdigest()

        return value_or_reason(read)

    def _ahead(self, pool: int, function: Callable[[In], Out], items: Iterable[In], *, depth: int) -> Iterator[Out]:
        """function(item) in the order of the items, `depth` of them begun before they are asked for."""
        if not self._pools:
            yield from map(function, items)
            return
        waiting: deque[Future[Out]] = deque()
        for item in items:
            waiting.append(self._pools[pool].submit(function, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def value_or_reason(read: Callable[[], Out]) -> Out | str:
    """What `read` makes of an image; if the image cannot be used, the reason."""
    try:
        return read()
    except NotAvailableError:
        raise  # a missing package is no property of this image
    except OSError as problem:
        # without the path, which would tie the manifest to this machine
        return problem.strerror or one_line(problem)
    except (GeomclipError, MemoryError) as problem:
        return one_line(problem)


def default_workers() -> int:
    """Threads that read and decode: one a processor that this process may use, 4 at most."""
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def unit_rows(rows: Tensor) -> Tensor:
    """Rows at length 1 in float32, divided in float64 so that only the last rounding is float32's."""
    return normalize(rows.double())[0].float()


def _without_direction(rows: Tensor, places: Iterable[int]) -> list[int]:
    largest = rows.abs().amax(dim=1)
    bad = ~(torch.isfinite(largest) & (largest > 0))
    return [place for place in places if bad[place]] if bad.any() else []
