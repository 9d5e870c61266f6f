"""The transfer card of a page: on paper one sheet, in any light to be read, and safe whatever tasks are called."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from browser import Opened, browser

import geomclip as gc
from geomclip.panels.comparison import Comparison, Row, transfer
from geomclip.panels.comparison.answer import Answer
from geomclip.panels.measurement import Measured
from geomclip.panels.record import Panel
from geomclip.reports import one
from geomclip.reports.page import html
from geomclip.reports.views import View

pytest.importorskip("plotly", reason="reports need the extra viz")
pytest.importorskip("jinja2", reason="reports need the extra viz")

EVIL = '<script>window.hacked = 1</script>"><img src=x onerror="window.hacked = 2">\u202egpj'
ROWS = {
    "zeroshot_acc1": Row(0.5, 0.4, -0.1, (-0.12, -0.08), "worse", True, 0.0, 0.0, True),
    "fewshot_zeroshot_probe_acc1@16": Row(0.5, 0.4, -0.1, (-0.13, -0.07), "worse", True, 0.0, 0.0),
    "zeroshot_ece": Row(0.1, 0.05, -0.05, (-0.06, -0.04), "better", True, 0.0, 0.0),
    "zeroshot_nll": Row(2.0, 1.9, -0.1, (-0.2, 0.0), "better", True, 0.01, 0.02),
    "zeroshot_brier": Row(0.5, 0.51, 0.01, (-0.02, 0.04), "unclear", True, 0.5, 0.5),
}


def changes(name: str = "emoji", **tasks: Comparison) -> Comparison:
    answer = Answer("worse", "worse: accuracy")
    return Comparison(ROWS, after={"dataset": name, "split": "test"}, n_images=90, verdict=answer, evaluations=tasks)


class Inside(HTMLParser):
    """Tags and text of the section of the card."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        start = page.index('<section id="transfer"')
        self.feed(page[start : page.index("</section>", start)])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_names_of_tasks_and_data_are_text_and_no_markup(tmp_path: Path) -> None:
    comparison = changes(EVIL, **{EVIL: changes(EVIL)})
    page = gc.report(comparison, tmp_path / "c.html").read_text()
    inside = Inside(page)
    assert not {"script", "img"} & set(inside.tags)
    assert inside.text.count("<script>window.hacked =") >= len(ROWS)
    assert "\u202e" not in inside.text
    assert "Accuracy@1" in inside.text


def test_a_page_without_evaluations_has_no_card() -> None:
    panel = Panel({"zeroshot_acc1": 0.5}, n_images=9, n_texts=9)
    for changed, there in ((None, False), (changes(), False), (changes(shift=changes()), True)):
        page = html(one.page_of(Measured(panel, None), View(), "geomclip report", None, changed))
        assert ('id="transfer"' in page) == there
        assert ('href="#transfer"' in page) == there


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as running:
        yield running


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_full_card_is_one_sheet_of_a4_and_opens_without_errors(chromium: Any, scheme: str, tmp_path: Path) -> None:
    tasks = {f"task-of-a-rather-long-name-{i}": changes(f"data-of-a-rather-long-name-{i}") for i in range(12)}
    comparison = changes(**tasks)
    card = transfer.transfer_of(comparison)
    assert card is not None
    assert len(card.rows) == transfer.LINES
    page = Opened(chromium, gc.report(comparison, tmp_path / "c.html"), width=690, scheme=scheme)
    assert page.view.locator("#transfer tbody tr").count() == transfer.LINES
    page.view.emulate_media(media="print", color_scheme=scheme)
    box = page.view.locator("#transfer").bounding_box()
    # A4 at 96 dots an inch is 794 x 1123; margins of 14 mm leave 688 x 1017
    assert box["height"] <= 1017
    table = page.view.locator("#transfer table").bounding_box()
    assert table["width"] <= 690
    style = "e => [getComputedStyle(e).breakBefore, getComputedStyle(e).breakAfter]"
    assert page.view.locator("#transfer").evaluate(style) == ["page", "page"]
    assert not page.troubles
    page.close()
