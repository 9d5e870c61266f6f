"""evaluate: tasks by name, their results as panels that a comparison takes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import assert_one_line, run_cli
from scipy import stats

import geomclip as gc
from geomclip.embeddings.record import EmbeddingSet
from geomclip.evaluations import calls, subject
from geomclip.evaluations.asked import ASKED
from geomclip.evaluations.by_column import of_column
from geomclip.evaluations.result import panel_of
from geomclip.machine.errors import InputError
from geomclip.metrics import METRICS
from geomclip.metrics.evaluated import EVALUATED, KNOWN, PRIMARY
from geomclip.pairs import Source, load_pairs


def classes(n: int = 60, seed: int = 0) -> EmbeddingSet:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    image = rng.normal(size=(n, 8)) + 2 * np.eye(3, 8)[labels]
    return EmbeddingSet(image, labels=labels, class_text=np.eye(3, 8), classes=("a", "b", "c"), logit_scale=10.0)


def test_each_task_of_the_table_is_a_module_of_its_name() -> None:
    assert [task.name for task in calls.list_tasks()] == list(ASKED)
    assert all(task.asks is ASKED[task.name] and task.answers for task in calls.list_tasks())


def test_keys_of_evaluations_and_of_panels_are_apart() -> None:
    assert not EVALUATED.keys() & METRICS.keys()
    assert KNOWN == {**METRICS, **EVALUATED}
    assert set(PRIMARY) <= set(EVALUATED)


def test_zeroshot_is_what_measure_makes_of_class_data() -> None:
    found = gc.evaluate("zeroshot", embeddings=classes(), bootstrap=50)
    measured = gc.measure(classes(), bootstrap=50)
    assert found["zeroshot_acc1"] == measured["zeroshot_acc1"]
    assert found.ci["zeroshot_acc1"] == measured.ci["zeroshot_acc1"]


def test_a_comparison_of_few_shot_results_speaks_of_accuracy_and_not_of_retrieval() -> None:
    panels = [gc.evaluate("fewshot", embeddings=classes(seed=seed), shots="1", bootstrap=50) for seed in (0, 1)]
    verdict = gc.compare(*panels).verdict
    assert [each.about for each in verdict.lines][:1] == ["classes"]
    assert "retrieval" not in str(verdict)


def test_a_column_of_pairs_makes_them_class_data() -> None:
    pairs = load_pairs(Source("emoji", split="val"))
    made = of_column(pairs, "group")
    assert made.classes == tuple(sorted({dict(pair.columns)["group"] for pair in pairs.pairs}))
    assert [pair.label for pair in made.pairs] == [dict(pair.columns)["group"] for pair in pairs.pairs]
    assert not any(pair.captions for pair in made.pairs)
    assert made.class_prompts is not None
    assert made.class_prompts[0] == (f"a photo of a {made.classes[0]}.",)


def test_an_interval_is_over_images_and_over_draws() -> None:
    rng = np.random.default_rng(3)
    hits = torch.tensor((rng.random((5, 60)) < 0.6), dtype=torch.float64)
    panel = panel_of("fewshot", classes(), {}, means={"fewshot_probe_acc1@1": hits, "other": hits})
    assert panel["other"] == pytest.approx(float(hits.mean()))
    low, high = panel.ci["other"]
    of_images = float(hits.mean(0).var() / 60)
    of_draws = float(hits.mean(1).var() / 5)
    reach = stats.t.ppf(0.975, 59) * (of_images + of_draws) ** 0.5
    assert (high - low) / 2 == pytest.approx(reach, rel=1e-6)
    assert (
        0 <= panel.ci["fewshot_probe_acc1@1"][0] < panel["fewshot_probe_acc1@1"] < panel.ci["fewshot_probe_acc1@1"][1]
    )


def test_images_that_are_in_no_mean_are_left_out() -> None:
    hits = torch.ones(60, dtype=torch.float64)
    hits[:30], hits[30:40] = torch.nan, 0.0
    panel = panel_of("fewshot", classes(), {}, means={"share": hits})
    assert panel["share"] == pytest.approx(20 / 30)
    column = panel.items["image"]["influence.share"]
    assert column[:30] == [0.0] * 30
    assert sum(np.square(column)) == pytest.approx(float(hits[30:].var()) / 30)


def test_a_comparison_pairs_images_and_draws() -> None:
    rng = np.random.default_rng(5)
    key = "fewshot_probe_acc1@16"
    one = torch.tensor((rng.random((4, 60)) < 0.4), dtype=torch.float64)
    other = torch.maximum(one, torch.tensor((rng.random((4, 60)) < 0.5), dtype=torch.float64))
    before, after = (panel_of("fewshot", classes(), {}, means={key: each}) for each in (one, other))
    row = gc.compare(before, after)[key]
    moved = other - one
    error = float(moved.mean(0).var() / 60 + moved.mean(1).var() / 4) ** 0.5
    assert row.difference == pytest.approx(float(moved.mean()))
    assert row.p == pytest.approx(2 * stats.t.sf(row.difference / error, 59), rel=1e-6)
    assert row.verdict == "better"
    assert gc.compare(before, after).verdict.headline == "better"


def test_a_result_is_read_back_from_its_file(tmp_path: Path) -> None:
    key = "fewshot_probe_acc1@16"
    hits = torch.tensor(np.random.default_rng(1).random((3, 60)) < 0.5, dtype=torch.float64)
    panel = panel_of("fewshot", classes(), {}, means={key: hits})
    file = panel.save(tmp_path / "a.json")
    row = gc.compare(file, file)[key]
    assert (row.before, row.verdict) == (panel[key], "same")
    with pytest.raises(ValueError, match="a panel of fewshot, after of classification"):
        gc.compare(panel, gc.measure(classes(), bootstrap=0))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "zeroshot"], "emoji (test) has no classes: name class data, or with --label-column"),
        (["--task", "zeroshot", "--label-column", "grup"], "no such column in emoji (test); did you mean group"),
        ([], "name one --task (zeroshot"),
        (["--all", "--out", "a.json"], "--all writes one folder: --out FOLDER"),
        (["--all", "--fail-if", "zeroshot_acc1<1"], "of one --task"),
        (["--task", "zeroshot", "--embeddings", "x.npz", "--limit", "3"], "leave out --limit"),
        (["--task", "zeroshot", "--columns", "image=a"], "--columns is of files of vectors"),
    ],
)
def test_what_cannot_be_asked_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    done = run_cli(capsys, "evaluate", *arguments)
    assert_one_line(done, 2, said)


def test_an_option_that_no_task_has_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"label_colum: no option of evaluate.*did you mean label_column"):
        gc.evaluate("zeroshot", label_colum="group")
    with pytest.raises(InputError, match="no task 'zeroshots'; did you mean zeroshot"):
        gc.evaluate("zeroshots")


def test_the_command_prints_a_table_and_writes_a_result_and_a_gate_trips(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    vectors = gc.save(classes(), tmp_path / "v.npz")
    out = tmp_path / "r.json"
    asked = ("evaluate", "--task", "zeroshot", "--embeddings", vectors, "--out", out)
    done = run_cli(capsys, *asked, "--fail-if", "zeroshot_acc1<1")
    assert done.code == 3
    assert "Accuracy@1" in done.out
    assert json.loads(out.read_text())["task"] == "classification"


def test_a_file_of_vectors_is_read_once_for_all_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, seen = gc.save(classes(), tmp_path / "v.npz"), []
    read = subject.vectors
    monkeypatch.setattr(subject, "vectors", lambda *args, **how: seen.append(args) or read(*args, **how))
    assert {"zeroshot", "fewshot"} <= set(calls.evaluate_all(embeddings=file, draws=1, shots="1").panels)
    assert len(seen) == 1


def test_all_tasks_are_asked_and_those_left_out_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    vectors = gc.save(classes(), tmp_path / "v.npz")
    done = run_cli(capsys, "evaluate", "--all", "--embeddings", vectors, "--out", tmp_path / "all")
    assert done.code == 0
    assert (tmp_path / "all" / "zeroshot.json").exists()
    pairs = gc.save(EmbeddingSet(np.eye(5), np.eye(5)), tmp_path / "p.npz")
    done = run_cli(capsys, "evaluate", "--all", "--embeddings", pairs)
    assert done.code == 2
    assert "no task applies: zeroshot: the vectors have no classes, or one only" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["missing-modality", "--train", "--model", "demo", "--limit", "9"],
            "views of its own: leave out --model, --limit",
        ),
        (["simat", "--simat", "simat", "--data", "emoji"], "--simat names the data of --task simat: leave out --data"),
        (["interpolation", "--tree", "--embeddings", "v.npz"], "--tree generates its rows: leave out --embeddings"),
        (["captioning", "--captions", "c.json", "--model", "demo"], "another model: leave out --model"),
    ],
)
def test_what_a_task_would_leave_aside_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_line(run_cli(capsys, "evaluate", "--task", *arguments), 2, said)
