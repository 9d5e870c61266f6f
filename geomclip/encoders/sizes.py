"""Sizes that a configuration asks for, held against the limits before anything of that size is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomclip.machine import limits

if TYPE_CHECKING:
    import torch

TOKENIZER_ENDINGS = (".json", ".txt", ".model", ".vocab", ".jinja")
_LAYERS = {
    *("layers", "num_layers", "n_layers", "n_layer", "num_hidden_layers", "num_decoder_layers", "depth"),
    *("encoder_layers", "decoder_layers"),
}
_WIDTHS = {
    *("embed_dim", "width", "head_width", "heads", "mlp_ratio", "attn_pooler_queries", "attn_pooler_heads"),
    *("n_queries", "dim_head", "hidden_size", "intermediate_size", "d_model", "d_ff", "d_kv", "num_heads"),
    *("num_attention_heads", "encoder_attention_heads", "decoder_attention_heads", "encoder_ffn_dim"),
    *("decoder_ffn_dim", "embedding_size", "projection_dim"),
}
_OTHERS = {
    "context_length": "context",
    "max_position_embeddings": "context",
    "image_size": "image-side",
    "img_size": "image-side",
}


def check(config: Mapping[str, Any], where: str) -> None:
    """See that no number in a configuration, at any depth, is beyond the limit of its kind; of layers the sum counts.

    Raises
    ------
    InputError
        Naming the limit.
    """
    waiting: list[tuple[str, Any, int]] = [("", dict(config), 0)]
    while waiting:
        name, value, depth = waiting.pop()
        limits.check("json-depth", depth, where)
        if isinstance(value, dict):
            waiting += [(str(key), inner, depth + 1) for key, inner in value.items()]
        elif isinstance(value, list):
            if name in _LAYERS and all(type(each) is int for each in value):
                limits.check("layers", sum(value), f"{where}: {name}")
            limits.check("width", len(value), f"{where}: entries of {name}")
            waiting += [(name, inner, depth + 1) for inner in value]
        elif type(value) is int or (type(value) is float and math.isfinite(value)):
            limits.check(_limit_of(name), math.ceil(abs(value)), f"{where}: {name}")
    if isinstance(vision := config.get("vision_cfg"), dict):
        _check_patches(vision, where)
        if isinstance(trunk := vision.get("timm_model_args"), dict):
            _check_patches({**trunk, "image_size": trunk.get("img_size")}, where)


def check_tower(config: Mapping[str, Any], where: str) -> None:
    """See that the config.json of a tower that transformers builds asks for no more weights than are let in.

    Other numbers in it may be anything: what one such kind of model makes a table of is a constant of another.

    Raises
    ------
    InputError
        Naming the limit.
    """
    waiting: list[Mapping[str, Any]] = [config]
    while waiting:
        part = waiting.pop()
        waiting += [value for value in part.values() if isinstance(value, dict)]
        sizes = {name: value for name, value in part.items() if type(value) is int and value > 0}
        for name in sorted(sizes.keys() & (_LAYERS | _WIDTHS | {"image_size", "vocab_size"})):
            limits.check(_limit_of(name), sizes[name], f"{where}: {name}")
        width = max((sizes.get(name, 0) for name in ("hidden_size", "d_model", "n_embd", "dim")), default=0)
        for name in ("vocab_size", "max_position_embeddings"):
            limits.check("weights", sizes.get(name, 0) * width, f"{where}: {name}")
        blocks = max((sizes.get(name, 0) for name in _LAYERS), default=0)
        limits.check("weights", blocks * width * max(width, sizes.get("intermediate_size", 0)), where)


def check_tokenizer(folder: Path) -> None:
    """See that no file that may be a tokenizer's is larger than any is; weights may lie beside them, folders below.

    Raises
    ------
    InputError
        Naming the file and the limit.
    """
    for file in folder.iterdir() if folder.is_dir() else ():
        if file.is_file() and file.suffix.lower() in TOKENIZER_ENDINGS:
            limits.check("tokenizer-bytes", file.stat().st_size, str(file))


def weights(module: torch.nn.Module) -> int:
    """How many numbers a module holds, those that it makes itself among them."""
    return sum(each.numel() for each in (*module.parameters(), *module.buffers()))


def _limit_of(name: str) -> str:
    if name in _LAYERS:
        return "layers"
    return "width" if name in _WIDTHS else _OTHERS.get(name, "vocabulary")


def _check_patches(part: Mapping[str, Any], where: str) -> None:
    size, patch = part.get("image_size"), part.get("patch_size", 16)
    sides = size if isinstance(size, list) else [size, size]
    if len(sides) == 2 and all(type(each) is int for each in (*sides, patch)) and patch > 0:
        limits.check("patches", math.prod(side // patch for side in sides), f"{where}: image_size")
