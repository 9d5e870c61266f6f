"""HeatGeodesic as a whole: what a map keeps, what changes nothing, where new points go, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import procrustes
from scipy.spatial.distance import cdist

from geomclip.embeddings.graphs import laplacian
from geomclip.projections.heat.heat_geodesic import HeatGeodesic
from geomclip.projections.heat.scaling import classical, smacof

pytestmark = pytest.mark.numeric


def sheet(n: int = 300, noise: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points of a rolled-up sheet (n, 3), and the same laid flat (n, 2)."""
    draw = np.random.default_rng(seed)
    t, h = 1.5 * np.pi * (1 + 2 * draw.random(n)), 21 * draw.random(n)
    flat = np.stack([(t * np.sqrt(t * t + 1) + np.arcsinh(t)) / 2, h], axis=1)
    return np.stack([t * np.cos(t), h, t * np.sin(t)], axis=1) + noise * draw.standard_normal((n, 3)), flat


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's, of the distances of two clouds."""
    return float(np.corrcoef(cdist(a, a).ravel(), cdist(b, b).ravel())[0, 1])


def blobs(*sizes: int, apart: float = 60.0) -> np.ndarray:
    draw = np.random.default_rng(0)
    return np.concatenate([draw.standard_normal((size, 4)) + apart * i for i, size in enumerate(sizes)])


@pytest.fixture(scope="module")
def rolled() -> tuple[np.ndarray, np.ndarray, HeatGeodesic]:
    x, flat = sheet(700, noise=0.1)
    return x, flat, HeatGeodesic().fit(x)


# --- what a map keeps -----------------------------------------------------------------------------------------------


def test_a_rolled_sheet_is_laid_flat(rolled: tuple[np.ndarray, np.ndarray, HeatGeodesic]) -> None:
    _, flat, model = rolled
    true = cdist(flat, flat)
    assert np.corrcoef(model.distances_.ravel(), true.ravel())[0, 1] > 0.99
    assert correlation(model.embedding_, flat) > 0.99
    assert model.n_connected_components_ == 1
    assert model.landmarks_ is None
    assert model.knee_ is None


def test_distances_are_symmetric_with_a_zero_diagonal_and_the_map_has_their_scale(
    rolled: tuple[np.ndarray, np.ndarray, HeatGeodesic],
) -> None:
    model = rolled[2]
    distances = model.distances_
    assert (distances == distances.T).all()
    assert (distances.diagonal() == 0).all()
    drawn = cdist(model.embedding_, model.embedding_)
    assert (drawn * distances).sum() == pytest.approx((drawn**2).sum())  # no factor makes the stress less
    assert model.stress_ == pytest.approx(np.linalg.norm(drawn - distances) / np.linalg.norm(distances))


def test_a_larger_cloud_has_a_larger_map() -> None:
    x, _ = sheet()
    small, large = HeatGeodesic(k=8).fit(x), HeatGeodesic(k=8).fit(1000 * x)
    assert np.allclose(large.distances_, 1000 * small.distances_, rtol=1e-4)
    assert np.allclose(large.embedding_, 1000 * small.embedding_, rtol=1e-2, atol=2)


@pytest.mark.parametrize("heat", ["exact", "series", "euler"])
def test_all_ways_to_the_heat_give_one_map(heat: str) -> None:
    x, _ = sheet()
    base, other = HeatGeodesic(k=8).fit(x), HeatGeodesic(k=8, heat=heat).fit(x)
    far = 0.04 if heat == "euler" else 1e-4  # Euler's steps are not the exponential itself
    assert np.abs(other.distances_ - base.distances_).max() < far * base.distances_.max()
    assert other.order_ == {"exact": 0, "series": 24, "euler": 32}[heat]
    assert 30 < base.order_ < 120  # Chebyshev


def test_far_entries_are_known_where_all_pairs_are_believed() -> None:
    x, _ = sheet(200)
    believed = HeatGeodesic(k=8, t=0.5, n_trusted=None).fit(x)
    assert believed.order_ == 24  # the series
    saturated = HeatGeodesic(k=8, t=0.5, n_trusted=None, heat="exact").fit(x)
    far = believed.distances_ > np.sqrt(4 * 0.5 * 40)  # where exp(−d²/4t) is below what eigenvectors leave
    assert far.mean() > 0.1
    assert np.abs(saturated.distances_ - believed.distances_)[far].max() > 0.01 * believed.distances_.max()
    near = believed.distances_ < np.sqrt(4 * 0.5 * 25)
    assert np.allclose(saturated.distances_[near], believed.distances_[near], rtol=1e-2)


@pytest.mark.parametrize("scaling", ["smacof", "sgd", "classical"])
@pytest.mark.parametrize("n_components", [1, 3])
def test_scalings_draw_in_any_number_of_dimensions(scaling: str, n_components: int) -> None:
    x, _ = sheet(120)
    model = HeatGeodesic(n_components, scaling=scaling, n_iter=50).fit(x)
    assert model.embedding_.shape == (120, n_components)
    assert model.stress_ < (0.5 if n_components == 1 else 0.15)
    assert model.get_feature_names_out().tolist() == [f"heatgeodesic{i}" for i in range(n_components)]


# --- what changes nothing -------------------------------------------------------------------------------------------


def test_the_order_of_points_changes_nothing() -> None:
    x, _ = sheet(200, noise=0.1)
    order = np.random.default_rng(1).permutation(200)
    base, moved = HeatGeodesic().fit(x), HeatGeodesic().fit(x[order])
    assert np.allclose(moved.distances_, base.distances_[np.ix_(order, order)], rtol=1e-9)
    assert np.allclose(moved.embedding_, base.embedding_[order], atol=1e-4 * np.abs(base.embedding_).max())


@pytest.mark.parametrize("options", [{}, {"n_landmarks": 40}, {"scaling": "sgd"}, {"t": "knee", "heat": "chebyshev"}])
def test_the_same_seed_gives_the_same_bytes(options: dict[str, object]) -> None:
    x, _ = sheet(150)
    first, second = (HeatGeodesic(random_state=3, **options).fit_transform(x) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_tensors_come_back_as_tensors_of_their_type() -> None:
    x = torch.from_numpy(sheet(60)[0]).float()
    drawn = HeatGeodesic(k=5).fit_transform(x)
    assert isinstance(drawn, torch.Tensor)
    assert drawn.dtype == torch.float32


def test_lengths_of_rows_do_not_matter_to_angles() -> None:
    draw = np.random.default_rng(0)
    x = draw.standard_normal((80, 5))
    longer = x * draw.uniform(0.5, 5, size=(80, 1))
    first, second = (HeatGeodesic(k=6, metric="angular").fit(rows).distances_ for rows in (x, longer))
    assert np.allclose(first, second, rtol=1e-4)


# --- time -----------------------------------------------------------------------------------------------------------


def test_time_is_fixed_or_found_or_many() -> None:
    x, _ = sheet(200)
    assert HeatGeodesic(t=3.5).fit(x).t_ == 3.5
    knee = HeatGeodesic(t="knee").fit(x)
    assert knee.knee_ == knee.t_ > 0
    many = HeatGeodesic(t="multiscale").fit(x)
    assert many.t_.shape == (12,)
    weights = 1 - many.t_ / many.t_.sum()
    seven = [HeatGeodesic(t=float(t)).fit(x).distances_ for t in many.t_[:7]]
    some = np.tensordot((weights / weights.sum())[:7], seven, axes=1)
    assert (many.distances_ >= some - 1e-9).all()  # the longer times add to it, little by little
    assert np.corrcoef(many.distances_.ravel(), some.ravel())[0, 1] > 0.97


def test_time_ends_before_heat_is_even() -> None:
    model = HeatGeodesic(metric="angular").fit(np.random.default_rng(0).standard_normal((60, 20)))
    operator = laplacian(model._graph(0))  # the graph of the fit: an estimator does not keep it
    assert model.t_ == pytest.approx(1 / np.linalg.eigvalsh(operator.toarray())[1], rel=1e-6)
    x, _ = sheet(200)
    rolled = HeatGeodesic().fit(x)
    assert rolled.t_ == pytest.approx(20 / np.median(laplacian(rolled._graph(0)).diagonal()))


def test_a_time_in_which_heat_becomes_even_is_refused() -> None:
    with pytest.raises(ValueError, match=r"in the time t=1e\+12 the heat has become even.*shorten t"):
        HeatGeodesic(t=1e12, heat="series").fit(sheet(60)[0])
    with pytest.raises(ValueError, match=r"t=1e\+09 takes .* terms of Chebyshev, and 10,000 are allowed: shorten t"):
        HeatGeodesic(t=1e9).fit(sheet(60)[0])


def test_without_a_knee_the_time_is_that_of_auto_and_a_warning_says_so() -> None:
    line = np.linspace(0, 1, 400)[:, None] ** 1.1
    with pytest.warns(UserWarning, match="no knee: t is that of t='auto'"):
        found = HeatGeodesic(1, k=2, t="knee").fit(line)
    assert found.knee_ is None
    assert found.t_ == HeatGeodesic(1, k=2).fit(line).t_


# --- settings of others ---------------------------------------------------------------------------------------------


def phate_distances(x: np.ndarray, k: int, t: int) -> np.ndarray:
    """Potential distances of PHATE (n, n), by powers of the matrix of its walk."""
    apart = cdist(x, x)
    width = np.sort(apart, axis=1)[:, k]
    affinity = np.exp(-((apart / width[:, None]) ** 40))
    affinity = (affinity + affinity.T) / 2
    walk = np.linalg.matrix_power(affinity / affinity.sum(axis=1, keepdims=True), t)
    potential = -np.log(walk + 1e-7)  # PHATE's floor
    return cdist(potential, potential)


def test_like_phate_has_the_potential_distances_of_phate() -> None:
    x, _ = sheet(200, noise=0.3)
    k, t = 5, 12
    phate = phate_distances(x, k, t)
    # e^−t(I − P) makes t steps on average, where P^t makes t; P has itself as a neighbour, the graph has not
    found = HeatGeodesic.like_phate(t=float(t), k=k).fit(x).distances_
    default = HeatGeodesic().fit(x).distances_
    near, far = (np.corrcoef(phate.ravel(), d.ravel())[0, 1] for d in (found, default))
    assert near > 0.93
    assert near > far + 0.02


def test_like_phate_draws_the_map_of_phate_on_a_roll_because_of_its_floor() -> None:
    x, flat = sheet(400, noise=0.1)
    distances = phate_distances(x, 5, 20)
    phate = smacof(distances, classical(distances))[0]
    alike, exact = (HeatGeodesic.like_phate(t=20.0, **options).fit_transform(x) for options in ({}, {"floor": 0.0}))
    near, far = (1 - procrustes(drawn, phate)[2] for drawn in (alike, exact))
    assert near > 0.98
    assert far < 0.95
    assert correlation(exact, flat) > correlation(alike, flat)


def test_a_floor_makes_one_distance_of_all_that_it_hides() -> None:
    x = np.linspace(0, 1, 60)[:, None]
    found = HeatGeodesic(n_components=1, k=4, t=5.0, n_trusted=None, rho=0.0, floor=1e-6, laplacian="normalized").fit(x)
    assert found.distances_[0, 40:].max() <= np.sqrt(-4 * 5.0 * np.log(1e-6))
    assert found.distances_[0, 40:] == pytest.approx(np.sqrt(-4 * 5.0 * np.log(1e-6)), rel=1e-6)
    assert np.ptp(HeatGeodesic(n_components=1, k=4).fit(x).distances_[0, 40:]) > 1e-3


def test_like_sne_keeps_neighbors_rather_than_long_distances() -> None:
    draw = np.random.default_rng(0)
    x = np.concatenate([draw.standard_normal((40, 8)) + 4 * draw.standard_normal(8) for _ in range(5)])
    base, local = HeatGeodesic().fit(x), HeatGeodesic.like_sne().fit(x)

    def kept(drawn: np.ndarray) -> float:
        wanted, found = (np.argsort(cdist(y, y), axis=1)[:, 1:6] for y in (x, drawn))
        return float(np.mean([len(set(a) & set(b)) / 5 for a, b in zip(wanted, found, strict=True)]))

    assert kept(local.embedding_) > kept(base.embedding_) + 0.05
    assert correlation(local.embedding_, x) < correlation(base.embedding_, x)


def test_as_published_is_the_formula_without_shortest_paths() -> None:
    x, _ = sheet(150)
    model = HeatGeodesic.as_published(k=8).fit(x)
    assert model.t_ == 10
    paths = HeatGeodesic.as_published(k=8, n_trusted=12).fit(x)
    near = np.argsort(model.distances_, axis=1)[:, 1]
    rows = np.arange(150)
    assert np.allclose(model.distances_[rows, near], paths.distances_[rows, near])
    assert paths.distances_.max() > 1.05 * model.distances_.max()
    squared = HeatGeodesic.as_published(k=8, power=2.0).fit(x)
    assert np.allclose(squared.distances_, model.distances_**2)


# --- landmarks and new points ---------------------------------------------------------------------------------------


def test_landmarks_give_nearly_the_map_of_all(rolled: tuple[np.ndarray, np.ndarray, HeatGeodesic]) -> None:
    x, flat, _ = rolled
    model = HeatGeodesic(n_landmarks=250).fit(x)
    assert model.landmarks_.shape == (250,)
    assert model.distances_.shape == (700, 250)
    assert (model.distances_[model.landmarks_, np.arange(250)] == 0).all()
    assert correlation(model.embedding_, flat) > 0.98
    assert HeatGeodesic(n_landmarks=5000).fit(x).landmarks_ is None


@pytest.mark.parametrize("options", [{}, {"n_landmarks": 250}, {"scaling": "classical"}, {"weights": "heat"}])
def test_old_points_are_placed_near_where_they_are_and_new_ones_near_their_neighbors(
    options: dict[str, object], rolled: tuple[np.ndarray, np.ndarray, HeatGeodesic]
) -> None:
    x, flat, model = rolled
    model = HeatGeodesic(**options).fit(x) if options else model
    size = np.sqrt(model.embedding_.var(axis=0).sum())
    again = model.transform(x)
    assert np.median(np.linalg.norm(again - model.embedding_, axis=1)) < 0.01 * size
    new, new_flat = sheet(50, noise=0.1, seed=5)
    placed = model.transform(new)
    nearest = cdist(new_flat, flat).argmin(axis=1)
    assert np.median(np.linalg.norm(placed - model.embedding_[nearest], axis=1)) < 0.12 * size
    assert correlation(np.concatenate([placed, model.embedding_]), np.concatenate([new_flat, flat])) > 0.93


# --- graphs in several parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"n_landmarks": 30}, {"heat": "series"}, {"n_trusted": None}])
def test_parts_are_counted_and_joined(options: dict[str, object]) -> None:
    x = blobs(50, 40, 30)
    model = HeatGeodesic(k=6, **options).fit(x)
    assert model.n_connected_components_ == 3
    assert np.isfinite(model.embedding_).all()
    drawn = model.embedding_
    own = np.repeat([0, 1, 2], [50, 40, 30])
    middle = np.stack([drawn[own == part].mean(axis=0) for part in range(3)])
    spread = max(np.linalg.norm(drawn[own == part] - middle[part], axis=1).mean() for part in range(3))
    assert cdist(middle, middle)[[0, 1, 0], [1, 2, 2]].min() > 1.5 * spread
    with pytest.raises(ValueError, match=r"falls into 3 parts \(the largest: 50, 40, 30\).*raise k or"):
        HeatGeodesic(k=6, disconnected="error", **options).fit(x)


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_too_few_points_for_k_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"with k=10 needs at least 11 points, got {n}"):
        HeatGeodesic().fit(sheet(n)[0])
    with pytest.raises(ValueError, match="needs at least 4 points, got 3"):
        HeatGeodesic(k=2).fit(sheet(3)[0])
    assert HeatGeodesic(k=2).fit_transform(sheet(4)[0]).shape == (4, 2)
    assert HeatGeodesic(k=10).fit_transform(sheet(11)[0]).shape == (11, 2)


def test_equal_points_share_a_place_and_count_once() -> None:
    x, _ = sheet(60)
    twice = np.concatenate([x, x[:30], x[:1], x[:1]])
    model, base = HeatGeodesic(k=5).fit(twice), HeatGeodesic(k=5).fit(x)
    assert (model.embedding_[:60] == base.embedding_).all()
    assert (model.embedding_[60:90] == base.embedding_[:30]).all()
    assert model.distances_.shape == (92, 92)
    assert model.distances_[0, 90] == 0
    assert HeatGeodesic(k=5, n_landmarks=20).fit(twice).distances_.shape == (92, 20)
    with pytest.raises(ValueError, match="needs at least 11 different points, got 5 among 50"):
        HeatGeodesic().fit(np.repeat(x[:5], 10, axis=0))
    with pytest.raises(ValueError, match="50 points that are all equal"):
        HeatGeodesic().fit(np.repeat(x[:1], 50, axis=0))


def test_near_duplicates_make_nothing_infinite() -> None:
    x, _ = sheet(60)
    close = np.concatenate([x, x[:20] + 1e-9 * np.random.default_rng(0).standard_normal((20, 3))])
    for options in ({}, {"heat": "series"}, {"n_landmarks": 30}):
        assert np.isfinite(HeatGeodesic(k=5, **options).fit_transform(close)).all()


def test_numbers_that_are_none_are_refused_by_row() -> None:
    x, _ = sheet(40)
    x[17, 1] = np.nan
    with pytest.raises(ValueError, match="row 17 holds NaN"):
        HeatGeodesic().fit(x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_landmarks": None}, r"n_landmarks=None would need about 1,600 GB and .* hours for 200,000 points"),
        ({"heat": "exact"}, r"heat='exact' would need .*: use n_landmarks=\"auto\" and heat=\"chebyshev\""),
        ({"heat": "euler"}, "heat='euler' would need"),
    ],
)
def test_the_cost_is_said_before_starting(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HeatGeodesic(**options).fit(np.random.default_rng(0).random((200_000, 1)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"graph": "full"}, "graph must be one of alpha, knn, mutual, got 'full'"),
        ({"metric": "cosine"}, "metric must be one of euclidean, angular, got 'cosine'"),
        ({"laplacian": "random"}, "laplacian must be one of"),
        ({"heat": "mar"}, "heat must be one of auto, series, exact, chebyshev, euler, got 'mar'"),
        ({"scaling": "mds"}, "scaling must be one of"),
        ({"weights": "sne"}, "weights must be one of"),
        ({"harnack": "mean"}, "harnack must be one of"),
        ({"disconnected": "drop"}, "disconnected must be one of join, error, got 'drop'"),
        ({"t": 0}, "t must be a number above 0 or one of auto, knee, multiscale, got 0"),
        ({"t": "soon"}, "t must be a number above 0 or one of auto, knee, multiscale, got 'soon'"),
        ({"t": float("nan")}, "t must be a number above 0"),
        ({"k": 0}, "k must be a whole number from 1 on, got 0"),
        ({"k": 2.5}, "k must be a whole number from 1 on, got 2.5"),
        ({"decay": 0}, "decay must be a number from 1 to 10000, got 0"),
        ({"rho": -1}, "rho must be a number from 0 to 10, got -1"),
        ({"denoise": 2}, "denoise must be a number from 0 to 1, got 2"),
        ({"tol": 0}, "tol must be a number from 1e-15 to 0.1, got 0"),
        ({"n_trusted": 0}, "n_trusted must be a whole number from 1 on, got 0"),
        ({"order": 0}, "order must be a whole number from 1 on, got 0"),
        ({"n_landmarks": 3}, "n_landmarks must be a whole number from 4 on, got 3"),
        ({"n_landmarks": "many"}, "n_landmarks must be a whole number from 4 on, got 'many'"),
        ({"n_components": 0}, "n_components must be a whole number from 1 on, got 0"),
        ({"n_iter": 0}, "n_iter must be a whole number from 1 on, got 0"),
        ({"random_state": -1}, "random_state must be None or a whole number"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HeatGeodesic(**options).fit(sheet(40)[0])


def test_new_points_must_fit_the_map() -> None:
    model = HeatGeodesic(k=5).fit(sheet(40)[0])
    with pytest.raises(ValueError, match="X has 2 features, but HeatGeodesic is expecting 3"):
        model.transform(np.zeros((3, 2)))
