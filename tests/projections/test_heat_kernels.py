"""Graphs, heat kernels and Varadhan distances against float64 brute force and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path
from scipy.spatial.distance import cdist
from scipy.special import ive
from scipy.stats import spearmanr

from geomclip.embeddings.graphs import Graph, even_density, laplacian, masses
from geomclip.projections.heat.graphs import join, neighbor_graph, row_weights
from geomclip.projections.heat.kernels import chebyshev_order, heat_kernels, largest_eigenvalue
from geomclip.projections.heat.landmarks import log_diagonal
from geomclip.projections.heat.stopping import entropy, entropy_knee, knee, relaxation_time
from geomclip.projections.heat.varadhan import (
    completed,
    completed_to_landmarks,
    filled,
    nats,
    near_pairs,
    triplet,
    varadhan,
)

pytestmark = pytest.mark.numeric

METHODS = ["series", "exact", "chebyshev", "euler"]


def cloud(n: int = 60, d: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def path(n: int, ring: bool = False) -> csr_array:
    """Combinatorial Laplacian of a line or ring of n points."""
    edges = np.eye(n, k=1) + np.eye(n, k=-1)
    if ring:
        edges[0, -1] = edges[-1, 0] = 1
    return csr_array(np.diag(edges.sum(axis=0)) - edges)


def kernel(operator: csr_array, t: float, method: str = "series", **options: object) -> np.ndarray:
    (found,) = heat_kernels(operator, np.array([t]), method=method, **options)
    return found.log


def roll(n: int, noise: float, height: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A Swiss roll (papers' data) and the true distances along it."""
    draw = np.random.default_rng(seed)
    t, h = 1.5 * np.pi * (1 + 2 * draw.random(n)), height * draw.random(n)
    along = (t * np.sqrt(t * t + 1) + np.arcsinh(t)) / 2
    x = np.stack([t * np.cos(t), h, t * np.sin(t)], axis=1) + noise * draw.standard_normal((n, 3))
    flat = np.stack([along, h], axis=1)
    return x, cdist(flat, flat)


def row_correlations(found: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Mean over rows of Pearson's and Spearman's correlation."""
    pearson = [np.corrcoef(a, b)[0, 1] for a, b in zip(found, true, strict=True)]
    spearman = [spearmanr(a, b)[0] for a, b in zip(found, true, strict=True)]
    return float(np.mean(pearson)), float(np.mean(spearman))


# --- graphs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["euclidean", "angular"])
def test_alpha_weights_are_those_of_a_double_loop(metric: str) -> None:
    x, k, decay = cloud(40), 5, 10.0
    if metric == "euclidean":
        apart = cdist(x, x)
    else:
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        apart = np.arccos(np.clip(unit @ unit.T, -1, 1))
        np.fill_diagonal(apart, 0)
    graph = neighbor_graph(x, k=k, decay=decay, metric=metric)
    wanted = np.zeros((40, 40))
    for i in range(40):
        others = np.argsort(apart[i])[1 : 3 * k + 1]
        width = apart[i][others[k - 1]]
        for j in others:
            weight = np.exp(-((apart[i, j] / width) ** decay))
            wanted[i, j] += weight / 2 * (weight >= 1e-4)
            wanted[j, i] += weight / 2 * (weight >= 1e-4)
    assert np.allclose(graph.weights.toarray(), wanted, atol=1e-5)  # lengths are float32, to the tenth power
    assert np.allclose(graph.lengths.toarray(), apart * (wanted > 0), atol=1e-5)


def test_knn_is_either_and_mutual_is_both_directions() -> None:
    x = np.array([[0.0], [1.0], [2.1], [10.0]])  # the nearest: 0 and 1 to each other, 1 to 2, 2 to 3
    assert neighbor_graph(x, kind="knn", k=1).weights.toarray().tolist() == [
        [0, 1, 0, 0],
        [1, 0, 1, 0],
        [0, 1, 0, 1],
        [0, 0, 1, 0],
    ]
    assert neighbor_graph(x, kind="mutual", k=1).weights.nnz == 2


def test_two_clouds_are_two_components_joined_by_their_shortest_edges() -> None:
    x = np.concatenate([cloud(15, 2), cloud(12, 2, seed=1) + 30])
    graph = neighbor_graph(x, k=3)
    assert graph.components()[0] == 2
    joined = join(graph, x, k=3, metric="euclidean")
    assert joined.components()[0] == 1
    new = (joined.weights - graph.weights).tocoo()
    i, j = new.coords
    across = i < j
    shortest = np.sort(cdist(x[:15], x[15:]).min(axis=0))[:3]  # one for each point of the smaller
    assert np.allclose(np.sort(joined.lengths.toarray()[i[across], j[across]]), shortest)
    weighs = graph.bandwidths[i] * graph.bandwidths[j] / joined.lengths.toarray()[i, j] ** 2
    assert np.allclose(new.data, weighs)


def test_many_components_become_one() -> None:
    x = np.concatenate([cloud(8, 2, seed=i) + 40 * i for i in range(7)])
    assert neighbor_graph(x, k=3).components()[0] >= 7
    assert join(neighbor_graph(x, k=3), x, k=3, metric="euclidean").components()[0] == 1


def test_the_row_of_an_old_point_is_itself_and_that_of_a_new_one_sums_to_1() -> None:
    shares = row_weights(np.array([[0.0, 1.0, 2.0], [0.0, 0.0, 2.0], [1.0, 1.0, 1.5]]), 40.0)
    assert shares[:2].tolist() == [[1, 0, 0], [0.5, 0.5, 0]]
    assert shares.sum(axis=1) == pytest.approx(1)
    assert shares[2, 0] == shares[2, 1] > shares[2, 2] > 0


@pytest.mark.parametrize("kind", ["combinatorial", "normalized", "unit-speed"])
def test_laplacians_are_those_of_dense_matrices(kind: str) -> None:
    graph = neighbor_graph(cloud(), k=5)
    w, d = graph.weights.toarray(), graph.lengths.toarray()
    mass = {"combinatorial": np.ones(60), "normalized": w.sum(axis=1), "unit-speed": (w * d**2).sum(axis=1)}[kind]
    wanted = (np.diag(w.sum(axis=1)) - w) / np.sqrt(np.outer(mass, mass))
    assert np.allclose(laplacian(graph, kind).toarray(), wanted, atol=1e-12)
    assert np.allclose(masses(graph, kind), mass)
    assert largest_eigenvalue(laplacian(graph, kind)) >= np.linalg.eigvalsh(wanted)[-1]


def test_even_density_divides_by_the_sums_of_weights() -> None:
    graph = neighbor_graph(cloud(), k=5)
    w = graph.weights.toarray()
    q = w.sum(axis=1)
    assert np.allclose(even_density(graph, 1.0).weights.toarray(), w / np.outer(q, q))


# --- kernels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["combinatorial", "normalized", "unit-speed"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("t", [0.3, 4.0])
def test_kernels_are_the_exponential_of_the_matrix(kind: str, method: str, t: float) -> None:
    operator = laplacian(join(neighbor_graph(cloud(), k=5), cloud(), k=5, metric="euclidean"), kind)
    dense = operator.toarray()
    if method == "euler":
        wanted = np.linalg.matrix_power(np.linalg.inv(np.eye(60) + t / 32 * dense), 32)
    else:
        wanted = expm(-t * dense)
    found = np.exp(kernel(operator, t, method))
    assert np.abs(found - wanted).max() < 1e-11 * wanted.max()
    some = np.array([3, 17, 58])
    assert np.abs(np.exp(kernel(operator, t, method, columns=some)) - wanted[:, some]).max() < 1e-11 * wanted.max()


def test_euler_comes_to_the_exponential_as_its_steps_grow() -> None:
    operator = path(12)
    errors = [
        np.abs(np.exp(kernel(operator, 2.0, "euler", order=steps)) - expm(-2 * operator.toarray())).max()
        for steps in (16, 32, 64)
    ]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.1)


def test_times_that_double_give_what_each_gives_alone() -> None:
    operator = laplacian(neighbor_graph(cloud(), k=8))
    for found in heat_kernels(operator, np.array([0.1, 0.2, 0.4, 1.3])):
        assert np.allclose(found.log, kernel(operator, found.t), rtol=1e-9)


def test_a_ring_has_the_kernel_of_its_fourier_series() -> None:
    n, t, k = 40, 3.0, np.arange(40)
    wanted = (np.exp(-t * (2 - 2 * np.cos(2 * np.pi * k / n))) * np.cos(2 * np.pi * np.outer(k, k) / n)).mean(axis=1)
    for method in ("series", "exact", "chebyshev"):
        assert np.abs(np.exp(kernel(path(n, ring=True), t, method)[0]) - wanted).max() < 1e-12


def test_logarithms_are_right_down_to_the_end_of_float64() -> None:
    t, far = 1.0, np.arange(0, 156)
    wanted = np.log(ive(far, 2 * t))  # on an endless line; the ends of this one are 80 steps further
    found = kernel(path(320), t)[80, 80 + far]
    assert wanted[-1] < np.log(1e-273)
    assert np.abs(found - wanted).max() < 1e-9
    steps = 64
    wide = np.linspace(0, 2 * np.pi, 4096, endpoint=False)  # (1 + (2 − 2 cos ω) t/K)^−K, by its Fourier series
    near = np.fft.ifft((1 + (2 - 2 * np.cos(wide)) * t / steps) ** -float(steps)).real[:6]
    assert np.allclose(kernel(path(320), t, "euler", order=steps)[80, 80:86], np.log(near), atol=1e-9)
    assert np.isfinite(kernel(path(320), t, "euler", order=steps)[80, 80 + far]).all()


def test_what_a_method_cannot_know_is_minus_infinity_and_what_it_says_is_right() -> None:
    t, far = 1.0, np.arange(0, 60)
    wanted = np.log(ive(far, 2 * t))
    for method in ("exact", "chebyshev"):
        found = kernel(path(320), t, method)[80, 80 + far]
        known = np.isfinite(found)
        assert known[:10].all()
        assert not known[20:].any()
        assert np.abs(found[known] - wanted[known]).max() < 0.01


@pytest.mark.parametrize(
    ("x", "order8", "order12"),
    [(7, 17, 22), (34, 34, 44), (72, 49, 62), (137, 68, 85), (360, 109, 136), (1439, 218, 271), (5000, 405, 504)],
)
def test_orders_are_the_smallest_whose_tail_is_below_the_tolerance(x: int, order8: int, order12: int) -> None:
    assert (chebyshev_order(x, 1e-8), chebyshev_order(x, 1e-12)) == (order8, order12)


def test_a_fixed_order_is_wrong_where_the_chosen_one_is_right() -> None:
    operator = laplacian(neighbor_graph(cloud(), k=8), "combinatorial")
    t = 2 * 360 / largest_eigenvalue(operator)
    wanted = expm(-t * operator.toarray())
    assert np.abs(np.exp(kernel(operator, t, "chebyshev")) - wanted).max() < 1e-11
    assert np.abs(np.exp(kernel(operator, t, "chebyshev", order=30)) - wanted).max() > 0.3 * wanted.max()


def test_a_part_that_heat_cannot_reach_is_minus_infinity() -> None:
    apart = csr_array(np.kron(np.eye(2), path(4).toarray()))
    for method in METHODS:
        assert (kernel(apart, 1.0, method)[:4, 4:] == -np.inf).all()


def test_heat_becomes_even_in_the_inverse_of_the_second_eigenvalue() -> None:
    operator = laplacian(join(neighbor_graph(cloud(), k=8), cloud(), k=8, metric="euclidean"))
    second = np.linalg.eigvalsh(operator.toarray())[1]
    assert relaxation_time(operator, 2 / second) == pytest.approx(1 / second, rel=1e-6)
    assert relaxation_time(operator, 100 / second) == pytest.approx(1 / second, rel=1e-6)
    assert relaxation_time(operator, 0.2 / second) == pytest.approx(1 / second, rel=1e-2)
    assert relaxation_time(path(400), 1.0) == np.inf


def test_the_entropy_of_still_and_of_even_heat() -> None:
    with np.errstate(divide="ignore"):
        assert entropy(np.log(np.eye(5))) == 0
    assert entropy(np.full((8, 8), -3.0)) == pytest.approx(np.log(8))


def test_a_knee_is_found_where_there_is_one_and_not_elsewhere() -> None:
    times = np.exp2(np.arange(9.0))
    assert knee(times, np.minimum(np.arange(9.0), 4)) == 4
    for none in (np.zeros(9), np.arange(9.0), -np.arange(9.0), np.arange(9.0) ** 2):
        assert knee(times, none) is None
    assert knee(times[:2], np.array([0.0, 1.0])) is None
    assert entropy_knee(path(40), 0) is not None
    assert entropy_knee(path(400), 0) is None  # still spreading at the last time


# --- distances ------------------------------------------------------------------------------------------------------


def test_varadhan_gives_the_distances_of_a_grid() -> None:
    side, t = 29, 14.0
    line = path(side).toarray()
    operator = csr_array(np.kron(line, np.eye(side)) + np.kron(np.eye(side), line))
    log = kernel(operator, t)
    distances = varadhan(nats(log, log.diagonal(), log.diagonal()), t).reshape((side,) * 4)
    middle = side // 2
    for i, j in [(6, 0), (0, 8), (4, 4), (6, -5), (-8, 3)]:
        assert distances[middle, middle, middle + i, middle + j] == pytest.approx(np.hypot(i, j), rel=0.02)


def test_distances_are_0_on_the_diagonal_with_rho_1_and_as_the_formula_says() -> None:
    log, t = kernel(laplacian(neighbor_graph(cloud(), k=8)), 2.0), 2.0
    own = log.diagonal()
    for mean in ("geometric", "arithmetic"):
        assert np.abs(varadhan(nats(log, own, own, mean=mean), t).diagonal()).max() < 1e-6
    heat = np.exp(log)
    wanted = -4 * t * np.log(heat[3, 7]) + 0.5 * 4 * t * np.log((heat[3, 3] + heat[7, 7]) / 2)
    assert varadhan(nats(log, own, own, rho=0.5, mean="arithmetic"), t)[3, 7] == pytest.approx(np.sqrt(wanted))
    wanted = -4 * t * np.log(heat[3, 7] / np.sqrt(heat[3, 3] * heat[7, 7]))
    assert varadhan(nats(log, own, own), t)[3, 7] == pytest.approx(np.sqrt(wanted))


def test_heat_at_unit_speed_keeps_distances_where_density_changes() -> None:
    draw = np.random.default_rng(0)
    place = np.sort(np.concatenate([draw.random(150), 1 + 3 * draw.random(150)]))  # three times as sparse
    true = np.abs(place[:, None] - place)
    straight = {}
    for kind in ("combinatorial", "unit-speed"):
        operator = laplacian(neighbor_graph(place[:, None], k=6), kind)
        t = 40 / float(np.median(operator.diagonal()))
        log = kernel(operator, t)
        found = varadhan(nats(log, log.diagonal(), log.diagonal()), t)
        near = (true > 0.05) & (true < 0.3)
        dense, sparse = place < 0.7, place > 1.3
        ratio = [np.median((found / np.maximum(true, 1e-9))[near & np.outer(side, side)]) for side in (dense, sparse)]
        straight[kind] = ratio[0] / ratio[1]
    assert straight["unit-speed"] == pytest.approx(1, abs=0.1)
    assert straight["combinatorial"] > 1.5


# Swiss roll of 800 points, noise 0.1, alpha-decay kernel (k 10, decay 40), exact kernel floored at 1e-16 and the
# arithmetic mean, as in heatgeo 0.0.1: Pearson and Spearman for ρ = 0 and ρ = 1, of another draw of the data
REFERENCE = [
    ("combinatorial", 10, (0.979, 0.989), (0.980, 0.991)),
    ("combinatorial", 50, (0.956, 0.988), (0.991, 0.994)),
    ("normalized", 10, (0.832, 0.881), (0.820, 0.878)),
    ("normalized", 200, (0.977, 0.993), (0.990, 0.994)),
]


def test_numbers_of_a_reference_run_come_again_and_the_floor_is_what_spoils_short_times() -> None:
    x, true = roll(800, 0.1, 5, seed=42)
    graph = neighbor_graph(x, k=10)
    got = {}
    for kind, t, *wanted in REFERENCE:
        floored = np.logaddexp(kernel(laplacian(graph, kind), float(t), "exact"), np.log(1e-16))
        for rho, (pearson, spearman) in enumerate(wanted):
            found = varadhan(nats(floored, *(floored.diagonal(),) * 2, rho=rho, mean="arithmetic"), t)
            np.fill_diagonal(found, 0)
            p, s = row_correlations(found[::8], true[::8])
            assert (p, s) == (pytest.approx(pearson, abs=0.02), pytest.approx(spearman, abs=0.05))
            got[kind, t] = p
    log = kernel(laplacian(graph, "normalized"), 10.0)
    whole = varadhan(nats(log, *(log.diagonal(),) * 2, mean="arithmetic"), 10.0)
    assert row_correlations(whole[::8], true[::8])[0] > got["normalized", 10] + 0.15


# --- shortest paths -------------------------------------------------------------------------------------------------


def test_completed_distances_are_shortest_paths_over_near_pairs() -> None:
    x = cloud(50, 2)
    true = cdist(x, x)
    near = near_pairs(true, 6)
    assert (near == near.T).all()
    assert near.sum(axis=1).min() >= 6
    wanted = shortest_path(np.where(near, true, 0), directed=False)
    found = completed(true, near, csr_array(true))
    assert np.isfinite(wanted).all()
    assert np.allclose(found, wanted)


def test_a_spanning_tree_holds_near_pairs_together() -> None:
    x = np.array([0.0, 1, 2, 10, 11, 12])[:, None]
    true = cdist(x, x)
    assert np.allclose(completed(true, near_pairs(true, 1), csr_array(true)), true)


def test_ways_to_landmarks_are_shortest_paths_over_landmarks() -> None:
    x = cloud(80, 2)
    true = cdist(x, x)
    landmarks = np.arange(0, 80, 2)
    near = near_pairs(true[:, landmarks], 8, landmarks)
    over = np.zeros((80, 80), dtype=bool)
    over[:, landmarks] = near
    over |= over.T
    wanted = shortest_path(np.where(over, true, 0), directed=False)[:, landmarks]
    inner = np.ones(80, dtype=bool)
    inner[landmarks] = False
    found = completed_to_landmarks(true[:, landmarks], near, landmarks, csr_array(true))
    # a path may also bend at a point that is no landmark: a little shorter, never longer
    assert (found >= wanted - 1e-9).all()
    assert np.median(found[true[:, landmarks] > 0] / wanted[true[:, landmarks] > 0]) < 1.01


def test_points_and_landmarks_that_no_heat_reaches_go_over_their_neighbors() -> None:
    x = np.arange(12.0)[:, None]
    edges = csr_array(np.eye(12, k=1) + np.eye(12, k=-1))
    landmarks = np.array([1, 9])
    distances = cdist(x, x[landmarks])
    near = distances <= 1  # the landmarks do not see each other, and points 4 to 7 see none
    found = completed_to_landmarks(np.where(near, distances, np.inf), near, landmarks, edges)
    assert np.allclose(found[landmarks], distances[landmarks])
    assert np.allclose(found[[0, 3, 4, 6, 11], [0, 0, 0, 1, 1]], [1, 2, 3, 3, 2])  # from a landmark of one's own side
    assert (found >= distances).all()
    assert np.isfinite(found).all()


def test_unknown_distances_are_filled_by_paths_over_known_ones() -> None:
    x = cloud(40, 2)
    true = cdist(x, x)
    known = true < 1.2
    found = filled(np.where(known, true, np.inf), known, csr_array(np.where(true < 1.2, true, 0)), np.arange(40))
    wanted = shortest_path(np.where(known, true, 0), directed=False)
    assert np.allclose(found, wanted)
    assert filled(true, np.ones_like(known), csr_array(true), np.arange(3)) is true


def test_triplets_compare_rows() -> None:
    true = cdist(cloud(10), cloud(10))
    rows = cdist(true, true) / np.sqrt(10)
    assert np.allclose(triplet(true, 0.25), 0.75 * true + 0.25 * rows, atol=1e-6)
    assert triplet(true, 0.0) is true
    some = np.array([2, 7])
    assert np.allclose(
        triplet(true[:, some], 1.0, some), cdist(true[:, some], true[some][:, some]) / np.sqrt(2), atol=1e-6
    )


def test_nystrom_gives_what_stays_at_points_near_landmarks() -> None:
    x = np.random.default_rng(0).random((400, 2))
    operator = laplacian(neighbor_graph(x, k=10))
    log = kernel(operator, 40 / float(np.median(operator.diagonal())))
    landmarks = np.arange(0, 400, 5)
    error = log_diagonal(log[:, landmarks], landmarks) - log.diagonal()
    assert np.abs(error[landmarks]).max() == 0
    assert error.max() < 1e-3  # from below
    assert np.median(np.abs(error)) < 0.02


def test_an_edge_has_the_length_that_heat_gives_it_and_else_its_own_in_the_unit_of_heat() -> None:
    from geomclip.projections.heat.geodesics import edge_distances

    lengths = csr_array(np.eye(4, k=1) + np.eye(4, k=-1))
    graph = Graph(lengths, lengths, np.ones(4))
    heat = np.full((4, 1), np.inf)
    heat[:2, 0] = [0, 3.0]
    assert edge_distances(graph, heat, np.array([0])).toarray()[[0, 1, 2], [1, 2, 3]].tolist() == [3, 3, 3]
