"""Karpathy-style sets (Flickr8k, Flickr30k, COCO): dataset_NAME.json with captions and splits, photos.

The train split of COCO is that of Karpathy and Fei-Fei together with restval, the images of COCO's val2014 that they
put into neither val nor test: 113,287 images, which is what papers that train on it use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.tally import Tally
from geomclip.pairs.parsing import (
    caption,
    choose_split,
    counted,
    first_repeated,
    inside,
    need,
    numbered,
    read_json,
)
from geomclip.pairs.record import ImageFile, Pair, Pairs
from geomclip.pairs.source import Source

# name of the set -> (its file, what its photos' folder may be called, licence)
LAYOUTS = {
    "flickr8k": (
        "dataset_flickr8k.json",
        ("images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset"),
        "photos: Flickr users', for non-commercial research and education; captions: Hodosh et al. (2013)",
    ),
    "flickr30k": (
        "dataset_flickr30k.json",
        ("images", "Images", "flickr30k-images", "flickr30k_images"),
        "photos: Flickr users', for non-commercial research and education; captions: Young et al. (2014)",
    ),
    "coco-karpathy": (
        "dataset_coco.json",
        ("images", "."),  # the file names the folder of each photo: val2014, train2014
        "annotations CC BY 4.0; photos under their owners' Flickr terms",
    ),
}


RULES = (
    "dataset_NAME.json beside the photos; the raw text of each sentence is a caption.",
    "train is train and restval together, as papers use it; --split restval is restval alone.",
    "Refused: a file of another shape, an image that is there twice, names that leave the folder of the photos.",
)


def read(source: Source, root: Path) -> Pairs:
    """The images of a split in the order of the file, each with the raw text of its sentences."""
    file_name, folder_names, licence = LAYOUTS[source.data]
    file = root / file_name
    folder = next((root / name for name in folder_names if (root / name).is_dir()), None)
    if folder is None:
        raise NotAvailableError(f"the photos of {source.data} are not at {root / folder_names[0]}: place them there")
    content = need(read_json(file), dict, entry=str(file))
    images = need(content.get("images"), list, entry=f"{file}: images")
    if not images:
        raise InputError(f"{file} lists no images")
    splits: dict[str, list[int]] = {}
    for row, image in enumerate(images):
        entry = f"{file}: images[{row}]"
        name = need(need(image, dict, entry=entry).get("split"), str, entry=f"{entry}.split")
        splits.setdefault(name, []).append(row)
    split = choose_split(source.split, tuple(splits), name=f"{source.data} at {root}")
    tally = Tally()
    rows = splits[split]
    if split == "train" and "restval" in splits:
        tally.understood(f"train is train and restval together ({len(rows)} and {len(splits['restval'])} images)")
        rows = sorted(rows + splits["restval"])
    pairs = [_pair(images[row], tally, entry=f"{file}: images[{row}]", folder=folder) for row in rows]
    tally.use("images", len(pairs))
    twice = first_repeated(pair.image_id for pair in pairs)
    if twice is not None:
        raise InputError(f"{file}: the image {twice} is there twice in the split {split}")
    notes = counted((sum(not pair.captions for pair in pairs), "{n} images have no caption"))
    return Pairs(source.data, split, pairs, licence=licence, language="en", notes=notes, read=tally.read(), root=folder)


def _pair(image: dict[str, Any], tally: Tally, *, entry: str, folder: Path) -> Pair:
    name = need(image.get("filename"), str, entry=f"{entry}.filename")
    if "filepath" in image:  # COCO: the folder within the photos
        name = f"{need(image['filepath'], str, entry=f'{entry}.filepath')}/{name}"
    path = inside(folder, name, entry=f"{entry}.filename")
    texts = []
    for number, sentence in enumerate(need(image.get("sentences"), list, entry=f"{entry}.sentences")):
        where = f"{entry}.sentences[{number}]"
        texts.append(caption(need(need(sentence, dict, entry=where).get("raw"), str, entry=f"{where}.raw")))
    captions = tuple(text for text in texts if text)
    tally.use("captions", len(captions))
    tally.leave_out("captions", "empty", name, len(texts) - len(captions))
    return Pair(
        image_id=name,
        image=ImageFile(path, shown=name),
        captions=captions,
        caption_ids=numbered(name, captions),
    )
