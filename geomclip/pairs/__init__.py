"""Where image-text pairs come from: one file a format, one table of names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from geomclip.machine.addresses import is_address, plain
from geomclip.machine.blame import unreadable
from geomclip.machine.collector import collector_paused
from geomclip.machine.errors import InputError
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import near, one_line, option
from geomclip.pairs import table
from geomclip.pairs.datasets import DATASETS, Dataset, find_folder, folder_or_explain, folders_searched
from geomclip.pairs.parsing import NoSuchSplit
from geomclip.pairs.record import ImageFile, ImageSource, Pair, Pairs
from geomclip.pairs.source import Source, expanded
from geomclip.pairs.tables import fetched

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetInfo",
    "ImageFile",
    "ImageSource",
    "Pair",
    "Pairs",
    "Source",
    "list_datasets",
    "load_pairs",
]


@dataclass(frozen=True)
class DatasetInfo:
    """What `geomclip data` shows of one data set."""

    name: str
    description: str
    size: str
    licence: str
    splits: tuple[str, ...]
    where: str
    present: bool


def load_pairs(source: Source, *, cache_dir: Path | None = None, progress: Progress = SILENT) -> Pairs:
    """The pairs that are meant, in a fixed order; images are not opened.

    Parameters
    ----------
    source : Source
    cache_dir : path, optional
        Cache to look in instead of the default one.
    progress : Progress, optional
        Is told how much has come of a table that lies at an address.

    Raises
    ------
    InputError
        If the name is unknown (the nearest are named), the split does not exist (those that do are
        listed), or the data are damaged; the message is one line and names the file and the entry.
    NotAvailableError
        If the set is not on this machine; the message says how to get it.

    Examples
    --------
    >>> load_pairs(Source("emojis"))
    Traceback (most recent call last):
        ...
    geomclip.machine.errors.InputError: unknown data 'emojis': did you mean emoji? (`geomclip data` lists all names)
    """
    dataset = _dataset(source.data)
    if is_address(source.place):
        return _at_address(source, dataset, cache_dir, progress)
    place = expanded(source.place)
    for name, why in (("image_root", "has its own folder"), ("query_column", "has images")):
        if getattr(source, name) is not None and dataset.read is not table.read:
            raise InputError(f"{option(name)} is of tables ({_tables()}); {source.format} {why}")
    try:
        if dataset.looks_for:
            place = folder_or_explain(dataset, data_root=source.data_root, cache_dir=cache_dir, split=source.split)
        with collector_paused():
            pairs = dataset.read(source, place)
            # ids that were asked for are taken at their word
            return (pairs if source.image_id_column else pairs.once()).limited(source.limit)
    except OSError as error:  # a folder that may not be read, a name that is too long
        raise unreadable(one_line(error.filename or place, 300), error) from error


def _at_address(source: Source, dataset: Dataset, cache_dir: Path | None, progress: Progress) -> Pairs:
    """The pairs of a table that lies at an address."""
    address = source.place
    if dataset.read is not table.read:
        raise InputError(
            f"{plain(source.data)}: {source.format} is read from disk only, and at an address a table is "
            f"({_tables()}): fetch what it names, and name the {dataset.follows} on this machine"
        )
    here = fetched.brought(source, cache_dir=cache_dir, progress=progress)
    try:
        pairs = load_pairs(here, cache_dir=cache_dir)
    except NoSuchSplit as error:  # which some callers know a way out of
        raise NoSuchSplit(error.reason.replace(here.place, plain(address)), error.way_out) from error
    except InputError as error:
        message = str(error)
        named = message.replace(here.place, plain(address))
        raise InputError(named if named != message else f"{plain(address)}: {message}") from error
    fetched.check_images(pairs, address, here)
    return pairs


def _tables() -> str:
    return ", ".join(each.name for each in DATASETS.values() if each.read is table.read)


def list_datasets(data_root: str | Path | None = None, cache_dir: Path | None = None) -> list[DatasetInfo]:
    """Every data set and format, with where it is (or is looked for) and whether it is there."""
    listed = []
    for dataset in DATASETS.values():
        where, present = "what you name", True
        if dataset.looks_for:
            found = find_folder(dataset, data_root=data_root, cache_dir=cache_dir)
            searched = folders_searched(dataset, data_root=data_root, cache_dir=cache_dir)
            where = str(found or " or ".join(map(str, searched)))
            present = found is not None and any(os.path.isdir(found / photos) for photos in dataset.photos)
        elif dataset.packages:
            where, present = "the packages of geomclip[demo]", all(map(find_spec, dataset.packages))
        shown = dataset.name + dataset.follows
        info = DatasetInfo(shown, dataset.description, dataset.size, dataset.licence, dataset.splits, where, present)
        listed.append(info)
    return listed


def _dataset(data: str) -> Dataset:
    """The data set or format that a name means."""
    if "\0" in data:
        raise InputError(f"data {data[:100]!r} has a NUL character in it")
    prefix, colon, rest = data.partition(":")
    if data in DATASETS and not colon:
        return DATASETS[data]
    dataset = DATASETS.get(f"{prefix}:")
    if dataset is not None and rest:
        return dataset
    if dataset is not None:
        raise InputError(f"data {data!r} names no {dataset.follows}: write {prefix}:{dataset.follows}")
    path = expanded(data := plain(data))
    kind = path.suffix[1:].lower()
    if is_address(data):
        kinds = [f"{kind}:"] if f"{kind}:" in DATASETS else ["csv:", "parquet:"]
        guesses = [f"{each}{data}" for each in kinds]
    elif f"{kind}:" in DATASETS:
        guesses = [f"{kind}:{data}"]
    elif kind == "tar":
        guesses = [f"wds:{data}"]
    elif os.path.isdir(path):
        guesses = [f"folder:{data}", f"imagenet-folder:{data}"]
        if any(name.endswith((".parquet", ".arrow")) or name == "dataset_dict.json" for name in os.listdir(path)):
            guesses = [f"parquet:{data}"]
    else:
        names = [name.removesuffix(":") for name in DATASETS]
        close = near(prefix, names)
        guesses = [name if name in DATASETS else f"{name}:{DATASETS[name + ':'].follows}" for name in close]
    hint = (
        f"did you mean {' or '.join(guesses)}? (`geomclip data` lists all names)"
        if guesses
        else (f"the names are {', '.join(name + DATASETS[name].follows for name in DATASETS)}")
    )
    raise InputError(f"unknown data {data[:100]!r}: {hint}")
