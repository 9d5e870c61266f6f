"""Quick attention: the numbers of `nn.MultiheadAttention`, and where it stands in for it."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_training import tiny_module, tiny_trainer
from torch import nn

from geomclip.training.attention import SHORT, SelfAttention, kernel, quicken

pytestmark = pytest.mark.numeric


def pair(dtype, *, width=24, heads=3, **more):
    """The same weights as torch has them, and quick."""
    torch.manual_seed(0)
    stock = nn.MultiheadAttention(width, heads, batch_first=True, **more).to(dtype)
    with torch.no_grad():
        stock.in_proj_bias.normal_()
        stock.out_proj.bias.normal_()
    quick = nn.ModuleList([copy.deepcopy(stock)])
    quicken(quick)
    return stock, quick[0]


def causal(length, dtype):
    return torch.full((length, length), -torch.inf, dtype=dtype).triu_(1)


def results(attention, rows, mask, towards):
    """Rows after attention, and the gradients of all that they depend on."""
    rows = rows.clone().requires_grad_()
    out = attention(rows, rows, rows, need_weights=False, attn_mask=mask)[0]
    return [out.detach(), *torch.autograd.grad(out, [rows, *attention.parameters()], towards)]


def error(found, exact):
    return max(float((one.double() - two).norm() / two.norm()) for one, two in zip(found, exact, strict=True))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_values_and_gradients_are_those_of_torch(dtype, most, masked):
    stock, quick = pair(dtype)
    assert type(quick) is SelfAttention
    draw = torch.Generator().manual_seed(1)
    for rows, length in [(1, 1), (2, 5), (5, 17)]:
        x, towards = torch.randn(2, rows, length, 24, generator=draw, dtype=dtype)
        mask = causal(length, dtype) if masked else None
        exact = [each.double() for each in results(stock, x, mask, towards)]
        assert error(results(quick, x, mask, towards), exact) < most


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sharp", [1.0, 4.0])
def test_in_bfloat16_it_rounds_no_more_than_torch(masked, sharp):
    stock, quick = pair(torch.bfloat16)
    with torch.no_grad():
        for each in (stock, quick):
            each.in_proj_weight.mul_(sharp)
    x, towards = torch.randn(2, 6, 17, 24, generator=torch.Generator().manual_seed(1)).bfloat16()
    mask, wide = (causal(17, dtype) if masked else None for dtype in (torch.bfloat16, torch.float64))
    exact = results(copy.deepcopy(stock).double(), x.double(), wide, towards.double())
    # 2**-9 is what one rounding to bfloat16 costs; sharper weights spread it
    assert error(results(quick, x, mask, towards), exact) < 1.1 * error(results(stock, x, mask, towards), exact) < 0.1


def test_whatever_else_it_is_asked_for_is_what_torch_gives():
    stock, quick = pair(torch.float32)
    one, two = torch.randn(2, 2, 5, 24, generator=torch.Generator().manual_seed(1))
    ignored = torch.tensor([[False] * 4 + [True]] * 2)
    for inputs, more in [
        ((one, one, one), {}),  # with weights
        ((one, two, two), {"need_weights": False}),
        ((one[0], one[0], one[0]), {"need_weights": False}),
        ((one, one, one), {"need_weights": False, "key_padding_mask": ignored}),
        ((one, one, one), {"need_weights": False, "attn_mask": causal(5, torch.float32).expand(6, 5, 5)}),
        ((one, one, one), {"need_weights": False, "attn_mask": causal(5, torch.float32).bool()}),
    ]:
        (found, weights), (expected, expected_weights) = quick(*inputs, **more), stock(*inputs, **more)
        assert torch.equal(found, expected)
        assert (weights is None) == (expected_weights is None)


@pytest.mark.parametrize("odd", [{"dropout": 0.1}, {"add_bias_kv": True}, {"add_zero_attn": True}, {"bias": False}])
def test_attention_made_otherwise_stays_torchs(odd):
    module = nn.ModuleList([nn.MultiheadAttention(8, 2, batch_first=True, **odd)])
    quicken(module)
    assert type(module[0]) is nn.MultiheadAttention


@pytest.mark.parametrize("changes", [{}, {"precision": "bf16"}, {"lora": 2}, {"ema": 0.9}])
def test_both_towers_train_with_it_and_keep_their_names(changes):
    if "lora" in changes:
        pytest.importorskip("peft")
    names = list(tiny_module().state_dict())
    trainer = tiny_trainer(**changes)
    trainer.step()
    for module in (trainer.module, trainer.worker, trainer.plain()):
        found = [part for part in module.modules() if isinstance(part, nn.MultiheadAttention)]
        assert found
        assert all(isinstance(part, SelfAttention) for part in found)
    assert list(trainer.plain().state_dict()) == names


def test_others_use_plain_products_only_where_the_fused_kernel_is_slow():
    module = tiny_module()

    def chosen(module, device):
        with kernel(module, device):
            return not torch.backends.cuda.flash_sdp_enabled()

    assert not chosen(module, "cpu")
    assert chosen(copy.deepcopy(module).bfloat16(), "cpu")
    assert not chosen(copy.deepcopy(module).bfloat16(), "cuda")
    long = copy.deepcopy(module).bfloat16()
    long.positional_embedding = nn.Parameter(torch.zeros(SHORT + 1, 16, dtype=torch.bfloat16))
    assert not chosen(long, "cpu")
