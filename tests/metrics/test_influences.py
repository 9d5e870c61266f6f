"""What each image moves a number by: derivatives by finite differences, deletion, and the spread of new samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from helpers import random_rows
from torch import Tensor

from geomclip.embeddings import exact
from geomclip.metrics.deletion import Decomposed
from geomclip.metrics.effects import Effect
from geomclip.metrics.gap import shape_distance_influence
from geomclip.metrics.intrinsic_dimension import twonn, twonn_influence
from geomclip.metrics.nearest import Nearest, k_occurrence_of_candidates
from geomclip.metrics.neighborhood import robin_hood, robin_hood_influence
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.sweep import sweep

pytestmark = pytest.mark.numeric


def cone(n: int, d: int, *, seed: int) -> Tensor:
    rows = random_rows(n, d, seed=seed) * torch.linspace(1, 0.3, d) + 0.4 * random_rows(1, d, seed=500 + seed)
    return torch.nn.functional.normalize(rows, dim=1)


# --- the gap after centring


def weighted_shape_distance(x: Tensor, y: Tensor, w: Tensor, v: Tensor) -> float:
    """`gap_after_centering` with row i of x counted w_i times, and row j of y v_j times."""
    roots = []
    for rows, weight in ((x, w), (y, v)):
        share = weight / weight.sum()
        roots.append(share.sqrt()[:, None] * (rows - share @ rows))
    p, s = roots
    return float((p.square().sum() + s.square().sum() - 2 * torch.linalg.svdvals(p @ s.T).sum()).sqrt())


@pytest.mark.parametrize(("n", "m", "d"), [(30, 45, 6), (12, 12, 5), (9, 20, 30)])
def test_what_a_row_moves_the_centred_gap_by_is_the_derivative_by_its_weight(n: int, m: int, d: int) -> None:
    x, y = cone(n, d, seed=0), cone(m, d, seed=1)
    found = shape_distance_influence(Decomposed.of(x), Decomposed.of(y))
    step = 1e-5
    for cloud, size in ((0, n), (1, m)):
        for i in range(size):
            ends = []
            for sign in (1, -1):
                weights = [torch.ones(n, dtype=torch.float64), torch.ones(m, dtype=torch.float64)]
                weights[cloud][i] += sign * step
                ends.append(weighted_shape_distance(x, y, *weights))
            derivative = (ends[0] - ends[1]) / (2 * step)
            assert found[cloud][i].item() == pytest.approx(derivative, rel=1e-5, abs=1e-9), (cloud, i)


def test_two_clouds_of_one_shape_are_moved_by_nothing() -> None:
    cloud = Decomposed.of(cone(20, 4, seed=0))
    assert all(each.count_nonzero() == 0 for each in shape_distance_influence(cloud, cloud))


# --- numbers of neighbours


def twonn_of(x: Tensor, owner: Tensor, n: int) -> tuple[float, Tensor]:
    (found,) = sweep(Pairing.within(x), [Nearest(min(8, len(x) - 1), unmatched=True)])
    first = exact.first_equal(x)
    return float(twonn(x)), twonn_influence(found["text_score"], found["text_index"], first, owner, n)


def robin_hood_of(image: Tensor, text: Tensor, own: Tensor, query: str) -> tuple[float, Tensor]:
    pairing = Pairing.of(image, text, own)
    (found,) = sweep(pairing, [Nearest(11)])
    counts = k_occurrence_of_candidates(pairing, found, query, k=10)
    images = torch.arange(pairing.n)
    asking, owner = (images, pairing.own) if query == "image" else (pairing.own, images)
    moved = robin_hood_influence(counts, found[f"{query}_index"], asking, owner, pairing.n)
    return float(robin_hood(counts)), moved


def matched_clouds(n: int, seed: int, *, texts: int, d: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    own = torch.arange(n).repeat_interleave(texts)
    image = cone(n, d, seed=seed)
    text = image[own] + 0.6 * random_rows(len(own), d, seed=10_000 + seed)
    return image, torch.nn.functional.normalize(text, dim=1), own


def ratio_of_spreads(of_sample: Callable[[int], tuple[float, Tensor]], samples: int) -> float:
    """What the influences say the spread is, over what it is between samples."""
    values, squares = [], []
    for seed in range(samples):
        value, moved = of_sample(seed)
        assert float(moved.sum()) == pytest.approx(0, abs=1e-9 * float(moved.abs().sum()))
        values.append(value)
        squares.append(float(moved.square().sum()))
    return float(np.sqrt(np.mean(squares)) / np.std(values, ddof=1))


def drawn_cone(n: int, seed: int, d: int) -> Tensor:
    """Rows of one law, whatever the seed."""
    rows = random_rows(n, d, seed=seed) * torch.linspace(1, 0.3, d) + 0.4 * random_rows(1, d, seed=500)
    return torch.nn.functional.normalize(rows, dim=1)


@pytest.mark.parametrize(("n", "d", "rows"), [(200, 5, 1), (100, 16, 1), (80, 6, 3)])
def test_influences_of_the_dimension_have_the_spread_of_new_samples(n: int, d: int, rows: int) -> None:
    owner = torch.arange(n).repeat_interleave(rows)

    def of_sample(seed: int) -> tuple[float, Tensor]:
        x = drawn_cone(n, seed, d)[owner]
        if rows > 1:
            x = torch.nn.functional.normalize(x + 0.5 * random_rows(len(x), d, seed=9000 + seed), dim=1)
        return twonn_of(x, owner, n)

    assert 0.85 < ratio_of_spreads(of_sample, 200) < 1.25


@pytest.mark.parametrize("query", ["image", "text"])
@pytest.mark.parametrize(("n", "texts"), [(150, 1), (100, 3)])
def test_influences_of_robin_hood_have_no_less_than_the_spread_of_new_samples(n: int, texts: int, query: str) -> None:
    """Without hubs they have more: counts that are chance alone even out, as deleting images one by one cannot see."""
    own = torch.arange(n).repeat_interleave(texts)

    def of_sample(seed: int) -> tuple[float, Tensor]:
        image = drawn_cone(n, seed, 8)
        text = torch.nn.functional.normalize(image[own] + 0.6 * random_rows(len(own), 8, seed=7000 + seed), dim=1)
        return robin_hood_of(image, text, own, query)

    assert 0.9 < ratio_of_spreads(of_sample, 200) < 2


def without(rows: Tensor, owner: Tensor, image: int) -> tuple[Tensor, Tensor]:
    kept = owner != image
    return rows[kept], owner[kept] - (owner[kept] > image).long()


def test_an_image_that_the_dimension_changes_without_is_seen_to_change_it() -> None:
    n = 300
    x, owner = drawn_cone(n, 1, 5), torch.arange(n)
    value, moved = twonn_of(x, owner, n)
    changed = torch.tensor([value - float(twonn(without(x, owner, i)[0])) for i in range(n)])
    # what is left out is the chance of single pairs, and the ratios' own steps
    assert np.corrcoef(moved, changed)[0, 1] > 0.8


@pytest.mark.parametrize("query", ["image", "text"])
def test_an_image_that_robin_hood_changes_without_is_seen_to_change_it(
    query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Effect, "settled", lambda self: self.total - self.total.mean())
    n = 150
    image, text, own = matched_clouds(n, 3, texts=1)
    value, moved = robin_hood_of(image, text, own, query)
    changed = []
    for i in range(n):
        (texts, owner), kept = without(text, own, i), torch.arange(n) != i
        changed.append(value - robin_hood_of(image[kept], texts, owner, query)[0])
    assert np.corrcoef(moved, torch.tensor(changed))[0, 1] > 0.85
    assert 0.8 < float(moved.std()) / np.std(changed) < 1.25


@pytest.mark.parametrize("query", ["image", "text"])
def test_the_chance_of_pairs_in_robin_hood_is_that_of_every_place_given_to_the_next(
    query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chances = []
    monkeypatch.setattr(Effect, "settled", lambda self: chances.append(self.chance) or self.total)
    image, text, own = matched_clouds(20, 3, texts=2)
    robin_hood_of(image, text, own, query)
    places = torch.arange(20)
    queries, items, asks, owns = (image, text, places, own) if query == "image" else (text, image, own, places)
    order = (queries @ items.T).argsort(dim=1, descending=True)
    counts = torch.bincount(order[:, :10].flatten(), minlength=len(items)).double()
    side = (counts - counts.mean()).sign()
    pairs = torch.zeros(20, 20, dtype=torch.float64)
    for row, ranked in enumerate(order):
        for item in ranked[:10]:
            pairs[asks[row], owns[item]] += (side[item] - side[ranked[10]]) / (2 * counts.sum())
    assert chances == [pytest.approx(float(pairs.square().sum()))]


def test_copies_of_a_row_are_one_point_of_the_dimension() -> None:
    x = drawn_cone(60, 2, 5)
    value, moved = twonn_of(x, torch.arange(60), 60)
    again, doubled = twonn_of(torch.cat([x, x[:20]]), torch.arange(80), 80)
    assert again == pytest.approx(value)
    assert float(doubled.square().sum().sqrt()) == pytest.approx(float(moved.square().sum().sqrt()), rel=0.25)
