"""How well moments that were found answer: recall at an overlap, mean overlap, average precision, and what is free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from geomclip.grounding.batch import windows_of
from geomclip.grounding.moments import ROUNDING, Proposals, overlap, suppress
from geomclip.grounding.record import Moment, Query
from geomclip.machine.errors import InputError
from geomclip.panels.intervals import LEAST, Interval, Units, plain_interval, share_interval, within_range

RANKS = (1, 5)
OVERLAPS = (0.3, 0.5, 0.7)
STRICT = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""Overlaps that mean average precision is averaged over: 0.5, 0.55, …, 0.95."""

TRIES = 10
"""Moments that average precision looks at (Lei et al. 2021, standalone_eval)."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What each query got, by key, 0 to 1.

    `R1@0.5`: whether the first moment overlaps a window of the query by an intersection over union of at least 0.5
    (≥; some of the field's code has >). `R5@0.5`: whether one of the first five does; where fewer were found, that is
    fewer tries. `mIoU`: overlap of the first moment with the window nearest to it. `mAP@0.5`, `mAP@0.75` and `mAP`,
    the mean over 0.5, 0.55, …, 0.95: `average_precision`.
    """

    by_query: Mapping[str, Tensor]  # (Q,) float64 each
    video: Tensor  # (Q,) int64: the number of the query's video

    @property
    def values(self) -> dict[str, float]:
        """The mean over queries of each."""
        return {key: float(each.mean()) for key, each in self.by_query.items()}

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """95 % intervals of the means if other videos had been drawn; none of fewer than 20 videos.

        Robust to queries of a video that fare alike: the standard error is that of sums over videos. Of shares it is
        Wilson's at the number of independent queries that would have that error.
        """
        units = Units.of(len(self.video), self.video)
        if units.count < LEAST:
            return {}
        found = {}
        for key, each in self.by_query.items():
            mean, count = float(each.mean()), len(each)
            error = units.standard_error((each - mean) / count)
            if key.startswith("R"):
                found[key] = share_interval(mean, error, count, units)
            else:
                found[key] = within_range(*plain_interval(mean, error, units), 0.0, 1.0)
        return found

    def minus(self, other: Scores) -> dict[str, tuple[float, Interval | None]]:
        """Mean differences of two answers to the same queries, each with its 95 % interval over videos.

        Raises
        ------
        ValueError
            If the queries are of other videos.
        """
        if not torch.equal(self.video, other.video):
            raise ValueError(f"scores of {len(self.video)} and {len(other.video)} queries are not of the same ones")
        units = Units.of(len(self.video), self.video)
        found: dict[str, tuple[float, Interval | None]] = {}
        for key in self.by_query.keys() & other.by_query.keys():
            moved = self.by_query[key] - other.by_query[key]
            mean = float(moved.mean())
            error = units.standard_error((moved - mean) / len(moved))
            found[key] = mean, None if units.count < LEAST else plain_interval(mean, error, units)
        return {key: found[key] for key in self.by_query if key in found}

    def to_dict(self) -> dict[str, object]:
        """Means and intervals, for a file."""
        return {
            "queries": len(self.video),
            "videos": int(self.video.max()) + 1,
            "values": self.values,
            "intervals": {key: list(ends) for key, ends in self.intervals.items()},
        }


def score(found: Sequence[Sequence[Moment]], queries: Sequence[Query]) -> Scores:
    """Score what was found for each query, the best moment first.

    Average precision is there where a query has several windows.

    Raises
    ------
    InputError
        If there is no query, or one without a window.
    ValueError
        If the answers are not as many as the queries.

    Examples
    --------
    >>> query = Query("v", "he jumps", ((2.0, 4.0),), 10.0)
    >>> score([[Moment(2.0, 5.0, 0.9)]], [query]).values["R1@0.5"]
    1.0
    """
    if len(found) != len(queries):
        raise ValueError(f"{len(found)} answers to {len(queries)} queries")
    if not queries:
        raise InputError("there is no query to score")
    without = [query.id or query.text for query in queries if not query.windows]
    if without:
        raise InputError(f"{len(without)} queries have no window to be scored by, among them {without[0][:80]!r}")
    several = any(len(query.windows) > 1 for query in queries)
    rows = [_of_query(moments, query, several) for moments, query in zip(found, queries, strict=True)]
    numbers: dict[str, int] = {}
    video = torch.tensor([numbers.setdefault(query.video, len(numbers)) for query in queries])
    return Scores({key: torch.tensor([row[key] for row in rows], dtype=torch.float64) for key in rows[0]}, video)


def _of_query(moments: Sequence[Moment], query: Query, several: bool) -> dict[str, float]:
    windows = torch.tensor(query.windows, dtype=torch.float64)
    spans = torch.tensor([[each.start, each.end] for each in moments], dtype=torch.float64).reshape(-1, 2)
    overlaps = overlap(spans, windows)  # (moments, windows)
    best = overlaps.amax(1) + ROUNDING
    row = {
        f"R{rank}@{least}": float((best[:rank] >= least).any()) for rank in RANKS for least in OVERLAPS
    }  # of no moment none
    row["mIoU"] = float(overlaps[0].max()) if len(moments) else 0.0
    if several:
        precise = {least: average_precision(overlaps[:TRIES], least) for least in STRICT}
        row |= {"mAP@0.5": precise[0.5], "mAP@0.75": precise[0.75], "mAP": sum(precise.values()) / len(precise)}
    return row


def average_precision(overlaps: Tensor, least: float) -> float:
    """Of moments in the order of their scores, as detections of a query's windows: 0 to 1.

    A moment is right if it overlaps a window, that no better moment has taken, by at least `least`; it takes the one
    that it overlaps most. The precision at a recall is the best one at that recall or beyond, and the average is over
    the recalls that are reached; those that are not have precision 0.

    Parameters
    ----------
    overlaps : Tensor of shape (moments, windows)
    least : float

    References
    ----------
    Lei, Berg and Bansal (2021), "Detecting moments and highlights in videos via natural language queries", NeurIPS:
    QVHighlights' evaluation, which takes it from ActivityNet's and that of PASCAL VOC 2011.

    Examples
    --------
    >>> average_precision(torch.tensor([[0.9, 0.0], [0.8, 0.0], [0.0, 0.7]]), 0.5)  # right, taken, right
    0.8333333333333333
    """
    moments, windows = overlaps.shape
    free = torch.ones(windows, dtype=torch.bool)
    right = torch.zeros(moments, dtype=torch.float64)
    for place in range(moments):
        here = torch.where(free, overlaps[place].double() + ROUNDING, -1.0)
        window = int(here.argmax())
        if here[window] >= least:
            free[window] = False
            right[place] = 1
    precision = right.cumsum(0) / torch.arange(1, moments + 1)
    best_from_here = precision.flip(0).cummax(0).values.flip(0) if moments else precision
    return float((best_from_here * right).sum() / windows)


def best_moments(
    every: Proposals, scores: Tensor, duration: float, *, most: int = 5, threshold: float = 0.5
) -> tuple[Moment, ...]:
    """The best proposals in seconds, none overlapping a better one by more than the threshold; scores are (N,)."""
    kept = suppress(every.spans, scores, most=most, threshold=threshold)
    spans = every.spans[kept] * duration
    return tuple(
        Moment(start, end, value) for (start, end), value in zip(spans.tolist(), scores[kept].tolist(), strict=True)
    )


# ------------------------------------------------------------------------------------------ what is free


def random_proposal(
    queries: Sequence[Query], every: Proposals, *, generator: torch.Generator, most: int = 5, threshold: float = 0.5
) -> list[tuple[Moment, ...]]:
    """Proposals in an order drawn for each query."""
    return [
        best_moments(every, torch.rand(len(every), generator=generator), query.duration, most=most, threshold=threshold)
        for query in queries
    ]


def best_fixed(
    train: Sequence[Query], queries: Sequence[Query], every: Proposals, *, most: int = 5, threshold: float = 0.5
) -> list[tuple[Moment, ...]]:
    """The same proposals for every query: those that overlap the windows of other, annotated queries most on average.

    Parameters
    ----------
    train : sequence of Query
        Not those that are scored.
    """
    scores = _overlaps(train, every).mean(0)
    return [best_moments(every, scores, query.duration, most=most, threshold=threshold) for query in queries]


def blind(
    train: Sequence[Query],
    train_texts: Tensor,
    queries: Sequence[Query],
    texts: Tensor,
    every: Proposals,
    *,
    temperature: float = 0.05,
    most: int = 5,
    threshold: float = 0.5,
) -> list[tuple[Moment, ...]]:
    """What the sentence alone tells: where things happen that are said alike, whatever the video shows.

    A proposal's score is its mean overlap with the windows of other queries, weighted by a softmax over the cosines
    of their sentences with this one.

    Parameters
    ----------
    train, train_texts
        Annotated queries, not those that are scored, and the unit rows of their sentences (M, d).
    queries, texts
        Those to be answered, (Q, d).
    temperature : float
        Of the softmax: 0.05 lets about the nearest few sentences count.
    """
    weights = (texts @ train_texts.T / temperature).softmax(1).double()  # (Q, M)
    scores = weights @ _overlaps(train, every)
    return [
        best_moments(every, each, query.duration, most=most, threshold=threshold)
        for each, query in zip(scores, queries, strict=True)
    ]


def map_oracle(queries: Sequence[Query], every: Proposals) -> list[tuple[Moment, ...]]:
    """The proposal that overlaps each window most: the most that any scores of these proposals can reach."""
    found = []
    for query in queries:
        overlaps = overlap(windows_of(query), every.spans)
        kept = every.spans[overlaps.argmax(1)] * query.duration
        found.append(tuple(Moment(start, end, 1.0) for start, end in kept.tolist()))
    return found


def _overlaps(queries: Sequence[Query], every: Proposals) -> Tensor:
    """Of each proposal with the nearest window of each query: (Q, N)."""
    if not queries:
        raise InputError("no annotated query to learn from")
    return torch.stack([overlap(windows_of(query), every.spans).amax(0) for query in queries])
