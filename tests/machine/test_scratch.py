"""Tables in files where memory is short: the same numbers, no name, no room taken for good, one-line refusals."""

import errno
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from geomclip.machine import scratch
from geomclip.machine.errors import InputError


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """No memory left for any table, and a cache of its own."""
    monkeypatch.setattr(scratch, "memory_left", lambda: 0.0)
    monkeypatch.setattr(scratch, "LEAST", 1)
    monkeypatch.setenv("GEOMCLIP_CACHE", str(tmp_path / "cache"))
    scratch.note()
    yield tmp_path / "cache"
    scratch.note()


def maps_of(folder: Path) -> list[str]:
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if str(folder) in line]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_a_table_that_memory_has_no_room_for_is_a_shared_map_of_a_file_without_a_name(short: Path) -> None:
    table = scratch.zeros(300, 70, dtype=torch.float64)
    table += 1
    (line,) = maps_of(short)
    assert line.split()[1] == "rw-s", "its pages are the file's: the system can write them out"
    assert list(short.iterdir()) == []
    assert table.sum() == 300 * 70
    del table
    gc.collect()
    assert maps_of(short) == []


def test_what_fits_stays_in_memory_and_small_tables_always_do(monkeypatch: pytest.MonkeyPatch) -> None:
    scratch.note()
    monkeypatch.setattr(scratch, "memory_left", lambda: 16.0 * 8 * scratch.LEAST)
    scratch.empty(scratch.LEAST, dtype=torch.float64)
    monkeypatch.setattr(scratch, "memory_left", lambda: 0.0)
    scratch.empty(scratch.LEAST - 1, dtype=torch.int8)
    assert scratch.note() == ""


def test_that_tables_lie_in_files_is_told_once_with_size_and_place(short: Path) -> None:
    scratch.empty(30_000_000, dtype=torch.float64)
    scratch.empty(30_000_000, dtype=torch.float64)
    assert scratch.note() == (
        f"0.5 GB of rows were kept in files in {short}, not in memory, of which 0.0 GB were left; "
        "no number depends on it"
    )
    assert scratch.note() == ""


def test_a_disk_without_room_is_refused_before_the_first_number(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(
        InputError, match=r"cache cannot take 0\.0 GB of rows .*No space left.*GEOMCLIP_CACHE"
    ) as refused:
        scratch.empty(100, dtype=torch.float64)
    assert "\n" not in str(refused.value)


def test_a_cache_that_is_a_file_is_refused_in_one_line(short: Path) -> None:
    short.write_text("")
    with pytest.raises(InputError, match="set GEOMCLIP_CACHE to another folder"):
        scratch.empty(100, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int8])
def test_rows_by_number_and_by_mask_are_those_of_torch(short: Path, dtype: torch.dtype) -> None:
    x = torch.randint(-9, 9, (57, 5)).to(dtype)
    for chosen in (torch.tensor([3, 3, 0, 56]), torch.arange(57) % 3 == 1):
        found = scratch.rows(x, chosen)
        assert found.dtype == dtype
        assert torch.equal(found, x[chosen])
    assert torch.equal(scratch.to(x, torch.float64), x.double())
    assert scratch.to(x, dtype) is x
    assert torch.equal(scratch.each(lambda some: some.double().sum(1), x), x.double().sum(1))
