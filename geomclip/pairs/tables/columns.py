"""Table: what one or several files of rows hold, column by column, and where each row stands."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from geomclip.machine.errors import InputError
from geomclip.pairs.parsing import decode_text, read_bytes, shorten

_OTHERS = {
    b"\x1f\x8b": "is compressed: decompress it first",
    b"PK\x03\x04": "is a zip file, or a table of Excel: unpack it, or save it as csv (UTF-8)",
    b"\xd0\xcf\x11\xe0": "is a table of Excel: save it as csv (UTF-8)",
    b"PAR1": "is a parquet file: name it parquet:FILE",
    b"ARROW1": "is an Arrow file: name it parquet:FILE",
    b"SQLite format 3": "is a database: export the table as csv",
}
"""How files begin that are no text, and what to do with them."""


def text_of(file: Path) -> str:
    """The text of a table; InputError for files that are none, with the way out."""
    data = read_bytes(file, limit="table-bytes")
    for beginning, what in _OTHERS.items():
        if data.startswith(beginning):
            raise InputError(f"{file} {what}")
    return decode_text(data, name=str(file))


@dataclass(frozen=True)
class Table:
    """The rows of a table by columns: far less memory, and time, than an object a row.

    Parameters
    ----------
    file : Path
        What messages call it: the file, or the folder of its shards.
    columns : mapping of name to a value for each row
        Of a column that holds images, each value is a `RowImage`; of one that holds neither texts nor numbers
        nothing is read, and it is among `unread`.
    n_rows : int
    where : callable
        Where a row stands, as messages have it: "FILE line 7".
    folder : Path
        What relative paths are relative to.
    unread : mapping of name to str
        The columns that were not read, and what they hold.
    typed : bool
        Whether cells have types: an empty cell of csv is a text, of others it is none.
    headerless : bool
        Whether the file has no names of columns.
    ragged : bool
        Whether rows need not have all columns.
    classes : mapping of name to names
        Of each column that datasets calls a class label its classes, in their order.
    """

    file: Path
    columns: Mapping[str, Sequence[Any]]
    n_rows: int
    where: Callable[[int], str]
    folder: Path
    unread: Mapping[str, str] = field(default_factory=dict)
    typed: bool = True
    headerless: bool = False
    ragged: bool = False
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def kept(self, rows: Sequence[int]) -> Table:
        """Only these rows."""
        columns = {name: [values[row] for row in rows] for name, values in self.columns.items()}
        where = self.where
        return replace(self, columns=columns, n_rows=len(rows), where=lambda row: where(rows[row]))


def one_of_each(table: Table, ids: Sequence[str], values: Sequence[str], *, what: str) -> dict[str, str]:
    """The value that each id stands for; InputError for an id of two. `what` is what messages call an id."""
    value_of: dict[str, str] = {}
    for row, (name, value) in enumerate(zip(ids, values, strict=True)):
        before = value_of.setdefault(name, value)
        if before != value:
            raise InputError(
                f"{table.where(row)}: {what} {shorten(name)} is {shorten(value)} here, {shorten(before)} before"
            )
    return value_of


def joined(place: Path, folder: Path, tables: Sequence[Table]) -> Table:
    """The rows of several files as one table; InputError where they are no parts of one.

    Of objects (JSON) a part may lack a column that others have, as a row may.
    """
    first = tables[0]
    if len(tables) == 1:
        return replace(first, folder=folder)
    ends = list(itertools.accumulate(table.n_rows for table in tables))

    def where(row: int) -> str:
        number = bisect.bisect_right(ends, row)
        return tables[number].where(row - (ends[number] - tables[number].n_rows))

    names = dict.fromkeys(name for table in tables for name in table.columns)
    if not first.ragged:
        for table in tables[1:]:
            _check_alike(first, table)
    columns = {
        name: list(itertools.chain.from_iterable(table.columns.get(name, (None,) * table.n_rows) for table in tables))
        for name in names
    }
    return replace(first, file=place, columns=columns, n_rows=ends[-1], where=where, folder=folder)


def _check_alike(first: Table, table: Table) -> None:
    """InputError unless both have the same columns."""
    there, here = ({*each.columns, *each.unread} for each in (first, table))
    if set(table.columns) != set(first.columns) or there != here:
        other = sorted(there ^ here)
        what = f"column {other[0]!r} is in one of them alone" if other else "a column differs in kind"
        raise InputError(f"{table.file} is no shard of the table of {first.file}: {what}; name one of them")
