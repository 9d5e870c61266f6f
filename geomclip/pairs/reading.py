"""Reading: an image of a pair, or the reason why it cannot be used; a machine that fails is no such reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.words import one_line
from geomclip.pairs.record import NO_SUCH_IMAGE, machine_fault

Out = TypeVar("Out")


def value_or_reason(read: Callable[[], Out], *, name: str) -> Out | str:
    """What `read` makes of an image; if the image cannot be used, the reason.

    Raises
    ------
    GeomclipError
        If the machine failed and not the image: a disk, a network, too many open files, memory, permission.
    """
    try:
        return read()
    except NotAvailableError:
        raise  # a missing package is no property of this image
    except (OSError, MemoryError) as problem:
        if isinstance(problem, OSError) and problem.errno in NO_SUCH_IMAGE:
            # without the path, which would tie the manifest to this machine
            return one_line(problem, 200)
        raise machine_fault(name, problem) from problem
    except InputError as problem:
        return one_line(problem, 200)
