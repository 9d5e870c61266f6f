"""DOSNES: its affinities, its forces against brute force, what its maps keep, and what it refuses."""

from __future__ import annotations

import sys

import numba
import numpy as np
import pytest
import torch
from helpers import shared
from scipy import sparse

from geomclip.machine.errors import NotAvailableError
from geomclip.metrics import trustworthiness
from geomclip.projections import DOSNES
from geomclip.projections.dosnes import affinities as aff
from geomclip.projections.dosnes import dosnes
from geomclip.projections.dosnes.dosnes import PATIENT, QUICK, Descent
from geomclip.projections.dosnes.forces import Cells, Edges, exact
from geomclip.projections.dosnes.moves import moved, moved_by_loop
from geomclip.projections.neighbors import nearest

pytestmark = pytest.mark.numeric


def two_cones(n: int, d: int = 32, *, seed: int = 0) -> np.ndarray:
    """n unit rows: n/2 in clusters about one direction, n/2 of the same clusters about another."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(8, d))
    rows = centres[np.arange(n) % 8] + 0.7 * generator.normal(size=(n, d))
    rows += np.repeat(8 * np.eye(d)[:2], [n - n // 2, n // 2], axis=0)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def on_sphere(n: int, *, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, 3))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def weights(x: np.ndarray, perplexity: float) -> sparse.csr_array:
    distances, indices = nearest(x, int(np.ceil(3 * perplexity)), metric="euclidean")
    return aff.balanced(aff.of_perplexity(distances, indices, perplexity))[0]


@pytest.fixture(scope="module")
def caps() -> tuple[np.ndarray, DOSNES]:
    """600 rows about two directions, and their map by all pairs."""
    x = two_cones(600)
    return x, DOSNES(perplexity=15, repulsion="exact").fit(x)


# affinities


def test_every_row_has_the_perplexity_asked_for() -> None:
    distances, _ = nearest(two_cones(200), 30, metric="euclidean")
    rows = aff.calibrated(distances.astype(np.float64) ** 2, np.log(10))
    assert np.exp(-(rows * np.log(rows)).sum(axis=1)) == pytest.approx(np.full(200, 10), rel=1e-4)


def test_neighbours_equally_near_count_alike() -> None:
    assert aff.calibrated(np.full((1, 4), 2.0), np.log(2)).tolist() == [[0.25] * 4]


def test_balanced_rows_and_columns_sum_to_one_nth() -> None:
    distances, indices = nearest(two_cones(300), 45, metric="euclidean")
    graph, diagonal = aff.balanced(aff.of_perplexity(distances, indices, 15))
    assert abs(graph - graph.T).max() < 1e-15
    assert graph.sum(axis=0) + diagonal == pytest.approx(np.full(300, 1 / 300), rel=2e-5)
    assert graph.sum(axis=1) + diagonal == pytest.approx(np.full(300, 1 / 300), rel=2e-5)
    assert diagonal.sum() < 0.01


def test_a_star_keeps_at_home_what_its_hub_cannot_take() -> None:
    star = np.zeros((10, 10))
    star[0, 1:] = star[1:, 0] = 1
    graph, diagonal = aff.balanced(sparse.csr_array(star))
    # the hub has 1/10 in all, 1/90 a leaf; 1/10 − 1/90 = 8/90 stays with each leaf
    assert graph.toarray()[0, 1:] == pytest.approx(np.full(9, 1 / 90), rel=0.05)
    assert diagonal[1:] == pytest.approx(np.full(9, 8 / 90), rel=0.01)


def test_a_fixed_bandwidth_weighs_by_the_fourth_power_of_distance() -> None:
    graph = aff.of_bandwidth(np.array([[0.0], [1.0], [1.5]]), 2.0).toarray()
    expected = [np.exp(-1 / 8), np.exp(-(1.5**4) / 8), np.exp(-(0.5**4) / 8)]
    assert [graph[0, 1], graph[0, 2], graph[1, 2]] == pytest.approx(expected, rel=1e-5)
    assert graph.diagonal().tolist() == [0, 0, 0]


# forces


def test_the_gradient_is_that_of_the_objective() -> None:
    graph = weights(two_cones(120), 8)
    descent = Descent(on_sphere(120), Edges(graph * 120), None)
    descent.radius = 3.0
    p = torch.from_numpy(graph.toarray())
    u = torch.from_numpy(descent.u).double()
    y, log_radius = (3 * u).requires_grad_(), torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    w = 1 / (1 + (y[:, None] - y).square().sum(dim=2) * (2 * log_radius).exp())
    others = ~torch.eye(120, dtype=torch.bool)
    p, w = p[others], w[others]
    objective = (torch.xlogy(p, p) - p * (w / w.sum()).log()).sum()
    objective.backward()

    gradient, slope = descent.gradient()
    assert y.grad is not None
    assert log_radius.grad is not None
    error = np.linalg.norm(gradient / 120 - y.grad.numpy()) / np.linalg.norm(y.grad.numpy())
    assert error < 1e-5
    assert slope == pytest.approx(log_radius.grad.item(), rel=1e-4)
    entropy = torch.xlogy(p, p).sum().item()
    assert entropy + descent.cross_entropy() == pytest.approx(objective.item(), rel=1e-5)


@pytest.mark.parametrize(("crowded", "error"), [(False, 0.006), (True, 0.02)])
def test_cells_push_as_all_points_do(crowded: bool, error: float) -> None:
    u = on_sphere(5001)
    if crowded:  # half of them within 3 degrees of a pole, and 100 at one place
        u[:2500] = [0, 0, 1] + 0.05 * u[:2500]
        u[2400:2500] = u[0]
        u /= np.linalg.norm(u, axis=1, keepdims=True)
    y = 40 * u
    push, w, ww = Cells(y)(y)
    true, true_w, true_ww = exact(y)
    along = [force - (force * u).sum(axis=1, keepdims=True) * u for force in (push, true)]
    assert np.linalg.norm(along[0] - along[1]) < error * np.linalg.norm(along[1])
    assert w.sum() == pytest.approx(true_w.sum(), rel=0.015)
    assert ww.sum() == pytest.approx(true_ww.sum(), rel=1.5 * error)


def test_exact_forces_are_those_of_a_double_sum() -> None:
    y = 5 * on_sphere(101).astype(np.float64)
    difference = y[:, None] - y
    w = 1 / (1 + (difference**2).sum(axis=2))
    push, total, squares = exact(y.astype(np.float32))
    assert np.abs(push - (w[:, :, None] ** 2 * difference).sum(axis=1)).max() < 1e-5
    assert total == pytest.approx(w.sum(axis=1) - 1, rel=1e-5)
    assert squares == pytest.approx((w**2).sum(axis=1) - 1, rel=1e-4)


def test_cells_of_older_points_still_serve() -> None:
    y = 40 * on_sphere(4000)
    cells = Cells(y)
    moved = y + 0.5 * on_sphere(4000, seed=1)
    assert np.linalg.norm(cells(moved)[0] - exact(moved)[0]) < 0.01 * np.linalg.norm(exact(moved)[0])


def test_cells_of_points_that_have_moved_far_are_built_anew() -> None:
    y = 40 * on_sphere(4000)
    elsewhere = 3 * on_sphere(4000, seed=1)
    cells = Cells(y)
    cells(y)
    order = cells.order
    for here, expected in ((y + np.float32(0.01), order), (elsewhere, Cells(elsewhere).order), (y, order)):
        found = cells(here)
        assert (cells.order == expected).all()
    assert all((one == other).all() for one, other in zip(found, Cells(y)(y), strict=True))


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e4])
def test_copied_neighbours_pull_as_gathered_ones_do(scale: float) -> None:
    graph = weights(two_cones(900), 8) * 900
    y = np.float32(scale) * on_sphere(900)
    y[40:60] = y[40]
    pulls = [Edges(graph, copies=copies).attraction(y) for copies in (False, True)]
    for plain, copied in zip(*pulls, strict=True):
        assert np.abs(plain - copied).max() <= 2e-6 * np.abs(plain).max()


def test_points_without_edges_are_pulled_nowhere() -> None:
    nothing = sparse.csr_array((70, 70))
    assert not any(part.any() for part in Edges(nothing, copies=True).attraction(on_sphere(70)))


@pytest.mark.parametrize(("radius", "push"), [(1.0, 1.0), (300.0, 1e5), (300.0, 1e-9), (0.3, 0.0)])
def test_a_loop_moves_points_as_arrays_do(radius: float, push: float) -> None:
    u, draw = on_sphere(500), np.random.default_rng(1)
    velocity = (0.1 * draw.normal(size=(500, 3))).astype(np.float32)
    gradient = (push * draw.normal(size=(500, 3))).astype(np.float32)
    gains = draw.uniform(0.01, 3, size=(500, 1)).astype(np.float32)
    u[7], velocity[7], gradient[7] = u[3], velocity[3], gradient[3]
    ends = [move(u, velocity, gains, gradient, 0.7, min(5.0, radius / 2), radius) for move in (moved, moved_by_loop)]
    for plain, looped in zip(*ends, strict=True):
        assert plain.dtype == looped.dtype == np.float32
        assert np.abs(plain - looped).max() <= 1e-5 * np.abs(plain).max()
    assert np.linalg.norm(ends[1][0], axis=1) == pytest.approx(np.ones(500), abs=1e-6)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="numba has one thread")
def test_threads_change_nothing() -> None:
    y = 30 * on_sphere(3500)
    graph = weights(two_cones(3500), 5)
    cells, edges, copied = Cells(y), Edges(graph), Edges(graph, copies=True)
    u, push, ones = y / 30, cells(y)[0], np.ones((3500, 1), np.float32)

    def all_forces() -> list[bytes]:
        moves = moved_by_loop(u, 0 * u, ones, push, 1.0, 5.0, 30.0)
        found = (*exact(y), *cells(y), *edges.attraction(y), edges.stretch(y), *copied.attraction(y), *moves)
        return [part.tobytes() for part in found]

    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = all_forces()
        numba.set_num_threads(2)
        assert all_forces() == alone
    finally:
        numba.set_num_threads(before)


# maps


def test_two_cones_are_two_caps_and_neighbours_stay(caps: tuple[np.ndarray, DOSNES]) -> None:
    x, map_ = caps
    u = map_.embedding_
    assert np.linalg.norm(u, axis=1) == pytest.approx(np.ones(600), abs=1e-6)
    first, second = u[:300].mean(axis=0), u[300:].mean(axis=0)
    assert (u[:300] @ (first - second)).min() > (u[300:] @ (first - second)).max()  # a plane parts them
    assert trustworthiness(x, u, k=15) > 0.98
    assert map_.method_ == "exact"
    assert map_.radius_ > 5


@pytest.mark.parametrize("repulsion", ["exact", "cells"])
def test_the_same_seed_gives_the_same_bytes(repulsion: str) -> None:
    x = two_cones(400)
    drawn = [DOSNES(10, n_iter=130, repulsion=repulsion, random_state=seed).fit_transform(x) for seed in (3, 3, 4)]
    assert drawn[0].tobytes() == drawn[1].tobytes()
    assert drawn[0].tobytes() != drawn[2].tobytes()


def test_cells_and_all_pairs_come_to_maps_equally_good(caps: tuple[np.ndarray, DOSNES]) -> None:
    x, by_all_pairs = caps
    ends = [by_all_pairs, DOSNES(15, repulsion="cells").fit(x)]
    assert [end.method_ for end in ends] == ["exact", "cells"]
    assert ends[1].kl_divergence_ == pytest.approx(ends[0].kl_divergence_, rel=0.03)
    kept = [trustworthiness(x, end.embedding_, k=15) for end in ends]
    assert kept[1] == pytest.approx(kept[0], abs=0.005)


def test_it_ends_when_little_changes() -> None:
    x = two_cones(200)
    short, long = (DOSNES(10, n_iter=300, tol=tol).fit(x) for tol in (0.02, 0))
    assert 100 < short.n_iter_ < long.n_iter_ == 300
    assert short.kl_divergence_ - long.kl_divergence_ < 0.1


def test_very_many_points_take_the_quick_schedule_and_come_nearly_as_far(monkeypatch: pytest.MonkeyPatch) -> None:
    x = two_cones(3200)
    patient = DOSNES(15, tol=0).fit(x)
    monkeypatch.setattr(dosnes, "QUICK_FROM", 3000)
    quick, again = (DOSNES(15, tol=0).fit(x) for _ in range(2))
    assert (patient.n_iter_, quick.n_iter_) == (PATIENT.iterations, QUICK.iterations)
    assert quick.embedding_.tobytes() == again.embedding_.tobytes()
    assert quick.kl_divergence_ < 1.04 * patient.kl_divergence_
    kept = [trustworthiness(x, end.embedding_, k=15) for end in (patient, quick)]
    assert kept[1] > kept[0] - 0.002
    assert DOSNES(15, n_iter=110, tol=0).fit(x).n_iter_ == 110


def test_a_turned_start_gives_a_turned_map() -> None:
    x, start = two_cones(200), on_sphere(200)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    straight = DOSNES(10, n_iter=20, init=start).fit_transform(x)
    turned = DOSNES(10, n_iter=20, init=start @ turn).fit_transform(x)
    assert np.abs(turned - straight @ turn).max() < 1e-3


def test_the_radius_comes_to_where_the_slope_is_nought() -> None:
    map_ = DOSNES(10, n_iter=2000, tol=0).fit(two_cones(150))
    descent = Descent(map_.embedding_, Edges(weights(two_cones(150), 10) * 150), None)
    descent.radius = map_.radius_
    assert abs(descent.gradient()[1]) < 0.01


def test_four_points_equally_far_become_a_tetrahedron() -> None:
    u = DOSNES(init=on_sphere(4, seed=2), tol=0).fit_transform(np.eye(4))
    assert (u @ u.T)[~np.eye(4, dtype=bool)] == pytest.approx(np.full(12, -1 / 3), abs=0.02)


@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_few_points_are_drawn(n: int) -> None:
    map_ = DOSNES().fit(two_cones(n, seed=n))
    assert np.linalg.norm(map_.embedding_, axis=1) == pytest.approx(np.ones(n), abs=1e-6)
    assert map_.perplexity_ == max(1, (n - 1) / 3)


def test_the_perplexity_is_lowered_for_few_points_and_said() -> None:
    x = two_cones(61)
    lowered = DOSNES(perplexity=30, n_iter=5).fit(x)
    assert lowered.perplexity_ == 20
    assert lowered.embedding_.tobytes() == DOSNES(perplexity=20, n_iter=5).fit(x).embedding_.tobytes()


@pytest.mark.parametrize("repulsion", ["exact", "cells"])
def test_duplicates_and_a_far_cluster_are_drawn(repulsion: str) -> None:
    x = two_cones(200).astype(np.float64)
    x[40:120] = x[0]  # more than any list of neighbours holds
    x[190:] += 1000
    u = DOSNES(10, n_iter=150, repulsion=repulsion).fit_transform(x)
    assert u.dtype == np.float64
    assert np.linalg.norm(u, axis=1) == pytest.approx(np.ones(200), abs=1e-6)
    assert (u[190:] @ u[190:].T).min() > (u[190:] @ u[:190].T).max()


def test_points_on_a_line_leave_it() -> None:
    u = DOSNES(5).fit_transform(np.arange(40.0)[:, None])
    steps = (u[1:] * u[:-1]).sum(axis=1)
    assert steps.min() > np.cos(0.7)  # neighbours stay neighbours
    assert np.linalg.matrix_rank(u, tol=0.5) >= 2


def test_the_authors_bandwidth_draws_two_caps_of_real_embeddings() -> None:
    with np.load(shared("data/embeddings/flickr8k_100x5_vitb32/embeddings.npz")) as held:
        image, text = held["image"], held["text"][::5]
    map_ = DOSNES(perplexity=None, bandwidth=1.0, n_iter=200).fit(torch.from_numpy(np.concatenate([image, text])))
    u = map_.embedding_
    axis = u[:100].mean(axis=0) - u[100:].mean(axis=0)
    assert map_.perplexity_ is None
    assert (u[:100] @ axis).min() > (u[100:] @ axis).max()


# refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"perplexity": None}, "give a perplexity or a bandwidth"),
        ({"bandwidth": 1.0}, "give a perplexity or a bandwidth: for a bandwidth, perplexity=None"),
        ({"perplexity": 0.5}, "perplexity must be 1 or more, got 0.5"),
        ({"perplexity": None, "bandwidth": 0}, "bandwidth must be above 0, got 0"),
        ({"early_exaggeration": 0.5}, "early_exaggeration must be 1 or more"),
        ({"tol": -1}, "tol must be 0 or more"),
        ({"n_iter": 0}, "n_iter must be a whole number from 1 on"),
        ({"n_iter": "many"}, "n_iter must be 'auto' or a whole number from 1 on, got 'many'"),
        ({"learning_rate": "fast"}, "learning_rate must be 'auto' or above 0, got 'fast'"),
        ({"learning_rate": 0}, "learning_rate must be 'auto' or above 0, got 0"),
        ({"repulsion": "tree"}, "repulsion must be auto, exact or cells, got 'tree'"),
        ({"neighbors": "tree"}, "method must be auto, exact or approximate, got 'tree'"),
        ({"init": "random"}, "init must be 'pca' or an array, got 'random'"),
        ({"init": np.ones((3, 3))}, r"init must be 'pca' or of shape \(20, 3\), got \(3, 3\)"),
        ({"init": np.zeros((20, 3))}, "init row 0 has no direction"),
        ({"perplexity": None, "bandwidth": 1e-9}, "row 0 has no other within reach of bandwidth=1e-09"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DOSNES(**options).fit(two_cones(20))  # type: ignore[arg-type]


def test_points_that_cannot_be_drawn_are_refused() -> None:
    x = two_cones(20)
    x[7, 0] = np.nan
    with pytest.raises(ValueError, match="row 7"):
        DOSNES().fit(x)
    with pytest.raises(ValueError, match="DOSNES needs at least 2 points, got 1"):
        DOSNES().fit(np.ones((1, 3)))
    with pytest.raises(ValueError, match="5 points that are all equal"):
        DOSNES().fit(np.ones((5, 3)))


def test_a_full_graph_too_large_is_refused_with_its_cost_and_the_way_out() -> None:
    with pytest.raises(ValueError, match=r"6,000 points take 1\.3 GB, .* up to 5,000; a perplexity"):
        DOSNES(perplexity=None, bandwidth=1.0).fit(np.random.default_rng(0).normal(size=(6000, 2)))


def test_without_numba_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(NotAvailableError, match=r"DOSNES needs numba: pip install 'geomclip\[viz\]'"):
        DOSNES().fit(two_cones(20))
