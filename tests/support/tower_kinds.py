"""A tiny module with random weights for every kind of tower that open_clip builds, and inputs for it."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import CONFIG
from torch import Tensor, nn

VISION: dict[str, Any] = CONFIG["vision_cfg"]
TEXT: dict[str, Any] = {**CONFIG["text_cfg"], "vocab_size": 100}
TIMM = {"timm_pool": "avg", "timm_proj": "linear", "image_size": 64}
CUSTOM_BLOCKS = {"qk_norm": True, "scale_heads": True, "scale_attn": True, "scale_fc": True}
OF_TRANSFORMERS: dict[str, dict[str, Any]] = {
    "roberta": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48},
    "bert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48},
    "mt5": {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 1, "num_heads": 2},
    "m2m_100": {
        **{"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 48},
        **{"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 48, "encoder_layerdrop": 0.0},
    },
}
POOLERS = {"roberta": "mean_pooler", "bert": "cls_pooler", "mt5": "mean_pooler", "m2m_100": "cls_pooler"}

CONFIGS: dict[str, dict[str, Any]] = {
    "openai": {},
    "custom-text": {"custom_text": True, "text_cfg": {**TEXT, "proj_bias": True, "layers": 3}},
    "custom-blocks": {
        "custom_text": True,
        "vision_cfg": {**VISION, **CUSTOM_BLOCKS},
        "text_cfg": {**TEXT, "qk_norm": True, "no_causal_mask": True, "pool_type": "last"},
    },
    "sine-positions": {"vision_cfg": {**VISION, "pos_embed_type": "sin_cos_2d"}, "quick_gelu": True},
    "resnet": {"vision_cfg": {"image_size": 32, "layers": [1, 2, 1, 1], "width": 8, "head_width": 64}},
    "coca": {
        "vision_cfg": {**VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {"context_length": 12, "vocab_size": 100, "width": 16, "heads": 2, "layers": 1},
        "custom_text": True,
    },
    "timm-vit": {"vision_cfg": {"timm_model_name": "test_vit", **TIMM, "timm_pool": "token"}},
    "timm-siglip": {
        "embed_dim": 96,
        "vision_cfg": {
            "timm_model_name": "test_vit3",
            **TIMM,
            "timm_pool": "map",
            "timm_proj": "none",
            "image_size": 160,
        },
        "init_logit_bias": -10,
        "custom_text": True,
    },
    "timm-convnext": {"vision_cfg": {"timm_model_name": "test_convnext", **TIMM, "timm_proj": "mlp"}},
    "timm-resnet": {"vision_cfg": {"timm_model_name": "test_resnet", **TIMM, "timm_proj": None}},
    # BEiT, Swin 2 and EVA take the weight of their `qkv` layer and do not call it
    "timm-beit": {"vision_cfg": {"timm_model_name": "test_vit", **TIMM}},
}
KINDS = [*CONFIGS, *OF_TRANSFORMERS]


@functools.cache
def _built(kind: str, seed: int) -> nn.Module:
    from geomclip.encoders import towers

    if kind not in OF_TRANSFORMERS:
        config = {**CONFIG, "text_cfg": TEXT, **CONFIGS[kind]}
        return towers.build(config, {}, seed=seed, where=kind)
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"vocab_size": 100, "max_position_embeddings": 20, "pad_token_id": 1, **OF_TRANSFORMERS[kind]}
        transformers.AutoConfig.for_model(kind, **sizes).save_pretrained(folder)
        text = {"hf_model_name": str(Path(folder)), "hf_pooler_type": POOLERS[kind], "hf_proj_type": "linear"}
        return towers.build({**CONFIG, "text_cfg": text, "custom_text": True}, {}, seed=seed, where=kind)


def module_of(kind: str, *, seed: int = 0) -> nn.Module:
    """A new module of a kind with every parameter able to learn; eval mode."""
    import copy

    from geomclip.training.parameters import unfreeze

    if kind.startswith("timm"):
        pytest.importorskip("timm", reason="timm is not installed")
    module = copy.deepcopy(_built(kind, seed))
    if kind == "timm-beit":
        from timm.models.beit import Beit

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module.visual.trunk = Beit(  # type: ignore[union-attr]
                img_size=64, patch_size=16, embed_dim=64, depth=2, num_heads=2, num_classes=0, init_values=0.1
            ).eval()
    for parameter in module.parameters():  # blocks of ResNets begin as the identity, which hides what is in them
        if parameter.ndim == 1 and len(parameter) > 1 and not parameter.any():
            nn.init.constant_(parameter, 0.5)
    unfreeze(module)
    return module


def inputs(module: nn.Module, size: int = 5, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Pixels and tokens for a module."""
    draw = torch.Generator().manual_seed(seed)
    side = module.visual.image_size  # type: ignore[union-attr]
    side = side if isinstance(side, int) else side[0]
    tokens = torch.randint(2, 99, (size, 12), generator=draw)
    tokens[:, -1] = 99
    tokens[1:, 8:] = 0 if not hasattr(module, "text") or not hasattr(module.text, "config") else 1
    tokens[1:, 7] = 99
    return torch.randn(size, 3, side, side, generator=draw), tokens


def rows(module: nn.Module, pixels: Tensor, tokens: Tensor) -> Tensor:
    """Unit rows of both towers, side by side."""
    dtype = next(module.parameters()).dtype
    encode: list[tuple[Callable[..., Any], Tensor]] = [
        (module.encode_image, pixels.to(dtype)),  # type: ignore[list-item]
        (module.encode_text, tokens),  # type: ignore[list-item]
    ]
    found = []
    for tower, batch in encode:
        out = tower(batch, normalize=False)
        out = out[0] if isinstance(out, tuple) else out
        found.append(nn.functional.normalize(out.float(), dim=1))
    return torch.cat(found, dim=1)


HEADS = {
    "openai": {"visual.proj", "text_projection"},
    "custom-text": {"visual.proj", "text.text_projection.weight", "text.text_projection.bias"},
    "custom-blocks": {"visual.proj", "text.text_projection"},
    "sine-positions": {"visual.proj", "text_projection"},
    "resnet": {"visual.attnpool.c_proj.weight", "visual.attnpool.c_proj.bias", "text_projection"},
    "coca": {"visual.proj", "text.text_projection"},
    "timm-vit": {"visual.head.proj.weight", "text_projection"},
    "timm-siglip": {"logit_bias", "text.text_projection"},  # the image tower ends in its attention pooling
    "timm-convnext": {"visual.head.mlp.fc1.weight", "visual.head.mlp.fc1.bias", "visual.head.mlp.fc2.weight"}
    | {"text_projection"},
    "timm-resnet": {"visual.trunk.fc.weight", "visual.trunk.fc.bias", "text_projection"},
    "timm-beit": {"visual.head.proj.weight", "text_projection"},
    **{kind: {"visual.proj", "text.proj.weight"} for kind in ("roberta", "bert", "mt5", "m2m_100")},
}
