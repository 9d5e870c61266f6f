"""Attention of the towers while they train: the same numbers from fewer passes over memory.

`nn.MultiheadAttention`, which OpenAI-style towers are made of, copies queries, keys and values into an order that no
kernel needs, adds their bias in a pass of its own, and its gradients fill three arrays of zeros as large as the
three of them to add them up. Here one product makes all three, kernels read them where they lie, and the gradients
are written once. On a processor the fused kernel is fast in float32 and several times slower in bfloat16, so
bfloat16 rows go through the float32 one: converting them costs less, and rounds less.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

SHORT = 260
"""Up to so many tokens all attention maps of a batch are small beside its activations."""


class SelfAttention(nn.MultiheadAttention):
    """`nn.MultiheadAttention` of a sequence to itself; whatever else it is asked for, its base class does."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *more: Any, **options: Any) -> Any:
        """Rows (b, l, d) after attention, and no weights."""
        mask = options.get("attn_mask")
        is_self = key is query and value is query and query.ndim == 3
        is_plain = options.keys() <= {"need_weights", "attn_mask"} and not options.get("need_weights", True)
        if more or not (is_self and is_plain and (mask is None or (mask.ndim == 2 and mask.is_floating_point()))):
            return super().forward(query, key, value, *more, **options)
        rows, places, width = query.shape
        joint = F.linear(query, self.in_proj_weight, self.in_proj_bias)
        q, k, v = joint.view(rows, places, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind()
        mixed = attend(q, k, v, mask)  # (b, heads, l, d / heads)
        out = mixed.transpose(1, 2).reshape(rows, places, width)
        return F.linear(out, self.out_proj.weight, self.out_proj.bias), None


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q kᵀ / √d + mask) v of every head, in the dtype of `query`."""
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    # not the plain products that `kernel` asks for on behalf of attention that is not ours
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
        mask = None if mask is None else mask.float()
        mixed = F.scaled_dot_product_attention(query.float(), key.float(), value.float(), attn_mask=mask)
    return mixed.to(query.dtype)


def quicken(module: nn.Module) -> None:
    """Let attention that is made as in CLIP's towers be `SelfAttention`; names, weights and their order stay.

    Call it before adapters are put into the module, which make classes of their own of these.
    """
    for part in module.modules():
        if type(part) is nn.MultiheadAttention and _is_as_in_clip(part):
            part.__class__ = SelfAttention


def kernel(module: nn.Module, device: str) -> AbstractContextManager[None]:
    """For attention that is not ours: plain products for short bfloat16 sequences on a processor."""
    is_low = any(each.dtype == torch.bfloat16 for each in module.parameters())
    if device != "cpu" or not is_low or longest_sequence(module) > SHORT:
        return nullcontext()
    return sdpa_kernel(SDPBackend.MATH)


def longest_sequence(module: nn.Module) -> int:
    """Places of the longer tower, by its table of positions; 0 where there is none."""
    tables = (each for name, each in module.named_parameters() if name.endswith(("positional_embedding", "pos_embed")))
    return max((table.shape[-2] for table in tables), default=0)


def _is_as_in_clip(part: nn.MultiheadAttention) -> bool:
    is_packed = part.in_proj_weight is not None and part.in_proj_bias is not None
    return is_packed and part.batch_first and not part.dropout and part.bias_k is None and not part.add_zero_attn
