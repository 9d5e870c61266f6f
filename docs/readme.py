"""What README.md shows as printed, printed anew: `make readme`.

A block between `<!-- printed by: COMMAND -->` and `<!-- end of print -->` holds what that command prints on 80 columns.
The last line of `make test` is in no such block: how long it took differs from day to day, so it is pasted by hand.
"""

from __future__ import annotations

import io
import os
import re
import shlex
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from unittest.mock import patch

from geomclip.cli.app import main as geomclip

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCK = re.compile(
    r"(?P<begin>^<!-- printed by: (?P<command>[^\n]+) -->\n```text\n)"
    r"(?P<text>.*?)"
    r"(?P<end>^```\n<!-- end of print -->$)",
    re.M | re.S,
)


def shown(page: str) -> dict[str, str]:
    """What a page shows as printed, by the command that prints it."""
    return {found["command"]: found["text"] for found in BLOCK.finditer(page)}


def printed(command: str) -> str:
    """What a `geomclip ...` command prints on 80 columns, run in this process.

    Raises
    ------
    ValueError
        If it is no command of geomclip, or fails.
    """
    program, *arguments = shlex.split(command)
    if program != "geomclip":
        raise ValueError(f"{command!r} is no command of geomclip")
    out = io.StringIO()
    with patch.dict(os.environ, COLUMNS="80"), redirect_stdout(out):
        code = geomclip(arguments)
    if code:
        raise ValueError(f"{command!r} ended with exit code {code}")
    return out.getvalue()


def renewed(page: str, printed: Callable[[str], str] = printed) -> str:
    """The page with every such block as its command prints it now; all else stays.

    Examples
    --------
    >>> page = "<!-- printed by: geomclip x -->\\n```text\\nold\\n```\\n<!-- end of print -->\\n"
    >>> shown(renewed(page, lambda command: "new\\n"))
    {'geomclip x': 'new\\n'}
    """
    return BLOCK.sub(lambda found: found["begin"] + printed(found["command"]) + found["end"], page)


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
