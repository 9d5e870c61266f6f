"""Sums of what is kept: an object of JSON carries one of all that it says, a file's stands where it is named.

The sum of an object is the sha256 of its other fields as compact JSON with sorted keys, in the field
`content_sha256`: how the file is indented, and in which order its fields stand, is no matter. An object without one,
of an earlier version or of another tool, is not judged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geomclip.machine.errors import DamagedError
from geomclip.machine.files import atomic_json
from geomclip.machine.json_files import clean
from geomclip.machine.words import one_line

SUM = "content_sha256"


def content_sha256(record: Mapping[str, Any]) -> str:
    """The sum of an object's fields, without its own; the same for what was read back without control characters.

    Examples
    --------
    >>> content_sha256({"b": 1, "a": [0.1]}) == content_sha256({"a": [0.1], "b": 1, SUM: "of another"})
    True
    """
    # through JSON, after which names are text and tuples are lists, as in what is read back
    rest = json.loads(json.dumps({name: value for name, value in record.items() if name != SUM}))
    return hashlib.sha256(json.dumps(clean(rest), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The object with its sum as the last field, in place of one that it had."""
    rest = {name: value for name, value in record.items() if name != SUM}
    return {**rest, SUM: content_sha256(rest)}


def write_sealed(path: str | Path, record: Mapping[str, Any], *, indent: int | None = 2) -> None:
    """Write an object with its sum as JSON, whole or not at all; raises as `atomic_json`."""
    atomic_json(path, sealed(record), indent=indent)


def check_sum(record: Mapping[str, Any], what: object, way_out: str = "") -> None:
    """See that an object which has a sum is what it was when it was written.

    Raises
    ------
    DamagedError
        If it is not: names `what`, and the way out.

    Examples
    --------
    >>> check_sum(sealed({"a": 1}), "r.json", "measure again")
    >>> check_sum({**sealed({"a": 1}), "a": 2}, "r.json", "measure again")
    Traceback (most recent call last):
        ...
    geomclip.machine.errors.DamagedError: r.json is damaged or changed: its content_sha256 is another: measure again
    """
    if SUM in record and record[SUM] != content_sha256(record):
        raise DamagedError(f"{what} is damaged or changed: its {SUM} is another{way_out and f': {way_out}'}")


def read_sealed(path: Path) -> dict[str, Any]:
    """The object in a file that `write_sealed` wrote, without its sum.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    DamagedError
        If it is no JSON object, or its sum is not there or another.
    """
    try:
        record = json.loads(path.read_bytes(), parse_constant=_refused)
    except (ValueError, RecursionError) as problem:
        raise DamagedError(f"{path} is no whole JSON ({one_line(problem, 100)})") from problem
    if not isinstance(record, dict) or SUM not in record:
        raise DamagedError(f"{path} has no {SUM}")
    check_sum(record, path)
    del record[SUM]
    return record


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes; OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")
