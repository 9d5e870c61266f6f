"""The scripts of the pictures: the tour runs, and the committed figures are what the committed numbers draw."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from helpers import ROOT, small_set

sys.path.insert(0, str(ROOT / "analyses"))

import figures
from geomclip.panels.details import details_of
from geomclip.plots import static
from geomclip.projections.maps import Map

TOUR = ("cosines", "confidence", "hubs", "gap", "sphere", "path", "before-after")


def take_the_tour(out: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    monkeypatch.setattr(sys, "argv", ["tour.py", "--out", str(out), *more])
    runpy.run_path(str(ROOT / "analyses" / "tour.py"), run_name="__main__")


def check_tour(out: Path, said: str) -> None:
    assert sorted(each.stem for each in out.glob("*.png")) == sorted(TOUR)
    for told in ("Modality gap", "Both clouds shifted together", "better, worse: beyond chance"):
        assert told in said


def test_the_tour_measures_sees_fine_tunes_and_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    take_the_tour(tmp_path / "tour", monkeypatch, "--limit", "24", "--steps", "2", "--bootstrap", "20")
    check_tour(tmp_path / "tour", capsys.readouterr().out)
    with pytest.raises(SystemExit, match="2"):
        take_the_tour(tmp_path / "tour", monkeypatch)
    assert "holds something already: name a new folder with --out" in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    take_the_tour(tmp_path / "tour", monkeypatch)
    check_tour(tmp_path / "tour", capsys.readouterr().out)


def committed() -> dict[str, object]:
    numbers: dict[str, object] = json.loads((ROOT / "figures" / figures.NUMBERS).read_text(encoding="ascii"))
    return numbers


def test_the_committed_numbers_draw_every_committed_picture(tmp_path: Path) -> None:
    numbers = committed()
    assert figures.text_of(numbers) == (ROOT / "figures" / figures.NUMBERS).read_bytes()
    drawn = figures.pictures(numbers)
    assert drawn.keys() <= {each.name for each in (ROOT / "figures").iterdir()}
    made_otherwise = {"demo_learning_curve.png", figures.NUMBERS}
    assert {each.name for each in (ROOT / "figures").glob("demo_*")} - made_otherwise == set(drawn)
    for name in ("demo_similarities.svg", "demo_worst_pairs.png"):
        once, again = (static.save(drawn[name](), tmp_path / f"{i}{name}").read_bytes() for i in "ab")
        assert once == again


def test_numbers_come_back_as_they_were_written() -> None:
    numbers = {"a": {"b": {"c": [0.123456789, 3, None], "d": "é"}}, "e": [[1e-9, -2.5]], "f": {}}
    text = figures.text_of(numbers).decode("ascii")
    assert json.loads(text) == {"a": {"b": {"c": [0.123457, 3, None], "d": "é"}}, "e": [[1e-9, -2.5]], "f": {}}
    assert text.count("\n") == 7  # a part a line


def test_pairs_and_hubs_are_told_by_id_and_caption() -> None:
    made = small_set(20, 2, 8)
    embeddings = made.replace(image_id=[f"i{i}" for i in range(20)], caption=[f"c{j}" for j in range(40)])
    details = details_of(embeddings, k=3)
    assert details.worst is not None
    told = figures.pairs_told(embeddings, details.worst, 4)
    assert len(told) == 4
    assert [int(each["caption"][1:]) // 2 for each in told] == [int(each["image_id"][1:]) for each in told]
    assert [each["rank"] for each in told] == sorted((each["rank"] for each in told), reverse=True)
    hubs = figures.hubs_told(embeddings, details, 4)
    assert [each["count"] for each in hubs] == sorted(details.k_occurrence["image"].tolist())[:-5:-1]
    assert all(each["caption"] == f"c{2 * int(each['image_id'][1:])}" for each in hubs)


def test_a_map_comes_back_from_its_numbers() -> None:
    rows = torch.nn.functional.normalize(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), dim=1).numpy()
    map = Map(rows[:2], rows[2:], [0, 0, 1], "sphere", "dosnes", keeps={"gap": 0.5, "gap_drawn": 0.6}, k=3, dim=9)
    again = Map(**json.loads(figures.text_of(figures.map_told(map))))
    assert again.facts() == map.facts()
    assert again.image == pytest.approx(map.image, abs=1e-5)
    assert again.image_of_text.tolist() == [0, 0, 1]  # type: ignore[union-attr]


@pytest.mark.slow
def test_the_numbers_can_be_made_again() -> None:
    kept, found = committed(), json.loads(figures.text_of(figures.measured()))
    assert found.keys() == kept.keys()
    for part in ("panel", "details"):
        assert found[part].keys() == kept[part].keys()  # type: ignore[attr-defined]
    there, here = (numbers["panel"]["metrics"] for numbers in (kept, found))  # type: ignore[index]
    assert here == pytest.approx(there, rel=1e-3)
    assert found["maps"]["before"]["keeps"] == pytest.approx(kept["maps"]["before"]["keeps"], abs=0.02)  # type: ignore[index]
