"""Coordinates of a map as files: .csv, .parquet, .npz and .json."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from geomclip.machine.array_files import npy_chunks
from geomclip.machine.errors import InputError
from geomclip.machine.files import atomic_bytes, atomic_json
from geomclip.projections.maps.record import Map

SUFFIXES = (".csv", ".parquet", ".npz", ".json")
AXES = "xyz"


def check_name(path: Path) -> None:
    """Refuse a file that coordinates cannot be written to, by its name.

    Raises
    ------
    InputError
        If it ends in none of .csv, .parquet, .npz, .json.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")


def save(drawn: Map, path: Path) -> Path:
    """Write the coordinates as the name of the file says, whole or not at all; see `Map.save`."""
    path = Path(path).expanduser()
    check_name(path)
    if path.suffix == ".json":
        atomic_json(path, {**described(drawn), "points": _rows(drawn)})
    else:
        content = {".csv": _csv, ".parquet": _parquet, ".npz": _npz}[path.suffix](drawn)
        atomic_bytes(path, content)
    return path


def described(drawn: Map) -> dict[str, Any]:
    """All of a map but its points, as JSON has it."""
    return {
        "method": drawn.method,
        "kind": drawn.kind,
        "params": dict(drawn.params),
        "keeps": dict(drawn.keeps),
        "k": drawn.k,
        "dim": drawn.dim,
        "facts": drawn.facts(),
        "notes": list(drawn.notes),
        "made_from": dict(drawn.made_from),
    }


def columns(drawn: Map) -> dict[str, list[Any]]:
    """A column a name, images first: kind, id, image (the id of a text's image), caption, x, y and z."""
    n, m = len(drawn.image), len(drawn.text_id)
    own = drawn.image_of_text
    images = [None] * m if own is None else [drawn.image_id[i] for i in own.tolist()]
    points = drawn.image if drawn.text is None else np.concatenate([drawn.image, drawn.text])
    captions: list[Any] = [None] * m if drawn.caption is None else list(drawn.caption)
    told: dict[str, list[Any]] = {
        "kind": ["image"] * n + ["text"] * m,
        "id": [*drawn.image_id, *drawn.text_id],
        "image": [*drawn.image_id, *images],
        "caption": [None] * n + captions,
    }
    for axis, values in zip(AXES, points.T, strict=False):
        # the shortest decimals that give the float32 again, not the digits of its float64
        told[axis] = [float(str(value)) for value in values]
    return told


def _rows(drawn: Map) -> list[dict[str, Any]]:
    told = columns(drawn)
    return [dict(zip(told, row, strict=True)) for row in zip(*told.values(), strict=True)]


def _csv(drawn: Map) -> bytes:
    told = columns(drawn)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(told)
    writer.writerows(zip(*told.values(), strict=True))
    # a file name may hold bytes that are no UTF-8: they come back as they were
    return text.getvalue().encode("utf-8", "surrogateescape")


def _parquet(drawn: Map) -> bytes:
    import pyarrow
    import pyarrow.parquet

    told = columns(drawn)
    words = {"kind", "id", "image", "caption"}
    table = pyarrow.table(
        {
            name: pyarrow.array(_plain(values), pyarrow.string())
            if name in words
            else pyarrow.array(values, pyarrow.float32())
            for name, values in told.items()
        }
    )
    table = table.replace_schema_metadata({"geomclip": json.dumps(described(drawn))})
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _npz(drawn: Map) -> bytes:
    import zipfile

    arrays = {"image": drawn.image, "image_id": _strings(drawn.image_id)}
    if drawn.text is not None:
        arrays |= {"text": drawn.text, "text_id": _strings(drawn.text_id)}
    if drawn.image_of_text is not None:
        arrays["image_of_text"] = drawn.image_of_text
    if drawn.caption is not None:
        arrays["caption"] = _strings(drawn.caption)
    arrays["map"] = _strings([json.dumps(described(drawn))])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            # a ZipInfo of our own: numpy's would hold the time, and the same map would not be the same bytes
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), b"".join(npy_chunks(array)))
    return buffer.getvalue()


def _strings(values: Any) -> np.ndarray[Any, np.dtype[np.str_]]:
    return np.array(_plain(values), dtype=np.str_)


def _plain(values: Any) -> list[Any]:
    """Words without the halves of code points that names of no UTF-8 have in Python: they show as ?."""
    return [None if value is None else value.encode("utf-8", "replace").decode() for value in values]
