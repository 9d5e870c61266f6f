"""From the bytes of an image, which may come from anybody, to upright RGB pixels; bounded in memory.

The bytes say what an image is, whatever its name ends in. Scanners, microscopes and X-ray cameras write 12 bits into
files of 16, so grey images of 16 bits without a value above 4095 are read as 12 bits: as 16 bits they would be all but
black. No other number of bits is guessed, since each more would brighten more dark images unlike their neighbours.
"""

from __future__ import annotations

import functools
import io
import re
import threading
import warnings
from typing import TYPE_CHECKING, Any

from geomclip.machine import limits
from geomclip.machine.errors import InputError
from geomclip.machine.words import one_line

if TYPE_CHECKING:
    from PIL import Image

# What Pillow decodes in its own process (EPS would start Ghostscript). JPEG includes the MPO of phones, PNG the APNG of
# stickers. TGA has no mark of its own at its start, so it comes last.
FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "AVIF", "JPEG2000"),
    *("PSD", "ICO", "QOI", "PCX", "SGI", "TGA"),
)
SHOWN = "JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, AVIF, JPEG 2000, PSD, ICO, QOI, PCX, SGI, TGA"

RULES = (
    f"An image is read by its bytes, whatever its name ends in: {SHOWN}, upright by its EXIF tag, the first frame.",
    "Transparency lies on white; CMYK, palettes and grey become RGB.",
    "Grey of 16 bits is scaled by the largest value that the file declares (TIFF, PGM), else by 4095 where no value "
    "is above that (12 bits in 16), else by 65535.",
    "Refused: 32-bit pixels, colour of 16 bits of which 12 or fewer are used, HEIC, more than 134 million pixels.",
)

# warnings.catch_warnings changes global state: one thread at a time, and never while pixels are decoded
_QUIET = threading.Lock()

TWELVE_BITS = 0xFFF
FULL = frozenset((1 << bits) - 1 for bits in range(9, 17))
_BITS, _MAX_SAMPLE, _S_MAX_SAMPLE = 258, 281, 341  # TIFF 6.0: BitsPerSample, MaxSampleValue, SMaxSampleValue
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

    16-bit grey becomes 8-bit, from 12 bits where it has no more (`info["bits"]` of the result is then 12); CMYK,
    palettes and the like are converted by Pillow. `FORMATS` are read, whatever the name ends in.

    Parameters
    ----------
    data : bytes
        The encoded image.
    name : str
        What a message calls it.

    Raises
    ------
    InputError
        One line: not an image, a format that is not read, cut short, damaged, or of more than the limit `pixels`
        declares (found before anything of that size is allocated).
    MemoryError, OSError
        If the machine fails, which says nothing of the image.
    """
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise InputError(f"{name} is empty")
    # 134 million if it is not raised: a 108-megapixel photo is read, in 0.4 GB
    most = limits.most("pixels")
    if most > limits.LIMITS["pixels"].most:
        Image.MAX_IMAGE_PIXELS = most  # Pillow's own, which would refuse
    try:
        with _QUIET, warnings.catch_warnings():
            # of Pillow's own limit on pixels (ours is checked next), and of odd metadata
            warnings.simplefilter("ignore")
            image: Image.Image = Image.open(io.BytesIO(data), formats=_formats())
        width, height = image.size
        if width * height > most:
            end = limits.refused("pixels", width * height)
            raise InputError(f"{name} declares {width} x {height} pixels, more than {most}: {end}")
        image.load()
        deep = data[24:25] == b"\x10" if image.format == "PNG" else _tag(image, _BITS) == 16  # IHDR's bit depth
        return _upright(_to_rgb(image, name, deep=deep), _orientation(image))
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        end = limits.refused("pixels", _declared(error))
        raise InputError(f"{name} declares more pixels than {most}: {end}") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is not an image that is read ({_instead(data)})") from error
    except Exception as error:
        if _of_the_machine(error):
            raise
        # Pillow's parsers raise whatever they stumble over: struct.error, SyntaxError, IndexError, ...
        raise InputError(f"{name} is damaged or cut short: {one_line(error, 200)}") from error


def _declared(error: Exception) -> int:
    """The pixels that Pillow says an image has, of which it tells in words alone."""
    return max(map(int, re.findall(r"\d+", str(error))), default=1)


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow has: AVIF came with 11.3, and may be left out of a build."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _instead(data: bytes) -> str:
    """What is read, or the way out for formats that people hold and that are not."""
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"):
        return "it is HEIC: save it as JPEG or PNG"
    if brand in (b"avif", b"avis"):
        return "it is AVIF, for which Pillow 11.3 or newer is needed, or it is damaged"
    return SHOWN


def _of_the_machine(error: Exception) -> bool:
    """Whether the machine failed and not the image, of which Pillow's OSErrors tell by a message alone."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None)


def _to_rgb(image: Image.Image, name: str, *, deep: bool) -> Image.Image:
    from PIL import Image

    if image.mode in ("I", "F") and image.format not in ("PNG", "PPM"):
        raise InputError(f"{name} has 32-bit pixels, which have no agreed white; save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _eight_bits(image)
    _refuse_lost_bits(image, name, deep=deep)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        pixels = image.convert("RGBA")
        white = Image.new("RGB", pixels.size, (255, 255, 255))
        white.paste(pixels, mask=pixels.getchannel("A"))
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, or of the fewer that are in use, as RGB of 8."""
    import numpy as np
    from PIL import Image

    grey = np.asarray(image).astype(np.int64)
    largest = _declared_largest(image)
    guessed = not largest and 0 < grey.max(initial=0) <= TWELVE_BITS
    largest = largest or (TWELVE_BITS if guessed else 0xFFFF)
    # by their bits where they fill them: 16 of them are cut to 8 as all others do it
    scaled = grey >> (largest.bit_length() - 8) if largest in FULL else grey * 255 // largest
    made = Image.fromarray(scaled.clip(0, 255).astype(np.uint8)).convert("RGB")
    if guessed:
        made.info["bits"] = 12
    return made


def _declared_largest(image: Image.Image) -> int:
    """The value of white that a file with more than 8 bits declares; 0 if it declares none.

    Pillow scales PGM by the file's own white, and JPEG 2000 by its number of bits.
    """
    if image.format in ("PPM", "JPEG2000"):
        return 0xFFFF
    if image.format != "TIFF":
        return 0
    for tag in (_S_MAX_SAMPLE, _MAX_SAMPLE):
        value: Any = _tag(image, tag)
        if isinstance(value, int | float) and 0xFF < value <= 0xFFFF:
            return int(value)
    bits = _tag(image, _BITS)
    return (1 << bits) - 1 if isinstance(bits, int) and 8 < bits < 16 else 0


def _tag(image: Image.Image, number: int) -> Any:
    """The first value of a TIFF tag, None where it is absent."""
    value = getattr(image, "tag_v2", {}).get(number)
    return value[0] if isinstance(value, tuple) and value else value


def _refuse_lost_bits(image: Image.Image, name: str, *, deep: bool) -> None:
    """InputError for colour of 16 bits that is all but black: Pillow keeps the upper 8 bits, which are not in use."""
    if not deep or image.mode not in ("RGB", "RGBA", "LA"):
        return
    colours: Any = image.getextrema()
    brightest = max(high for _, high in colours[: 1 if image.mode == "LA" else 3])
    if 0 < brightest <= TWELVE_BITS >> 8:
        raise InputError(
            f"{name} has 16 bits a colour and no value above {TWELVE_BITS}, so all of it would be black; "
            "scale it to the full 16 bits, or save it with 8"
        )


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
