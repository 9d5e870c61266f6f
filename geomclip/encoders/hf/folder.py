"""Where a model of transformers lies on this disk, and all that its folder says of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from geomclip.encoders import towers
from geomclip.encoders.configuration import CONFIG_FILE
from geomclip.encoders.hf import config, images, tokens
from geomclip.encoders.hf.names import IGNORED, Renamed, Row, shapes_in
from geomclip.encoders.weights.contents import Contents
from geomclip.machine import regular
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.words import option

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""The files that transformers writes weights to, the first that is there."""
MODULES = "modules.json"  # of sentence-transformers: the folders of its parts
_NAMED = 5  # differences of a file and its configuration; the others are counted


@dataclass(frozen=True)
class Folder:
    """What a folder of transformers says; its weights are not opened."""

    path: Path
    model: config.Description
    model_cfg: dict[str, Any]  # open_clip's, the tokenizer in it
    preprocess_cfg: dict[str, Any]
    notes: tuple[str, ...]


def find(path: Path) -> Path | None:
    """The folder of transformers that a folder is or has in it as sentence-transformers writes it; None for others.

    Raises
    ------
    InputError
        If it is a model of sentence-transformers with more parts than that one.
    """
    for part in _parts(path):
        if config.is_model(part / config.FILE):
            return part
    return None


def _parts(path: Path) -> list[Path]:
    """The folder itself, or the one that sentence-transformers has its model in; what only normalises is no part."""
    file = path / MODULES
    if not file.is_file():
        return [path]
    try:
        listed = [
            (str(part["type"]), path / str(part["path"])) for part in json.loads(regular.read(file, "config-bytes"))
        ]
    except InputError:
        raise
    except (OSError, ValueError, RecursionError, TypeError, KeyError) as error:
        no_list = InputError(f"{file}: is no list of parts of sentence-transformers")
        raise unreadable(file, error, no_list) from error
    inside = [part for kind, part in listed if not kind.endswith(".Normalize")]
    if len(inside) > 1:
        names = ", ".join(kind.rpartition(".")[2] for kind, _ in listed)
        raise InputError(
            f"{path}: is a model of sentence-transformers with several parts ({names[:120]}), whose rows no model of "
            f"open_clip has: st:{path} gives them, and the weights of the first alone are {inside[0]}"
        )
    return [part for part in inside if part.resolve().is_relative_to(path.resolve())]


def read(path: Path, *, tokenizer: str = "") -> Folder:
    """Configuration, preprocessing and tokenizer of a folder, checked; nothing is built.

    Parameters
    ----------
    tokenizer : str
        Where a tokenizer of its own is looked for when the folder is not there; left out: the folder.

    Raises
    ------
    InputError
        If a file is damaged, asks for code, or says what open_clip cannot be equal to.
    """
    model = config.read(path / config.FILE)
    preprocess_cfg, assumed = images.read(path, model)
    text, more = tokens.read(path, model, tokenizer or str(path.resolve()))
    model_cfg = {**model.model_cfg, "text_cfg": {**model.model_cfg["text_cfg"], **text}}
    return Folder(path, model, model_cfg, preprocess_cfg, model.notes + assumed + more)


def beside(file: Path) -> list[Path]:
    """The files next to one of weights that decide how it is read, there or not."""
    names = (config.FILE, CONFIG_FILE, MODULES, *images.FILES, *tokens.FILES, *tokens.SETTINGS)
    return [file.parent / name for name in names]


def weights_in(path: Path) -> Path:
    """The weights of a folder.

    Raises
    ------
    NotAvailableError
        If there are none.
    """
    for name in WEIGHTS:
        if (path / name).is_file():
            return path / name
    raise NotAvailableError(f"{path}: has no {WEIGHTS[0]}, or give {option('pretrained', 'FILE')}")


def shards(index: Path) -> list[str]:
    """The files that the index of sharded weights names, none outside its folder.

    Raises
    ------
    InputError
        If it is no index.
    """
    try:
        names = sorted(set(json.loads(regular.read(index, "json-bytes"))["weight_map"].values()))
    except InputError:
        raise
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        no_index = InputError(f"{index}: is no index of sharded weights")
        raise unreadable(index, error, no_index) from error
    outside = [name for name in names if not isinstance(name, str) or Path(name).name != name]
    if outside:
        raise InputError(f"{index}: names the file {outside[0]!r:.60}, which does not lie beside it")
    return names


def is_theirs(contents: Contents) -> bool:
    """Whether a weights file has the names of transformers."""
    return any(name.startswith(("vision_model.", "text_model.")) for name in contents.shapes)


def converted(contents: Contents, rows: tuple[Row, ...], model_cfg: Mapping[str, Any], what: str) -> Contents:
    """A file of transformers as one of open_clip: its tensors are renamed and joined when they are read.

    Raises
    ------
    InputError
        If the tensors are not those of the configuration; up to five are named.
    """
    outline = towers.outline(model_cfg, where=str(contents.file)).state_dict()
    ours = {name: tuple(value.shape) for name, value in outline.items()}
    expected = shapes_in(rows, ours, to="transformers")
    found = {name: shape for name, shape in contents.shapes.items() if not IGNORED.search(name)}
    wrong = [_difference(name, found.get(name), expected.get(name)) for name in [*expected, *(found.keys() - expected)]]
    wrong = [difference for difference in wrong if difference]
    if wrong:
        more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise InputError(
            f"{contents.file}: has the layout of transformers, and does not fit {what}: "
            f"{'; '.join(wrong[:_NAMED])}{more}"
        )

    def conversion(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return Renamed(tensors, rows, to="open_clip")

    return replace(contents, shapes=ours, metadata={}, conversion=conversion)


def _difference(name: str, found: tuple[int, ...] | None, expected: tuple[int, ...] | None) -> str:
    if found == expected or (expected in ((), (1,)) and found in ((), (1,))):
        return ""
    if found is None:
        return f"{name} {expected} is missing"
    return f"{name} {found} is not in it" if expected is None else f"{name} is {found} in the file, {expected} in it"
