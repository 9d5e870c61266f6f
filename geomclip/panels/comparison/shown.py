"""Shown: what tables read of a comparison, whichever way they show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from geomclip.panels.comparison.answer import Answer
from geomclip.panels.intervals import Interval


class Change(Protocol):
    """What a table shows of one number."""

    @property
    def before(self) -> float | None:
        """The number before."""

    @property
    def after(self) -> float | None:
        """The number after."""

    @property
    def difference(self) -> float | None:
        """After - before."""

    @property
    def ci(self) -> Interval | None:
        """Of the difference."""

    @property
    def verdict(self) -> str:
        """Whether it is better."""

    @property
    def paired(self) -> bool:
        """Whether the interval is one of paired differences."""

    @property
    def p(self) -> float | None:
        """Two-sided, of no difference."""

    @property
    def q(self) -> float | None:
        """That p corrected for all that are judged."""

    @property
    def primary(self) -> bool:
        """Whether its key was named before looking."""


class Changes(Protocol):
    """What a table shows of a comparison."""

    @property
    def rows(self) -> Mapping[str, Change]:
        """Key to its change."""

    @property
    def before(self) -> Mapping[str, Any]:
        """What one side is."""

    @property
    def after(self) -> Mapping[str, Any]:
        """What the other side is."""

    @property
    def paired(self) -> bool:
        """Whether the same images are on both sides."""

    @property
    def bootstrap(self) -> int:
        """Resamples."""

    @property
    def resample(self) -> str:
        """What paired intervals are over: "gallery" or "queries"; "folds": unpaired ones; "" where there are none."""

    @property
    def n_images(self) -> int:
        """Images that are on both sides."""

    @property
    def notes(self) -> Sequence[str]:
        """What a reader must know."""

    @property
    def by(self) -> str:
        """What the groups are values of."""

    @property
    def groups(self) -> Mapping[str, Changes]:
        """Comparisons by group."""

    @property
    def others(self) -> Mapping[str, Changes]:
        """Comparisons on other data."""

    @property
    def evaluations(self) -> Mapping[str, Changes]:
        """Comparisons of tasks that the sides keep, by name."""

    @property
    def verdict(self) -> Answer:
        """What it comes to."""

    def to_dict(self) -> dict[str, Any]:
        """The record that a file holds."""

    def to_latex(self) -> str:
        """The table of a paper."""
