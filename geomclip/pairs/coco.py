"""COCO captions in their official layout: annotations/captions_val2017.json beside val2017/, or those of 2014."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.tally import Tally
from geomclip.pairs.parsing import caption, choose_split, counted, inside, need, read_json
from geomclip.pairs.record import ImageFile, Pair, Pairs
from geomclip.pairs.source import Source

SPLITS = ("train", "val")
YEARS = (2017, 2014)  # the images of both are the same, their splits are not
LICENCE = "annotations CC BY 4.0; photos under their owners' Flickr terms"

RULES = (
    "annotations/captions_SPLIT2017.json beside SPLIT2017/, else those of 2014; where both are there, 2017.",
    "Images in the order of the file, each with its captions; one without a caption is a candidate.",
    "Left out and counted: annotations of images that the file does not list, empty captions.",
    "Refused: a file of another shape, an image id that is there twice, names that leave the folder of the photos.",
)


def annotation_file(split: str, year: int = YEARS[0]) -> str:
    """Where the captions of a split are, relative to the set's folder."""
    return f"annotations/captions_{split}{year}.json"


def read(source: Source, root: Path) -> Pairs:
    """The images of a split in the order of the annotation file, each with its captions (five or more).

    An image of the list that is not on disk stays in the list; an annotation of an image that is not in
    the list is left out and counted.
    """
    tally = Tally()
    years = {split: [year for year in YEARS if (root / annotation_file(split, year)).is_file()] for split in SPLITS}
    there = tuple(split for split in SPLITS if years[split])
    split = choose_split(source.split, there, name=f"{source.data} at {root}")
    year = next((year for year in years[split] if (root / f"{split}{year}").is_dir()), years[split][0])
    if year != YEARS[0] or len(years[split]) > 1:
        tally.understood(f"COCO {year}, whose splits are not those of {YEARS[year == YEARS[0]]}")
    file, folder = root / annotation_file(split, year), root / f"{split}{year}"
    if not folder.is_dir():
        way_out = f"`geomclip data download coco --split {split}` fetches them"
        raise NotAvailableError(
            f"the photos are not at {folder}: {way_out if year == YEARS[0] else 'place them there'}"
        )
    content = need(read_json(file), dict, entry=str(file))
    images = _images(content, file=file, folder=folder)
    captions = _captions(content, set(images), file, tally)
    nothing: list[tuple[str, str]] = []
    pairs = []
    for image_id, image in images.items():
        own = captions.pop(image_id, nothing)
        ids, texts = zip(*own, strict=True) if own else ((), ())
        pairs.append(Pair(str(image_id), image, texts, ids))
    tally.use("images", len(pairs))
    notes = counted((sum(not pair.captions for pair in pairs), "{n} images have no caption"))
    return Pairs(source.data, split, pairs, licence=LICENCE, language="en", notes=notes, read=tally.read())


def _captions(content: dict[str, Any], listed: set[int], file: Path, tally: Tally) -> dict[int, list[tuple[str, str]]]:
    """Ids and texts of the captions of each image that is listed."""
    captions: dict[int, list[tuple[str, str]]] = {}
    used = 0
    for row, annotation in enumerate(need(content.get("annotations"), list, entry=f"{file}: annotations")):
        image_id, text, caption_id = _annotation(annotation, f"{file}: annotations", row)
        if image_id not in listed:
            tally.leave_out("captions", f"of images that {file.name} does not list", f"annotations[{row}]")
        elif not (shown := caption(text)):
            tally.leave_out("captions", "empty", f"annotations[{row}]")
        else:
            captions.setdefault(image_id, []).append((str(caption_id), shown))
            used += 1
    tally.use("captions", used)
    return captions


def _annotation(annotation: Any, file: str, row: int) -> tuple[int, str, int]:
    """The image, text and id of a caption; InputError that names what is wrong with it."""
    if type(annotation) is dict:
        image_id, text, number = annotation.get("image_id"), annotation.get("caption"), annotation.get("id")
        if type(image_id) is int and type(text) is str and type(number) is int:  # whole: no message need be made
            return image_id, text, number
    entry = f"{file}[{row}]"
    return (
        need(need(annotation, dict, entry=entry).get("image_id"), int, entry=f"{entry}.image_id"),
        need(annotation.get("caption"), str, entry=f"{entry}.caption"),
        need(annotation.get("id"), int, entry=f"{entry}.id"),
    )


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
