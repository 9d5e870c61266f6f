"""Pictures as a model takes them, decoded once and kept in memory as far as they may be."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from geomclip.encoders.extraction.batches import MOST_SKIPPED
from geomclip.machine.errors import InputError
from geomclip.pairs.reading import value_or_reason
from geomclip.pairs.record import Pair

if TYPE_CHECKING:
    from PIL.Image import Image

KEPT_BYTES = 2 * 2**30
"""Pixels kept in memory, in all sets of a run together with their like; the rest is decoded again."""
CROP_AREA = (0.9, 1.0)


class Pictures:
    """The images of some pairs as pixels (3, h, w), safe to ask from many threads.

    Parameters
    ----------
    pairs : sequence of Pair
    preprocess : callable
        From a PIL image to pixels.
    name : str
        How messages call the set.
    kept_bytes : int
        How much memory the pixels may take.
    """

    def __init__(
        self, pairs: Sequence[Pair], preprocess: Callable[[Image], Tensor], *, name: str, kept_bytes: int = KEPT_BYTES
    ) -> None:
        self.pairs, self.preprocess, self.name = pairs, preprocess, name
        self.lost: dict[int, str] = {}  # image -> why it cannot be read
        self._kept: dict[int, Tensor] = {}
        self._room = kept_bytes
        self._lock = threading.Lock()

    def whole(self, image: int) -> Tensor | None:
        """Pixels of the whole image; None if it cannot be read (`lost` then says why)."""
        kept = self._kept.get(image)
        if kept is not None:
            return kept
        pixels = self._pixels(image, lambda picture: picture)
        if pixels is not None:
            with self._lock:
                size = pixels.nbytes
                if size <= self._room and image not in self._kept:
                    self._room -= size
                    self._kept[image] = pixels
        return pixels

    def cropped(self, image: int, draw: torch.Generator) -> Tensor | None:
        """Pixels of a random part of the image, as `random_crop` draws it; None if it cannot be read."""
        return self._pixels(image, lambda picture: random_crop(picture, draw))

    def _pixels(self, image: int, part: Callable[[Image], Image]) -> Tensor | None:
        from geomclip.pairs.images import decode

        if image in self.lost:
            return None
        source = self.pairs[image].image
        pixels = value_or_reason(
            lambda: self.preprocess(part(decode(source.read(), name=source.path))), name=source.path
        )
        if not isinstance(pixels, str):
            return pixels
        with self._lock:
            self.lost[image] = pixels
            if len(self.lost) > MOST_SKIPPED * len(self.pairs):
                raise InputError(
                    f"{self.name}: {len(self.lost)} of {len(self.pairs)} images cannot be read, more than a tenth; "
                    f"last: {source.path} ({pixels})"
                )
        return None


def random_crop(picture: Image, draw: torch.Generator) -> Image:
    """A part of the picture of 90 to 100 % of its area, of any shape that fits into it."""
    u, v, x, y = torch.rand(4, generator=draw).tolist()
    area = CROP_AREA[0] + u * (CROP_AREA[1] - CROP_AREA[0])
    stretch = math.exp((2 * v - 1) * -math.log(area) / 2)  # neither side longer than the picture's
    width = min(picture.width, max(1, round(picture.width * math.sqrt(area) * stretch)))
    height = min(picture.height, max(1, round(picture.height * math.sqrt(area) / stretch)))
    left, top = int(x * (picture.width - width + 1)), int(y * (picture.height - height + 1))
    return picture.crop((left, top, left + width, top + height))
