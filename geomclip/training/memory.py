"""What a step needs of memory, for its losses and for its passes, told before the first one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from geomclip.encoders.extraction.batches import MOST_SKIPPED
from geomclip.losses.blockwise import DENSE_UP_TO
from geomclip.machine.errors import InputError
from geomclip.machine.memory import memory_left
from geomclip.machine.words import option
from geomclip.training.settings import Settings

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


def check_passes_fit(kept: int, pixels: int, settings: Settings, *, free: float | None = None) -> None:
    """InputError if the pixels of a step, and what its last pass keeps for the gradients, surely do not fit.

    It is a lower bound: weights, gradients, the loss and whatever else is held for a moment are not in it, nor are
    as many images as may be unreadable.

    Parameters
    ----------
    kept : int
        Bytes that a forward pass keeps of a pair; see `kept_of_a_pair`.
    pixels : int
        Bytes of the pixels of an image, which are in memory from the first pass of a step to its last.
    settings : Settings
    free : float, optional
        Bytes, of either; by default what the system says. Nothing is refused where it says nothing.
    """
    own = str(settings.device)
    needs = {"cpu": pixels * settings.accum_freq}  # for each pair of a pass
    needs[own] = needs.get(own, 0) + kept
    for place, of_pair in needs.items():
        left = memory_left(place) if free is None else free
        needed = (1 - MOST_SKIPPED) * settings.batch_size * of_pair
        if needed <= left:
            continue
        fits = int(left / ((1 - MOST_SKIPPED) * of_pair))
        way = f"at most {fits} would fit" if fits >= 2 else "no batch would fit"
        ways = [f"fewer by {option('batch_size')}, in more passes by {option('accum_freq')}"] if fits >= 2 else []
        if not settings.grad_checkpointing:
            ways.append(f"{option('grad_checkpointing', True)} keeps less")
        raise InputError(
            f"a pass of {settings.batch_size} pairs needs at least {needed / 1e9:.2f} GB for pixels and for what "
            f"gradients are made of, and {left / 1e9:.2f} GB {'' if place == 'cpu' else f'of {place} '}are free: "
            f"{way} ({'; '.join(ways) or 'use a smaller model'})"
        )


def kept_of_a_pair(rows_of: Callable[[int], object], known: Iterable[Tensor]) -> int:
    """Bytes that a forward pass keeps for the gradients of one pair more.

    Parameters
    ----------
    rows_of : callable
        From a number of pairs to their rows, with gradients.
    known : iterable of Tensor
        Inputs and weights, which are there without it.
    """
    there = {each.untyped_storage().data_ptr() for each in known}
    two, three = (_kept(rows_of, count, there) for count in (2, 3))
    return three - two


def _kept(rows_of: Callable[[int], object], count: int, there: set[int]) -> int:
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # the tensor itself would hold the graph that holds it

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        rows = rows_of(count)  # held until all is counted: what is freed may lie where another comes to lie
    found = sum(size for place, size in sizes.items() if place not in there)
    del rows
    return found
