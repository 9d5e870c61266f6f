"""What README and docs show, runs.

Every ```python and ```bash block of README.md and docs/*.md is run, in the order of the file, in an empty
folder; the python blocks of a file share one namespace. A block that cannot run here has the line
`<!-- not run: REASON -->` before it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers import ROOT

BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+?) -->\n+)?^```(?P<kind>python|bash)\n(?P<code>.*?)^```$",
    re.M | re.S,
)
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


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # the commands of this environment, though it is not activated
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    names: dict[str, Any] = {"__name__": "example"}
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.reason:
            continue
        if block.kind == "python":
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), names)
        else:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.code],
                env={**os.environ, "PATH": path},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{page.name}:{block.line}: {done.stderr}"


def test_blocks_are_found_with_their_reasons() -> None:
    text = "a\n```bash\nls\n```\n\n<!-- not run: needs weights -->\n```python\nx = 1\n```\n```text\nno\n```\n"
    assert blocks(text) == [Block("bash", "ls\n", 3, None), Block("python", "x = 1\n", 8, "needs weights")]
