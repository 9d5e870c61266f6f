"""shift: accuracy and ECE of each set by hand, intervals over images, effective robustness, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from colours import Eye, write
from helpers import assert_one_line, run_cli

import geomclip as gc
from geomclip.embeddings.record import EmbeddingSet
from geomclip.encoders import load_encoder
from geomclip.encoders.saved import with_weights
from geomclip.evaluations.between import between
from geomclip.evaluations.reference import lines_of
from geomclip.evaluations.subject import Subject
from geomclip.machine.errors import InputError

NAMES = ("a", "b", "c", "d")


def toy(n: int, seed: int, spread: float, *, of: int = 4, start: int = 0, crossed: bool = False) -> EmbeddingSet:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % of
    image = np.eye(4, 12)[labels] + spread * rng.normal(size=(n, 12))
    text, names = np.eye(4, 12)[:of], list(NAMES[:of])
    if crossed:
        order = np.array([2, 0, 3, 1])
        labels, text, names = np.argsort(order)[labels], text[order], [names[place] for place in order]
    ids = [str(start + row) for row in range(n)]
    return EmbeddingSet(image, labels=labels, class_text=text, classes=names, image_id=ids, logit_scale=20.0)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, EmbeddingSet]:
    sets = {"near": toy(60, 1, 0.6, start=1000), "far": toy(80, 2, 1.2, start=2000, crossed=True)}
    for name, each in sets.items():
        gc.save(each, tmp_path / f"{name}.npz")
    return sets


def asked(tmp_path: Path, *names: str, source: EmbeddingSet | None = None, **options: Any) -> gc.Panel:
    family = {name: str(tmp_path / f"{name}.npz") for name in names}
    return gc.evaluate("shift", embeddings=toy(100, 0, 0.4) if source is None else source, family=family, **options)


def accuracy(found: EmbeddingSet, classes: int = 4) -> float:
    text = np.eye(4, 12)[:classes]
    right = [NAMES.index(found.classes[label]) for label in found.labels.tolist()]
    return float(np.mean((found.image.double().numpy() @ text.T).argmax(1) == right))


def test_accuracies_are_those_of_each_set_alone(tmp_path: Path, files: dict[str, EmbeddingSet]) -> None:
    panel = asked(tmp_path, "near", "far", bootstrap=0)
    own = [accuracy(each) for each in files.values()]
    inside = accuracy(toy(100, 0, 0.4))
    assert panel["zeroshot_acc1"] == pytest.approx(inside)
    assert panel["shift_acc1_mean"] == pytest.approx(np.mean(own))
    assert panel["shift_acc1_worst"] == pytest.approx(min(own))
    assert panel["shift_drop"] == pytest.approx(inside - np.mean(own))
    assert [group["zeroshot_acc1"] for group in panel.groups.values()] == pytest.approx(own)
    assert panel.notes["worst"] == "lowest accuracy on far"


def test_calibration_errors_are_those_of_measure(tmp_path: Path, files: dict[str, EmbeddingSet]) -> None:
    panel = asked(tmp_path, "near", "far", bootstrap=0)
    own = [gc.measure(each, bootstrap=0)["zeroshot_ece"] for each in files.values()]
    inside = gc.measure(toy(100, 0, 0.4), bootstrap=0)["zeroshot_ece"]
    assert panel["zeroshot_ece"] == pytest.approx(inside)
    assert panel["shift_ece_mean"] == pytest.approx(np.mean(own), rel=1e-6)
    assert panel["shift_ece_worst"] == pytest.approx(max(own), rel=1e-6)
    assert panel["shift_ece_rise"] == pytest.approx(np.mean(own) - inside, rel=1e-6)


def test_of_sets_of_other_images_variances_add(tmp_path: Path, files: dict[str, EmbeddingSet]) -> None:
    panel = asked(tmp_path, "near", "far", bootstrap=50)
    shares = [(accuracy(each), len(each.image)) for each in files.values()]
    variance = sum(p * (1 - p) / (n - 1) for p, n in shares) / 4
    column = np.array(panel.items["image"]["influence.shift_acc1_mean"])
    assert len(column) == panel.n_images == 240
    assert np.square(column).sum() == pytest.approx(variance)
    low, high = panel.ci["shift_acc1_mean"]
    assert low < panel["shift_acc1_mean"] < high


def test_of_the_same_images_what_is_alike_cancels(tmp_path: Path) -> None:
    gc.save(toy(100, 0, 0.4), tmp_path / "same.npz")
    panel = asked(tmp_path, "same", bootstrap=50)
    assert panel.n_images == 100
    assert panel["shift_drop"] == 0
    assert np.abs(panel.items["image"]["influence.shift_drop"]).max() < 1e-12
    gc.save(toy(100, 0, 0.4, start=500), tmp_path / "apart.npz")
    apart = asked(tmp_path, "apart", bootstrap=50)
    assert apart.ci["shift_drop"][1] > 0.01


def test_a_set_of_fewer_classes_is_held_against_the_same_classes_of_the_data(tmp_path: Path) -> None:
    few, source = toy(40, 3, 0.8, of=2, start=1000), toy(200, 0, 0.7)
    gc.save(few, tmp_path / "few.npz")
    panel = asked(tmp_path, "few", source=source, bootstrap=0)
    inside = accuracy(source.select_images((source.labels < 2).nonzero()[:, 0]), 2)
    assert inside > panel["zeroshot_acc1"]
    assert panel["shift_acc1_mean"] == pytest.approx(accuracy(few, 2))
    assert panel["shift_drop"] == pytest.approx(inside - accuracy(few, 2))


def test_a_family_of_folders_and_corruptions_are_asked_with_the_prompts_of_the_data(tmp_path: Path) -> None:
    write(tmp_path / "data", seed=1)
    write(tmp_path / "other", seed=2)
    (tmp_path / "t.txt").write_text("a {} thing\n")
    options: dict[str, Any] = {"templates": str(tmp_path / "t.txt"), "corrupt": "contrast", "severities": "1 5"}
    family = {"other": f"imagenet-folder:{tmp_path / 'other'}"}
    panel = gc.evaluate("shift", Eye(), f"imagenet-folder:{tmp_path / 'data'}", family=family, bootstrap=50, **options)
    alone = gc.evaluate("zeroshot", Eye(), family["other"], templates=options["templates"], bootstrap=0)
    assert list(panel.groups) == ["other", "contrast-1", "contrast-5"]
    assert panel.groups["other"]["zeroshot_acc1"] == alone["zeroshot_acc1"]
    assert panel.groups["contrast-5"]["zeroshot_acc1"] <= panel["zeroshot_acc1"]
    # images of one name are one image, in the folders as in the corruptions
    assert panel.n_images == 36
    assert panel.params["prompts"]["count"] == 3


def test_a_set_is_asked_in_the_split_that_is_named(tmp_path: Path) -> None:
    write(tmp_path / "data", seed=1)
    for split, count in (("train", 5), ("test", 4)):
        write(tmp_path / "other" / split, seed=2, count=count)
    source, family = f"imagenet-folder:{tmp_path / 'data'}", {"other": f"imagenet-folder:{tmp_path / 'other'}"}
    for split, count in ((None, 12), ("train", 15), ("test", 12)):
        chosen = {"family_split": {"other": split}} if split else {}
        panel = gc.evaluate("shift", Eye(), source, family=family, bootstrap=0, **chosen)
        assert panel.groups["other"].n_images == count


def test_effective_robustness_is_accuracy_beyond_the_line_of_others(
    tmp_path: Path, files: dict[str, EmbeddingSet]
) -> None:
    inside, outside = np.array([0.6, 0.7, 0.9]), np.array([0.5, 0.55, 0.8])
    rows = "".join(f"m{k},{x},{y},0.5\n" for k, (x, y) in enumerate(zip(inside, outside, strict=True)))
    (tmp_path / "r.csv").write_text(f"model,in,near,more\n{rows}m9,0.5,,\n")
    panel = asked(tmp_path, "near", "far", reference=str(tmp_path / "r.csv"), bootstrap=50)
    slope, intercept = np.polyfit(np.log(inside / (1 - inside)), np.log(outside / (1 - outside)), 1)
    own = panel["zeroshot_acc1"]
    expected = 1 / (1 + np.exp(-(intercept + slope * np.log(own / (1 - own)))))
    beyond = accuracy(files["near"]) - expected
    assert panel["shift_effective_robustness"] == pytest.approx(beyond)
    assert panel.params["reference"]["near"]["beyond"] == pytest.approx(beyond)
    assert list(panel.params["reference"]) == ["near"]
    # by the delta method: images of the data move what is expected, those of the set accuracy
    moved = np.array(panel.items["image"]["influence.shift_effective_robustness"])
    slope_there = slope * expected * (1 - expected) / (own * (1 - own))
    near = accuracy(files["near"])
    variance = near * (1 - near) / 59 + slope_there**2 * own * (1 - own) / 99
    assert np.square(moved).sum() == pytest.approx(variance)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("model,inside,near\nm,0.5,0.4\n", "has the columns model, inside, near; needed: in, and one of near"),
        ("in,far\n0.5,0.4\n", "needed: in, and one of near"),
        ("in,near\n0.5,0.4\n", "1 models have in and near; a line needs 2 that differ"),
        ("in,near\n0.5,0.4\n0.5,0.6\n", "2 models have in and near; a line needs 2 that differ"),
        ("in,near\n55,40\n60,50\n", "line 2, column 'in': '55' is no share between 0 and 1"),
        ("in,near\n0.5,x\n", "line 2, column 'near': 'x' is no share"),
    ],
)
def test_reference_rows_that_tell_no_line_are_refused(tmp_path: Path, content: str, match: str) -> None:
    (tmp_path / "r.csv").write_text(content)
    with pytest.raises(InputError, match=match) as caught:
        lines_of(tmp_path / "r.csv", ["near"])
    assert "\n" not in str(caught.value)


def test_classes_that_disagree_are_named_on_both_sides(tmp_path: Path) -> None:
    rows = torch.eye(4).repeat(3, 1)
    other = EmbeddingSet(
        rows, labels=torch.arange(12) % 4, class_text=torch.eye(4), classes=("a", "b", "x", "d"), logit_scale=20.0
    )
    gc.save(other, tmp_path / "other.npz")
    source = other.replace(classes=NAMES)
    with pytest.raises(InputError, match=r"has classes that the data lack: x; of the data alone: c") as caught:
        asked(tmp_path, "other", source=source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "shift: no other set: name some with --family, or corruptions with --corrupt"),
        (["--family", "x"], "--family x: NAME=DATA is meant"),
        (["--family", "x=emoji", "--family", "x=coco"], "two sets are called 'x'"),
        (["--family", "in=emoji"], "--family in: the data themselves are called that in the table"),
        (["--family", "noise-1=emoji", "--corrupt", "noise"], "--family noise-1: a corruption is called that"),
        (["--family", "x=emoji", "--family-split", "train"], "--family-split train: NAME=SPLIT is meant"),
        (["--family", "x=emoji", "--family-split", "y=val"], "--family-split: --family names no set 'y'"),
        (["--family", "x=emoji", "--family-split", "x=vall"], "emoji has no split 'vall'; it has train, val, test"),
        (["--family", "x=emojis"], "unknown data 'emojis'"),
        (["--corrupt", "nois"], "use noise, blur, jpeg, contrast; did you mean noise"),
        (["--corrupt", "noise", "--severities", "6"], "numbers from 1 to 5"),
        (["--corrupt", "noise", "--reference", "none.csv"], "none.csv: no such file"),
        (["--shots", "1"], "--shots is of --task fewshot"),
    ],
)
def test_what_cannot_be_asked_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    done = run_cli(capsys, "evaluate", "--task", "shift", "--label-column", "group", *arguments)
    assert_one_line(done, 2, said)


def test_weights_on_the_way_from_the_base_to_the_model_are_asked_too(tmp_path: Path) -> None:
    write(tmp_path / "data", seed=1, count=4)
    base = load_encoder("demo")
    noise = torch.Generator().manual_seed(0)
    state = {
        name: value + 0.02 * torch.randn(value.shape, generator=noise) if value.ndim > 1 else value
        for name, value in base.module.state_dict().items()
    }
    model = with_weights(base, state)
    before = base.module.state_dict()
    for alpha, subject in between(Subject(model), "demo"):
        for name, value in subject.model.module.state_dict().items():
            assert torch.allclose(value, before[name] + alpha * (state[name] - before[name]), atol=1e-6), (alpha, name)
    mixed = with_weights(base, {name: (before[name] + value) / 2 for name, value in state.items()})
    source, how = f"imagenet-folder:{tmp_path / 'data'}", {"corrupt": "blur", "severities": "5", "bootstrap": 0}
    curve = gc.evaluate("shift", model, source, between="demo", **how).curves["wise_ft_curve"]
    assert curve["alpha"] == [0, 0.25, 0.5, 0.75, 1]
    for place, encoder in ((0, "demo"), (2, mixed), (4, model)):
        own = gc.evaluate("shift", encoder, source, **how)
        for key in ("zeroshot_acc1", "shift_acc1_mean"):
            assert curve[key][place] == pytest.approx(own[key])


def test_a_base_without_weights_or_of_another_architecture_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "data", seed=1, count=4)
    source, how = f"imagenet-folder:{tmp_path / 'data'}", {"corrupt": "blur", "severities": "5", "bootstrap": 0}
    with pytest.raises(InputError, match="between needs the weights of both models"):
        gc.evaluate("shift", Eye(), source, between="demo", **how)
    with pytest.raises(InputError, match="is of another architecture than the model"):
        gc.evaluate("shift", "demo", source, between="ViT-B-32:random", **how)


def test_the_command_shows_the_sets_beside_the_data_and_two_results_are_compared(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, files: dict[str, EmbeddingSet]
) -> None:
    vectors = gc.save(toy(100, 0, 0.4), tmp_path / "v.npz")
    family = ("--family", f"near={tmp_path / 'near.npz'}", "--family", f"far={tmp_path / 'far.npz'}")
    out = tmp_path / "r.json"
    done = run_cli(capsys, "evaluate", "--task", "shift", "--embeddings", vectors, *family, "--out", out)
    assert done.code == 0, done.err
    by_set = next(line.split() for line in done.out.splitlines() if line.startswith("by set"))
    assert by_set == ["by", "set", "in", "near", "far"]
    images = next(line.split() for line in done.out.splitlines() if line.startswith("images"))
    assert images == ["images", "100", "60", "80"]
    assert gc.compare(out, out)["shift_acc1_mean"].verdict == "same"
    done = run_cli(
        capsys, "evaluate", "--task", "shift", "--embeddings", vectors, *family, "--family-split", "near=val"
    )
    assert_one_line(done, 2, "--family-split is of data, and --embeddings are vectors")
    assert_one_line(
        run_cli(capsys, "evaluate", "--task", "shift", "--embeddings", vectors, "--corrupt", "noise"),
        2,
        "--corrupt needs images, and --embeddings are vectors",
    )
