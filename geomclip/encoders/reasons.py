"""What other libraries raise, as one line of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from geomclip.machine.blame import unreadable
from geomclip.machine.errors import GeomclipError, InputError, NotAvailableError
from geomclip.machine.words import one_line


@contextmanager
def in_one_line(where: str, package: str = "open_clip") -> Iterator[None]:
    """Make whatever is raised inside an error of ours that opens with `where`; `package` is who could not use it.

    Raises
    ------
    InputError, NotAvailableError
        On one line, with the reason that open_clip, timm or transformers gave.
    """
    try:
        yield
    except (GeomclipError, MemoryError):
        raise
    except ImportError as error:
        raise NotAvailableError(f"{where}: a package is missing: {first_line(error)}") from error
    except Exception as error:  # open_clip, timm and transformers raise whatever they like on bad settings
        if "Please `pip install transformers`" in str(error):
            raise NotAvailableError(
                f"{where}: its text tower needs the transformers package: pip install transformers"
            ) from error
        if "trust_remote_code" in str(error):
            raise InputError(f"{where}: asks to run code of its own (trust_remote_code): refused") from error
        if isinstance(error, OSError):
            absent = NotAvailableError(f"{where}: something it needs cannot be had: {first_line(error)}")
            raise unreadable(where, error, absent) from error
        refused = InputError(f"{where}: {package} cannot use it: {type(error).__name__}: {first_line(error)}")
        raise unreadable(where, error, refused) from error


def first_line(error: BaseException, limit: int = 200) -> str:
    """What an exception says, on one line of bounded length."""
    text = one_line(str(error))
    return text if len(text) <= limit else text[: limit - 3] + "..."
