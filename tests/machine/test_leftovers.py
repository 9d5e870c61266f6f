"""What a killed writer left: cleared by the next writer of the same path, and never what a living one is writing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from geomclip.machine.files import atomic_bytes, atomic_folder, atomic_write
from geomclip.machine.leftovers import clear_dead

HALF = """
import sys, time
from geomclip.machine.files import atomic_folder, atomic_write
with {kind}({path!r}) as half:
    (half / "part").write_bytes(b"half") if {kind} is atomic_folder else half.write(b"half")
    print("half", flush=True)
    time.sleep(60)
"""


def half_written(kind: str, path: Path) -> subprocess.Popen[str]:
    """A process that is in the middle of writing."""
    code = HALF.format(kind=kind, path=str(path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    return process


@pytest.mark.parametrize("kind", ["atomic_write", "atomic_folder"])
def test_the_next_writer_clears_what_a_killed_one_left_and_only_that(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "r[1].json"
    dead, living = half_written(kind, path), half_written(kind, path)
    other = half_written(kind, tmp_path / "r1.json")
    try:
        for process in (dead, other):
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert len(list(tmp_path.iterdir())) == 3
        if kind == "atomic_write":
            atomic_bytes(path, b"whole")
        else:
            with atomic_folder(path) as folder:
                (folder / "part").write_bytes(b"whole")
        names = sorted(entry.name for entry in tmp_path.iterdir())
        assert [name.rpartition(".json")[0] for name in names] == [".r1", ".r[1]", "r[1]"]
    finally:
        for process in (dead, living, other):
            process.kill()
            process.communicate()


def test_one_that_is_being_written_in_this_process_stays(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a") as file:
        atomic_bytes(tmp_path / "a", b"another")
        file.write(b"mine")
    assert (tmp_path / "a").read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_of_such_a_name_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    (tmp_path / ".a.0123abcd.geomclip-tmp").symlink_to("elsewhere")
    clear_dead(tmp_path / "a")
    assert (tmp_path / "elsewhere" / "file").exists()


def test_without_locks_nothing_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    left = tmp_path / ".a.0123abcd.geomclip-tmp"
    left.touch()
    atomic_bytes(tmp_path / "a", b"whole")
    assert left.exists()
    assert (tmp_path / "a").read_bytes() == b"whole"
