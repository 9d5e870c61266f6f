"""Reports as files: what a page holds, what it leaves out and says so, what it reads, and how large it is."""

from __future__ import annotations

import base64
import io
import json
import re
import zlib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Done, assert_one_line, class_set, folder_of_pairs, picture, random_rows, run_cli, small_set
from pages import carried

import geomclip as gc
from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.words import speak_of_flags
from geomclip.metrics import METRICS
from geomclip.pairs import Pair, Pairs
from geomclip.panels.comparison import Comparison, Row, tables
from geomclip.panels.details import Details, Neighborhood
from geomclip.panels.documents import panel_csv
from geomclip.panels.measurement import Measured, measure
from geomclip.panels.record import Panel
from geomclip.projections.maps import Map, PointSet
from geomclip.reports import numbers, thumbnails
from geomclip.reports.course import path_of
from geomclip.reports.figures import figures_of
from geomclip.reports.one import page_of
from geomclip.reports.page import html
from geomclip.reports.signs import plain
from geomclip.reports.views import PageOptions, view_of

pytest.importorskip("plotly", reason="reports need the extra viz")
pytest.importorskip("jinja2", reason="reports need the extra viz")

Cli = Callable[..., Done]
FEW = "alignment,uniformity_joint,modality_gap,image_retrieval_recall@1,image_retrieval_ece"
EVIL = '<script>alert(1)</script></script>"><img src=x onerror=alert(2)>\u202egpj.exe\u2028{{ 7 * 7 }}${x}\x00\ud800'
SHOWN = (
    '<script>alert(1)</script></script>"><img src=x onerror=alert(2)>\\u202egpj.exe\\u2028{{ 7 * 7 }}${x}\\u0000\\ud800'
)


def tags_of(page: str) -> list[tuple[str, dict[str, str]]]:
    """The tags that a browser sees, with their attributes."""
    found: list[tuple[str, dict[str, str]]] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, {name: value or "" for name, value in attrs}))

    Tags().feed(page)
    return found


def table(content: dict[str, Any]) -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(content["bdata"]), f"<{content['dtype']}").reshape(content["shape"])


def quick_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps of chance in place of projected ones, which take their time and other bytes of the same number."""

    def project(points: PointSet, method: str, **_: object) -> Map:
        embeddings = points.set
        texts = embeddings.text if embeddings.text is not None else embeddings.class_text
        assert texts is not None
        width = 3 if method == "dosnes" else 2
        one, other = (random_rows(len(x), width, seed=seed).numpy() for seed, x in enumerate((embeddings.image, texts)))
        own = None if embeddings.image_of_text is None else embeddings.image_of_text.numpy()
        return Map(one, other, own, "sphere" if width == 3 else "plane", method)

    monkeypatch.setattr("geomclip.projections.maps.project", project)
    monkeypatch.setattr(
        "geomclip.projections.maps.project_pair", lambda a, b, method, **_: (project(a, method), project(b, method))
    )


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Cli:
    return lambda *arguments: run_cli(capsys, "report", *arguments)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return gc.measure(small_set(30, 2), bootstrap=20, curves=True, by="source")


@pytest.fixture(scope="module")
def written(panel: Panel, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a small set, drawn as it is for users."""
    path = tmp_path_factory.mktemp("report") / "r.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geomclip.panels.sources.measure", lambda *_, **__: panel)  # once for all tests
        return gc.report(small_set(30, 2), path, bootstrap=20, by="source").read_text()


# --- what is in a page


def test_a_page_has_every_number_with_its_sentence(written: str, panel: Panel) -> None:
    assert all(f"<code>{key}</code>" in written for key in panel)
    assert all(numbers.title(key).replace(">", "&gt;") in written for key in panel)
    assert "On average a text is" in written
    assert written.count('<rect class="interval"') > 30
    assert "<h1>toy (test) · none</h1>" in written
    assert "By source" in written


def test_a_page_says_why_a_number_has_no_interval(written: str, panel: Panel) -> None:
    cells = re.findall(r'<td data-label="95 %" class="told">(.+?)</td>', written)
    without = [key for key, value in panel.values.items() if value is not None and key not in panel.ci]
    assert len(cells) == len(without) > 0
    assert "a few hubs decide it" in cells
    assert "under 100 images" in cells


def test_a_page_has_every_picture(written: str) -> None:
    drawn = carried(written, "geomclip-pictures")
    expected = {"sphere", "plane", "similarities", "spectrum", "occurrence", "image_retrieval", "text_retrieval"}
    assert set(drawn) == {*expected, "plane-of-losses", "gap-curves"}
    assert written.count("data-picture=") == len(drawn)
    assert written.count("data-map") == 2
    traces = drawn["sphere"]["data"]
    assert {trace["meta"] for trace in traces} >= {"image", "text"}
    assert all("hovertext" not in trace for trace in traces)  # the page shows thumbnail and caption


def test_what_a_click_shows_is_the_nearest_in_the_full_space(written: str) -> None:
    content, embeddings = carried(written)["items"], small_set(30, 2)
    assert embeddings.text is not None
    score = embeddings.image @ embeddings.text.T
    space = content["spaces"][0]
    for kind, scores in (("image", score), ("text", score.T)):
        best = scores.topk(10, dim=1)
        assert table(space["nearest"][kind]["cosine"]) / 10_000 == pytest.approx(best.values.numpy(), abs=6e-5)
        found = torch.from_numpy(table(space["nearest"][kind]["row"]).astype(np.int64))
        assert scores.gather(1, found) == pytest.approx(best.values)
    owner = table(content["pairs"]["image"])
    assert owner.tolist() == embeddings.image_of_text.tolist()  # type: ignore[union-attr]
    ranks = (score.T[torch.arange(60), torch.from_numpy(owner.astype(np.int64))][:, None] < score.T).sum(1) + 1
    assert table(space["rank"]["text"]).tolist() == ranks.tolist()


def test_the_same_call_gives_the_same_bytes(tmp_path: Path) -> None:
    pages = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        options: dict[str, Any] = {"bootstrap": 20, "metrics": FEW, "command": "x"}
        pages.append(gc.report(small_set(12), tmp_path / folder / "r.html", **options).read_bytes())
    assert pages[0] == pages[1]
    assert b"seconds" not in pages[0]


def test_what_comes_from_outside_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick_maps(monkeypatch)
    evil = small_set(12, 1).replace(
        caption=[EVIL] * 12,
        image_id=[f"{EVIL}{i}" for i in range(12)],
        columns={"source": [EVIL] * 12},
        made_from={"dataset": EVIL, "split": EVIL, "model": EVIL, "pretrained": EVIL, "skipped": [{"path": EVIL}]},
    )
    for page in (
        gc.report(evil, tmp_path / "r.html", bootstrap=0, metrics=FEW, by="source").read_text(),
        gc.report(gc.compare(evil, evil, bootstrap=0, metrics=FEW), tmp_path / "c.html").read_text(),
    ):
        tags = tags_of(page)
        assert "alert(1)&lt;/script&gt;" in page
        assert not [
            tag
            for tag, attributes in tags
            if tag in ("img", "iframe") or any(name.startswith("on") for name in attributes)
        ]
        assert (
            sum(tag == "script" for tag, _ in tags) == 7
        )  # data, pictures, plotly, its starter, themes, drawing, ours
        assert "{{ 7 * 7 }}" in page
        assert not set("\u202e\u2028\x00") & set(page)
        assert carried(page)["items"]["texts"] == [SHOWN] * 12


def test_signs_that_act_are_written_out_and_letters_stay() -> None:
    assert plain(EVIL) == SHOWN
    letters = "naïve 日本語 עברית हिन्दी 👩‍🚀 a\tb\nc"
    assert plain(letters) == letters


def test_a_page_asks_nobody_for_anything(written: str) -> None:
    assert "default-src &#39;none&#39;" in written
    asking = {"src", "href", "action", "data", "srcset", "poster", "background"}
    assert [has[name] for _, has in tags_of(written) for name in asking & set(has) if has[name][0] != "#"] == []
    style = written[written.index("<style>") : written.index("</style>")]
    assert "@import" not in style
    assert "url(" not in style


def test_a_result_has_what_it_can_show_and_says_what_is_missing(tmp_path: Path, panel: Panel) -> None:
    panel = panel.replace(groups={}, made_from={"model": "demo", "dataset": "emoji", "split": "test"})
    page = gc.report(panel.save(tmp_path / "r.json"), tmp_path / "r.html").read_text()
    assert "no vectors" in page
    assert "geomclip report demo --data emoji --split test --out report.html" in page
    assert set(carried(page, "geomclip-pictures")) == {
        "image_retrieval",
        "text_retrieval",
        "plane-of-losses",
        "gap-curves",
    }
    assert 'id="search"' not in page
    assert carried(page)["items"] is None


def test_classes_are_explored_as_texts_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick_maps(monkeypatch)
    page = gc.report(class_set(), tmp_path / "r.html", bootstrap=0).read_text()
    content = carried(page)["items"]
    assert content["texts"] == [f"class {c}" for c in range(4)]
    assert table(content["pairs"]["text"]).tolist() == [i % 4 for i in range(40)]
    assert table(content["spaces"][0]["nearest"]["image"]["row"]).shape == (40, 4)
    assert "Search in classes" in page


@pytest.mark.parametrize(
    "embeddings",
    [
        EmbeddingSet(torch.eye(2), torch.eye(2)),
        EmbeddingSet(torch.ones(6, 4), torch.ones(6, 4)),
        EmbeddingSet(torch.eye(3), torch.eye(3).flip(0)),
    ],
    ids=["two pairs", "all equal", "three pairs"],
)
def test_what_cannot_be_drawn_says_why(tmp_path: Path, embeddings: EmbeddingSet) -> None:
    page = gc.report(embeddings, tmp_path / "r.html", bootstrap=0, metrics=FEW).read_text()
    missing = set(re.findall(r'data-picture="([\w-]+)"', page)) ^ {"sphere", "plane"}
    assert ("sphere" in missing) == ("Not drawn: " in page)
    assert carried(page)["items"]["images"] == [str(i) for i in range(len(embeddings.image))]


def test_of_a_large_set_a_sample_is_shown_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick_maps(monkeypatch)
    page = gc.report(small_set(40, 2), tmp_path / "r.html", bootstrap=0, metrics=FEW, points=60).read_text()
    content = carried(page)
    assert (len(content["items"]["images"]), len(content["items"]["texts"])) == (20, 40)
    assert "are of 20 of the 40 images, drawn by seed 0; numbers and ranks are of all" in page
    assert json.loads(content["files"]["report.json"])["n_images"] == 40


def test_files_to_download_have_the_numbers_to_the_last_digit(written: str, panel: Panel) -> None:
    files = carried(written)["files"]
    assert json.loads(files["report.json"])["metrics"] == dict(panel.values)
    lines = files["report.csv"].splitlines()
    assert len(lines) == 1 + len(panel) + sum(len(group) for group in panel.groups.values())
    assert f",alignment,{panel['alignment']!r},{panel.ci['alignment'][0]!r}," in files["report.csv"]
    tricky = panel_csv(Panel({}, groups={"=1+1": Panel({"alignment": 1.0})}))
    assert "\n'=1+1,alignment" in tricky


# --- comparisons


def test_the_page_of_a_comparison_begins_with_the_verdict_and_mutes_what_is_of_guesses(tmp_path: Path) -> None:
    made = small_set(24, 2)
    assert made.text is not None
    after = made.replace(text=made.text + 0.4 * random_rows(48, 16, seed=9))
    there = gc.compare(made, after, bootstrap=50, metrics=FEW)
    comparison = gc.compare(made, after, bootstrap=50, metrics=FEW, others={"<other>": there})
    page = gc.report(comparison, tmp_path / "c.html").read_text()
    card = page.index('<section class="answer" aria-label="Verdict">')
    assert card < page.index('<dl class="tiles">') < page.index('id="numbers"')
    for about, sentence in comparison.verdict.paragraphs():
        assert f"<div><dt>{about}</dt><dd>{sentence.replace('<other>', '&lt;other&gt;')}</dd></div>" in page
    assert "<h3>Other data, not trained on</h3>" in page
    assert '<th scope="row"><bdi>&lt;other&gt;</bdi></th><td>image_retrieval_recall@1</td>' in page
    assert "muted" not in page.partition("</style>")[2].partition("<script")[0]

    guesses = [made.replace(text=random_rows(48, 16, seed=seed)) for seed in (5, 6)]
    comparison = gc.compare(*guesses, bootstrap=50, metrics=FEW)
    assert comparison.verdict.headline == "at chance"
    page = gc.report(comparison, tmp_path / "d.html").read_text()
    for muted in ('<section class="answer muted"', '<dl class="tiles muted">', '<table class="numbers changes muted">'):
        assert muted in page


def test_the_page_of_a_comparison_has_changes_and_both_spaces(tmp_path: Path) -> None:
    before = small_set(24, 2)
    assert before.text is not None
    after = before.replace(text=before.text + 0.4 * random_rows(48, 16, seed=9))
    comparison = gc.compare(before, after, bootstrap=50, by="source", metrics=FEW)
    page = gc.report(comparison, tmp_path / "c.html").read_text()
    assert all(f"<code>{key}</code>" in page for key in comparison)
    for name in ("better", "worse", "unclear"):
        count = sum(row.verdict == name for row in comparison.rows.values())
        # at the top too, in tiles
        assert page.count(f'class="verdict {name}"') >= count
    first = page.index("Primary, named before looking")
    assert first < page.index("<code>image_retrieval_recall@1</code>") < page.index("<code>alignment</code>")
    assert page.count("<code>image_retrieval_recall@1</code>") == 1
    for row in comparison.rows.values():
        if row.q is not None:
            assert f'<td data-label="q">{tables.chance(row.q)}</td>' in page
    assert "q: p corrected for all that are judged" in page
    assert "* better or worse, by a correction within that group alone" in page
    content = carried(page)
    assert [space["name"] for space in content["items"]["spaces"]] == ["before", "after"]
    assert {"sphere", "plane", "similarities-before", "similarities-after"} <= set(carried(page, "geomclip-pictures"))
    assert json.loads(content["files"]["compare.json"]) == json.loads(
        json.dumps({key: value for key, value in comparison.to_dict().items() if key != "written"})
    )
    assert "Found later" in page


def test_results_compared_have_a_page_without_spaces(tmp_path: Path) -> None:
    sides = [measure(small_set(20, 2, seed=seed), bootstrap=20, metrics=FEW) for seed in (0, 1)]
    page = gc.report(gc.compare(*sides, bootstrap=20, intersect=True), tmp_path / "c.html").read_text()
    assert "no vectors of both sides" in page
    assert "image_retrieval-before" in page
    alone = gc.report(Comparison({"alignment": Row(1.0, 2.0, 1.0)}), tmp_path / "d.html").read_text()
    assert "<code>alignment</code>" in alone


def test_a_comparison_is_saved_as_data_and_its_page_is_a_report(tmp_path: Path) -> None:
    comparison = Comparison({"alignment": Row(1.0, 2.0, 1.0)})
    with pytest.raises(InputError, match=r"x\.html: a page of a comparison is made by geomclip\.report\(comparison, "):
        comparison.save(tmp_path / "x.html")
    with pytest.raises(InputError, match="metrics says how to measure, and a comparison is measured: leave it out"):
        gc.report(comparison, tmp_path / "x.html", metrics="all")
    with pytest.raises(InputError, match=r"no option 'slit'; did you mean split or limit\?"):
        gc.report(comparison, tmp_path / "x.html", slit="test")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("flags", "message"), [(True, "--no-thumbnails: "), (False, "thumbnails=False: ")])
def test_options_are_named_as_who_called_writes_them(flags: bool, message: str) -> None:
    speak_of_flags(flags)
    try:
        for source in (Panel({"alignment": 1.0}), Comparison({"alignment": Row(1.0, 2.0, 1.0)})):
            with pytest.raises(InputError, match=f"^{message}"):
                gc.report(source, "x.html", thumbnails=False)
    finally:
        speak_of_flags(False)


# --- thumbnails


def test_thumbnails_are_small_and_of_the_right_images(tmp_path: Path) -> None:
    from PIL import Image

    folder = folder_of_pairs(tmp_path / "data", 6)
    (folder / "002.png").write_bytes(b"no image")
    (folder / "004.png").write_bytes(picture(4, (900, 500)))
    ids = _ids(folder)
    made = small_set(6, 1).replace(image_id=(*ids[:5], "not there"))
    found = thumbnails_of(made, data=f"folder:{folder}")
    assert [bool(each) for each in found.webp] == [True, True, False, True, True, False]
    with Image.open(io.BytesIO(found.webp[4])) as opened:
        assert opened.format == "WEBP"
        assert opened.size == (96, 53)
    with Image.open(io.BytesIO(found.webp[1])) as opened, Image.open(io.BytesIO(picture(1))) as original:
        difference = np.asarray(opened.convert("L"), float).mean() - np.asarray(original.convert("L"), float).mean()
    assert abs(difference) < 6
    (note,) = found.notes
    first = f"2 of 6 images have no thumbnail; first: {ids[2]} (002.png is not an image that is read (JPEG, PNG, "
    assert note.startswith(first)


def thumbnails_of(made: EmbeddingSet, *, cache_dir: Path | None = None, **of_data: str) -> thumbnails.Thumbnails:
    return thumbnails.thumbnails(made.image_id, made.made_from, of_data, cache_dir=cache_dir)


def _ids(folder: Path) -> list[str]:
    from geomclip.pairs import Source, load_pairs

    return [pair.image_id for pair in load_pairs(Source(f"folder:{folder}")).pairs]


def test_a_store_names_a_data_set_and_never_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of_pairs(tmp_path / "private", 6)
    made = small_set(6, 1).replace(image_id=_ids(folder), made_from={"dataset": f"folder:{folder}", "split": "all"})
    monkeypatch.setattr(thumbnails, "load_pairs", lambda *_, **__: pytest.fail("it was opened"))
    found = thumbnails_of(made)
    assert not found
    assert found.notes == (f"no thumbnails: its images are of folder:{folder}, which data tells",)


def test_absent_data_leave_a_note_and_data_asked_for_must_be_there(tmp_path: Path) -> None:
    made = small_set(6, 1).replace(made_from={"dataset": "coco", "split": "val"})
    found = thumbnails_of(made, cache_dir=tmp_path)
    assert found.notes[0].startswith("no thumbnails: coco is not at ")
    with pytest.raises(NotAvailableError, match="coco is not at"):
        thumbnails_of(made, cache_dir=tmp_path, data="coco")


def test_row_numbers_are_no_ids_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def pairs(*ids: str) -> Pairs:
        return Pairs("photos", "all", [Pair(each, Bytes(picture(int(each)))) for each in ids])

    made = small_set(4, 1)  # ids 0 to 3: its rows, of whatever it is
    monkeypatch.setattr(thumbnails, "load_pairs", lambda *_, **__: pairs("3", "4", "5", "0", "1", "2"))
    assert not thumbnails_of(made, data="photos")
    monkeypatch.setattr(thumbnails, "load_pairs", lambda *_, **__: pairs("0", "1", "2", "3"))
    assert all(thumbnails_of(made, data="photos").webp)


# --- size


def test_a_thousand_pairs_with_thumbnails_take_less_than_15_megabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_maps(monkeypatch)
    worst = thumbnails.shrunk(Bytes(picture(0, (300, 300))))  # noise: a photo takes half of that
    webp = [np.random.default_rng(i).bytes(len(worst)) for i in range(1000)]  # all different
    monkeypatch.setattr("geomclip.reports.views.thumbnails", lambda *_, **__: thumbnails.Thumbnails(webp, (), ""))
    made = small_set(1000, 1, 32).replace(
        caption=[f"a caption of fifty letters, as most photos have, {i}" for i in range(1000)]
    )
    size = gc.report(made, tmp_path / "r.html", bootstrap=0, metrics="alignment", curves=False).stat().st_size
    assert 5e6 < size < 15e6


def test_ten_thousand_pairs_without_thumbnails_take_less_than_5_megabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_maps(monkeypatch)
    monkeypatch.setattr("geomclip.reports.views.details_of", details_of_chance)
    words = [f"caption {i} {hash_of(i)} of fifty letters, as photos have" for i in range(10_000)]
    made = small_set(10_000, 1, 8).replace(caption=words)
    panel = Panel({}, items={kind: ranks(kind) for kind in ("image", "text")}, n_images=10_000, n_texts=10_000)
    view = view_of({"": Measured(panel, made)}, PageOptions(of_data=None))
    size = len(html(page_of(Measured(panel, made), view, "")).encode())
    assert 3e6 < size < 5e6


def ranks(kind: str) -> dict[str, list[Any]]:
    """Items of a panel: a rank for each, as even as can be."""
    name = {"image": "image_id", "text": "caption_id"}[kind]
    return {name: [str(i) for i in range(10_000)], "rank": (np.random.default_rng(3).permutation(10_000) + 1).tolist()}


def details_of_chance(embeddings: EmbeddingSet, **_: object) -> Details:
    """Neighbours drawn at random: nothing compresses worse."""
    draw, n = np.random.default_rng(0), len(embeddings.image)
    near = {
        kind: Neighborhood(draw.integers(0, n, (n, 10)), draw.uniform(-1, 1, (n, 10)).astype(np.float32))
        for kind in ("image", "text")
    }
    counts = {kind: draw.integers(0, 50, n).astype(float) for kind in near}
    return Details(np.linspace(0, 1, 3), {"matched": np.ones(2, np.int64)}, {"image": np.ones(8)}, 10, counts, near)


def hash_of(i: int) -> str:
    return base64.b32encode(zlib.crc32(str(i).encode()).to_bytes(4, "big")).decode()


class Bytes:
    """An image that is these bytes."""

    path = "noise.png"

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self) -> bytes:
        return self.data

    def identity(self) -> str:
        return ""


# --- the command, and what is refused


def test_the_command_writes_the_page_and_says_where(run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick_maps(monkeypatch)
    monkeypatch.chdir(tmp_path)
    folder = folder_of_pairs(tmp_path / "data", 8)
    gc.save(small_set(8, 1).replace(image_id=_ids(folder)), "store")
    done = run("store", "--data", f"folder:{folder}", "--bootstrap", 0, "--no-curves", "--metrics", "alignment")
    assert (done.code, done.out, done.err) == (0, "geomclip-report.html\n", "")
    page = Path("geomclip-report.html").read_text()
    assert "<code>geomclip report store --data folder:data --bootstrap 0 --no-curves --metrics alignment</code>" in page
    assert sum(bool(each) for each in carried(page)["items"]["thumbnails"]) == 8
    assert run("store", "--no-thumbnails", "--bootstrap", 0, "--metrics", "alignment").code == 0
    assert carried(Path("geomclip-report.html").read_text())["items"]["thumbnails"] == []


def test_compare_writes_the_page_of_both_sides(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_maps(monkeypatch)
    monkeypatch.chdir(tmp_path)
    for name in ("a.npz", "b.npz"):
        gc.save(small_set(8, 1, apart=0.5 if name == "a.npz" else 0.1), name)
    words = ["compare", "a.npz", "b.npz", "--out", "c.html", "--bootstrap", "0", "--metrics", "alignment"]
    done = run_cli(capsys, *words, "--no-thumbnails")
    assert (done.code, done.err) == (0, "")
    assert "Alignment" in done.out
    page = Path("c.html").read_text()
    assert f"<code>geomclip {' '.join(words)} --no-thumbnails</code>" in page
    items = carried(page)["items"]
    assert ([space["name"] for space in items["spaces"]], items["thumbnails"]) == (["before", "after"], [])


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r.html").write_text("old")
    monkeypatch.setattr("geomclip.plots.offline.plotly_script", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        gc.report(Panel({"alignment": 1.0}), tmp_path / "r.html")
    assert [each.name for each in tmp_path.iterdir()] == ["r.html"]
    assert (tmp_path / "r.html").read_text() == "old"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.npz", "--out", "x.pdf"], "x.pdf must be a file whose name ends in .html"),
        (["a.npz", "--out", "absent/x.html"], "absent does not exist"),
        (["absent.npz"], "absent.npz: no such file"),
        (["absent.json"], "absent.json cannot be read"),
        (["a.json", "--data", "emoji"], "--data says where images lie, and it is a result"),
        (["a.json", "--metrics", "all"], "--metrics says how to measure, and it is a result"),
        (["a.json", "--no-thumbnails"], "--no-thumbnails: a result has no images"),
        (["a.npz", "--limit", "4"], "--limit says how to extract, and the source is not a model"),
        (["a.npz", "--device", "cpu"], "--device says how to extract, and the source is not a model"),
        (["a.npz", "--no-thumbnails", "--data", "emoji"], "--data says how to extract"),
        (
            ["a.npz", "--pretrained", "x"],
            "--pretrained says which weights a named model has, and the source is not one",
        ),
        (["a.npz", "--data", "emojis"], "unknown data 'emojis': did you mean emoji?"),
        (["a.npz", "--points", "1"], "--points"),
        (["a.npz", "--metrics", "alignmet"], "nearest: alignment"),
        (["a.npz", "--temperature", "1", "--logit-scale", "1"], "give one of them"),
        (["demoo"], "demoo"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    gc.save(small_set(8, 1), "a.npz")
    Panel({"alignment": 1.0}).save("a.json")
    there = set(tmp_path.iterdir())
    assert_one_line(run(*arguments), 2, message)
    assert set(tmp_path.iterdir()) == there


def test_a_missing_package_is_named_with_the_way_to_it(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.chdir(tmp_path)
    Panel({"alignment": 1.0}).save("a.json")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    from geomclip.reports import page

    page._environment.cache_clear()  # templates that are loaded need jinja2 no more, and no caller can unload them
    assert_one_line(run("a.json"), 2, "needs jinja2: pip install 'geomclip[viz]'")


def test_bars_lie_where_their_numbers_do() -> None:
    panel = Panel(
        {"alignment": 1.0, "image_retrieval_recall@1": 0.25}, ci={"alignment": (0.5, 1.5)}, null={"alignment": 2.0}
    )
    line = {line.key: line for group in numbers.groups_of(panel) for line in group.lines}
    scale = (0.5 - 0.225, 2.0 + 0.225)  # 0.15 of the 1.5 that are shown, on both sides
    expected = [100 * (x - scale[0]) / (scale[1] - scale[0]) for x in (0.5, 1.0, 2.0)]
    bar = line["alignment"].bar
    assert bar is not None
    assert [bar.low, bar.value, bar.mark] == pytest.approx(expected, abs=0.01)
    share = line["image_retrieval_recall@1"].bar
    assert share is not None
    assert (share.value, share.mark, share.scale) == (25.0, None, "on a scale from 0 to 1.0000")
    assert METRICS["alignment"].low == 0
    with pytest.raises(InputError, match="points must be at least 4, got 3"):
        gc.report(panel, "x.html", points=3)


# --- the way of a training


def refuse(*_: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_the_way_of_a_training_is_drawn_from_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [
        {"step": 0, "probe": {"alignment": 1.4, "uniformity_joint": -2.0}},
        {"step": 1, "loss": 3.0},
        {"step": 10, "probe": {"alignment": 1.2, "uniformity_joint": -2.5}},
        {"step": 20, "probe": {"alignment": None, "uniformity_joint": -2.5}},
        {"step": 25, "probe": {"alignment": 10**400, "uniformity_joint": -2.5}},
        {"step": "30", "probe": []},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert path_of(tmp_path) == [(0, 1.4, -2.0), (10, 1.2, -2.5)]
    panel = Panel({"alignment": 1.2, "uniformity_joint": -2.4})
    (drawn,) = figures_of({"": panel}, [], tmp_path)
    assert "The line is the way of the training" in drawn.text
    assert drawn.figure["data"][0]["name"] == "training"
    monkeypatch.setattr("geomclip.training.watching.journal.read_log", refuse)
    (drawn,) = figures_of({"": panel}, [], tmp_path)
    assert "No path of the training: " in drawn.text
    assert "log.jsonl cannot be read (Permission denied)" in drawn.text
    assert len(drawn.figure["data"]) == 1
    assert path_of("demo") == path_of(panel) == []


def test_one_pair_is_refused_in_one_line(run: Cli, tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", image=np.ones((1, 4)), text=np.ones((1, 4)))
    done = run(str(tmp_path / "one.npz"), "--out", str(tmp_path / "r.html"))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "at least 2 images are needed, got 1" in done.err
    assert not (tmp_path / "r.html").exists()
