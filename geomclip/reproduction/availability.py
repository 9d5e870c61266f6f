"""What a row needs, and whether it is on this machine; nothing is loaded or fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geomclip.encoders import hub, list_models, names
from geomclip.pairs import DATASETS
from geomclip.pairs.datasets import find_folder, folders_searched
from geomclip.reproduction import classes
from geomclip.reproduction.rows import Row


@dataclass(frozen=True)
class Place:
    """A row with what it needs, each in a sentence."""

    row: Row
    weights: str
    weights_here: bool
    data: str
    data_here: bool
    result: str

    @property
    def ready(self) -> bool:
        """Whether all is here."""
        return self.weights_here and self.data_here

    def to_dict(self) -> dict[str, Any]:
        """As `--list --json` has it."""
        kept = {"row": self.row.name, "model": self.row.model, "dataset": self.row.data, "split": self.row.split}
        kept |= {"weights": self.weights, "data": self.data, "result": self.result}
        return {**kept, "weights_here": self.weights_here, "data_here": self.data_here}


def place_of(
    row: Row, listed: Mapping[str, bool], *, data_root: str | Path | None, cache_dir: Path | None, result: str
) -> Place:
    """What a row needs and has; `listed` is what `listed_models` gave."""
    present, size = _weights_here(row.model, listed, cache_dir), f"{row.weights}, " if row.weights else ""
    weights = "here" if present else f"not here: {size}fetched when the row is run, if the hub can be reached"
    data, here = _data(row, data_root, cache_dir)
    return Place(row, weights, present, data, here, result)


def listed_models(cache_dir: Path | None) -> dict[str, bool]:
    """Whether the weights of each model that has a name are here."""
    return {model.name: model.present for model in list_models(cache_dir=cache_dir) if model.present is not None}


def _weights_here(model: str, listed: Mapping[str, bool], cache_dir: Path | None) -> bool:
    if model in listed:
        return listed[model]
    choice = names.resolve(model)
    return not choice.repo or hub.cached(choice.repo, hub.WEIGHTS, cache_dir) is not None


def _data(row: Row, data_root: str | Path | None, cache_dir: Path | None) -> tuple[str, bool]:
    """A sentence on the data of a row, and whether they are here."""
    if row.classes is not None:
        found = classes.found(row, data_root, cache_dir)
        if found is not None:
            return f"here, in {found}", True
        root = classes.searched(row, data_root, cache_dir)[0]
        return f"not here, {row.images:,} images: {row.classes.by_hand.format(root=root)}", False
    dataset = DATASETS.get(row.data)
    if dataset is None or not dataset.looks_for:
        return f"what is named: {row.data}", True
    searched = folders_searched(dataset, data_root=data_root, cache_dir=cache_dir)
    folder = find_folder(dataset, data_root=data_root, cache_dir=cache_dir)
    fetched = f"`geomclip data download {dataset.name}` fetches"
    if folder is None:
        where, ways = searched[-1], f"{fetched} {'the captions' if dataset.by_hand else 'it'}"
        by_hand = f"; of the photos: {dataset.by_hand.format(root=where)}" if dataset.by_hand else ""
        return f"not at {' or '.join(map(str, searched))}; {dataset.size}; {ways}{by_hand}", False
    if any((folder / photos).is_dir() for photos in dataset.photos):
        return f"here, in {folder}", True
    how = dataset.by_hand.format(root=folder) or f"{fetched} them"
    return f"captions in {folder}, photos not; {dataset.size}; {how}", False
