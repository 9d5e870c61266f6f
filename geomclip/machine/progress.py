"""Progress: what long work reports while somebody waits for it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Takes how far long work has come: bars on a terminal, nothing in a notebook, a list in a test."""

    def stage(self, name: str, done: int, total: int | None, note: str = "") -> None:
        """So much of a stage is done; `total` is None where nobody knows it, `note` is shown beside the name."""

    def log(self, line: str) -> None:
        """A line that stays."""


class Silent:
    """Shows nothing."""

    def stage(self, name: str, done: int, total: int | None, note: str = "") -> None:
        """Nothing."""

    def log(self, line: str) -> None:
        """Nothing."""


SILENT: Progress = Silent()
"""What long work reports to if nobody asked."""


class Report(Progress, Protocol):
    """The calls of one kind of work each, as long as they are made; `stage` replaces them."""

    def fetched(self, done: int, total: int | None, what: str) -> None:
        """Bytes of a download."""

    def images(self, done: int, total: int, skipped: int) -> None:
        """Progress of an extraction."""

    def training(self, what: str, done: int, total: int | None) -> None:
        """Progress of a training run in steps; `what` has its numbers."""
