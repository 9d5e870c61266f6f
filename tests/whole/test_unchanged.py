"""What two commits produce is compared field by field: what may vary, what may not, and what is meant to."""

from __future__ import annotations

import base64
import io
import json
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from helpers import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import unchanged
from unchanged import CASES, CHANGES, Change, Difference, chosen, compared, differences, explains, shown

RESULT = {
    "metrics": {"alignment": 0.1234},
    "seconds": {"sweep": 0.5},
    "env": {"geomclip": "0.1.0", "torch": "2"},
    "written": {"created": "2026-01-01T00:00:00Z"},
}


def written(value: Any, **options: Any) -> bytes:
    return json.dumps(value, **{"indent": 2, **options}).encode()


def fields_of(found: list[Difference]) -> list[str]:
    return [each.field for each in found]


def test_times_and_versions_may_differ_and_digits_may_not() -> None:
    later = RESULT | {"seconds": {"sweep": 0.7}, "env": {"geomclip": "0.2.0", "torch": "2"}}
    later |= {"written": {"created": "2026-01-02T03:04:05Z"}}
    assert differences("a/r.json", written(RESULT), written(later)) == []
    digit = RESULT | {"metrics": {"alignment": 0.1235}}
    assert differences("a/r.json", written(RESULT), written(digit)) == [
        Difference("a/r.json", "metrics.alignment", "0.1234", "0.1235", apart=pytest.approx(1e-4))
    ]
    assert fields_of(differences("a/r.json", written(RESULT), written(RESULT | {"env": {}}))) == [
        *("env.geomclip", "env.torch", "env"),
    ]


def test_the_same_value_of_another_type_order_or_layout_differs() -> None:
    assert fields_of(differences("a/r.json", b'{"x": 1}', b'{"x": 1.0}')) == ["x"]
    assert fields_of(differences("a/r.json", b'{"x": 1, "y": 2}', b'{"y": 2, "x": 1}')) == ["x"]
    assert fields_of(differences("a/r.json", written(RESULT), written(RESULT, indent=1))) == ["(written)"]
    assert fields_of(differences("a/r.json", b"{}", b"{}\n")) == ["(written)"]


def test_a_missing_file_differs() -> None:
    assert differences("a/r.json", b"{}", None) == [Difference("a/r.json", "", "2 bytes", "absent")]
    assert differences("a/r.json", None, None) == []


def test_lines_of_a_log_are_compared_by_their_fields() -> None:
    log = [b'{"loss": 1.0, "seconds": 2.0, "images_per_second": 3.0}\n', b'{"loss": 1.5, "seconds": 2.5}\n']
    assert differences("a/log.jsonl", b"".join(log), log[0] + log[1].replace(b"2.5", b"2.6")) == []
    assert fields_of(differences("a/log.jsonl", b"".join(log), log[0] + log[1].replace(b"1.5", b"1.6"))) == [
        "line 2.loss"
    ]


def page(figure: dict[str, Any], carried: dict[str, Any], word: str = "a") -> bytes:
    packed = base64.b64encode(zlib.compress(json.dumps(carried, separators=(",", ":")).encode(), 9)).decode()
    data = f'<script type="application/json" id="f">{json.dumps(figure)}</script>'
    return f"<p>{word}</p>\n{data}\n<script>{packed}</script>\n".encode()


def test_pages_are_compared_with_what_they_carry() -> None:
    import random

    noise = [random.Random(0).random() for _ in range(40)]
    inner = {"files": {"r.json": json.dumps(RESULT, indent=2)}, "noise": noise}
    later = {"files": {"r.json": json.dumps(RESULT | {"seconds": {"sweep": 9.0}}, indent=2)}, "noise": noise}
    digit = {"files": {"r.json": json.dumps(RESULT | {"metrics": {"alignment": 0.2}}, indent=2)}, "noise": noise}
    first = page({"x": [1, 2]}, inner)
    assert first != page({"x": [1, 2]}, later)
    assert differences("a/p.html", first, page({"x": [1, 2]}, later)) == []
    assert [
        name.split(".", 1)[1] for name in fields_of(differences("a/p.html", first, page({"x": [1, 2]}, digit)))
    ] == ["files.r.json.metrics.alignment"]
    assert [
        name.split(".", 1)[1] for name in fields_of(differences("a/p.html", first, page({"x": [1, 3]}, inner)))
    ] == ["x[1]"]
    assert fields_of(differences("a/p.html", first, page({"x": [1, 2]}, inner, word="b"))) == ["line 1"]


def table(values: list[float], **metadata: str) -> bytes:
    made = pa.table({"x": pa.array(values), "name": pa.array(["a"] * len(values))}).replace_schema_metadata(metadata)
    with io.BytesIO() as out:
        parquet.write_table(made, out)
        return out.getvalue()


def test_tables_are_compared_by_type_metadata_and_cell() -> None:
    assert fields_of(differences("a/t.parquet", table([1.0, 2.0]), table([1.0, 2.5]))) == ["x[1]"]
    assert fields_of(differences("a/t.parquet", table([1.0], a="b"), table([1.0], a="c"))) == ["(metadata).a"]
    assert fields_of(differences("a/t.parquet", table([1.0]), table([1]))) == ["(columns)", "x[0]"]  # type: ignore[list-item]


def array(values: Any) -> bytes:
    with io.BytesIO() as out:
        np.save(out, values)
        return out.getvalue()


def test_arrays_are_compared_by_type_and_row() -> None:
    rows = np.eye(3, dtype=np.float32)
    changed = rows.copy()
    changed[1, 2] = 1e-7
    assert fields_of(differences("a/x.npy", array(rows), array(changed))) == ["row 1"]
    assert fields_of(differences("a/x.npy", array(rows), array(rows.astype(float)))) == ["(array)", "(bytes)"]


def test_other_bytes_and_texts_are_compared_whole() -> None:
    assert fields_of(differences("a/w.safetensors", b"\xff\x00", b"\xff\x01")) == [""]
    assert fields_of(differences("a/t.md", b"a\nb\n", b"a\nc\n")) == ["line 2"]


def test_a_change_of_digits_explains_no_larger_one() -> None:
    digits = Change("m/*", "^x$", "x moves in the last digits", within=1e-6)
    for after, explained in ((b'{"x": 2.000001}', True), (b'{"x": 2.00001}', False), (b'{"x": "two"}', False)):
        (found,) = differences("m/r.json", b'{"x": 2.0}', after)
        assert explains(digits, found) == explained


def test_a_difference_that_the_changelog_names_is_explained_and_an_idle_entry_is_named() -> None:
    before, after = {"m/r.json": b'{"x": 1, "y": 1}'}, {"m/r.json": b'{"x": 2, "y": 2}'}
    used = Change("m/*.json", "^x$", "x counts from one")
    idle = Change("n/*", "", "n is new")
    outcomes, unused = compared(before, after, [used, idle])
    assert fields_of(outcomes["m"].unexplained) == ["y"]
    assert outcomes["m"].explained == 1
    assert unused == [idle]
    printed = "\n".join(shown(outcomes, unused))
    assert "1 DIFFERENCES, 1 fields changed as CHANGELOG.md says\n    m/r.json [y]: 1 -> 2" in printed
    assert "unused in CHANGES: n/*" in printed


def test_at_most_five_differences_of_a_case_are_printed() -> None:
    before, after = ({"m/t.txt": "".join(f"{word}{i}\n" for i in range(9)).encode()} for word in "ab")
    printed = list(shown(*compared(before, after, [])))
    assert sum(line.startswith("    m/t.txt") for line in printed) == unchanged.SHOWN
    assert printed[-1] == "    and 4 more"


def test_what_is_meant_to_change_stands_in_the_changelog() -> None:
    told = " ".join((ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split())
    assert [change for change in CHANGES if change.reason not in told] == []


def test_a_case_brings_those_that_it_needs() -> None:
    assert [case.name for case in chosen(CASES, ["compare"])] == ["extract", "store", "finetune", "compare"]
    with pytest.raises(SystemExit, match="--only nonsense: the cases are measure"):
        chosen(CASES, ["nonsense"])


def test_every_command_is_a_case() -> None:
    from geomclip.cli.app import app

    helped = next(case for case in CASES if case.name == "help").commands
    assert [name for name in app.commands if f"{name} --help" not in helped] == []


def test_a_command_that_fails_where_it_should_not_says_nothing_by_being_equal() -> None:
    found = {"measure/1: measure | exit code": b"2", "measure/1: measure | stderr": b"no model\n"}
    fine = {"errors/1: x | exit code": b"2", "errors/1: x | stderr": b"no", "help/1: y | exit code": b"0"}
    assert unchanged.unexpected(found | fine) == ["before: measure/1: measure | exit code 2: no model"]
    assert unchanged.unexpected({"errors/1: x | exit code": b"0", "errors/1: x | stderr": b""}) != []


def test_the_folders_of_the_sides_are_left_out() -> None:
    assert unchanged.placeless(b"no /a/b/x.csv in /c", Path("/c"), Path("/a/b")) == b"no FOLDER/x.csv in TREE"
