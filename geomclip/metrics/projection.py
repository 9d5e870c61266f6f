"""How far a projection can be trusted: are neighbours in the picture neighbours in the space, and back?"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geomclip.metrics.kinds import on_rows_as_they_are

BLOCK = 8_000_000
"""Distances held at a time: 64 MB."""


@on_rows_as_they_are
def trustworthiness(x: Tensor, projected: Tensor, *, k: int = 5) -> Tensor:
    """Are neighbours in the projection near in x too: 0 to 1; higher means fewer false neighbours.
    Rows are taken as they are.

    1 − 2/(nk(2n − 3k − 1)) Σ_i Σ_j (r(i, j) − k), over the j among the k nearest to i in the projection but
    not in x; r(i, j) is the rank of j by distance from i in x, 1 + the number of rows strictly nearer.
    Distances are Euclidean.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        Taken as they are, not normalised.
    projected : Tensor of shape (n, e)
        Row i is the same item as row i of x.
    k : int
        1 to below n/2.

    Returns
    -------
    Tensor of shape (), float64

    Raises
    ------
    ValueError
        If the rows do not fit or k is not between 1 and below n/2.

    References
    ----------
    Venna and Kaski (2001), "Neighborhood preservation in nonlinear projection methods", ICANN.

    Examples
    --------
    >>> line = torch.arange(10.0)[:, None]
    >>> trustworthiness(line, -3 * line, k=2).item()
    1.0
    """
    return 1 - _intrusion(x, projected, k)


@on_rows_as_they_are
def continuity(x: Tensor, projected: Tensor, *, k: int = 5) -> Tensor:
    """Do neighbours in x stay near in the projection: 0 to 1; higher means fewer tears. Rows are taken as they are.

    `trustworthiness` with the roles of the two spaces exchanged; arguments as there.

    References
    ----------
    Venna and Kaski (2001), "Neighborhood preservation in nonlinear projection methods", ICANN.

    Examples
    --------
    >>> line = torch.arange(10.0)[:, None]
    >>> continuity(line, -3 * line, k=2).item()
    1.0
    """
    return 1 - _intrusion(projected, x, k)


def _intrusion(space: Tensor, shown: Tensor, k: int) -> Tensor:
    """How far down in `space` the k nearest in `shown` lie, 0 to 1."""
    if space.ndim != 2 or shown.ndim != 2 or len(space) != len(shown):
        raise ValueError(f"rows must be the same items, got {tuple(space.shape)} and {tuple(shown.shape)}")
    n = len(space)
    if not 1 <= k < n / 2:
        raise ValueError(f"k must be at least 1 and below n/2 = {n / 2:g}, got {k}")
    space, shown = space.double(), shown.double()
    blocks = torch.arange(n).split(max(1, BLOCK // n))
    excess = sum(ranks_beyond(_distances(space, rows), _distances(shown, rows), k) for rows in blocks)
    return torch.tensor(excess, dtype=torch.float64) * 2 / (n * k * (2 * n - 3 * k - 1))


def ranks_beyond(space: Tensor, shown: Tensor, k: int) -> int:
    """By how many ranks beyond k, in `space`, the k nearest in `shown` lie, in all.

    Parameters
    ----------
    space, shown : Tensor of shape (b, n)
        Distances from b rows to all n, infinite to themselves; or what grows with them.
    """
    near = shown.topk(k, dim=1, largest=False).indices
    reached = space.gather(1, near).sort(dim=1).values.numpy()  # (b, k)
    excess = 0
    for distances, at in zip(space.numpy(), reached, strict=True):
        # only what is nearer than the farthest of the k is sorted: of a good map little
        nearer = distances[distances < at[-1]]
        nearer.sort()
        excess += int(np.maximum(1 + np.searchsorted(nearer, at) - k, 0).sum())
    return excess


def _distances(x: Tensor, rows: Tensor) -> Tensor:
    """From these rows of x (n, d) to all, infinite to themselves: (b, n)."""
    distances = torch.cdist(x[rows], x)
    distances[torch.arange(len(rows)), rows] = torch.inf
    return distances
