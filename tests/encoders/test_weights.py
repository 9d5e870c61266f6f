"""Weights files as people hold them: trainers' files, prefixes, shards; what is told, and what is refused."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import types
import warnings
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import ROOT, RunsCode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_models import CONFIG, tiny_architectures, tiny_model
from torch import Tensor

import geomclip as gc
from geomclip.encoders import Encoder, load_encoder, remembered, towers
from geomclip.encoders.weights import contents as contents_of
from geomclip.encoders.weights.contents import read_contents
from geomclip.machine.errors import InputError, NotAvailableError

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


def zeros(state: State) -> State:
    """A model of the same shapes and other weights."""
    return {name: torch.zeros_like(value) for name, value in state.items()}


def refusal(file: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_contents(file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def follow(message: str, place: Path) -> None:
    """Run the line of Python that a message ends with, in a folder, as in a terminal."""
    line = message[message.index("python -c ") :]
    here = Path(sys.executable).parent
    done = subprocess.run(
        line, shell=True, cwd=place, env=os.environ | {"PATH": f"{here}:{os.environ['PATH']}"}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


def run(*words: str) -> str:
    """What a command prints."""
    from click.testing import CliRunner

    from geomclip.cli.app import app

    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done.stdout


# names


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


def test_names_of_the_architecture_are_no_prefix(state, tmp_path):
    tower = {name: value for name, value in state.items() if name.startswith("visual.")}
    for prefix in ("", "module."):
        torch.save(named(tower, prefix), tmp_path / "m.pt")
        contents = read_contents(tmp_path / "m.pt")
        assert (contents.prefix, set(contents.shapes)) == (prefix, set(tower))


def test_what_a_wrapper_has_beside_the_model_is_left_out_and_told(folder, state, encoder, tmp_path):
    file = tmp_path / "last.ckpt"
    own = {"loss.labels": torch.zeros(3), "loss.logit_scale": torch.ones(()), "metric.total": torch.zeros(())}
    tower = {f"teacher.{name}": value for name, value in state.items() if name.startswith("visual.")}
    torch.save({"state_dict": {**own, **tower, **named(state, "model.")}}, file)
    found = load_encoder(str(folder), pretrained=str(file))
    assert found.weights_sha256 == encoder.weights_sha256
    count = len(own) + len(tower)
    left = f"teacher ({len(tower)}), loss (2), metric (1)"
    assert found.notes[1] == f"{count} tensors of last.ckpt are not below 'model.' and left out: {left}"


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("names", [("student.", "teacher."), ("", "ema.model.")])
def test_two_whole_models_are_refused_with_a_line_that_saves_one(folder, state, encoder, tmp_path, suffix, names):
    file = tmp_path / f"both{suffix}"
    both = {**named(zeros(state), names[0]), **named(state, names[1])}
    if suffix == ".safetensors":
        save_file(both, file)
    else:
        torch.save({"state_dict": both, "hyper_parameters": argparse.Namespace(lr=1)}, file)
    message = refusal(file)
    assert "holds 2 whole models" in message
    assert all(repr(name) in message for name in names if name)
    follow(message, tmp_path)
    (one,) = tmp_path.glob("weights.*")
    assert load_encoder(str(folder), pretrained=str(one)).weights_sha256 == encoder.weights_sha256


@pytest.mark.parametrize("inserted", ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "module."])
def test_what_torch_puts_into_names_is_taken_out_wherever_it_stands(folder, state, encoder, tmp_path, inserted):
    wrapped = {re.sub(r"^(visual|transformer)\.", rf"\1.{inserted}", name): value for name, value in state.items()}
    assert set(wrapped) != set(state)
    torch.save(named(wrapped, inserted), tmp_path / "m.pt")
    found = load_encoder(str(folder), pretrained=str(tmp_path / "m.pt"))
    assert found.weights_sha256 == encoder.weights_sha256


# what trainers save


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("state_dict", False),
        ("model", True),
        ("model_state_dict", True),
        ("net", True),
        ("model_state", True),
        ("anything.at.all", True),
    ],
)
def test_the_weights_are_found_in_what_a_trainer_saved(folder, state, encoder, tmp_path, entry, told):
    file = tmp_path / "step.pt"
    moments = {"state": {0: {"exp_avg": torch.zeros(3), "step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-3}]}
    saved: dict[str, Any] = {"epoch": 3, "optimizer": moments, "scaler": {"scale": 65536.0}, entry: state}
    torch.save(saved, file)
    found = load_encoder(str(folder), pretrained=str(file))
    assert found.weights_sha256 == encoder.weights_sha256
    assert found.notes == ((f"the weights in step.pt are taken from its entry {entry}",) if told else ())


def test_weights_that_lie_deeper_are_found(folder, state, encoder, tmp_path):
    file = tmp_path / "step.pt"
    torch.save({"trainer": {"model": {"state_dict": named(state, "module.")}}, "step": 1}, file)
    found = load_encoder(str(folder), pretrained=str(file))
    assert found.weights_sha256 == encoder.weights_sha256
    assert found.notes[0] == "the weights in step.pt are taken from its entry trainer.model.state_dict"


@pytest.mark.parametrize("average", ["ema_state_dict", "state_dict_ema", "teacher"])
@pytest.mark.parametrize("order", [1, -1])
def test_an_average_beside_the_weights_is_not_taken_and_that_is_told(folder, state, encoder, tmp_path, average, order):
    file = tmp_path / "step.pt"
    torch.save(dict([("state_dict", state), (average, zeros(state))][::order]), file)
    found = load_encoder(str(folder), pretrained=str(file))
    assert found.weights_sha256 == encoder.weights_sha256
    assert found.notes == (f"the weights in step.pt are taken from its entry state_dict, not {average}",)


def test_entries_of_which_none_is_the_usual_are_refused_with_a_line_that_saves_one(folder, state, tmp_path):
    file = tmp_path / "step.pt"
    torch.save({"student": state, "teacher": zeros(state)}, file)
    message = refusal(file)
    assert "holds 2 whole models (student, teacher)" in message
    follow(message, tmp_path)
    load_encoder(str(folder), pretrained=str(tmp_path / "weights.pt"))


VALUES: dict[str, Any] = {
    "namespace": argparse.Namespace(lr=1e-3, out=Path("runs/a"), betas=(0.9, 0.98)),
    "simple namespace": types.SimpleNamespace(lr=1e-3),
    "path": pathlib.PurePosixPath("a/b"),
    "time": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    "numpy scalar": np.float64(0.5),
    "numpy array": np.arange(3),
    "defaultdict": defaultdict(int, a=1),
    "ordered": OrderedDict(a=1),
    "sets": [{1}, frozenset({2}), slice(1, 2), range(3)],
    "slots": datetime.timedelta(seconds=3),
}


@pytest.mark.parametrize("kind", VALUES)
def test_values_beside_the_weights_are_no_hindrance(folder, state, encoder, tmp_path, kind):
    file, before = tmp_path / "last.ckpt", set(torch.serialization.get_safe_globals())
    torch.save({"hyper_parameters": VALUES[kind], "state_dict": named(state, "model.")}, file)
    found = load_encoder(str(folder), pretrained=str(file))
    assert found.weights_sha256 == encoder.weights_sha256
    assert set(torch.serialization.get_safe_globals()) == before


def test_a_checkpoint_of_lightning_is_read(folder, state, encoder, tmp_path):
    lightning = pytest.importorskip("lightning")
    from lightning.fabric.utilities.data import AttributeDict

    class Module(lightning.LightningModule):
        def __init__(self, **settings: Any) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.clip = towers.build(CONFIG, {}, seed=0, where="")
            self.register_buffer("seen", torch.zeros(3))

    module = Module(lr=1e-3, where=Path("runs"), args=argparse.Namespace(a=1))
    module.clip.load_state_dict(state)
    trainer = lightning.Trainer(logger=False, barebones=False, accelerator="cpu", enable_checkpointing=False)
    trainer.strategy.connect(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the model has not been trained
        trainer.save_checkpoint(tmp_path / "last.ckpt")
    whole = torch.load(tmp_path / "last.ckpt", weights_only=False)
    assert isinstance(whole["hyper_parameters"], dict)
    torch.save(whole | {"more": AttributeDict(a=1)}, tmp_path / "more.ckpt")
    for name in ("last.ckpt", "more.ckpt"):
        found = load_encoder(str(folder), pretrained=str(tmp_path / name))
        assert found.weights_sha256 == encoder.weights_sha256
        assert found.notes == (
            f"the names in {name} begin with 'clip.', which is taken off",
            f"1 tensor of {name} is not below 'clip.' and left out: seen (1)",
        )


MODULE = """
from pathlib import Path
class Config:
    def __init__(self): self.lr = 1
class AttributeDict(dict):
    def __setstate__(self, state): Path("was-run").touch()
    def __reduce__(self): return AttributeDict, (), {"a": 1}
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module of the user's, importable in one folder."""
    (tmp_path / "ours.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    import ours

    yield ours
    del sys.modules["ours"]


def test_a_class_of_ones_own_is_named_and_following_the_way_out_works(folder, state, encoder, tmp_path, own_module):
    file = tmp_path / "last step.ckpt"
    torch.save({"config": own_module.Config(), "model": named(state, "model.")}, file)
    message = refusal(file)
    assert "could run code from the file: refused (ours.Config); if you trust it" in message
    follow(message, tmp_path)
    found = load_encoder(str(folder), pretrained=str(tmp_path / "weights.pt"))
    assert found.weights_sha256 == encoder.weights_sha256


def test_a_module_saved_whole_is_refused_and_following_the_way_out_works(folder, state, encoder, tmp_path):
    module = towers.build(CONFIG, {}, seed=0, where="")
    module.load_state_dict(state)
    for number, saved in enumerate((module, {"model": module, "epoch": 1})):
        file, place = tmp_path / f"{number}.pt", tmp_path / str(number)
        place.mkdir()
        torch.save(saved, file)
        message = refusal(file)
        assert "open_clip.model.CLIP" in message or "and " in message
        follow(message, place)
        found = load_encoder(str(folder), pretrained=str(place / "weights.pt"))
        assert found.weights_sha256 == encoder.weights_sha256


def test_no_class_of_a_file_is_made_not_even_one_that_holds_values(folder, state, tmp_path, own_module, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": state, "settings": own_module.AttributeDict()}, "a.ckpt")
    load_encoder(str(folder), pretrained="a.ckpt")
    assert not Path("was-run").exists()
    torch.load("a.ckpt", weights_only=False)
    assert Path("was-run").exists()  # the class would have written it


def test_code_beside_the_weights_is_refused_and_not_run(state, tmp_path):
    file, target = tmp_path / "evil.ckpt", tmp_path / "was-run"
    torch.save({"state_dict": state, "hyper_parameters": {"a": RunsCode(target)}}, file)
    assert "could run code from the file: refused (builtins.getattr)" in refusal(file)
    assert not target.exists()


def test_an_archive_of_torchscript_is_refused_and_following_the_way_out_works(folder, state, encoder, tmp_path):
    class Part(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name in ("input_resolution", "context_length", "vocab_size"):  # as OpenAI's have
                self.register_buffer(name, torch.tensor(3))
            self.module = towers.build(CONFIG, {}, seed=0, where="")

        def forward(self, x: Tensor) -> Tensor:
            return self.module.visual(x)

    part = Part().eval()
    part.module.load_state_dict(state)
    file = tmp_path / "ViT B-32.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.trace is deprecated; old files were made by it
        torch.jit.trace(part, torch.zeros(1, 3, 32, 32)).save(str(file))
    message = refusal(file)
    assert "is a TorchScript archive, which holds code" in message
    follow(message, tmp_path)
    found = load_encoder(str(folder), pretrained=str(tmp_path / "weights.safetensors"))
    assert found.weights_sha256 == encoder.weights_sha256


def test_the_sizes_that_openais_files_hold_among_the_weights_are_passed_over(folder, state, encoder, tmp_path):
    sizes = {name: torch.tensor(3) for name in ("input_resolution", "context_length", "vocab_size")}
    save_file({**state, **sizes}, tmp_path / "m.safetensors")
    found = load_encoder(str(folder), pretrained=str(tmp_path / "m.safetensors"))
    assert found.weights_sha256 == encoder.weights_sha256


# what does not fit


def test_five_tensors_that_do_not_fit_are_named_and_the_others_counted(folder, state, tmp_path):
    other = {name: value[..., :-1].clone() if value.ndim > 1 else value for name, value in state.items()}
    del other["ln_final.weight"], other["ln_final.bias"]
    save_file(other | {"head.weight": torch.zeros(3), "head.bias": torch.zeros(3)}, tmp_path / "m.safetensors")
    with pytest.raises(InputError) as caught:
        load_encoder(str(folder), pretrained=str(tmp_path / "m.safetensors"))
    message = str(caught.value)
    named_ones, *counts = message.split("; ")[:5], *message.split("; ")[5:]
    assert len(re.findall(r"\(\d+, [\d, ]+\) in custom", message)) == 5
    assert f"{sum(v.ndim > 1 for v in state.values()) - 5} more are of another shape" in counts
    assert {"2 more are missing", "2 more are not in custom"} <= set(counts)
    assert len(named_ones) == 5


def test_weights_in_whole_numbers_are_refused(folder, state, tmp_path):
    save_file(state | {"visual.proj": torch.ones(32, 16, dtype=torch.int8)}, tmp_path / "m.safetensors")
    with pytest.raises(InputError, match=r"m\.safetensors: visual\.proj is int8, as of a quantised model"):
        load_encoder(str(folder), pretrained=str(tmp_path / "m.safetensors"))


def test_a_text_tower_at_the_top_of_the_names_fills_one_below_text(state, encoder, tmp_path):
    folder = tiny_model(tmp_path / "custom", weights=False, custom_text=True)
    save_file(named(state, "module."), tmp_path / "m.safetensors")
    found = load_encoder(str(folder), pretrained=str(tmp_path / "m.safetensors"))
    assert "text.positional_embedding" in found.module.state_dict()
    tokens, _ = encoder.tokenize(["a dog", "two red buses"])
    assert torch.allclose(found.encode_text(tokens), encoder.encode_text(tokens), atol=1e-6)


def test_files_of_mobileclip_are_handed_to_open_clip_whole(folder, state, encoder, tmp_path, monkeypatch):
    def converted(model: torch.nn.Module, apples: State) -> State:
        assert type(apples) is dict
        return {re.sub(r"^(image_encoder|text_encoder)\.model\.", "", name): value for name, value in apples.items()}

    monkeypatch.setattr("open_clip.convert.convert_state_dict", converted)
    towers_of = {True: "image_encoder.model.", False: "text_encoder.model."}
    apples = {towers_of[name.startswith("visual.")] + name: value for name, value in state.items()}
    torch.save({"state_dict": apples}, tmp_path / "m.pt")
    found = load_encoder(str(folder), pretrained=str(tmp_path / "m.pt"))
    assert found.weights_sha256 == encoder.weights_sha256


# a logit scale that cannot be used


@pytest.fixture
def scaled(folder, state, tmp_path):
    """What names a copy of the model with another tensor for its logit scale."""

    def with_scale(value: float) -> str:
        place = tmp_path / f"scale {value}"
        place.mkdir()
        (place / "open_clip_config.json").write_bytes((folder / "open_clip_config.json").read_bytes())
        save_file(state | {"logit_scale": torch.tensor(value)}, place / "open_clip_model.safetensors")
        return str(place)

    return with_scale


@pytest.mark.parametrize(
    ("value", "reason", "way"),
    [
        (100.0, r"exp\(100\) overflows: it holds 100, not log 100", "logit_scale=100 .* temperature=0.01"),
        (
            14.2857,
            r"exp\(14\.2857\) is 1\.6e\+06: it holds 14\.2857, not log 14\.2857",
            "logit_scale=14.2857 .* temperature=0.07",
        ),
        (float("nan"), "it holds nan", "logit_scale=100 .* temperature=0.01"),
        (float("inf"), "it holds inf", "logit_scale=100 .* temperature=0.01"),
        (float("-inf"), "it holds -inf", "logit_scale=100 .* temperature=0.01"),
    ],
)
def test_a_logit_scale_that_cannot_be_used_is_named_and_another_gets_past_it(scaled, encoder, value, reason, way):
    model = scaled(value)
    with pytest.raises(InputError, match=f"safetensors: its logit_scale cannot be used: {reason}: {way}"):
        load_encoder(model)
    found = load_encoder(model, logit_scale=50)
    assert found.logit_scale == pytest.approx(50)
    assert float(found.module.logit_scale.detach().exp()) == pytest.approx(50)
    assert re.search(
        rf"logit_scale of .*safetensors cannot be used \({reason}.*\): 50 is taken in its place", found.notes[0]
    )
    tokens, _ = encoder.tokenize(["a dog"])
    assert torch.equal(found.encode_text(tokens), encoder.encode_text(tokens))
    assert found.weights_sha256 == load_encoder(model, logit_scale=7).weights_sha256 != encoder.weights_sha256


def test_a_logit_scale_that_can_be_used_stays(folder, encoder):
    found = load_encoder(str(folder), logit_scale=50)
    assert (found.logit_scale, found.fingerprint(), found.notes) == (encoder.logit_scale, encoder.fingerprint(), ())


def test_a_set_of_embeddings_has_the_logit_scale_that_was_wanted(scaled, folder, tmp_path):
    data = {"limit": 8, "cache_dir": tmp_path / "cache"}
    for model in (str(folder), scaled(100.0)):
        for _ in range(2):  # loaded, and remembered
            found = gc.embed(model, logit_scale=20, **data)
            assert (found.logit_scale, found.logit_scale_source) == (pytest.approx(20), "asked")
    assert gc.embed(str(folder), **data).logit_scale_source == "model"


@pytest.mark.parametrize(("option", "scale"), [("--logit-scale", 20), ("--temperature", 20)])
def test_every_command_that_says_the_logit_scale_gets_past_one(scaled, tmp_path, option, scale, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value = str(scale if option == "--logit-scale" else 1 / scale)
    model, common = scaled(100.0), ["--limit", "8", "--cache-dir", "cache", "--quiet", option, value]
    panel = run("measure", "--model", model, "--metrics", "alignment", "--bootstrap", "0", "--json", *common)
    assert json.loads(panel)["logit_scale"] == pytest.approx(scale)
    run("extract", "--model", model, "--out", "store", *common)
    run("extract", "--model", "demo", "--out", "of a sound one", *common)
    for store in ("store", "of a sound one"):
        assert gc.load(store).logit_scale == pytest.approx(scale)
    run("compare", model, "demo", "--metrics", "alignment", "--bootstrap", "0", "--out", "c.json", *common)
    run("report", model, "--metrics", "alignment", "--bootstrap", "0", "--out", "r.html", *common)


def test_finetuning_begins_at_its_temperature_where_the_model_has_none(scaled, tmp_path):
    model = scaled(100.0)
    how = {"epochs": 1, "limit": 24, "batch_size": 8, "bootstrap": 0, "cache_dir": tmp_path / "cache"}
    with pytest.raises(InputError, match="logit_scale cannot be used"):
        gc.finetune(method="ft", model=model, out=tmp_path / "run", **how)
    result = gc.finetune(method="ft", model=model, temperature=0.05, out=tmp_path / "run", **how)
    assert result.before.logit_scale == pytest.approx(20)
    assert load_encoder(str(tmp_path / "run")).logit_scale == pytest.approx(20, rel=0.1)


# shards


def shard(
    state: State, place: Path, *, base: str = "open_clip_model", suffix: str = "safetensors", of: int = 3
) -> Path:
    """The index of as many shards, written as huggingface_hub does."""
    place.mkdir(exist_ok=True)
    names = [f"{base}-{number:05}-of-{of:05}.{suffix}" for number in range(1, of + 1)]
    own = {name: names[number % of] for number, name in enumerate(state)}
    for name in names:
        part = {each: value for each, value in state.items() if own[each] == name}
        save_file(part, place / name) if suffix == "safetensors" else torch.save(part, place / name)
    index = place / f"{base}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": own}))
    return index


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_are_read_by_their_index_however_they_are_named(folder, state, encoder, tmp_path, suffix, monkeypatch):
    index = shard(
        named(state, "model."),
        tmp_path / "m",
        base="model" if suffix == "safetensors" else "pytorch_model",
        suffix=suffix,
    )
    (tmp_path / "m" / "optimizer.bin").write_bytes(b"")
    tiny_architectures(tmp_path / "architectures", monkeypatch)
    own = tmp_path / "own"
    own.mkdir()
    (own / "open_clip_config.json").write_bytes((folder / "open_clip_config.json").read_bytes())
    shard(state, own, suffix="safetensors")
    for model, pretrained, arch in (
        (str(folder), str(index), None),
        (str(folder), str(index.parent), None),
        (str(index), None, "Tiny"),
        (str(index.parent), None, "Tiny"),
        ("Tiny", str(index.parent), None),
        (str(own), None, None),
    ):
        found = load_encoder(model, pretrained=pretrained, arch=arch)
        assert found.weights_sha256 == encoder.weights_sha256
    towers.architectures.cache_clear()


def test_a_folder_is_named_without_a_slash_too(state, encoder, tmp_path, monkeypatch):
    tiny_architectures(tmp_path / "architectures", monkeypatch)
    monkeypatch.chdir(tmp_path)
    Path("checkpoint-500").mkdir()
    save_file(named(state, "model."), "checkpoint-500/model.safetensors")
    Path("checkpoint-500/optimizer.bin").touch()
    assert load_encoder("checkpoint-500", arch="Tiny").weights_sha256 == encoder.weights_sha256
    with pytest.raises(InputError, match="does not say its architecture: give it with arch"):
        load_encoder("checkpoint-500")
    towers.architectures.cache_clear()


@pytest.mark.parametrize("name", ["a.pt", "a.ckpt", "a.bin", "a.safetensors", "shards", "shards/model.bin.index.json"])
def test_weights_are_compared_however_a_trainer_left_them(folder, state, tmp_path, monkeypatch, name):
    tiny_architectures(tmp_path / "architectures", monkeypatch)
    monkeypatch.chdir(tmp_path)
    drawn = named(state, "model.")
    if name.startswith("shards"):
        shard(drawn, tmp_path / "shards", base="model", suffix="bin" if "bin" in name else "safetensors")
    elif name == "a.safetensors":
        save_file(drawn, name)
    else:
        torch.save({"state_dict": drawn, "epoch": 1, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3, 4)}}}}, name)
    common = ["--limit", "6", "--bootstrap", "0", "--metrics", "alignment", "--cache-dir", "cache", "--quiet"]
    found = run("compare", str(folder), name, "--arch", "Tiny", "--json", *common)
    assert json.loads(found)["metrics"]["alignment"]["difference"] == 0
    towers.architectures.cache_clear()


def test_a_shard_that_changed_is_not_remembered_as_it_was(folder, state, tmp_path, monkeypatch):
    monkeypatch.setattr(remembered, "SETTLED", -60.0)  # files that were written a moment ago are remembered too
    index = shard(state, tmp_path / "m")
    data = {"pretrained": str(index), "limit": 4, "cache_dir": tmp_path / "cache"}
    first, again = (gc.embed(str(folder), **data).made_from["weights_sha256"] for _ in range(2))
    place = index.parent / json.loads(index.read_text())["weight_map"]["visual.proj"]
    part = load_file(place)
    save_file(part | {"visual.proj": 2 * part["visual.proj"]}, place)
    assert first == again != gc.embed(str(folder), **data).made_from["weights_sha256"]


def test_shards_that_huggingface_hub_writes_are_read(folder, state, encoder, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    hub.save_torch_state_dict(state, tmp_path, max_shard_size="1MB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert load_encoder(str(folder), pretrained=str(tmp_path)).weights_sha256 == encoder.weights_sha256


def test_up_to_five_absent_shards_are_named(state, tmp_path):
    index = shard(state, tmp_path, of=9)
    for file in sorted(tmp_path.glob("*.safetensors"))[1:8]:
        file.unlink()
    with pytest.raises(NotAvailableError) as caught:
        read_contents(index)
    names = ", ".join(f"open_clip_model-{number:05}-of-00009.safetensors" for number in range(2, 7))
    assert f"7 of its 9 shards are not beside it: {names} and 2 more: put them there" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["../m.safetensors", "/etc/m.bin", "..\\m.safetensors", "a/m.safetensors", "passwd", ""]
)
def test_a_shard_out_of_the_folder_is_refused(tmp_path, name):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    assert "is not the name of a weights file beside it: refused" in refusal(index)


def test_a_link_out_of_the_folder_is_followed_in_the_hubs_cache_alone(state, tmp_path):
    place = tmp_path / "models--a--b" / "snapshots" / "0123"
    place.mkdir(parents=True)
    blobs = place.parent.parent / "blobs"
    index = shard(state, blobs)
    for file in blobs.iterdir():
        (place / file.name).symlink_to(Path("../../blobs") / file.name)
    assert set(read_contents(place / index.name).shapes) == set(state)
    elsewhere = tmp_path / "m"
    elsewhere.mkdir()
    for file in blobs.iterdir():
        (elsewhere / file.name).symlink_to(file)
    assert "is a link that leads out of its folder: refused" in refusal(elsewhere / index.name)


def test_an_index_that_says_other_than_its_shards_is_refused(state, tmp_path):
    index = shard(state, tmp_path)
    content = json.loads(index.read_text())
    content["weight_map"]["visual.more"] = content["weight_map"].pop("visual.proj")
    index.write_text(json.dumps(content))
    assert f"does not hold what {index.name} says: visual.more: fetch both again" in refusal(index)
    del content["weight_map"]["visual.more"]
    index.write_text(json.dumps(content))
    assert f"holds what {index.name} does not say: visual.proj: fetch both again" in refusal(index)


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"weight_map": {}}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    assert "model.safetensors.index.json" in refusal(tmp_path / "model.safetensors.index.json")


def test_two_models_in_shards_are_refused_with_a_line_that_saves_one(folder, state, encoder, tmp_path):
    message = refusal(shard({**named(state, "b."), **named(zeros(state), "a.")}, tmp_path / "m"))
    follow(message, tmp_path)
    found = load_encoder(str(folder), pretrained=str(tmp_path / "weights.safetensors"))
    assert found.weights_sha256 == encoder.weights_sha256


# tensors


def test_tensors_come_one_at_a_time_under_the_names_of_the_shapes(state, tmp_path):
    for suffix in (".safetensors", ".pt"):
        file = tmp_path / f"m{suffix}"
        save_file(named(state, "model."), file) if suffix == ".safetensors" else torch.save(
            named(state, "model."), file
        )
        contents = read_contents(file)
        tensors = contents.tensors()
        assert list(tensors) == list(contents.shapes)
        for name, value in tensors.items():
            assert torch.equal(value, state[name])


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_file_is_let_go_and_mapped_anew_as_it_is_read(state, tmp_path, monkeypatch, suffix):
    file = tmp_path / f"m{suffix}"
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    opened: list[Path] = []
    own = contents_of._Opened.__init__

    def counted(self: Any, path: Path, entry: tuple[str, ...]) -> None:
        opened.append(path)
        own(self, path, entry)

    monkeypatch.setattr(contents_of._Opened, "__init__", counted)
    largest = max(value.numel() * value.element_size() for value in state.values())
    for share, least, most in ((1 << 30, 1, len(state)), (1, largest, 1), (16, 1 << 40, 1)):
        monkeypatch.setattr(contents_of, "_LEAST", least)
        monkeypatch.setattr(contents_of, "_SHARE", share)
        opened.clear()
        assert all(torch.equal(value, state[name]) for name, value in read_contents(file).tensors().items())
        assert len(opened) == most


PARTS = st.sampled_from(["module", "model", "_orig_mod", "clip", "net", "a b", "x1", "image", "student"])
ENTRIES = st.lists(st.sampled_from(["state_dict", "model", "net", "a.b", "trainer"]), max_size=3)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    parts=st.lists(PARTS, max_size=4),
    entries=ENTRIES,
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64]),
    shards=st.integers(0, 4),
    suffix=st.sampled_from(["safetensors", "bin"]),
    order=st.randoms(use_true_random=False),
)
def test_any_nesting_sharding_order_and_precision_gives_the_same_tensors(
    state, tmp_path_factory, parts, entries, dtype, shards, suffix, order
):
    place = tmp_path_factory.mktemp("drawn")
    prefix = "".join(f"{part}." for part in parts)
    names = order.sample(sorted(state), len(state))
    drawn = {f"{prefix}{name}": state[name].to(dtype) for name in names}
    if shards:
        file = shard(drawn, place, suffix=suffix, of=shards)
    elif suffix == "safetensors":
        file = place / "m.safetensors"
        save_file(drawn, file)
    else:
        file, saved = place / "m.bin", drawn
        for entry in reversed(entries):
            saved = {entry: saved, "step": 3}
        torch.save(saved, file)
    contents = read_contents(file)
    assert contents.prefix == prefix
    tensors = contents.tensors()
    assert set(tensors) == set(contents.shapes) == set(state)
    for name, value in tensors.items():
        assert value.dtype == dtype
        assert torch.equal(value, state[name].to(dtype))


@pytest.mark.slow
def test_loading_needs_little_more_memory_than_the_model(tmp_path):
    vision = {"image_size": 32, "layers": 2, "width": 1024, "head_width": 64, "patch_size": 8}
    config = CONFIG | {"vision_cfg": vision}
    code = f"""
import resource, sys
from pathlib import Path
from geomclip.encoders import towers
from geomclip.encoders.weights import contents

contents._LEAST = 1 << 20
module = towers.build({config!r}, {{}}, seed=0, where="")
size = sum(v.numel() * v.element_size() for v in module.state_dict().values())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
towers.load_into(module, contents.read_contents(Path(sys.argv[1])))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / size)
"""
    state = towers.build(config, {}, seed=0, where="").state_dict()
    save_file(state, tmp_path / "m.safetensors")
    torch.save({"model": state}, tmp_path / "m.pt")
    for file in ("m.safetensors", "m.pt"):
        line = [sys.executable, "-c", code, str(tmp_path / file)]
        done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=True)
        assert float(done.stdout) < 0.2  # of 100 MB: its largest tensor is 17 MB


def test_a_weights_file_is_what_the_configuration_beside_it_says(tmp_path, monkeypatch):
    place = tiny_model(tmp_path / "m", preprocess={"mean": [0.5] * 3, "std": [0.25] * 3})
    file = place / "open_clip_model.safetensors"
    whole = load_encoder(str(place))
    assert load_encoder(str(file)).fingerprint() == whole.fingerprint()
    tiny_architectures(tmp_path / "architectures", monkeypatch)
    assert load_encoder(str(file), arch="Lone").fingerprint() == whole.fingerprint()
    other = load_encoder(str(file), arch="Tiny-quickgelu")
    assert other.fingerprint() == whole.fingerprint()
    assert f"{place / 'open_clip_config.json'} says what the model is: used in place of Tiny-quickgelu" in other.notes
    towers.architectures.cache_clear()
