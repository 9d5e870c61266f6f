"""The cache heals itself: what cannot be used in it is made again, with a line, and nobody is asked for a name."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import flipped, resealed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recorder import Recorder
from tiny import TinyEncoder, tiny_pairs
from tiny_models import tiny_model

from geomclip.embeddings.record import EmbeddingSet
from geomclip.encoders import remembered
from geomclip.encoders.extraction import calls
from geomclip.encoders.extraction.calls import embed
from geomclip.encoders.extraction.digests import Digests
from geomclip.machine.errors import InputError
from geomclip.machine.files import LOCK_NAME
from geomclip.machine.lock import Lock
from geomclip.pairs.record import ImageFile, Pairs
from geomclip.panels.nulls import NullCache

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    return tiny_pairs(tmp_path_factory.mktemp("images"), 20)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, pairs: Pairs) -> Path:
    """A cache with one store of three shards."""
    cache = tmp_path_factory.mktemp("cache")
    made(cache, pairs)
    return cache


@pytest.fixture
def cache(filled: Path, tmp_path: Path) -> Path:
    return shutil.copytree(filled, tmp_path / "cache")


def made(cache: Path, pairs: Pairs, progress: Any = None, encoder: Any = None) -> EmbeddingSet:
    how = {} if progress is None else {"progress": progress}
    return embed(encoder or TinyEncoder(), pairs, cache_dir=cache, batch_size=8, **how)


def store_in(cache: Path) -> Path:
    (store,) = (cache / "embeddings").iterdir()
    return store


def same(found: EmbeddingSet, expected: EmbeddingSet) -> bool:
    equal = torch.equal(found.image, expected.image) and torch.equal(found.text, expected.text)
    return equal and found.logit_scale == expected.logit_scale and found.caption_id == expected.caption_id


def changed_in(name: str, value: Any) -> Callable[[Path], object]:
    return lambda store: resealed(store / "manifest.json", lambda manifest: manifest.update({name: value}))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "its manifest.json is damaged": lambda store: flipped(store / "manifest.json", 5),
    "is of another extraction": changed_in("logit_scale", 19.0),
    "or of another version": changed_in("schema", "geomclip.store/0"),
    "it has no manifest.json": lambda store: (store / "manifest.json").unlink(),
    "img_emb in it is a link": lambda store: linked(store / "img_emb"),
}


def linked(folder: Path) -> None:
    elsewhere = folder.parents[2] / "elsewhere"
    shutil.move(folder, elsewhere)
    folder.symlink_to(elsewhere)


@pytest.mark.parametrize("reason", DAMAGE)
def test_a_store_of_the_cache_that_cannot_be_used_is_made_again_in_one_line(
    cache: Path, filled: Path, pairs: Pairs, reason: str
) -> None:
    expected = made(filled, pairs)
    DAMAGE[reason](store_in(cache))
    kept = {file: file.read_bytes() for file in cache.glob("elsewhere/*")}
    notes = Recorder()
    found = made(cache, pairs, notes)
    (line,) = [line for line in notes.lines if "is made again" in line]
    assert line.startswith(f"{store_in(cache)} in the cache is made again: ")
    assert reason in line
    assert "name a new folder" not in line
    assert same(found, expected)
    assert {file: file.read_bytes() for file in cache.glob("elsewhere/*")} == kept
    again = Recorder()
    assert same(made(cache, pairs, again, TinyEncoder(spoil=lambda rows: pytest.fail("encoded again"))), expected)


def test_a_file_and_a_linked_lock_in_the_place_of_a_store_are_no_obstacle(
    cache: Path, filled: Path, pairs: Pairs
) -> None:
    store, outside = store_in(cache), cache.parent / "outside"
    outside.write_text("mine")
    (store / ".geomclip.lock").symlink_to(outside)
    assert same(made(cache, pairs), made(filled, pairs))
    shutil.rmtree(store)
    store.write_text("in the way")
    assert same(made(cache, pairs), made(filled, pairs))
    assert outside.read_text() == "mine"


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_flip_of_any_bit_of_a_store_of_the_cache_never_gives_other_rows(
    filled: Path, pairs: Pairs, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as place:
        cache = Path(shutil.copytree(filled, Path(place) / "cache"))
        files = sorted(file for file in cache.rglob("*") if file.is_file())
        # digests come to the cache as pictures grow old, so that neither files nor sizes are always the same
        file = files[data.draw(st.integers(0, 99)) % len(files)]
        place_of_bit = int(data.draw(st.floats(0, 1, exclude_max=True)) * file.stat().st_size)
        flipped(file, place_of_bit, data.draw(st.integers(0, 7)))
        assert same(made(cache, pairs), made(filled, pairs))


class Removing(Recorder):
    """Removes a folder after so many images are done, as often as it is told."""

    def __init__(self, folder: Path, at: int, times: int = 1) -> None:
        super().__init__(self.remove)
        self.folder, self.at, self.times = folder, at, times

    def remove(self, done: int) -> None:
        if done >= self.at and self.times and self.folder.exists():
            self.times -= 1
            shutil.rmtree(self.folder)


def test_a_cache_removed_during_a_run_is_begun_again_once(
    tmp_path: Path, filled: Path, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "Extraction", lambda *a, **k: EXTRACTION(*a, **k, shard_rows=8))
    whole = made(tmp_path / "whole", pairs)
    notes = Removing(tmp_path / "cache", at=18)
    found = made(tmp_path / "cache", pairs, notes)
    assert notes.times == 0
    (line,) = [line for line in notes.lines if "begun again" in line]
    assert "was removed while it was used" in line
    assert same(found, whole)
    assert same(made(tmp_path / "cache", pairs), whole)


EXTRACTION = calls.Extraction


def test_a_store_pruned_before_it_is_read_is_begun_again_once_and_not_for_ever(
    cache: Path, filled: Path, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, pruned = calls.load, []

    def loading(folder: Path) -> EmbeddingSet:
        if len(pruned) < most:
            pruned.append(folder)
            shutil.rmtree(folder)
        return load(folder)

    expected = made(filled, pairs)
    monkeypatch.setattr(calls, "load", loading)
    most = 1
    assert same(made(cache, pairs), expected)
    most, pruned = 9, []
    with pytest.raises(InputError):
        made(cache, pairs)
    assert len(pruned) == 2


def test_too_many_lost_images_are_refused_and_not_tried_twice(tmp_path: Path) -> None:
    lines = Recorder()
    with pytest.raises(InputError, match="more than a tenth"):
        made(tmp_path / "cache", tiny_pairs(tmp_path / "images", 8, bad=(1, 2, 3)), lines)
    assert not [line for line in lines.lines if "again" in line]


# --- values of models


def test_another_logit_scale_in_what_is_remembered_of_a_model_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "SETTLED", -60.0)
    folder, cache = str(tiny_model(tmp_path / "tiny")), tmp_path / "cache"
    truth = remembered.remembered(folder, cache_dir=cache)
    (file,) = (cache / "encoders").iterdir()
    record = json.loads(file.read_text())
    record["description"]["logit_scale"] += 1
    file.write_text(json.dumps(record))
    notes = Recorder()
    found = remembered.remembered(folder, cache_dir=cache, progress=notes)
    assert found.logit_scale == truth.logit_scale
    (line,) = notes.lines
    assert line.endswith("; the model is loaded again")
    silent = Recorder()
    assert remembered.remembered(folder, cache_dir=cache, progress=silent).logit_scale == truth.logit_scale
    assert silent.lines == []


# --- nulls


def nulls(tmp_path: Path) -> tuple[NullCache, Recorder, Path]:
    notes = Recorder()
    cache = NullCache(tmp_path, progress=notes)
    cache["twonn-40x8-v2"] = {"twonn": (3.5, 0.1)}
    return cache, notes, tmp_path / "nulls" / "twonn-40x8-v2.json"


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_flip_of_any_bit_of_a_null_is_never_another_null(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        cache, notes, file = nulls(Path(place))
        flipped(file, data.draw(st.integers(0, file.stat().st_size - 1)), data.draw(st.integers(0, 7)))
        assert cache.get("twonn-40x8-v2") in (None, {"twonn": (3.5, 0.1)})
        assert len(notes.lines) == ("twonn-40x8-v2" not in cache)


def test_a_null_of_another_size_under_this_name_is_simulated_again(tmp_path: Path) -> None:
    cache, notes, file = nulls(tmp_path)
    os.replace(file, file.with_name("twonn-50x8-v2.json"))
    assert "twonn-50x8-v2" not in cache
    assert notes.lines[0].endswith("is of twonn-40x8-v2; simulated again")


def test_what_is_no_number_never_enters_the_nulls_and_never_comes_out(tmp_path: Path) -> None:
    cache, _, file = nulls(tmp_path)
    cache["twonn-50x8-v2"] = {"twonn": (float("nan"), 0.1)}
    assert list(cache) == ["twonn-40x8-v2"]
    file.write_text(file.read_text().replace("3.5", "NaN"))
    assert "twonn-40x8-v2" not in cache


def test_a_lock_that_nobody_holds_goes_when_the_cache_is_used_again_and_a_held_one_stays(
    cache: Path, pairs: Pairs
) -> None:
    left, held = (cache / "embeddings" / name for name in ("left-0", "held-0"))
    left.mkdir()
    (left / LOCK_NAME).write_text("{}")
    with Lock(held):
        made(cache, pairs)
        assert (held / LOCK_NAME).exists()
    assert not (left / LOCK_NAME).exists()


def test_what_a_dead_writer_left_of_digests_goes_when_they_are_used_again(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    path = Digests([ImageFile(tmp_path / "a.png")], cache).path
    assert path is not None
    dead = path.with_name(f".{path.name}.0123abcd.geomclip-tmp")
    dead.parent.mkdir(exist_ok=True)
    dead.write_bytes(b"half")
    Digests([ImageFile(tmp_path / "a.png")], cache).sha256([0])
    assert not dead.exists()
