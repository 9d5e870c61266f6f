"""Objective: what is drawn for a step and what is not, and how terms become one loss."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from helpers import random_rows
from torch import Tensor

from geomclip import losses
from geomclip.machine.errors import InputError
from geomclip.training.batches import Batch
from geomclip.training.methods import METHODS
from geomclip.training.objective import Draws, Features, draws, method_objective, objective
from geomclip.training.settings import WEIGHTS, Settings, preset

pytestmark = pytest.mark.numeric

TRAINED = [name for name, method in METHODS.items() if method.stage == "train"]


def features(m: int = 8, *, tau: float = 0.05, bias: float | None = None) -> Features:
    x = random_rows(m, 6, seed=0)
    y = F.normalize(x + 0.8 * random_rows(m, 6, seed=1), dim=1)
    return Features(
        x.requires_grad_(),
        y.requires_grad_(),
        torch.tensor(1 / tau, dtype=torch.float64, requires_grad=True),
        None if bias is None else torch.tensor(bias, dtype=torch.float64, requires_grad=True),
    )


def settings_of(name: str, **changes: object) -> Settings:
    return Settings(**{**METHODS[name].defaults, **changes, "method": name})


def drawn(name: str, settings: Settings | None = None, *, size: int = 8, seed: int = 0) -> Draws:
    generator = torch.Generator().manual_seed(seed)
    return draws(METHODS[name], size, generator, settings or settings_of(name))


def total_of(name: str, epoch: int = 0, **changes: object) -> Tensor:
    settings = settings_of(name, **changes)
    return objective(METHODS[name], features(), drawn(name, settings), settings, epoch)[0]


# ---------------------------------------------------------------------------------------------------------- draws


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_draws_what_its_terms_need(name):
    assert list(drawn(name).lam) == [term for term in WEIGHTS if term in METHODS[name].mixed]


def test_the_same_generator_gives_the_same_draws_and_another_gives_others():
    once, again, other = drawn("m3mix"), drawn("m3mix"), drawn("m3mix", seed=1)
    assert once.lam == again.lam != other.lam
    assert torch.equal(once.partner, again.partner)
    assert not torch.equal(once.partner, other.partner)


def test_the_global_generators_are_neither_read_nor_moved():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = drawn("m3mix")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert drawn("m3mix").lam == first.lam


def test_methods_that_share_a_term_share_its_draws():
    settings = settings_of("m2mix")
    of_all = drawn("m3mix", settings)
    for name in ("m2mix", "vmix", "lmix", "vlmix", "imix"):
        alone = drawn(name, settings)
        assert alone.lam == {term: of_all.lam[term] for term in METHODS[name].mixed}
        assert torch.equal(alone.partner, of_all.partner)


def test_every_term_has_a_lambda_of_its_own():
    assert len({float(lam) for lam in drawn("m3mix").lam.values()}) == 4


@pytest.mark.parametrize("per_sample", [False, True])
def test_one_lambda_a_batch_or_one_a_row(per_sample):
    settings = settings_of("m3mix", per_sample=per_sample)
    for lam in drawn("m3mix", settings).lam.values():
        assert lam.shape == ((8,) if per_sample else ())
        assert ((lam >= 0) & (lam <= 1)).all()
    if per_sample:
        assert len(set(drawn("m2mix", settings).lam["m2_mix"].tolist())) == 8


@pytest.mark.parametrize(
    ("setting", "terms"), [("beta_m2", {"m2_mix"}), ("beta_mix", {"v_mix", "l_mix"}), ("beta_vl", {"vl_mix"})]
)
def test_lambda_has_the_variance_of_its_beta(setting, terms):
    """Beta(b, b) has mean 1/2 and variance 1/(4(2b + 1)); 20,000 draws."""
    settings = settings_of("m3mix", per_sample=True, **{"beta_m2": 0.5, setting: 4.0})
    for term, lam in drawn("m3mix", settings, size=20_000).lam.items():
        b = 4.0 if term in terms else 0.5
        assert lam.mean().item() == pytest.approx(0.5, abs=0.01)
        assert lam.var().item() == pytest.approx(1 / (4 * (2 * b + 1)), rel=0.03)


def test_a_small_beta_gives_ends_and_no_nan():
    lam = drawn("m2mix", settings_of("m2mix", beta_m2=1e-3, per_sample=True), size=1000).lam["m2_mix"]
    assert torch.isfinite(lam).all()
    assert ((lam < 0.01) | (lam > 0.99)).double().mean() > 0.95


@pytest.mark.parametrize("size", [2, 3, 8, 129])
def test_nobody_is_its_own_partner(size):
    for seed in range(20):
        partner = drawn("vmix", size=size, seed=seed).partner
        assert (partner.sort().values == torch.arange(size)).all()
        assert (partner != torch.arange(size)).all()


def test_all_derangements_are_drawn_alike():
    """Nine of four; 1,800 draws give 200 of each, with a standard deviation of 13."""
    seen = Counter(tuple(drawn("vmix", size=4, seed=seed).partner.tolist()) for seed in range(1800))
    assert len(seen) == 9
    assert all(140 < count < 260 for count in seen.values())


def test_flip_reverses_the_batch():
    assert drawn("vmix", settings_of("vmix", partner="flip"), size=5).partner.tolist() == [4, 3, 2, 1, 0]


def test_a_batch_of_one_has_no_partners():
    with pytest.raises(ValueError, match="a batch of 1 has no partners to mix"):
        drawn("vmix", size=1)


# ------------------------------------------------------------------------------------------------------ objective


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("per_sample", [False, True])
def test_every_method_gives_a_finite_loss_that_moves_both_modalities(name, per_sample):
    rows, settings = features(), settings_of(name, per_sample=per_sample)
    total, terms = objective(METHODS[name], rows, drawn(name, settings), settings, 0)
    assert tuple(terms) == METHODS[name].terms
    assert total.shape == ()
    assert all(not value.requires_grad and value.shape == () for value in terms.values())
    by_image, by_text, by_scale = torch.autograd.grad(total, [rows.image, rows.text, rows.scale])
    for gradient in (by_image, by_text, by_scale):
        assert torch.isfinite(gradient).all()
        assert gradient.any()


def test_m3_mix_is_the_sum_that_the_definition_says():
    rows, settings = features(tau=0.05), settings_of("m3mix", weights={"m2_mix": 0.3, "v_mix": 0.2, "vl_mix": 0.7})
    step = drawn("m3mix", settings)
    x, y, r, lam = rows.image, rows.text, step.partner, step.lam
    expected = (
        losses.contrastive(x, y, 0.05)
        + (
            0.3 * losses.m2_mix(x, y, lam["m2_mix"], 0.07)
            + 0.2 * losses.v_mix(x, y, lam["v_mix"], r, 0.05)
            + WEIGHTS["l_mix"] * losses.l_mix(x, y, lam["l_mix"], r, 0.05)
            + 0.7 * losses.vl_mix(x, y, lam["vl_mix"], r, 0.05)
        )
        / 3
    )
    total, _ = objective(METHODS["m3mix"], rows, step, settings, 2)
    assert total.item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("name", TRAINED)
def test_only_mixed_terms_fade_with_the_epochs(name):
    mixed = bool(METHODS[name].mixed)
    assert (total_of(name, 3, decay="epoch").item() != total_of(name, 0, decay="epoch").item()) == mixed
    assert total_of(name, 3, decay="none").item() == total_of(name, 0, decay="epoch").item()


def test_imix_and_unmix_do_not_fade_of_themselves():
    for name in ("imix", "unmix"):
        assert total_of(name, 3).item() == total_of(name, 0).item()
    assert total_of("m2mix", 3).item() != total_of("m2mix", 0).item()


@pytest.mark.parametrize("name", ["imix", "unmix"])
def test_the_authors_settings_leave_a_method_what_it_is(name):
    assert Settings(**{**METHODS[name].defaults, **preset("oh2023", name)}).decay == "none"
    assert Settings(**{**METHODS["m3mix"].defaults, **preset("oh2023", "m3mix")}).beta_m2 == 0.2


def test_unmix_is_imix_and_contrastive():
    rows = features()
    added = total_of("unmix") - total_of("imix")
    assert added.item() == pytest.approx(losses.contrastive(rows.image, rows.text, 0.05).item(), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ft", lambda x, y: losses.contrastive(x, y, 0.05)),
        ("lp-ft", lambda x, y: losses.contrastive(x, y, 0.05)),
        ("hcl", lambda x, y: losses.hcl(x, y, 0.05)),
        (
            "cyclip",
            lambda x, y: (
                losses.contrastive(x, y, 0.05)
                + 0.25 * losses.in_modal_consistency(x, y)
                + 0.25 * losses.cross_modal_consistency(x, y)
            ),
        ),
        ("cua", lambda x, y: losses.contrastive(x, y, 0.05) + losses.uniformity(x, y) + losses.alignment(x, y)),
        (
            "cuaxu",
            lambda x, y: (
                losses.contrastive(x, y, 0.05)
                + losses.uniformity(x, y)
                + losses.alignment(x, y)
                + losses.cross_uniformity(x, y)
            ),
        ),
        ("siglip", lambda x, y: losses.siglip(x, y, 0.05)),
    ],
)
def test_a_rival_is_the_sum_of_its_terms(name, expected):
    rows = features()
    assert total_of(name).item() == pytest.approx(expected(rows.image, rows.text).item(), rel=1e-12)


def test_geodesic_and_g2l_are_the_sums_of_their_terms():
    rows, settings = features(), settings_of("g2l", neighbors=2, width=0.9, players=3, coalitions=8)
    step = drawn("g2l", settings)
    assert step.coalitions.shape == (8, 6)
    x, y = rows.image, rows.text
    near = losses.geodesic_contrastive(x, y, 0.05, neighbors=2, width=0.9)
    played = losses.shapley_alignment(x, y, 0.05, step.coalitions, neighbors=2)
    alone = objective(METHODS["geodesic"], rows, step, settings, 0)[0]
    assert alone.item() == pytest.approx(near.item(), rel=1e-12)
    expected = losses.contrastive(x, y, 0.05) + near + 0.1 * played
    assert objective(METHODS["g2l"], rows, step, settings, 0)[0].item() == pytest.approx(expected.item(), rel=1e-12)


def test_coalitions_are_drawn_for_who_plays_and_change_no_other_draw():
    assert drawn("ft").coalitions is None
    assert torch.equal(drawn("g2l").coalitions, drawn("g2l").coalitions)
    assert not torch.equal(drawn("g2l").coalitions, drawn("g2l", seed=1).coalitions)
    assert torch.equal(drawn("g2l").partner, drawn("ft").partner)


def test_siglip_uses_and_moves_the_bias_of_a_model_that_has_one():
    rows, settings = features(bias=-3.0), settings_of("siglip")
    total, _ = objective(METHODS["siglip"], rows, drawn("siglip"), settings, 0)
    assert total.item() == pytest.approx(losses.siglip(rows.image, rows.text, 0.05, -3.0).item(), rel=1e-12)
    assert torch.autograd.grad(total, [rows.bias])[0].item() != 0


def test_the_temperature_of_m2_mix_is_its_own():
    """With a weight of 1 and nothing else, the scale moves the contrastive term alone."""
    rows, settings = features(), settings_of("m2mix")
    _, terms = objective(METHODS["m2mix"], rows, drawn("m2mix"), settings, 0)
    _, sharper = objective(METHODS["m2mix"], features(tau=0.01), drawn("m2mix"), settings, 0)
    _, other = objective(METHODS["m2mix"], rows, drawn("m2mix"), replace(settings, temperature_m2=0.5), 0)
    assert terms["m2_mix"] == sharper["m2_mix"] != other["m2_mix"]
    assert terms["contrastive"] == other["contrastive"] != sharper["contrastive"]


def test_the_target_of_vl_mix_is_a_setting():
    assert total_of("vlmix", vl_target="both").item() > total_of("vlmix", vl_target="identity").item()


# --------------------------------------------------------------------------------------------- as the trainer asks


def test_a_step_of_the_trainer_depends_on_the_seed_and_the_step_alone():
    rows, batch = features(), Batch(torch.zeros(8, 3, 2, 2), torch.zeros(8, 4, dtype=torch.int64))
    loss_at = lambda seed, step: method_objective(METHODS["m3mix"], settings_of("m3mix", seed=seed))(  # noqa: E731
        rows, batch, step=step, epoch=0
    )
    once = loss_at(0, 5)
    assert once.drawn == loss_at(0, 5).drawn
    assert once.total == loss_at(0, 5).total
    assert list(once.drawn) == ["lambda"]
    assert list(once.drawn["lambda"]) == list(once.terms)[1:] == ["m2_mix", "v_mix", "l_mix", "vl_mix"]
    assert once.drawn != loss_at(0, 6).drawn
    assert once.drawn != loss_at(1, 5).drawn


def test_a_method_that_does_not_train_has_no_objective():
    for name in ("wise-ft", "es"):
        with pytest.raises(InputError, match=f"{name} minimises nothing"):
            method_objective(METHODS[name], settings_of(name))
