"""What a file of annotations holds: read within bounds, without what JSON has not, each value of its kind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from geomclip.machine.errors import InputError
from geomclip.machine.words import one_line
from geomclip.pairs.parsing import decode_text, need, read_bytes, shorten

LONGEST = 1e7
"""Seconds of a video, 115 days: what is longer is no time."""


class Row(NamedTuple):
    """A sentence as a file has it, its windows not yet held against the video."""

    where: str  # file, and the line or key in it
    video: str
    text: str
    windows: list[tuple[float, float]] | None  # seconds; None: the file does not say
    duration: float
    id: str  # "": none of its own


class Content:
    """A text file, parsed as JSON as a whole or line by line when first asked for, and once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = decode_text(read_bytes(path, limit="moment-bytes"), name=str(path))
        if not self.text.strip():
            raise InputError(f"{path} is empty")

    def lines(self) -> Iterator[tuple[str, str]]:
        """Where each line is, and its text; empty ones left out."""
        for number, line in enumerate(re.split(r"\r\n|\r|\n", self.text), 1):
            if line.strip():
                yield f"{self.path} line {number}", line

    @cached_property
    def whole(self) -> Any:
        """The JSON value that the file is."""
        return parsed(self.text, where=str(self.path))

    @cached_property
    def first(self) -> Any:
        """The JSON value of the first line; None if it is none."""
        where, line = next(self.lines())
        try:
            return parsed(line, where=where)
        except InputError:
            return None


def parsed(text: str, *, where: str) -> Any:
    """The JSON value of a text; InputError for NaN, infinity, a key that is there twice, what is too deep or broken."""
    try:
        return json.loads(text, parse_constant=_refused, object_pairs_hook=_unique)
    except RecursionError:
        raise InputError(f"{where} is no annotation: too deep") from None
    except ValueError as problem:
        raise InputError(f"{where} is not valid JSON ({one_line(problem, 200)})") from problem


def seconds(value: Any, *, where: str) -> float:
    """A time: a finite number, and none that no video has."""
    # 10**400 is a whole number in JSON that no float holds, 1e999 a float that is infinite
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LONGEST:
        raise InputError(f"{where} should be a number of at most {LONGEST:.0f}, is {shorten(value)}")
    return float(value)


def length(value: Any, *, where: str) -> float:
    """How long a video is: above 0."""
    found = seconds(value, where=where)
    if found <= 0:
        raise InputError(f"{where} should be above 0, is {shorten(value)}")
    return found


def window(value: Any, *, where: str) -> tuple[float, float]:
    """Start and end."""
    ends = need(value, list, entry=where)
    if len(ends) != 2:
        raise InputError(f"{where} should be [start, end], is {shorten(value)}")
    return seconds(ends[0], where=f"{where}, start"), seconds(ends[1], where=f"{where}, end")


def windows(value: Any, *, where: str) -> list[tuple[float, float]]:
    """A list of windows."""
    held = need(value, list, entry=where)
    return [window(each, where=f"{where} {place}") for place, each in enumerate(held, 1)]


def name(value: Any, *, where: str) -> str:
    """The id of a video or sentence: text that a file or data set could be called."""
    found = need(value, str, entry=where)
    if not found.strip() or len(found) > 200 or not found.isprintable():
        raise InputError(f"{where}: {shorten(found)} cannot be an id")
    return found


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    if len(held) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"{shorten(twice)} is there twice")
    return held
