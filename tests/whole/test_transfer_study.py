"""The study of transfer at toy size: it runs, goes on, and says what its numbers say."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import ROOT, picture
from tiny_models import tiny_model
from toy_pairs import toy_cifar

sys.path.insert(0, str(ROOT / "analyses"))

import transfer as study
import transfer_report as reporting

FEW = {"ft": ("ft", {}), "ft + cosine": study.ROWS["ft + cosine"], "wise-ft": study.ROWS["wise-ft"]}


def toy_set(folder: Path) -> Path:
    """A csv of 16 training, 6 val and 6 test images with two captions each."""
    folder.mkdir()
    with (folder / "toy.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["filepath", "title", "split"])
        for i in range(28):
            (folder / f"{i}.png").write_bytes(picture(i))
            split = "train" if i < 16 else "val" if i < 22 else "test"
            for text in (f"noise {i}", f"picture number {i}"):
                table.writerow([f"{i}.png", text, split])
    return folder / "toy.csv"


def rows_of(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(table.read_text().splitlines()))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A study of few rows."""
    for module in (study, reporting):
        monkeypatch.setattr(module, "ROWS", FEW)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a toy study is asked with, but for its folder."""
    folder = tmp_path_factory.mktemp("toy")
    model, data, cifar = tiny_model(folder / "model"), toy_set(folder / "set"), toy_cifar(folder / "cifar.npz")
    words = f"--data csv:{data} --base local-dir:{model} --cifar {cifar} --steps 2 --batch-size 4 --lr 1e-3 --val 4 "
    words += "--images 60 --queries 5 --train 9 --seeds 1 --fixed-seeds 0"
    return words.split()


@pytest.fixture(scope="module")
def made(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that one process has made."""
    place = tmp_path_factory.mktemp("made") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "ROWS", FEW)
        study.main([str(place), *words])
    return place


def test_the_study_runs_goes_on_and_reports(
    words: list[str], made: Path, few: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    place = tmp_path / "study"
    shutil.copytree(made, place)
    arguments = [str(place), *words]
    kept = {file.name: file.read_bytes() for file in (place / "runs").glob("*.json")}
    assert set(kept) == {"base.json", *(f"{name}-learned-seed0.json" for name in ("ft", "ft+cosine", "wise-ft"))}
    assert not list((place / "work").iterdir())  # weights are gone, also those that wise-ft was made of
    splits = [row["split"] for row in rows_of(place / "tuned" / "pairs.csv")]
    assert [splits.count(split) for split in ("train", "val", "test")] == [18, 8, 10]
    (place / "runs" / "ft+cosine-learned-seed0.json").unlink()

    study.main(arguments)
    said = capsys.readouterr().out
    assert "3 of 3: ft+cosine-learned-seed0" in said
    assert said.count("\n") == 1
    again = json.loads((place / "runs" / "ft+cosine-learned-seed0.json").read_text())
    before = json.loads(kept["ft+cosine-learned-seed0.json"])
    assert (again["asked"], again["losses"]) == (before["asked"], before["losses"])
    assert again["settings"]["preserve"] == {"cosine": 10.0}
    assert list(again["losses"][0][1]) == ["contrastive", "cosine_preservation"]

    study.main([str(place), "--report", str(tmp_path / "report")])
    names = {file.name for file in (tmp_path / "report").iterdir()}
    assert names == {"transfer.md", "transfer.csv", "transfer.png", "transfer_curves.png"}
    text = (tmp_path / "report" / "transfer.md").read_text()
    assert "| ft + cosine | 1 | " in text
    assert "| ft with cosine forgets less | emoji R |" in text
    rows = rows_of(tmp_path / "report" / "transfer.csv")
    assert [row["row"] for row in rows] == ["base", "ft", "ft + cosine", "wise-ft"]
    run = json.loads((place / "runs" / "ft-learned-seed0.json").read_text())
    keys = reporting.GAIN[2]
    assert float(rows[1]["tuned_R"]) == pytest.approx(
        25 * sum(run["asked"]["tuned retrieval"][key] for key in keys), abs=1e-4
    )

    known = tmp_path / "report" / "transfer.csv"
    (place / "runs" / "ft-learned-seed0.json").unlink()  # as if its folder were gone
    study.main([*arguments, "--known", str(known)])
    assert capsys.readouterr().out == ""  # nothing is made again
    study.main([str(place), "--report", str(tmp_path / "again"), "--known", str(known)])
    for name in ("transfer.md", "transfer.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "report" / name).read_bytes()
    assert not (tmp_path / "again" / "transfer_curves.png").exists()  # a table has no curves


def test_processes_make_the_runs_of_one_process(
    words: list[str], made: Path, few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "study"
    cores = torch.get_num_threads() * 2  # so that each worker has as many threads
    monkeypatch.setattr("geomclip.machine.threads.processors", lambda: cores)
    study.main([str(place), *words, "--engine", "process", "--processes", "2"])
    assert runs_in(place) == runs_in(made)
    assert not list((place / "work").iterdir())


def runs_in(study: Path) -> dict[str, dict[str, Any]]:
    runs = {file.name: json.loads(file.read_text()) for file in sorted((study / "runs").glob("*.json"))}
    return {name: {key: value for key, value in run.items() if key != "seconds"} for name, run in runs.items()}


def test_runs_of_an_earlier_table_are_not_made_again() -> None:
    known = frozenset(study.Trial(row, "fixed", 0) for row in study.ROWS)
    trials = study.Study(Path(), Path(), seeds={"learned": 0, "fixed": 2}, known=known).trials()
    assert [(each.row, each.seed) for each in trials] == [(row, 1) for row in study.ROWS]


def made_runs(**values: list[float]) -> reporting.Runs:
    """Runs with these recalls on the tuned data by seed, in percent."""
    asked = lambda value: {"tuned retrieval": dict.fromkeys(reporting.GAIN[2], value / 100)}  # noqa: E731
    runs = [
        {"trial": {"row": row, "temperature": "learned", "seed": seed}, "asked": asked(value)}
        for row, each in values.items()
        for seed, value in enumerate(each)
    ]
    return reporting.Runs(tuple(runs), {"asked": asked(0)})


def test_a_difference_is_taken_seed_by_seed_and_judged_by_its_spread() -> None:
    runs = made_runs(ft=[10, 20, 30], m2mix=[11, 22, 31, 90])
    found = reporting.differences(runs, "m2mix", "ft", "learned", reporting.GAIN)
    assert found == pytest.approx([1, 2, 1])
    assert reporting.judged(found, "higher") == "better"
    assert reporting.judged(found, "lower") == "worse"
    assert reporting.judged([1, 2, -1], "higher") == "unclear"
    assert reporting.judged([1, 2], "higher") == "unclear"  # two seeds say nothing


def test_learning_curves_are_the_looks_and_the_means_of_a_few_steps() -> None:
    keys = study.VAL_METRIC.split(",")
    steps = [{"step": i + 1, "terms": {"contrastive": float(i)}} for i in range(study.WINDOW + 2)]
    found = study.course([{"step": 0, "val": dict.fromkeys(keys, 0.25)}, *steps])
    assert found["val"] == [[0, 0.25]]
    window = study.WINDOW
    assert found["losses"] == [
        [window, {"contrastive": (window - 1) / 2}],
        [window + 2, {"contrastive": window + 0.5}],
    ]


def test_seeds_come_one_after_the_other_with_all_rows() -> None:
    trials = study.Study(Path(), Path(), seeds={"learned": 2, "fixed": 1}).trials()
    assert [(each.seed, each.temperature) for each in trials[:: len(study.ROWS)]] == [
        (0, "learned"),
        (0, "fixed"),
        (1, "learned"),
    ]
    assert len({each.name for each in trials}) == 3 * len(study.ROWS)
