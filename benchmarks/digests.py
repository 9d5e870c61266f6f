"""What it costs to know images by their bytes: while they are encoded, and when the same are asked for again.

    python benchmarks/digests.py [--model demo] [--images 256] [--known 20000] [--folder DIR] [--out FILE.json]

Extraction hashes the bytes that it decodes, notes what the system says of each file, and keeps both: the seconds that
the processor works for these, as a share of those of the extraction that they are part of (at most 3 %). A later run
looks the digests up and reads no image: its seconds for `--known` files beside those of a loop over `os.stat`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from goal import Goal, report

from geomclip.encoders import load_encoder
from geomclip.encoders.extraction import digests
from geomclip.encoders.extraction.calls import extract
from geomclip.encoders.extraction.digests import Digests
from geomclip.pairs.record import ImageFile, Pair, Pairs

MOST_OF_EXTRACTION = 0.03
WIDTH, HEIGHT = 500, 375  # Flickr's


def photographs(folder: Path, count: int) -> list[ImageFile]:
    """JPEGs with the size and the grain of photographs."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    generator, images = np.random.default_rng(0), []
    for number in range(count):
        coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        grain = Image.fromarray(generator.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        Image.blend(picture, grain, 0.15).save(buffer, "JPEG", quality=90)
        images.append(ImageFile(folder / f"{number:06d}.jpg"))
        images[-1].file.write_bytes(buffer.getvalue())
    return images


def worked(function: Callable[[], object]) -> float:
    """Seconds that the processor worked for it."""
    before = time.process_time()
    function()
    return time.process_time() - before


def digesting(images: list[ImageFile], cache: Path) -> float:
    """Seconds for all that an extraction does to know its images later."""
    contents = [image.read() for image in images]
    known = Digests(images, cache)

    def work() -> None:
        stamps = known.stamps(range(len(images)))
        known.keep(stamps, [hashlib.sha256(content).hexdigest() for content in contents])

    return worked(work)


def looking_up(folder: Path, count: int, cache: Path) -> tuple[float, float]:
    """Seconds to find the digests of so many files, and those of os.stat alone."""
    folder.mkdir(parents=True)
    images = [ImageFile(folder / f"{number:09d}.jpg") for number in range(count)]
    for number, image in enumerate(images):
        image.file.write_bytes(b"%d" % number)
    time.sleep(digests.SETTLED_NS / 1e9 + 0.1)
    Digests(images, cache).sha256(range(count))
    plain = worked(lambda: [os.stat(image.file) for image in images])
    return worked(lambda: Digests(images, cache).sha256(range(count))), plain


def main() -> None:
    """The share, and what a later run costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--known", type=int, default=20_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    encoder = load_encoder(options.model)
    with tempfile.TemporaryDirectory(dir=options.folder) as fresh:
        place = Path(fresh)
        images = photographs(place / "photographs", options.images)
        time.sleep(digests.SETTLED_NS / 1e9 + 0.1)
        pairs = Pairs("photographs", "test", [Pair(str(number), image) for number, image in enumerate(images)])
        extract(encoder, pairs.limited(8), place / "warm", cache_dir=place / "a")
        whole = worked(lambda: extract(encoder, pairs, place / "store", cache_dir=place / "b"))
        own = digesting(images, place / "c")
        found, plain = looking_up(place / "known", options.known, place / "d")
    rows = [
        {"of an extraction": "all of it", "CPU s": whole},
        {"of an extraction": "digests", "CPU s": own},
        {"of known images": "digests", "CPU s": found},
        {"of known images": "os.stat alone", "CPU s": plain},
    ]
    why = f"{len(images)} images of {WIDTH} x {HEIGHT} with {options.model}, seconds that the processor worked"
    goal = Goal("digests, as a share of extraction", own / whole, MOST_OF_EXTRACTION, "", why=why)
    report("What digests of images cost", [goal], rows, options.out)


if __name__ == "__main__":
    main()
