"""The loop: steps, looks at the validation split, snapshots, and ends that lose nothing."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Protocol

from torch import Tensor, nn

from geomclip.machine import signals
from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.words import one_line, option
from geomclip.training import snapshots
from geomclip.training.processes import Processes
from geomclip.training.watching.journal import Journal


class NotFinite(GeomclipError):
    """A loss or gradient that is NaN or infinite: the weights of this step are not to be kept."""


class Watched(Protocol):
    """How often the loop looks, saves and waits: settings of any trainer."""

    @property
    def seed(self) -> int:
        """Of all that is drawn."""

    @property
    def device(self) -> str:
        """Where the model is."""

    @property
    def patience(self) -> int:
        """Evaluations without gain before the end; 0: never."""

    @property
    def eval_every(self) -> int:
        """Epochs between evaluations; 0: only at the end."""

    @property
    def save_every(self) -> int:
        """Steps between checkpoints; 0: only at the end."""

    @property
    def probe_every(self) -> int:
        """Steps between looks at a probe set; 0: never."""


class Steps(Protocol):
    """A model in training, as the loop sees it: it steps, is looked at, and is put down and taken up again."""

    done: int
    steps: int

    @property
    def settings(self) -> Watched:
        """Its settings."""

    @property
    def processes(self) -> Processes:
        """This process among its like."""

    @property
    def epoch(self) -> int:
        """The epoch of the next step, counted from 0."""

    @property
    def steps_per_epoch(self) -> int:
        """How many steps an epoch has."""

    def step(self) -> dict[str, Any]:
        """One update; what the log says of it, with how many `pairs` it saw. NotFinite if it cannot be kept."""

    def plain(self) -> nn.Module:
        """The model as it would be used now, in eval mode."""

    def glimpse(self) -> nn.Module:
        """The same, good enough to look at."""

    def state(self) -> dict[str, dict[str, Tensor]]:
        """All tensors that a run goes on with."""

    def causes(self) -> list[str]:
        """What is likely to have made a loss infinite, the likeliest first, each with its remedy."""


class Validation(Protocol):
    """What decides which weights are best."""

    def __call__(self, module: nn.Module, *, device: str) -> dict[str, float]:
        """Metrics of a model."""

    def score(self, values: dict[str, float]) -> float:
        """One number of them: higher is better."""


class Looks(Protocol):
    """A small set that is looked at often."""

    def measure(self, module: nn.Module, device: str) -> dict[str, float]:
        """Metrics of a model; its mode and the generators stay as they were."""


@dataclass
class Course:
    """What a run knows of its way so far, beside the weights."""

    start: dict[str, float] = field(default_factory=dict)  # metrics of the starting weights
    best: dict[str, float] = field(default_factory=dict)  # of the best weights after training began
    best_step: int = 0  # 0: none yet
    best_score: float = 0.0
    waited: int = 0  # evaluations since
    seconds: float = 0.0

    def better_than_start(self, score: Callable[[dict[str, float]], float]) -> bool:
        """Whether the best weights score above the starting ones."""
        return self.best_score > score(self.start)


class Interruption:
    """Ctrl-C, SIGTERM or SIGHUP requests an end after the current step; a second one ends at once.

    In other threads than the main one: nothing.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._handled = signals.handled(self._request, signal.SIGINT, *signals.OF_OTHERS)

    @property
    def requested(self) -> bool:
        """Whether one has come."""
        return self.number is not None

    def __enter__(self) -> Interruption:
        self._handled.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handled.__exit__(kind, error, trace)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise signals.interruption(number, "stopped at once: what was not in a checkpoint is lost")
        self.number = number


def train(
    trainer: Steps,
    run: Path | None,
    *,
    validation: Validation | None,
    keep_best: Callable[[nn.Module, int], None],
    journal: Journal | None,
    probe: Looks | None = None,
    course: Course | None = None,
) -> Course:
    """Step until the run's steps are done or its patience is; the trainer may come from a snapshot.

    Parameters
    ----------
    trainer : Steps
    run : path, optional
        Its folder; `checkpoints/` in it gets a snapshot every `save_every` steps, at the end, and on Ctrl-C,
        SIGTERM or SIGHUP. None: the weights stay in memory.
    validation : callable, optional
        None in the processes that do not write.
    keep_best : callable
        Given the module and the step whenever they are the best so far.
    course : Course, optional
        What the snapshot knew.

    Raises
    ------
    GeomclipError
        If the loss or a gradient is not finite: names the step, the last checkpoint and the likely cause.
    KeyboardInterrupt
        After one of these signals, once the state is saved; says how to go on.
    """
    settings, course = trainer.settings, course or Course()
    began = time.monotonic() - course.seconds
    if not course.start and validation is not None:
        course.start = validation(trainer.plain(), device=settings.device)
        if journal is not None:
            journal.evaluation(0, course.start)
        _look(trainer, probe, journal)
    with Interruption() as interruption:
        while trainer.done < trainer.steps and not out_of_patience(course, settings):
            started = time.perf_counter()
            try:
                record = trainer.step()
            except NotFinite as problem:
                raise GeomclipError(_diagnosis(problem, trainer, run)) from problem
            spent = time.perf_counter() - started
            course.seconds = time.monotonic() - began
            if journal is not None:
                rate = record.pop("pairs") / spent
                journal.step({**record, "seconds": round(course.seconds, 3), "images_per_second": round(rate, 2)})
            last = trainer.done == trainer.steps
            if settings.probe_every and (last or trainer.done % settings.probe_every == 0):
                _look(trainer, probe, journal)
            if last or evaluation_due(trainer, settings):
                _evaluate(trainer, validation, keep_best, journal, course)
            stop = trainer.processes.agree(interruption.requested)
            patient = not trainer.processes.agree(out_of_patience(course, settings))
            due = last or stop or not patient or (settings.save_every and trainer.done % settings.save_every == 0)
            if run is not None and due:
                save(trainer, run, course, journal)
            if not patient:
                break
            if stop and not last:
                raise signals.interruption(interruption.number, _how_to_go_on(trainer, run))
    return course


def _how_to_go_on(trainer: Steps, run: Path | None) -> str:
    if run is None:
        return f"stopped after step {trainer.done} of {trainer.steps}, of which nothing is kept"
    return (
        f"step {trainer.done} of {trainer.steps} is saved in {run}; the same command with "
        f"{option('resume', True)} {option('out', str(run))} goes on"
    )


def evaluation_due(trainer: Steps, settings: Watched) -> bool:
    """Whether the step just done ended an epoch after which the validation split is measured."""
    epoch, within = divmod(trainer.done, trainer.steps_per_epoch)
    return bool(settings.eval_every) and within == 0 and epoch % settings.eval_every == 0


def out_of_patience(course: Course, settings: Watched) -> bool:
    """Whether the validation metric has stood still for too long."""
    return bool(settings.patience) and course.waited >= settings.patience


def save(trainer: Steps, run: Path, course: Course, journal: Journal | None) -> None:
    """A snapshot of now, by the process that writes; the log that leads up to it is on disk before."""
    if trainer.processes.first:
        if journal is not None:
            journal.sync()
        known = {"course": asdict(course), "seed": trainer.settings.seed, "epoch": trainer.epoch}
        snapshots.save(run, trainer.done, trainer.state(), known)
    trainer.processes.wait()


def course_of(known: Mapping[str, Any]) -> Course:
    """The course that a snapshot knew; InputError if it knew none."""
    course = known.get("course")
    usual = asdict(Course())
    if not isinstance(course, dict) or not all(
        isinstance(course.get(name), dict if isinstance(value, dict) else int | float) for name, value in usual.items()
    ):
        raise InputError(f"the checkpoint of step {known.get('step')} does not say how the run went: delete it")
    return Course(**{name: course[name] for name in usual})


def _evaluate(
    trainer: Steps,
    validation: Validation | None,
    keep_best: Callable[[nn.Module, int], None],
    journal: Journal | None,
    course: Course,
) -> None:
    if validation is None:
        return
    module = trainer.plain()
    values = validation(module, device=trainer.settings.device)
    if journal is not None:
        journal.evaluation(trainer.done, values)
    score = validation.score(values)
    if course.best_step and score <= course.best_score:
        course.waited += 1
        return
    course.best, course.best_score, course.best_step, course.waited = values, score, trainer.done, 0
    keep_best(module, trainer.done)


def _look(trainer: Steps, probe: Looks | None, journal: Journal | None) -> None:
    if probe is not None and journal is not None:
        journal.probe(trainer.done, probe.measure(trainer.glimpse(), trainer.settings.device))


def _diagnosis(problem: NotFinite, trainer: Steps, run: Path | None) -> str:
    """One line: the step, the last good checkpoint, the likely cause."""
    try:
        last = None if run is None else snapshots.newest(run)
        kept = f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
    except GeomclipError as damaged:
        kept = one_line(damaged)
    cause = "; ".join(trainer.causes()[:2]) or "the starting weights or a picture are unusable"
    return f"step {trainer.done + 1}: {problem}; {kept}; likely cause: {cause}"
