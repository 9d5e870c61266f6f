"""Numpy files from strangers: .npy and .npz read within bounds, never unpickled, and judged row by row."""

from __future__ import annotations

import math
import os
import tokenize
import zipfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from geomclip.machine import limits, regular
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import InputError
from geomclip.machine.words import one_line


def check_zip(path: Path) -> None:
    """See that a file, if it is a zip archive as torch writes, claims to hold no more than an honest one can.

    Raises
    ------
    InputError
        Naming the limit `unfold`.
    """
    if zipfile.is_zipfile(path):
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            unfolded = sum(info.file_size for info in archive.infolist())
        limits.check_unfolded(size, unfolded, f"{path}: {size} bytes claim to unfold to {unfolded}, as a zip bomb")


def read_npy(path: Path) -> NDArray[Any]:
    """The array of a .npy file, mapped into memory and not yet read; numbers or strings only.

    Raises
    ------
    InputError
        If the file is absent, no .npy, cut short, or holds Python objects.
    """
    try:
        with regular.binary(path) as file:
            size = os.fstat(file.fileno()).st_size
            shape, fortran, dtype = _header(file, str(path))
            start = file.tell()
    except OSError as problem:
        raise unreadable(path, problem) from problem
    needed = math.prod(shape) * dtype.itemsize
    if size - start < needed:
        raise InputError(f"{path} is cut short: it holds {size - start} of {needed} bytes of numbers")
    try:
        if needed == 0:
            return np.empty(shape, dtype)
        return np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape, order="F" if fortran else "C")
    except (ValueError, OverflowError) as problem:
        raise InputError(f"{path} has the impossible shape {shape}") from problem


def read_npz(
    path: Path,
    wanted: Collection[str],
    *,
    needed: str = "image, and text or class_text",
    most: str = "",
) -> dict[str, NDArray[Any]]:
    """The arrays of a .npz file that are wanted and there; the others are not looked at.

    Parameters
    ----------
    path : Path
    wanted : collection of str
        Names of arrays.
    needed : str
        Those of them that a file must have, for the message where it has none.
    most : str
        The limit of the bytes that they may unfold to, if fewer than their kind allows.

    Raises
    ------
    InputError
        If the file is absent or no .npz, an array is cut short, is larger than its header says, unfolds to
        far more than the size of the file, or holds Python objects.
    """
    try:
        with regular.binary(path) as file, zipfile.ZipFile(file) as archive:
            size = os.fstat(file.fileno()).st_size
            held = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            chosen = {name: held[name] for name in wanted if name in held}
            unfolded = sum(info.file_size for info in chosen.values())
            limits.check_unfolded(size, unfolded, f"{path}: {size} bytes claim to unfold to {unfolded}, as a zip bomb")
            if most:
                _check_bytes(path, unfolded, most)
            arrays = {name: _member(archive, info, f"{path}: {name}") for name, info in chosen.items()}
            if not arrays:
                names = ", ".join(sorted(held)[:8]) or "nothing"
                raise InputError(f"{path} holds {names}; needed: {needed}")
            return arrays
    except InputError:
        raise
    except OSError as problem:
        raise unreadable(path, problem) from problem
    except Exception as problem:
        # zipfile and its decompressors raise whatever the bytes provoke: BadZipFile, zlib.error, EOFError,
        # RuntimeError (encrypted), NotImplementedError, struct.error, UnicodeDecodeError, ...
        damaged = InputError(f"{path} is not a readable .npz ({one_line(problem, 200)})")
        raise unreadable(path, problem, damaged) from problem


def _check_bytes(path: Path, unfolded: int, limit: str) -> None:
    if unfolded > (most := limits.most(limit)):
        raise InputError(f"{path} unfolds to {unfolded} bytes, more than {most}: {limits.refused(limit, unfolded)}")


def npz_headers(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and kind (numpy's letter) of each array of a .npz, without reading the numbers; O: one that is not read.

    Raises
    ------
    InputError
        If the file is absent or no .npz.
    """
    headers: dict[str, tuple[tuple[int, ...], str]] = {}
    try:
        with regular.binary(path) as file, zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                headers[name] = ((), "O")
                with suppress(InputError), archive.open(info) as stream:
                    shape, _, dtype = _header(stream, info.filename)
                    headers[name] = (shape, dtype.kind)
    except InputError:
        raise
    except OSError as problem:
        raise unreadable(path, problem) from problem
    except Exception as problem:
        damaged = InputError(f"{path} is not a readable .npz ({one_line(problem, 200)})")
        raise unreadable(path, problem, damaged) from problem
    return headers


def check_rows(array: NDArray[Any], name: str) -> NDArray[Any]:
    """The same array, if it is a table of finite numbers without a zero row; `name` begins the message.

    Raises
    ------
    InputError
        If it is not two-dimensional or not numeric, or a row is zero or holds NaN or infinity: names the row.
    """
    if array.dtype.kind not in "fiu":
        raise InputError(f"{name} must hold numbers, got dtype {array.dtype}")
    if array.ndim != 2 or (len(array) and array.shape[1] == 0):
        raise InputError(f"{name} must have shape (rows, dimensions), got {array.shape}")
    for start in range(0, len(array), 16384):  # blocks: a mapped file may be larger than memory
        block = array[start : start + 16384]
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            raise InputError(f"{name} row {start + int(np.argmin(finite))} holds NaN or infinity")
        directed = block.any(axis=1)
        if not directed.all():
            raise InputError(f"{name} row {start + int(np.argmin(directed))} is zero and has no direction")
    return array


def npy_chunks(array: NDArray[Any]) -> list[bytes | memoryview]:
    """The bytes of a .npy file with this array, in pieces, without a second copy of the numbers."""
    array = np.ascontiguousarray(array)
    header = _Collected()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    # through bytes where empty: a memoryview with a zero in its shape cannot be cast
    return [bytes(header), array.data.cast("B") if array.size else b""]


class _Collected(bytearray):
    """Bytes with the `write` of a file."""

    def write(self, content: bytes) -> int:
        self.extend(content)
        return len(content)


def _header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"format version {version[0]}.{version[1]}")
    except (
        ValueError,
        TypeError,
        SyntaxError,
        MemoryError,
        RecursionError,
        Warning,
        tokenize.TokenError,
    ) as problem:
        raise InputError(f"{name} is not a readable numpy array ({one_line(problem, 200)})") from problem
    if dtype.hasobject:
        raise InputError(f"{name} holds Python objects, which are never unpickled: save numbers")
    if dtype.kind not in "fiubUS":
        raise InputError(f"{name} has dtype {dtype}, which is neither numbers nor strings")
    if any(length < 0 for length in shape):
        raise InputError(f"{name} has the impossible shape {shape}")
    return shape, fortran, dtype


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> NDArray[Any]:
    with archive.open(info) as stream:
        shape, fortran, dtype = _header(stream, name)
        needed = math.prod(shape) * dtype.itemsize
        if needed != info.file_size - stream.tell():
            raise InputError(f"{name} has shape {shape} but {info.file_size - stream.tell()} bytes, not {needed}")
        content = bytearray(needed)  # writable, so that torch takes it without a copy
        place, filled = memoryview(content), 0
        while filled < needed:
            piece = stream.read(min(needed - filled, 1 << 20))
            if not piece:
                raise InputError(f"{name} is cut short: it holds {filled} of {needed} bytes of numbers")
            place[filled : filled + len(piece)] = piece
            filled += len(piece)
        return np.ndarray(shape, dtype, buffer=content, order="F" if fortran else "C")
