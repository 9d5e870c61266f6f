"""A batch of videos and sentences: what belongs together, and what is no negative of what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geomclip.grounding.methods import Options
from geomclip.grounding.moments import Proposals, overlap
from geomclip.grounding.record import Query


@dataclass(frozen=True, eq=False)
class Batch:
    """B videos and Q sentences of them, with what belongs together."""

    clips: Tensor  # (B, T, d)
    texts: Tensor  # (Q, d')
    owner: Tensor  # (Q,) int64: the video of each sentence
    overlaps: Tensor  # (Q, N): of each moment of its video with the nearest of its windows
    pair_sentence: Tensor  # (P,) int64: a sentence, once for each of its windows
    pair_moment: Tensor  # (P,) int64: the moment that overlaps that window most
    same: Tensor  # (Q, Q) bool: no negatives of each other
    allowed: Tensor | None = None  # (Q, B, N) bool: what may be a negative; None: all

    def __len__(self) -> int:
        return len(self.texts)


def batch_of(
    clips: Tensor,
    texts: Tensor,
    owner: Tensor,
    queries: Sequence[Query],
    every: Proposals,
    *,
    least: float = Options.least,
    allowed: Tensor | None = None,
) -> Batch:
    """A batch with its targets.

    Sentences of one video are no negatives of each other where a window of one overlaps one of the other by `least`
    or more, or where they are the same sentence. A sentence that is written twice, with two moments, is to be one
    query with two windows before (`merged`).

    Parameters
    ----------
    clips : Tensor of shape (B, T, d)
    texts : Tensor of shape (Q, d')
    owner : Tensor of shape (Q,), int64
    queries : sequence of Query
        Each with at least one window.
    every : Proposals
    least : float
    allowed : Tensor of shape (Q, B, N), bool, optional
    """
    windows = [windows_of(query) for query in queries]
    found = [overlap(each, every.spans) for each in windows]  # each (windows, N)
    pair_sentence = torch.repeat_interleave(torch.tensor([len(each) for each in windows]))
    same = torch.zeros(len(queries), len(queries), dtype=torch.bool)
    for one, query in enumerate(queries):
        for other in range(one, len(queries)):
            if owner[one] == owner[other]:
                alike = query.text == queries[other].text or bool(
                    (overlap(windows[one], windows[other]) >= least).any()
                )
                same[one, other] = same[other, one] = alike
    return Batch(
        clips=clips,
        texts=texts,
        owner=owner,
        overlaps=torch.stack([each.amax(0) for each in found]).float(),
        pair_sentence=pair_sentence,
        pair_moment=torch.cat([each.argmax(1) for each in found]),
        same=same,
        allowed=allowed,
    )


def windows_of(query: Query) -> Tensor:
    """The windows of a query as shares of its video: (windows, 2) float64."""
    return torch.tensor(query.windows, dtype=torch.float64).reshape(-1, 2) / query.duration


def merged(queries: Sequence[Query]) -> list[Query]:
    """Queries with those that say the same of one video made one, with the windows of all.

    Examples
    --------
    >>> jump = Query("v", "he jumps", ((0.0, 1.0),), 9.0), Query("v", "he jumps", ((5.0, 6.0),), 9.0)
    >>> [query.windows for query in merged(jump)]
    [((0.0, 1.0), (5.0, 6.0))]
    """
    found: dict[tuple[str, str], Query] = {}
    for query in queries:
        key = query.video, query.text
        before = found.get(key)
        windows = query.windows if before is None else tuple(dict.fromkeys((*before.windows, *query.windows)))
        first = query if before is None else before
        found[key] = Query(first.video, first.text, windows, first.duration, first.id)
    return list(found.values())
