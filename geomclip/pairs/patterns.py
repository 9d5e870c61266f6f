"""Patterns that name many files: braces as webdataset has them ({000..012}, {a,b}), and globs."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from geomclip.machine.errors import InputError
from geomclip.machine.files import by_number

MAX_FILES = 1_000_000


def has_pattern(place: str) -> bool:
    """Whether a name has braces or the signs of a glob in it."""
    return glob.has_magic(place) or re.search(r"\{[^{}]*(,|\.\.)[^{}]*\}", place) is not None


def matching(place: str) -> tuple[list[Path], str]:
    """The files that a pattern names, of a glob in the order of their numbers, and the first part that names none."""
    found: list[Path] = []
    for part in expand_braces(os.path.expanduser(place)):
        own = [Path(part)] if os.path.exists(part) else sorted(map(Path, glob.glob(part)), key=by_number)
        if not own:
            return [], part
        found += own
    return list(dict.fromkeys(found)), ""


def expand_braces(pattern: str) -> list[str]:
    """`{a,b}` and `{08..11}` written out, the leftmost brace varying slowest.

    >>> expand_braces("{a,b}-{08..10}.tar")
    ['a-08.tar', 'a-09.tar', 'a-10.tar', 'b-08.tar', 'b-09.tar', 'b-10.tar']
    """
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    head, body, tail = pattern[: match.start()], match[1], pattern[match.end() :]
    numbers = re.fullmatch(r"(\d{1,18})\.\.(\d{1,18})", body)
    if numbers:
        first, last = int(numbers[1]), int(numbers[2])
        if abs(last - first) >= MAX_FILES:
            raise InputError(f"{{{body}}} names {abs(last - first) + 1} files, more than {MAX_FILES}")
        step = 1 if last >= first else -1
        width = len(numbers[1]) if numbers[1].startswith("0") else 0
        options = [f"{number:0{width}d}" for number in range(first, last + step, step)]
    else:
        options = body.split(",")
    expanded: list[str] = []
    for option in options:
        expanded += expand_braces(head + option + tail)
        if len(expanded) > MAX_FILES:
            raise InputError(f"{pattern[:80]!r} names more than {MAX_FILES} files")
    return expanded
