"""Progress: what long work reports while somebody waits for it."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """Takes how far long work has come; a terminal shows it, a notebook or a test may do otherwise."""

    def stage(self, what: str, done: int, total: int | None) -> None:
        """Progress of a stage of a measurement."""

    def fetched(self, done: int, total: int | None, what: str) -> None:
        """Bytes of a download."""

    def images(self, done: int, total: int, skipped: int) -> None:
        """Progress of an extraction."""

    def training(self, what: str, done: int, total: int | None) -> None:
        """Progress of a training run in steps; `what` has its numbers."""

    def log(self, line: str) -> None:
        """A line that stays."""
