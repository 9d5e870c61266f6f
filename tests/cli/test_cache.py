"""The cache: what lies in it, what goes and what stays, and that nothing outside of it or of others is touched."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Done, assert_one_line, folder_of_pairs, run_cli
from tiny_models import tiny_model

import geomclip as gc
from geomclip.cli import cache, quantities
from geomclip.machine.errors import InputError
from geomclip.machine.lock import Lock, holder_of

Cli = Callable[..., Done]
KEYS = ["0" * 31 + digit for digit in "abc"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], folder: Path) -> Cli:
    return lambda *words: run_cli(capsys, "cache", *words, "--cache-dir", folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three stores of 1,000 to 3,000 bytes, 10, 20 and 30 days old, and small files, weights and a data set."""
    root = tmp_path / "cache"
    for number, key in enumerate(KEYS, 1):
        store(root / "embeddings" / key, 1000 * number, model=f"m{number}", days=10 * number)
    put(root / "nulls" / "twonn-40x128-v2.json", 100, days=4)
    put(root / "encoders" / f"{KEYS[0]}.json", 200, days=5)
    hub = root / "weights" / "models--org--name"
    put(hub / "blobs" / "1234", 5000, days=40)
    put(hub / "refs" / "main", 40, days=40)
    (hub / "snapshots" / "1").mkdir(parents=True)
    (hub / "snapshots" / "1" / "model.safetensors").symlink_to("../../blobs/1234")
    put(root / "data" / "coco" / "annotations.json", 7000, days=90)
    return root


def put(file: Path, size: int, *, days: float = 0.0) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * size)
    aged(file, days)
    return file


def aged(file: Path, days: float) -> None:
    then = time.time() - days * quantities.DAY
    os.utime(file, (then, then))


def store(place: Path, size: int, *, model: str, days: float) -> Path:
    made_from = {"model": model, "pretrained": "tag", "dataset": "coco", "split": "val"}
    manifest = json.dumps({"made_from": made_from, "inputs": 1234, "done": True})
    put(place / "img_emb" / "img_emb_0000.npy", size - len(manifest), days=days)
    (place / "manifest.json").write_text(manifest)
    return place


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "embeddings").iterdir())


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- looking


def test_every_entry_is_listed_with_what_it_is(run: Cli, folder: Path) -> None:
    done = run()
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == f"{folder}: 18.3 KB, 7 entries"
    assert [line.split()[0] for line in lines[1:]] == [
        *("nulls", "encoders", "embeddings", "embeddings", "embeddings", "weights", "data"),
    ]
    assert "embeddings     1.0 KB   10 d  m1, tag x coco (val), 1,234 images" in lines
    assert "weights        5.0 KB   40 d  org/name" in lines
    assert all(len(line) <= 80 for line in lines[1:])


def test_json_has_the_same(run: Cli, folder: Path) -> None:
    found = json.loads(run("--json").out)
    assert found["bytes"] == sum(entry["bytes"] for entry in found["entries"]) == 18340
    first = next(entry for entry in found["entries"] if entry["name"] == KEYS[0])
    assert (first["kind"], first["bytes"], first["path"]) == ("embeddings", 1000, str(folder / "embeddings" / KEYS[0]))
    assert found["unknown"] == []


def test_a_listing_changes_nothing_and_an_absent_cache_is_empty(run: Cli, folder: Path, tmp_path: Path) -> None:
    before = snapshot(folder)
    run()
    assert snapshot(folder) == before
    assert cache.contents(tmp_path / "absent").entries == ()
    assert not (tmp_path / "absent").exists()


def test_what_commands_keep_is_known(tmp_path: Path) -> None:
    model = f"local-dir:{tiny_model(tmp_path / 'model')}"
    gc.embed(model=model, data=f"folder:{folder_of_pairs(tmp_path / 'data')}", cache_dir=tmp_path / "cache")
    found = cache.contents(tmp_path / "cache")
    assert found.unknown == ()
    assert {entry.kind for entry in found.entries} >= {"embeddings"}
    assert [entry.kept for entry in found.entries] == [""] * len(found.entries)
    (kept,) = (entry for entry in found.entries if entry.kind == "embeddings")
    assert kept.about.endswith("6 images")


# --- clearing


def test_what_is_old_goes_and_the_rest_stays(run: Cli, folder: Path) -> None:
    done = run("prune", "--older-than", "15d")
    assert done.code == 0, done.err
    assert left(folder) == [KEYS[0]]
    assert not (folder / "weights" / "models--org--name").exists()
    assert (folder / "data" / "coco" / "annotations.json").exists()
    assert "! data/coco stays: a data set" in done.out
    assert done.out.splitlines()[-1] == f"{folder}: 3 entries removed, 18.3 KB -> 8.3 KB"


def test_a_dry_run_says_the_same_and_removes_nothing(run: Cli, folder: Path) -> None:
    before = snapshot(folder)
    dry = run("prune", "--older-than", "15d", "--dry-run").out
    assert snapshot(folder) == before
    assert dry.replace("would be ", "") == run("prune", "--older-than", "15d").out


def test_down_to_a_size_what_was_used_longest_ago_goes_first(run: Cli, folder: Path) -> None:
    result = json.loads(run("prune", "--max-size", "11KB", "--json").out)
    assert [entry["name"] for entry in result["removed"]] == ["models--org--name", KEYS[2]]
    assert result["bytes_after"] == 18340 - 5040 - 3000
    assert left(folder) == KEYS[:2]


def test_a_limit_that_cannot_be_reached_is_told(run: Cli, folder: Path) -> None:
    done = run("prune", "--max-size", "0")
    assert done.code == 0
    assert "! still above 0 B" in done.out
    assert cache.contents(folder).size == 7000
    assert left(folder) == []


def test_what_was_read_lately_is_not_old(run: Cli, folder: Path) -> None:
    file = folder / "embeddings" / KEYS[2] / "img_emb" / "img_emb_0000.npy"
    os.utime(file, (time.time(), file.stat().st_mtime))
    run("prune", "--older-than", "15d")
    assert left(folder) == [KEYS[0], KEYS[2]]


def test_what_is_in_use_stays_and_is_named(run: Cli, folder: Path) -> None:
    place = folder / "embeddings" / KEYS[2]
    with Lock(place):
        assert f"process {os.getpid()}" in holder_of(place)
        done = run("prune", "--max-size", "0")
        assert f"! embeddings/{KEYS[2]} stays: in use by process {os.getpid()} on " in done.out
        assert left(folder) == [KEYS[2]]
    assert holder_of(place) == ""
    run("prune", "--max-size", "0")
    assert left(folder) == []


def test_what_is_taken_between_the_look_and_the_removal_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder / "embeddings" / KEYS[2]
    monkeypatch.setattr(cache, "holder_of", lambda path: "")
    with Lock(place):
        done = cache.prune(folder, max_size=0)
    assert [entry.name for entry in done.kept if entry.kind == "embeddings"] == [KEYS[2]]
    assert place.exists()


def test_files_of_others_stay(run: Cli, folder: Path, tmp_path: Path) -> None:
    mine = [
        put(folder / "notes.txt", 1, days=99),
        put(folder / "embeddings" / "mine" / "x.npy", 1, days=99),
        put(folder / "embeddings" / KEYS[0] / "mine.txt", 1, days=99),
        put(folder / "encoders" / "mine.json", 1, days=99),
        put(folder / "weights" / "other" / "x", 1, days=99),
        put(folder / "weights" / "models--org--name" / "by-hand.bin", 1, days=99),
    ]
    done = run("prune", "--max-size", "0")
    assert all(file.exists() for file in mine)
    assert f"embeddings/{KEYS[0]} stays: mine.txt in it is not geomclip's" in done.out
    assert "weights/models--org--name stays: by-hand.bin in it is not geomclip's" in done.out
    unknown = set(cache.contents(folder).unknown)
    assert unknown == {"notes.txt", "embeddings/mine", "encoders/mine.json", "weights/other"}
    assert "! notes.txt is not geomclip's: left alone" in run().out


def test_no_link_is_followed(run: Cli, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    store(outside / KEYS[0], 1000, model="x", days=99)
    before = snapshot(outside)
    (folder / "embeddings" / ("d" * 32)).symlink_to(outside / KEYS[0])
    (folder / "embeddings" / KEYS[1] / "text_emb").symlink_to(outside)
    done = run("prune", "--max-size", "0")
    assert snapshot(outside) == before
    assert f"embeddings/{KEYS[1]} stays: text_emb in it is" in done.out
    assert cache.contents(folder).unknown == (f"embeddings/{'d' * 32}",)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "embeddings").symlink_to(outside)
    assert cache.prune(elsewhere, max_size=0).removed == ()
    assert snapshot(outside) == before
    assert cache.contents(elsewhere).unknown == ("embeddings",)


def test_what_was_left_unfinished_goes_after_a_day(run: Cli, folder: Path) -> None:
    fresh = put(folder / "nulls" / ".a.json.12345678.geomclip-tmp", 10)
    old = put(folder / "nulls" / ".b.json.12345678.geomclip-tmp", 10, days=2)
    run("prune", "--max-size", "0")
    assert fresh.exists()
    assert not old.exists()


def test_weights_that_are_being_fetched_stay(run: Cli, folder: Path) -> None:
    part = put(folder / "weights" / "models--org--name" / "blobs" / "77.incomplete", 10)
    assert "stays: it is being fetched" in run("prune", "--max-size", "0").out
    aged(part, 40)
    run("prune", "--max-size", "0")
    assert not part.exists()


def test_a_lock_is_waited_for_though_its_folder_goes(tmp_path: Path) -> None:
    place = tmp_path / "a"
    with Lock(place):
        os.rename(place, tmp_path / "b")
    with Lock(place, wait=True):
        assert place.is_dir()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "say what may go: --older-than 30d, --max-size 10GB, or both"),
        (["--older-than", "30"], "--older-than 30: write a number with h, d or w, for example 30d"),
        (["--older-than", "-3d"], "for example 30d"),
        (["--max-size", "many"], "--max-size many: write a number with MB, GB or TB, for example 10GB"),
        (["--max-size", "10 XB"], "for example 10GB"),
        (["--maxsize", "1"], "did you mean --max-size"),
    ],
)
def test_what_cannot_be_read_removes_nothing(run: Cli, folder: Path, words: list[str], expected: str) -> None:
    before = snapshot(folder)
    assert_one_line(run("prune", *words), 2, expected)
    assert snapshot(folder) == before


def test_options_before_prune_hold_for_it(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    done = run_cli(capsys, "cache", "--cache-dir", folder, "--json", "prune", "--max-size", "0", "--dry-run")
    assert json.loads(done.out)["folder"] == str(folder)


def test_python_reads_parameters() -> None:
    with pytest.raises(InputError, match=r"^older_than='x': write"):
        quantities.age("x")
