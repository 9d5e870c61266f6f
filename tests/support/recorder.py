"""A Progress that remembers what was reported to it."""

from __future__ import annotations

from collections.abc import Callable


class Recorder:
    """Keeps each stage as (name, done, total, note), and each line; `then`, called with how much is done, may raise."""

    def __init__(self, then: Callable[[int], object] = lambda done: None) -> None:
        self.stages: list[tuple[str, int, int | None, str]] = []
        self.lines: list[str] = []
        self.then = then

    def stage(self, name: str, done: int, total: int | None, note: str = "") -> None:
        self.stages.append((name, done, total, note))
        self.then(done)

    def log(self, line: str) -> None:
        self.lines.append(line)
