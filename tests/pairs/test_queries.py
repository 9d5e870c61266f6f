"""Tables of texts alone: queries in the place of images, their documents the texts."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch
from helpers import assert_one_line, run_cli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pair_files import write
from tiny import TinyEncoder

from geomclip.encoders.extraction.calls import embed, extract
from geomclip.machine.errors import InputError
from geomclip.pairs import Pairs, Source, load_pairs
from geomclip.pairs.record import TextQuery

ROWS = [("what is a cat", "an animal"), ("what is a cat", "it purrs"), ("where is Rome", "in Italy"), ("why", "so")]


def table(folder: Path, kind: str, rows: Sequence[tuple[str, str]] = ROWS, names: Sequence[str] = ("q", "d")) -> str:
    file = folder / f"pairs.{kind}"
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "parquet":
        columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
        pyarrow.parquet.write_table(pyarrow.table(columns), file)
    elif kind == "jsonl":
        lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter="\t" if kind == "tsv" else ",")
        writer.writerows([names, *rows])
        file.write_text(out.getvalue(), encoding="utf-8", newline="")
    return f"{kind}:{file}"


def read(data: str, **options: Any) -> Pairs:
    return load_pairs(Source(data, query_column="q", **{"text_column": "d", **options}))


def held(pairs: Pairs) -> dict[str, tuple[str, ...]]:
    found = {}
    for pair in pairs.pairs:
        assert isinstance(pair.image, TextQuery)
        found[pair.image.text] = pair.captions
    return found


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_rows_of_one_query_are_one_query_with_all_their_documents(tmp_path: Path, kind: str) -> None:
    pairs = read(table(tmp_path, kind))
    assert held(pairs) == {"what is a cat": ("an animal", "it purrs"), "where is Rome": ("in Italy",), "why": ("so",)}
    assert pairs.of_texts
    assert pairs.read.used == {"files": 1, "rows": 4, "documents": 4, "queries": 3}


texts = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8).filter(
    lambda text: not text.startswith("[") and text not in ("q", "d")
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=6))
def test_drawn_texts_come_back_in_their_order(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    expected: dict[str, tuple[str, ...]] = {}
    for query, document in rows:
        expected[query] = (*expected.get(query, ()), document)
    found = held(read(table(tmp_path, "jsonl", rows)))
    assert found == expected
    assert list(found) == list(expected)


@pytest.mark.parametrize("name", ["document", "passage", "Answer", "positive", "text", "title"])
def test_a_column_of_documents_is_known_by_its_name(tmp_path: Path, name: str) -> None:
    data = table(tmp_path, "csv", names=("question", name))
    pairs = load_pairs(Source(data, query_column="question"))
    assert [pair.captions for pair in pairs.pairs][1:] == [("in Italy",), ("so",)]


def test_a_row_without_a_query_is_left_out_and_counted(tmp_path: Path) -> None:
    pairs = read(table(tmp_path, "csv", [*ROWS, (" ", "nothing")]))
    assert len(pairs) == 3
    assert [(each.what, each.reason, each.names) for each in pairs.read.left_out] == [
        ("rows", "the query is empty", ("line 6",))
    ]


def test_a_long_query_is_known_by_its_beginning_and_digest(tmp_path: Path) -> None:
    long = ["word " * 80 + end for end in ("a", "b")]
    pairs = read(table(tmp_path, "csv", [(text, "x") for text in long]))
    assert len({pair.image_id for pair in pairs.pairs}) == 2
    assert all(len(pair.image_id) < 220 for pair in pairs.pairs)
    assert set(held(pairs)) == set(long)


def test_ids_may_be_a_column_of_their_own(tmp_path: Path) -> None:
    rows = [("a", "x", "1"), ("a", "y", "2")]
    data = table(tmp_path, "csv", rows, ("q", "d", "qid"))  # type: ignore[arg-type]
    assert [pair.image_id for pair in read(data, image_id_column="qid").pairs] == ["1", "2"]
    data = table(tmp_path, "csv", [("a", "x", "1"), ("b", "y", "1")], ("q", "d", "qid"))  # type: ignore[list-item]
    with pytest.raises(InputError, match="line 3: id '1' is 'b' here, 'a' before"):
        read(data, image_id_column="qid")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_column": "q"}, "query_column and text_column are both 'q'"),
        ({"image_column": "x"}, "image_column is of images: query_column has queries in their place"),
        ({"image_root": "x"}, "image_root is of images"),
        ({"text_column": "no"}, "has no column 'no' .columns: q, d.; say which with text_column"),
    ],
)
def test_options_that_do_not_go_with_queries_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        read(table(tmp_path, "csv"), **options)
    assert "\n" not in str(refused.value)


def test_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    data = table(tmp_path, "csv")
    with pytest.raises(InputError, match=r"has no column 'qq' \(columns: q, d\); say which with query_column"):
        load_pairs(Source(data, query_column="qq", text_column="d"))


def test_a_list_of_queries_in_a_cell_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"t.jsonl": '{"q": ["a", "b"], "d": "x"}\n'})
    with pytest.raises(InputError, match=r"t\.jsonl line 1, column 'q': 2 queries in a cell, not one"):
        read(f"jsonl:{tmp_path / 't.jsonl'}")


def test_no_query_or_no_document_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no query in column 'q'"):
        read(table(tmp_path, "csv", [("", "x")]))
    with pytest.raises(InputError, match="1 rows, but no document in column 'd'"):
        read(table(tmp_path, "csv", [("x", "")]))


@pytest.mark.parametrize("data", ["emoji", "folder:photos"])
def test_what_has_images_takes_no_column_of_queries(data: str) -> None:
    with pytest.raises(InputError, match=r"query_column is of tables .* has images"):
        load_pairs(Source(data, query_column="q"))


# ------------------------------------------------------------------------------------------------------- their vectors


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_the_text_tower_encodes_both_sides(tmp_path: Path, batch_size: int) -> None:
    encoder = TinyEncoder()
    found = embed(encoder, read(table(tmp_path, "csv")), batch_size=batch_size, cache_dir=tmp_path / "cache")
    for rows, inputs in ((found.image, ["what is a cat", "where is Rome", "why"]), (found.text, [d for _, d in ROWS])):
        expected = torch.nn.functional.normalize(encoder.encode_text(encoder.tokenize(inputs)[0]), dim=1)
        assert torch.allclose(rows, expected, atol=1e-6)
    assert found.made_from["sides"] == ["query", "document"]
    assert found.image_id == ("what is a cat", "where is Rome", "why")


def test_an_object_of_the_callers_has_its_own_way_for_queries_and_documents(tmp_path: Path) -> None:
    class Asymmetric:
        def encode_query(self, texts: list[str]) -> Any:
            return torch.tensor([[float(len(text)), 1.0] for text in texts])

        def encode_document(self, texts: list[str]) -> Any:
            return torch.tensor([[1.0, float(len(text))] for text in texts])

    found = embed(Asymmetric, read(table(tmp_path, "csv")), cache_dir=tmp_path / "cache")
    expected = torch.tensor([[13.0, 1.0], [13.0, 1.0], [3.0, 1.0]])
    assert torch.allclose(found.image, torch.nn.functional.normalize(expected, dim=1), atol=1e-6)
    assert found.text is not None
    assert found.text[3].tolist() == pytest.approx([1 / 5**0.5, 2 / 5**0.5])


def test_a_function_of_texts_alone_is_enough(tmp_path: Path) -> None:
    def encode(texts: list[str]) -> Any:
        return torch.tensor([[float(len(text)), 1.0] for text in texts])

    found = embed(encode, read(table(tmp_path, "csv")), cache_dir=tmp_path / "cache")
    assert found.text is not None
    assert (found.image.shape, found.text.shape) == ((3, 2), (4, 2))
    both = embed(encode_text=encode, data=read(table(tmp_path, "csv")), cache_dir=tmp_path / "cache")
    assert torch.equal(both.image, found.image)


def test_a_store_of_texts_goes_on_and_knows_its_texts(tmp_path: Path) -> None:
    pairs = read(table(tmp_path, "csv"))
    extract(TinyEncoder(), pairs, tmp_path / "out", batch_size=2)
    extract(TinyEncoder(), pairs, tmp_path / "out", batch_size=2)
    other = read(table(tmp_path, "csv", [("what is a dog", "an animal"), *ROWS[1:]]))
    with pytest.raises(InputError, match="holds another extraction"):
        extract(TinyEncoder(), other, tmp_path / "out", batch_size=2)


def test_measure_takes_queries_and_documents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = table(tmp_path, "csv", [(f"question {i}", f"answer {i}") for i in range(24)], ("question", "answer"))
    columns = ("--query-column", "question", "--text-column", "answer", "--cache-dir", tmp_path / "cache")
    done = run_cli(capsys, "measure", "--data", data, *columns, "--json", "--bootstrap", 0)
    assert done.code == 0, done.err
    panel = json.loads(done.out)
    assert (panel["n_images"], panel["n_texts"], panel["made_from"]["sides"]) == (24, 24, ["query", "document"])
    assert_one_line(run_cli(capsys, "measure", "--query-column", "q"), 2, "--query-column is of tables")
