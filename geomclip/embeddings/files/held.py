"""Held: what a file of vectors holds, by name, looked at without reading the numbers; nothing is ever unpickled."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomclip.machine import limits, parquet_files, parquet_footer, regular
from geomclip.machine.array_files import check_zip, npz_headers, read_npy, read_npz
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import GeomclipError, InputError, NotAvailableError
from geomclip.machine.extras import optional
from geomclip.machine.words import one_line

WAY = "np.savez('e.npz', image=..., text=...)"
"""What always works."""

DEEPEST = 3
"""Dictionaries within dictionaries, and groups of HDF5, are looked into so far."""


@dataclass(frozen=True)
class Entry:
    """One thing that a file holds: an array or a column.

    Parameters
    ----------
    shape : tuple of int
        -1 where it is known only once it is read.
    kind : str
        Numpy's letter: f (numbers), i, u (whole numbers), b (truth values), U (texts), O (anything else).
    read : callable
        The array; of texts a list.
    """

    shape: tuple[int, ...]
    kind: str
    read: Callable[[], Any]

    @property
    def is_rows(self) -> bool:
        """Whether it is a table of numbers, as vectors are."""
        return len(self.shape) == 2 and self.kind in "fiu"


Held = Mapping[str, Entry]


def held(path: Path) -> Held:
    """What a file holds, by the name of each array or column; "" for the one of a file without names.

    Raises
    ------
    InputError
        If it cannot be read, or is of a kind that is not read: with the way out.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path} {OTHERS.get(path.suffix.lower(), 'is no store folder and no file of vectors')}: {ways()}"
        )
    if not path.is_file():
        if path.exists() and not path.is_dir():
            raise regular.refused(path)
        raise InputError(f"{path} {'is a folder' if path.exists() else 'is no file'}")
    try:
        entries = reader(path)
    except (InputError, NotAvailableError):
        raise
    except Exception as problem:
        # torch, pyarrow, h5py and safetensors raise whatever the bytes provoke
        raise _unreadable(path, problem) from problem
    limits.check("arrays", len(entries), str(path))
    return {name: _in_one_line(path, entry) for name, entry in entries.items()}


def _unreadable(path: Path, problem: Exception) -> GeomclipError:
    damaged = InputError(f"{path} is not a readable {path.suffix} file ({one_line(problem, 200)})")
    return unreadable(path, problem, damaged)


def _in_one_line(path: Path, entry: Entry) -> Entry:
    """The entry, with one line for what is found damaged only when its numbers are read."""

    def read() -> Any:
        try:
            return entry.read()
        except (GeomclipError, MemoryError):
            raise
        except Exception as problem:
            raise _unreadable(path, problem) from problem

    return replace(entry, read=read)


def ways() -> str:
    """What to do with a file that is not read."""
    return f"read are {', '.join(READERS)}; in Python {WAY} makes one"


def _npz(path: Path) -> Held:
    return {
        name: Entry(shape, kind, lambda name=name: read_npz(path, [name])[name])  # type: ignore[misc]
        for name, (shape, kind) in npz_headers(path).items()
    }


def _npy(path: Path) -> Held:
    array = read_npy(path)
    return {"": Entry(array.shape, array.dtype.kind, lambda: array)}


# --- tables of Arrow


def _parquet(path: Path) -> Held:
    import pyarrow.parquet as pq

    chunks = [chunk for group in parquet_footer.read(path) for chunk in group.chunks]
    values = sum(max(chunk.num_values, 0) for chunk in chunks)
    # values that are all alike take next to nothing, and four bytes each once they are read
    unfolded = max(sum(max(chunk.total_uncompressed_size, 0) for chunk in chunks), 4 * values)
    limits.check_unfolded(path.stat().st_size, unfolded, f"{path} claims to unfold to {unfolded} bytes")
    with pq.ParquetFile(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows

    def column(name: str) -> Any:
        return parquet_files.read(path, [name], most="vector-bytes", cells="").column(name)

    return _columns(path, schema, rows, column)


def _arrow(path: Path) -> Held:
    import pyarrow as pa

    source = pa.memory_map(str(path))
    try:
        reader = pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        reader = pa.ipc.open_stream(source)  # what datasets' save_to_disk writes
    batches, unfolded = [], 0
    for batch in parquet_files.batches(reader):  # compressed ones unfold as they are read
        batches.append(batch)
        unfolded += batch.nbytes
        limits.check_unfolded(path.stat().st_size, unfolded, f"{path} unfolds to {unfolded} bytes and more")
    table = pa.Table.from_batches(batches, schema=reader.schema)
    return _columns(path, table.schema, len(table), table.column)


def _columns(path: Path, schema: Any, rows: int, column: Callable[[str], Any]) -> Held:
    return {field.name: _entry_of_column(path, field, rows, column) for field in schema}


def _entry_of_column(path: Path, field: Any, rows: int, column: Callable[[str], Any]) -> Entry:
    import pyarrow as pa

    name, kind = field.name, field.type
    if isinstance(kind, pa.ExtensionType):
        kind = kind.storage_type
    if pa.types.is_fixed_size_list(kind) and _is_number(kind.value_type):
        return Entry((rows, kind.list_size), "f", lambda: _rows_of_lists(column(name), f"{path}: {name}"))
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _is_number(kind.value_type):
        return Entry((rows, -1), "f", lambda: _rows_of_lists(column(name), f"{path}: {name}"))
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Entry((rows,), "U", lambda: ["" if v is None else v for v in parquet_files.listed(column(name))])
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_floating(kind):
        letter = "i" if pa.types.is_integer(kind) else "b" if pa.types.is_boolean(kind) else "f"
        return Entry((rows,), letter, lambda: _numbers(column(name), f"{path}: {name}"))
    return Entry((rows,), "O", lambda: _refuse_column(path, name, kind))


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _refuse_column(path: Path, name: str, kind: object) -> None:
    raise InputError(f"{path}: the column {name} is {kind}, neither vectors, numbers nor texts")


def _numbers(column: Any, name: str) -> NDArray[Any]:
    if column.null_count:
        raise InputError(f"{name} row {_first_null(column)} is empty")
    return np.asarray(column.combine_chunks().to_numpy(zero_copy_only=False))


def _rows_of_lists(column: Any, name: str) -> NDArray[Any]:
    """Lists of one length as the rows of an array."""
    if column.null_count:
        raise InputError(f"{name} row {_first_null(column)} is empty")
    parts = []
    width = -1
    start = 0
    for chunk in column.chunks:
        storage = getattr(chunk, "storage", chunk)  # of an extension type
        flat = storage.flatten()
        if flat.null_count:
            raise InputError(f"{name} holds an empty number")
        lengths = np.asarray(storage.value_lengths()) if len(storage) else np.empty(0, np.int64)
        if len(lengths):
            width = int(lengths[0]) if width < 0 else width
            odd = lengths != width
            if odd.any():
                row = int(odd.argmax())
                raise InputError(f"{name} row {start + row} has {int(lengths[row])} numbers, row 0 has {width}")
        parts.append(flat.to_numpy(zero_copy_only=False).reshape(len(storage), max(width, 0)))
        start += len(storage)
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


def _first_null(column: Any) -> int:
    import pyarrow.compute as pc

    return int(pc.index(pc.is_null(column), True).as_py())


# --- dictionaries of tensors


def _safetensors(path: Path) -> Held:
    from safetensors import safe_open

    with path.open("rb") as start:
        limits.check("tensors-header", int.from_bytes(start.read(8), "little"), str(path))
    with safe_open(path, framework="pt") as file:
        shapes = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # no dictionary
        found = {name: (tuple(part.get_shape()), str(part.get_dtype())) for name, part in shapes.items()}

    def read(name: str) -> NDArray[Any]:
        with safe_open(path, framework="pt") as file:
            return _of_tensor(file.get_tensor(name))

    return {
        name: Entry(shape, _LETTERS.get(dtype[0].lower(), "O"), lambda name=name: read(name))  # type: ignore[misc]
        for name, (shape, dtype) in found.items()
    }


_LETTERS = {"f": "f", "b": "f", "i": "i", "u": "u"}
"""First letter of safetensors' types: F32, BF16, I64, U8; of BOOL too, which no role takes."""


def _torch(path: Path) -> Held:
    import pickle

    import torch

    check_zip(path)
    try:
        # only tensors, numbers, texts and containers of them; anything else is refused unseen
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as problem:
        raise InputError(
            f"{path} holds Python objects, which are never unpickled: save tensors alone, "
            "torch.save({'image': image, 'text': text}, 'e.pt')"
        ) from problem
    entries: dict[str, Entry] = {}
    _flatten(content, "", entries, 0)
    size = path.stat().st_size
    for name, entry in entries.items():
        # one number may be seen through strides of zero
        claim = f"{path}: {name or 'its tensor'} claims the shape {entry.shape} in {size} bytes"
        limits.check_unfolded(size, 4 * math.prod(entry.shape), claim)
    return entries


def _flatten(content: Any, name: str, entries: dict[str, Entry], depth: int) -> None:
    """Tensors, numbers and texts of nested dictionaries; names are joined by dots."""
    import torch

    if isinstance(content, torch.Tensor):
        entries[name] = _entry_of_array(_of_tensor(content))
    elif isinstance(content, dict) and depth < DEEPEST:
        for key, value in list(content.items())[: limits.most("arrays") + 1]:
            _flatten(value, f"{name}.{key}" if name else str(key), entries, depth + 1)
    elif isinstance(content, list | tuple) and content:
        if all(isinstance(each, str) for each in content):
            entries[name] = Entry((len(content),), "U", lambda: list(content))
        elif all(isinstance(each, torch.Tensor) and each.shape == content[0].shape for each in content):
            entries[name] = _entry_of_array(_of_tensor(torch.stack(list(content))))
        elif all(isinstance(each, torch.Tensor) for each in content):
            for place, each in enumerate(content[: limits.most("arrays") + 1]):
                _flatten(each, f"{name}.{place}" if name else str(place), entries, depth + 1)
        elif all(isinstance(each, int | float) for each in content):
            entries[name] = _entry_of_array(np.asarray(content))
    elif isinstance(content, int | float):
        entries[name] = _entry_of_array(np.asarray(content))


def _entry_of_array(array: NDArray[Any]) -> Entry:
    return Entry(array.shape, array.dtype.kind, lambda: array)


def _of_tensor(tensor: Any) -> NDArray[Any]:
    """A tensor as numpy has it; types that numpy lacks (bfloat16, float8) as float32."""
    plain = tensor.detach().cpu()
    try:
        return np.asarray(plain.numpy())
    except (TypeError, RuntimeError):
        return np.asarray(plain.float().numpy())


# --- HDF5


def _hdf5(path: Path) -> Held:
    h5py = optional("h5py", f"{path.name} as HDF5", "video")
    entries: dict[str, Entry] = {}

    def visit(group: Any, prefix: str, depth: int) -> None:
        for key in list(group)[: limits.most("arrays") + 1]:
            link = group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                continue  # a link may lead to another file
            item = group[key]
            name = f"{prefix}{key}"
            if isinstance(item, h5py.Dataset):
                entries[name] = _entry_of_dataset(h5py, path, name, item)
            elif depth < DEEPEST:
                visit(item, f"{name}/", depth + 1)

    with h5py.File(path, "r") as file:
        visit(file, "", 1)
    return entries


def _entry_of_dataset(h5py: Any, path: Path, name: str, item: Any) -> Entry:
    kind = item.dtype.kind
    if item.external or item.is_virtual:
        raise InputError(f"{path}: {name} lies in other files: refused")
    size = max(path.stat().st_size, 1)
    texts = h5py.check_string_dtype(item.dtype) is not None
    # a chunk is unpacked whole, and may be larger than the data set that it belongs to
    chunk = math.prod(map(int, item.chunks or (0,)))
    claimed = max(math.prod(map(int, item.shape or (0,))), chunk) * item.dtype.itemsize
    limits.check_unfolded(size, claimed, f"{path}: {name} claims {claimed} bytes of {size}")

    def read() -> Any:
        with h5py.File(path, "r") as file:
            if texts:
                return [each.decode("utf-8", "replace") for each in np.ravel(file[name][()])]
            return np.asarray(file[name][()])

    return Entry(tuple(item.shape), "U" if texts else kind, read)


READERS: Mapping[str, Callable[[Path], Held]] = {
    ".npz": _npz,
    ".npy": _npy,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".feather": _arrow,
    ".safetensors": _safetensors,
    ".pt": _torch,
    ".pth": _torch,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
}
"""By the ending of the file."""

OTHERS = {
    ".pkl": "is a pickle, which runs code as it is read, so it is not",
    ".pickle": "is a pickle, which runs code as it is read, so it is not",
    ".joblib": "is a pickle, which runs code as it is read, so it is not",
    ".csv": "holds text, not vectors",
    ".tsv": "holds text, not vectors",
    ".json": "holds text, not vectors",
    ".jsonl": "holds text, not vectors",
    ".index": "is an index for searching (faiss reads its vectors back: index.reconstruct_n)",
    ".faiss": "is an index for searching (faiss reads its vectors back: index.reconstruct_n)",
    ".lance": "is a table of LanceDB (table.to_arrow() and pyarrow.parquet.write_table write a parquet)",
    ".mat": "is a file of MATLAB (scipy.io.loadmat reads it)",
}
"""What those are that are not read."""
