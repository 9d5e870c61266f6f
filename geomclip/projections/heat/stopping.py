"""When to stop the heat: at the knee of its entropy, and before it is even."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, eigsh

from geomclip.projections.heat.kernels import (
    SINGLE,
    chebyshev_order,
    chebyshev_sum,
    chebyshev_terms,
    heat_kernels,
    largest_eigenvalue,
)

Floats = NDArray[np.float64]

SAMPLE = 128
"""Columns of the kernel whose entropy is taken."""


def relaxation_time(laplacian: csr_array, t: float, *, seed: int = 0) -> float:
    """1/λ2, in which heat becomes even: the time that the slowest difference takes to fall to 1/e.

    From the second eigenvalue of exp(−tL), which stands far from most of the others; infinite where a time t leaves
    more than 0.999 of the difference.
    """
    n = laplacian.shape[0]
    top = largest_eigenvalue(laplacian, seed=seed)
    twice, coefficients = chebyshev_terms(laplacian, t, top, chebyshev_order(t * top / 2, 1e-12))
    heat = LinearOperator((n, n), lambda v: chebyshev_sum(twice, coefficients, v), dtype=float)
    start = np.random.default_rng(seed).standard_normal(n)
    rest = 1.0
    for tol in (1e-3, 1e-10):  # digits are wanted only of a time that is not long
        rest = float(eigsh(heat, k=2, which="LA", v0=start, tol=tol, return_eigenvectors=False).min())
        if rest > math.exp(-0.5):
            break
    if rest < 1e-6:  # rounding: ask sooner
        return relaxation_time(laplacian, t / 8, seed=seed)
    return t / -math.log(rest) if rest < 0.999 else math.inf


def entropy(log_heat: Floats) -> float:
    """Mean Shannon entropy of the columns, each made to sum to 1: 0 (no heat has left) to log n (even), in nats."""
    heat = np.exp(log_heat - log_heat.max(axis=0))
    total = heat.sum(axis=0)
    inner = (heat * np.where(heat > 0, np.log(np.maximum(heat, 1e-300)), 0)).sum(axis=0)
    return float((np.log(total) - inner / total).mean())


def knee(times: Floats, entropies: Floats, *, least: float = 0.05) -> int | None:
    """Where a rising curve of entropy over log t turns flat: the index farthest above the chord; None without one.

    `least` is the height above the chord, of a curve scaled to the unit square, from which it is a knee; the ends
    are none.

    References
    ----------
    Satopää, Albrecht, Irwin and Raghavan (2011), "Finding a kneedle in a haystack".

    Examples
    --------
    >>> knee(np.array([1.0, 2, 4, 8, 16]), np.array([0.0, 1, 2, 2.1, 2.2]))
    2
    >>> knee(np.array([1.0, 2, 4, 8, 16]), np.zeros(5)) is None
    True
    """
    rise = entropies[-1] - entropies[0]
    if len(times) < 3 or not rise > 1e-6:
        return None
    along = np.log(times / times[0]) / np.log(times[-1] / times[0])
    above = (entropies - entropies[0]) / rise - along
    best = int(above.argmax())
    return best if above[best] >= least and 0 < best < len(times) - 1 else None


def entropy_knee(laplacian: csr_array, seed: int) -> float | None:
    """The time t at the knee of the entropy of exp(−tL), on a grid of t λmax from 1 to 4096; None without one."""
    n = laplacian.shape[0]
    some = np.sort(np.random.default_rng(seed).choice(n, min(n, SAMPLE), replace=False))
    times = 2.0 ** np.arange(0, 12.5, 0.5) / largest_eigenvalue(laplacian, seed=seed)
    kernels = heat_kernels(laplacian, times, method="chebyshev", columns=some, tol=SINGLE, seed=seed)
    found = knee(times, np.array([entropy(kernel.log) for kernel in kernels]))
    return None if found is None else float(times[found])
