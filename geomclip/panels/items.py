"""The items of a panel on disk: a row an image, a text or a pair, in parquet; read from strangers within bounds."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from geomclip.machine import json_files, limits, regular
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import InputError
from geomclip.machine.words import one_line

Items = Mapping[str, Mapping[str, Sequence[Any]]]
"""Columns of each kind: name of the column to a value a row."""
KINDS = ("image", "text", "pair")
"""What a row of the items is of; rows of other kinds, which earlier versions wrote, are passed over."""
EFFECT = "effect."
"""Start of the columns of pairs: what a candidate does to the queries of the image that asks."""
AT_ONCE = 2**17
"""Rows of a file that has one group."""
GROUP = 2**15
"""Rows of a group of a larger one."""
STRINGS = ["kind", "image_id", "image_path", "caption_id", "caption"]


class Columns(Mapping[str, Sequence[Any]]):
    """The columns of one kind, numbers held as tensors and given as lists, which would take four times the room.

    Examples
    --------
    >>> import torch
    >>> columns = Columns({"image_id": ["a", "b"], "rank": torch.tensor([1, 3])})
    >>> columns["rank"], columns == {"image_id": ["a", "b"], "rank": [1, 3]}
    ([1, 3], True)
    """

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._columns = dict(columns)

    def __getitem__(self, name: str) -> Sequence[Any]:
        column = self._columns[name]
        found: Sequence[Any] = column.tolist() if hasattr(column, "tolist") else column
        return found

    def cells(self, name: str) -> Any:
        """A column as it is held: an array of numbers, or a list."""
        column = self._columns[name]
        return column.numpy() if hasattr(column, "numpy") else column

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


class Counted(Protocol):
    """What the items of a panel must agree with."""

    @property
    def values(self) -> Mapping[str, float | None]:
        """The numbers."""

    @property
    def n_images(self) -> int:
        """Images that they are of."""

    @property
    def n_texts(self) -> int:
        """Texts, or classes."""

    @property
    def task(self) -> str:
        """What it is a panel of: "retrieval", "classification" or "cloud"."""


def parquet(items: Items) -> bytes:
    """The bytes of a parquet file with these items."""
    import pyarrow
    import pyarrow.parquet

    tables = []
    for kind, columns in items.items():
        if columns:
            cells = columns.cells if isinstance(columns, Columns) else columns.__getitem__
            table = pyarrow.table({name: _array(cells(name)) for name in columns})
            tables.append(table.add_column(0, "kind", [[kind] * len(table)]))
    schema = pyarrow.unify_schemas([table.schema for table in tables], promote_options="permissive")
    buffer = io.BytesIO()
    with pyarrow.parquet.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for group in _groups(tables, schema):
            writer.write_table(group)
    return buffer.getvalue()


def _array(cells: Any) -> Any:
    """A column for parquet; of no rows it holds numbers still: that there are none is known."""
    import pyarrow

    return pyarrow.array(cells if hasattr(cells, "dtype") else list(cells), type=None if len(cells) else "float64")


def _groups(tables: Sequence[Any], schema: Any) -> Iterator[Any]:
    """The rows of some tables, all at once or, of many, `GROUP` at a time: columns that a kind lacks take room too."""
    import pyarrow

    if sum(map(len, tables)) <= AT_ONCE:
        yield pyarrow.concat_tables(tables, promote_options="permissive")
        return
    for table in tables:
        for first in range(0, len(table), GROUP):
            some = [schema.empty_table(), table.slice(first, GROUP)]
            yield pyarrow.concat_tables(some, promote_options="permissive")


def read_items(path: Path, panel: Counted) -> dict[str, dict[str, list[Any]]]:
    """The items of a panel from a parquet file: columns of "image" and "text".

    Raises
    ------
    InputError
        If the file is damaged, unfolds to far more than its size, or does not belong to the panel: other
        counts, texts of unknown images, or sums that do not give the panel's numbers.
    """
    try:
        items = _columns_by_kind(path)
        _check(items, panel)
    except InputError:
        raise
    except ValueError as problem:
        raise InputError(f"{path} does not belong to its result: {problem}") from problem
    return items


def _columns_by_kind(path: Path) -> dict[str, dict[str, list[Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        size = regular.check(path)
        ids = [name for name in pyarrow.parquet.read_schema(path).names if name in STRINGS]
        with pyarrow.parquet.ParquetFile(path, read_dictionary=ids) as file:
            cells = file.metadata.num_rows * file.metadata.num_columns
            limits.check_unfolded(size, 8 * cells, f"{path}: {size} bytes claim to unfold to {cells} numbers")
            odd = [field.name for field in file.schema_arrow if not _is_plain(field)]
            if odd or "kind" not in file.schema_arrow.names:
                why = f"column {odd[0]!r} is neither ids nor numbers" if odd else "it has no column 'kind'"
                raise InputError(f"{path} is no file of items: {why}")
            table = file.read()
        kinds = [kind for kind in KINDS if kind in table["kind"].unique().to_pylist()]
        found = {kind: _of_kind(table, kind) for kind in kinds}
        known = [name for name in table.column_names if name.startswith(EFFECT)]
        if known and "pair" not in found:
            found["pair"] = {name: [] for name in ("asking", "candidate", *known)}
        return found
    except InputError:
        raise
    except Exception as problem:
        # pyarrow raises its own kinds, OSError and plain ValueErrors, by what it meets in the bytes
        damaged = InputError(f"{path} is not a readable parquet file ({one_line(problem, 200)})")
        raise unreadable(path, problem, damaged) from problem


def _is_plain(field: Any) -> bool:
    from pyarrow import types

    kind = field.type
    if field.name in STRINGS:
        return bool(types.is_dictionary(kind) and types.is_string(kind.value_type))
    numeric = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    return bool(numeric and not types.is_float16(kind))


def _of_kind(table: Any, kind: str) -> dict[str, list[Any]]:
    """The columns that rows of this kind have: ids as shared strings, numbers as they are, missing ones as NaN."""
    import pyarrow.compute

    rows = table.filter(pyarrow.compute.equal(table["kind"].cast("string"), kind)).drop_columns(["kind"])
    found = {}
    for name in rows.column_names:
        column = rows[name]
        if column.null_count == len(column):
            continue
        if name in STRINGS:
            # a long string that every row repeats stays one string
            words = [(chunk.dictionary.to_pylist(), chunk.indices.to_pylist()) for chunk in column.chunks]
            found[name] = [None if i is None else known[i] for known, at in words for i in at]
        else:
            found[name] = [math.nan if each is None else each for each in column.to_pylist()]
    return found


def _check(items: Mapping[str, Mapping[str, list[Any]]], panel: Counted) -> None:
    """ValueError unless the items are those of the panel."""
    from geomclip.metrics.contributions import FORMULAS, value_of

    image, text = items.get("image", {}), items.get("text", {})
    images = image.get("image_id", [])
    if None in images or len(images) != panel.n_images:
        raise ValueError(f"ids of {len(images)} images for {panel.n_images}")
    texts = panel.n_texts if panel.task == "retrieval" else 0
    for name in ("caption_id", "image_id"):
        ids = text.get(name, [])
        if None in ids or len(ids) != texts:
            raise ValueError(f"{name} of {len(ids)} texts for {texts}")
    if not set(text.get("image_id", ())) <= set(images):
        raise ValueError("a text of an image that is not there")
    for kind in ("image", "text"):
        ranks = items.get(kind, {}).get("rank", [])
        if not (json_files.is_finite(ranks) and all(rank >= 0 for rank in ranks)):
            raise ValueError(f"{kind}: rank holds what is no rank")
    _check_pairs(items.get("pair", {}), panel.n_images)
    columns = _sums(image)
    for key in FORMULAS:
        value, sums = panel.values.get(key), value_of(key, columns)
        # sums of float64 in one order or another, and a value kept in its range, far from what another set would give
        if value is not None and sums is not None and not math.isclose(value, sums, rel_tol=1e-5, abs_tol=3e-6):
            raise ValueError(f"its sums give {key} {sums:.6g}, the result says {value:.6g}")


def _check_pairs(pair: Mapping[str, list[Any]], images: int) -> None:
    for name in ("asking", "candidate") if pair else ():
        rows = pair.get(name, [None])
        if not all(isinstance(row, int) and 0 <= row < images for row in rows):
            raise ValueError(f"pair: {name} holds what is no row of its {images} images")
    for name, column in pair.items():
        if name.startswith(EFFECT) and not json_files.is_finite(column):
            raise ValueError(f"pair: {name} holds what is no finite number")


def _sums(image: Mapping[str, list[Any]]) -> dict[str, Any]:
    import torch

    columns = {}
    for name, column in image.items():
        if name.startswith("sum."):
            columns[name.removeprefix("sum.")] = sums = torch.tensor(column, dtype=torch.float64)
            if not bool(sums.isfinite().all()):
                raise ValueError(f"{name} holds what is no finite number")
    return columns
