"""COCO captions in their official layout: annotations/captions_val2017.json beside val2017/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.pairs.parsing import caption, choose_split, counted, inside, need, read_json
from geomclip.pairs.record import ImageFile, Pair, Pairs
from geomclip.pairs.source import Source

SPLITS = ("train", "val")
LICENCE = "annotations CC BY 4.0; photos under their owners' Flickr terms"


def annotation_file(split: str) -> str:
    """Where the captions of a split are, relative to the set's folder."""
    return f"annotations/captions_{split}2017.json"


def read(source: Source, root: Path) -> Pairs:
    """The images of a split in the order of the annotation file, each with its captions (five or more).

    An image of the list that is not on disk stays in the list; an annotation of an image that is not in
    the list is left out and counted in the notes.
    """
    there = tuple(split for split in SPLITS if (root / annotation_file(split)).is_file())
    split = choose_split(source.split, there, name=f"{source.data} at {root}")
    file, folder = root / annotation_file(split), root / f"{split}2017"
    if not folder.is_dir():
        raise NotAvailableError(
            f"the photos are not at {folder}: `geomclip data download coco --split {split}` fetches them"
        )
    content = need(read_json(file), dict, entry=str(file))
    images = _images(content, file=file, folder=folder)
    captions: dict[int, list[tuple[str, str]]] = {image_id: [] for image_id in images}
    unknown = empty = 0
    for row, annotation in enumerate(need(content.get("annotations"), list, entry=f"{file}: annotations")):
        entry = f"{file}: annotations[{row}]"
        image_id = need(need(annotation, dict, entry=entry).get("image_id"), int, entry=f"{entry}.image_id")
        text = caption(need(annotation.get("caption"), str, entry=f"{entry}.caption"))
        caption_id = need(annotation.get("id"), int, entry=f"{entry}.id")
        if image_id not in images:
            unknown += 1
        elif not text:
            empty += 1
        else:
            captions[image_id].append((str(caption_id), text))
    pairs = [
        Pair(
            image_id=str(image_id),
            image=image,
            captions=tuple(text for _, text in captions[image_id]),
            caption_ids=tuple(caption_id for caption_id, _ in captions[image_id]),
        )
        for image_id, image in images.items()
    ]
    notes = counted(
        (unknown, f"{{n}} annotations of images that {file.name} does not list were left out"),
        (empty, "{n} empty captions were left out"),
        (sum(not pair.captions for pair in pairs), "{n} images have no caption"),
    )
    return Pairs(source.data, split, pairs, licence=LICENCE, language="en", notes=notes)


def _images(content: dict[str, Any], *, file: Path, folder: Path) -> dict[int, ImageFile]:
    """The images that the annotation file lists, by id."""
    images: dict[int, ImageFile] = {}
    for row, image in enumerate(need(content.get("images"), list, entry=f"{file}: images")):
        entry = f"{file}: images[{row}]"
        image_id = need(need(image, dict, entry=entry).get("id"), int, entry=f"{entry}.id")
        name = need(image.get("file_name"), str, entry=f"{entry}.file_name")
        if image_id in images:
            raise InputError(f"{entry}: the image id {image_id} is there twice")
        path = inside(folder, name, entry=f"{entry}.file_name")
        images[image_id] = ImageFile(path, shown=f"{folder.name}/{name}")
    if not images:
        raise InputError(f"{file} lists no images")
    return images
