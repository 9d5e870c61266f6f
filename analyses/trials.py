"""Trials of a study: made by this process one after the other, or shared out among the workers of an engine.

A trial is one unit of work, which leaves its result in the folder of the study: so on a cluster all machines must see
that folder, and the data, under the same paths. A worker that dies is replaced and its trial made again, from where the
trial itself goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from geomclip.machine.crews import crew_of
from geomclip.machine.engines import ENGINES, count_of, map_in_order, payload_of
from geomclip.machine.errors import GeomclipError
from geomclip.machine.extras import optional
from geomclip.machine.words import option, speak_of_flags

Trial = TypeVar("Trial", bound=Hashable)


@dataclass(frozen=True)
class Workers:
    """Who makes the trials: so many workers of an engine, or this process."""

    engine: str | None = None
    count: int = 0

    @property
    def threads(self) -> int:
        """Torch threads of each: the processors of this machine, shared out."""
        from geomclip.machine.threads import processors

        return max(1, processors() // max(1, self.count))


def add_options(parser: argparse.ArgumentParser) -> None:
    """--engine and --processes, as commands of geomclip have them."""
    parser.add_argument("--engine", choices=ENGINES, help="make trials in other processes, ray: of a cluster")
    parser.add_argument("--processes", type=int, metavar="N", help="of --engine, 2 if left out: trials at a time")


def workers_of(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Workers:
    """Who is asked for on the command line; ends with one line if it cannot be had."""
    speak_of_flags()
    try:
        workers = Workers(args.engine, count_of(args.engine, args.processes))
        if args.engine == "ray":
            optional("ray", option("engine", "ray"), "ray")
        return workers
    except GeomclipError as problem:
        parser.error(str(problem))
    finally:
        speak_of_flags(False)


def made(
    trials: Sequence[Trial],
    make: Callable[[Trial], Any],
    workers: Workers,
    *,
    needs: Callable[[Trial], Trial | None] = lambda trial: None,
) -> Iterator[Trial]:
    """Each trial once it is made, in an order that depends on nothing but what must be made before what.

    Parameters
    ----------
    trials : sequence
        What each `str` calls it is in messages.
    make : callable
        Makes a trial, twice if need be, and leaves its result where it belongs. Workers know it by its name in its
        module, which is not `__main__`.
    workers : Workers
    needs : callable, optional
        The trial that must be made before this one; one that is not among these trials is there.
    """
    if workers.engine is None:
        for trial in trials:
            make(trial)
            yield trial
    elif trials:
        payload = payload_of(Making(make, workers.threads), "this study")
        crew = crew_of(workers.engine, payload, min(workers.count, len(trials)))
        there: set[Trial] = set()
        with closing(map_in_order(crew, in_turn(trials, needs, there))) as results:
            for trial in results:
                there.add(trial)
                yield trial


def in_turn(
    trials: Sequence[Trial], needs: Callable[[Trial], Trial | None], there: set[Trial]
) -> Iterator[Trial | None]:
    """The trials as they can be begun: the first that waits for none; None where all that are left wait."""
    left, all_of_them = list(trials), set(trials)
    while left:
        ready = next((trial for trial in left if needs(trial) not in all_of_them - there), None)
        if ready is not None:
            left.remove(ready)
        yield ready


@dataclass(frozen=True)
class Making:
    """What a worker has to know once; called, it gives the function from a trial to itself, made."""

    make: Callable[[Any], Any]
    threads: int

    def __call__(self) -> Callable[[Any], Any]:
        """The function."""
        import torch

        torch.set_num_threads(self.threads)
        return partial(_made, self.make)


def _made(make: Callable[[Any], Any], trial: Any) -> Any:
    make(trial)
    return trial
