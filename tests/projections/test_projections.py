"""SVD, PCA, UMAP and t-SNE beyond what all estimators promise, and the neighbours that they share."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import geomclip as gc
from geomclip.projections import PROJECTIONS, neighbors
from geomclip.projections.base import PlacesNewPoints, Projection
from geomclip.projections.linear import PCA, SVD
from geomclip.projections.neighbors import NeighborSearch, nearest, nearest_among
from geomclip.projections.tsne import TSNE
from geomclip.projections.umap import UMAP, on_sphere, umap_learn


def clumps(n: int = 60, d: int = 12, *, seed: int = 0) -> NDArray[np.float32]:
    """Rows in four clumps."""
    rng = np.random.default_rng(seed)
    return (2 * rng.normal(size=(4, d))[np.arange(n) % 4] + 0.4 * rng.normal(size=(n, d))).astype(np.float32)


def all_distances(x: NDArray[Any], metric: str) -> NDArray[np.float64]:
    """Between all rows in float64, infinite to themselves."""
    y = x.astype(np.float64)
    if metric == "angular":
        y /= np.linalg.norm(y, axis=1, keepdims=True)
        found = np.arccos(np.clip(y @ y.T, -1, 1))
    else:
        found = np.linalg.norm(y[:, None] - y[None], axis=2)
    np.fill_diagonal(found, np.inf)
    return np.asarray(found)


# neighbours


@pytest.mark.parametrize("metric", ["angular", "euclidean"])
@pytest.mark.parametrize("offset", [0.0, 10_000.0])
def test_neighbours_are_those_of_all_distances_in_float64(metric: str, offset: float) -> None:
    # far from the origin squares drown the distances in float32; angles are then small and need float64
    x = (clumps(150) + np.float32(offset)).astype(np.float64 if metric == "angular" else np.float32)
    distances, indices = nearest(x, 7, metric=metric)
    truth = all_distances(x, metric)
    assert np.array_equal(indices, np.argsort(truth, axis=1, kind="stable")[:, :7])
    assert np.allclose(distances, np.sort(truth, axis=1)[:, :7], rtol=2e-6, atol=1e-9)
    assert (distances.dtype, indices.dtype) == (np.float32, np.int32)


def test_a_duplicate_is_a_neighbour_at_distance_0_and_a_row_its_own_never() -> None:
    x = clumps(30)
    x[7] = x[3]
    distances, indices = nearest(x, 3)
    assert distances[3, 0] == distances[7, 0] == 0
    assert (indices[3, 0], indices[7, 0]) == (7, 3)
    assert not (indices == np.arange(30)[:, None]).any()


def test_near_duplicates_keep_their_distance_in_float32() -> None:
    x = torch.tensor([[1.0, 0.0], [1.0, 1e-5], [1.0, -3e-5], [0.0, 1.0]])  # cosines in float32 are all 1
    distances, indices = nearest(x, 1)
    assert indices[:, 0].tolist() == [1, 0, 0, 1]
    assert distances[:, 0].tolist() == pytest.approx([1e-5, 1e-5, 3e-5, np.pi / 2 - 1e-5], rel=1e-4)


def test_the_approximate_search_finds_nearly_all_of_the_exact() -> None:
    x = clumps(400, seed=3)
    x[5:25] = x[4]  # more duplicates than neighbours are asked for
    exact, approximate = (nearest(x, 10, method=method)[1] for method in ("exact", "approximate"))
    plain = np.r_[:4, 25:400]
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(exact[plain], approximate[plain], strict=True)]
    assert np.mean(shared) > 0.95
    assert not (approximate == np.arange(400)[:, None]).any()


@pytest.mark.parametrize(("kind", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_neighbours_among_other_rows_are_exact_in_their_precision(kind: type, tolerance: float) -> None:
    known, new = clumps(50).astype(kind), clumps(9, seed=4)
    distances, indices = nearest_among(new, known, 4, metric="euclidean")
    truth = np.linalg.norm(new[:, None].astype(np.float64) - known[None], axis=2)
    assert np.array_equal(indices, truth.argsort(axis=1)[:, :4])
    assert distances.dtype == kind
    assert np.allclose(distances, np.sort(truth, axis=1)[:, :4], rtol=tolerance)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 10}, "10 neighbours need at least 11 points, got 10"),
        ({"k": 0}, "0 neighbours"),
        ({"k": 2, "metric": "cosine"}, "metric must be angular or euclidean, got 'cosine'"),
        ({"k": 2, "method": "fast"}, "method must be auto, exact or approximate"),
    ],
)
def test_neighbours_refuse_what_has_none(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nearest(clumps(10), **options)


# neighbours that several methods share


def unit(n: int = 120, *, seed: int = 0) -> NDArray[np.float32]:
    x = clumps(n, seed=seed)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Metric and k of every search."""
    seen: list[tuple[str, int]] = []
    search = nearest

    def counted(x: Any, k: int, **options: Any) -> Any:
        seen.append((options["metric"], k))
        return search(x, k, **options)

    monkeypatch.setattr(neighbors, "nearest", counted)
    return seen


@pytest.mark.parametrize("metric", ["angular", "euclidean"])
@pytest.mark.parametrize("make", [clumps, unit])
def test_fewer_neighbours_are_the_first_of_more(make: Any, metric: str, searches: list[tuple[str, int]]) -> None:
    x = make(120)
    near = NeighborSearch(x)
    for k in (20, 20, 7, 1):
        distances, indices = near.nearest(k, metric=metric)
        expected = nearest(x, k, metric=metric)
        assert np.array_equal(distances, expected[0])
        assert np.array_equal(indices, expected[1])
    assert searches == [(metric, 20)]
    assert near.nearest(21, metric=metric)[1].shape == (120, 21)
    assert searches == [(metric, 20), (metric, 21)]


@pytest.mark.parametrize("metrics", [("angular", "euclidean"), ("euclidean", "angular")])
def test_one_search_serves_both_metrics_of_unit_rows(metrics: tuple[str, str], searches: list[tuple[str, int]]) -> None:
    x, (first, second) = unit(), metrics
    x[7], x[9] = x[3], -x[4]  # a duplicate, and one from the other side
    near = NeighborSearch(x)
    near.nearest(119, metric=first)
    distances, indices = near.nearest(119, metric=second)
    expected = nearest(x, 119, metric=second)
    assert np.allclose(distances, expected[0], rtol=1e-6, atol=1e-3 if second == "angular" else 1e-6)
    assert np.array_equal(indices[:, :30], expected[1][:, :30])
    assert searches == [(first, 119)]


def test_other_lengths_than_1_take_a_search_a_metric(searches: list[tuple[str, int]]) -> None:
    near = NeighborSearch(clumps(60))
    found = [near.nearest(5, metric=metric) for metric in ("angular", "euclidean", "angular")]
    assert searches == [("angular", 5), ("euclidean", 5)]
    assert not np.array_equal(found[0][1], found[1][1])
    assert np.array_equal(found[0][1], found[2][1])


def test_an_approximate_search_serves_only_its_like(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def searched(x: Any, k: int, *, method: str, random_state: int | None, **_: Any) -> Any:
        calls.append((k, method, random_state))
        return np.zeros((len(x), k), np.float32), np.zeros((len(x), k), np.int32)

    monkeypatch.setattr(neighbors, "nearest", searched)
    near = NeighborSearch(clumps(60))
    wanted = [
        (9, "approximate", 0),
        (9, "approximate", 0),
        (5, "approximate", 0),
        (5, "approximate", 1),
        (5, "auto", 1),
    ]
    for k, method, seed in wanted:
        assert near.nearest(k, method=method, random_state=seed)[1].shape == (60, k)
    assert calls == [wanted[0], *wanted[2:]]


def test_shared_neighbours_cannot_be_written_to() -> None:
    for array in NeighborSearch(clumps(30)).nearest(3):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1


def test_shared_neighbours_are_refused_by_other_points() -> None:
    near = NeighborSearch(torch.from_numpy(unit(60)))
    assert near.of(unit(60)) is near
    with pytest.raises(ValueError, match="of other points"):
        SVD().fit(unit(59), neighbors=near)
    for k in (0, 60):
        with pytest.raises(ValueError, match=f"{k} neighbours need"):
            near.nearest(k)
    with pytest.raises(ValueError, match="method must be"):
        near.nearest(3, method="tree")


# linear


def test_svd_is_that_of_the_unit_rows_up_to_sign() -> None:
    x = 3 * clumps(80).astype(np.float64)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    _, values, directions = np.linalg.svd(unit, full_matrices=False)
    drawn = SVD(n_components=3).fit(x)
    assert np.allclose(np.abs(drawn.embedding_), np.abs(unit @ directions[:3].T), atol=1e-7)
    assert np.allclose(drawn.singular_values_, values[:3])
    assert drawn.share_ == pytest.approx((values[:3] ** 2).sum() / 80)


def test_pca_is_that_of_the_centred_rows_up_to_sign() -> None:
    x = clumps(80).astype(np.float64) + 7
    centred = x - x.mean(axis=0)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    drawn = PCA().fit(x)
    assert np.allclose(np.abs(drawn.embedding_), np.abs(centred @ directions[:2].T), atol=1e-7)
    assert drawn.share_ == pytest.approx((values[:2] ** 2).sum() / (values**2).sum())


def test_the_sign_of_an_axis_is_that_of_the_largest_entry_of_its_direction() -> None:
    for seed in range(4):
        directions = SVD(n_components=4, random_state=seed).fit(clumps(seed=seed)).components_
        assert (directions.max(axis=1) == np.abs(directions).max(axis=1)).all()


def test_linear_maps_refuse_more_axes_than_there_are() -> None:
    with pytest.raises(ValueError, match="n_components=13 needs as many points and dimensions, got 60 x 12"):
        SVD(n_components=13).fit(clumps())


# umap and t-SNE


def test_umap_angles_are_read_as_its_gradient_has_them() -> None:
    umap_learn()  # imported in quiet, first
    from umap.distances import haversine_grad

    angles = np.random.default_rng(0).uniform(-4, 9, size=(40, 2))
    points = on_sphere(angles)
    assert np.allclose(np.linalg.norm(points, axis=1), 1)
    for i in range(39):  # great-circle distance of the points is the distance whose gradient umap follows
        along = np.arccos(np.clip(points[i] @ points[i + 1], -1, 1))
        assert along == pytest.approx(haversine_grad(angles[i], angles[i + 1])[0], abs=1e-6)


def test_umap_on_a_sphere_keeps_clumps_apart() -> None:
    drawn = UMAP(n_neighbors=6, output="sphere").fit_transform(clumps())
    assert drawn.shape == (60, 3)
    assert np.allclose(np.linalg.norm(drawn, axis=1), 1, atol=1e-6)
    _, indices = nearest(drawn, 3)
    assert (indices % 4 == np.arange(60)[:, None] % 4).all()


def test_umap_of_a_graph_in_parts_is_the_same_twice() -> None:
    x = np.random.default_rng(0).normal(size=(80, 3))  # with one neighbour each they fall into many parts
    one, other = (UMAP(n_neighbors=2).fit_transform(x) for _ in range(2))
    assert np.array_equal(one, other)


def test_umap_draws_few_points_and_rows_that_are_opposite() -> None:
    rows = np.array([[1.0, 0.0]] + [[-1.0, 0.0]] * 5)  # umap-learn by itself joins the first to none: NaN
    assert np.isfinite(UMAP(n_neighbors=3, n_components=1).fit_transform(rows)).all()


def test_tsne_starts_from_drawn_points_and_keeps_their_places(caplog: pytest.LogCaptureFixture) -> None:
    x = clumps()
    first = TSNE(perplexity=5).fit_transform(x)
    second = TSNE(perplexity=5, init=first).fit_transform(x + 0.01 * clumps(seed=8))
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.98
    step = TSNE(perplexity=5, n_iter=1, init=first).fit_transform(x)
    assert np.allclose(step, first - first.mean(axis=0), atol=0.1 * first.std())
    assert caplog.text == ""  # openTSNE would advise a narrower start


# torch's threads


class SetsThreads(PlacesNewPoints):
    """What numba's first parallel loop does in the thread that starts it."""

    def _fit(self, x: NDArray[Any], near: NeighborSearch) -> NDArray[Any]:
        return self._transform(x)

    def _transform(self, x: NDArray[Any]) -> NDArray[Any]:
        torch.set_num_threads(torch.get_num_threads() + 2)
        return x[:, :2]


def test_a_map_leaves_torch_its_number_of_threads() -> None:
    before = torch.get_num_threads()
    try:
        fitted = SetsThreads().fit(clumps())
        assert torch.get_num_threads() == before
        fitted.transform(clumps())
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)


# the table


def test_the_table_names_estimators_that_are_made_when_first_used() -> None:
    assert set(PROJECTIONS) == {"svd", "pca", "umap", "umap-sphere", "tsne", "angles", "dosnes", "heat-geodesic"}
    for method in PROJECTIONS.values():
        assert issubclass(method.estimator(), Projection)
        assert method.kind in ("plane", "sphere")
    assert gc.projections.SVD is SVD
    with pytest.raises(AttributeError, match="no attribute 'SNE'"):
        gc.projections.SNE  # noqa: B018


def test_nothing_heavy_is_loaded_for_the_names() -> None:
    code = "import geomclip.projections as p, sys; p.PROJECTIONS; sys.exit(any(m in sys.modules for m in " + (
        "('umap', 'openTSNE', 'numba', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
