"""Where geomclip keeps things on this machine, and how it writes: whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from geomclip.machine.blame import FAULTS
from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.leftovers import begun, clear_dead

LOCK_NAME = ".geomclip.lock"
_LEFTOVER = ".*.geomclip-tmp"


def cache_dir(explicit: str | Path | None = None) -> Path:
    """The folder for weights, data and embeddings; it need not exist yet.

    The first that is set: `explicit`, the variable GEOMCLIP_CACHE, `geomclip` under XDG_CACHE_HOME,
    `~/.cache/geomclip`. Nothing in it is deleted but by `geomclip cache prune`: all of it can be made again.

    Examples
    --------
    >>> cache_dir("/data/geomclip").as_posix()
    '/data/geomclip'
    """
    if explicit is not None:
        return Path(explicit).expanduser()
    if named := os.environ.get("GEOMCLIP_CACHE"):
        return Path(named).expanduser()
    # the XDG specification asks to ignore a relative path
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache") / "geomclip"


def by_number(path: Path) -> tuple[list[tuple[int, str]], str]:
    """A key by which the numbers in names have the order of their value.

    Examples
    --------
    >>> [path.name for path in sorted([Path("f10.png"), Path("f2.png")], key=by_number)]
    ['f2.png', 'f10.png']
    """
    parts = re.split(r"(\d+)", str(path))
    # 01 and 1 are one number: the text decides, so that no two files change places
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], str(path)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write bytes to; `path` appears, complete and on disk, when the block ends without an error.

    Until then, and for good if the block fails, `path` is what it was before. Missing folders are made. What a killed
    writer of the same path left half written is deleted.

    Raises
    ------
    InputError
        If the place cannot be written to.
    GeomclipError
        If the disk is full or fails; the message names the file and the free space.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder) / "numbers.txt") as file:
    ...         _ = file.write(b"1 2 3")
    ...     (Path(folder) / "numbers.txt").read_text()
    '1 2 3'
    """
    path = Path(path)
    make_folder(path.parent)
    clear_dead(path)
    temporary: Path | None = None
    try:
        # open, not tempfile.mkstemp: the file shall get the permissions of the user's umask
        with begun(path, lambda place: place.open("xb").close()) as temporary, temporary.open("r+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as problem:
        # an error of another file, raised by the caller's block, is the caller's to explain
        ours = (None, str(path), str(temporary))
        if problem.filename not in ours and temporary is not None:
            raise
        raise explained(path, problem) from problem
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """A folder to fill; `path` appears, with all that was put into it, when the block ends without an error.

    Until then, and for good if the block fails, nothing is at `path`.

    Raises
    ------
    InputError
        If `path` holds something already, or the place cannot be written to.
    GeomclipError
        If the disk is full or fails.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     with atomic_folder(Path(place) / "both") as folder:
    ...         atomic_bytes(folder / "one", b"1")
    ...         atomic_bytes(folder / "two", b"2")
    ...     sorted(file.name for file in (Path(place) / "both").iterdir())
    ['one', 'two']
    """
    path = Path(path)
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path} is there already: name a new or empty folder")
    make_folder(path.parent)
    # absolute, for a path such as "." has no name to be derived from
    whole = path.resolve()
    clear_dead(whole)
    temporary: Path | None = None
    try:
        with begun(whole, make_folder) as temporary:
            yield temporary
            sync_tree(temporary)  # whoever filled it may not have
            os.replace(temporary, whole)  # an empty folder in its place gives way
        sync_folder(whole.parent)
    except OSError as problem:
        raise explained(path, problem) from problem
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def atomic_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all; raises as `atomic_write`."""
    with atomic_write(path) as file:
        file.write(content)


def atomic_json(path: str | Path, value: Any, *, indent: int | None = 2) -> None:
    """Write `value` as JSON, whole or not at all; NaN and infinity, which JSON has not, are a ValueError."""
    # ASCII, because a file name may hold bytes that are no UTF-8 and must still come back as it was
    atomic_bytes(path, (json.dumps(value, indent=indent, allow_nan=False) + "\n").encode("ascii"))


def make_folder(folder: str | Path) -> Path:
    """The folder, made with its parents where it is missing; InputError if it cannot be."""
    folder = Path(folder)
    try:
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise explained(folder, problem) from problem
    for place in reversed(missing):
        sync_folder(place.parent)
    return folder


def refuse_links(folder: str | Path, *names: str) -> None:
    """See that nothing of these names in `folder` is a link, nor a folder on the way to it.

    The folder itself is the user's and may be one. What geomclip makes in it never is: a link there leads writing and
    deleting to another place.

    Raises
    ------
    InputError
        Naming the link.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "checkpoints").symlink_to("elsewhere")
    ...     refuse_links(folder, "img_emb", "checkpoints/step-000001")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    geomclip.machine.errors.InputError: ...checkpoints is a link, which is never written through: ...
    """
    for name in names:
        place = Path(folder)
        for part in PurePath(name).parts:
            place /= part
            if place.is_symlink():
                raise link_refused(place)


def clear_leftovers(folder: Path, *parts: str) -> None:
    """Delete the unfinished files and folders of a writer that was killed, in a folder and these of its subfolders.

    The caller holds the folder's lock.

    Raises
    ------
    InputError
        If a subfolder is a link, before anything is deleted.
    """
    refuse_links(folder, *parts)
    for place in (folder, *(folder / part for part in parts)):
        for leftover in place.glob(_LEFTOVER):
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def is_ours(name: str) -> bool:
    """Whether a file of this name is a lock or an unfinished file of geomclip's, not content.

    Examples
    --------
    >>> is_ours(".geomclip.lock"), is_ours("manifest.json")
    (True, False)
    """
    return name == LOCK_NAME or (name.startswith(".") and name.endswith(".geomclip-tmp"))


def sync_tree(folder: Path) -> None:
    """Make all files and folders below, and the folder itself, survive a power cut: before it takes a place.

    Links are neither followed nor synced. Raises OSError if the disk fails.
    """
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            file = os.path.join(place, name)
            if not os.path.islink(file):
                with open(file, "rb") as opened:
                    os.fsync(opened.fileno())
        sync_folder(Path(place))


def sync_folder(folder: Path) -> None:
    """Make what was made, renamed and removed in a folder survive a power cut, where the file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    with suppress(OSError):
        os.fsync(descriptor)
    os.close(descriptor)


def link_refused(place: Path) -> InputError:
    """The error for a link in the place of something that geomclip makes."""
    return InputError(
        f"{place} is a link, which is never written through: put what it leads to in its place, take it away, "
        "or name another folder"
    )


def explained(path: Path, problem: OSError) -> GeomclipError:
    """The error for a place that cannot be written to: what the system says, and the way out."""
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return GeomclipError(
            f"{path}: the disk is full ({_free_space(path)} free): make room and run the same command again"
        )
    reason = problem.strerror or str(problem)
    if problem.errno in FAULTS - {errno.EACCES, errno.EPERM}:
        return GeomclipError(f"{path}: writing failed ({reason})")
    return InputError(f"{path} cannot be written ({reason}): name a place that can")


def _free_space(path: Path) -> str:
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        free = shutil.disk_usage(path).free
    except OSError:
        return "unknown space"
    return f"{free / 1e6:.1f} MB"
