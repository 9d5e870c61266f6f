"""Results back from disk: what was saved comes back, and files from others are judged before they are used."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import class_set, flipped, resealed, small_set, without_sums
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geomclip.machine.errors import DamagedError, InputError
from geomclip.panels import items
from geomclip.panels.comparison import compare
from geomclip.panels.fields import FIELDS
from geomclip.panels.files import items_path
from geomclip.panels.loading import load
from geomclip.panels.measurement import measure
from geomclip.panels.record import Panel

Change = Callable[[dict[str, Any]], None]


def same(one: Any, other: Any) -> bool:
    """Equal, with NaN equal to itself."""
    return bool(one == other) or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result with its items, measured once."""
    return measure(small_set(8, 2), bootstrap=20).save(tmp_path_factory.mktemp("saved") / "r.json")


@pytest.fixture
def file(saved: Path, tmp_path: Path) -> Path:
    """The saved result, for one test to change."""
    shutil.copy(items_path(saved), tmp_path)
    return Path(shutil.copy(saved, tmp_path))


def assert_refused(file: Path, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        load(file)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
    for part in parts:
        assert part in message


# --- there and back


@pytest.mark.parametrize(
    "options",
    [{"metrics": "all"}, {"by": "source"}, {"bootstrap": 0}, {"curves": True, "captions": "first"}],
    ids=str,
)
def test_a_saved_panel_comes_back_as_it_was(tmp_path: Path, options: dict[str, Any]) -> None:
    made = small_set(14, 2).replace(image_path=tuple(f"{i}.jpg" for i in range(14)))
    made = made.replace(made_from={**made.made_from, "skipped": [{"image_id": "9", "reason": "cut short"}]})
    panel = measure(made, **{"bootstrap": 30, **options})
    back = load(panel.save(tmp_path / "r.json"))
    assert json.dumps(back.to_dict()) == json.dumps(panel.to_dict())
    assert back.items.keys() == {kind for kind, columns in panel.items.items() if columns}
    for kind, columns in back.items.items():
        assert columns.keys() == panel.items[kind].keys()
        for name, column in columns.items():
            assert all(map(same, column, panel.items[kind][name])), (kind, name)


def test_a_result_from_before_nulls_had_errors_is_read(file: Path) -> None:
    record = json.loads(file.read_text())
    assert record["null_error"].keys() <= record["null"].keys()
    assert record["p"].keys() == {f"{what}_retrieval_{kind}" for what in ("text", "image") for kind in ("ece", "mce")}
    del record["null_error"], record["p"]
    file.write_text(json.dumps(without_sums(record)))
    panel = load(file)
    assert panel.null_error == panel.p == {}
    assert panel.null == record["null"]
    assert "Modality gap" in str(panel)


def make_earlier(file: Path, **ci: list[float]) -> Path:
    """The file as a version before wrote it: rows of draws among the items, and nothing on how intervals were made."""
    record = json.loads(file.read_text())
    for panel in (record, *record.get("groups", {}).values()):
        del panel["params"]["intervals"], panel["no_interval"]
        panel["ci"] = ci
    file.write_text(json.dumps(without_sums(record)))
    table = pq.read_table(items_path(file))
    table = table.select([name for name in table.column_names if not name.startswith("influence.")])
    drawn = pa.table({"kind": ["resample"] * 20 + ["half"] * 50, "modality_gap": [0.1] * 70})
    pq.write_table(pa.concat_tables([table, drawn], promote_options="permissive"), items_path(file))
    return file


def test_a_result_of_the_version_before_is_read_and_says_that_its_intervals_are_old(file: Path) -> None:
    panel = load(make_earlier(file, alignment=[0.1, 5.0], modality_gap=[0.0, -0.0187]))
    (line,) = [line for line in panel.warnings if "earlier version" in line]
    assert line == "its intervals are those of an earlier version, and too narrow for some numbers: measure again"
    assert panel.ci == {"alignment": (0.1, 5.0)}
    assert panel.no_interval == {"modality_gap": "turned ends, earlier version"}
    assert panel.items.keys() == {"image", "text"}
    assert "modality_gap" not in panel.items["image"]
    assert line in " ".join(str(panel).split())
    assert line in panel._repr_html_()
    again = load(panel.save(file))
    assert (again.ci, again.no_interval) == (panel.ci, panel.no_interval)


def test_a_comparison_with_a_result_of_the_version_before_says_which_side_it_is(saved: Path, file: Path) -> None:
    earlier = load(make_earlier(file, alignment=[0.1, 5.0], modality_gap=[0.0, -0.0187]))
    found = compare(earlier, load(saved))
    assert [note for note in found.notes if "earlier version" in note] == [f"before: {earlier.warnings[-1]}"]
    assert found["alignment"].difference == 0


def test_groups_of_the_version_before_lose_turned_ends_too(tmp_path: Path) -> None:
    file = measure(small_set(8, 2), by="source", bootstrap=20).save(tmp_path / "r.json")
    panel = load(make_earlier(file, modality_gap=[0.0, -0.0187]))
    for group in panel.groups.values():
        assert group.ci == {}
        assert group.no_interval == {"modality_gap": "turned ends, earlier version"}
    assert sum("earlier version" in line for line in panel.warnings) == 1


@pytest.mark.parametrize("ends", [[1], [None, 1], ["2", 1], [True, 0], "ab", [[2], [1]], [3, 2, 1]])
def test_what_is_no_interval_is_refused_of_an_earlier_version_too(file: Path, ends: Any) -> None:
    assert_refused(make_earlier(file, alignment=ends), "r.json is malformed: ", "ci")


def test_turned_ends_of_this_version_are_an_error(file: Path) -> None:
    record = json.loads(file.read_text())
    record["ci"]["modality_gap"] = [0.0, -0.0187]
    file.write_text(json.dumps(record))
    assert_refused(file, "r.json is malformed: ", "ci.modality_gap is no interval")


def test_a_result_without_intervals_is_of_no_version(tmp_path: Path) -> None:
    for panel in (measure(small_set(8, 2), bootstrap=0), Panel({"alignment": 1.0})):
        assert not any("earlier" in line for line in load(panel.save(tmp_path / "r.json")).warnings)


def test_a_panel_of_classes_comes_back(tmp_path: Path) -> None:
    panel = measure(class_set(), bootstrap=30)
    back = load(panel.save(tmp_path / "r.json"))
    assert json.dumps(back.to_dict()) == json.dumps(panel.to_dict())
    assert compare(panel, back)["zeroshot_mean_per_class_recall"].paired


def test_a_comparison_of_files_is_that_of_panels(tmp_path: Path) -> None:
    sides = [measure(small_set(12, 2, apart=apart), metrics="all", bootstrap=50) for apart in (0.5, 0.4)]
    kept = [load(side.save(tmp_path / f"{k}.json")) for k, side in enumerate(sides)]
    there, back = compare(*sides), compare(*kept)
    assert there.rows == back.rows


def test_images_and_texts_are_kept_and_what_each_image_moves_a_number_by(tmp_path: Path) -> None:
    panel = measure(small_set(24, 2), bootstrap=20)
    file = panel.save(tmp_path / "r.json")
    kept = load(file).items
    table = pq.read_table(items_path(file)).to_pandas()
    pairs = len(kept["pair"]["asking"])
    assert table["kind"].value_counts().to_dict() == {"image": 24, "text": 48, "pair": pairs}
    assert pairs > 0
    moved = {name.removeprefix("influence.") for name in kept["image"] if name.startswith("influence.")}
    assert {"modality_gap", "text_retrieval_median_rank", "effective_rank_image", "linear_separability"} <= moved
    assert moved <= {key for key, value in panel.values.items() if value is not None}
    assert not any(name.startswith("influence.") for name in kept["text"])


def test_many_items_are_written_a_group_of_rows_at_a_time_and_come_back_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = measure(small_set(8, 2), bootstrap=20)
    one, several = tmp_path / "one.json", tmp_path / "several.json"
    panel.save(one)
    monkeypatch.setattr(items, "AT_ONCE", 10)
    monkeypatch.setattr(items, "GROUP", 5)
    panel.save(several)
    expected, found = (pq.ParquetFile(items_path(file)) for file in (one, several))
    assert (expected.num_row_groups, found.num_row_groups) == (1, 2 + 4)  # of 8 images and of 16 texts
    assert found.schema_arrow == expected.schema_arrow
    assert found.read().to_pylist().__repr__() == expected.read().to_pylist().__repr__()
    assert load(several).items.keys() == load(one).items.keys()


def test_without_items_beside_it_a_result_is_a_panel_without_items(file: Path) -> None:
    items_path(file).unlink()
    assert load(file).items == {}


def test_saving_a_panel_without_items_leaves_none_of_another_beside_it(file: Path) -> None:
    Panel({"alignment": 1.0}).save(file)
    assert load(file)["alignment"] == 1.0
    assert sorted(path.name for path in file.parent.iterdir()) == ["r.json"]


def test_ids_beyond_ascii_come_back(tmp_path: Path) -> None:
    made = small_set(3, 1).replace(image_id=("ä", "日本", "a b"), caption_id=("é", "ø", "ß"))
    back = load(measure(made, bootstrap=0).save(tmp_path / "r.json"))
    assert back.items["image"]["image_id"] == ["ä", "日本", "a b"]


def test_every_attribute_of_a_panel_has_its_field_and_is_read_back_from_one() -> None:
    attributes = {field.name for field in dataclasses.fields(Panel)} - {"items", "groups"}
    assert {field.attribute for field in FIELDS} == attributes
    read_back = [field.attribute for field in FIELDS if field.check is not None]
    assert sorted(read_back) == sorted(attributes)


# --- JSON that is not what it should be


def test_a_file_that_is_not_there_or_no_file_is_named(tmp_path: Path) -> None:
    assert_refused(tmp_path / "r.json", "r.json cannot be read (No such file")
    assert_refused(tmp_path, "is no file")
    os.mkfifo(tmp_path / "pipe.json")
    assert_refused(tmp_path / "pipe.json", "is no file")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not readable as JSON"),
        (b'{"schema": "geomclip', "not readable as JSON"),
        (b"\xff\xfe\x00", "not readable as JSON"),
        (b"[1]", "holds no JSON object"),
        (b"{}", "its schema is not geomclip.measure/1"),
        (b'{"schema": "geomclip.compare/1"}', "is no result of geomclip measure"),
        (b'{"schema": "geomclip.measure/1"}', "metrics is no object"),
        (b'{"metrics": {"alignment": NaN}}', "NaN is no JSON"),
        (b'{"metrics": {"alignment": -Infinity}}', "-Infinity is no JSON"),
        (b"[" * 100_000, "too deep"),
        (b'{"a": ' * 50_000, "too deep"),
        (b'{"n": ' + b"1" * 5000 + b"}", "not readable as JSON"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "r.json").write_bytes(content)
    assert_refused(tmp_path / "r.json", "r.json", reason)


def test_a_file_too_large_to_parse_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOMCLIP_LIMITS", f"json-bytes={1 << 20}")
    (tmp_path / "r.json").write_bytes(b" " * ((1 << 20) + 1))
    assert_refused(
        tmp_path / "r.json", "r.json: 1048577 bytes of a file of JSON", "more than 1048576: refused; if you trust it"
    )


WRONG: dict[str, Any] = {
    "metrics": {"alignment": "1"},
    "metrics.alignment": {"alignment": True},
    "metrics.a": {"a": 10**400},
    "metrics.b": {"b": [1]},
    "ci": {"alignment": [1]},
    "ci.alignment": {"alignment": [2, 1]},
    "ci.a": {"a": [None, 1]},
    "null": {"alignment": None},
    "null_error": {"alignment": "0"},
    "p": {"text_retrieval_ece": [0.5]},
    "notes": {"alignment": 3},
    "warnings": [1],
    "reliability": {"x": [3]},
    "curves": {"x": {"y": 3}},
    "params": 3,
    "seconds": {"x": "1"},
    "env": [],
    "n_images": -1,
    "n_texts": 1.5,
    "dim": True,
    "logit_scale": "x",
    "task": None,
    "seed": 2**63,
    "features_sha256": 3,
    "made_from": [],
    "skipped": [3],
    "groups": {"a": 3},
    "groups.a": {"a": {"metrics": {}, "groups": {"b": {"metrics": {}}}}},
}


@pytest.mark.parametrize("place", WRONG)
def test_a_field_of_the_wrong_kind_is_named(file: Path, place: str) -> None:
    record = json.loads(file.read_text())
    name = place.split(".")[0]
    record[name] = WRONG[place]
    file.write_text(json.dumps(record))
    assert_refused(file, "r.json is malformed: ", name)


def test_escapes_for_the_terminal_do_not_come_through(file: Path) -> None:
    record = json.loads(file.read_text())
    record["made_from"]["model"] = "a\x1b[31mb\r\nc"
    record["notes"]["\x1b]0;x\x07"] = "z\x9b"
    file.write_text(json.dumps(without_sums(record)))
    panel = load(file)
    assert panel.made_from["model"] == "a\ufffd[31mb\ufffd\ufffdc"
    assert "\x1b" not in str(panel)
    assert "\x9b" not in str(panel)


# --- items that are not what they should be


def rewrite(file: Path, change: Change) -> None:
    """The items of a result, changed as a mapping of name to column."""
    place = items_path(file)
    columns = pq.read_table(place).to_pydict()
    change(columns)
    pq.write_table(pa.table(columns), place)


def put(name: str, place: int, value: Any) -> Change:
    def change(columns: dict[str, Any]) -> None:
        columns[name][place] = value

    return change


def shortened(columns: dict[str, Any]) -> None:
    for column in columns.values():
        del column[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put("sum.matched", 0, 100.0), "its sums give alignment"),
        (put("sum.matched", 0, math.nan), "sum.matched holds what is no finite number"),
        (put("sum.image_hit@1", 1, math.inf), "no finite number"),
        (put("image_id", 0, None), "ids of 8 images for 8"),
        (put("image_id", 8, "stranger"), "a text of an image that is not there"),
        (put("caption_id", 8, None), "caption_id of 16 texts for 16"),
        (put("rank", 0, -3), "rank holds what is no rank"),
        (put("kind", 0, "text"), "ids of 7 images for 8"),
        (put("kind", 0, "other"), "ids of 7 images for 8"),
        (shortened, "ids of 7 images for 8"),
        (lambda columns: columns.pop("kind"), "it has no column 'kind'"),
        (lambda columns: columns.update(rank=["x"] * 24), "column 'rank' is neither ids nor numbers"),
        (lambda columns: columns.update(image_id=[3] * 24), "column 'image_id' is neither ids nor numbers"),
        (lambda columns: columns.update(more=[[1]] * 24), "column 'more' is neither ids nor numbers"),
    ],
)
def test_items_that_are_not_those_of_the_result_are_refused(file: Path, change: Change, reason: str) -> None:
    rewrite(file, change)
    assert_refused(file, "r.items.parquet", reason)


def test_the_items_of_another_result_are_refused(file: Path) -> None:
    other = measure(small_set(8, 2, seed=5), bootstrap=20).save(file.with_name("other.json"))
    items_path(file).write_bytes(items_path(other).read_bytes())
    assert_refused(file, "r.items.parquet does not belong to its result: its sums give")


@pytest.mark.parametrize("keep", [0, 4, 100, -200, -1])
def test_items_cut_short_are_refused(file: Path, keep: int) -> None:
    place = items_path(file)
    place.write_bytes(place.read_bytes()[:keep])
    assert_refused(file, "r.items.parquet is not a readable parquet file")


def test_bytes_gone_wrong_are_refused_or_harmless(file: Path) -> None:
    place = items_path(file)
    content = place.read_bytes()
    for at in range(4, len(content), len(content) // 40):
        place.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        with suppress(InputError):  # and nothing else
            assert load(file).n_images == 8


def test_a_file_that_unfolds_to_a_thousand_times_its_size_is_refused(file: Path) -> None:
    rows = 2_000_000
    columns = {"kind": pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int8()), ["image"]).cast("string")}
    columns |= {f"sum.{k}": pa.nulls(rows, pa.float64()) for k in range(4)}
    pq.write_table(pa.table(columns), items_path(file), compression="zstd")
    assert items_path(file).stat().st_size < 100_000
    assert_refused(file, "r.items.parquet", "claim to unfold to 10000000 numbers: refused")


def test_a_long_string_on_every_row_stays_one_string(file: Path) -> None:
    rewrite(file, lambda columns: columns.update(image_path=["x" * 100_000] * 24))
    file.write_text(json.dumps(without_sums(json.loads(file.read_text()))))
    paths = load(file).items["image"]["image_path"]
    assert len({id(path) for path in paths}) == 1


def test_two_runs_alike_differ_in_their_times_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from geomclip.panels.comparison import compare

    def made(moment: str) -> dict[str, dict[str, Any]]:
        for module in ("measurement", "comparison.differences"):
            monkeypatch.setattr(f"geomclip.panels.{module}.utc_now", lambda: moment)
        one, other = (measure(small_set(24, seed=seed), bootstrap=20, by="source") for seed in (0, 1))
        return {"measure": one.to_dict(), "compare": compare(one, other, bootstrap=20).to_dict()}

    first, second = made("2026-01-01T00:00:00Z"), made("2026-01-02T00:00:00Z")
    for name in first:
        assert first[name]["written"] == {"created": "2026-01-01T00:00:00Z"}
        assert first[name] != second[name]
        for each in (first[name], second[name]):
            for record in (each, *each["groups"].values()):
                del record["written"]
                record.pop("seconds", None)
        assert json.dumps(first[name]) == json.dumps(second[name])


# --- sums


def test_a_result_file_has_the_sums_of_its_content_and_of_its_items(file: Path) -> None:
    record = json.loads(file.read_text())
    own = record["written"].pop("content_sha256")
    compact = json.dumps(record, sort_keys=True, separators=(",", ":"))
    assert own == hashlib.sha256(compact.encode()).hexdigest()
    assert record["items_sha256"] == hashlib.sha256(items_path(file).read_bytes()).hexdigest()


def test_a_number_that_was_changed_is_refused_with_the_way_out(file: Path) -> None:
    record = json.loads(file.read_text())
    record["metrics"]["uniformity_image"] += 1e-9
    file.write_text(json.dumps(record))
    with pytest.raises(DamagedError, match=r"r\.json is damaged or changed: .*: measure again, or put back a copy"):
        load(file)


def test_items_of_other_bytes_are_refused_with_the_way_out(file: Path) -> None:
    content = pq.read_table(items_path(file))
    pq.write_table(content, items_path(file), compression="none")
    with pytest.raises(DamagedError, match=r"r\.items\.parquet is damaged, .*: measure again, or take it away"):
        load(file)


def test_a_result_whose_sum_was_made_anew_and_one_without_a_sum_are_read(file: Path) -> None:
    assert load(resealed(file, lambda record: record.update(name="mine"))).name == "mine"
    file.write_text(json.dumps(without_sums(json.loads(file.read_text()))))
    assert load(file).name == "mine"


def test_a_file_name_that_is_no_utf8_and_an_escape_do_not_spoil_the_sum(tmp_path: Path) -> None:
    panel = Panel({"alignment": 0.5}, n_images=4, n_texts=4, notes={"alignment": "a\udcff\x1b[31mb"})
    assert load(panel.save(tmp_path / "r.json")).notes == {"alignment": "a\udcff\ufffd[31mb"}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flip_of_any_bit_is_refused_or_gives_the_same_panel(saved: Path, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(items_path(saved), place)
        copy = Path(shutil.copy(saved, place))
        file = data.draw(st.sampled_from([copy, items_path(copy)]))
        flipped(file, data.draw(st.integers(0, file.stat().st_size - 1)), data.draw(st.integers(0, 7)))
        try:
            found = load(copy)
        except InputError:
            return
        assert json.dumps(found.to_dict()) == json.dumps(load(saved).to_dict())
        assert repr(found.items) == repr(load(saved).items)
