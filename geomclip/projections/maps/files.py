"""Coordinates of a map as files: .csv, .parquet, .npz and .json."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geomclip.machine.array_files import npy_chunks
from geomclip.machine.errors import InputError
from geomclip.machine.files import atomic_bytes, atomic_json

SUFFIXES = (".csv", ".parquet", ".npz", ".json")
AXES = "xyz"
"""Names of the columns of coordinates."""


class Drawn(Protocol):
    """What can be written: points as columns and as arrays, and what is known of the whole."""

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """Name to an entry a point; those of AXES hold numbers, others words or None."""

    def arrays(self) -> Mapping[str, NDArray[Any] | Sequence[str]]:
        """Name to array, or to words."""

    def describe(self) -> Mapping[str, Any]:
        """JSON types."""


def check_name(path: Path) -> None:
    """Refuse a file that coordinates cannot be written to, by its name.

    Raises
    ------
    InputError
        If it ends in none of .csv, .parquet, .npz, .json.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")


def save(path: Path, drawn: Drawn) -> Path:
    """Write the coordinates as the name of the file says, whole or not at all; see `Map.save`."""
    path = Path(path).expanduser()
    check_name(path)
    if path.suffix == ".json":
        columns = drawn.columns()
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        atomic_json(path, {**drawn.describe(), "points": rows})
    else:
        atomic_bytes(path, {".csv": _csv, ".parquet": _parquet, ".npz": _npz}[path.suffix](drawn))
    return path


def _csv(drawn: Drawn) -> bytes:
    columns = drawn.columns()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    # a file name may hold bytes that are no UTF-8: they come back as they were
    return text.getvalue().encode("utf-8", "surrogateescape")


def _parquet(drawn: Drawn) -> bytes:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table(
        {
            name: pyarrow.array(values, pyarrow.float32())
            if name in tuple(AXES)
            else pyarrow.array(_plain(values), pyarrow.string())
            for name, values in drawn.columns().items()
        }
    )
    table = table.replace_schema_metadata({"geomclip": json.dumps(drawn.describe())})
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _npz(drawn: Drawn) -> bytes:
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, values in {**drawn.arrays(), "map": [json.dumps(drawn.describe())]}.items():
            array = values if isinstance(values, np.ndarray) else np.array(_plain(values), dtype=np.str_)
            # a ZipInfo of our own: numpy's would hold the time, and the same map would not be the same bytes
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), b"".join(npy_chunks(array)))
    return buffer.getvalue()


def _plain(values: Sequence[Any]) -> list[Any]:
    """Words without the halves of code points that names of no UTF-8 have in Python: they show as ?."""
    return [None if value is None else value.encode("utf-8", "replace").decode() for value in values]
