"""parquet and Arrow files, one or many: columns of paths and captions, or of the images, left where they lie."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geomclip.machine import limits, parquet_files, parquet_footer
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.parquet_footer import Group
from geomclip.machine.tally import Tally
from geomclip.machine.words import one_line
from geomclip.pairs.parsing import clean, shorten
from geomclip.pairs.record import NO_SUCH_IMAGE, machine_fault
from geomclip.pairs.tables.columns import Table
from geomclip.pairs.tables.stored import RowImage, arrow_batches, is_parquet

RULES = (
    "A column of bytes, or of struct<bytes, path> as datasets has images, holds the images: they are read from the "
    "rows as they are needed. The path beside them is a name; it is opened where a row has no bytes, and then only "
    "inside the folder of the file. Rows of one such path and equal bytes are one image.",
    "Class labels of datasets are read as their names.",
)


def ids_of(images: Sequence[RowImage], tally: Tally) -> list[str]:
    """An id for each row: the path beside the bytes, one for rows of equal bytes; else the file and the row."""
    counts = Counter(image.stored for image in images if image.stored)
    repeated = {path for path, count in counts.items() if count > 1}
    if not repeated:
        return [clean(image.shown) for image in images]
    names: dict[tuple[str, str], str] = {}
    taken: set[str] = set()
    ids = []
    for image in images:
        if image.stored not in repeated:
            ids.append(clean(image.shown))
            continue
        key = (image.stored, _digest(image))
        if key not in names:
            name = clean(image.shown)
            names[key] = (
                name if name not in taken else f"{name} ({image.file.name} group {image.group} row {image.row})"
            )
            taken.add(name)
        ids.append(names[key])
    if len(names) > len(repeated):
        tally.understood(
            f"{len(repeated)} paths beside images stand for {len(names)} different images: each is one of its own"
        )
    return ids


def check_ids(table: Table, ids: Sequence[str], images: Sequence[RowImage]) -> None:
    """InputError for an id of two different images."""
    counts = Counter(ids)
    digests: dict[str, str] = {}
    for row, (image_id, image) in enumerate(zip(ids, images, strict=True)):
        if counts[image_id] > 1:
            digest = _digest(image)
            if digests.setdefault(image_id, digest) != digest:
                raise InputError(f"{table.where(row)}: image id {shorten(image_id)} has another image than before")


def _digest(image: RowImage) -> str:
    try:
        return hashlib.sha256(image.read()).hexdigest()
    except InputError:  # it is skipped when it is encoded, with the reason
        return f"{image.file}:{image.group}:{image.row}"
    except OSError as problem:
        if problem.errno in NO_SUCH_IMAGE:
            return f"{image.file}:{image.group}:{image.row}"
        raise machine_fault(str(image.file), problem) from problem


# ---- one file


def column_names(file: Path) -> list[str]:
    """The names of the columns of a file."""
    import pyarrow
    import pyarrow.parquet

    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        if is_parquet(file):
            return list(pyarrow.parquet.read_schema(file).names)
        batches = arrow_batches(file)
        return list(batches[0].schema.names) if batches else []
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        raise _unreadable(file, error) from error


def read(file: Path) -> Table:
    """The columns of a file that hold texts, numbers or images; of images only where they are."""
    import pyarrow

    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        if file.suffix == ".arrow" and not is_parquet(file):
            return _read_arrow(file)
        return _read_parquet(file)
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, OverflowError, LookupError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> GeomclipError:
    kind = "Arrow" if file.suffix == ".arrow" else "parquet"
    damaged = InputError(f"{file} is not a readable {kind} file: {one_line(error, 200)}; fetch or write it again")
    return unreadable(file, error, damaged)


def _read_parquet(file: Path) -> Table:
    import pyarrow.parquet

    groups = parquet_footer.read(file)
    sizes = [group.num_rows for group in groups]
    with pyarrow.parquet.ParquetFile(file) as opened:
        schema, count = opened.schema_arrow, opened.metadata.num_rows
    _check_rows(count, file)
    kinds = {each.name: _kind(each.type) for each in schema}
    wanted = [name for name, kind in kinds.items() if kind == "values"]
    paths = {name: f"{name}.path" for name, kind in kinds.items() if kind == "image" and _has_path(schema, name)}
    leaves = [*wanted, *paths.values()]
    table = parquet_files.read(file, leaves) if leaves else None
    labels = _labels(schema)
    columns: dict[str, list[Any]] = {}
    for name, kind in kinds.items():
        if kind == "values" and table is not None:
            columns[name] = _values(table.column(name), labels.get(name))
        elif kind == "image":
            stored = None
            if name in paths and table is not None:
                stored = [(each or {}).get("path") for each in table.column(name).to_pylist()]
            columns[name] = _row_images(file, name, sizes, stored, [_lacks_bytes(group, name) for group in groups])
    return _table(file, count, columns, kinds, labels)


def _read_arrow(file: Path) -> Table:
    import pyarrow

    batches = arrow_batches(file)
    if not batches:
        return _table(file, 0, {}, {}, {})
    schema, sizes = batches[0].schema, [batch.num_rows for batch in batches]
    _check_rows(sum(sizes), file)
    kinds = {each.name: _kind(each.type) for each in schema}
    labels = _labels(schema)
    columns: dict[str, list[Any]] = {}
    for place, (name, kind) in enumerate(kinds.items()):
        if kind == "values":
            cells = pyarrow.chunked_array([batch.column(place) for batch in batches])
            cells.validate(full=True)
            columns[name] = _values(cells, labels.get(name))
        elif kind == "image":
            stored = None
            if _has_path(schema, name):
                stored = []
                for batch in batches:
                    batch.column(place).validate()
                    stored += batch.column(place).field("path").to_pylist()
            lacking = [stored is not None and bool(batch.column(place).field("bytes").null_count) for batch in batches]
            columns[name] = _row_images(file, name, sizes, stored, lacking)
    return _table(file, sum(sizes), columns, kinds, labels)


def _table(
    file: Path, n_rows: int, columns: dict[str, list[Any]], kinds: dict[str, str], labels: dict[str, list[str]]
) -> Table:
    if uneven := [name for name, values in columns.items() if len(values) != n_rows]:
        raise ValueError(f"it says that it has {n_rows} rows, and its column {uneven[0][:50]!r} has another number")
    unread = {name: kind for name, kind in kinds.items() if kind not in ("values", "image")}
    return Table(file, columns, n_rows, lambda row: f"{file} row {row}", file.parent, unread, classes=labels)


def _check_rows(count: int, file: Path) -> None:
    limits.check("table-rows", count, str(file))


def _lacks_bytes(group: Group, name: str) -> bool:
    """Whether a row of the group may have no bytes, but a path to a file."""
    return any(chunk.nulls != 0 for chunk in group.chunks if chunk.path_in_schema == f"{name}.bytes")


def _row_images(
    file: Path, name: str, sizes: Sequence[int], stored: Sequence[str | None] | None, lacking: Sequence[bool]
) -> list[RowImage]:
    places = [(group, row) for group, count in enumerate(sizes) for row in range(count)]
    paths = stored or [None] * len(places)
    shown = [clean(path) if path else f"{clean(file.name)}/{number}" for number, path in enumerate(paths)]
    return [
        RowImage(file, name, group, row, seen, path or "", lacking[group])
        for (group, row), path, seen in zip(places, paths, shown, strict=True)
    ]


def _values(cells: Any, labels: Sequence[str] | None) -> list[Any]:
    values = parquet_files.listed(cells)
    if labels is None:
        return values
    return [labels[value] if type(value) is int and 0 <= value < len(labels) else value for value in values]


def _kind(of: Any) -> str:
    """values, image, or in words what else a column holds."""
    from pyarrow import types

    if types.is_dictionary(of):
        of = of.value_type
    if _is_bytes(of):
        return "image"
    if types.is_struct(of):
        fields = {of.field(place).name: of.field(place).type for place in range(of.num_fields)}
        if "bytes" in fields and _is_bytes(fields["bytes"]) and set(fields) <= {"bytes", "path"}:
            return "image"
        return "values" if "raw" in fields and _is_text(fields["raw"]) else "objects"
    if types.is_list(of) or types.is_large_list(of) or types.is_fixed_size_list(of):
        inner = _kind(of.value_type)
        return "values" if inner == "values" and not _is_number(of.value_type) else "lists"
    if _is_text(of) or types.is_integer(of) or types.is_boolean(of) or types.is_null(of):
        return "values"
    return f"values of {of}"


def _is_bytes(of: Any) -> bool:
    from pyarrow import types

    return types.is_binary(of) or types.is_large_binary(of) or str(of) == "binary_view"


def _is_text(of: Any) -> bool:
    from pyarrow import types

    return types.is_string(of) or types.is_large_string(of) or str(of) == "string_view"


def _is_number(of: Any) -> bool:
    from pyarrow import types

    return types.is_integer(of) or types.is_boolean(of)


def _has_path(schema: Any, name: str) -> bool:
    from pyarrow import types

    of = schema.field(name).type
    return types.is_struct(of) and of.get_field_index("path") >= 0 and _is_text(of.field("path").type)


def _labels(schema: Any) -> dict[str, list[str]]:
    """Of each column that datasets calls a class label the names of its classes."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {
            name: list(map(str, feature["names"]))
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}  # of another program, or of none
