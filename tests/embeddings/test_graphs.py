"""Graphs of neighbours of four points on a line, at 0, 1, 3 and 7: each has one neighbour, 1, 1, 2 and 4 away."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import on_circle, random_rows
from scipy.sparse import csr_array
from torch import Tensor

from geomclip.embeddings import graphs
from geomclip.embeddings.graphs import (
    GRAPHS,
    LAPLACIANS,
    even_density,
    geodesic_distances,
    graph_of_neighbors,
    laplacian,
    masses,
    searchable,
    shortest_path_tree,
    shortest_paths,
)

DISTANCES = np.array([[1.0], [1.0], [2.0], [4.0]])
INDICES = np.array([[1], [0], [1], [2]])
PATH = np.array([[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]])  # 0 - 1 - 3 - 7


def graph(kind="knn"):
    return graph_of_neighbors(DISTANCES, INDICES, kind=kind, k=1)


@pytest.mark.parametrize(
    ("kind", "weights"),
    [
        ("knn", PATH),
        ("mutual", PATH * np.array([[1, 1, 0, 0]]) * np.array([[1], [1], [0], [0]])),
        # e⁻¹ from each end that has the other for its nearest, and the mean of both ways
        ("alpha", np.exp(-1) * np.array([[0, 1, 0, 0], [1, 0, 0.5, 0], [0, 0.5, 0, 0.5], [0, 0, 0.5, 0]])),
    ],
)
def test_edges_are_weighed_as_the_kind_says_and_keep_their_lengths(kind, weights):
    made = graph(kind)
    far = np.abs(np.subtract.outer([0, 1, 3, 7], [0, 1, 3, 7]))
    assert np.allclose(made.weights.toarray(), weights)
    assert np.allclose(made.lengths.toarray(), far * (weights > 0))
    assert made.bandwidths.tolist() == [1, 1, 2, 4]


def test_every_kind_has_a_row_above():
    assert set(GRAPHS) == {"alpha", "knn", "mutual"}


def test_components_are_counted_and_told_apart():
    assert graph("knn").components()[0] == 1
    count, part = graph("mutual").components()
    assert (count, part.tolist()) == (3, [0, 0, 1, 2])


def test_masses_are_one_the_degree_or_what_makes_the_step_one():
    assert masses(graph(), "combinatorial").tolist() == [1, 1, 1, 1]
    assert masses(graph(), "normalized").tolist() == [1, 2, 2, 1]
    assert masses(graph(), "unit-speed").tolist() == [1, 1 + 4, 4 + 16, 16]  # sums of squared lengths


@pytest.mark.parametrize("kind", LAPLACIANS)
def test_a_laplacian_is_symmetric_and_gives_no_heat_where_it_is_even(kind):
    made, mass = laplacian(graph(), kind).toarray(), masses(graph(), kind)
    scale = np.sqrt(np.outer(mass, mass))
    assert np.allclose(made * scale, np.diag(PATH.sum(axis=1)) - PATH)
    assert np.allclose(made @ np.sqrt(mass), 0)


def test_even_density_divides_a_weight_by_the_degrees_of_its_ends():
    weights = even_density(graph(), 1.0).weights.toarray()
    assert np.allclose(weights, PATH / np.outer([1, 2, 2, 1], [1, 2, 2, 1]))


# ------------------------------------------------------------------------------------------------- shortest paths


def test_shortest_paths_of_a_line_are_sums_of_its_edges():
    line = graph().lengths
    assert np.allclose(shortest_paths(line), np.abs(np.subtract.outer([0, 1, 3, 7], [0, 1, 3, 7])))
    assert shortest_paths(line, np.array([3, 0]), limit=4.5).tolist() == [[np.inf, np.inf, 4, 0], [0, 1, 3, np.inf]]


def test_an_edge_of_length_0_is_a_way():
    kept = csr_array((np.array([0.0, 0, 1, 1]), (np.array([0, 1, 1, 2]), np.array([1, 0, 2, 1]))), shape=(4, 4))
    assert kept.nnz == 4
    ways = shortest_paths(kept, np.array([0]))[0]
    assert ways[:3].tolist() == pytest.approx([0, 0, 1], abs=1e-100)
    assert ways[3] == np.inf
    assert (searchable(kept).data > 0).all()  # some of scipy's searches take a 0 for no edge


def test_indices_of_64_bits_are_taken():
    wide = graph().lengths
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    assert shortest_paths(wide, np.array([0]))[0].tolist() == [0, 1, 3, 7]
    assert searchable(wide).indices.dtype == searchable(wide).indptr.dtype == np.int32  # scipy before 1.17


def test_the_tree_of_shortest_paths_names_the_point_before():
    ways, before = shortest_path_tree(graph().lengths, 3)
    assert (ways.tolist(), before.tolist()) == ([7, 6, 4, 0], [1, 2, 3, -9999])


# ---------------------------------------------------------------------------------------------- geodesic distances


def clouds(n: int = 24, d: int = 6, videos: int = 5) -> Tensor:
    """Unit rows of a few videos, each in two clumps: with few neighbours most fall into parts."""
    centres = torch.stack([random_rows(2, d, seed=seed) for seed in range(videos)])
    rows = centres[:, torch.arange(n) % 2] + 0.5 * random_rows(videos * n, d, seed=99).unflatten(0, (videos, n))
    return torch.nn.functional.normalize(rows, dim=-1)


def by_three_loops(rows: Tensor, k: int) -> Tensor:
    """Floyd and Warshall on the symmetric graph of k neighbours, in float64."""
    n = len(rows)
    angle = [[2 * np.arcsin(min(1, float((a - b).norm()) / 2)) for b in rows] for a in rows]
    nearest = [set(sorted((j for j in range(n) if j != i), key=lambda j, i=i: angle[i][j])[:k]) for i in range(n)]
    way = [
        [0.0 if i == j else angle[i][j] if j in nearest[i] or i in nearest[j] else np.inf for j in range(n)]
        for i in range(n)
    ]
    for m in range(n):
        for i in range(n):
            for j in range(n):
                way[i][j] = min(way[i][j], way[i][m] + way[m][j])
    return torch.tensor(way, dtype=torch.float64)


@pytest.mark.parametrize("k", [1, 3, 23, 50])
def test_geodesic_distances_are_those_of_floyd_and_warshall(k):
    rows = clouds()
    expected = torch.stack([by_three_loops(video, k) for video in rows])
    found = geodesic_distances(rows, k=k)
    assert found.dtype == torch.float64
    assert torch.allclose(found, expected, rtol=1e-12)
    assert (k > 3) != bool(found.isinf().any())  # of few neighbours the graph falls into parts


def test_sources_choose_rows_of_the_whole():
    rows, sources = clouds(), torch.tensor([[0, 3, 3], [1, 0, 23], [5, 6, 7], [9, 2, 1], [4, 4, 4]])
    whole = geodesic_distances(rows, k=2)
    assert torch.equal(geodesic_distances(rows, k=2, sources=sources), whole[torch.arange(5)[:, None], sources])


def test_a_video_knows_nothing_of_the_others_and_blocks_change_nothing(monkeypatch):
    rows = clouds()
    whole = geodesic_distances(rows, k=3)
    assert torch.allclose(whole, torch.cat([geodesic_distances(video[None], k=3) for video in rows]))
    monkeypatch.setattr(graphs, "BLOCK", 2 * 24 * 24)  # two videos a block, four edges a chunk
    assert torch.allclose(geodesic_distances(rows, k=3), whole)


def test_what_is_farther_than_the_limit_is_infinite():
    rows = clouds()
    whole, cut = geodesic_distances(rows, k=3), geodesic_distances(rows, k=3, limit=1.0)
    assert torch.equal(cut, whole.where(whole <= 1.0, torch.inf))
    assert 0.1 < cut.isfinite().double().mean() < 0.9


def test_geodesic_distances_keep_the_triangle_inequality_and_the_angle_is_the_least():
    rows = clouds()
    far = geodesic_distances(rows, k=3)
    detour = (far[:, :, :, None] + far[:, None, :, :]).amin(2)  # over the point between
    assert (far <= detour + 1e-12).all()
    angle = torch.acos((rows @ rows.mT).clamp(-1, 1))
    assert (far >= angle - 1e-7).all()  # acos is off by that much near 0
    assert torch.allclose(far, far.mT)


def test_a_permutation_of_the_points_permutes_the_distances():
    rows, order = clouds(), torch.randperm(24, generator=torch.Generator().manual_seed(0))
    rows = torch.cat([rows[:, :12], rows[:, :12]], dim=1)  # with a copy of each, so that there are ties
    far = geodesic_distances(rows, k=2)
    assert torch.allclose(geodesic_distances(rows[:, order], k=2), far[:, order][:, :, order])


def test_equally_near_rows_are_all_neighbors():
    around = torch.tensor([[[1.0, 0], [0, 1], [-1, 0], [0, -1]]])  # each has two at a right angle
    assert torch.allclose(geodesic_distances(around, k=1)[0, 0], torch.tensor([0, 1, 2, 1]) * torch.pi / 2)


@pytest.mark.parametrize(("rounding", "dtype"), [(0, torch.float64), (0, torch.float32), (3e-7, torch.float32)])
def test_copies_of_a_row_are_connected_at_distance_0_however_few_the_neighbors(rounding, dtype):
    noise = torch.randn(10, 120, 512, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    copies = random_rows(3, 512, seed=0)[torch.arange(120) % 3] + rounding * noise
    far = geodesic_distances(torch.nn.functional.normalize(copies, dim=-1).to(dtype), k=1)
    same = torch.arange(120)[:, None] % 3 == torch.arange(120) % 3
    assert (far[:, same] <= 100 * rounding + 1e-30).all()
    assert far[:, ~same].isinf().all()


def test_the_length_of_a_short_edge_is_exact_in_float32():
    rows = on_circle(0, 0.01, 120)[None].float()
    assert geodesic_distances(rows, k=1)[0, 0, 1].item() == pytest.approx(np.deg2rad(0.01), rel=1e-4)  # acos: 0 or 2x


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_measured_in_float32_even_under_autocast(dtype):
    rows = clouds().to(dtype)
    expected = geodesic_distances(rows.float(), k=3)
    with torch.autocast("cpu", torch.bfloat16):
        found = geodesic_distances(rows, k=3)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_geodesic_distances_have_no_gradient_and_leave_the_rows_alone():
    rows = clouds().requires_grad_()
    kept = rows.detach().clone()
    assert not geodesic_distances(rows, k=3).requires_grad
    assert torch.equal(rows, kept)


def test_one_row_and_two_are_enough():
    assert geodesic_distances(on_circle(10)[None], k=5).tolist() == [[[0]]]
    assert geodesic_distances(on_circle(0, 60)[None], k=5)[0, 0, 1].item() == pytest.approx(np.pi / 3)


@pytest.mark.parametrize(
    ("rows", "options", "why"),
    [
        (torch.eye(3), {"k": 1}, r"must be \(B, N, d\) .*, got torch.float32 of \(3, 3\)"),
        (torch.eye(3).int()[None], {"k": 1}, "got torch.int32"),
        (torch.eye(3)[None], {"k": 0}, "k must be at least 1, got 0"),
        (torch.eye(3)[None], {"k": 1, "sources": torch.tensor([0])}, r"must be \(1, S\) integers, .* of \(1,\)"),
        (torch.eye(3)[None], {"k": 1, "sources": torch.tensor([[0, 3]])}, "sources must be 0 to 2, got 0 to 3"),
    ],
)
def test_geodesic_distances_refuse_what_they_cannot_measure(rows, options, why):
    with pytest.raises(ValueError, match=why):
        geodesic_distances(rows, **options)
