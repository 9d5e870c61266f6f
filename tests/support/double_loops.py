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


def geodesics(rows: list[list[float]], k: int) -> list[list[float]]:
    """Shortest ways along the angles of the symmetric graph of k neighbours, by Floyd and Warshall."""
    m = range(len(rows))
    angle = [[2 * math.asin(min(1, math.dist(a, b) / 2)) for b in rows] for a in rows]
    near = [set(sorted((j for j in m if j != i), key=lambda j, i=i: angle[i][j])[:k]) for i in m]  # type: ignore[misc]
    far = [[0 if i == j else angle[i][j] if j in near[i] or i in near[j] else math.inf for j in m] for i in m]
    for over in m:
        for i in m:
            for j in m:
                far[i][j] = min(far[i][j], far[i][over] + far[over][j])
    return far


def weighted(logits: list[list[float]], far: list[list[float]], width: float, most: int) -> float:
    """Mean over the rows: who is near stands in for the own, with a weight that falls with the distance."""
    total = 0.0
    for row, away in zip(logits, far, strict=True):
        weight = [math.exp(-((d / width) ** 2)) for d in away]
        nearest = sorted(range(len(row)), key=lambda j, weight=weight: -weight[j])[:most]  # type: ignore[misc]
        towards = sum(weight[j] * math.exp(row[j]) for j in nearest)
        against = sum((1 + w) * math.exp(s) for w, s in zip(weight, row, strict=True) if w < 0.5)
        total -= math.log(towards / (towards + against))
    return total / len(logits)


def matched(logits: list[list[float]], sentences: set[int], moments: set[int]) -> float:
    """How well those present find each other."""
    if not sentences or not moments:
        return 0.0
    share = {}
    for s in sentences:
        whole = sum(math.exp(logits[s][m]) for m in moments)
        share |= {(s, m): math.exp(logits[s][m]) / whole for m in moments}
    of_moments = sum(max(share[s, m] for s in sentences) for m in moments) / len(moments)
    return (of_moments + sum(max(share[s, m] for m in moments) for s in sentences) / len(sentences)) / 2


def aligned(logits: list[list[float]], coalitions: list[list[bool]], softness: float) -> float:
    """Sum over the rows of the divergence from what each is worth together with each column."""
    count = range(len(logits))
    total = 0.0
    for i in count:
        worth = []
        for j in count:
            added = 0.0
            for inside in coalitions:
                s = {k for k in count if inside[k]} - {i}
                m = {k for k in count if inside[len(logits) + k]} - {j}
                added += matched(logits, s | {i}, m | {j}) - matched(logits, s | {i}, m)
                added += matched(logits, s, m) - matched(logits, s, m | {j})
            worth.append(added / len(coalitions) / softness)
        whole, model = sum(map(math.exp, worth)), sum(map(math.exp, logits[i]))
        total += sum(
            math.exp(w) / whole * (w - math.log(whole) - row + math.log(model))
            for w, row in zip(worth, logits[i], strict=True)
        )
    return total


def blocks(logits: list[list[float]], far: list[list[float]], coalitions: list[list[bool]], softness: float) -> float:
    """Mean over the rows of all blocks: each pair with those nearest to it, as far as there is a way."""
    half, total, rows = len(coalitions[0]) // 2, 0.0, 0
    for i, away in enumerate(far):
        near = sorted(range(len(away)), key=lambda j, i=i, away=away: (j != i, away[j]))[:half]  # type: ignore[misc]
        near = [j for j in near if away[j] < math.inf]
        columns = [*range(len(near)), *range(half, half + len(near))]
        own = [[inside[c] for c in columns] for inside in coalitions]
        for direction in (lambda a, b: logits[a][b], lambda a, b: logits[b][a]):
            total += aligned([[direction(a, b) for b in near] for a in near], own, softness)
            rows += len(near)
    return total / rows


def loop(
    name: str, x: Tensor, y: Tensor, lam: Tensor, r: Tensor, tau: float, coalitions: Tensor | None = None
) -> float:
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

    def geodesic(k: int, width: float, most: int) -> float:
        logits, far = table(lambda i, j: dot(xs[i], ys[j]) / tau), geodesics(xs, k)
        flipped = [list(column) for column in zip(*logits, strict=True)]
        return (weighted(logits, far, width, most) + weighted(flipped, far, width, most)) / 2

    def shapley(k: int, softness: float) -> float:
        assert coalitions is not None
        logits = table(lambda i, j: dot(ys[i], xs[j]) / tau)
        return blocks(logits, geodesics(xs, k), coalitions.tolist(), softness)

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
        "geodesic_contrastive": lambda: geodesic(5, 0.7, 5),
        "geodesic, 1": lambda: geodesic(1, 0.9, 3),
        "shapley_alignment": lambda: shapley(5, 0.1),
        "shapley, 1": lambda: shapley(1, 0.5),
        "hcl": lambda: (hard(xs, ys) + hard(ys, xs)) / 2,
        "siglip": lambda: sigmoid(-1.5),
        "alignment": lambda: sum(away(xs[i], ys[i]) for i in m) / len(xs),
        "uniformity": lambda: (mean_log(xs, xs) + mean_log(ys, ys)) / 2,
        "cross_uniformity": lambda: mean_log(xs, ys),
        "in_modal": lambda: sum((dot(xs[i], xs[j]) - dot(ys[i], ys[j])) ** 2 for i in m for j in m) / len(xs),
        "cross_modal": lambda: sum((dot(xs[i], ys[j]) - dot(xs[j], ys[i])) ** 2 for i in m for j in m) / len(xs),
    }
    return terms[name]()
