"""Parquet and Arrow files that unfold to far more than they store: read within bounds, or refused by their limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from helpers import ROOT

from geomclip.embeddings.shards import read_table
from geomclip.machine import parquet_files
from geomclip.machine.errors import InputError
from geomclip.pairs.tables import arrow, stored

ROWS = 60_000
LONG = "x" * (1 << 17)
"""Written out in every row it would take 7.9 GB."""


def repeated(rows: int, value: Any = LONG) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([value]))


def table(folder: Path, **columns: Any) -> Path:
    file = folder / "t.parquet"
    pq.write_table(pa.table(columns), file)
    return file


def delta(folder: Path, rows: int = 40_000) -> Path:
    """Each text one letter longer than the one before: 40,000 of them would take 800 MB."""
    file = folder / "t.parquet"
    texts = pa.table({"caption": ["a" * length for length in range(rows)]})
    pq.write_table(texts, file, use_dictionary=False, column_encoding={"caption": "DELTA_BYTE_ARRAY"})
    return file


def test_repeated_texts_are_one_object_and_equal_to_what_pyarrow_reads(tmp_path: Path) -> None:
    texts = ["a", None, "b", "a", "é"] * 100
    file = table(tmp_path, caption=texts, n=list(range(500)), captions=[[text or "", "z"] for text in texts])
    read = parquet_files.read(file, ["caption", "n", "captions"])
    plain = pq.read_table(file)
    assert {name: parquet_files.listed(read.column(name)) for name in plain.column_names} == plain.to_pydict()
    values = parquet_files.listed(read.column("caption"))
    assert len({id(value) for value in values if value == "a"}) == 1
    structs = pa.table({"image": [{"bytes": b"1", "path": text} for text in texts], "l": [[text] for text in texts]})
    pq.write_table(structs, tmp_path / "structs.parquet", row_group_size=100)
    nested = parquet_files.read(tmp_path / "structs.parquet", ["image.path", "l"])
    assert nested.column("image").to_pylist() == [{"path": text} for text in texts]
    assert nested.column("l").to_pylist() == [[text] for text in texts]
    shared = tmp_path / "delta.parquet"
    pq.write_table(plain, shared, use_dictionary=False, column_encoding={"caption": "DELTA_BYTE_ARRAY"})
    assert parquet_files.listed(parquet_files.read(shared, ["caption"]).column("caption")) == texts


@pytest.mark.parametrize("nested", [False, True])
def test_a_text_repeated_beyond_the_limit_is_refused_before_it_is_written_out(nested: bool, tmp_path: Path) -> None:
    cells = repeated(ROWS)
    lists = pa.ListArray.from_arrays(pa.array(range(ROWS + 1), pa.int32()), cells)
    file = table(tmp_path, caption=lists if nested else cells)
    assert file.stat().st_size < 1 << 20
    bound = f"{ROWS << 17} bytes of a table, or of its columns of texts unfolded, more than 4294967296: refused"
    for read in (arrow.read, *([] if nested else [read_table])):
        with pytest.raises(InputError, match=f"t.parquet: {bound}"):
            read(file)


def test_texts_that_share_their_beginnings_are_refused_while_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = delta(tmp_path)
    monkeypatch.setattr(parquet_files, "_TOGETHER", 1 << 22)
    monkeypatch.setenv("GEOMCLIP_LIMITS", f"table-bytes={1 << 26}")
    with pytest.raises(InputError, match="bytes of a table, or of its columns of texts unfolded, more than 67108864"):
        arrow.read(file)
    small = delta(tmp_path, 3000)
    assert arrow.read(small).columns["caption"] == ["a" * length for length in range(3000)]


def test_more_rows_or_values_than_the_limit_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = table(tmp_path, caption=["a"] * 100, url=["b"] * 100)
    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", lambda *_, **__: pytest.fail("read"))
    monkeypatch.setenv("GEOMCLIP_LIMITS", "table-rows=99")
    with pytest.raises(InputError, match="100 rows of a table, more than 99: refused; if you trust it"):
        arrow.read(file)
    monkeypatch.setenv("GEOMCLIP_LIMITS", "table-cells=199")
    with pytest.raises(InputError, match="200 values in the columns of a table that are read, more than 199: refused"):
        arrow.read(file)


def test_an_image_repeated_in_a_group_of_rows_is_read_and_not_written_out(tmp_path: Path) -> None:
    image = repeated(ROWS, LONG.encode())
    pq.write_table(pa.table({"image": image, "caption": ["a"] * ROWS}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="bytes of the images in one group of rows of a table, more than 4294967296"):
        stored.RowImage(tmp_path / "t.parquet", "image", 0, 3, "t").read()
    pq.write_table(pa.table({"image": image[:9], "caption": ["a"] * 9}), tmp_path / "few.parquet")
    assert stored.RowImage(tmp_path / "few.parquet", "image", 0, 3, "few").read() == LONG.encode()
    structs = pa.StructArray.from_arrays([image[:9], pa.array(["p"] * 9)], ["bytes", "path"])
    pq.write_table(pa.table({"image": structs}), tmp_path / "structs.parquet")
    assert stored.RowImage(tmp_path / "structs.parquet", "image", 0, 3, "few").read() == LONG.encode()


def test_an_arrow_file_that_unfolds_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    flat = pa.table({"caption": ["a" * 1000] * 200_000})
    pyarrow.feather.write_feather(flat, tmp_path / "t.arrow", compression="zstd")
    with pytest.raises(InputError, match=r"t\.arrow unfolds to .*: refused; if you trust it, set GEOMCLIP_LIMITS=unf"):
        arrow.read(tmp_path / "t.arrow")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says how much memory a process had")
def test_a_short_file_fills_no_memory(tmp_path: Path) -> None:
    file = table(tmp_path, image=["a.png"] * ROWS, caption=repeated(ROWS))
    code = (
        "import sys; from geomclip.machine.errors import InputError; from geomclip.pairs import *\n"
        "try: load_pairs(Source(sys.argv[1]))\n"
        "except InputError as refused: print(refused)\n"
        "print(int([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1]) >> 10)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"parquet:{file}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    *_, refused, used = done.stdout.splitlines()
    assert "unfolded, more than" in refused
    assert int(used) < 1000, "MiB"
