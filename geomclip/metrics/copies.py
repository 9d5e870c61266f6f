"""Copies: rows of one cloud that are one item given more than once, to the bit or but for rounding."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor

from geomclip.embeddings import exact
from geomclip.embeddings.neighbors import rows_at_a_time
from geomclip.machine import scratch
from geomclip.metrics.sweep import FLOAT32_DOUBT

SAME = 1e-6
"""Rows whose 1 − cosine is below this are copies: one picture encoded twice is as close, two pictures are not."""

REACH = (2 * SAME) ** 0.5
"""The same as a distance of unit rows, 0.0014."""

AXES = 5
"""Directions of the grids in which close rows are looked for: 32 grids, a tenth of a second for 25,000 rows."""

SMALL = 16
"""Rows of a cluster whose pairs are all listed; larger ones are taken a block of pairs at a time."""


def first_copies(x: Tensor, score: Tensor | None = None) -> Tensor:
    """Of each row of x (n, d) the first row of its unit: (n,) int64.

    Rows are copies where 1 − cos < 1e-6, decided in float64. A unit is a row with its copies, their copies, and so on.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        Unit rows.
    score : Tensor of shape (n,), optional
        The best score of each row with another, from a sweep, which spares a search among rows without a copy.

    Examples
    --------
    >>> first_copies(torch.eye(2, dtype=torch.float64)[[0, 1, 0]]).tolist()
    [0, 1, 0]
    """
    first = exact.first_equal(x)
    suspects = (first == torch.arange(len(x))).nonzero()[:, 0]
    if score is not None:
        suspects = suspects[score[suspects] >= 1 - SAME - FLOAT32_DOUBT]
    for seed in range(2):  # by other directions, rows that share a cell by chance hardly do so again
        suspects = suspects[_cells(x, suspects, seed)[0].unique()]
    leader = torch.arange(len(x))
    if len(suspects):
        leader[suspects] = suspects[_first_linked(x, suspects)]
    return leader[first]


def unit_of_rows(first: Tensor) -> Tensor:
    """Number of the unit of each row, from 0 as they first occur, from `first_copies` (n,): (n,) int64.

    Examples
    --------
    >>> unit_of_rows(torch.tensor([0, 1, 0, 3, 1])).tolist()
    [0, 1, 0, 2, 1]
    """
    return ((first == torch.arange(len(first))).cumsum(0) - 1)[first]


def rows_once(unit: Tensor) -> Tensor:
    """The first row of each unit, from the numbers (n,) of `unit_of_rows`: (units,) int64.

    Examples
    --------
    >>> rows_once(torch.tensor([0, 1, 0, 2, 1])).tolist()
    [0, 1, 3]
    """
    first = torch.full((int(unit.max()) + 1,), len(unit))
    return first.scatter_reduce(0, unit, torch.arange(len(unit)), "amin")


def share_with_copies(unit: Tensor) -> float:
    """Share of rows that have a copy, from the units (n,) of all.

    Examples
    --------
    >>> share_with_copies(torch.tensor([0, 1, 0, 2]))
    0.5
    """
    return float((torch.bincount(unit)[unit] > 1).double().mean())


def _cells(x: Tensor, rows: Tensor, seed: int) -> tuple[Tensor, Tensor, int]:
    """Which of some rows of x share a cell with another, place (l,) and number of the cell (l,); how many cells are.

    The rows are seen along a few directions, which brings no two further apart. Each direction is cut twice into
    intervals of 2 REACH, the second time REACH further on, so that of any two numbers closer than REACH one of the
    two cuts puts both into one interval: rows that are copies share a cell of one of the grids at least.
    """
    d = x.shape[1]
    directions = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, min(AXES, d))))[0]
    along = torch.from_numpy(directions)
    # most rows are not copied to be looked at
    points = exact.dots(x, along)[rows] if 2 * len(rows) > len(x) else exact.dots(scratch.rows(x, rows), along)
    width = 2 * REACH * (1 + 1e-6)  # rounding
    cuts = [((points + 2) / width + shift).long() for shift in (0.0, 0.5)]  # below 2^11
    places, numbers, count = [rows[:0]], [rows[:0]], 0
    for grid in product((0, 1), repeat=points.shape[1]):
        key = torch.zeros(len(rows), dtype=torch.int64)
        for axis, cut in enumerate(grid):
            key = (key << 11) + cuts[cut][:, axis]
        _, cell, size = key.unique(return_inverse=True, return_counts=True)
        shared = (size[cell] > 1).nonzero()[:, 0]
        places.append(shared)
        numbers.append(cell[shared] + count)
        count += len(size)
    return torch.cat(places), torch.cat(numbers), count


def _first_linked(x: Tensor, rows: Tensor) -> Tensor:
    """Of some different rows (r,), rising, the first that each is linked to by steps below REACH: places (r,)."""
    count = len(rows)
    places, cells, cell_count = _cells(x, rows, 0)
    # rows that are linked belong to one cluster of cells
    cluster = _connected(torch.stack([places, cells + count]), count + cell_count)[:count]
    order = cluster.argsort(stable=True)
    cluster = cluster[order]
    links = [order.new_empty(2, 0)]
    for step in range(1, SMALL):
        left = (cluster[step:] == cluster[:-step]).nonzero()[:, 0]
        pairs = torch.stack([order[left], order[left + step]])
        near = exact.distances(x, x, rows[pairs[1]][:, None], rows[pairs[0]])[:, 0] < REACH
        links.append(pairs[:, near])
    unit = _connected(torch.cat(links, dim=1), count)
    for members in order.split(torch.unique_consecutive(cluster, return_counts=True)[1].tolist()):
        if len(members) > SMALL:
            unit = _joined(x, rows, members, unit)
    return torch.full((count,), count).scatter_reduce(0, unit, torch.arange(count), "amin")[unit]


def _joined(x: Tensor, rows: Tensor, members: Tensor, unit: Tensor) -> Tensor:
    """The units (r,) of some rows, with those of the members of a cluster (c,) joined where two are copies."""
    for some in members.split(rows_at_a_time(len(members))):
        if bool((unit[members] == unit[members[0]]).all()):
            break
        close = torch.cdist(x[rows[some]].double(), x[rows[members]].double()) < REACH
        left, right = close.nonzero().T
        pairs = torch.stack([unit[some[left]], unit[members[right]]])
        unit = _connected(pairs[:, pairs[0] != pairs[1]].unique(dim=1), int(unit.max()) + 1)[unit]
    return unit


def _connected(links: Tensor, n: int) -> Tensor:
    """The component of each of n points by the links (2, l) between them: (n,) int64."""
    from scipy.sparse import coo_array  # slow to import, and needed only where there are copies
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(links.shape[1], np.int8), tuple(links.numpy())), (n, n))
    return torch.from_numpy(connected_components(graph, directed=False)[1]).long()
