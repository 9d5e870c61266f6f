"""`geomclip plan`: what it plans from, what it prints, and what it refuses before any work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Done, assert_one_line, class_set, folder_of_pairs, run_cli, small_set
from tiny_models import tiny_model

import geomclip as gc
from geomclip.panels.loading import load
from geomclip.panels.measurement import measure

Cli = Callable[..., Done]
RECALL = "image_retrieval_recall@1"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Cli:
    return lambda *arguments: run_cli(capsys, "plan", *arguments)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result r.json of the vectors v.npz, none.json without intervals, and c.npz of classes."""
    folder = tmp_path_factory.mktemp("plans")
    made = small_set(60, 2, seed=3, apart=0.2)
    gc.save(made, folder / "v.npz")
    gc.save(class_set(60, 8, 4), folder / "c.npz")
    measure(made, bootstrap=50).save(folder / "r.json")
    measure(made, bootstrap=0).save(folder / "none.json")
    return folder


def test_a_result_is_planned_from_as_it_stands(run: Cli, place: Path) -> None:
    done = run("--width", 0.01, "--metric", RECALL, place / "r.json", "--json")
    assert (done.code, done.err) == (0, "")
    record = json.loads(done.out)
    low, high = json.loads((place / "r.json").read_text(encoding="utf-8"))["ci"][RECALL]
    need = record["metrics"][RECALL]
    assert need["ci"] == [low, high]
    assert 60 * ((high - low) / 0.01) ** 2 <= need["images"] <= 1.1 * 60 * ((high - low) / 0.01) ** 2
    assert record == json.loads(json.dumps(gc.plan(load(place / "r.json"), 0.01, RECALL).to_dict()))


def test_the_table_has_a_line_for_each_number(run: Cli, place: Path) -> None:
    done = run("--width", 0.01, "--metric", "modality_gap", "--metric", "alignment", place / "r.json")
    assert done.code == 0, done.err
    starts = [line.split()[0] for line in done.out.splitlines() if line.split()]
    assert [start for start in starts if start in ("modality_gap", "alignment")] == ["modality_gap", "alignment"]
    assert max(map(len, done.out.splitlines())) <= 80


def test_vectors_are_measured(run: Cli, place: Path) -> None:
    done = run("--width", 0.01, "--embeddings", place / "v.npz", "--bootstrap", 50, "--json")
    assert done.code == 0, done.err
    of_result = json.loads(run("--width", 0.01, place / "r.json", "--json").out)["metrics"]
    found = json.loads(done.out)["metrics"]
    assert list(found) == list(of_result)
    assert [found[key]["images"] for key in found] == pytest.approx(
        [of_result[key]["images"] for key in found], rel=0.1
    )
    classes = run("--width", 0.01, "--embeddings", place / "c.npz", "--bootstrap", 50, "--json")
    assert {"zeroshot_acc1", "modality_gap"} <= set(json.loads(classes.out)["metrics"])


def test_a_model_is_extracted_on_the_data_and_measured(run: Cli, tmp_path: Path) -> None:
    model = f"local-dir:{tiny_model(tmp_path / 'model')}"
    data = f"folder:{folder_of_pairs(tmp_path / 'data', 24)}"
    common = ["--data", data, "--workers", 0, "--bootstrap", 20, "--cache-dir", tmp_path / "cache", "--json"]
    done = run("--width", 0.001, "--metric", "alignment", "--model", model, *common)
    assert done.code == 0, done.err
    assert json.loads(done.out)["n_images"] == 24
    assert json.loads(done.out)["metrics"]["alignment"]["images"] > 24


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["--width"]),
        (["--width", "0"], ["--width must be above 0 and finite, got 0"]),
        (["--width", "nan"], ["--width must be above 0 and finite, got nan"]),
        (["--width", "inf"], ["--width must be above 0 and finite, got inf"]),
        (["--width", "-1"], ["--width must be above 0 and finite, got -1"]),
        (["--width", "wide"], ["wide"]),
        (["--width", "0.1", "--metric", "image_retrieval_recal@1"], ["nearest: image_retrieval_recall@1"]),
        (["--width", "0.1", "--metric", "linear_cka"], ["linear_cka has no interval to plan from"]),
        (["--width", "0.1", "--metric", "text_retrieval_mean_rank"], ["grows with the gallery"]),
        (["--width", "0.1", "--bootstrap", "0"], ["--bootstrap 0 makes no intervals"]),
        (["--width", "0.1", "--temperature", "1", "--logit-scale", "1"], ["give one of them"]),
        (["--width", "0.1", "--embeddings", "v.npz", "--data", "emoji"], ["leave out --data"]),
        (["--width", "0.1", "r.json", "--embeddings", "v.npz"], ["r.json is measured: leave out --embeddings"]),
        (["--width", "0.1", "r.json", "--model", "demo", "--bootstrap", "9"], ["leave out --bootstrap, --model"]),
        (["--width", "0.1", "r.json", "--metric", "twonn_imag"], ["unknown metric 'twonn_imag'; nearest: twonn_image"]),
        (["--width", "0.1", "v.npz"], ["v.npz is no result (.json): name vectors with --embeddings"]),
        (["--width", "0.1", "absent.json"], ["absent.json"]),
        (["--width", "0.1", "none.json"], ["no intervals to plan from: was it measured with --bootstrap 0"]),
        (["--width", "0.1", "--metric", "rankme_image", "r.json"], ["not measured (--metrics rankme_image does)"]),
        (["--width", "1e-200", "r.json"], ["--width 1e-200 is out of reach"]),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(
    run: Cli, place: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], parts: list[str]
) -> None:
    monkeypatch.chdir(place)
    assert_one_line(run(*arguments), 2, *parts)
