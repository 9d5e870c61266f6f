"""InputEncoding: batches for an encoder that prepares its inputs itself; workers decode, the calling thread encodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch

from geomclip.encoders.extraction.batches import (
    NO_DIRECTION,
    Coming,
    Encoded,
    Encoding,
    batches,
    digests_of,
    texts_in_place,
    without_direction,
)
from geomclip.encoders.protocol import AnyEncoder, Encodes, EncodesInputs, Kind
from geomclip.pairs.record import Pair

if TYPE_CHECKING:
    from PIL.Image import Image

DECODING = 2
"""Threads that decode: a batch of whole pictures is held in memory for each, and one more."""


@dataclass
class Waiting(Encoded):
    """A batch whose pictures or texts wait for the calling thread; it has no rows yet."""

    kind: Kind = "text"
    waiting: list[Any] = field(default_factory=list)  # as many as are kept


class InputEncoding(Encoding):
    """As `Encoding`, for `EncodesInputs`: its code may not bear threads, and computes with all that torch has.

    It gets the inputs of a batch that can be read, so the last batch, and one with images that cannot be read, are
    shorter than the others.
    """

    def __init__(
        self,
        encoder: EncodesInputs,
        *,
        batch: int,
        workers: int | None = None,
        raw: bool = False,
        of_texts: bool = False,
    ) -> None:
        self.own = encoder
        how: dict[str, Any] = {"batch": batch, "raw": raw, "of_texts": of_texts}
        super().__init__(cast(Encodes, encoder), workers=DECODING if workers is None else workers, **how)

    def texts(self, texts: Sequence[str]) -> Coming:
        """As of `Encoding`: nothing is left to prepare."""
        kind: Kind = "document" if self.of_texts else "text"
        return [self._calls.add(self._strings, some, kind) for some in batches(texts, self.batch)]

    def _preparation(self) -> Callable[[Image], Any]:
        return lambda picture: picture

    def _image_batch(self, pairs: Sequence[Pair]) -> Encoded:
        made = Waiting(torch.empty(0), len(pairs), kind="image")
        for place, pair in enumerate(pairs):
            self._calls.check()
            picture, made.sha256[place], bits = self._pixels(pair)
            if isinstance(picture, str):
                made.reasons[place] = picture
                continue
            made.twelve_bits += bits == 12
            made.kept.append(place)
            made.waiting.append(picture)
        return made

    def _query_batch(self, pairs: Sequence[Pair]) -> Encoded:
        texts = texts_in_place(pairs)
        made = self._strings(texts, "query")
        made.sha256 = digests_of(texts)
        return made

    def _strings(self, texts: Sequence[str], kind: Kind) -> Waiting:
        return Waiting(torch.empty(0), len(texts), list(range(len(texts))), kind=kind, waiting=list(texts))

    def _completed(self, part: Encoded) -> Encoded:
        assert isinstance(part, Waiting)
        if not part.waiting:
            part.rows = torch.empty(0, self.own.dim)
            return part
        rows = self.own.encode(part.kind, part.waiting)
        part.waiting = []
        lost = set(without_direction(rows, range(len(rows))))
        part.reasons |= {part.kept[row]: NO_DIRECTION for row in sorted(lost)}
        sound = [row for row in range(len(rows)) if row not in lost]
        part.rows, part.kept = rows[sound], [part.kept[row] for row in sound]
        return part


def encoding_of(encoder: AnyEncoder, **how: Any) -> Encoding:
    """The encoding that fits an encoder; arguments as of `Encoding`."""
    return InputEncoding(encoder, **how) if isinstance(encoder, EncodesInputs) else Encoding(encoder, **how)
