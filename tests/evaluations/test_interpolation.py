"""interpolation: transport by brute force, folds that share no row, known answers, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_one_line, run_cli
from jsonschema import Draft202012Validator
from scipy.spatial.distance import cdist
from scipy.stats import t as student_t
from scipy.stats import wasserstein_distance

import geomclip as gc
from geomclip.cli import schemas
from geomclip.evaluations import continuum, interpolation, spaces, transport
from geomclip.evaluations.asked import Interpolation
from geomclip.machine.errors import InputError
from geomclip.panels.loading import load

pytestmark = pytest.mark.numeric


def clouds(m: int = 6, d: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(m, d)), 1 + rng.normal(size=(m, d))


def on_an_arc(rows: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Cells of four times on three quarters of a circle, at even speed: rows (n, 2) and times."""
    rng = np.random.default_rng(seed)
    time = np.repeat(np.arange(4.0), rows)
    angle = (time + rng.random(len(time))) * 1.5 * np.pi / 4
    rows_of = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return rows_of + 0.01 * rng.normal(size=rows_of.shape), time


def npz(path: Path, **changed: object) -> Path:
    rows, time = on_an_arc(40)
    arrays = {"image": rows, "time": time, **changed}
    np.savez(path, **{name: each for name, each in arrays.items() if each is not None})
    return path


# --- clouds held against each other ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_transport_is_the_best_of_all_ways_to_assign(seed: int) -> None:
    x, y = clouds(seed=seed)
    ways = cdist(x, y)
    orders = list(permutations(range(len(x))))
    w1, w2 = transport.wasserstein(x, y)
    assert w1 == pytest.approx(min(np.mean([ways[i, j] for i, j in enumerate(order)]) for order in orders))
    best = min(orders, key=lambda order: sum(ways[i, j] ** 2 for i, j in enumerate(order)))
    assert w2 == pytest.approx(np.sqrt(np.mean([ways[i, j] ** 2 for i, j in enumerate(best)])))
    assert transport.interpolated(x, y, 0.3) == pytest.approx(0.7 * x + 0.3 * y[list(best)])
    assert transport.interpolated(x, y, 0.0) == pytest.approx(x)
    assert sorted(transport.interpolated(x, y, 1.0)[:, 0]) == pytest.approx(sorted(y[:, 0]))


def test_on_a_line_w1_is_that_of_scipy() -> None:
    x, y = clouds(50, 1)
    assert transport.wasserstein(x, y)[0] == pytest.approx(wasserstein_distance(x[:, 0], y[:, 0]))


def test_mmd_is_that_of_a_loop() -> None:
    x, y = clouds(7, 3)
    width, total = 0.8, 0.0
    for one, other, sign in ((x, x, 1), (x, y, -2), (y, y, 1)):
        for a in one:
            for b in other:
                total += sign * np.exp(-sum((a - b) ** 2) / (2 * width**2)) / len(one) / len(other)
    assert transport.mmd_rbf(x, y, width) == pytest.approx(np.sqrt(total))
    linear = sum(a @ b for a in x for b in x) - 2 * sum(a @ b for a in x for b in y) + sum(a @ b for a in y for b in y)
    assert transport.mmd_linear(x, y) == pytest.approx(np.sqrt(linear) / 7)
    assert transport.mmd_rbf(x, x, width) == transport.mmd_linear(x, x) == 0
    apart = [np.linalg.norm(x[i] - x[j]) for i in range(7) for j in range(i)]
    assert transport.median_distance(x) == pytest.approx(np.median(apart))


def test_clouds_of_other_sizes_are_refused() -> None:
    x, y = clouds()
    with pytest.raises(ValueError, match="clouds of 6 and 5 points: as many are needed"):
        transport.wasserstein(x, y[:5])


# --- which rows -----------------------------------------------------------------------------------------------------


def test_no_row_is_in_two_folds_and_all_are_of_their_time() -> None:
    time = np.repeat([0.0, 1.0, 4.0, 5.0], [60, 200, 90, 50])
    gaps = interpolation.left_out(time, 3, seed=1)
    assert [(gap.time, gap.share) for gap in gaps] == [(1.0, 0.25), (4.0, 0.75)]
    assert [gap.target.shape for gap in gaps] == [(3, 20), (3, 15)]
    for gap, (before, after) in zip(gaps, ((0.0, 4.0), (1.0, 5.0)), strict=True):
        assert {gap.before.shape, gap.after.shape, gap.other.shape} == {gap.target.shape}
        for rows, expected in ((gap.before, before), (gap.after, after), (gap.target, gap.time), (gap.other, gap.time)):
            assert (time[rows] == expected).all()
    folds = [{row for gap in gaps for part in (gap.before, gap.after, gap.target, gap.other) for row in part[fold]}
             for fold in range(3)]  # fmt: skip
    assert not any(folds[a] & folds[b] for a in range(3) for b in range(a))
    both = np.concatenate([gaps[0].target.ravel(), gaps[0].other.ravel()])
    assert len(set(both.tolist())) == len(both)
    again = interpolation.left_out(time, 3, seed=1)
    assert all((a.target == b.target).all() for a, b in zip(gaps, again, strict=True))
    assert (interpolation.left_out(time, 3, seed=2)[0].target != gaps[0].target).any()


def test_a_ratio_has_the_error_of_the_jackknife() -> None:
    rng = np.random.default_rng(0)
    under = 2 + rng.random(60)
    over = 0.5 * under + 0.1 * rng.normal(size=60)
    each = interpolation.ratio(over, under)
    assert each.mean() == pytest.approx(over.mean() / under.mean())
    without = [np.delete(over, i).mean() / np.delete(under, i).mean() for i in range(60)]
    jackknife = 59 / 60 * sum((one - np.mean(without)) ** 2 for one in without)
    assert each.var(ddof=1) / 60 == pytest.approx(jackknife, rel=0.02)


def test_rows_of_one_size_keep_their_shape() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3)) * [5, 1, 0.1] + 7
    found = spaces.sized(rows)
    assert (found**2).sum(axis=1).mean() == pytest.approx(1)
    assert found.mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-12)
    assert found.std(axis=0) / found.std(axis=0)[0] == pytest.approx(rows.std(axis=0) / rows.std(axis=0)[0])


# --- the task -------------------------------------------------------------------------------------------------------


def test_the_numbers_are_those_made_by_hand(tmp_path: Path) -> None:
    rows, time = on_an_arc(60)
    path = npz(tmp_path / "cells.npz", image=rows, time=time)
    panel = gc.evaluate("interpolation", embeddings=path, spaces="vectors,pca", folds=3, seed=5)
    at = spaces.sized(rows)
    table = np.zeros((2, 3, 4))  # times, folds, clouds
    for place, gap in enumerate(interpolation.left_out(time, 3, 5)):
        for fold in range(3):
            before, after, target, other = (at[r[fold]] for r in (gap.before, gap.after, gap.target, gap.other))
            between = transport.interpolated(before, after, 0.5)
            table[place, fold] = [transport.wasserstein(c, target)[1] for c in (between, before, after, other)]
    nearer = np.minimum(table[..., 1].mean(axis=1), table[..., 2].mean(axis=1))
    known = panel.values
    assert known["interpolation_w2"] == pytest.approx(table[..., 0].mean(), rel=1e-6)
    assert known["interpolation_w2_nearer"] == pytest.approx(nearer.mean(), rel=1e-6)
    assert known["interpolation_w2_floor"] == pytest.approx(table[..., 3].mean(), rel=1e-6)
    assert known["interpolation_w2_over_nearer"] == pytest.approx(table[..., 0].mean() / nearer.mean(), rel=1e-6)
    by_fold = table[..., 0].mean(axis=0)
    half = student_t.ppf(0.975, 2) * by_fold.std(ddof=1) / np.sqrt(3)
    low, high = panel.ci["interpolation_w2"]
    assert (high - low) / 2 == pytest.approx(half, rel=1e-5)
    by_time = panel.params["over_nearer_by_time"]["w2"]
    assert list(by_time) == ["1", "2"]
    assert list(by_time.values()) == pytest.approx((table[..., 0].mean(axis=1) / nearer).tolist(), rel=1e-6)
    # two dimensions: PCA turns the rows and changes no distance
    turned = panel.groups["pca"].values
    assert turned == pytest.approx(known, rel=1e-5)


def test_on_an_arc_the_way_along_it_is_right_and_the_straight_one_is_not() -> None:
    rows, time = on_an_arc(120)
    cells = gc.EmbeddingSet(rows, columns={"time": [f"{each:g}" for each in time]})
    panel = gc.evaluate("interpolation", embeddings=cells, spaces="vectors,heat-geodesic", folds=4)
    straight, along = panel.values, panel.groups["heat-geodesic"].values
    for name in ("w1", "w2", "mmd_rbf"):
        assert along[f"interpolation_{name}_over_nearer"] < 0.5 * straight[f"interpolation_{name}_over_nearer"]
        assert along[f"interpolation_{name}_over_floor"] < 2
    assert panel.ci["interpolation_w2_over_nearer"][0] > panel.groups["heat-geodesic"].ci[
        "interpolation_w2_over_nearer"
    ][1]  # fmt: skip


def test_rows_that_move_straight_and_evenly_are_found() -> None:
    rng = np.random.default_rng(0)
    time = np.repeat([0.0, 1.0, 3.0], 400)
    rows = rng.normal(size=(1200, 3)) + time[:, None] * [4.0, 0, 0] + 50
    cells = gc.EmbeddingSet(rows, columns={"time": [str(each) for each in time]})
    known = gc.evaluate("interpolation", embeddings=cells, spaces="vectors", folds=4).values
    assert known["interpolation_w2_over_floor"] == pytest.approx(1, abs=0.1)
    assert known["interpolation_w2_over_nearer"] < 0.3


def test_size_and_place_of_the_rows_change_nothing(tmp_path: Path) -> None:
    rows, _ = on_an_arc(40)
    one = gc.evaluate("interpolation", embeddings=npz(tmp_path / "a.npz"), spaces="vectors", folds=2)
    moved = npz(tmp_path / "b.npz", image=1000 * rows + 5000)
    assert gc.evaluate("interpolation", embeddings=moved, spaces="vectors", folds=2).values == pytest.approx(
        one.values, rel=1e-4
    )


def test_a_share_of_no_distance_is_undefined_and_says_why(tmp_path: Path) -> None:
    time = np.repeat([0, 1, 2], 40)
    rows = np.repeat([[1.0, 2.0], [3.0, 1.0]], [80, 40], axis=0)
    path = npz(tmp_path / "still.npz", image=rows, time=time)
    still = gc.evaluate("interpolation", embeddings=path, spaces="vectors", folds=2)
    assert still["interpolation_w2_over_nearer"] is None
    assert still["interpolation_w2"] > 0
    assert still.notes["interpolation_w2_over_nearer"] == interpolation.NO_DISTANCE
    assert "interpolation_w2_over_nearer" not in still.ci
    assert still["interpolation_mmd_rbf"] > 0


def test_a_generated_tree_is_known() -> None:
    tree = continuum.generated(0)
    assert tree.rows.shape == (2000, 30)
    assert (tree.rows == continuum.generated(0).rows).all()
    assert (tree.rows != continuum.generated(1).rows).any()
    assert (tree.rows - tree.clean).std() == pytest.approx(continuum.NOISE, rel=0.02)
    before, own = tree.moment < continuum.FORK, tree.clean[:, continuum.GENES // 3 :]
    assert not own[before].any()
    late = tree.moment > 3.5
    for fate in range(continuum.BRANCHES):
        mine = np.arange(own.shape[1]) % continuum.BRANCHES == fate
        assert not own[tree.branch == fate][:, ~mine].any()
        assert own[late & (tree.branch == fate)][:, mine].mean() > 1
    assert np.abs(tree.moment - tree.time).std() < continuum.APART
    assert set(np.unique(tree.time)) == {0, 1, 2, 3, 4}


# --- commands, files, and what is refused ---------------------------------------------------------------------------


def test_the_command_prints_every_space_and_compare_takes_two_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = npz(tmp_path / "cells.npz", time=None, day=on_an_arc(40)[1] / 2)
    how = ["evaluate", "--task", "interpolation", "--embeddings", str(path), "--time-column", "day", "--folds", "2"]
    outs = [tmp_path / "a.json", tmp_path / "b.json"]
    for out, seed in zip(outs, ("0", "1"), strict=True):
        done = run_cli(capsys, *how, "--spaces", "vectors,heat-geodesic", "--seed", seed, "--out", str(out))
        assert done.code == 0, done.err
    assert "by space" in done.out
    assert "160 rows" in done.out
    assert "2 times left out" in done.out
    assert "160 rows · 1 time left out" in str(replace(load(outs[0]), n_texts=1))
    record = json.loads(outs[0].read_text())
    assert record["task"] == "interpolation"
    assert record["params"]["times"] == [0, 0.5, 1, 1.5]
    compared = run_cli(capsys, "compare", *map(str, outs), "--primary", "interpolation_w2_over_nearer")
    assert compared.code == 0, compared.err
    assert "W2" in compared.out
    assert "160 rows · unpaired intervals, over folds of the rows of each side" in compared.out
    assert "gallery" not in compared.out
    assert "images" not in compared.out
    found = gc.compare(*outs)
    assert (found.paired, found.resample) == (False, "folds")
    described = json.loads(schemas.schema("compare"))
    assert not list(Draft202012Validator(described).iter_errors(json.loads(json.dumps(found.to_dict()))))
    assert not any(row.paired for row in found.rows.values())
    assert not [note for note in found.notes if "unpaired" in note]


@pytest.mark.parametrize(
    ("changed", "options", "expected"),
    [
        ({"time": None, "times": np.arange(160)}, {}, "column; did you mean times?; there is times; --tree"),
        ({"time": None, "a": np.arange(160), "b": np.arange(160)}, {}, "no such column; there are a, b; --tree"),
        ({"time": np.zeros(160)}, {}, "1 time (0): three are needed to leave one out"),
        ({"time": np.array(["day one"] * 160)}, {}, "row 0 has 'day one', a number is meant"),
        ({"time": np.where(np.arange(160) == 7, np.nan, 1.0)}, {}, "row 7 has 'nan', a number is meant"),
        ({"time": np.repeat([0, 1], 80)}, {}, "2 times (0, 1): three are needed to leave one out"),
        ({"time": np.arange(160) / 4}, {}, "time 0 has 1 row, 10 are needed with --folds 2: fewer folds, or times"),
        ({}, {"folds": 20}, "time 0 has 40 rows, 100 are needed with --folds 20"),
        ({}, {"folds": 1}, "folds"),
        ({}, {"spaces": "vectors,umpa"}, "--spaces umpa: use vectors, pca, heat-geodesic, like-phate, tsne, umap; did"),
        ({}, {"spaces": ","}, "--spaces ,: use vectors"),
        ({"image": np.ones((160, 3))}, {}, "all rows are equal"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, object],
    options: dict[str, object],
    expected: str,
) -> None:
    path = npz(tmp_path / "cells.npz", **changed)
    given = {"folds": 2, "spaces": "vectors", **options}
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    done = run_cli(capsys, "evaluate", "--task", "interpolation", "--embeddings", str(path), *words)
    assert_one_line(done, 2, expected)


def test_data_without_times_are_left_out_with_the_reason() -> None:
    with pytest.raises(InputError, match=r"interpolation: .*no such column"):
        gc.evaluate("interpolation", data="emoji", limit=8)


def test_a_space_whose_package_is_absent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"tsne and umap cannot be drawn: pip install 'geomclip.viz.', or name other"):
        gc.evaluate("interpolation", tree=True)
    assert Interpolation(spaces="vectors, pca").names() == ["vectors", "pca"]
    assert spaces.absent(["vectors", "pca"]) == ""
