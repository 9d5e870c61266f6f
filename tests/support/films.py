"""Videos that tests write, of scenes that one can tell apart."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

av = pytest.importorskip("av")

Picture = NDArray[np.uint8]
COLORS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (250, 250, 250)}


def plain(color: str, width: int = 96, height: int = 64) -> Picture:
    """A picture of one colour."""
    return np.full((height, width, 3), COLORS[color], dtype=np.uint8)


def emoji(character: str, size: int = 96) -> Picture:
    """The picture of an emoji on white."""
    from geomclip.pairs.emoji import EmojiImage

    code = "-".join(f"{ord(sign):X}" for sign in character)
    return np.asarray(Image.open(io.BytesIO(EmojiImage(code, size).read())).convert("RGB"))


def scenes(pictures: Sequence[Picture], seconds: Sequence[float], rate: int = 10) -> list[Picture]:
    """Each picture for so many seconds."""
    return [each for each, long in zip(pictures, seconds, strict=True) for _ in range(round(long * rate))]


def write(
    path: Path,
    frames: Iterable[Picture],
    *,
    rate: int = 10,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times: Sequence[float] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """A video file of these frames; with `times` (seconds) each is shown from its own on."""
    frames = list(frames)
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(times[number] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path: Path, seconds: float = 1.0) -> Path:
    """A file with a sound and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        samples = np.zeros((1, round(8000 * seconds)), dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
