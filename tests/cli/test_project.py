"""`geomclip project`: coordinates and a picture beside, options by method, and what is refused before any work."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import Done, assert_one_line, class_set, random_rows, run_cli, small_set

import geomclip as gc
from geomclip.embeddings.record import EmbeddingSet
from geomclip.panels.measurement import measure
from geomclip.plots import drawing

pytestmark = pytest.mark.usefixtures("few_steps")

Cli = Callable[..., Done]
MAGIC = {".html": b"<!doctype html>", ".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_cli(capsys, "project", *arguments)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors before.npz, after.npz of the same pairs in another order, and others."""
    folder = tmp_path_factory.mktemp("maps")
    before = small_set(20, 2).replace(caption=[f"text {number}" for number in range(40)])
    assert before.text is not None
    after = before.replace(text=before.text + 0.3 * random_rows(40, 16, seed=9))
    gc.save(before, folder / "before.npz")
    gc.save(after.select_images(torch.arange(20).flip(0)), folder / "after.npz")
    gc.save(before.select_images(torch.arange(15)), folder / "fewer.npz")
    gc.save(class_set(), folder / "classes.npz")
    gc.save(EmbeddingSet(torch.eye(4)[:2], torch.eye(4)[2:]), folder / "two.npz")
    gc.save(EmbeddingSet(torch.ones(20, 4), torch.ones(20, 4)), folder / "equal.npz")
    measure(before, bootstrap=0).save(folder / "before.json")
    return folder


def rows_of(path: str | Path) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz", ".json"])
def test_coordinates_are_written_with_a_picture_beside(suffix: str, run: Cli, place: Path) -> None:
    done = run("--embeddings", place / "before.npz", "--method", "svd", "--out", f"plane{suffix}")
    assert (done.code, done.out) == (0, f"plane{suffix}\nplane.png\n"), done.err
    assert Path("plane.png").read_bytes().startswith(MAGIC[".png"])
    assert Path(f"plane{suffix}").stat().st_size > 500


@pytest.mark.parametrize(
    ("suffix", "method"), [(".html", "dosnes"), (".png", "dosnes"), (".svg", "svd"), (".pdf", "svd")]
)
def test_a_picture_is_written_with_coordinates_beside(suffix: str, method: str, run: Cli, place: Path) -> None:
    done = run("--embeddings", place / "before.npz", "--method", method, "--out", f"globe{suffix}")
    assert (done.code, done.out) == (0, f"globe.csv\nglobe{suffix}\n"), done.err
    assert Path(f"globe{suffix}").read_bytes().startswith(MAGIC[suffix])
    rows = rows_of("globe.csv")
    assert [len([row for row in rows if row["kind"] == kind]) for kind in ("image", "text")] == [20, 40]
    assert rows[-1]["caption"] == "text 39"
    assert rows[-1]["image"] == rows[19]["id"]
    if method == "dosnes":
        assert sum(float(rows[0][axis]) ** 2 for axis in "xyz") == pytest.approx(1, abs=1e-5)


def test_the_page_says_what_the_map_keeps_and_how_it_was_made(run: Cli, place: Path) -> None:
    run("--embeddings", place / "before.npz", "--method", "svd", "--out", "plane.html", "--seed", 3)
    page = Path("plane.html").read_text(encoding="utf-8")
    for words in ("trustworthiness", "correlation of distances", "of a typical distance", "geomclip project --emb"):
        assert words in page
    assert "random_state 3" in page


def test_the_same_command_writes_the_same_bytes(run: Cli, place: Path) -> None:
    written = []
    for _ in range(2):
        assert run("--embeddings", place / "before.npz", "--method", "svd", "--out", "a.svg").code == 0
        written.append([Path(name).read_bytes() for name in ("a.csv", "a.svg")])
    assert written[0] == written[1]


def test_a_space_is_a_page_to_turn(run: Cli, place: Path) -> None:
    arguments = ("--embeddings", place / "before.npz", "--method", "pca", "--components", 3)
    assert run(*arguments, "--out", "space.csv").out == "space.csv\nspace.html\n"
    assert set(rows_of("space.csv")[0]) >= {"x", "y", "z"}
    assert_one_line(run(*arguments, "--out", "space.png"), 2, "a space is to be turned", "write .html")


@pytest.mark.parametrize("method", ["svd", "dosnes"])
def test_after_draws_both_on_common_axes_in_two_files_and_one_picture(method: str, run: Cli, place: Path) -> None:
    arguments = ("--embeddings", place / "before.npz", "--after", place / "after.npz", "--method", method)
    done = run(*arguments, "--out", "moved.csv")
    assert (done.code, done.out) == (0, "moved-before.csv\nmoved-after.csv\nmoved.png\n"), done.err
    before, after = rows_of("moved-before.csv"), rows_of("moved-after.csv")
    assert [row["id"] for row in before] == [row["id"] for row in after]
    if method == "svd":  # the images are the same: the axes too
        apart = [abs(float(a["x"]) - float(b["x"])) for a, b in zip(before[:20], after[:20], strict=True)]
        assert max(apart) < 1e-5


def test_intersect_draws_what_both_have(run: Cli, place: Path) -> None:
    arguments = ("--embeddings", place / "before.npz", "--after", place / "fewer.npz", "--method", "svd")
    assert_one_line(run(*arguments), 2, "5 images are only before", "--intersect")
    assert run(*arguments, "--intersect").code == 0
    assert len(rows_of("geomclip-map-before.csv")) == 45


def test_one_text_an_image_and_classes(run: Cli, place: Path) -> None:
    assert run("--embeddings", place / "before.npz", "--method", "svd", "--captions", "first").code == 0
    assert len(rows_of("geomclip-map.csv")) == 40
    assert run("--embeddings", place / "classes.npz", "--method", "svd").code == 0
    assert [row["caption"] for row in rows_of("geomclip-map.csv") if row["kind"] == "text"] != []


def test_options_go_to_the_methods_that_have_them() -> None:
    options = {"neighbors": 9, "perplexity": None, "min_dist": None}
    assert drawing.options_of("umap", **options) == {"n_neighbors": 9}
    assert drawing.options_of("heat-geodesic", **options) == {"k": 9}
    assert drawing.options_of("dosnes", perplexity=4.0) == {"perplexity": 4.0}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--out", "map.txt"), ("map.txt must end in .csv, .parquet, .npz, .json (coordinates)", ".html (a picture)")),
        (("--out", "absent/map.csv"), ("the folder absent does not exist",)),
        (("--method", "tsen"), ("no method 'tsen'; did you mean tsne?",)),
        (("--method", "zzz"), ("there are svd, pca, umap",)),
        (("--method", "svd", "--perplexity", 5), ("--perplexity is of tsne and dosnes: leave it out with svd",)),
        (("--method", "svd", "--min-dist", 0.2), ("--min-dist is of umap and umap-sphere",)),
        (("--method", "dosnes", "--components", 2), ("dosnes draws in 3 dimensions, not 2",)),
        (("--method", "umap", "--neighbors", 100), ("UMAP with n_neighbors=100 needs at least 101 points, got 60",)),
        (("--intersect",), ("--intersect is of two sets",)),
        (("--model", "demo"), ("--embeddings says what to measure: leave out --model",)),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    arguments: tuple[object, ...], expected: tuple[str, ...], run: Cli, place: Path
) -> None:
    assert_one_line(run("--embeddings", place / "before.npz", *arguments), 2, *expected)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("name", "method", "expected"),
    [
        ("two", "umap", "UMAP needs at least 4 points"),
        ("equal", "svd", "SVD cannot map 40 points that are all equal"),
        ("absent", "svd", "absent.npz"),
    ],
)
def test_sets_that_cannot_be_drawn_are_one_line(name: str, method: str, expected: str, run: Cli, place: Path) -> None:
    if name == "two":
        gc.save(EmbeddingSet(torch.eye(4)[:3]), place / "two.npz")
    assert_one_line(run("--embeddings", place / f"{name}.npz", "--method", method), 2, expected)


def test_a_result_has_no_vectors_to_draw(run: Cli, place: Path) -> None:
    arguments = ("--embeddings", place / "before.npz", "--after", place / "before.json", "--method", "svd")
    assert_one_line(run(*arguments), 2, "has no vectors")
    before = ("--model", place / "before.json", "--after", place / "after.npz", "--method", "svd")
    assert_one_line(run(*before), 2, "--model", "before.json is a result, which has no vectors")


@pytest.mark.parametrize(("missing", "out"), [("matplotlib", "a.png"), ("plotly", "a.html")])
def test_a_missing_package_is_one_line_before_any_work(
    missing: str, out: str, run: Cli, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    done = run("--embeddings", place / "before.npz", "--method", "svd", "--out", out)
    assert_one_line(done, 2, f"needs {missing}", "geomclip[viz]")
    assert list(Path().iterdir()) == []
