"""docs/ci.md: its exit codes are those of the code, and what its workflow and container run can be run.

Its ```bash blocks are run by test_readme.py.
"""

from __future__ import annotations

import re
import shlex
import signal

import click
import pytest
from helpers import ROOT

from geomclip.cli.app import OF_A_SIGNAL, app
from geomclip.machine.errors import GateError, GeomclipError, InputError

PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
STABILITY = (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.M | re.S)


def commands() -> list[str]:
    """The calls of geomclip in the workflow, the script and the container."""
    lines = "\n".join(blocks("yaml") + blocks("sh")).splitlines()
    found = [line.strip().removeprefix("- run: ") for line in lines]
    inside = re.findall(r"IMAGE ([a-z][^`]*)`", PAGE)
    return [line for line in found if line.startswith("geomclip ")] + [f"geomclip {words}" for words in inside]


def parsed(words: list[str]) -> click.Command:
    """The command that words call; click refuses what it cannot take."""
    command: click.Command = app
    context = app.make_context("geomclip", list(words[:1]))
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    with command.make_context(command.name, list(words), parent=context):
        return command


@pytest.mark.parametrize("line", commands())
def test_what_the_page_runs_parses(line: str) -> None:
    assert parsed(shlex.split(line)[1:]) is not app


def test_the_page_runs_what_it_is_about() -> None:
    names = [shlex.split(line)[1] for line in commands()]
    assert {"measure", "compare", "cache", "doctor"} <= set(names)
    with pytest.raises(click.ClickException):
        parsed(["compare", "a.json", "b.json", "--fail-iff", "x<1"])


def test_the_exit_codes_are_those_of_the_code_and_of_the_promise() -> None:
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.M)]
    assert codes == [0, GeomclipError.exit_code, InputError.exit_code, GateError.exit_code, OF_A_SIGNAL + signal.SIGINT]
    assert codes == [int(code) for code in re.findall(r"^  \| (\d+) \|", STABILITY, re.M)]


def test_the_container_has_the_extras_of_the_project() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (file,) = blocks("dockerfile")
    extras = re.findall(r"\[([\w,]+)\]'", file + "".join(blocks("yaml")))
    assert extras
    for name in ",".join(extras).split(","):
        assert f"\n{name} = [" in project
