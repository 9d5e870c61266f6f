"""Engines: items in order, bounded, given again when a worker dies; with processes, and with a crew that is a list."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from helpers import ROOT

from geomclip.machine.engines import MOST_DEATHS, Processes, Reply, map_in_order, out_of_memory, payload_of
from geomclip.machine.errors import GeomclipError, InputError


class Scripted:
    """A crew in this process: `act(item)` gives a reply without its worker; the newest item is answered first."""

    def __init__(self, act, count=2):
        self.act, self.count, self.held, self.ended, self.given = act, count, {}, 0, []

    def give(self, worker, item):
        assert worker not in self.held
        self.held[worker] = item
        self.given.append(item)

    def wait(self):
        worker, item = self.held.popitem()
        return self.act(worker, item)

    def end(self):
        self.ended += 1


def doubled(worker, item):
    return Reply(worker, value=2 * item)


def test_results_come_in_the_order_of_the_items_whoever_ends_first():
    crew = Scripted(doubled, count=3)
    assert list(map_in_order(crew, range(10))) == [2 * i for i in range(10)]
    assert crew.ended == 1


def test_no_more_items_are_taken_than_two_a_worker_beyond_what_was_yielded():
    crew, asked = Scripted(doubled), []
    results = map_in_order(crew, (asked.append(i) or i for i in range(50)))
    for taken in range(1, 20):
        next(results)
        assert len(asked) < taken + 2 * crew.count
    results.close()
    assert crew.ended == 1


def test_nothing_at_all_is_nothing():
    assert list(map_in_order(Scripted(doubled), [])) == []


def test_an_item_whose_worker_died_is_given_again_and_no_result_comes_twice():
    deaths = {3: 2, 4: MOST_DEATHS - 1}

    def act(worker, item):
        if deaths.get(item, 0):
            deaths[item] -= 1
            return Reply(worker, death="by signal 9")
        return doubled(worker, item)

    crew, causes = Scripted(act), []
    results = map_in_order(crew, range(8), lighter=lambda item, memory: causes.append(memory))
    assert list(results) == [2 * i for i in range(8)]
    assert causes == [False] * (2 + MOST_DEATHS - 1)
    assert crew.given.count(3) == 3
    assert crew.given.count(4) == MOST_DEATHS
    assert crew.given.count(5) == 1


def test_an_item_of_which_every_worker_dies_is_one_line_after_what_comes_before_it():
    crew = Scripted(lambda worker, item: Reply(worker, death="by signal 9") if item == 2 else doubled(worker, item))
    results = map_in_order(crew, range(50))
    assert [next(results), next(results)] == [0, 2]
    with pytest.raises(GeomclipError, match=r"^2: 5 workers died of it, the last by signal 9: .* continues$"):
        next(results)
    assert crew.given.count(2) == MOST_DEATHS
    assert max(crew.given) < 10
    assert crew.ended == 1


def test_an_error_is_raised_in_its_place_and_nothing_new_is_begun():
    def act(worker, item):
        return Reply(worker, error=InputError("three")) if item == 3 else doubled(worker, item)

    crew = Scripted(act)
    results = map_in_order(crew, range(50))
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    with pytest.raises(InputError, match="three"):
        next(results)
    assert max(crew.given) < 7


def test_what_runs_out_of_memory_is_made_lighter_until_it_fits():
    def act(worker, item):
        number, size = item
        if size > 2:
            return Reply(worker, error=GeomclipError("memory ran out"), memory=True)
        return Reply(worker, value=(number, size))

    def lighter(item, memory):
        assert memory
        return (item[0], item[1] // 2) if item[1] > 1 else None

    assert list(map_in_order(Scripted(act), [(0, 1), (1, 16), (2, 2)], lighter=lighter)) == [(0, 1), (1, 2), (2, 2)]


def test_what_cannot_be_made_lighter_is_the_error_that_it_was():
    act = lambda worker, item: Reply(worker, error=GeomclipError("memory ran out"), memory=True)  # noqa: E731
    with pytest.raises(GeomclipError, match="memory ran out"):
        list(map_in_order(Scripted(act), [1]))


def test_memory_that_ran_out_is_known_by_its_cause_and_by_the_words_of_torch():
    caused = GeomclipError("a.png: memory ran out")
    caused.__cause__ = MemoryError()
    assert out_of_memory(caused)
    assert not out_of_memory(GeomclipError("a.png: it is no image"))


# what processes do; at the top of the file, for they are sent by name


def work(item):
    """Doubles; strings tell the process what to do first."""
    if item == "pid":
        return os.getpid()
    if item == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "memory":
        raise MemoryError("no room")
    if item == "own error":
        raise _Unsendable(1, 2)
    if isinstance(item, Path):  # the first who sees it dies of it
        if not item.exists():
            item.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item.name
    return 2 * item


class _Unsendable(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def make():
    return work


def broken():
    raise InputError("no model here")


def waits(folder):
    """Tells its number, then never ends."""
    return partial(_waits, folder)


def _waits(folder, item):
    Path(folder, str(os.getpid())).touch()
    time.sleep(600)


@pytest.fixture(autouse=True)
def _by_name(monkeypatch):
    """This file under a name that spawned processes can import."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setitem(sys.modules, "test_engines", sys.modules[__name__])
    for each in (work, make, broken, waits, _waits, _Unsendable):
        monkeypatch.setattr(each, "__module__", "test_engines")


def crew(make=make, count=2, **how):
    return Processes(payload_of(make, "it"), count, **how)


def test_processes_map_and_are_gone_afterwards(tmp_path):
    results = list(map_in_order(crew(), [*range(20), "pid", "pid", "pid"]))
    assert results[:20] == [2 * i for i in range(20)]
    assert os.getpid() not in results[20:]
    assert multiprocessing.active_children() == []


def test_killed_processes_lose_nothing_and_do_nothing_twice(tmp_path):
    items = [0, tmp_path / "a", 1, tmp_path / "b", 2, tmp_path / "c", 3]
    assert list(map_in_order(crew(), items)) == [0, "a", 2, "b", 4, "c", 6]


def test_an_item_that_kills_each_of_its_processes_is_one_line():
    with pytest.raises(GeomclipError, match=r"^die: 5 workers died of it, the last by signal 9: if memory"):
        list(map_in_order(crew(count=1), ["die"]))


def test_an_error_of_a_process_comes_as_it_is_or_by_its_name():
    with pytest.raises(InputError, match=r"^no model here$"):
        list(map_in_order(crew(broken), [1]))
    with pytest.raises(RuntimeError, match="_Unsendable: 1 and 2"):
        list(map_in_order(crew(count=1), ["own error"]))
    with pytest.raises(GeomclipError, match=r"memory: memory ran out \(no room\): a smaller batch_size"):
        list(map_in_order(crew(count=1), ["memory"]))


def test_what_cannot_be_sent_is_one_line():
    with pytest.raises(InputError, match=r"^the encoder cannot be sent to another process"):
        payload_of(lambda: work, "the encoder")


def test_processes_end_when_the_one_that_began_them_is_killed(tmp_path):
    code = (
        "import sys; from pathlib import Path; from functools import partial\n"
        "import test_engines as t; from geomclip.machine.engines import Processes, map_in_order, payload_of\n"
        "if __name__ == '__main__':\n"
        "    list(map_in_order(Processes(payload_of(partial(t.waits, sys.argv[1]), 'it'), 2), range(2)))\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    (tmp_path / "pids").mkdir()
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests/support"), str(Path(__file__).parent)])
    driver = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "pids")], env=os.environ | {"PYTHONPATH": paths}
    )
    begun = lambda: [int(each.name) for each in (tmp_path / "pids").iterdir()]  # noqa: E731
    _until(lambda: len(begun()) == 2)
    driver.kill()
    driver.wait()
    _until(lambda: not any(_alive(pid) for pid in begun()))
    assert len(begun()) == 2


def _until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_an_engine_that_dies_with_an_answer_on_its_way_counts_the_answer():
    workers = crew(count=1)
    workers.give(0, 5)
    process, connection = workers._workers[0]
    while not connection.poll(0.05):
        pass
    process.kill()
    process.join()
    assert workers.wait() == Reply(0, value=10)
    workers.give(0, 6)  # which finds it dead
    assert workers.wait().death == "by signal 9"
    workers.give(0, 7)
    assert workers.wait().value == 14
    workers.end()
