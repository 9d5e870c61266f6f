"""Models, data sets and findings as the terminal lists them."""

from __future__ import annotations

import io
import re

from rich.console import Console

from geomclip.cli import listings
from geomclip.cli.doctor import Finding
from geomclip.encoders import ModelInfo
from geomclip.pairs import DatasetInfo


def lines_of(show: object, *rows: object) -> list[str]:
    console = Console(file=io.StringIO(), width=80, highlight=False, markup=False)
    show(list(rows), console)  # type: ignore[operator]
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_data_set_is_listed_with_size_licence_splits_and_place() -> None:
    info = DatasetInfo("toy", "Noise", "3 pictures", "CC0", ("val",), "/data/toy", False)
    form = DatasetInfo("csv:FILE", "A table", "", "yours", (), "what you name", True)
    assert lines_of(listings.print_datasets, info, form) == [
        "toy       absent  Noise",
        "                  3 pictures; CC0",
        "                  splits val; looked for in /data/toy",
        "csv:FILE          A table",
    ]


def test_tags_of_one_architecture_share_a_row_and_a_star_marks_what_is_here() -> None:
    demo = ModelInfo("demo", "built in", "small", True)
    tags = [ModelInfo(f"ViT-B-32:{tag}", "open_clip", "org/repo", tag == "b") for tag in "abc"]
    form = ModelInfo("RUN", "form", "a run folder", None)
    text = "\n".join(lines_of(listings.print_models, demo, *tags, form))
    assert re.search(r"^demo +\* +small$", text, re.MULTILINE)
    assert re.search(r"^ViT-B-32 +a, b\*, c$", text, re.MULTILINE)
    assert re.search(r"^RUN +a run folder$", text, re.MULTILINE)


def test_a_finding_comes_with_what_to_do() -> None:
    rows = [Finding("hub", "not reached", well=False, advice="go offline"), Finding("numpy", "2.0")]
    assert lines_of(listings.print_findings, *rows) == [
        "hub    !!  not reached",
        "           -> go offline",
        "numpy  ok  2.0",
    ]
