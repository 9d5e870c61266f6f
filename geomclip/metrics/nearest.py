"""The k best of every row and column of the similarity matrix, from the same pass as everything else."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geomclip.sweep import Block, Pairing


@dataclass(frozen=True)
class Nearest:
    """Fold: scores (q, k) and indices (q, k) of the k best items of every query, best first.

    Parameters
    ----------
    k : int
        Fewer where there are fewer items: missing places have score −inf and index −1.
    query : str
        "text" (its items are images), "image" (its items are texts), or "both".
    unmatched : bool
        Leave matched pairs out; of a cloud against itself that leaves each row's copy of itself out.
    """

    k: int
    query: str = "both"
    unmatched: bool = False

    @property
    def _axes(self) -> tuple[str, ...]:
        return ("text", "image") if self.query == "both" else (self.query,)

    def start(self, pairing: Pairing) -> dict[str, Tensor]:
        """No neighbour yet."""
        state = {}
        for axis in self._axes:
            size, items = (pairing.m, pairing.n) if axis == "text" else (pairing.n, pairing.m)
            k = min(self.k, items)
            state[f"{axis}_score"] = pairing.text.new_full((size, k), -torch.inf)
            state[f"{axis}_index"] = torch.full((size, k), -1, dtype=torch.int64)
        return state

    def update(self, state: dict[str, Tensor], block: Block) -> None:
        """The k best of the block, then the k best of those and the ones so far."""
        if "text" in self._axes:
            self._take(state, "text", block.texts, block.s, block.images.start)
        if "image" in self._axes:
            # topk along rows of a transposed copy is three times faster than along columns
            turned = block.scratch.view(-1).view(block.s.shape[1], block.s.shape[0]).copy_(block.s.T)
            self._take(state, "image", block.images, turned, block.texts.start)

    def _take(self, state: dict[str, Tensor], axis: str, where: slice, s: Tensor, first: int) -> None:
        score, index = state[f"{axis}_score"][where], state[f"{axis}_index"][where]
        values, places = s.topk(min(score.shape[1], s.shape[1]), dim=1)
        values = torch.cat([score, values], 1)
        places = torch.cat([index, torch.where(torch.isneginf(values[:, score.shape[1] :]), -1, places + first)], 1)
        values, keep = values.topk(score.shape[1], dim=1)
        score.copy_(values)
        index.copy_(places.gather(1, keep))

    def merge(self, first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, Tensor]:
        """The k best of both."""
        merged = {}
        for axis in self._axes:
            score = torch.cat([first[f"{axis}_score"], second[f"{axis}_score"]], 1)
            index = torch.cat([first[f"{axis}_index"], second[f"{axis}_index"]], 1)
            score, keep = score.topk(first[f"{axis}_score"].shape[1], dim=1)
            merged[f"{axis}_score"], merged[f"{axis}_index"] = score, index.gather(1, keep)
        return merged

    def finish(self, state: dict[str, Tensor], pairing: Pairing) -> dict[str, Tensor]:
        """`text_score`, `text_index` (m, k) with texts in sorted order and `image_score`, `image_index` (n, k),
        whose indices are texts in sorted order."""
        return state
