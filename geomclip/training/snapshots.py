"""Snapshots: the whole state of a run at a step, written whole or not at all; the last two are kept.

A snapshot is a folder `step-000123` with `model.safetensors`, `optimizer.safetensors`, with averaged weights also
`average.safetensors`, and `state.json` (what the run knows besides, and the size of each file). It is made under a
hidden name and renamed when all of it is on disk, so that a folder of that name is whole whatever was killed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomclip.machine import regular
from geomclip.machine.errors import InputError
from geomclip.machine.files import atomic_json, atomic_write, make_folder, refuse_links
from geomclip.machine.words import option

FOLDER = "checkpoints"
KEPT = 2
STATE = "state.json"
SCHEMA = "geomclip.snapshot/1"
_NAME = re.compile(r"step-(\d{6,})")
_UNFINISHED = ".step-"


def save(run: Path, step: int, state: Mapping[str, Mapping[str, Tensor]], known: Mapping[str, Any]) -> Path:
    """Write the snapshot of a step, then remove all but the last two.

    Parameters
    ----------
    run : path
        The run folder; its lock is held.
    state : mapping
        Tensors by file (`model`, `optimizer`, ...) and name.
    known : mapping
        JSON-able: whatever else the run goes on with.

    Raises
    ------
    InputError
        If the folder of snapshots, or something of this one's name in it, is a link.
    GeomclipError
        If the disk is full or fails: earlier snapshots stay.
    """
    from safetensors.torch import save as to_bytes

    folder = run / FOLDER
    final, making = folder / f"step-{step:06d}", folder / f"{_UNFINISHED}{step:06d}.geomclip-tmp"
    refuse_links(run, *(f"{FOLDER}/{each.name}" for each in (final, making)))
    make_folder(folder)
    shutil.rmtree(making, ignore_errors=True)
    sizes = {}
    try:
        for name, tensors in state.items():
            with atomic_write(making / f"{name}.safetensors") as file:
                sizes[f"{name}.safetensors"] = file.write(to_bytes(own_memory(tensors)))
        atomic_json(making / STATE, {"schema": SCHEMA, "step": step, "files": sizes, **known})
        shutil.rmtree(final, ignore_errors=True)
        os.replace(making, final)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    for old in _found(run)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def newest(run: Path) -> Path | None:
    """The last snapshot of a run whose files are all there; None if there is none. Unfinished ones are removed."""
    refuse_links(run, FOLDER)
    for leftover in (run / FOLDER).glob(f"{_UNFINISHED}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for folder in reversed(_found(run)):
        try:
            known = _known(folder)
            if all((folder / name).stat().st_size == size for name, size in known["files"].items()):
                return folder
        except (InputError, OSError, KeyError, AttributeError):
            continue
    return None


def load(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """What `save` was given: tensors by file and name, and what else the run knew (with its `step`).

    Raises
    ------
    InputError
        If a file is damaged.
    """
    from safetensors.torch import load_file

    known = _known(folder)
    try:
        state = {name.removesuffix(".safetensors"): load_file(folder / name) for name in known["files"]}
    except Exception as error:  # damaged bytes surface as any exception of the parser
        raise InputError(
            f"{folder}: is damaged ({error}): delete it, and {option('resume', True)} takes the one before"
        ) from error
    return state, known


def own_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors on the CPU, contiguous, none a view of another: what safetensors can write."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        if value.untyped_storage().data_ptr() in seen or value.untyped_storage().nbytes() != value.nbytes:
            value = value.clone(memory_format=torch.contiguous_format)
        seen.add(value.untyped_storage().data_ptr())
        result[name] = value
    return result


def _found(run: Path) -> list[Path]:
    """Snapshot folders of a run, by step."""
    folder = run / FOLDER
    if not folder.is_dir():
        return []
    named = [(int(match[1]), entry) for entry in folder.iterdir() if (match := _NAME.fullmatch(entry.name))]
    return [entry for _, entry in sorted(named)]


def _known(folder: Path) -> dict[str, Any]:
    try:
        known = json.loads(regular.read(folder / STATE, "json-bytes"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{folder / STATE}: cannot be read: {error}") from error
    if not isinstance(known, dict) or known.get("schema") != SCHEMA or not isinstance(known.get("files"), dict):
        raise InputError(f"{folder / STATE}: is no snapshot of this version ({SCHEMA})")
    if any(Path(name).name != name for name in known["files"]):
        raise InputError(f"{folder / STATE}: names a file outside its folder")
    return known
