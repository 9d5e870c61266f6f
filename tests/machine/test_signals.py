"""Signals that end a process: handled while a block runs, and ignored where they were."""

import os
import signal
from collections.abc import Iterator

import pytest

from geomclip.machine import signals


@pytest.fixture(params=[signal.SIGTERM, signal.SIGHUP], ids=["TERM", "HUP"])
def number(request: pytest.FixtureRequest) -> Iterator[int]:
    before = signal.signal(request.param, signal.SIG_DFL)  # nohup has it ignored
    yield request.param
    signal.signal(request.param, before)


def test_a_signal_ends_the_block_as_ctrl_c_does_and_is_told_apart(number: int) -> None:
    with pytest.raises(KeyboardInterrupt) as stop, signals.handled(signals.end, number):
        os.kill(os.getpid(), number)
    assert signals.number_of(stop.value) == number
    assert signals.number_of(signals.interruption(number, "kept")) == number
    assert str(signals.interruption(number, "kept")) == "kept"


def test_after_the_block_a_signal_does_what_it_did_before(number: int) -> None:
    seen: list[int] = []
    signal.signal(number, lambda number, _: seen.append(number))
    with signals.handled(signals.end, number):
        pass
    os.kill(os.getpid(), number)
    assert seen == [number]


def test_a_signal_that_was_ignored_stays_ignored(number: int) -> None:
    signal.signal(number, signal.SIG_IGN)  # as nohup has it
    with signals.handled(signals.end, number):
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is signal.SIG_IGN
