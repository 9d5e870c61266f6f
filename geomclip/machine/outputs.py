"""Outputs: refused before long work, if they could not be written at its end."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from geomclip.machine.errors import InputError
from geomclip.machine.words import option


def check_output_file(path: Path, suffix: str | None = None) -> None:
    """Refuse, before any long work, an output file that could not be written at its end.

    Raises
    ------
    InputError
        If the name does not end in `suffix`, is a folder, or its folder is absent or cannot be written.
    """
    if suffix is not None and path.suffix != suffix:
        raise InputError(f"{option('out', str(path))} must be a file whose name ends in {suffix}")
    if path.is_dir():
        raise InputError(f"{option('out', str(path))} is a folder: name a file in it")
    check_output_folder(path.parent)


def check_output_files(paths: Sequence[Path], suffixes: Sequence[str]) -> None:
    """Refuse, before any long work, output files of which one could not be written at its end.

    Raises
    ------
    InputError
        If one has another name than those that are written, is named twice, or `check_output_file` refuses it.
    """
    known = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
    seen = set[Path]()
    for path in paths:
        if path.suffix not in suffixes:
            raise InputError(f"{option('out', str(path))} must be a file whose name ends in {known}")
        check_output_file(path)
        if path.resolve() in seen:
            raise InputError(f"{option('out', str(path))} is named twice: leave one out")
        seen.add(path.resolve())


def check_output_folder(folder: Path) -> None:
    """Refuse a folder in which no file can be made: absent, not a folder, read-only or full.

    Raises
    ------
    InputError
        With the reason the system gives.
    """
    if not folder.is_dir():
        what = "is not a folder" if os.path.lexists(folder) else "does not exist: make it first"
        raise InputError(f"the folder {folder} {what}")
    try:
        # only a try tells: permission bits say nothing to root or of a read-only file system
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"cannot write in {folder}: {error.strerror}") from error
