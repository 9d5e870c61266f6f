"""Losses: the geodesic at its ends, mirror images, half types, hardness, and who may be mixed."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from double_loops import loop
from helpers import on_circle, random_rows
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from geomclip import losses, metrics
from geomclip.losses import contrastive, geodesic_mixup, hcl, l_mix, m2_cosines, m2_mix, siglip, v_mix, vl_mix

pytestmark = pytest.mark.numeric

COALITIONS = losses.draw_coalitions(8, 6, generator=torch.Generator().manual_seed(4))
HALF = (torch.float16, torch.bfloat16)
Loss = Callable[[Tensor, Tensor], Tensor]


def pairs(m: int = 7, d: int = 5, *, seed: int = 0, near: float = 0.8) -> tuple[Tensor, Tensor]:
    """Matched signed rows, float64."""
    x = random_rows(m, d, seed=seed)
    return x, F.normalize(x + near * random_rows(m, d, seed=seed + 1), dim=1)


def uniform(m: int, *, seed: int = 0) -> Tensor:
    return torch.rand(m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def turned(m: int, *, seed: int = 0) -> Tensor:
    """Partners: a shift, which leaves none in place."""
    return torch.arange(m).roll(1 + seed)


def two_cones(m: int = 256, d: int = 64) -> tuple[Tensor, Tensor]:
    """Images of mean cosine 0.5, texts of 0.6, images with texts near 0.15, matched pairs nearer than others."""
    centres = random_rows(2, d, seed=0)
    noise = random_rows(m, d, seed=1)
    x = centres[0] * math.sqrt(0.5) + noise * math.sqrt(0.5)
    y = centres[1] * math.sqrt(0.6) + F.normalize(noise + random_rows(m, d, seed=2), dim=1) * math.sqrt(0.4)
    return F.normalize(x + 0.05 * centres[1], dim=1), F.normalize(y + 0.15 * centres[0], dim=1)


# ------------------------------------------------------------------------------------------------ the definitions


def every_loss(lam: float | Tensor, r: Tensor, tau: float | Tensor) -> dict[str, Loss]:
    """Name to the term as a function of the rows alone."""
    return {
        "contrastive": lambda x, y: contrastive(x, y, tau),
        "m2_mix": lambda x, y: m2_mix(x, y, lam, tau),
        "v_mix": lambda x, y: v_mix(x, y, lam, r, tau),
        "l_mix": lambda x, y: l_mix(x, y, lam, r, tau),
        "vl_mix": lambda x, y: vl_mix(x, y, lam, r, tau),
        "vl_both": lambda x, y: vl_mix(x, y, lam, r, tau, target="both"),
        "hcl": lambda x, y: hcl(x, y, tau),
        "siglip": lambda x, y: siglip(x, y, tau, -1.5),
        "geodesic": lambda x, y: losses.geodesic_contrastive(x, y, tau),
        "shapley": lambda x, y: losses.shapley_alignment(x, y, tau, COALITIONS),
        "alignment": losses.alignment,
        "uniformity": losses.uniformity,
        "cross_uniformity": losses.cross_uniformity,
        "in_modal": losses.in_modal_consistency,
        "cross_modal": losses.cross_modal_consistency,
    }


LOSSES = list(every_loss(0.5, torch.arange(2), 1.0))
HELD = ("geodesic", "shapley")
"""With weights and targets of the rows themselves, which get no gradient."""


@pytest.mark.parametrize("name", ["m2_mix", "v_mix", "l_mix", "vl_mix", "vl_both"])
def test_one_lambda_for_all_rows_is_that_lambda_in_each(name):
    x, y = pairs()
    r = turned(7)
    found = every_loss(torch.tensor(0.3, dtype=torch.float64), r, 0.07)[name](x, y).item()
    assert found == pytest.approx(loop(name, x, y, torch.full((7,), 0.3, dtype=torch.float64), r, 0.07), rel=1e-12)


def test_m2_mix_with_the_modalities_exchanged_has_the_shares_exchanged():
    x, y = pairs()
    lam = uniform(7, seed=3)
    assert m2_mix(y, x, 1 - lam, 0.1).item() == pytest.approx(m2_mix(x, y, lam, 0.1).item(), rel=1e-12)


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in HELD])
def test_gradients_are_those_of_finite_differences(name):
    """On rows that are normalised inside, as an encoder's are: off the sphere the geodesic has no derivative."""
    x, y = (rows.requires_grad_() for rows in pairs(4, 3))
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def loss(x: Tensor, y: Tensor, tau: Tensor) -> Tensor:
        return every_loss(uniform(4, seed=3), turned(4), tau)[name](F.normalize(x, dim=1), F.normalize(y, dim=1))

    assert torch.autograd.gradcheck(loss, (x, y, tau))


def test_v_mix_and_l_mix_are_each_others_mirror_image():
    x, y = pairs()
    lam, r = uniform(7, seed=3), turned(7)
    there = v_mix(x, y, lam, r, 0.1)
    assert there.item() == pytest.approx(loop("l_mix", y, x, lam, r, 0.1), rel=1e-12)
    assert there.item() != pytest.approx(l_mix(x, y, lam, r, 0.1).item(), rel=1e-3)


# ------------------------------------------------------------------------------------------------- geodesic mixup


@given(
    seed=st.integers(0, 10**6),
    d=st.integers(2, 40),
    lam=st.floats(0, 1),
    log_angle=st.floats(-9, 0.49),
    about=st.sampled_from([1, -1]),
    dtype=st.sampled_from([torch.float64, torch.float32]),
)
def test_mixtures_are_unit_and_on_the_arc_at_every_angle(seed, d, lam, log_angle, about, dtype):
    """The angle to b is λθ, to a (1 − λ)θ; θ from 1e-9 to 3.09, and from π less as much."""
    a = random_rows(1, d, seed=seed)
    across = random_rows(1, d, seed=seed + 1)
    across = F.normalize(across - (across * a).sum() * a, dim=1)
    theta = 10**log_angle
    a, b = a.to(dtype), (about * (math.cos(theta) * a + math.sin(theta) * across)).to(dtype)
    mixed = geodesic_mixup(a, b, lam)
    exact = 1e-14 if dtype == torch.float64 else 1e-6
    assert mixed.norm().item() == pytest.approx(1, abs=exact)
    angle = lambda p, q: 2 * math.atan2((p - q).double().norm(), (p + q).double().norm())  # noqa: E731
    whole = angle(a, b)
    # rows this near to antipodal count as antipodal, where the arc is half a circle
    slack = 20 * torch.finfo(dtype).eps
    assert angle(mixed, b) == pytest.approx(lam * whole, abs=slack)
    assert angle(mixed, a) == pytest.approx((1 - lam) * whole, abs=slack)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_lambda_1_gives_a_and_lambda_0_gives_b(dtype):
    a, b = (rows.to(dtype) for rows in pairs(20, 6))
    for near in (b, a, -a, F.normalize(a + 1e-6 * b, dim=1), F.normalize(1e-6 * b - a, dim=1)):
        assert torch.allclose(geodesic_mixup(a, near, 1.0), a, atol=5 * torch.finfo(dtype).eps, rtol=0)
        assert torch.allclose(geodesic_mixup(a, near, 0.0), near, atol=5 * torch.finfo(dtype).eps, rtol=0)


def test_half_bisects_the_angle_and_thirds_part_it():
    """Points of 0 and 90 degrees on a circle."""
    a, b = on_circle(0, 0), on_circle(90, 90)
    mixed = geodesic_mixup(a, b, torch.tensor([1 / 2, 1 / 3]))
    assert torch.allclose(mixed, on_circle(45, 60), atol=1e-7)


@pytest.mark.parametrize("theta", [1e-9, 1e-5, 1e-3, 5e-3, 6.3e-3, 6.4e-3, 0.1])
def test_small_angles_keep_all_their_digits(theta):
    """On both sides of 6.32e-3, where the power series takes over."""
    a, b = on_circle(math.degrees(theta)), on_circle(0)
    x, y = geodesic_mixup(a, b, 0.3)[0].tolist()
    assert y == pytest.approx(math.sin(0.3 * theta), rel=2e-14, abs=0)
    assert x == pytest.approx(math.cos(0.3 * theta), rel=2e-15)  # two products, their sum and both shares round


@pytest.mark.parametrize("other", ["signed", "same", "opposite"])
def test_exchanging_the_ends_exchanges_the_shares(other):
    a, b = pairs(20, 6)
    b = {"signed": b, "same": a, "opposite": -a}[other]
    lam = uniform(20)
    assert torch.allclose(geodesic_mixup(a, b, lam), geodesic_mixup(b, a, 1 - lam), atol=1e-14)


@pytest.mark.parametrize(("entries", "axis"), [([3.0, 0.5, -2.0], 1), ([0.5, -3.0, 0.1], 0)])
def test_antipodal_rows_are_joined_through_the_farther_of_two_axes(entries, axis):
    a = F.normalize(torch.tensor([entries], dtype=torch.float64), dim=1)
    middle = geodesic_mixup(a, -a, 0.5)
    assert (middle * a).sum().item() == pytest.approx(0, abs=1e-15)
    expected = F.normalize(torch.eye(3, dtype=torch.float64)[[axis]] - a[0, axis] * a, dim=1)
    assert torch.allclose(middle, expected, atol=1e-15)
    assert torch.allclose(geodesic_mixup(-a, a, 0.5), expected, atol=1e-15)


@pytest.mark.parametrize("stretch", [1e-8, -1e-8, 1e-3])
def test_rows_of_unequal_length_are_antipodal_all_the_same(stretch):
    """Float32 rows given as float64: a + b is then longer than rounding, but along a."""
    a, _ = pairs(20, 6)
    middle = geodesic_mixup(a, -(1 + stretch) * a, 0.5)
    assert torch.allclose(middle.norm(dim=1), torch.ones(20).double(), atol=1e-14)
    assert torch.allclose((middle * a).sum(1), torch.zeros(20).double(), atol=1e-14)


def test_the_mixture_of_a_row_with_itself_is_that_row():
    a, _ = pairs(20, 6)
    assert torch.allclose(geodesic_mixup(a, a, uniform(20)), a, atol=1e-15)


@pytest.mark.parametrize("theta", [0.0, 1e-9, 1e-4, 6.3e-3, 6.4e-3, 0.1, 1.5, 3.0, math.pi - 1e-3])
def test_the_gradient_of_the_geodesic_is_that_of_finite_differences(theta):
    a, across = torch.tensor([[1.0, 0, 0]]).double(), torch.tensor([[0, 0.6, 0.8]]).double()
    b = math.cos(theta) * a + math.sin(theta) * across
    lam = torch.tensor(0.3, dtype=torch.float64)
    mix = lambda a, b, lam: geodesic_mixup(F.normalize(a, dim=1), F.normalize(b, dim=1), lam)  # noqa: E731
    assert torch.autograd.gradcheck(mix, [value.requires_grad_() for value in (a, b, lam)], eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("share", [0.99, 1.01])
def test_float32_gradients_are_exact_on_both_sides_of_where_the_series_takes_over(share):
    theta = share * 2 * math.sqrt(1e-5)
    found = []
    for dtype in (torch.float32, torch.float64):
        a, b = on_circle(0).to(dtype), on_circle(math.degrees(theta)).to(dtype).requires_grad_()
        lam = torch.tensor([0.3], dtype=dtype, requires_grad=True)
        mixed = geodesic_mixup(a, F.normalize(b, dim=1), lam)
        found.append([each.double() for each in torch.autograd.grad(mixed[0, 1], [b, lam])])
    for single, double in zip(*found, strict=True):
        assert torch.allclose(single, double, rtol=1e-4, atol=1e-5)
    assert found[1][1].item() == pytest.approx(-theta, rel=1e-4)  # sin((1 − λ)θ) by λ


@pytest.mark.parametrize("dtype", [*HALF, torch.float32, torch.float64])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("where", ["same", "opposite", "nearly opposite", "long", "short"])
def test_values_and_gradients_are_finite_where_the_formula_is_not(name, where, dtype):
    """θ = 0, θ = π, and rows whose rounding puts |cos| above 1; two matched rows among five, each its partner's too."""
    x, y = pairs(5, 8)
    x[1] = y[1] = x[0]
    y[0] = x[0]
    if where == "opposite":
        y[:3], x[1] = -x[:3], -x[0]
    elif where == "nearly opposite":
        y[:3], x[1] = -x[:3] + 1e-3 * y[:3], 1e-3 * x[2] - x[0]
    elif where in ("long", "short"):
        stretch = 1 + (4 if where == "long" else -4) * torch.finfo(dtype).eps
        x, y = x * stretch, y * stretch
    x, y = x.to(dtype).requires_grad_(), y.to(dtype).requires_grad_()
    if where == "long":
        assert (x.double() * y.double()).sum(1)[0] > 1
    for lam in (0.0, 0.3, 0.5, 1.0, uniform(5)):
        value = every_loss(lam, torch.tensor([1, 0, 3, 4, 2]), 0.01)[name](x, y)
        assert value.dtype == torch.promote_types(dtype, torch.float32)
        gradients = torch.autograd.grad(value, [x, y])
        assert torch.isfinite(value)
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", LOSSES)
def test_half_types_are_computed_in_float32(name, dtype):
    x, y = (rows.to(dtype) for rows in pairs(16, 8))
    loss = every_loss(uniform(16), turned(16), 0.05)[name]
    found = loss(x, y)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(loss(x.double(), y.double()).item(), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_autocast_changes_nothing(name):
    x, y = (rows.float() for rows in pairs(16, 8))
    loss = every_loss(uniform(16), turned(16), 0.05)[name]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(x, y)
    assert inside.item() == loss(x, y).item()


@pytest.mark.parametrize("name", LOSSES)
def test_one_modality_may_be_of_another_type(name):
    x, y = pairs()
    loss = every_loss(uniform(7), turned(7), 0.1)[name]
    for found in (loss(x.float(), y), loss(x, y.float())):
        assert found.dtype == torch.float64
        assert found.item() == pytest.approx(loss(x, y).item(), rel=1e-5)


@given(
    seed=st.integers(0, 10**6),
    m=st.integers(2, 9),
    d=st.integers(2, 20),
    lam=st.floats(0, 1),
    tau=st.floats(0.005, 5),
    dtype=st.sampled_from([*HALF, torch.float32, torch.float64]),
    collapsed=st.booleans(),
)
def test_no_batch_makes_a_loss_negative_or_its_gradient_infinite(seed, m, d, lam, tau, dtype, collapsed):
    x, y = pairs(m, d, seed=seed)
    if collapsed:  # captions all equal
        y = y[:1].expand(m, d)
    x, y = (rows.to(dtype).detach().requires_grad_() for rows in (x, y))
    for name, loss in every_loss(lam, torch.arange(m).flip(0), tau).items():
        value = loss(x, y)
        assert torch.isfinite(value), name
        assert value >= 0 or "uniformity" in name, name
        assert all(torch.isfinite(gradient).all() for gradient in torch.autograd.grad(value, [x, y])), name


# --------------------------------------------------------------------------------------------- what each is about


def test_contrastive_is_the_loss_of_clip():
    x, y = pairs(9, 6)
    logits = x @ y.T / 0.07
    ways = [F.cross_entropy(each, torch.arange(9)) for each in (logits, logits.T)]
    assert contrastive(x, y, 0.07).item() == pytest.approx(sum(ways).item() / 2, rel=1e-14)


def test_a_small_loss_keeps_its_digits_at_a_scale_of_100():
    identity = torch.eye(4, dtype=torch.float64)
    x = torch.linalg.cholesky(0.86 + 0.14 * identity)  # rows of cosine 0.86 with each other
    expected = contrastive(x, x, 0.01).item()
    assert expected == pytest.approx(math.log1p(3 * math.exp(-14)), rel=1e-9)
    # not that of a difference of logits near 100, whose rounding is three times this loss
    assert contrastive(x.float(), x.float(), 0.01).item() == pytest.approx(expected, rel=0.05)


def test_m2_mix_without_image_share_is_plain_cross_entropy_towards_the_texts():
    x, y = pairs()
    of_image, of_text = m2_cosines(x, y, 0.0)
    assert torch.allclose(of_image, x @ y.T, atol=1e-14)
    among_texts = torch.where(torch.eye(7, dtype=torch.bool), (x * y).sum(1), y @ y.T)
    assert torch.allclose(of_text, among_texts, atol=1e-14)
    expected = F.cross_entropy(x @ y.T / 0.07, torch.arange(7)) + F.cross_entropy(among_texts / 0.07, torch.arange(7))
    assert m2_mix(x, y, 0.0, 0.07).item() == pytest.approx(expected.item() / 2, rel=1e-12)


def test_m2_mix_without_text_share_has_images_among_images():
    x, y = pairs()
    of_image, of_text = m2_cosines(x, y, 1.0)
    among_images = torch.where(torch.eye(7, dtype=torch.bool), (x * y).sum(1), x @ x.T)
    assert torch.allclose(of_image, among_images, atol=1e-14)
    assert torch.allclose(of_text, y @ x.T, atol=1e-14)


@given(seed=st.integers(0, 10**6), lam=st.floats(0, 1))
def test_the_diagonal_of_m2_mix_is_never_mixed(seed, lam):
    x, y = pairs(seed=seed)
    for cosines in m2_cosines(x, y, lam):
        assert torch.equal(cosines.diagonal(), (x * y).sum(1))


def test_lambda_1_mixes_nothing_within_a_modality():
    x, y = pairs()
    plain = contrastive(x, y, 0.1).item()
    for loss in (v_mix, l_mix, vl_mix):
        assert loss(x, y, 1.0, turned(7), 0.1).item() == pytest.approx(plain, rel=1e-12)


def test_lambda_0_gives_each_row_to_its_partner():
    x, y = pairs()
    r = turned(7)
    assert v_mix(x, y, 0.0, r, 0.1).item() == pytest.approx(contrastive(x, y, 0.1).item(), rel=1e-12)
    assert vl_mix(x, y, 0.0, r, 0.1).item() == pytest.approx(contrastive(x[r], y[r], 0.1).item(), rel=1e-12)


def test_the_target_both_adds_the_entropy_of_the_partner():
    x, y = pairs()
    r = turned(7)
    logits = geodesic_mixup(x, x[r], 0.4) @ geodesic_mixup(y, y[r], 0.4).T / 0.1
    partner = (F.cross_entropy(logits, r) + F.cross_entropy(logits.T, r.argsort())) / 2
    added = vl_mix(x, y, 0.4, r, 0.1, target="both") - vl_mix(x, y, 0.4, r, 0.1)
    assert added.item() == pytest.approx(partner.item(), rel=1e-12)


def test_a_row_may_be_its_own_partner():
    """The middle of an odd batch that is reversed."""
    x, y = pairs()
    flip = torch.arange(7).flip(0)
    for loss in (v_mix, l_mix, vl_mix):
        assert torch.isfinite(loss(x, y, 0.4, flip, 0.1))


def test_mixed_negatives_are_harder_on_two_cones():
    """λ of Beta(0.5, 0.5): images meet other texts at about 0.15, mixtures of other pairs far nearer."""
    x, y = two_cones()
    off = ~torch.eye(len(x), dtype=torch.bool)
    plain = (x @ y.T)[off].mean().item()
    assert plain == pytest.approx(0.15, abs=0.07)
    generator = torch.Generator().manual_seed(0)
    lam = torch.sin(torch.rand(len(x), generator=generator).double() * math.pi / 2) ** 2  # arcsine law
    for shares in (lam, 0.25, 0.5, 0.75):
        assert all(cosines[off].mean().item() > plain + 0.1 for cosines in m2_cosines(x, y, shares))
    assert m2_mix(x, y, lam, 0.07) > contrastive(x, y, 0.07)


def test_hcl_without_reweighting_is_contrastive():
    x, y = pairs(9, 6)
    found = hcl(x, y, 0.2, tau_plus=0.0, beta=0.0)
    assert found.item() == pytest.approx(contrastive(x, y, 0.2).item(), rel=1e-12)


def test_hcl_grows_with_the_weight_of_hard_negatives_and_falls_with_the_share_of_false_ones():
    x, y = pairs(9, 6)
    assert hcl(x, y, 0.2, beta=2.0) > hcl(x, y, 0.2, beta=1.0) > hcl(x, y, 0.2, beta=0.0)
    assert hcl(x, y, 0.2, tau_plus=0.0) > hcl(x, y, 0.2, tau_plus=0.05) > hcl(x, y, 0.2, tau_plus=0.1)


@pytest.mark.parametrize("tau_plus", [0.3, 0.9])
def test_hcl_stays_at_its_bound_where_the_debiased_negatives_are_fewer(tau_plus):
    """Orthogonal pairs at τ = 1: N_g would be (3 − 0.9 e)/0.7 = 0.79, or negative for 0.9; the bound is 3/e = 1.1."""
    x = torch.eye(4, dtype=torch.float64)
    expected = math.log(1 + 3 / math.e / math.e)
    assert hcl(x, x, 1.0, tau_plus=tau_plus).item() == pytest.approx(expected, rel=1e-12)


def test_uniformity_and_alignment_are_those_of_the_panel():
    x, y = pairs(30, 6)
    of_each = (metrics.uniformity(x) + metrics.uniformity(y)) / 2
    assert losses.uniformity(x, y).item() == pytest.approx(of_each.item(), rel=1e-12)
    assert losses.cross_uniformity(x, y).item() == pytest.approx(metrics.uniformity_cross(x, y).item(), rel=1e-12)
    assert losses.alignment(x, y).item() == pytest.approx(metrics.alignment(x, y).item(), rel=1e-12)


def test_consistency_is_zero_where_the_texts_are_turned_images():
    x, _ = pairs()
    turn = torch.linalg.qr(random_rows(5, 5, seed=9)).Q
    # squares of differences of cosines, each of which is off by 1e-16; nor need x·yᵀ come out symmetric to the last bit
    assert losses.in_modal_consistency(x, x @ turn).item() == pytest.approx(0, abs=1e-28)
    assert losses.cross_modal_consistency(x, x).item() == pytest.approx(0, abs=1e-28)
    assert losses.cross_modal_consistency(x, x @ turn).item() > 0.1


@pytest.mark.parametrize("tau", [0.01, 0.1, 1.0])
def test_the_bias_left_out_of_siglip_is_the_one_of_least_loss(tau):
    x, y = pairs(9, 6)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([bias], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = siglip(x, y, tau, bias)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert siglip(x, y, tau).item() == pytest.approx(siglip(x, y, tau, bias).item(), rel=1e-8)
    assert siglip(x, y, tau) <= siglip(x, y, tau, bias.item() + 0.5)
    assert siglip(x, y, tau) <= siglip(x, y, tau, bias.item() - 0.5)


# -------------------------------------------------------------------------------------------------------- refusal


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_no_batch_of_pairs_is_refused(name):
    loss = every_loss(0.5, torch.tensor([1, 0]), 0.1)[name]
    with pytest.raises(ValueError, match=r"must be \(M, D\), got \(2, 3\) and \(3, 3\)"):
        loss(torch.ones(2, 3), torch.ones(3, 3))
    with pytest.raises(ValueError, match=r"must be \(M, D\), got \(3,\) and \(3,\)"):
        loss(torch.ones(3), torch.ones(3))
    with pytest.raises(ValueError, match="a batch of 1 has no negatives: give at least 2 pairs"):
        loss(torch.ones(1, 3), torch.ones(1, 3))
    with pytest.raises(ValueError, match=r"floating-point numbers, got torch\.int64"):
        loss(torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 3))


@pytest.mark.parametrize("tau", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", ["contrastive", "m2_mix", "v_mix", "l_mix", "vl_mix", "hcl", "siglip", *HELD])
def test_a_temperature_that_is_not_positive_is_refused(name, tau):
    with pytest.raises(ValueError, match="temperature must be positive and finite"):
        every_loss(0.5, turned(7), tau)[name](*pairs())


@pytest.mark.parametrize("name", ["m2_mix", "v_mix", "l_mix", "vl_mix"])
def test_lambda_is_one_number_or_one_a_row(name):
    with pytest.raises(ValueError, match=r"lam must be one number or one for each of 7 rows, got \(3,\)"):
        every_loss(torch.rand(3), turned(7), 0.1)[name](*pairs())


@pytest.mark.parametrize("partner", [torch.arange(6), torch.rand(7), torch.ones(7, dtype=torch.bool)])
@pytest.mark.parametrize("name", ["v_mix", "l_mix", "vl_mix"])
def test_partners_are_integers_one_a_row(name, partner):
    with pytest.raises(ValueError, match="partner must hold 7 integers"):
        every_loss(0.5, partner, 0.1)[name](*pairs())


def test_other_parameters_are_checked():
    x, y = pairs()
    with pytest.raises(ValueError, match="target 'partner': use one of identity, both"):
        vl_mix(x, y, 0.5, turned(7), 0.1, target="partner")
    with pytest.raises(ValueError, match=r"tau_plus must be in \[0, 1\)"):
        hcl(x, y, 0.1, tau_plus=1.0)
    with pytest.raises(ValueError, match="beta at least 0"):
        hcl(x, y, 0.1, beta=-1.0)
    with pytest.raises(ValueError, match=r"d at least 2, got \(3, 1\)"):
        geodesic_mixup(torch.ones(3, 1), torch.ones(3, 1), 0.5)
