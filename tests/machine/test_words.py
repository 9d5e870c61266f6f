"""Errors of the machine name options as who called writes them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from callers import command_line
from helpers import ROOT

from geomclip.machine.devices import choose_device
from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.outputs import check_output_file
from geomclip.panels.measurement import metric_keys
from geomclip.plots import globe


def test_an_output_is_named_as_it_was_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"^out='{tmp_path}' is a folder: name a file in it$"):
        check_output_file(tmp_path)
    with command_line(), pytest.raises(InputError, match=rf"^--out {tmp_path} is a folder: name a file in it$"):
        check_output_file(tmp_path)


def test_a_device_is_named_as_it_was_written() -> None:
    with pytest.raises(NotAvailableError, match=r"^device='cuda:99': torch .* use device='cpu', or install"):
        choose_device("cuda:99")
    with command_line(), pytest.raises(NotAvailableError, match=r"^--device cuda:99: torch .* use --device cpu, or"):
        choose_device("cuda:99")


FLAG = re.compile(r"(?<![\w-])--[a-z]")
COMMAND = re.compile(r"(geomclip \w|pip install )")
SPEAKS_OF_THE_LINE = {"encoders/listing.py", "reports/commands.py", "machine/words.py", "evaluations/asked.py"}
"""What lists or makes commands: names for --model, what a page was made with, help of options."""


def bare_flags(source: str) -> list[str]:
    """Texts of messages that name a flag outside of a whole command; not docstrings, nor what `typed` tells apart."""
    tree = ast.parse(source)
    skipped = {id(inner) for node in ast.walk(tree) for inner in ast.walk(node) if is_skipped(node)}
    texts = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and id(node) not in skipped:
            skipped |= {id(inner) for inner in ast.walk(node)}
            texts.append("".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            texts.append(node.value)
    return [text for text in texts if FLAG.search(text) and not COMMAND.search(text)]


def is_skipped(node: ast.AST) -> bool:
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["RULES"]:
        return True  # lines of docs/formats.md, which speaks of commands
    return docstring or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "typed")


def test_the_check_of_flags_sees_them() -> None:
    assert bare_flags('x = f"leave out --{name}"; y = f"use --curves {z}"') == ["use --curves X"]
    assert bare_flags('"""Of --by."""\nx = typed("--curves", "curves=True")\ny = "`geomclip measure --by X`"') == []


def test_messages_outside_of_the_commands_name_no_flags() -> None:
    package = ROOT / "geomclip"
    files = {path.relative_to(package).as_posix(): path for path in package.rglob("*.py")}
    found = {
        name: flags
        for name, path in files.items()
        if not name.startswith("cli/") and name not in SPEAKS_OF_THE_LINE
        if (flags := bare_flags(path.read_text("utf-8")))
    }
    assert found == {}


def test_what_to_type_next_is_a_command_or_a_call() -> None:
    with pytest.raises(ValueError, match=r"unknown metric 'zzzz'; geomclip\.metrics\.METRICS has all keys$"):
        metric_keys("zzzz")
    with command_line(), pytest.raises(ValueError, match=r"'zzzz'; `geomclip measure --metrics all` shows all keys$"):
        metric_keys("zzzz")
    with pytest.raises(InputError, match=r"not on a sphere: geomclip\.project\(embeddings, 'svd'\) draws it"):
        globe.check([], "svd")
