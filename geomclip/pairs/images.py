"""From the bytes of an image, which may come from anybody, to upright RGB pixels; bounded in memory."""

from __future__ import annotations

import io
import threading
import warnings
from typing import TYPE_CHECKING

from geomclip.machine.errors import InputError
from geomclip.machine.words import one_line

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 1 << 27
"""134 million: a 108-megapixel photo is read, in 0.4 GB; a larger declared size is refused unread."""

# What Pillow decodes in its own process (EPS would start Ghostscript). JPEG includes the MPO of phones.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")

# warnings.catch_warnings changes global state: one thread at a time, and never while pixels are decoded
_QUIET = threading.Lock()

_ORIENTATION = 0x0112
# EXIF orientation -> name in PIL.Image.Transpose of what turns it upright
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def decode(data: bytes, *, name: str) -> Image.Image:
    """The image in `data` as RGB: turned upright by its EXIF tag, transparency on white, first frame only.

    16-bit grey becomes 8-bit; CMYK, palettes and the like are converted by Pillow. JPEG, PNG, WebP, GIF, BMP,
    TIFF and PPM are read, whatever the name ends in.

    Parameters
    ----------
    data : bytes
        The encoded image.
    name : str
        What a message calls it.

    Raises
    ------
    InputError
        One line: not an image, a format that is not read, cut short, damaged, or of more than `MAX_PIXELS`
        declared pixels (found before anything of that size is allocated).
    MemoryError, OSError
        If the machine fails, which says nothing of the image.
    """
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise InputError(f"{name} is empty")
    try:
        with _QUIET, warnings.catch_warnings():
            # of Pillow's own limit on pixels (ours is checked next), and of odd metadata
            warnings.simplefilter("ignore")
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise InputError(f"{name} declares {width} x {height} pixels, more than {MAX_PIXELS}")
        image.load()
        return _upright(_to_rgb(image, name), _orientation(image))
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} declares more pixels than {MAX_PIXELS}") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is not an image that is read (JPEG, PNG, WebP, GIF, BMP, TIFF, PPM)") from error
    except Exception as error:
        if _of_the_machine(error):
            raise
        # Pillow's parsers raise whatever they stumble over: struct.error, SyntaxError, IndexError, ...
        raise InputError(f"{name} is damaged or cut short: {one_line(error, 200)}") from error


def _of_the_machine(error: Exception) -> bool:
    """Whether the machine failed and not the image, of which Pillow's OSErrors tell by a message alone."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    from PIL import Image

    if image.mode in ("I", "F") and image.format not in ("PNG", "PPM"):
        raise InputError(f"{name} has 32-bit pixels, which have no agreed white; save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        import numpy as np

        grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        pixels = image.convert("RGBA")
        white = Image.new("RGB", pixels.size, (255, 255, 255))
        white.paste(pixels, mask=pixels.getchannel("A"))
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        with _QUIET, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return int(image.getexif().get(_ORIENTATION, 1))
    except Exception as error:
        if _of_the_machine(error):
            raise
        return 1  # a damaged EXIF block says nothing of the pixels, which are fine


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    from PIL import Image

    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(Image.Transpose[turn])
