"""evaluate: a task by its name, of any encoder or vectors; and all tasks that apply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from geomclip.evaluations.asked import ASKED
from geomclip.evaluations.sharing import Answer, Question, shared_out
from geomclip.evaluations.subject import Subject
from geomclip.evaluations.task import Task
from geomclip.machine.engines import count_of
from geomclip.machine.errors import InputError
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import nearest, option
from geomclip.pairs import Pairs, Source
from geomclip.panels.record import Panel
from geomclip.training.splits import Splits

OF_SUBJECT = tuple(each.name for each in fields(Subject) if each.init)


def list_tasks() -> list[Task]:
    """All tasks, in the order in which `evaluate --all` asks them."""
    return [import_module(f"geomclip.evaluations.{name.replace('-', '_')}").TASK for name in ASKED]


def evaluate(
    task: str,
    model: Any = "demo",
    data: str | Pairs | Splits = Source.data,
    *,
    progress: Progress = SILENT,
    **options: Any,
) -> Panel:
    """What a space is good for: the numbers of one task, with intervals where there is a method.

    Parameters
    ----------
    task : str
        A name of `list_tasks`.
    model, data
        As `embed` takes them.
    progress : Progress, optional
    **options
        Those of `geomclip.evaluations.subject.Subject` (split, embeddings, label_column, bootstrap, seed, ...) and
        those of the task.

    Returns
    -------
    Panel
        Whose `task` is the name; `compare`, tables, `save` and gates take it as that of `measure`.

    Raises
    ------
    InputError
        If task or option is unknown (the nearest is named), the task does not apply, or an input cannot be used.
    NotAvailableError
        If weights or data are not on this machine.

    Examples
    --------
    >>> import geomclip as gc
    >>> gc.evaluate("zeroshots")
    Traceback (most recent call last):
        ...
    geomclip.machine.errors.InputError: no task 'zeroshots'; did you mean zeroshot or fewshot?
    """
    found, subject, asked = _applied(task, {"model": model, "data": data, **options})
    return found.run(subject, asked, progress)


def check(task: str, **options: Any) -> None:
    """InputError if `evaluate` could not ask a task with these options, as far as names tell."""
    _applied(task, {"model": "demo", "data": Source.data, **options})


def _applied(task: str, options: Mapping[str, Any]) -> tuple[Task, Subject, Any]:
    """The task, what is evaluated and what it is asked with; InputError where it does not apply."""
    found = task_of(task)
    _refuse_unknown(options, found.options())
    subject, asked = _subject(options), _asked(options, found)
    if reason := found.applies(subject, asked):
        raise InputError(f"{task}: {reason}")
    return found, subject, asked


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The panels of all tasks that were asked, and why others were not."""

    panels: Mapping[str, Panel] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    def save(self, folder: str | Path) -> Path:
        """Write TASK.json, and its items beside it, for each task."""
        folder = Path(folder).expanduser()
        for name, panel in self.panels.items():
            panel.save(folder / f"{name}.json")
        return folder


class NoTaskError(InputError):
    """No task applies to what is at hand; `reasons` has why, by the name of the task."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__(f"no task applies: {'; '.join(f'{name}: {reason}' for name, reason in reasons.items())}")
        self.reasons = dict(reasons)


def evaluate_all(
    model: Any = "demo",
    data: str | Pairs = Source.data,
    *,
    engine: str | None = None,
    processes: int | None = None,
    progress: Progress = SILENT,
    **options: Any,
) -> Evaluated:
    """Every task that applies to what is at hand; options of one task go to that one.

    Parameters
    ----------
    model, data, progress, **options
        As `evaluate` takes them.
    engine : {"process", "ray"}, optional
        Who asks the tasks in place of this process: other processes of this machine, or actors of a Ray cluster, a
        task each. What they read of the data is encoded here before. The same panels; docs/scale.md says more.
    processes : int, optional
        Workers of the engine, 2 if left out.

    Raises
    ------
    InputError
        For an option that no task knows, a value that an option cannot have, or if no task applies; if model or data
        cannot be sent to an engine.
    NotAvailableError
        If the engine is not installed.
    GeomclipError
        If workers of an engine die of a task.
    """
    count = count_of(engine, processes)
    tasks = list_tasks()
    _refuse_unknown(options, [name for task in tasks for name in task.options()])
    subject = _subject({"model": model, "data": data, **options})
    asked = {task.name: _asked(options, task) for task in tasks}  # a value that is refused, before the first runs
    answers: dict[str, Answer] = {task.name: task.applies(subject, asked[task.name]) for task in tasks}
    questions = [Question(task, asked[task.name]) for task in tasks if not answers[task.name]]
    found: Iterator[Answer]
    if engine is None or not questions:
        found = (question.answer(subject, progress) for question in questions)
    else:
        found = shared_out(questions, subject, engine=engine, count=count, progress=progress)
    for question, answer in zip(questions, found, strict=True):
        answers[question.task.name] = answer
    panels = {name: answer for name, answer in answers.items() if isinstance(answer, Panel)}
    reasons = {name: answer for name, answer in answers.items() if not isinstance(answer, Panel)}
    if not panels:
        raise NoTaskError(reasons)
    return Evaluated(panels, reasons)


def task_of(name: str) -> Task:
    """The task of a name; InputError with the nearest for another."""
    known = {task.name: task for task in list_tasks()}
    if name not in known:
        raise InputError(f"no task {name!r}{nearest(name, list(known))}")
    return known[name]


def _subject(options: Mapping[str, Any]) -> Subject:
    return Subject(**{name: value for name, value in options.items() if name in OF_SUBJECT})


def _asked(options: Mapping[str, Any], task: Task) -> Any:
    """What the task is asked with; ValueErrors of the options as InputErrors."""
    try:
        return task.asks(**{name: value for name, value in options.items() if name in task.options()})
    except InputError:
        raise
    except ValueError as problem:
        raise InputError(str(problem)) from problem


def _refuse_unknown(options: Mapping[str, Any], of_tasks: list[str]) -> None:
    known = [*OF_SUBJECT, *of_tasks]
    for name in options:
        if name not in known:
            raise InputError(f"{option(name)}: no option of evaluate, or of another task{nearest(name, known)}")
