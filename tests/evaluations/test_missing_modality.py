"""missing-modality: the truth of generated views, the losses by loops, the numbers by hand, and what is refused."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import assert_one_line, run_cli
from scipy import stats
from sklearn.linear_model import RidgeCV
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer

import geomclip as gc
from geomclip.evaluations import gmc, signed, views
from geomclip.evaluations.gmc import Learning
from geomclip.losses import m2_mix
from geomclip.machine.errors import InputError
from geomclip.metrics.evaluated import KNOWN
from geomclip.training.seeds import derived

CONVERT = Path(__file__).parents[2] / "analyses" / "convert_mosei.py"


def npz(path: Path, **changed: object) -> Path:
    rng = np.random.default_rng(0)
    label = np.round(3 * rng.normal(size=60)) / 3
    arrays: dict[str, object] = {name: label[:, None] + rng.normal(size=(60, 4)) for name in ("text", "audio", "video")}
    arrays |= {"label": label, "split": np.array(["train"] * 40 + ["test"] * 20)}
    np.savez(path, **{name: each for name, each in (arrays | changed).items() if each is not None})
    return path


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, gc.Panel]:
    path = npz(tmp_path_factory.mktemp("views") / "views.npz")
    return path, gc.evaluate("missing-modality", views=str(path), train=True, gmc_epochs=2, repeats=2, m2_weight=5.0)


def explained(found: views.Views, names: tuple[str, ...]) -> float:
    """Share of the variance of the test labels that a flexible regression explains."""
    train, test = (np.hstack([part.views[name].numpy() for name in names]) for part in (found.train, found.test))
    model = make_pipeline(SplineTransformer(5, degree=3), RidgeCV(np.logspace(-2, 4, 13)))
    return float(model.fit(train, found.train.label.numpy()).score(test, found.test.label.numpy()))


@pytest.mark.parametrize("seed", [0, 1])
def test_one_generated_view_explains_at_most_half_and_three_at_least_four_fifths(seed: int) -> None:
    found = views.generated(seed)
    for some in views.subsets(found.names).values():
        share = explained(found, some)
        # what is known in truth: the view's own quarter, and the shared one as far as noise lets it be seen
        most = 0.25 * len(some) + 0.25
        assert share <= most
        assert share >= (0.8 if len(some) == 3 else 0.2 * len(some))
    neutral = float((found.test.label == 0).double().mean())
    assert 0.05 < neutral < 0.25


def test_nt_xent_is_that_of_a_loop() -> None:
    rows = torch.nn.functional.normalize(torch.randn(10, 4, generator=torch.Generator().manual_seed(0)).double(), dim=1)
    a, b, total = rows[:5], rows[5:], 0.0
    for at in range(10):
        terms = [math.exp(float(rows[at] @ rows[other]) / 0.3) for other in range(10) if other != at]
        total -= math.log(math.exp(float(rows[at] @ rows[(at + 5) % 10]) / 0.3) / sum(terms))
    assert float(gmc.nt_xent(a, b, 0.3)) == pytest.approx(total / 10)


def test_the_objective_is_the_sum_of_its_terms() -> None:
    torch.manual_seed(0)
    model = gmc.GMC({"a": 3, "b": 2, "c": 4})
    seen = {"a": torch.randn(6, 3), "b": torch.randn(6, 2), "c": torch.randn(6, 4)}
    label = torch.randn(6)
    joint = model.code(seen)
    codes = [model.code(seen, name) for name in "abc"]
    torch.testing.assert_close(joint.norm(dim=1), torch.ones(6))
    plain = (model.head(joint)[:, 0] - label).abs().mean() + sum(gmc.nt_xent(joint, code, 0.3) for code in codes)
    torch.testing.assert_close(gmc.objective(model, seen, label, 0.0, 0.4), plain)
    mixed = plain + 0.7 * sum(m2_mix(joint, code, 0.4, 0.3) for code in codes)
    torch.testing.assert_close(gmc.objective(model, seen, label, 0.7, 0.4), mixed)


def test_missing_views_are_stood_for_by_the_mean_of_the_codes_that_are_there() -> None:
    torch.manual_seed(0)
    model = gmc.GMC({"a": 3, "b": 2, "c": 4})
    seen = {"a": torch.randn(6, 3), "b": torch.randn(6, 2), "c": torch.randn(6, 4)}
    mean = (model.code(seen, "a") + model.code(seen, "c")) / 2
    torch.testing.assert_close(model.predict(seen, ("a", "c")), model.head(mean)[:, 0])
    torch.testing.assert_close(model.predict(seen, ("a", "b", "c")), model.head(model.code(seen))[:, 0])
    torch.testing.assert_close(
        model.predict({**seen, "b": torch.randn(6, 2)}, ("a", "c")), model.predict(seen, ("a", "c"))
    )


@pytest.mark.parametrize("zeros", [True, False])
def test_signs_are_judged_as_by_scikit_learn(zeros: bool) -> None:
    rng = np.random.default_rng(3)
    label, predicted = np.round(rng.normal(size=90)), rng.normal(size=90)
    there = np.ones(90, bool) if zeros else label != 0
    both = torch.from_numpy(predicted), torch.from_numpy(label)
    hits = signed.hits(*both, zeros=zeros)
    assert float(hits.nanmean()) == pytest.approx(accuracy_score(label[there] > 0, predicted[there] > 0))
    for said in (predicted, np.ones(90), -np.ones(90)):
        theirs = f1_score(label[there] > 0, said[there] > 0, average="weighted", zero_division=0)
        assert signed.weighted_f1(torch.from_numpy(said), both[1], zeros=zeros) == pytest.approx(theirs)


def test_the_correlation_is_that_of_scipy_and_its_influence_the_jackknife() -> None:
    rng = np.random.default_rng(4)
    x = torch.from_numpy(rng.normal(size=400))
    y = 0.6 * x + torch.from_numpy(rng.normal(size=400))
    assert signed.correlation(x, y) == pytest.approx(stats.pearsonr(x, y).statistic)
    without = [signed.correlation(x[keep], y[keep]) for keep in (torch.arange(400) != row for row in range(400))]
    jackknife = 399 / 400 * sum((each - np.mean(without)) ** 2 for each in without)
    moved = signed.correlation_influence(x, y)
    assert float(moved.sum()) == pytest.approx(0, abs=1e-12)
    assert float(moved.square().sum()) == pytest.approx(jackknife, rel=0.03)
    assert signed.correlation(torch.full_like(x, 0.1), y) is None


def test_the_numbers_are_those_of_models_trained_by_hand(short: tuple[Path, gc.Panel]) -> None:
    path, panel = short
    found = views.read_views(path)
    label = found.test.label
    told: dict[tuple[str, str], list[torch.Tensor]] = {}
    for repeat in range(2):
        for name, weight in (("gmc", 0.0), ("m2mix", 5.0)):
            model = gmc.trained(found.train, Learning(2, weight, derived(0, "missing modality", repeat)))
            for some, present in views.subsets(found.names).items():
                told.setdefault((name, some), []).append(model.predict(found.test.views, present).detach().double())
    assert list(panel.groups) == [
        "text",
        "audio",
        "video",
        "text+audio",
        "text+video",
        "audio+video",
        "text+audio+video",
    ]
    for name in ("gmc", "m2mix"):
        start = f"missing_modality_{name}_"
        for some, group in panel.groups.items():
            each = told[name, some]
            assert group[f"{start}mae"] == pytest.approx(np.mean([float((row - label).abs().mean()) for row in each]))
            corr = np.mean([stats.pearsonr(row, label).statistic for row in each])
            assert group[f"{start}corr"] == pytest.approx(corr)
            right = np.mean([float(((row > 0) == (label > 0)).double().mean()) for row in each])
            assert group[f"{start}acc"] == pytest.approx(right)
        missing = [some for some in panel.groups if some.count("+") < 2]
        for key in ("mae", "corr", "acc", "f1", "acc_nonzero", "f1_nonzero"):
            whole = np.mean([panel.groups[some][f"{start}{key}"] for some in missing])
            assert panel[f"{start}{key}"] == pytest.approx(whole)
    gain = panel["missing_modality_gmc_mae"] - panel["missing_modality_m2mix_mae"]
    assert panel["missing_modality_m2mix_gain_mae"] == pytest.approx(gain)
    assert gain != 0


def test_without_weight_m2_mix_changes_nothing_and_a_run_is_repeated_bit_for_bit(short: tuple[Path, gc.Panel]) -> None:
    path, panel = short
    how = {"views": str(path), "train": True, "gmc_epochs": 2, "repeats": 2}
    again = gc.evaluate("missing-modality", **how, m2_weight=5.0)
    assert dict(again.values) == dict(panel.values)
    assert dict(again.groups["text"].values) == dict(panel.groups["text"].values)
    without = gc.evaluate("missing-modality", **how, m2_weight=0.0)
    assert without["missing_modality_m2mix_gain_mae"] == 0
    assert without["missing_modality_gmc_mae"] == panel["missing_modality_gmc_mae"]
    other = gc.evaluate("missing-modality", **how, m2_weight=5.0, seed=1)
    assert other["missing_modality_gmc_mae"] != panel["missing_modality_gmc_mae"]


def test_training_leaves_the_generator_of_others_alone(short: tuple[Path, gc.Panel]) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    gmc.trained(views.read_views(short[0]).train, Learning(1, 0.1, 0))
    assert torch.equal(torch.get_rng_state(), before)


def test_baselines_are_the_mean_label_and_the_more_frequent_sign(short: tuple[Path, gc.Panel]) -> None:
    path, panel = short
    with np.load(path) as arrays:
        label, train = arrays["label"], arrays["split"] == "train"
    test = label[~train]
    assert panel["missing_modality_mean_mae"] == pytest.approx(np.abs(test - label[train].mean()).mean())
    sign = (label[train] > 0).mean() > 0.5
    assert panel["missing_modality_majority_acc"] == pytest.approx(np.mean((test > 0) == sign))
    sign = (label[train][label[train] != 0] > 0).mean() > 0.5
    assert panel["missing_modality_majority_acc_nonzero"] == pytest.approx(np.mean((test[test != 0] > 0) == sign))
    assert panel["missing_modality_mean_corr"] is None
    assert "correlates with nothing" in panel.notes["missing_modality_mean_corr"]


def test_nothing_is_nan_and_every_key_is_promised(short: tuple[Path, gc.Panel], tmp_path: Path) -> None:
    _, panel = short
    for one in (panel, *panel.groups.values()):
        assert set(one.values) <= set(KNOWN)
        for key, value in one.values.items():
            assert math.isfinite(value) if value is not None else one.notes[key]
            metric = KNOWN[key]
            assert value is None or metric.low <= value <= metric.high
    text = panel.save(tmp_path / "a.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["groups"]["text+audio+video"]
    assert "nan" not in str(panel).lower()


def test_three_views_tell_more_than_fewer_and_all_more_than_a_constant() -> None:
    panel = gc.evaluate("missing-modality", train=True, repeats=1, gmc_epochs=12)
    of = {name: group["missing_modality_gmc_mae"] for name, group in panel.groups.items()}
    assert of["one+two+three"] < of["one+two"] < of["one"] < panel["missing_modality_mean_mae"]
    assert panel.groups["one+two+three"]["missing_modality_gmc_corr"] > 0.8


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"audio": np.zeros((60, 4))}, "view audio is all zeros"),
        ({"audio": None}, "three views are meant beside label and split, it has text, video"),
        ({"label": None}, "has no label: three views, label and split are meant"),
        ({"audio": np.full((60, 4), -np.inf)}, "row 0 of view audio holds a number that is not finite"),
        ({"audio": np.ones((59, 4))}, "view audio is (59, 4), 60 rows of numbers are meant"),
        ({"label": np.full(60, 2.0)}, "every label of split train is 2: nothing can be learned"),
        ({"label": np.r_[np.arange(40.0), np.zeros(20)]}, "every label of split test is 0: none has a sign"),
        ({"label": np.full(60, np.nan)}, "label is to be a finite number for each sample"),
        ({"split": np.array(["train"] * 60)}, "0 samples are of split test, at least 2 are needed"),
        ({"split": np.zeros(60)}, "split is to be a text (train, test) for each sample"),
    ],
)
def test_views_that_cannot_be_used_are_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    path = npz(tmp_path / "bad.npz", **changed)
    done = run_cli(capsys, "evaluate", "--task", "missing-modality", "--train", "--views", path)
    assert_one_line(done, 2, said)


def test_a_column_that_never_changes_says_nothing(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(size=(60, 4))
    rows[:, 2] = 5
    found = views.read_views(npz(tmp_path / "v.npz", audio=rows))
    assert bool((found.test.views["audio"][:, 2] == 0).all())


def test_nothing_is_trained_unless_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    done = run_cli(capsys, "evaluate", "--task", "missing-modality")
    assert_one_line(done, 2, "it trains models of its own: ask for that with --train")
    with pytest.raises(InputError, match="train=True"):
        gc.evaluate("missing-modality")


@pytest.mark.parametrize("protocol", [2, 5])
def test_mosei_is_converted_and_a_pickle_that_is_more_than_arrays_is_refused(tmp_path: Path, protocol: int) -> None:
    rng = np.random.default_rng(0)
    parts = {}
    for name, count in (("train", 6), ("valid", 3), ("test", 4)):
        audio = rng.normal(size=(count, 5, 7)).astype(np.float32)
        audio[0, 0, 0] = -np.inf
        text = rng.normal(size=(count, 5, 3))
        text[:, 3:] = 0  # padding
        parts[name] = {"text": text, "audio": audio, "vision": rng.normal(size=(count, 5, 2))}
        parts[name]["labels"] = rng.normal(size=(count, 1, 1))
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(parts, protocol))
    called = [sys.executable, str(CONVERT), str(tmp_path / "m.pkl"), str(tmp_path / "m.npz")]
    done = subprocess.run(called, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("6 to learn from, 4 to test on")
    with np.load(tmp_path / "m.npz") as arrays:
        assert arrays["split"].tolist() == ["train"] * 6 + ["test"] * 4
        text = parts["test"]["text"][:, :3]
        expected = np.concatenate([text.mean(axis=1), text.std(axis=1)], axis=1)
        np.testing.assert_allclose(arrays["text"][6:], expected, rtol=1e-5)
        assert np.isfinite(arrays["audio"]).all()
    assert len(views.read_views(tmp_path / "m.npz").train) == 6
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"train": Path("x")}))
    done = subprocess.run(called, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "which is no array: it is not read" in done.stderr
