"""Stores and files of vectors at addresses: the same numbers as here, each file once, nothing outside its folder."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from helpers import ROOT, random_rows
from web import Web, serving

from geomclip.embeddings.record import EmbeddingSet
from geomclip.embeddings.store import load, save
from geomclip.machine.errors import DamagedError, InputError, NotAvailableError
from geomclip.machine.sums import sealed, unsealed

FILES = 4  # of a store of images and texts: vectors and a table of each


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as found:
        yield found


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def pairs(seed: int = 0) -> EmbeddingSet:
    return EmbeddingSet(
        random_rows(30, 8, seed=seed).float(),
        random_rows(30, 8, seed=seed + 1).float(),
        image_id=tuple(map(str, range(30))),
        logit_scale=50.0,
    )


def stored(folder: Path, seed: int = 0) -> Path:
    return save(pairs(seed), folder / f"store{seed}")


def edited(store: Path, change: Any) -> None:
    """The manifest with a change and the sum of what it then says."""
    file = store / "manifest.json"
    manifest = unsealed(json.loads(file.read_text()))
    change(manifest)
    file.write_text(json.dumps(sealed(manifest)))


def refused(address: str, cache: Path, kind: type[Exception] = InputError) -> str:
    with pytest.raises(kind) as caught:
        load(address, cache_dir=cache)
    assert "\n" not in str(caught.value)
    assert not list(cache.rglob("manifest.json"))  # without which it is no store
    return str(caught.value)


# ---- the same as here, once


def test_a_store_is_what_it_is_here_and_is_fetched_once(web: Web, tmp_path: Path, cache: Path) -> None:
    web.put(stored(tmp_path), "/sets/mine/")
    here = load(tmp_path / "store0")
    for asked in (FILES + 1, 1):  # then the manifest alone, which vouches for the rest
        found = load(f"{web.url}/sets/mine", cache_dir=cache)
        assert torch.equal(found.image, here.image)
        assert torch.equal(found.text, here.text)
        assert (found.image_id, found.logit_scale, found.made_from) == (here.image_id, 50.0, here.made_from)
        assert len(web.paths()) == asked


def test_a_store_that_has_changed_is_fetched_anew(web: Web, tmp_path: Path, cache: Path) -> None:
    for seed in (0, 5):
        web.put(stored(tmp_path, seed), "/mine/")
        assert torch.equal(load(f"{web.url}/mine", cache_dir=cache).image, load(tmp_path / f"store{seed}").image)


def test_a_store_and_a_file_of_a_driver_are_what_they_are_here(tmp_path: Path, cache: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(stored(tmp_path)), "/bucket/mine", recursive=True)
    memory.put(str(save(pairs(), tmp_path / "v.npz")), "/bucket/v.npz")
    for address in ("memory://bucket/mine", "memory://bucket/mine/", "memory://bucket/v.npz"):
        assert torch.equal(load(address, cache_dir=cache).image, load(tmp_path / "store0").image)
    np.save(tmp_path / "rows.npy", pairs().image.numpy())
    memory.put(str(tmp_path / "rows.npy"), "/bucket/rows.npy")
    assert load("memory://bucket/rows.npy", cache_dir=cache).made_from["file"] == "rows.npy"


def test_two_files_may_lie_at_two_addresses(web: Web, tmp_path: Path, cache: Path) -> None:
    rows = {"image": pairs().image.numpy(), "text": pairs().text.numpy()}
    for name, array in rows.items():
        np.save(tmp_path / f"{name}.npy", array)
    web.put(tmp_path)
    spec = f"image={web.url}/image.npy?a=1,text={web.url}/text.npy?b=2"
    found = load(spec, cache_dir=cache)
    here = load(f"image={tmp_path}/image.npy,text={tmp_path}/text.npy")
    assert torch.equal(found.image, here.image)
    assert torch.equal(found.text, here.text)
    mixed = load(f"image={web.url}/image.npy,text={tmp_path}/text.npy", cache_dir=cache)
    assert torch.equal(mixed.text, found.text)


def test_a_key_behind_a_store_goes_with_each_of_its_files(web: Web, tmp_path: Path, cache: Path) -> None:
    web.put(stored(tmp_path), "/mine/")
    load(f"{web.url}/mine?sas=1", cache_dir=cache)
    assert len(web.asked) == FILES + 1
    assert all(each.endswith("?sas=1") for each in web.asked)


def test_the_sum_behind_a_store_is_that_of_its_manifest(web: Web, tmp_path: Path, cache: Path) -> None:
    web.put(stored(tmp_path), "/mine/")
    assert "manifest.json has the sha256" in refused(f"{web.url}/mine#sha256={'0' * 64}", cache)
    digest = hashlib.sha256(web.files["/mine/manifest.json"]).hexdigest()
    assert len(load(f"{web.url}/mine#sha256={digest}", cache_dir=cache).image) == 30


# ---- stopped, and gone on with


def test_a_kill_costs_the_file_that_was_on_its_way(web: Web, tmp_path: Path, cache: Path) -> None:
    web.put(stored(tmp_path), "/mine/")
    third = sorted(json.loads(web.files["/mine/manifest.json"])["shards"][0]["files"])[2]
    web.held.add(f"/mine/{third}")
    code = f"import geomclip; geomclip.load({f'{web.url}/mine'!r}, cache_dir={str(cache)!r})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    end = time.monotonic() + 120
    while f"/mine/{third}" not in web.asked:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(cache.rglob("manifest.json"))
    before = web.paths()
    web.held.clear()
    assert torch.equal(load(f"{web.url}/mine", cache_dir=cache).image, load(tmp_path / "store0").image)
    again = web.paths()
    whole = set(before) - {f"/mine/{third}", "/mine/manifest.json"}
    assert whole
    assert not whole & set(again)
    assert len(whole) + len(again) == FILES + 1
    assert not list(cache.rglob("*.geomclip-tmp"))


def test_a_file_that_is_gone_from_the_cache_is_fetched_again(web: Web, tmp_path: Path, cache: Path) -> None:
    web.put(stored(tmp_path), "/mine/")
    load(f"{web.url}/mine", cache_dir=cache)
    web.paths()
    next(cache.rglob("text_emb*.npy")).unlink()
    load(f"{web.url}/mine", cache_dir=cache)
    assert [Path(each).name for each in web.paths()] == ["manifest.json", "text_emb_0000.npy"]


# ---- refused


@pytest.mark.parametrize("name", ["../../evil.npy", "/tmp/evil.npy", "img_emb/../../../evil.npy", "C:evil.npy"])
def test_no_path_of_a_manifest_leaves_the_folder(web: Web, tmp_path: Path, cache: Path, name: str) -> None:
    store = stored(tmp_path)

    def change(manifest: dict[str, Any]) -> None:
        files = manifest["shards"][0]["files"]
        files[name] = files.pop("img_emb/img_emb_0000.npy")

    edited(store, change)
    web.put(store, "/mine/")
    assert "leaves the folder; refused" in refused(f"{web.url}/mine", cache)
    assert web.paths() == ["/mine/manifest.json"]
    assert not list(tmp_path.rglob("evil*"))


def test_a_shard_that_is_not_as_recorded_is_refused_and_not_kept(web: Web, tmp_path: Path, cache: Path) -> None:
    web.put(stored(tmp_path), "/mine/")
    name = "/mine/img_emb/img_emb_0000.npy"
    content = web.files[name]
    web.files[name] = content[:-1] + b"\1"
    assert "expected" in refused(f"{web.url}/mine", cache)
    assert not list(cache.rglob("img_emb_*"))
    for other in (content[:-1], content + b"\1"):
        web.files[name] = other
        assert "its manifest says" in refused(f"{web.url}/mine", cache)
        web.sizes = False
        assert "ended at" in refused(f"{web.url}/mine", cache, NotAvailableError)
        web.sizes = True
    web.files[name] = content
    assert torch.equal(load(f"{web.url}/mine", cache_dir=cache).image, load(tmp_path / "store0").image)


def test_a_store_too_large_is_refused_before_its_first_shard(
    web: Web, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.put(stored(tmp_path), "/mine/")
    monkeypatch.setenv("GEOMCLIP_LIMITS", "remote-bytes=1000")
    assert "more than 1000: refused; if you trust it" in refused(f"{web.url}/mine", cache)
    assert web.paths() == ["/mine/manifest.json"]


def test_an_unfinished_a_damaged_and_an_absent_store_are_one_line(web: Web, tmp_path: Path, cache: Path) -> None:
    store = stored(tmp_path)
    web.put(store, "/damaged/")
    web.files["/damaged/manifest.json"] = web.files["/damaged/manifest.json"].replace(b'"done": true', b'"done": 1')
    edited(store, lambda manifest: manifest.update(done=False))
    web.put(store, "/half/")
    assert "is unfinished" in refused(f"{web.url}/half", cache)
    assert f"{web.url}/damaged/manifest.json is malformed" in refused(f"{web.url}/damaged", cache)
    assert "is no store, for manifest.json is not in it" in refused(f"{web.url}/none", cache)
    web.status["/half/manifest.json"] = 403
    assert "may not be read (403 Forbidden)" in refused(f"{web.url}/half", cache)


def test_what_is_damaged_in_the_cache_says_what_to_delete(web: Web, tmp_path: Path, cache: Path) -> None:
    web.put(stored(tmp_path), "/mine/")
    load(f"{web.url}/mine", cache_dir=cache)
    shard = next(cache.rglob("img_emb_*.npy"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"\1")
    with pytest.raises(InputError, match=r"^http.*/mine: .*is damaged or changed.*: delete it to have it fetched"):
        load(f"{web.url}/mine", cache_dir=cache)
    shard.unlink()
    next(cache.rglob("manifest.json")).write_bytes(b"{")  # which comes each time
    assert torch.equal(load(f"{web.url}/mine", cache_dir=cache).image, load(tmp_path / "store0").image)


class Loaded:
    """Says so where it is unpickled."""

    def __reduce__(self) -> Any:
        return (os.mkdir, ("unpickled",))


@pytest.mark.parametrize("name", ["v.pt", "v.npy", "v.npz"])
def test_nothing_that_comes_from_an_address_is_unpickled(
    web: Web, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    web.files[f"/{name}"] = pickle.dumps(Loaded())
    with pytest.raises(InputError):
        load(f"{web.url}/{name}", cache_dir=cache)
    assert not Path("unpickled").exists()


def test_the_damaged_kind_of_a_manifest_stays(web: Web, cache: Path) -> None:
    web.files["/mine/manifest.json"] = b"{"
    assert "is no whole JSON" in refused(f"{web.url}/mine", cache, DamagedError)
