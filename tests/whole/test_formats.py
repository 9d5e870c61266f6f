"""docs/formats.md is what the readers' rules make, of all readers, with commands that exist."""

from __future__ import annotations

import shlex
import sys

import pytest
from helpers import ROOT

from geomclip.cli.app import app

sys.path.insert(0, str(ROOT / "docs"))

import formats


def test_the_page_is_what_the_script_makes() -> None:
    assert formats.PAGE.read_text(encoding="utf-8") == formats.page(), "`make readme` writes it anew"


def test_the_page_has_every_reader_that_has_rules() -> None:
    assert formats.readers(ROOT / "geomclip") == sorted(name for each in formats.SECTIONS for name in each.modules)


def test_every_format_that_is_named_has_a_reader_with_rules() -> None:
    modules = {dataset.read.__module__ for dataset in formats.DATASETS.values()} - {"geomclip.pairs.emoji"}
    assert modules <= set(formats.readers(ROOT / "geomclip"))


@pytest.mark.parametrize("command", [section.command for section in formats.SECTIONS])
def test_every_command_of_the_page_has_the_options_that_it_names(command: str) -> None:
    program, name, *options = shlex.split(command)
    assert program == "geomclip"
    assert app.commands[name].make_context(name, options).params
