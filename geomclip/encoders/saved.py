"""Checkpoints that geomclip writes: whole or not at all, saying what they are, read back without trust.

One is a safetensors file with the names and shapes of open_clip's state_dict, in float32, whose metadata hold
JSON of schema `geomclip.checkpoint/1` under the key "geomclip": the architecture, the activation, the context
length, the preprocessing, the fingerprint of the weights, how they were made, and a sum of all that. A shift (method
`es`) is one tensor more, so that open_clip, which does not know of shifts, refuses the file and does not misread it.
"""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from geomclip.encoders import sizes, towers
from geomclip.encoders.clip import Encoder, shift_sha256
from geomclip.encoders.configuration import CONTEXT_LENGTH, checked_config, checked_preprocessing
from geomclip.encoders.hf import tokens
from geomclip.encoders.weights.contents import METADATA_KEY, SCHEMA, Contents
from geomclip.encoders.weights.fitting import check_finite, weights_sha256
from geomclip.machine import places
from geomclip.machine.errors import DamagedError, GeomclipError, InputError
from geomclip.machine.files import atomic_write
from geomclip.machine.sums import check_sum, sealed
from geomclip.machine.version import __version__

SHIFT = "geomclip_shift"
TOWER = "hf_model_name"
"""In a configuration: the text tower of transformers, by its repository or folder."""
_TYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_HELD: dict[str, type | tuple[type, ...]] = {
    "arch": str,
    "model_cfg": dict,
    "preprocess_cfg": dict,
    "quick_gelu": bool,
    "context_length": int,
    "tokenizer": str,
    "logit_scale": (int, float),
    "logit_bias": (int, float, type(None)),
    "weights_sha256": str,
    "shift": (dict, type(None)),
    "base": dict,
    "made": dict,
}


def save_checkpoint(
    encoder: Encoder,
    state: Mapping[str, Tensor],
    file: Path,
    *,
    made: Mapping[str, Any],
    cache_dir: Path | None = None,
) -> None:
    """Write weights that were fine-tuned from an encoder, and all that is needed to use and to judge them.

    Parameters
    ----------
    encoder : Encoder
        The one that was fine-tuned, with the weights it had before: gives the configuration, the preprocessing,
        the tokenizer, and the base that the file names. Its shift, if it has one, is saved too.
    state : mapping of name to Tensor
        The new weights, under the names and in the shapes of `encoder.module.state_dict()`; floating point ones
        are written as float32.
    file : Path
        Ends in .safetensors. What was there stays until the new file is complete.
    made : mapping
        How the weights were made, JSON-able: "method", "settings", "step", "data" and whatever else.

    Raises
    ------
    ValueError, TypeError
        If names or shapes are not those of the encoder, or `made` is no JSON.
    GeomclipError
        If a weight is NaN or infinite, or the disk is full.
    """
    if file.suffix != ".safetensors":
        raise ValueError(f"a checkpoint's name must end in .safetensors, got {file.name}")
    tensors = _as_saved(encoder, state, file)
    places.remember(_parts_of(encoder.model_cfg, _tokenizer_sha256(encoder)), _outside(encoder), cache_dir)
    text = metadata(_described(encoder, tensors), replace(encoder, shift=None).made_from(), made)
    if encoder.shift is not None:
        tensors[SHIFT] = encoder.shift.float()
    with atomic_write(file) as out:
        write_safetensors(out, tensors, text)


def metadata(encoder: Encoder, base: Mapping[str, Any], made: Mapping[str, Any] | None = None) -> dict[str, str]:
    """The safetensors metadata of a checkpoint that holds this encoder's weights.

    `base` is the model they were fine-tuned from (that encoder's `made_from()`), `made` how.
    """
    shift = None if encoder.shift is None else {"sha256": shift_sha256(encoder.shift)}
    content = {
        "schema": SCHEMA,
        "arch": encoder.arch,
        "model_cfg": places.shown_in(encoder.model_cfg),
        "preprocess_cfg": dict(encoder.preprocessing),
        "quick_gelu": encoder.quick_gelu,
        "context_length": encoder.context_length,
        "tokenizer": places.shown(_outside(encoder)["tokenizer"]),
        "logit_scale": encoder.logit_scale,
        "logit_bias": encoder.logit_bias,
        "weights_sha256": encoder.weights_sha256,
        "shift": shift,
        "base": dict(base),
        "made": {"geomclip": __version__, "open_clip": towers.version(), **(made or {})},
    }
    if digest := _tokenizer_sha256(encoder):
        content["tokenizer_sha256"] = digest
    return {METADATA_KEY: json.dumps(sealed(content), sort_keys=True, allow_nan=False)}


def metadata_of(encoder: Encoder) -> dict[str, str]:
    """The metadata that a copy of a checkpoint's weights keeps; none for an encoder that is not from a checkpoint."""
    history = encoder.finetuned
    return metadata(encoder, history["base"], history["made"]) if history else {}


def with_weights(encoder: Encoder, state: Mapping[str, Tensor]) -> Encoder:
    """The encoder with other weights, in a copy of its module; scale, bias and fingerprint are those of the weights.

    Raises
    ------
    ValueError
        If names or shapes are not those of the encoder.
    """
    module = copy.deepcopy(encoder.module).eval().requires_grad_(False)
    _check_names(module, state)
    module.load_state_dict(dict(state), strict=True)
    return replace(_described(encoder, _float32(state)), module=module)


def write_safetensors(out: BinaryIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write the safetensors format, a tensor at a time: the library's writer holds all of them a second time.

    Wide types go first, so that each tensor lies where its type asks; then names in order.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    start = 0
    for name in order:
        value = tensors[name]
        end = start + value.numel() * value.element_size()
        header[name] = {"dtype": _TYPES[value.dtype], "shape": list(value.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    out.write(struct.pack("<Q", len(text)) + text)
    for name in order:
        out.write(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


@dataclass(frozen=True)
class Own:
    """What a checkpoint of geomclip says of itself; `contents` are its tensors without the shift."""

    contents: Contents
    arch: str
    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]
    tokenizer: str
    weights_sha256: str
    shift_sha256: str  # "" where it has none
    finetuned: dict[str, Any]


def read_own(contents: Contents, cache_dir: Path | None = None) -> Own:
    """The metadata of a checkpoint, checked one by one and against each other and the names in the file.

    Raises
    ------
    InputError
        If something is missing, of another type, out of range or contradicts another part; a DamagedError if it is
        not what was written.
    """
    own, where = contents.metadata, str(contents.file)
    for key, kind in _HELD.items():
        if key not in own or not isinstance(own[key], kind):
            raise InputError(f"{where}: its geomclip metadata are incomplete: no sound {key!r}")
    model_cfg = checked_config(own["model_cfg"], where)
    length = model_cfg["text_cfg"].get("context_length", CONTEXT_LENGTH)
    for key, inside in (("quick_gelu", bool(model_cfg.get("quick_gelu", False))), ("context_length", length)):
        if own[key] != inside:
            raise InputError(f"{where}: its geomclip metadata contradict themselves: {key} {own[key]!r} and {inside!r}")
    _check_layers(model_cfg, contents)
    check_sum(own, f"{where}: its geomclip metadata", "fetch or write it again")
    tokenizer, model_cfg = _found(own, model_cfg, cache_dir)
    shapes = dict(contents.shapes)
    if (own["shift"] is not None) != (shapes.pop(SHIFT, None) == (model_cfg["embed_dim"],)):
        raise InputError(f"{where}: its geomclip metadata and its tensors disagree about a shift")
    return Own(
        contents=replace(contents, shapes=shapes),
        arch=own["arch"],
        model_cfg=model_cfg,
        preprocess_cfg=checked_preprocessing(own["preprocess_cfg"], where),
        tokenizer=tokenizer,
        weights_sha256=own["weights_sha256"],
        shift_sha256=str((own["shift"] or {}).get("sha256", "")),
        finetuned={"base": own["base"], "made": own["made"]},
    )


def _outside(encoder: Encoder) -> dict[str, str]:
    """What an encoder is built from that no checkpoint holds: the folder of its tokenizer, and of its text tower."""
    tokenizer = str(Path(encoder.tokenizer_source).resolve()) if encoder.tokenizer_source else ""
    return {"tokenizer": tokenizer, TOWER: str(encoder.model_cfg["text_cfg"].get(TOWER) or "")}


def _tokenizer_sha256(encoder: Encoder) -> str:
    return tokens.sha256(Path(encoder.tokenizer_source)) if encoder.tokenizer_source else ""


def _parts_of(model_cfg: Mapping[str, Any], tokenizer: str) -> list[Any]:
    """By which the cache knows where the parts of a checkpoint lie that are not in it."""
    with places.keep_paths(False):
        return ["checkpoint", places.shown_in(model_cfg), tokenizer]


def _found(own: Mapping[str, Any], model_cfg: dict[str, Any], cache_dir: Path | None) -> tuple[str, dict[str, Any]]:
    """The folder of the tokenizer ("": it is looked for by its name), and the configuration with that of the tower."""
    digest, tower = own.get("tokenizer_sha256", ""), str(model_cfg["text_cfg"].get(TOWER) or "")
    short = {"tokenizer": own["tokenizer"], TOWER: tower}
    found = places.recalled(_parts_of(own["model_cfg"], digest), short, cache_dir)
    if found[TOWER] != tower:
        model_cfg = {**model_cfg, "text_cfg": {**model_cfg["text_cfg"], TOWER: found[TOWER]}}
    place = Path(found["tokenizer"])
    is_there = place.is_absolute() and place.is_dir() and (not digest or tokens.sha256(place) == digest)
    return str(place) if is_there else "", model_cfg


def fits(own: Own) -> None:
    """Compare the tensors with the architecture before it is built, so that no absurd size is ever allocated.

    Raises
    ------
    InputError
        Naming the first tensor that is missing, too many or of another shape.
    """
    module = towers.outline(own.model_cfg, where=str(own.contents.file))
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    # names and shapes to the letter: what is adapted in a file of others is a lie in one that says its sizes
    for name in [*expected, *own.contents.shapes]:
        here, there = own.contents.shapes.get(name), expected.get(name)
        if here != there:
            raise InputError(
                f"{own.contents.file}: its geomclip metadata are not of its tensors: "
                f"{name} is {_shape(here)} in the file, {_shape(there)} in {own.arch}"
            )
    sizes.check(own.model_cfg, str(own.contents.file))  # what no tensor has the size of


def fill(module: torch.nn.Module, own: Own) -> tuple[str, Tensor | None]:
    """Load the weights into a module of their architecture; their fingerprint, and the shift if there is one.

    Raises
    ------
    InputError
        If the bytes are not those that the metadata describe.
    """
    tensors = own.contents.tensors()
    shift = tensors[SHIFT].clone() if SHIFT in tensors else None  # a copy: what is mapped keeps the file open
    towers.load_into(module, own.contents)
    check_finite(module, str(own.contents.file))
    found = weights_sha256(module.state_dict())
    _check_saved(own, found, shift)
    return found, None if shift is None else shift.float()


def check_weights(contents: Contents) -> None:
    """See that a checkpoint holds what was saved, without building its model.

    Raises
    ------
    InputError
        If its metadata are not sound, or its tensors are not those that were saved (a DamagedError).
    """
    own = read_own(contents)
    state = dict(contents.tensors())
    shift = state.pop(SHIFT, None)
    _check_saved(own, weights_sha256(state), shift)


def _check_saved(own: Own, found: str, shift: Tensor | None) -> None:
    if found != own.weights_sha256 or (shift is not None and shift_sha256(shift) != own.shift_sha256):
        raise DamagedError(
            f"{own.contents.file}: its weights are not those that were saved (another sha256): fetch or write it again"
        )


def _shape(found: tuple[int, ...] | None) -> str:
    return "absent" if found is None else str(found)


def _as_saved(encoder: Encoder, state: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    _check_names(encoder.module, state)
    tensors = _float32(state)
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise GeomclipError(f"{file}: not written: {name} has weights that are NaN or infinite")
    return tensors


def _float32(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: v.detach().float() if v.is_floating_point() else v.detach() for name, v in state.items()}


def _check_names(module: torch.nn.Module, state: Mapping[str, Tensor]) -> None:
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    for name in [*expected, *found]:
        if expected.get(name) != found.get(name):
            raise ValueError(f"{name} is {found.get(name)} in the weights, {expected.get(name)} in the encoder")


def _described(encoder: Encoder, tensors: Mapping[str, Tensor]) -> Encoder:
    """The encoder's record with scale, bias and fingerprint of these weights."""
    bias = tensors.get("logit_bias")
    return replace(
        encoder,
        logit_scale=float(tensors["logit_scale"].exp().reshape(())),
        logit_bias=None if bias is None else float(bias.reshape(())),
        weights_sha256=weights_sha256(tensors),
    )


def _check_layers(model_cfg: Mapping[str, Any], contents: Contents) -> None:
    """Every layer has tensors: more layers than the file has tensors would be built for minutes, then refused."""
    for part in ("vision_cfg", "text_cfg", "multimodal_cfg"):
        layers = (model_cfg.get(part) or {}).get("layers", 1)
        for count in layers if isinstance(layers, list) else [layers]:
            if type(count) is not int or not 0 < count <= len(contents.shapes):
                raise InputError(
                    f"{contents.file}: its geomclip metadata are not of its tensors: {part} has {count!r:.40} layers, "
                    f"the file {len(contents.shapes)} tensors"
                )
