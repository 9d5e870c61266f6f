"""Actors of Ray as a crew, so that workers may be on other machines; Ray is imported when one is made."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from typing import Any

from geomclip.machine.engines import Reply, State, attempted
from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.extras import optional
from geomclip.machine.threads import processors
from geomclip.machine.words import one_line, option

OBJECTS = 200 * 2**20
"""Bytes of shared memory of a cluster that is begun here: orders and records of shards are small."""

ANSWER_SECONDS = 10
"""In which the address of a cluster must answer."""

INHERITED = ("GEOMCLIP_", "HF_")
"""Variables of these names go to every worker, as they do to the processes that a process begins."""


class Actors:
    """A crew of actors of Ray: of the cluster that RAY_ADDRESS names, or is connected; else of one begun here.

    Each holds one processor of the cluster, and one GPU if there are `gpus`. Ray neither starts nor tries anything
    again: what dies is replaced as by any engine. A cluster that is begun here sends no statistics, has no dashboard,
    and ends with the crew.

    Parameters
    ----------
    payload : bytes
        Of `geomclip.machine.engines.payload_of`.
    count : int
    gpus : int

    Raises
    ------
    NotAvailableError
        If Ray is not installed.
    InputError
        If the cluster cannot be reached, or has not so many processors or GPUs.
    """

    def __init__(self, payload: bytes, count: int, *, gpus: int = 0) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._ray = optional("ray", option("engine", "ray"), "ray")
        self.count = count
        self._begun = not self._ray.is_initialized()
        if self._begun:
            self._connect(len(payload))
        try:
            self._check("GPU" if gpus else "CPU")
            how = {"num_cpus": 1, "num_gpus": 1 if gpus else 0, "max_restarts": 0, "max_task_retries": 0}
            self._kind = self._ray.remote(**how)(_Worker)
            variables = {name: value for name, value in os.environ.items() if name.startswith(INHERITED)}
            self._sent = (self._ray.put(payload), os.getcwd(), [os.path.abspath(each) for each in sys.path], variables)
        except BaseException:
            self.end()
            raise
        self._actors: dict[int, Any] = {}
        self._waited: dict[Any, int] = {}

    def _connect(self, payload: int) -> None:
        address = os.environ.get("RAY_ADDRESS")
        here: dict[str, Any] = {"num_cpus": max(self.count, processors()), "include_dashboard": False}
        here["object_store_memory"] = max(OBJECTS, 4 * payload)
        try:
            _see_that_it_answers(address or "")
            self._ray.init(log_to_driver=False, logging_level="ERROR", **({} if address else here))
        except (OSError, RuntimeError) as problem:  # ConnectionError is an OSError
            where = f"no Ray cluster answers at {address}" if address else "Ray cannot be started here"
            raise InputError(f"{where} ({one_line(problem, 200)}): see `ray status`") from problem

    def _check(self, what: str) -> None:
        """More workers than the cluster can hold would wait for ever."""
        there = int(self._ray.cluster_resources().get(what, 0))
        if there < self.count:
            raise InputError(
                f"the Ray cluster has {there} {what}s, {option('processes', self.count)} needs {self.count}: ask for "
                "fewer, or start more nodes first"
            )

    def give(self, worker: int, item: Any) -> None:
        """Give an idle worker an item."""
        if worker not in self._actors:
            self._actors[worker] = self._kind.remote(*self._sent)
        self._waited[self._actors[worker].work.remote(item)] = worker

    def wait(self) -> Reply:
        """The next reply of any worker that has an item."""
        (ready, *_), _ = self._ray.wait(list(self._waited), num_returns=1)
        worker = self._waited.pop(ready)
        try:
            return Reply(worker, *self._ray.get(ready))
        except self._ray.exceptions.RayTaskError as problem:  # what `attempted` cannot catch: before it is reached
            reason = one_line(str(problem).strip().splitlines()[-1], 200)
            way = "geomclip must be installed alike on every machine of the cluster"
            return Reply(worker, error=GeomclipError(f"a worker of Ray cannot begin ({reason}): {way}"))
        except self._ray.exceptions.RayError as problem:
            self._kill(self._actors.pop(worker))  # one that only cannot be reached is not to come back
            return Reply(worker, death=f"by what Ray calls {type(problem).__name__}")

    def end(self) -> None:
        """End all workers, whatever they do, and the cluster if it was begun here."""
        for actor in getattr(self, "_actors", {}).values():
            self._kill(actor)
        if self._begun:
            self._ray.shutdown()

    def _kill(self, actor: Any) -> None:
        with suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(actor, no_restart=True)


def _see_that_it_answers(address: str) -> None:
    """OSError if nothing listens at HOST:PORT, which Ray would try again and again for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():  # else it is "auto" or "local"
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()


class _Worker:
    """What an actor is: the folder, import path and variables of the one that asks, and its state."""

    def __init__(self, payload: bytes, folder: str, path: list[str], variables: dict[str, str]) -> None:
        if os.path.isdir(folder):  # names of files may be relative to it
            os.chdir(folder)
        sys.path += [each for each in path if each not in sys.path]
        os.environ.update(variables)
        self.state = State(payload)

    def work(self, item: Any) -> tuple[Any, BaseException | None, bool]:
        """Value, error and whether memory ran out."""
        return attempted(self.state, item)
