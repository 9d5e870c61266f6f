"""What a joint batch needs of memory for its losses, told before the first step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from geomclip.losses.blockwise import DENSE_UP_TO
from geomclip.machine.errors import InputError
from geomclip.machine.words import option

BY_TILES = frozenset({"contrastive", "m2_mix", "siglip", "alignment", "embedding_preservation", "cosine_preservation"})
"""Terms that need no number for each pair of rows beyond a size."""
COPIES = 4
"""Matrices of M x M numbers of four bytes that any other term holds at its fullest: 4 to 7 were measured."""
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


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
    free = free_memory(device) if free is None else free
    needed = COPIES * 4 * size**2 * len(dense)
    if free is None or needed <= free:
        return
    fits = max(2, math.isqrt(free // (COPIES * 4 * len(dense))))
    raise InputError(
        f"a joint batch of {size} pairs needs at least {needed / 1e9:.0f} GB for {', '.join(dense)}, of which "
        f"{free / 1e9:.0f} GB are free: {fits} pairs would fit (fewer by {option('batch_size')} or "
        f"{option('accum_freq')}); ft, m2mix and siglip need none"
    )


def free_memory(device: str | torch.device = "cpu") -> int | None:
    """Bytes that are free on a device; None where the system does not tell."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min(_free(), default=None)


def _free() -> Iterator[int]:
    """What the machine has left, and what the group of this process may have in all."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return  # not Linux
    yield from (int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    for place in map(Path, _LIMITS):
        try:
            limit = place.read_text().strip()
        except OSError:
            continue
        if limit.isdecimal():
            yield int(limit)
