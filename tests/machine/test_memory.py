"""What a process may still take of memory, and what libraries are kept from reserving."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

from geomclip.machine import memory


def test_the_memory_left_of_this_machine_is_a_size_or_not_told() -> None:
    assert memory.memory_left() == float("inf") or 10**7 < memory.memory_left() < 10**14


def test_the_most_memory_is_that_of_the_fullest_moment() -> None:
    held = bytearray(b"x") * 300_000_000  # written, so that it is resident
    assert memory.peak_memory()["resident"] > len(held)
    most = memory.peak_memory()["resident"]
    del held
    assert memory.peak_memory()["resident"] > most - 10**7  # the system counts in pieces


def test_the_limits_of_a_control_group_and_of_those_above_it_count(tmp_path: Path) -> None:
    for place, most, held, cached in (("", "max", 10, 0), ("a", "500", 300, 50), ("a/b", "4000", 200, 0)):
        folder = tmp_path / place
        folder.mkdir(exist_ok=True)
        (folder / "memory.max").write_text(most)
        (folder / "memory.current").write_text(str(held))
        (folder / "memory.stat").write_text(f"anon 7\nactive_file {cached}\ninactive_file 2\n")
    assert sorted(memory._left_of_groups("1:cpu:/x\n0::/a/b\n", tmp_path)) == [252, 3802]
    assert list(memory._left_of_groups("", tmp_path)) == []


def test_groups_of_the_first_version_count_too(tmp_path: Path) -> None:
    folder = tmp_path / "memory" / "a"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text("1000\n")
    (folder / "memory.usage_in_bytes").write_text("700\n")
    (folder / "memory.stat").write_text("cache 9\nactive_file 30\ninactive_file 4\ntotal_active_file 99\n")
    for line in ("9:memory:/a\n", "1:name=systemd:/x\n3:cpu,memory:/a\n"):
        assert list(memory._left_of_groups(line, tmp_path)) == [334]


LIMITED = """
import os, resource, sys
from geomclip.machine import memory

if sys.argv[1] == "limited":
    resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, resource.RLIM_INFINITY))
memory.keep_within_limits()
print(memory.memory_left() <= 1 << 30, os.environ.get("ARROW_DEFAULT_MEMORY_POOL"))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of data are Linux's")
def test_where_the_process_is_limited_libraries_reserve_no_more_than_they_use() -> None:
    def run(how: str) -> list[str]:
        env = {name: each for name, each in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}
        command = [sys.executable, "-c", LIMITED, how]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env | {"PYTHONPATH": str(ROOT)})
        return done.stdout.split()

    assert run("limited") == ["True", "system"]
    assert run("free")[1] == "None"
