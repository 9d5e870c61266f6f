"""What a joint batch needs of memory for its losses, told before the first step."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from geomclip.losses.blockwise import DENSE_UP_TO
from geomclip.machine.errors import InputError
from geomclip.machine.memory import memory_left
from geomclip.machine.words import option

BY_TILES = frozenset({"contrastive", "m2_mix", "siglip", "alignment", "embedding_preservation", "cosine_preservation"})
"""Terms that need no number for each pair of rows beyond a size."""
COPIES = 4
"""Matrices of M x M numbers of four bytes that any other term holds at its fullest: 4 to 7 were measured."""


def check_fits(terms: Iterable[str], size: int, *, device: str | torch.device = "cpu", free: int | None = None) -> None:
    """InputError if terms cannot hold their matrices of a joint batch in the memory that is free.

    Parameters
    ----------
    terms : iterable of str
        Of the method, and of what is preserved.
    size : int
        Pairs of a joint batch.
    free : int, optional
        Bytes; by default what the system says of the device. Nothing is checked where it says nothing.
    """
    dense = [term for term in terms if term not in BY_TILES]
    if size <= DENSE_UP_TO or not dense:
        return
    left = memory_left(device) if free is None else free
    needed = COPIES * 4 * size**2 * len(dense)
    if needed <= left:
        return
    fits = max(2, math.isqrt(int(left) // (COPIES * 4 * len(dense))))
    raise InputError(
        f"a joint batch of {size} pairs needs at least {needed / 1e9:.0f} GB for {', '.join(dense)}, of which "
        f"{left / 1e9:.0f} GB are free: {fits} pairs would fit (fewer by {option('batch_size')} or "
        f"{option('accum_freq')}); ft, m2mix and siglip need none"
    )
