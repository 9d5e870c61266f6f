"""Retrieval: the rank of the right item, ties counted against the query, decided in float64 where it is close."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from geomclip.metrics.folds import Block, merge_by
from geomclip.metrics.kinds import on_unit_rows
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.sweep import FLOAT32_DOUBT, TIE, sweep


@dataclass(frozen=True)
class Ranks:
    """Fold: 1 + number of unmatched items that score at least the best matched one, within 1e-9.

    Blocks in float32 settle every score further than 2e-6 from the threshold; rows with a closer call are
    computed again in float64, so that the rank is that of exact scores.
    """

    unmatched: ClassVar[bool] = True
    rules: ClassVar[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {"text": torch.add, "image": torch.add}

    def start(self, pairing: Pairing) -> dict[str, Tensor]:
        """No item counted."""
        return {
            "text": pairing.own.new_zeros(pairing.m),
            "image": pairing.own.new_zeros(pairing.n),
        }

    def update(self, state: dict[str, Tensor], block: Block) -> None:
        """Count each row against its text's threshold and each column against its image's."""
        texts, images = block.texts, block.images
        if "text" in block.axes:
            state["text"][texts] += _count_rows(block, block.pairing.matched[texts])
        if "image" in block.axes:
            state["image"][images] += _count_columns(block, block.pairing.best_matched[images])

    def take(self, state: dict[str, Tensor], block: Block) -> None:
        """As `update`, in compiled loops."""
        from geomclip.metrics.kernels import reached_columns, reached_rows

        pairing, texts, images = block.pairing, block.texts, block.images
        if "text" in block.axes:
            _count_compiled(reached_rows, block, pairing.matched[texts], state["text"][texts])
        if "image" in block.axes:
            _count_compiled(reached_columns, block, pairing.best_matched[images], state["image"][images])

    merge = merge_by

    def finish(self, state: dict[str, Tensor], pairing: Pairing) -> dict[str, Tensor]:
        """`text`: (m,) rank of its image, in sorted order; `image`: (n,) best rank of its texts, 0 if it has none."""
        has_text = pairing.texts_of_image > 0
        return {
            "text": 1 + state["text"],
            "image": torch.where(has_text, 1 + state["image"], 0),
        }


def _count_rows(block: Block, threshold: Tensor) -> Tensor:
    """(t,) int64: unmatched scores in each row that reach the row's threshold."""
    if block.s.dtype == torch.float64:
        return _reached(block.s, (threshold - TIE)[:, None], block.scratch).sum(1).long()
    reached, sure = (
        _reached(block.s, (threshold + side).float()[:, None], block.scratch).sum(1).long()
        for side in (-FLOAT32_DOUBT, FLOAT32_DOUBT)
    )
    close = (reached != sure).nonzero()[:, 0]
    for rows in close.split(256):
        exact = block.exact(rows + block.texts.start, block.images)
        exact[torch.isneginf(block.s[rows])] = -torch.inf
        sure[rows] = (exact >= (threshold[rows] - TIE)[:, None]).sum(1)
    return sure


def _count_columns(block: Block, threshold: Tensor) -> Tensor:
    """(i,) int64: the same for the columns."""
    if block.s.dtype == torch.float64:
        return _reached(block.s, threshold - TIE, block.scratch).sum(0).long()
    reached, sure = (
        _reached(block.s, (threshold + side).float(), block.scratch).sum(0).long()
        for side in (-FLOAT32_DOUBT, FLOAT32_DOUBT)
    )
    # an image without text has the threshold -inf and is no query
    close = ((reached != sure) & torch.isfinite(threshold)).nonzero()[:, 0]
    for columns in close.split(256):
        exact = block.exact(block.texts, columns + block.images.start)
        exact[torch.isneginf(block.s[:, columns])] = -torch.inf
        sure[columns] = (exact >= threshold[columns] - TIE).sum(0)
    return sure


def _count_compiled(kernel: Callable[..., None], block: Block, threshold: Tensor, count: Tensor) -> None:
    maybe, surely = ((threshold + side).float().numpy() for side in (-FLOAT32_DOUBT, FLOAT32_DOUBT))
    text, image = block.pairing.text[block.texts], block.pairing.image[block.images]
    sides = (text.numpy(), image.numpy())
    kernel(block.s.numpy(), maybe, surely, (threshold - TIE).numpy(), *sides, count.numpy())


def _reached(s: Tensor, threshold: Tensor, out: Tensor) -> Tensor:
    # 0 and 1 as floats: their sum is ten times faster than that of booleans, and exact up to 2**24
    return torch.ge(s, threshold, out=out)


def retrieval_scores(ranks: Tensor) -> dict[str, Tensor]:
    """Recall at 1, 5 and 10, median and mean of ranks (q,), all float64; the keys without their direction."""
    exact = ranks.double()
    return {
        **{f"recall@{k}": (ranks <= k).double().mean() for k in (1, 5, 10)},
        "median_rank": torch.as_tensor(np.median(exact.numpy())),  # torch's own takes the lower of two middles
        "mean_rank": exact.mean(),
    }


@on_unit_rows
def retrieval(image: Tensor, text: Tensor, image_of_text: Tensor | None = None) -> dict[str, Tensor]:
    """Recall@K (hit rate) and ranks both ways; recalls 0 to 1, higher is better; ranks from 1, lower is better.
    Rows are normalised.

    `text_retrieval_*`: the query is an image, and it hits if any of its texts is among the K best.
    `image_retrieval_*`: the query is a text. Rank = 1 + number of unmatched items with a score of at least
    the best matched score − 1e-9: ties count against the query. Images without text are candidates only.

    Parameters
    ----------
    image, text, image_of_text
        As in `alignment`.

    Returns
    -------
    dict of 0-d float64
        `*_recall@1`, `*_recall@5`, `*_recall@10`, `*_median_rank`, `*_mean_rank` for both prefixes.

    References
    ----------
    The any-hit rule of Radford et al. (2021), "Learning transferable visual models from natural language
    supervision", ICML.

    Examples
    --------
    >>> retrieval(torch.eye(3), torch.eye(3))["text_retrieval_recall@1"].item()
    1.0
    """
    pairing = Pairing.of(image, text, image_of_text)
    (ranks,) = sweep(pairing, [Ranks()])
    queries = {"text_retrieval": ranks["image"][pairing.texts_of_image > 0], "image_retrieval": ranks["text"]}
    return {
        f"{prefix}_{key}": value for prefix, each in queries.items() for key, value in retrieval_scores(each).items()
    }


def chance_recall(pairing: Pairing, k: int) -> tuple[float, float]:
    """Recall@k of a random order: (text retrieval, image retrieval), in closed form.

    An image with g of m texts misses with probability C(m − g, k)/C(m, k); a text hits with k/n.
    """
    k_text = min(k, pairing.m)
    counts = pairing.texts_of_image
    queries = counts[counts > 0].double()
    misses = torch.ones_like(queries)
    for draw in range(k_text):
        misses *= ((pairing.m - queries - draw) / (pairing.m - draw)).clamp(min=0)
    return float(1 - misses.mean()), min(k, pairing.n) / pairing.n
