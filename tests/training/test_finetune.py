"""finetune as a user runs it: what the run folder holds, what is printed, what is refused."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Done, assert_one_line, flipped, resealed
from safetensors.torch import load_file
from tiny_models import tiny_model
from toy_pairs import toy_csv

import geomclip as gc
from geomclip.cli.app import main
from geomclip.machine.errors import GeomclipError
from geomclip.machine.lock import Lock
from geomclip.training import objective
from geomclip.training.watching.journal import read_log

pytestmark = pytest.mark.usefixtures("own_cache")

Cli = Callable[..., Done]
FAST = {"epochs": 2, "batch_size": 8, "lr": 1e-3, "precision": "fp32", "workers": 0}
QUICK = {**FAST, "bootstrap": 0, "metrics": "modality_gap"}


def flags(options: dict[str, Any]) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]


FLAGS = flags(QUICK)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """24 images to train, 12 to choose by, 16 to report on."""
    return toy_csv(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny dual encoder with random weights."""
    return f"local-dir:{tiny_model(tmp_path_factory.mktemp('model') / 'tiny')}"


def tuned(out: Path, model: str, data: str, **changes: Any) -> Any:
    return gc.finetune(model=model, data=data, out=out, **{**QUICK, **changes})


@pytest.fixture(scope="module")
def finished(model: str, data: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of the command that is only read, and what it printed."""
    out = tmp_path_factory.mktemp("finished") / "run"
    options = ["--model", model, "--data", data, "--out", str(out), *flags(FAST), "--bootstrap=20"]
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        assert main(["finetune", *options]) == 0
    return out, shown.getvalue()


@pytest.fixture
def copy(finished: tuple[Path, str], tmp_path: Path) -> Path:
    """The same run, to be gone on with."""
    return Path(shutil.copytree(finished[0], tmp_path / "run"))


@pytest.fixture(scope="module")
def of_ft(model: str, data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of plain contrastive training."""
    return Path(tuned(tmp_path_factory.mktemp("ft") / "run", model, data, method="ft").folder)


@pytest.fixture(scope="module")
def mixture(of_ft: Path, data: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What WiSE-FT makes of that run and its base."""
    out = tmp_path_factory.mktemp("wise") / "run"
    return gc.finetune(method="wise-ft", model=str(of_ft), data=data, out=out, bootstrap=0)


@pytest.fixture(scope="module")
def shifted(model: str, data: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The model shifted along the gap."""
    return gc.finetune(method="es", model=model, data=data, out=tmp_path_factory.mktemp("es") / "run", bootstrap=0)


def test_a_run_leaves_everything_the_interface_names(finished):
    out, shown = finished
    names = {path.name for path in out.iterdir()}
    assert names >= {"model.safetensors", "best.safetensors", "config.json", "log.jsonl", "before.json", "after.json"}
    assert [folder.name for folder in (out / "checkpoints").iterdir()] == ["step-000006"]
    assert ".geomclip.lock" not in names
    for word in ("Modality gap", "before", "after", "use it: geomclip measure --model"):
        assert word in shown
    config = json.loads((out / "config.json").read_text())
    assert config["finished"] is True
    assert config["settings"]["method"] == "m2mix"
    assert config["chosen"]["step"] in (3, 6)


def test_the_log_tells_terms_lambda_and_the_probe(model, data, tmp_path):
    tuned(tmp_path / "run", model, data, method="m3mix", probe_every=2)
    log = read_log(tmp_path / "run" / "log.jsonl")
    steps = [row for row in log if "loss" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    assert set(steps[0]["terms"]) == {"contrastive", "m2_mix", "v_mix", "l_mix", "vl_mix"}
    assert set(steps[0]["lambda"]) == {"m2_mix", "v_mix", "l_mix", "vl_mix"}
    assert {"temperature", "lr", "grad_norm", "images_per_second"} <= set(steps[0])
    assert [row["step"] for row in log if "probe" in row] == [0, 2, 4, 6]
    assert [row["step"] for row in log if "val" in row] == [0, 3, 6]


def test_before_is_the_model_and_after_the_best_weights(model, data, finished):
    result = gc.finetune(out=finished[0], resume=True, bootstrap=20)
    base = gc.measure(gc.embed(model, data), bootstrap=0)
    best = gc.measure(gc.embed(str(finished[0]), data), bootstrap=0)
    for key in ("alignment", "modality_gap", "text_retrieval_recall@1"):
        assert result.before[key] == base[key]
        assert result.after[key] == best[key]
    assert result.comparison["modality_gap"].difference == pytest.approx(best["modality_gap"] - base["modality_gap"])


def test_training_learns_the_toy_set(model, data, tmp_path):
    unseen = {"eval_every": 0, "save_every": 0, "probe_every": 0}
    tuned(tmp_path / "run", model, data, method="ft", epochs=20, lr=3e-3, **unseen)
    losses = [row["loss"] for row in read_log(tmp_path / "run" / "log.jsonl") if "loss" in row]
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_seed_gives_the_same_bytes(model, data, tmp_path, workers):
    crops = {"method": "m3mix", "augment": "crop", "workers": workers, "steps": 4, "probe_every": 0}
    for name in ("one", "two"):
        tuned(tmp_path / name, model, data, **crops)
    for file in ("model.safetensors", "best.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    if not workers:
        tuned(tmp_path / "three", model, data, **crops, seed=1)
        assert weights(tmp_path / "one") != weights(tmp_path / "three")


def weights(run: Path, file: str = "model.safetensors") -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in load_file(run / file).items()}


def test_workers_and_the_probe_decide_no_weight(model, data, finished, tmp_path):
    tuned(tmp_path / "two", model, data, workers=2, probe_every=1)
    assert weights(finished[0]) == weights(tmp_path / "two")


def test_the_starting_weights_are_no_candidate_and_it_is_said(model, data, tmp_path, monkeypatch):
    from geomclip.training.held_out import HeldOut

    scores = iter([1.0, 0.2, 0.1])
    monkeypatch.setattr(HeldOut, "score", lambda self, values: values["score"])
    monkeypatch.setattr(HeldOut, "__call__", lambda self, module, *, device: {"score": next(scores)})
    result = tuned(tmp_path / "run", model, data)
    assert result.chosen["step"] == 3
    assert not result.chosen["beats_start"]
    assert "nothing beat them" in str(result)
    assert weights(tmp_path / "run", "best.safetensors") != weights(tmp_path / "run")


def test_patience_ends_a_run_that_gains_nothing(model, data, tmp_path, monkeypatch):
    from geomclip.training.held_out import HeldOut

    monkeypatch.setattr(HeldOut, "score", lambda self, values: 0.5)
    result = tuned(tmp_path / "run", model, data, epochs=9, patience=2)
    assert result.chosen["steps"] == 9
    assert result.chosen["step"] == 3


def test_a_finished_run_is_left_as_it_is_and_a_longer_one_goes_on(run, model, data, copy):
    out = copy
    arguments = ["finetune", "--model", model, "--data", data, "--out", out, *FLAGS]
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    code, shown, errors = run(*arguments, "--resume")
    assert code == 0
    assert "is finished: nothing to do" in errors
    assert "Modality gap" in shown
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    code, _, errors = run(*arguments, "--resume", "--epochs=3")
    assert code == 0
    assert "resumed at step 6" in errors
    assert [row["step"] for row in read_log(out / "log.jsonl") if "loss" in row] == list(range(1, 10))


def test_a_resumed_run_needs_only_its_folder(run, of_ft):
    code, _, errors = run("finetune", "--out", of_ft, "--resume", "--bootstrap", "0")
    assert code == 0, errors
    assert "is finished" in errors


def test_without_a_checkpoint_resume_starts_afresh_and_says_so(run, model, data, tmp_path):
    out = tmp_path / "run"
    code, _, errors = run("finetune", "--model", model, "--data", data, "--out", out, *FLAGS, "--resume")
    assert code == 0
    assert "has no checkpoint: the run starts afresh" in errors


REFUSED = [
    (["--batch-size=200"], 2, "a batch of 200 pairs is larger than"),
    (["--batch-size=1"], 2, "--batch-size 1: must be finite, at least 2"),
    (["--lr=0"], 2, "--lr 0 trains nothing"),
    (["--lr=inf"], 2, "--lr inf: must be finite"),
    (["--method=m2mixx"], 2, "did you mean m2mix"),
    (["--val-metric=recal"], 2, "--val-metric"),
    (["--val-metric=rankme_image"], 2, "--val-metric"),
    (["--weight=m2_mix"], 2, "write TERM=X"),
    (["--weight=m4_mix=1"], 2, "m2_mix, v_mix, l_mix, vl_mix can have one"),
    (["--holdout=0.7"], 2, "--holdout 0.7: must be at least 0 and below 0.5"),
    (["--model=nothing-like-it"], 2, "unknown model"),
    (["--method=wise-ft"], 2, "--method wise-ft needs a finished run as --model"),
]


@pytest.mark.parametrize(("extra", "code", "reason"), REFUSED, ids=[row[0][0] for row in REFUSED])
def test_what_cannot_be_trained_is_refused_in_one_line(run, model, data, tmp_path, extra, code, reason):
    got, shown, errors = run("finetune", "--model", model, "--data", data, "--out", tmp_path / "run", *FLAGS, *extra)
    assert got == code
    assert reason in errors
    assert shown == ""
    assert errors.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("splits", "reason"),
    [
        ({"train": 8, "test": 8}, "--holdout 0.1 makes one"),
        ({"": 8}, "--holdout 0.1 makes them"),
        ({"train": 1, "val": 4}, "has 1 images with captions: training needs at least 2"),
        ({"train": 8, "val": 1}, "has 1 images with captions: validation needs at least 2"),
        ({"train": 8, "val": 4, "test": 1}, "has 1 images with captions: measuring needs at least 2"),
    ],
)
def test_sets_without_what_training_needs_are_refused_with_the_way_out(run, model, tmp_path, splits, reason):
    made = toy_csv(tmp_path / "data", splits=splits)
    code, _, errors = run("finetune", "--model", model, "--data", made, "--out", tmp_path / "run", *FLAGS)
    assert code == 2
    assert reason in errors
    assert "leave --split out" not in errors  # nobody has given one
    assert errors.count("\n") == 1


def test_holdout_makes_splits_of_a_set_without(run, model, tmp_path):
    made = toy_csv(tmp_path / "data", splits={"": 60})
    code, shown, errors = run(
        "finetune", "--model", model, "--data", made, "--out", tmp_path / "run", *FLAGS, "--holdout=0.2"
    )
    assert code == 0, errors
    sizes = json.loads((tmp_path / "run" / "config.json").read_text())["data"]["images"]
    assert sum(sizes.values()) == 60
    assert min(sizes.values()) >= 4
    assert "--holdout 0.2" in shown


def test_a_set_without_test_is_reported_on_val_and_it_is_said(run, model, tmp_path):
    made = toy_csv(tmp_path / "data", splits={"train": 24, "val": 12})
    code, shown, _ = run("finetune", "--model", model, "--data", made, "--out", tmp_path / "run", *FLAGS)
    assert code == 0
    assert "has no test split: before and after are measured on val" in shown


def test_a_folder_of_something_else_is_refused(run, model, data, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    code, _, errors = run("finetune", "--model", model, "--data", data, "--out", tmp_path / "run", *FLAGS)
    assert code == 2
    assert "is not empty (thesis.tex)" in errors


def test_a_second_writer_is_refused(run, model, data, tmp_path):
    with Lock(tmp_path / "run"):
        code, _, errors = run("finetune", "--model", model, "--data", data, "--out", tmp_path / "run", *FLAGS)
    assert code == 2
    assert "is being written by process" in errors


def test_a_run_is_not_overwritten_and_not_continued_with_other_settings(run, model, data, copy, tmp_path):
    arguments = ["finetune", "--model", model, "--data", data, "--out", copy, *FLAGS]
    assert "go on with it by --resume" in run(*arguments)[2]
    code, _, errors = run(*arguments, "--resume", "--lr=0.01", "--epochs=3")
    assert code == 2
    assert "--lr 0.001 there, 0.01 here" in errors
    assert "--override" in errors
    assert run(*arguments, "--resume", "--lr=0.01", "--epochs=3", "--override")[0] == 0
    other = toy_csv(tmp_path / "other", splits={"train": 20, "val": 8, "test": 8})
    code, _, errors = run(*arguments, "--resume", "--epochs=4", "--data", other, "--override")
    assert code == 2
    assert "began with other data" in errors


def test_a_loss_that_is_not_finite_names_the_step_the_checkpoint_and_a_cause(model, data, tmp_path, monkeypatch):
    plain = objective.objective

    def fails(method, features, drawn, settings, epoch):
        total, terms = plain(method, features, drawn, settings, epoch)
        bad = math.nan if epoch == 1 else 1.0
        return total * bad, {name: value * bad for name, value in terms.items()}

    monkeypatch.setattr(objective, "objective", fails)
    with pytest.raises(GeomclipError) as error:
        tuned(tmp_path / "run", model, data, save_every=2)
    message = str(error.value)
    assert "step 4: the loss is not finite (contrastive, m2_mix)" in message
    assert "step-000002" in message
    assert "likely cause: the learning rate 0.001 is high (try lr=0.0001)" in message
    assert error.value.exit_code == 1


def test_an_unreadable_image_is_left_out_and_named_in_the_log(run, model, tmp_path):
    made = toy_csv(tmp_path / "data", broken=(5,))
    code, _, errors = run("finetune", "--model", model, "--data", made, "--out", tmp_path / "run", *FLAGS)
    assert code == 0, errors
    notes = [row["note"] for row in read_log(tmp_path / "run" / "log.jsonl") if "note" in row]
    assert any("005.png" in note for note in notes)


def test_wise_ft_interpolates_a_run_with_its_base(model, data, of_ft, mixture):
    points = dict(map(tuple, mixture.chosen["points"]))
    assert sorted(points) == pytest.approx([k / 10 for k in range(11)])
    alpha = mixture.chosen["value"]
    base = gc.embed(model, data).made_from["weights_sha256"]
    assert base == mixture.before.made_from["weights_sha256"]
    start = load_file(Path(model.removeprefix("local-dir:")) / "open_clip_model.safetensors")
    end, between = load_file(of_ft / "best.safetensors"), load_file(mixture.folder / "model.safetensors")
    name = "visual.proj"
    assert torch.allclose(between[name], (1 - alpha) * start[name] + alpha * end[name], atol=1e-6)


def test_es_shifts_both_modalities_and_the_folder_is_a_model(data, shifted):
    assert shifted.chosen["value"] != 0
    again = gc.measure(gc.embed(str(shifted.folder), data), bootstrap=0)
    assert again["modality_gap"] == shifted.after["modality_gap"] != shifted.before["modality_gap"]


def test_both_towers_locked_is_impossible_and_one_is_kept(model, data, tmp_path):
    tuned(tmp_path / "run", model, data, lock="image", steps=2)
    start = load_file(Path(model.removeprefix("local-dir:")) / "open_clip_model.safetensors")
    end = load_file(tmp_path / "run" / "model.safetensors")
    assert torch.equal(start["visual.proj"], end["visual.proj"])
    assert not torch.equal(start["text_projection"], end["text_projection"])


def test_the_last_line_says_how_to_use_the_weights_elsewhere(finished, shifted):
    out, shown = finished
    assert f"geomclip export {out / 'best.safetensors'} --to openclip" in shown
    assert "applied by geomclip alone" in str(shifted)


def test_a_shifted_model_is_not_trained(run, data, shifted, tmp_path):
    code, _, errors = run("finetune", "--model", shifted.folder, "--data", data, "--out", tmp_path / "run", *FLAGS)
    assert code == 2
    assert "is shifted along the gap" in errors


def test_a_mixture_says_that_it_comes_from_the_base(model, data, mixture):
    made_from = gc.embed(str(mixture.folder), data).made_from
    assert made_from["finetuned"]["base"]["weights_sha256"] == gc.embed(model, data).made_from["weights_sha256"]
    assert made_from["finetuned"]["method"] == "wise-ft"


def test_captions_that_are_all_the_same_are_refused(run, model, tmp_path):
    made = toy_csv(tmp_path / "data")
    file = Path(made.removeprefix("csv:"))
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], *(re.sub(",.*,", ",A photo,", line) for line in lines[1:])]) + "\n")
    done = run("finetune", "--model", model, "--data", made, "--out", tmp_path / "run", *FLAGS)
    assert_one_line(done, 2, "(train): every caption is 'a photo': nothing tells images apart")


def test_a_full_disk_while_saving_leaves_the_checkpoint_before(run, model, data, tmp_path, monkeypatch):
    out = tmp_path / "run"
    sync = os.fsync

    def full(descriptor):
        if (out / "checkpoints" / ".step-000004.geomclip-tmp").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    arguments = ["finetune", "--model", model, "--data", data, "--out", out, *FLAGS, "--save-every=2"]
    monkeypatch.setattr(os, "fsync", full)
    code, shown, errors = run(*arguments)
    assert (code, shown) == (1, "")
    assert "the disk is full" in errors.splitlines()[-1]
    assert [folder.name for folder in (out / "checkpoints").iterdir()] == ["step-000002"]
    monkeypatch.undo()
    code, _, errors = run(*arguments, "--resume")
    assert code == 0, errors
    assert "resumed at step 2" in errors


# sums


def test_a_flipped_bit_in_the_last_checkpoint_resumes_from_the_one_before_to_the_same_weights(
    run: Cli, model: str, data: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    tuned(out, model, data, save_every=1)
    whole = weights(out, "model.safetensors")
    resealed(out / "config.json", lambda config: config.pop("finished"))
    for name in ("model.safetensors", "best.safetensors", "after.json"):
        (out / name).unlink()
    flipped(out / "checkpoints" / "step-000006" / "model.safetensors", -9)
    code, _, errors = run("finetune", "--out", out, "--resume", "--bootstrap", 0)
    assert code == 0, errors
    assert (
        "step-000006/model.safetensors is damaged: its sha256 is not the one recorded; step-000005 is taken" in errors
    )
    assert "resumed at step 5" in errors
    assert weights(out, "model.safetensors") == whole


@pytest.mark.parametrize("name", ["before.json", "after.items.parquet", "before.items.parquet", "after.json"])
def test_a_damaged_panel_of_a_finished_run_is_measured_again_with_a_line(run: Cli, copy: Path, name: str) -> None:
    before = {path.name: path.read_bytes() for path in copy.glob("*.parquet")}
    size = (copy / name).stat().st_size
    flipped(copy / name, size // 2)
    code, shown, errors = run("finetune", "--out", copy, "--resume", "--bootstrap", 20)
    assert code == 0, errors
    assert "Modality gap" in shown
    assert f"{name.partition('.')[0]}.json is measured again" in errors
    assert {path.name: path.read_bytes() for path in copy.glob("*.parquet")} == before
    assert "again" not in run("finetune", "--out", copy, "--resume", "--bootstrap", 20)[2]


def test_settings_that_were_changed_on_disk_are_refused_with_the_way_out(run: Cli, copy: Path) -> None:
    file = copy / "config.json"
    file.write_text(file.read_text().replace('"seed": 0', '"seed": 1', 1))
    code, _, errors = run("finetune", "--out", copy, "--resume")
    assert code == 2
    assert "config.json is damaged or changed" in errors
    assert "put back a copy of it, or name another --out" in errors
