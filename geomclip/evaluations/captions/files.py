"""Files of captions: what any captioner wrote, an object of image id to caption or a list as of COCO results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geomclip.machine.errors import InputError
from geomclip.machine.json_files import clean, read_bytes
from geomclip.machine.words import one_line, option
from geomclip.pairs.record import Pair

SHAPES = '{"ID": "caption"} or [{"image_id": ID, "caption": "..."}]'


def read(path: Path) -> dict[str, str]:
    """The caption of each image id.

    Raises
    ------
    InputError
        If the file is absent, no JSON of one of the two shapes, or has an image twice.
    """
    try:
        found = clean(json.loads(read_bytes(path), object_pairs_hook=_once(path)))
    except RecursionError:
        raise InputError(f"{path} is no list of captions: too deep") from None
    except ValueError as problem:
        raise InputError(f"{path} is not readable as JSON ({problem})") from problem
    if isinstance(found, dict):
        rows: list[Any] = list(found.items())
    elif isinstance(found, list):
        rows = [(row.get("image_id"), row.get("caption")) if isinstance(row, dict) else (None, None) for row in found]
    else:
        raise InputError(f"{path} holds no captions: {SHAPES} is meant")
    captions: dict[str, str] = {}
    for place, (image, caption) in enumerate(rows):
        if not isinstance(image, str | int) or isinstance(image, bool) or not isinstance(caption, str):
            raise InputError(f"{path}: entry {place} is no image with its caption: {SHAPES} is meant")
        if str(image) in captions:
            raise InputError(f"{path}: image {one_line(str(image), 80)} is there twice: an image has one caption")
        captions[str(image)] = caption
    return captions


def _once(path: Path) -> Any:
    def checked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if twice := {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set():
            raise InputError(f"{path}: image {one_line(min(twice), 80)} is there twice: an image has one caption")
        return dict(pairs)

    return checked


def matched(captions: dict[str, str], pairs: Sequence[Pair], path: Path, title: str) -> tuple[list[str], int]:
    """The caption of each pair, by its id or else its path; and how many of the file are of other images.

    Raises
    ------
    InputError
        If an image of the data has none.
    """
    found: list[str] = []
    used: set[str] = set()
    for pair in pairs:
        name = pair.image_id if pair.image_id in captions else pair.image.path
        if name not in captions:
            lacking = sum(each.image_id not in captions and each.image.path not in captions for each in pairs)
            others = f"; it begins with {one_line(next(iter(captions)), 40)}" if captions and not used else ""
            raise InputError(
                f"{path}: {lacking} of {len(pairs)} images of {title} have no caption there, the first is "
                f"{one_line(pair.image_id, 60)}{others}: give one of each, or fewer images with {option('limit')}"
            )
        used.add(name)
        found.append(captions[name])
    return found, len(captions) - len(used)
