"""Annotations: the queries of a file, what was cut and what was left out of it, and which say the same."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from geomclip.grounding.record import Query
from geomclip.pairs.parsing import counted


class Skipped(NamedTuple):
    """A moment or sentence that cannot be used: file, line or key, and the reason."""

    where: str
    reason: str


@dataclass(frozen=True)
class Annotations:
    """What `load_queries` made of a file.

    Attributes
    ----------
    path : Path
    format : str
        A key of FORMATS.
    queries : tuple of Query
        In the order of the file.
    cut : tuple of float
        Seconds by which each moment that left its video was cut.
    skipped : tuple of Skipped
        Moments that are reversed, empty or outside their video, and sentences without a word.
    """

    path: Path
    format: str
    queries: tuple[Query, ...]
    cut: tuple[float, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    @property
    def clipped(self) -> int:
        """How many moments were cut to their video."""
        return len(self.cut)

    @cached_property
    def videos(self) -> dict[str, float]:
        """Each video, in the order of the file, and its seconds."""
        return {query.video: query.duration for query in self.queries}

    @cached_property
    def same_sentence(self) -> tuple[tuple[int, ...], ...]:
        """Places of the queries of one video that have one sentence and name different moments; a tuple a sentence."""
        return tuple(
            tuple(places)
            for places in _places(self.queries).values()
            if len({self.queries[place].windows for place in places}) > 1
        )

    @cached_property
    def duplicates(self) -> int:
        """How many queries repeat an earlier one: video, sentence and moments."""
        return sum(
            sum(Counter(self.queries[place].windows for place in places).values())
            - len({self.queries[place].windows for place in places})
            for places in _places(self.queries).values()
        )

    def notes(self) -> tuple[str, ...]:
        """What a user should know of the file, a line each; nothing for a file without faults."""
        return counted(
            (self.clipped, "{n} moments end beyond their video, or begin before it, and were cut to it"),
            (len(self.skipped), "{n} moments or sentences cannot be used and were left out"),
            (len(self.same_sentence), "{n} sentences name two or more moments of one video"),
            (self.duplicates, "{n} queries repeat an earlier one"),
        )


def unrelated(queries: Sequence[Query], *, across_videos: bool = False) -> Tensor:
    """Which queries may be each other's negatives: (Q, Q) bool, symmetric, False on the diagonal.

    Two of one video with the same sentence (case and white space aside) may not, whatever moments they name: what
    describes the one describes the other. In TACoS that is 8 to 9 sentences of a hundred.

    Parameters
    ----------
    queries : sequence of Query
    across_videos : bool
        Hold the same sentence to say the same in another video too. The published methods do not: a batch of
        Charades-STA then has pairs that are false negatives.

    Examples
    --------
    >>> dog = Query("a", "A dog runs.", ((0.0, 2.0),), 9.0)
    >>> unrelated([dog, Query("a", "a dog  runs.", ((5.0, 6.0),), 9.0), Query("b", "A dog runs.", (), 7.0)]).tolist()
    [[False, False, True], [False, False, True], [True, True, False]]
    """
    numbers: dict[tuple[str, str], int] = {}
    keys = (("" if across_videos else query.video, wording(query.text)) for query in queries)
    group = torch.tensor([numbers.setdefault(key, len(numbers)) for key in keys], dtype=torch.int64)
    return group[:, None] != group[None, :]


def wording(text: str) -> str:
    """A sentence without regard to case and white space.

    Examples
    --------
    >>> wording(" A dog  runs. ")
    'a dog runs.'
    """
    return " ".join(text.casefold().split())


def _places(queries: Sequence[Query]) -> dict[tuple[str, str], list[int]]:
    """Places by video and sentence."""
    found = defaultdict(list)
    for place, query in enumerate(queries):
        if query.windows:
            found[query.video, wording(query.text)].append(place)
    return found
