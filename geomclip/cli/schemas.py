"""The JSON Schemas that come with the package: their names, and where they lie."""

from __future__ import annotations

from importlib.resources import files

from geomclip.machine.errors import InputError
from geomclip.machine.words import nearest


def names() -> list[str]:
    """The names of all schemas."""
    found = (entry.name for entry in files("geomclip").joinpath("schemas").iterdir())
    return sorted(name.removesuffix(".json") for name in found if name.endswith(".json"))


def schema(name: str) -> str:
    """The text of a schema; InputError with the nearest names for one that is not there.

    Examples
    --------
    >>> "geomclip.plan/1" in schema("plan")
    True
    """
    known = names()
    if name not in known:
        raise InputError(f"no schema {name!r}{nearest(name, known) or '; there are ' + ', '.join(known)}")
    return files("geomclip").joinpath("schemas", f"{name}.json").read_text(encoding="utf-8")
