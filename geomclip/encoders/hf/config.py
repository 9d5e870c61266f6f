"""The config.json of a model of transformers, read as open_clip's configuration of an equal model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geomclip.encoders import foreign_code, sizes
from geomclip.encoders.hf.names import Row, clip_rows, siglip_rows
from geomclip.machine import limits
from geomclip.machine.errors import InputError
from geomclip.machine.words import near

FILE = "config.json"
KINDS = {"clip": "CLIPModel", "siglip": "SiglipModel", "siglip2": "Siglip2Model"}
"""The kinds of model that are read, by `model_type`, and their classes."""
TIMM = "vit_base_patch16_siglip_224"  # timm's function for a SigLIP tower, called with every size of its own
_TANH = ("gelu_pytorch_tanh", "gelu_new")  # one formula, two names
_USUAL: dict[str, dict[str, dict[str, Any]]] = {
    "clip": {
        "text_config": {"vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8}
        | {"max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "eos_token_id": 49407},
        "vision_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "image_size": 224}
        | {"patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
    },
    "siglip": {
        "text_config": {"vocab_size": 32000, "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
        | {"max_position_embeddings": 64, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6},
        "vision_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "image_size": 224}
        | {"patch_size": 16, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6, "num_patches": 256},
    },
}
"""What transformers takes where a configuration is silent: files of before 5.0 hold only what differs from it."""


@dataclass(frozen=True)
class Description:
    """What a config.json says."""

    file: Path
    kind: str  # a key of KINDS
    model_cfg: dict[str, Any]  # open_clip's; the tokenizer is not in it
    rows: tuple[Row, ...]  # the names of its weights
    image_size: int
    end: int | None  # the token at which a text is pooled; None: the last place, or the largest token
    notes: tuple[str, ...] = ()


def read(file: Path) -> Description:
    """The configuration of a folder of transformers, checked.

    Raises
    ------
    InputError
        If it cannot be read, asks for code of its own, asks for more than the limits let in, or is of a model that
        open_clip cannot be equal to; the message names the kind or the setting.
    """
    settings = foreign_code.read(file)
    kind = _kind(settings, file)
    vision, text = (_Part(settings, kind, name, file) for name in ("vision_config", "text_config"))
    if vision.get("num_channels", 3) != 3:
        raise InputError(f"{file}: its images have {vision.get('num_channels', 3)!r:.60} channels, not 3")
    found = _clip(settings, vision, text, file) if kind == "clip" else _siglip(kind, vision, text, file)
    sizes.check(found.model_cfg, str(file))
    return found


def is_model(file: Path) -> bool:
    """Whether a file is a config.json as transformers writes it: an object that says what kind of model it is of."""
    try:
        return file.is_file() and "model_type" in foreign_code.read(file)
    except InputError:
        return True  # whoever reads it says what is wrong


def _kind(settings: Mapping[str, Any], file: Path) -> str:
    kind = settings.get("model_type")
    if not isinstance(kind, str):
        raise InputError(f"{file}: says no 'model_type': it is not of transformers, or damaged")
    names = settings.get("architectures")
    name = str(names[0])[:60] if isinstance(names, list) and names else ""
    if kind in KINDS and name in ("", KINDS[kind]):
        return str(kind)
    what = name or f"model of type {str(kind)[:60]!r}"
    if any(part in f"{kind} {name}".lower() for part in ("text_model", "vision_model", "textmodel", "visionmodel")):
        whole = next((KINDS[known] for known in ("siglip2", "siglip", "clip") if str(kind).startswith(known)), "model")
        raise InputError(f"{file}: is a {what}, one tower alone: rows of images and texts need the whole {whole}")
    if kind in KINDS:
        raise InputError(
            f"{file}: is a {what}, which is not trained to match images and texts any more: give the {KINDS[kind]}"
        )
    close = [KINDS[known] for known in near(str(kind), list(KINDS))]
    nearest = f" (nearest: {', '.join(close)})" if close else ""
    raise InputError(
        f"{file}: is a {what}, which no model of open_clip is equal to{nearest}: of transformers, "
        f"{', '.join(KINDS.values())} are read; rows made elsewhere can be given as embeddings"
    )


class _Part:
    """The configuration of one tower, with the values of transformers where it is silent."""

    def __init__(self, settings: Mapping[str, Any], kind: str, name: str, file: Path) -> None:
        found: dict[str, Any] = {}
        for key in (name, f"{name}_dict"):  # the second, of older versions, has the last word there too
            part = settings.get(key) or {}
            if not isinstance(part, dict):
                raise InputError(f"{file}: its {key!r} is no object")
            found |= part
        usual = {"num_hidden_layers": 12, **_USUAL["clip" if kind == "clip" else "siglip"][name]}
        self._values, self._where = {**usual, **found}, f"{file}: its {name}"

    def get(self, key: str, default: Any = None) -> Any:
        """A value as it stands there."""
        return self._values.get(key, default)

    def count(self, key: str) -> int:
        """A whole number of at least one."""
        value = self._values.get(key)
        if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
            value = value[0]  # [224, 224] says no more than 224
        if type(value) is not int or value < 1:
            raise InputError(f"{self._where} has no sound {key!r}: {value!r:.60}")
        return value

    def layers(self) -> int:
        """Blocks, held against their limit here: a table of the names of more would fill the memory."""
        count = self.count("num_hidden_layers")
        limits.check("layers", count, f"{self._where}: num_hidden_layers")
        return count

    def epsilon(self) -> float:
        """What is added under the root of a layer norm."""
        value = self._values["layer_norm_eps"]
        if type(value) not in (int, float) or not 0 < value < 1:
            raise InputError(f"{self._where} has no sound 'layer_norm_eps': {value!r:.60}")
        return float(value)

    def activation(self, known: tuple[str, ...]) -> str:
        """The name of the function between the two layers of a block."""
        value = self._values["hidden_act"]
        if value not in known:
            raise InputError(
                f"{self._where} has the activation {value!r:.60}, which open_clip cannot have here: {', '.join(known)}"
            )
        return str(value)

    def heads(self) -> int:
        """Heads of attention, which share the width evenly."""
        width, heads = self.count("hidden_size"), self.count("num_attention_heads")
        if width % heads:
            raise InputError(f"{self._where} has {heads} attention heads, which do not divide its width {width}")
        return heads

    def ratio(self) -> float:
        """Width of the middle of a block over that of the block, which gives the first exactly when multiplied."""
        width, middle = self.count("hidden_size"), self.count("intermediate_size")
        ratio = middle / width
        return ratio if int(width * ratio) == middle else math.nextafter(ratio, math.inf)


def _clip(settings: Mapping[str, Any], vision: _Part, text: _Part, file: Path) -> Description:
    known = ("quick_gelu", "gelu", *_TANH)
    activations = vision.activation(known), text.activation(known)
    if len({name == "quick_gelu" for name in activations}) > 1:
        raise InputError(
            f"{file}: its vision_config has the activation {activations[0]!r} and its text_config {activations[1]!r}: "
            "in open_clip either both towers have quick_gelu or none"
        )
    dim = settings.get("projection_dim", 512)
    if type(dim) is not int or dim < 1:
        raise InputError(f"{file}: has no sound 'projection_dim': {dim!r:.60}")
    end = text.get("eos_token_id")
    if type(end) is not int:
        raise InputError(f"{file}: its text_config has no one token that ends a text: 'eos_token_id' is {end!r:.60}")
    words = text.count("vocab_size")
    # transformers: 2 stands in files of before 4.31 for the largest token, which the end of a text was and often is
    largest = end in (2, words - 1)
    model_cfg = {
        "embed_dim": dim,
        "quick_gelu": activations[0] == "quick_gelu",
        "vision_cfg": {
            "image_size": vision.count("image_size"),
            "patch_size": vision.count("patch_size"),
            "head_width": vision.count("hidden_size") // vision.heads(),
            **_tower(vision, activations[0], usual=1e-5),
        },
        "text_cfg": {
            "context_length": text.count("max_position_embeddings"),
            "vocab_size": words,
            "heads": text.heads(),
            **_tower(text, activations[1], usual=1e-5),
            **({} if largest else {"pool_type": "eos", "eos_id": end}),
        },
    }
    rows = clip_rows(vision.layers(), text.layers())
    return Description(file, "clip", model_cfg, rows, vision.count("image_size"), end)


def _siglip(kind: str, vision: _Part, text: _Part, file: Path) -> Description:
    known = ("gelu", *_TANH)
    activation = vision.activation(known)
    if not vision.get("vision_use_head", True):
        raise InputError(f"{file}: has no pooling of its image tower (vision_use_head): no row of an image without it")
    width, patch = vision.count("hidden_size"), vision.count("patch_size")
    dim = text.get("projection_size") or text.count("hidden_size")
    if dim != width:
        raise InputError(f"{file}: its rows of texts have {dim!r:.20} dimensions and those of images {width}")
    notes: tuple[str, ...] = ()
    if kind == "siglip2":
        side = math.isqrt(vision.count("num_patches"))
        if side * side != vision.count("num_patches"):
            raise InputError(f"{file}: its {vision.count('num_patches')} patches make no square")
        size = side * patch
        notes = (f"images are squeezed to {size} x {size} pixels: Siglip2Model keeps the shape of those not square",)
    else:
        size = vision.count("image_size")
    model_cfg = {
        "embed_dim": width,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": size,
            "timm_model_name": TIMM,
            "timm_pool": "map",
            "timm_proj": "none",
            "timm_model_args": {
                "img_size": size,
                "patch_size": patch,
                "embed_dim": width,
                "depth": vision.layers(),
                "num_heads": vision.heads(),
                "mlp_ratio": vision.ratio(),
                "act_layer": "gelu" if activation == "gelu" else "gelu_tanh",
                "norm_eps": vision.epsilon(),
            },
        },
        "text_cfg": {
            "context_length": text.count("max_position_embeddings"),
            "vocab_size": text.count("vocab_size"),
            "heads": text.heads(),
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            **_tower(text, text.activation(known), usual=None),
        },
    }
    layers = vision.layers(), text.layers()
    rows = siglip_rows(*layers, linear_patches=kind == "siglip2")
    return Description(file, kind, model_cfg, rows, size, None, notes)


def _tower(part: _Part, activation: str, *, usual: float | None) -> dict[str, Any]:
    """Sizes and settings of a tower of open_clip's own; what is `usual` there is not written out."""
    tower: dict[str, Any] = {
        "width": part.count("hidden_size"),
        "layers": part.layers(),
        "mlp_ratio": part.ratio(),
    }
    if part.epsilon() != usual:
        tower["norm_kwargs"] = {"eps": part.epsilon()}
    if activation in _TANH:
        tower["act_kwargs"] = {"approximate": "tanh"}
    return tower
