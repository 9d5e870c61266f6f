"""Every draw of a run comes from a generator of its own, made of the seed and the place where it is needed.

So a step's batch, captions, lambdas, crops and dropout depend on the seed and the number of the step alone: a run
that goes on after a kill needs no state of any generator to draw what it would have drawn.
"""

from __future__ import annotations

import hashlib

import torch


def derived(seed: int, purpose: str, *place: int) -> int:
    """A seed below 2**63 for one purpose at one place.

    Examples
    --------
    >>> derived(0, "captions", 3) == derived(0, "captions", 3) != derived(0, "captions", 4)
    True
    """
    name = f"{seed} {purpose} {' '.join(map(str, place))}".encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str, *place: int) -> torch.Generator:
    """A generator on the CPU for one purpose at one place."""
    return torch.Generator().manual_seed(derived(seed, purpose, *place))
