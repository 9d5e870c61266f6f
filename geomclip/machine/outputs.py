"""Outputs: refused before long work, if they could not be written at its end."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from geomclip.machine.errors import InputError
from geomclip.machine.files import explained
from geomclip.machine.words import option


def check_output_file(path: Path, *suffixes: str) -> None:
    """Refuse, before any long work, an output file that could not be written at its end.

    Raises
    ------
    InputError
        If the name ends in none of the suffixes that are given, is a folder, or its folder is absent or cannot be
        written.
    """
    if suffixes and path.suffix not in suffixes:
        raise InputError(f"{option('out', str(path))} must be a file whose name ends in {' or '.join(suffixes)}")
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


def check_appending(path: Path | None) -> None:
    """Refuse, before any long work, a summary that could not be appended to; nothing is done without one.

    Raises
    ------
    InputError
        If it is a folder, or it or its folder cannot be written.
    """
    if path is None:
        return
    if path.is_dir():
        raise InputError(f"{option('summary', str(path))} is a folder: name a file in it")
    if not path.exists():
        check_output_folder(path.parent)
        return
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise InputError(f"{option('summary', str(path))} cannot be written: {error.strerror}") from error


def append_text(path: Path, text: str) -> None:
    """Append a text to a file, which is made if it is not there: the whole text, or none of it.

    It is written at once, so that the texts of several processes come one after another.

    Raises
    ------
    InputError, GeomclipError
        If the file cannot be written to, or the disk is full.
    """
    content = text.encode()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            before = os.fstat(descriptor)
            written = os.write(descriptor, content)
            if written < len(content) and stat.S_ISREG(before.st_mode):
                os.ftruncate(descriptor, before.st_size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
    except OSError as problem:
        raise explained(path, problem) from problem


def check_output_folder(folder: Path) -> None:
    """Refuse a folder in which no file can be made: absent, not a folder, read-only or full.

    Raises
    ------
    InputError
        With the reason the system gives; of an address that nothing is written to it.
    """
    if found := re.match(r"([A-Za-z][\w+.-]+):(/|$)", str(folder), re.ASCII):  # a path has one slash of them left
        raise InputError(f"the folder {found[1]}://... is an address, and nothing is written there: name one here")
    if not folder.is_dir():
        what = "is not a folder" if os.path.lexists(folder) else "does not exist: make it first"
        raise InputError(f"the folder {folder} {what}")
    try:
        # only a try tells: permission bits say nothing to root or of a read-only file system
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"cannot write in {folder}: {error.strerror}") from error
