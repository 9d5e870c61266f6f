"""Reports in a browser: they open without errors or requests, and hover, search, choice, keys and downloads work."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Opened, browser
from helpers import folder_of_pairs, random_rows, small_set
from pages import carried

import geomclip as gc
from geomclip.embeddings.record import EmbeddingSet
from geomclip.pairs import Source, load_pairs

pytest.importorskip("plotly", reason="reports need the extra viz")
pytest.importorskip("jinja2", reason="reports need the extra viz")

EVIL = "<script>window.hacked = 1</script>\"><img src=x onerror='window.hacked = 2'>\u202egpj.exe\u2028</script>"
SHOWN = EVIL.replace("\u202e", "\\u202e").replace("\u2028", "\\u2028")
COUNT = 24
FEW = "alignment,uniformity_joint,modality_gap,image_retrieval_recall@1,image_retrieval_ece,text_retrieval_ece"

# every text that can be seen, with the ratio of its colour to what is behind it (WCAG 2.1, relative luminance)
CONTRASTS = """() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const linear = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const color = channels(getComputedStyle(each).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.closest("script, style, svg, noscript, [hidden]") || !element.getClientRects().length) continue;
    const pair = [light(channels(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
    found.push([(pair[0] + 0.05) / (pair[1] + 0.05), element.tagName + "." + element.className]);
  }
  return found.sort((a, b) => a[0] - b[0]);
}"""


def pairs_in(folder: Path) -> EmbeddingSet:
    """Pairs whose images lie in the folder, two captions each; that of the sixth image is hostile."""
    ids = [pair.image_id for pair in load_pairs(Source(f"folder:{folder_of_pairs(folder, COUNT)}")).pairs]
    captions = [f"noise number {row // 2}, {'a Café' if row % 2 else 'words'} {row}" for row in range(2 * COUNT)]
    captions[10] = EVIL
    made = {"dataset": f"folder:{folder.name}", "split": "all", "model": EVIL}
    return small_set(COUNT, 2).replace(image_id=ids, caption=captions, made_from=made)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """report.html, result.html and compare.html of a few pairs; the second image is damaged."""
    folder = tmp_path_factory.mktemp("pages")
    before = pairs_in(folder / "data")
    (folder / "data" / "001.png").write_bytes(b"no image")
    assert before.text is not None
    after = before.replace(text=before.text + 0.4 * random_rows(2 * COUNT, 16, seed=9))
    data = {"data": f"folder:{folder / 'data'}"}
    gc.report(before, folder / "report.html", bootstrap=20, by="source", metrics=FEW, **data)
    gc.report(gc.measure(before, bootstrap=20, metrics=FEW), folder / "result.html")
    gc.report(gc.compare(before, after, bootstrap=20, metrics=FEW), folder / "compare.html", **data)
    return folder


@pytest.fixture(scope="module")
def report(chromium: Any, place: Path) -> Iterator[Opened]:
    """The report, opened once; its tests leave it as they like."""
    opened = Opened(chromium, place / "report.html", width=1280, height=900)
    opened.view.wait_for_selector("[data-map][data-drawn] >> nth=0")
    yield opened
    opened.close()


def items_of(page: Path) -> Any:
    return carried(page.read_text())["items"]


def drawn(opened: Opened, picture: str) -> Any:
    place = opened.view.locator(f"[data-picture={picture}]")
    place.scroll_into_view_if_needed()
    opened.view.wait_for_selector(f"[data-picture={picture}][data-drawn]")
    return place


def dot(opened: Opened, picture: str, kind: str, row: int) -> tuple[float, float]:
    """Where in the window a point of a plane is."""
    place = drawn(opened, picture)
    x, y = place.evaluate(
        """(element, [kind, row]) => {
          const trace = element.data.find((each) => each.meta === kind);
          const at = Array.from(trace.customdata).indexOf(row);
          const { xaxis, yaxis } = element._fullLayout;
          const box = element.getBoundingClientRect();
          return [box.x + xaxis._offset + xaxis.d2p(trace.x[at]), box.y + yaxis._offset + yaxis.d2p(trace.y[at])];
        }""",
        [kind, row],
    )
    return x, y


def free_row(opened: Opened, picture: str, kind: str) -> int:
    """The point of a modality that lies furthest from all others, so that the pointer means it."""
    drawn(opened, picture)
    row = opened.view.locator(f"[data-picture={picture}]").evaluate(
        """(element, kind) => {
          const of = (trace) => Array.from(trace.x, (x, at) =>
            ({ kind: trace.meta, row: trace.customdata[at], x, y: trace.y[at] }));
          const all = element.data.filter((trace) => ["image", "text"].includes(trace.meta)).flatMap(of);
          const apart = (one, other) => Math.hypot(one.x - other.x, one.y - other.y);
          const alone = (one) => Math.min(...all.filter((other) => other !== one).map((other) => apart(one, other)));
          return all.filter((one) => one.kind === kind && one.row > 1).sort((a, b) => alone(b) - alone(a))[0].row;
        }""",
        kind,
    )
    return int(row)


# --- opening


@pytest.mark.parametrize("name", ["report", "result", "compare"])
def test_a_page_opens_and_draws_all_without_errors_and_without_a_request(chromium: Any, place: Path, name: str) -> None:
    opened = Opened(chromium, place / f"{name}.html", width=1000, height=800)
    opened.view.wait_for_selector("html[data-ready]")
    places = opened.view.locator("[data-picture]")
    assert places.count() == {"report": 9, "result": 3, "compare": 12}[name]
    for index in range(places.count()):
        drawn(opened, places.nth(index).get_attribute("data-picture"))
    assert opened.troubles == []
    assert "WebGL is not supported" not in opened.view.inner_text("main")
    assert opened.view.evaluate("window.hacked") is None
    assert SHOWN in opened.view.inner_text("h1")
    opened.close()


def test_hostile_text_is_shown_as_it_is(report: Opened) -> None:
    report.view.fill("#search", "gpj")
    report.view.wait_for_function("document.querySelectorAll('#hits button').length === 1")
    report.view.click("#hits button")
    assert report.view.inner_text("#chosen .caption") == SHOWN
    assert report.view.evaluate("window.hacked") is None
    assert report.view.evaluate("document.querySelectorAll('script').length") < 10
    assert report.troubles == []


# --- looking


def test_the_pointer_shows_thumbnail_and_caption(report: Opened, place: Path) -> None:
    row = free_row(report, "plane", "text")
    items = items_of(place / "report.html")
    report.view.mouse.move(*dot(report, "plane", "text", row))
    report.view.wait_for_selector("#tip:not([hidden])")
    assert items["texts"][row] in report.view.inner_text("#tip")
    shown = report.view.get_attribute("#tip img", "src")
    assert shown == f"data:image/webp;base64,{items['thumbnails'][row // 2]}"
    report.view.mouse.move(5, 5)
    report.view.wait_for_selector("#tip", state="hidden")


def test_a_click_shows_the_nearest_in_the_other_modality(report: Opened, place: Path) -> None:
    report.view.fill("#search", "")
    report.view.wait_for_function("document.querySelectorAll('#hits button').length > 20")
    row = free_row(report, "plane", "image")
    report.view.mouse.click(*dot(report, "plane", "image", row))
    report.view.wait_for_selector("#chosen .near")
    made = pairs_in(place / "again")
    assert made.text is not None
    score = made.image[row] @ made.text.T
    best = score.topk(10)
    texts = [SHOWN if i == 10 else made.caption[i] for i in best.indices.tolist()]  # type: ignore[index]
    assert report.view.locator("#chosen .near .words").all_inner_texts() == texts
    content = report.view.locator("#chosen .near .told").all_inner_texts()
    assert content == [f"{i}. cosine {value:.4f}" for i, value in enumerate(best.values.tolist(), 1)]
    own = [i for i, text in enumerate(best.indices.tolist()) if text // 2 == row]
    marked = report.view.locator("#chosen .near .item").evaluate_all("all => all.map((one) => one.matches('.own'))")
    assert [i for i, each in enumerate(marked) if each] == own
    rank = int((score > max(score[2 * row], score[2 * row + 1])).sum()) + 1
    assert f"first own text at rank {rank}" in report.view.inner_text("#chosen")
    # what is chosen and what is near is marked on every map that is drawn
    marks = report.view.locator("[data-picture=plane]").evaluate(
        "(element) => element.data.filter((each) => each.meta === 'mark').map((each) => each.x.length)"
    )
    assert marks == [1, 10]


def test_a_dot_on_the_sphere_can_be_pointed_at(report: Opened) -> None:
    sphere = drawn(report, "sphere")
    box = sphere.bounding_box()
    for step in range(60):
        report.view.mouse.move(box["x"] + box["width"] * (0.3 + 0.4 * ((step * 7) % 60) / 60), box["y"] + 80 + 7 * step)
        report.view.wait_for_timeout(60)
        if report.view.is_visible("#tip"):
            break
    assert "noise number" in report.view.inner_text("#tip")


def test_search_lists_hits_and_marks_them(report: Opened) -> None:
    report.view.fill("#search", "CAFE 1")
    expected = [row for row in range(1, 2 * COUNT, 2) if "1" in f"number {row // 2}, {row}"]
    report.view.wait_for_function(f"document.querySelectorAll('#hits button').length === {len(expected)}")
    hits = report.view.locator("#hits .words").all_inner_texts()
    assert all("Café" in hit and "1" in hit for hit in hits)
    assert report.view.inner_text("#found") == f"{len(expected)} of {2 * COUNT} texts"
    # where the words begin comes before where they are inside
    assert (hits[0], hits[-1]) == ("noise number 0, a Café 1", "noise number 21, a Café 43")
    sizes = report.view.locator("[data-picture=sphere]").evaluate(
        "(element) => element.data.filter((each) => each.meta === 'mark').map((each) => each.x.length)"
    )
    assert sizes[1] >= len(expected)  # and what is chosen
    report.view.fill("#search", "nothing like this")
    report.view.wait_for_function("document.querySelectorAll('#hits button').length === 0")
    assert report.view.inner_text("#found") == f"0 of {2 * COUNT} texts"


def test_everything_is_reached_by_keyboard(report: Opened) -> None:
    view = report.view
    view.fill("#search", "")
    view.focus("#search")
    view.keyboard.type("words 6")
    view.wait_for_function("document.querySelectorAll('#hits button').length < 10")
    first = view.locator("#hits .words").first.inner_text()
    for _ in range(3):
        view.keyboard.press("Tab")
        if view.evaluate("document.activeElement.matches('#hits button')"):
            break
    outline = view.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert float(outline.removesuffix("px")) >= 2
    view.keyboard.press("Enter")
    assert view.inner_text("#chosen .caption") == first
    assert view.evaluate("document.activeElement.textContent") == "Chosen text"
    # on into its list, to a neighbour, and back
    for _ in range(40):
        view.keyboard.press("Tab")
        if view.evaluate("document.activeElement.matches('#chosen .near button')"):
            break
    view.keyboard.press("Enter")
    assert view.evaluate("document.activeElement.textContent") == "Chosen image"
    view.keyboard.press("Tab")
    assert view.evaluate("document.activeElement.textContent") == "Back"
    view.keyboard.press("Enter")
    assert view.inner_text("#chosen .caption") == first


def test_pictures_of_pairs_and_hubs_choose_what_they_show(report: Opened) -> None:
    card = report.view.locator("button.card").first
    caption = card.locator(".words").inner_text()
    assert card.locator(".thumb").count() == 1
    card.click()
    assert report.view.inner_text("#chosen .caption") == caption


def test_an_image_that_cannot_be_read_has_a_box_in_its_place(report: Opened) -> None:
    report.view.fill("#search", "number 1, words")
    report.view.wait_for_function("document.querySelectorAll('#hits button').length < 30")
    report.view.locator("#hits button", has_text="noise number 1, words 2").click()
    assert report.view.locator("#chosen .thumb.none").first.get_attribute("aria-label") == "no thumbnail"
    assert "1 of 24 images have no thumbnail" in report.view.inner_text("footer")


def test_downloads_are_the_numbers(report: Opened, tmp_path: Path) -> None:
    kept = {}
    for name in ("report.json", "report.csv"):
        with report.view.expect_download() as waiting:
            report.view.click(f"button[data-file='{name}']")
        assert waiting.value.suggested_filename == name
        waiting.value.save_as(tmp_path / name)
        kept[name] = (tmp_path / name).read_text()
    content = json.loads(kept["report.json"])
    assert content["n_images"] == COUNT
    rows = list(csv.DictReader(kept["report.csv"].splitlines()))
    values = {row["metric"]: row["value"] for row in rows if not row["group"]}
    assert {key: "" if value is None else repr(value) for key, value in content["metrics"].items()} == values
    assert report.troubles == []


def test_before_and_after_have_their_neighbours_side_by_side(chromium: Any, place: Path) -> None:
    opened = Opened(chromium, place / "compare.html", width=1280, height=900)
    opened.view.wait_for_selector("#hits button")
    opened.view.locator("button.card").first.click()
    headings = opened.view.locator("#chosen h4").all_inner_texts()
    assert headings == ["Its image", "Nearest images, before", "Nearest images, after"]
    items = items_of(place / "compare.html")
    assert opened.view.locator("#chosen .near").count() == len(items["spaces"]) == 2
    assert opened.view.locator(".verdict.worse, .verdict.better").count() > 0
    sphere = drawn(opened, "sphere")
    opened.view.wait_for_function("document.querySelector('[data-picture=sphere]').dataset.marked !== undefined")
    scenes = sphere.evaluate(
        "(element) => element.data.filter((each) => each.meta === 'mark').map((each) => each.scene || 'scene')"
    )
    assert scenes == ["scene", "scene", "scene2", "scene2"]
    assert opened.troubles == []
    opened.close()


# --- an area of a map


def around(opened: Opened, picture: str, middle: tuple[float, float], reach: float) -> None:
    """Press the button of the map and draw a line around this place in the window."""
    view = opened.view
    view.locator(f"[data-picture={picture}]").evaluate(
        "(element) => element.previousElementSibling.querySelector('.area').click()"
    )
    x, y = middle
    view.mouse.move(x - reach, y - reach)
    view.mouse.down()
    for at in ((x + reach, y - reach), (x + reach, y + reach), (x - reach, y + reach)):
        view.mouse.move(*at, steps=4)
    view.mouse.up()


def shown_cards(opened: Opened) -> list[tuple[str, int]]:
    found = opened.view.locator("button.card:not([hidden])").evaluate_all(
        "all => all.map((card) => [card.dataset.kind, Number(card.dataset.row)])"
    )
    return [(kind, row) for kind, row in found]


def marked(opened: Opened, picture: str) -> list[int]:
    """How many images and texts a map marks."""
    found: list[int] = opened.view.locator(f"[data-picture={picture}]").evaluate(
        "(element) => element.data.filter((each) => each.meta === 'mark').map((each) => each.x.length)"
    )
    return found


def test_an_area_of_a_map_filters_all_lists_until_it_is_cleared(chromium: Any, place: Path) -> None:
    opened = Opened(chromium, place / "report.html", width=1280, height=900)
    view = opened.view
    row = free_row(opened, "plane", "text")
    before = shown_cards(opened)
    around(opened, "plane", dot(opened, "plane", "text", row), 9)
    view.wait_for_selector("#area:not([hidden])")
    images, texts = (int(word) for word in view.inner_text("#area").split() if word.isdigit())
    assert (images, texts) == (0, 1)
    assert view.inner_text("#found") == f"1 of {2 * COUNT} texts in the area"
    assert view.locator("#hits .words").all_inner_texts() == [items_of(place / "report.html")["texts"][row]]
    own = {("text", row), ("image", row // 2)}
    assert shown_cards(opened) == [card for card in before if card in own]
    assert view.locator(".gallery.empty").count() > 0
    assert marked(opened, "plane") == [0, 1]
    dim = view.locator("[data-picture=plane]").evaluate(
        "(element) => element.data.map((each) => [each.meta, each.marker?.opacity])"
    )
    assert {opacity for meta, opacity in dim if meta in ("image", "text")} == {0.22}
    # a search is within the area
    view.fill("#search", "noise")
    view.wait_for_function("document.querySelectorAll('#hits button').length === 1")
    view.fill("#search", "")
    view.click("#area button")
    assert view.is_hidden("#area")
    assert shown_cards(opened) == before
    assert view.inner_text("#found") == f"{2 * COUNT} texts"
    assert marked(opened, "plane") == [0, 0]
    assert opened.troubles == []
    opened.close()


def test_an_area_of_the_sphere_is_what_is_seen_there(chromium: Any, place: Path) -> None:
    opened = Opened(chromium, place / "report.html", width=1280, height=900)
    sphere = drawn(opened, "sphere")
    opened.view.wait_for_selector("[data-picture=sphere][data-marked]")
    sphere.evaluate("(element) => element.scrollIntoView({ behavior: 'instant', block: 'center' })")
    box = sphere.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + 0.5 * sphere.evaluate("(e) => e._fullLayout._size.h")
    around(opened, "sphere", middle, 212)
    opened.view.wait_for_selector("#area:not([hidden])")
    images, texts = marked(opened, "sphere")
    # all of the near side, and nothing behind: the perspective's rim is at a depth of 1 / distance
    near = sphere.evaluate(
        """(element) => {
          const { x, y, z } = element._fullLayout.scene._scene.getCamera().eye;
          const away = Math.hypot(x, y, z);
          return ["image", "text"].map((kind) => {
            const trace = element.data.find((each) => each.meta === kind);
            const depth = (i) => (trace.x[i] * x + trace.y[i] * y + trace.z[i] * z) / away;
            return Array.from(trace.customdata.keys()).filter((i) => depth(i) >= 1 / (2.2 * away)).length;
          });
        }"""
    )
    assert [images, texts] == near
    assert 0 < texts < 2 * COUNT
    assert opened.troubles == []
    opened.close()


def test_what_is_chosen_has_a_halo_and_is_turned_into_view(chromium: Any, place: Path) -> None:
    opened = Opened(chromium, place / "report.html", width=1280, height=900)
    sphere = drawn(opened, "sphere")
    opened.view.wait_for_selector("[data-picture=sphere][data-marked]")
    depth = """(element, row) => {
      const trace = element.data.find((each) => each.meta === "text");
      const { x, y, z } = element._fullLayout.scene._scene.getCamera().eye;
      return (trace.x[row] * x + trace.y[row] * y + trace.z[row] * z) / Math.hypot(x, y, z);
    }"""
    depths = [sphere.evaluate(depth, row) for row in range(2 * COUNT)]
    behind = min(range(2 * COUNT), key=depths.__getitem__)
    assert depths[behind] < 0.7
    caption = items_of(place / "report.html")["texts"][behind]
    opened.view.locator("#hits button", has_text=caption).first.click()
    opened.view.wait_for_function("document.querySelector('#chosen .caption')")
    opened.view.wait_for_timeout(300)
    assert sphere.evaluate(depth, behind) == pytest.approx(0.75, abs=0.01)
    halo = sphere.evaluate("(e) => e.data.filter((each) => each.meta === 'halo').map((each) => each.marker.size)")
    assert halo == [[], [34]]
    assert opened.troubles == []
    opened.close()


# --- the still picture, and paper


@pytest.mark.parametrize("name", ["report", "compare"])
def test_the_sphere_is_seen_without_scripts_at_the_place_and_size_of_the_drawn_one(
    chromium: Any, place: Path, name: str
) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, java_script_enabled=False)
    still = context.new_page()
    still.goto((place / f"{name}.html").as_uri())
    balls = [each.bounding_box() for each in still.locator(".still .ball").all()]
    dots = still.locator(".still path.image, .still path.text")
    count = sum(each.get_attribute("d").count("h0") for each in dots.all())
    assert (len(balls), count) == {"report": (1, 3 * COUNT), "compare": (2, 6 * COUNT)}[name]
    context.close()
    opened = Opened(chromium, place / f"{name}.html", width=1280, height=900)
    sphere = drawn(opened, "sphere")
    assert opened.view.locator(".still").is_hidden()
    scenes = sphere.evaluate(
        """(e) => ["scene", "scene2"].filter((name) => e._fullLayout[name]).map((name) => {
          const { domain, _scene } = e._fullLayout[name];
          const { l, t, w, h } = e._fullLayout._size;
          const eye = _scene.getCamera().eye;
          const away = Math.hypot(eye.x, eye.y, eye.z) * 2.2;
          const high = h * (domain.y[1] - domain.y[0]);
          return [w * (domain.x[1] - domain.x[0]), high, high / Math.tan(Math.PI / 8) / Math.sqrt(away ** 2 - 1)];
        })"""
    )
    for ball, (_, _, across) in zip(balls, scenes, strict=True):
        assert ball["width"] == pytest.approx(across, rel=0.02)
    opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_paper_all_is_drawn_in_light_and_nothing_is_wider_than_the_sheet(
    chromium: Any, place: Path, scheme: str
) -> None:
    opened = Opened(chromium, place / "report.html", width=1440, height=900, scheme=scheme)
    view = opened.view
    view.wait_for_selector("html[data-complete]")
    assert view.locator("[data-picture]").count() == view.locator("[data-picture][data-drawn]").count()
    # what a print dialog does, at the width of A4 between our margins
    view.evaluate("dispatchEvent(new Event('beforeprint'))")
    view.emulate_media(media="print")
    view.set_viewport_size({"width": 688, "height": 970})
    assert view.evaluate("document.documentElement.scrollWidth") <= 688
    for figure in view.locator(".figure .main-svg").all():
        if figure.is_visible():
            box = figure.bounding_box()
            assert box["x"] + box["width"] <= 689
    assert view.locator(".still").is_visible()
    assert view.locator("[data-picture=sphere]").is_hidden()
    assert view.locator("[data-picture=similarities] .main-svg").first.is_visible()
    assert view.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    ink = view.locator("[data-picture=similarities] .xtick text").first.evaluate("(e) => getComputedStyle(e).fill")
    assert ink == "rgb(27, 31, 36)"
    for name in ("nav", "#search", "header button", ".modebar-container >> nth=0"):
        assert view.locator(name).first.is_hidden()
    assert view.locator(".card .thumb[src]").evaluate_all("all => all.every((one) => one.complete && one.naturalWidth)")
    view.evaluate("dispatchEvent(new Event('afterprint'))")
    view.emulate_media(media="screen")
    assert view.locator("[data-picture=sphere]").is_visible()
    assert len(view.pdf(format="A4")) > 50_000
    assert opened.troubles == []
    opened.close()


def test_what_is_notable_stands_before_the_numbers(report: Opened) -> None:
    sections = report.view.locator("nav a").all_inner_texts()
    assert sections == ["Explore", "Pairs and hubs", "Numbers", "Pictures", "Made from"]
    tops = [
        report.view.locator(each).first.bounding_box()["y"]
        for each in ("#explore", "[data-picture=similarities]", ".gallery", "#numbers")
    ]
    assert tops == sorted(tops)


# --- how it looks


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["report", "compare"])
def test_text_can_be_read_and_fits_a_phone(chromium: Any, place: Path, name: str, scheme: str) -> None:
    opened = Opened(chromium, place / f"{name}.html", width=360, height=700, scheme=scheme)
    opened.view.wait_for_selector("#hits button")
    opened.view.locator("#hits button").first.click()
    least, where = opened.view.evaluate(CONTRASTS)[0]
    assert least >= 4.5, where
    assert opened.view.evaluate("document.documentElement.scrollWidth") == 360
    paper = opened.view.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}[scheme]
    button = opened.view.locator("button[data-theme-switch]")
    assert button.inner_text() == {"light": "Dark", "dark": "Light"}[scheme]
    button.click()
    assert opened.view.evaluate("getComputedStyle(document.body).backgroundColor") != paper
    assert opened.view.evaluate(CONTRASTS)[0][0] >= 4.5
    opened.close()


def test_an_old_browser_still_has_the_numbers_and_says_what_is_missing(chromium: Any, place: Path) -> None:
    context = chromium.new_context()
    context.add_init_script("delete window.DecompressionStream")
    view = context.new_page()
    view.goto((place / "report.html").as_uri())
    view.wait_for_selector("[role=alert]")
    assert "too old" in view.inner_text("[role=alert] >> nth=0")
    assert "modality_gap" in view.inner_text("#numbers")
    context.close()
