"""What a calibration error is for an honest forecaster: answers that are right as often as they say, and no oftener."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from geomclip.metrics.bins import BINS, bin_of, checked_queries

SEED = 12_022
"""Of all draws."""

ANSWERS = 2e7
"""Answers that are simulated in all: a tenth of a second or two."""

FEWEST, MOST = 200, 2000
"""Simulated sets."""

AT_ONCE = 2**20
"""Answers simulated at a time: three arrays of 4 MB."""


@dataclass(frozen=True)
class Honest:
    """A calibration error beside those of honest answers.

    `mean` of the simulated errors and its standard `error`; `p`: the share of sets of honest answers, this one
    among them, with an error at least as large.
    """

    mean: float
    error: float
    p: float


def honest_errors(confidence: Tensor, hit: Tensor, owner: Tensor | None = None) -> dict[str, Honest]:
    """ECE and MCE of simulated answers that are right with exactly the stated confidence, beside the observed.

    Confidences and bins are those given. Queries of one owner fail together: a query takes the uniform number of
    its owner with probability √ρ, else one of its own, and is right where that is below its confidence, so that
    every confidence is honest whatever ρ is. ρ is estimated by `shared_luck`.

    Parameters
    ----------
    confidence, hit : Tensors of shape (q,)
        As in `geomclip.metrics.ece`.
    owner : integer Tensor of shape (q,), optional
        The image that each query belongs to; left out, all are independent.

    Returns
    -------
    dict of "ece", "mce" to `Honest`
        The same for the same arguments: the generator is fixed.

    Examples
    --------
    >>> found = honest_errors(torch.full((100,), 0.9), torch.ones(100))["ece"]
    >>> round(found.mean, 2), found.p < 0.01
    (0.02, True)
    """
    confidence, hit = (torch.as_tensor(each) for each in checked_queries(confidence, hit))
    order = bin_of(confidence).argsort(stable=True)
    sure, right = confidence[order].numpy(), hit[order].numpy()
    edges = np.concatenate([[0], np.bincount(bin_of(confidence).numpy(), minlength=BINS).cumsum()])
    full = [slice(low, high) for low, high in pairwise(edges.tolist()) if low < high]
    counts = np.array([some.stop - some.start for some in full])
    expected = np.array([sure[some].sum() for some in full])

    def errors(answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of sets of answers (b, q) in the order of the bins."""
        gaps = np.stack([answers[:, some].sum(1) for some in full], 1) - expected  # (b, bins)
        return np.abs(gaps).sum(1) / len(sure), np.abs(gaps / counts).max(1)

    owner = None if owner is None else owner[order].unique(return_inverse=True)[1]
    shared = 0.0 if owner is None else shared_luck(confidence[order], hit[order], owner)
    draws = max(FEWEST, min(MOST, int(ANSWERS / len(sure))))
    parts = [errors(answers) for answers in _answers(sure, owner, shared, draws)]
    observed = errors(right[None])
    found = {}
    for name, value, each in zip(("ece", "mce"), observed, map(np.concatenate, zip(*parts, strict=True)), strict=True):
        as_large = int((each >= value[0] - 1e-12).sum())
        error = float(each.std(ddof=1)) / draws**0.5
        found[name] = Honest(float(each.mean()), error, (1 + as_large) / (1 + draws))
    return found


def _answers(sure: np.ndarray, owner: Tensor | None, shared: float, draws: int) -> Iterator[np.ndarray]:
    """Sets of honest answers, some (b, q) at a time."""
    generator = np.random.default_rng(SEED)
    size = max(1, AT_ONCE // len(sure))
    for first in range(0, draws, size):
        b = min(size, draws - first)
        luck = generator.random((b, len(sure)), dtype=np.float32)
        if shared > 0 and owner is not None:
            common = generator.random((b, int(owner.max()) + 1), dtype=np.float32)
            takes = generator.random((b, len(sure)), dtype=np.float32) < shared**0.5
            luck = np.where(takes, common[:, owner.numpy()], luck)
        yield luck < sure


def shared_luck(confidence: Tensor, hit: Tensor, owner: Tensor) -> float:
    """How far queries of one owner are right together: 0 (each by itself) to 1 (one uniform number decides).

    Σ r r' / Σ (min(p, p') − p p') over pairs of queries of one owner, r = hit − p their residuals: of queries that
    share one uniform number min(p, p') − p p' is the covariance of being right. A line in p is fitted to the residuals
    and taken away first: confidences that are too high for all queries are no luck. Cut to 0 to 1; 0 without pairs.

    Parameters
    ----------
    confidence, hit : Tensors of shape (q,), float64
    owner : integer Tensor of shape (q,)
        From 0.

    Examples
    --------
    >>> half, pairs = torch.full((4,), 0.5, dtype=torch.float64), torch.tensor([0, 0, 1, 1])
    >>> shared_luck(half, torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64), pairs)
    1.0
    """
    order = confidence.argsort(stable=True)
    order = order[owner[order].argsort(stable=True)]
    p, residual, owner = confidence[order], (hit - confidence)[order], owner[order]
    residual, along = residual - residual.mean(), p - p.mean()
    if along.square().sum() > 1e-12:
        residual = residual - along * (along @ residual) / along.square().sum()
    size = torch.bincount(owner)
    # p rises within an owner: it is the least of all pairs with those after it
    after = size.cumsum(0)[owner] - 1 - torch.arange(len(owner))

    def pairs(each: Tensor) -> Tensor:
        sums = torch.zeros(len(size), dtype=torch.float64).index_add_(0, owner, each)
        return (sums.square().sum() - each.square().sum()) / 2

    together = float((p * after).sum() - pairs(p))
    return min(1.0, max(0.0, float(pairs(residual)) / together)) if together > 1e-12 else 0.0
