"""JSON from strangers: bounded in size, without what JSON has not, and each field of the kind that it must be."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from geomclip.machine import regular
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import InputError
from geomclip.machine.words import CONTROLS

T = TypeVar("T")
LARGEST_NUMBER = sys.float_info.max
_CONTROLS = re.compile(f"[{CONTROLS}]")


def read_bytes(path: Path) -> bytes:
    """What a small file holds.

    Raises
    ------
    InputError
        If the file is absent, no file, or beyond the limit `json-bytes`.
    """
    try:
        return regular.read(path, "json-bytes")
    except IsADirectoryError as problem:
        raise InputError(f"{path} is no file") from problem
    except OSError as problem:
        raise unreadable(path, problem) from problem


def read_json(path: Path, *, may_have_nan: Callable[[dict[str, Any]], bool] = lambda value: False) -> dict[str, Any]:
    """The object that a JSON file holds, its texts without control characters.

    `may_have_nan` says of an object whether it may hold NaN, which other programs write and JSON does not know.

    Raises
    ------
    InputError
        If the file is absent, too large, no JSON object, too deep, or holds NaN or infinity.
    """
    content = read_bytes(path)
    constants: list[str] = []

    def constant(name: str) -> float:
        constants.append(name)
        return math.nan

    try:
        value = clean(json.loads(content, parse_constant=constant))
        if constants and not (isinstance(value, dict) and {*constants} == {"NaN"} and may_have_nan(value)):
            raise ValueError(f"{constants[0]} is no JSON")
    except RecursionError:
        raise InputError(f"{path} is no result: too deep") from None
    except ValueError as problem:
        raise InputError(f"{path} is not readable as JSON ({problem})") from problem
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object")
    return value


def clean(value: Any) -> Any:
    """The value with what a terminal would act on (escapes, line ends) replaced in all its texts.

    Examples
    --------
    >>> clean({"model": "a" + chr(27) + "[31mb", "n": [1, "c"]})
    {'model': 'a\ufffd[31mb', 'n': [1, 'c']}
    """
    if isinstance(value, str):
        return _CONTROLS.sub("\ufffd", value)
    if isinstance(value, list):
        return [clean(each) for each in value]
    if isinstance(value, dict):
        return {clean(key): clean(each) for key, each in value.items()}
    return value


def text(value: Any, name: str) -> str:
    """A string."""
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number that a float holds: JSON has whole ones of any length.

    Examples
    --------
    >>> is_number(3), is_number(0.5), is_number(10**400), is_number(math.nan), is_number(True), is_number("3")
    (True, True, False, False, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER


def number(value: Any, name: str) -> float:
    """A finite number, whole ones as they are."""
    if not is_number(value):
        raise ValueError(f"{name} is no finite number")
    return value


def number_or_none(value: Any, name: str) -> float | None:
    """A finite number, or null."""
    return None if value is None else number(value, name)


def count(value: Any, name: str) -> int:
    """A whole number from 0 to 2**63 - 1."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError(f"{name} is no count")
    return value


def interval(value: Any, name: str) -> tuple[float, float]:
    """Two numbers, the lower first."""
    ends = listed(number)(value, name)
    if len(ends) != 2 or not ends[0] <= ends[1]:
        raise ValueError(f"{name} is no interval")
    return ends[0], ends[1]


def anything(value: Any, name: str) -> Any:
    """Whatever JSON has."""
    return value


def listed(each: Callable[[Any, str], T]) -> Callable[[Any, str], list[T]]:
    """A list of such values."""

    def check(value: Any, name: str) -> list[T]:
        if not isinstance(value, list):
            raise ValueError(f"{name} is no list")
        return [each(one, f"{name}[{place}]") for place, one in enumerate(value)]

    return check


def mapped(each: Callable[[Any, str], T]) -> Callable[[Any, str], dict[str, T]]:
    """An object of such values."""

    def check(value: Any, name: str) -> dict[str, T]:
        if not isinstance(value, dict):
            raise ValueError(f"{name} is no object")
        return {key: each(one, f"{name}.{key[:60]}") for key, one in value.items()}

    return check


def fields(value: Mapping[str, Any], kinds: Mapping[str, Callable[[Any, str], Any]], name: str = "") -> dict[str, Any]:
    """The fields of an object that are there, each checked as its kind; ValueError names the one that is not.

    Examples
    --------
    >>> fields({"n": 3, "more": 1}, {"n": count, "m": count})
    {'n': 3}
    """
    return {key: check(value[key], f"{name}{key}") for key, check in kinds.items() if key in value}


def is_finite(values: list[Any]) -> bool:
    """Whether all are finite numbers."""
    return all(isinstance(each, bool) or is_number(each) for each in values)
