"""Snapshots: whole or not there, the last two kept, damage never taken for a state."""

from __future__ import annotations

import json
import os

import pytest
import torch

from geomclip.machine.errors import GeomclipError, InputError
from geomclip.training import snapshots


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
    ],
)
def test_a_state_file_of_something_else_is_refused_in_one_line(tmp_path, content):
    folder = snapshots.save(tmp_path, 5, state(1), {})
    (folder / "state.json").write_text(content)
    with pytest.raises(InputError) as error:
        snapshots.load(folder)
    assert "state.json" in str(error.value)
    assert "\n" not in str(error.value)
    assert snapshots.newest(tmp_path) is None


def test_damaged_weights_are_refused_with_the_way_out(tmp_path):
    folder = snapshots.save(tmp_path, 5, state(1), {})
    size = (folder / "model.safetensors").stat().st_size
    (folder / "model.safetensors").write_bytes(b"\xff" * size)
    with pytest.raises(InputError, match=r"is damaged .*delete it, and resume=True takes the one before"):
        snapshots.load(folder)
