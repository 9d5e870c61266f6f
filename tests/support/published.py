"""Rows of a tiny model as if they had been published, and data made to the formats that they are of."""

from __future__ import annotations

from pathlib import Path

from helpers import picture
from pair_files import write

from geomclip.reproduction.rows import Classes, Number, Row


def flickr(root: Path) -> Path:
    """Flickr30k as Karpathy's file has it, with as many images of train as a batch of the preset takes."""
    splits = ["train"] * 130 + ["val"] * 6 + ["test"] * 40
    listed = [
        {"filename": f"{i}.jpg", "split": split, "sentences": [{"raw": caption(i, k)} for k in range(2)]}
        for i, split in enumerate(splits)
    ]
    photos = {f"images/{i}.jpg": picture(i, kind="JPEG") for i in range(len(splits))}
    return write(root, {"dataset_flickr30k.json": {"dataset": "flickr30k", "images": listed}, **photos})


RECALLS = tuple(f"{side}_retrieval_recall@{k}" for side in ("text", "image") for k in (1, 5, 10))
PUBLISHED = (0.5012, 0.7500, 0.8352, 0.3044, 0.5594, 0.6687)
IMAGES = 24
WORDS = ("red", "green", "blue", "small", "large", "noisy")


def caption(number: int, copy: int) -> str:
    return f"a {WORDS[number % 6]} {WORDS[(number * 5 + copy) % 6]} picture, number {number}, once {copy}"


def karpathy(root: Path, count: int = IMAGES) -> Path:
    """COCO as Karpathy's file and val2014 have it: all of it test, five captions an image."""
    listed = [
        {
            "filepath": "val2014",
            "filename": f"COCO_val2014_{i:012}.jpg",
            "cocoid": i,
            "split": "test",
            "sentences": [{"raw": caption(i, k), "sentid": 5 * i + k} for k in range(5)],
        }
        for i in range(count)
    ]
    photos = {f"val2014/{each['filename']}": picture(i, kind="JPEG") for i, each in enumerate(listed)}
    return write(root, {"dataset_coco.json": {"dataset": "coco", "images": listed}, **photos})


def coco(root: Path, count: int = IMAGES) -> Path:
    """val2017 in the official layout."""
    images = [{"id": i, "file_name": f"{i:012}.jpg"} for i in range(count)]
    notes = [{"id": 5 * i + k, "image_id": i, "caption": caption(i, k)} for i in range(count) for k in range(5)]
    photos = {f"val2017/{i:012}.jpg": picture(100 + i, kind="JPEG") for i in range(count)}
    return write(root, {"annotations/captions_val2017.json": {"images": images, "annotations": notes}, **photos})


def of_classes(root: Path, names: tuple[str, ...] = ("airplane", "lawn_mower"), each: int = 4) -> Path:
    files = {
        f"test/{name}/{i}.png": picture(200 + 10 * place + i) for place, name in enumerate(names) for i in range(each)
    }
    return write(root, files)


RETRIEVAL = Row(
    "tiny-coco",
    "hf-hub:org/tiny",
    "coco-karpathy",
    "test",
    IMAGES,
    tuple(Number(key, value, 0.003) for key, value in zip(RECALLS, PUBLISHED, strict=True)),
    "open_clip retrieval",
)
GAP = Row(
    "tiny-gap", "hf-hub:org/tiny", "coco", "val", IMAGES, (Number("modality_gap", 0.82, 0.01),), "Liang et al. 2022",
    captions="first",
)  # fmt: skip
TWO = Classes(2, "cifar", by_hand="write the images into {root}/test")
CLASSES = Row(
    "tiny-classes", "hf-hub:org/tiny", "cifar2", "test", 8, (Number("zeroshot_acc1", 0.8983, 0.003),),
    "open_clip classification", classes=TWO,
)  # fmt: skip
