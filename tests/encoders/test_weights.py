"""Weights files as people hold them: trainers' files, prefixes, shards; what is told, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model
from torch import Tensor

from geomclip.encoders import Encoder, load_encoder
from geomclip.encoders.weights.contents import read_contents

pytestmark = pytest.mark.numeric

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def state(folder) -> State:
    return load_file(folder / "open_clip_model.safetensors")


@pytest.fixture(scope="module")
def encoder(folder) -> Encoder:
    return load_encoder(str(folder))


def named(state: State, prefix: str) -> State:
    return {f"{prefix}{name}": value for name, value in state.items()}


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "clip_model.", "module._orig_mod.model.", "a.b.c.d."]
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_what_stands_before_all_names_is_taken_off_and_told(folder, state, encoder, tmp_path, prefix, suffix):
    file = tmp_path / f"epoch_1{suffix}"
    save_file(named(state, prefix), file) if suffix == ".safetensors" else torch.save(named(state, prefix), file)
    contents = read_contents(file)
    assert (contents.prefix, set(contents.shapes)) == (prefix, set(state))
    assert contents.notes == (f"the names in {file.name} begin with {prefix!r}, which is taken off",)
    found = load_encoder(str(folder), pretrained=str(file))
    assert found.weights_sha256 == encoder.weights_sha256
    assert found.notes == contents.notes


def test_tensors_come_one_at_a_time_under_the_names_of_the_shapes(state, tmp_path):
    file = tmp_path / "m.safetensors"
    save_file(named(state, "model."), file)
    contents = read_contents(file)
    tensors = contents.tensors()
    assert list(tensors) == list(contents.shapes)
    for name, value in tensors.items():
        assert torch.equal(value, state[name])
