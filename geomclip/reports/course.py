"""The way of a training run across the plane of alignment and uniformity, from its log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geomclip.machine.blame import unreadable
from geomclip.machine.json_files import is_number

LOG = "log.jsonl"
KEYS = ("alignment", "uniformity_joint")


def path_of(source: object) -> list[tuple[int, float, float]]:
    """(step, alignment, uniformity) of the probe pairs, where the source is the folder of a training run; else none.

    Raises
    ------
    InputError
        If the log that lies there cannot be read.
    """
    if not isinstance(source, str | Path) or not (log := Path(source).expanduser() / LOG).is_file():
        return []
    from geomclip.training.watching.journal import read_log

    try:
        return [point for record in read_log(log) if (point := _point(record)) is not None]
    except OSError as problem:
        raise unreadable(log, problem) from problem


def _point(record: dict[str, Any]) -> tuple[int, float, float] | None:
    step, probe = record.get("step"), record.get("probe")
    if not isinstance(step, int) or not isinstance(probe, dict):
        return None
    place = [probe.get(key) for key in KEYS]
    numbers = [value for value in place if is_number(value)]
    return (step, numbers[0], numbers[1]) if len(numbers) == len(KEYS) else None
