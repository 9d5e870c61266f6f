"""COCO captions in their official layout: annotations/captions_val2017.json beside val2017/, or those of 2014."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.tally import Tally
from geomclip.pairs.parsing import all_inside, choose_split, counted, grouped, json_columns, stripped
from geomclip.pairs.record import FolderImage, Pair, Pairs
from geomclip.pairs.source import Source

SPLITS = ("train", "val")
YEARS = (2017, 2014)  # the images of both are the same, their splits are not
LICENCE = "annotations CC BY 4.0; photos under their owners' Flickr terms"

KINDS = {
    "images": {"id": int, "file_name": str},
    "annotations": {"image_id": int, **dict.fromkeys(["caption"], str), "id": int},
}
"""What is read of an annotation file."""

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
    (ids, names), (image_of, given, numbers) = json_columns(file, KINDS)
    images = _images(ids, names, file=file, folder=folder)
    texts = stripped(given)
    captioned = _captioned(image_of, texts, set(ids), file, tally)
    of_image = [captioned.get(image_id, []) for image_id in ids]
    captions = [tuple([texts[row] for row in rows]) for rows in of_image]
    caption_ids = [tuple([str(numbers[row]) for row in rows]) for rows in of_image]
    pairs = list(map(Pair, map(str, ids), images, captions, caption_ids))
    tally.use("images", len(pairs))
    notes = counted((captions.count(()), "{n} images have no caption"))
    read = tally.read()
    return Pairs(source.data, split, pairs, licence=LICENCE, language="en", notes=notes, read=read, root=folder)


def _captioned(
    image_of: list[int], texts: list[str], listed: Set[int], file: Path, tally: Tally
) -> dict[int, list[int]]:
    """The annotations of each image that is listed, those without a text left out."""
    captioned = grouped(image_of)
    for image_id in sorted(captioned.keys() - listed):
        rows = captioned.pop(image_id)
        reason = f"of images that {file.name} does not list"
        tally.leave_out("captions", reason, f"annotations[{rows[0]}]", len(rows))
    if not all(texts):
        for image_id, rows in captioned.items():
            captioned[image_id] = [row for row in rows if texts[row]]
            if empty := [row for row in rows if not texts[row]]:
                tally.leave_out("captions", "empty", f"annotations[{empty[0]}]", len(empty))
    tally.use("captions", sum(map(len, captioned.values())))
    return captioned


def _images(ids: list[int], names: list[str], *, file: Path, folder: Path) -> list[FolderImage]:
    """The images that the annotation file lists."""
    entry, root = f"{file}: images", folder.parent
    if not ids:
        raise InputError(f"{file} lists no images")
    if len(set(ids)) < len(ids):
        twice = next(rows[1] for rows in grouped(ids).values() if len(rows) > 1)
        raise InputError(f"{entry}[{twice}]: the image id {ids[twice]} is there twice")
    all_inside(folder, names, entry=lambda row: f"{entry}[{row}].file_name")
    return [FolderImage(root, f"{folder.name}/{name}") for name in names]
