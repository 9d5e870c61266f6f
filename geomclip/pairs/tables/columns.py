"""Table: what one or several files of rows hold, column by column, and where each row stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_TABLE_BYTES = 1 << 32
"""Larger files, and columns that unpack to more, are refused."""
MAX_ROWS = 100_000_000


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
    """

    file: Path
    columns: Mapping[str, Sequence[Any]]
    n_rows: int
    where: Callable[[int], str]
    folder: Path
    unread: Mapping[str, str] = field(default_factory=dict)
    typed: bool = True
    headerless: bool = False

    def kept(self, rows: Sequence[int]) -> Table:
        """Only these rows."""
        columns = {name: [values[row] for row in rows] for name, values in self.columns.items()}
        where = self.where
        return Table(
            self.file,
            columns,
            len(rows),
            lambda row: where(rows[row]),
            self.folder,
            self.unread,
            self.typed,
            self.headerless,
        )
