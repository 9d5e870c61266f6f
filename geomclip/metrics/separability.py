"""Linear separability: how well a straight cut tells images from texts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geomclip.embeddings import exact
from geomclip.machine import scratch
from geomclip.metrics.gap import owners
from geomclip.metrics.kinds import on_unit_rows

FOLDS = 5
TOLERANCE = 1e-7
"""Largest entry of the gradient, per training row, where a fit is done: held-out signs no longer change."""

SHARED_STEPS = 60
"""Steps with one Hessian for all fits before the few that are left get their own."""

WARM, THINNED, ROUGH = 8, 8, 1e-5
"""With this many rows a dimension a fit starts from that of every eighth row, whose gradient is this small."""

SERVED = 10
"""A Hessian serves again where the gradient has become this many times smaller."""


@on_unit_rows
def linear_separability(x: Tensor, y: Tensor, image_of_text: Tensor | None = None, *, seed: int) -> Tensor:
    """Held-out accuracy of logistic regression, image against text: ½ (overlapping) to 1 (separated).
    Rows are normalised.

    Logistic regression with L2 (C = 1) and a free intercept on the unit rows as they are, the first text of
    each image; 5 folds (a seeded permutation of the images, mod 5), an image and its text in one fold; mean
    over folds. May fall a little below ½ by chance.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        Images; those without text are left out.
    y : Tensor of shape (m, d)
        Texts.
    image_of_text : integer Tensor of shape (m,), optional
    seed : int
        Of the permutation that makes the folds.

    Returns
    -------
    Tensor of shape (), float64

    Raises
    ------
    ValueError
        With fewer than 5 images that have a text.

    References
    ----------
    Fahim et al. (2024), "It's not a modality gap: characterizing and addressing the contrastive gap".

    Examples
    --------
    >>> x = torch.nn.functional.normalize(torch.tensor([[1.0, a / 10] for a in range(20)]), dim=1)
    >>> linear_separability(x, -x, seed=0).item(), linear_separability(x, x, seed=0).item()
    (1.0, 0.5)
    """
    return held_out_answers(x, y, image_of_text, seed=seed).accuracy


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What the fits said of rows that they did not see."""

    images: Tensor  # (p,) those that have a text
    right: Tensor  # (p, 2) whether the image, and its first text, was told right
    accuracy: Tensor  # (), mean over folds


def held_out_answers(x: Tensor, y: Tensor, image_of_text: Tensor | None, *, seed: int) -> HeldOut:
    """The answers that `linear_separability` is the mean of."""
    own = owners(x, y, image_of_text)
    first = first_text(own, n=len(x))
    have = (first >= 0).nonzero()[:, 0]
    p = len(have)
    if p < FOLDS:
        raise ValueError(f"linear separability needs {FOLDS} images with a text, got {p}")
    z = scratch.empty(2 * p, x.shape[1] + 1, dtype=torch.float64)  # images, then their texts
    z[:, -1] = 1  # the intercept
    for some in scratch.blocks(have):
        z[:p][some, :-1], z[p:][some, :-1] = x[have[some]], y[first[have[some]]]
    fold = torch.from_numpy(np.random.default_rng(seed).permutation(p)) % FOLDS
    held = fold == torch.arange(FOLDS)[:, None]  # (fits, p)
    weights = _fit(z, (~held).T.repeat(2, 1))  # (d + 1, fits)
    says_text = z @ weights > 0  # (2p, fits)
    told = torch.stack([~says_text[:p], says_text[p:]], 1)  # (p, 2, fits)
    right = told.gather(2, fold[:, None, None].expand(p, 2, 1))[:, :, 0]
    sizes = held.sum(1).double()
    in_fold = torch.zeros(FOLDS, dtype=torch.float64).index_add_(0, fold, right.double().sum(1))
    return HeldOut(have, right, (in_fold / (2 * sizes)).mean())


def first_text(own: Tensor, *, n: int) -> Tensor:
    """Row of the first text of each image, -1 where it has none: (n,)."""
    first = own.new_full((n,), len(own))
    first = first.scatter_reduce(0, own, torch.arange(len(own)), "amin")
    return torch.where(first == len(own), -1, first)


def _fit(z: Tensor, train: Tensor) -> Tensor:
    """Weights of the logistic regressions on the rows chosen by each column of train: (d + 1, fits).

    Minimises ½‖w‖² + Σ log(1 + exp(−±(z·w + b))), the intercept (last entry) without penalty. Newton for the
    first fit; the others start from it and share its Hessian, which is close because they are as large and
    drawn from the same rows; any that does not settle is finished with Newton of its own.
    """
    weights = torch.zeros(z.shape[1], train.shape[1], dtype=torch.float64)
    settled, factor = _newton(scratch.rows(z, train[:, 0]), _labels(z)[train[:, 0]])
    weights[:] = settled[:, None]
    if train.shape[1] == 1:
        return weights
    rows = train.sum(dim=0)
    target = _labels(z)[:, None]
    mask = train.double()
    left = torch.arange(1, train.shape[1])
    size = torch.full((train.shape[1],), torch.inf, dtype=torch.float64)
    length = torch.ones_like(size)
    for _ in range(SHARED_STEPS):
        now = weights[:, left]
        gradient = z.T @ (mask[:, left] * (torch.sigmoid(z @ now) - target)) + _penalty(now)
        reached = gradient.abs().amax(dim=0) / rows[left]
        # where the gradient grows the shared Hessian is too flat for this fit: shorter steps
        length[left] = torch.where(reached > size[left], length[left] / 2, length[left])
        size[left] = reached
        going = reached > TOLERANCE
        left = left[going]
        if len(left) == 0:
            break
        weights[:, left] -= length[left] * torch.cholesky_solve(gradient[:, going], factor)
    for column in (size[1:] > TOLERANCE).nonzero()[:, 0] + 1:
        chosen = train[:, column]
        weights[:, column], _ = _newton(scratch.rows(z, chosen), _labels(z)[chosen])
    return weights


def _newton(z: Tensor, target: Tensor, *, times: int = 1, until: float = TOLERANCE / 10) -> tuple[Tensor, Tensor]:
    """Weights of one regression in which each row counts `times`, and the factor of the last Hessian on the way.

    Newton's method with halved steps; the problem is strictly convex, so it ends. Many rows start from the weights
    of every eighth, which one or two steps then settle. A Hessian costs a dozen gradients: one that served well,
    as it does near the end, serves again.
    """
    if len(z) >= WARM * z.shape[1] and times == 1:
        weights, factor = _newton(z[::THINNED], target[::THINNED], times=THINNED, until=ROUGH)
    else:
        weights, factor = z.new_zeros(z.shape[1]), z.new_zeros(0)

    def loss(w: Tensor) -> Tensor:
        logits = z @ w
        return times * (torch.nn.functional.softplus(logits) - target * logits).sum() + w[:-1].square().sum() / 2

    last = torch.inf
    for steps in range(100):
        gradient = times * (z.T @ (torch.sigmoid(z @ weights) - target)) + _penalty(weights)
        reached = float(gradient.abs().max()) / (times * len(z))
        if steps and reached <= until:
            break
        if not steps or reached > last / SERVED:
            factor = torch.linalg.cholesky(_hessian(z, weights, times))
        last = reached
        step = torch.cholesky_solve(gradient[:, None], factor)[:, 0]
        length, before = 1.0, loss(weights)
        while length > 1e-4 and loss(weights - length * step) > before:
            length /= 2
        weights = weights - length * step
    return weights, factor


def _hessian(z: Tensor, weights: Tensor, times: int) -> Tensor:
    p = torch.sigmoid(z @ weights)
    diagonal = torch.ones(z.shape[1], dtype=torch.float64)
    diagonal[-1] = 1e-9  # keeps the factor defined where every p is 0 or 1
    return exact.gram(z, weight=times * p * (1 - p)) + diagonal.diag()


def _penalty(weights: Tensor) -> Tensor:
    penalty = weights.clone()
    penalty[-1] = 0
    return penalty


def _labels(z: Tensor) -> Tensor:
    """0 for the images in the first half of the rows, 1 for their texts in the second."""
    return (torch.arange(len(z)) >= len(z) // 2).double()
