"""The footer of a parquet file is read as pyarrow reads that of a sound one, and a damaged one is refused."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomclip.machine import parquet_footer


def table(rows: int) -> pa.Table:
    return pa.table(
        {
            "text": [None if i % 3 == 0 else f"row {i}" for i in range(rows)],
            "number": pa.array(range(rows), pa.int32()),
            "real": [i / 7 for i in range(rows)],
            "flag": [i % 2 == 0 for i in range(rows)],
            "image": [{"bytes": bytes([i % 256]), "path": None} for i in range(rows)],
            "rows": pa.array([[float(i), 1.0] for i in range(rows)], pa.list_(pa.float32(), 2)),
            "words": [["a", "b"][: i % 3] for i in range(rows)],
        }
    )


@pytest.mark.parametrize("compression", ["none", "zstd", "gzip"])
@pytest.mark.parametrize("version", ["1.0", "2.6"])
@pytest.mark.parametrize(("rows", "group"), [(1, 10), (100, 7), (1000, 1000)])
def test_a_sound_footer_is_that_of_pyarrow(
    tmp_path: Path, rows: int, group: int, version: str, compression: str
) -> None:
    file = tmp_path / "a.parquet"
    how = {"use_dictionary": ["text"], "column_encoding": {"real": "BYTE_STREAM_SPLIT"}}
    pq.write_table(table(rows), file, row_group_size=group, version=version, compression=compression, **how)
    found = parquet_footer.read(file)
    theirs = pq.read_metadata(file)
    assert len(found) == theirs.num_row_groups
    assert sum(each.num_rows for each in found) == theirs.num_rows == rows
    for number, own in enumerate(found):
        assert len(own.chunks) == theirs.row_group(number).num_columns
        for place, chunk in enumerate(own.chunks):
            other = theirs.row_group(number).column(place)
            assert chunk.path_in_schema == other.path_in_schema
            assert chunk.physical_type == other.physical_type
            assert {*chunk.encodings} == {*other.encodings}
            assert chunk.num_values == other.num_values
            assert chunk.total_uncompressed_size == other.total_uncompressed_size
            assert chunk.nulls == (other.statistics.null_count if other.is_stats_set else None)


def test_without_statistics_nulls_are_not_known(tmp_path: Path) -> None:
    pq.write_table(table(5), tmp_path / "a.parquet", write_statistics=False)
    assert {chunk.nulls for chunk in parquet_footer.read(tmp_path / "a.parquet")[0].chunks} == {None}


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 50, b"PAR1" + b"\xff\xff\xff\x7f" + b"PAR1"])
def test_what_is_no_parquet_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(ValueError, match="no parquet file, or cut short"):
        parquet_footer.read(tmp_path / "a.parquet")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("footer") / "a.parquet"
    pq.write_table(table(20), file, row_group_size=7)
    return file


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_footer_is_read_or_refused_by_a_value_error_alone(sound: Path, data: st.DataObject) -> None:
    content = bytearray(sound.read_bytes())
    length = int.from_bytes(content[-8:-4], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(len(content) - 8 - length, len(content) - 9))
        content[place] = data.draw(st.integers(0, 255))
    file = sound.with_name("b.parquet")
    file.write_bytes(content)
    try:
        groups = parquet_footer.read(file)
    except ValueError:
        return
    assert all(type(chunk.num_values) is int for group in groups for chunk in group.chunks)


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_a_footer_of_any_bytes_is_read_or_refused_by_a_value_error_alone(sound: Path, footer: bytes) -> None:
    file = sound.with_name("c.parquet")
    file.write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    try:
        groups = parquet_footer.read(file)
    except ValueError:
        return
    assert all(type(group.num_rows) is int for group in groups)
