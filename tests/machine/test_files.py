import errno
import json
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from geomclip.machine import json_files
from geomclip.machine.errors import DamagedError, GeomclipError, InputError
from geomclip.machine.files import (
    atomic_bytes,
    atomic_folder,
    atomic_json,
    atomic_write,
    cache_dir,
    clear_leftovers,
    is_ours,
)
from geomclip.machine.lock import Lock
from geomclip.machine.sums import check_sum, read_sealed, write_sealed


def test_the_first_place_named_is_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GEOMCLIP_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_dir() == tmp_path / ".cache" / "geomclip"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert cache_dir() == tmp_path / ".cache" / "geomclip"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_dir() == Path("/xdg/geomclip")
    monkeypatch.setenv("GEOMCLIP_CACHE", "~/mine")
    assert cache_dir() == tmp_path / "mine"
    assert cache_dir("/named/folder") == Path("/named/folder")


def test_a_file_appears_whole_with_the_users_permissions(tmp_path):
    path = tmp_path / "new" / "file.bin"
    before = os.umask(0o027)
    try:
        with atomic_write(path) as file:
            file.write(b"abc")
            assert not path.exists()
    finally:
        os.umask(before)
    assert path.read_bytes() == b"abc"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(path.parent) == ["file.bin"]


@pytest.mark.parametrize("error", [RuntimeError("halfway"), KeyboardInterrupt()])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file"
    atomic_bytes(path, b"old")

    def write_half():
        with atomic_write(path) as file:
            file.write(b"half of the ne")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_is_one_line_with_the_file_and_the_space_left(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GeomclipError, match=r"/numbers: the disk is full \([\d.]+ MB free\)") as caught:
        atomic_bytes(tmp_path / "numbers", b"1")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1
    assert os.listdir(tmp_path) == []


def test_a_really_full_disk_leaves_nothing(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(GeomclipError, match="the disk is full"):
            atomic_bytes(tmp_path / "numbers", bytes(1 << 20))
        assert os.listdir(tmp_path) == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_place_that_cannot_be_written_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written") as caught:
        atomic_bytes(tmp_path / "file" / "below", b"")
    assert caught.value.exit_code == 2
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="folder cannot be written"):
        atomic_bytes(tmp_path / "folder", b"")
    with pytest.raises(InputError, match="cannot be written"):
        atomic_bytes(tmp_path / ("x" * 300), b"")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_json_takes_odd_file_names_and_refuses_nan(tmp_path):
    odd = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    atomic_json(tmp_path / "a.json", {"path": odd})
    assert json.loads((tmp_path / "a.json").read_bytes())["path"] == odd
    with pytest.raises(ValueError):
        atomic_json(tmp_path / "b.json", float("nan"))
    assert os.listdir(tmp_path) == ["a.json"]


def test_leftovers_of_a_killed_writer_are_known_and_cleared(tmp_path):
    writer = atomic_write(tmp_path / "file")
    writer.__enter__()
    (leftover,) = os.listdir(tmp_path)
    assert is_ours(leftover)
    assert not is_ours("file")
    clear_leftovers(tmp_path)
    assert os.listdir(tmp_path) == []
    del writer


def test_a_second_writer_is_told_who_writes(tmp_path):
    with (
        Lock(tmp_path),
        pytest.raises(InputError, match=rf"being written by process {os.getpid()} on "),
        Lock(tmp_path),
    ):
        pass
    assert os.listdir(tmp_path) == []
    with Lock(tmp_path):  # free again
        pass


@pytest.mark.parametrize("pid", [os.getpid(), 2**22 + 1], ids=["alive", "dead"])
def test_the_lock_of_a_dead_holder_is_taken_over_even_if_its_number_lives_on(tmp_path, pid):
    (tmp_path / ".geomclip.lock").write_text(json.dumps({"pid": pid, "host": "here", "since": "long ago"}))
    with Lock(tmp_path):
        assert json.loads((tmp_path / ".geomclip.lock").read_text())["pid"] == os.getpid()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_lock_ends_with_its_block_however_that_ends(tmp_path, error):
    with pytest.raises(error), Lock(tmp_path):
        raise error
    assert os.listdir(tmp_path) == []


def test_a_lock_ends_with_a_process_that_is_killed(tmp_path):
    code = (
        "import sys, time; from geomclip.machine.lock import Lock\n"
        "with Lock(sys.argv[1]): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process {holder.pid} "), Lock(tmp_path):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with Lock(tmp_path):
        pass


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    import fcntl

    def unsupported(descriptor, operation):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(InputError, match="cannot be locked"), Lock(tmp_path):
        pass


def test_a_lock_that_waits_enters_when_the_holder_leaves(tmp_path):
    entered = []

    def second():
        with Lock(tmp_path, wait=True):
            entered.append(time.monotonic())

    thread = threading.Thread(target=second)
    with Lock(tmp_path):
        thread.start()
        time.sleep(0.2)
        left = time.monotonic()
        assert entered == []
    thread.join(timeout=10)
    assert entered
    assert entered[0] >= left


# --- power cuts


@pytest.fixture
def order(monkeypatch):
    """What is synced, by its path, and "renamed", in their order."""
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda d: (done.append(os.path.realpath(f"/proc/self/fd/{d}")), fsync(d))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("renamed"), replace(a, b))[1])
    return done


@pytest.mark.skipif(sys.platform != "linux", reason="paths of descriptors are read from /proc")
def test_all_of_a_folder_is_on_disk_before_it_has_its_name(tmp_path, order):
    with atomic_folder(tmp_path / "whole") as folder:
        (folder / "inside").mkdir()
        (folder / "inside" / "one").write_text("not synced by who wrote it")
        building = str(folder)
    before = order[: order.index("renamed")]
    assert {building, f"{building}/inside", f"{building}/inside/one"} <= {*before}
    assert order[-1] == str(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="paths of descriptors are read from /proc")
def test_new_folders_are_on_disk_before_a_file_in_them_counts(tmp_path, order):
    atomic_bytes(tmp_path / "a" / "b" / "file", b"1")
    assert {str(tmp_path), str(tmp_path / "a")} <= {*order[: order.index("renamed")]}


@pytest.mark.skipif(sys.platform != "linux", reason="paths of descriptors are read from /proc")
def test_that_a_lock_is_gone_is_on_disk(tmp_path, order):
    with Lock(tmp_path):
        order.clear()
    assert order == [str(tmp_path)]


# --- sums


@pytest.mark.parametrize("record", [{"a": [1, 0.1, "ä\udcff\x1b"]}, {"a": 1, "written": {"created": "today"}}])
def test_a_sum_holds_of_what_is_read_back_and_of_nothing_else(tmp_path, record):
    write_sealed(tmp_path / "r.json", record)
    assert read_sealed(tmp_path / "r.json") == record
    check_sum(json_files.read_json(tmp_path / "r.json"), "r.json")
    changed = json.loads((tmp_path / "r.json").read_text()) | {"a": [1, 0.2]}
    (tmp_path / "r.json").write_text(json.dumps(changed))
    with pytest.raises(DamagedError, match="is damaged or changed"):
        read_sealed(tmp_path / "r.json")


# json reads what is nested so deep, and a walk through it does not come back
DEEP = f'{{"a": {"[" * 800}{"]" * 800}, "content_sha256": "0"}}'


@pytest.mark.parametrize("content", ["[]", "{", '{"a": 1}', '{"a": NaN}', "[" * 100_000, DEEP])
def test_what_has_no_sum_and_what_is_no_json_is_never_taken_for_ours(tmp_path, content):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(DamagedError) as refused:
        read_sealed(tmp_path / "r.json")
    assert "\n" not in str(refused.value)
