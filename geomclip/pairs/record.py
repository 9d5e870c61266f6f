"""Pair and Pairs: one image with its texts, and a set of them; read here, made by the readers beside."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from geomclip.machine import regular
from geomclip.machine.blame import NO_SUCH_FILE
from geomclip.machine.errors import GeomclipError
from geomclip.machine.tally import Read
from geomclip.machine.words import one_line
from geomclip.pairs.parsing import clean

NO_SUCH_IMAGE = NO_SUCH_FILE
"""Errors of a file that the data name and that is none; every other one is a fault of the machine."""


def machine_fault(name: str, problem: OSError | MemoryError) -> GeomclipError:
    """What ends a run that cannot read an image which may be whole: skipping it would change the numbers for good."""
    if isinstance(problem, MemoryError):
        return GeomclipError(f"{name}: memory ran out while it was read: make room and run the same command again")
    where, reason = problem.filename or name, problem.strerror or str(problem) or type(problem).__name__
    if isinstance(problem, PermissionError):
        way_out = "make it readable for this user, or take it out of the data"
    else:
        way_out = "a fault of the machine, not of the image; mend it"
    return GeomclipError(
        " ".join(f"{where} cannot be read ({reason}): {way_out}, and run the same command again".split())
    )


class Place(NamedTuple):
    """A file, and what of it an image is: its bytes are the same as long as the file is."""

    file: Path
    within: str = ""  # what else decides the bytes: where they lie in the file, how they are drawn from it


class ImageSource(Protocol):
    """Where the bytes of one image are; picklable, so that worker processes can read it.

    One that is made of a file says so by a property `place`, a `Place`: digests of its bytes are then kept. The bytes
    of any other are read anew wherever their digest matters.
    """

    @property
    def path(self) -> str:
        """What manifests and messages call the image."""

    def read(self) -> bytes:
        """The encoded image (JPEG, PNG, ...); OSError or InputError if it cannot be had.

        An InputError, or an OSError of `NO_SUCH_IMAGE`, is a property of the data: the image is skipped.
        """

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

    @property
    def place(self) -> Place:
        """The file."""
        return Place(self.file)

    def read(self) -> bytes:
        """The bytes of the file; InputError for a pipe or a device, and for more than an image has."""
        return regular.read(self.file, "image-bytes")

    def identity(self) -> str:
        """Size and modification time; 'absent' for a file that is not there."""
        stat = stat_if_there(self.file)
        return f"{stat.st_size}:{stat.st_mtime_ns}" if stat else "absent"


@dataclass(frozen=True, slots=True)
class FolderImage:
    """An image file by its path in a folder; of a hundred thousand far smaller, and sooner made, than `ImageFile`."""

    root: Path
    name: str

    @property
    def file(self) -> Path:
        """Where it is."""
        return self.root / self.name

    @property
    def path(self) -> str:
        """The path in the folder, or the absolute one."""
        return clean(self.name)

    @property
    def place(self) -> Place:
        """The file."""
        return Place(self.file)

    def read(self) -> bytes:
        """The bytes of the file."""
        return ImageFile(self.file).read()

    def identity(self) -> str:
        """As of `ImageFile`."""
        return ImageFile(self.file).identity()


@dataclass(frozen=True, slots=True)
class TextQuery:
    """A text in the place of an image: the query of a pair of texts, whose other side are its documents."""

    text: str

    @property
    def path(self) -> str:
        """The text on one line, cut where it is long."""
        return one_line(self.text, 200)

    @property
    def place(self) -> None:
        """None: it is made of no file, and its digest is made anew."""
        return None

    def read(self) -> bytes:
        """The text in UTF-8."""
        return self.text.encode("utf-8", "surrogatepass")

    def identity(self) -> str:
        """sha256 of the text."""
        return hashlib.sha256(self.read()).hexdigest()


def place_of(image: ImageSource) -> Place | None:
    """The file that an image is made of; None if it does not say."""
    return getattr(image, "place", None)


def stat_if_there(file: Path) -> os.stat_result | None:
    """What the system says of a file; None if there is none. A GeomclipError where the machine fails."""
    try:
        return file.stat()
    except OSError as problem:
        if problem.errno in NO_SUCH_IMAGE:
            return None
        raise machine_fault(str(file), problem) from problem


@dataclass(frozen=True, slots=True)
class Pair:
    """One image and the texts that describe it (none is allowed: it stays a candidate)."""

    image_id: str
    image: ImageSource
    captions: tuple[str, ...] = ()
    caption_ids: tuple[str, ...] = ()
    label: str = ""
    columns: tuple[tuple[str, str], ...] = ()  # name and value of whatever else is known, for --by

    def named_captions(self) -> Iterable[tuple[str, str]]:
        """Id and text of each caption; an id made from the image's where the data set has none."""
        ids = self.caption_ids or tuple(f"{self.image_id}#{k}" for k in range(len(self.captions)))
        return zip(ids, self.captions, strict=True)

    def with_texts_of(self, other: Pair) -> Pair:
        """This image with the texts of another pair too, each under the id that it had."""
        both = [*self.named_captions(), *other.named_captions()]
        return replace(self, captions=tuple(text for _, text in both), caption_ids=tuple(name for name, _ in both))

    @property
    def first_text(self) -> str:
        """The first of its texts; "" if it has none."""
        return self.captions[0] if self.captions else ""


@dataclass(frozen=True)
class Pairs:
    """A split of a data set, in a fixed order.

    Class data (imagenet-folder) have `classes` and one tuple of prompts a class in `class_prompts`; each
    pair's `label` is then the name of its class. Pairs `of_texts` have queries (`TextQuery`) for images, and documents
    for texts. `read` is what the reader saw, used and left out, and why; `root`,
    of tables of paths, is the folder where these were looked for.
    """

    name: str
    split: str
    pairs: Sequence[Pair]
    licence: str = ""
    language: str = ""
    classes: tuple[str, ...] | None = None
    class_prompts: tuple[tuple[str, ...], ...] | None = None
    notes: tuple[str, ...] = field(default=())
    read: Read = field(default_factory=Read)
    root: Path | None = None
    of_texts: bool = False

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def title(self) -> str:
        """Name and split, as messages call the set."""
        return f"{self.name} ({self.split})"

    def limited(self, limit: int | None) -> Pairs:
        """The first `limit` images (all for None)."""
        return self if limit is None or limit >= len(self.pairs) else replace(self, pairs=self.pairs[:limit])

    def once(self) -> Pairs:
        """Every image once: pairs of one path and place are the first of them, with the texts of all.

        Those of which something else differs (the label, a column) stay apart. `read` says how many were joined.
        """
        if len({pair.image.path for pair in self.pairs}) == len(self.pairs):
            return self
        first: dict[object, Pair] = {}
        for number, pair in enumerate(self.pairs):
            place = place_of(pair.image)
            same = number if place is None else (pair.image.path, place, pair.label, pair.columns)
            first[same] = pair if same not in first else first[same].with_texts_of(pair)
        joined = len(self.pairs) - len(first)
        if not joined:
            return self
        how = f"{joined} of {len(self.pairs)} images have the path of another: one image, with the texts of both"
        return replace(self, pairs=tuple(first.values()), read=replace(self.read, how=(*self.read.how, how)))

    def described(self) -> Pairs:
        """The images that have a text."""
        return replace(self, pairs=tuple(pair for pair in self.pairs if pair.captions))

    def texts(self) -> tuple[list[str], list[int]]:
        """All texts, image by image, and the place of the image of each."""
        placed = [(text, place) for place, pair in enumerate(self.pairs) for text in pair.captions]
        return [text for text, _ in placed], [place for _, place in placed]

    def text_counts(self) -> list[int]:
        """How many texts each image has."""
        return [len(pair.captions) for pair in self.pairs]

    def fingerprint(self, images: Iterable[str] | None = None) -> str:
        """sha256 over ids, captions, labels and what is said of each image, without reading the images.

        Parameters
        ----------
        images : iterable of str, optional
            What to say of each image: its digest, or "" for nothing. Left out: its `identity`, which for a file is
            size and time, so it sees neither a file that was replaced with both kept nor that a copy is one.
        """
        digest = hashlib.sha256()
        head = [self.name, self.split, self.classes, self.class_prompts]
        digest.update(json.dumps(head, ensure_ascii=False).encode())
        said = (pair.image.identity() for pair in self.pairs) if images is None else images
        for pair, image in zip(self.pairs, said, strict=True):
            row = [
                pair.image_id,
                pair.image.path,
                image,
                pair.captions,
                pair.caption_ids,
                pair.label,
                pair.columns,
            ]
            digest.update(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()
