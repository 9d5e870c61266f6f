"""One name for each direction of retrieval: of the table of metrics, of sentences, and of pictures."""

from __future__ import annotations

import re
from pathlib import Path

import geomclip
from geomclip.metrics import METRICS
from geomclip.panels import chosen
from geomclip.panels.directions import DIRECTIONS, direction_of
from geomclip.plots.interactive.curves import CURVES
from geomclip.reports.figures import QUERIES


def test_titles_and_short_names_of_a_direction_have_its_name() -> None:
    keys = [key for key in METRICS if direction_of(key)]
    assert len(keys) > 20
    for key in keys:
        assert direction_of(key) in METRICS[key].title, key
    for each in (*chosen.PAIRS, *chosen.CLASSES):
        assert direction_of(each.key) in each.short


def test_pictures_and_pages_have_it_too() -> None:
    for prefix, direction in DIRECTIONS.items():
        assert CURVES["Recall@1"][f"{prefix}_recall@1"][0] == f"Recall@1, {direction}"
        assert direction in QUERIES[prefix]


def test_no_file_of_the_package_writes_an_arrow_without_blanks() -> None:
    found = [
        path.name
        for path in Path(geomclip.__file__).parent.rglob("*.py")
        if re.search(r"(image|text)(→| ?-> ?)(image|text)", path.read_text(encoding="utf-8"))
    ]
    assert found == []
