"""COCO captions in their official layout: annotations/captions_val2017.json beside val2017/, or those of 2014."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Any

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.tally import Tally
from geomclip.pairs.parsing import all_inside, choose_split, columns, counted, grouped, need, read_json, stripped
from geomclip.pairs.record import FolderImage, Pair, Pairs
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
    captions = _captions(content, images.keys(), file, tally)
    nothing: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    pairs = [Pair(str(image_id), image, *captions.get(image_id, nothing)) for image_id, image in images.items()]
    tally.use("images", len(pairs))
    notes = counted((sum(not pair.captions for pair in pairs), "{n} images have no caption"))
    read = tally.read()
    return Pairs(source.data, split, pairs, licence=LICENCE, language="en", notes=notes, read=read, root=folder)


def _captions(
    content: dict[str, Any], listed: Set[int], file: Path, tally: Tally
) -> dict[int, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Texts and ids of the captions of each image that is listed."""
    entry = f"{file}: annotations"
    kinds = {"image_id": int, **dict.fromkeys(["caption"], str), "id": int}
    images, given, numbers = columns(need(content.get("annotations"), list, entry=entry), kinds, entry=entry)
    texts, ids = stripped(given), list(map(str, numbers))
    captions, used = {}, 0
    of_image = grouped(images)
    for image_id in sorted(of_image.keys() - listed):
        rows = of_image.pop(image_id)
        reason = f"of images that {file.name} does not list"
        tally.leave_out("captions", reason, f"annotations[{rows[0]}]", len(rows))
    for image_id, rows in of_image.items():
        kept = [row for row in rows if texts[row]]
        if len(kept) < len(rows):
            first = next(row for row in rows if not texts[row])
            tally.leave_out("captions", "empty", f"annotations[{first}]", len(rows) - len(kept))
        captions[image_id] = (tuple([texts[row] for row in kept]), tuple([ids[row] for row in kept]))
        used += len(kept)
    tally.use("captions", used)
    return captions


def _images(content: dict[str, Any], *, file: Path, folder: Path) -> dict[int, FolderImage]:
    """The images that the annotation file lists, by id."""
    entry = f"{file}: images"
    ids, names = columns(need(content.get("images"), list, entry=entry), {"id": int, "file_name": str}, entry=entry)
    if not ids:
        raise InputError(f"{file} lists no images")
    if len(set(ids)) < len(ids):
        twice = next(rows[1] for rows in grouped(ids).values() if len(rows) > 1)
        raise InputError(f"{entry}[{twice}]: the image id {ids[twice]} is there twice")
    all_inside(folder, names, entry=lambda row: f"{entry}[{row}].file_name")
    return {
        image_id: FolderImage(folder.parent, f"{folder.name}/{name}") for image_id, name in zip(ids, names, strict=True)
    }
