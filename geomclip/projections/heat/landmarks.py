"""Landmarks: few points to which the distances of many are taken."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse import csr_array

from geomclip.projections.heat.kernels import heat_kernels

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

SURE = 1e-5
"""Eigenvalues of the landmarks' heat below this share of the largest are what single precision leaves."""

IN_SIGHT = 3.0
"""Nats: a point is seen from another if the heat there is not below e^−3 of what stays, d² ≤ 3 · 4t."""

LOOKING = 32
"""Landmarks of which it is found out how many others they see."""

ROWS = 1 << 22
"""Numbers of a block of rows: 32 MB."""


def sample(n: int, count: int, seed: int) -> Indices:
    """`count` of n rows, drawn evenly, in rising order."""
    return np.sort(np.random.default_rng(seed).choice(n, count, replace=False))


def log_diagonal(log_heat: Floats, landmarks: Indices) -> Floats:
    """log H_ii of all n points from the columns (n, m) of some, by Nyström's formula; the landmarks' own are exact.

    H_ii is about c_i' W^−1 c_i, c_i the row of the columns and W their rows at the landmarks: from below, and
    close where a landmark lies within √(2t), which is what the heat kernel of time t blurs.

    References
    ----------
    Williams and Seeger (2000), "Using the Nyström method to speed up kernel machines", NIPS.
    """
    own = log_heat[landmarks, np.arange(len(landmarks))]
    among = np.exp(log_heat[landmarks] - (own[:, None] + own) / 2)
    values, vectors = eigh((among + among.T) / 2)
    kept = values > SURE * values[-1]
    half = vectors[:, kept] / np.sqrt(values[kept])
    diagonal = np.empty(len(log_heat))
    step = max(1, ROWS // len(landmarks))
    for first in range(0, len(log_heat), step):
        columns = np.exp(log_heat[first : first + step] - own / 2)
        diagonal[first : first + step] = ((columns @ half) ** 2).sum(axis=1)
    # where no landmark's heat has come no distance is known, whatever stays there
    logs = np.log(diagonal, where=diagonal > 0, out=np.full(len(diagonal), own.mean()))
    logs[landmarks] = own
    return logs


def seeing_time(
    operator: csr_array,
    mass: Floats,
    landmarks: Indices,
    times: tuple[float, float],
    others: int,
    options: dict[str, Any],
    seed: int,
) -> float:
    """The first of the times, doubled until the median landmark sees so many others, or all of its part, or the second.

    On a line of n points with m landmarks (n/m)² times the time of neighbours is needed: no more is tried.
    """
    looking = landmarks[sample(len(landmarks), min(LOOKING, len(landmarks)), seed)]
    others = min(others, len(landmarks) // 4)
    (t, longest), before = times, 0.0
    for last in reversed(range(1 + math.ceil(2 * math.log2(len(mass) / len(landmarks))))):
        (heat,) = heat_kernels(operator, np.array([t]), columns=looking, **options)
        # the heat per mass that stays at another landmark is taken to be that which stays here
        stays = heat.log[looking, np.arange(len(looking))] - np.log(mass[looking])
        there = heat.log[landmarks] - (np.log(mass[landmarks])[:, None] + np.log(mass[looking])) / 2
        seen = float(np.median((stays - there <= IN_SIGHT).sum(axis=0) - 1))
        if before and seen <= before:
            return t / 2
        if seen >= others or not last or 2 * t > longest:
            break
        before, t = seen, 2 * t
    return t
