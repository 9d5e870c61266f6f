"""One table, one set of tests: every loss is finite with finite gradients, and what must not matter does not."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from double_loops import loop
from helpers import random_rows
from torch import Tensor
from torch.nn.functional import normalize

from geomclip import losses
from geomclip.training.settings import PRESERVE, TERMS

M, D = 7, 5
NO_LOSS = {
    *("geodesic_mixup", "m2_cosines", "geodesic_weights", "draw_coalitions"),
    *("matching_value", "pair_removal", "sampled_interaction", "shapley_interaction"),
    *("moment_contrastive", "moment_alignment", "interaction_alignment"),
}
"""Public in geomclip.losses, but no number of image-text pairs to be minimised."""
TO_A_BASE = {f"{kind}_preservation" for kind in PRESERVE}
"""Losses that also ask for the rows of a base: `test_preservation.py` has them."""
COALITIONS = losses.draw_coalitions(8, 6, generator=torch.Generator().manual_seed(4))


@dataclass(frozen=True)
class Batch:
    """Rows, and all that a loss can ask for besides."""

    image: Tensor
    text: Tensor
    lam: Tensor
    partner: Tensor
    temperature: float = 0.1
    coalitions: Tensor = COALITIONS

    def reordered(self, order: Tensor) -> Batch:
        """The same pairs at other places."""
        partner = order.argsort()[self.partner[order]]
        return Batch(self.image[order], self.text[order], self.lam[order], partner, self.temperature)


@dataclass(frozen=True)
class Promise:
    """What is promised of one loss. `value` takes a batch."""

    value: Callable[[Batch], Tensor]
    low: float = 0.0  # no value is below
    symmetric: bool = True  # images and texts may change places
    looped: str = ""  # its name among the double loops, if not its own


ASKED = ("lam", "partner", "temperature", "coalitions")


def of_rows(loss: Callable[..., Tensor], **options: object) -> Callable[[Batch], Tensor]:
    """A loss with what its parameters ask for."""
    taken = [name for name in inspect.signature(loss).parameters if name in ASKED]
    return lambda batch: loss(batch.image, batch.text, **{name: getattr(batch, name) for name in taken}, **options)


PROMISES = {
    "contrastive": Promise(of_rows(losses.contrastive)),
    "m2_mix": Promise(of_rows(losses.m2_mix), symmetric=False),  # λ is the share of the image
    "v_mix": Promise(of_rows(losses.v_mix), symmetric=False),
    "l_mix": Promise(of_rows(losses.l_mix), symmetric=False),
    "vl_mix": Promise(of_rows(losses.vl_mix)),
    "vl_mix, both": Promise(of_rows(losses.vl_mix, target="both"), looped="vl_both"),
    "hcl": Promise(of_rows(losses.hcl)),
    "siglip": Promise(of_rows(losses.siglip, bias=-1.5)),
    "siglip, bias left out": Promise(of_rows(losses.siglip), looped="-"),
    "alignment": Promise(of_rows(losses.alignment)),
    "uniformity": Promise(of_rows(losses.uniformity), low=-8.0),
    "cross_uniformity": Promise(of_rows(losses.cross_uniformity), low=-8.0),
    "geodesic_contrastive": Promise(
        of_rows(losses.geodesic_contrastive, width=0.7), symmetric=False
    ),  # the graph is of images
    "geodesic_contrastive, 1 neighbor": Promise(
        of_rows(losses.geodesic_contrastive, neighbors=1, width=0.9, most=3), symmetric=False, looped="geodesic, 1"
    ),
    "shapley_alignment": Promise(of_rows(losses.shapley_alignment), symmetric=False),
    "shapley_alignment, 1 neighbor": Promise(
        of_rows(losses.shapley_alignment, neighbors=1, softness=0.5), symmetric=False, looped="shapley, 1"
    ),
    "in_modal_consistency": Promise(of_rows(losses.in_modal_consistency), looped="in_modal"),
    "cross_modal_consistency": Promise(of_rows(losses.cross_modal_consistency), looped="cross_modal"),
}
every = pytest.mark.parametrize("name", PROMISES)


def batch(m: int = M, d: int = D, *, dtype: torch.dtype = torch.float64) -> Batch:
    """Signed rows near to each other, a λ a row; the last row's partner is the first."""
    x = random_rows(m, d, seed=0)
    y = normalize(x + 0.8 * random_rows(m, d, seed=1), dim=1)
    lam = torch.rand(m, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return Batch(x.to(dtype), y.to(dtype), lam, torch.arange(m).roll(-1))


def value(name: str, of: Batch) -> float:
    return PROMISES[name].value(of).item()


def assert_finite_with_gradients(name: str, of: Batch) -> None:
    rows = [each.clone().requires_grad_() for each in (of.image, of.text)]
    found = PROMISES[name].value(Batch(*rows, of.lam, of.partner, of.temperature))
    assert found.shape == ()
    assert torch.isfinite(found)
    assert found >= PROMISES[name].low - 1e-6
    assert all(torch.isfinite(gradient).all() for gradient in torch.autograd.grad(found, rows))


def test_the_table_covers_every_public_loss_and_every_term():
    of_table = {name.partition(",")[0] for name in PROMISES}
    assert of_table == set(losses.__all__) - NO_LOSS - TO_A_BASE == set(TERMS)


@every
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_loss_is_one_finite_number_with_finite_gradients(name, dtype):
    assert_finite_with_gradients(name, batch(dtype=dtype))


@every
@pytest.mark.parametrize("equal", ["rows", "images", "texts", "pairs"])
def test_equal_rows_leave_it_finite(name, equal):
    made = batch()
    one = made.image[:1].expand(M, D)
    image = {"rows": one, "images": one, "texts": made.image, "pairs": made.image}[equal]
    text = {"rows": one, "images": made.text, "texts": one, "pairs": made.image}[equal]
    assert_finite_with_gradients(name, Batch(image, text, made.lam, made.partner))


@every
def test_two_pairs_are_enough(name):
    assert_finite_with_gradients(name, batch(2))


@every
def test_the_order_of_the_pairs_changes_nothing(name):
    order = torch.randperm(M, generator=torch.Generator().manual_seed(5))
    assert value(name, batch().reordered(order)) == pytest.approx(value(name, batch()), rel=1e-12)


@every
def test_a_rotation_of_both_clouds_changes_nothing(name):
    made, turn = batch(), torch.linalg.qr(random_rows(D, D, seed=9)).Q
    turned = Batch(made.image @ turn, made.text @ turn, made.lam, made.partner)
    assert value(name, turned) == pytest.approx(value(name, made), rel=1e-9)


@pytest.mark.parametrize("name", [name for name, promise in PROMISES.items() if promise.symmetric])
def test_images_and_texts_may_change_places(name):
    made = batch()
    partner = torch.arange(M).flip(0)  # its own inverse: a partner in both directions
    there = Batch(made.image, made.text, made.lam, partner)
    back = Batch(made.text, made.image, made.lam, partner)
    assert value(name, back) == pytest.approx(value(name, there), rel=1e-12)


@pytest.mark.parametrize("name", [name for name, promise in PROMISES.items() if not promise.symmetric])
def test_the_others_do_tell_images_from_texts(name):
    made = batch()
    back = Batch(made.text, made.image, made.lam, made.partner)
    assert value(name, back) != pytest.approx(value(name, made), rel=1e-3)


@pytest.mark.parametrize("name", [name for name, promise in PROMISES.items() if promise.looped != "-"])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
@pytest.mark.parametrize(("dtype", "rel"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_it_equals_its_float64_double_loop(name, temperature, dtype, rel):
    exact, made = batch(), batch(dtype=dtype)
    found = PROMISES[name].value(Batch(made.image, made.text, made.lam, made.partner, temperature))
    assert found.dtype == dtype
    expected = loop(
        PROMISES[name].looped or name, exact.image, exact.text, exact.lam, exact.partner, temperature, exact.coalitions
    )
    assert found.item() == pytest.approx(expected, rel=rel)


@every
def test_rows_that_do_not_pair_are_refused(name):
    made = batch()
    with pytest.raises(ValueError, match=r"must be \(M, D\), got \(6, 5\) and \(7, 5\)"):
        PROMISES[name].value(Batch(made.image[:-1], made.text, made.lam, made.partner))


@every
def test_what_it_takes_is_left_alone(name):
    made, kept = batch(), batch()
    PROMISES[name].value(made)
    for now, then in zip(vars(made).values(), vars(kept).values(), strict=True):
        assert torch.equal(torch.as_tensor(now), torch.as_tensor(then))
