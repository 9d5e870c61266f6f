"""The k best of every row and column of the similarity matrix, from the same pass as everything else."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geomclip.embeddings.exact import first_equal
from geomclip.machine import scratch
from geomclip.metrics.folds import Block
from geomclip.metrics.intrinsic_dimension import of_rows_once, two_nearest
from geomclip.metrics.neighborhood import occurrences
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.sweep import FLOAT32_DOUBT, TIE


@dataclass(frozen=True)
class Nearest:
    """Fold: scores (q, k) and indices (q, k) of the k best items of every query, best first.

    Parameters
    ----------
    k : int
        Fewer where there are fewer items: missing places have score −inf and index −1.
    query : str
        "text" (its items are images), "image" (its items are texts), or "both"; of a cloud against itself "both".
    unmatched : bool
        Leave matched pairs out.
    """

    k: int
    query: str = "both"
    unmatched: bool = False

    @property
    def _axes(self) -> tuple[str, ...]:
        return ("text", "image") if self.query == "both" else (self.query,)

    def start(self, pairing: Pairing) -> dict[str, Tensor]:
        """No neighbour yet."""
        if pairing.mirrored and self.query != "both":
            raise ValueError("the neighbours within a cloud are found from both sides of each pair: query 'both'")
        state = {}
        for axis in self._axes:
            size, items = (pairing.m, pairing.n) if axis == "text" else (pairing.n, pairing.m)
            k = min(self.k, items)
            state[f"{axis}_score"] = scratch.full_like(pairing.text, size, k, value=-torch.inf)
            state[f"{axis}_index"] = scratch.full_like(pairing.own, size, k, value=-1)
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

    def take(self, state: dict[str, Tensor], block: Block) -> None:
        """As `update`, in compiled loops."""
        from geomclip.metrics.kernels import nearest_columns, nearest_rows

        kinds = ("score", "index")
        if "text" in self._axes:
            best = (state[f"text_{kind}"][block.texts].numpy() for kind in kinds)
            nearest_rows(block.s.numpy(), block.images.start, *best)
        if "image" in self._axes:
            best = (state[f"image_{kind}"][block.images].numpy() for kind in kinds)
            nearest_columns(block.s.numpy(), block.texts.start, *best)

    def merge(self, first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, Tensor]:
        """The k best of both."""
        merged: dict[str, Tensor] = {}
        for axis in self._axes:
            keys = [f"{axis}_score", f"{axis}_index"]
            best = _best_of(*(first[key] for key in keys), *(second[key] for key in keys))
            merged |= dict(zip(keys, best, strict=True))
        return merged

    def finish(self, state: dict[str, Tensor], pairing: Pairing) -> dict[str, Tensor]:
        """`text_score`, `text_index` (m, k) with texts in sorted order and `image_score`, `image_index` (n, k),
        whose indices are texts in sorted order; of a cloud against itself both are those of all rows."""
        if pairing.mirrored:
            score, index = _best_of(*(state[f"{a}_{kind}"] for a in self._axes for kind in ("score", "index")))
            return {
                f"{axis}_{kind}": each for axis in self._axes for kind, each in (("score", score), ("index", index))
            }
        return state


def _best_of(score: Tensor, index: Tensor, other_score: Tensor, other_index: Tensor) -> tuple[Tensor, Tensor]:
    """The k best of two times k."""
    best, keep = torch.cat([score, other_score], 1).topk(score.shape[1], dim=1)
    return best, torch.cat([index, other_index], 1).gather(1, keep)


def k_occurrence_of_candidates(pairing: Pairing, found: dict[str, Tensor], query: str, *, k: int) -> Tensor:
    """`k_occurrence` from what `Nearest` found with more than k candidates: counts of items, float64.

    Counts of images (n,) for `query="text"`, of texts (m,) in sorted order for `query="image"`. A row whose
    k-th candidate float32 cannot tell from the next is scored again in float64, and ties share their places.
    """
    score, index = found[f"{query}_score"], found[f"{query}_index"]
    rows, items = (pairing.text, pairing.image) if query == "text" else (pairing.image, pairing.text)
    if not 1 <= k <= len(items):
        raise ValueError(f"k must be 1 to {len(items)} for {len(items)} items, got {k}")
    margin = TIE if rows.dtype == torch.float64 else 2 * FLOAT32_DOUBT + TIE
    clear = torch.ones(len(rows), dtype=torch.bool)
    if k < len(items):
        clear = score[:, k - 1] - score[:, k] > margin
    counts = torch.bincount(index[clear, :k].flatten(), minlength=len(items)).double()
    return counts + occurrences(scratch.rows(rows, ~clear), items, k)


def two_nearest_of_candidates(
    x: Tensor, score: Tensor, index: Tensor, first: Tensor | None = None
) -> tuple[Tensor, Tensor, int]:
    """Distances to the two nearest different rows, and how many rows were merged as duplicates.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    score, index : Tensors of shape (n, count)
        Of each row, its nearest other rows, best first, from `Nearest` without the row itself.
    first : Tensor of shape (n,), optional
        Of each row the first of its copies (`copies.first_copies`). Left out: of those equal to it.

    Returns
    -------
    r1, r2 : Tensors of shape (u,), float64
        For the u different rows, or those that are no copies (`of_rows_once`), from differences of rows.
    merged : int
        n − u.
    """
    equal = first_equal(x)
    first = equal if first is None else first
    r1, r2 = of_rows_once(first, equal, lambda kept: two_nearest(x, equal, kept, score, index))
    return r1, r2, len(x) - len(r1)
