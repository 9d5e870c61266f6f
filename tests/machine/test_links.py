"""A link where geomclip makes a file or folder of its own is never written through, nor deleted through."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import assert_one_line, folder_of_pairs, run_cli
from recorder import Recorder
from tiny import TinyEncoder, tiny_pairs
from tiny_models import tiny_model

from geomclip.encoders.extraction.calls import extract
from geomclip.grounding.bench.run import bench
from geomclip.machine.errors import InputError
from geomclip.machine.files import clear_leftovers
from geomclip.machine.lock import Lock
from geomclip.pairs.download import download
from geomclip.pairs.unpacking import unpack
from geomclip.reproduction.run import reproduce
from geomclip.training import folder as runs
from geomclip.training import snapshots
from geomclip.training.settings import Settings
from geomclip.training.watching import evaluator
from geomclip.training.watching.journal import Journal
from geomclip.training.watching.watch_log import WatchLog

KEPT = "somebody else's"
PARTS = ("img_emb", "metadata", "text_emb", "text_metadata", "class_emb", "class_metadata")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A folder of somebody else's, with files of the names that geomclip clears away."""
    folder = tmp_path / "other"
    for name in ("file", ".x.geomclip-tmp", "step-000001/file", ".step-000002.geomclip-tmp"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(KEPT)
    return folder


def content(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def assert_refused(act: Callable[[], Any], link: Path, other: Path) -> None:
    before, around = content(other), sorted(link.parent.iterdir())
    with pytest.raises(InputError, match="is a link, which is never written through") as refusal:
        act()
    assert str(refusal.value).startswith(f"{link} is a link")
    assert "\n" not in str(refusal.value)
    assert content(other) == before
    assert sorted(link.parent.iterdir()) == around
    assert link.is_symlink()


def entered(lock: Lock) -> None:
    with lock:
        pass


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("target", ["file", "absent"])
def test_a_lock_that_is_a_link_is_refused_and_nothing_written_through_it(
    target: str, wait: bool, tmp_path: Path, other: Path
) -> None:
    link = tmp_path / "store" / ".geomclip.lock"
    link.parent.mkdir()
    link.symlink_to(other / target)
    assert_refused(lambda: entered(Lock(link.parent, wait=wait)), link, other)


def test_a_lock_that_shares_its_bytes_with_another_file_is_refused(tmp_path: Path, other: Path) -> None:
    os.link(other / "file", tmp_path / ".geomclip.lock")
    with pytest.raises(InputError, match=r"\.geomclip\.lock is no plain file of its own: take it away"):
        entered(Lock(tmp_path))
    assert (other / "file").read_text() == KEPT


def test_a_lock_that_is_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".geomclip.lock")
    with pytest.raises(InputError, match="is no plain file of its own"):
        entered(Lock(tmp_path))


def test_a_lock_that_was_left_behind_is_still_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".geomclip.lock").write_text("{}")
    entered(Lock(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_a_store_that_is_a_link_is_refused_before_anything_changes(
    part: str, tmp_path: Path, other: Path
) -> None:
    pairs = tiny_pairs(tmp_path / "images", 20)
    store = extract(TinyEncoder(), pairs, tmp_path / "store", shard_rows=8)
    shards = sorted((store / "img_emb").iterdir())
    shards[0].write_bytes(b"damaged")
    (store / ".y.geomclip-tmp").touch()
    if (store / part).is_dir():
        (store / part).rename(tmp_path / "moved")
    (store / part).symlink_to(other)
    manifest = (store / "manifest.json").read_bytes()
    assert_refused(lambda: extract(TinyEncoder(), pairs, store, shard_rows=8), store / part, other)
    assert (store / "manifest.json").read_bytes() == manifest
    assert (store / ".y.geomclip-tmp").exists()


def test_a_part_that_becomes_a_link_while_a_store_is_made_is_refused(tmp_path: Path, other: Path) -> None:
    pairs, store = tiny_pairs(tmp_path / "images", 20), tmp_path / "store"

    def turn(done: int) -> None:
        if done > 12 and not (store / "img_emb").is_symlink():
            (store / "img_emb").rename(tmp_path / "moved")
            (store / "img_emb").symlink_to(other)

    before = content(other)
    with pytest.raises(InputError, match="img_emb is a link"):
        extract(TinyEncoder(), pairs, store, batch_size=4, shard_rows=8, progress=Recorder(turn))
    assert content(other) == before


def test_a_folder_that_the_user_names_may_be_a_link(tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path / "images", 8)
    (tmp_path / "real").mkdir()
    (tmp_path / "named").symlink_to("real")
    extract(TinyEncoder(), pairs, tmp_path / "named")
    extract(TinyEncoder(), pairs, tmp_path / "named" / "deeper")
    snapshots.save(tmp_path / "named" / "run", 1, {"model": {"w": torch.zeros(2)}}, {})
    assert (tmp_path / "real" / "img_emb" / "img_emb_0000.npy").is_file()
    assert (tmp_path / "real" / "deeper" / "manifest.json").is_file()
    assert (tmp_path / "real" / "run" / "checkpoints" / "step-000001").is_dir()


def test_leftovers_behind_a_link_stay(tmp_path: Path, other: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / ".z.geomclip-tmp").touch()
    (tmp_path / "store" / "img_emb").symlink_to(other)
    assert_refused(lambda: clear_leftovers(tmp_path / "store", "img_emb"), tmp_path / "store" / "img_emb", other)


STATE = {"model": {"w": torch.zeros(2)}}


@pytest.mark.parametrize("name", ["", "step-000002", ".step-000002.geomclip-tmp"])
def test_a_snapshot_is_not_written_through_a_link(name: str, tmp_path: Path, other: Path) -> None:
    link = tmp_path / "run" / "checkpoints" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(other)
    assert_refused(lambda: snapshots.save(tmp_path / "run", 2, STATE, {}), link, other)


def test_snapshots_behind_a_link_are_neither_looked_for_nor_cleared(tmp_path: Path, other: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(other)
    assert_refused(lambda: snapshots.newest(tmp_path / "run"), tmp_path / "run" / "checkpoints", other)


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_whose_checkpoints_are_a_link_is_refused_before_it_begins(
    resume: bool, tmp_path: Path, other: Path
) -> None:
    (tmp_path / "run").mkdir()
    link = tmp_path / "run" / "checkpoints"
    link.symlink_to(other)
    config = runs.Config({}, Settings(), {}, {"fingerprints": {}})
    begin = lambda: runs.begin(runs.RunFolder(link.parent, resume), config)  # noqa: E731
    assert_refused(begin, link, other)


def test_a_log_that_is_a_link_is_replaced_and_not_written_through(tmp_path: Path, other: Path) -> None:
    (tmp_path / "run").mkdir()
    log = tmp_path / "run" / "log.jsonl"
    log.symlink_to(other / "file")
    with Journal(tmp_path / "run") as journal:
        journal.step({"step": 1, "loss": 2.5})
    assert not log.is_symlink()
    assert '"loss": 2.5' in log.read_text()
    assert (other / "file").read_text() == KEPT


def test_a_log_that_becomes_a_link_as_it_is_opened_is_not_followed(
    tmp_path: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    link = lambda path, _: Path(path).symlink_to(other / "file")  # noqa: E731
    monkeypatch.setattr("geomclip.training.watching.lines.atomic_bytes", link)
    with pytest.raises(OSError, match="symbolic links"):
        Journal(tmp_path / "run")
    assert (other / "file").read_text() == KEPT


@pytest.mark.parametrize("tracker", ["tensorboard", "wandb"])
def test_a_tracker_does_not_write_into_a_link(tracker: str, tmp_path: Path, other: Path) -> None:
    (tmp_path / "run").mkdir()
    link = tmp_path / "run" / tracker
    link.symlink_to(other)
    assert_refused(lambda: Journal(tmp_path / "run", **{tracker: True}), link, other)


@pytest.mark.parametrize("tracker", ["tensorboard", "wandb"])
def test_what_watches_a_loop_does_not_write_into_a_link(tracker: str, tmp_path: Path, other: Path) -> None:
    (tmp_path / "run").mkdir()
    link = tmp_path / "run" / tracker
    link.symlink_to(other)
    shown: dict[str, Any] = {"tensorboard": False, "wandb": False, tracker: True}
    log = WatchLog(tmp_path / "run" / "log.jsonl", {}, every=1, **shown)
    assert_refused(lambda: log.open(0), link, other)


def test_a_table_of_an_evaluator_that_is_a_link_is_not_appended_to(tmp_path: Path, other: Path) -> None:
    (tmp_path / "run").mkdir()
    link = tmp_path / "run" / "geometry.csv"
    link.symlink_to(other / "file")
    assert_refused(lambda: evaluator._append_row(link, {"epoch": 1}), link, other)


def test_numbers_are_not_reproduced_through_a_link(tmp_path: Path, other: Path) -> None:
    row = "b32-openai-coco"
    (tmp_path / "out").mkdir()
    link = tmp_path / "out" / row
    link.symlink_to(other)
    assert_refused(lambda: reproduce(only=row, out=tmp_path / "out", cache_dir=tmp_path / "cache"), link, other)


@pytest.mark.parametrize("part", ["runs", "seconds"])
def test_a_benchmark_is_not_run_through_a_link(part: str, tmp_path: Path, other: Path) -> None:
    (tmp_path / "bench").mkdir()
    link = tmp_path / "bench" / part
    link.symlink_to(other)
    bank: Any = None
    assert_refused(lambda: bench(bank, tmp_path / "bench"), link, other)


def test_what_is_fetched_is_not_written_through_a_link(tmp_path: Path, other: Path) -> None:
    (tmp_path / "data").mkdir()
    part = tmp_path / "data" / "set.zip.part"
    part.symlink_to(other / "file")
    assert_refused(lambda: download("http://127.0.0.1:9/set.zip", tmp_path / "data" / "set.zip"), part, other)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("file", "new")
    fresh = tmp_path / "data" / ".set.zip.unpacked"
    fresh.symlink_to(other)
    assert_refused(lambda: unpack(tmp_path / "set.zip", tmp_path / "data"), fresh, other)


def test_a_command_refuses_a_link_in_one_line(tmp_path: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = folder_of_pairs(tmp_path / "pairs", 4), f"local-dir:{tiny_model(tmp_path / 'model')}"
    (tmp_path / "out").mkdir()
    link = tmp_path / "out" / ".geomclip.lock"
    link.symlink_to(other / "file")
    done = run_cli(capsys, "extract", "--model", model, "--data", f"folder:{data}", "--out", tmp_path / "out")
    assert_one_line(done, 2, f"{link} is a link, which is never written through: ")
    assert (other / "file").read_text() == KEPT
