"""The terminal: error lines, consoles, progress bars."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from geomclip.cli.line_progress import LOG_EVERY, LineProgress
from geomclip.machine.blame import TOO_MANY_FILES
from geomclip.machine.errors import GeomclipError
from geomclip.machine.progress import SILENT
from geomclip.machine.progress import Progress as Reports
from geomclip.machine.words import escaped, harmless, one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.text import Text

WIDTH = 80
"""Columns that a full table takes."""
NARROWEST = 40
"""Columns that a short table takes at least."""
MAX_WIDTH = 110
"""A line of prose much longer than this is hard to read, however wide the terminal."""


_MEMORY = re.compile(r"can't allocate memory|[Oo]ut of memory|[Cc]annot allocate memory|Unable to allocate")
"""Of RuntimeError and OSError, as torch, CUDA, the system and numpy say it."""
_THREADS = re.compile(r"can't start new thread|pthread_create|[Rr]esource temporarily unavailable")
_FEWER = "use fewer --workers, set OMP_NUM_THREADS, or let this user have more (ulimit -u)"


def explain(error: BaseException) -> tuple[str, int]:
    """The one line that a person reads of an exception, and the exit code that goes with it."""
    if isinstance(error, GeomclipError):
        return one_line(error), error.exit_code
    if isinstance(error, MemoryError) or _MEMORY.search(str(error)):
        return "memory ran out; a smaller --batch-size or --limit needs less", 1
    if isinstance(error, RuntimeError) and _THREADS.search(str(error)):
        return f"no more threads can be started; {_FEWER}", 1
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return one_line(f"{error.strerror}: {TOO_MANY_FILES}, and run the same command again"), 1
    if isinstance(error, RecursionError):
        return "something that was read is nested too deep; --debug shows where it is read", 2
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return one_line(f"{error.strerror or error}{where}"), 1
    if isinstance(error, ValueError):
        return one_line(error), 2
    return one_line(f"{type(error).__name__}: {error} (--debug shows where)"), 1


def stdout_console(*, full: bool = True) -> Console:
    """A console for results: at least 80 columns, of short tables 40, colour only on a terminal without NO_COLOR."""
    from rich.console import Console

    class Results(Console):
        def render_str(self, text: str, **how: Any) -> Text:
            """A text of others moves no cursor and changes no colour."""
            return super().render_str(harmless(text, lines=True), **how)

        def on_broken_pipe(self) -> None:
            """Leave it to `main`, which exits with 0: whoever reads has seen enough."""
            raise BrokenPipeError

    width = max(WIDTH if full else NARROWEST, min(Console().width, MAX_WIDTH))
    return Results(width=width, highlight=False, markup=False, emoji=False)


def say(text: object, *, err: bool = False) -> None:
    """A text on stdout, or stderr, that acts nowhere."""
    click.echo(harmless(str(text), lines=True), err=err)


def say_json(text: object) -> None:
    """JSON on stdout: the same value, and what a terminal would act on in it written as escapes."""
    click.echo(escaped(str(text)))


class Report:
    """What long work reports, as bars on stderr."""

    def __init__(self, bars: Progress) -> None:
        self.bars = bars
        self.tasks: dict[str, TaskID] = {}

    def stage(self, name: str, done: int, total: int | None, note: str = "") -> None:
        """A bar for each name; the note is shown beside it."""
        what = harmless(", ".join(filter(None, (name, note))), lines=True)
        if name not in self.tasks:
            # what an earlier run had done counts, but not as done in no time
            self.tasks[name] = self.bars.add_task(what, total=total, completed=done)
        self.bars.update(self.tasks[name], description=what, completed=done, total=total)

    def log(self, line: str) -> None:
        """A line that stays, above the bars."""
        self.bars.console.print(harmless(line), highlight=False, markup=False, soft_wrap=True)


@contextmanager
def progress_bar(*, quiet: bool, log_every: float = LOG_EVERY, of_bytes: bool = False) -> Iterator[Reports]:
    """What long work reports to while the block runs: bars with rate and remaining time, where stderr is a terminal.

    Where it is none, lines, one in so many seconds; nothing where it is to be quiet.
    """
    if quiet:
        yield SILENT
        return
    if not sys.stderr.isatty():
        yield LineProgress(log_every, of_bytes=of_bytes)
        return
    from rich import progress
    from rich.console import Console
    from rich.text import Text

    class Rate(progress.ProgressColumn):
        def render(self, task: progress.Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.1f}/s")

    counts = (
        (progress.DownloadColumn(), progress.TransferSpeedColumn())
        if of_bytes
        else (progress.MofNCompleteColumn(), Rate())
    )
    columns = (progress.TextColumn("{task.description}", markup=False), progress.BarColumn(), *counts)
    console = Console(stderr=True)
    with progress.Progress(*columns, progress.TimeRemainingColumn(), console=console, transient=True) as bars:
        yield Report(bars)
