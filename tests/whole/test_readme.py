"""What README and docs show, runs.

Every ```python and ```bash block of README.md and docs/*.md is run, in the order of the file, in an empty
folder; the python blocks of a file share one namespace, and the commands this process, since each would load
torch again. A block that cannot run here has the line `<!-- not run: REASON -->` before it. What a block of
README.md shows as printed, by docs/readme.py, is printed.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers import ROOT

from geomclip.cli.app import main
from geomclip.machine.version import __version__
from geomclip.pairs import Source, load_pairs

sys.path.insert(0, str(ROOT / "docs"))

import readme

BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+?) -->\n+)?^```(?P<kind>python|bash)\n(?P<code>.*?)^```$",
    re.M | re.S,
)
NUMBER = re.compile(r"\d+(?:\.(\d+))?")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


class Block(NamedTuple):
    """A fenced block of code: its language, text, first line and the reason not to run it."""

    kind: str
    code: str
    line: int
    reason: str | None


def blocks(text: str) -> list[Block]:
    return [
        Block(found["kind"], found["code"], text.count("\n", 0, found.start("code")) + 1, found["reason"])
        for found in BLOCK.finditer(text)
    ]


def commands(block: Block) -> Iterator[tuple[int, list[str]]]:
    """The lines of a block with their numbers, in words as a shell has them."""
    for number, line in enumerate(block.code.splitlines(), block.line):
        if words := shlex.split(line, comments=True):
            assert not set(words) & {"|", "&&", ";", ">"}, f"line {number}: one command a line"
            yield number, words


def test_commands_are_read_as_a_shell_reads_them() -> None:
    block = Block("bash", "geomclip a --if 'x < -1'  # why\n\n# nothing\ngeomclip b\n", 7, None)
    assert list(commands(block)) == [(7, ["geomclip", "a", "--if", "x < -1"]), (10, ["geomclip", "b"])]


def test_the_command_is_installed_with_the_package() -> None:
    command = Path(sys.executable).with_name("geomclip")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
    assert done.stdout == f"geomclip {__version__}\n", done.stderr


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "example"}
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.reason:
            continue
        if block.kind == "python":
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), names)
        else:
            for number, words in commands(block):
                assert words[0] == "geomclip", f"{page.name}:{number}: this test runs no {words[0]}"
                assert main(words[1:]) == 0, f"{page.name}:{number}: {capsys.readouterr().err}"


def test_blocks_are_found_with_their_reasons() -> None:
    text = "a\n```bash\nls\n```\n\n<!-- not run: needs weights -->\n```python\nx = 1\n```\n```text\nno\n```\n"
    assert blocks(text) == [Block("bash", "ls\n", 3, None), Block("python", "x = 1\n", 8, "needs weights")]


def alike(shown: str, printed: str) -> bool:
    """Whether two prints have the same words, signs and numbers.

    A number may be off by 2 in its last place or by 1 in 5,000: processors round differently, and what is estimated
    from few neighbours shows it. Spaces may differ, since numbers of other lengths move columns.
    """
    words = [NUMBER.sub("#", text).split() for text in (shown, printed)]
    if words[0] != words[1]:
        return False
    pairs = zip(NUMBER.finditer(shown), NUMBER.finditer(printed), strict=True)
    return all(
        abs(float(one[0]) - float(other[0])) <= max(2.01 * 10.0 ** -len(one[1] or ""), 2e-4 * float(one[0]))
        if "." in one[0]
        else one[0] == other[0]
        for one, other in pairs
    )


def test_readme_shows_what_the_commands_print() -> None:
    made_from = json.loads((ROOT / "geomclip" / "encoders" / "demo" / "training.json").read_text(encoding="utf-8"))
    if load_pairs(Source("emoji", split="test")).fingerprint() != made_from["data"]["test"]["sha256"]:
        pytest.skip("other versions of the data packages than those that README was printed with")
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.shown(page)
    assert list(shown) == ["geomclip measure"]
    for command, text in shown.items():
        assert alike(text, readme.printed(command)), f"README shows no longer what {command} prints: make readme"


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("gap 0.9875 of 366, 10 %", True),
        ("gap  0.9874 of 366, 10 %", True),
        ("gap 0.9884 of 366, 10 %", False),
        ("gap 0.9874 of 367, 10 %", False),
        ("gap -0.9874 of 366, 10 %", False),
        ("hub 0.9874 of 366, 10 %", False),
        ("gap 0.9874 of 366, 10 % 1", False),
    ],
)
def test_prints_are_alike_up_to_the_rounding_of_a_processor(printed: str, expected: bool) -> None:
    assert alike("gap 0.9874 of 366, 10 %", printed) is expected


def test_only_what_is_between_the_marks_is_printed_anew() -> None:
    page = "a\n<!-- printed by: geomclip x -->\n```text\nold\n```\n<!-- end of print -->\n```text\nold\n```\n"
    assert readme.renewed(page, lambda command: f"{command}: new\n") == page.replace("old", "geomclip x: new", 1)


def test_a_command_that_fails_renews_nothing() -> None:
    with pytest.raises(ValueError, match="'geomclip mesure' ended with exit code 2"):
        readme.printed("geomclip mesure")
    with pytest.raises(ValueError, match="'ls -l' is no command of geomclip"):
        readme.printed("ls -l")
