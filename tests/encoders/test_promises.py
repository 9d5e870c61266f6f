"""One table of all kinds of encoders: what extraction takes for granted of one holds for every one."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import picture
from PIL import Image
from tiny_models import CONFIG, forget_architectures, tiny_architectures, tiny_model
from torch import Tensor
from tower_kinds import CONFIGS, KINDS, OF_TRANSFORMERS, POOLERS

from geomclip.encoders import load_encoder, remembered, save_checkpoint, towers
from geomclip.encoders.protocol import Encodes

TEXTS = ["a dog", "two red buses and so many other words that nothing of the rest is left", "rain", ""]
VOCABULARY = CONFIG["text_cfg"]["vocab_size"]  # of the tokenizer: tower_kinds has towers of 100 words, without one
ALWAYS = {
    *("model", "pretrained", "arch", "quick_gelu", "dim", "context_length", "logit_scale", "logit_bias"),
    *("weights_sha256", "preprocessing", "precision", "device", "fingerprint", "notes", "open_clip"),
}
"""What every encoder says that it was made from; only the fine-tuned and the shifted say more."""


def rows_apart(dtype: torch.dtype) -> float:
    """How far a row may move with its place in a batch: kernels for other places sum in another order."""
    return 1e-5 if dtype == torch.float32 else 0.05


def tower(kind: str) -> Callable[[Path], Encodes]:
    """Random weights in a tower of this kind, from a configuration."""

    def load(folder: Path) -> Encodes:
        config = CONFIGS.get(kind, {})
        text = {**CONFIG["text_cfg"], **config.get("text_cfg", {}), "vocab_size": VOCABULARY}
        if kind in OF_TRANSFORMERS:
            transformers = pytest.importorskip("transformers", reason="transformers is not installed")
            sizes = {"vocab_size": VOCABULARY, "max_position_embeddings": 20, "pad_token_id": 1}
            transformers.AutoConfig.for_model(kind, **sizes | OF_TRANSFORMERS[kind]).save_pretrained(folder / "text")
            text = {"hf_model_name": str(folder / "text"), "hf_pooler_type": POOLERS[kind], "context_length": 12}
            config = {"custom_text": True}
        elif kind.startswith("timm"):
            pytest.importorskip("timm", reason="timm is not installed")
        if "multimodal_cfg" in config:
            config = {**config, "multimodal_cfg": {**config["multimodal_cfg"], "vocab_size": VOCABULARY}}
        place = tiny_model(folder / "model", weights=False, **config | {"text_cfg": text})
        return load_encoder(f"local-dir:{place}", pretrained="random")

    return load


def by_name(folder: Path) -> Encodes:
    return load_encoder("Tiny", pretrained="random", seed=3)


def local_folder(folder: Path) -> Encodes:
    return load_encoder(f"local-dir:{tiny_model(folder)}")


def weights_file(folder: Path) -> Encodes:
    file = folder / "epoch_1.pt"
    torch.save({"epoch": 1, "state_dict": towers.build(CONFIG, {}, seed=5, where="").state_dict()}, file)
    return load_encoder(str(file), arch="Tiny-quickgelu")


def run_folder(folder: Path, shift: float | None = None) -> Encodes:
    base = load_encoder("Tiny", pretrained="random")
    along = None if shift is None else torch.full((base.dim,), shift)
    state = {name: value * 1.01 for name, value in base.module.state_dict().items()}
    made = {"method": "m2mix" if shift is None else "es", "step": 3}
    save_checkpoint(dataclasses.replace(base, shift=along), state, folder / "best.safetensors", made=made)
    return load_encoder(str(folder))


def remembered_one(folder: Path) -> Encodes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remembered, "SETTLED", -math.inf)  # files as young as these are not believed
        model = str(tiny_model(folder / "model"))
        loaded, again = (remembered.remembered(model, cache_dir=folder / "cache") for _ in range(2))
    assert type(loaded) is not type(again), "the second was not remembered"
    return again


@dataclass(frozen=True)
class Kind:
    """How one is loaded, and what it says more than others."""

    load: Callable[[Path], Encodes]
    more: frozenset[str] = frozenset()
    dtype: torch.dtype = torch.float32
    unit: bool = False  # rows come at length 1


TABLE: dict[str, Kind] = {
    "demo": Kind(lambda _: load_encoder("demo")),
    "name": Kind(by_name),
    "local-dir": Kind(local_folder),
    "weights file": Kind(weights_file),
    "run folder": Kind(run_folder, frozenset({"finetuned"})),
    "shifted": Kind(lambda folder: run_folder(folder, 0.1), frozenset({"finetuned", "shift"}), unit=True),
    "remembered": Kind(remembered_one),
    "bf16": Kind(lambda _: load_encoder("Tiny", pretrained="random", precision="bf16"), dtype=torch.bfloat16),
    **{kind: Kind(tower(kind)) for kind in KINDS if kind != "timm-beit"},
}


def test_every_kind_of_tower_has_a_row() -> None:
    assert {*KINDS} - {*TABLE} == {"timm-beit"}  # built by hand, as the configuration of timm-vit


@dataclass(frozen=True)
class Loaded:
    """An encoder with four pictures and four texts as it wants them."""

    kind: Kind
    encoder: Encodes
    again: Callable[[], Encodes]
    pixels: Tensor
    tokens: Tensor

    def towers(self) -> list[tuple[Callable[[Tensor], Tensor], Tensor]]:
        return [(self.encoder.encode_image, self.pixels), (self.encoder.encode_text, self.tokens)]


@pytest.fixture(scope="module")
def architectures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        tiny_architectures(tmp_path_factory.mktemp("names") / "architectures", patch)
        yield
    forget_architectures(towers)


def pictures() -> list[Image.Image]:
    sizes = [(40, 30), (30, 40), (32, 32), (90, 50)]
    return [Image.open(BytesIO(picture(seed, size))).convert("RGB") for seed, size in enumerate(sizes)]


@pytest.fixture(scope="module", params=TABLE)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, architectures: None) -> Loaded:
    kind = TABLE[request.param]

    def load() -> Encodes:
        return kind.load(tmp_path_factory.mktemp(request.param.replace(" ", "-")))

    encoder = load()
    prepare = encoder.preprocess()
    return Loaded(kind, encoder, load, torch.stack([*map(prepare, pictures())]), encoder.tokenize(TEXTS)[0])


def test_rows_are_finite_float32_on_the_processor_with_a_direction_each(loaded: Loaded) -> None:
    for encode, batch in loaded.towers():
        rows = encode(batch)
        assert (rows.shape, rows.dtype) == ((4, loaded.encoder.dim), torch.float32)
        assert (rows.device.type, rows.requires_grad) == ("cpu", False)
        assert torch.isfinite(rows).all()
        lengths = rows.norm(dim=1)
        assert (lengths > 0).all()
        assert torch.allclose(lengths, torch.ones(4), atol=1e-6) == loaded.kind.unit


def test_the_same_batch_gives_the_same_bytes_from_any_thread(loaded: Loaded) -> None:
    for encode, batch in loaded.towers():
        expected = encode(batch)
        with ThreadPoolExecutor(2) as pool:
            assert all(torch.equal(rows, expected) for rows in pool.map(encode, [batch] * 4))


def test_an_encoder_that_is_loaded_anew_gives_the_same_bytes(loaded: Loaded) -> None:
    again = loaded.again()
    assert torch.equal(again.encode_image(loaded.pixels), loaded.encoder.encode_image(loaded.pixels))
    assert torch.equal(again.encode_text(loaded.tokens), loaded.encoder.encode_text(loaded.tokens))
    assert again.made_from()["weights_sha256"] == loaded.encoder.made_from()["weights_sha256"]


def test_the_order_of_a_batch_does_not_matter(loaded: Loaded) -> None:
    order = torch.tensor([2, 0, 3, 1])
    for encode, batch in loaded.towers():
        apart = rows_apart(loaded.kind.dtype)
        torch.testing.assert_close(encode(batch[order]), encode(batch)[order], rtol=apart, atol=apart)


def test_different_inputs_give_different_rows(loaded: Loaded) -> None:
    for encode, batch in loaded.towers():
        assert len(encode(batch).unique(dim=0)) == 4


def test_pixels_and_tokens_are_left_alone(loaded: Loaded) -> None:
    for encode, batch in loaded.towers():
        before = batch.clone()
        encode(batch)
        assert torch.equal(batch, before)


def test_bytes_give_the_rows_of_the_pixels_that_they_stand_for(loaded: Loaded) -> None:
    prepare: Any = loaded.encoder.preprocess()
    pixels = torch.stack([prepare.uint8(image) for image in pictures()])
    assert (pixels.dtype, pixels.shape) == (torch.uint8, loaded.pixels.shape)
    assert torch.equal(loaded.encoder.encode_image(pixels), loaded.encoder.encode_image(loaded.pixels))


def test_texts_become_tokens_and_those_that_are_cut_are_named(loaded: Loaded) -> None:
    tokens, cut = loaded.encoder.tokenize(TEXTS)
    length = loaded.encoder.made_from()["context_length"]
    assert (tokens.shape, tokens.dtype) == ((4, length), torch.int64)
    assert cut.tolist() == [False, length < 17, False, False]  # start, 15 words, end
    nothing, none = loaded.encoder.tokenize([])
    assert (nothing.shape, none.shape, none.dtype) == ((0, length), (0,), torch.bool)


def test_what_it_was_made_from_is_json_under_the_same_keys(loaded: Loaded) -> None:
    encoder = loaded.encoder
    made = dict(encoder.made_from())
    assert json.loads(json.dumps(made, allow_nan=False)).keys() == ALWAYS | loaded.kind.more
    assert (made["dim"], made["logit_scale"], made["logit_bias"]) == (
        encoder.dim,
        encoder.logit_scale,
        encoder.logit_bias,
    )
    assert {len(made[name]) for name in ("weights_sha256", "fingerprint")} == {64}
    for key in ("notes", "preprocessing", *loaded.kind.more):  # whoever has it may add to it
        made[key].append("mine") if isinstance(made[key], list) else made[key].update(mine=1)
    made["preprocessing"]["mean"].append(0.5)
    assert "mine" not in str(encoder.made_from())
    assert len(encoder.made_from()["preprocessing"]["mean"]) == 3


def test_the_scale_is_a_finite_factor_and_a_bias_a_finite_number(loaded: Loaded) -> None:
    scale, bias = loaded.encoder.logit_scale, loaded.encoder.logit_bias
    assert 0 < scale < math.inf
    assert bias is None or math.isfinite(bias)


def test_kinds_with_other_weights_activations_or_shifts_have_other_fingerprints(
    architectures: None, tmp_path: Path
) -> None:
    names = ("demo", "name", "local-dir", "weights file", "run folder", "shifted", "bf16")
    prints = {}
    for name in names:
        folder = tmp_path / name.replace(" ", "-")
        folder.mkdir()
        prints[name] = TABLE[name].load(folder).made_from()["fingerprint"]
    assert len(set(prints.values())) == len(names), prints
