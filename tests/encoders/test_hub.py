"""Fetching weights: the real download code against a local server that stands for the hub."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hf_models import hf_folder
from hub_server import Hub, close_session, connect, served
from huggingface_hub import constants
from safetensors.torch import load_file
from tiny_models import tiny_model

from geomclip.encoders import hub, load_encoder
from geomclip.encoders.weights import fitting
from geomclip.machine.errors import InputError, NotAvailableError


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    for repo in ("org/whole", "org/half", "org/breaks", "org/drops"):
        tiny_model(folder / repo)
    tiny_model(folder / "org/quick", quick_gelu=True)
    pickled = tiny_model(folder / "org/pickled")
    torch.save(load_file(pickled / "open_clip_model.safetensors"), pickled / "open_clip_pytorch_model.bin")
    (pickled / "open_clip_model.safetensors").unlink()
    (folder / "org/transformers").mkdir()
    (folder / "org/transformers/config.json").write_text('{"model_type": "whisper"}')
    (folder / "org/bare").mkdir()
    hf_folder(folder / "org/clip")
    _, model = hf_folder(folder / "org/shards")
    (folder / "org/shards/model.safetensors").unlink()
    model.save_pretrained(folder / "org/shards", max_shard_size="20KB")
    text = {"context_length": 12, "vocab_size": 9, "width": 16, "heads": 2, "hf_tokenizer_name": "org/coded"}
    tiny_model(folder / "org/names", text_cfg=text)
    (folder / "org/coded").mkdir()
    (folder / "org/coded/tokenizer.json").write_text("{}")
    mapped = {"auto_map": {"AutoTokenizer": ["words.Words", None]}}
    (folder / "org/coded/tokenizer_config.json").write_text(json.dumps(mapped))
    with served(folder) as hub_server:
        yield hub_server


@pytest.fixture
def connected(server: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    connect(monkeypatch, server.address)
    yield server
    close_session()


def refusals(cache_dir: Path, *model_names: str) -> list[InputError]:
    """What each name is refused with: one line within seconds."""
    found = []
    for name in model_names:
        started = time.monotonic()
        with pytest.raises(InputError) as caught:
            load_encoder(name, cache_dir=cache_dir)
        assert time.monotonic() - started < 15
        assert "\n" not in str(caught.value)
        found.append(caught.value)
    return found


def test_a_hub_model_is_fetched_once_and_then_needs_no_network(connected, tmp_path, monkeypatch):
    seen = connected.seen
    expected = fitting.weights_sha256(load_file(connected.folder / "org/whole/open_clip_model.safetensors"))
    wanted = ("whole", "pickled", "half", "quick")
    whole, pickled, half, quick = (load_encoder(f"hf-hub:org/{name}", cache_dir=tmp_path) for name in wanted)
    assert whole.weights_sha256 == pickled.weights_sha256 == half.weights_sha256 == expected
    assert (whole.quick_gelu, quick.quick_gelu) == (False, True)
    assert seen["GET org/half/open_clip_model.safetensors"] > 1  # cut in the middle, gone on with
    assert seen["GET org/whole/open_clip_model.safetensors"] == 1

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_encoder("hf-hub:org/whole", cache_dir=tmp_path).weights_sha256 == expected


def test_a_repository_of_transformers_alone_is_fetched_once(connected, tmp_path, monkeypatch):
    pytest.importorskip("transformers", reason="transformers is not installed")
    here = load_encoder(str(connected.folder / "org/clip"))
    there = load_encoder("hf-hub:org/clip", cache_dir=tmp_path)
    assert there.weights_sha256 == here.weights_sha256
    assert there.preprocessing == here.preprocessing
    assert torch.equal(there.tokenize(["a b"])[0], here.tokenize(["a b"])[0])
    assert load_encoder("hf-hub:org/shards", cache_dir=tmp_path).weights_sha256 == here.weights_sha256
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_encoder("hf-hub:org/clip", cache_dir=tmp_path).weights_sha256 == here.weights_sha256


def test_a_tokenizer_that_brings_code_is_refused_once_its_settings_are_fetched(connected, tmp_path):
    (refusal,) = refusals(tmp_path, "hf-hub:org/names")
    assert type(refusal) is InputError
    assert "tokenizer_config.json: asks to run code of its own (auto_map): refused" in str(refusal)
    assert not [name for name in connected.seen if name.endswith("words.py")]


def test_what_the_hub_cannot_give_is_one_line_within_seconds(connected, tmp_path):
    wanted = [f"hf-hub:org/{name}" for name in ("absent", "transformers", "bare", "drops", "breaks")]
    absent, transformers, bare, drops, breaks = refusals(tmp_path, *wanted)
    assert "the hub knows no such repository, or it is private" in str(absent)
    assert type(transformers) is type(bare) is InputError
    assert "is a model of type 'whisper', which no model of open_clip is equal to" in str(transformers)
    assert not [name for name in connected.seen if name.startswith("GET org/transformers/") and "config" not in name]
    assert "org/bare has no open_clip_config.json or config.json: it is neither in the layout of open_clip" in str(bare)
    place = tmp_path / "weights" / "models--org--drops" / "open_clip_config.json"
    address = f"{connected.address}/org/drops/resolve/main/open_clip_config.json"
    assert f"download {address} elsewhere and place it at {place}" in str(drops)
    assert {type(refusal) for refusal in (absent, drops, breaks)} == {NotAvailableError}


def test_without_network_the_answer_is_quick_and_says_what_to_do(tmp_path, monkeypatch):
    connect(monkeypatch, "http://127.0.0.1:9")  # nothing listens there
    found = refusals(tmp_path, "ViT-B/32", "hf-hub:org/whole", "ViT-B-16-SigLIP:webli")
    assert {type(refusal) for refusal in found} == {NotAvailableError}
    place = tmp_path / "weights" / "models--timm--vit_base_patch32_clip_224.openai" / "open_clip_model.safetensors"
    assert str(found[0]).startswith("the weights of ViT-B-32:openai: open_clip_model.safetensors is not on")
    assert f"place it at {place}, or give the file with pretrained='FILE'" in str(found[0])


def test_a_hub_that_is_switched_off_is_not_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(NotAvailableError, match="HF_HUB_OFFLINE is set"):
        load_encoder("ViT-B/32", cache_dir=tmp_path)


def test_files_placed_by_hand_are_found(tmp_path):
    folder = tiny_model(tmp_path / "weights" / "models--org--mine")
    found = load_encoder("hf-hub:org/mine", cache_dir=tmp_path)
    assert found.model == "hf-hub:org/mine"
    assert found.weights_sha256 == load_encoder(str(folder)).weights_sha256


def test_damaged_weights_in_the_cache_are_named_with_their_path(tmp_path):
    folder = tiny_model(tmp_path / "weights" / "models--org--mine")
    file = folder / "open_clip_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"models--org--mine/open_clip_model\.safetensors: damaged or cut short"):
        load_encoder("hf-hub:org/mine", cache_dir=tmp_path)


def test_a_hub_repository_marked_quick_gelu_is_built_so_even_if_its_configuration_forgets(tmp_path):
    tiny_model(tmp_path / "weights" / "models--timm--vit_base_patch32_clip_224.openai")
    found = load_encoder("hf-hub:timm/vit_base_patch32_clip_224.openai", cache_dir=tmp_path)
    assert found.quick_gelu is True
    assert any("trained with QuickGELU" in note for note in found.notes)


@pytest.mark.parametrize("repo", ["a b/c", "a/b/c", "../x", "", "a/b;c"])
def test_a_name_that_cannot_be_a_repository_is_refused(tmp_path, repo):
    with pytest.raises(InputError, match="is no repository name"):
        load_encoder(f"hf-hub:{repo}", cache_dir=tmp_path)


def test_weights_go_to_the_hubs_own_cache_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "own"))
    assert hub.cache_folder(None) == tmp_path / "own"
    assert hub.cache_folder(tmp_path) == tmp_path / "weights"


def test_a_plain_address_that_cannot_be_fetched_says_where_to_place_the_file(tmp_path, monkeypatch):
    from geomclip.encoders import names, recipes

    monkeypatch.setattr("geomclip.pairs.download.time.sleep", lambda seconds: None)
    choice = names.Choice("Tiny", "old", arch="Tiny", tag="old")
    with pytest.raises(
        NotAvailableError, match=rf"download http://127\.0\.0\.1:9/old\.pt .* {tmp_path}/weights/old\.pt"
    ):
        recipes.tag_file(choice, {"url": "http://127.0.0.1:9/old.pt"}, tmp_path)
