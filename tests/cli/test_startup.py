"""What a command does not do before its work: no model is loaded for what is cached, nothing imported for its sake."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import scipy.special
import torch
from helpers import resealed, small_set
from safetensors.torch import load_file, save_file
from tiny import tiny_pairs
from tiny_models import CONFIG, forget_architectures, tiny_architectures, tiny_model

from geomclip.embeddings.store import save
from geomclip.encoders import load_encoder, remembered, save_checkpoint, towers
from geomclip.encoders.clip import Encoder
from geomclip.encoders.extraction.calls import embed
from geomclip.encoders.remembered import RememberedEncoder
from geomclip.machine.errors import GeomclipError, NotAvailableError
from geomclip.metrics.null import closed_form

BEYOND = ("open_clip", "transformers", "torchvision", "timm", "scipy", "sklearn", "pandas", "matplotlib", "PIL")
"""What measuring vectors or a cached store imports none of: a second or more together."""


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that are loaded, one after the other; files just written count as settled."""
    seen: list[str] = []

    def counted(model: str, **options: Any) -> Encoder:
        seen.append(model)
        return load_encoder(model, **options)

    monkeypatch.setattr(remembered, "load_encoder", counted)
    monkeypatch.setattr(remembered, "SETTLED", -60.0)
    return seen


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "tiny")


def kept(cache: Path) -> list[Path]:
    return sorted((cache / "encoders").glob("*.json"))


def test_a_cached_set_is_read_without_its_model(loads: list[str], folder: Path, tmp_path: Path) -> None:
    pairs, cache = tiny_pairs(tmp_path / "images", 6), tmp_path / "cache"
    first = embed(str(folder), pairs, cache_dir=cache)
    second = embed(str(folder), pairs, cache_dir=cache)
    assert loads == [str(folder)]
    assert torch.equal(first.image, second.image)
    assert first.made_from == second.made_from


def test_a_remembered_model_is_loaded_to_encode_what_is_new(loads: list[str], folder: Path, tmp_path: Path) -> None:
    pairs, cache = tiny_pairs(tmp_path / "images", 6), tmp_path / "cache"
    embed(str(folder), pairs.limited(3), cache_dir=cache)
    found = embed(str(folder), pairs, cache_dir=cache)
    assert loads == [str(folder)] * 2
    plain = embed(load_encoder(str(folder)), pairs, cache_dir=tmp_path / "other")
    assert torch.equal(found.image, plain.image)
    assert found.made_from == plain.made_from


def test_it_says_what_the_encoder_says(loads: list[str], folder: Path, tmp_path: Path) -> None:
    encoder = remembered.remembered(str(folder), cache_dir=tmp_path)
    again = remembered.remembered(str(folder), cache_dir=tmp_path)
    assert isinstance(encoder, Encoder)
    assert isinstance(again, RememberedEncoder)
    assert again.made_from() == json.loads(json.dumps(encoder.made_from()))
    assert (again.dim, again.logit_scale, again.logit_bias) == (encoder.dim, encoder.logit_scale, encoder.logit_bias)
    tokens, cut = again.tokenize(["a cat", "words " * 40])
    assert cut.tolist() == [False, True]
    assert torch.equal(again.encode_text(tokens), encoder.encode_text(tokens))
    pixels = torch.zeros(2, 3, 32, 32)
    assert torch.equal(again.encode_image(pixels), encoder.encode_image(pixels))
    assert again.preprocess().settings == encoder.preprocess().settings
    assert len(loads) == 2


def other_weights(folder: Path) -> None:
    """Weights of the same size and time: only the time of the entry tells."""
    file = folder / "open_clip_model.safetensors"
    stat, state = file.stat(), load_file(file)
    save_file({name: value + 0.1 * value.is_floating_point() for name, value in state.items()}, file)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)


def another_activation(folder: Path) -> None:
    config = {"model_cfg": CONFIG | {"quick_gelu": True}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("change", [other_weights, another_activation])
def test_a_model_whose_files_changed_is_loaded_anew(
    change: Callable[[Path], None], loads: list[str], folder: Path, tmp_path: Path
) -> None:
    before = remembered.remembered(str(folder), cache_dir=tmp_path).made_from()
    change(folder)
    after = remembered.remembered(str(folder), cache_dir=tmp_path).made_from()
    assert len(loads) == 2
    assert before["fingerprint"] != after["fingerprint"]
    assert remembered.remembered(str(folder), cache_dir=tmp_path).made_from() == after
    assert len(loads) == 2


def test_better_weights_that_appear_in_a_folder_are_taken(loads: list[str], folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    encoder = load_encoder(str(folder))
    state = encoder.module.state_dict()
    made = {"method": "ft", "step": 1, "data": "none", "settings": {}}
    save_checkpoint(encoder, state, run / "model.safetensors", made=made)
    before = remembered.remembered(str(run), cache_dir=tmp_path).made_from()
    save_checkpoint(encoder, {**state, "logit_scale": torch.tensor(1.0)}, run / "best.safetensors", made=made)
    after = remembered.remembered(str(run), cache_dir=tmp_path).made_from()
    assert after["pretrained"] == "best.safetensors"
    assert before["weights_sha256"] != after["weights_sha256"]


def test_a_file_that_was_just_written_is_not_believed(folder: Path, tmp_path: Path) -> None:
    remembered.remembered(str(folder), cache_dir=tmp_path)
    assert kept(tmp_path) == []


def test_a_file_that_is_written_while_it_is_loaded_is_not_believed(
    loads: list[str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(model: str, **options: Any) -> Encoder:
        encoder = load_encoder(model, **options)
        other_weights(folder)
        return encoder

    monkeypatch.setattr(remembered, "load_encoder", slowly)
    remembered.remembered(str(folder), cache_dir=tmp_path)
    assert kept(tmp_path) == []


@pytest.mark.parametrize("auto", [{"precision": "auto"}, {"device": "auto"}])
def test_what_the_machine_decides_is_decided_anew(
    auto: dict[str, str], loads: list[str], folder: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        remembered.remembered(str(folder), cache_dir=tmp_path, **auto)
    assert len(loads) == 2


def test_other_options_are_another_encoder(loads: list[str], folder: Path, tmp_path: Path) -> None:
    one, two = (
        remembered.remembered(str(folder), pretrained="random", seed=seed, cache_dir=tmp_path) for seed in (0, 1)
    )
    assert one.made_from()["weights_sha256"] != two.made_from()["weights_sha256"]
    again = remembered.remembered(str(folder), pretrained="random", seed=1, cache_dir=tmp_path)
    assert again.made_from() == json.loads(json.dumps(two.made_from()))
    assert len(loads) == 2


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe", b'{"request": {}, "places": {}, "told": {}}'])
def test_a_damaged_memory_is_no_memory(content: bytes, loads: list[str], folder: Path, tmp_path: Path) -> None:
    remembered.remembered(str(folder), cache_dir=tmp_path)
    (file,) = kept(tmp_path)
    file.write_bytes(content)
    assert isinstance(remembered.remembered(str(folder), cache_dir=tmp_path), Encoder)
    assert isinstance(remembered.remembered(str(folder), cache_dir=tmp_path), RememberedEncoder)


def test_no_rows_of_another_model_come_into_a_store(loads: list[str], folder: Path, tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path / "images", 4)
    remembered.remembered(str(folder), cache_dir=tmp_path)
    (file,) = kept(tmp_path)
    resealed(file, lambda kept: kept["description"]["made_from"].update(weights_sha256="0"))
    with pytest.raises(GeomclipError, match="is another model than it was"):
        embed(str(folder), pairs, cache_dir=tmp_path)
    assert len(embed(str(folder), pairs, cache_dir=tmp_path).image) == 4


def test_a_cache_that_cannot_be_written_costs_time_only(loads: list[str], folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for _ in range(2):
        assert remembered.remembered(str(folder), cache_dir=tmp_path / "file").dim == CONFIG["embed_dim"]
    assert len(loads) == 2


def test_a_model_that_is_gone_is_missed(loads: list[str], folder: Path, tmp_path: Path) -> None:
    remembered.remembered(str(folder), cache_dir=tmp_path / "cache")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(NotAvailableError, match="no weights file"):
        remembered.remembered(str(folder), cache_dir=tmp_path / "cache")


def test_a_newer_revision_of_a_repository_is_taken(
    loads: list[str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layout of the hub's cache: refs/main names the snapshot, whose files are links to blobs."""
    tiny_architectures(tmp_path / "architectures", monkeypatch)
    known = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "Tiny", {"plain": {"hf_hub": "org/plain/", **known}})
    forget_architectures(towers)
    repository = tmp_path / "weights" / "models--org--plain"
    (repository / "refs").mkdir(parents=True)

    def release(name: str) -> None:
        snapshot, blob = repository / "snapshots" / name, repository / "blobs" / name
        snapshot.mkdir(parents=True)
        blob.parent.mkdir(exist_ok=True)
        (folder / "open_clip_model.safetensors").rename(blob)
        (snapshot / "open_clip_model.safetensors").symlink_to(blob)
        (repository / "refs" / "main").write_text(name)

    release("a" * 40)
    before = remembered.remembered("Tiny:plain", cache_dir=tmp_path).made_from()
    assert isinstance(remembered.remembered("Tiny:plain", cache_dir=tmp_path), RememberedEncoder)
    tiny_model(folder, seed=1)
    release("b" * 40)
    after = remembered.remembered("Tiny:plain", cache_dir=tmp_path).made_from()
    assert before["weights_sha256"] != after["weights_sha256"]
    monkeypatch.undo()
    forget_architectures(towers)


def test_measuring_vectors_imports_nothing_beyond_what_it_uses(tmp_path: Path) -> None:
    save(small_set(30), tmp_path / "store")
    code = (
        "import sys\n"
        "from geomclip.cli.app import main\n"
        f"code = main(['measure', '--embeddings', {str(tmp_path / 'store')!r}, '--bootstrap', '20', '--quiet'])\n"
        f"found = ' '.join(name for name in {BEYOND!r} if name in sys.modules)\n"
        "sys.exit(found or code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("nothing stands out")


@pytest.mark.parametrize("d", [1, 2, 7, 128, 4096])
def test_the_series_that_is_written_out_is_that_of_scipy(d: int) -> None:
    expected = float(scipy.special.hyp0f1(d / 2, 4.0))
    assert closed_form(d)["uniformity_joint"] == pytest.approx(math.log(expected) - 4, rel=1e-11)
