"""Spectra of one cloud: pencil values, brute force by numpy's SVD, rank-deficient clouds, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import on_circle, random_rows, shared
from hypothesis import given, settings
from hypothesis import strategies as st

from geomclip.metrics import spectrum
from geomclip.metrics.shape import (
    effective_rank,
    effective_rank_centered,
    isoscore,
    participation_ratio,
    participation_ratio_centered,
    rankme,
    spectral_measures,
    w2_uniformity,
)
from geomclip.metrics.spectrum import Spectrum

pytestmark = pytest.mark.numeric

ALL = [
    effective_rank,
    effective_rank_centered,
    participation_ratio,
    participation_ratio_centered,
    rankme,
    isoscore,
    w2_uniformity,
]


def brute(x: np.ndarray) -> dict[str, float]:
    """Each measure from its definition, with numpy."""
    n, d = x.shape
    result = {}
    for suffix, rows in (("", x), ("_centered", x - x.mean(0))):
        s = np.linalg.svd(rows, compute_uv=False)
        s = s[s > 1e-13 * s[0]]
        p = s / s.sum()
        result[f"effective_rank{suffix}"] = np.exp(-(p * np.log(p)).sum())
        result[f"participation_ratio{suffix}"] = (s**2).sum() ** 2 / (s**4).sum()
    s = np.linalg.svd(x, compute_uv=False)
    p = s / s.sum() + 1e-7
    result["rankme"] = np.exp(-(p * np.log(p)).sum())
    # IsoScore, steps 2 to 7 of the paper's algorithm
    variances = np.zeros(d)
    variances[: min(n, d)] = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2 / (n - 1)
    variances *= np.sqrt(d) / np.linalg.norm(variances)
    defect = np.linalg.norm(variances - 1) / np.sqrt(2 * (d - np.sqrt(d)))
    share = (d - defect**2 * (d - np.sqrt(d))) ** 2 / d**2
    result["isoscore"] = (d * share - 1) / (d - 1)
    covariance = np.cov(x.T, bias=True)
    roots = np.sqrt(np.clip(np.linalg.eigvalsh(covariance), 0, None)).sum()
    result["w2_uniformity"] = np.sqrt((x.mean(0) ** 2).sum() + 1 + np.trace(covariance) - 2 / np.sqrt(d) * roots)
    return result


@pytest.mark.parametrize(("n", "d"), [(200, 6), (50, 50), (7, 40), (2, 3)])
def test_each_is_its_definition(n, d):
    x = torch.nn.functional.normalize(random_rows(n, d, seed=n) + random_rows(1, d, seed=1), dim=1)
    expected = brute(x.numpy())
    values, reasons = spectral_measures(Spectrum.of(x))
    assert not reasons
    for metric in ALL:
        # the trace form of w2_uniformity takes roots of eigenvalues that are 0 only to 1e-17 where n <= d
        rel = 1e-6 if metric is w2_uniformity and n <= d else 1e-9
        assert metric(x).item() == pytest.approx(expected[metric.__name__], rel=rel), metric.__name__
        assert values[metric.__name__].item() == pytest.approx(metric(x).item(), rel=1e-12)


def of_widths(widths: torch.Tensor, n: int) -> torch.Tensor:
    """Unit rows whose spread falls off like these widths along random directions, off centre."""
    d = len(widths)
    turn = torch.linalg.qr(random_rows(d, d, seed=1)).Q
    x = random_rows(n, d, seed=0) * widths @ turn + 0.1 * random_rows(1, d, seed=2)
    return torch.nn.functional.normalize(x, dim=1)


@pytest.mark.parametrize("faint", [1.0, 1e-3, 1e-5, 1e-8, 1e-13, 0.0])
def test_a_cloud_of_many_rows_keeps_the_digits_of_its_faint_directions(faint):
    widths = torch.ones(24, dtype=torch.float64)
    widths[8:16], widths[16:] = faint, faint**2
    x = of_widths(widths, 200)
    cloud = Spectrum.of(x)
    whole = torch.linalg.svdvals(x)
    assert (cloud.singular_values - whole).abs().max() < 1e-11 * whole[0]
    moved = x - x.mean(0)
    assert (cloud.singular_values_centered - torch.linalg.svdvals(moved)).abs().max() < 1e-11 * whole[0]
    assert (cloud.root.T @ cloud.root - moved.T @ moved).abs().max() < 1e-14 * whole[0] ** 2
    few = torch.linalg.svdvals(x) > 1e-13 * whole[0]  # the oracle's own rounding
    shares = whole[few] / whole[few].sum()
    assert effective_rank(x).item() == pytest.approx(torch.special.entr(shares).sum().exp().item(), rel=1e-11)


def test_directions_that_hold_nothing_stay_empty_beside_faint_ones():
    widths = torch.ones(24, dtype=torch.float64)
    widths[8:16], widths[16:] = 5e-5, 0
    values = Spectrum.of(of_widths(widths, 200)).singular_values
    assert values[17:].max() < 1e-14 * values[0]  # 16 directions and that of the mean hold something


def test_faint_directions_of_float32_rows_are_those_of_the_same_rows_in_float64():
    x = of_widths(torch.logspace(0, -9, 24, dtype=torch.float64), 200).float()
    exactly = torch.linalg.svdvals(x.double())
    assert (Spectrum.of(x).singular_values - exactly).abs().max() < 1e-11 * exactly[0]


def test_rows_along_the_axes_have_full_rank_and_repeated_rows_rank_one():
    assert effective_rank(torch.eye(5)).item() == pytest.approx(5)
    assert participation_ratio(torch.eye(5)).item() == pytest.approx(5)
    line = on_circle(30, 210, 30)
    assert effective_rank(line).item() == pytest.approx(1)
    assert participation_ratio(line).item() == pytest.approx(1)


def test_effective_rank_of_unequal_directions_is_pencil():
    # rows e1, e1, e1, e1, e2: singular values 2 and 1, shares 2/3 and 1/3
    x = torch.eye(2)[[0, 0, 0, 0, 1]]
    assert effective_rank(x).item() == pytest.approx(3 / 4 ** (1 / 3))  # exp(H) = (3/2)^(2/3) 3^(1/3)
    assert participation_ratio(x).item() == pytest.approx(25 / 17)  # (4 + 1)² / (16 + 1)


@pytest.mark.parametrize("n", [3, 9])
def test_a_cloud_in_few_dimensions_keeps_its_rank_in_many(n):
    x = random_rows(n, 4, seed=0)
    padded = torch.cat([x, torch.zeros(n, 60, dtype=torch.float64)], dim=1)
    turned = padded @ torch.linalg.qr(random_rows(64, 64, seed=1)).Q
    for metric in (effective_rank, effective_rank_centered, participation_ratio, participation_ratio_centered):
        assert metric(turned).item() == pytest.approx(metric(x).item(), rel=1e-12)


def test_isoscore_is_1_for_equal_variances_and_0_for_a_line_and_between_for_some():
    axes = torch.cat([torch.eye(8), -torch.eye(8)])
    assert isoscore(axes).item() == pytest.approx(1)
    assert isoscore(axes[[0, 8]]).item() == pytest.approx(0, abs=1e-12)
    # k of d dimensions used evenly: (k − 1)/(d − 1), as the paper proves
    assert isoscore(axes[[0, 1, 2, 8, 9, 10]]).item() == pytest.approx(2 / 7)


def test_isoscore_of_an_isotropic_normal_tends_to_1():
    x = torch.randn(20_000, 10, generator=torch.Generator().manual_seed(0))
    assert isoscore(x).item() > 0.995


def test_w2_uniformity_is_0_for_even_axes_and_root_2_less_for_one_point():
    axes = torch.cat([torch.eye(4), -torch.eye(4)])
    assert w2_uniformity(axes).item() == pytest.approx(0, abs=1e-12)
    assert w2_uniformity(axes[:1]).item() == pytest.approx(2**0.5)


def test_w2_uniformity_sees_its_bias_at_small_n():
    assert w2_uniformity(random_rows(1000, 512, seed=0)).item() == pytest.approx(0.373, abs=5e-3)


@pytest.mark.parametrize("metric", ALL)
def test_a_rotation_and_the_order_of_rows_change_nothing(metric):
    x = random_rows(30, 7, seed=0)
    turn = torch.linalg.qr(random_rows(7, 7, seed=1)).Q
    assert metric((x @ turn).flip(0)).item() == pytest.approx(metric(x).item(), rel=1e-12)


@pytest.mark.parametrize("metric", ALL)
def test_blocks_of_rows_change_nothing(metric, monkeypatch):
    x = random_rows(50, 7, seed=0)
    whole = metric(x).item()
    monkeypatch.setattr(spectrum, "ROWS", 3)
    assert metric(x).item() == pytest.approx(whole, rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 10**6))
def test_ranks_stay_in_their_range(n, d, seed):
    x = random_rows(n, d, seed=seed)
    for metric in (effective_rank, participation_ratio):
        assert 1 - 1e-9 <= metric(x).item() <= min(n, d) + 1e-9
    for metric in (effective_rank_centered, participation_ratio_centered):
        assert 1 - 1e-9 <= metric(x).item() <= min(n - 1, d) + 1e-9
    assert -1e-9 <= isoscore(x).item() <= 1 + 1e-9
    assert 0 <= w2_uniformity(x).item() <= 2**0.5 + 1e-9


def test_one_point_has_no_centred_shape_and_the_rest_is_still_measured():
    values, reasons = spectral_measures(Spectrum.of(on_circle(30, 30, 30)))
    assert sorted(reasons) == ["effective_rank_centered", "isoscore", "participation_ratio_centered"]
    assert "one point" in reasons["isoscore"]
    assert values["effective_rank"].item() == pytest.approx(1)
    with pytest.raises(ValueError, match="one point"):
        effective_rank_centered(on_circle(30))


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(0, 3\)"):
        Spectrum.of(torch.zeros(0, 3))
    with pytest.raises(ValueError, match="at least 2 dimensions, got 1"):
        isoscore(torch.tensor([[1.0], [-1.0]]))


def test_half_precision_and_numpy_are_taken():
    x = random_rows(20, 5, seed=0).numpy()
    assert effective_rank(x.astype(np.float16)) == pytest.approx(effective_rank(x), rel=1e-3)
    assert isinstance(effective_rank(x), np.floating)


def test_real_vectors_give_the_known_answers():
    data = np.load(shared("data/embeddings/flickr8k_100x5_vitb32/embeddings.npz"))
    x, y = data["image"].astype(float), data["text"].astype(float)
    assert effective_rank(x) == pytest.approx(71.7547344, rel=2e-9)
    assert effective_rank(y) == pytest.approx(227.189853, rel=2e-9)
    assert participation_ratio(x) == pytest.approx(3.0896223, rel=2e-8)
    assert participation_ratio(y) == pytest.approx(3.75055676, rel=2e-9)
