"""Shown: what tables read of a panel, whichever way they show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from geomclip.panels.sentences import Numbers

SAMPLED_ENDS = ("sampled_low", "sampled_high")
"""Columns of a panel that is estimated from blocks."""


class Shown(Numbers, Protocol):
    """What a table shows of a panel: its numbers, and what was measured."""

    @property
    def name(self) -> str:
        """What it is called in place of its model; "" where it has no name."""

    @property
    def task(self) -> str:
        """What it is a panel of: "retrieval", "classification" or "cloud"."""

    @property
    def logit_scale(self) -> float:
        """1/temperature."""

    @property
    def logit_scale_source(self) -> str:
        """Where the scale is from."""

    @property
    def made_from(self) -> Mapping[str, Any]:
        """Model, data, precision."""

    @property
    def params(self) -> Mapping[str, Any]:
        """How it was measured."""

    @property
    def curves(self) -> Mapping[str, Mapping[str, Sequence[float]]]:
        """Name of a curve to its points."""

    @property
    def sampled(self) -> Mapping[str, tuple[float, float]]:
        """Key of a number that is estimated from blocks to the ends of where that of the whole set lies."""

    @property
    def no_interval(self) -> Mapping[str, str]:
        """Key to the reason why it has no interval."""

    @property
    def notes(self) -> Mapping[str, str]:
        """Why values are undefined."""

    @property
    def warnings(self) -> Sequence[str]:
        """What the reader must not miss."""

    @property
    def groups(self) -> Mapping[str, Shown]:
        """Panels of --by."""

    def to_dict(self) -> dict[str, Any]:
        """The record that a result file holds."""

    def to_latex(self) -> str:
        """The table of a paper."""
