"""Tasks shared out among the workers of an engine: each asks a task whole, and gives back what this process would have.

The rows that tasks read are encoded before, once; workers take them from the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from geomclip.evaluations.subject import Subject
from geomclip.evaluations.task import Task
from geomclip.machine.crews import crew_of
from geomclip.machine.devices import gpus_of
from geomclip.machine.engines import map_in_order, payload_of
from geomclip.machine.errors import InputError
from geomclip.machine.progress import Named, Progress, Silent
from geomclip.machine.words import one_line, option
from geomclip.pairs.record import Pairs
from geomclip.panels.record import Panel

Answer = Panel | str
"""The panel of a task, or why it could not be made."""


@dataclass(frozen=True)
class Question:
    """A task, and what it is asked with."""

    task: Task
    asked: Any

    def __str__(self) -> str:
        return option("task", self.task.name)

    def answer(self, subject: Subject, progress: Progress) -> Answer:
        """The panel, or in a line why another task may be able to use what this one cannot."""
        try:
            return self.task.run(subject, self.asked, Named(progress, self.task.name))
        except InputError as problem:
            return one_line(problem)


@dataclass(frozen=True)
class Asking:
    """What a worker has to know once; called, it gives the function from a question to its answer and lines."""

    subject: Subject
    torch_threads: int

    def __call__(self) -> Callable[[Question], tuple[Answer, list[str]]]:
        """The function."""
        torch.set_num_threads(self.torch_threads)  # on which what is trained may depend
        return partial(_answer, self.subject)


class Lines(Silent):
    """Keeps the lines, for the process that asks to show them."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, line: str) -> None:
        """One more line."""
        self.lines.append(line)


def _answer(subject: Subject, question: Question) -> tuple[Answer, list[str]]:
    said = Lines()
    return question.answer(subject, said), said.lines


def shared_out(
    questions: Sequence[Question], subject: Subject, *, engine: str, count: int, progress: Progress
) -> Iterator[Answer]:
    """The answers in the order of the questions, by at most `count` workers.

    Raises
    ------
    InputError
        If the subject cannot be sent, or the engine cannot be used; a NotAvailableError if it is not installed.
    GeomclipError
        If workers die of a task.
    """
    payload = payload_of(Asking(replace(subject), torch.get_num_threads()), "this model or data")
    crew = crew_of(engine, payload, min(count, len(questions)), gpus=gpus_of(subject.device))
    try:
        encode(questions, subject, progress)
        with closing(map_in_order(crew, questions, after="the others can be asked one by one")) as answers:
            for done, (answer, lines) in enumerate(answers, 1):
                for line in lines:
                    progress.log(line)
                progress.stage("tasks", done, len(questions))
                yield answer
    finally:
        crew.end()


def encode(questions: Sequence[Question], subject: Subject, progress: Progress) -> None:
    """Have in the cache what tasks read of the subject's data; what cannot be had, each of them says itself."""
    if not subject.has_encoder:
        return
    read: list[Pairs] = []
    for question in questions:
        with suppress(InputError):
            pairs = question.task.reads(subject, question.asked)
            if pairs is not None and not any(pairs is known for known in read):
                read.append(pairs)
                subject.embedded(progress, pairs=pairs)
