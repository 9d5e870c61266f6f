"""Task: one question about a space, what it is asked with, and what answers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from geomclip.evaluations.subject import Subject
from geomclip.machine.progress import Progress
from geomclip.pairs.record import Pairs
from geomclip.panels.record import Panel


def nothing(subject: Subject, asked: Any) -> None:
    """The data of a task that encodes none of the subject's."""


@dataclass(frozen=True)
class Task:
    """One question about a space.

    Parameters
    ----------
    name : str
        As `--task` has it.
    answers : str
        What it tells, in a line.
    asks : type
        A frozen dataclass of the options that are its own, with their defaults, whose `__post_init__` refuses values
        that cannot be.
    run : callable
        From the subject, an `asks` and a Progress to the panel.
    applies : callable
        From the subject and an `asks` to the reason why it cannot be asked, in a line; "" where it can.
        `evaluate --all` leaves out what does not apply, and says the reason.
    reads : callable, optional
        From a subject with an encoder and an `asks` to those of the subject's data that it is to encode; None: none.
        They are encoded before tasks are shared out.
    """

    name: str
    answers: str
    asks: type[Any]
    run: Callable[[Subject, Any, Progress], Panel]
    applies: Callable[[Subject, Any], str]
    reads: Callable[[Subject, Any], Pairs | None] = nothing

    def options(self) -> list[str]:
        """The names of its own options."""
        return [field.name for field in fields(self.asks)]
