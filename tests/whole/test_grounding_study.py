"""The committed tables of grounding are one result in three forms, and what is drawn of them can be drawn."""

from __future__ import annotations

import json
import sys

import pytest
from helpers import ROOT

sys.path.insert(0, str(ROOT / "analyses"))

import grounding_figures

from geomclip.grounding.bench.rows import COMPARED, ROWS
from geomclip.grounding.bench.table import Table

FIGURES = ROOT / "figures"


def committed(source: str) -> Table:
    content = json.loads((FIGURES / f"grounding_{source}.json").read_text("ascii"))
    return Table(content["made_from"], tuple(content["lines"]))


@pytest.mark.parametrize("source", grounding_figures.SOURCES)
def test_the_three_forms_of_a_table_agree(source: str) -> None:
    table = committed(source)
    assert table.as_json() == (FIGURES / f"grounding_{source}.json").read_text("ascii")
    assert table.as_csv() == (FIGURES / f"grounding_{source}.csv").read_text("utf-8")
    assert table.as_markdown() == (FIGURES / f"grounding_{source}.md").read_text("utf-8")


@pytest.mark.parametrize("source", grounding_figures.SOURCES)
def test_a_table_has_every_row_and_every_interaction(source: str) -> None:
    table = committed(source)
    assert all(table.find("row", name, "mIoU", table.doses[-1]) for name in ROWS)
    assert all(table.find("interaction", name, "R1@0.7", table.doses[-1]) for name in COMPARED)
    # an interaction is the difference of two differences
    for name in COMPARED:
        first, last = (table.find("difference", name, "mIoU", dose) for dose in (table.doses[0], table.doses[-1]))
        found = table.find("interaction", name, "mIoU", table.doses[-1])
        assert first is not None
        assert last is not None
        assert found is not None
        assert found["value"] == pytest.approx(last["value"] - first["value"], abs=3e-5)


def test_the_figure_of_the_interaction_is_drawn_from_the_tables() -> None:
    tables = {source: committed(source).to_dict() for source in grounding_figures.SOURCES}
    figure = grounding_figures.interaction(tables)
    assert len(figure.axes) == 4 * len(tables)
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == list(grounding_figures.LOOK)
