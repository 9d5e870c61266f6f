"""Run: one set on its way to a panel; what goes in, and what the stages find."""

from __future__ import annotations

import time
from collections.abc import Iterator, MutableMapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from geomclip.machine.progress import Progress
from geomclip.metrics import METRICS
from geomclip.metrics import contributions as parts
from geomclip.metrics.effects import Pairs
from geomclip.metrics.folds import Fold
from geomclip.metrics.null_draws import Means
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.squared_length import SquaredLength
from geomclip.metrics.sweep import Asking, load_kernels, runs_compiled, sweep
from geomclip.panels.intervals import LEAST, Interval, Units
from geomclip.panels.options import Measuring

if TYPE_CHECKING:
    from geomclip.metrics.sharing import Shared

NEIGHBORS = 10
"""k of the k-occurrence counts."""

ROUNDING = {torch.float32: 2e-6, torch.float64: 1e-12}
"""By how much a value may leave its range by the rounding of rows and scores alone; further out is an error of ours."""

NO_TEXT = "needs image-text pairs; this set has classes in place of texts"
ONE_CLOUD = "needs texts or classes; this set is one cloud"

Nulls = MutableMapping[str, Means]
"""Simulated nulls by size."""


def without_rounding(key: str, value: float, rounding: float) -> float:
    """The value of a key, or the end of its range that no more than rounding took it past.

    Examples
    --------
    >>> without_rounding("alignment", -1e-8, 1e-6), without_rounding("alignment", -1e-3, 1e-6)
    (0.0, -0.001)
    """
    nearest = min(max(value, METRICS[key].low), METRICS[key].high)
    return float(nearest) if abs(value - nearest) <= rounding else value


@dataclass(frozen=True, eq=False)
class Classes:
    """The class of each image, and the text row of each class."""

    labels: Tensor  # (n,) int64
    text: Tensor  # (c, d)


@dataclass(eq=False)
class Found:
    """What the stages of a run put down.

    `columns` holds what each image adds (`geomclip.metrics.contributions`), `gallery` what it adds to them as a
    candidate, `pairs` which image does so to the queries of which, `influence` what it moves a number by, `squared` the
    squared lengths that numbers are roots of, `units` which images are copies of one another.
    """

    values: dict[str, float | None] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    null: dict[str, float] = field(default_factory=dict)
    null_error: dict[str, float] = field(default_factory=dict)
    p: dict[str, float] = field(default_factory=dict)
    ci: dict[str, Interval] = field(default_factory=dict)
    sampled: dict[str, Interval] = field(default_factory=dict)
    columns: parts.Columns = field(default_factory=dict)
    gallery: parts.Columns = field(default_factory=dict)
    pairs: Pairs | None = None
    influence: dict[str, Tensor] = field(default_factory=dict)
    squared: dict[str, SquaredLength] = field(default_factory=dict)
    units: Tensor | None = None  # (n,)
    no_interval: dict[str, str] = field(default_factory=dict)
    image_items: dict[str, Tensor] = field(default_factory=dict)
    text_items: dict[str, Tensor] = field(default_factory=dict)
    reliability: dict[str, list[dict[str, float | None]]] = field(default_factory=dict)
    curves: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    slower: str = ""  # why the sweeps were
    from_blocks: str = ""  # how many numbers are estimated
    copies: str = ""  # how many images are copies, and what they do


@dataclass(frozen=True, eq=False)
class Run:
    """One set on its way to a panel: its vectors, what is wanted of them and how, and what was found so far.

    Of pairs there is a `pairing`, of class data there are `classes`; a set of images alone has neither.
    """

    image: Tensor  # (n, d)
    pairing: Pairing | None
    classes: Classes | None
    logit_scale: float
    wanted: Set[str]  # keys
    options: Measuring
    nulls: Nulls
    progress: Progress
    found: Found = field(default_factory=Found)
    shared: Shared | None = None  # workers that sweep in place of this process

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.image)

    @property
    def text(self) -> Tensor | None:
        """Text rows, sorted by their image, or those of the classes."""
        if self.pairing is not None:
            return self.pairing.text
        return None if self.classes is None else self.classes.text

    @property
    def units(self) -> Units:
        """The images, copies together."""
        return Units.of(self.n, self.found.units)

    @property
    def intervals(self) -> bool:
        """Whether intervals are wanted, and there are images enough that differ, as far as is known yet."""
        return self.options.bootstrap > 0 and self.units.count >= LEAST

    @cached_property
    def folds(self) -> frozenset[str]:
        """What the wanted keys read of the sweeps, as `Metric.folds` has it."""
        return frozenset(fold for key in self.wanted for fold in METRICS[key].folds)

    def wants(self, *keys: str) -> bool:
        """Whether any of these keys is wanted."""
        return not self.wanted.isdisjoint(keys)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Seconds of a stage, added up under its name; a stage inside another counts once, as itself."""
        seconds = self.found.seconds
        start, inside = time.perf_counter(), sum(seconds.values())
        yield
        spent = time.perf_counter() - start - (sum(seconds.values()) - inside)
        seconds[stage] = seconds.get(stage, 0.0) + spent

    def put(self, key: str, value: Any, *args: Any) -> None:
        """Keep a value, or what a function of `args` returns, if it is wanted; None and why if undefined."""
        if key not in self.wanted:
            return
        try:
            number = float(value(*args) if callable(value) else value)
            self.found.values[key] = without_rounding(key, number, ROUNDING[self.image.dtype])
        except ValueError as undefined:
            self.undefined(key, str(undefined))

    def undefined(self, key: str, reason: str) -> None:
        """Note why a key has no value."""
        if key in self.wanted:
            self.found.values[key] = None
            self.found.notes[key] = reason

    def has(self, key: str) -> bool:
        """Whether a key has a value."""
        return self.found.values.get(key) is not None

    def sweep(
        self,
        stage: str,
        cloud: str | None,
        pairing: Pairing,
        folds: Sequence[Fold[Any, Any]],
        asking: Asking | None = None,
    ) -> list[Any]:
        """`metrics.sweep.sweep`, which reports under the name of its stage; loading compiled loops is timed apart.

        The cloud is "image", "text" or "cross", whose pairing it is; None of another, which stays in this process.
        """
        device = self.options.device
        if runs_compiled(pairing, device):
            with self.timed("kernels"):
                missing = load_kernels()
            if missing:
                self.found.slower = f"large sweeps ran by torch, slower and with the same numbers: {missing}"
        if self.shared is not None and cloud is not None:
            return self.shared.sweep(cloud, pairing, folds, stage=stage, progress=self.progress)
        return sweep(pairing, folds, device=device, asking=asking, stage=stage, progress=self.progress)

    def pairs(self) -> Pairing:
        """The pairing of a set that has one."""
        assert self.pairing is not None
        return self.pairing

    def evaluate(self) -> None:
        """The value of every formula whose columns are there."""
        for key in parts.FORMULAS:
            if key in self.wanted and key not in self.found.values:
                value = parts.value_of(key, self.found.columns)
                if value is not None:
                    self.put(key, value)

    def finish(self) -> None:
        """The reason of every key that has no value, and the values in the order of the panel."""
        found = self.found
        for key in sorted(self.wanted - set(found.values) - set(found.notes)):
            group = METRICS[key].group
            if group == "zeroshot":
                if self.classes is None:
                    continue  # no reader of a panel of another task misses these
                self.undefined(key, "undefined for this set")
            elif self.pairing is None:
                found.notes[key] = ONE_CLOUD if self.classes is None else NO_TEXT
            else:
                self.undefined(key, "no image or text of this set has what it compares")
        order = {key: place for place, key in enumerate(METRICS)}
        found.values = dict(sorted(found.values.items(), key=lambda entry: order.get(entry[0], len(order))))
