"""The search for neighbours by clusters, and the loop that measures them, beside comparing all with all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from geomclip.projections import clusters, neighbors
from geomclip.projections.clusters import clustered, nearest_by_clusters
from geomclip.projections.lengths import lengths_to
from geomclip.projections.neighbors import nearest

pytestmark = pytest.mark.numeric


def crowds(n: int, d: int = 24, *, seed: int = 0) -> np.ndarray:
    """Points about 40 centres, of both signs, centred."""
    draw = np.random.default_rng(seed)
    x = 3 * draw.normal(size=(40, d))[draw.integers(40, size=n)] + draw.normal(size=(n, d))
    return (x - x.mean(axis=0)).astype(np.float32)


def with_duplicates(n: int) -> np.ndarray:
    x = crowds(n)
    x[: n // 4] = x[0]
    x[n // 2 : n // 2 + 30] = x[n // 2]
    return x


def flat(n: int) -> np.ndarray:
    x = np.zeros((n, 24), np.float32)
    x[:, :3] = np.random.default_rng(1).normal(size=(n, 3))
    return x


def shared(found: np.ndarray, x: np.ndarray, k: int) -> float:
    """Share of rows' k found others that are no farther than the k-th nearest."""
    rows = np.arange(0, len(x), 7)
    apart = np.linalg.norm(x[rows, None].astype(np.float64) - x[None], axis=2)
    apart[np.arange(len(rows)), rows] = np.inf
    farthest = np.partition(apart, k - 1, axis=1)[:, k - 1]
    own = np.take_along_axis(apart, found[rows], axis=1)
    return float((own <= farthest[:, None] * (1 + 1e-6) + 1e-30).mean())


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
@pytest.mark.parametrize("make", [crowds, with_duplicates, flat])
def test_clusters_find_nearly_all_of_the_nearest(make: object, scale: float) -> None:
    x = make(3000) * np.float32(scale)  # type: ignore[operator]
    found = nearest_by_clusters(torch.from_numpy(x), 12, 12, 0)
    assert found is not None
    assert found.shape == (3000, 12)
    assert not (found == torch.arange(3000)[:, None]).any()
    assert all(len(set(row)) == 12 for row in found.tolist())
    assert shared(found.numpy(), x, 12) > 0.97


def test_a_search_by_clusters_is_as_exact_in_its_distances_as_all_with_all() -> None:
    x = crowds(2000)
    x[7], x[9] = x[3], x[3] + np.float32(1e-5)
    exact, found = (nearest(x, 10, metric="euclidean", method=method) for method in ("exact", "approximate"))
    same = exact[1] == found[1]
    assert same.mean() > 0.98
    assert found[0][same] == pytest.approx(exact[0][same], rel=1e-5)
    assert found[0][3, 0] == 0
    assert found[1][3, 0] == 7
    assert (np.diff(found[0], axis=1) >= 0).all()


def test_the_same_seed_finds_the_same_with_any_number_of_threads() -> None:
    x = torch.from_numpy(crowds(4000))
    before = torch.get_num_threads()
    try:
        results = []
        for threads, seed in ((1, 0), (2, 0), (1, 1)):
            torch.set_num_threads(threads)
            found = nearest(x, 9, metric="euclidean", method="approximate", random_state=seed)
            results.append([part.tobytes() for part in found])
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1]
    assert torch.get_num_threads() == before
    assert nearest_by_clusters(x, 9, 9, None) is not None


def test_every_point_is_in_one_cluster_and_no_cluster_is_twice_as_large_as_the_mean() -> None:
    x = torch.from_numpy(with_duplicates(2000))
    found = clustered(x, torch.randperm(2000, generator=torch.Generator().manual_seed(0)))
    assert found.members.sort().values.tolist() == list(range(2000))
    assert found.sizes.min() > 0
    assert found.width <= np.ceil(2 * 2000 / int(2 * 2000**0.5))
    homes = found.homes()
    assert all(
        (homes[found.members[a:b]] == i).all()
        for i, (a, b) in enumerate(zip(found.start, found.start[1:], strict=False))
    )


def test_where_clusters_take_too_many_comparisons_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "MOST", 5)
    assert nearest_by_clusters(torch.from_numpy(crowds(900)), 5, 5, 0) is None


@pytest.mark.parametrize("count", [200, 898])
def test_rows_look_into_more_clusters_where_the_nearest_hold_too_few(count: int) -> None:
    x = torch.from_numpy(crowds(900))
    found = nearest_by_clusters(x, 5, count, 0)
    assert found is not None
    assert all(len(set(row)) == count and i not in row for i, row in enumerate(found.tolist()))


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How often a graph of neighbours was walked in place of clusters."""
    seen: list[int] = []
    walk = neighbors._walked

    def counted(rows: torch.Tensor, k: int, random_state: int | None) -> torch.Tensor:
        seen.append(k)
        return walk(rows, k, random_state)

    monkeypatch.setattr(neighbors, "_walked", counted)
    return seen


@pytest.mark.slow  # pynndescent compiles itself
def test_points_without_clusters_are_searched_by_a_graph(walked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "MOST", 5)
    x = crowds(400, seed=3)
    x[5:25] = x[4]  # more duplicates than neighbours are asked for
    found = nearest(x, 10, metric="euclidean", method="approximate")[1]
    assert walked == [10]
    assert shared(found, x, 10) > 0.95
    assert not (found == np.arange(400)[:, None]).any()


@pytest.mark.parametrize(("kind", "tolerance"), [(np.float32, 2e-6), (np.float64, 1e-13)])
@pytest.mark.parametrize("scale", [1.0, 1e-15, 1e15])
def test_the_loop_measures_as_torch_does(kind: type, tolerance: float, scale: float) -> None:
    draw = np.random.default_rng(0)
    among = (scale * draw.normal(size=(50, 37))).astype(kind)
    among[3] = among[4]
    rows, candidates = among[:20] * np.float32(-1), draw.integers(50, size=(20, 8))
    rows[3], candidates[3, :2] = among[3], (3, 4)
    out = np.empty((20, 8), kind)
    lengths_to(rows, among, candidates, out)
    reference = neighbors._lengths(*(torch.from_numpy(each) for each in (rows, among, candidates))).numpy()
    assert out == pytest.approx(reference, rel=tolerance, abs=0)
    assert out[3, :2].tolist() == [0, 0]
