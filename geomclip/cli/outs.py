"""Files that a result is written to: one option that may be given again, and all are checked before the long work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from geomclip.machine.outputs import check_output_files

PAGE = ".html"


def outs(help: str) -> list[click.Option]:
    """--out, as often as there are files."""
    kind = click.Path(path_type=Path)
    return [click.Option(["--out"], type=kind, metavar="FILE", multiple=True, help=f"{help}; may be given again.")]


def check_outs(files: Sequence[Path], suffixes: Sequence[str]) -> None:
    """Refuse, before any long work, files that could not be written at its end, or a page without its packages.

    `suffixes` are those of the files that are no pages.
    """
    check_output_files(files, (*suffixes, PAGE))
    if pages(files):
        from geomclip.machine.extras import optional

        optional("jinja2", "a page (.html)")
        optional("markupsafe", "a page (.html)")


def pages(files: Sequence[Path]) -> list[Path]:
    """Those of the files that are pages."""
    return [file for file in files if file.suffix == PAGE]


def others(files: Sequence[Path]) -> list[Path]:
    """Those that are none."""
    return [file for file in files if file.suffix != PAGE]
