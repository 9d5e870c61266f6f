"""Intervals: the same draws for the same seed, coverage by simulation, and formulas that agree with their values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import random_rows, small_set

from geomclip.panels import intervals
from geomclip.panels.halves import Halves
from geomclip.panels.intervals import basic_interval, half_interval, percentile_interval, weighted_median
from geomclip.panels.measurement import measure


def test_each_resample_draws_as_many_images_as_there_are():
    blocks = list(intervals.resampled_counts(7, 25, seed=0, cells=21))
    assert [len(block) for block in blocks] == [3] * 8 + [1]
    assert all((block.sum(1) == 7).all() for block in blocks)


def test_the_same_seed_draws_the_same_images_however_many_columns_there_are():
    first, second = (torch.cat(list(intervals.resampled_counts(50, 20, seed=3))) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, torch.cat(list(intervals.resampled_counts(50, 20, seed=4))))


def test_halves_are_half_of_the_images_and_of_whole_groups():
    halves = Halves.of(1000, seed=0)
    assert len(halves) == 50
    assert {int(images.sum()) for images in halves} == {500}
    assert torch.bincount(halves.group).tolist() == [10] * 100


def test_the_spread_between_halves_is_the_standard_error_of_a_mean():
    # factor 1, not √½: with √½ this interval would cover 83 %
    generator = np.random.default_rng(0)
    covered = 0
    for seed in range(300):
        values = torch.from_numpy(generator.normal(size=200))
        means = torch.stack([values[images].mean() for images in Halves.of(200, seed=seed)])
        low, high = half_interval(float(values.mean()), means)
        covered += low <= 0 <= high
    assert 0.91 <= covered / 300 <= 0.985


def test_a_bootstrap_of_a_recall_covers_it():
    covered = 0
    for seed in range(60):
        hits = torch.from_numpy(np.random.default_rng(seed).random(150) < 0.6).double()
        drawn = torch.cat([c @ hits / c.sum(1) for c in intervals.resampled_counts(150, 300, seed=seed)])
        low, high = percentile_interval(drawn)
        covered += low <= 0.6 <= high
    assert covered >= 52  # 0.95 of 60 is 57, five below is three standard deviations


def test_the_gap_of_two_random_clouds_is_not_told_from_its_null_by_a_biased_interval():
    # the norm of a mean is biased upwards: resampled gaps lie above the gap, the basic interval turns that round
    image, text = random_rows(60, 30, seed=0), random_rows(60, 30, seed=1)
    from geomclip.embeddings.record import EmbeddingSet

    panel = measure(EmbeddingSet(image, text, logit_scale=1), metrics=["modality_gap"], bootstrap=300)
    low, high = panel.ci["modality_gap"]
    assert low < panel["modality_gap"]
    assert low < panel.null["modality_gap"] < high + 0.1


def test_a_weighted_median_is_the_median_of_repeated_values():
    values, owner = torch.tensor([5, 1, 9, 3]), torch.tensor([0, 1, 1, 2])
    medians = weighted_median(values, owner)
    counts = torch.tensor([[1.0, 1, 1], [2, 0, 1], [0, 0, 2], [1, 2, 0]], dtype=torch.float64)
    repeated = [np.repeat([5, 1, 9, 3], row[[0, 1, 1, 2]].astype(int)) for row in counts.numpy()]
    assert medians(counts).tolist() == [np.median(each) for each in repeated]


def test_an_interval_of_undefined_values_is_none():
    assert percentile_interval(torch.tensor([torch.nan, torch.nan, 1.0])) is None
    assert half_interval(1.0, torch.tensor([torch.nan, 1.0, torch.nan, torch.nan])) is None
    assert basic_interval(1.0, torch.tensor([torch.nan])) is None


def test_an_interval_stays_in_the_range_of_its_metric():
    assert half_interval(0.99, torch.tensor([0.9, 1.0, 0.95, 1.0]), low=0, high=1)[1] == 1


def test_the_same_seed_gives_the_same_panel_and_another_seed_another_interval():
    made = small_set(30, 2)
    first, second = (measure(made, bootstrap=50, seed=9) for _ in range(2))
    assert first.values == second.values
    assert first.ci == second.ci
    assert measure(made, bootstrap=50, seed=10).ci != first.ci


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
