"""Who belongs to which tower, who learns, how fast: for every kind of tower that open_clip builds."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from tower_kinds import HEADS, KINDS, inputs, module_of, rows

from geomclip.machine.errors import InputError
from geomclip.training.parameters import (
    JOINT,
    depths,
    freeze_statistics,
    has_moving_statistics,
    head_names,
    lock,
    parameter_groups,
    tower_of,
    train_only,
    trained,
    unfreeze,
)
from geomclip.training.settings import Settings

pytestmark = pytest.mark.numeric

BOTH = {"logit_scale"}


def moved_by(module: nn.Module, side: str) -> set[str]:
    """The parameters that the rows of one tower depend on, seen in the gradient of a random sum of them."""
    pixels, tokens = inputs(module)
    both = rows(module, pixels, tokens)
    own = both[:, : both.shape[1] // 2] if side == "image" else both[:, both.shape[1] // 2 :]
    weights = torch.randn(own.shape, generator=torch.Generator().manual_seed(0))
    module.zero_grad()
    (own * weights).sum().backward()
    return {name for name, each in module.named_parameters() if each.grad is not None and each.grad.any()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_tower_is_what_its_rows_depend_on_and_all_of_that_learns(kind):
    module = module_of(kind)
    for side in ("image", "text"):
        learns = {name for name, each in module.named_parameters() if each.requires_grad and tower_of(name) == side}
        unmoved = learns - moved_by(module, side)
        # a key's bias shifts all logits of a query alike, which softmax does not see: its gradient is rounding
        assert {name for name in unmoved if not name.endswith(("k_proj.bias", "key.bias"))} == set()
        assert moved_by(module, side) <= learns


def test_what_no_row_depends_on_and_fixed_tables_do_not_learn():
    frozen = {name for name, each in module_of("coca").named_parameters() if not each.requires_grad}
    assert frozen
    assert all(name.startswith("text_decoder.") for name in frozen)
    frozen = {name for name, each in module_of("sine-positions").named_parameters() if not each.requires_grad}
    assert frozen == {"visual.positional_embedding"}
    assert all(each.requires_grad for each in module_of("openai").parameters())


@pytest.mark.parametrize("which", ["image", "text"])
@pytest.mark.parametrize("kind", ["openai", "resnet", "timm-vit", "bert"])
def test_a_locked_tower_gets_no_gradient_and_the_other_all_of_its(kind, which):
    module = module_of(kind)
    lock(module, which)
    other = {"image": "text", "text": "image"}[which]
    assert all(each.requires_grad == (tower_of(name) != which) for name, each in module.named_parameters())
    assert moved_by(module, other)
    module.zero_grad()
    rows(module, *inputs(module)).sum().backward()
    assert all(each.grad is None for name, each in module.named_parameters() if tower_of(name) == which)


def test_only_a_tower_can_be_locked():
    with pytest.raises(ValueError, match="image or text, got 'both'"):
        lock(module_of("openai"), "both")


@pytest.mark.parametrize("kind", ["resnet", "timm-resnet"])
def test_batch_norm_of_a_frozen_tower_keeps_its_statistics_and_of_a_learning_one_does_not(kind):
    for locked in (True, False):
        module = module_of(kind)
        if locked:
            lock(module, "image")
        before = {name: value.clone() for name, value in module.named_buffers()}
        module.train()
        freeze_statistics(module)
        rows(module, *inputs(module))
        same = [torch.equal(value, before[name]) for name, value in module.named_buffers() if "running" in name]
        assert same
        assert all(same) is locked
        assert any(same) is locked
        assert module.training  # the whole goes on training: the text tower learns


@pytest.mark.parametrize(("kind", "has"), [("resnet", True), ("timm-resnet", True), ("openai", False), ("bert", False)])
def test_statistics_move_where_batch_norm_learns(kind, has):
    module = module_of(kind)
    assert has_moving_statistics(module) is has
    lock(module, "image")
    assert not has_moving_statistics(module)


def test_dropout_is_off_where_nothing_learns_and_on_where_something_does():
    module = module_of("roberta")
    lock(module, "text")
    module.train()
    freeze_statistics(module)
    pixels, tokens = inputs(module)
    assert torch.equal(rows(module, pixels, tokens), rows(module, pixels, tokens))
    unfreeze(module)
    module.train()
    freeze_statistics(module)
    assert not torch.equal(rows(module, pixels, tokens), rows(module, pixels, tokens))


@pytest.mark.parametrize("kind", KINDS)
def test_heads_are_the_projections_to_the_joint_space(kind):
    assert head_names(module_of(kind)) == HEADS[kind] | BOTH


def test_train_only_lets_the_named_learn_and_no_others():
    module = module_of("resnet")
    train_only(module, head_names(module))
    assert {name for name, each in module.named_parameters() if each.requires_grad} == HEADS["resnet"] | BOTH
    assert trained(module).count == sum(dict(module.named_parameters())[name].numel() for name in head_names(module))


def test_depth_counts_blocks_from_the_output():
    depth = depths(module_of("openai"))
    expected = {
        "visual.proj": 0,
        "visual.ln_post.weight": 0,
        "visual.transformer.resblocks.1.mlp.c_fc.weight": 1,
        "visual.transformer.resblocks.0.attn.in_proj_weight": 2,
        "visual.ln_pre.bias": 3,
        "visual.conv1.weight": 3,
        "visual.class_embedding": 3,
        "text_projection": 0,
        "ln_final.weight": 0,
        "transformer.resblocks.0.ln_1.weight": 1,
        "token_embedding.weight": 2,
        "positional_embedding": 2,
        "logit_scale": 0,
    }
    assert {name: depth[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # stem, one, two, one and one blocks, pooling
        ("resnet", {"visual.attnpool.positional_embedding": 0, "visual.layer4.0.conv1.weight": 1}),
        ("resnet", {"visual.layer2.1.conv1.weight": 3, "visual.layer2.0.conv1.weight": 4, "visual.bn3.weight": 6}),
        ("timm-vit", {"visual.head.proj.weight": 0, "visual.trunk.norm.weight": 1, "visual.trunk.pos_embed": 7}),
        ("timm-vit", {"visual.trunk.blocks.5.mlp.fc1.weight": 1, "visual.trunk.blocks.0.attn.qkv.weight": 6}),
        ("timm-siglip", {"visual.trunk.attn_pool.q.weight": 0, "visual.trunk.blocks.8.attn.proj.weight": 1}),
        ("bert", {"text.transformer.pooler.dense.weight": 0, "text.transformer.embeddings.LayerNorm.bias": 3}),
        ("mt5", {"text.transformer.final_layer_norm.weight": 0, "text.transformer.embed_tokens.weight": 3}),
        ("mt5", {"text.transformer.block.1.layer.0.SelfAttention.q.weight": 1}),
        ("m2m_100", {"text.transformer.layer_norm.bias": 0, "text.transformer.layers.0.fc1.weight": 2}),
        ("coca", {"visual.attn_pool.query": 0, "text.cls_emb": 2}),
    ],
)
def test_depth_is_known_for_every_kind(kind, expected):
    depth = depths(module_of(kind))
    assert {name: depth[name] for name in expected} == expected


@pytest.mark.parametrize("kind", KINDS)
def test_what_runs_later_is_never_deeper(kind):
    module = module_of(kind)
    depth = depths(module)
    called: list[str] = []
    for name, part in module.named_modules():
        if any(True for _ in part.parameters(recurse=False)) and not list(part.children()):
            part.register_forward_hook(lambda *_, name=name: called.append(name))
    rows(module, *inputs(module))
    for side in ("image", "text"):
        own = [depth[f"{name}.weight"] for name in called if tower_of(f"{name}.") == side and f"{name}.weight" in depth]
        assert len(own) > 3
        assert own == sorted(own, reverse=True)


@pytest.mark.parametrize("kind", KINDS)
def test_groups_hold_every_learning_parameter_once(kind):
    module = module_of(kind)
    lock(module, "image")
    groups = parameter_groups(module, Settings(weight_decay=0.2, layer_decay=0.5))
    named = {name: each for name, each in module.named_parameters() if each.requires_grad}
    assert sorted(name for group in groups for name in group["names"]) == sorted(named)
    assert all(named[n] is p for group in groups for n, p in zip(group["names"], group["params"], strict=True))
    torch.optim.AdamW(groups, lr=1e-3)


@pytest.mark.parametrize("kind", ["openai", "custom-blocks", "timm-siglip", "resnet"])
def test_biases_gains_and_logit_scales_do_not_decay_and_matrices_do(kind):
    module = module_of(kind)
    groups = parameter_groups(module, Settings(weight_decay=0.2))
    decay = {name: group["weight_decay"] for group in groups for name in group["names"]}
    shape = {name: each.ndim for name, each in module.named_parameters()}
    assert all(decay[name] == (0.2 if shape[name] >= 2 else 0.0) for name in decay if name not in JOINT)
    assert all(decay[name] == 0.0 for name in decay if name in JOINT)
    assert {group["lr_factor"] for group in groups} == {1.0}


def test_a_logit_scale_of_any_shape_does_not_decay():
    module = module_of("openai")
    module.logit_scale = nn.Parameter(torch.ones(1, 1))
    (group,) = [g for g in parameter_groups(module, Settings()) if "logit_scale" in g["names"]]
    assert group["weight_decay"] == 0


def test_layer_decay_slows_what_is_deeper_tower_by_tower():
    module = module_of("openai")
    groups = parameter_groups(module, Settings(layer_decay=0.5))
    factor = {name: group["lr_factor"] for group in groups for name in group["names"]}
    assert factor == {name: 0.5**depth for name, depth in depths(module).items()}
    assert factor["visual.conv1.weight"] == 0.125
    assert factor["token_embedding.weight"] == 0.25


def test_layer_decay_is_refused_where_the_order_of_layers_is_unknown():
    module = module_of("timm-vit")

    class Unordered(nn.Linear):
        def get_classifier(self):
            return nn.Identity()

    module.visual.trunk = Unordered(2, 2)
    with pytest.raises(InputError, match="layer_decay: Unordered of timm does not tell the order of its layers"):
        parameter_groups(module, Settings(layer_decay=0.5))


def test_nothing_to_train_is_refused():
    module = module_of("openai").requires_grad_(False)
    with pytest.raises(InputError, match="nothing is left to train"):
        parameter_groups(module, Settings())


def test_the_number_of_trained_parameters_is_told_tower_by_tower():
    module = module_of("openai")
    lock(module, "image")
    found = trained(module)
    assert found.total == sum(each.numel() for each in module.parameters())
    assert (found.image, found.joint) == (0, 1)
    assert found.count == found.text + 1 == sum(each.numel() for each in module.parameters() if each.requires_grad)
