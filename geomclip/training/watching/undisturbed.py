"""Undisturbed: a model is looked at in eval mode and without gradients, and left with its generators as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def eval_mode(module: nn.Module | None) -> Iterator[None]:
    """Eval mode while the block runs; then each part is in its own mode again (a locked tower is not trained)."""
    modes = [] if module is None else [(part, part.training) for part in module.modules()]
    if module is not None:
        module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def same_generators(cuda: bool) -> Iterator[None]:
    """The generators of torch (those of GPUs where there are rows on one), numpy and Python are then as before."""
    numbers, python = np.random.get_state(), random.getstate()  # noqa: NPY002 - what others draw from is restored
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if cuda else []):
        try:
            yield
        finally:
            np.random.set_state(numbers)  # noqa: NPY002
            random.setstate(python)
