"""A data set that can be learnt, shapes with captions that say which; and classes of noise."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COLOURS = ("red", "green", "blue", "gold", "gray", "pink", "teal", "navy")
SHAPES = ("square", "disc", "bar", "cross")


def picture(colour: str, shape: str, size: int, file: Path) -> None:
    """One shape in one colour on white."""
    image = Image.new("RGB", (32, 32), "white")
    draw = ImageDraw.Draw(image)
    box = (16 - size, 16 - size, 16 + size, 16 + size)
    if shape == "disc":
        draw.ellipse(box, fill=colour)
    elif shape == "bar":
        draw.rectangle((box[0], 14, box[2], 18), fill=colour)
    elif shape == "cross":
        draw.line(box, fill=colour, width=3)
        draw.line((box[0], box[3], box[2], box[1]), fill=colour, width=3)
    else:
        draw.rectangle(box, fill=colour)
    image.save(file)


def toy_csv(
    folder: Path, *, splits: dict[str, int] | None = None, captions: int = 2, broken: tuple[int, ...] = ()
) -> str:
    """A csv: data name of a set with these splits (name -> images), two captions an image."""
    sizes = {"train": 24, "val": 12, "test": 16} if splits is None else splits
    folder.mkdir(parents=True, exist_ok=True)
    rows, number = [], 0
    for split, count in sizes.items():
        for _ in range(count):
            colour, shape = COLOURS[number % len(COLOURS)], SHAPES[(number // len(COLOURS)) % len(SHAPES)]
            name = f"{number:03}.png"
            if number in broken:
                (folder / name).write_text("no picture")
            else:
                picture(colour, shape, 6 + number % 7, folder / name)
            texts = (f"a {colour} {shape}", f"{shape} that is {colour} {number}", f"number {number}")[:captions]
            rows += [{"filepath": name, "title": text, "split": split} for text in texts]
            number += 1
    file = folder / "pairs.csv"
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, ["filepath", "title", "split"] if sizes.keys() != {""} else ["filepath", "title"])
        writer.writeheader()
        writer.writerows([{key: row[key] for key in writer.fieldnames} for row in rows])
    return f"csv:{file}"


def toy_cifar(file: Path) -> Path:
    """Two classes of noise, eight images each."""
    draw = np.random.default_rng(0)
    images, labels = draw.integers(0, 255, (16, 8, 8, 3), dtype=np.uint8), np.arange(16) % 2
    parts = {
        f"{split}_{name}": each
        for split in ("train", "test")
        for name, each in (("images", images), ("labels", labels))
    }
    np.savez(file, classes=np.array(["cat", "dog"]), **parts)
    return file
