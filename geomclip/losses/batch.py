"""What every term does with a batch: check the rows, take cosines, make logits, weigh entropies."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def paired(image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of a batch, checked, in one type of at least float32."""
    if image.ndim != 2 or image.shape != text.shape:
        raise ValueError(f"image and text must be (M, D), got {tuple(image.shape)} and {tuple(text.shape)}")
    if len(image) < 2:
        raise ValueError(f"a batch of {len(image)} has no negatives: give at least 2 pairs")
    if not (image.is_floating_point() and text.is_floating_point()):
        raise ValueError(f"image and text must hold floating-point numbers, got {image.dtype} and {text.dtype}")
    dtype = torch.promote_types(torch.promote_types(image.dtype, text.dtype), torch.float32)
    return image.to(dtype), text.to(dtype)


def cosines(x: Tensor, y: Tensor) -> Tensor:
    """x yᵀ in the type of the rows: autocast would make it bfloat16, two digits, before a temperature of 0.01."""
    dtype = torch.promote_types(x.dtype, y.dtype)
    with torch.autocast(x.device.type, enabled=False):
        return x.to(dtype) @ y.to(dtype).T


def scaled(similarity: Tensor, temperature: float | Tensor) -> Tensor:
    """Logits of cosines."""
    if not isinstance(temperature, Tensor) and not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be positive and finite, got {temperature}")
    return similarity / temperature


def own(x: Tensor) -> Tensor:
    """The column of each row's own partner."""
    return torch.arange(len(x), device=x.device)


def partners(partner: Tensor, x: Tensor) -> Tensor:
    """The partner of each row, checked, where the rows are."""
    if partner.shape != x.shape[:1] or partner.is_floating_point() or partner.dtype == torch.bool:
        raise ValueError(f"partner must hold {len(x)} integers, got {partner.dtype} of shape {tuple(partner.shape)}")
    return partner.to(x.device, torch.int64)


def cross_entropy(logits: Tensor, target: list[tuple[float | Tensor, Tensor]]) -> Tensor:
    """Mean of both directions of −Σ_ij T_ij log softmax(logits)_ij / M.

    T is given by its entries: weight w_i in row i and column c_i for each (w, c). The text direction has the
    transposes of both; T itself is never made.
    """
    both = logits.log_softmax(1) + logits.log_softmax(0)
    entries = [(weight * both.gather(1, column[:, None])[:, 0]).mean() for weight, column in target]
    return -torch.stack(entries).sum() / 2


def own_entropy(logits: Tensor) -> Tensor:
    """Mean over the rows of −log softmax at the diagonal."""
    return -logits.log_softmax(1).diagonal().mean()


def without_diagonal(scores: Tensor) -> Tensor:
    """The same with −∞ on the diagonal."""
    return torch.diagonal_scatter(scores, torch.full_like(scores[0], -torch.inf))
