"""Calibration scores: pencil values, loops over bins, torchmetrics, quadrature of the smooth error, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from geomclip.metrics.bins import reliability, wilson_interval
from geomclip.metrics.calibration import retrieval_posterior
from geomclip.metrics.calibration_scores import ace, brier, classwise_ece, ece, fit_logit_scale, mce, smece

pytestmark = pytest.mark.numeric


def queries(n: int, *, seed: int, power: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Confidences, and hits with probability confidence**power: calibrated where power is 1."""
    generator = torch.Generator().manual_seed(seed)
    confidence = torch.rand(n, generator=generator, dtype=torch.float64)
    hit = torch.rand(n, generator=generator, dtype=torch.float64) < confidence**power
    return confidence, hit


def bins_by_loop(confidence, hit, bins=15):
    """(count, accuracy, confidence) of each non-empty bin (lo, hi], the first closed at 0."""
    rows = []
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        inside = [i for i, c in enumerate(confidence.tolist()) if (low < c <= high) or (b == 0 and c == 0)]
        if inside:
            rows.append((len(inside), hit[inside].double().mean().item(), confidence[inside].mean().item()))
    return rows


@pytest.mark.parametrize("n", [1, 7, 500])
def test_ece_and_mce_are_those_of_a_loop_over_bins(n):
    confidence, hit = queries(n, seed=n, power=2)
    rows = bins_by_loop(confidence, hit)
    assert ece(confidence, hit).item() == pytest.approx(sum(c * abs(a - s) for c, a, s in rows) / n)
    assert mce(confidence, hit).item() == pytest.approx(max(abs(a - s) for _, a, s in rows))


def test_ece_is_that_of_torchmetrics():
    confidence, hit = queries(1000, seed=0, power=0.5)
    for norm_name, ours in (("l1", ece), ("max", mce)):
        # their binary error takes the probability of class 1 and its outcome: the same bins
        theirs = tm.binary_calibration_error(confidence, hit.int(), n_bins=15, norm=norm_name)
        assert ours(confidence, hit).item() == pytest.approx(theirs.item(), abs=1e-6)


def test_a_confidence_on_an_edge_is_in_the_bin_below_it_and_0_in_the_first():
    edges = torch.arange(16, dtype=torch.float64) / 15
    counts = [row["count"] for row in reliability(edges, torch.ones(16))]
    assert counts == [2] + [1] * 14


def test_bins_show_their_accuracy_with_a_wilson_interval():
    confidence, hit = queries(200, seed=1)
    rows = reliability(confidence, hit)
    assert [row["low"] for row in rows] == [b / 15 for b in range(15)]
    assert sum(row["count"] for row in rows) == 200
    for row, (count, accuracy, mean) in zip(rows, bins_by_loop(confidence, hit), strict=True):
        assert row["count"] == count
        assert row["accuracy"] == pytest.approx(accuracy)
        assert row["confidence"] == pytest.approx(mean)
        assert (row["accuracy_low"], row["accuracy_high"]) == wilson_interval(round(count * accuracy), count)


def test_an_empty_bin_shows_none():
    row = reliability(torch.tensor([0.9]), torch.tensor([1]))[0]
    assert row == {
        "low": 0.0,
        "high": 1 / 15,
        "count": 0,
        "accuracy": None,
        "confidence": None,
        "accuracy_low": None,
        "accuracy_high": None,
    }


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (1, 1), (0, 20), (7, 20), (20, 20), (499, 1000)])
def test_the_wilson_interval_is_that_of_scipy(hits, count):
    theirs = binomtest(hits, count).proportion_ci(method="wilson")
    assert wilson_interval(hits, count) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_ace_is_that_of_sorted_runs_of_equal_size():
    confidence, hit = queries(100, seed=2, power=2)
    order = np.argsort(confidence.numpy())
    runs = np.array_split(order, 15)
    expected = sum(abs((hit[run].double() - confidence[run]).sum().item()) for run in runs) / 100
    assert ace(confidence, hit).item() == pytest.approx(expected)


def test_ace_does_not_depend_on_row_order_where_confidences_tie():
    confidence = torch.tensor([0.5] * 20 + [0.25] * 10)
    hit = torch.tensor([1] * 10 + [0] * 10 + [1] * 5 + [0] * 5)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    # mean hits are 0.5 in both groups: off by 0.25 in a third of the queries
    assert ace(confidence, hit).item() == pytest.approx(0.25 / 3)
    assert ace(confidence[order], hit[order]).item() == pytest.approx(0.25 / 3)


def smece_by_quadrature(confidence: np.ndarray, hit: np.ndarray) -> float:
    """The fixed point from the definition: kernel sums over images of each query, trapezoid rule."""
    t = np.linspace(0, 1, 2001)

    def error(sigma):
        smoothed = np.zeros_like(t)
        for image in range(-3, 4):  # reflections of f: 2k + f and 2k − f
            for mirrored in (confidence, -confidence):
                kernel = norm.pdf(t[:, None], 2 * image + mirrored[None, :], sigma)
                smoothed += kernel @ (hit - confidence) / len(hit)
        return trapezoid(np.abs(smoothed), t)

    return brentq(lambda sigma: error(sigma) - sigma, 2e-3, 1.0, xtol=1e-8)


@pytest.mark.parametrize(("n", "power"), [(2, 3.0), (60, 1.0), (50, 2.0), (80, 0.5)])
def test_smece_is_that_of_quadrature(n, power):
    confidence, hit = queries(n, seed=n, power=power)
    expected = smece_by_quadrature(confidence.numpy(), hit.double().numpy())
    assert smece(confidence, hit).item() == pytest.approx(expected, abs=2e-6)


def test_smece_is_the_mean_error_where_all_err_one_way():
    # no cancelling: the integral of |smoothed| is the mass, whatever the bandwidth
    confidence = torch.tensor([0.7, 0.8, 0.9, 1.0], dtype=torch.float64)
    assert smece(confidence, torch.zeros(4)).item() == pytest.approx(0.85)
    assert smece(torch.ones(5), torch.ones(5)).item() == 0


def test_smece_of_calibrated_queries_tends_to_0():
    assert smece(*queries(20_000, seed=0)).item() < 0.02
    assert smece(*queries(20_000, seed=0, power=2)).item() > 0.12


def test_brier_is_that_of_one_hot_rows():
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand(50, 7, generator=generator, dtype=torch.float64).softmax(1)
    label = torch.randint(7, (50,), generator=generator)
    one_hot = torch.nn.functional.one_hot(label, 7)
    expected = (probability - one_hot).square().sum(1).mean().item()
    own = probability.gather(1, label[:, None])[:, 0]
    assert brier(probability.square().sum(1), own).item() == pytest.approx(expected)


def test_classwise_ece_is_the_mean_of_torchmetrics_binary_errors():
    generator = torch.Generator().manual_seed(0)
    probability = (3 * torch.randn(300, 4, generator=generator, dtype=torch.float64)).softmax(1)
    label = torch.randint(4, (300,), generator=generator)
    theirs = [
        tm.binary_calibration_error(probability[:, c].contiguous(), (label == c).int(), n_bins=15) for c in range(4)
    ]
    assert classwise_ece(probability, label).item() == pytest.approx(np.mean(theirs), abs=1e-6)


def test_classwise_ece_refuses_what_is_no_probability_or_no_class():
    with pytest.raises(ValueError, match="0 to 1"):
        classwise_ece(torch.tensor([[0.5, torch.nan]]), torch.tensor([0]))
    with pytest.raises(ValueError, match="labels must be 0 to 1"):
        classwise_ece(torch.tensor([[0.5, 0.5]]), torch.tensor([2]))
    with pytest.raises(ValueError, match=r"\(1, 2\) and \(2,\)"):
        classwise_ece(torch.tensor([[0.5, 0.5]]), torch.tensor([1, 0]))


def test_wilson_is_the_textbook_interval() -> None:
    # Wilson 1927 for 0 of 10: upper end z²/(n + z²) = 3.8415/13.8415
    low, high = wilson_interval(0, 10)
    assert low == pytest.approx(0, abs=1e-12)
    assert high == pytest.approx(3.841458820694124 / 13.841458820694124)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=20))
def test_every_score_is_a_number_from_0_to_1(pairs):
    confidence = torch.tensor([c for c, _ in pairs], dtype=torch.float64)
    hit = torch.tensor([h for _, h in pairs])
    for score in (ece, mce, ace, smece):
        assert -1e-9 <= score(confidence, hit).item() <= 1 + 1e-6
    assert ece(confidence, hit).item() <= mce(confidence, hit).item() + 1e-12


@pytest.mark.parametrize("score", [ece, mce, ace, smece, reliability])
def test_what_is_no_probability_or_no_query_is_refused(score):
    with pytest.raises(ValueError, match=r"query 1 has 1\.5"):
        score(torch.tensor([0.5, 1.5]), torch.tensor([1, 0]))
    with pytest.raises(ValueError, match="query 0 has nan"):
        score(torch.tensor([torch.nan, 0.5]), torch.tensor([1, 0]))
    with pytest.raises(ValueError, match="n at least 1"):
        score(torch.zeros(0), torch.zeros(0))
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        score(torch.zeros(2), torch.zeros(3))


def test_half_precision_and_numpy_are_taken():
    confidence, hit = (z.numpy() for z in queries(100, seed=3))
    for score in (ece, mce, ace, smece):
        assert isinstance(score(confidence, hit), np.floating)
        assert score(confidence.astype(np.float16), hit) == pytest.approx(score(confidence, hit), abs=0.02)


def test_the_fitted_scale_is_the_one_the_logits_were_drawn_at():
    generator = torch.Generator().manual_seed(0)
    cosine = torch.rand(4000, 5, generator=generator, dtype=torch.float64) - 0.5
    label = torch.multinomial((12 * cosine).softmax(1), 1, generator=generator)[:, 0]

    def nll(scale):
        return torch.nn.functional.cross_entropy(scale * cosine, label).item()

    scale = fit_logit_scale(nll)
    assert scale == pytest.approx(12, rel=0.05)
    assert nll(scale) <= min(nll(scale * 1.001), nll(scale / 1.001))


def test_a_scale_without_a_best_value_is_refused():
    with pytest.raises(ValueError, match=r"no maximum between logit scales 0\.01 and 10000"):
        fit_logit_scale(lambda scale: -scale)


@pytest.mark.parametrize("seed", [58, 59])
def test_a_sharp_and_wrong_prediction_has_a_probability_of_at_most_1_in_float32(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    image = torch.nn.functional.normalize(torch.randn(40, 16, generator=draw), dim=1)
    own = torch.arange(120) % 40
    text = torch.nn.functional.normalize(image[own].roll(7, 0) + 0.05 * torch.randn(120, 16, generator=draw), dim=1)
    answer = retrieval_posterior(image, text, image_of_text=own, logit_scale=100.0)
    confidence = torch.cat([answer["text_retrieval_confidence"], answer["image_retrieval_confidence"]])
    assert confidence.max() > 1 - 1e-6  # sharp enough to be at the end
    assert confidence.max() <= 1
