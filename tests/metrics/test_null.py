"""Nulls: each equals what an independent simulation of its law gives, within both errors."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from helpers import random_rows
from torch import Tensor

from geomclip.metrics import (
    ece,
    effective_rank,
    gap_after_centering,
    hubness,
    isoscore,
    k_occurrence,
    mce,
    mean_cosine,
    modality_gap,
    participation_ratio,
    participation_ratio_centered,
    relative_alignment_image_to_text,
    relative_alignment_text_to_image,
    robin_hood,
    twonn,
    w2_uniformity,
)
from geomclip.metrics.honest import honest_errors, shared_luck
from geomclip.metrics.intrinsic_dimension import twonn_from_neighbors
from geomclip.metrics.null import (
    CosineLaw,
    gap_null,
    hardest_partners,
    participation,
    variance_of_mean,
    variance_of_mean_text,
)
from geomclip.metrics.null_draws import cut, dimension, neighborhoods, shapes
from geomclip.metrics.pairing import Pairing

pytestmark = pytest.mark.numeric


def assert_means(drawn: list[float], mean: float, error: float = 0.0) -> None:
    """The mean of independent draws is `mean`, to four standard errors of both: red once in 16,000 times."""
    own = np.std(drawn, ddof=1) / len(drawn) ** 0.5
    assert abs(np.mean(drawn) - mean) <= 4 * np.hypot(own, error)


# --- closed forms


@pytest.mark.parametrize(("d", "count"), [(2, 1), (2, 30), (3, 7), (64, 59), (512, 4999), (4096, 10)])
def test_the_largest_of_some_cosines_is_that_of_the_beta_law(d: int, count: int) -> None:
    law = scipy.stats.beta((d - 1) / 2, (d - 1) / 2)
    below, _ = scipy.integrate.quad(
        lambda c: law.cdf((1 + c) / 2) ** count, -1, 1, limit=500, points=np.linspace(-0.5, 0.5, 41)
    )
    assert CosineLaw.of(d).largest(count) == pytest.approx(1 - below, abs=2e-6)


@pytest.mark.parametrize("d", [1, 2, 16])
def test_the_null_of_the_relative_alignments_is_that_of_rows_without_pairs(d: int) -> None:
    own = torch.tensor([0, 0, 0, 1, 2, 2, 4])  # image 3 has no text
    pairs = [(random_rows(5, d, seed=2 * s), random_rows(7, d, seed=2 * s + 1)) for s in range(1500)]
    nulls = hardest_partners(Pairing.of(*pairs[0], own))
    drawn = [float(relative_alignment_text_to_image(*both, own)) for both in pairs]
    assert_means(drawn, nulls["relative_alignment_text_to_image"])
    drawn = [float(relative_alignment_image_to_text(*both, own)) for both in pairs]
    assert_means(drawn, nulls["relative_alignment_image_to_text"])


def test_an_image_that_owns_every_text_has_no_hardest_partner() -> None:
    nulls = hardest_partners(Pairing.of(torch.eye(2), torch.eye(2), torch.tensor([0, 0])))
    assert set(nulls) == {"relative_alignment_text_to_image"}


@pytest.mark.parametrize(("n", "d"), [(100, 8), (120, 64)])
def test_participation_in_closed_form_is_that_of_random_rows(n: int, d: int) -> None:
    known = participation(n, d)
    rows = [random_rows(n, d, seed=s) for s in range(600)]
    for measure in (participation_ratio, participation_ratio_centered, isoscore):
        assert_means([float(measure(each)) for each in rows], known[measure.__name__])


def test_participation_of_few_rows_has_no_closed_form() -> None:
    with pytest.raises(ValueError, match="from 100 rows on, got 99"):
        participation(99, 8)


def test_the_variance_of_the_mean_of_independent_texts_is_that_of_their_mean_cosine() -> None:
    text = random_rows(30, 6, seed=1) + 1
    pairing = Pairing.of(text, torch.nn.functional.normalize(text, dim=1))
    expected = (1 - float(mean_cosine(pairing.text))) / 30
    assert variance_of_mean_text(pairing) == pytest.approx(expected, rel=1e-12)
    assert variance_of_mean(pairing.text) == pytest.approx(expected, rel=1e-12)


def test_the_sums_of_many_images_are_those_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    own = torch.arange(50).repeat_interleave(torch.arange(50) % 4)
    pairing = Pairing.of(random_rows(50, 6, seed=0), random_rows(len(own), 6, seed=1), own)
    whole = variance_of_mean_text(pairing)
    monkeypatch.setattr("geomclip.metrics.null.IMAGES", 7)
    assert variance_of_mean_text(pairing) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("per_image", [1, 3])
def test_the_null_of_the_gap_is_the_gap_of_two_samples_of_one_cone(per_image: int) -> None:
    # a cone of topics: the texts of an image lie near its topic, so they are no independent rows
    d, n = 24, 40
    direction = torch.nn.functional.one_hot(torch.tensor([0]), d).double()
    squares, nulls = [], []
    for s in range(300):
        own = torch.arange(n).repeat_interleave(per_image)
        image, topics = (direction + 0.8 * random_rows(n, d, seed=9 * s + k) for k in (0, 1))
        text = topics[own] + 0.2 * random_rows(len(own), d, seed=9 * s + 2)
        image, text = (torch.nn.functional.normalize(rows, dim=1) for rows in (image, text))
        squares.append(float(modality_gap(image, text)) ** 2)
        pairing = Pairing.of(image, text, own)
        nulls.append(gap_null(n, float(mean_cosine(image)), variance_of_mean_text(pairing)) ** 2)
    assert_means(squares, float(np.mean(nulls)), np.std(nulls) / 300**0.5)
    even = 1 / n + 1 / (n * per_image)
    assert np.mean(squares) < 0.8 * even  # what rows all over the sphere would have


def test_texts_of_one_image_have_no_variance_between_images() -> None:
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        variance_of_mean_text(Pairing.of(torch.eye(3), torch.eye(3), torch.tensor([1, 1, 1])))
    with pytest.raises(ValueError, match="at least 2 rows, got 1"):
        variance_of_mean(torch.eye(3)[:1])


# --- simulated


def test_simulated_shapes_are_means_over_random_rows() -> None:
    n, m, d = 30, 70, 12
    means = shapes(n, m, d)
    rows = [(random_rows(n, d, seed=2 * s), random_rows(m, d, seed=2 * s + 1)) for s in range(200)]
    for measure in (effective_rank, participation_ratio_centered, w2_uniformity):
        assert_means([float(measure(image)) for image, _ in rows], *means[f"{measure.__name__}_image"])
        assert_means([float(measure(text)) for _, text in rows], *means[f"{measure.__name__}_text"])
    assert_means([float(gap_after_centering(*both)) for both in rows], *means["gap_after_centering"])


def test_rows_fewer_than_dimensions_are_simulated_alike() -> None:
    means = shapes(10, 8, 20)
    rows = [(random_rows(10, 20, seed=2 * s), random_rows(8, 20, seed=2 * s + 1)) for s in range(300)]
    assert_means([float(effective_rank(image)) for image, _ in rows], *means["effective_rank_image"])
    assert_means([float(gap_after_centering(*both)) for both in rows], *means["gap_after_centering"])


@pytest.mark.parametrize(("n", "d"), [(3, 5), (20, 64), (60, 2)])
def test_the_simulated_dimension_is_that_of_random_rows(n: int, d: int) -> None:
    drawn = [float(twonn(random_rows(n, d, seed=s))) for s in range(300)]
    assert_means(drawn, *dimension(n, d)["twonn"])


def test_points_drawn_by_themselves_have_the_dimension_of_a_cloud() -> None:
    n, d = 520, 8
    generator = np.random.default_rng(0)
    alone = [
        float(twonn_from_neighbors(*map(torch.from_numpy, CosineLaw.of(d).two_nearest(n - 1, n, generator))))
        for _ in range(200)
    ]
    assert_means(
        [float(twonn(random_rows(n, d, seed=s))) for s in range(60)],
        float(np.mean(alone)),
        np.std(alone) / 200**0.5 + 0.002 * np.mean(alone) / 4,  # what the neighbours that points share may move
    )


def test_clouds_without_a_dimension_have_no_null_of_it() -> None:
    assert dimension(2, 8) == dimension(50, 1) == {}


def counts_of(n: int, m: int, d: int, *, seed: int) -> tuple[Tensor, Tensor]:
    image, text = random_rows(n, d, seed=2 * seed), random_rows(m, d, seed=2 * seed + 1)
    return k_occurrence(image, text, k=10), k_occurrence(text, image, k=10)


def test_simulated_neighbourhoods_are_means_over_random_rows() -> None:
    # one draw has a standard deviation of 0.33: a null that is one says "a few images" of most random sets
    means = neighborhoods(60, 180, 64, k=10)
    counts = [counts_of(60, 180, 64, seed=s) for s in range(200)]
    for place, what in enumerate(("text", "image")):
        assert_means([float(hubness(both[place])) for both in counts], *means[f"{what}_hubness"])
        assert_means([float(robin_hood(both[place])) for both in counts], *means[f"{what}_robin_hood"])
    assert means["image_hubness"][1] < 0.04


def test_counts_that_are_equal_in_every_draw_have_no_hubness() -> None:
    means = neighborhoods(10, 30, 8, k=10)  # every image is among the 10 nearest of 10
    assert "image_hubness" not in means
    assert means["image_robin_hood"] == (0.0, 0.0)
    assert not any(key.startswith("text") for key in neighborhoods(30, 9, 8, k=10))


def test_both_clouds_are_cut_to_one_share_or_not_at_all() -> None:
    assert cut(60, 180, 64) == (60, 180)
    assert cut(5000, 25_000, 512) == (400, 2000)
    assert cut(25_000, 5000, 512) == (2000, 400)
    with pytest.raises(ValueError, match="1,000 and 1,000,000 rows of 512 dimensions are too many"):
        cut(1000, 1_000_000, 512)


@pytest.mark.slow
@pytest.mark.parametrize("d", [8, 64, 512])
def test_neighbourhoods_of_clouds_cut_to_one_share_are_those_of_the_whole(d: int) -> None:
    means = neighborhoods(2500, 12_500, d, k=10)
    for seed in range(2):
        counts = counts_of(2500, 12_500, d, seed=seed)
        for place, what in enumerate(("text", "image")):
            mean, error = means[f"{what}_robin_hood"]
            assert float(robin_hood(counts[place])) == pytest.approx(mean, abs=3 * error + 0.003)


def test_the_same_sizes_have_the_same_nulls_whatever_was_drawn_before() -> None:
    first = shapes.__wrapped__(9, 9, 4), neighborhoods.__wrapped__(20, 20, 4, k=10), dimension.__wrapped__(600, 4)
    torch.manual_seed(7)
    torch.randn(3)
    assert first == (
        shapes.__wrapped__(9, 9, 4), neighborhoods.__wrapped__(20, 20, 4, k=10), dimension.__wrapped__(600, 4)
    )  # fmt: skip


# --- honest forecasters


def answers(generator: np.random.Generator, n: int, per_image: int, shared: float) -> tuple[Tensor, Tensor, Tensor]:
    """Confidences of queries, answers right as often as these say, with luck shared within images, and owners."""
    own = np.arange(n).repeat(per_image)
    confidence = generator.beta(1, 1, n * per_image)
    normal = shared**0.5 * generator.standard_normal(n)[own] + (1 - shared) ** 0.5 * generator.standard_normal(len(own))
    hit = scipy.stats.norm.cdf(normal) < confidence
    return torch.from_numpy(confidence), torch.from_numpy(hit).double(), torch.from_numpy(own)


@pytest.mark.parametrize(("count", "per_image"), [(40, 1), (500, 1), (40, 3)])
def test_the_null_of_a_calibration_error_is_that_of_honest_answers(count: int, per_image: int) -> None:
    generator = np.random.default_rng(count)
    confidence = answers(generator, count, per_image, 0.0)[0]
    found = honest_errors(confidence, torch.zeros(len(confidence)))
    hits = [torch.from_numpy(generator.random(len(confidence))) < confidence for _ in range(500)]
    assert_means([float(ece(confidence, hit)) for hit in hits], found["ece"].mean, found["ece"].error)
    assert_means([float(mce(confidence, hit)) for hit in hits], found["mce"].mean, found["mce"].error)


def test_no_honest_answers_err_as_much_as_those_that_are_always_wrong() -> None:
    confidence = torch.full((200,), 0.9)
    found = honest_errors(confidence, torch.zeros(200))
    assert found["ece"].p == found["mce"].p == 1 / 2001
    assert honest_errors(confidence, (torch.arange(200) % 10 > 0).double())["ece"].p > 0.9


@pytest.mark.parametrize("shared", [0.0, 0.7, 1.0])
def test_one_honest_set_in_twenty_has_a_p_of_a_twentieth(shared: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geomclip.metrics.honest.MOST", 400)  # a level that moves by 1 % with the draws
    generator = np.random.default_rng(3)
    sets = 300
    p = [honest_errors(*answers(generator, 60, 5, shared)) for _ in range(sets)]
    for kind in ("ece", "mce"):
        assert np.mean([each[kind].p <= 0.05 for each in p]) <= 0.05 + 3.5 * (0.05 * 0.95 / sets) ** 0.5


def test_queries_that_fail_together_are_no_independent_cases() -> None:
    generator = np.random.default_rng(4)
    own = torch.arange(60).repeat_interleave(5)
    together, alone = [], []
    for _ in range(100):
        confidence, luck = (torch.from_numpy(generator.random(60))[own] for _ in range(2))
        hit = (luck < confidence).double()
        together.append(honest_errors(confidence, hit, own)["ece"].p <= 0.05)
        alone.append(honest_errors(confidence, hit)["ece"].p <= 0.05)
    assert np.mean(together) <= 0.13 < 0.4 < np.mean(alone)


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_the_luck_that_queries_share_is_found(shared: float) -> None:
    generator = np.random.default_rng(5)
    confidence, _, own = answers(generator, 4000, 4, 0.0)
    takes, common = generator.random(16_000) < shared**0.5, generator.random(4000)[own]
    hit = torch.from_numpy(np.where(takes, common, generator.random(16_000))) < confidence
    assert shared_luck(confidence, hit.double(), own) == pytest.approx(shared, abs=0.05)


def test_queries_in_any_order_and_owners_of_any_number_have_the_same_p() -> None:
    confidence, hit, own = answers(np.random.default_rng(6), 30, 3, 0.5)
    order = torch.randperm(90, generator=torch.Generator().manual_seed(0))
    straight = shared_luck(confidence, hit, own)
    assert shared_luck(confidence[order], hit[order], own[order]) == pytest.approx(straight, rel=1e-9)
    found, mixed = honest_errors(confidence, hit, own), honest_errors(confidence[order], hit[order], 7 * own[order])
    assert found["ece"].p == pytest.approx(mixed["ece"].p, abs=0.05)
    assert found["ece"].mean == pytest.approx(mixed["ece"].mean, rel=0.05)
