"""Images of tables: bytes in cells of parquet or Arrow that are read when needed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geomclip.machine import limits, parquet_files, regular
from geomclip.machine.errors import InputError
from geomclip.machine.words import one_line
from geomclip.pairs.parsing import inside
from geomclip.pairs.record import ImageFile, Place, stat_if_there

KEPT_BYTES = 1 << 28
"""So much is kept of groups read before, and the last one however large."""


@dataclass(frozen=True, slots=True)
class RowImage:
    """The image in one cell: its bytes, or where they are absent the file of its path, inside the table's folder."""

    file: Path
    column: str
    group: int  # row group of parquet, record batch of Arrow
    row: int  # in the group
    shown: str
    stored: str = ""  # the path beside the bytes: a name, opened only where there are no bytes
    lacking: bool = False  # whether rows of the group have none

    @property
    def path(self) -> str:
        """The path beside the bytes, else the file's name and the row."""
        return self.shown

    @property
    def place(self) -> Place | None:
        """The table, and the cell; None where another file may hold the bytes."""
        return None if self.lacking and self.stored else Place(self.file, f"{self.column}:{self.group}:{self.row}")

    def read(self) -> bytes:
        """The bytes of the cell."""
        cell = _GROUPS.cell(self)
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        if isinstance(data, bytes):
            return data
        if not self.stored:
            raise InputError(f"{self.shown}: the row holds no image")
        return ImageFile(self._beside()).read()

    def _beside(self) -> Path:
        """The file of the path beside the bytes; InputError if that is outside the folder."""
        return inside(self.file.parent, self.stored, entry=f"{self.file.name}, column {self.column!r}")

    def identity(self) -> str:
        """Size and modification time of the file, and the place within; 'absent' for a file that is gone."""
        stat = stat_if_there(self.file)
        if stat is None:
            return "absent"
        own = f"{stat.st_size}:{stat.st_mtime_ns}:{self.group}:{self.row}"
        if not (self.lacking and self.stored):
            return own
        try:
            return f"{own}:{ImageFile(self._beside()).identity()}"
        except InputError:
            return own


class _Groups:
    """The image cells of the groups of rows read last, of all files; one reader at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str, str, int], Any] = OrderedDict()

    def cell(self, image: RowImage) -> Any:
        stat = stat_if_there(image.file)
        known = f"{stat.st_size}:{stat.st_mtime_ns}" if stat else "absent"
        key = (str(image.file), known, image.column, image.group)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = _read_group(image)
                while len(self._kept) > 1 and sum(each.nbytes for each in self._kept.values()) > KEPT_BYTES:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            cells = self._kept[key]
        if image.row >= len(cells):
            raise InputError(f"{image.shown}: {image.file} has fewer rows than when it was listed")
        return cells[image.row].as_py()


_GROUPS = _Groups()


def _read_group(image: RowImage) -> Any:
    """The cells of one column in one group of rows."""
    import pyarrow

    if not image.file.is_file():
        raise FileNotFoundError(2, "No such file or directory", str(image.file))
    try:
        if is_parquet(image.file):
            return parquet_files.read(image.file, [image.column], group=image.group, most="group-bytes").column(0)
        batch = arrow_batches(image.file)[image.group]
        cells = batch.column(batch.schema.get_field_index(image.column))
        cells.validate(full=True)
        return cells
    except (pyarrow.ArrowException, ValueError, TypeError, OverflowError, IndexError, KeyError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the machine; what is wrong with the content pyarrow says without a number
        raise InputError(f"{image.file} is damaged: {one_line(error, 200)}") from error


def is_parquet(file: Path) -> bool:
    """Whether a file begins as parquet does."""
    with regular.binary(file) as opened:
        return opened.read(4) == b"PAR1"


def arrow_batches(file: Path) -> list[Any]:
    """The record batches of an Arrow file or stream, in place: bytes are read where they are used."""
    import pyarrow
    import pyarrow.ipc

    source = pyarrow.memory_map(str(file))
    if source.read(6) == b"ARROW1":
        source.seek(0)
        reader = pyarrow.ipc.open_file(source)
    else:
        source.seek(0)
        reader = pyarrow.ipc.open_stream(source)
    found, unfolded = [], 0
    for batch in parquet_files.batches(reader):  # compressed ones unfold as they are read
        found.append(batch)
        unfolded += batch.nbytes
        limits.check_unfolded(file.stat().st_size, unfolded, f"{file} unfolds to {unfolded} bytes and more")
    return found
