"""Parquet and Arrow files from strangers: columns read within bounds of rows, cells and bytes.

A page may say in a few bytes that a value stands a million times, or that each value begins as the one before it.
Texts are therefore read as numbers into a dictionary where they are stored so, and where values share beginnings a
few at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from geomclip.machine import limits, memory, parquet_footer
from geomclip.machine.parquet_footer import Chunk, Group

_SHARED = "DELTA_BYTE_ARRAY"
_TOGETHER = 256 << 20
"""Bytes of values with shared beginnings that are read at once, if all were as long as they can be."""
_MOST_TOGETHER = 1 << 16


def read(
    path: Path,
    columns: Sequence[str],
    *,
    group: int | None = None,
    most: str = "table-bytes",
    cells: str = "table-cells",
) -> Any:
    """The columns of a parquet file, or of one group of its rows, as a table of pyarrow, repeated texts once.

    Parameters
    ----------
    path : Path
    columns : sequence of str
        Names, or paths of parts ("image.path").
    group : int, optional
        The number of a group of rows.
    most : str
        The limit of their bytes, as they are stored and as they unfold.
    cells : str
        The limit of their values; '' where the caller has seen to it.

    Raises
    ------
    InputError
        If they are beyond the limits of rows, cells or bytes.
    pyarrow.ArrowException, OSError, ValueError
        If the file is damaged.
    """
    memory.keep_within_limits()
    import pyarrow
    from pyarrow.parquet import ParquetFile

    about = parquet_footer.read(path)
    groups = list(range(len(about))) if group is None else [group]
    chunks = [chunk for number in groups for chunk in _chunks(about[number], columns)]
    rows = sum(about[number].num_rows for number in groups)
    limits.check("table-rows", rows, str(path))
    if cells:
        limits.check(cells, sum(max(chunk.num_values, 0) for chunk in chunks), str(path))
    limits.check(most, sum(max(chunk.total_uncompressed_size, 0) for chunk in chunks), str(path))
    texts = [chunk for chunk in chunks if chunk.physical_type == "BYTE_ARRAY"]
    if any(_SHARED in chunk.encodings for chunk in texts):
        return _a_few_at_a_time(path, columns, groups, max(chunk.total_uncompressed_size for chunk in texts), most)
    known = sorted({chunk.path_in_schema for chunk in texts if any("DICTIONARY" in each for each in chunk.encodings)})
    try:
        with ParquetFile(path, read_dictionary=known) as file:
            if groups and any("." in name for name in known):  # pyarrow joins none within structs, lists
                table = pyarrow.concat_tables([file.read_row_group(number, columns=[*columns]) for number in groups])
            else:
                table = file.read_row_groups(groups, columns=[*columns])
    except pyarrow.ArrowNotImplementedError:
        return _a_few_at_a_time(path, columns, groups, max(chunk.total_uncompressed_size for chunk in texts), most)
    limits.check(most, sum(map(unfolded, table.columns)), str(path))
    return table


def _a_few_at_a_time(path: Path, columns: Sequence[str], groups: list[int], longest: int, most: str) -> Any:
    """The columns, of which no value is longer than so many bytes, read until they are beyond the limit."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    together = max(1, min(_MOST_TOGETHER, _TOGETHER // max(longest, 1)))
    parts, total = [], 0
    with ParquetFile(path) as file:
        for batch in file.iter_batches(together, row_groups=groups, columns=[*columns]):
            parts.append(batch)
            total += batch.nbytes
            limits.check(most, total, str(path))
        return pyarrow.Table.from_batches(parts, schema=None if parts else file.schema_arrow)


def batches(reader: Any) -> Iterator[Any]:
    """The record batches of an open Arrow file or stream, one after another."""
    if hasattr(reader, "num_record_batches"):
        yield from map(reader.get_batch, range(reader.num_record_batches))
    else:
        yield from reader


def unfolded(cells: Any) -> int:
    """The bytes of a column if each of its texts were written out where it stands.

    Examples
    --------
    >>> import pyarrow
    >>> unfolded(pyarrow.array(["abcd", "abcd", "ab"]).dictionary_encode())
    10
    """
    import pyarrow
    from pyarrow import compute, types

    if isinstance(cells, pyarrow.ChunkedArray):
        return sum(map(unfolded, cells.chunks))
    kind = cells.type
    if types.is_dictionary(kind):
        if not _has_lengths(kind.value_type):
            return int(cells.nbytes)
        lengths = compute.binary_length(cells.dictionary).cast("int64")
        return int(compute.sum(lengths.take(cells.indices)).as_py() or 0)
    if types.is_struct(kind):
        return sum(unfolded(cells.field(place)) for place in range(kind.num_fields))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return unfolded(cells.flatten())
    return int(cells.nbytes)


def listed(cells: Any) -> list[Any]:
    """The values of a column; equal texts of a dictionary are one object."""
    from pyarrow import types

    if not types.is_dictionary(cells.type):
        return list(cells.to_pylist())
    values: list[Any] = []
    for chunk in getattr(cells, "chunks", [cells]):
        words = chunk.dictionary.to_pylist()
        values += [None if place is None else words[place] for place in chunk.indices.to_pylist()]
    return values


def _has_lengths(kind: Any) -> bool:
    from pyarrow import types

    texts = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(is_one(kind) for is_one in texts)


def _chunks(group: Group, columns: Iterable[str]) -> list[Chunk]:
    """What is stored of these columns in a group of rows, down to their parts."""
    wanted = {*columns}

    def is_wanted(path: str) -> bool:
        parts = path.split(".")
        return any(".".join(parts[:count]) in wanted for count in range(1, len(parts) + 1))

    return [chunk for chunk in group.chunks if is_wanted(chunk.path_in_schema)]
