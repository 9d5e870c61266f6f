"""Regular files: read whole, with a bound, and never waited for as a pipe or a device is."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from geomclip.machine import limits
from geomclip.machine.errors import InputError


def opened(path: str | Path) -> tuple[int, int]:
    """A descriptor of a file to read, which the caller closes, and its size.

    Raises
    ------
    OSError
        As the system has it; of a folder as Python has it.
    InputError
        If it is a pipe, a socket or a device.
    """
    # a pipe without a writer would be waited for as it is opened
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as problem:
        if problem.errno == errno.ENXIO and stat.S_ISSOCK(os.stat(path).st_mode):
            raise refused(path) from problem
        raise
    try:
        about = os.fstat(descriptor)
        if stat.S_ISDIR(about.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(about.st_mode):
            raise refused(path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, about.st_size


def binary(path: str | Path) -> BufferedReader:
    """A file opened to read bytes of; raises as `opened`."""
    return open(path, "rb", opener=lambda name, _: opened(name)[0])  # which keeps its name


def check(path: str | Path) -> int:
    """The size of a file that somebody else's code will open; raises as `opened`."""
    descriptor, size = opened(path)
    os.close(descriptor)
    return size


def read(path: str | Path, limit: str) -> bytes:
    """The bytes of a file, within the limit of this name.

    Raises
    ------
    OSError
        As the system has it.
    InputError
        If it is no regular file, or larger.
    """
    descriptor, size = opened(path)
    try:
        limits.check(limit, size, str(path))
        data = os.read(descriptor, size + 1)
        if len(data) == size:
            return data
        parts, total = [data], len(data)
        while parts[-1]:  # cut short by the system, or growing as it is read
            parts.append(os.read(descriptor, 1 << 20))
            total += len(parts[-1])
            limits.check(limit, total, str(path))
        return b"".join(parts)
    except OSError as problem:
        problem.filename = problem.filename or str(path)
        raise
    finally:
        os.close(descriptor)


def refused(path: str | Path) -> InputError:
    """The error for what is there and is no file."""
    return InputError(f"{path} is no file but a pipe, a socket or a device: copy its content into a file")
