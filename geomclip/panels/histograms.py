"""Histograms: how often each similarity occurs, counted in fine cells as blocks pass and then joined into bins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomclip.metrics.folds import Block, merge_by
from geomclip.metrics.pairing import Pairing

CELLS = 4096
"""Cells of [-1, 1] in which similarities are counted, before they are joined into the bins that are shown."""


@dataclass(frozen=True)
class Histogram:
    """Fold: how many cosines lie in each of `CELLS` equal cells of [-1, 1]; int64."""

    unmatched: bool = True
    rules: ClassVar[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {"count": torch.add}

    def start(self, pairing: Pairing) -> dict[str, Tensor]:
        """Nothing counted."""
        return {"count": torch.zeros(CELLS, dtype=torch.int64)}

    def update(self, state: dict[str, Tensor], block: Block) -> None:
        """Count the block; histc leaves out what is hidden (−∞), and what rounding puts below −1."""
        torch.clamp(block.s, max=1.0, out=block.scratch)
        state["count"] += torch.histc(block.scratch, CELLS, -1.0, 1.0).long()

    merge = merge_by

    def finish(self, state: dict[str, Tensor], pairing: Pairing) -> Tensor:
        """Counts (`CELLS`,); what rounding put below −1 is in the first."""
        count = state["count"].clone()
        hidden = pairing.m if self.unmatched and not pairing.mirrored else 0
        count[0] += pairing.scores - hidden - count.sum()
        return count


def joined(counts: Mapping[str, Tensor], bins: int) -> tuple[NDArray[np.float64], dict[str, NDArray[np.int64]]]:
    """Counts in cells (`CELLS`,), brought into at most `bins` equal bins over the range that any of them fills.

    Returns
    -------
    edges : array of shape (b + 1,)
        b at most `bins`; the last may lie beyond 1, by less than a bin.
    counts : dict of arrays of shape (b,)

    Examples
    --------
    >>> cells = torch.zeros(CELLS, dtype=torch.int64)
    >>> cells[2048:2060] = 1  # cosines from 0 to 0.0059
    >>> edges, counts = joined({"some": cells}, bins=6)
    >>> edges.tolist()[:2], counts["some"].tolist()
    ([0.0, 0.0009765625], [2, 2, 2, 2, 2, 2])
    """
    filled = torch.stack(list(counts.values())).sum(0).nonzero()[:, 0]
    first, last = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, CELLS)
    width = -(-(last - first) // bins)
    size = -(-(last - first) // width)
    edges = np.asarray((first + width * np.arange(size + 1)) * (2 / CELLS) - 1, dtype=np.float64)
    room = size * width
    return edges, {
        name: torch.nn.functional.pad(each[first:last], (0, room - (last - first))).view(size, width).sum(1).numpy()
        for name, each in counts.items()
    }


def bins_for(count: int) -> int:
    """Three times Rice's 2 n^(1/3), since the narrowest of the distributions fills about a third of the range."""
    return min(100, max(20, round(6 * count ** (1 / 3))))
