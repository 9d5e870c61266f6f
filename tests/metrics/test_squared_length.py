"""The squared length of a mean without what chance adds: a U-statistic, its bias, its spread, and the gap by it."""

from __future__ import annotations

import pytest
import torch
from helpers import random_rows
from torch import Tensor

from geomclip.metrics.gap import debiased_gap, mean_cosine, modality_gap
from geomclip.metrics.squared_length import SquaredLength, squared_length

pytestmark = pytest.mark.numeric


def of_rows(v: Tensor, unit: Tensor | None = None) -> SquaredLength:
    return squared_length(v.mean(0), (v - v.mean(0)) / len(v), unit)


@pytest.mark.parametrize(("n", "d"), [(2, 3), (5, 2), (20, 7), (6, 40)])
def test_it_is_the_mean_of_the_products_of_different_rows(n: int, d: int) -> None:
    v = random_rows(n, d, seed=n) + 0.2
    products = v @ v.T
    expected = (products.sum() - products.trace()) / (n * (n - 1))
    found = of_rows(v)
    assert found.value == pytest.approx(float(expected), rel=1e-9, abs=1e-15)
    assert found.value + found.bias == pytest.approx(float(v.mean(0).square().sum()), rel=1e-12)


def test_of_one_row_there_is_nothing_to_take_away() -> None:
    found = of_rows(random_rows(1, 3, seed=0))
    assert (found.value, found.bias, found.spread) == (pytest.approx(1), 0, 0)


def test_units_of_one_size_are_rows_of_their_means() -> None:
    v = random_rows(12, 5, seed=0) + 0.1
    unit = torch.arange(12) % 4
    together, means = of_rows(v, unit), of_rows(v.view(3, 4, 5).mean(0))
    assert together.value == pytest.approx(means.value)
    assert together.spread == pytest.approx(means.spread)
    assert together.influence.shape == (12,)
    summed = torch.zeros(4, dtype=torch.float64).index_add_(0, unit, together.influence)
    assert summed.tolist() == pytest.approx(means.influence.tolist())


@pytest.mark.parametrize("length", [0.0, 0.05, 1.0])
@pytest.mark.parametrize(("n", "d"), [(30, 8), (20, 60), (30, 400)])
def test_it_is_without_bias_and_its_spread_is_that_of_draws(length: float, n: int, d: int) -> None:
    centre = length * random_rows(1, d, seed=99)[0]
    width = torch.linspace(1, 0.2, d) / d**0.5
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn(1500, n, d, generator=generator, dtype=torch.float64) * width + centre
    found = [of_rows(v) for v in drawn]
    values = torch.tensor([each.value for each in found])
    error = float(values.std()) / len(found) ** 0.5
    assert abs(float(values.mean()) - length**2) < 4 * error
    assert float(torch.tensor([each.bias for each in found]).mean()) == pytest.approx(
        float(width.square().sum()) / n, rel=0.02
    )
    mean_square = torch.tensor([each.spread for each in found]).square().mean()
    # near 0 the direction of the mean is not known, and taken to be one of larger spread: a little too large
    assert 0.9 < float(mean_square.sqrt() / values.std()) < 1.35


def test_where_the_mean_is_long_the_influences_have_the_spread() -> None:
    found = of_rows(random_rows(400, 6, seed=0) + 2)
    assert float(found.influence.square().sum().sqrt()) == pytest.approx(found.spread, rel=0.01)
    assert float(found.influence.sum()) == pytest.approx(0, abs=1e-12)


def gap_of(x: Tensor, y: Tensor, own: Tensor, unit: Tensor | None = None) -> SquaredLength:
    sums = torch.zeros_like(x).index_add_(0, own, y)
    return debiased_gap(x, sums, torch.bincount(own, minlength=len(x)).double(), unit)


def cones(n: int, d: int, *, seed: int, texts: int = 1, shared: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Images and texts about two centres; a share of what a text is comes from its image."""
    own = torch.arange(n).repeat_interleave(texts)
    x = random_rows(n, d, seed=seed)
    y = shared * x[own] + random_rows(len(own), d, seed=seed + 1) + 0.5 * random_rows(1, d, seed=77)
    x = x + 0.5 * random_rows(1, d, seed=78)
    return torch.nn.functional.normalize(x, dim=1), torch.nn.functional.normalize(y, dim=1), own


@pytest.mark.parametrize(("n", "d", "shared"), [(5, 3, 0.0), (40, 8, 1.0), (12, 60, 0.5)])
def test_the_debiased_gap_is_the_square_less_the_widths_over_n_but_for_what_pairs_share(
    n: int, d: int, shared: float
) -> None:
    """value² − (1 − c_x)/n − (1 − c_y)/n + 2 (cos of matched pairs − cos of others)/n, c the mean cosine.

    ‖mean x − mean y‖² has the products of different images of the mean of (x_i − y_i)·(x_j − y_j), and n of i = j:
    (‖x_i‖² + ‖y_i‖² − 2 x_i·y_i)/n². With c_xy the mean cosine of unmatched pairs what is left is c_x + c_y − 2 c_xy.
    """
    x, y, own = cones(n, d, seed=n, shared=shared)
    s = x @ y.T
    matched = s.trace() / n
    others = (s.sum() - s.trace()) / (n * (n - 1))
    square = modality_gap(x, y).square()
    expected = square - (1 - mean_cosine(x)) / n - (1 - mean_cosine(y)) / n + 2 * (matched - others) / n
    found = gap_of(x, y, own)
    assert found.value == pytest.approx(float(expected), rel=1e-9)
    assert found.value == pytest.approx(float(mean_cosine(x) + mean_cosine(y) - 2 * others), rel=1e-9)
    assert found.value + found.bias == pytest.approx(float(square), rel=1e-12)


def test_without_pairs_the_term_of_the_pairs_is_chance_and_the_plain_correction_holds() -> None:
    differences = []
    for seed in range(400):
        x, y, own = cones(30, 16, seed=1000 + 7 * seed)
        plain = modality_gap(x, y).square() - (1 - mean_cosine(x)) / 30 - (1 - mean_cosine(y)) / 30
        differences.append(gap_of(x, y, own).value - float(plain))
    each = torch.tensor(differences)
    assert abs(float(each.mean())) < 4 * float(each.std()) / 20
    assert float(each.abs().max()) < 0.02  # 2/n times a mean of 30 cosines


@pytest.mark.parametrize(("texts", "shared", "apart"), [(1, 0.0, False), (3, 1.0, False), (2, 0.5, True)])
def test_the_debiased_gap_of_samples_is_that_of_their_laws(texts: int, shared: float, apart: bool) -> None:
    n, d = 40, 12
    x, y, own = cones(60_000, d, seed=5, texts=texts, shared=shared)
    if not apart:  # one law: the texts of a set without a gap
        y = torch.nn.functional.normalize(y - y.mean(0) + x.mean(0), dim=1)
        y = torch.nn.functional.normalize(y - (y.mean(0) - x.mean(0)), dim=1)
    large = modality_gap(x, y).square()
    values = []
    for start in range(0, 60_000, n):
        rows = slice(start * texts, (start + n) * texts)
        values.append(gap_of(x[start : start + n], y[rows], own[rows] - start).value)
    each = torch.tensor(values)
    assert abs(float(each.mean() - large)) < 4 * float(each.std()) / len(each) ** 0.5


def test_copies_are_one_unit() -> None:
    x, y, own = cones(20, 6, seed=0, shared=0.5)
    twice = gap_of(torch.cat([x, x]), torch.cat([y, y]), torch.cat([own, own + 20]), torch.arange(20).repeat(2))
    once = gap_of(x, y, own)
    assert twice.value == pytest.approx(once.value)
    assert twice.spread == pytest.approx(once.spread)
