"""Data that are not trained on: measured before and after, told in the verdict, checked before anything is done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import Done, assert_one_line
from tiny_models import tiny_model
from toy_pairs import toy_csv

import geomclip as gc
from geomclip.machine.errors import InputError
from geomclip.machine.places import shown
from geomclip.training.others import after_of, before_of, names_of

pytestmark = pytest.mark.usefixtures("own_cache")

Cli = Callable[..., Done]
QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 8, "lr": 1e-3, "precision": "fp32", "workers": 0, "method": "ft"}
MEASURED: dict[str, Any] = {"bootstrap": 20, "metrics": "text_retrieval_recall@1,image_retrieval_recall@1"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return toy_csv(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    """30 pictures that are not trained on."""
    return toy_csv(tmp_path_factory.mktemp("other"), splits={"test": 30})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local-dir:{tiny_model(tmp_path_factory.mktemp('model') / 'tiny')}"


def tuned(out: Path, model: str, data: str, **changes: Any) -> Any:
    return gc.finetune(model=model, data=data, out=out, **{**QUICK, **MEASURED, **changes})


@pytest.fixture(scope="module")
def finished(model: str, data: str, other: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tuned(tmp_path_factory.mktemp("finished") / "run", model, data, also=[other, other])


@pytest.fixture(scope="module")
def without(model: str, data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run without other data."""
    return Path(tuned(tmp_path_factory.mktemp("without") / "run", model, data).folder)


@pytest.fixture
def copy(without: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(without, tmp_path / "run"))


def test_other_data_are_measured_before_and_after_and_compared(finished: Any, model: str, other: str) -> None:
    assert list(finished.also) == [shown(other)]
    comparison = finished.also[shown(other)]
    assert comparison.n_images == 30
    key = "text_retrieval_recall@1"
    assert comparison[key].before == gc.measure(gc.embed(model, other), metrics=key, bootstrap=0)[key]
    assert comparison[key].after == gc.measure(gc.embed(str(finished.folder), other), metrics=key, bootstrap=0)[key]
    assert finished.comparison.others == finished.also


def test_the_verdict_and_the_table_have_them(finished: Any, other: str) -> None:
    findings = [line for line in finished.comparison.verdict.lines if line.about == "other data"]
    assert len(findings) == 1
    assert shown(other) in findings[0].sentence
    assert f"Other data, not trained on\n{shown(other)} (30 images)\n" in str(finished).replace("\n/", "/")
    assert shown(other) in finished.comparison.to_dict()["others"]


def test_the_run_folder_keeps_them_under_safe_names(finished: Any, other: str) -> None:
    files = [finished.folder / name for name in (before_of(shown(other)), after_of(shown(other)))]
    assert all(file.is_file() and file.with_suffix(".items.parquet").is_file() for file in files)
    config = json.loads((finished.folder / "config.json").read_text())
    assert config["call"]["also"] == [shown(other)]
    kept = config["also"][shown(other)]
    assert (kept["images"], kept["split"], kept["before"], kept["after"]) == (
        30,
        "test",
        *(file.name for file in files),
    )


def test_they_change_no_weight(finished: Any, without: Path) -> None:
    for name in ("model.safetensors", "best.safetensors"):
        assert (finished.folder / name).read_bytes() == (without / name).read_bytes()
    assert "also" not in json.loads((without / "config.json").read_text())


def test_a_finished_run_measures_what_is_new_and_nothing_else(run: Cli, copy: Path, other: str, finished: Any) -> None:
    kept = {file.name: file.stat().st_mtime_ns for file in copy.iterdir() if file.name != "config.json"}
    arguments = ["finetune", "--resume", "--out", str(copy), *(f"--{key}={MEASURED[key]}" for key in MEASURED)]
    done = run(*arguments, "--also", other)
    assert done.code == 0, done.err
    assert f"is finished: measuring {Path(other).name}" in done.err.replace("csv:", "")
    assert {file.name: file.stat().st_mtime_ns for file in copy.iterdir() if file.name in kept} == kept
    assert {file.name for file in copy.iterdir()} - {*kept, "config.json"} == {
        Path(name).with_suffix(suffix).name
        for name in (before_of(shown(other)), after_of(shown(other)))
        for suffix in (".json", ".items.parquet")
    }
    assert json.loads((copy / "config.json").read_text())["finished"] is True
    again = run(*arguments)  # what it was measured on is remembered
    assert "is finished: nothing to do" in again.err
    assert again.out == done.out
    quiet = run(*arguments, "--quiet")
    assert (quiet.err, quiet.out) == ("", done.out.partition("\n\n")[0] + "\n")
    assert quiet.out.startswith("verdict ")
    result = gc.finetune(out=copy, resume=True, bootstrap=20)
    assert (
        result.also[shown(other)]["text_retrieval_recall@1"] == finished.also[shown(other)]["text_retrieval_recall@1"]
    )


def test_what_cannot_be_measured_is_refused_before_anything_is_done(
    run: Cli, model: str, data: str, tmp_path: Path
) -> None:
    gone = toy_csv(tmp_path / "gone", splits={"test": 5})
    for picture in (tmp_path / "gone").glob("*.png"):
        picture.unlink()
    for name, reason in (
        ("emojis", "unknown data 'emojis': did you mean emoji?"),
        ("csv:none.csv", "none.csv"),
        (gone, "5 of 5 images are not there (000.png), and measuring needs 2"),
        (data, "is what is reported on: name other data"),
        (toy_csv(tmp_path / "one", splits={"test": 1}), "has 1 images with captions, and measuring needs 2"),
    ):
        done = run("finetune", "--model", model, "--data", data, "--out", str(tmp_path / "run"), "--also", name)
        assert_one_line(done, 2, f"--also {name}: ", reason)
        assert not (tmp_path / "run").exists()


def test_other_data_that_changed_are_refused(finished: Any, tmp_path: Path, model: str, data: str) -> None:
    moved = toy_csv(tmp_path / "other", splits={"test": 30})
    folder = tuned(tmp_path / "run", model, data, also=moved).folder
    toy_csv(tmp_path / "other", splits={"test": 29})
    with pytest.raises(InputError, match=r"run began with other data \(also='csv:pairs.csv' differs\)"):
        gc.finetune(out=folder, resume=True, bootstrap=20)


def test_names_of_files_are_safe_and_of_two_data_never_the_same() -> None:
    names = [
        "emoji",
        "csv:a/b.csv",
        "csv:a-b.csv",
        "csv:../../b.csv",
        "x" * 300,
        "y" + "x" * 299,
        "wds:{0..3}.tar",
        "é",
    ]
    files = [before_of(name) for name in names]
    assert files[0] == "before-emoji.json"
    assert len(set(files)) == len(names)
    assert all(len(file) < 90 and "/" not in file and file.isascii() for file in files)


def test_data_named_now_come_after_those_that_the_run_began_with() -> None:
    assert names_of(["b", "a"], {"call": {"also": ["a"]}}) == ["a", "b"]
    assert names_of("coco", None) == ["coco"]
    assert names_of(None, {"call": {}}) == []
