"""Corruptions: what each does to a picture, that severity grows, and that they are the same each time."""

import io
from pathlib import Path

import numpy as np
import pytest
from pair_files import write
from PIL import Image

from geomclip.pairs import Source, load_pairs
from geomclip.pairs.corrupted import CONTRAST, CORRUPTIONS, NOISE, SEVERITIES, corrupted
from geomclip.pairs.images import decode
from geomclip.pairs.record import place_of


def picture(kind: str) -> bytes:
    """Smooth colours with an edge, or flat grey."""
    ramp = np.linspace(40, 215, 64)
    pixels = np.stack([np.tile(ramp, (64, 1)), np.tile(ramp[:, None], (1, 64)), np.full((64, 64), 128.0)], axis=2)
    pixels[20:40, 20:40] = 30
    if kind == "grey":
        pixels[:] = 128
    data = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def source(tmp_path: Path) -> Source:
    write(tmp_path, {"a/1.png": picture("colour"), "a/2.png": picture("colour"), "b/3.png": picture("grey")})
    return Source(f"imagenet-folder:{tmp_path}")


def pixels(image) -> np.ndarray:
    return np.asarray(decode(image.read(), name="x")).astype(float)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_pictures_are_further_from_the_original_with_each_severity(source: Source, kind: str) -> None:
    pairs = load_pairs(source)
    original = pixels(pairs.pairs[0].image)
    moved = [
        np.abs(pixels(corrupted(pairs, kind, severity, 0).pairs[0].image) - original).mean() for severity in SEVERITIES
    ]
    assert moved[0] > 0
    assert moved == sorted(moved)


def test_noise_has_its_standard_deviation_and_contrast_leaves_its_share(source: Source) -> None:
    pairs = load_pairs(source)
    grey = pixels(corrupted(pairs, "noise", 1, 0).pairs[2].image)
    assert grey.std() / 255 == pytest.approx(NOISE[0], rel=0.03)
    assert grey.mean() == pytest.approx(128, abs=1)
    flat = pixels(corrupted(pairs, "contrast", 3, 0).pairs[0].image)
    assert flat.std() == pytest.approx(CONTRAST[2] * pixels(pairs.pairs[0].image).std(), rel=0.1)


def test_the_same_seed_gives_the_same_bytes_and_each_image_its_own_noise(source: Source) -> None:
    pairs = load_pairs(source)
    one, same, other = (corrupted(pairs, "noise", 2, seed).pairs for seed in (0, 0, 1))
    assert one[0].image.read() == same[0].image.read()
    assert one[0].image.read() != other[0].image.read()
    assert one[0].image.read() != one[1].image.read()


def test_a_corrupted_image_is_known_as_another_than_the_original(source: Source) -> None:
    pairs = load_pairs(source)
    made = [corrupted(pairs, kind, severity, seed) for kind, severity, seed in (("jpeg", 1, 0), ("jpeg", 2, 0))]
    images = [each.pairs[0].image for each in (pairs, *made)]
    assert len({place_of(image) for image in images}) == 3
    assert len({image.identity() for image in images}) == 3
    assert [pair.image_id for pair in made[0].pairs] == [pair.image_id for pair in pairs.pairs]
    assert made[0].classes == pairs.classes
