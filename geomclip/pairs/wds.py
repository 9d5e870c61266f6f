"""webdataset tars: files of one key (000.jpg, 000.txt, 000.json) are one pair; images are read in place."""

from __future__ import annotations

import glob
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from geomclip.machine.errors import InputError
from geomclip.machine.words import one_line
from geomclip.pairs.imagenet_folder import class_prompts, distinct, read_class_names
from geomclip.pairs.parsing import (
    IMAGE_SUFFIXES,
    MAX_TEXT_BYTES,
    caption,
    captions_by_line,
    choose_split,
    clean,
    counted,
    decode_text,
    folder_splits,
    need,
    numbered,
    parse_json,
    shorten,
)
from geomclip.pairs.record import Pair, Pairs, Place, stat_if_there
from geomclip.pairs.source import Source

MAX_TARS = 1_000_000
IMAGE_ENDINGS = tuple(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))


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
        with self.tar.open("rb") as file:
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


@dataclass
class _Sample:
    """What the members of one key hold."""

    image: TarMember | None = None
    captions: tuple[str, ...] = ()
    other_captions: tuple[str, ...] = ()  # of the json: they repeat the txt where there is one
    label: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    endings: set[str] = field(default_factory=set)


def read(source: Source, folder: Path) -> Pairs:
    """The samples of the tars in their order; captions from .txt (one a line), else `caption` of the .json.

    `wds:` takes a pattern with braces ({000..012}, {a,b}), globs and `::` between patterns, or a folder of
    tars; a folder with test/, train/ or val/ inside has these splits. Where samples have a class number
    (.cls), no captions, and a classnames.txt is near, they are class data (CLIP_benchmark's layout).
    """
    name = f"wds:{source.place}"
    splits = folder_splits(folder) if folder.is_dir() and not list(folder.glob("*.tar")) else ()
    split = choose_split(source.split, splits, name=name)
    tars = find_tars(str(folder / split) if splits else source.place, name=name)
    common = os.path.commonpath([tar.parent.absolute() for tar in tars])
    samples: dict[str, _Sample] = {}
    for tar in tars:
        shown = clean(Path(os.path.relpath(tar.absolute(), common)).as_posix())
        samples |= {f"{shown.removesuffix('.tar')}/{key}": sample for key, sample in _index(tar, shown).items()}
    pairs = [_pair(key, sample, sample.image) for key, sample in samples.items() if sample.image]
    if not pairs:
        raise InputError(f"{name}: {len(tars)} tars hold {len(samples)} samples but no image (jpg, png, webp, ...)")
    silent = sum(not pair.captions for pair in pairs)
    notes = counted((len(samples) - len(pairs), "{n} samples have no image and were left out"))
    if silent == len(pairs):
        return _class_data(source, split, pairs, (tars[0].parent, tars[0].parent.parent), notes=notes)
    notes += counted((silent, "{n} images have no caption"))
    return Pairs(source.title, split, pairs, notes=notes)


def _pair(key: str, sample: _Sample, image: TarMember) -> Pair:
    captions = sample.captions or sample.other_captions
    return Pair(
        key,
        image,
        captions,
        numbered(key, captions),
        label=sample.label,
        columns=tuple(sample.columns.items()),
    )


def _class_data(
    source: Source, split: str, pairs: list[Pair], folders: tuple[Path, ...], *, notes: tuple[str, ...]
) -> Pairs:
    names = read_class_names(folders)
    if not names:
        raise InputError(
            f"wds:{source.place}: {len(pairs)} images but no caption: each needs a .txt or .json of its key "
            "(or a .cls, and a classnames.txt beside the tars)"
        )
    classes = distinct(names, tuple(map(str, range(len(names)))))
    labelled = []
    for pair in pairs:
        if not re.fullmatch(r"\d{1,9}", pair.label) or int(pair.label) >= len(classes):
            raise InputError(
                f"{pair.image.path}: class {pair.label!r} is none of 0 to {len(classes) - 1} (classnames.txt)"
            )
        labelled.append(Pair(pair.image_id, pair.image, label=classes[int(pair.label)], columns=pair.columns))
    prompts = class_prompts(names, folders)
    return Pairs(source.title, split, labelled, classes=classes, class_prompts=prompts, notes=notes)


def find_tars(pattern: str, *, name: str) -> list[Path]:
    """The tars that a pattern names, numbers within names in the order of their value."""
    if re.match(r"(https?|s3|gs|hdfs|pipe):", pattern):
        raise InputError(f"{name}: tars are read from disk only; download them first")
    tars: list[Path] = []
    for part in pattern.split("::"):
        for place in expand_braces(os.path.expanduser(part)):
            path = Path(place)
            if path.is_dir():
                found = sorted(path.glob("*.tar"), key=_by_number)
            elif path.exists():
                found = [path]
            else:
                found = sorted(map(Path, glob.glob(place)), key=_by_number)
            if not found:
                raise InputError(f"{name}: there is no tar at {place}")
            tars += found
    return list(dict.fromkeys(tars))


def _by_number(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def expand_braces(pattern: str) -> list[str]:
    """`{a,b}` and `{08..11}` written out, the leftmost brace varying slowest.

    >>> expand_braces("{a,b}-{08..10}.tar")
    ['a-08.tar', 'a-09.tar', 'a-10.tar', 'b-08.tar', 'b-09.tar', 'b-10.tar']
    """
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    head, body, tail = pattern[: match.start()], match[1], pattern[match.end() :]
    numbers = re.fullmatch(r"(\d{1,18})\.\.(\d{1,18})", body)
    if numbers:
        first, last = int(numbers[1]), int(numbers[2])
        if abs(last - first) >= MAX_TARS:
            raise InputError(f"{{{body}}} names {abs(last - first) + 1} files, more than {MAX_TARS}")
        step = 1 if last >= first else -1
        width = len(numbers[1]) if numbers[1].startswith("0") else 0
        options = [f"{number:0{width}d}" for number in range(first, last + step, step)]
    else:
        options = body.split(",")
    expanded: list[str] = []
    for option in options:
        expanded += expand_braces(head + option + tail)
        if len(expanded) > MAX_TARS:
            raise InputError(f"{pattern[:80]!r} names more than {MAX_TARS} files")
    return expanded


def _index(tar: Path, shown: str) -> dict[str, _Sample]:
    """The samples of one tar by key, from its headers and its small files; images are not read."""
    samples: dict[str, _Sample] = {}
    try:
        with tar.open("rb") as file:
            for member in _members(file):
                folder, _, base = member.name.rpartition("/")
                stem, dot, ending = base.partition(".")
                if not dot or not stem or re.match(r"__[^/]*__($|/)", member.name):
                    continue
                key = clean(f"{folder}/{stem}" if folder else stem)
                sample = samples.setdefault(key, _Sample())
                entry = f"{shown}/{clean(member.name)}"
                if ending in sample.endings:
                    raise InputError(f"{tar}: {shorten(member.name)} is there twice")
                sample.endings.add(ending)
                _take(sample, ending.lower(), member, file, entry=entry, tar=tar)
    except FileNotFoundError:
        raise InputError(f"{tar}: no such file") from None
    except OSError as error:
        raise InputError(f"{tar} cannot be read: {one_line(error, 200)}") from error
    return samples


def _members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The plain files of an uncompressed tar, without keeping them: 10^6 members need no memory here."""
    if file.read(2) == b"\x1f\x8b":
        raise InputError(f"{file.name} is compressed, so its images cannot be read in place; decompress it")
    file.seek(0)
    before = -1
    try:
        # not stream mode (r|), which reads the images to skip them
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # else it keeps them all
                if member.offset_data <= before or member.size < 0:  # negative sizes make tarfile loop
                    raise InputError(f"{file.name} is damaged: its members overlap")
                before = member.offset_data
                if member.isreg() and not member.issparse():
                    yield member
            # tarfile takes a header that is cut short or damaged for the end
            file.seek(archive.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise InputError(f"{file.name} is not a whole tar (no end mark); fetch or write it again")
    except InputError:
        raise
    except (
        tarfile.TarError,
        ValueError,
        OverflowError,
        RecursionError,
        EOFError,
        IndexError,
        MemoryError,
    ) as error:
        raise InputError(f"{file.name} is not a whole tar ({one_line(error, 200)}); fetch or write it again") from error


def _take(sample: _Sample, ending: str, member: tarfile.TarInfo, file: BinaryIO, *, entry: str, tar: Path) -> None:
    """Put what one member holds into its sample."""
    if ending in IMAGE_ENDINGS:
        sample.image = sample.image or TarMember(tar, member.offset_data, member.size, shown=entry)
    elif ending in ("txt", "json", "cls"):
        if member.size > MAX_TEXT_BYTES:
            raise InputError(f"{entry} is larger than {MAX_TEXT_BYTES >> 20} MiB, too large for a caption file")
        file.seek(member.offset_data)
        data = file.read(member.size)
        if ending == "txt":
            sample.captions = captions_by_line(decode_text(data, name=entry))
        elif ending == "cls":
            sample.label = clean(decode_text(data, name=entry)).strip()
        else:
            _take_json(sample, need(parse_json(data, name=entry), dict, entry=entry), entry=entry)


def _take_json(sample: _Sample, content: dict[str, Any], *, entry: str) -> None:
    value = content.get("caption")
    values = value if isinstance(value, list) else [] if value is None else [value]
    texts = (caption(need(each, str, entry=f"{entry}: caption")) for each in values)
    sample.other_captions = tuple(text for text in texts if text)
    for column in ("url", "source"):
        if isinstance(content.get(column), str):
            sample.columns[column] = clean(content[column])
    if isinstance(content.get("label"), str | int):
        sample.label = sample.label or clean(str(content["label"]))
