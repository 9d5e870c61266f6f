"""Snapshots: whole or not there, the last two kept, damage never taken for a state."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recorder import Recorder

from geomclip.machine.errors import DamagedError, GeomclipError, InputError
from geomclip.training import snapshots
from geomclip.training.loop import Course, course_of


def state(value: float) -> dict[str, dict[str, torch.Tensor]]:
    return {
        "model": {"w": torch.full((3, 2), value), "scale": torch.tensor(value)},
        "optimizer": {"exp_avg/w": torch.full((3, 2), -value), "step/w": torch.tensor(7.0)},
    }


def test_what_was_saved_comes_back_bit_for_bit(tmp_path):
    folder = snapshots.save(tmp_path, 12, state(0.1), {"course": {"best_step": 3}})
    loaded, known = snapshots.load(folder)
    assert known["step"] == 12
    assert known["course"] == {"best_step": 3}
    for name, tensors in state(0.1).items():
        assert loaded[name].keys() == tensors.keys()
        assert all(torch.equal(loaded[name][key], value) for key, value in tensors.items())


def test_views_and_shared_memory_are_saved_as_their_own(tmp_path):
    base = torch.arange(6.0)
    folder = snapshots.save(tmp_path, 1, {"model": {"a": base.view(2, 3).T, "b": base[2:4], "c": base}}, {})
    loaded, _ = snapshots.load(folder)
    assert torch.equal(loaded["model"]["a"], base.view(2, 3).T)
    assert torch.equal(loaded["model"]["b"], base[2:4])
    assert torch.equal(loaded["model"]["c"], base)


def test_the_last_two_are_kept_by_step_not_by_name(tmp_path):
    for step in (5, 999_999, 1_000_000):
        snapshots.save(tmp_path, step, state(step), {})
    kept = sorted(folder.name for folder in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-1000000", "step-999999"]
    newest = snapshots.newest(tmp_path)
    assert newest is not None
    assert newest.name == "step-1000000"


def test_earlier_ones_that_a_power_cut_brought_back_go_when_the_last_is_whole(tmp_path):
    for step in (1, 2, 3):
        snapshots.save(tmp_path, step, state(1), {})
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "step-000002", folder / "step-000001")
    flipped(folder / "step-000003/model.safetensors", -1)
    newest = snapshots.newest(tmp_path)
    assert newest is not None
    assert newest.name == "step-000002"
    assert (folder / "step-000001").exists()  # it may be needed yet
    shutil.rmtree(folder / "step-000003")
    shutil.copytree(folder / "step-000002", folder / "step-000000")
    assert snapshots.newest(tmp_path) == newest
    assert sorted(each.name for each in folder.iterdir()) == ["step-000001", "step-000002"]


def test_no_snapshots_of_a_folder_elsewhere_are_removed(tmp_path):
    for step in (1, 2, 3):
        (tmp_path / "elsewhere" / f"step-00000{step}").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is a link"):
        snapshots.clear_old(tmp_path / "run")
    assert len(list((tmp_path / "elsewhere").iterdir())) == 3


def test_without_snapshots_there_is_no_newest(tmp_path):
    assert snapshots.newest(tmp_path) is None


def test_an_unfinished_snapshot_is_passed_over_and_removed(tmp_path):
    snapshots.save(tmp_path, 5, state(1), {})
    half = tmp_path / "checkpoints" / ".step-000006.geomclip-tmp"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    newest = snapshots.newest(tmp_path)
    assert newest is not None
    assert newest.name == "step-000005"
    assert not half.exists()


def test_a_snapshot_cut_short_is_passed_over(tmp_path):
    snapshots.save(tmp_path, 5, state(1), {})
    last = snapshots.save(tmp_path, 6, state(2), {})
    os.truncate(last / "optimizer.safetensors", 20)
    newest = snapshots.newest(tmp_path)
    assert newest is not None
    assert newest.name == "step-000005"


def test_a_full_disk_leaves_the_earlier_snapshot(tmp_path, monkeypatch):
    snapshots.save(tmp_path, 5, state(1), {})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GeomclipError, match="the disk is full"):
        snapshots.save(tmp_path, 6, state(2), {})
    monkeypatch.undo()
    newest = snapshots.newest(tmp_path)
    assert newest is not None
    assert torch.equal(snapshots.load(newest)[0]["model"]["w"], state(1)["model"]["w"])
    assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == ["step-000005"]


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{",
        json.dumps({"schema": "other/1", "files": {}}),
        json.dumps({"schema": snapshots.SCHEMA, "step": 1, "files": {"../../x.safetensors": 1}}),
        json.dumps({"schema": snapshots.SCHEMA, "step": 1, "files": {"x.safetensors": {"bytes": [1] * 999}}}),
        json.dumps({"schema": snapshots.SCHEMA, "step": "1", "files": {}}),
    ],
)
def test_a_state_file_of_something_else_is_refused_in_one_line(tmp_path, content):
    folder = snapshots.save(tmp_path, 5, state(1), {})
    (folder / "state.json").write_text(content)
    with pytest.raises(InputError) as error:
        snapshots.load(folder)
    assert "state.json" in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(DamagedError, match="no checkpoint is whole"):
        snapshots.newest(tmp_path)


def test_damaged_weights_are_refused_with_the_way_out(tmp_path):
    folder = snapshots.save(tmp_path, 5, state(1), {})
    size = (folder / "model.safetensors").stat().st_size
    (folder / "model.safetensors").write_bytes(b"\xff" * size)
    with pytest.raises(InputError, match=r"is damaged .*delete it, and resume=True takes the one before"):
        snapshots.load(folder)


def flipped(file: Path, place: int, bit: int = 0) -> Path:
    """The file with one bit changed."""
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_one_flipped_bit_falls_back_to_the_one_before_and_says_so(tmp_path, name):
    snapshots.save(tmp_path, 5, state(1), {"seed": 3})
    last = snapshots.save(tmp_path, 6, state(2), {"seed": 3})
    place = (last / name).read_bytes().index(b'"seed"') + 8 if name == "state.json" else -3
    flipped(last / name, place)
    notes = Recorder()
    newest = snapshots.newest(tmp_path, progress=notes)
    assert newest is not None
    assert newest.name == "step-000005"
    (line,) = notes.lines
    assert f"step-000006/{name} is damaged" in line
    assert line.endswith("; step-000005 is taken")


def test_where_no_snapshot_is_whole_the_run_is_refused_with_the_way_out(tmp_path):
    for step in (5, 6):
        flipped(snapshots.save(tmp_path, step, state(step), {}) / "model.safetensors", -1)
    with pytest.raises(
        DamagedError, match=r"no checkpoint is whole .*delete this folder to start afresh with resume=True"
    ):
        snapshots.newest(tmp_path)


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_a_flip_of_any_bit_gives_the_snapshot_before_or_the_same_state(data):
    with tempfile.TemporaryDirectory() as place:
        run = Path(place)
        snapshots.save(run, 5, state(1), {"course": {"best_step": 3}, "seed": 0})
        last = snapshots.save(run, 6, state(2), {"course": {"best_step": 3}, "seed": 0})
        before = snapshots.load(last)
        file = last / data.draw(st.sampled_from(sorted(each.name for each in last.iterdir())))
        flipped(file, data.draw(st.integers(0, file.stat().st_size - 1)), data.draw(st.integers(0, 7)))
        newest = snapshots.newest(run)
        assert newest is not None
        if newest.name == "step-000005":
            return
        tensors, known = snapshots.load(newest)
        assert all(known[key] == before[1][key] for key in ("step", "course", "seed", "files"))
        for name, own in before[0].items():
            assert all(torch.equal(tensors[name][key], value) for key, value in own.items())


def test_a_snapshot_of_an_earlier_version_is_loaded_by_its_sizes(tmp_path):
    folder = snapshots.save(tmp_path, 5, state(1), {})
    known = json.loads((folder / "state.json").read_text())
    known["files"] = {name: each["bytes"] for name, each in known["files"].items()}
    del known["content_sha256"]
    (folder / "state.json").write_text(json.dumps(known))
    assert snapshots.newest(tmp_path) == folder
    assert torch.equal(snapshots.load(folder)[0]["model"]["w"], state(1)["model"]["w"])


def test_after_a_fallback_the_damaged_snapshot_goes_and_the_whole_ones_stay(tmp_path):
    snapshots.save(tmp_path, 5, state(1), {})
    flipped(snapshots.save(tmp_path, 10, state(2), {}) / "model.safetensors", -1)
    for step in (6, 7):
        snapshots.save(tmp_path, step, state(step), {})
    assert sorted(folder.name for folder in (tmp_path / "checkpoints").iterdir()) == ["step-000006", "step-000007"]


def test_the_folder_of_a_snapshot_is_on_disk_before_earlier_ones_go(tmp_path, monkeypatch):
    snapshots.save(tmp_path, 4, state(1), {})
    snapshots.save(tmp_path, 5, state(1), {})
    done = []
    synced, replaced, removed = os.fsync, os.replace, snapshots.shutil.rmtree

    def name_of(descriptor):
        return Path(os.readlink(f"/proc/self/fd/{descriptor}")).name

    monkeypatch.setattr(os, "fsync", lambda d: (done.append(("sync", name_of(d))), synced(d))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(("rename", Path(b).name)), replaced(a, b))[1])
    monkeypatch.setattr(
        snapshots.shutil, "rmtree", lambda a, **k: (done.append(("remove", Path(a).name)), removed(a, **k))[1]
    )
    snapshots.save(tmp_path, 6, state(2), {})
    renamed = done.index(("rename", "step-000006"))
    assert ("sync", ".step-000006.geomclip-tmp") in done[:renamed]
    assert done.index(("sync", "checkpoints"), renamed) < done.index(("remove", "step-000004"))


@pytest.mark.parametrize("course", [None, [], {"best_step": 3}, {**asdict(Course()), "start": 3}])
def test_a_snapshot_that_does_not_say_how_the_run_went_is_refused_in_one_line(course):
    assert course_of({"step": 5, "course": asdict(Course(best_step=3))}) == Course(best_step=3)
    with pytest.raises(InputError, match="step 5 does not say how the run went"):
        course_of({"step": 5, "course": course})
