"""Sums of what is kept: an object of JSON carries one of all that it says, a file's stands where it is named.

The sum of an object is the sha256 of its other fields as compact JSON with sorted keys, in the field
`content_sha256`: how the file is indented, and in which order its fields stand, is no matter. An object that says when
it was written has it there, in `written`, since it differs between two runs alike as the time does. An object without
one, of an earlier version or of another tool, is not judged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geomclip.machine import regular
from geomclip.machine.errors import DamagedError, InputError
from geomclip.machine.files import atomic_json
from geomclip.machine.json_files import clean
from geomclip.machine.words import one_line

SUM, WRITTEN = "content_sha256", "written"


def content_sha256(record: Mapping[str, Any]) -> str:
    """The sum of an object's fields, without its own; the same for what was read back without control characters.

    Examples
    --------
    >>> content_sha256({"b": 1, "a": [0.1]}) == content_sha256({"a": [0.1], "b": 1, SUM: "of another"})
    True
    """
    # through JSON, after which names are text and tuples are lists, as in what is read back
    rest = json.loads(json.dumps(unsealed(record)))
    return hashlib.sha256(json.dumps(clean(rest), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The object with its sum, in place of one that it had.

    Examples
    --------
    >>> list(sealed({"a": 1})), list(sealed({"a": 1, "written": {"created": "today"}})["written"])
    (['a', 'content_sha256'], ['created', 'content_sha256'])
    """
    rest = unsealed(record)
    own = {SUM: content_sha256(rest)}
    return {**rest, WRITTEN: {**rest[WRITTEN], **own}} if isinstance(rest.get(WRITTEN), Mapping) else {**rest, **own}


def unsealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The object without its sum."""
    rest = {name: value for name, value in record.items() if name != SUM}
    if isinstance(rest.get(WRITTEN), Mapping):
        rest[WRITTEN] = {name: value for name, value in rest[WRITTEN].items() if name != SUM}
    return rest


def sum_in(record: Mapping[str, Any]) -> Any:
    """The sum that an object carries; None if it has none."""
    written = record.get(WRITTEN)
    return written.get(SUM) if isinstance(written, Mapping) else record.get(SUM)


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
    try:
        matches = sum_in(record) in (None, content_sha256(record))
    except RecursionError:
        matches = False  # nested deeper than anything that was written
    if not matches:
        raise DamagedError(f"{what} is damaged or changed: its {SUM} is another{way_out and f': {way_out}'}")


def read_sealed(path: Path) -> dict[str, Any]:
    """The object in a file that `write_sealed` wrote, without its sum.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    InputError
        If it is no regular file, or beyond its limit.
    DamagedError
        If it is no JSON object, or its sum is not there or another.
    """
    try:
        record = json.loads(regular.read(path, "json-bytes"), parse_constant=_refused)
    except InputError:  # no regular file, or beyond its limit
        raise
    except (ValueError, RecursionError) as problem:
        raise DamagedError(f"{path} is no whole JSON ({one_line(problem, 100)})") from problem
    if not isinstance(record, dict) or sum_in(record) is None:
        raise DamagedError(f"{path} has no {SUM}")
    check_sum(record, path)
    return unsealed(record)


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes; OSError if it cannot be read."""
    with regular.binary(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")
