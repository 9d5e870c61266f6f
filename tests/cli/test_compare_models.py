"""Models as people hold them, side by side: each kind of folder is taken by `compare` as by `measure`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hf_models import hf_folder
from safetensors.torch import save_file
from tiny_models import tiny_architectures, tiny_model

import geomclip as gc
from geomclip.encoders import load_encoder, towers
from geomclip.machine.errors import InputError

COMMON: dict[str, Any] = {"data": "emoji", "limit": 6, "bootstrap": 0, "metrics": "alignment"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIPModel's folder."""
    return hf_folder(tmp_path_factory.mktemp("hf") / "base")[0]


def same(before: Path, after: Path, **options: Any) -> bool:
    """Whether two models give the same alignment."""
    found = gc.compare(str(before), str(after), **COMMON, **options)
    return found["alignment"].before == found["alignment"].after


def test_a_trainers_checkpoint_is_a_side(base: Path, tmp_path: Path) -> None:
    place = tmp_path / "checkpoint-5"
    shutil.copytree(base, place)
    (place / "trainer_state.json").write_text("{}")
    assert same(base, place)


def test_a_sharded_folder_is_a_side(base: Path, tmp_path: Path) -> None:
    from transformers import CLIPModel

    place = tmp_path / "sharded"
    shutil.copytree(base, place)
    (place / "model.safetensors").unlink()
    CLIPModel.from_pretrained(base).save_pretrained(place, max_shard_size="20KB")
    assert (place / "model.safetensors.index.json").is_file()
    assert same(base, place)


def test_a_folder_of_sentence_transformers_is_a_side(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "st" / "0_CLIPModel")
    modules = [{"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}]
    (tmp_path / "st" / "modules.json").write_text(json.dumps(modules))
    assert same(base, tmp_path / "st")


def test_an_adapter_is_a_side(base: Path, tmp_path: Path) -> None:
    name = "text_model.encoder.layers.0.mlp.fc1"
    settings = {"peft_type": "LORA", "lora_alpha": 1, "base_model_name_or_path": str(base)}
    for place, factor in ((tmp_path / "none", 0.0), (tmp_path / "some", 1.0)):
        place.mkdir()
        tensors = {
            f"base_model.model.{name}.lora_A.weight": torch.ones(1, 24),
            f"base_model.model.{name}.lora_B.weight": factor * torch.arange(40.0).reshape(40, 1),
        }
        save_file(tensors, place / "adapter_model.safetensors")
        (place / "adapter_config.json").write_text(json.dumps(settings))
    assert same(base, tmp_path / "none")
    assert not same(base, tmp_path / "some")


def test_a_folder_of_transformers_is_set_beside_a_file_of_open_clip(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_architectures(tmp_path / "architectures", monkeypatch)
    file = tmp_path / "mine.pt"
    torch.save(load_encoder(f"local-dir:{tiny_model(tmp_path / 'own')}").module.state_dict(), file)
    assert not same(base, file, arch="Tiny")
    towers.architectures.cache_clear()


def test_a_folder_of_nothing_is_no_side(base: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="is a folder, but no store of embeddings, no run of finetune and no model"):
        same(base, tmp_path)
