"""Multidimensional scaling against scikit-learn and distances that can be kept exactly."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.manifold import smacof as reference

from geomclip.projections.heat.scaling import classical, placed, rescaled, sgd, smacof, stress, triangulated

pytestmark = pytest.mark.numeric


def cloud(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)) * 5


def bent(n: int = 120, seed: int = 0) -> np.ndarray:
    """Distances of points in space, which no plane can keep."""
    x = cloud(n, 3, seed)
    return cdist(x, x)


@pytest.mark.parametrize("n", [5, 200])
def test_classical_scaling_keeps_euclidean_distances(n: int) -> None:
    x = cloud(n, 2)
    assert np.allclose(cdist(classical(cdist(x, x)), classical(cdist(x, x))), cdist(x, x), atol=1e-6)


def test_directions_that_are_not_there_are_0_and_signs_are_settled() -> None:
    x = np.linspace(0, 3, 100)[:, None] ** 2
    drawn = classical(cdist(x, x), 3)
    assert np.abs(drawn[:, 1:]).max() < 1e-3
    assert drawn[np.abs(drawn[:, 0]).argmax(), 0] > 0
    assert classical(cdist(x[:2], x[:2]), 3).shape == (2, 3)


def test_smacof_comes_to_the_stress_of_scikit_learn() -> None:
    distances = bent()
    start = classical(distances)
    _, raw = reference(
        distances, n_components=2, init=start, n_init=1, max_iter=3000, eps=1e-9, normalized_stress=False
    )
    drawn, steps = smacof(distances, start, tol=1e-8, n_iter=3000)
    found = ((cdist(drawn, drawn) - distances) ** 2).sum() / 2
    assert found <= raw * 1.001
    assert 1 < steps < 3000
    assert stress(distances, drawn) == pytest.approx(np.sqrt(2 * found / (distances**2).sum()))


def test_weights_decide_which_distances_are_kept() -> None:
    distances = bent()
    near = (distances < np.median(distances)).astype(float) + 1e-3
    equal, _ = smacof(distances, classical(distances))
    local, _ = smacof(distances, classical(distances), weights=near)
    assert stress(distances, local, near) < 0.95 * stress(distances, equal, near)
    assert stress(distances, local) > stress(distances, equal)
    same, _ = smacof(distances, classical(distances), weights=np.full_like(distances, 3.0))
    assert np.allclose(same, equal, atol=1e-6)


@pytest.mark.parametrize("n", [120, 121])
def test_sgd_comes_near_the_stress_of_smacof(n: int) -> None:
    distances = bent(n)
    start = classical(distances)
    drawn, rounds = sgd(distances, start)
    best, _ = smacof(distances, start)
    assert rounds == 30
    assert stress(distances, drawn) < 1.005 * stress(distances, best)
    lost, _ = sgd(distances, np.random.default_rng(0).standard_normal((n, 2)))
    assert stress(distances, lost) < 1.15 * stress(distances, best)  # another valley
    weights = np.exp(-distances / 5)
    best, _ = smacof(distances, start, weights=weights)
    # weighted, the first steps are whole for many rounds and the last bit decides for one of several valleys, which
    # are 0 to 8 % above smacof's, 1 % on average: no single run says how near the method comes
    runs = [sgd(distances, start, weights=weights, seed=seed)[0] for seed in range(9)]
    local = np.median([stress(distances, run, weights) for run in runs])
    assert local < 1.03 * stress(distances, best, weights)
    assert local < 0.99 * stress(distances, drawn, weights)


class Noted(np.ndarray):
    """An array that writes down which of its entries were asked for by pairs."""

    met: ClassVar[list[tuple[int, int]]] = []

    def __getitem__(self, index: object) -> np.ndarray:
        if isinstance(index, tuple) and isinstance(index[0], np.ndarray):
            Noted.met.extend(zip(*map(np.ndarray.tolist, index), strict=True))
        return np.asarray(super().__getitem__(index))


@pytest.mark.parametrize("n", [8, 9])
def test_every_pair_meets_once_in_a_round(n: int) -> None:
    Noted.met = []
    sgd(cdist(cloud(n, 2), cloud(n, 2)).view(Noted), cloud(n, 2), n_iter=1)
    assert sorted(map(sorted, Noted.met)) == [[i, j] for i in range(n) for j in range(i + 1, n)]


@pytest.mark.parametrize("method", ["smacof", "sgd"])
def test_the_map_has_the_scale_of_its_distances(method: str) -> None:
    x = cloud(60, 2)
    make = {"smacof": smacof, "sgd": sgd}[method]
    for factor in (1.0, 1000.0):
        distances = factor * cdist(x, x)
        drawn, _ = make(distances, factor * cloud(60, 2, seed=1))
        assert np.linalg.norm(cdist(drawn, drawn)) == pytest.approx(np.linalg.norm(distances), rel=0.05)
    assert np.allclose(rescaled(cdist(x, x), 7 * x), x)


def test_points_are_triangulated_exactly_from_euclidean_distances() -> None:
    anchors, points = cloud(20, 2), cloud(7, 2, seed=1)
    assert np.allclose(triangulated(cdist(points, anchors), anchors), points)


def test_placed_points_find_their_place_and_a_point_of_the_map_keeps_its_own() -> None:
    anchors, points = cloud(20, 2), cloud(7, 2, seed=1)
    away = points + 0.5 * cloud(7, 2, seed=2)
    assert np.allclose(placed(cdist(points, anchors), anchors, away, tol=1e-8, n_iter=1000), points, atol=1e-4)
    weights = np.random.default_rng(0).random((7, 20))
    found = placed(cdist(points, anchors), anchors, away, weights=weights, tol=1e-8, n_iter=1000)
    assert np.allclose(found, points, atol=1e-4)
    distances = bent()
    drawn, _ = smacof(distances, classical(distances), tol=1e-10, n_iter=5000)
    assert np.abs(placed(distances, drawn, drawn) - drawn).max() < 1e-3 * np.abs(drawn).max()


def test_two_points_at_one_place_do_no_harm() -> None:
    x = np.repeat(cloud(10, 2), 2, axis=0)
    distances = cdist(x, x)
    for drawn in (smacof(distances, x)[0], sgd(distances, x)[0]):
        assert np.isfinite(drawn).all()
        assert stress(distances, drawn) < 0.05
