"""The heat kernel exp(−tL) of a graph, in logarithms: positive series, eigenvectors, Chebyshev, implicit Euler.

Four ways to one kernel, in one file so that they are read, chosen and tested side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.linalg.blas import dsyrk
from scipy.sparse import csc_array, csr_array, eye_array
from scipy.sparse.csgraph import breadth_first_order, reverse_cuthill_mckee
from scipy.sparse.linalg import eigsh, splu
from scipy.special import ive

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

HEAT_METHODS = ("series", "exact", "chebyshev", "euler")

EULER_STEPS = 32

TERMS = 24
"""Of the positive series over one slice of time, in which a walk makes 4 steps or fewer on average."""

UNDERFLOW = 1e-290
"""Below, float64 loses digits and then the number."""

ROUNDING = 1e-13
"""What eigenvectors and Chebyshev sums leave of an entry, as a share of the largest: below, it is not known."""

MOST_TERMS = 10_000
"""Of Chebyshev: t λmax of some millions, when heat has long become even on most graphs."""

COLUMNS = 32
"""Worked on at a time by a thread: of 50,000 rows four arrays that are 26 MB in float32."""

SINGLE = 1e-6
"""From this tolerance on Chebyshev sums are made in float32: half the time."""


@dataclass(frozen=True, eq=False)
class LogHeat:
    """Logarithms of (columns of) the heat kernel at one time; −inf where the method does not know the entry.

    Attributes
    ----------
    t : float
    log : ndarray of shape (n, m)
    order : int
        Steps of Euler, terms of the sums, 0 for eigenvectors.
    """

    t: float
    log: Floats
    order: int


def heat_kernels(
    laplacian: csr_array,
    times: Floats,
    *,
    method: str = "series",
    columns: Indices | None = None,
    tol: float = 1e-12,
    order: int | None = None,
    seed: int = 0,
) -> Iterator[LogHeat]:
    """log exp(−tL) for each of the times, one after the other.

    Parameters
    ----------
    laplacian : csr_array of shape (n, n)
        Symmetric, off the diagonal not positive.
    times : ndarray
        Rising. A time twice the one before costs `series` a single product.
    method : str
        "series": every entry has 9 digits or more down to 1e-290, since nothing is ever subtracted; n² numbers.
        "euler": as precise, of (I + tL/K)^−K. "exact" and "chebyshev" know an entry to 1e-13 of the largest.
    columns : ndarray of shape (m,), optional
        Which are wanted; all by default. Only Chebyshev and Euler gain by it.
    tol : float
        Of the Chebyshev sum: what its tail may add up to.
    order : int, optional
        Steps of Euler (32), or the order of Chebyshev in place of the one that tol asks for.

    Raises
    ------
    ValueError
        If a time takes more than 10,000 terms of Chebyshev.

    References
    ----------
    Marcotte, Barbe, Gribonval, Vayer, Sebban, Borgnat and Gonçalves (2022), "Fast multiscale diffusion on graphs".
    """
    n = laplacian.shape[0]
    wanted = np.arange(n) if columns is None else columns
    if method == "series":
        yield from _by_series(laplacian, times, wanted)
    elif method == "exact":
        values, vectors = eigh(laplacian.toarray())
        for t in times:
            half = vectors * np.exp(-t / 2 * values)
            yield LogHeat(float(t), _log(half @ half[wanted].T, ROUNDING), 0)
    elif method == "chebyshev":
        top = largest_eigenvalue(laplacian, seed=seed)
        for t in times:
            terms = chebyshev_order(t * top / 2, tol) if order is None else order
            if terms > MOST_TERMS:
                raise ValueError(
                    f"t={t:.3g} takes {terms:,} terms of Chebyshev, and {MOST_TERMS:,} are allowed: "
                    f'shorten t, or use heat="exact"'
                )
            yield LogHeat(float(t), _by_chebyshev(laplacian, float(t), wanted, top, terms, tol), terms)
    else:
        steps = EULER_STEPS if order is None else order
        for t in times:
            yield LogHeat(float(t), _by_euler(laplacian, float(t), wanted, steps), steps)


def largest_eigenvalue(laplacian: csr_array, *, seed: int = 0) -> float:
    """Of a positive semi-definite matrix, or a little more: never less, where Chebyshev sums would explode."""
    bound = float(abs(laplacian).sum(axis=1).max())  # Gershgorin
    n = laplacian.shape[0]
    if n <= 3:
        return bound
    start = np.random.default_rng(seed).standard_normal(n)
    found = eigsh(laplacian, k=1, which="LA", v0=start, tol=1e-3, maxiter=50 * n, return_eigenvectors=False)[0]
    return min(bound, 1.01 * float(found))


def chebyshev_order(x: float, tol: float) -> int:
    """The smallest K for which Σ_{k>K} 2 e^−x I_k(x) < tol, x = tλmax/2: what the sum up to K leaves out.

    Examples
    --------
    >>> [chebyshev_order(x, 1e-8) for x in (7, 137)]
    [17, 68]
    """
    digits = math.log(1 / tol)
    top = math.ceil(math.sqrt(2 * x * digits) + digits) + 32  # beyond, nothing is left
    from_the_end = np.cumsum(2 * ive(np.arange(top, 0, -1), x))
    return int(top - np.searchsorted(from_the_end, tol))


def _log(values: NDArray[np.floating], floor: float) -> Floats:
    """Logarithms; −inf where a value is not above this share of the largest."""
    known = values > floor * values.max()
    return np.log(values, where=known, out=np.full(values.shape, -np.inf))


def _squared(half: Floats) -> Floats:
    """The square of a symmetric matrix, half the work of a product."""
    upper = np.asarray(dsyrk(1.0, half))
    return np.triu(upper) + np.triu(upper, 1).T


# --- a series of positive terms -----------------------------------------------------------------------------------


def _by_series(laplacian: csr_array, times: Floats, wanted: Indices) -> Iterator[LogHeat]:
    """exp(−tL) = e^−x Σ_k x^k P^k / k!, x = σt, P = I − L/σ ≥ 0 ("uniformization"), and squares of it."""
    rate = float(laplacian.diagonal().max())
    steps = csr_array(eye_array(laplacian.shape[0], format="csr") - laplacian / rate)
    across = 2 * _hops(laplacian)
    now, kernel = 0.0, np.empty(0)
    for t in times:
        if not now or abs(t - 2 * now) > 1e-9 * t:
            # a walk from end to end in this time makes about x + across steps: at most 4 a slice
            doublings = max(0, math.ceil(math.log2(max(rate * t + across, 1) / 4)))
            kernel = _slice(steps, rate * t / 2**doublings)
        else:
            doublings = 1
        for _ in range(doublings):
            kernel = _squared(kernel)
        now = float(t)
        yield LogHeat(now, _log(kernel if len(wanted) == len(kernel) else kernel[:, wanted], UNDERFLOW), TERMS)


def _slice(steps: csr_array, x: float) -> Floats:
    """e^−x Σ_k x^k P^k / k! to 24 terms."""
    total = np.eye(steps.shape[0])
    sparse, term = csr_array(total), None
    for k in range(1, TERMS + 1):
        if term is None:  # few walks have so few steps: sparse at first
            sparse = csr_array(steps @ sparse) * (x / k)
            total += sparse.toarray()
            term = sparse.toarray() if sparse.nnz > 0.1 * total.size else None
        else:
            term = steps @ term
            term *= x / k
            total += term
    return np.asarray((total + total.T) * (math.exp(-x) / 2))


def _hops(laplacian: csr_array) -> int:
    """Edges from point 0 to the farthest point of its part: at least half the longest way in it."""
    order, before = breadth_first_order(laplacian, 0, directed=False)
    hops = np.zeros(laplacian.shape[0], dtype=np.int64)
    for point in order[1:]:
        hops[point] = hops[before[point]] + 1
    return int(hops.max())


# --- a block of columns at a time ---------------------------------------------------------------------------------


def chebyshev_terms(laplacian: csr_array, t: float, top: float, order: int) -> tuple[csr_array, Floats]:
    """2(L/φ − I), by which each polynomial follows from two before, and c_k = 2 (−1)^k e^−tφ I_k(tφ), φ = λmax/2."""
    k = np.arange(order + 1)
    coefficients: Floats = np.asarray(2 * (-1.0) ** k * ive(k, t * top / 2))
    coefficients[0] /= 2
    return csr_array(laplacian * (4 / top) - 2 * eye_array(laplacian.shape[0], format="csr")), coefficients


def chebyshev_sum(
    twice: csr_array, coefficients: NDArray[np.floating], before: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Σ_k c_k T_k(L/φ − I) X."""
    total = coefficients[0] * before
    now = (twice @ before) / 2
    for c in coefficients[1:-1]:
        total += c * now
        following = twice @ now
        following -= before
        before, now = now, following
    return np.asarray(total + coefficients[-1] * now if len(coefficients) > 1 else total)


def _by_chebyshev(laplacian: csr_array, t: float, wanted: Indices, top: float, order: int, tol: float) -> Floats:
    """log of Σ_k c_k T_k(L/φ − I) X for unit columns X."""
    place = reverse_cuthill_mckee(laplacian, symmetric_mode=True)  # near points near in memory: 3 times as fast
    twice, coefficients = chebyshev_terms(laplacian, t, top, order)
    twice = twice[place][:, place]
    if tol >= SINGLE:
        twice, coefficients = twice.astype(np.float32), coefficients.astype(np.float32)

    def spread(start: NDArray[np.floating]) -> NDArray[np.floating]:
        return chebyshev_sum(twice, coefficients, start)

    return _in_blocks(spread, wanted, place.astype(np.int64), twice.dtype, max(ROUNDING, tol))


def _in_blocks(
    spread: Callable[[NDArray[np.floating]], NDArray[np.floating]],
    wanted: Indices,
    place: Indices,
    dtype: np.dtype[np.floating],
    floor: float,
) -> Floats:
    """Logarithms of the columns that `spread` makes of unit columns, rows and columns in the order of `place`."""
    logs = np.empty((len(place), len(wanted)))
    at = np.empty_like(place)
    at[place] = np.arange(len(place))

    def fill(first: int) -> None:
        some = at[wanted[first : first + COLUMNS]]
        start = np.zeros((len(place), len(some)), dtype=dtype)
        start[some, np.arange(len(some))] = 1
        heat = spread(start)
        # what one column does not know is a share of its own largest entry, which is about that of all
        logs[place, first : first + COLUMNS] = _log(heat, floor)

    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as threads:
        for _ in threads.map(fill, range(0, len(wanted), COLUMNS)):
            pass
    return logs


def _by_euler(laplacian: csr_array, t: float, wanted: Indices, steps: int) -> Floats:
    """log (I + tL/K)^−K: no pivots off the diagonal, so that an M-matrix is solved by sums of positive numbers."""
    n = laplacian.shape[0]
    system = csc_array(eye_array(n, format="csr") + (t / steps) * laplacian)
    solver = splu(
        system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True, "Equil": False}
    )
    if len(wanted) == n:
        one = solver.solve(np.eye(n)[:, wanted])
        return _log(_power((one + one.T) / 2, steps), UNDERFLOW)

    def spread(heat: NDArray[np.floating]) -> NDArray[np.floating]:
        for _ in range(steps):
            heat = solver.solve(heat)
        return heat

    return _in_blocks(spread, wanted, np.arange(n), np.dtype(np.float64), UNDERFLOW)


def _power(matrix: Floats, exponent: int) -> Floats:
    """By squares: every product is one of positive numbers."""
    result: Floats | None = None
    while True:
        if exponent & 1:
            result = matrix if result is None else result @ matrix
        exponent >>= 1
        if not exponent:
            assert result is not None
            return result
        matrix = _squared(matrix)
