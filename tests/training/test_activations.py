"""Activations computed again: the same gradients, and no tower on which it would do nothing in silence."""

from __future__ import annotations

import pytest
import torch
from tower_kinds import KINDS, inputs, module_of, rows

from geomclip.machine.errors import InputError
from geomclip.training.activations import checkpoint_activations
from geomclip.training.parameters import freeze_statistics, lock

pytestmark = pytest.mark.numeric

CANNOT = {
    "resnet": "an OpenAI ResNet",
    "custom-blocks": "custom attention blocks",
    "timm-resnet": "shows each batch to batch normalisation twice: train this model with mode='eval'",
}


def saved_and_gradients(module):
    """Number of elements that the forward pass keeps for the backward pass, and the gradients."""
    kept: dict[int, int] = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    pixels, tokens = inputs(module)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            both = rows(module, pixels, tokens)
        weights = {each.data_ptr() for each in module.parameters()}
        (both * torch.randn(both.shape)).sum().backward()
    elements = sum(size for place, size in kept.items() if place not in weights)
    return elements, {name: each.grad for name, each in module.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in CANNOT])
def test_less_is_kept_and_the_gradients_are_the_same(kind):
    plain, saving = module_of(kind).train(), module_of(kind).train()
    checkpoint_activations(saving)
    before, expected = saved_and_gradients(plain)
    after, found = saved_and_gradients(saving)
    assert after < 0.8 * before
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", CANNOT)
def test_a_tower_that_cannot_is_refused(kind):
    with pytest.raises(InputError, match=f"^grad_checkpointing.*{CANNOT[kind]}"):
        checkpoint_activations(module_of(kind))


def test_a_trunk_that_refuses_is_told_and_not_passed_over():
    module = module_of("timm-vit")

    def refuse(enable=True):
        raise AssertionError("gradient checkpointing not supported")

    module.visual.trunk.set_grad_checkpointing = refuse
    with pytest.raises(InputError, match="a tower of this model cannot: gradient checkpointing not supported"):
        checkpoint_activations(module)


@pytest.mark.parametrize("way", ["eval", "locked"])
def test_batch_norm_that_stands_still_is_no_obstacle(way):
    plain, saving = module_of("timm-resnet"), module_of("timm-resnet")
    for module in (plain, saving):
        if way == "locked":
            lock(module, "image")
            module.train()
            freeze_statistics(module)
    checkpoint_activations(saving, training=way == "locked")
    before, expected = saved_and_gradients(plain)
    after, found = saved_and_gradients(saving)
    assert way == "locked" or after < 0.8 * before  # a tower without gradients keeps nothing anyway
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], gradient, rtol=1e-4, atol=1e-6) for name, gradient in expected.items())


def test_transformers_checkpoints_in_train_mode_only_and_says_so():
    with pytest.raises(InputError, match="with mode='train' only"):
        checkpoint_activations(module_of("bert"), training=False)
