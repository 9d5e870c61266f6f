"""Scratch: tables too large for the memory that is left, in files without a name that the system pages in and out."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
import threading
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from geomclip.machine.errors import InputError
from geomclip.machine.files import cache_dir
from geomclip.machine.memory import give_back_what_is_freed, memory_left
from geomclip.machine.words import one_line

LEAST = 4 << 20
"""Bytes from which a table is looked at: smaller ones are always held in memory."""

SHARE = 16
"""A table above this part of the memory that is left lies in a file."""

ROWS = 1024
"""Rows of a large table that are worked on at a time."""

_lock = threading.Lock()
_taken = [0, 0]  # bytes that were put into files since the last `note`, and the memory that was left at the first


def empty(*shape: int, dtype: torch.dtype) -> Tensor:
    """A new tensor, its numbers undefined: in memory, or in a file where it is large beside what is left of that.

    A file lies in the cache, has no name from the first moment and is gone with the tensor. Its pages are shared with
    the system, which writes them out where memory is short. What is computed has the same bits either way.

    Raises
    ------
    InputError
        If the folder cannot be written, or its disk has not the room.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < LEAST or size * SHARE <= (left := memory_left()):
        return torch.empty(shape, dtype=dtype, device="cpu")
    return _mapped(size, int(left)).view(dtype).view(shape)


def zeros(*shape: int, dtype: torch.dtype) -> Tensor:
    """As `empty`, all zero."""
    return empty(*shape, dtype=dtype).zero_()


def full_like(x: Tensor, *shape: int, value: float) -> Tensor:
    """One number in every place, of the type of x and where it lies."""
    if x.device.type != "cpu":
        return x.new_full(shape, value)
    return empty(*shape, dtype=x.dtype).fill_(value)


def to(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The same numbers in a type; x itself where it has it."""
    return x if x.dtype == dtype else empty(*x.shape, dtype=dtype).copy_(x)


def rows(x: Tensor, chosen: Tensor) -> Tensor:
    """Some rows of x (n, ...), by their numbers or by a mask (n,).

    Examples
    --------
    >>> rows(torch.eye(2), torch.tensor([1, 0])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    if x.device.type != "cpu" or x.requires_grad:
        return x[chosen]
    index = chosen.nonzero()[:, 0] if chosen.dtype == torch.bool else chosen
    found = empty(len(index), *x.shape[1:], dtype=x.dtype)
    return torch.index_select(x, 0, index, out=found)


def blocks(x: Tensor) -> Iterator[slice]:
    """Consecutive rows of x (n, ...), `ROWS` at a time."""
    return (slice(start, min(start + ROWS, len(x))) for start in range(0, len(x), ROWS))


def each(function: Callable[[Tensor], Tensor], x: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """What a function of some rows gives of each row of x (n, ...), one number a row, some rows at a time: (n,).

    Examples
    --------
    >>> each(lambda some: some.sum(1), torch.eye(2)).tolist()
    [1.0, 1.0]
    """
    found = torch.empty(len(x), dtype=dtype, device=x.device)
    for some in blocks(x):  # what is kept between large pieces would keep the holes between them from being used again
        found[some] = function(x[some])
    return found


def note() -> str:
    """That tables were put into files since this was asked last, in one line; '' where none was."""
    with _lock:
        (size, left), _taken[:] = _taken, (0, 0)
    if not size:
        return ""
    return (
        f"{size / 1e9:.1f} GB of rows were kept in files in {cache_dir()}, not in memory, of which {left / 1e9:.1f} GB "
        "were left; no number depends on it"
    )


def _mapped(size: int, left: int) -> Tensor:
    """So many bytes of a new file, uint8."""
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, prefix="scratch-") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # a page that found no room later would end the process
            else:
                file.truncate(size)
            pages = mmap.mmap(file.fileno(), size)
    except OSError as problem:
        why = one_line(problem.strerror or problem, 100)
        raise InputError(
            f"{folder} cannot take {size / 1e9:.1f} GB of rows that memory has no room for ({why}): free some, or set "
            "GEOMCLIP_CACHE to another folder"
        ) from problem
    with _lock:
        _taken[:] = _taken[0] + size, _taken[1] or left
    give_back_what_is_freed()
    return torch.frombuffer(pages, dtype=torch.uint8)
