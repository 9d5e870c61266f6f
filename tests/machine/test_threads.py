"""Workers: calls are begun in order and ahead of their turn, and none outlives the block."""

import logging
import threading
import time
from functools import partial

import pytest
import torch

from geomclip.machine.threads import (
    Stopped,
    Workers,
    free_threads,
    one_torch_thread,
    same_torch_threads,
    side_by_side,
)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_results_are_those_of_their_calls_whatever_the_order_they_are_asked_in(count):
    made = []
    with Workers(count, "test") as workers:
        calls = [workers.add(lambda a, b: made.append(a) or (a, b), i, -i) for i in range(40)]
        wanted = [7, 39, 0, *range(1, 7), *range(8, 39)]
        assert [workers.result(calls[i]) for i in wanted] == [(i, -i) for i in wanted]
    assert sorted(made) == list(range(40))  # each once


@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_call_has_one_torch_thread_and_the_caller_keeps_its_own(count):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with Workers(count, "test") as workers:
            calls = [workers.add(torch.get_num_threads) for _ in range(6)]
            assert [workers.result(call) for call in calls] == [1] * 6
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_worker_keeps_its_one_torch_thread_when_another_thread_sets_more():
    before = torch.get_num_threads()
    try:
        with Workers(1, "test") as workers:
            workers.result(workers.add(int))  # its thread runs, and torch has not been asked for anything yet
            torch.set_num_threads(3)
            assert workers.result(workers.add(torch.get_num_threads)) == 1
    finally:
        torch.set_num_threads(before)


def test_what_sets_the_number_of_torch_threads_leaves_the_one_before():
    before = torch.get_num_threads()

    @same_torch_threads()
    def set_more():
        torch.set_num_threads(before + 2)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        set_more()
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("count", [1, 3])
def test_small_work_has_one_torch_thread_and_leaves_the_number_before(count):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count)
        with one_torch_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)


def test_the_next_calls_are_begun_in_order_before_they_are_asked_for_and_no_more_than_two_a_thread():
    begun, released = [], threading.Event()

    def wait(i):
        begun.append(i)
        released.wait(30)
        return i

    with Workers(2, "test") as workers:
        calls = [workers.add(wait, i) for i in range(10)]
        assert [call.future is not None for call in calls] == [True] * 4 + [False] * 6
        released.set()
        assert workers.result(calls[0]) == 0
        assert calls[4].future is not None
        assert [workers.result(call) for call in calls[1:]] == list(range(1, 10))
    assert sorted(begun[:2]) == [0, 1]
    assert sorted(begun) == list(range(10))


@pytest.mark.parametrize("count", [0, 2])
def test_what_a_call_raises_reaches_who_asks(count):
    def fail():
        raise ValueError("of this call")

    with Workers(count, "test") as workers:
        good, bad = workers.add(int, 5), workers.add(fail)
        assert workers.result(good) == 5
        with pytest.raises(ValueError, match="of this call"):
            workers.result(bad)


@pytest.mark.parametrize("way", ["check", "interruptible"])
def test_leaving_the_block_ends_the_calls_that_may_be_ended_and_begins_no_other(caplog, way):
    begun, ended = [], []

    def sleep(now_and_then):
        for _ in range(3000):
            time.sleep(0.01)
            now_and_then()

    def long(i):
        begun.append(i)
        try:
            if way == "interruptible":
                with workers.interruptible():
                    sleep(lambda: None)
            sleep(workers.check)
        except BaseException as error:
            ended.append(type(error))
            raise

    started = time.monotonic()
    with caplog.at_level(logging.DEBUG), Workers(2, "test") as workers:
        for i in range(9):
            workers.add(long, i)
        while len(begun) < 2:
            time.sleep(0.001)
    assert time.monotonic() - started < 15  # a call takes 30 s
    assert ended == [Stopped, Stopped]
    assert sorted(begun) == [0, 1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test_")]
    assert not caplog.records  # the pool has complained of nothing


def test_a_call_that_may_not_be_interrupted_is_waited_for():
    begun, ended = threading.Event(), []

    def write():
        begun.set()
        time.sleep(0.2)
        ended.append("whole")

    with Workers(1, "test") as workers:
        workers.add(write)
        assert begun.wait(30)
    assert ended == ["whole"]


def test_leaving_the_block_again_and_again_disturbs_no_thread_that_is_just_done(caplog):
    def short(workers, i):
        with workers.interruptible():
            return sum(range(40 * i))

    with caplog.at_level(logging.DEBUG):
        for i in range(60):
            with Workers(3, "test") as workers:
                calls = [workers.add(short, workers, i) for _ in range(12)]
                workers.result(calls[0])
    assert not caplog.records


@pytest.mark.parametrize(("count", "each"), [(1, 1), (2, 1), (4, 2), (5, 2)])
def test_two_calls_side_by_side_have_an_equal_part_of_the_free_threads(count, each):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count)
        with one_torch_thread():
            assert side_by_side(free_threads, free_threads) == [each, each]
            assert free_threads() == count
            assert side_by_side(*(partial(pow, number, 2) for number in range(9))) == [n**2 for n in range(9)]
            at_once = {threading.get_ident()} != {*side_by_side(threading.get_ident, threading.get_ident)}
        assert at_once == (count > 1)
    finally:
        torch.set_num_threads(before)


def test_of_calls_side_by_side_that_raise_the_first_in_order_is_heard():
    def fails(word):
        raise KeyError(word)

    with one_torch_thread(), pytest.raises(KeyError, match="one"):
        side_by_side(partial(fails, "one"), partial(fails, "other"))
