"""Multinomial logistic regression of few examples: several fits side by side, exact to rounding.

The solution with an L2 penalty lies in the span of the examples, so a fit of n examples in d dimensions is one in
min(n, d); and with few examples the Hessian is small enough to step by Newton, truncated by conjugate gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCE = 1e-3
"""Of the largest entry of the penalty's gradient: what that of the loss, which cancels it at the minimum, may leave.

An absolute bound, as scikit-learn has it, ends far from the minimum where the penalty is weak.
"""
ROUNDING = 1e-13
"""Of an example's largest gradient: nothing smaller is told from 0."""
NEWTON, HALVINGS = 200, 40
"""Steps at most, and halvings of a step at most."""
FORCING = 0.25
"""Of the residual that conjugate gradients may leave at most, far from the solution."""
FINEST = 1e-3
"""Of the residual that they may leave at least: what float32 reaches."""
FLAT = 1e-6
"""Of the largest curvature: a preconditioner takes none for smaller, which float32 does not tell from 0."""
LARGE = 2_000_000
"""Numbers of examples, weights and classes, multiplied: larger fits gain nothing side by side, and are made in turn."""
TINY = 1e-30
"""No divisor in float32 is smaller."""
SUFFICIENT = 1e-4
"""Share of the predicted decrease that a step must bring."""


@dataclass(frozen=True, eq=False)
class Fits:
    """Fits side by side; `weight` (b, d, c) and `bias` (b, c), and whether each reached the tolerance (b,)."""

    weight: Tensor
    bias: Tensor
    converged: Tensor

    def alone(self, which: int) -> Fits:
        """One of them, as fits of a batch of one."""
        one = slice(which, which + 1)
        return Fits(self.weight[one], self.bias[one], self.converged[one])

    def logits(self, rows: Tensor, which: int) -> Tensor:
        """Scores of classes (m, c) of rows (m, d), by one fit."""
        return rows @ self.weight[which] + self.bias[which]


def spanned(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates (b, n, r) of examples (b, n, d) in a basis (b, d, r) of their span, r = min(n, d)."""
    if rows.shape[1] >= rows.shape[2]:
        return rows, torch.eye(rows.shape[2], dtype=rows.dtype).expand(len(rows), -1, -1)
    basis, upper = torch.linalg.qr(rows.mT)
    return upper.mT, basis


def fit(
    rows: Tensor,
    labels: Tensor,
    classes: int,
    c: Tensor,
    *,
    offset: Tensor | None = None,
    start: Fits | None = None,
    tolerance: float = TOLERANCE,
) -> Fits:
    """Weights and biases that minimise c · Σ cross-entropy + ½ ‖W‖², the bias free; as scikit-learn has it.

    Two classes have a column of weights each, so that c is half of scikit-learn's, which has one.

    Parameters
    ----------
    rows : float64 Tensor of shape (b, n, d)
        The examples of each fit.
    labels : integer Tensor of shape (b, n)
    classes : int
    c : float64 Tensor of shape (b,)
        Inverse strength of the penalty.
    offset : Tensor of shape (b, n, classes), optional
        Scores that are there before: what is fitted is added to them.
    start : Fits, optional
        Where to begin; the result does not depend on it, since the problem is convex.
    tolerance : float

    Returns
    -------
    Fits

    References
    ----------
    Nocedal and Wright (2006), "Numerical Optimization", algorithm 7.1 (line search Newton-CG).
    """
    batch, n, width = rows.shape
    if batch > 1 and n * width * classes > LARGE:
        how = [
            (None if offset is None else offset[i : i + 1], None if start is None else start.alone(i))
            for i in range(batch)
        ]
        each = [
            fit(
                rows[i : i + 1],
                labels[i : i + 1],
                classes,
                c[i : i + 1],
                offset=before,
                start=begun,
                tolerance=tolerance,
            )
            for i, (before, begun) in enumerate(how)
        ]
        return Fits(*(torch.cat([getattr(one, name) for one in each]) for name in ("weight", "bias", "converged")))
    wanted = torch.nn.functional.one_hot(labels.long(), classes).to(rows.dtype)
    fixed = torch.zeros_like(wanted) if offset is None else offset
    ones = rows.new_ones(batch, n, 1)
    extended = torch.cat([rows, ones], dim=2)  # the bias is the weight of a column of ones
    low = extended.float()
    penalty = torch.cat([(1 / c)[:, None].expand(-1, width), torch.zeros(batch, 1, dtype=rows.dtype)], dim=1)[..., None]
    weight = rows.new_zeros(batch, width + 1, classes)
    if start is not None:
        weight = torch.cat([start.weight, start.bias[:, None]], dim=1)

    def loss_at(weight: Tensor) -> tuple[Tensor, Tensor]:
        scores = fixed + extended @ weight
        normal = scores.logsumexp(dim=2)
        loss = (normal - (scores * wanted).sum(dim=2)).sum(dim=1) + 0.5 * (penalty * weight.square()).sum(dim=(1, 2))
        return loss, (scores - normal[..., None]).exp()

    loss, probability = loss_at(weight)
    done = torch.zeros(batch, dtype=torch.bool)
    for _ in range(NEWTON):
        gradient = extended.mT @ (probability - wanted) + penalty * weight
        pulled = (penalty * weight).abs().amax(dim=(1, 2))
        done = gradient.abs().amax(dim=(1, 2)) <= tolerance * pulled + ROUNDING * n
        if bool(done.all()):
            break
        step = _conjugate(low, probability, penalty, -gradient, done)
        slope = (gradient * step).sum(dim=(1, 2))
        length, moving = rows.new_ones(batch), ~done
        for _ in range(HALVINGS):
            tried = weight + (length * moving)[:, None, None] * step
            new_loss, new_probability = loss_at(tried)
            short = moving & ~(new_loss <= loss + SUFFICIENT * length * slope + 1e-14 * loss.abs())
            if not bool(short.any()):
                break
            length = torch.where(short, length / 2, length)
        else:  # none of these steps is better than rounding
            tried = torch.where(short[:, None, None], weight, tried)
            new_loss, new_probability = loss_at(tried)
        stuck = bool(((new_loss - loss).abs() <= 1e-15 * loss.abs())[moving].all())
        weight, loss, probability = tried, new_loss, new_probability
        if stuck:  # no further decrease can be told from rounding
            done = done | moving
            break
    return Fits(weight[:, :width], weight[:, width], done)


def _conjugate(low: Tensor, probability: Tensor, penalty: Tensor, wanted: Tensor, done: Tensor) -> Tensor:
    """An inexact solution of Hessian · step = wanted by conjugate gradients, in float32.

    What it leaves the next step takes up, since the gradient is of float64.
    """
    length = wanted.square().sum(dim=(1, 2)).sqrt()
    goal = torch.clamp(length.sqrt(), FINEST, FORCING)
    precondition = _shared(low, probability, penalty)
    top = probability.argmax(dim=2, keepdim=True)
    share, curved = probability.float(), penalty.float()
    residual = (wanted / length.clamp(min=1e-300)[:, None, None]).float()
    step = torch.zeros_like(residual)
    scaled = precondition(residual)
    direction, rho = scaled.clone(), (residual * scaled).sum(dim=(1, 2))
    active = ~done
    for _ in range(2 * wanted.shape[1] * wanted.shape[2]):
        moved = low @ direction
        moved = moved - moved.gather(2, top)  # small beside the likeliest class, whose share may be nearly 1
        moved = share * (moved - (share * moved).sum(dim=2, keepdim=True))
        bent = low.mT @ moved + curved * direction
        along = (direction * bent).sum(dim=(1, 2))
        active = active & (along > 0)
        if not bool(active.any()):
            break
        alpha = torch.where(active, rho / along.clamp(min=TINY), torch.zeros_like(rho))[:, None, None]
        step = step + alpha * direction
        residual = residual - alpha * bent
        active = active & (residual.square().sum(dim=(1, 2)).sqrt() > goal)
        if not bool(active.any()):
            break
        scaled = precondition(residual)
        new = (residual * scaled).sum(dim=(1, 2))
        direction = scaled + (new / rho.clamp(min=TINY))[:, None, None] * direction
        rho = new
    return step.double() * length[:, None, None]


def _shared(extended: Tensor, probability: Tensor, penalty: Tensor) -> Callable[[Tensor], Tensor]:
    """What solves by one matrix for all classes: the examples weighted by how undecided each is."""
    weight = (probability * (1 - probability)).sum(dim=2) / (probability.shape[2] - 1)
    matrix = ((weight.float()[..., None] * extended).mT @ extended).double()
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    # where all are decided the bias has no curvature of its own
    diagonal += penalty[..., 0] + FLAT * diagonal.amax(dim=1, keepdim=True).clamp(min=1e-300)
    factor = torch.linalg.cholesky(matrix).float()
    return lambda residual: torch.cholesky_solve(residual, factor)
