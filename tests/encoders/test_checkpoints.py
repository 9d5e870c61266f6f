"""Checkpoints that geomclip writes: what they carry, where they load, and what is refused."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from helpers import RunsCode, assert_one_line, assert_same_rows, flipped, folder_of_pairs, run_cli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_models import CONFIG, forget_architectures, tiny_architectures, tiny_model
from torch import Tensor

from geomclip.encoders import Encoder, load_encoder, open_clip_name, save_checkpoint, saved, towers, with_weights
from geomclip.machine.errors import DamagedError, GeomclipError, InputError
from geomclip.machine.places import shown
from geomclip.machine.sums import sealed

pytestmark = pytest.mark.numeric

MADE = {"method": "m2mix", "settings": {"lr": 1e-5, "betas": (0.9, 0.98)}, "step": 300, "data": {"dataset": "emoji"}}
TEXTS = ["a dog", "two red buses and so many other words that nothing of the rest is left", "rain"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    preprocess = {"mean": 0.5, "std": [0.2, 0.3, 0.4], "resize_mode": "squash", "fill_color": 255}
    return load_encoder(str(tiny_model(tmp_path_factory.mktemp("base") / "tiny", preprocess=preprocess)))


@pytest.fixture
def stock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tiny and Tiny-quickgelu are architectures that open_clip has."""
    tiny_architectures(tmp_path / "architectures", monkeypatch)
    yield
    monkeypatch.undo()
    forget_architectures(towers)


def tuned(encoder: Encoder, *, seed: int = 7, scale: float = 33.0) -> dict[str, Tensor]:
    """Other weights for the encoder, as training would leave them."""
    draw = torch.Generator().manual_seed(seed)
    state = {
        name: value + 0.05 * torch.randn(value.shape, generator=draw) if value.is_floating_point() else value + 1
        for name, value in encoder.module.state_dict().items()
    }
    state["logit_scale"] = torch.full_like(state["logit_scale"], math.log(scale))
    return state


def pixels(encoder: Encoder) -> Tensor:
    return torch.randn(3, 3, *encoder.preprocessing["size"], generator=torch.Generator().manual_seed(0))


def rows(encoder: Encoder) -> tuple[Tensor, Tensor]:
    return encoder.encode_image(pixels(encoder)), encoder.encode_text(encoder.tokenize(TEXTS)[0])


def same_rows(one: Encoder, other: Encoder) -> bool:
    return all(torch.equal(a, b) for a, b in zip(rows(one), rows(other), strict=True))


def rewritten(file: Path, change: Callable[[dict[str, Any]], object], *, seal: bool = True) -> Path:
    """The checkpoint with its geomclip metadata changed and their sum made anew, its tensors as they were."""
    with safe_open(file, framework="pt") as opened:
        content = json.loads(opened.metadata()["geomclip"])
    change(content)
    content = sealed(content) if seal else content
    save_file(load_file(file), file, metadata={"geomclip": json.dumps(content)})
    return file


# what is written


def test_a_checkpoint_is_the_saved_weights_in_the_base_encoder(encoder: Encoder, tmp_path: Path) -> None:
    state = tuned(encoder)
    save_checkpoint(encoder, state, tmp_path / "best.safetensors", made=MADE)
    again = load_encoder(str(tmp_path / "best.safetensors"))
    assert same_rows(again, with_weights(encoder, state))
    assert not same_rows(again, encoder)
    assert again.logit_scale == pytest.approx(33)
    assert again.preprocessing == encoder.preprocessing
    assert again.preprocessing["mean"] == [0.5, 0.5, 0.5]
    assert again.context_length == 12
    assert again.notes == ()
    assert {name: value.dtype for name, value in again.module.state_dict().items()} == {
        name: value.dtype for name, value in encoder.module.state_dict().items()
    }


def test_metadata_say_what_a_checkpoint_was_made_from(encoder: Encoder, tmp_path: Path) -> None:
    save_checkpoint(encoder, tuned(encoder), tmp_path / "best.safetensors", made=MADE)
    with safe_open(tmp_path / "best.safetensors", framework="pt") as opened:
        content = json.loads(opened.metadata()["geomclip"])
    assert content["schema"] == "geomclip.checkpoint/1"
    assert content["base"] == json.loads(json.dumps(encoder.made_from()))
    assert content["made"]["settings"] == {"lr": 1e-5, "betas": [0.9, 0.98]}
    assert content["made"]["open_clip"] == open_clip.__version__
    assert content["logit_scale"] == pytest.approx(33)
    assert content["weights_sha256"] == load_encoder(str(tmp_path / "best.safetensors")).weights_sha256


def test_results_carry_the_method_and_the_base_through_two_fine_tunings(encoder: Encoder, tmp_path: Path) -> None:
    save_checkpoint(encoder, tuned(encoder), tmp_path / "one.safetensors", made=MADE)
    first = load_encoder(str(tmp_path / "one.safetensors"))
    save_checkpoint(first, tuned(first, seed=8), tmp_path / "two.safetensors", made={"method": "ft", "step": 5})
    made = load_encoder(str(tmp_path / "two.safetensors")).made_from()["finetuned"]
    assert (made["method"], made["step"]) == ("ft", 5)
    assert made["base"]["weights_sha256"] == first.weights_sha256
    assert made["base"]["finetuned"]["method"] == "m2mix"
    assert made["base"]["finetuned"]["base"]["model"] == shown(encoder.model)
    assert "settings" not in first.made_from()["finetuned"]
    assert "finetuned" not in encoder.made_from()


def test_a_measurement_of_a_run_folder_names_its_method(
    encoder: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    save_checkpoint(encoder, tuned(encoder), run / "best.safetensors", made=MADE)
    data = folder_of_pairs(tmp_path / "pairs")
    options = [
        "--model",
        run,
        "--data",
        f"folder:{data}",
        "--bootstrap",
        0,
        "--metrics",
        "modality_gap",
        "--workers",
        0,
    ]
    done = run_cli(capsys, "measure", *options, "--cache-dir", tmp_path / "cache", "--json", "--quiet")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert (result["model"], result["pretrained"]) == ("run", "best.safetensors")
    assert result["made_from"]["finetuned"]["method"] == "m2mix"
    assert result["made_from"]["finetuned"]["base"]["model"] == shown(encoder.model)
    assert result["logit_scale"] == pytest.approx(33)


def test_half_precision_weights_are_written_as_float32(encoder: Encoder, tmp_path: Path) -> None:
    state = {name: value.bfloat16() for name, value in tuned(encoder).items()}
    save_checkpoint(encoder, state, tmp_path / "best.safetensors", made=MADE)
    assert {value.dtype for value in load_file(tmp_path / "best.safetensors").values()} == {torch.float32}


def test_our_writer_and_that_of_safetensors_agree(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    tensors = {
        "scalar": torch.tensor(2.5),
        "wide": torch.randn(3, 5, generator=draw).double(),
        "turned": torch.randn(4, 6, generator=draw).T,
        "half": torch.randn(7, generator=draw).bfloat16(),
        "counts": torch.arange(3),
        "flags": torch.tensor([True, False, True]),
        "none": torch.zeros(0, 4),
    }
    with (tmp_path / "ours.safetensors").open("wb") as out:
        saved.write_safetensors(out, tensors, {"key": "é"})
    read = load_file(tmp_path / "ours.safetensors")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], value) and read[name].dtype == value.dtype for name, value in tensors.items())
    with safe_open(tmp_path / "ours.safetensors", framework="pt") as opened:
        assert opened.metadata() == {"key": "é"}
    content = (tmp_path / "ours.safetensors").read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    for name, value in tensors.items():  # each lies where its type can be mapped into memory
        assert (start + header[name]["data_offsets"][0]) % value.element_size() == 0, name


def test_a_full_disk_leaves_the_checkpoint_that_was_there(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "best.safetensors"
    save_checkpoint(encoder, tuned(encoder), file, made=MADE)
    before = file.read_bytes()

    def fills_up(out: Any, *_: object) -> None:
        out.write(b"\0" * 100)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saved, "write_safetensors", fills_up)
    with pytest.raises(GeomclipError, match="the disk is full"):
        save_checkpoint(encoder, tuned(encoder, seed=8), file, made=MADE)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_not_saved(encoder: Encoder, tmp_path: Path, value: float) -> None:
    state = tuned(encoder)
    state["visual.proj"][0, 0] = value
    with pytest.raises(GeomclipError, match=r"not written: visual\.proj has weights that are NaN or infinite"):
        save_checkpoint(encoder, state, tmp_path / "best.safetensors", made=MADE)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_encoder_are_not_saved(encoder: Encoder, tmp_path: Path) -> None:
    file = tmp_path / "best.safetensors"
    state = tuned(encoder)
    with pytest.raises(ValueError, match=r"visual\.proj is \(3, 3\) in the weights, \(32, 16\) in the encoder"):
        save_checkpoint(encoder, state | {"visual.proj": torch.zeros(3, 3)}, file, made=MADE)
    with pytest.raises(ValueError, match=r"adapter is .* in the weights, None in the encoder"):
        save_checkpoint(encoder, state | {"adapter": torch.zeros(1)}, file, made=MADE)
    del state["logit_scale"]
    with pytest.raises(ValueError, match="logit_scale is None in the weights"):
        with_weights(encoder, state)


def test_other_weights_leave_the_first_encoder_alone(encoder: Encoder) -> None:
    before = rows(encoder)
    state = tuned(encoder)
    other = with_weights(encoder, state)
    assert all(torch.equal(a, b) for a, b in zip(rows(encoder), before, strict=True))
    assert other.logit_scale == pytest.approx(33)
    assert other.weights_sha256 != encoder.weights_sha256
    assert other.fingerprint() != encoder.fingerprint()
    assert not any(parameter.requires_grad for parameter in other.module.parameters())


RESIDUAL = {"vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16}}
TIMM = {"vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "linear", "image_size": 160}}
BIASED = {"custom_text": True, "init_logit_bias": -10.0, "nonscalar_logit_scale": True}


@pytest.mark.parametrize(
    "config", [RESIDUAL, TIMM, BIASED, {"quick_gelu": True}], ids=["rn", "timm", "siglip", "quick"]
)
def test_every_kind_of_tower_comes_back(tmp_path: Path, config: dict[str, Any]) -> None:
    base = load_encoder(str(tiny_model(tmp_path / "base", **config)))
    save_checkpoint(base, tuned(base), tmp_path / "run" / "model.safetensors", made=MADE)
    again = load_encoder(str(tmp_path / "run"))
    assert same_rows(again, with_weights(base, tuned(base)))
    assert again.quick_gelu == base.quick_gelu
    assert again.logit_bias == (None if base.logit_bias is None else pytest.approx(-10, abs=0.5))


def test_a_text_tower_and_tokenizer_of_transformers_come_back(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "rain", "red"]
    tower = tmp_path / "bert"
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.BertConfig(vocab_size=len(words), max_position_embeddings=16, **sizes).save_pretrained(tower)
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    names = {"hf_model_name": str(tower), "hf_tokenizer_name": "nobody/none", "context_length": 12}
    base = load_encoder(str(tiny_model(folder, text_cfg=names)))
    save_checkpoint(base, tuned(base), tmp_path / "best.safetensors", made=MADE)
    again = load_encoder(str(tmp_path / "best.safetensors"))
    assert same_rows(again, with_weights(base, tuned(base)))
    assert again.tokenize(["a red dog"])[0].tolist() == base.tokenize(["a red dog"])[0].tolist()


# where it loads


def test_a_run_folder_is_a_model_whatever_else_is_in_it(encoder: Encoder, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "m2mix-emoji-1"
    (run / "checkpoints" / "step-000300").mkdir(parents=True)
    (run / "config.json").write_text("{}")
    (run / "log.jsonl").write_text("{}\n")
    with pytest.raises(
        InputError,
        match=r"is a finetune run that has no weights yet: go on with geomclip.finetune\(out=.*, resume=True\)$",
    ):
        load_encoder(str(run))
    save_checkpoint(encoder, tuned(encoder, seed=1), run / "model.safetensors", made=MADE)
    assert load_encoder(str(run)).pretrained == "model.safetensors"
    save_checkpoint(encoder, tuned(encoder, seed=2), run / "best.safetensors", made=MADE)
    best = load_encoder(str(run))
    assert (best.model, best.pretrained) == (str(run), "best.safetensors")
    assert same_rows(best, with_weights(encoder, tuned(encoder, seed=2)))


@pytest.mark.usefixtures("stock")
@pytest.mark.parametrize("quick", [False, True])
def test_open_clip_loads_a_stock_architecture_by_the_name_that_is_told(tmp_path: Path, quick: bool) -> None:
    base = load_encoder("Tiny-quickgelu" if quick else "Tiny", pretrained="random")
    file = tmp_path / "best.safetensors"
    save_checkpoint(base, tuned(base), file, made=MADE)
    again = load_encoder(str(file))
    arch = open_clip_name(again)
    assert arch == ("Tiny-quickgelu" if quick else "Tiny")
    with towers.quiet():
        module = open_clip.create_model(arch, pretrained=str(file)).eval()
    module.requires_grad_(False)  # as ours: torch may take other kernels for weights that learn
    with torch.no_grad():
        tokens = open_clip.get_tokenizer(arch)(TEXTS)
        assert_same_rows(module.encode_image(pixels(again)), rows(again)[0])
        assert_same_rows(module.encode_text(tokens), rows(again)[1])
        assert module.logit_scale.exp().item() == pytest.approx(33)


@pytest.mark.usefixtures("stock")
def test_the_name_is_of_an_equal_configuration_or_none(encoder: Encoder) -> None:
    assert open_clip_name(dataclasses.replace(encoder, arch="custom")) in ("Tiny", "Lone")
    for arch in ("Tiny", "Lone"):  # equal configurations: its own name goes first
        assert open_clip_name(dataclasses.replace(encoder, arch=arch)) == arch
    written_out = CONFIG | {"quick_gelu": False, "vision_cfg": CONFIG["vision_cfg"] | {"mlp_ratio": 4.0}}
    assert open_clip_name(dataclasses.replace(encoder, model_cfg=written_out)) is not None
    for change in (
        {"quick_gelu": True, "embed_dim": 17},
        {"text_cfg": CONFIG["text_cfg"] | {"context_length": 13}},
        {"vision_cfg": CONFIG["vision_cfg"] | {"image_size": 40}},
        {"init_logit_bias": -10},
        {"custom_text": True},
    ):
        assert open_clip_name(dataclasses.replace(encoder, model_cfg=CONFIG | change)) is None
    assert open_clip_name(dataclasses.replace(encoder, shift=torch.zeros(16))) is None
    assert open_clip_name(load_encoder("demo")) is None


@pytest.mark.parametrize("arch", ["ViT-B-32", "ViT-B-32-quickgelu", "RN50", "RN50-quickgelu", "ViT-B-16-SigLIP"])
def test_open_clips_own_configurations_are_named_with_their_activation(encoder: Encoder, arch: str) -> None:
    config = towers.architecture_config(arch)
    assert open_clip_name(dataclasses.replace(encoder, model_cfg=config, arch=arch)) == arch
    assert open_clip_name(dataclasses.replace(encoder, model_cfg=config, arch="custom")) == arch


# shifted encoders


def test_a_shift_moves_unit_rows_towards_each_other(encoder: Encoder) -> None:
    shift = 0.3 * torch.randn(16, generator=torch.Generator().manual_seed(1))
    image, text = (part.double() for part in rows(encoder))
    unit = torch.nn.functional.normalize
    moved = rows(dataclasses.replace(encoder, shift=shift))
    assert torch.allclose(moved[0].double(), unit(unit(image) - shift.double() / 2), atol=1e-6)
    assert torch.allclose(moved[1].double(), unit(unit(text) + shift.double() / 2), atol=1e-6)


def test_a_shift_is_in_the_fingerprint_and_no_other_fingerprint_changes(encoder: Encoder) -> None:
    one, other = (dataclasses.replace(encoder, shift=torch.full((16,), size)) for size in (0.1, 0.2))
    assert len({each.fingerprint() for each in (encoder, one, other)}) == 3
    assert one.made_from()["shift"]["length"] == pytest.approx(0.4)
    assert json.loads(json.dumps(one.made_from()))["weights_sha256"] == encoder.weights_sha256
    assert "shift" not in encoder.made_from()


def test_a_shift_is_saved_and_open_clip_does_not_read_it_as_unshifted(tmp_path: Path, stock: None) -> None:
    base = load_encoder("Tiny", pretrained="random")
    shifted = dataclasses.replace(base, shift=torch.linspace(-0.3, 0.3, 16))
    file = tmp_path / "best.safetensors"
    save_checkpoint(shifted, base.module.state_dict(), file, made={"method": "es", "amount": 0.5})
    again = load_encoder(str(file))
    assert same_rows(again, shifted)
    assert again.fingerprint() == shifted.fingerprint()
    assert again.made_from()["finetuned"]["amount"] == 0.5
    assert "shift" not in again.finetuned["base"]
    with pytest.raises(RuntimeError, match="geomclip_shift"):
        open_clip.create_model("Tiny", pretrained=str(file))


# what is refused


def test_a_checkpoint_cut_short_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    file = tmp_path / "best.safetensors"
    save_checkpoint(encoder, tuned(encoder), file, made=MADE)
    content = file.read_bytes()
    for length in (0, 7, 500, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(InputError, match="damaged or cut short"):
            load_encoder(str(file))


def test_one_flipped_bit_is_seen(encoder: Encoder, tmp_path: Path) -> None:
    file = tmp_path / "best.safetensors"
    save_checkpoint(encoder, tuned(encoder), file, made=MADE)
    content = bytearray(file.read_bytes())
    content[-100_000] ^= 1  # of a mantissa: any weight is as good as any other
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"not those that were saved \(another sha256\): fetch or write it again"):
        load_encoder(str(file))


@pytest.mark.parametrize("kind", ["torch", "legacy", "pickle"])
def test_a_pickle_under_the_name_of_a_checkpoint_is_refused_and_not_run(tmp_path: Path, kind: str) -> None:
    file, target = tmp_path / "best.safetensors", tmp_path / "was-run"
    content = {"visual.proj": RunsCode(target)}
    if kind == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=kind == "torch")
    with pytest.raises(InputError, match="is a pickle, which can hold code"):
        load_encoder(str(tmp_path))
    assert not target.exists()


def set_to(*path: str | int, value: object) -> Callable[[dict[str, Any]], None]:
    """A change of the metadata: the entry at this path gets a value."""

    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


VISION, TEXT = ("model_cfg", "vision_cfg"), ("model_cfg", "text_cfg")
LIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "schema": (set_to("schema", value="geomclip.checkpoint/2"), "schema 'geomclip.checkpoint/2', this version reads"),
    "missing": (lambda content: content.pop("made"), "metadata are incomplete: no sound 'made'"),
    "type": (set_to("quick_gelu", value="yes"), "metadata are incomplete: no sound 'quick_gelu'"),
    "activation": (set_to("quick_gelu", value=True), "contradict themselves: quick_gelu True and False"),
    "context": (set_to("context_length", value=77), "contradict themselves: context_length 77 and 12"),
    "width": (set_to(*VISION, "width", value=64), "(32,) in the file, (64,) in"),
    "embed_dim": (set_to("model_cfg", "embed_dim", value=10**12), "(16, 16) in the file, (16, 1000000000000) in"),
    "negative": (set_to("model_cfg", "embed_dim", value=-1), "open_clip cannot use it"),
    "vocabulary": (set_to(*TEXT, "vocab_size", value=10**15), "(49408, 16) in the file, (1000000000000000, 16) in"),
    "layers": (set_to(*VISION, "layers", value=10**9), "has 1000000000 layers, the file"),
    "depth": (set_to(*VISION, "layers", value=3), "is absent in the file"),
    "image_size": (set_to(*VISION, "image_size", value=64), "(17, 32) in the file, (65, 32) in"),
    "huge image": (set_to(*VISION, "image_size", value=2**40), "open_clip cannot use it"),
    "patch": (set_to(*VISION, "patch_size", value=0), "open_clip cannot use it: ZeroDivisionError"),
    "text": (set_to("model_cfg", "text_cfg", value=[]), "'model_cfg' has no 'text_cfg' of type dict"),
    "mean": (set_to("preprocess_cfg", "mean", value=[0.5]), "'preprocess_cfg' has no sound 'mean': [0.5]"),
    "std": (set_to("preprocess_cfg", "std", value=[0.5, 0, 1]), "'preprocess_cfg' has no sound 'std'"),
    "side": (set_to("preprocess_cfg", "size", value=[10**9, 10**9]), "'preprocess_cfg' has no sound 'size'"),
    "mode": (set_to("preprocess_cfg", "resize_mode", value="melt"), "'preprocess_cfg' has no sound 'resize_mode'"),
    "code": (set_to(*TEXT, "tokenizer_kwargs", value={"trust_remote_code": True}), "ask to run code"),
    "shift": (set_to("shift", value={"sha256": "0"}), "metadata and its tensors disagree about a shift"),
    "weights": (set_to("weights_sha256", value="0" * 64), "not those that were saved"),
}


@pytest.mark.parametrize("lie", LIES)
def test_metadata_that_lie_are_refused_before_anything_large_is_made(
    encoder: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str], lie: str
) -> None:
    change, message = LIES[lie]
    save_checkpoint(encoder, tuned(encoder), tmp_path / "run" / "best.safetensors", made=MADE)
    file = rewritten(tmp_path / "run" / "best.safetensors", change)
    out = ["--data", f"folder:{folder_of_pairs(tmp_path / 'pairs', 2)}", "--out", tmp_path / "store", "--quiet"]
    assert_one_line(run_cli(capsys, "extract", "--model", tmp_path / "run", *out), 2, str(file), message)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "3"])
def test_metadata_that_are_no_object_are_refused(tmp_path: Path, text: str) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "best.safetensors", metadata={"geomclip": text})
    with pytest.raises(InputError, match=r"metadata are (no JSON|of schema 3)") as caught:
        load_encoder(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_tensor_of_another_architecture_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    file = tmp_path / "best.safetensors"
    save_checkpoint(encoder, tuned(encoder), file, made=MADE)
    with safe_open(file, framework="pt") as opened:
        content = opened.metadata()
    other = load_encoder(str(tiny_model(tmp_path / "wide", vision_cfg=CONFIG["vision_cfg"] | {"width": 64})))
    save_file(other.module.state_dict(), file, metadata=content)
    with pytest.raises(InputError, match=r"visual\.class_embedding is \(64,\) in the file, \(32,\) in custom"):
        load_encoder(str(file))
    save_file({**load_file(file), "extra": torch.zeros(2)}, file, metadata=content)
    with pytest.raises(InputError, match="metadata are not of its tensors"):
        load_encoder(str(file))


# sums


def test_other_metadata_of_the_same_weights_are_refused(encoder: Encoder, tmp_path: Path) -> None:
    save_checkpoint(encoder, tuned(encoder), tmp_path / "tuned.safetensors", made=MADE)
    file = rewritten(
        tmp_path / "tuned.safetensors", lambda content: content["preprocess_cfg"].update(fill_color=0), seal=False
    )
    with pytest.raises(DamagedError, match=r"its geomclip metadata is damaged or changed: .*: fetch or write it again"):
        load_encoder(str(file))


def test_metadata_of_a_version_without_a_sum_are_read(encoder: Encoder, tmp_path: Path) -> None:
    save_checkpoint(encoder, tuned(encoder), tmp_path / "tuned.safetensors", made=MADE)
    file = rewritten(tmp_path / "tuned.safetensors", lambda content: content.pop("content_sha256"), seal=False)
    assert load_encoder(str(file)).logit_scale == pytest.approx(33)


def test_metadata_under_another_name_are_damage_and_not_a_file_of_others(encoder: Encoder, tmp_path: Path) -> None:
    file = tmp_path / "tuned.safetensors"
    save_checkpoint(encoder, tuned(encoder), file, made=MADE)
    flipped(file, file.read_bytes().index(b'"geomclip"') + 1)
    with pytest.raises(DamagedError, match="its geomclip metadata are called 'feomclip'"):
        load_encoder(str(file), arch="ViT-B-32")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_flip_of_any_bit_is_refused_or_gives_the_same_encoder(
    encoder: Encoder, checkpoint_file: Path, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as place:
        file = Path(shutil.copy(checkpoint_file, place))
        length = int.from_bytes(file.read_bytes()[:8], "little")
        # most of a file are weights, and most of what can go wrong is in its header
        last = data.draw(st.sampled_from([8, 8 + length, file.stat().st_size]))
        flipped(file, data.draw(st.integers(0, last - 1)), data.draw(st.integers(0, 7)))
        try:
            found = load_encoder(str(file))
        except InputError:
            return
        expected = load_encoder(str(checkpoint_file))
        assert same_rows(found, expected)
        differing = {"model", "pretrained"}  # names of the file
        assert {k: v for k, v in found.made_from().items() if k not in differing} == {
            k: v for k, v in expected.made_from().items() if k not in differing
        }


@pytest.fixture(scope="module")
def checkpoint_file(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("flips") / "tuned.safetensors"
    save_checkpoint(encoder, tuned(encoder), file, made=MADE)
    return file
