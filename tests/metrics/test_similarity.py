"""Two spaces compared: n x n double loops, scipy and scikit-learn as oracles, promises, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.manifold
import torch
from helpers import on_circle, random_rows
from scipy.spatial import procrustes

from geomclip.embeddings import neighbors
from geomclip.metrics import projection, similarity
from geomclip.metrics.projection import continuity, trustworthiness
from geomclip.metrics.similarity import (
    linear_cka,
    linear_cka_biased,
    mutual_knn,
    mutual_knn_chance,
    procrustes_distance,
)

pytestmark = pytest.mark.numeric

ALL = [linear_cka, linear_cka_biased, mutual_knn, procrustes_distance]


def related(n: int, d: int, e: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows in d dimensions, and a noisy linear image of them in e; signed, off centre."""
    x = random_rows(n, d, seed=0) + 0.5 * random_rows(1, d, seed=1)
    y = x @ random_rows(d, e, seed=2) + 0.3 * random_rows(n, e, seed=3)
    return torch.nn.functional.normalize(x, dim=1), torch.nn.functional.normalize(y, dim=1)


def hsic_by_kernels(k: np.ndarray, m: np.ndarray) -> float:
    """Song et al. (2012), equation 5, on full kernel matrices."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    one = np.ones(n)
    middle = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ m) + middle - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


@pytest.mark.parametrize(("n", "d", "e"), [(4, 3, 5), (30, 6, 6), (25, 40, 60)])
def test_linear_cka_is_that_of_full_kernels(n, d, e):
    x, y = related(n, d, e)
    k, m = (x @ x.T).numpy(), (y @ y.T).numpy()
    expected = hsic_by_kernels(k, m) / np.sqrt(hsic_by_kernels(k, k) * hsic_by_kernels(m, m))
    assert linear_cka(x, y).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("n", "d", "e"), [(2, 3, 5), (30, 6, 6), (25, 40, 60)])
def test_biased_cka_is_that_of_centred_kernels(n, d, e):
    x, y = related(n, d, e)
    h = np.eye(n) - 1 / n
    k, m = h @ (x @ x.T).numpy() @ h, h @ (y @ y.T).numpy() @ h
    expected = (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())
    assert linear_cka_biased(x, y).item() == pytest.approx(expected, rel=1e-10)


def test_only_the_unbiased_cka_of_unrelated_clouds_is_near_0():
    x, y = random_rows(100, 200, seed=0), random_rows(100, 200, seed=1)
    assert abs(linear_cka(x, y).item()) < 0.05
    assert linear_cka_biased(x, y).item() > 0.5


@pytest.mark.parametrize(("n", "d", "e", "k"), [(12, 3, 4, 3), (40, 5, 5, 10), (9, 2, 2, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mutual_knn_is_that_of_sorted_rows(n, d, e, k, dtype):
    x, y = (z.to(dtype) for z in related(n, d, e))

    def near(z, i):
        scores = (z[i].double() @ z.double().T).numpy()
        return set(np.argsort(-np.where(np.arange(n) == i, -np.inf, scores))[:k].tolist())

    expected = np.mean([len(near(x, i) & near(y, i)) / k for i in range(n)])
    assert mutual_knn(x, y, k=k).item() == pytest.approx(expected, abs=1e-12)


def test_mutual_knn_does_not_depend_on_blocks(monkeypatch):
    x, y = related(40, 5, 5)
    x = torch.cat([x, x[:7]])  # ties, shared across blocks
    y = torch.cat([y, y[:7]])
    whole = mutual_knn(x, y, k=6).item()
    monkeypatch.setattr(similarity, "ROWS_TIMES_ITEMS", 300)
    monkeypatch.setattr(neighbors, "BLOCK", 150)
    assert mutual_knn(x, y, k=6).item() == pytest.approx(whole, abs=1e-12)


def test_mutual_knn_of_unrelated_clouds_is_near_chance():
    value = mutual_knn(random_rows(400, 30, seed=0), random_rows(400, 30, seed=1)).item()
    assert value == pytest.approx(mutual_knn_chance(400), abs=0.01)


def test_tied_neighbours_are_shared():
    # x: a square, where each corner's two neighbours tie; y: two far pairs on a circle
    x, y = on_circle(0, 90, 180, 270), on_circle(0, 10, 180, 190)
    assert mutual_knn(x, x, k=1).item() == pytest.approx(1)
    # 0-1 and 2-3 are pairs in y; in x each is one of two that tie: half a place
    assert mutual_knn(x, y, k=1).item() == pytest.approx(0.5)


@pytest.mark.parametrize(("n", "d"), [(30, 6), (10, 20)])
def test_procrustes_is_that_of_scipy(n, d):
    x, y = related(n, d, d)
    assert procrustes_distance(x, y).item() == pytest.approx(procrustes(x.numpy(), y.numpy())[2], rel=1e-9)


def test_procrustes_pads_the_smaller_space_with_zeros():
    x, y = related(30, 4, 7)
    padded = torch.nn.functional.pad(x, (0, 3))
    expected = procrustes(padded.numpy(), y.numpy())[2]
    assert procrustes_distance(x, y).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("metric", ALL)
def test_rotation_and_mirror_of_one_space_change_nothing(metric):
    x, y = related(25, 6, 6)
    turn = torch.linalg.qr(random_rows(6, 6, seed=5)).Q
    mirror = turn * torch.tensor([-1.0, 1, 1, 1, 1, 1])
    for motion in (turn, mirror):
        assert metric(x, y @ motion).item() == pytest.approx(metric(x, y).item(), abs=1e-10)
    same = 0 if metric is procrustes_distance else 1
    assert metric(x, x @ turn).item() == pytest.approx(same, abs=1e-10)


@pytest.mark.parametrize("metric", ALL)
def test_each_is_symmetric_and_blind_to_the_order_of_items(metric):
    x, y = related(25, 6, 5)
    order = torch.randperm(25, generator=torch.Generator().manual_seed(0))
    assert metric(y, x).item() == pytest.approx(metric(x, y).item(), abs=1e-12)
    assert metric(x[order], y[order]).item() == pytest.approx(metric(x, y).item(), abs=1e-12)
    assert metric(x[order], y).item() != pytest.approx(metric(x, y).item(), abs=1e-3)


@pytest.mark.parametrize("metric", ALL)
def test_different_items_are_refused(metric):
    x, y = related(25, 6, 5)
    with pytest.raises(ValueError, match=r"same items, got \(25, 6\) and \(24, 5\)"):
        metric(x, y[:24])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_cka(on_circle(0, 1, 2), on_circle(0, 1, 2)), "at least 4 rows are needed, got 3"),
        (lambda: linear_cka(torch.eye(6), random_rows(6, 3, seed=0)), "x are equally far"),
        (lambda: linear_cka(random_rows(6, 3, seed=0), on_circle(*[5] * 6)), "all rows of y are one point"),
        (lambda: procrustes_distance(on_circle(5, 5), on_circle(5, 6)), "all rows of x are one point"),
        (lambda: mutual_knn(on_circle(5, 50), on_circle(5, 6), k=2), "k must be 1 to 1 for 2 rows, got 2"),
    ],
)
def test_what_is_undefined_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_half_precision_and_numpy_are_taken():
    x, y = (z.numpy() for z in related(40, 6, 5))
    for metric in ALL:
        assert metric(x.astype(np.float16), y.astype(np.float16)) == pytest.approx(metric(x, y), abs=0.02)


@pytest.mark.parametrize(("n", "d", "k"), [(40, 5, 5), (13, 3, 6), (100, 20, 1)])
def test_trustworthiness_is_that_of_scikit_learn(n, d, k, monkeypatch):
    x = random_rows(n, d, seed=0) * (2 + random_rows(n, 3, seed=1)[:, :1])  # lengths 1 to 3
    shown = x[:, :2] + 0.1 * random_rows(n, 2, seed=2)
    expected = sklearn.manifold.trustworthiness(x.numpy(), shown.numpy(), n_neighbors=k)
    assert trustworthiness(x, shown, k=k).item() == pytest.approx(expected, abs=1e-12)
    back = sklearn.manifold.trustworthiness(shown.numpy(), x.numpy(), n_neighbors=k)
    assert continuity(x, shown, k=k).item() == pytest.approx(back, abs=1e-12)
    monkeypatch.setattr(projection, "BLOCK", 64)
    assert trustworthiness(x, shown, k=k).item() == pytest.approx(expected, abs=1e-12)


def test_a_projection_that_folds_is_continuous_but_not_trustworthy():
    # a line folded at its middle: neighbours stay, strangers join them
    line = torch.linspace(-1, 1, 40, dtype=torch.float64)[:, None]
    folded = line.abs() + 1e-4 * line
    assert continuity(line, folded, k=2).item() > 0.95
    assert trustworthiness(line, folded, k=2).item() < 0.7


def test_a_copy_is_trusted_fully_and_lengths_are_not_normalised():
    x = torch.arange(12.0)[:, None]
    assert trustworthiness(x, 2 - 5 * x, k=3).item() == 1
    assert isinstance(continuity(x.numpy(), x.numpy(), k=3), np.floating)


def test_a_k_of_half_the_rows_is_refused():
    x = random_rows(10, 2, seed=0)
    with pytest.raises(ValueError, match="below n/2 = 5, got 5"):
        trustworthiness(x, x, k=5)
    with pytest.raises(ValueError, match="same items"):
        continuity(x, x[:9], k=2)
