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
"""What long work reports to if nobody waits for it."""


class Named:
    """Reports to another, each stage under the name of one of several things that are worked on in turn.

    Examples
    --------
    >>> class Lines(Silent):
    ...     def stage(self, name, done, total, note=""):
    ...         print(name, done, total)
    >>> Named(Lines(), "before").stage("encoding", 3, 10)
    before: encoding 3 10
    """

    def __init__(self, progress: Progress, name: str) -> None:
        self.progress, self.name = progress, name

    def stage(self, name: str, done: int, total: int | None, note: str = "") -> None:
        """The stage of the thing; without a name it stays as it is."""
        self.progress.stage(f"{self.name}: {name}" if self.name else name, done, total, note)

    def log(self, line: str) -> None:
        """The line as it is."""
        self.progress.log(line)
