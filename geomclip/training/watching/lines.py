"""Lines: a log that grows by whole lines of JSON, a write each, and how it is read and gone on with."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from geomclip.machine import regular
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.files import atomic_bytes
from geomclip.machine.words import option


class LineLog:
    """A log that is open: its file begins as the lines that are kept, and each record is a line behind them.

    Parameters
    ----------
    path : path
    kept : sequence of bytes
        Whole lines, as `kept_lines` has them; none for a new log.
    way_out : str
        How to go on once the disk has room.
    """

    def __init__(self, path: Path, kept: Sequence[bytes] = (), *, way_out: str) -> None:
        self.path, self.way_out = path, way_out
        atomic_bytes(path, b"".join(kept))
        self._end = sum(map(len, kept))
        self._file: int | None = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)

    def append(self, record: Mapping[str, Any]) -> None:
        """Write a record of JSON's types, whole or not at all.

        Raises
        ------
        GeomclipError
            If the disk is full, or the file cannot be written; what is there are whole lines.
        """
        if self._file is None:
            raise ValueError(f"{self.path} is closed")
        line = (json.dumps(record, allow_nan=False) + "\n").encode("ascii")
        try:
            if os.write(self._file, line) == len(line):
                self._end += len(line)
                return
            reason = "the disk is full"
        except OSError as problem:
            reason = problem.strerror or str(problem)
        os.ftruncate(self._file, self._end)  # no half lines
        raise self._unwritten(reason)

    def sync(self) -> None:
        """Have all lines on disk, so that what is saved of the same moment has them behind it after a power cut.

        Raises
        ------
        GeomclipError
            If the disk fails.
        """
        if self._file is None:
            raise ValueError(f"{self.path} is closed")
        try:
            os.fsync(self._file)
        except OSError as problem:
            raise self._unwritten(problem.strerror or str(problem)) from problem

    def _unwritten(self, reason: str) -> GeomclipError:
        return GeomclipError(f"{self.path} cannot be written ({reason}): make room and {self.way_out}")

    def close(self) -> bool:
        """End the log; whether it was open."""
        if self._file is None:
            return False
        os.close(self._file)
        self._file = None
        return True


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a log.jsonl as dictionaries; what a killed writer left of a line is left out."""
    return [json.loads(line) for line in whole_lines(Path(path))]


def whole_lines(path: Path) -> Iterator[bytes]:
    """The lines that a writer ended: all but those of one that was killed or lost power, or that a disk changed."""
    with regular.binary(path) as file:
        for line in file:
            if line.endswith(b"\n") and _is_record(line):
                yield line


def _is_record(line: bytes) -> bool:
    """Whether it is a JSON object whose step, if it has one, is a step."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and all(isinstance(record.get(key, 0), int) for key in ("step", "resumed"))


def kept_lines(path: Path, step: int) -> list[bytes]:
    """The lines of a log that a run resumed at this step keeps: all that are whole and not of a later step."""
    try:
        return [line for line in whole_lines(path) if step_of(json.loads(line)) <= step]
    except FileNotFoundError:
        return []
    except OSError as problem:
        needed = InputError(
            f"{path} cannot be read ({problem.strerror}): it is what {option('resume', True)} goes on with"
        )
        raise unreadable(path, problem, needed) from problem


def step_of(record: Mapping[str, Any]) -> int:
    """The step that a line belongs to."""
    return int(record.get("step", record.get("resumed", 0)))


def legal(value: Any, name: str, odd: list[str]) -> Any:
    """The value in JSON's types; numbers that JSON has not are None, and named in `odd`.

    Examples
    --------
    >>> odd = []
    >>> legal({"loss": math.nan, "step": 3}, "", odd), odd
    ({'loss': None, 'step': 3}, ['loss nan'])
    """
    if isinstance(value, Mapping):
        return {key: legal(entry, f"{name}.{key}" if name else key, odd) for key, entry in value.items()}
    if hasattr(value, "item"):  # 0-d tensors, numpy's numbers
        value = value.item()
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        odd.append(f"{name} {value}")
        return None
    return float(f"{value:.9g}")  # what tells any two float32 apart


def scalars(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a record under the names that trackers show.

    Examples
    --------
    >>> dict(scalars({"step": 3, "loss": 2.5, "terms": {"m2_mix": 4.0, "v_mix": None}}))
    {'train/loss': 2.5, 'terms/m2_mix': 4.0}
    """
    for key, value in record.items():
        group, entries = (key, value) if isinstance(value, Mapping) else ("train", {key: value})
        for name, number in entries.items():
            if key != "step" and isinstance(number, int | float):
                yield f"{group}/{name}", float(number)
