"""Descent of a function of points on spheres: limited-memory BFGS along the surface."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geomclip.projections.spherical.moments import Clouds

Doubles = NDArray[np.float64]

MEMORY = 8
"""Steps that the curvature is known by."""

LONGEST = 0.5
"""Radians that a point moves in one step at most."""

PATIENCE = 10
"""Steps over which the stress must fall by a share of it."""

SHORTEST = 1e-4
"""Share of a step at which no further is tried."""


@dataclass(frozen=True, eq=False)
class Descended:
    """Where it ended."""

    u: Doubles
    value: float
    steps: int


def descended(
    function: Callable[[Doubles], tuple[float, Doubles]], clouds: Clouds, u: Doubles, *, most: int, tol: float
) -> Descended:
    """Unit rows (n, 3) from u on down a function that gives value and gradient, until it falls by less than `tol`.

    The gradient is that of the clouds' metric: with the sum of the weights of a point's pairs there, a full step is
    the mean of what its pairs want. Steps of before are brought to the plane of now by projection.

    References
    ----------
    Nocedal and Wright (2006), "Numerical optimization", algorithm 7.4. Absil, Mahony and Sepulchre (2008),
    "Optimization algorithms on matrix manifolds", for retractions and transport.
    """
    value, slope = function(u)
    gradient = clouds.tangent(u, slope / clouds.metric)
    known: deque[tuple[Doubles, Doubles, float]] = deque(maxlen=MEMORY)
    values = [value]
    for step in range(most):
        direction = clouds.tangent(u, -_by_curvature(gradient, known, clouds))
        downhill = clouds.dot(gradient, direction)
        if downhill >= 0:
            known.clear()
            direction, downhill = -gradient, -clouds.dot(gradient, gradient)
        direction_length = float(np.sqrt((direction**2).sum(axis=1).max()))
        if direction_length < 1e-9:
            return Descended(u, value, step)
        share = min(1.0, LONGEST / direction_length)
        while True:
            trial = clouds.onto(u + share * direction)
            if trial is not None:
                new_value, slope = function(trial)
                if new_value <= value + 1e-4 * share * downhill:
                    break
            share /= 2
            if share < SHORTEST:
                break
        if share < SHORTEST:
            if not known:
                return Descended(u, value, step)
            known.clear()  # the curvature may mislead: once more down the gradient
            continue
        assert trial is not None
        new_gradient = clouds.tangent(trial, slope / clouds.metric)
        moved = clouds.tangent(trial, share * direction)
        changed = new_gradient - clouds.tangent(trial, gradient)
        curvature = clouds.dot(moved, changed)
        if curvature > 1e-10 * clouds.dot(moved, moved):
            known.append((moved, changed, curvature))
        u, value, gradient = trial, new_value, new_gradient
        values.append(value)
        if len(values) > PATIENCE and values[-1 - PATIENCE] - value < tol * value:
            return Descended(u, value, step + 1)
    return Descended(u, value, most)


def _by_curvature(gradient: Doubles, known: deque[tuple[Doubles, Doubles, float]], clouds: Clouds) -> Doubles:
    """The gradient times what the known steps tell of the inverse of the curvature."""
    q, shares = gradient.copy(), []
    for moved, changed, curvature in reversed(known):
        share = clouds.dot(moved, q) / curvature
        q -= share * changed
        shares.append(share)
    if known:
        moved, changed, curvature = known[-1]
        q *= curvature / clouds.dot(changed, changed)
    for (moved, changed, curvature), share in zip(known, reversed(shares), strict=True):
        q += (share - clouds.dot(changed, q) / curvature) * moved
    return q
