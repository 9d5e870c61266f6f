"""What a map keeps: near neighbours, distances and the gap, measured against the full dimension.

No n x n array is held: queries come in blocks, and beyond 10,000 points a seeded sample of them is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from geomclip.metrics.gap import mean_cosine, modality_gap
from geomclip.metrics.projection import ranks_beyond

NEIGHBORS = 15
ALL_QUERIES_UP_TO = 10_000
QUERIES = 2_000
"""Points whose neighbours are looked at where there are more than ALL_QUERIES_UP_TO."""

ALL_PAIRS_UP_TO = 2_000
PAIRS = 2_000_000
"""Drawn pairs, about, for the correlation of distances where there are more than ALL_PAIRS_UP_TO points."""

ONE_PLACE = 1e-4
"""Points that are no further apart are taken to be so far apart: below is rounding."""

CACHED = 1 << 18
"""Numbers of rows that are taken from others at a time: 1 MB, which the cache of a core holds."""

BLOCK = 8_000_000
"""Distances held at a time: 64 MB."""


def neighbors_for(n: int, k: int = NEIGHBORS) -> int:
    """k, or the largest below n/2, where trustworthiness is defined; 0 for fewer than 3 points."""
    return max(0, min(k, (n - 1) // 2))


def near_kept(
    full: Tensor, drawn: Tensor, *, k: int, sphere: bool, queries: Tensor | None = None
) -> tuple[float, float]:
    """Trustworthiness and continuity, 0 to 1: of neighbours by angle in full, by what is drawn on the map.

    As `geomclip.metrics.trustworthiness` and `continuity`, of which this is one pass for both; with `queries`
    the mean over those rows only.

    Parameters
    ----------
    full : Tensor of shape (n, d)
        Unit rows.
    drawn : Tensor of shape (n, e)
        Unit rows on a sphere, where great circles rank as straight lines do.
    k : int
        1 to below n/2.
    sphere : bool
        Whether the drawn points are on one.
    queries : int64 Tensor, optional
        Rows whose neighbours are looked at; left out: all.

    References
    ----------
    Venna and Kaski (2001), "Neighborhood preservation in nonlinear projection methods", ICANN.
    """
    n = len(full)
    queries = torch.arange(n) if queries is None else queries
    full, drawn = full.double(), drawn.double()
    intruders, torn = 0, 0
    for rows in queries.split(max(1, BLOCK // n)):
        far = _angular(full, rows)
        near = _angular(drawn, rows) if sphere else _euclidean(drawn, rows)
        intruders += ranks_beyond(far, near, k)
        torn += ranks_beyond(near, far, k)
    most = len(queries) * k * (2 * n - 3 * k - 1) / 2
    return 1 - intruders / most, 1 - torn / most


@dataclass(frozen=True, eq=False)
class Distances:
    """Angles in full dimension between pairs of points, and their ranks: the same for every map of the points.

    All pairs up to 2,000 points, else about 2,000,000: the points are put in an order drawn by lot, and each is
    paired with those so many places further. So every point is in as many pairs, and rows are read one after the
    other: six times as fast as pairs from anywhere.
    """

    order: Tensor  # (n,)
    steps: list[int]
    full: NDArray[np.float64]  # (pairs,)
    ranks: NDArray[np.float64]

    @classmethod
    def of(cls, full: Tensor, *, seed: int = 0) -> Distances:
        """Between unit rows (n, d)."""
        order, steps = pairs_of(len(full), seed)
        apart = distances_of_pairs(full[order], steps, angles=True)
        return cls(order, steps, apart, rankdata(apart))

    def kept(self, drawn: Tensor, *, sphere: bool) -> tuple[float | None, float | None]:
        """Pearson and Spearman correlation, −1 to 1, with the distances of drawn points (n, e).

        None where all distances of one kind are equal.
        """
        apart = distances_of_pairs(drawn[self.order], self.steps, angles=sphere)
        return _correlation(self.full, apart), _correlation(self.ranks, rankdata(apart))


def gaps(full: tuple[Tensor, Tensor], drawn: tuple[Tensor, Tensor], *, sphere: bool) -> dict[str, float | None]:
    """The gap of the means in full and as drawn, and both by the root mean square distance of two points."""
    gap, gap_drawn = modality_gap(*full).item(), _gap(*drawn)
    apart, apart_drawn = (_spread(torch.cat(both)) for both in (full, drawn))
    return {
        "gap": gap,
        "gap_drawn": gap_drawn if sphere else None,
        "gap_relative": gap / apart if apart else None,
        "gap_drawn_relative": gap_drawn / apart_drawn if apart_drawn else None,
    }


def widths(name: str, full: Tensor, drawn: Tensor, rows: slice, *, sphere: bool) -> dict[str, float | None]:
    """How wide a cloud, some of the rows, is drawn; nothing of less than 2 of 3 points.

    Parameters
    ----------
    name : str
        Of the cloud, for the keys.
    full, drawn : Tensor of shape (n, d), (n, e)
        All points: a plane has no unit but the root mean square distance of two of them.
    rows : slice
        Of the cloud.

    Returns
    -------
    dict
        mean_cosine_NAME, mean_cosine_NAME_drawn (None on planes), and width_NAME: the root mean square distance of two
        drawn points of the cloud over that of the true ones, both by that of all points where it is a plane.
    """
    count = rows.stop - rows.start
    if count < 2 or len(full) < 3 or (count == len(full) and not sphere):  # a plane's unit is the width of all
        return {}
    width, width_drawn = (max(_spread(each[rows]), ONE_PLACE) for each in (full, drawn))
    unit = 1.0
    if not sphere:
        unit = max(_spread(full), ONE_PLACE) / max(_spread(drawn), ONE_PLACE)
    return {
        f"mean_cosine_{name}": mean_cosine(full[rows]).item(),
        f"mean_cosine_{name}_drawn": mean_cosine(drawn[rows]).item() if sphere else None,
        f"width_{name}": unit * width_drawn / width,
    }


def _angular(x: Tensor, rows: Tensor) -> Tensor:
    """What grows with the angle from these unit rows to all, infinite to themselves: (b, n)."""
    return _without_self(-(x[rows] @ x.T), rows)


def _euclidean(x: Tensor, rows: Tensor) -> Tensor:
    return _without_self(torch.cdist(x[rows], x, compute_mode="donot_use_mm_for_euclid_dist"), rows)


def _without_self(distances: Tensor, rows: Tensor) -> Tensor:
    distances[torch.arange(len(rows)), rows] = torch.inf
    return distances


def pairs_of(n: int, seed: int) -> tuple[Tensor, list[int]]:
    """An order of n points, and how many places further, around, the others of a pair are: each pair once."""
    furthest = n // 2
    if n <= ALL_PAIRS_UP_TO:
        return torch.arange(n), list(range(1, furthest + 1))
    generator = torch.Generator().manual_seed(seed)
    # half the way around each pair would come twice where n is even
    steps = 1 + torch.randperm((n - 1) // 2, generator=generator)[: -(-PAIRS // n)]
    return torch.randperm(n, generator=generator), steps.tolist()


def distances_of_pairs(rows: Tensor, steps: list[int], *, angles: bool) -> NDArray[np.float64]:
    """Distances of pairs of rows, float64: angles of unit rows from their chord, which loses no digits near 0."""
    n, block = len(rows), max(1, CACHED // rows.shape[1])
    around = torch.cat([rows, rows[: max(steps, default=0)]])
    parts = []
    for step in steps:
        count = n // 2 if 2 * step == n else n
        for first in range(0, count, block):
            last = min(first + block, count)
            parts.append(torch.linalg.vector_norm(rows[first:last] - around[first + step : last + step], dim=1))
    apart = torch.cat(parts).double()
    return np.asarray((2 * torch.arcsin((apart / 2).clamp(max=1)) if angles else apart).numpy())


def _correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    x, y = x - x.mean(), y - y.mean()
    spread = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / spread if spread > 1e-12 * len(x) else None


def _gap(x: Tensor, y: Tensor) -> float:
    """Distance of the means of drawn points, which are taken as they are."""
    return float(torch.linalg.vector_norm(x.double().mean(dim=0) - y.double().mean(dim=0)))


def _spread(points: Tensor) -> float:
    """Root mean square distance of two different points: √(2n/(n − 1) · mean ‖z − mean z‖²)."""
    rows = points.double()
    n = len(rows)
    return float((2 * (rows - rows.mean(dim=0)).square().sum() / (n - 1)).sqrt())
