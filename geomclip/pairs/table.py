"""Tables of image paths and captions: csv, tsv, jsonl and parquet files, one row a caption."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geomclip.machine.errors import InputError
from geomclip.machine.words import one_line, option
from geomclip.pairs.parsing import (
    caption,
    choose_split,
    clean,
    counted,
    decode_text,
    need,
    numbered,
    openable,
    parse_json,
    read_bytes,
    shorten,
)
from geomclip.pairs.record import ImageFile, Pair, Pairs
from geomclip.pairs.source import Source

MAX_TABLE_BYTES = 1 << 32
Row = tuple[str, Mapping[str, Any]]
"""Where a row is ("FILE row 3"), and its values by column."""


@dataclass
class _Image:
    """What the rows read so far say of one image."""

    path: str
    texts: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)


def read(source: Source, file: Path) -> Pairs:
    """The images of a table in the order they first appear, each with the texts of all its rows.

    Rows belong to one image if the image-id column (else the image column) is equal. Paths are relative to
    the table's folder, or absolute. A `split` column makes splits, `label` becomes the label, other columns
    of text, whole numbers or truth values are kept, unless their value differs between rows of one image.
    """
    kind = source.format
    columns, rows = _READERS[kind](file)
    _check_columns(source, columns, file=file, rows=rows)
    name = f"{kind}:{file}"
    splits = tuple(dict.fromkeys(str(row["split"]) for _, row in rows)) if "split" in columns else ()
    split = choose_split(source.split, splits, name=name)
    images, varying, empty = _gather(
        source,
        [(entry, row) for entry, row in rows if not splits or str(row["split"]) == split],
        others=[column for column in columns if _is_scalar(column, rows)],
    )
    pairs = [
        Pair(
            image_id=image_id,
            image=ImageFile(file.parent / image.path, shown=clean(image.path)),
            captions=tuple(image.texts),
            caption_ids=numbered(image_id, image.texts),
            label="" if "label" in varying else image.columns.get("label", ""),
            columns=tuple((k, v) for k, v in image.columns.items() if k != "label" and k not in varying),
        )
        for image_id, image in images.items()
    ]
    notes = counted((empty, "{n} rows have no caption"))
    notes += tuple(f"column {column!r} was left out: it differs between rows of one image" for column in varying)
    return Pairs(source.title, split, pairs, notes=notes)


def _gather(source: Source, rows: Iterable[Row], *, others: list[str]) -> tuple[dict[str, _Image], list[str], int]:
    """The images by id; the columns that differ within an image; the number of rows without a caption."""
    used = {source.image_column, source.text_column, source.image_id_column, "split"}
    others = [column for column in others if column not in used]
    images: dict[str, _Image] = {}
    varying: dict[str, None] = {}
    empty = 0
    for entry, row in rows:
        path = need(row.get(source.image_column), str, entry=f"{entry}, column {source.image_column!r}")
        openable(path, entry=f"{entry}, column {source.image_column!r}")
        image_id = clean(path)
        if source.image_id_column is not None:
            image_id = _text(row.get(source.image_id_column))
            if not image_id:
                raise InputError(f"{entry}: column {source.image_id_column!r} is empty")
        columns = {column: _text(row.get(column)) for column in others}
        image = images.setdefault(image_id, _Image(path, columns=columns))
        if image.path != path:
            raise InputError(
                f"{entry}: image id {shorten(image_id)} is {shorten(path)} here, {shorten(image.path)} before"
            )
        varying |= {column: None for column in others if image.columns[column] != columns[column]}
        texts = _texts(row.get(source.text_column), entry=f"{entry}, column {source.text_column!r}")
        image.texts += texts
        empty += not texts
    return images, list(varying), empty


def _texts(value: Any, *, entry: str) -> list[str]:
    """The captions in one cell: a text, a list of texts (jsonl, parquet), or nothing."""
    values = value if isinstance(value, list) else [] if value is None else [value]
    return [text for text in (caption(need(each, str, entry=entry)) for each in values) if text]


def _text(value: Any) -> str:
    return "" if value is None else clean(str(value))


def _is_scalar(column: str, rows: list[Row]) -> bool:
    """Whether each value is text, a whole number, a truth value or absent: what can name a group."""
    return all(isinstance(row.get(column), str | int | None) for _, row in rows)


def _check_columns(source: Source, columns: tuple[str, ...], *, file: Path, rows: list[Row]) -> None:
    for name in ("image_column", "text_column", "image_id_column"):
        column = getattr(source, name)
        if column is not None and column not in columns:
            there = ", ".join(shorten(each)[1:-1] for each in columns[:20]) or "none"
            hint = ""
            if source.format == "csv" and len(columns) == 1 and "\t" in columns[0]:
                hint = "; it looks tab-separated: name it tsv:FILE"
            raise InputError(f"{file} has no column {column!r} (columns: {there}); say which with {option(name)}{hint}")
    if not rows:
        raise InputError(f"{file} has no rows")
    if "split" in columns:
        for entry, row in rows:
            need(row.get("split"), str, entry=f"{entry}, column 'split'")


# ---- one function a format: the names of the columns, and the rows


def _read_csv(file: Path) -> tuple[tuple[str, ...], list[Row]]:
    return _read_separated(file, ",")


def _read_tsv(file: Path) -> tuple[tuple[str, ...], list[Row]]:
    return _read_separated(file, "\t")


def _read_separated(file: Path, delimiter: str) -> tuple[tuple[str, ...], list[Row]]:
    text = decode_text(read_bytes(file, limit=MAX_TABLE_BYTES), name=str(file))
    previous = csv.field_size_limit(len(text) + 1)  # the limit is global and stops at 131,072 characters
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        lines = [(reader.line_num, line) for line in reader if line]
    except csv.Error as error:
        raise InputError(
            f"{file} line {reader.line_num}: {one_line(error, 200)}; "
            'a field with a quote in it is written in quotes, the quote doubled ("")'
        ) from error
    finally:
        csv.field_size_limit(previous)
    if not lines:
        raise InputError(f"{file} is empty")
    header = tuple(name.strip() for name in lines[0][1])
    if len(set(header)) < len(header):
        raise InputError(f"{file} has two columns of one name: {shorten(', '.join(header))}")
    for number, line in lines[1:]:
        if len(line) != len(header):
            raise InputError(
                f"{file} line {number} has {len(line)} fields, the header {len(header)}; "
                f"write a field with a {delimiter!r} in it in quotes"
            )
    return header, [(f"{file} line {number}", dict(zip(header, line, strict=True))) for number, line in lines[1:]]


def _read_jsonl(file: Path) -> tuple[tuple[str, ...], list[Row]]:
    text = decode_text(read_bytes(file, limit=MAX_TABLE_BYTES), name=str(file))
    rows: list[Row] = []
    for number, line in enumerate(re.split(r"\r\n|\n", text), start=1):
        if line.strip():
            entry = f"{file} line {number}"
            rows.append((entry, need(parse_json(line, name=entry), dict, entry=entry)))
    if not rows:
        raise InputError(f"{file} is empty")
    return tuple(dict.fromkeys(clean(name) for _, row in rows for name in row)), rows


def _read_parquet(file: Path) -> tuple[tuple[str, ...], list[Row]]:
    import pyarrow
    import pyarrow.parquet

    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        table = pyarrow.parquet.ParquetFile(file).read()
        rows = table.to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{file} is not a readable parquet file: {one_line(error, 200)}") from error
    return tuple(table.column_names), [(f"{file} row {number}", row) for number, row in enumerate(rows)]


_READERS = {"csv": _read_csv, "tsv": _read_tsv, "jsonl": _read_jsonl, "parquet": _read_parquet}
