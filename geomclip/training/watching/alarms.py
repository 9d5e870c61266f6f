"""Alarms: when a watch warns that a space collapses, a logit scale runs away, or rows are NaN; each once a run."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from geomclip.panels.standouts import ONE_POINT

CLOUDS = ("image", "text")
RANK_LEFT = 0.5
"""A cloud whose RankMe falls below this part of what it was at the start has lost directions."""
MOST_SCALE = 100.0
"""Where CLIP's own training holds the logit scale; models with a bias, those of sigmoid losses, learn larger ones."""
ROUNDING = 1.001
"""Times a bound: a scale that is held there is not beyond it by its rounding."""
LEAST_SCALE = 1.0
"""Below it a softmax tells little apart: cosines are at most 2 from each other. Some models with a bias begin there."""
SCALE_MOVED = 1.5
"""Times more or less within `SCALE_STEPS`: learning rates that train well move it by a tenth at most."""
SCALE_STEPS = 100
GRACE_STEPS = 100
"""Random weights put all rows next to one point: a cloud that always was one has so many steps to leave it."""


@dataclass(frozen=True)
class Source:
    """Where numbers are from, and how many in a row decide."""

    window: int
    words: str


BATCH = Source(window=10, words="in 10 batches in a row")
PROBE = Source(window=1, words="of the probe")


@dataclass(frozen=True)
class Alarm:
    """What is warned of: its key, by which it is told once, and the line without the step."""

    key: str
    text: str


@dataclass
class Course:
    """The last numbers of one source, and the first ones."""

    cosines: deque[float]
    ranks: deque[float]
    first_step: int
    was_apart: bool = False
    first_ranks: list[float] = field(default_factory=list)
    most_rows: int = 0


class Alarms:
    """The rules, and what they remember: feed them every batch and probe in the order of the steps.

    Examples
    --------
    >>> alarms = Alarms()
    >>> [alarm.key for alarm in alarms.scale(1, 143.0)]
    ['scale_high']
    >>> [alarm.key for alarm in alarms.scale(2, 150.0)]
    []
    """

    def __init__(self) -> None:
        self.told = set[str]()
        self._courses: dict[tuple[Source, str], Course] = {}
        self._scales: deque[tuple[int, float]] = deque()

    def space(self, source: Source, step: int, values: Mapping[str, float | None], rows: int) -> list[Alarm]:
        """Alarms on the numbers of a batch or probe of so many rows; NaN and None are told by `not_finite`."""
        found: list[Alarm] = []
        for cloud in CLOUDS:
            cosine, rank = values.get(f"mean_cosine_{cloud}"), values.get(f"rankme_{cloud}")
            if cosine is None or rank is None or not (math.isfinite(cosine) and math.isfinite(rank)):
                continue
            new = Course(deque(maxlen=source.window), deque(maxlen=source.window), step)
            course = self._courses.setdefault((source, cloud), new)
            collapsed = list(self._one_point(course, source, cloud, step, cosine))
            lost = list(self._lost_rank(course, source, cloud, rank, rows))
            # a point has one direction, which need not be said as well
            found += collapsed or ([] if f"collapse_{cloud}" in self.told else lost)
        return self._new(found)

    def scale(self, step: int, scale: float, *, bounded: bool = True) -> list[Alarm]:
        """Alarms on the logit scale at a step; `bounded`: of a model without a bias, whose scale is from 1 to 100."""
        if not math.isfinite(scale):
            return self._new([Alarm("scale_nan", f"the logit scale is {scale}: go back to an earlier checkpoint")])
        while self._scales and step - self._scales[0][0] > SCALE_STEPS:
            self._scales.popleft()
        before = self._scales[0] if self._scales else (step, scale)
        self._scales.append((step, scale))
        return self._new([*_out_of_bounds(scale, bounded), *_moved(before[1], scale, step - before[0])])

    def not_finite(self, side: str, where: str) -> list[Alarm]:
        """The alarm on rows of a side ("images", "texts") that hold NaN or infinity."""
        way_out = "lower the learning rate or the loss scale, and go back to an earlier checkpoint"
        return self._new([Alarm(f"nan_{side}", f"{side} of the {where} hold NaN or infinity: {way_out}")])

    def _new(self, alarms: list[Alarm]) -> list[Alarm]:
        new = [alarm for alarm in alarms if alarm.key not in self.told]
        self.told |= {alarm.key for alarm in new}
        return new

    def _one_point(self, course: Course, source: Source, cloud: str, step: int, cosine: float) -> Iterator[Alarm]:
        course.cosines.append(cosine)
        became = course.was_apart or step - course.first_step >= GRACE_STEPS
        course.was_apart |= cosine < ONE_POINT
        if became and len(course.cosines) == source.window and min(course.cosines) >= ONE_POINT:
            yield Alarm(
                f"collapse_{cloud}",
                f"{cloud}s are next to one point (mean cosine {cosine:.4g} {source.words}): a collapse; "
                "lower the learning rate, and go back to a checkpoint from before",
            )

    def _lost_rank(self, course: Course, source: Source, cloud: str, rank: float, rows: int) -> Iterator[Alarm]:
        course.most_rows = max(course.most_rows, rows)
        if rows < 0.9 * course.most_rows:
            return  # the short batch at the end of an epoch has fewer directions for that reason alone
        course.ranks.append(rank)
        if len(course.first_ranks) < source.window:
            course.first_ranks.append(rank)
            return
        first, now = (sum(ranks) / source.window for ranks in (course.first_ranks, course.ranks))
        if now < RANK_LEFT * first:
            yield Alarm(
                f"rank_{cloud}",
                f"{cloud}s use {now:.3g} directions {source.words} (RankMe), at the start {first:.3g}: part of the "
                "space collapses; lower the learning rate, and go back to a checkpoint from before",
            )


def _out_of_bounds(scale: float, bounded: bool) -> Iterator[Alarm]:
    if not bounded:
        return
    if scale > MOST_SCALE * ROUNDING:
        way_out = "hold it there after each step, as CLIP does: logit_scale.data.clamp_(max=log(100))"
        yield Alarm("scale_high", f"the logit scale is {scale:.4g}, beyond {MOST_SCALE:g}: {way_out}")
    if scale * ROUNDING < LEAST_SCALE:
        way_out = "start it at 1/0.07 and give it a lower learning rate; a logarithm in its place needs exp()"
        yield Alarm("scale_low", f"the logit scale is {scale:.4g}, below {LEAST_SCALE:g}: {way_out}")


def _moved(before: float, scale: float, steps: int) -> Iterator[Alarm]:
    if before > 0 and scale > 0 and not 1 / SCALE_MOVED <= scale / before <= SCALE_MOVED:
        way_out = "give it a lower learning rate, or hold it fixed"
        yield Alarm("scale_drift", f"the logit scale went from {before:.4g} to {scale:.4g} in {steps} steps: {way_out}")
