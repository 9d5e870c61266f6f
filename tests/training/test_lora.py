"""Adapters on every kind of tower: nothing at first, all of what is trained, and gone without a trace when merged."""

from __future__ import annotations

import copy
import importlib.util
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from tower_kinds import HEADS, KINDS, inputs, module_of, rows

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.training.lora import adapt, adaptable, adapter_class, merged
from geomclip.training.parameters import JOINT, freeze_statistics, lock, parameter_groups, tower_of, trained
from geomclip.training.settings import Settings

pytestmark = pytest.mark.numeric

needs_peft = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="peft is not installed")


def learning(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, each) for name, each in module.named_parameters() if each.requires_grad)


def trained_a_little(module: nn.Module, *, seed: int = 0) -> nn.Module:
    """The adapted module after a large step in a random direction."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, each in learning(module):
            each.add_(0.1 * torch.randn(each.shape, generator=draw))
    return module


def loss_of(module: nn.Module, pixels: Tensor, tokens: Tensor) -> Tensor:
    both = rows(module, pixels, tokens)
    image, text = both.chunk(2, dim=1)
    return nn.functional.cross_entropy(module.logit_scale.exp() * image @ text.T, torch.arange(len(image)))


@needs_peft
@pytest.mark.parametrize("kind", KINDS)
def test_adapters_change_nothing_at_first_and_the_base_is_left_alone(kind):
    module = module_of(kind)
    kept, flags = copy.deepcopy(module.state_dict()), [each.requires_grad for each in module.parameters()]
    batch = inputs(module)
    expected = rows(module, *batch)
    adapted = adapt(module, 3, seed=5)
    torch.testing.assert_close(rows(adapted, *batch), expected, rtol=0, atol=1e-6)
    trained_a_little(adapted)
    rows(adapted, *batch).sum().backward()
    assert all(torch.equal(value, kept[name]) for name, value in module.state_dict().items())
    assert [each.requires_grad for each in module.parameters()] == flags
    assert all(each.grad is None for each in module.parameters())


@needs_peft
@pytest.mark.parametrize("kind", KINDS)
def test_attention_and_mlp_are_adapted_and_only_adapters_and_the_logit_scale_learn(kind):
    adapted = adapt(module_of(kind), 3)
    names = {name for name, _ in learning(adapted)}
    adapters = {name for name in names if ".lora_A." in name or ".lora_B." in name}
    assert names == adapters | {name for name in JOINT if getattr(adapted, name) is not None}
    layers = {name.split(".lora_")[0] for name in adapters}
    assert 2 * len(layers) == len(adapters)
    assert not layers & {name.rpartition(".")[0] for name in HEADS[kind]}
    assert {tower_of(name) for name in layers} == ({"text"} if kind == "timm-resnet" else {"image", "text"})


@needs_peft
@pytest.mark.parametrize(
    ("kind", "tower", "layers"),
    [
        ("openai", "image", {"in_proj", "out_proj", "c_fc", "c_proj"}),
        ("custom-blocks", "image", {"in_proj", "out_proj", "c_fc", "c_proj"}),
        ("coca", "image", {"in_proj", "q_proj", "k_proj", "v_proj", "out_proj", "c_fc", "c_proj"}),
        ("resnet", "image", {"q_proj", "k_proj", "v_proj"}),
        ("timm-vit", "image", {"qkv", "proj", "fc1", "fc2"}),
        ("timm-siglip", "image", {"qkv", "proj", "fc1", "fc2", "q", "kv"}),
        ("timm-convnext", "image", {"fc1", "fc2"}),
        ("timm-resnet", "image", set()),
        ("bert", "text", {"query", "key", "value", "dense"}),
        ("mt5", "text", {"q", "k", "v", "o", "wi_0", "wi_1", "wo"}),
        ("m2m_100", "text", {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"}),
    ],
)
def test_which_layers_are_adapted(kind, tower, layers):
    names = {name for name, _ in learning(adapt(module_of(kind), 3)) if ".lora_A." in name and tower_of(name) == tower}
    assert {name.split(".lora_A.")[0].rpartition(".")[2] for name in names} == layers


@needs_peft
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_adapter_and_nothing_else(kind, training):
    adapted = trained_a_little(adapt(module_of(kind), 3))
    adapted.train(training)
    freeze_statistics(adapted)
    loss_of(adapted, *inputs(adapted)).backward()
    for name, each in adapted.named_parameters():
        if not each.requires_grad:
            assert each.grad is None, name
        elif name != "logit_bias":  # the softmax does not see it
            assert each.grad is not None, name
            assert each.grad.any(), name


@needs_peft
@pytest.mark.parametrize("kind", KINDS)
def test_the_merged_model_is_the_adapted_one_under_the_original_names(kind):
    module = module_of(kind)
    adapted = trained_a_little(adapt(module, 3))
    kept = copy.deepcopy(adapted.state_dict())
    batch = inputs(module)
    expected = rows(adapted, *batch)
    assert (expected - rows(module, *batch)).abs().max() > 0.01
    plain = merged(adapted)
    torch.testing.assert_close(rows(plain, *batch), expected, rtol=0, atol=1e-5)
    assert list(plain.state_dict()) == list(module.state_dict())
    assert [name for name, _ in plain.named_parameters()] == [name for name, _ in module.named_parameters()]
    assert [type(part) for part in plain.modules()] == [type(part) for part in module.modules()]
    assert all(vars(a).keys() == vars(b).keys() for a, b in zip(plain.modules(), module.modules(), strict=True))
    assert not plain.training
    assert not any(each.requires_grad for each in plain.parameters())
    again = module_of(kind, seed=1).requires_grad_(False)
    again.load_state_dict(plain.state_dict())
    assert torch.equal(rows(again, *batch), rows(plain, *batch))
    with torch.no_grad():  # where attention takes another, faster way
        torch.testing.assert_close(rows(adapted, *batch), expected.detach(), rtol=0, atol=1e-5)
    # and the adapted one goes on as it was
    assert all(torch.equal(value, kept[name]) for name, value in adapted.state_dict().items())
    assert torch.equal(rows(adapted, *batch), expected)


@needs_peft
def test_a_merged_weight_is_the_base_plus_alpha_over_rank_times_both_factors():
    module = module_of("openai")
    for alpha, scale in ((0.0, 2.0), (12.0, 4.0)):
        adapted = trained_a_little(adapt(module, 3, alpha))
        plain = dict(merged(adapted).named_parameters())
        layers = {"attn.in_proj": "attn.in_proj_weight", "mlp.c_fc": "mlp.c_fc.weight"}
        for layer, weight in layers.items():
            block = "visual.transformer.resblocks.1."
            found = adapted.get_submodule(block + layer)
            update = found.lora_B.default.weight @ found.lora_A.default.weight
            expected = module.get_parameter(block + weight) + scale * update
            torch.testing.assert_close(plain[block + weight], expected)
            torch.testing.assert_close(found.get_delta_weight("default"), scale * update)  # peft's own word for it


@needs_peft
def test_adapters_come_from_the_seed_alone():
    module = module_of("openai")
    before = torch.get_rng_state()
    first, again, other = adapt(module, 3, seed=1), adapt(module, 3, seed=1), adapt(module, 3, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    drawn = [name for name, _ in learning(first) if ".lora_A." in name]
    assert drawn
    assert not any(torch.equal(first.get_parameter(name), other.get_parameter(name)) for name in drawn)


@needs_peft
@pytest.mark.parametrize("kind", KINDS)
def test_a_bfloat16_copy_follows_its_float32_master(kind):
    master = trained_a_little(adapt(module_of(kind), 3))
    worker = copy.deepcopy(master).bfloat16()
    names, batch = [name for name, _ in worker.named_parameters()], inputs(master)
    ids = [id(each) for each in worker.parameters()]
    loss_of(master, *batch).backward()
    for training in (True, False):
        worker.train(training)
        freeze_statistics(worker)
        with torch.no_grad():
            rows(worker, *batch)
            for low, own in zip(worker.parameters(), master.parameters(), strict=True):
                low.copy_(own)
    worker.zero_grad()
    loss_of(worker, *batch).backward()
    # forward passes put nothing in another order, replace nothing and write to nothing
    assert [name for name, _ in worker.named_parameters()] == names
    assert [id(each) for each in worker.parameters()] == ids
    for (name, low), own in zip(worker.named_parameters(), master.parameters(), strict=True):
        assert torch.equal(low, own.bfloat16()), name
        assert (low.grad is None) == (own.grad is None), name
    flat = [
        torch.cat([each.grad.float().flatten() for _, each in learning(module) if each.grad is not None])
        for module in (worker, master)
    ]
    assert nn.functional.cosine_similarity(*flat, dim=0) > 0.9
    trained_a_little(master, seed=1)
    with torch.no_grad():
        for low, own in zip(worker.parameters(), master.parameters(), strict=True):
            low.copy_(own)
    torch.testing.assert_close(rows(worker, *batch), rows(master, *batch), rtol=0, atol=0.1)


@needs_peft
@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable. is deprecated:FutureWarning")  # open_clip's call
@pytest.mark.parametrize("kind", ["openai", "custom-text", "coca", "timm-vit", "timm-siglip", "roberta", "mt5"])
def test_gradient_checkpointing_gives_the_same_gradients(kind):
    gradients = []
    for checkpointing in (False, True):
        adapted = trained_a_little(adapt(module_of(kind), 3))
        if checkpointing:
            adapted.set_grad_checkpointing(True)
        with torch.random.fork_rng():
            torch.manual_seed(0)  # of dropout; transformers checkpoints in train mode only
            loss_of(adapted.train(), *inputs(adapted)).backward()
        gradients.append({name: each.grad for name, each in learning(adapted) if each.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-5, atol=1e-7)


@needs_peft
def test_adapters_learn_and_merge():
    module = module_of("openai")
    adapted = adapt(module, 4)
    batch = inputs(module, 8)
    optimizer = torch.optim.AdamW(parameter_groups(adapted, Settings(weight_decay=0.01)), lr=0.02)
    losses = []
    for _ in range(30):
        loss = loss_of(adapted.train(), *batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    plain = merged(adapted)
    torch.testing.assert_close(rows(plain, *batch), rows(adapted.eval(), *batch), rtol=0, atol=1e-5)
    assert plain.logit_scale == adapted.logit_scale != module.logit_scale


@needs_peft
def test_a_merged_model_stays_as_it_is_while_training_goes_on():
    adapted = trained_a_little(adapt(module_of("resnet"), 3))
    plain = merged(adapted)
    kept = copy.deepcopy(plain.state_dict())
    trained_a_little(adapted, seed=1)
    assert all(torch.equal(value, kept[name]) for name, value in plain.state_dict().items())


@needs_peft
@pytest.mark.parametrize("kind", ["openai", "resnet", "timm-convnext", "bert"])
def test_heads_learn_with_the_adapters_if_asked_and_are_merged_with_them(kind):
    module = module_of(kind)
    kept = copy.deepcopy(module.state_dict())
    adapted = adapt(module, 3, with_heads=True)
    names = {name for name, _ in learning(adapted)}
    assert {name for name in names if ".lora_" not in name} == HEADS[kind] | {"logit_scale"}
    batch = inputs(module)
    expected = rows(trained_a_little(adapted), *batch).detach()
    plain = merged(adapted)
    torch.testing.assert_close(rows(plain, *batch), expected, rtol=0, atol=1e-5)
    assert all(not torch.equal(plain.get_parameter(name), kept[name]) for name in HEADS[kind])
    trained_a_little(adapted, seed=1)
    torch.testing.assert_close(rows(plain, *batch), expected, rtol=0, atol=1e-5)
    assert all(torch.equal(value, kept[name]) for name, value in module.state_dict().items())


@needs_peft
def test_the_base_keeps_its_batch_statistics_under_adapters():
    adapted = adapt(module_of("resnet"), 3).train()
    freeze_statistics(adapted)
    kept = {name: value.clone() for name, value in adapted.named_buffers()}
    rows(adapted, *inputs(adapted))
    assert all(torch.equal(value, kept[name]) for name, value in adapted.named_buffers())


@needs_peft
def test_a_locked_tower_keeps_its_weights_through_the_merge():
    module = module_of("openai")
    adapted = adapt(module, 3)
    lock(adapted, "image")
    assert trained(adapted).image == 0
    trained_a_little(adapted)
    plain = merged(adapted).state_dict()
    assert all(torch.equal(plain[n], value) for n, value in module.state_dict().items() if n.startswith("visual."))
    assert not torch.equal(
        plain["transformer.resblocks.0.mlp.c_fc.weight"], module.transformer.resblocks[0].mlp.c_fc.weight
    )


@needs_peft
def test_a_fixed_temperature_stays_fixed_and_a_learned_bias_learned():
    module = module_of("timm-siglip")
    module.logit_scale.requires_grad_(False)
    adapted = adapt(module, 3)
    assert not adapted.logit_scale.requires_grad
    assert adapted.logit_bias.requires_grad
    assert trained(adapted).joint == 1


@needs_peft
def test_a_model_without_linear_layers_is_refused():
    module = nn.ModuleDict({"visual": nn.Conv2d(3, 3, 3), "text": nn.Embedding(3, 3)})
    with pytest.raises(InputError, match="lora: neither tower of this model has a linear layer to adapt"):
        adapt(module, 3)


def test_a_rank_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        adapt(module_of("openai"), 0)


def test_without_peft_one_line_says_what_to_install(monkeypatch):
    adapter_class.cache_clear()
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(NotAvailableError, match=r"^lora needs the peft package: pip install 'geomclip\[lora\]'$"):
        adapt(module_of("openai"), 3)


def test_a_peft_that_does_not_fit_the_rest_is_told_in_one_line(monkeypatch, tmp_path):
    adapter_class.cache_clear()
    (tmp_path / "peft.py").write_text("raise ImportError('cannot import name HybridCache')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "peft"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NotAvailableError, match=r"^lora: cannot import name HybridCache: pip install --upgrade"):
        adapt(module_of("openai"), 3)


def test_the_caption_decoder_of_coca_is_not_adapted():
    assert not [name for name in adaptable(module_of("coca")) if name.startswith("text_decoder.")]
