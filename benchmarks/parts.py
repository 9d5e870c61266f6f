"""Where the time of a call goes: functions that it calls are wrapped, and each is charged what it spends itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


class Parts:
    """Seconds by name; of a function that calls another that is wrapped, what is left."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner: list[float] = []

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, charged to a name."""

        def call(*args: Any, **options: Any) -> Any:
            self._inner.append(0.0)
            began = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                spent = time.perf_counter() - began
                self.seconds[name] = self.seconds.get(name, 0.0) + spent - self._inner.pop()
                if self._inner:
                    self._inner[-1] += spent

        return call

    @contextmanager
    def of(self, *places: tuple[Any, Mapping[str, str]]) -> Iterator[None]:
        """While the block runs, attributes of objects are timed: (object, {attribute: name})."""
        before = [(place, attribute, getattr(place, attribute)) for place, names in places for attribute in names]
        own = [attribute in vars(place) for place, attribute, _ in before]
        for place, names in places:
            for attribute, name in names.items():
                setattr(place, attribute, self.timed(name, getattr(place, attribute)))
        try:
            yield
        finally:
            for (place, attribute, function), was_own in zip(before, own, strict=True):
                if was_own:
                    setattr(place, attribute, function)
                else:
                    delattr(place, attribute)

    def rows(self, times: int) -> list[dict[str, object]]:
        """A row a name, the largest first: milliseconds a call of the whole, and the share."""
        total = sum(self.seconds.values())
        ordered = sorted(self.seconds.items(), key=lambda each: -each[1])
        return [{"part": name, "ms": 1e3 * spent / times, "share, %": 100 * spent / total} for name, spent in ordered]


def operators(step: Callable[[], object], most: int = 15) -> list[dict[str, object]]:
    """The operators of torch that a step spends most time in."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    with profile(activities=activities) as taken:
        step()
    events = taken.key_averages()
    on_device = any(each.self_device_time_total for each in events)
    spent = {each.key: (each.self_device_time_total if on_device else each.self_cpu_time_total) for each in events}
    calls = {each.key: each.count for each in events}
    total = sum(spent.values())
    return [
        {
            "operator": key[:40],
            "calls": calls[key],
            "ms": spent[key] / 1e3,
            "share, %": 100 * spent[key] / total,
        }
        for key in sorted(spent, key=lambda key: -spent[key])[:most]
    ]
