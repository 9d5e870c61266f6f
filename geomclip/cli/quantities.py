"""Ages and sizes as one types and reads them."""

from __future__ import annotations

import re

from geomclip.machine.errors import InputError
from geomclip.machine.words import option

DAY = 86400.0
AGES = {"h": DAY / 24, "d": DAY, "w": 7 * DAY}
SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
SIZES |= {f"{sign}iB": 2 ** (10 * power) for power, sign in enumerate("KMGT", 1)}


def age(text: str) -> float:
    """Seconds of an age such as '30d', '12h' or '2w'.

    Examples
    --------
    >>> age("30d") / DAY, age("12 h") / DAY
    (30.0, 0.5)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([hdw])", text.strip())
    if found is None:
        raise InputError(f"{option('older_than', text)}: write a number with h, d or w, for example 30d")
    return float(found[1]) * AGES[found[2]]


def size(text: str) -> int:
    """Bytes of a size such as '10GB', '500 MB' or '2GiB'.

    Examples
    --------
    >>> size("10GB"), size("1.5 KiB"), size("0")
    (10000000000, 1536, 0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip(), re.IGNORECASE)
    units = {name.lower(): bytes_of for name, bytes_of in SIZES.items()}
    if found is None or (found[2] or "B").lower() not in units:
        raise InputError(f"{option('max_size', text)}: write a number with MB, GB or TB, for example 10GB")
    return round(float(found[1]) * units[(found[2] or "B").lower()])


def shown_size(count: int) -> str:
    """Bytes as people read them.

    Examples
    --------
    >>> shown_size(12), shown_size(12_345), shown_size(1_500_000_000)
    ('12 B', '12.3 KB', '1.5 GB')
    """
    for unit in ("TB", "GB", "MB", "KB"):
        if count >= SIZES[unit]:
            return f"{count / SIZES[unit]:.1f} {unit}"
    return f"{count} B"


def shown_age(seconds: float) -> str:
    """How long ago, in its largest unit.

    Examples
    --------
    >>> [shown_age(each) for each in (5, 7200, 86400, 30 * 86400)]
    ['now', '2 h', '1 d', '30 d']
    """
    if seconds < AGES["h"]:
        return "now"
    return f"{int(seconds // AGES['h'])} h" if seconds < DAY else f"{int(seconds // DAY)} d"
