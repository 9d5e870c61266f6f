"""Which files a place names: one file, a pattern, a folder of shards, a folder of `save_to_disk`; and their splits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from geomclip.machine.errors import InputError
from geomclip.machine.files import by_number
from geomclip.machine.tally import Tally
from geomclip.pairs.parsing import choose_split, inside, need, read_json
from geomclip.pairs.patterns import has_pattern, matching
from geomclip.pairs.source import Source
from geomclip.pairs.walking import SPLITS, Endings, folders_in, is_image

RULES = (
    "After the ':' stands a file, a pattern (DIR/test-*.parquet, part-{00..07}.csv), a folder of files of that kind "
    "(or with them in data/, or in a folder for each split), for parquet: a folder that `save_to_disk` of datasets "
    "wrote; the order is that of the numbers in their names.",
    "Files named SPLIT-00000-of-00002, or as a split (test.parquet), make splits, unless a column split does; shards "
    "of the number that their names say which are not there are counted.",
)

_SHARD = re.compile(r"(?P<split>[A-Za-z][\w.]*?)[-_](?P<number>\d{5})-of-(?P<count>\d{5})(?:-[0-9a-f]+)?")
ENDINGS: Mapping[str, tuple[str, ...]] = {
    "csv": (".csv",),
    "tsv": (".tsv", ".tab"),
    "jsonl": (".jsonl", ".ndjson"),
    "json": (".json",),
    "parquet": (".parquet", ".arrow"),
}
"""How the files of each format end that are looked for in a folder."""


@dataclass(frozen=True)
class Shards:
    """The files of one split, in their order."""

    files: tuple[Path, ...]
    folder: Path
    split: str = ""  # "" where the files make none


def find(source: Source, place: Path, tally: Tally) -> dict[str, Shards]:
    """The shards of each split, under its name; under "" where the names of the files make none."""
    if place.is_file():
        return {"": Shards((place,), place.parent)}
    if place.is_dir():
        return _in_folder(place, ENDINGS[source.format], tally, deep=True)
    found, none = matching(str(place)) if has_pattern(str(place)) else ([], str(place))
    files = [each for each in found if each.is_file()]
    if not files:
        raise InputError(f"{none or place}: no such file")
    return _by_split(files, files[0].parent, tally)


def of_split(source: Source, shards: dict[str, Shards], name: str) -> Shards:
    """The shards of the split that is meant."""
    if "" in shards:
        return shards[""]
    split = choose_split(source.split, tuple(shards), name=name)
    return Shards(shards[split].files, shards[split].folder, split)


def _in_folder(folder: Path, endings: tuple[str, ...], tally: Tally, *, deep: bool) -> dict[str, Shards]:
    if endings == ENDINGS["parquet"]:
        if (folder / "dataset_dict.json").is_file():
            return _saved_splits(folder, tally)
        if (folder / "state.json").is_file():
            return {"": Shards(_saved(folder), folder)}
    files = _files(folder, endings)
    if files:
        kinds = sorted({each.suffix.lower() for each in files})
        if len(kinds) > 1:
            raise InputError(
                f"{folder} has {' and '.join(kinds)} files: name those that are meant ({folder}/*{kinds[0]})"
            )
        _count_others(folder, files, tally)
        return _by_split(files, folder, tally)
    inner = folders_in(folder)
    having = [each for each in inner if deep and _files(each, endings)]
    if having and all(each.name.lower() in SPLITS for each in having):
        parts = {each.name.lower(): _in_folder(each, endings, tally, deep=False) for each in having}
        return {
            split: Shards(tuple(file for each in part.values() for file in each.files), folder / split)
            for split, part in parts.items()
        }
    if len(having) == 1:
        return _in_folder(having[0], endings, tally, deep=False)
    if having:
        raise InputError(f"{folder} has several folders of tables: name one ({', '.join(map(str, having[:10]))})")
    raise InputError(f"{folder} cannot be read: it holds no {' or '.join(endings)} file")


def _files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """The files that end so, in the order of their numbers."""
    found = [each for each in folder.iterdir() if each.suffix.lower() in endings and not each.name.startswith(".")]
    return sorted(found, key=by_number)


def _count_others(folder: Path, files: Sequence[Path], tally: Tally) -> None:
    """Files of other endings; images, which tables name, are nothing left out."""
    others = Endings(tally)
    for each in sorted({each for each in folder.iterdir() if each.is_file()} - set(files)):
        if not is_image(each.name):
            others.leave_out(each.name)


def _by_split(files: list[Path], folder: Path, tally: Tally) -> dict[str, Shards]:
    """The files by the split that their names say."""
    splits: dict[str, list[Path]] = {}
    unnamed = []
    for file in files:
        named = _SHARD.fullmatch(file.stem)
        split = named["split"].lower() if named else file.stem.lower()
        if named or split in SPLITS:
            splits.setdefault(split, []).append(file)
        else:
            unnamed.append(file)
    if splits and not unnamed:
        for split, own in splits.items():
            _count_missing(split, own, tally)
        # a part called as no split is (images-00000-of-00002) is the whole set
        if len(splits) > 1 or next(iter(splits)) in SPLITS:
            return {split: Shards(tuple(own), folder) for split, own in splits.items()}
    elif splits:
        raise InputError(
            f"{folder}: {unnamed[0].name} is of no split, {next(iter(splits.values()))[0].name} of one: "
            f"name those that are meant ({folder}/{next(iter(splits.values()))[0].name})"
        )
    return {"": Shards(tuple(files), folder)}


def _count_missing(split: str, files: list[Path], tally: Tally) -> None:
    numbers = [match for match in (_SHARD.fullmatch(file.stem) for file in files) if match]
    there = {(int(match["number"]), int(match["count"])) for match in numbers}
    counts = {count for _, count in there}
    for count in counts:
        missing = count - sum(of == count for _, of in there)
        if missing > 0:
            first = next(number for number in range(count) if (number, count) not in there)
            tally.leave_out("files", f"shards of {split} that are not there", f"{split}-{first:05}", count=missing)


def _saved_splits(folder: Path, tally: Tally) -> dict[str, Shards]:
    """The splits of a folder that `DatasetDict.save_to_disk` wrote."""
    file = folder / "dataset_dict.json"
    content = need(read_json(file), dict, entry=str(file))
    splits = [need(each, str, entry=f"{file}: splits") for each in need(content.get("splits"), list, entry=str(file))]
    if not splits:
        raise InputError(f"{file} names no splits")
    parts = {split: inside(folder, split, entry=f"{file}: splits") for split in splits}
    return {split: Shards(_saved(part), part) for split, part in parts.items()}


def _saved(folder: Path) -> tuple[Path, ...]:
    """The files of a folder that `Dataset.save_to_disk` wrote."""
    file = folder / "state.json"
    content = need(read_json(file), dict, entry=str(file))
    listed = need(content.get("_data_files"), list, entry=f"{file}: _data_files")
    if content.get("_indices_files"):
        raise InputError(f"{file}: the rows are chosen by a file of indices; save it again after flatten_indices()")
    names = [need(need(each, dict, entry=str(file)).get("filename"), str, entry=f"{file}: filename") for each in listed]
    if not names:
        raise InputError(f"{file} names no files of data")
    return tuple(inside(folder, name, entry=f"{file}: filename") for name in names)
