"""Pair and Pairs: one image with its texts, and a set of them; read here, made by the readers beside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol


class ImageSource(Protocol):
    """Where the bytes of one image are; picklable, so that worker processes can read it."""

    @property
    def path(self) -> str:
        """What manifests and messages call the image."""

    def read(self) -> bytes:
        """The encoded image (JPEG, PNG, ...); OSError or InputError if it cannot be had."""

    def identity(self) -> str:
        """Something cheap that changes when the bytes change (size and time of a file)."""


@dataclass(frozen=True)
class ImageFile:
    """An image that is a file of its own."""

    file: Path
    shown: str = ""  # path relative to the data set, for manifests that do not depend on the machine

    @property
    def path(self) -> str:
        """The path relative to the data set where there is one."""
        return self.shown or str(self.file)

    def read(self) -> bytes:
        """The bytes of the file."""
        return self.file.read_bytes()

    def identity(self) -> str:
        """Size and modification time; 'absent' for a file that is not there."""
        try:
            stat = self.file.stat()
        except OSError:
            return "absent"
        return f"{stat.st_size}:{stat.st_mtime_ns}"


@dataclass(frozen=True)
class Pair:
    """One image and the texts that describe it (none is allowed: it stays a candidate)."""

    image_id: str
    image: ImageSource
    captions: tuple[str, ...] = ()
    caption_ids: tuple[str, ...] = ()
    label: str = ""
    columns: tuple[tuple[str, str], ...] = ()  # name and value of whatever else is known, for --by


@dataclass(frozen=True)
class Pairs:
    """A split of a data set, in a fixed order.

    Class data (imagenet-folder) have `classes` and one tuple of prompts a class in `class_prompts`; each
    pair's `label` is then the name of its class.
    """

    name: str
    split: str
    pairs: Sequence[Pair]
    licence: str = ""
    language: str = ""
    classes: tuple[str, ...] | None = None
    class_prompts: tuple[tuple[str, ...], ...] | None = None
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def title(self) -> str:
        """Name and split, as messages call the set."""
        return f"{self.name} ({self.split})"

    def limited(self, limit: int | None) -> Pairs:
        """The first `limit` images (all for None)."""
        return self if limit is None or limit >= len(self.pairs) else replace(self, pairs=self.pairs[:limit])

    def fingerprint(self) -> str:
        """sha256 over ids, captions, labels and the identity of every image, without reading the images."""
        digest = hashlib.sha256()
        head = [self.name, self.split, self.classes, self.class_prompts]
        digest.update(json.dumps(head, ensure_ascii=False).encode())
        for pair in self.pairs:
            row = [
                pair.image_id,
                pair.image.path,
                pair.image.identity(),
                pair.captions,
                pair.caption_ids,
                pair.label,
                pair.columns,
            ]
            digest.update(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()
