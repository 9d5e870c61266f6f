"""The study of the heat-geodesic embedding: clouds have the distances it says, measures are those of scipy."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.stats import pearsonr, spearmanr
from sklearn.manifold import trustworthiness

pytest.importorskip("matplotlib")
sys.path.insert(0, str(ROOT / "analyses"))

import heat_geodesic as study
import heat_geodesic_data as data
import heat_geodesic_measures as measures
import heat_geodesic_report as reporting
import heat_geodesic_rivals as rivals
import heat_geodesic_uses as uses


def test_a_spiral_is_as_long_as_many_small_steps_along_it() -> None:
    t = np.linspace(5, 12, 20_001)
    path = data.rolled(t, np.zeros_like(t))
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    assert np.ptp(data.arc_length(t)) == pytest.approx(steps, rel=1e-6)


def test_noise_comes_from_the_seed_and_leaves_the_truth_alone() -> None:
    for make in (lambda noise, seed: data.roll(60, noise, 5, seed), lambda noise, seed: data.tree(60, noise, 10, seed)):
        assert (make(0.1, 3).x == make(0.1, 3).x).all()
        assert (make(0.1, 3).truth == make(0.5, 3).truth).all()
        assert (make(0.1, 3).x != make(0.1, 4).x).any()
    spread = data.tree(500, 0.5, 30, 0).x - data.tree(500, 0.0, 30, 0).x
    assert spread.std() == pytest.approx(5, rel=0.02)


def test_measures_are_those_of_scipy_and_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    cloud = data.roll(80, 0.1, 5, 0)
    points = draw.standard_normal((80, 2))
    found = measures.of_map(points, cloud)
    apart = np.linalg.norm(points[:, None] - points, axis=2)
    kept = ~np.eye(80, dtype=bool)
    for name, oracle in (("pearson", pearsonr), ("spearman", spearmanr)):
        each = [oracle(apart[i][kept[i]], cloud.truth[i][kept[i]]).statistic for i in range(80)]
        assert found[name] == pytest.approx(np.mean(each))
    expected = trustworthiness(cloud.truth, points, n_neighbors=15, metric="precomputed")
    assert found["trustworthiness"] == pytest.approx(expected)


def test_the_powers_of_a_walk_are_those_of_its_matrix() -> None:
    x = data.roll(40, 0.1, 5, 0).x
    walk = rivals.Walk.on(x, 5)
    one = walk.power(1)
    assert one.sum(axis=1) == pytest.approx(np.ones(40))
    assert walk.power(7) == pytest.approx(np.linalg.matrix_power(one, 7), abs=1e-12)
    apart = rivals.between_rows(walk.coordinates(3))
    rows = walk.power(3) / np.sqrt(walk.degree)  # diffusion distance: of rows, by 1/stationary density
    assert apart == pytest.approx(np.linalg.norm(rows[:, None] - rows, axis=2), abs=1e-7)


def test_settings_are_chosen_on_other_seeds_than_those_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path), "--n", "100", "--noise", "0.1", "--choose", "1", "--seeds", "1"]
    arguments += ["--data", "roll, height 5", "--only", "shortest path, Isomap", "diffusion map"]
    study.main(arguments)
    assert len(capsys.readouterr().out.splitlines()) == 4  # two seeds of two methods
    study.main(arguments)
    assert not capsys.readouterr().out  # all there
    tried, reported = (
        json.loads(study.place(tmp_path, "rolls and trees", "roll, height 5", 0.1, seed, "diffusion map").read_text())
        for seed in (42, 47)
    )
    assert [each["setting"] for each in tried] == [[10], [20], [100]]
    best = max(tried, key=lambda each: each["distances"]["pearson"] + each["distances"]["spearman"])
    assert best["setting"] in [each["setting"] for each in reported]
    scores, used = reporting.collect(tmp_path)
    key = (("roll, height 5", 0.1), "diffusion map", "distances")
    assert used[key] == best["setting"]
    assert len(scores[key]["pearson"]) == 1


def test_a_verdict_says_what_is_not_reached() -> None:
    def by(value: float) -> dict[str, list[float]]:
        return {"pearson": [value], "spearman": [value]}

    key = ("roll, height 5", 0.1)
    scores = {(key, "heat geodesic", "distances"): by(0.99), (key, "shortest path, Isomap", "distances"): by(0.999),
              (key, "UMAP", "distances"): by(0.5)}  # fmt: skip
    first = reporting.verdicts(scores).splitlines()[2]
    assert "UMAP 0.5000 | +0.4900 | 0.9990 | **-0.0030**" in first


def test_distances_on_a_tree_of_times_are_shortest_paths_over_a_dense_one() -> None:
    moment, branch = np.tile(np.linspace(0, 4, 401), 3), np.repeat(np.arange(3), 401)
    clean = uses.developed(moment, branch)
    some = np.arange(0, len(moment), 57)
    found = uses.true_distances(moment, branch)[some]
    # edges along each fate alone, and between fates where they are one
    steps = np.zeros((len(moment), len(moment)))
    for start in (0, 401, 802):
        own = np.arange(start, start + 400)
        steps[own, own + 1] = np.linalg.norm(clean[own + 1] - clean[own], axis=1)
    at_fork = np.flatnonzero(moment <= uses.FORK)
    for one in at_fork[at_fork < 401]:
        steps[one, [one + 401, one + 802]] = 1e-9
    assert found == pytest.approx(dijkstra(csr_array(steps), directed=False)[some], abs=0.01)


def test_a_flat_sheet_has_the_clusters_of_its_roll() -> None:
    cloud = data.two_on_a_roll(80, 0.5, 5, 3)
    flat = uses.unrolled(80, 5, 3)
    assert np.linalg.norm(flat[:, None] - flat, axis=2) == pytest.approx(cloud.truth)


def test_the_page_of_uses_has_every_part_and_its_spread() -> None:
    rows: uses.Rows = {}
    for value in (0.5, 0.7):
        uses.add(rows, "roll", "UMAP", {"standardised": value})
    assert uses.table(rows, ("standardised", "as drawn")).splitlines()[2] == "| roll | UMAP | 0.600 ± 0.141 | - |"
    page = uses.page(dict.fromkeys(uses.PARTS, rows), 600, range(47, 49))
    assert page.count("| roll | UMAP |") == 4
    (line, *_) = uses.lines_of({"clusters": rows})
    assert line == ("clusters", "roll", "UMAP", "standardised", "0.60000", "0.14142", 2)
