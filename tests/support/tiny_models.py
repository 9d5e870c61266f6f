"""Tiny dual encoders with random weights, in open_clip's local-dir layout."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from safetensors.torch import save_file

CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
COCA = {
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
    | {"attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 5, "output_tokens": True},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    | {"embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    "custom_text": True,
}
"""A CoCa: an image pooled to 5 tokens, and a decoder of one layer."""


def tiny_model(
    folder: Path,
    *,
    seed: int = 0,
    preprocess: dict[str, Any] | None = None,
    weights: bool = True,
    **config: Any,
) -> Path:
    """A folder that `local-dir:` takes; the weights are those of this seed."""
    from geomclip.encoders import towers

    folder.mkdir(parents=True, exist_ok=True)
    model_cfg = {**CONFIG, **config}
    content = {"model_cfg": model_cfg, "preprocess_cfg": preprocess or {}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    if weights:
        module = towers.build(model_cfg, preprocess or {}, seed=seed, where=str(folder))
        save_file(module.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def tiny_coca(folder: Path, *, seed: int = 0) -> Path:
    """A folder with a CoCa whose decoder prefers some words to others; the projection of a new one is all zero."""
    import torch

    from geomclip.encoders import towers

    folder = tiny_model(folder, weights=False, **COCA)
    module = towers.build({**CONFIG, **COCA}, {}, seed=seed, where=str(folder))
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        module.text_decoder.text_projection.normal_(generator=draw)
    save_file(module.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def tiny_architectures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give open_clip, until the test ends, the configurations Tiny, Tiny-quickgelu and Lone (equal to Tiny)."""
    import open_clip

    from geomclip.encoders import towers

    folder.mkdir(parents=True)
    for name, config in (("Tiny", CONFIG), ("Tiny-quickgelu", CONFIG | {"quick_gelu": True}), ("Lone", CONFIG)):
        (folder / f"{name}.json").write_text(json.dumps(config))
    factory = open_clip.factory
    monkeypatch.setattr(factory, "_MODEL_CONFIG_PATHS", [*factory._MODEL_CONFIG_PATHS])
    monkeypatch.setattr(factory, "_MODEL_CONFIGS", dict(factory._MODEL_CONFIGS))
    open_clip.add_model_config(folder)
    forget_architectures(towers)


def forget_architectures(towers: ModuleType) -> None:
    """Have the tables of names read anew."""
    for cached in (towers.architectures, towers.tags):
        cached.cache_clear()
