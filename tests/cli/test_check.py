"""`geomclip check`: what is whole, what is not, what to do; a flipped bit is found, and nothing is changed."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Done, assert_one_line, flipped, resealed, run_cli, small_set, without_sums
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import TinyEncoder, tiny_pairs
from tiny_models import tiny_model
from toy_pairs import toy_csv

import geomclip as gc
from geomclip.cli import checks
from geomclip.cli.app import main
from geomclip.encoders.extraction.calls import embed, extract
from geomclip.machine.errors import InputError
from geomclip.panels.nulls import NullCache

Cli = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Cli:
    return lambda *words: run_cli(capsys, "check", *words)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each kind that geomclip keeps."""
    root = tmp_path_factory.mktemp("kept")
    pairs = tiny_pairs(root / "images", 12)
    extract(TinyEncoder(), pairs, root / "store", shard_rows=4, cache_dir=root / "none")
    embed(TinyEncoder(), pairs, cache_dir=root / "cache")
    NullCache(root / "cache")["twonn-40x8-v2"] = {"twonn": (3.5, 0.1)}
    gc.save(small_set(8), root / "set.npz")
    gc.measure(small_set(8), bootstrap=5).save(root / "r.json")
    gc.compare(small_set(8), small_set(8, seed=1), bootstrap=5).save(root / "c.json")
    few = ("--steps", "2", "--batch-size", "8", "--save-every", "1", "--bootstrap", "5", "--quiet")
    model = f"local-dir:{tiny_model(root / 'model')}"
    data = ("--data", str(toy_csv(root / "pictures")), "--cache-dir", str(root / "none"), "--out", str(root / "run"))
    assert main(["finetune", "--model", model, *data, *few]) == 0
    return root


KINDS = {
    "store": "store",
    "cache": "cache",
    "run": "run",
    "set.npz": "vectors",
    "r.json": "result",
    "c.json": "result",
    "run/model.safetensors": "checkpoint",
}


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_everything_that_was_just_written_is_whole(place: Path, run: Cli, name: str, kind: str) -> None:
    done = run(place / name)
    assert (done.code, done.err) == (0, "")
    found = checks.examine(place / name)
    assert found.kind == kind
    assert found.parts
    assert {part.state for part in found.parts} == {"whole"}
    assert done.out == f"{place / name} ({kind}): {len(found.parts)} whole\n"


def test_a_run_is_looked_through(place: Path) -> None:
    names = {part.name for part in checks.examine(place / "run").parts}
    steps = {f"checkpoints/step-00000{step}" for step in (1, 2)}
    assert names == {"config.json", "model.safetensors", "best.safetensors", "before.json", "after.json", *steps}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_flip_of_any_bit_is_found_or_leaves_what_is_read_as_it_was(place: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(KINDS)))
    with tempfile.TemporaryDirectory() as folder:
        whole, copy = place / name, Path(folder) / Path(name).name
        if whole.is_dir():
            shutil.copytree(whole, copy)
        else:
            shutil.copy(whole, copy)
        files = sorted(file for file in copy.rglob("*") if file.is_file() and file.name != "log.jsonl") or [copy]
        file = files[data.draw(st.integers(0, 999)) % len(files)]
        before = file.read_bytes()
        at = int(data.draw(st.floats(0, 1, exclude_max=True)) * len(before))
        flipped(file, at, data.draw(st.integers(0, 7)))
        try:
            found = checks.examine(copy)
        except InputError:  # no longer one of ours
            return
        if found.failure() or (file.suffix == ".json" and checked_as_before(before, file.read_bytes())):
            return
        # zip's own fields, and names of sums: nothing that is read from
        states = {part.state for part in found.parts}
        assert states <= {"whole", "no sum"}
        assert file.suffix in (".npz", ".json", ".safetensors")


def checked_as_before(before: bytes, after: bytes) -> bool:
    """Whether two JSON texts say the same, but for the name of the sum."""
    return without_sums(json.loads(before)) == without_sums(json.loads(after))


@pytest.mark.parametrize(
    ("name", "file", "said"),
    [
        ("store", "img_emb/img_emb_0001.npy", "the same `geomclip extract` again makes this shard again"),
        ("store", "manifest.json", "the same `geomclip extract` into a new folder"),
        ("run", "checkpoints/step-000002/optimizer.safetensors", "--resume takes the one before"),
        ("run", "before.json", "--resume measures it again"),
        ("run", "best.safetensors", "or take another checkpoint of the run"),
        ("cache", "nulls/twonn-40x8-v2.json", "nothing: the next run that needs it makes it again"),
    ],
)
def test_what_is_damaged_is_named_with_what_to_do_and_trips_as_a_gate(
    place: Path, tmp_path: Path, run: Cli, name: str, file: str, said: str
) -> None:
    copy = Path(shutil.copytree(place / name, tmp_path / name))
    content = (copy / file).read_bytes()
    flipped(copy / file, content.index(b"5") if file.endswith(".json") else len(content) - 5)
    kept = {each: each.read_bytes() for each in copy.rglob("*") if each.is_file()}
    done = run(copy)
    assert done.code == 3
    assert f"   -> {said}\n" in done.out or f"{said}\n" in done.out
    part = file.rpartition("/")[0] if "checkpoints" in file else file
    assert done.err.startswith(f"geomclip: error: {copy}: 1 of ")
    assert done.err.endswith(f" damaged: {part}\n")
    listed = json.loads(run(copy, "--json").out)
    assert listed["counts"]["damaged"] == 1
    assert [each["name"] for each in listed["parts"] if each["state"] == "damaged"] == [part]
    assert {each: each.read_bytes() for each in copy.rglob("*") if each.is_file()} == kept


def test_a_shard_dropped_from_the_manifest_is_found(place: Path, tmp_path: Path, run: Cli) -> None:
    copy = Path(shutil.copytree(place / "store", tmp_path / "store"))
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["shards"][1]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert run(copy).code == 3


def test_a_weights_blob_of_the_hub_is_compared_with_its_name(tmp_path: Path, run: Cli) -> None:
    blob = tmp_path / "weights" / "models--a--b" / "blobs" / ("0" * 64)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"weights")
    done = run(tmp_path)
    assert done.code == 3
    assert "   -> delete this file: it is fetched again\n" in done.out


def test_a_result_without_a_sum_is_no_damage(place: Path, tmp_path: Path, run: Cli) -> None:
    record = without_sums(json.loads((place / "r.json").read_text()))
    (tmp_path / "r.json").write_text(json.dumps(record))
    done = run(tmp_path / "r.json")
    assert done.code == 0
    assert done.out.endswith("r.json (result): 1 no sum\n")


def test_an_unfinished_store_is_no_damage(place: Path, tmp_path: Path, run: Cli) -> None:
    copy = Path(shutil.copytree(place / "store", tmp_path / "store"))
    resealed(copy / "manifest.json", lambda manifest: manifest.update(done=False))
    done = run(copy)
    assert done.code == 0
    assert "the same `geomclip extract` again finishes it" in done.out


@pytest.mark.parametrize("name", ["absent", "images", "pictures/pairs.csv", "model", "of_others.json"])
def test_what_is_none_of_ours_is_refused(place: Path, run: Cli, name: str) -> None:
    (place / "of_others.json").write_text('{"schema": "other/1"}')
    assert_one_line(run(place / name), 2, "no such file or folder" if name == "absent" else "")
