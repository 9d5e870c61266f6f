"""Tiny models of transformers with random weights, their folders, and their own rows of pixels and tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from geomclip.encoders import load_encoder
from geomclip.machine.errors import InputError

TEXT: dict[str, Any] = {
    **{"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"max_position_embeddings": 12, "vocab_size": 100},
}
VISION: dict[str, Any] = {
    **{"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"patch_size": 8},
}
SIDE = 32
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def hf_model(kind: str, *, seed: int = 0, text: dict[str, Any] | None = None, **more: Any) -> nn.Module:
    """A CLIPModel, SiglipModel or Siglip2Model in eval mode, every weight drawn; `vision` and `text` add settings."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    vision = {**VISION, **more.pop("vision", {})}
    text = {**TEXT, **(text or {})}
    if kind == "clip":
        vision, text = {"image_size": SIDE, **vision}, {"eos_token_id": 99, **text}
        config = transformers.CLIPConfig(vision_config=vision, text_config=text, **{"projection_dim": 16, **more})
        made: nn.Module = transformers.CLIPModel(config)
    elif kind == "siglip":
        text = {"projection_size": vision["hidden_size"], **text}
        config = transformers.SiglipConfig(vision_config={"image_size": SIDE, **vision}, text_config=text, **more)
        made = transformers.SiglipModel(config)
    else:
        text = {"projection_size": vision["hidden_size"], **text}
        config = transformers.Siglip2Config(vision_config={"num_patches": 16, **vision}, text_config=text, **more)
        made = transformers.Siglip2Model(config)
    return drawn(made, seed=seed).eval()


def drawn(module: nn.Module, *, seed: int = 0) -> nn.Module:
    """The module with weights of this seed, norms and biases too, so that none hides what it does."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "logit_scale" in name:
                parameter.fill_(1.5)
            else:
                parameter.copy_(0.15 * torch.randn(parameter.shape, generator=draw))
                if "norm" in name and name.endswith("weight"):
                    parameter.add_(1.0)
    return module


def hf_rows(model: nn.Module, pixels: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of images and of texts that transformers' own forward gives; pixels (b, 3, h, w)."""
    with torch.inference_mode():
        if type(model).__name__ == "Siglip2Model":
            side = model.config.vision_config.patch_size
            high, wide = pixels.shape[2] // side, pixels.shape[3] // side
            cut = pixels.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 4, 5, 1)
            image = model.get_image_features(
                pixel_values=cut.reshape(len(pixels), high * wide, -1),
                pixel_attention_mask=torch.ones(len(pixels), high * wide),
                spatial_shapes=torch.tensor([[high, wide]] * len(pixels)),
            )
        else:
            image = model.get_image_features(pixel_values=pixels)
        text = model.get_text_features(input_ids=tokens)
    # transformers before 5.0 gave the rows themselves
    return tuple(rows if isinstance(rows, Tensor) else rows.pooler_output for rows in (image, text))


def hf_inputs(model: nn.Module, size: int = 3, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Pixels and tokens for a model; each text ends with the end token of CLIP's configuration, then padding."""
    draw = torch.Generator().manual_seed(seed)
    vision, text = model.config.vision_config, model.config.text_config
    side = getattr(vision, "image_size", None) or round(vision.num_patches**0.5) * vision.patch_size
    length = text.max_position_embeddings
    tokens = torch.randint(3, text.vocab_size - 2, (size, length), generator=draw)
    for row in range(size):
        tokens[row, length - 1 - row :] = text.eos_token_id if text.eos_token_id < text.vocab_size else 1
    return torch.randn(size, 3, side, side, generator=draw), tokens


def save_tokenizer(folder: Path, kind: str = "clip") -> None:
    """A tokenizer of letters: 26 of them, each also at the end of a word, and the tokens that begin and end a text."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    vocabulary = {word: number for number, word in enumerate(words)} | {"<|startoftext|>": 98, "<|endoftext|>": 99}
    tokenizer = transformers.CLIPTokenizerFast
    if kind == "clip":
        tokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
        return
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    made = Tokenizer(
        models.WordLevel({"<pad>": 1, "</s>": 2, "<unk>": 3} | {c: 4 + n for n, c in enumerate(LETTERS)}, "<unk>")
    )
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 2)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)


def save_images(folder: Path, **settings: Any) -> None:
    """A preprocessor_config.json for 32 pixels a side."""
    usual = {"do_resize": True, "size": {"shortest_edge": SIDE}, "do_center_crop": True, "resample": 3}
    usual |= {"crop_size": {"height": SIDE, "width": SIDE}, "do_normalize": True}
    usual |= {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (folder / "preprocessor_config.json").write_text(json.dumps(usual | settings))


def hf_folder(folder: Path, kind: str = "clip", *, seed: int = 0, **settings: Any) -> tuple[Path, nn.Module]:
    """A folder of transformers with weights, tokenizer and preprocessing, and the model in it."""
    model = hf_model(kind, seed=seed, **settings)
    model.save_pretrained(folder)
    save_tokenizer(folder, kind)
    if kind == "clip":
        save_images(folder)
    elif kind == "siglip":
        save_images(folder, size={"height": SIDE, "width": SIDE}, do_center_crop=False)
    else:
        (folder / "preprocessor_config.json").write_text(json.dumps({"resample": 2, "patch_size": 8}))
    return folder, model


def hf_refusal(model: Path | str, kind: type[InputError] = InputError, **options: Any) -> str:
    """The one line with which a model is not loaded."""
    with pytest.raises(kind) as caught:
        load_encoder(str(model), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)
