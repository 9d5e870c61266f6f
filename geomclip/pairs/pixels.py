"""Images that lie as plain pixels in a file, given out as the PPM that has the same pixels; and their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geomclip.machine.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def ppm(pixels: NDArray[Any]) -> bytes:
    r"""Pixels (h, w), (h, w, 1) or (h, w, 3) of 8 bits as an encoded image of the same pixels.

    Examples
    --------
    >>> import numpy as np
    >>> ppm(np.zeros((1, 2), np.uint8))
    b'P5\n2 1\n255\n\x00\x00'
    """
    height, width = pixels.shape[:2]
    mark = b"P6" if pixels.ndim == 3 and pixels.shape[2] == 3 else b"P5"
    return b"%b\n%d %d\n255\n" % (mark, width, height) + pixels.tobytes()


def check_labels(labels: NDArray[Any], classes: int, *, where: str) -> None:
    """InputError for the first label that no class has: its file and row, and how many classes there are."""
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        row = int(outside.argmax())
        raise InputError(f"{where}: the label of image {row} is {int(labels[row])}, outside the {classes} classes")
