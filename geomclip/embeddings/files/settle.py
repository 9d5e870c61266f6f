"""Settle: what arrays alone cannot say: images that a loader repeated for each text, a single class, a scale."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomclip.machine.errors import InputError
from geomclip.machine.tally import Tally
from geomclip.machine.words import option

SAME = 1e-6
"""Rows of one image differ by no more, relative to their length."""


def settled(fields: dict[str, Any], tally: Tally, place: Path) -> dict[str, Any]:
    """The fields of a set that others wrote, without what cannot be meant; what was done is told.

    Rows of one image id, or path, that are equal are one image with several texts. One class alone has nothing to be
    told from: the images are one cloud.

    Raises
    ------
    InputError
        If numbers of images and of texts do not agree: with the way out.
    """
    if fields.get("class_text") is not None and sum(map(len, fields["class_text"])) < 2:
        fields = {name: value for name, value in fields.items() if name not in ("class_text", "labels", "classes")}
        tally.leave_out("classes", "one class alone has nothing to be told from")
    if fields.get("text") is None or fields.get("image_of_text") is not None:
        return fields
    n, m = (sum(map(len, fields[name])) for name in ("image", "text"))
    if n == m:
        return _without_repeats(fields, tally)
    whole = n > 0 and m % n == 0
    hint = f", such as np.repeat(np.arange({n}), {m // n}) if they come image by image" if whole else ""
    raise InputError(
        f"{place}: {m} texts for {n} images, and nothing says which image each describes: "
        f"add an array image_of_text of {m} row numbers{hint}"
    )


def check_logit_scale(value: object, place: Path) -> None:
    """InputError if a logit scale that a file holds is no factor."""
    if isinstance(value, int | float) and not 0 < value <= sys.float_info.max:
        way = f"{option('logit_scale', 100)} sets another"
        raise InputError(f"{place}: logit_scale must be positive and finite, got {value!r:.60}: {way}")


def _without_repeats(fields: dict[str, Any], tally: Tally) -> dict[str, Any]:
    """Images of one id, or else one path, and equal rows as one."""
    ids = next((fields[name] for name in ("image_id", "image_path") if fields.get(name)), None)
    if ids is None or len(set(ids)) == len(ids):
        return fields
    rows = np.concatenate([np.asarray(part) for part in fields["image"]])
    first: dict[str, int] = {}
    owner = np.array([first.setdefault(name, row) for row, name in enumerate(ids)])
    if not _equal(rows, owner):
        return fields
    kept = np.unique(owner)
    place = np.searchsorted(kept, owner)
    tally.understood(f"{len(ids)} image rows of {len(kept)} images, repeated for each text")
    merged: dict[str, Any] = {"image": [rows[kept]], "image_of_text": place}
    for name in ("image_id", "image_path"):
        if fields.get(name):
            merged[name] = _at(fields[name], kept)
    merged["columns"] = {name: _at(column, kept) for name, column in fields.get("columns", {}).items()}
    return fields | merged


def _equal(rows: NDArray[Any], owner: NDArray[np.int64]) -> bool:
    """Whether each row is that of its owner."""
    for start in range(0, len(rows), 16384):
        some = slice(start, start + 16384)
        one, other = rows[some].astype(np.float64), rows[owner[some]].astype(np.float64)
        if (np.linalg.norm(one - other, axis=1) > SAME * np.linalg.norm(other, axis=1)).any():
            return False
    return True


def _at(values: Sequence[str], rows: NDArray[np.int64]) -> list[str]:
    return [values[row] for row in rows.tolist()]
