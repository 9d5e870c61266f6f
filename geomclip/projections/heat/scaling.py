"""Multidimensional scaling: points whose Euclidean distances are as near as can be to given ones, in their scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.sparse.linalg import LinearOperator, eigsh

Floats = NDArray[np.float64]

BLOCK = 1 << 17
"""Distances worked on at a time: 1 MB, which stays in the cache."""


FLAT = 1e-6
"""A direction in which anchors spread less than this share of the widest says nothing about other points."""


def classical(distances: Floats, n_components: int = 2, *, seed: int = 0) -> Floats:
    """Principal coordinates (n, n_components) of distances (n, n): exact where those are Euclidean.

    Directions that no positive eigenvalue stands for are 0. Each is turned so that its largest entry is positive.

    References
    ----------
    Torgerson (1952), "Multidimensional scaling: I. Theory and method", Psychometrika.

    Examples
    --------
    >>> on_a_line = np.array([[0.0, 1.0, 3.0], [1.0, 0.0, 2.0], [3.0, 2.0, 0.0]])
    >>> np.abs(np.diff(classical(on_a_line, 1)[:, 0])).round(6).tolist()
    [1.0, 2.0]
    """
    n = len(distances)
    squares = distances**2
    if n <= max(64, 4 * n_components):
        inner = squares - squares.mean(axis=0)
        inner = -(inner - inner.mean(axis=1, keepdims=True)) / 2
        most = min(n_components, n)
        values, vectors = eigh((inner + inner.T) / 2, subset_by_index=[n - most, n - 1])
    else:

        def centred(v: Floats) -> Floats:
            product = squares @ (v - v.mean(axis=0))
            return (product.mean(axis=0) - product) / 2

        start = np.random.default_rng(seed).standard_normal(n)
        values, vectors = eigsh(LinearOperator((n, n), centred, dtype=float), k=n_components, which="LA", v0=start)
    falling = np.argsort(values)[::-1]
    drawn = np.zeros((n, n_components))
    drawn[:, : len(values)] = vectors[:, falling] * np.sqrt(np.maximum(values[falling], 0))
    return drawn * np.where(np.take_along_axis(drawn, np.abs(drawn).argmax(axis=0)[None], axis=0) < 0, -1, 1)


def stress(distances: Floats, points: Floats, weights: Floats | None = None) -> float:
    """√(Σ w (δ − d)² / Σ w δ²) over pairs, δ the given and d the drawn distances: 0 is perfect.

    References
    ----------
    Kruskal (1964), "Multidimensional scaling by optimizing goodness of fit", Psychometrika.
    """
    error = total = 0.0
    for rows in _blocks(len(points)):
        w = 1.0 if weights is None else weights[rows]
        error += float((w * (distances[rows] - _between(points[rows], points)) ** 2).sum())
        total += float((w * distances[rows] ** 2).sum())
    return float(np.sqrt(error / total))


def rescaled(distances: Floats, points: Floats, weights: Floats | None = None) -> Floats:
    """The points times the one factor that makes their stress least."""
    both = own = 0.0
    for rows in _blocks(len(points)):
        w = 1.0 if weights is None else weights[rows]
        drawn = _between(points[rows], points)
        both += float((w * distances[rows] * drawn).sum())
        own += float((w * drawn**2).sum())
    return points * (both / own) if own > 0 else points


def smacof(
    distances: Floats, start: Floats, *, weights: Floats | None = None, n_iter: int = 300, tol: float = 1e-5
) -> tuple[Floats, int]:
    """The points of least raw stress Σ w (δ − d)² near a start, and how many steps were made.

    Each step solves a bound of the stress that touches it (majorization), then goes as far again, which about
    halves their number.

    Parameters
    ----------
    distances : ndarray of shape (n, n)
        Symmetric, zero diagonal.
    start : ndarray of shape (n, k)
    weights : ndarray of shape (n, n), optional
        Symmetric, not negative; the graph of the positive ones connected.
    n_iter : int
        At most.
    tol : float
        Of the share by which the stress must fall in a step for another.

    References
    ----------
    De Leeuw (1977), "Applications of convex analysis to multidimensional scaling"; de Leeuw and Heiser (1980),
    "Multidimensional scaling with restrictions on the configuration" (the doubled step).
    """
    solve = _solver(weights)
    points, last = start - start.mean(axis=0), np.inf
    for step in range(1, n_iter + 1):
        moved, now = _majorized(distances, points, weights)
        moved = solve(moved)
        if not last - now > tol * now:
            return rescaled(distances, moved, weights), step
        last, points = now, 2 * moved - points
    return rescaled(distances, moved, weights), n_iter


def _majorized(distances: Floats, points: Floats, weights: Floats | None) -> tuple[Floats, float]:
    """B(X) X of Guttman's transform, and the raw stress at X."""
    moved, raw = np.empty_like(points), 0.0
    for rows in _blocks(len(points)):
        drawn = _between(points[rows], points)
        wanted = distances[rows]
        error = wanted - drawn
        if weights is not None:
            error = error * np.sqrt(weights[rows])
        raw += float(np.vdot(error, error))
        ratio = np.divide(wanted, drawn, out=np.zeros_like(drawn), where=drawn > 0)
        if weights is not None:
            ratio *= weights[rows]
        moved[rows] = ratio.sum(axis=1)[:, None] * points[rows] - ratio @ points
    return moved, raw


def _solver(weights: Floats | None) -> Any:
    """B(X) X to the points that have it: V⁺, V the Laplacian of the weights; a division by n if they are all 1."""
    if weights is None:
        return lambda moved: moved / len(moved)
    v = -weights.astype(np.float64)
    np.fill_diagonal(v, 0)
    np.fill_diagonal(v, -v.sum(axis=1))
    factor = cho_factor(v + v.diagonal().mean() / len(v))  # the constant direction, which V lacks
    return lambda moved: cho_solve(factor, moved)


def sgd(
    distances: Floats, start: Floats, *, weights: Floats | None = None, n_iter: int = 30, seed: int = 0
) -> tuple[Floats, int]:
    """The points of small raw stress, by moving one pair after the other to its distance; and how many rounds.

    A round takes all pairs once, in the order of a tournament of shuffled players: half of the points meet the
    other half at a time, so that a whole array of pairs moves together and none waits for another. The lightest
    pair starts with the whole step, and the heaviest ends with 1/n of it.

    References
    ----------
    Zheng, Pawar and Goodman (2018), "Graph drawing by stochastic gradient descent", IEEE TVCG.
    """
    n = len(start)
    draw = np.random.default_rng(seed)
    points = np.vstack([start - start.mean(axis=0), np.zeros((1, start.shape[1]))])  # the last sits out
    off_diagonal = np.ones(1) if weights is None else weights[~np.eye(n, dtype=bool)]
    light, heavy = float(off_diagonal[off_diagonal > 0].min()), float(off_diagonal.max())
    for share in np.geomspace(1 / light, 1 / (n * heavy), n_iter):
        players = draw.permutation(n)
        if n % 2:
            players = np.append(players, n)
        for _ in range(len(players) - 1):
            first, second = players[: len(players) // 2], players[: len(players) // 2 - 1 : -1]
            if n % 2:
                both = (first < n) & (second < n)
                first, second = first[both], second[both]
            step = share if weights is None else np.minimum(1, share * weights[first, second, None])
            apart = points[first] - points[second]
            drawn = np.sqrt((apart**2).sum(axis=1))
            off = distances[first, second] - drawn
            move = apart * (np.divide(off, 2 * drawn, out=np.zeros_like(drawn), where=drawn > 0)[:, None] * step)
            points[first] += move
            points[second] -= move
            players[1:] = np.roll(players[1:], 1)
    return rescaled(distances, points[:n] - points[:n].mean(axis=0), weights), n_iter


def triangulated(distances: Floats, anchors: Floats) -> Floats:
    """Points (q, k) from their distances (q, m) to anchors (m, k), linearly: exact where all are Euclidean.

    References
    ----------
    De Silva and Tenenbaum (2004), "Sparse multidimensional scaling using landmark points".
    """
    center = anchors.mean(axis=0)
    squares = ((anchors - center) ** 2).sum(axis=1) - distances**2
    squares -= squares.mean(axis=1, keepdims=True)
    return np.asarray(squares @ np.linalg.pinv(anchors - center, rcond=FLAT).T / 2 + center)


def placed(
    distances: Floats,
    anchors: Floats,
    start: Floats,
    *,
    weights: Floats | None = None,
    n_iter: int = 100,
    tol: float = 1e-4,
) -> Floats:
    """Points (q, k) that come nearest to given distances (q, m) to anchors (m, k), from a start: `smacof` of each.

    The anchors stay. Where the anchors are the map of `smacof` and the distances those that it was made from, a
    point of the map that starts at its place keeps it.
    """
    result = start.copy()
    size = float(np.sqrt(((anchors - anchors.mean(axis=0)) ** 2).sum(axis=1).mean())) or 1.0
    moving = np.arange(len(start))
    for _ in range(n_iter):
        far = np.empty(len(moving))
        for rows in _blocks(len(moving), len(anchors)):
            some = moving[rows]
            w = None if weights is None else weights[some]
            step = _towards(distances[some], anchors, result[some], w) - result[some]
            result[some] += 2 * step  # as in `smacof`
            far[rows] = np.abs(step).max(axis=1)
        moving = moving[far > tol * size]
        if not len(moving):
            break
    return result


def _towards(distances: Floats, anchors: Floats, points: Floats, weights: Floats | None) -> Floats:
    """Where the majorized stress of each point has its least."""
    drawn = _between(points, anchors)
    ratio = np.divide(distances, drawn, out=np.zeros_like(drawn), where=drawn > 0)
    if weights is None:
        center, total = anchors.mean(axis=0), np.float64(len(anchors))
        return np.asarray(center + (ratio.sum(axis=1)[:, None] * points - ratio @ anchors) / total)
    total = weights.sum(axis=1, keepdims=True)
    ratio *= weights
    return np.asarray((weights @ anchors + ratio.sum(axis=1)[:, None] * points - ratio @ anchors) / total)


def _between(x: Floats, y: Floats) -> Floats:
    """Euclidean distances (n, m), by differences."""
    squares = np.zeros((len(x), len(y)))
    for axis in range(x.shape[1]):
        difference = x[:, axis, None] - y[None, :, axis]
        difference *= difference
        squares += difference
    return np.sqrt(squares, out=squares)


def _blocks(n: int, m: int | None = None) -> list[slice]:
    """The rows of an (n, m) array, some at a time."""
    step = max(1, BLOCK // (m or n))
    return [slice(first, first + step) for first in range(0, n, step)]
