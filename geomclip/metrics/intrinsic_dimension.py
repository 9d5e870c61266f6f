"""Intrinsic dimension: how many coordinates the cloud needs locally, whatever the space it lies in."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geomclip.metrics.kinds import same_kind
from geomclip.metrics.neighborhood import BLOCK, nearest_candidates
from geomclip.sweep import FLOAT32_DOUBT, TIE

DISCARDED = 0.1
"""Facco et al. (2017): the tenth of the points with the largest ratios is left out of the fit."""

CANDIDATES = 6
"""By float32 score; the two nearest are then chosen by float64 distance."""


@same_kind
def twonn(x: Tensor) -> Tensor:
    """Intrinsic dimension from the two nearest neighbours of each row: 1 for a curve, 2 for a surface, ...

    Locally uniform rows have ratios μ = r₂/r₁ with −log(1 − F(μ)) = dimension · log μ; the slope of that line
    through the origin is fitted to all but the tenth with the largest ratios. Distances are Euclidean on unit
    rows; rows that are exactly equal are merged first (`merge_duplicates` counts them).

    Parameters
    ----------
    x : Tensor of shape (n, d)
        At least 3 different rows.

    Returns
    -------
    Tensor of shape (), float64
        Unchanged by rotation. Low for high dimensions at small n: read beside its null.

    Raises
    ------
    ValueError
        With fewer than 3 different rows, or where all nearest two are equally far.

    References
    ----------
    Facco et al. (2017), "Estimating the intrinsic dimension of datasets by a minimal neighborhood
    information", Scientific Reports 7.

    Examples
    --------
    >>> angle = torch.rand(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 6
    >>> round(twonn(torch.stack([angle.cos(), angle.sin()], dim=1)).item(), 1)
    1.0
    """
    r1, r2 = two_nearest_distances(merge_duplicates(x)[0])
    return twonn_from_neighbors(r1, r2)


def twonn_from_neighbors(r1: Tensor, r2: Tensor) -> Tensor:
    """`twonn` from the distances (n,) of each point to its nearest and second nearest other point.

    Raises
    ------
    ValueError
        With fewer than 3 points, a nearest distance of 0 (duplicates: merge them first), or only ratios of 1.
    """
    n = len(r1)
    kept = int(n * (1 - DISCARDED))
    if kept < 2:
        raise ValueError(f"the intrinsic dimension needs at least 3 different rows, got {n}")
    if (r1 <= 0).any():
        raise ValueError(f"row {int((r1 <= 0).nonzero()[0])} has a duplicate; merge duplicates first")
    log_ratio = (r2.double() / r1.double()).log().sort().values[:kept]
    above = -torch.log1p(-torch.arange(1, kept + 1, dtype=torch.float64) / n)
    if log_ratio[-1] <= 0:
        raise ValueError("each row's two nearest neighbours are equally far, so the dimension is unbounded")
    return (log_ratio @ above) / log_ratio.square().sum()


def merge_duplicates(x: Tensor) -> tuple[Tensor, int]:
    """The different rows of x (n, d), in their old order, and how many were dropped as equal to one."""
    keep = different_rows(x)
    return x[keep], len(x) - len(keep)


def different_rows(x: Tensor) -> Tensor:
    """Indices, rising, of the first of each set of exactly equal rows of x (n, d)."""
    rows = np.ascontiguousarray((x + 0.0).numpy())  # −0 and 0 are equal, their bytes are not
    whole = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))[:, 0]
    return torch.from_numpy(np.sort(np.unique(whole, return_index=True)[1]))


def two_nearest_distances(x: Tensor) -> tuple[Tensor, Tensor]:
    """Euclidean distances (n,), float64, of each row of x (n, d) to its nearest and second nearest other row.

    From differences of the rows: 2 − 2c of a float32 cosine has no digits left where rows are close.
    """
    n = len(x)
    if n < 3:
        raise ValueError(f"two nearest neighbours need at least 3 rows, got {n}")
    count = min(CANDIDATES, n - 1)
    indices, scores = nearest_candidates(x, x, count, exclude_self=True)
    near = _distances(x, indices).sort(dim=1).values[:, :2]
    # rows whose last candidate scores like their second: others as near may have been missed
    if count < n - 1:
        margin = TIE if x.dtype == torch.float64 else 2 * FLOAT32_DOUBT
        for part in (scores[:, 1] - scores[:, -1] <= margin).nonzero()[:, 0].split(max(1, BLOCK // n)):
            far = torch.cdist(x[part].double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist")
            far[torch.arange(len(part)), part] = torch.inf
            near[part] = far.topk(2, dim=1, largest=False).values
    return near[:, 0], near[:, 1]


def _distances(x: Tensor, indices: Tensor) -> Tensor:
    step = max(1, BLOCK // (indices.shape[1] * x.shape[1]))
    parts = [
        torch.linalg.vector_norm(rows[:, None].double() - x[near.long()].double(), dim=2)
        for rows, near in zip(x.split(step), indices.split(step), strict=True)
    ]
    return torch.cat(parts)
