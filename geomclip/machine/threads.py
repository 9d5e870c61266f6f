"""Threads that make calls before their results are asked for, one torch thread each; they can be stopped."""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Generic, TypeVar

import torch

Out = TypeVar("Out")


class Stopped(BaseException):
    """Raised inside a call that nobody waits for any more."""


class Call(Generic[Out]):
    """A call whose result will be wanted."""

    def __init__(self, function: Callable[..., Out], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments
        self.future: Future[Out] | None = None  # None: not begun


class Workers:
    """`count` threads that make calls in the order in which they were added.

    Each computes with one torch thread: several that share the processors need no barrier at which all wait for
    the slowest, which on a busy machine costs most of the time. With a count of 0 each call is made when its result
    is asked for, in the caller's thread, with one torch thread too.

    Leaving the `with` block ends what is being made: a call at its next `check`, or at once where it says that it
    may be interrupted.

    Parameters
    ----------
    count : int
    name : str
        Of the threads, for those who look at them.
    """

    def __init__(self, count: int, name: str) -> None:
        self.count, self.name = count, name
        self._added: deque[Call[Any]] = deque()  # not begun
        self._begun: deque[Call[Any]] = deque()
        self._lock = threading.Lock()
        self._interruptible: set[int] = set()
        self._stopped = False

    def __enter__(self) -> Workers:
        self._torch_threads = torch.get_num_threads()
        if self.count:
            self._pool = ThreadPoolExecutor(self.count, self.name, initializer=use_one_torch_thread)
        else:
            torch.set_num_threads(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.count:
            with self._lock:
                self._stopped = True
                for thread in self._interruptible:
                    # the one way to end a thread that is inside a model, where nothing can be polled
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Stopped))
            self._pool.shutdown(cancel_futures=True)
        # set_num_threads in a worker is its own, except for the default of threads yet to come
        torch.set_num_threads(self._torch_threads)

    def add(self, function: Callable[..., Out], *arguments: Any) -> Call[Out]:
        """A call to be made after those added before; it is begun as soon as few enough are ahead of it."""
        call = Call(function, *arguments)
        if self.count:
            self._added.append(call)
            self._begin_some()
        return call

    def result(self, call: Call[Out]) -> Out:
        """What the call returns or raises, waited for; the next calls are begun meanwhile."""
        if not self.count:
            return call.function(*call.arguments)
        if call.future is None:  # out of turn
            self._added.remove(call)
            self._begin(call)
        assert call.future is not None
        try:
            return call.future.result()
        finally:
            self._begun.remove(call)
            self._begin_some()

    def check(self) -> None:
        """For a call to ask now and then: raises `Stopped` if nobody waits for it any more."""
        if self._stopped:
            raise Stopped

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """For a call that may end at any step in Python while this lasts: a model, at its next operation."""
        me = threading.get_ident()
        try:
            with self._lock:
                self.check()
                self._interruptible.add(me)
            yield
        finally:
            with self._lock:  # from here on it is not interrupted any more
                self._interruptible.discard(me)

    def _begin_some(self) -> None:
        # one more for each thread than are being made: a thread that ends need not wait for who asks
        while self._added and len(self._begun) < 2 * self.count:
            self._begin(self._added.popleft())

    def _begin(self, call: Call[Any]) -> None:
        call.future = self._pool.submit(self._made, call)
        self._begun.append(call)

    def _made(self, call: Call[Out]) -> Out:
        self.check()
        return call.function(*call.arguments)


def use_one_torch_thread() -> None:
    """Compute in this thread with one torch thread, whatever number another thread sets later.

    At the first operation of a thread that could use several, torch gives it the number that was set last anywhere,
    even if the thread has set its own. Asking for the number first gets that over with. A matrix product has other
    bits with other numbers.
    """
    torch.get_num_threads()
    torch.set_num_threads(1)


_free: ContextVar[int] = ContextVar("free threads")


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Inside, this thread computes with one torch thread: no bit depends on how many there are.

    What is worth several shares its work out to `Workers`, as many as `free_threads` says, in parts that do not depend
    on their number.
    """
    before = torch.get_num_threads()
    token = _free.set(free_threads())
    torch.set_num_threads(1)
    try:
        yield
    finally:
        _free.reset(token)
        torch.set_num_threads(before)


def free_threads() -> int:
    """Threads that work may be shared out to: those of torch, also inside `one_torch_thread`."""
    return _free.get(torch.get_num_threads())


def side_by_side(*calls: Callable[[], Out]) -> list[Out]:
    """What each of some calls returns, which know nothing of one another: made at once, the free threads parted.

    Inside `one_torch_thread`, where no bit depends on how many threads a call has. Of several that raise the first is
    heard.
    """
    together = min(free_threads(), len(calls))
    if together < 2:
        return [call() for call in calls]
    each = free_threads() // together

    def made(call: Callable[[], Out]) -> Out:
        token = _free.set(each)
        try:
            return call()
        finally:
            _free.reset(token)

    with Workers(together, "side by side") as workers:
        begun = [workers.add(made, call) for call in calls]
        return [workers.result(call) for call in begun]


@contextmanager
def same_torch_threads() -> Iterator[None]:
    """This thread has as many torch threads afterwards as before: numba's parallel loops may set numba's number."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != before:  # only then: setting it sets the default of new threads too
            torch.set_num_threads(before)


def default_workers() -> int:
    """Threads that read and decode: one a processor that this process may use, 4 at most."""
    return min(4, processors())


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
