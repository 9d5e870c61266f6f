"""`geomclip plot-sphere` and `gc.plot_sphere`: what they write, draw and refuse."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import Opened, browser
from helpers import Done, assert_one_line, class_set, random_rows, run_cli, shared, small_set

import geomclip as gc
from geomclip.embeddings.record import EmbeddingSet
from geomclip.panels.measurement import measure

pytestmark = pytest.mark.usefixtures("few_steps")

Cli = Callable[..., Done]
HOSTILE = "<script>alert(1)</script> </script> <b>bold</b> <a href='javascript:alert(1)'>x</a> \u2028 end"
MAGIC = {".html": b"<!doctype html>", ".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_cli(capsys, "plot-sphere", *arguments)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors before.npz with hostile captions, after.npz of the same pairs in another order, one.npz of others."""
    folder = tmp_path_factory.mktemp("spheres")
    before = small_set(20, 2).replace(caption=[f"{number} {HOSTILE}" for number in range(40)])
    gc.save(before, folder / "before.npz")
    assert before.text is not None
    after = before.replace(text=before.text + 0.3 * random_rows(40, 16, seed=9))
    gc.save(after.select_images(torch.arange(20).flip(0)), folder / "after.npz")
    gc.save(before.select_images(torch.arange(15)), folder / "fewer.npz")
    gc.save(class_set(), folder / "classes.npz")
    measure(before, bootstrap=0).save(folder / "before.json")
    return folder


def figures_of(page: Path) -> list[dict[str, Any]]:
    blocks = re.findall(r'id="figure-\d+-data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    return [json.loads(block) for block in blocks]


def counted(figure: dict[str, Any], meta: str) -> list[int]:
    """How many rows each trace of this modality has."""
    shapes = [trace["customdata"] for trace in figure["data"] if trace.get("meta") == meta]
    return [len(np.frombuffer(base64.b64decode(shape["bdata"]), shape["dtype"])) for shape in shapes]


# --- what is written


def test_without_out_a_page_and_a_picture_are_written_here_and_named(run: Cli, place: Path, tmp_path: Path) -> None:
    done = run("--embeddings", place / "before.npz")
    assert (done.code, done.err) == (0, "")
    assert done.out.split() == ["geomclip-sphere.html", "geomclip-sphere.png"]
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(done.out.split())
    (figure,) = figures_of(tmp_path / "geomclip-sphere.html")
    assert (counted(figure, "image"), counted(figure, "text")) == ([20], [40])
    facts = figure["layout"]["annotations"][0]["text"]
    assert "trustworthiness" in facts
    assert "gap" in facts
    page = (tmp_path / "geomclip-sphere.html").read_text(encoding="utf-8")
    assert "geomclip plot-sphere --embeddings" in page  # how it was made
    assert "alert(1)</script>" not in page


def test_every_kind_of_file_can_be_asked_for_at_once_and_is_the_same_again(
    run: Cli, place: Path, tmp_path: Path
) -> None:
    both = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        files = [tmp_path / folder / f"s{suffix}" for suffix in MAGIC]
        out = [word for file in files for word in ("--out", file)]
        assert run("--embeddings", place / "before.npz", "--no-links", *out).code == 0
        both.append([file.read_bytes() for file in files])
    for one, other, magic in zip(*both, MAGIC.values(), strict=True):
        assert one.startswith(magic)
        assert len(one) == len(other)
    # the page tells the command, which names its folder
    assert both[0][0].replace(b"/one/", b"/two/") == both[1][0].replace(b"/one/", b"/two/")
    assert both[0][1:] == both[1][1:]


def test_before_and_after_are_side_by_side_and_a_morph_of_the_same_items(run: Cli, place: Path, tmp_path: Path) -> None:
    done = run(
        "--embeddings", place / "before.npz", "--after", place / "after.npz", "--out", "p.html", "--out", "p.png"
    )
    assert (done.code, done.err) == (0, "")
    beside, morph = figures_of(tmp_path / "p.html")
    assert counted(beside, "image") == [20, 20]
    assert beside["layout"]["meta"]["linked"] == ["scene", "scene2"]
    assert (counted(morph, "text"), len(morph["frames"]) >= 5) == ([40], True)
    hovers = [trace["hovertext"] for trace in beside["data"] if trace.get("meta") == "image"]
    assert hovers[0] == hovers[1]  # rows are paired by their ids, not by their places
    assert (tmp_path / "p.png").read_bytes().startswith(MAGIC[".png"])


def test_sets_that_differ_are_cut_to_what_they_share_when_asked(run: Cli, place: Path, tmp_path: Path) -> None:
    done = run("--embeddings", place / "before.npz", "--after", place / "fewer.npz", "--intersect", "--out", "s.html")
    assert done.code == 0
    assert counted(figures_of(tmp_path / "s.html")[0], "image") == [15, 15]


def test_classes_and_images_alone_are_drawn(place: Path) -> None:
    classes = gc.plot_sphere(gc.load(place / "classes.npz"))
    assert [trace.name for trace in classes.data if trace.meta in ("image", "text")] == ["40 images", "4 classes"]
    alone = gc.plot_sphere(EmbeddingSet(random_rows(20, 8, seed=0)))
    assert [trace.name for trace in alone.data if trace.meta in ("image", "text")] == ["20 images"]


def test_in_python_the_figure_comes_back_and_nothing_is_written(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before, after = (gc.load(place / f"{name}.npz") for name in ("before", "after"))
    beside, morph = (gc.plot_sphere(before, after, morph=morph, title="mine") for morph in (False, True))
    assert beside.layout.meta["linked"] == ["scene", "scene2"]
    assert len(morph.frames) >= 5
    assert beside.layout.title.text == "mine"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(gc.InputError, match="morph is of two sets"):
        gc.plot_sphere(before, morph=True)


@pytest.mark.parametrize(
    ("method", "quiet", "warned"), [("angles", (), 0), ("dosnes", (), 1), ("dosnes", ["--quiet"], 0)]
)
def test_a_map_that_misleads_says_so_on_stderr(
    run: Cli, tmp_path: Path, method: str, quiet: Sequence[str], warned: int
) -> None:
    narrow = small_set(20, 2).replace(image=random_rows(1, 16, seed=3) + 0.02 * random_rows(20, 16, seed=4))
    gc.save(narrow, tmp_path / "narrow.npz")
    done = run("--embeddings", "narrow.npz", "--method", method, "--out", "a.png", *quiet)
    lines = done.err.splitlines()
    assert (done.code, done.out, len(lines)) == (0, "a.png\n", warned)
    for line in lines:
        assert line.startswith("geomclip: warning: dosnes: images drawn ")
        assert line.endswith("method angles keeps them")


# --- what is refused


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--out", "s.jpg"], "s.jpg must end in .html, .png, .svg or .pdf"),
        (["--out", "s"], "s must end in .html"),
        (["--out", "s.png", "--out", "s.png"], "--out s.png is given twice"),
        (["--out", "no/such/s.png"], "no/such"),
        (["--method", "dosne"], "no method 'dosne'; did you mean dosnes?"),
        (["--method", "xyz"], "no method 'xyz'; for a sphere angles, dosnes or umap"),
        (["--method", "svd"], "svd places points on a plane, not on a sphere: geomclip project --method svd draws it"),
        (["--after", "before.json"], "--after before.json is a result, which has no vectors"),
        (["--after", "missing.npz"], "missing.npz"),
        (["--model", "demo"], "leave out --model"),
        (["--limit", "5"], "leave out --limit"),
        (["--model", "demo", "--after", "{place}/after.npz"], "leave out --model"),
        (["--after", "{place}/fewer.npz"], "5 images are only before"),
        (["--intersect"], "name the other with --after"),
        (["--capions", "first"], "did you mean --captions"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    run: Cli, place: Path, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    done = run("--embeddings", place / "before.npz", *(word.format(place=place) for word in arguments))
    assert_one_line(done, 2)
    assert expected in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("package", "arguments"),
    [("plotly", []), ("matplotlib", []), ("jinja2", ["--out", "s.html"]), ("matplotlib", ["--out", "s.pdf"])],
)
def test_a_missing_package_is_told_with_the_way_to_it_before_any_work(
    run: Cli, monkeypatch: pytest.MonkeyPatch, package: str, arguments: list[str]
) -> None:
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    done = run("--embeddings", "never-read.npz", *arguments)
    assert_one_line(done, 2)
    assert f"plot-sphere needs {package}: pip install 'geomclip[viz]'" in done.err


def test_rows_with_nan_are_named(run: Cli, tmp_path: Path) -> None:
    image = random_rows(6, 4, seed=0).numpy()
    image[3, 1] = np.nan
    np.savez(tmp_path / "nan.npz", image=image, text=random_rows(6, 4, seed=1).numpy())
    done = run("--embeddings", tmp_path / "nan.npz")
    assert_one_line(done, 2)
    assert "image row 3 holds NaN" in done.err


@pytest.mark.parametrize("images", [1, 2, 3])
def test_so_few_points_are_refused_or_drawn_never_a_traceback(run: Cli, tmp_path: Path, images: int) -> None:
    rows = random_rows(2 * images, 4, seed=0).numpy()
    np.savez(tmp_path / "few.npz", image=rows[:images], text=rows[images:])
    done = run("--embeddings", tmp_path / "few.npz", "--out", "s.html")
    if done.code:
        assert_one_line(done, 2)
        assert re.search(r"at least \d+", done.err)
        assert not (tmp_path / "s.html").exists()
    else:
        assert counted(figures_of(tmp_path / "s.html")[0], "image") == [images]


def test_points_that_are_all_equal_are_refused(run: Cli, tmp_path: Path) -> None:
    np.savez(tmp_path / "same.npz", image=np.ones((9, 4)), text=np.ones((9, 4)))
    done = run("--embeddings", tmp_path / "same.npz")
    assert_one_line(done, 2)
    assert "equal" in done.err or "same" in done.err


def test_a_place_that_cannot_be_written_to_keeps_what_was_there(run: Cli, place: Path, tmp_path: Path) -> None:
    (tmp_path / "s.html").mkdir()
    done = run("--embeddings", place / "before.npz", "--out", "s.html")
    assert_one_line(done, 2)
    assert (tmp_path / "s.html").is_dir()


# --- real vectors, a real browser


def test_real_clip_shows_two_caps_as_far_apart_and_as_wide_as_they_are() -> None:
    real = gc.load(shared("data/embeddings/flickr8k_100x5_vitb32/embeddings.npz"))
    figure = gc.plot_sphere(real, n_iter=500)
    image, text = (
        np.stack([np.asarray(trace[axis]) for axis in "xyz"], axis=1)
        for meta in ("image", "text")
        for trace in figure.data
        if trace.meta == meta
    )
    drawn, true = (
        [np.linalg.norm(image.mean(0) - text.mean(0)), np.linalg.norm(image.mean(0)), np.linalg.norm(text.mean(0))]
        for image, text in ((image, text), (real.image, real.text))
    )
    np.testing.assert_allclose(drawn, true, atol=0.01)
    way = image.mean(0) - text.mean(0)
    assert ((image @ way) > 0).mean() > 0.8
    assert ((text @ way) < 0).mean() > 0.75


@pytest.mark.slow
def test_the_demo_model_is_drawn_without_arguments_and_opens_in_a_browser(run: Cli, tmp_path: Path) -> None:
    assert run().code == 0
    with browser() as chromium:
        page = Opened(chromium, tmp_path / "geomclip-sphere.html", width=390, height=844, scheme="dark")
        page.draw()
        assert page.troubles == []
        assert page.view.evaluate("document.documentElement.scrollWidth") <= 390
        page.close()
