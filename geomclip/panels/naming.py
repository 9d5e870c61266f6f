"""Naming: what the sides of a table or picture are called, each otherwise than the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from geomclip.machine.words import one_line, option

PROGRAM = "program"
"""Where in `made_from` a panel that was read from a file of another program says which."""


def checked(names: Sequence[str] | None, sides: int) -> list[str]:
    """The names of so many sides, each on one line; none where none are given.

    Raises
    ------
    ValueError
        If there are more or fewer than sides, one is empty, or two are the same.

    Examples
    --------
    >>> checked(("stock", "tuned"), 2), checked(None, 2)
    (['stock', 'tuned'], [])
    """
    if not names:
        return []
    flag = option("name")
    what = "names" if flag == "name" else flag  # the option is given once a side
    if isinstance(names, str):
        raise ValueError(f"{what} must be a list, got the text {names!r}: [{names!r}] is a list of one")
    found = [one_line(name) if str(name).strip() else "" for name in names]
    if len(found) != sides:
        wanted = "1 is wanted" if sides == 1 else f"{sides} are wanted, one a side"
        raise ValueError(f"{what}: {wanted}, got {len(found)}: {', '.join(map(repr, found))}")
    for name in found:
        if not name:
            raise ValueError(f"{what}: one is empty: {', '.join(map(repr, found))}")
        if found.count(name) > 1:
            raise ValueError(f"{what} {name!r} is given twice: call each side otherwise")
    return found


def name_of(made_from: Mapping[str, Any], name: str = "") -> str:
    """What a set or result is called: its name, else its model and weights.

    Examples
    --------
    >>> name_of({"model": "ViT-B-32", "pretrained": "openai"}), name_of({}), name_of({"model": "demo"}, "ours")
    ('ViT-B-32, openai', 'unnamed model', 'ours')
    """
    if name:
        return name
    model, weights = str(made_from.get("model") or "unnamed model"), made_from.get("pretrained")
    return f"{model}, {weights}" if weights not in (None, "", model) else model


def side_of(identity: Mapping[str, Any], otherwise: str) -> str:
    """What a side of a comparison is called: the name that it was given, not that of its file; else otherwise.

    Examples
    --------
    >>> side_of({"name": "ours", "source": "a.json"}, "after"), side_of({"name": "a.json", "source": "a.json"}, "after")
    ('ours', 'after')
    """
    name = identity.get("name")
    return str(name) if name and name != identity.get("source") else otherwise
