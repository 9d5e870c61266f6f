"""Work given to other processes and taken back in order: a small interface, and processes of this machine behind it.

`map_in_order` is the same for every engine. A `Crew` is so many workers that each make their state once (an encoder)
and then turn items into results, one at a time. A worker that dies is replaced and its item is given again, so the
work must be one that can be done twice.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.words import one_line, option, speak_of_flags, speaks_of_flags

ENGINES = ("process", "ray")
"""Names of engines; the work of a caller who names none is done by the process that calls."""

WORKERS = 2
"""Of an engine, where their number is left out."""

MOST_DEATHS = 5
"""Of workers with one item in hand, after which it is given to no other."""

AHEAD = 2
"""Items a worker that are being made, or made and not yet taken."""

Item = TypeVar("Item")
Out = TypeVar("Out")


def count_of(engine: str | None, processes: int | None) -> int:
    """How many workers an engine has, of those asked for; 0 where no engine is named.

    Raises
    ------
    InputError
        If fewer than one are asked for, or some without an engine.
    """
    if engine is None:
        if processes is not None:
            raise InputError(f"{option('processes')} is of an engine: name one by {option('engine', 'process')}")
        return 0
    if processes is not None and processes < 1:
        raise InputError(f"{option('processes')} must be at least 1, got {processes}")
    return WORKERS if processes is None else processes


Lighter: TypeAlias = Callable[[Item, bool], Item | None]


@dataclass(frozen=True)
class Reply:
    """What became of the item that a worker had: a value, an error, or the worker's death."""

    worker: int
    value: Any = None
    error: BaseException | None = None
    memory: bool = False  # the error is that memory ran out
    death: str = ""  # how the worker died


class Crew(Protocol):
    """Workers of an engine, known by their numbers from 0; one that died is replaced by the next `give`."""

    @property
    def count(self) -> int:
        """How many workers."""

    def give(self, worker: int, item: Any) -> None:
        """Give an idle worker an item."""

    def wait(self) -> Reply:
        """The next reply of any worker that has an item."""

    def end(self) -> None:
        """End all workers, whatever they do."""


@dataclass
class _Job(Generic[Item]):
    place: int
    item: Item
    deaths: int = 0


def map_in_order(
    crew: Crew,
    items: Iterable[Item | None],
    *,
    lighter: Lighter[Item] = lambda item, memory: None,
    after: str = "the same command continues",
) -> Generator[Any]:
    """Results of the items, in their order, made by the workers of a crew, which is ended with the iterator.

    Items are taken as workers come free, and never more than `AHEAD` a worker before their results are taken, so what
    is in flight is bounded.

    Parameters
    ----------
    crew : Crew
    items : iterable
        What each `str` calls it is in messages. None: the next cannot be said before another result is taken.
    lighter : callable, optional
        Of an item whose worker died (False) or surely ran out of memory (True): the same item so that it takes less
        memory, None where it cannot take less. It must have the same result.

    Raises
    ------
    GeomclipError
        If `MOST_DEATHS` workers died of an item.
    Exception
        What a worker raised, once the results before it are taken; no new items are begun meanwhile.
    """
    source, most = iter(items), AHEAD * crew.count
    free, again = deque(range(crew.count)), deque[_Job[Item]]()
    held: dict[int, _Job[Item]] = {}
    done: dict[int, Reply] = {}
    begun, taken, open_ = 0, 0, True
    try:
        while True:
            while free and (again or (open_ and begun < taken + most)):
                if again:
                    job = again.popleft()
                else:
                    try:
                        item = next(source)
                    except StopIteration:
                        open_ = False
                        break
                    if item is None:
                        break
                    job = _Job(begun, item)
                    begun += 1
                worker = free.popleft()
                crew.give(worker, job.item)
                held[worker] = job
            if taken in done:
                reply = done.pop(taken)
                if reply.error is not None:
                    raise reply.error
                taken += 1
                yield reply.value
                continue
            if not held:
                return
            reply = crew.wait()
            job = held.pop(reply.worker)
            free.append(reply.worker)
            job, reply = _judged(job, reply, lighter, after)
            if reply.death or (reply.memory and reply.error is None):
                again.append(job)
            else:
                done[job.place] = reply
                open_ &= reply.error is None
    finally:
        crew.end()


def _judged(job: _Job[Item], reply: Reply, lighter: Lighter[Item], after: str) -> tuple[_Job[Item], Reply]:
    """The job as it is to be given again, where it is; else the reply that stands."""
    if not reply.death and not reply.memory:
        return job, reply
    less = lighter(job.item, reply.memory)
    if reply.memory:
        return (job, reply) if less is None else (_Job(job.place, less, job.deaths), Reply(reply.worker, memory=True))
    job = _Job(job.place, job.item if less is None else less, job.deaths + 1)
    if job.deaths < MOST_DEATHS:
        return job, reply
    problem = GeomclipError(
        f"{job.item}: {job.deaths} workers died of it, the last {reply.death}: if memory ran out, use fewer "
        f"{option('processes')} or a smaller {option('batch_size')}; {after}"
    )
    return job, Reply(reply.worker, error=problem)


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, as Python, torch on a CPU and torch on a GPU say it, or an error that came of that.

    Examples
    --------
    >>> out_of_memory(MemoryError()), out_of_memory(ValueError("memory"))
    (True, False)
    >>> out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    True
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError) or type(seen).__name__ == "OutOfMemoryError":
            return True
        if isinstance(seen, RuntimeError) and "can't allocate memory" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def attempted(function: Callable[[Any], Any], item: Any) -> tuple[Any, BaseException | None, bool]:
    """Value, error and whether memory ran out, of one call in a worker; the error is one that can be sent."""
    try:
        return function(item), None, False
    except Exception as error:
        memory = out_of_memory(error)
        if memory and not isinstance(error, GeomclipError):
            way = f"a smaller {option('batch_size')} or fewer {option('processes')}"
            error = GeomclipError(f"{item}: memory ran out ({one_line(error, 200)}): {way}")
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError(f"{type(error).__name__}: {one_line(error, 300)}")
        return None, error, memory


def payload_of(make: Callable[[], Callable[[Any], Any]], what: str) -> bytes:
    """What makes the state of a worker, in the form in which it is sent.

    Raises
    ------
    InputError
        If it cannot be sent; `what` says of what, and the way out.
    """
    try:
        return pickle.dumps((make, speaks_of_flags()))
    except Exception as error:  # pickle raises its own kinds, TypeError, AttributeError and what objects raise
        raise InputError(f"{what} cannot be sent to another process ({one_line(error, 120)})") from error


def gpu_of(worker: int, visible: str | None, count: int) -> str:
    """The GPU of a worker, for CUDA_VISIBLE_DEVICES: those that this process may use, taken in turn.

    Examples
    --------
    >>> [gpu_of(worker, None, 2) for worker in range(3)], gpu_of(1, "4,6", 2)
    (['0', '1', '0'], '6')
    """
    names = visible.split(",") if visible else [str(place) for place in range(count)]
    return names[worker % len(names)].strip()


class Processes:
    """A crew of processes of this machine, each begun anew (spawn) when it is first needed.

    They end with this process, however it dies, and leave Ctrl-C to it.

    Parameters
    ----------
    payload : bytes
        Of `payload_of`; called once in each process, with its first item.
    count : int
    gpus : int
        So many GPUs are shared out, one to a process; 0: all see what this process sees.
    """

    def __init__(self, payload: bytes, count: int, *, gpus: int = 0) -> None:
        self.payload, self.count, self.gpus = payload, count, gpus
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[int, tuple[BaseProcess, Connection]] = {}
        self._busy: set[int] = set()

    def give(self, worker: int, item: Any) -> None:
        """Give an idle worker an item."""
        if worker not in self._workers:
            self._workers[worker] = self._begun(worker)
        self._busy.add(worker)
        with suppress(OSError):  # it died idle: `wait` says so
            self._workers[worker][1].send(item)

    def wait(self) -> Reply:
        """The next reply of any worker that has an item."""
        of: dict[Any, int] = {}
        for worker in sorted(self._busy):
            process, connection = self._workers[worker]
            of |= {connection: worker, process.sentinel: worker}
        worker = of[wait(list(of))[0]]
        self._busy.remove(worker)
        process, connection = self._workers[worker]
        try:
            if connection.poll():  # what it sent before it died counts
                return Reply(worker, *connection.recv())
        except (EOFError, OSError, pickle.UnpicklingError):
            pass
        del self._workers[worker]
        connection.close()
        process.join()
        code = process.exitcode or 0
        return Reply(worker, death=f"by signal {-code}" if code < 0 else f"with exit code {code}")

    def end(self) -> None:
        """End all workers, whatever they do."""
        for process, connection in self._workers.values():
            connection.close()
            process.kill()  # what it wrote is whole or not there
        for process, _ in self._workers.values():
            process.join()
        self._workers.clear()
        self._busy.clear()

    def _begun(self, worker: int) -> tuple[BaseProcess, Connection]:
        ours, theirs = self._context.Pipe()
        gpu = gpu_of(worker, os.environ.get("CUDA_VISIBLE_DEVICES"), self.gpus) if self.gpus else None
        name = f"geomclip worker {worker}"
        process = self._context.Process(target=_serve, args=(theirs, self.payload, gpu), name=name, daemon=True)
        process.start()
        theirs.close()  # so that the end of the process is the end of the connection
        return process, ours


def _serve(connection: Connection, payload: bytes, gpu: str | None) -> None:
    """What a process does: make its state, then results of items, until its parent has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if gpu is not None:  # before anything asks for a GPU
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    state = State(payload)
    with suppress(EOFError, OSError):
        while True:
            connection.send(attempted(state, connection.recv()))


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)  # in the middle of whatever it does: nobody waits for it


class State:
    """What a worker has made of its payload, made with its first item; called with an item, it gives the result."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._function: Callable[[Any], Any] | None = None

    def __call__(self, item: Any) -> Any:
        """The result of an item."""
        if self._function is None:
            make, flags = pickle.loads(self._payload)
            speak_of_flags(flags)
            self._function = make()
        return self._function(item)
