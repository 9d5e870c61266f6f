"""Tables at addresses: the same pairs as here; images are in them or on this machine, and nothing else is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow
import pyarrow.parquet
import pytest
from pair_files import jpeg, write
from web import Web, serving

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.pairs import Source, load_pairs
from geomclip.pairs.parsing import NoSuchSplit

SECRET = "c0ffee-secret"
TABLE = "filepath,title\na.jpg,a cat\nb.jpg,two dogs\na.jpg,one cat\n"


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as found:
        found.files["/sets/pairs.csv"] = TABLE.encode()
        yield found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write(tmp_path / "photos", {"a.jpg": jpeg(), "b.jpg": jpeg("blue"), "pairs.csv": TABLE})


def refused(folder: Path, data: str, kind: type[Exception] = InputError, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        load_pairs(Source(data, **options), cache_dir=folder)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_a_table_gives_the_pairs_that_it_gives_here(web: Web, tmp_path: Path, photos: Path) -> None:
    here = load_pairs(Source(f"csv:{photos}/pairs.csv"))
    for number in range(2):
        data = f"csv:{web.url}/sets/pairs.csv?sig={SECRET}{number}"
        found = load_pairs(Source(data, image_root=photos), cache_dir=tmp_path / "cache")
        assert found.pairs == here.pairs
        assert replace(found, pairs=[]) == replace(here, pairs=[])
        assert found.title == "csv:pairs.csv (all)"


def test_a_table_that_has_changed_is_fetched_anew(web: Web, tmp_path: Path, photos: Path) -> None:
    source = Source(f"csv:{web.url}/sets/pairs.csv", image_root=photos)
    assert len(load_pairs(source, cache_dir=tmp_path / "cache").pairs) == 2
    web.files["/sets/pairs.csv"] = b"filepath,title\nb.jpg,two dogs\n"
    assert [pair.image_id for pair in load_pairs(source, cache_dir=tmp_path / "cache").pairs] == ["b.jpg"]


def test_the_images_of_a_parquet_come_with_it(tmp_path: Path) -> None:
    rows = pyarrow.table({"image": [jpeg(), jpeg("blue")], "caption": ["a cat", "two dogs"]})
    pyarrow.parquet.write_table(rows, tmp_path / "pairs.parquet")
    fsspec.filesystem("memory").put(str(tmp_path / "pairs.parquet"), "/bucket/pairs.parquet")
    found = load_pairs(Source("parquet:memory://bucket/pairs.parquet"), cache_dir=tmp_path / "cache")
    assert [pair.image.read() for pair in found.pairs] == [jpeg(), jpeg("blue")]
    assert [pair.captions for pair in found.pairs] == [("a cat",), ("two dogs",)]


def test_a_table_of_texts_alone_needs_no_images(web: Web, tmp_path: Path) -> None:
    web.files["/qa.csv"] = b"question,answer\nwhy,so\nwho,me\n"
    options = {"query_column": "question", "text_column": "answer"}
    assert len(load_pairs(Source(f"csv:{web.url}/qa.csv", **options), cache_dir=tmp_path).pairs) == 2


def test_images_beside_a_table_must_be_on_this_machine(web: Web, tmp_path: Path) -> None:
    message = refused(tmp_path, f"csv:{web.url}/sets/pairs.csv?sig={SECRET}")
    assert message.startswith(f"{web.url}/sets/pairs.csv: its images are files beside it")
    assert "image_root='FOLDER' says where" in message
    assert web.paths() == ["/sets/pairs.csv"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("folder:s3://bucket/photos", "and at an address a table is (csv:, tsv:, jsonl:, json:, parquet:)"),
        (f"wds:https://h/000.tar?sig={SECRET}", "wds is read from disk only, and at an address a table is"),
        (f"csv:https://h/part-*.csv?sig={SECRET}", "https://h/part-*.csv: at an address one file is read, and no pat"),
        (f"https://h/pairs.csv?sig={SECRET}", "did you mean csv:https://h/pairs.csv?"),
        (f"https://h/pairs?sig={SECRET}", "did you mean csv:https://h/pairs or parquet:https://h/pairs?"),
        (f"csv:http://example.org/a.csv?sig={SECRET}", "http://example.org/a.csv: by http anybody"),
    ],
)
def test_what_is_no_table_at_an_address_is_refused(tmp_path: Path, data: str, expected: str) -> None:
    assert expected in refused(tmp_path, data)


def test_what_may_not_be_read_and_what_is_malformed_is_one_line(web: Web, tmp_path: Path) -> None:
    web.files["/bad.csv"] = b"\xff\xfe\x00\n"
    message = refused(tmp_path, f"csv:{web.url}/bad.csv?sig={SECRET}")
    assert f"{web.url}/bad.csv" in message
    assert str(tmp_path) not in message
    web.status["/sets/pairs.csv"] = 403
    assert "may not be read (403" in refused(tmp_path, f"csv:{web.url}/sets/pairs.csv?sig={SECRET}", NotAvailableError)


def test_a_split_that_is_not_there_is_told_from_other_errors(web: Web, tmp_path: Path) -> None:
    message = refused(tmp_path, f"csv:{web.url}/sets/pairs.csv?sig={SECRET}", NoSuchSplit, split="train")
    expected = f"csv:{web.url}/sets/pairs.csv has no splits, so there is no split 'train'; leave split out"
    assert message == expected


def test_a_table_too_large_is_refused_before_a_byte_of_it(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEOMCLIP_LIMITS", "table-bytes=20")
    assert "more than 20: refused" in refused(tmp_path, f"csv:{web.url}/sets/pairs.csv")
