"""Precision of the passes: float32, or a bfloat16 copy of float32 weights."""

from __future__ import annotations

import copy

import torch
from torch import nn

from geomclip.encoders.clip import choose_precision
from geomclip.training.settings import Settings

BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def in_bf16(module: nn.Module) -> nn.Module:
    """A bfloat16 copy that computes rows and gradients; batch statistics stay float32, as they add up slowly."""
    low = copy.deepcopy(module).bfloat16()
    for each in low.modules():
        if isinstance(each, BATCH_NORM):
            each.float()
    return low


def choose_training_precision(settings: Settings) -> str:
    """Precision of the passes: "auto" is bf16 where the device computes with it, else fp32; never fp16."""
    if settings.precision != "auto":
        return choose_precision(settings.precision, settings.device)
    if settings.device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return choose_precision("auto", settings.device)
