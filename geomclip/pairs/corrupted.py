"""Corrupted: the same images under noise, blur, JPEG or low contrast, made when they are read; five severities each."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from geomclip.pairs.images import decode
from geomclip.pairs.record import ImageSource, Pairs, Place, place_of

if TYPE_CHECKING:
    from PIL.Image import Image

SEVERITIES = (1, 2, 3, 4, 5)

NOISE = (0.08, 0.12, 0.18, 0.26, 0.38)
"""Standard deviation, pixels from 0 to 1."""
BLUR = (0.008, 0.012, 0.018, 0.025, 0.035)
"""Radius of the Gaussian, of the shorter side."""
QUALITY = (25, 18, 15, 10, 7)
"""Of JPEG."""
CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)
"""What is left of the difference to the mean grey."""


def _noise(image: Image, level: int, seed: int) -> Image:
    import numpy as np
    from PIL import Image as pictures

    pixels = np.asarray(image) / 255
    noise = np.random.default_rng(seed).normal(0, NOISE[level], pixels.shape)
    return pictures.fromarray((255 * (pixels + noise).clip(0, 1)).round().astype(np.uint8))


def _blur(image: Image, level: int, seed: int) -> Image:
    from PIL import ImageFilter

    return image.filter(ImageFilter.GaussianBlur(BLUR[level] * min(image.size)))


def _jpeg(image: Image, level: int, seed: int) -> Image:
    from PIL import Image as pictures

    data = io.BytesIO()
    image.save(data, "JPEG", quality=QUALITY[level])
    return pictures.open(data).convert("RGB")


def _contrast(image: Image, level: int, seed: int) -> Image:
    from PIL import ImageEnhance

    return ImageEnhance.Contrast(image).enhance(CONTRAST[level])


CORRUPTIONS: Mapping[str, Callable[[Image, int, int], Image]] = {
    "noise": _noise,
    "blur": _blur,
    "jpeg": _jpeg,
    "contrast": _contrast,
}
"""By name: from an image, the severity less one and a seed to the image that it becomes.

Kinds and strengths follow ImageNet-C (Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common
corruptions and perturbations", ICLR), but are of images of any size, by Pillow: numbers are not those of that set.
"""


@dataclass(frozen=True, slots=True)
class CorruptedImage:
    """An image that is corrupted when it is read."""

    source: ImageSource
    kind: str
    severity: int
    seed: int

    @property
    def path(self) -> str:
        """That of the image."""
        return self.source.path

    @property
    def place(self) -> Place | None:
        """The file of the image, and what is done to it."""
        place = place_of(self.source)
        return None if place is None else Place(place.file, f"{place.within} {self.kind} {self.severity} {self.seed}")

    def read(self) -> bytes:
        """The corrupted image as a PNG; the same for the same bytes, path and seed."""
        image = decode(self.source.read(), name=self.source.path)
        own = zlib.crc32(f"{self.seed} {self.severity} {self.source.path}".encode("utf-8", "surrogatepass"))
        made = io.BytesIO()
        CORRUPTIONS[self.kind](image, self.severity - 1, own).save(made, "PNG", compress_level=1)
        return made.getvalue()

    def identity(self) -> str:
        """That of the image, and what is done to it."""
        return f"{self.source.identity()} {self.kind} {self.severity} {self.seed}"


def corrupted(pairs: Pairs, kind: str, severity: int, seed: int) -> Pairs:
    """The same pairs with corrupted images.

    Parameters
    ----------
    pairs : Pairs
    kind : str
        A key of `CORRUPTIONS`.
    severity : int
        1 to 5.
    seed : int
        Of noise; each image has its own.
    """
    images = tuple(replace(pair, image=CorruptedImage(pair.image, kind, severity, seed)) for pair in pairs.pairs)
    return replace(pairs, name=f"{pairs.name} {kind} {severity}", pairs=images)
