"""Snapshots: the whole state of a run at a step, written whole or not at all; the last two are kept.

A snapshot is a folder `step-000123` with `model.safetensors`, `optimizer.safetensors`, with averaged weights also
`average.safetensors`, and `state.json` (what the run knows besides, size and sha256 of each file, and its own sum). It
is made under a hidden name and renamed when all of it is on disk, so that a folder of that name is whole whatever was
killed; earlier ones go when the renaming is on disk too. One that a disk has changed since is never taken for a state.
"""

from __future__ import annotations

import hashlib
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
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import DamagedError, InputError
from geomclip.machine.files import atomic_write, make_folder, refuse_links, sync_folder
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.sums import check_sum, file_sha256, write_sealed
from geomclip.machine.words import one_line, option

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
    files = {}
    try:
        for name, tensors in state.items():
            content = to_bytes(own_memory(tensors))
            files[f"{name}.safetensors"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            with atomic_write(making / f"{name}.safetensors") as file:
                file.write(content)
            del content  # before the next is made beside it
        write_sealed(making / STATE, {"schema": SCHEMA, "step": step, "files": files, **known})
        _replace(final, making)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    there = _found(run)
    after = there.index(final) + 1
    # later ones were damaged, or this one would go on from them
    for damaged in there[after:]:
        shutil.rmtree(damaged, ignore_errors=True)
    clear_old(run)
    return final


def clear_old(run: Path) -> None:
    """Remove all but the last two snapshots: earlier ones are those that a killed writer, or a power cut, left."""
    refuse_links(run, FOLDER)
    for old in _found(run)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def newest(run: Path, *, progress: Progress = SILENT) -> Path | None:
    """The last snapshot of a run that is whole; None if there is none at all.

    Unfinished ones are removed, and all but the last two where the last is whole.

    Parameters
    ----------
    run : path
    progress : Progress, optional
        Takes a line for each that is damaged and passed over.

    Raises
    ------
    DamagedError
        If there are snapshots and none of them is whole.
    """
    refuse_links(run, FOLDER)
    for leftover in (run / FOLDER).glob(f"{_UNFINISHED}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    problems = []
    for folder in reversed(_found(run)):
        try:
            check(folder)
        except InputError as problem:
            problems.append(one_line(problem))
            continue
        for passed_over in problems:
            progress.log(f"{passed_over}; {folder.name} is taken")
        if not problems:
            clear_old(run)
        return folder
    if problems:
        raise DamagedError(
            f"{run / FOLDER}: no checkpoint is whole ({problems[0]}): delete this folder to start afresh with "
            f"{option('resume', True)}, or put back a copy of it"
        )
    return None


def check(folder: Path) -> dict[str, Any]:
    """What a snapshot knows beside its tensors; sizes, and sums where it has them, are those that were written.

    Raises
    ------
    InputError
        If one is another (a DamagedError), or a file is absent or no snapshot's.
    """
    known = _known(folder)
    for name, written in known["files"].items():
        # of an earlier version: the size alone
        size, sha256 = (written, None) if isinstance(written, int) else (written["bytes"], written.get("sha256"))
        file = folder / name
        try:
            found = file.stat().st_size
            if found != size:
                raise DamagedError(f"{file} is cut short or changed: {found} bytes, written were {size}")
            if sha256 is not None and file_sha256(file) != sha256:
                raise DamagedError(f"{file} is damaged: its sha256 is not the one recorded")
        except OSError as problem:
            damaged = DamagedError(f"{file} cannot be read ({problem.strerror or problem})")
            raise unreadable(file, problem, damaged) from problem
    return known


def load(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """What `save` was given: tensors by file and name, and what else the run knew (with its `step`).

    Raises
    ------
    InputError
        If a file is damaged.
    """
    from safetensors.torch import load_file

    _known(folder)
    try:
        known = check(folder)
        state = {name.removesuffix(".safetensors"): load_file(folder / name) for name in known["files"]}
    except Exception as error:  # damaged bytes surface as any exception of the parser
        damaged = DamagedError(
            f"{folder}: is damaged ({one_line(error)}): delete it, and {option('resume', True)} takes the one before"
        )
        raise unreadable(folder, error, damaged) from error
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


def _replace(final: Path, making: Path) -> None:
    """Rename a folder that is whole on disk to its final name; what was there goes when that is on disk too."""
    sync_folder(making)
    before = final.with_name(f"{_UNFINISHED}{final.name.removeprefix('step-')}-before.geomclip-tmp")
    shutil.rmtree(before, ignore_errors=True)
    if final.exists():
        os.replace(final, before)
    os.replace(making, final)
    sync_folder(final.parent)
    shutil.rmtree(before, ignore_errors=True)


def _known(folder: Path) -> dict[str, Any]:
    try:
        known = json.loads(regular.read(folder / STATE, "json-bytes"))
    except (OSError, ValueError, RecursionError) as error:
        damaged = DamagedError(f"{folder / STATE}: cannot be read: {one_line(error)}")
        raise unreadable(folder / STATE, error, damaged) from error
    if not isinstance(known, dict) or known.get("schema") != SCHEMA or not isinstance(known.get("files"), dict):
        raise InputError(f"{folder / STATE}: is no snapshot of this version ({SCHEMA})")
    if type(known.get("step")) is not int:
        raise InputError(f"{folder / STATE}: does not say of which step it is")
    if any(Path(name).name != name or not _is_size(each) for name, each in known["files"].items()):
        raise InputError(f"{folder / STATE}: names a file outside its folder, or does not say what it is")
    check_sum(known, folder / STATE)
    return known


def _is_size(written: object) -> bool:
    """Whether it says how long a file is: a number, or in an object with a sum."""
    return isinstance(written.get("bytes") if isinstance(written, dict) else written, int)
