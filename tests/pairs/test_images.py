"""From bytes to RGB: what is turned, flattened and scaled, and what is refused before it costs memory."""

import io
import re
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin, features

from geomclip.cli import doctor
from geomclip.machine.errors import InputError
from geomclip.machine.limits import LIMITS
from geomclip.pairs.images import decode


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def photo(size: tuple[int, int] = (40, 30)) -> Image.Image:
    """Smooth, with a bright corner top left, so that turns and crops show."""
    x, y = np.meshgrid(np.linspace(1, 0, size[0]), np.linspace(1, 0, size[1]))
    return Image.fromarray((np.stack([x * y, x * 0.5, y * 0.5], axis=2) * 255).astype(np.uint8))


def png(width: int, height: int, *, pixels: bytes = b"", chunks: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """A PNG of 1-bit grey with any declared size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = b"".join(chunk(kind, data) for kind, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_an_rgb_png_comes_back_as_it_is():
    image = decode(encoded(photo()), name="x")
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), np.asarray(photo()))


@pytest.mark.parametrize(
    "kind",
    ["JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "AVIF", "JPEG2000", "TGA", "PCX", "SGI", "QOI"],
)
def test_each_format_is_read(kind):
    Image.init()
    if kind not in Image.SAVE or (kind == "AVIF" and not features.check("avif")):
        pytest.skip(f"this Pillow writes no {kind}")
    image = decode(encoded(photo(), kind), name="x")
    assert image.mode == "RGB"
    assert image.size == (40, 30)
    assert np.abs(np.asarray(image, int) - np.asarray(photo(), int)).mean() < 8  # palettes and JPEG lose a little


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_tag_turns_the_image_upright(orientation):
    # what a camera stores for each tag value, from the upright photo (EXIF 2.3, tag 0x0112)
    turns = [(), (0,), (3,), (1,), (5,), (2,), (6,), (4,)]
    stored = photo()
    for turn in turns[orientation - 1]:
        stored = stored.transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("PNG", "TIFF"):
        image = decode(encoded(stored, kind, exif=exif), name="x")
        assert np.array_equal(np.asarray(image), np.asarray(photo()))


def test_transparency_lies_on_white():
    clear = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    clear.putpixel((1, 0), (0, 0, 255, 255))
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    for data in (
        encoded(clear),
        encoded(clear, "WEBP", lossless=True),
        encoded(palette, transparency=0),
        encoded(palette, transparency=b"\x00\xff"),
        encoded(palette, "GIF", transparency=0),
        encoded(palette.convert("RGB"), transparency=(255, 0, 0)),
    ):
        image = decode(data, name="x")
        assert [image.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 255)]


def test_half_transparent_grey_is_mixed_with_white():
    assert decode(encoded(Image.new("LA", (1, 1), (0, 51))), name="x").getpixel((0, 0)) == (204, 204, 204)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_cut(kind):
    grey = np.array([[0, 0x80FF, 0xFFFF]], np.uint16)
    ppm = b"P5 3 1 65535\n" + grey.astype(">u2").tobytes()  # which older Pillows read but do not write
    image = decode(ppm if kind == "PPM" else encoded(Image.fromarray(grey), kind), name="x")
    assert [image.getpixel((x, 0))[0] for x in range(3)] == [0, 0x80, 255]


def test_twelve_bits_in_sixteen_are_read_as_twelve_and_marked():
    ramp = np.array([[0, 0x7FF, 0xFFF]], np.uint16)
    for kind in ("PNG", "TIFF"):
        image = decode(encoded(Image.fromarray(ramp), kind), name="x")
        assert [image.getpixel((x, 0))[0] for x in range(3)] == [0, 0x7F, 255]
        assert image.info["bits"] == 12
    one_more = decode(encoded(Image.fromarray(ramp + 1)), name="x")
    assert one_more.getpixel((2, 0))[0] == 0x10
    assert "bits" not in one_more.info
    assert "bits" not in decode(encoded(Image.fromarray(ramp * 0)), name="x").info  # black in any number of bits


@pytest.mark.parametrize(("tag", "largest"), [(281, 1023), (341, 4095), (281, 16383), (281, 50_000)])
def test_a_tiff_says_which_value_is_white(tag, largest):
    grey = np.array([[0, largest // 2, largest]], np.uint16)
    image = decode(encoded(Image.fromarray(grey), "TIFF", tiffinfo={tag: largest}), name="x")
    assert [image.getpixel((x, 0))[0] for x in range(3)] == [0, 127, 255]
    assert "bits" not in image.info


def test_a_dark_tiff_that_declares_sixteen_bits_stays_dark():
    grey = np.array([[0, 0xFFF]], np.uint16)
    image = decode(encoded(Image.fromarray(grey), "TIFF", tiffinfo={281: 0xFFFF}), name="x")
    assert image.getpixel((1, 0))[0] == 0x0F


def deep_colour(largest: int) -> bytes:
    """A PNG of three colours of 16 bits, which Pillow cannot write."""
    rows = b"".join(b"\0" + struct.pack(">6H", 0, largest // 2, largest, largest, 0, 0) for _ in range(2))
    data = png(2, 2, pixels=zlib.compress(rows))
    head = b"IHDR" + struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]


def test_colour_of_which_pillow_keeps_nothing_is_refused_with_the_way_out():
    assert decode(deep_colour(0xFFFF), name="x").getpixel((0, 0)) == (0, 0x7F, 255)
    assert decode(deep_colour(0), name="x").getpixel((0, 0)) == (0, 0, 0)
    check_refused(deep_colour(0xFFF), "no value above 4095.*scale it to the full 16 bits")
    assert decode(deep_colour(0xFFF * 16), name="x").getpixel((0, 0)) == (0, 0x7F, 255)


def test_heic_is_refused_with_the_way_out():
    check_refused(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "it is HEIC: save it as JPEG or PNG")


def test_cmyk_one_bit_and_palette_images_are_converted():
    assert decode(encoded(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "JPEG"), name="x").getpixel((1, 1))[0] > 250
    assert decode(encoded(Image.new("1", (1, 1), 1)), name="x").getpixel((0, 0)) == (255, 255, 255)
    assert decode(encoded(photo().quantize(256)), name="x").mode == "RGB"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_taken(kind):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    assert decode(data, name="x").getpixel((0, 0))[0] > 200


def test_the_name_says_nothing_the_bytes_say_all():
    assert decode(encoded(photo(), "WEBP"), name="photo.jpg").size == (40, 30)


# ---- refused


def check_refused(data: bytes, match: str) -> None:
    """One line that names the image and says what is wrong with it."""
    with pytest.raises(InputError, match=match) as caught:
        decode(data, name="some/photo.jpg")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("some/photo.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_a_truncated_image_is_refused(kind):
    data = encoded(photo((200, 200)), kind)
    check_refused(data[: len(data) // 2], "is damaged or cut short|is not an image")


def test_text_and_nothing_are_refused():
    check_refused(b"", "is empty")
    check_refused(b"this is a text\n" * 100, "is not an image that is read")
    check_refused(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not an image that is read")


def test_postscript_is_refused_unread():
    check_refused(encoded(photo(), "EPS"), "is not an image that is read")


def test_pixels_without_an_agreed_white_are_refused():
    check_refused(encoded(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"), "no agreed white")


@pytest.mark.parametrize("side", [12_000, 16_000, 60_000, 2**31 - 1])
def test_a_huge_declared_size_is_refused(side):
    assert side * side > LIMITS["pixels"].most
    check_refused(png(side, side), r"declares .*pixels")


def test_a_size_of_zero_is_refused():
    check_refused(png(0, 5), "is not an image that is read")


BOMBS = """
import resource, sys
from pathlib import Path
from geomclip.machine.errors import InputError
from geomclip.pairs.images import decode
*bombs, harmless = [Path(name).read_bytes() for name in sys.argv[1:]]
decode(harmless, name="warm")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for data in bombs:
    try:
        decode(data, name="bomb")
    except InputError as error:
        print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, "MiB")
"""


def bombs() -> list[bytes]:
    """Kilobytes that declare gigabytes, as pixels and as three kinds of text; the last one is harmless."""
    zeros = zlib.compress(bytes(1 << 28), 9)
    text = (b"zTXt", b"key\0\0" + zeros), (b"iTXt", b"key\0\1\0\0\0" + zeros), (b"iCCP", b"key\0\0" + zeros)
    small = zlib.compress(b"\0\0")
    return [
        png(100_000, 100_000, pixels=zeros),
        *(png(1, 1, pixels=small, chunks=(chunk,)) for chunk in text),
        png(1, 1, pixels=small, chunks=((b"zTXt", b"key\0\0" + zlib.compress(bytes(1 << 20)[:-1])),) * 200),
        png(1, 1, pixels=small),
    ]


def test_bombs_cost_no_memory(tmp_path):
    """In a process of its own, whose peak is its own; 256 MB of zeros lie in each text."""
    files = [tmp_path / f"{number}.png" for number in range(6)]
    for file, data in zip(files, bombs(), strict=True):
        file.write_bytes(data)
    done = subprocess.run([sys.executable, "-c", BOMBS, *files], capture_output=True, text=True, check=True)
    *messages, peak = done.stdout.splitlines()
    assert "declares" in messages[0]
    assert int(peak.split()[0]) < 150, done.stdout


def test_warnings_of_pillow_stay_inside(recwarn):
    decode(encoded(Image.new("1", (10_000, 10_000))), name="x")  # above Pillow's own limit, below ours
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", "no hex at all")
    decode(encoded(photo(), pnginfo=info), name="x")
    assert not recwarn.list


def test_broken_exif_does_not_cost_the_image():
    data = encoded(photo(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40)
    assert decode(data, name="x").size == (40, 30)


SEEDS = [
    encoded(photo(), kind)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "TGA", "ICO", "PCX", "SGI")
]


def answer(data: bytes) -> str:
    """The mode of the image, or the message of the refusal; anything else is raised."""
    try:
        return decode(data, name="x").mode
    except InputError as error:
        return f"refused: {error}"


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    seed=st.sampled_from(SEEDS),
    damage=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), max_size=4),
    cut=st.floats(0.1, 1),
)
def test_damaged_bytes_give_an_image_or_an_error_of_one_line(seed, damage, cut):
    data = bytearray(seed)
    for place, junk in damage:
        start = int(place * (len(data) - 1))
        data[start : start + len(junk)] = junk
    assert re.fullmatch("RGB|refused: x .*", answer(bytes(data[: int(cut * len(data))])))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=100))
def test_any_bytes_give_an_image_or_an_error_of_one_line(data):
    assert re.fullmatch("RGB|refused: x .*", answer(data))


@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize(("size", "quality"), [((41, 30), 95), ((333, 500), 75), ((16, 200), 30)])
def test_a_jpeg_has_the_pixels_of_libjpeg_turbo_within_one_grey_level(size, quality, sampling):
    vision = pytest.importorskip("torchvision.io")  # newer ones leave images to others
    if not hasattr(vision, "decode_jpeg"):
        pytest.skip("this torchvision decodes no JPEG")
    grain = np.random.default_rng(0).normal(0, 12, (size[1], size[0], 3))
    picture = Image.fromarray((np.asarray(photo(size)) + grain).clip(0, 255).astype(np.uint8))
    data = encoded(picture, "JPEG", quality=quality, subsampling=sampling)
    ours = np.asarray(decode(data, name="x")).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        theirs = vision.decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=vision.ImageReadMode.RGB)
    assert np.abs(ours - theirs.permute(1, 2, 0).numpy()).max() <= 1


@pytest.mark.parametrize(("turbo", "found", "well"), [("3.2.0", "libjpeg-turbo 3.2.0", True), (None, "without", False)])
def test_doctor_tells_whether_the_fast_jpeg_decoder_is_there(monkeypatch, turbo, found, well):
    monkeypatch.setattr("PIL.features.version_feature", lambda name: turbo if name == "libjpeg_turbo" else "other")
    (finding,) = doctor.jpeg()
    assert found in finding.found
    assert (finding.well, bool(finding.advice)) == (well, not well)
