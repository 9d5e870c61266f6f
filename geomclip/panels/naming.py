"""Naming: what the sides of a table or picture are called, each otherwise than the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from geomclip.machine.words import one_line, option


def checked(names: Sequence[str] | None, sides: int, parameter: str = "names") -> list[str]:
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
    if isinstance(names, str):
        raise ValueError(f"{option(parameter)} takes a name for each side, got the one text {names!r}")
    found = [one_line(name) for name in names]
    if len(found) != sides:
        whole = f"a name for each of the {sides}" if sides > 1 else "one name"
        raise ValueError(f"{option(parameter)} takes {whole}, got {len(found)}: {', '.join(map(repr, found))}")
    for name in found:
        if not name:
            raise ValueError(f"{option(parameter)} has a name without letters")
        if found.count(name) > 1:
            raise ValueError(f"{option(parameter)} has {name!r} twice: name each otherwise")
    return found


def told_apart(names: Sequence[str]) -> list[str]:
    """The names, those that several have with a number behind.

    Examples
    --------
    >>> told_apart(["demo", "mine", "demo", "demo 1"])
    ['demo 2', 'mine', 'demo 3', 'demo 1']
    """
    found: list[str] = []
    for name in names:
        number, other = 1, name
        while names.count(name) > 1 and other in (*names, *found):
            other, number = f"{name} {number}", number + 1
        found.append(other)
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
