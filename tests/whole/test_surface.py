"""What users build on stays as it is: names, signatures, options and keys are those of surface.json."""

from __future__ import annotations

import difflib
import functools
import json
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

import click
import pytest
import surface


def changes(name: str, now: Any) -> str:
    """The lines by which a part of the surface differs from the one kept, and what to do; empty if by none."""
    kept = json.loads(surface.FILE.read_text(encoding="utf-8"))[name]
    lines = [surface.as_text(each).splitlines() for each in (kept, now)]
    diff = list(difflib.unified_diff(*lines, f"surface.json: {name}", "now", n=3, lineterm=""))
    return "\n".join(["if this change is meant, `make surface` keeps it:", *diff]) if diff else ""


def assert_kept(name: str, now: Any) -> None:
    """Fail with the whole difference, which an assertion would cut."""
    if told := changes(name, now):
        pytest.fail(told, pytrace=False)


def test_public_names_and_signatures_are_those_that_were_kept() -> None:
    for package in surface.PACKAGES:
        pytest.importorskip(package)
    assert_kept("python", surface.python_surface())


def test_commands_and_options_are_those_that_were_kept() -> None:
    assert_kept("commands", surface.commands_surface())


def test_keys_of_results_stores_runs_and_comparisons_are_those_that_were_kept(tmp_path: Path) -> None:
    assert_kept("records", surface.records_surface(tmp_path))


def test_a_change_is_shown_as_a_line_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geomclip.panels.measure", lambda embeddings, *, cache_dir="x", **options: None)
    told = changes("python", surface.python_surface())
    assert "make surface" in told
    assert '- "measure": "(embeddings, *, name=\'\', cache_dir=None, progress=a Silent, **options)",' in told
    assert '+ "measure": "(embeddings, *, cache_dir=\'x\', **options)",' in told


def test_an_option_that_changes_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    from geomclip.cli.app import app

    limit = next(option for option in app.commands["measure"].params if "--limit" in option.opts)
    monkeypatch.setattr(limit, "type", click.IntRange(min=3))
    told = changes("commands", surface.commands_surface())
    assert '-  "--limit": "integer range; min 2",' in told
    assert '+  "--limit": "integer range; min 3",' in told


@dataclass(frozen=True)
class Example:
    """Has one of each."""

    x: int
    y: tuple[float, ...] = (1.0, 2.5)
    _: KW_ONLY
    z: dict[str, int] = field(default_factory=dict)
    known: str = field(init=False, default="a")

    @property
    def size(self) -> int:
        """A property."""
        return 1

    @functools.cached_property
    def costly(self) -> int:
        """Kept."""
        return 2

    @classmethod
    def of(cls, *parts: int, sep: str = ",") -> Example:
        """Makes one."""
        return cls(len(parts))

    def _hidden(self) -> None: ...


Example.__module__ = "geomclip.example"


def test_a_class_is_told_by_its_fields_and_members() -> None:
    assert surface.class_surface(Example) == {
        "is a": [],
        "fields": ["x", "y = (1.0, 2.5)", "z = dict() (keyword)", "known = 'a' (keyword) (not given)"],
        "members": {"costly": "property", "of": "classmethod (*parts, sep=',')", "size": "property"},
        "special": [],
    }


def test_keys_are_paths_and_those_of_a_lists_elements_are_one() -> None:
    value = {
        "a": {"b": 1},
        "c": [{"d": 1}, {"e": 2, "d": 3}],
        "f": [],
        "groups": {"x": {"g": 1}, "y": {"g": 1, "h": 2}},
    }
    assert surface.keys(value) == ["a", "a.b", "c", "c[].d", "c[].e", "f", "groups", "groups.*.g", "groups.*.h"]
