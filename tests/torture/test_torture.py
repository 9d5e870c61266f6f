"""A sample of `make torture`: commands disturbed at one file operation each end, run again, as if nothing had been."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import COMMANDS, prepare
from power import pending, replay
from shim import FAULTS, Operation, build, compiler, read_log
from torture import cases_of, shown, torture
from traced import counts, strace

pytestmark = pytest.mark.skipif(
    compiler() is None or not sys.platform.startswith("linux"), reason="builds a library in C for Linux"
)
SAMPLE = {"extract": 20, "download": 16}
"""Cases a command."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("shim"))


@pytest.mark.parametrize("command", SAMPLE)
def test_a_disturbed_command_run_again_ends_as_one_that_was_not(command: str, library: Path, tmp_path: Path) -> None:
    row = torture(command, tmp_path, library, most=SAMPLE[command], processes=1, seed=17)
    assert row.tried.total() == SAMPLE[command]
    assert not [*shown(row)]


SCRIPT = """
import ctypes, os, shutil, sys
os.chdir(sys.argv[1])
with open("a", "w") as file: file.write("hello")
os.replace("a", "b"); os.mkdir("d"); os.truncate("b", 5); shutil.copy("b", "d/c"); os.link("b", "d/e")
with open("b", "r+b") as file: file.seek(2); file.write(b"LLO!"); file.flush(); os.fsync(file.fileno())
if os.fork() == 0: os.symlink("b", "f"); os._exit(0)
os.wait(); shutil.rmtree("d"); print("done")
"""
EXPECTED = "open write rename mkdir open open write link open write fsync symlink open unlink unlink rmdir"


def run_script(library: Path, root: Path, **variables: object) -> subprocess.CompletedProcess[str]:
    root.mkdir(exist_ok=True)
    named = {f"GEOMCLIP_SHIM_{name}": str(value) for name, value in variables.items()}
    environment = {**os.environ, "LD_PRELOAD": str(library), "GEOMCLIP_SHIM_ROOT": str(root), **named}
    command = [sys.executable, "-c", SCRIPT, str(root)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def logged(library: Path, root: Path, **variables: object) -> list[Operation]:
    log = root.parent / "log"
    log.unlink(missing_ok=True)
    done = run_script(library, root, LOG=log, **variables)
    assert done.returncode == 0, done.stderr
    return read_log(log)


def test_the_shim_sees_each_operation_of_a_process_and_its_children(library: Path, tmp_path: Path) -> None:
    found = logged(library, tmp_path / "root")
    assert [operation.kind for operation in found] == EXPECTED.split()
    assert [operation.number for operation in found] == list(range(1, len(found) + 1))
    assert len({operation.process for operation in found}) == 2
    assert [operation.offset for operation in found if operation.kind == "write"] == [0, 0, 2]


@pytest.mark.parametrize("k", range(1, 8))
def test_a_fault_befalls_the_operation_that_is_named(k: int, library: Path, tmp_path: Path) -> None:
    kill = run_script(library, tmp_path / "killed", K=k, MODE=FAULTS["kill"].mode, LOG=tmp_path / "log")
    assert kill.returncode == -9
    assert [operation.number for operation in read_log(tmp_path / "log")] == list(range(1, k))
    fault = FAULTS["EIO"]
    failed = run_script(library, tmp_path / "failed", K=k, MODE=fault.mode, NUMBER=fault.number)
    assert failed.returncode == 1
    assert "Input/output error" in failed.stderr


def test_half_a_write_and_a_full_disk_leave_half(library: Path, tmp_path: Path) -> None:
    assert run_script(library, tmp_path / "half", K=2, MODE=FAULTS["half"].mode).returncode == -9
    assert (tmp_path / "half/a").read_text() == "he"
    full = run_script(library, tmp_path / "full", K=2, MODE=FAULTS["full"].mode)
    assert "No space left on device" in full.stderr
    assert (tmp_path / "full/a").read_text() == "he"


def operations(*lines: tuple[str, str, str, bytes]) -> list[Operation]:
    flags = {"open": os.O_CREAT | os.O_WRONLY}
    return [
        Operation(i + 1, 1, kind, len(data), 0, flags.get(kind, 0), f"/r/{path}", f"/r/{other}", data)
        for i, (kind, path, other, data) in enumerate(lines)
    ]


@pytest.fixture
def template(tmp_path: Path) -> Path:
    (tmp_path / "template").mkdir()
    (tmp_path / "template/old").write_bytes(b"old")
    return tmp_path / "template"


def states(run: list[Operation], template: Path, root: Path) -> Iterator[tuple[int, dict[str, bytes]]]:
    """After how many operations the power went, and what was there then, for many draws."""
    run = [
        Operation(
            **{**vars(each), "path": each.path.replace("/r", str(root)), "other": each.other.replace("/r", str(root))}
        )
        for each in run
    ]
    for seed in range(120):
        shutil.rmtree(root, ignore_errors=True)
        cut, _ = replay(run, template, root, seed)
        yield cut, {path.name: path.read_bytes() for path in root.iterdir()}


def test_a_power_cut_may_undo_what_was_not_synced_and_nothing_else(template: Path, tmp_path: Path) -> None:
    written = [("open", "new", "", b""), ("write", "new", "", b"whole"), ("fsync", "new", "", b"")]
    run = operations(*written, ("rename", "new", "old", b""), ("fsync", ".", "", b""))
    assert pending(run[:2], template, "/r") == {0, 1}
    assert pending(run[:4], template, "/r") == {0, 3}
    assert pending(run, template, "/r") == set()
    found = list(states(run, template, tmp_path / "root"))
    assert {content["old"] for _, content in found} == {b"old", b"whole"}
    assert all(content == {"old": b"whole"} for cut, content in found if cut == len(run))


def test_a_rename_without_a_sync_may_leave_an_empty_file(template: Path, tmp_path: Path) -> None:
    run = operations(("open", "new", "", b""), ("write", "new", "", b"whole"), ("rename", "new", "old", b""))
    assert b"" in {content.get("old") for _, content in states(run, template, tmp_path / "root")}


def test_each_operation_meets_each_fault_that_can_befall_it() -> None:
    points = [[1, "open", os.O_RDONLY, "a"], [2, "write", 0, "a"], [3, "fsync", 0, "a"]]
    cases = [(case["k"], case["fault"]) for case in cases_of({"points": points, "reads": [9]}, power=0)]
    assert {name for k, name in cases if k == 1} == {"kill", "EIO", "EMFILE", "EACCES", "TERM", "INT"}
    assert {name for k, name in cases if k == 2} == {"kill", "half", "full", "EIO", "TERM", "INT"}
    assert [name for k, name in cases if k == 9] == ["EIO"]


@pytest.mark.parametrize(
    "name",
    [
        "extract",
        *(pytest.param(name, marks=pytest.mark.slow) for name in COMMANDS if name not in ("extract", "download")),
    ],
)
def test_strace_counts_the_same_operations(name: str, library: Path, tmp_path: Path) -> None:
    if strace() is None:
        pytest.skip("strace is not here, or may not look into processes")
    root = tmp_path / "root"
    root.mkdir()
    prepare(root)
    for typed in COMMANDS[name].needs:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        subprocess.run([sys.executable, "-m", "geomclip", *typed.split()], cwd=root, check=True, env=environment)
    seen, counted = counts(COMMANDS[name].typed, root, library, tmp_path / "log")
    assert counted == seen
    assert counted.total() > 20
