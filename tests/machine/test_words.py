"""Errors of the machine name options as who called writes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from callers import command_line

from geomclip.machine.devices import choose_device
from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.outputs import check_output_file


def test_an_output_is_named_as_it_was_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"^out='{tmp_path}' is a folder: name a file in it$"):
        check_output_file(tmp_path)
    with command_line(), pytest.raises(InputError, match=rf"^--out {tmp_path} is a folder: name a file in it$"):
        check_output_file(tmp_path)


def test_a_device_is_named_as_it_was_written() -> None:
    with pytest.raises(NotAvailableError, match=r"^device='cuda:99': torch .* use device='cpu', or install"):
        choose_device("cuda:99")
    with command_line(), pytest.raises(NotAvailableError, match=r"^--device cuda:99: torch .* use --device cpu, or"):
        choose_device("cuda:99")
