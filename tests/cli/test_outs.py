"""Several --out: all checked before the work, each written by its name, the same numbers in all."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Done, assert_one_line, run_cli, small_set

import geomclip as gc
from geomclip.panels.loading import load

Cli = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    gc.save(small_set(24), "a.npz")
    gc.save(small_set(24, seed=4), "b.npz")
    return lambda *arguments: run_cli(capsys, *arguments)


def outs(*files: str) -> list[str]:
    return [word for file in files for word in ("--out", file)]


MEASURE = ("measure", "--embeddings", "a.npz", "--bootstrap", 0)
COMPARE = ("compare", "a.npz", "b.npz", "--bootstrap", 0)


def test_measure_writes_every_file_with_the_same_numbers(run: Cli) -> None:
    done = run(*MEASURE, *outs("r.json", "r.csv", "r.md", "r.html"))
    assert done.code == 0, done.err
    written = sorted(path.name for path in Path().iterdir())
    assert written == ["a.npz", "b.npz", "r.csv", "r.html", "r.items.parquet", "r.json", "r.md"]
    panel = load("r.json")
    rows = {row["metric"]: row["value"] for row in csv.DictReader(Path("r.csv").read_text().splitlines())}
    assert {key: float(value) if value else None for key, value in rows.items()} == dict(panel.values)
    assert f"| `modality_gap` |  | {panel['modality_gap']:.4f} | " in Path("r.md").read_text()
    assert "modality_gap" in Path("r.html").read_text(encoding="utf-8")


def test_compare_writes_every_file_with_the_same_numbers(run: Cli) -> None:
    done = run(*COMPARE, *outs("x.md", "x.json", "x.csv", "y.json", "x.html"))
    assert done.code == 0, done.err
    assert sorted(path.name for path in Path().glob("[xy].*")) == ["x.csv", "x.html", "x.json", "x.md", "y.json"]
    rows = {row["metric"]: row["after"] for row in csv.DictReader(Path("x.csv").read_text().splitlines())}
    metrics = json.loads(Path("x.json").read_text())["metrics"]
    assert {key: float(value) for key, value in rows.items() if value} == {
        key: row["after"] for key, row in metrics.items() if row["after"] is not None
    }
    assert json.loads(Path("y.json").read_text())["metrics"] == metrics


@pytest.mark.parametrize("command", [MEASURE, COMPARE])
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (("r.json", "r.txt"), "r.txt must "),
        (("r.json", "absent/r.csv"), "the folder absent does not exist"),
        (("r.json", "./r.json"), "r.json is named twice: leave one out"),
        (("r.json", "folder.md"), "folder.md is a folder: name a file in it"),
    ],
)
def test_one_file_that_cannot_be_written_refuses_all_before_the_work(
    run: Cli, command: tuple[object, ...], files: tuple[str, ...], expected: str
) -> None:
    Path("folder.md").mkdir()
    words = [word if word not in ("a.npz", "b.npz") else "absent.npz" for word in command]
    assert_one_line(run(*words, *outs(*files)), 2, expected)
    assert not list(Path().glob("r.*"))


def test_a_page_without_its_packages_is_refused_before_the_work(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geomclip.machine.extras.import_module", _absent)
    for command in (MEASURE, COMPARE):
        assert_one_line(run(*command, *outs("r.json", "r.html")), 2, "needs jinja2: pip install 'geomclip[viz]'")
    assert not list(Path().glob("r.*"))


def _absent(name: str) -> None:
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_a_panel_is_saved_by_the_name_of_the_file(tmp_path: Path) -> None:
    panel = gc.Panel({"alignment": 0.5, "a|b": 1.0}, ci={"alignment": (0.4, 0.6)}, notes={"x": "a < b"})
    panel = panel.replace(groups={"=1": gc.Panel({"alignment": 0.25})})
    for name in ("r.csv", "r.md", "r.json"):
        assert panel.save(tmp_path / name) == tmp_path / name
    lines = (tmp_path / "r.csv").read_text().splitlines()
    assert lines[1] == ",alignment,0.5,0.4,0.6,,lower,"
    assert lines[3] == "'=1,alignment,0.25,,,,lower,"
    text = (tmp_path / "r.md").read_text()
    assert "| a\\|b |" in text  # a key that is none of ours is no code
    assert "- x: a &lt; b" in text
    assert "## group: =1" in text
    assert load(tmp_path / "r.json")["alignment"] == 0.5
