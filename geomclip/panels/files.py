"""Results on disk: a record as JSON, and its items beside it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from geomclip.machine.files import atomic_bytes, atomic_json
from geomclip.panels.items import Items, parquet


def save(record: Mapping[str, Any], items: Items, path: str | Path) -> Path:
    """Write `path` (JSON) and, beside it, the items; each whole or not at all.

    The items of `r.json` are `r.items.parquet`: a row an image and a row a text (column `kind`), with ids,
    ranks, confidences, in `sum.*` what each image adds to every number, in `influence.*` what it moves it by; and
    a row a pair of images of which one hides what the other looks for, in `effect.*` how much.

    Returns
    -------
    Path
        The JSON file.

    Raises
    ------
    InputError, GeomclipError
        If the place cannot be written to, or the disk is full.
    """
    path = Path(path)
    if items:
        atomic_bytes(items_path(path), parquet(items))
    atomic_json(path, dict(record))
    if not items:  # those of an older result of this name are not this one's
        with suppress(OSError):
            items_path(path).unlink(missing_ok=True)
    return path


def items_path(path: Path) -> Path:
    """Where the items of a result lie: `r.json` has `r.items.parquet`."""
    return path.with_name(f"{path.name.removesuffix('.json')}.items.parquet")
