"""What a writer that was killed left behind, told from what a living one is writing by the lock that it holds on it."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NAME = re.compile(r"\.(.+)\.[0-9a-f]{8}\.geomclip-tmp", re.DOTALL)


@contextmanager
def begun(path: Path, make: Callable[[Path], object]) -> Iterator[Path]:
    """A new name beside `path`, made to be a file or folder by `make`, and held as one that is being written.

    It is left as it is when the block ends: to be renamed, or deleted, in it.
    """
    while True:
        place = path.with_name(f".{path.name}.{secrets.token_hex(4)}.geomclip-tmp")
        make(place)
        with suppress(FileNotFoundError):  # taken for dead before it was held
            descriptor = os.open(place, os.O_RDONLY)
            try:
                _lock(descriptor, wait=True)
                if os.path.samestat(os.fstat(descriptor), os.lstat(place)):
                    break
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
    try:
        yield place
    finally:
        os.close(descriptor)


def clear_dead(path: Path) -> None:
    """Delete the unfinished files and folders for `path` whose writers are dead.

    A link is never followed, and nothing is deleted where the file system has no locks.
    """
    try:
        with os.scandir(path.parent) as entries:
            names = [each.name for each in entries if (match := _NAME.fullmatch(each.name)) and match[1] == path.name]
    except OSError:
        return
    for name in names:
        with suppress(OSError):
            _clear(path.with_name(name))


def _clear(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not _lock(descriptor, wait=False) or not os.path.samestat(os.fstat(descriptor), os.lstat(place)):
            return
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink()
    finally:
        os.close(descriptor)


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Whether the lock on an open file or folder could be had; it ends with the descriptor, however its holder dies."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (ImportError, OSError):
        return False
    return True
