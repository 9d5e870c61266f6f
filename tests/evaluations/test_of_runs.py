"""Runs asked by tasks: before and after are those of the base and the run, and kept beside it."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from helpers import assert_one_line, run_cli
from tiny_models import tiny_model
from toy_pairs import SHAPES, toy_csv

import geomclip as gc
from geomclip.encoders.clip import Encoder
from geomclip.evaluations.of_runs import evaluate_run
from geomclip.machine.errors import InputError

QUICK = ("--epochs=1", "--batch-size=8", "--workers=0", "--metrics=modality_gap", "--bootstrap=20", "--method=ft")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local-dir:{tiny_model(tmp_path_factory.mktemp('model') / 'tiny')}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Toy pairs with a column that says the shape."""
    name = toy_csv(tmp_path_factory.mktemp("toy"), splits={"train": 32, "val": 12, "test": 32})
    file = Path(name.removeprefix("csv:"))
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    for row in rows:
        number = int(row["filepath"].removesuffix(".png"))
        row["shape"] = SHAPES[(number // 8) % len(SHAPES)]
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return name


def test_a_run_asks_its_base_and_itself_and_keeps_what_changed(
    model: str, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, cache = tmp_path / "run", tmp_path / "cache"
    common = ("--model", model, "--data", data, "--out", out, "--cache-dir", cache)
    shift = ("--evaluate", "shift --corrupt noise --severities 2 --label-column shape")
    done = run_cli(capsys, "finetune", *common, *QUICK, "--evaluate", "zeroshot", "--label-column", "shape", *shift)
    assert done.code == 0, done.err
    assert "noise-2" in json.loads((out / "evaluations/shift/after.json").read_text())["groups"]
    assert "\nzeroshot\n" in done.out
    place = out / "evaluations" / "zeroshot"
    assert {each.name for each in place.iterdir()} >= {"before.json", "after.json", "comparison.json"}
    for side, name in (("before", model), ("after", str(out))):
        direct = gc.evaluate("zeroshot", name, data, label_column="shape", bootstrap=20, cache_dir=cache)
        kept = json.loads((place / f"{side}.json").read_text())["metrics"]
        assert kept["zeroshot_acc1"] == direct["zeroshot_acc1"]
        assert kept["zeroshot_nll"] == pytest.approx(direct["zeroshot_nll"], rel=1e-6)
    again = evaluate_run(out, ["zeroshot"], label_column="shape", bootstrap=20, cache_dir=cache)
    assert (
        again["zeroshot"]["zeroshot_acc1"].before
        == json.loads((place / "before.json").read_text())["metrics"]["zeroshot_acc1"]
    )


def test_tasks_on_the_same_images_share_one_pass_before_and_one_after(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"epochs": 1, "batch_size": 8, "workers": 0, "metrics": "modality_gap", "bootstrap": 0}
    run = gc.finetune("ft", model, data, out=tmp_path / "run", cache_dir=tmp_path / "cache", **how).folder
    seen: Counter[str] = Counter()
    encode = Encoder.encode_image

    def counted(encoder: Encoder, pixels: torch.Tensor) -> torch.Tensor:
        seen[encoder.weights_sha256] += len(pixels)
        return encode(encoder, pixels)

    monkeypatch.setattr(Encoder, "encode_image", counted)
    asked = {"label_column": "shape", "bootstrap": 0, "cache_dir": tmp_path / "cache"}
    evaluate_run(run, ["zeroshot", "fewshot"], **asked)
    assert len(seen) == 2  # the base, and the run
    once = dict(seen)
    assert set(seen.values()) == {32 + 32}  # of test, and of train
    evaluate_run(run, ["fewshot", "zeroshot"], **asked)
    assert seen == once


def test_a_task_that_does_not_apply_is_named_before_any_is_asked(model: str, data: str, tmp_path: Path) -> None:
    how = {"epochs": 1, "batch_size": 8, "workers": 0, "metrics": "modality_gap", "bootstrap": 0}
    run = gc.finetune("ft", model, data, out=tmp_path / "run", cache_dir=tmp_path / "cache", **how).folder
    with pytest.raises(InputError, match=r"^simat: it needs SIMAT's files"):
        evaluate_run(run, ["zeroshot", "simat"], label_column="shape", cache_dir=tmp_path / "cache")
    assert not (run / "evaluations").exists()


def test_a_run_that_held_pairs_out_is_asked_on_these_alone(model: str, data: str, tmp_path: Path) -> None:
    file = Path(data.removeprefix("csv:"))
    table = file.with_name("whole.csv")
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    with table.open("w", newline="") as out:
        writer = csv.DictWriter(out, ["filepath", "title", "shape"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    how = {"epochs": 1, "batch_size": 8, "workers": 0, "metrics": "modality_gap", "bootstrap": 0, "holdout": 0.25}
    done = gc.finetune("ft", model, f"csv:{table}", out=tmp_path / "run", cache_dir=tmp_path / "cache", **how)
    evaluate_run(done.folder, ["zeroshot", "fewshot"], label_column="shape", bootstrap=0, cache_dir=tmp_path / "cache")
    for task in ("zeroshot", "fewshot"):
        kept = json.loads((done.folder / "evaluations" / task / "after.json").read_text())
        assert (kept["split"], kept["n_images"]) == ("test", done.after.n_images)


def test_a_run_that_reports_on_val_is_asked_on_val(model: str, data: str, tmp_path: Path) -> None:
    how = {"epochs": 1, "batch_size": 8, "workers": 0, "metrics": "modality_gap", "bootstrap": 0, "split": "val"}
    run = gc.finetune("ft", model, data, out=tmp_path / "run", cache_dir=tmp_path / "cache", **how).folder
    evaluate_run(run, ["zeroshot"], label_column="shape", bootstrap=0, cache_dir=tmp_path / "cache")
    assert json.loads((run / "evaluations" / "zeroshot" / "after.json").read_text())["split"] == "val"


def test_the_report_of_a_run_has_a_card_of_its_tasks(model: str, data: str, tmp_path: Path) -> None:
    pytest.importorskip("jinja2", reason="reports need the extra viz")
    how = {"epochs": 1, "batch_size": 8, "workers": 0, "metrics": "modality_gap", "bootstrap": 0}
    run = gc.finetune("ft", model, data, out=tmp_path / "run", cache_dir=tmp_path / "cache", **how).folder
    shown = {"data": data, "thumbnails": False, "bootstrap": 0, "curves": False, "cache_dir": tmp_path / "cache"}
    assert 'id="transfer"' not in gc.report(run, tmp_path / "r.html", **shown).read_text()
    evaluate_run(run, ["zeroshot"], label_column="shape", bootstrap=20, cache_dir=tmp_path / "cache")
    page = gc.report(run, tmp_path / "r.html", **shown).read_text()
    assert 'id="transfer"' in page
    assert "Not asked, so nothing is known: fewshot, shift, simat, captioning, missing-modality, interpolation." in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--evaluate", "zeroshots"], "no task 'zeroshots'; did you mean zeroshot"),
        (["--evaluate", "zeroshot", "--evaluate", "zeroshot=emoji"], "is named twice"),
        (["--evaluate", "shift --corrupt nois"], "--corrupt nois: use"),
        (["--evaluate", "zeroshot --corrupt noise"], "--evaluate zeroshot: No such option '--corrupt'"),
        (["--evaluate", "shift '--corrupt"], "No closing quotation"),
        (["--label-column", "group"], "--label-column is of tasks: name one with --evaluate"),
        (["--evaluate", "shift"], "shift: no other set"),
        (["--evaluate", "zeroshot", "--label-column", "groups"], "--label-column groups: no such column"),
        (["--evaluate", "zeroshot"], "zeroshot: emoji (test) has no classes"),
        (["--method", "soup", "--between", "a", "b", "--evaluate", "zeroshot"], "--between mixes several models"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_training(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    done = run_cli(capsys, "finetune", "--out", tmp_path / "run", *arguments)
    assert_one_line(done, 2, said)
    assert not (tmp_path / "run").exists()


def test_what_is_no_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json"):
        evaluate_run(tmp_path, ["zeroshot"])
