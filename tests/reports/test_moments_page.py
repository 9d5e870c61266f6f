"""The page of moments: opens without a request or an error, shows frames, maps and what queries say literally."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import Opened, browser
from films import plain, scenes, write
from tiny import TinyEncoder

from geomclip.grounding.predict import predict

pytest.importorskip("plotly")
pytest.importorskip("jinja2")

from geomclip.reports import grounding

HOSTILE = "\u202egpj</script><b>dog</b>&$x^2$<img src=x onerror=alert(1)>"


def pages(folder: Path) -> tuple[Path, Path]:
    """A page of two videos and two queries, and one of a single video."""
    one = write(folder / "a<b>.mp4", scenes([plain("red"), plain("blue"), plain("green")], [2, 2, 2]))
    two = write(folder / "b.mp4", scenes([plain("white"), plain("red")], [2, 2]))
    both = predict([one, two], [HOSTILE, "blue"], model=TinyEncoder())
    alone = predict(one, HOSTILE, model=TinyEncoder(), page=False)
    written = grounding.write_page(both, folder / "both.html", command="geomclip ground predict a.mp4")
    return written, grounding.write_page(alone, folder / "alone.html")


def test_the_page_has_moments_frames_and_files_and_no_markup_of_others(tmp_path: Path) -> None:
    page, alone = (file.read_text(encoding="utf-8") for file in pages(tmp_path))
    assert "onerror=alert" not in page.replace("&lt;img src=x onerror=alert(1)&gt;", "")
    assert "a&lt;b&gt;.mp4" in page
    assert "<b>.mp4" not in page
    assert "\\u202egpj" in page
    assert page.count('src="data:image/jpeg;base64,') >= 4
    assert "data:image/jpeg" not in alone


def test_the_same_prediction_gives_the_same_bytes(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", scenes([plain("red"), plain("blue")], [2, 2]))
    found = predict(file, "blue", model=TinyEncoder())
    first = grounding.write_page(found, tmp_path / "a.html", command="c").read_bytes()
    assert grounding.write_page(found, tmp_path / "b.html", command="c").read_bytes() == first


def test_pictures_and_moments_of_many_queries_are_bounded_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grounding, "MOST_PICTURES", 2)
    monkeypatch.setattr(grounding, "MOST_MOMENTS", 1)
    file = write(tmp_path / "a.mp4", scenes([plain("red"), plain("blue"), plain("green")], [2, 2, 2]))
    found = predict(file, ["a", "b", "c"], model=TinyEncoder(), suppress=1.0)
    page = grounding.page_of(found, "c")
    assert len(page.pictures) == 2
    assert "only 2 pictures are drawn" in page.notes[0]
    assert [len(each.rows) for each in page.findings] == [1, 1, 1]
    assert page.findings[0].note.startswith("the first 1 of ")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_opens_without_trouble_at_every_width(width: int, scheme: str, tmp_path: Path) -> None:
    with browser() as chromium:
        for file, pictures in zip(pages(tmp_path), (14, 2), strict=True):
            opened = Opened(chromium, file, width=width, height=900, scheme=scheme)
            places = opened.view.locator("[data-picture]")
            assert places.count() == pictures
            for place in range(pictures):
                places.nth(place).scroll_into_view_if_needed()
                opened.view.wait_for_selector(f"[data-picture][data-drawn] >> nth={place}")
            assert opened.troubles == []
            assert opened.view.evaluate("document.documentElement.scrollWidth") <= width
            # a button says what the sentence says, not how markup writes it
            assert "<b>dog</b>" in opened.view.locator("button.toggle").nth(0).inner_text()
            opened.close()
