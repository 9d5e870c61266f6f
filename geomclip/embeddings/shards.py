"""The files of a store folder: vectors, the tables beside them, and the manifest that vouches for both."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from numpy.typing import NDArray

from geomclip.machine import memory, parquet_files, regular
from geomclip.machine.array_files import npy_chunks
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import DamagedError, InputError
from geomclip.machine.files import atomic_write, refuse_links
from geomclip.machine.sums import check_sum, unsealed, write_sealed
from geomclip.machine.words import one_line

SCHEMA = "geomclip.store/1"
MANIFEST, LIMIT = "manifest.json", "annotation-bytes"
KINDS = {"img": "metadata", "text": "text_metadata", "class": "class_metadata"}
"""What is embedded -> the folder of its table; the vectors of `img` lie in img_emb/."""
_KIND_OF_COLUMN = {"image_row": "int64", "class_index": "int64", "truncated": "bool"}

Table = Mapping[str, Sequence[str] | Sequence[int]]
Record = dict[str, Any]
"""What the manifest says of one file: rows, bytes, sha256."""


def write_part(folder: Path, kind: str, number: str, rows: NDArray[Any], table: Table) -> dict[str, Record]:
    """Write the vectors of one kind of one shard and the table beside them; returns file -> its record."""
    name = f"{kind}_emb/{kind}_emb_{number}.npy"
    return {name: _written(folder, name, npy_chunks(rows), len(rows))} | write_table(folder, kind, number, table)


def write_table(folder: Path, kind: str, number: str, table: Table) -> dict[str, Record]:
    """Write the table alone, as `write_part` does."""
    name = f"{KINDS[kind]}/{KINDS[kind]}_{number}.parquet"
    buffer = io.BytesIO()
    _write_table(table, buffer)
    rows = len(next(iter(table.values()), ()))
    return {name: _written(folder, name, [buffer.getbuffer()], rows)}


def _written(folder: Path, name: str, chunks: Iterable[bytes | memoryview], rows: int) -> Record:
    digest, size = hashlib.sha256(), 0
    refuse_links(folder, str(PurePosixPath(name).parent))
    with atomic_write(folder / name) as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
            size += len(chunk)
    return {"rows": rows, "bytes": size, "sha256": digest.hexdigest()}


def verify(folder: Path, name: str, record: Mapping[str, Any]) -> Path:
    """The file that a manifest names; InputError if it is outside or not as recorded (size, sha256)."""
    path = folder / inside(name, folder / MANIFEST)
    try:
        with regular.binary(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size != record["bytes"]:
                raise DamagedError(f"{path} is cut short or changed: {size} bytes, written were {record['bytes']}")
            if hashlib.file_digest(file, "sha256").hexdigest() != record["sha256"]:
                raise DamagedError(f"{path} is damaged or changed: its sha256 is not the one recorded")
    except OSError as problem:
        raise unreadable(path, problem) from problem
    return path


def inside(name: str, manifest: object) -> PurePosixPath:
    """The path of a file that a manifest names, below its folder; InputError if it is none."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name or "\0" in name or not pure.parts:
        raise InputError(f"{manifest}: entry {name[:80]!r} leaves the folder; refused")
    return pure


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of a store folder with its sum, whole or not at all."""
    write_sealed(folder / MANIFEST, manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a store folder, without its sum.

    Raises
    ------
    InputError
        If it is no manifest, or of another version; a DamagedError if it is no JSON, or its sum is another.
    """
    path = folder / MANIFEST
    try:
        content = regular.read(path, LIMIT)
    except OSError as problem:
        raise unreadable(path, problem) from problem
    return parsed_manifest(content, path)


def parsed_manifest(content: bytes, path: object) -> dict[str, Any]:
    """The manifest in these bytes, without its sum; raises as `read_manifest`, `path` begins the message."""
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as problem:
        raise DamagedError(
            f"{path} is no whole JSON ({one_line(problem, 200)}): the store must be made again"
        ) from problem
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        raise InputError(f"{path} has schema {str(schema)[:60]!r}; this version reads {SCHEMA!r}")
    if not _is_whole(manifest):
        raise DamagedError(f"{path} is malformed: the store must be made again")
    check_sum(manifest, path, "put back a copy of it, or make the store again in a new folder")
    return unsealed(manifest)


def _is_whole(manifest: Mapping[str, Any]) -> bool:
    """Whether all is there, and of its type, that reading and continuing a store take for granted."""
    lists = [manifest.get(name, []) for name in ("class_shards", "shards", "skipped")]
    if not all(isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries) for entries in lists):
        return False
    classes, shards, skipped = lists
    files = [entry.get("files") for entry in (*classes, *shards)]
    return (
        isinstance(manifest.get("made_from"), dict)
        and isinstance(manifest.get("done"), bool)
        and all(type(entry.get(name)) is int for entry in shards for name in ("number", "first_row", "image_rows"))
        and all(type(entry.get("input")) is int for entry in skipped)
        and all(
            isinstance(own, dict) and all(isinstance(record, dict) and _is_record(record) for record in own.values())
            for own in files
        )
    )


def _is_record(record: Record) -> bool:
    counts = all(type(record.get(name)) is int for name in ("rows", "bytes"))
    return counts and isinstance(record.get("sha256"), str)


def read_table(path: Path) -> dict[str, list[Any]]:
    """The columns of a parquet file; nested ones are left out."""
    memory.keep_within_limits()
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        regular.check(path)
        schema = pq.read_schema(path)
        names = [field.name for field in schema if not pa.types.is_nested(field.type)]
        table = parquet_files.read(path, names)
        return {name: parquet_files.listed(table.column(name)) for name in names}
    except InputError:
        raise
    except Exception as problem:
        # pyarrow raises its own kinds, OSError and plain ValueErrors, by what it meets in the bytes
        damaged = InputError(f"{path} is not a readable parquet file ({one_line(problem, 200)})")
        raise unreadable(path, problem, damaged) from problem


def _write_table(table: Table, buffer: io.BytesIO) -> None:
    """The same bytes for the same table: no times, no order but the given one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        name: pa.array(values, _KIND_OF_COLUMN.get(name, "string"))
        for name, values in ((name, [_storable(value) for value in column]) for name, column in table.items())
    }
    pq.write_table(pa.table(columns), buffer, compression="snappy")


def _storable(value: str | int) -> str | int:
    # a file name may hold bytes that are no UTF-8; parquet holds only UTF-8
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
