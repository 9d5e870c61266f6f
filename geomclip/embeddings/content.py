"""Content of rows: their fingerprint, and which of them are alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from geomclip.machine import scratch


def first_places(texts: Sequence[str]) -> Tensor:
    """Of each text the place of the first one that is the same, counted among different texts.

    Examples
    --------
    >>> first_places(["a", "b", "a"]).tolist()
    [0, 1, 0]
    """
    place: dict[str, int] = {}
    return torch.tensor([place.setdefault(text, len(place)) for text in texts])


def shared_share(labels: Tensor, owner: Tensor, n: int) -> Tensor:
    """Share of items (m,) whose label also occurs under another of n owners.

    Examples
    --------
    >>> shared_share(torch.tensor([0, 1, 0, 2]), torch.tensor([0, 0, 1, 1]), 2).item()
    0.5
    """
    owners = torch.bincount((labels * n + owner).unique() // n, minlength=len(labels))
    return (owners[labels] > 1).double().mean()


def sha256_of(rows: Iterable[Tensor | None], owner: Tensor | None) -> str:
    """sha256 over rows in float32, one tensor after the other, and the owners."""
    digest = hashlib.sha256()
    for each in rows:
        if each is not None:
            for some in scratch.blocks(each):
                digest.update(each[some].float().contiguous().numpy().data)
    if owner is not None:
        digest.update(owner.contiguous().numpy().data)
    return digest.hexdigest()
