"""Every term of a loss by its definition, in plain Python floats."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor


def slerp(a: list[float], b: list[float], lam: float) -> list[float]:
    """The formula as the paper has it."""
    theta = math.acos(sum(p * q for p, q in zip(a, b, strict=True)))
    of_a, of_b = math.sin(lam * theta) / math.sin(theta), math.sin((1 - lam) * theta) / math.sin(theta)
    return [of_a * p + of_b * q for p, q in zip(a, b, strict=True)]


def entropy(logits: list[list[float]], target: list[list[float]]) -> float:
    """Mean over the rows of −Σ t log softmax, one row at a time."""
    total = 0.0
    for row, weights in zip(logits, target, strict=True):
        normaliser = math.log(sum(math.exp(value) for value in row))
        total -= sum(weight * (value - normaliser) for weight, value in zip(weights, row, strict=True))
    return total / len(logits)


def both_ways(logits: list[list[float]], target: list[list[float]]) -> float:
    flipped = lambda matrix: [list(column) for column in zip(*matrix, strict=True)]  # noqa: E731
    return (entropy(logits, target) + entropy(flipped(logits), flipped(target))) / 2


def loop(name: str, x: Tensor, y: Tensor, lam: Tensor, r: Tensor, tau: float) -> float:
    """Every term by its definition in plain Python floats."""
    xs, ys, lams, rs = x.tolist(), y.tolist(), lam.expand(len(x)).tolist(), r.tolist()
    m = range(len(xs))
    dot = lambda a, b: sum(p * q for p, q in zip(a, b, strict=True))  # noqa: E731
    away = lambda a, b: sum((p - q) ** 2 for p, q in zip(a, b, strict=True))  # noqa: E731
    table = lambda entry: [[entry(i, j) for j in m] for i in m]  # noqa: E731
    identity = table(lambda i, j: float(i == j))
    shares = table(lambda i, j: lams[i] * (i == j) + (1 - lams[i]) * (rs[i] == j))
    mixed_x = [slerp(xs[i], xs[rs[i]], lams[i]) for i in m]
    mixed_y = [slerp(ys[i], ys[rs[i]], lams[i]) for i in m]
    cross = [slerp(xs[j], ys[j], lams[j]) for j in m]
    mean_log = lambda u, v: math.log(sum(math.exp(-2 * away(u[i], v[j])) for i in m for j in m if i != j) / off)  # noqa: E731
    off = len(xs) * (len(xs) - 1)

    def hard(u: list[list[float]], v: list[list[float]]) -> float:
        total = 0.0
        for i in m:
            positive = math.exp(dot(u[i], v[i]) / tau)
            negative = [math.exp(dot(u[i], v[j]) / tau) for j in m if j != i]
            harder = sum(n**2 for n in negative) / (sum(negative) / len(negative))
            left = max((harder - 0.1 * len(negative) * positive) / 0.9, len(negative) * math.exp(-1 / tau))
            total -= math.log(positive / (positive + left))
        return total / len(xs)

    def sigmoid(bias: float) -> float:
        sign = lambda i, j: 1 if i == j else -1  # noqa: E731
        entries = (sign(i, j) * (dot(xs[i], ys[j]) / tau + bias) for i in m for j in m)
        return sum(math.log1p(math.exp(-value)) for value in entries) / len(xs)

    terms: dict[str, Callable[[], float]] = {
        "contrastive": lambda: both_ways(table(lambda i, j: dot(xs[i], ys[j]) / tau), identity),
        "m2_mix": lambda: (
            (
                entropy(table(lambda i, j: dot(xs[i], ys[i] if i == j else cross[j]) / tau), identity)
                + entropy(table(lambda i, j: dot(ys[i], xs[i] if i == j else cross[j]) / tau), identity)
            )
            / 2
        ),
        "v_mix": lambda: both_ways(table(lambda i, j: dot(mixed_x[i], ys[j]) / tau), shares),
        "l_mix": lambda: both_ways(table(lambda i, j: dot(xs[i], mixed_y[j]) / tau), table(lambda i, j: shares[j][i])),
        "vl_mix": lambda: both_ways(table(lambda i, j: dot(mixed_x[i], mixed_y[j]) / tau), identity),
        "vl_both": lambda: both_ways(
            table(lambda i, j: dot(mixed_x[i], mixed_y[j]) / tau), table(lambda i, j: (i == j) + float(rs[i] == j))
        ),
        "hcl": lambda: (hard(xs, ys) + hard(ys, xs)) / 2,
        "siglip": lambda: sigmoid(-1.5),
        "alignment": lambda: sum(away(xs[i], ys[i]) for i in m) / len(xs),
        "uniformity": lambda: (mean_log(xs, xs) + mean_log(ys, ys)) / 2,
        "cross_uniformity": lambda: mean_log(xs, ys),
        "in_modal": lambda: sum((dot(xs[i], xs[j]) - dot(ys[i], ys[j])) ** 2 for i in m for j in m) / len(xs),
        "cross_modal": lambda: sum((dot(xs[i], ys[j]) - dot(xs[j], ys[i])) ** 2 for i in m for j in m) / len(xs),
    }
    return terms[name]()
