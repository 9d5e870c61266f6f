"""Intrinsic dimension: how many coordinates the cloud needs locally, whatever the space it lies in."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from geomclip.embeddings import exact
from geomclip.embeddings.neighbors import nearest_candidates, rows_at_a_time
from geomclip.metrics.copies import REACH, first_copies
from geomclip.metrics.effects import Effects
from geomclip.metrics.kinds import on_unit_rows
from geomclip.metrics.sweep import FLOAT32_DOUBT, TIE

DISCARDED = 0.1
"""Facco et al. (2017): the tenth of the points with the largest ratios is left out of the fit."""

SHARED = 0.7
"""Of the variance that images bring about as neighbours of others, the part that is not in the points already."""

CLOSE = 1e-3
"""Distances below this have no digits in float32 scores: such rows count as copies where scores give the distance."""

SPARSE = 10 * REACH
"""A median distance to the nearest other row, 0.014, from which rows closer than a tenth of it are no chance."""

CANDIDATES = 6
"""By float32 score; the two nearest are then chosen by float64 distance."""


@on_unit_rows
def twonn(x: Tensor) -> Tensor:
    """Intrinsic dimension from the two nearest neighbours of each row: 1 for a curve, 2 for a surface, ...
    Rows are normalised.

    Locally uniform rows have ratios μ = r₂/r₁ with −log(1 − F(μ)) = dimension · log μ; the slope of that line
    through the origin is fitted to all but the tenth with the largest ratios. Distances are Euclidean on unit
    rows; copies (1 − cos < 1e-6) are merged first, but for a cloud so dense that rows come so close by chance.

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
    equal = exact.first_equal(x)
    return twonn_from_neighbors(*of_rows_once(first_copies(x), equal, lambda kept: two_nearest_distances(x[kept])))


def of_rows_once(
    first: Tensor, equal: Tensor, two_nearest: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Distances to the two nearest rows once copies are merged.

    Parameters
    ----------
    first, equal : Tensors of shape (n,)
        Of each row the first of its copies (`copies.first_copies`), and the first that is equal to it.
    two_nearest : callable
        From which rows are kept, bool (n,), to r₁ and r₂ of each of them.

    Returns
    -------
    r1, r2 : Tensors of shape (u,), float64
        Of the first row of all copies; or of different rows, where those firsts are not clearly further apart.
    """
    rows = torch.arange(len(first))
    r1, r2 = two_nearest(first == rows)
    if len(r1) < int((equal == rows).sum()) and r1.median() < SPARSE:
        return two_nearest(equal == rows)
    return r1, r2


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


def twonn_influence(score: Tensor, index: Tensor, first: Tensor, owner: Tensor, n: int) -> Tensor:
    """What each of n images moves `twonn` by, as points and as neighbours of others: (n,), float64, sums to 0.

    The fitted slope is a functional of the law of the log ratios; a point enters with its influence on that law, and an
    image that is taken away gives those who had it among their nearest two another ratio. That effect counts as far as
    it is not the chance of single pairs (`geomclip.metrics.effects.Effect`). Distances come from the scores.

    Parameters
    ----------
    score, index : Tensors of shape (r, count)
        Of each row, its nearest other rows, best first.
    first : Tensor of shape (r,)
        Of each row the first that is equal to it: copies are one point.
    owner : Tensor of shape (r,)
        Image of each row.
    n : int
        Images.

    Raises
    ------
    ValueError
        If fewer than three different rows have two neighbours, or all ratios are 1.
    """
    rows = (first == torch.arange(len(first))).nonzero()[:, 0]
    far = (2 - 2 * score[rows].double()).clamp(min=0).sqrt()
    point = first[index[rows]]
    copy = (point == rows[:, None]) | (far < CLOSE)
    for place in range(1, point.shape[1]):
        copy[:, place] |= (point[:, :place] == point[:, place, None]).any(1)
    far, order = far.masked_fill(copy, torch.inf).sort(dim=1, stable=True)
    near = owner[index[rows]].gather(1, order)
    own = owner[rows]
    usable = far[:, 1].isfinite()
    far, near, own = far[usable], near[usable], own[usable]
    points = len(far)
    ratios = (far[:, 1] / far[:, 0]).log()
    influence = _slope_influence(ratios)
    mine = influence(ratios)
    asking, found, change = [], [], []
    for place in (0, 1):
        gone = near[:, place]
        without = far.masked_fill(near == gone[:, None], torch.inf).sort(dim=1).values
        counted = (gone != own) & without[:, 1].isfinite()
        if place:
            counted &= gone != near[:, 0]
        then = (without[counted, 1] / without[counted, 0]).log()
        asking.append(own[counted])
        found.append(gone[counted])
        change.append((mine[counted] - influence(then)) / points)
    effects = Effects(n)
    effects.add_pairs("point", torch.cat(asking), torch.cat(found), torch.cat(change))
    points_of = torch.zeros(n, dtype=torch.float64).index_add_(0, own, mine / points)
    return points_of - points_of.mean() + SHARED**0.5 * effects.settled("point")


def _slope_influence(ratios: Tensor) -> Callable[[Tensor], Tensor]:
    """The influence function of the slope ∫ x y dF / ∫ x² dF below the 1 − `DISCARDED` quantile, y = −log(1 − F).

    At v it is ( ∫ (y − 2 b x) (F(x) − 1[v ≤ x]) dx ) / ∫ x² dF, b the slope.
    """
    x = ratios.sort().values
    n = len(x)
    kept = int(n * (1 - DISCARDED))
    if kept < 2 or x[kept - 1] <= 0:
        raise ValueError(f"no line can be fitted to the ratios of {n} points")
    x = x[:kept]
    share = torch.arange(1, kept, dtype=torch.float64) / n  # of F between two neighbouring ratios
    squares = x.square()
    slope = (x @ -torch.log1p(-torch.arange(1, kept + 1, dtype=torch.float64) / n)) / squares.sum()
    piece = -torch.log1p(-share) * x.diff() - slope * squares.diff()
    below = torch.cat([piece.new_zeros(1), piece.cumsum(0)])  # ∫ from the least ratio up to each
    level = (piece * share).sum()

    def influence(values: Tensor) -> Tensor:
        at = torch.searchsorted(x, values).clamp(1, kept - 1)
        within = ((values.clamp(x[0], x[-1]) - x[at - 1]) / (x[at] - x[at - 1]).clamp(min=1e-300)).clamp(0, 1)
        reached = below[at - 1] + within * piece[at - 1]
        return (level - (below[-1] - reached)) * n / squares.sum()

    return influence


def merge_duplicates(x: Tensor) -> tuple[Tensor, int]:
    """The different rows of x (n, d), in their old order, and how many were dropped as equal to one."""
    keep = different_rows(x)
    return x[keep], len(x) - len(keep)


def different_rows(x: Tensor) -> Tensor:
    """Indices, rising, of the first of each set of exactly equal rows of x (n, d)."""
    return (exact.first_equal(x) == torch.arange(len(x))).nonzero()[:, 0]


def two_nearest_distances(x: Tensor) -> tuple[Tensor, Tensor]:
    """Euclidean distances (n,), float64, of each row of x (n, d) to its nearest and second nearest other row.

    From differences of the rows: 2 − 2c of a float32 cosine has no digits left where rows are close.
    """
    if len(x) < 3:
        raise ValueError(f"two nearest neighbours need at least 3 rows, got {len(x)}")
    index, score = nearest_candidates(x, x, min(CANDIDATES, len(x) - 1), exclude_self=True)
    whole = torch.arange(len(x))
    return two_nearest(x, whole, torch.ones_like(whole, dtype=torch.bool), score, index)


def two_nearest(x: Tensor, first: Tensor, kept: Tensor, score: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Distances of each row that is kept to the nearest two of the others.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    first : Tensor of shape (n,)
        Of each row the first that is equal to it (`exact.first_equal`).
    kept : bool Tensor of shape (n,)
        Which rows count: different ones, so that an equal row stands for a kept one.
    score, index : Tensors of shape (n, count)
        Of each row, its nearest other rows by score, best first; at least 2, or all.

    Returns
    -------
    r1, r2 : Tensors of shape (u,), float64
        For the u rows that are kept, in their order.

    Raises
    ------
    ValueError
        With fewer than 3 different rows.
    """
    rows = kept.nonzero()[:, 0]
    if len(rows) < 3:
        raise ValueError(f"two nearest neighbours need at least 3 different rows, got {len(rows)}")
    score, index = score[rows], index[rows].long()
    beyond = score[:, -1].clone() if index.shape[1] < len(x) - 1 else torch.full_like(score[:, -1], -torch.inf)
    if len(rows) < len(x):
        score, index = _once(rows, first, kept, score, index)
    margin = TIE if x.dtype == torch.float64 else 2 * FLOAT32_DOUBT
    near = exact.distances(x, x, index[:, :2], rows).sort(dim=1).values
    # rows whose third candidate scores like their second: any of the candidates may be the nearest two
    third = torch.maximum(score[:, 2], beyond) if score.shape[1] > 2 else beyond
    close = (score[:, 1] - third <= margin).nonzero()[:, 0]
    far = exact.distances(x, x, index[close], rows[close]).masked_fill(score[close].isneginf(), torch.inf)
    near[close] = far.sort(dim=1).values[:, :2]
    # and where the last does so, or copies take the places of all others, so may rows that are no candidates
    missed = (~(score[:, 1] - beyond > margin)).nonzero()[:, 0]
    near[missed] = _searched(x, rows[missed], kept, margin)
    return near[:, 0], near[:, 1]


def _once(rows: Tensor, first: Tensor, kept: Tensor, score: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Candidates of these rows with copies of the row itself, and of a better candidate, put last, at score −inf."""
    index = first[index]
    copy = (index == rows[:, None]) | ~kept[index]
    for place in range(1, index.shape[1]):
        copy[:, place] |= (index[:, :place] == index[:, place, None]).any(1)
    order = copy.byte().argsort(dim=1, stable=True)
    return score.masked_fill(copy, -torch.inf).gather(1, order), index.gather(1, order)


def _searched(x: Tensor, rows: Tensor, kept: Tensor, margin: float) -> Tensor:
    """Distances (r, 2) of some rows to the nearest two of all that are kept."""
    copies = (~kept).nonzero()[:, 0]
    near = torch.empty(len(rows), 2, dtype=torch.float64)
    for some in torch.arange(len(rows)).split(rows_at_a_time(len(x))):
        scores = x[rows[some]] @ x.T
        scores[torch.arange(len(some)), rows[some]] = -torch.inf
        scores[:, copies] = -torch.inf
        rivals = (scores >= scores.topk(2, dim=1).values[:, 1:] - margin).nonzero()
        far = torch.full(scores.shape, torch.inf, dtype=torch.float64)
        for i, j in (pairs.T for pairs in rivals.split(rows_at_a_time(1))):
            far[i, j] = exact.distances(x, x, j[:, None], rows[some][i])[:, 0]
        near[some] = far.topk(2, dim=1, largest=False).values
    return near
