"""Failures: what code of the caller's raises, as one line with the file and the line where it did."""

from __future__ import annotations

import functools
import inspect
import os
import traceback
from typing import Any

from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.words import one_line, typed

MOST = 200
"""Characters of a message of others that are shown."""


def failed(error: BaseException, code: Any, what: str) -> GeomclipError:
    """An error of ours for one of theirs: WHERE: KIND: MESSAGE (in WHAT).

    `code` is what was called, by which a line of the caller's own file is told from those of the packages that it
    calls; where no frame is of that file, the line is the last one.
    """
    return GeomclipError(_line(error, _file_of(code), what))


def not_loaded(error: BaseException, file: str, what: str) -> InputError:
    """The same of code that cannot be loaded."""
    return InputError(_line(error, file, what))


def _line(error: BaseException, file: str, what: str) -> str:
    where = _where(error, file)
    kind = type(error).__name__
    message = one_line(getattr(error, "msg", None) if isinstance(error, SyntaxError) else str(error), MOST)
    said = f"{kind}: {message}" if message else kind
    shows = typed("; --debug shows the traceback", "")
    return f"{f'{where}: ' if where else ''}{said} (in {what}{shows})"


def _where(error: BaseException, file: str) -> str:
    """FILE:LINE of the last frame in the file, else of the last frame that there is."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_shown(error.filename)}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if file and os.path.realpath(frame.filename) == os.path.realpath(file)]
    theirs = [frame for frame in frames if not frame.filename.startswith("<frozen")][1:]  # the first is ours
    if not own and not theirs:
        return ""
    last = (own or theirs)[-1]
    return f"{_shown(last.filename)}:{last.lineno}"


def _file_of(code: Any) -> str:
    """The file that a function, or the class of an object, was defined in; '' where that is not known."""
    while isinstance(code, functools.partial):  # what it calls is the caller's
        code = code.args[0] if code.args else code.func
    for each in (inspect.unwrap(code) if callable(code) else code, type(code)):
        try:
            return inspect.getsourcefile(each) or ""
        except TypeError:
            continue
    return ""


def _shown(file: str) -> str:
    """A path as it is from here, where the file lies below."""
    relative = os.path.relpath(file) if os.path.isabs(file) else file
    return file if relative.startswith("..") else relative
