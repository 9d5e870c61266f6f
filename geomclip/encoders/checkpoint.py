"""Weights files: what one holds, read without trusting it, compared with a model, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomclip.encoders import towers
from geomclip.encoders.reasons import first_line
from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.words import option

METADATA_KEY = "geomclip"
SCHEMA = "geomclip.checkpoint/1"
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_OLD_TEXT_NAMES = ("text_projection", "positional_embedding", "token_embedding", "transformer", "ln_final")
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # torch.save, new and old; pickle
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Contents:
    """The shape of every tensor of a weights file, `module.` taken off, and what geomclip wrote about it."""

    file: Path
    shapes: Shapes
    metadata: Mapping[str, Any] = field(default_factory=dict)


def read_contents(file: Path) -> Contents:
    """Names, shapes and metadata of a weights file; nothing in it is run.

    Raises
    ------
    NotAvailableError
        If there is no such file.
    InputError
        If it is damaged, holds more than tensors (a pickle with code), or is no weights file at all.
    """
    if not file.is_file():
        raise NotAvailableError(f"{file}: no such file")
    if file.suffix.lower() not in SUFFIXES:
        raise InputError(f"{file}: not a weights file: its name must end in one of {', '.join(SUFFIXES)}")
    try:
        found, metadata = _read_safetensors(file) if file.suffix.lower() == ".safetensors" else _read_pickle(file)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # damaged bytes surface as any exception of the two parsers
        raise _refusal(file, error) from error
    shapes = {name.removeprefix("module."): shape for name, shape in found.items()}
    if not shapes:
        raise InputError(f"{file}: holds no tensors")
    if any(name.startswith(("vision_model.", "text_model.")) for name in shapes):
        raise InputError(
            f"{file}: is in the layout of transformers, not of open_clip (it holds {min(shapes)}): "
            "use the open_clip weights of the same model (geomclip models)"
        )
    return Contents(file, shapes, metadata)


def _read_safetensors(file: Path) -> tuple[Shapes, dict[str, Any]]:
    from safetensors import safe_open

    with file.open("rb") as start:
        if start.read(4).startswith(_PICKLES):
            raise InputError(
                f"{file}: is a pickle, which can hold code, under the name of a safetensors file: refused; "
                "save its state_dict alone as .safetensors"
            )
    with safe_open(file, framework="pt") as opened:
        shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
        text = (opened.metadata() or {}).get(METADATA_KEY)
    if text is None:
        return shapes, {}
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: its geomclip metadata are no JSON ({first_line(error, 80)})") from error
    if not isinstance(metadata, dict) or metadata.get("schema") != SCHEMA:
        schema = metadata.get("schema") if isinstance(metadata, dict) else metadata
        raise InputError(f"{file}: its geomclip metadata are of schema {schema!r}, this version reads {SCHEMA!r}")
    return shapes, metadata


def _read_pickle(file: Path) -> tuple[Shapes, dict[str, Any]]:
    mapped = zipfile.is_zipfile(file)  # files of before torch 1.6 cannot be mapped
    loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(state, dict):
        raise InputError(f"{file}: holds a {type(state).__name__}, not a state_dict")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise InputError(f"{file}: entry {name!r} of its state_dict is a {type(value).__name__}, not a tensor")
    return {name: tuple(value.shape) for name, value in state.items()}, {}


def _refusal(file: Path, error: Exception) -> InputError:
    text = str(error)
    if "TorchScript" in text:
        return InputError(
            f"{file}: is a TorchScript archive, which holds code (OpenAI's original files are such): use the "
            f"open_clip weights of the same model instead, for example {option('model', 'ViT-B/32')}"
        )
    if "Weights only load failed" in text and ("GLOBAL" in text or "global" in text):
        return InputError(
            f"{file}: holds more than tensors, and loading it could run code from the file: refused; "
            "save its state_dict alone, best as .safetensors"
        )
    return InputError(f"{file}: damaged or cut short ({first_line(error, 100)}): fetch or write it again")


def compare(contents: Contents, module: torch.nn.Module, arch: str) -> tuple[str, ...]:
    """Notes on what will be adapted; the file must otherwise hold just what the architecture has.

    Raises
    ------
    InputError
        Naming the first tensor that is missing, too many or of another shape, with the shapes.
    """
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = dict(contents.shapes)
    if any(name.startswith("image_encoder.model.") for name in found):
        return ()  # Apple's own MobileCLIP files, which open_clip renames
    if "positional_embedding" in found and "positional_embedding" not in expected:
        found = {f"text.{n}" if n.startswith(_OLD_TEXT_NAMES) else n: shape for n, shape in found.items()}
    found.pop("text.transformer.embeddings.position_ids", None)  # written by transformers before 4.31
    notes: list[str] = []
    if "logit_bias" in expected and "logit_bias" not in found:
        found["logit_bias"] = expected["logit_bias"]
        notes.append(f"{contents.file.name} has no logit_bias, which {arch} has: 0 is taken")
    for name in [*expected, *sorted(found.keys() - expected.keys())]:
        if name not in found:
            raise InputError(f"{contents.file}: does not fit {arch}: {name} {expected[name]} is missing")
        if name not in expected:
            raise InputError(f"{contents.file}: does not fit {arch}: {name} {found[name]} is not in {arch}")
        if found[name] == expected[name] or (name in ("logit_scale", "logit_bias") and _one(found[name])):
            continue
        resized = name.endswith("positional_embedding") and found[name][1:] == expected[name][1:]
        if not resized or len(found[name]) != 2:
            raise InputError(
                f"{contents.file}: does not fit {arch}: {name} is {found[name]} in the file, "
                f"{expected[name]} in {arch}{_suggest(contents, arch)}"
            )
        notes.append(
            f"{name} resized from {found[name][0]} to {expected[name][0]} places: the file was trained "
            "at another image size or context length"
        )
    return tuple(notes)


def _one(shape: tuple[int, ...]) -> bool:
    return shape in ((), (1,))


def _suggest(contents: Contents, arch: str) -> str:
    others = [name for name in candidates(contents) if name != arch]
    return f"; its shapes fit {', '.join(others[:4])}" if others else ""


def candidates(contents: Contents) -> list[str]:
    """The open_clip architectures whose sizes agree with the file, for the message that asks for one."""
    own = _signature(contents.shapes)
    if own is None:
        return []
    return [arch for arch in towers.architectures() if _expected(towers.architecture_config(arch)) == own]


def _signature(shapes: Shapes) -> tuple[object, ...] | None:
    """Patch, vision width and layers, places, text width and layers, dimensions, CoCa; None for no ViT."""
    text = "text." if "text.text_projection" in shapes else ""
    conv, projection = shapes.get("visual.conv1.weight"), shapes.get(f"{text}text_projection")
    if conv is None or projection is None or len(conv) != 4 or len(projection) != 2 or "visual.proj" not in shapes:
        return None
    vision_layers = _layers(shapes, "visual.transformer.resblocks.")
    text_layers = _layers(shapes, f"{text}transformer.resblocks.")
    places = shapes.get("visual.positional_embedding", (0,))[0]
    coca = any(name.startswith("text_decoder.") for name in shapes)
    return (conv[2], conv[0], vision_layers, places, projection[0], text_layers, projection[1], coca)


def _layers(shapes: Iterable[str], prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in shapes if name.startswith(prefix)})


def _expected(model_cfg: Mapping[str, Any]) -> tuple[object, ...] | None:
    vision, text = model_cfg["vision_cfg"], model_cfg["text_cfg"]
    if "timm_model_name" in vision or "hf_model_name" in text or not isinstance(vision.get("layers", 12), int):
        return None
    patch, size = vision.get("patch_size", 16), vision.get("image_size", 224)
    if not isinstance(size, int):
        return None
    places = (size // patch) ** 2 + 1  # and the class token
    return (
        patch,
        vision.get("width", 768),
        vision.get("layers", 12),
        places,
        text.get("width", 512),
        text.get("layers", 12),
        model_cfg["embed_dim"],
        "multimodal_cfg" in model_cfg,
    )


def check_finite(module: torch.nn.Module, where: str) -> None:
    """Refuse weights with NaN or infinity, naming the first tensor.

    Raises
    ------
    InputError
        If any weight is not finite.
    """
    for name, value in module.state_dict().items():
        # a sum is the fastest look: it is not finite if any entry is not (large finite ones may overflow it)
        if value.is_floating_point() and not torch.isfinite(value.sum()):
            bad = int((~torch.isfinite(value)).sum())
            if bad:
                raise InputError(f"{where}: {bad} of the {value.numel()} weights of {name} are NaN or infinite")


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """One fingerprint of a state dict: sha256 over each name, dtype, shape and the sha256 of the bytes.

    The same for the same weights, whatever the file, order or layout in memory they came in; tensors are
    hashed in place, several at once.

    Examples
    --------
    >>> a = weights_sha256({"w": torch.eye(2), "b": torch.zeros(2)})
    >>> a == weights_sha256({"b": torch.zeros(2), "w": torch.eye(2).T})
    True
    >>> a == weights_sha256({"w": torch.eye(2).reshape(4), "b": torch.zeros(2)})
    False
    """

    def line(name: str) -> bytes:
        value = state[name].detach().cpu().contiguous()
        content = value.reshape(-1).view(torch.uint8).numpy()
        digest = hashlib.sha256(content.data).hexdigest()  # lets other threads run while it hashes
        return f"{name} {str(value.dtype).removeprefix('torch.')} {tuple(value.shape)} {digest}\n".encode()

    with ThreadPoolExecutor(max_workers=4) as pool:
        return hashlib.sha256(b"".join(pool.map(line, sorted(state)))).hexdigest()
