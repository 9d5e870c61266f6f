"""Neighbours, hubs and the intrinsic dimension: brute force in float64, ties, permutations, scikit-dimension."""

from __future__ import annotations

import numpy as np
import pytest
import skdim
import torch
from helpers import on_circle, random_rows, shared
from scipy.stats import skew

from geomclip.embeddings import neighbors
from geomclip.embeddings.geometry import normalize
from geomclip.embeddings.neighbors import nearest_candidates
from geomclip.metrics.intrinsic_dimension import (
    different_rows,
    merge_duplicates,
    two_nearest_distances,
    twonn,
    twonn_from_neighbors,
)
from geomclip.metrics.nearest import Nearest, k_occurrence_of_candidates, two_nearest_of_candidates
from geomclip.metrics.neighborhood import (
    antihub_share,
    hubness,
    k_occurrence,
    robin_hood,
)
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.sweep import sweep

pytestmark = pytest.mark.numeric


def brute_counts(x: torch.Tensor, y: torch.Tensor, k: int) -> np.ndarray:
    """k-occurrence by sorting each float64 row, ties within 1e-9 of the k-th sharing what is left."""
    counts = np.zeros(len(y))
    for scores in (x.double() @ y.double().T).numpy():
        edge = np.sort(scores)[-k]
        above = scores > edge + 1e-9
        level = np.abs(scores - edge) <= 1e-9
        counts += above + level * (k - above.sum()) / level.sum()
    return counts


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(neighbors, "BLOCK", 64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "m", "d", "k"), [(30, 50, 5, 10), (7, 3, 2, 3), (40, 40, 3, 1), (1, 9, 4, 8)])
def test_k_occurrence_is_that_of_brute_force(n, m, d, k, dtype):
    x, y = random_rows(n, d, seed=0).to(dtype), random_rows(m, d, seed=1).to(dtype)
    counts = k_occurrence(x, y, k=k)
    assert counts.numpy() == pytest.approx(brute_counts(x, y, k), abs=1e-12)
    assert counts.sum().item() == pytest.approx(n * k)


def test_the_neighbours_of_points_on_a_circle_are_pencil():
    # nearest of 0° is 10°, of 20° is 10°, of 100° is 90°
    counts = k_occurrence(on_circle(0, 20, 100), on_circle(10, 90, 180), k=1)
    assert counts.tolist() == [2, 1, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_duplicates_in_different_blocks_share_their_places(dtype, small_blocks):
    x, base = random_rows(40, 4, seed=0).to(dtype), random_rows(9, 4, seed=1).to(dtype)
    copies = torch.cat([base, random_rows(15, 4, seed=2).to(dtype), base, base])
    counts = k_occurrence(x, copies, k=5)
    assert counts.numpy() == pytest.approx(brute_counts(x, copies, 5), abs=1e-12)
    assert counts[:9].numpy() == pytest.approx(counts[24:33].numpy(), abs=1e-12)
    assert counts[:9].numpy() == pytest.approx(counts[33:].numpy(), abs=1e-12)
    assert (counts % 1 != 0).any()


def test_scores_that_float32_puts_in_the_wrong_order_are_decided_in_float64():
    x = random_rows(20, 256, seed=0).float()
    y = torch.nn.functional.normalize(random_rows(1, 256, seed=1) + 1e-7 * random_rows(30, 256, seed=2)).float()
    unit = torch.nn.functional.normalize(y)  # as the metric sees them
    misled = (x @ unit.T).topk(5).indices.sort().values != (x.double() @ unit.double().T).topk(5).indices.sort().values
    assert misled.any()
    counts = k_occurrence(x, y, k=5)
    assert counts.numpy() == pytest.approx(brute_counts(normalize(x)[0], normalize(y)[0], 5), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_order_of_rows_permutes_the_counts_and_nothing_else(dtype, small_blocks):
    x, y = random_rows(30, 3, seed=0).to(dtype), random_rows(25, 3, seed=1).to(dtype)
    y = torch.cat([y, y[:5]])
    counts = k_occurrence(x, y, k=4)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        rows, columns = torch.randperm(30, generator=generator), torch.randperm(30, generator=generator)
        moved = k_occurrence(x[rows], y[columns], k=4)
        assert moved.numpy() == pytest.approx(counts[columns].numpy(), abs=1e-12)


def test_where_all_items_are_one_point_all_share_alike(small_blocks):
    counts = k_occurrence(random_rows(9, 3, seed=0), on_circle(*[30] * 8).new_ones(8, 3), k=3)
    assert counts.tolist() == pytest.approx([9 * 3 / 8] * 8)
    with pytest.raises(ValueError, match="equally often"):
        hubness(counts)


@pytest.mark.parametrize("k", [0, 5])
def test_a_k_outside_the_items_is_refused(k):
    with pytest.raises(ValueError, match=f"k must be 1 to 4 for 4 rows, got {k}"):
        k_occurrence(random_rows(3, 2, seed=0), random_rows(4, 2, seed=1), k=k)


def test_every_item_is_a_neighbour_of_every_row_where_k_is_all():
    counts = k_occurrence(random_rows(3, 2, seed=0), random_rows(4, 2, seed=1), k=4)
    assert counts.tolist() == [3, 3, 3, 3]


def test_half_precision_is_taken_and_numpy_answered_in_numpy():
    x, y = random_rows(20, 6, seed=0).numpy(), random_rows(30, 6, seed=1).numpy()
    counts = k_occurrence(x.astype(np.float16), y.astype(np.float16), k=3)
    assert isinstance(counts, np.ndarray)
    assert counts.sum() == pytest.approx(60)


def test_hubness_is_the_population_skewness():
    counts = torch.tensor([0, 0, 1, 2, 9, 4, 0, 3])
    assert hubness(counts).item() == pytest.approx(skew(counts.numpy(), bias=True), rel=1e-12)


def test_even_counts_have_no_hubs_and_one_hub_takes_all():
    even, hub = torch.full((4,), 3.0), torch.tensor([12.0, 0, 0, 0])
    assert robin_hood(even).item() == 0
    assert robin_hood(hub).item() == 0.75  # 9 of the 12 places would have to move
    assert antihub_share(even).item() == 0
    assert antihub_share(hub).item() == 0.75
    with pytest.raises(ValueError, match="0/0"):
        robin_hood(torch.zeros(3))
    with pytest.raises(ValueError, match=r"\(0,\)"):
        antihub_share(torch.zeros(0))


def test_no_function_writes_on_its_input(small_blocks):
    x = random_rows(20, 4, seed=0)
    before = x.clone()
    k_occurrence(x, x, k=3)
    twonn(x)
    nearest_candidates(x, x, 3, exclude_self=True)
    assert torch.equal(x, before)


@pytest.mark.parametrize(("n", "d"), [(100, 3), (333, 20), (1000, 40)])
def test_twonn_is_that_of_scikit_dimension(n, d):
    x = random_rows(n, d, seed=n)
    assert twonn(x).item() == pytest.approx(skdim.id.TwoNN().fit(x.numpy()).dimension_, rel=1e-9)


def test_twonn_with_duplicates_is_that_of_the_different_rows():
    x = random_rows(200, 5, seed=0)
    doubled = torch.cat([x[:50], x])
    rows, merged = merge_duplicates(doubled)
    assert merged == 50
    assert torch.equal(rows, x)
    assert twonn(doubled).item() == pytest.approx(twonn(x).item(), rel=1e-12)


def test_minus_zero_is_zero_when_rows_are_merged():
    assert different_rows(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -0.0]])).tolist() == [0, 1]


def test_twonn_finds_the_dimension_of_a_sphere_in_many_coordinates():
    x = random_rows(3000, 4, seed=0)  # the sphere S³
    turned = (
        torch.cat([x, torch.zeros(3000, 20, dtype=torch.float64)], 1) @ torch.linalg.qr(random_rows(24, 24, seed=1)).Q
    )
    assert twonn(turned).item() == pytest.approx(3, abs=0.2)
    assert twonn(turned).item() == pytest.approx(twonn(x).item(), rel=1e-9)


@pytest.mark.parametrize("spread", [1.0, 1e-3])
def test_the_two_nearest_distances_keep_their_digits_where_rows_are_close(spread, small_blocks):
    centre = random_rows(1, 8, seed=1)
    x = torch.nn.functional.normalize(centre + spread * random_rows(60, 8, seed=0), dim=1).float()
    r1, r2 = two_nearest_distances(x)
    exact = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist").sort(1).values
    assert r1.numpy() == pytest.approx(exact[:, 1].numpy(), rel=1e-12)
    assert r2.numpy() == pytest.approx(exact[:, 2].numpy(), rel=1e-12)


def crowded(kind: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Rows whose nearest candidates mislead."""
    base = random_rows(40, 12, seed=0)
    if kind == "copies":  # of a few rows, some of them more than there are candidates, and of each other's neighbours
        base = torch.cat([base, base[[3] * 9 + [4] * 2 + [5, 6, 6]], base[:1] + 1e-3 * random_rows(3, 12, seed=1)])
        base = torch.cat([base, base[-2:]])
    elif kind == "ties":  # float32 cosines of rows this close are all 1
        base = base[:1] + 1e-4 * random_rows(40, 12, seed=2)
    elif kind == "one point and two":
        base = base[[0] * 30 + [1, 2]]
    rows = normalize(base.to(dtype))[0]
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(3))]


@pytest.mark.parametrize("kind", ["plain", "copies", "ties", "one point and two"])
@pytest.mark.parametrize("count", [2, 4, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_two_nearest_of_candidates_are_those_of_all_different_rows(kind, count, dtype, small_blocks):
    x = crowded(kind, dtype)
    (found,) = sweep(Pairing.within(x), [Nearest(count, unmatched=True)])
    r1, r2, merged = two_nearest_of_candidates(x, found["text_score"], found["text_index"])
    different = merge_duplicates(x)[0].double()
    apart = torch.cdist(different, different, compute_mode="donot_use_mm_for_euclid_dist").sort(1).values
    assert merged == len(x) - len(different)
    assert r1.numpy() == pytest.approx(apart[:, 1].numpy(), rel=1e-12)
    assert r2.numpy() == pytest.approx(apart[:, 2].numpy(), rel=1e-12)


@pytest.mark.parametrize("query", ["text", "image"])
def test_counts_of_candidates_share_the_places_of_ties_among_all_items(query):
    x, y = crowded("copies"), torch.cat([crowded("copies"), crowded("ties")])
    pairing = Pairing.of(x, y, torch.arange(len(y)) % len(x))
    (found,) = sweep(pairing, [Nearest(5)])
    rows, items = (pairing.text, pairing.image) if query == "text" else (pairing.image, pairing.text)
    counts = k_occurrence_of_candidates(pairing, found, query, k=4)
    assert counts.numpy() == pytest.approx(brute_counts(rows, items, 4), abs=1e-12)


def test_fewer_than_three_different_rows_have_no_two_nearest():
    x = on_circle(0, 90, 90, 0)
    (found,) = sweep(Pairing.within(x), [Nearest(3, unmatched=True)])
    with pytest.raises(ValueError, match="at least 3 different rows, got 2"):
        two_nearest_of_candidates(x, found["text_score"], found["text_index"])


def test_twonn_is_pencil_where_all_ratios_but_the_discarded_are_e():
    # 10 points with log r2/r1 = 1: kept 9 of 10, slope Σ −log(1 − i/10) / 9
    expected = -np.log(1 - np.arange(1, 10) / 10).sum() / 9
    assert twonn_from_neighbors(torch.ones(10), torch.full((10,), np.e)).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: twonn(on_circle(0, 90)), "at least 3 rows, got 2"),
        (lambda: twonn(on_circle(0, 90, 90, 0)), "at least 3 rows, got 2"),
        (lambda: twonn(torch.eye(5)), "equally far"),
        (lambda: twonn_from_neighbors(torch.zeros(9), torch.ones(9)), "row 0 has a duplicate"),
        (lambda: twonn_from_neighbors(torch.ones(2), torch.ones(2)), "at least 3 different rows, got 2"),
    ],
)
def test_an_undefined_dimension_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_real_vectors_give_the_known_answers():
    data = np.load(shared("data/embeddings/flickr8k_100x5_vitb32/embeddings.npz"))
    for dtype in (np.float32, np.float64):
        x, y = data["image"].astype(dtype), data["text"].astype(dtype)
        assert hubness(k_occurrence(x, y)) == pytest.approx(1.98101993, rel=5e-9)
        assert hubness(k_occurrence(y, x)) == pytest.approx(1.25043296, rel=5e-9)
        unit = x.astype(float) / np.linalg.norm(x.astype(float), axis=1, keepdims=True)
        assert twonn(x) == pytest.approx(skdim.id.TwoNN().fit(unit).dimension_, rel=1e-6)
