"""Neighbourhoods: who is near whom, and the hubs that are near everyone.

Neighbours are decided as if by float64 scores: a float32 product ranks, and only items that lie closer to the
k-th score than float32 can tell are scored again. No n x m array is ever held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from geomclip.embeddings.exact import step_of
from geomclip.embeddings.neighbors import blocks, check_neighbors, products, rows_at_a_time
from geomclip.metrics.effects import Effects
from geomclip.metrics.kinds import on_unit_rows
from geomclip.metrics.sweep import FLOAT32_DOUBT, TIE


@on_unit_rows
def k_occurrence(x: Tensor, y: Tensor, *, k: int = 10) -> Tensor:
    """How often each row of y is among the k nearest rows of y to a row of x: mean nk/m, at most n.
    Rows are normalised.

    Items within 1e-9 of the k-th score share the places that are left in equal fractions, so duplicates get
    the same count and the order of rows does not matter.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        Those who look for neighbours.
    y : Tensor of shape (m, d)
        Those who are found.
    k : int
        1 to m.

    Returns
    -------
    Tensor of shape (m,), float64
        Sums to nk.

    Raises
    ------
    ValueError
        If k is not between 1 and m.

    References
    ----------
    Radovanović, Nanopoulos and Ivanović (2010), "Hubs in space", JMLR 11.

    Examples
    --------
    >>> points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> k_occurrence(points[:2], points, k=1).tolist()
    [1.0, 0.5, 0.5]
    """
    return occurrences(x, y, k)


def occurrences(x: Tensor, y: Tensor, k: int) -> Tensor:
    """`k_occurrence` of rows as they are, not normalised again; of no rows x all counts are 0."""
    counts = torch.zeros(len(y), dtype=torch.float64)
    for block in neighbors(x, y, k):
        counts += torch.bincount(block.nearest.flatten(), minlength=len(y))
        counts += block.shares.sum(dim=0)
    return counts


@on_unit_rows
def hubness(counts: Tensor) -> Tensor:
    """Skewness of k-occurrence counts: 0 (even, or symmetric), larger with a few items near to many.

    The population skewness m₃ / m₂^{3/2}, without correction for small samples.

    Parameters
    ----------
    counts : Tensor of shape (m,)
        From `k_occurrence`.

    Returns
    -------
    Tensor of shape (), float64

    Raises
    ------
    ValueError
        If all counts are equal: the skewness is 0/0.

    References
    ----------
    Radovanović, Nanopoulos and Ivanović (2010), "Hubs in space", JMLR 11.

    Examples
    --------
    >>> round(hubness(torch.tensor([0.0, 0.0, 0.0, 4.0])).item(), 6)
    1.154701
    """
    deviation = _counts(counts) - _counts(counts).mean()
    variance = deviation.square().mean()
    # fractions of places leave 1e-16 where all counts are equal
    if variance <= 1e-24 * _counts(counts).square().mean():
        raise ValueError("every item is a neighbour equally often, so the skewness of the counts is 0/0")
    return deviation.pow(3).mean() / variance**1.5


@on_unit_rows
def robin_hood(counts: Tensor) -> Tensor:
    """Share of the neighbour places that would have to move to make all counts equal: 0 (even) to 1 − 1/m.

    ½ Σ|N − mean| / ΣN.

    Parameters
    ----------
    counts : Tensor of shape (m,)
        From `k_occurrence`.

    Returns
    -------
    Tensor of shape (), float64

    References
    ----------
    Feldbauer et al. (2018), "Fast approximate hubness reduction for large high-dimensional data", ICBK.

    Examples
    --------
    >>> robin_hood(torch.tensor([0.0, 0.0, 0.0, 4.0])).item()
    0.75
    """
    n = _counts(counts)
    if n.sum() == 0:
        raise ValueError("no item is a neighbour of any, so shares of the counts are 0/0")
    return (n - n.mean()).abs().sum() / (2 * n.sum())


@on_unit_rows
def antihub_share(counts: Tensor) -> Tensor:
    """Share of items that are nobody's neighbour (count 0): 0 to below 1; lower means more can be found.

    Parameters
    ----------
    counts : Tensor of shape (m,)
        From `k_occurrence`.

    Returns
    -------
    Tensor of shape (), float64

    References
    ----------
    Radovanović, Nanopoulos and Ivanović (2010), "Hubs in space", JMLR 11 (antihubs).

    Examples
    --------
    >>> antihub_share(torch.tensor([0.0, 0.0, 0.0, 4.0])).item()
    0.75
    """
    return (_counts(counts) == 0).double().mean()


def robin_hood_influence(counts: Tensor, nearest: Tensor, asking: Tensor, owner: Tensor, n: int) -> Tensor:
    """What each of n images moves `robin_hood` by, as queries and as items: (n,), float64, sums to 0.

    A query moves the counts of the k items that it finds. An item that is taken away takes its own count with it, and
    gives its queries to the next in their lists; that effect counts as far as it is not the chance of single pairs
    (`geomclip.metrics.effects.Effect`).

    Parameters
    ----------
    counts : Tensor of shape (m,)
        k-occurrences of the items.
    nearest : Tensor of shape (q, k + 1)
        Of each query its k nearest items and the next, best first.
    asking : Tensor of shape (q,)
        Image of each query.
    owner : Tensor of shape (m,)
        Image of each item.
    n : int
        Images.
    """
    k = nearest.shape[1] - 1
    mean, total = counts.mean(), counts.sum()
    value = (counts - mean).abs().sum() / (2 * total)
    side = (counts - mean).sign()
    centred = side - side.mean()
    found, after = nearest[:, :k], nearest[:, k:]
    by_query = (centred[found].sum(1) - 2 * value * k) / (2 * total)
    by_item = ((counts - mean).abs() + side.mean() * mean) / (2 * total)
    given = (side[found] - side[after]) / (2 * total)  # what each place is worth to the item that holds it
    effects = Effects(n)
    asks = asking[:, None].expand_as(found).flatten()
    effects.add_pairs("item", asks, owner[found].flatten(), given.flatten())
    effect = effects.found["item"]
    passed_on = torch.zeros_like(counts).index_add_(0, found.flatten(), side[after].expand_as(found).flatten())
    effect.total = torch.zeros(n, dtype=torch.float64).index_add_(0, owner, by_item - passed_on / (2 * total))
    own = torch.zeros(n, dtype=torch.float64).index_add_(0, asking, by_query)
    return own - own.mean() + effect.settled()


OF_COUNTS: dict[str, Callable[[Tensor], Tensor]] = {
    "hubness": hubness,
    "robin_hood": robin_hood,
    "antihub_share": antihub_share,
}
"""Name to what is measured of the k-occurrence counts; a key is the name after `image_` or `text_`."""


@dataclass(frozen=True, eq=False)
class NearestBlock:
    """The k nearest of some rows of x among the rows of y.

    `plain` rows (p,) have exactly the neighbours `nearest` (p, k), in no order; in `tied` rows (q,) several
    items compete for the last places and `shares` (q, m), summing to k a row, says who holds how much.
    """

    plain: Tensor
    nearest: Tensor
    tied: Tensor
    shares: Tensor


def neighbors(
    x: Tensor, y: Tensor, k: int, *, exclude_self: bool = False, rows: tuple[int, int] | None = None
) -> Iterator[NearestBlock]:
    """The k nearest rows of y (m, d) to every row of x (n, d), a block of rows at a time, ties shared.

    With `exclude_self` row i of y is not a neighbour of row i of x; `rows` (from, to) asks only about those.
    """
    check_neighbors(x, y, k, exclude_self=exclude_self)
    m = len(y)
    for start, block in blocks(x, m, rows):
        scores = products(block, y, start, exclude_self=exclude_self)
        taken = scores.topk(min(k + 1, m), dim=1)
        edge = taken.values[:, k - 1 : k]
        margin = TIE if x.dtype == torch.float64 else 2 * FLOAT32_DOUBT + TIE
        clear = torch.ones(len(block), dtype=torch.bool)
        if k < m:  # the k-th and the next differ by more than any rounding: no tie, nothing to decide
            clear = edge[:, 0] - taken.values[:, k] > margin
        plain, doubtful = clear.nonzero()[:, 0], (~clear).nonzero()[:, 0]
        yield NearestBlock(start + plain, taken.indices[plain, :k], start + doubtful[:0], scores.new_zeros(0, m))
        # where all items tie every row is doubtful: a few rows of shares at a time
        for part in doubtful.split(rows_at_a_time(4 * m)):
            rival = scores[part] >= edge[part] - margin
            held = shares(_decided(block[part], y, rival), k)
            yield NearestBlock(start + part[:0], taken.indices[part[:0], :k], start + part, held)


def shares(scores: Tensor, k: int) -> Tensor:
    """1 for items above the k-th score, an equal part of the places left for those level with it: (b, m)."""
    edge = scores.topk(k, dim=1).values[:, -1:]
    above = scores > edge + TIE
    level = (scores >= edge - TIE) & ~above
    left = k - above.sum(dim=1, keepdim=True)
    return (level * (left.double() / level.sum(dim=1, keepdim=True))).add_(above)


def _decided(rows: Tensor, y: Tensor, rival: Tensor) -> Tensor:
    """Float64 dot products of the pairs that rival (b, m) marks, −∞ for the others: (b, m)."""
    scores = torch.full(rival.shape, -torch.inf, dtype=torch.float64)
    for pair in rival.nonzero().split(step_of(y)):
        i, j = pair.T
        scores[i, j] = (rows[i].double() * y[j].double()).sum(dim=1)
    return scores


def _counts(counts: Tensor) -> Tensor:
    if counts.ndim != 1 or len(counts) == 0:
        raise ValueError(f"counts must be (m,) with m at least 1, got {tuple(counts.shape)}")
    return counts.double()
