"""Limits: one table, raised by name, the same on the page; regular files are read within them and never waited for."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest
from helpers import ROOT, assert_one_line, run_cli

from geomclip.machine import limits, regular
from geomclip.machine.errors import InputError


def test_the_page_has_every_limit_with_its_default() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| ([0-9,]+) \| (.*) \|$", (ROOT / "docs/reliability.md").read_text(), re.M)
    assert rows == [(name, f"{limit.most:,}", limit.what) for name, limit in limits.LIMITS.items()]


@pytest.mark.parametrize("text", ["layers", "layers=", "layers=-1", "layers=0", "layers=1e9", "layers=" + "9" * 30])
def test_a_limit_is_a_whole_number_above_zero(text: str) -> None:
    with pytest.raises(InputError, match="GEOMCLIP_LIMITS: write layers=N, a whole number above 0"):
        limits.parsed(text)


def test_what_is_wrong_in_the_variable_is_not_said_of_the_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(limits.VARIABLE, "width=0")
    assert_one_line(run_cli(capsys, "measure", "--limit", 9), 2, "GEOMCLIP_LIMITS: write width=N, a whole number")


def test_the_later_word_about_a_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.VARIABLE, "layers=7,width=9")
    monkeypatch.setenv(limits.VARIABLE, limits.raised(["layers=8"]))
    assert (limits.most("layers"), limits.most("width")) == (8, 9)


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(str(tmp_path / "socket"))
        for place in (tmp_path / "pipe", tmp_path / "socket", Path("/dev/zero")):
            with pytest.raises(InputError, match="is no file but a pipe, a socket or a device"):
                regular.read(place, "config-bytes")
    with pytest.raises(IsADirectoryError):
        regular.read(tmp_path, "config-bytes")


def test_a_file_is_read_whole_up_to_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(bytes(range(100)))
    monkeypatch.setenv(limits.VARIABLE, "config-bytes=100")
    assert regular.read(tmp_path / "file", "config-bytes") == bytes(range(100))
    monkeypatch.setenv(limits.VARIABLE, "config-bytes=99")
    with pytest.raises(InputError, match="file: 100 bytes of the JSON that describes a model, more than 99"):
        regular.read(tmp_path / "file", "config-bytes")
