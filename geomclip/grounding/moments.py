"""Moments of a video cut into T clips: which are proposed, their rows, how much they overlap, which are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

ROUNDING = 1e-9
"""An overlap this much below a bound reaches it: seconds are shares of a duration, multiplied or divided."""

SPARSE = {64: (15, 8, 8), 128: (15, 8, 8, 8)}
"""Lengths of the levels of a strided map, by the number of clips."""


@dataclass(frozen=True, eq=False)
class Proposals:
    """The moments that are proposed for a video of T clips: cells (first clip, last clip) of its 2D map.

    Examples
    --------
    >>> len(proposals(16)), len(proposals(64)), len(proposals(128))
    (136, 1104, 2548)
    """

    clips: int  # T
    first: Tensor  # (N,) int64, the first clip of each
    last: Tensor  # (N,) int64, its last clip, which it holds

    def __len__(self) -> int:
        return len(self.first)

    @cached_property
    def valid(self) -> Tensor:
        """Which cells of the map are proposed: (T, T) bool, row the first clip and column the last."""
        cells = torch.zeros(self.clips, self.clips, dtype=torch.bool)
        cells[self.first, self.last] = True
        return cells

    @cached_property
    def spans(self) -> Tensor:
        """Start and end of each as shares of the video: (N, 2) float64."""
        return torch.stack([self.first, self.last + 1], dim=1).double() / self.clips

    def on_map(self, values: Tensor) -> Tensor:
        """Values (..., N) on the cells of the map (..., T, T); 0 where nothing is proposed."""
        cells = values.new_zeros(*values.shape[:-1], self.clips * self.clips)
        cells[..., self.first * self.clips + self.last] = values
        return cells.unflatten(-1, (self.clips, self.clips))

    def from_map(self, cells: Tensor) -> Tensor:
        """Values (..., N) of the cells that are proposed, of a map (..., T, T)."""
        return cells[..., self.first, self.last]

    def means(self, rows: Tensor) -> Tensor:
        """The mean of each moment's clips: rows (..., T, d) to (..., N, d)."""
        sums = torch.nn.functional.pad(rows.cumsum(-2), (0, 0, 1, 0))
        length = (self.last - self.first + 1).to(rows)[:, None]
        return (sums[..., self.last + 1, :] - sums[..., self.first, :]) / length

    def maxima(self, rows: Tensor) -> Tensor:
        """The element-wise maximum over each moment's clips, exactly: rows (..., T, d) to (..., N, d).

        A window of 2^k clips is the maximum of two of 2^(k−1), and a moment of two that overlap.
        """
        windows = [rows]
        while 2 ** len(windows) <= self.clips:
            half = 2 ** (len(windows) - 1)
            windows.append(torch.maximum(windows[-1][..., :-half, :], windows[-1][..., half:, :]))
        length = self.last - self.first + 1
        pooled = rows.new_empty(*rows.shape[:-2], len(self), rows.shape[-1])
        for power, level in enumerate(windows):
            here = ((length >= 2**power) & (length < 2 ** (power + 1))).nonzero()[:, 0]
            if len(here):
                pair = level[..., self.first[here], :], level[..., self.last[here] + 1 - 2**power, :]
                pooled = pooled.index_copy(-2, here, torch.maximum(*pair))
        return pooled


@lru_cache(maxsize=32)
def proposals(clips: int, levels: Sequence[int] | None = None) -> Proposals:
    """The proposals of T clips: every moment, or those of a strided map.

    Level l of a strided map has moments whose length grows by 2^l clips at a time and that start at a multiple of
    2^l: `levels` says how many lengths each has after the single clips. Left out: (T − 1,), which is every moment,
    but (15, 8, 8) for 64 clips and (15, 8, 8, 8) for 128.

    Raises
    ------
    ValueError
        If there is no clip, or a level has a negative count.

    References
    ----------
    Zhang et al. (2020), "Learning 2D temporal adjacent networks for moment localization", AAAI, section 3.2.
    """
    if clips < 1:
        raise ValueError(f"a video needs at least one clip, got {clips}")
    counts = tuple(SPARSE.get(clips, (clips - 1,)) if levels is None else levels)
    if any(count < 0 for count in counts):
        raise ValueError(f"levels must be at least 0, got {counts}")
    cells = {(at, at) for at in range(clips)}
    further = 0
    for level, count in enumerate(counts):
        for _ in range(count):
            further += 2**level
            cells |= {(first, first + further) for first in range(0, clips - further, 2**level)}
    first, last = torch.tensor(sorted(cells)).T
    return Proposals(clips, first.contiguous(), last.contiguous())


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of intervals (..., n, 2) and (..., m, 2): (..., n, m), 0 to 1."""
    inside = torch.minimum(one[..., :, None, 1], other[..., None, :, 1])
    inside = (inside - torch.maximum(one[..., :, None, 0], other[..., None, :, 0])).clamp(min=0)
    length = (one[..., 1] - one[..., 0])[..., :, None] + (other[..., 1] - other[..., 0])[..., None, :]
    return inside / (length - inside)


def suppress(spans: Tensor, scores: Tensor, *, most: int = 5, threshold: float = 0.5) -> Tensor:
    """The numbers of the best moments, best first, none of which overlaps a better one by more than the threshold.

    Parameters
    ----------
    spans : Tensor of shape (N, 2)
    scores : Tensor of shape (N,)
        Higher is better; of equal ones the first goes before.
    most : int
        How many are wanted. Fewer come where fewer survive.
    threshold : float
        Of the intersection over union.

    Returns
    -------
    Tensor of shape (at most `most`,), int64
    """
    order = scores.argsort(descending=True, stable=True)
    kept: list[int] = []
    alive = torch.ones(len(order), dtype=torch.bool)
    while len(kept) < most and alive.any():
        best = int(order[int(alive.int().argmax())])
        kept.append(best)
        alive &= (overlap(spans[best][None], spans[order])[0] <= threshold) & (order != best)
    return torch.tensor(kept, dtype=torch.int64)
