"""An encoder that sees colours, and folders of classes of colours, for tests of evaluations."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}


class Eye:
    """Sees the mean colour of a picture, and of a text the colour that it names, a template's own noise added."""

    logit_scale = 20.0

    def encode_image(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        return np.stack([np.asarray(picture).reshape(-1, 3).mean(0) / 255 for picture in pictures]).astype(np.float32)

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([row(text) for text in texts]).astype(np.float32)


def row(text: str) -> np.ndarray:
    colour = next((np.array(value, float) for name, value in COLOURS.items() if name in text), np.ones(3) / 2)
    return colour + 0.5 * np.random.default_rng(zlib.crc32(text.encode())).random(3)


def write(folder: Path, names: Sequence[str] = tuple(COLOURS), count: int = 12, seed: int = 0) -> Path:
    """A folder of classes with pictures of noisy colours; the colour of class k is the k-th."""
    rng = np.random.default_rng(seed)
    for name, colour in zip(names, COLOURS.values(), strict=True):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixel = np.clip(120 * np.array(colour) + rng.integers(0, 120, 3), 0, 255).astype(np.uint8)
            Image.fromarray(np.tile(pixel, (4, 4, 1))).save(folder / name / f"{number:02}.png")
    return folder
