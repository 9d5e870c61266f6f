"""How points on a sphere move: momentum and gains along tangents, as arrays; and as one loop, of very many points."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MOMENTUM = 0.8

UP, DOWN, LEAST = 0.2, 0.8, 0.01
"""Gains: what is added where the last step was downhill, what they are multiplied by where not, and the smallest."""


def moved(
    u: Floats, velocity: Floats, gains: Floats, gradient: Floats, rate: float, longest: float, radius: float
) -> tuple[Floats, Floats, Floats]:
    """Points u (n, 3), velocities and gains (n, 1) after a step against the gradient of y = radius · u.

    Parameters
    ----------
    rate : float
        Of the gradient.
    longest : float
        No velocity is longer.
    """
    gradient, velocity = tangent(gradient, u), tangent(velocity, u)
    downhill = (gradient * velocity).sum(axis=1, keepdims=True) < 0
    gains = np.maximum(np.where(downhill, gains + np.float32(UP), gains * np.float32(DOWN)), LEAST)
    velocity = np.float32(MOMENTUM) * velocity - np.float32(rate) * gains * gradient
    length = np.sqrt((velocity * velocity).sum(axis=1, keepdims=True))
    velocity = velocity * (np.float32(longest) / np.maximum(length, np.float32(longest)))
    moved = u + velocity / np.float32(radius)
    return moved / np.sqrt((moved * moved).sum(axis=1, keepdims=True)), velocity, gains


def moved_by_loop(
    u: Floats, velocity: Floats, gains: Floats, gradient: Floats, rate: float, longest: float, radius: float
) -> tuple[Floats, Floats, Floats]:
    """As `moved`, but for rounding, in one pass over the points."""
    step, limit, size = np.float32(rate), np.float32(longest), np.float32(radius)
    new_u, new_velocity, new_gains = np.empty_like(u), np.empty_like(velocity), np.empty_like(gains)
    _move(u, velocity, gains, gradient, step, limit, size, new_u, new_velocity, new_gains)
    return new_u, new_velocity, new_gains


def tangent(vectors: Floats, u: Floats) -> Floats:
    """The part of each vector along the sphere at u."""
    return vectors - (vectors * u).sum(axis=1, keepdims=True) * u


@njit(parallel=True, cache=True)
def _move(
    u: Any,
    velocity: Any,
    gains: Any,
    gradient: Any,
    rate: Any,
    longest: Any,
    radius: Any,
    new_u: Any,
    new_velocity: Any,
    new_gains: Any,
) -> None:
    """A point at a time."""
    for i in prange(len(u)):
        x, y, z = u[i, 0], u[i, 1], u[i, 2]
        gx, gy, gz = gradient[i, 0], gradient[i, 1], gradient[i, 2]
        out = gx * x + gy * y + gz * z
        gx, gy, gz = gx - out * x, gy - out * y, gz - out * z
        vx, vy, vz = velocity[i, 0], velocity[i, 1], velocity[i, 2]
        out = vx * x + vy * y + vz * z
        vx, vy, vz = vx - out * x, vy - out * y, vz - out * z
        gain = gains[i, 0]
        gain = gain + np.float32(UP) if gx * vx + gy * vy + gz * vz < 0 else gain * np.float32(DOWN)
        gain = max(gain, np.float32(LEAST))
        momentum, pace = np.float32(MOMENTUM), rate * gain
        vx, vy, vz = momentum * vx - pace * gx, momentum * vy - pace * gy, momentum * vz - pace * gz
        share = longest / max(np.sqrt(vx * vx + vy * vy + vz * vz), longest)
        vx, vy, vz = share * vx, share * vy, share * vz
        x, y, z = x + vx / radius, y + vy / radius, z + vz / radius
        length = np.sqrt(x * x + y * y + z * z)
        new_u[i, 0], new_u[i, 1], new_u[i, 2] = x / length, y / length, z / length
        new_velocity[i, 0], new_velocity[i, 1], new_velocity[i, 2] = vx, vy, vz
        new_gains[i, 0] = gain
