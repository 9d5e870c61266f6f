"""Fields: what a result file holds, in its order; which attribute of a panel each is, and what may stand there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from geomclip.machine import json_files

SCHEMA = "geomclip.measure/1"

Check = Callable[[Any, str], Any]
"""From a JSON value and its name to the value; ValueError with the name if it is of another kind."""
Write = Callable[[Any], Any]
"""From the attribute of a panel to JSON types."""


@dataclass(frozen=True)
class Field:
    """One field of a result file, written from an attribute of a panel and read back into it.

    `check` is None for what is not read back: a copy, for people and programs that look for it at the top.
    """

    name: str
    attribute: str
    check: Check | None
    write: Write = lambda value: value


def _same(name: str, check: Check, write: Write = lambda value: value) -> Field:
    """A field that has the name of its attribute."""
    return Field(name, name, check, write)


def _ends(name: str) -> Field:
    """Key to the two ends of an interval."""
    return _same(name, json_files.mapped(json_files.interval), lambda of: {key: list(ends) for key, ends in of.items()})


def _copied(name: str) -> Field:
    """A text of `made_from` that stands at the top too; empty where it is not known."""
    return Field(name, "made_from", None, lambda made: str(made.get(name) or ""))


_NUMBERS = json_files.mapped(json_files.number)
_OBJECT = json_files.mapped(json_files.anything)

OF_DATA = {"read": _OBJECT, "skipped": json_files.listed(_OBJECT)}
"""What of `made_from` stands beside it, with what each is checked by."""

FIELDS = (
    _same("name", json_files.text),
    *(_copied(name) for name in ("dataset", "model", "pretrained", "language", "split")),
    _same("task", json_files.text),
    _same("n_images", json_files.count),
    _same("n_texts", json_files.count),
    _same("dim", json_files.count),
    _same("logit_scale", json_files.number),
    _same("logit_scale_source", json_files.text),
    _copied("precision"),
    Field("metrics", "values", json_files.mapped(json_files.number_or_none), dict),
    _ends("ci"),
    _ends("sampled"),
    _same("no_interval", json_files.mapped(json_files.text), dict),
    _same("null", _NUMBERS, dict),
    _same("null_error", _NUMBERS, dict),
    _same("p", _NUMBERS, dict),
    _same("reliability", json_files.mapped(json_files.listed(json_files.mapped(json_files.number_or_none))), dict),
    _same("curves", json_files.mapped(json_files.mapped(json_files.listed(json_files.number_or_none))), dict),
    _same("draws", json_files.mapped(json_files.listed(json_files.number)), lambda draws: {**draws}),
    _same("notes", json_files.mapped(json_files.text), dict),
    _same("warnings", json_files.listed(json_files.text), list),
    Field("read", "made_from", None, lambda made: dict(made.get("read") or {})),
    Field("skipped", "made_from", None, lambda made: list(made.get("skipped") or [])),
    _same("params", _OBJECT, dict),
    _same("env", _OBJECT, dict),
    _same("seed", json_files.count),
    _same("seconds", _NUMBERS, dict),
    _same("written", _OBJECT, dict),
    _copied("data_sha256"),
    _same("features_sha256", json_files.text),
    _same("made_from", _OBJECT, lambda made: {key: value for key, value in made.items() if key not in OF_DATA}),
)
"""All but `schema`, which stands first, and `groups`, which are panels again and stand last, if there are any."""


def as_record(panel: object) -> dict[str, Any]:
    """The fields of a panel as its result file has them, JSON types only."""
    return {"schema": SCHEMA} | {each.name: each.write(getattr(panel, each.attribute)) for each in FIELDS}


def from_record(record: Mapping[str, Any], inside: str = "") -> dict[str, Any]:
    """The attributes of a panel that a record has; ValueError names the field that is not as it should be.

    `inside` is what the message puts before the name.
    """
    read = {each.name: each for each in FIELDS if each.check is not None}
    kinds = {name: each.check for name, each in read.items() if each.check is not None}
    # a result without numbers is none
    found = json_files.fields({"metrics": None, **record}, kinds, inside)
    attributes = {read[name].attribute: value for name, value in found.items()}
    for name, check in OF_DATA.items():
        if record.get(name):
            attributes["made_from"] = {**attributes.get("made_from", {}), name: check(record[name], f"{inside}{name}")}
    return attributes
