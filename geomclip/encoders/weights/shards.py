"""Weights in several files: the index that says which shard holds which tensor, and folders that hold weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.json_files import read_json

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
INDEX = (".safetensors.index.json", ".bin.index.json")
USUAL = tuple(
    f"{name}{end}"
    for name in (
        "open_clip_model.safetensors",
        "open_clip_pytorch_model.bin",
        "open_clip_pytorch_model.safetensors",
        "model.safetensors",
        "pytorch_model.bin",
    )
    for end in ("", ".index.json")
)
"""What weights in a folder are called by open_clip, the hub, transformers and accelerate; the first there is taken."""
_NAMED = 5


def is_weights(name: str) -> bool:
    """Whether a name is that of a weights file, or of an index of shards.

    Examples
    --------
    >>> is_weights("epoch_1.pt"), is_weights("model.safetensors.index.json"), is_weights("result.json")
    (True, True, False)
    """
    return name.lower().endswith((*SUFFIXES, *INDEX))


def is_index(file: Path) -> bool:
    """Whether a file says which shard holds which tensor."""
    return file.name.lower().endswith(INDEX)


def usual(folder: Path) -> Path | None:
    """The weights file, or the index of shards, that a folder has under a usual name."""
    return next((folder / name for name in USUAL if (folder / name).is_file()), None)


def shard_files(index: Path) -> dict[Path, list[str]]:
    """The names that an index says are in each shard; the shards are there, and in the folder of the index.

    Raises
    ------
    InputError
        If it is no index, or a shard is, or leads, elsewhere.
    NotAvailableError
        Naming up to five shards that are not there.
    """
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(file, str) for file in names.values()):
        raise InputError(f"{index}: has no 'weight_map' from the names of tensors to files: it is no index of shards")
    found: dict[str, list[str]] = {}
    for name, file in names.items():
        found.setdefault(file, []).append(name)
    for file in found:
        if "/" in file or "\\" in file or not file.lower().endswith(SUFFIXES):
            raise InputError(f"{index}: its shard {file!r:.80} is not the name of a weights file beside it: refused")
    absent = [file for file in sorted(found) if not (index.parent / file).is_file()]
    if absent:
        raise NotAvailableError(
            f"{index}: {len(absent)} of its {len(found)} shards are not beside it: {_some(absent)}: put them there"
        )
    for file in found:
        _refuse_outside(index.parent / file)
    return {index.parent / file: its for file, its in found.items()}


def check_shard(index: Path, shard: Path, names: Iterable[str], held: Iterable[str]) -> None:
    """See that a shard holds the names that the index says, and no others.

    Raises
    ------
    InputError
        Naming up to five.
    """
    expected, found = set(names), set(held)
    if lost := sorted(expected - found):
        raise InputError(f"{shard}: does not hold what {index.name} says: {_some(lost)}: fetch both again")
    if more := sorted(found - expected):
        raise InputError(f"{shard}: holds what {index.name} does not say: {_some(more)}: fetch both again")


def _refuse_outside(shard: Path) -> None:
    """A link may lead to a file in the same folder, or from the hub's cache to where that keeps its files."""
    folder, place = shard.parent.resolve(), shard.resolve().parent
    of_hub = folder.parent.name == "snapshots" and place == folder.parent.parent / "blobs"
    if place != folder and not of_hub:
        raise InputError(f"{shard}: is a link that leads out of its folder: refused; put the file itself there")


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
