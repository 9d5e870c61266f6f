"""Results on disk: a record as JSON, and its items beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from geomclip.machine.files import atomic_bytes
from geomclip.machine.sums import write_sealed
from geomclip.panels.items import Items, parquet

ITEMS_SUM = "items_sha256"
"""The field of a result file that holds the sha256 of its items' file, beside the sum of its own content."""


def save(record: Mapping[str, Any], items: Items, path: str | Path) -> Path:
    """Write `path` (JSON) and, beside it, the items; each whole or not at all, the sums of both in the JSON.

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
    sums = {}
    if items:
        content = parquet(items)
        atomic_bytes(items_path(path), content)
        sums = {ITEMS_SUM: hashlib.sha256(content).hexdigest()}
    write_sealed(path, {**record, **sums})
    if not items:  # those of an older result of this name are not this one's
        with suppress(OSError):
            items_path(path).unlink(missing_ok=True)
    return path


def items_path(path: Path) -> Path:
    """Where the items of a result lie: `r.json` has `r.items.parquet`."""
    return path.with_name(f"{path.name.removesuffix('.json')}.items.parquet")
