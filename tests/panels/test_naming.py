"""Sides are called as their caller calls them, in tables, files, pages and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import assert_one_line, random_rows, run_cli, small_set

import geomclip as gc
from geomclip.embeddings.record import EmbeddingSet
from geomclip.panels.loading import load

BEFORE, AFTER = small_set(n=24), small_set(n=24, apart=0.8)


def measured(name: str = "", rows: EmbeddingSet = BEFORE) -> gc.Panel:
    return gc.measure(rows, name=name, metrics="alignment,modality_gap", bootstrap=0)


def test_a_panel_has_its_name_in_the_table_and_in_the_file(tmp_path: Path) -> None:
    panel = measured("our\nmodel")
    assert panel.name == "our model"
    assert "· our model (none)" in str(panel)
    assert "our model (none)" in panel._repr_html_()
    path = panel.save(tmp_path / "r.json")
    assert json.loads(path.read_text("utf-8"))["name"] == "our model"
    assert load(path).name == "our model"


def test_a_result_without_a_name_is_read(tmp_path: Path) -> None:
    record = measured().to_dict()
    del record["name"]
    (tmp_path / "r.json").write_text(json.dumps(record), encoding="utf-8")
    assert load(tmp_path / "r.json").name == ""


def test_a_comparison_has_the_names_that_it_is_given_over_those_of_its_sides() -> None:
    own = gc.compare(measured("a"), measured("b", AFTER))
    given = gc.compare(measured("a"), measured("b", AFTER), names=("stock", "tuned"))
    assert [own.before["name"], own.after["name"]] == ["a", "b"]
    assert [given.to_dict()["before"]["name"], given.to_dict()["after"]["name"]] == ["stock", "tuned"]
    assert "before  stock: toy (test)" in str(given)
    assert " & stock & tuned & change " in given.to_latex()
    assert "name" not in gc.compare(measured(), measured()).before


def test_a_side_from_a_file_says_both_its_name_and_where_it_is_from(tmp_path: Path) -> None:
    file = str(measured("ours").save(tmp_path / "a.json"))
    plain = str(measured().save(tmp_path / "b.json"))
    comparison = gc.compare(file, plain)
    assert (comparison.before["name"], comparison.before["source"]) == ("ours", "a.json")
    assert (comparison.after["name"], comparison.after["source"]) == ("b.json", "b.json")
    assert " & ours & after & change " in comparison.to_latex()  # a file's name is no name


def test_a_page_has_names_for_its_title_and_files_for_its_call(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("plotly")
    files = [str(measured().save(tmp_path / f"{name}.json")) for name in "ab"]
    page = gc.report(gc.compare(*files, names=("stock", "tuned")), tmp_path / "x.html").read_text("utf-8")
    assert "<h1>stock → tuned" in page
    assert "geomclip.compare(&#39;a.json&#39;" in page or "geomclip.compare('a.json'" in page


@pytest.mark.parametrize(("after", "names"), [(None, ["ours"]), (AFTER, ["stock", "tuned"])])
def test_pictures_have_the_names(after: EmbeddingSet | None, names: list[str]) -> None:
    pytest.importorskip("plotly")
    figure = gc.plot_sphere(BEFORE, after, names=names)
    text = figure.to_json()
    assert " → ".join(names) in json.loads(text)["layout"]["title"]["text"]
    if after is not None:
        shown = [annotation["text"] for annotation in json.loads(text)["layout"]["annotations"]]
        assert all(any(name in line for line in shown) for name in names)


def test_the_command_takes_a_name_a_side(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = [measured("", rows).save(tmp_path / f"{i}.json") for i, rows in enumerate((BEFORE, AFTER))]
    done = run_cli(capsys, "compare", *files, "--name", "stock", "--name", "tuned")
    assert done.code == 0
    assert "\nbefore  stock: " in done.out
    done = run_cli(capsys, "compare", *files, "--name", "stock")
    assert_one_line(done, 2, "--name: 2 are wanted, one a side, got 1: 'stock'")
    done = run_cli(capsys, "compare", *files, "--name", "a", "--name", "a")
    assert_one_line(done, 2, "--name 'a' is given twice")
    done = run_cli(capsys, "plot-sphere", "--name", "a", "--name", "b")
    assert_one_line(done, 2, "--name: 1 is wanted, got 2: 'a', 'b'")


def test_measure_has_a_name_and_cites_behind_its_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    gc.save(EmbeddingSet(random_rows(8, 4, seed=1), random_rows(8, 4, seed=2)), tmp_path / "v.npz")
    asked = ["measure", "--embeddings", tmp_path / "v.npz", "--metrics", "alignment", "--bootstrap", "0"]
    done = run_cli(capsys, *asked, "--name", "ours", "--cite", "--out", tmp_path / "r.tex")
    assert done.code == 0
    assert "· ours (" in done.out.splitlines()[0]
    table, _, sources = done.out.partition("\n\n@")
    assert "Alignment" in table
    assert f"@{sources}" == gc.cite("alignment", []) + "\n" + gc.cite()
    assert " & ours \\\\" in (tmp_path / "r.tex").read_text("utf-8")
    assert_one_line(run_cli(capsys, *asked, "--cite", "--json"), 2, "--cite prints BibTeX after the table")


@pytest.mark.parametrize("command", ["project", "plot-sphere"])
def test_pictures_cite_their_method(command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    gc.save(BEFORE, tmp_path / "v.npz")
    method = ["--method", "svd"] if command == "project" else []
    done = run_cli(capsys, command, "--embeddings", tmp_path / "v.npz", "--out", tmp_path / "m.png", "--cite", *method)
    assert done.code == 0
    source = "@article{halko2011finding," if method else "@article{cox1991multidimensional,"
    assert done.out.index("m.png") < done.out.index(source) < done.out.index("@inproceedings{venna2001neighborhood,")
