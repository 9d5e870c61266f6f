"""Parts: which images of a set are held out, and whether two sets have the same classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.errors import InputError
from geomclip.panels.lines import some


def held_out(labels: Tensor, share: float, seed: int) -> Tensor:
    """Which images are tested on (n,), all but a share of each class; the share is rounded, one is left at least.

    Raises
    ------
    InputError
        As `check_divisible`.
    """
    check_divisible(labels.tolist())
    rng = np.random.default_rng([seed, 1])
    kept = torch.ones(len(labels), dtype=torch.bool)
    for each in labels.unique().tolist():
        own = (labels == each).nonzero()[:, 0].numpy()
        count = min(len(own) - 1, max(1, round(share * len(own))))
        kept[torch.from_numpy(rng.permutation(own)[:count])] = False
    return kept


def check_divisible(labels: Sequence[object]) -> None:
    """InputError if no class has a second image, so that none can be held out."""
    if len(set(labels)) == len(labels):
        raise InputError("each class has one image, so that none can be held out of what is tested on: two are needed")


def check_same_classes(one: EmbeddingSet, other: EmbeddingSet, *called: str) -> None:
    """InputError unless two sets have the same classes in the same order; `called` is what messages call the two."""
    names, others = one.classes or (), other.classes or ()
    if one.classes == other.classes:
        return
    parts = []
    for own, there, which in zip((names, others), (others, names), called, strict=True):
        if alone := [name for name in own if name not in there]:
            parts.append(f"{some(alone)} of the {which} alone")
    raise InputError(f"{called[0]} and {called[1]} have other classes: {'; '.join(parts) or 'another order'}")
