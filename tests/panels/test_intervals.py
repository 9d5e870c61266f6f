"""Intervals: what each kind is on numbers a person can check, and resamples that are the same for the same seed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import random_rows, small_set
from scipy import stats

from geomclip.metrics.bins import wilson_interval
from geomclip.metrics.squared_length import SquaredLength
from geomclip.panels import intervals
from geomclip.panels.intervals import (
    Units,
    as_influence,
    error_interval,
    least_expected,
    median_interval,
    percentile_interval,
    positive_interval,
    root_interval,
    share_interval,
    student,
    weighted_median,
    within_range,
)
from geomclip.panels.measurement import measure

# --- resamples


def test_each_resample_draws_as_many_images_as_there_are():
    blocks = list(intervals.resampled_counts(7, 25, seed=0, cells=21))
    assert [len(block) for block in blocks] == [3] * 8 + [1]
    assert all((block.sum(1) == 7).all() for block in blocks)


def test_the_same_seed_draws_the_same_images_however_many_columns_there_are():
    first, second = (torch.cat(list(intervals.resampled_counts(50, 20, seed=3))) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, torch.cat(list(intervals.resampled_counts(50, 20, seed=4))))


def test_a_bootstrap_of_a_recall_covers_it():
    covered = 0
    for seed in range(60):
        hits = torch.from_numpy(np.random.default_rng(seed).random(150) < 0.6).double()
        drawn = torch.cat([c @ hits / c.sum(1) for c in intervals.resampled_counts(150, 300, seed=seed)])
        low, high = percentile_interval(drawn)
        covered += low <= 0.6 <= high
    assert covered >= 52  # 0.95 of 60 is 57, five below is three standard deviations


def test_a_weighted_median_is_the_median_of_repeated_values():
    values, owner = torch.tensor([5, 1, 9, 3]), torch.tensor([0, 1, 1, 2])
    medians = weighted_median(values, owner)
    counts = torch.tensor([[1.0, 1, 1], [2, 0, 1], [0, 0, 2], [1, 2, 0]], dtype=torch.float64)
    repeated = [np.repeat([5, 1, 9, 3], row[[0, 1, 1, 2]].astype(int)) for row in counts.numpy()]
    assert medians(counts).tolist() == [np.median(each) for each in repeated]


def test_percentiles_of_undefined_values_are_none():
    assert percentile_interval(torch.tensor([torch.nan, torch.nan, 1.0])) is None


# --- kinds of intervals


@pytest.mark.parametrize("degrees", [1, 1.5, 2, 3, 7.25, 19, 59, 999, 1e5, 9.9e6, 1e8])
def test_the_points_of_students_t_are_those_of_scipy(degrees):
    assert student(degrees) == pytest.approx(stats.t(degrees).ppf(0.975), rel=1e-7)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = random_rows(1, 30, seed=0)[0]
    without = (values.sum() - values) / 29
    error = Units.of(30).standard_error(as_influence(without))
    assert error == pytest.approx(float(values.std()) / 30**0.5)
    assert Units.of(30).standard_error(as_influence(without, 4.0)) == pytest.approx(error / 2)


def test_an_image_without_which_the_number_is_undefined_moves_it_by_nothing():
    without = torch.tensor([1.0, torch.nan, 3.0, torch.inf], dtype=torch.float64)
    assert as_influence(without).tolist() == pytest.approx([0.75**0.5, 0, -(0.75**0.5), 0])


def test_copies_move_a_number_together():
    units = Units.of(4, torch.tensor([0, 0, 1, 1]))
    assert units.count == 2
    assert units.standard_error(torch.tensor([1.0, 1, -1, -1])) == pytest.approx(8**0.5)
    assert units.standard_error(torch.tensor([1.0, -1, -1, 1])) == 0
    assert Units.of(3).summed(torch.arange(3)).tolist() == [0, 1, 2]


def test_ends_stay_in_the_range_of_their_number():
    assert within_range(-0.1, 1.2, 0, 1) == (0, 1)
    assert within_range(1.2, 1.4, 0, 1) == (1, 1)  # in order, wherever rounding left them


@pytest.mark.parametrize(("hits", "n"), [(30, 50), (1, 50), (49, 50)])
def test_a_share_of_independent_images_has_wilsons_interval(hits, n):
    share = hits / n
    error = math.sqrt(share * (1 - share) / n)
    found = share_interval(share, error, n, Units.of(n))
    low, high = wilson_interval(hits, n)
    rare = least_expected(min(hits, n - hits)) / n
    assert found == pytest.approx((low, max(high, 1 - rare)) if hits > n / 2 else (min(low, rare), high))


def test_a_share_that_all_or_none_have_keeps_to_the_rule_of_three_at_the_least():
    assert share_interval(1.0, 0.0, 100, Units.of(100)) == (pytest.approx(0.97), 1)
    assert share_interval(0.0, 0.0, 100, Units.of(100)) == (0, pytest.approx(0.03))


def test_a_share_of_images_that_go_together_is_less_sure():
    narrow, wide = (share_interval(0.5, error, 100, Units.of(100)) for error in (0.05, 0.1))
    assert (wide[1] - wide[0]) / (narrow[1] - narrow[0]) == pytest.approx(2, rel=0.1)


def test_a_mean_above_its_bound_has_an_interval_that_stays_above_it_and_leans_up():
    influence = torch.cat([torch.full((1,), 0.3), torch.full((99,), -0.3 / 99)]).double()
    low, high = positive_interval(1.5, influence, Units.of(100), bound=1)
    assert 1 < low < 1.5 < high
    assert high - 1.5 > 1.5 - low
    assert (low - 1) * (high - 1) == pytest.approx(0.25)  # symmetric in the logarithm
    wide = positive_interval(1.5, influence, Units.of(100), bound=1)
    even = positive_interval(1.5, torch.full((100,), 0.03).double(), Units.of(100), bound=1)
    assert wide[1] - wide[0] > even[1] - even[0]  # of one image that carries all, less is known


def test_where_nothing_is_above_the_bound_three_images_may_have_been_missed():
    assert positive_interval(1.0, torch.zeros(60).double(), Units.of(60), bound=1) == (1, 1.05)


def test_the_root_of_a_square_that_chance_made_negative_begins_at_0():
    found = SquaredLength(-0.01, 0.04, 0.0, 0.02**2, torch.zeros(30))
    units = Units.of(30)
    assert root_interval(found, units) == (0, pytest.approx((units.reach * 0.02) ** 0.5))
    low, high = root_interval(found, units, above=0.04)
    assert low < 0.03**0.5 < high


def test_the_root_of_a_square_that_is_far_from_0_has_the_roots_of_its_ends():
    found, units = SquaredLength(0.25, 0.01, 0.0, 0.05**2, torch.zeros(30)), Units.of(30)
    ends = [(0.25 + side * units.reach * 0.05) ** 0.5 for side in (-1, 1)]
    assert root_interval(found, units) == pytest.approx(ends)
    above = [(0.26 + side * units.reach * 0.05) ** 0.5 for side in (-1, 1)]
    assert root_interval(found, units, above=0.01) == pytest.approx(above)


def test_a_median_has_the_values_beside_it():
    ranked, owner = torch.arange(1, 102), torch.arange(101)
    (low, high), influence = median_interval(ranked, owner, Units.of(101))
    # √(¼/101) of the ranks to either side, t times
    assert (low, high) == (pytest.approx(51 - 10, abs=1.5), pytest.approx(51 + 10, abs=1.5))
    assert Units.of(101).standard_error(influence) * 2 * Units.of(101).reach == pytest.approx(high - low)
    assert median_interval(torch.ones(40), torch.arange(40), Units.of(40))[0] == (1, 1)


def test_a_calibration_error_of_normal_bins_is_covered():
    """Hits less confidence, drawn in ten bins: the error of a large sample is held by 95 % of intervals."""
    rng = np.random.default_rng(0)
    bias, spread = np.linspace(-0.1, 0.2, 10), 0.4
    n, covered, widths, values = 200, 0, [], []
    for seed in range(300):
        place = rng.integers(0, 10, n)
        over = torch.zeros(n, 10, dtype=torch.float64)
        over[torch.arange(n), torch.from_numpy(place)] = torch.from_numpy(rng.normal(bias[place], spread))
        value = float(over.sum(0).abs().sum()) / n
        low, high = error_interval(
            value, over, torch.ones(n, dtype=torch.float64), Units.of(n), bootstrap=300, seed=seed
        )
        values.append((value, low, high))
        widths.append(high - low)
    each = np.array(values)
    covered = np.mean((each[:, 1] <= each[:, 0].mean()) & (each[:, 0].mean() <= each[:, 2]))
    assert 0.91 < covered < 0.985
    assert 0.85 < np.mean(widths) / (2 * 1.96 * each[:, 0].std()) < 1.25


def test_the_same_seed_gives_the_same_panel_and_another_seed_another_interval():
    made = small_set(30, 2)
    first, second = (measure(made, bootstrap=50, seed=9) for _ in range(2))
    assert first.values == second.values
    assert first.ci == second.ci
    assert measure(made, bootstrap=50, seed=10).ci != first.ci


# --- against measuring anew

PAIR_MEANS = ["uniformity_text", "uniformity_cross", "uniformity_joint", "relative_modality_gap"]


@pytest.fixture(scope="module")
def resampled():
    """A panel of pair means, and those of 60 resamples of its images, measured anew."""
    made = small_set(60, 2, seed=3)
    counts = torch.cat(list(intervals.resampled_counts(60, 60, seed=1)))
    # each drawn copy of an image is an image of its own; pairs of copies of one image are left out below
    drawn = (made.select_images((row > 0).nonzero()[:, 0]) for row in counts)
    anew = [measure(each, metrics=PAIR_MEANS, bootstrap=0) for each in drawn]
    return measure(made, metrics=PAIR_MEANS, bootstrap=400), anew


@pytest.mark.parametrize("key", PAIR_MEANS)
def test_a_first_order_interval_of_a_pair_mean_is_close_to_resampling_the_pairs(key, resampled):
    panel, anew = resampled
    values = [each[key] for each in anew]
    low, high = panel.ci[key]
    # dropping the undrawn 37 % is a rougher resample of the same statistic: centres agree, spreads to a factor of 2
    assert low < float(np.mean(values)) < high
    assert 0.4 < (high - low) / (np.quantile(values, 0.975) - np.quantile(values, 0.025)) < 2.5
