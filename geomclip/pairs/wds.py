"""webdataset tars: files of one key (000.jpg, 000.txt, 000.json) are one pair; images are read in place."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from geomclip.machine import limits, regular
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import InputError
from geomclip.machine.files import by_number
from geomclip.machine.tally import Tally
from geomclip.pairs.beside import Beside, captions_of_record
from geomclip.pairs.classnames import class_prompts, distinct, read_class_names
from geomclip.pairs.parsing import (
    choose_split,
    clean,
    counted,
    decode_text,
    need,
    numbered,
    parse_json,
    shorten,
)
from geomclip.pairs.patterns import expand_braces
from geomclip.pairs.record import Pair, Pairs, Place, stat_if_there
from geomclip.pairs.source import Source
from geomclip.pairs.tar_headers import Member, members
from geomclip.pairs.walking import IMAGE_SUFFIXES, SPLITS, Endings, folders_in, seen_instead

IMAGE_ENDINGS = frozenset(suffix[1:] for suffix in IMAGE_SUFFIXES)
TEXT_ENDINGS = ("txt", "json", "cls")

RULES = (
    "Members whose names are one up to the first dot are a sample, as webdataset has it: an image, its .txt or .json, "
    "and .cls, the number of its class.",
    "Names with several dots are a sample where an image and a text have the same one (photo.v1.jpg, photo.v1.txt); "
    "else they are parts of a sample (000.left.jpg) that are not read.",
    "Left out and counted: samples without an image, a second image of one key, other endings, hidden members, links.",
    "Refused: two members of one name but for the case of their endings, compressed tars, tars without their end.",
)


@dataclass(frozen=True)
class TarMember:
    """An image inside a tar that is read in place: its name in there is shown, never used as a path."""

    tar: Path
    offset: int
    size: int
    shown: str

    @property
    def path(self) -> str:
        """The tar's name and the member's."""
        return self.shown

    @property
    def place(self) -> Place:
        """The tar, and the place within."""
        return Place(self.tar, f"{self.offset}:{self.size}")

    def read(self) -> bytes:
        """The bytes of the member."""
        limits.check("image-bytes", self.size, self.shown)
        with regular.binary(self.tar) as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) < self.size:
            raise InputError(f"{self.shown}: the tar {self.tar} is shorter than when it was listed")
        return data

    def identity(self) -> str:
        """Size and modification time of the tar, and the place within; 'absent' for a tar that is gone."""
        stat = stat_if_there(self.tar)
        if stat is None:
            return "absent"
        return f"{stat.st_size}:{stat.st_mtime_ns}:{self.offset}:{self.size}"


@dataclass(slots=True)
class _Sample:
    """What the members of one key hold."""

    image: TarMember | None = None
    text: str | None = None
    of_record: tuple[str, ...] = ()  # the captions of its .json
    label: str = ""
    columns: tuple[tuple[str, str], ...] = ()
    names: tuple[str, ...] = ()  # of its members

    def captions_of_record(self) -> tuple[str, ...]:
        """As `Beside` asks for them."""
        return self.of_record


def read(source: Source, folder: Path) -> Pairs:
    """The samples of the tars in their order; captions from .txt and .json as `beside` has it.

    `wds:` takes a pattern with braces ({000..012}, {a,b}), globs and `::` between patterns, or a folder of
    tars; a folder with test/, train/ or val/ inside has these splits. Where samples have a class number
    (.cls), no captions, and a classnames.txt is near, they are class data (CLIP_benchmark's layout).
    """
    name = f"wds:{source.place}"
    tally, beside = Tally(), Beside()
    splits = _splits(folder, tally)
    split = choose_split(source.split, splits, name=name)
    tars = find_tars(str(folder / split) if splits else source.place, name=name)
    common = os.path.commonpath([tar.parent.absolute() for tar in tars])
    pairs: list[Pair] = []
    samples = 0
    for tar in tars:
        shown = clean(Path(os.path.relpath(tar.absolute(), common)).as_posix())
        for key, sample in _Index(tar, shown, tally).samples().items():
            samples += 1
            name_of_pair = f"{shown.removesuffix('.tar')}/{key}"
            if sample.image is None:
                tally.leave_out("samples", "no image", name_of_pair)
            else:
                pairs.append(_pair(name_of_pair, sample, sample.image, beside))
    tally.use("tars", len(tars))
    tally.use("samples", len(pairs))
    if not pairs:
        found = f"{len(tars)} tars hold {samples} samples but no image (jpg, png, webp, ...)"
        raise InputError(f"{name}: {found}{seen_instead(tally)}")
    beside.tell(tally)
    silent = sum(not pair.captions for pair in pairs)
    if silent == len(pairs):
        return _class_data(source, split, pairs, (tars[0].parent, tars[0].parent.parent), tally)
    notes = counted((silent, "{n} images have no caption"))
    return Pairs(source.title, split, pairs, notes=notes, read=tally.read())


def _splits(folder: Path, tally: Tally) -> tuple[str, ...]:
    """Which splits a folder of folders of tars has."""
    if not folder.is_dir() or any(folder.glob("*.tar")):
        return ()
    names = [path.name for path in folders_in(folder)]
    splits = tuple(split for split in SPLITS if split in names)
    for other in names if splits else ():
        if other not in splits:
            tally.leave_out("folders", "beside the splits", other)
    return splits


def _pair(key: str, sample: _Sample, image: TarMember, beside: Beside) -> Pair:
    captions = beside.captions(sample.text, sample.captions_of_record)
    return Pair(key, image, captions, numbered(key, captions), label=sample.label, columns=sample.columns)


def _class_data(source: Source, split: str, pairs: list[Pair], places: tuple[Path, ...], tally: Tally) -> Pairs:
    names = read_class_names(places, tally)
    if not names and not source.named:
        numbers = [int(pair.label) for pair in pairs if re.fullmatch(r"\d{1,6}", pair.label)]
        names = tuple(map(str, range(max(numbers) + 1))) if numbers else ()
    if not names:
        raise InputError(
            f"wds:{source.place}: {len(pairs)} images but no caption: each needs a .txt or .json of its key "
            "(or a .cls, and a classnames.txt beside the tars)" + seen_instead(tally)
        )
    classes = distinct(names, tuple(map(str, range(len(names)))))
    labelled = []
    for pair in pairs:
        if not re.fullmatch(r"\d{1,9}", pair.label) or int(pair.label) >= len(classes):
            raise InputError(
                f"{pair.image.path}: class {pair.label!r} is none of 0 to {len(classes) - 1} (classnames.txt)"
            )
        labelled.append(Pair(pair.image_id, pair.image, label=classes[int(pair.label)], columns=pair.columns))
    prompts = class_prompts(names, places)
    tally.understood(f"prompts such as {prompts[0][0]!r}")
    return Pairs(source.title, split, labelled, classes=classes, class_prompts=prompts, read=tally.read())


def find_tars(pattern: str, *, name: str) -> list[Path]:
    """The tars that a pattern names, numbers within names in the order of their value."""
    if re.match(r"(https?|s3|gs|hdfs|pipe):", pattern):
        raise InputError(f"{name}: tars are read from disk only; download them first")
    tars: list[Path] = []
    for part in pattern.split("::"):
        for place in expand_braces(os.path.expanduser(part)):
            path = Path(place)
            if path.is_dir():
                found = sorted(path.glob("*.tar"), key=by_number)
            elif path.exists():
                found = [path]
            else:
                found = sorted(map(Path, glob.glob(place)), key=by_number)
            if not found:
                raise InputError(f"{name}: there is no tar at {place}{_instead(path)}")
            tars += found
    return list(dict.fromkeys(tars))


def _instead(path: Path) -> str:
    """Where the tars may be, if a folder has none."""
    if not path.is_dir():
        return ""
    compressed = sorted(file.name for file in path.iterdir() if re.search(r"\.(tar\.\w+|tgz|tbz2?|txz)$", file.name))
    if compressed:
        return f", only compressed ones, which cannot be read in place; decompress them ({compressed[0]})"
    below = next((folder for folder in folders_in(path) if any(folder.glob("*.tar"))), None)
    return f"; name the folder that they are in (wds:{below})" if below else ""


class _Index:
    """The samples of one tar by key, from its headers and its small files; images are not read."""

    def __init__(self, tar: Path, shown: str, tally: Tally) -> None:
        self.tar, self.shown, self.tally = tar, shown, tally
        self.others = Endings(tally, "members")
        self.found: dict[str, _Sample] = {}
        self.dotted: dict[str, dict[str, Member]] = {}  # name up to its last dot -> ending -> member
        self.used = 0

    def samples(self) -> dict[str, _Sample]:
        """All of them, in the order of the tar."""
        try:
            with regular.binary(self.tar) as file:
                for member in members(file):
                    self._sort_in(member, file)
                self._settle_dotted(file)
        except FileNotFoundError:
            raise InputError(f"{self.tar}: no such file") from None
        except OSError as error:
            raise unreadable(self.tar, error) from error
        self.tally.use("members", self.used)
        return self.found

    def _sort_in(self, member: Member, file: BinaryIO) -> None:
        name = member.name
        if member.kind != "file":
            if member.kind != "folder":
                self._leave_out("links, devices and files with holes", member)
            return
        stem, dot, ending = name[name.rfind("/") + 1 :].partition(".")
        if not stem:
            self._leave_out("hidden", member)
        elif name.startswith("__") and re.match(r"__[^/]*__($|/|\.)", name):
            self._leave_out("webdataset's own", member)
        elif not dot:
            self._leave_out("no ending", member)
        elif "." in ending:
            whole, _, last = name.rpartition(".")
            self._put(self.dotted.setdefault(clean(whole), {}), last, member)
        else:
            key = clean(name[: -len(ending) - 1])
            lowered = ending.lower()
            sample = self.found.get(key)
            if sample is None:
                sample = self.found[key] = _Sample()
            else:
                self._refuse_two(sample.names, lowered, name)
            sample.names += (name,)
            self._take(sample, lowered, member, file)

    def _refuse_two(self, names: Iterable[str], lowered: str, name: str) -> None:
        """InputError where a key has an ending already, upper and lower case alike, as webdataset has it."""
        for other in names:
            if other == name:
                raise InputError(f"{self.tar}: {shorten(name)} is there twice; write the tar with one of them")
            if other.lower().endswith("." + lowered):
                raise InputError(
                    f"{self.tar}: {shorten(other)} and {shorten(name)} are one file but for the case of their "
                    "endings; write the tar with one of them"
                )

    def _put(self, of_key: dict[str, Member], ending: str, member: Member) -> None:
        self._refuse_two((each.name for each in of_key.values()), ending.lower(), member.name)
        of_key[ending.lower()] = member

    def _settle_dotted(self, file: BinaryIO) -> None:
        """Names with several dots: an image and a text of one name are a sample, all others parts that are not read.

        To webdataset the ending begins at the first dot, so photo.v1.jpg is the part v1.jpg of a sample called photo,
        which has no jpg then. Where photo.v1.txt lies beside it the two are plainly an image and its text.
        """
        read = 0
        for key, of_key in self.dotted.items():
            if any(ending in IMAGE_ENDINGS for ending in of_key) and any(ending in TEXT_ENDINGS for ending in of_key):
                sample = self.found[key] = _Sample()
                for ending, member in of_key.items():
                    self._take(sample, ending, member, file)
                read += 1
            else:
                for member in of_key.values():
                    self._leave_out("several dots in the name, so that it is a part (left.jpg) of a sample", member)
        if read:
            self.tally.understood(
                "an image and a text are a sample where their names, dots and all, are one (webdataset ends a name at "
                "its first dot)"
            )
            first = {key: sample.image.offset if sample.image else -1 for key, sample in self.found.items()}
            self.found = dict(sorted(self.found.items(), key=lambda item: first[item[0]]))

    def _leave_out(self, reason: str, member: Member) -> None:
        self.tally.leave_out("members", reason, f"{self.shown}/{clean(member.name)}")

    def _take(self, sample: _Sample, ending: str, member: Member, file: BinaryIO) -> None:
        """Put what one member holds into its sample."""
        name, offset, size, _ = member
        entry = f"{self.shown}/{clean(name)}"
        if ending in IMAGE_ENDINGS:
            if sample.image is None:
                sample.image = TarMember(self.tar, offset, size, entry)
                self.used += 1
            else:
                self._leave_out("a second image of one key", member)
            return
        if ending not in TEXT_ENDINGS:
            self.others.leave_out(name, shown=entry)
            return
        limits.check("caption-bytes", size, entry)
        self.used += 1
        file.seek(offset)
        data = file.read(size)
        if ending == "txt":
            sample.text = decode_text(data, name=entry)
        elif ending == "cls":
            sample.label = clean(decode_text(data, name=entry)).strip()
        else:
            _take_json(sample, need(parse_json(data, name=entry), dict, entry=entry), entry=entry)


def _take_json(sample: _Sample, content: dict[str, Any], *, entry: str) -> None:
    sample.of_record = captions_of_record(content, entry=entry)
    sample.columns = tuple(
        (column, clean(content[column])) for column in ("url", "source") if isinstance(content.get(column), str)
    )
    if isinstance(content.get("label"), str | int):
        sample.label = sample.label or clean(str(content["label"]))
