"""A fault of the machine is never told as one of the file, whichever library reads it."""

from __future__ import annotations

import errno
import subprocess
import sys
import zipfile
from pathlib import Path

import faults
import pytest
from shim import compiler

from geomclip.machine.blame import fault_behind, unreadable
from geomclip.machine.errors import DamagedError, GeomclipError, InputError

SAMPLE = ["csv", "parquet", "arrow", "tar", "classes", "npz", "npy", "pt", "safetensors", "h5", "store", "snapshot"]
"""Kinds whose readers are different ones, and quick."""


@pytest.mark.skipif(
    compiler() is None or not sys.platform.startswith("linux"), reason="builds a library in C for Linux"
)
def test_each_reader_tells_a_fault_of_the_machine_from_a_damaged_file() -> None:
    done = subprocess.run([sys.executable, faults.__file__, *SAMPLE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tried = [int(line.split("|")[3].replace(",", "")) for line in done.stdout.splitlines()[2:]]
    assert len(tried) == len(SAMPLE)
    assert min(tried) > 10


def raised_from(cause: Exception) -> Exception:
    try:
        try:
            raise cause
        except Exception:
            raise zipfile.BadZipFile("File is not a zip file")  # noqa: B904  # as zipfile does
    except Exception as problem:
        return problem


def test_a_fault_is_found_behind_what_a_library_makes_of_it() -> None:
    assert fault_behind(raised_from(OSError(errno.EIO, "Input/output error"))).errno == errno.EIO  # type: ignore[union-attr]
    assert fault_behind(raised_from(OSError(errno.EINVAL, "Invalid argument"))) is None
    assert fault_behind(raised_from(ValueError("errno = 5"))).errno == errno.EIO  # type: ignore[union-attr]
    assert fault_behind(raised_from(ValueError("row 5 of 24 (5)"))) is None


def test_a_file_that_is_there_and_was_not_opened_is_no_absent_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert fault_behind(FileNotFoundError(f"No such file or directory: {tmp_path}/b")) is None
    error = unreadable(tmp_path / "a", FileNotFoundError(f"No such file or directory: {tmp_path}/a"))
    assert type(error) is GeomclipError
    assert "it is there" in str(error)


def test_what_is_no_fault_of_the_machine_stays_what_it_is() -> None:
    damaged = DamagedError("a is damaged")
    assert unreadable("a", ValueError("bad magic"), damaged) is damaged
    machine = GeomclipError("the disk is full")
    assert unreadable("a", machine, damaged) is machine
    assert isinstance(unreadable("a", IsADirectoryError(errno.EISDIR, "Is a directory")), InputError)


def test_a_message_of_many_lines_becomes_one() -> None:
    assert "\n" not in str(unreadable("a.h5", OSError(errno.EIO, "file read failed: time = now\n, filename = 'a.h5'")))
