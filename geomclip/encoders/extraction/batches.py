"""Pairs to rows, a batch at a time: each worker reads, decodes, resizes and encodes batches of its own.

A batch is a fixed range of inputs at fixed places, encoded by one thread: an image that cannot be read leaves its
place empty. So the rows of the others depend neither on it, nor on the number of workers or processors, nor on
where a run was stopped. Of texts such a range is several batches, which are filled by the lengths of the texts.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from geomclip.embeddings.geometry import normalize
from geomclip.encoders.protocol import Encodes
from geomclip.machine.threads import Call, Workers, processors
from geomclip.pairs.reading import value_or_reason
from geomclip.pairs.record import Pair, TextQuery

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_SKIPPED = 0.10
"""Share of the images, and of the texts, that may be lost before extraction or training fails."""

SORTED = 8
"""Batches of texts that are sorted by their lengths together, by one thread."""

ON_A_GPU = 2
"""Batches on a GPU at a time: one is copied while the other is computed."""

NO_DIRECTION = "its embedding is zero or not finite"

Item = TypeVar("Item")
Out = TypeVar("Out")


@dataclass
class Encoded:
    """Rows of a range of inputs: those that could be encoded, and why the others could not."""

    rows: Tensor  # (kept, d) float32
    inputs: int = 0
    kept: list[int] = field(default_factory=list)  # place in the range, ascending
    reasons: dict[int, str] = field(default_factory=dict)  # place in the range -> why it is not kept
    sha256: dict[int, str] = field(default_factory=dict)  # place of each image, kept or not -> that of its bytes
    truncated: set[int] = field(default_factory=set)  # place of each text longer than the context
    twelve_bits: int = 0  # images of 16 bits that were read as 12


Coming = Sequence[Call[Encoded]]
"""The batches of a range of inputs, of which the first are being encoded."""


class Encoding:
    """An encoder with its workers: `with Encoding(encoder, batch=64) as encoding: encoding.images(...)`.

    Threads, not processes: reading, decoding, resizing and the model run outside Python's lock, nothing is copied
    between address spaces, and nothing outlives the run however it ends.

    Parameters
    ----------
    encoder : Encodes
    batch : int
        Size of every batch; a shorter one is filled up with zeros.
    workers : int, optional
        Threads that each take whole batches; with 0 the calling thread does, when a result is needed. Left
        out: as many as torch has threads, for an encoder on a GPU as there are processors.
    raw : bool
        Keep the lengths of the rows; else they are unit rows.
    of_texts : bool
        The pairs have texts in the place of images, which are encoded as texts.
    """

    def __init__(
        self,
        encoder: Encodes,
        *,
        batch: int,
        workers: int | None = None,
        raw: bool = False,
        of_texts: bool = False,
    ) -> None:
        self.encoder, self.batch, self.raw, self.of_texts = encoder, batch, raw, of_texts
        device = torch.device(getattr(encoder, "device", "cpu"))
        self._on_gpu = device.type == "cuda"
        if workers is None:
            workers = processors() if self._on_gpu else torch.get_num_threads()
        self.workers = workers
        self._lengths: Callable[[Tensor], Tensor | None] | None = getattr(encoder, "lengths", None)
        self.texts_at_once = batch if self._lengths is None else SORTED * batch
        self.prepare: Callable[[Image], Any] = self._preparation()
        self._calls = Workers(workers, "encode")
        self._tokenizing = threading.Lock()  # tokenizers are not all safe to share between threads
        self._streams: SimpleQueue[torch.cuda.Stream] = SimpleQueue()
        for _ in range(ON_A_GPU if self._on_gpu else 0):
            self._streams.put(torch.cuda.Stream(device))

    def _preparation(self) -> Callable[[Image], Any]:
        """What a worker makes of a picture."""
        prepare = self.encoder.preprocess()
        return getattr(prepare, "uint8", prepare)

    def __enter__(self) -> Encoding:
        self._calls.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls.__exit__(kind, error, trace)

    def images(self, pairs: Sequence[Pair]) -> Coming:
        """Begin to encode images, or the texts in their place; `finished` waits for them."""
        if self.of_texts:
            return [self._calls.add(self._query_batch, some) for some in batches(pairs, self.texts_at_once)]
        return [self._calls.add(self._image_batch, some) for some in batches(pairs, self.batch)]

    def texts(self, texts: Sequence[str]) -> Coming:
        """Begin to encode texts; `finished` waits for them."""
        return [self._calls.add(self._some_texts, some) for some in batches(texts, self.texts_at_once)]

    def finished(self, coming: Coming, tick: Callable[[int, dict[int, str]], None]) -> Encoded:
        """The rows of what was begun; `tick(number done, reasons so far)` after each batch may raise to stop."""
        whole, parts = Encoded(torch.empty(0, self.encoder.dim)), []
        for call in coming:
            part, start = self._completed(self._calls.result(call)), whole.inputs
            parts.append(part.rows)
            whole.inputs += part.inputs
            whole.kept += [start + place for place in part.kept]
            whole.reasons |= {start + place: reason for place, reason in part.reasons.items()}
            whole.sha256 |= {start + place: digest for place, digest in part.sha256.items()}
            whole.truncated |= {start + place for place in part.truncated}
            whole.twelve_bits += part.twelve_bits
            tick(part.inputs, whole.reasons)
        rows = torch.cat([whole.rows, *parts])
        whole.rows = rows if self.raw or not len(rows) else unit_rows(rows)
        return whole

    def _completed(self, part: Encoded) -> Encoded:
        """What a worker made, with what the calling thread adds to it."""
        return part

    def add(self, function: Callable[..., Out], *arguments: object) -> Call[Out]:
        """Have a worker make a call, after those added before; the result is `result`'s."""
        return self._calls.add(function, *arguments)

    def result(self, call: Call[Out]) -> Out:
        """What a call that was added returns or raises, waited for."""
        return self._calls.result(call)

    def pixel_batch(self, pixels: Sequence[Tensor]) -> Encoded:
        """Rows of up to a batch of pictures that `prepare` has made; for `add`."""
        batch = pixels[0].new_zeros(self.batch, *pixels[0].shape, pin_memory=self._on_gpu)
        for place, one in enumerate(pixels):
            batch[place] = one
        return self._encoded(self.encoder.encode_image, batch, range(len(pixels)), len(pixels))

    def _image_batch(self, pairs: Sequence[Pair]) -> Encoded:
        reasons: dict[int, str] = {}
        digests: dict[int, str] = {}
        batch: Tensor | None = None
        twelve_bits = 0
        for place, pair in enumerate(pairs):
            self._calls.check()
            pixels, digests[place], bits = self._pixels(pair)
            if isinstance(pixels, str):
                reasons[place] = pixels
                continue
            twelve_bits += bits == 12
            if batch is None:
                # pinned memory is copied to a GPU without the processor
                batch = torch.zeros(self.batch, *pixels.shape, dtype=pixels.dtype, pin_memory=self._on_gpu)
            batch[place] = pixels
        if batch is None:
            return Encoded(torch.empty(0, self.encoder.dim), len(pairs), reasons=reasons, sha256=digests)
        filled = [place for place in digests if place not in reasons]
        encoded = self._encoded(self.encoder.encode_image, batch, filled, len(pairs))
        encoded.reasons |= reasons
        encoded.sha256 = digests
        encoded.twelve_bits = twelve_bits
        return encoded

    def _some_texts(self, texts: Sequence[str]) -> Encoded:
        """Texts of one length together, as many as a batch has: most are far shorter than a model allows."""
        with self._tokenizing:
            tokens, truncated = self.encoder.tokenize(texts)
        lengths = None if self._lengths is None else self._lengths(tokens)
        if lengths is None:
            lengths = torch.full((len(tokens),), tokens.shape[1])
        whole = Encoded(torch.zeros(len(tokens), self.encoder.dim), len(texts))
        for length in lengths.unique().tolist():
            for some in (lengths == length).nonzero()[:, 0].split(self.batch):
                self._calls.check()
                batch = tokens.new_zeros(self.batch, length)
                batch[: len(some)] = tokens[some, :length]
                part = self._encoded(self.encoder.encode_text, batch, range(len(some)), len(some))
                whole.rows[some[part.kept]] = part.rows
                whole.reasons |= {int(some[place]): reason for place, reason in part.reasons.items()}
        whole.kept = [place for place in range(len(texts)) if place not in whole.reasons]
        whole.rows = whole.rows[whole.kept]
        whole.truncated = set(truncated.nonzero()[:, 0].tolist())
        return whole

    def _query_batch(self, pairs: Sequence[Pair]) -> Encoded:
        texts = texts_in_place(pairs)
        encoded = self._some_texts(texts)
        encoded.sha256 = digests_of(texts)
        return encoded

    def _encoded(
        self, encode: Callable[[Tensor], Tensor], batch: Tensor, filled: Sequence[int], inputs: int
    ) -> Encoded:
        with self._turn(), self._calls.interruptible():
            rows = encode(batch).float()
        lost = set(without_direction(rows, filled))
        kept = [place for place in filled if place not in lost]
        return Encoded(rows[kept], inputs, kept, dict.fromkeys(sorted(lost), NO_DIRECTION))

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """On a GPU: one of the few batches that are there at a time, in a stream of its own."""
        if not self._on_gpu:
            yield
            return
        stream = self._streams.get()
        try:
            with torch.cuda.stream(stream):
                yield
        finally:
            self._streams.put(stream)

    def _pixels(self, pair: Pair) -> tuple[Any | str, str, int]:
        """Pixels, or the reason why there are none; the sha256 of the bytes, "" if there are none; bits if guessed."""
        from geomclip.pairs.images import decode

        name = pair.image.path
        content = value_or_reason(pair.image.read, name=name)
        if isinstance(content, str):
            return content, "", 0
        digest = hashlib.sha256(content).hexdigest()

        def prepared() -> tuple[Any, int]:
            picture = decode(content, name=name)
            return self.prepare(picture), picture.info.get("bits", 0)

        read = value_or_reason(prepared, name=name)
        return (read, digest, 0) if isinstance(read, str) else (read[0], digest, read[1])


def batches(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """The items in ranges of this size, the last with what is left."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def texts_in_place(pairs: Sequence[Pair]) -> list[str]:
    """The texts that stand in the place of images."""
    return [pair.image.text for pair in pairs if isinstance(pair.image, TextQuery)]


def digests_of(texts: Sequence[str]) -> dict[int, str]:
    """Of texts in the place of images what a manifest has of each: the sha256 of its bytes."""
    return {place: TextQuery(text).identity() for place, text in enumerate(texts)}


def unit_rows(rows: Tensor) -> Tensor:
    """Rows at length 1 in float32, divided in float64 so that only the last rounding is float32's."""
    return normalize(rows.double())[0].float()


def without_direction(rows: Tensor, places: Iterable[int]) -> list[int]:
    """Those of the places whose row is zero or not finite."""
    largest = rows.abs().amax(dim=1)
    bad = ~(torch.isfinite(largest) & (largest > 0))
    return [place for place in places if bad[place]] if bad.any() else []
