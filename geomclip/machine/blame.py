"""Whose fault it is that a file cannot be read: the file's, or the machine's, of which the file knows nothing.

A library that reads a file says of a disk that fails, of too many open files or of a share that went away whatever it
says of damaged bytes. What is the machine's is found behind it, so that a whole file is never refused as a damaged one,
passed over, or made again.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.words import one_line

NO_SUCH_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP})
"""Errors of a place that is no file; every other one of opening or reading it is a fault of the machine."""
FAULTS = frozenset(
    getattr(errno, name)
    for name in (
        *("EIO", "ESTALE", "ENOMEM", "ETIMEDOUT", "EMFILE", "ENFILE", "EACCES", "EPERM", "ENODEV", "ENXIO", "ENOTCONN"),
        *("EAGAIN", "EBUSY", "ENOLCK", "ENOBUFS", "EREMOTEIO", "EHOSTDOWN", "ESHUTDOWN", "ECONNABORTED", "EBADFD"),
    )
    if hasattr(errno, name)
)
"""Errors that are the machine's wherever they stand; others, as of a seek to nowhere, come of what a file says too."""
TOO_MANY_FILES = "let this machine have more files open (ulimit -n)"
_NUMBERS = re.compile(r"\berrno\s*[=:]?\s*(\d+)|\(os error (\d+)\)|in read-only mode: [^()]+ \((\d+)\)", re.IGNORECASE)
_ABSENT = re.compile(r"No such file or directory:? '?(/[^']+)'?")


def unreadable(path: str | Path, problem: Exception, otherwise: GeomclipError | None = None) -> GeomclipError:
    """The error for a file that cannot be read: of the machine if a fault of it is behind, else `otherwise`.

    Parameters
    ----------
    problem : Exception
        What was raised; one that is a GeomclipError and no InputError is given back.
    otherwise : GeomclipError, optional
        What is wrong with the file; by default that it cannot be read, with the reason.

    Examples
    --------
    >>> unreadable("a.json", FileNotFoundError(errno.ENOENT, "No such file or directory"))
    InputError('a.json cannot be read (No such file or directory)')
    >>> unreadable("a.json", OSError(errno.EIO, "Input/output error")).exit_code
    1
    >>> unreadable("a.npz", ValueError("no zip file"), InputError("a.npz is damaged"))
    InputError('a.npz is damaged')
    """
    if isinstance(problem, GeomclipError) and not isinstance(problem, InputError):
        return problem
    fault = fault_behind(problem)
    if fault is None:
        return otherwise or InputError(f"{path} cannot be read ({_reason(problem)})")
    ways = dict.fromkeys((errno.EACCES, errno.EPERM), "make it readable for this user")
    ways |= dict.fromkeys((errno.EMFILE, errno.ENFILE), TOO_MANY_FILES)
    way_out = ways.get(fault.errno or 0, "a fault of the machine, not of the file; mend it")
    return GeomclipError(f"{path} cannot be read ({_reason(fault)}): {way_out}, and run the same command again")


def fault_behind(problem: BaseException) -> OSError | None:
    """The fault of the machine that an exception comes of, itself or what it was raised from; None if there is none.

    Examples
    --------
    >>> fault_behind(RuntimeError("unable to open file <a.pt> in read-only mode: Input/output error (5)"))
    OSError(5, 'Input/output error')
    >>> fault_behind(OSError(errno.EINVAL, "Invalid argument"))  # a file that says that it begins before its start
    """
    if isinstance(problem, OSError) and problem.errno not in {None, errno.EINVAL, errno.EOVERFLOW, *NO_SUCH_FILE}:
        return problem
    return next((fault for each in causes(problem) if (fault := _fault(each)) is not None), None)


def _reason(problem: Exception) -> str:
    if isinstance(problem, OSError) and problem.errno is not None:
        own = problem.strerror or ""
        return own if own and "\n" not in own else os.strerror(problem.errno)  # HDF5 says more, in many lines
    return one_line(problem, 200)


def causes(problem: BaseException) -> Iterator[BaseException]:
    """An exception, what it was raised from, what that was raised from, ..."""
    seen: set[int] = set()
    at: BaseException | None = problem
    while at is not None and id(at) not in seen:
        yield at
        seen.add(id(at))
        at = at.__cause__ or at.__context__


def _fault(problem: BaseException) -> OSError | None:
    if isinstance(problem, GeomclipError):
        return None  # its text may quote one
    if isinstance(problem, OSError) and problem.errno is not None:
        return problem if problem.errno in FAULTS else None
    text = str(problem)
    for match in _NUMBERS.finditer(text):
        number = int(next(filter(None, match.groups())))
        if number in FAULTS:
            return OSError(number, os.strerror(number))
    # libraries in Rust say so of every file that they could not open
    if (absent := _ABSENT.search(text)) and os.path.exists(absent[1]):
        return _of_opening(absent[1])
    return None


def _of_opening(path: str) -> OSError:
    """What keeps a file that is there from being opened, as far as can be told."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError as problem:
        return problem
    return OSError(errno.EAGAIN, "it is there, and could not be opened")
