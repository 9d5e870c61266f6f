"""What a machine, or a file of others, does is told in a sentence: exit 1 for the machine, 2 for the file."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import assert_one_line, run_cli

from geomclip.cli.terminal import explain
from geomclip.encoders.configuration import read_config as read_model_config
from geomclip.encoders.foreign_code import read as read_foreign
from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.files import LOCK_NAME
from geomclip.machine.json_files import read_bytes as read_json_bytes
from geomclip.machine.lock import Lock
from geomclip.machine.tally import Read
from geomclip.pairs.parsing import read_bytes
from geomclip.pairs.tables import arrow
from geomclip.pairs.tables.stored import RowImage
from geomclip.training.folder import SCHEMA, read_config

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("error", "words", "code"),
    [
        (MemoryError(), "memory ran out", 1),
        (np.exceptions.AxisError("x"), "x", 2),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
            "memory",
            1,
        ),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "memory ran out", 1),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory ran out", 1),
        (RuntimeError("can't start new thread"), "fewer --workers", 1),
        (OSError(errno.EMFILE, "Too many open files", "a.png"), "ulimit -n", 1),
        (OSError(errno.ENFILE, "Too many open files in system"), "ulimit -n", 1),
        (RecursionError("maximum recursion depth exceeded"), "nested too deep", 2),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_no_error_of_the_machine_is_shown_raw(error: BaseException, words: str, code: int) -> None:
    line, found = explain(error)
    assert words in line
    assert found == code
    assert "--debug shows where)" not in line


READERS: dict[str, Callable[[Path], Any]] = {
    "json": read_json_bytes,
    "pairs": lambda path: read_bytes(path, limit="caption-bytes"),
    "model": read_model_config,
    "foreign": read_foreign,
    "run": lambda path: read_config(path.parent),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    ("number", "code"), [("EIO", 1), ("EMFILE", 1), ("ESTALE", 1), ("EACCES", 1), ("ENOENT", 2), ("ENOTDIR", 2)]
)
def test_a_file_that_the_machine_fails_to_read_is_not_called_wrong(
    name: str, number: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.json"
    file.write_text("{}")
    problem = OSError(getattr(errno, number), os.strerror(getattr(errno, number)))

    def fail(*_: object, **__: object) -> None:
        raise problem

    for place in ("pathlib.Path.open", "pathlib.Path.read_bytes", "pathlib.Path.read_text", "os.open"):
        monkeypatch.setattr(place, fail)
    with pytest.raises(GeomclipError) as caught:
        READERS[name](file)
    monkeypatch.undo()
    assert caught.value.exit_code == code
    assert "\n" not in str(caught.value)
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize("name", ["model", "foreign", "run"])
def test_json_that_is_too_deep_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(f'{{"schema": "{SCHEMA}", "model_cfg": {DEEP}}}')
    with pytest.raises(InputError, match=r"config\.json: "):
        READERS[name](file)


@pytest.mark.parametrize(("name", "value"), [("call", []), ("base", "x"), ("data", None), ("between", {}), ("also", 3)])
def test_a_configuration_of_other_types_is_refused(
    name: str, value: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = {"schema": SCHEMA, "settings": {}, "call": {}, "base": {}, "data": {}}
    (tmp_path / "config.json").write_text(json.dumps({**whole, name: value}))
    done = run_cli(capsys, "finetune", "--resume", "--out", tmp_path, "--quiet")
    assert_one_line(done, 2, f"{tmp_path / 'config.json'}: its '{name}' is of another kind than a run has")


def test_counts_without_end_are_no_counts() -> None:
    for value in (float("inf"), float("nan"), None, [], "x"):
        with pytest.raises(ValueError, match="read is malformed"):
            Read.from_dict({"used": {"captions": value}})


def test_an_image_that_the_machine_fails_to_read_has_no_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(number: int) -> Callable[..., bytes]:
        def read(self: RowImage) -> bytes:
            raise OSError(number, os.strerror(number))

        return read

    image = RowImage(Path("a.parquet"), "image", 0, 1, "1.png", "", False)
    monkeypatch.setattr(RowImage, "read", fail(errno.ENOENT))
    assert arrow._digest(image) == "a.parquet:0:1"
    monkeypatch.setattr(RowImage, "read", fail(errno.EIO))
    with pytest.raises(GeomclipError, match=r"a\.parquet cannot be read \(Input/output error\)") as caught:
        arrow._digest(image)
    assert caught.value.exit_code == 1


def test_a_lock_that_another_process_made_meanwhile_is_left_to_it(tmp_path: Path) -> None:
    lock = Lock(tmp_path).__enter__()
    (tmp_path / LOCK_NAME).unlink()  # by hand, as one does who takes it for left over
    with Lock(tmp_path):
        lock.__exit__(None, None, None)
        assert (tmp_path / LOCK_NAME).exists()
        with pytest.raises(InputError, match="is being written by"), Lock(tmp_path):
            pass
    assert not (tmp_path / LOCK_NAME).exists()


def test_a_frame_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    from geomclip.grounding.videos import _read

    os.mkfifo(tmp_path / "0.png")
    with pytest.raises(InputError, match=r"0\.png is no file"):
        _read(tmp_path / "0.png")
