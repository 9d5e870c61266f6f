"""The gap panel: pencil values, double loops, other routes, known answers of real vectors, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import on_circle, random_rows, shared
from sklearn.linear_model import LogisticRegression

from geomclip.metrics import separability
from geomclip.metrics.gap import (
    gap_after_centering,
    mean_cosine,
    mean_cosine_matched,
    mean_cosine_unmatched,
    modality_gap,
    relative_modality_gap,
    shape_distance,
)
from geomclip.metrics.gap_curves import gap_ablation_curve, gap_shift_curve
from geomclip.metrics.retrieval import retrieval
from geomclip.metrics.separability import first_text, linear_separability
from geomclip.metrics.spectrum import Spectrum
from geomclip.metrics.uniformity import uniformity_joint

pytestmark = pytest.mark.numeric

OWN = torch.tensor([0, 0, 2, 3, 3, 3, 2])  # image 1 of 4 has no text; the texts are not sorted by image


def clouds(d: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Four images and seven texts about two centres, signed."""
    x = random_rows(4, d, seed=0) + 0.7 * random_rows(1, d, seed=1)
    y = random_rows(7, d, seed=2) + 0.7 * random_rows(1, d, seed=3)
    return torch.nn.functional.normalize(x, dim=1), torch.nn.functional.normalize(y, dim=1)


def test_the_gap_between_two_points_at_60_degrees_is_the_side_of_an_equilateral_triangle():
    assert modality_gap(on_circle(0), on_circle(60)).item() == pytest.approx(1, abs=1e-15)


def test_the_mean_cosine_of_three_angles_is_the_mean_of_their_three_cosines():
    # pairs 0-60, 0-90, 60-90: (1/2 + 0 + √3/2) / 3
    assert mean_cosine(on_circle(0, 60, 90)).item() == pytest.approx((0.5 + 0.75**0.5) / 3)


def test_matched_and_unmatched_means_part_the_similarity_matrix():
    x, y = clouds()
    s = x @ y.T
    matched = torch.zeros(4, 7, dtype=torch.bool)
    matched[OWN, torch.arange(7)] = True
    assert mean_cosine_matched(x, y, OWN).item() == pytest.approx(s[matched].mean().item(), rel=1e-12)
    assert mean_cosine_unmatched(x, y, OWN).item() == pytest.approx(s[~matched].mean().item(), rel=1e-12)


@pytest.mark.parametrize(("n", "d"), [(2, 3), (9, 4), (50, 200)])
def test_the_mean_cosine_is_that_of_a_double_loop(n, d):
    x = random_rows(n, d, seed=n)
    loop = [float(x[i] @ x[j]) for i in range(n) for j in range(n) if i != j]
    assert mean_cosine(x).item() == pytest.approx(np.mean(loop), abs=1e-14)


def test_the_relative_gap_is_that_of_a_double_loop():
    x, y = clouds()

    def within(z):
        return np.mean([float(1 - z[i] @ z[j]) / 2 for i in range(len(z)) for j in range(len(z)) if i != j])

    matched = np.mean([float(1 - x[i] @ y[j]) / 2 for j, i in enumerate(OWN.tolist())])
    expected = matched / (matched + (within(x) + within(y)) / 2)
    assert relative_modality_gap(x, y, OWN).item() == pytest.approx(expected, rel=1e-12)


def test_the_relative_gap_is_0_for_equal_pairs_and_1_for_two_opposite_points():
    x = on_circle(0, 50, 200)
    assert relative_modality_gap(x, x).item() == pytest.approx(0, abs=1e-15)
    assert relative_modality_gap(on_circle(0, 0), on_circle(180, 180)).item() == pytest.approx(1)


@pytest.mark.parametrize(("n", "m"), [(40, 70), (5, 9)])  # full rank, and fewer rows than dimensions
def test_the_centred_gap_is_the_trace_form_with_matrix_square_roots(n, m):
    x, y = random_rows(n, 12, seed=0), random_rows(m, 12, seed=1)
    a, b = (np.cov(z.numpy().T, bias=True) for z in (x, y))
    length, direction = np.linalg.eigh(a)  # scipy's sqrtm loses half of the digits where a is singular
    root = direction @ np.diag(np.sqrt(np.clip(length, 0, None))) @ direction.T
    inner = np.sqrt(np.clip(np.linalg.eigvalsh(root @ b @ root), 0, None)).sum()
    expected = np.sqrt(np.trace(a) + np.trace(b) - 2 * inner)
    assert gap_after_centering(x, y).item() == pytest.approx(expected, rel=1e-6)


def test_the_centred_gap_of_a_cloud_and_its_shifted_copy_is_zero_to_the_last_digits():
    x = random_rows(30, 8, seed=0)
    both = torch.cat([x, x])  # the same covariance from twice the rows
    assert gap_after_centering(x, both).item() < 1e-14
    assert gap_after_centering(x, both).item() == pytest.approx(gap_after_centering(both, x).item(), abs=1e-14)


@pytest.mark.parametrize("apart", [1.0, 1e-2, 1e-5, 1e-8])
def test_the_centred_gap_keeps_its_digits_near_and_far(apart):
    # two clouds along one set of axes differ by their widths: √Σ (a − b)²
    axes = torch.linalg.qr(random_rows(60, 5, seed=0) - random_rows(60, 5, seed=0).mean(0)).Q
    widths = torch.linspace(1, 2, 5, dtype=torch.float64)
    wider = widths * (1 + apart * torch.linspace(-1, 1, 5, dtype=torch.float64))
    clouds = [Spectrum.of(axes * each) for each in (widths, wider)]
    expected = (widths - wider).norm().item() / 60**0.5
    # the widths, 0.1 to 0.3, are known to some 1e-16 and their difference no better: to 1e-7 of it at 1e-8
    assert shape_distance(*clouds).item() == pytest.approx(expected, rel=1e-7, abs=2e-15)


def test_the_centred_gap_to_a_single_point_is_the_root_of_the_variance():
    x = random_rows(20, 3, seed=0)
    variance = (x - x.mean(0)).square().sum(1).mean()
    assert gap_after_centering(x, x[:1]).item() == pytest.approx(variance.sqrt().item())


@pytest.mark.parametrize("metric", [modality_gap, gap_after_centering])
def test_one_rotation_of_both_clouds_changes_nothing(metric):
    x, y = clouds()
    turn = torch.linalg.qr(random_rows(6, 6, seed=9)).Q
    assert metric(x @ turn, y @ turn).item() == pytest.approx(metric(x, y).item(), rel=1e-12)


def test_numpy_in_half_precision_goes_in_and_a_numpy_number_comes_out():
    x, y = clouds()
    half = modality_gap(x.numpy().astype(np.float16), y.numpy().astype(np.float16))
    assert isinstance(half, np.floating)
    assert half == pytest.approx(modality_gap(x, y).item(), abs=1e-3)


def test_real_vectors_give_the_known_answers():
    data = np.load(shared("data/embeddings/flickr8k_100x5_vitb32/embeddings.npz"))
    x, y, own = data["image"].astype(float), data["text"].astype(float), data["text_image_index"]
    known = {
        modality_gap(x, y): 0.843016913,
        mean_cosine(x): 0.555786581,
        mean_cosine(y): 0.502678316,
        mean_cosine_matched(x, y, own): 0.325279348,
        mean_cosine_unmatched(x, y, own): 0.17511039,
        relative_modality_gap(x, y, own): 0.589024531,
    }
    for value, expected in known.items():
        assert value == pytest.approx(expected, rel=5e-9)  # nine digits are printed


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: modality_gap(x, y[:, :5]), r"share d, got \(4, 6\) and \(7, 5\)"),
        (lambda x, y: mean_cosine(x[:1]), "at least 2 rows, got 1"),
        (lambda x, y: mean_cosine_matched(x, y), "7 texts for 4 images"),
        (lambda x, y: mean_cosine_matched(x, y, OWN[:3]), r"shape \(3,\) for 7 texts"),
        (lambda x, y: mean_cosine_matched(x, y, OWN + 1), "entry 3 is 4, outside the 4 images"),
        (lambda x, y: mean_cosine_unmatched(x[:1], y[:1]), "at least 2 images, got 1"),
        (lambda x, y: relative_modality_gap(x[[0, 0]], x[[0, 0]]), "0/0"),
        (lambda x, y: linear_separability(x, y, OWN, seed=0), "5 images with a text, got 3"),
    ],
)
def test_what_is_undefined_is_refused_with_its_numbers(call, message):
    with pytest.raises(ValueError, match=message):
        call(*clouds())


def two_cones(n: int, d: int, apart: float) -> tuple[torch.Tensor, torch.Tensor]:
    x = random_rows(n, d, seed=0) + random_rows(1, d, seed=1)
    y = random_rows(n, d, seed=2) + random_rows(1, d, seed=1) + apart * random_rows(1, d, seed=3)
    return torch.nn.functional.normalize(x, dim=1), torch.nn.functional.normalize(y, dim=1)


def by_scikit_learn(x, y, seed):
    rows, label = np.concatenate([x, y]), np.repeat([0, 1], len(x))
    fold = np.tile(np.random.default_rng(seed).permutation(len(x)) % 5, 2)
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000)
    scores = []
    for k in range(5):
        model.fit(rows[fold != k], label[fold != k])
        scores.append(model.score(rows[fold == k], label[fold == k]))
    return np.mean(scores)


@pytest.mark.parametrize(("n", "d", "apart"), [(203, 16, 0.15), (203, 16, 0.0), (60, 100, 0.3), (100, 8, 1.0)])
def test_separability_is_that_of_scikit_learn(n, d, apart):
    x, y = two_cones(n, d, apart)
    expected = by_scikit_learn(x.numpy(), y.numpy(), seed=4)
    assert linear_separability(x, y, seed=4).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("n", "apart"), [(300, 0.0), (300, 0.3), (300, 5.0), (30, 0.3)])  # many rows, and few
def test_each_fit_ends_where_its_gradient_vanishes(n, apart):
    x, y = two_cones(n, 12, apart)
    z = torch.cat([torch.cat([x, y]), torch.ones(2 * n, 1, dtype=torch.float64)], 1)
    train = (torch.arange(n) % 5 != torch.arange(5)[:, None]).T.repeat(2, 1)
    weights = separability._fit(z, train)  # private: the measure shows a share alone, which many weights give
    for fit in range(5):
        rows, text = z[train[:, fit]], (torch.arange(2 * n) >= n)[train[:, fit]].double()
        penalty = weights[:, fit] * (torch.arange(13) < 12)
        gradient = rows.T @ (torch.sigmoid(rows @ weights[:, fit]) - text) + penalty
        assert gradient.abs().max() <= separability.TOLERANCE * len(rows)


def test_separability_uses_the_first_text_and_leaves_images_without_text_out():
    x, y = two_cones(40, 8, 0.3)
    own = torch.arange(40).flip(0)  # text j describes image 39 - j
    more = torch.cat([y, -x])  # second texts that would be told apart at once
    more_own = torch.cat([own, torch.arange(40)])
    extra = torch.cat([x, random_rows(7, 8, seed=5)])
    expected = by_scikit_learn(x.numpy(), y.flip(0).numpy(), seed=0)
    assert linear_separability(extra, more, more_own, seed=0).item() == pytest.approx(expected, abs=1e-12)
    assert first_text(torch.tensor([2, 0, 0, 2]), n=3).tolist() == [1, -1, 0]


def test_equal_clouds_are_separated_by_half_and_opposite_ones_fully():
    x, _ = two_cones(30, 6, 0.0)
    assert linear_separability(x, x, seed=0).item() == 0.5
    assert linear_separability(x, -x, seed=0).item() == 1.0


def test_a_seed_makes_separability_repeatable():
    x, y = two_cones(50, 8, 0.1)
    values = {linear_separability(x, y, seed=seed).item() for seed in range(4)}
    assert linear_separability(x, y, seed=3).item() in values
    assert len(values) > 1


def test_the_shift_curve_starts_from_the_clouds_and_closes_the_gap():
    x, y = two_cones(40, 8, 0.8)
    curve = gap_shift_curve(x, y, shifts=(0.0, 0.5, 1.0))
    found = retrieval(x, y)
    assert curve["modality_gap"][0].item() == pytest.approx(modality_gap(x, y).item())
    assert curve["text_retrieval_recall@1"][0] == found["text_retrieval_recall@1"]
    assert curve["image_retrieval_recall@1"][0] == found["image_retrieval_recall@1"]
    assert curve["uniformity_joint"][0].item() == pytest.approx(uniformity_joint(x, y).item())
    assert curve["modality_gap"].diff().max() < 0
    assert curve["modality_gap"][2] < 0.2 * curve["modality_gap"][0]


def test_a_shift_by_half_the_gap_is_that_of_liang():
    x, y = two_cones(10, 4, 0.8)
    delta = x.mean(0) - y.mean(0)
    moved = [torch.nn.functional.normalize(z, dim=1) for z in (x - 0.25 * delta, y + 0.25 * delta)]
    curve = gap_shift_curve(x, y, shifts=(0.5,))
    assert curve["modality_gap"].item() == pytest.approx(modality_gap(*moved).item())


def test_the_ablation_curve_removes_the_widest_dimensions_first():
    x, y = two_cones(20, 9, 0.8)
    curve = gap_ablation_curve(x, y)
    assert curve["removed"].tolist() == [0, 1, 2, 4, 8]
    widest = (x.mean(0) - y.mean(0)).abs().argsort(descending=True)[:4]
    x4, y4 = x.clone(), y.clone()
    x4[:, widest], y4[:, widest] = 0, 0
    expected = modality_gap(torch.nn.functional.normalize(x4, dim=1), torch.nn.functional.normalize(y4, dim=1))
    assert curve["modality_gap"][3].item() == pytest.approx(expected.item())


def test_the_ablation_curve_ends_where_a_row_has_nothing_left():
    x = torch.tensor([[0.6, 0.8, 0.0], [1.0, 0.0, 0.0]])
    assert gap_ablation_curve(x, x * torch.tensor([-1.0, 1.0, 1.0]))["removed"].tolist() == [0]


def test_curves_without_a_direction_are_refused():
    x = on_circle(0, 90)
    with pytest.raises(ValueError, match="no direction"):
        gap_shift_curve(x, x)


def test_no_metric_of_the_gap_writes_on_its_input():
    x, y = clouds()
    before = x.clone(), y.clone()
    gap_shift_curve(x, y, OWN, shifts=(0.3,))
    gap_ablation_curve(x, y, OWN)
    gap_after_centering(x, y)
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])
