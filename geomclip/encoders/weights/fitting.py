"""Whether a weights file fits an architecture, which it would fit, and the fingerprint of what was loaded."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from geomclip.encoders import towers
from geomclip.encoders.weights.contents import Contents, Shapes
from geomclip.machine.errors import InputError
from geomclip.machine.words import option

_NAMED = 5  # differences; the others are counted
_LARGEST_SCALE = 1e4  # CLIP is trained with at most 100
_OF_OPENAI = ("input_resolution", "context_length", "vocab_size")
"""Sizes of the model that OpenAI's files have among the weights."""


def compare(contents: Contents, module: torch.nn.Module, arch: str) -> tuple[str, ...]:
    """Notes on what will be adapted; the file must otherwise hold just what the architecture has.

    Raises
    ------
    InputError
        Naming up to five tensors that are missing, too many or of another shape, with the shapes, and how many more.
    """
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    # constants that a model makes itself: OpenAI's files hold sizes, traced ones the mask, old ones of transformers ids
    constants = {*_OF_OPENAI, *(name for name, _ in module.named_buffers())} - expected.keys()
    found = {name: shape for name, shape in contents.shapes.items() if name not in constants}
    if any(name.startswith(towers.MOBILECLIP) for name in found):
        return ()  # Apple's own MobileCLIP files, which open_clip renames
    found = {new: found[old] for new, old in towers.layout(found, expected).items()}
    found.pop("text.transformer.embeddings.position_ids", None)  # written by transformers before 4.31
    notes: list[str] = []
    if "logit_bias" in expected and "logit_bias" not in found:
        found["logit_bias"] = expected["logit_bias"]
        notes.append(f"{contents.file.name} has no logit_bias, which {arch} has: 0 is taken")
    wrong: list[tuple[str, str]] = []
    for name in [*expected, *sorted(found.keys() - expected.keys())]:
        if name not in found:
            wrong.append(("missing", f"{name} {expected[name]} is missing"))
        elif name not in expected:
            wrong.append((f"not in {arch}", f"{name} {found[name]} is not in {arch}"))
        elif found[name] == expected[name] or (name in ("logit_scale", "logit_bias") and _one(found[name])):
            continue
        elif _resized(name, found[name], expected[name]):
            notes.append(
                f"{name} resized from {found[name][0]} to {expected[name][0]} places: the file was trained "
                "at another image size or context length"
            )
        else:
            wrong.append(("of another shape", f"{name} is {found[name]} in the file, {expected[name]} in {arch}"))
    if wrong:
        raise InputError(_misfit(contents, arch, wrong))
    return tuple(notes)


def _misfit(contents: Contents, arch: str, wrong: list[tuple[str, str]]) -> str:
    """The refusal that names the first differences and counts the others."""
    named = "; ".join(text for _, text in wrong[:_NAMED])
    rest = Counter(kind for kind, _ in wrong[_NAMED:])
    more = "".join(f"; {count} more {'are' if count > 1 else 'is'} {kind}" for kind, count in rest.items())
    taken = f" ({'; '.join(contents.notes)})" if contents.notes else ""
    return f"{contents.file}: does not fit {arch}: {named}{more}{taken}{_suggest(contents, arch)}"


def _resized(name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether open_clip makes the positions of the file those of the architecture."""
    return name.endswith("positional_embedding") and len(found) == 2 and found[1:] == expected[1:]


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


def put_scale(module: torch.nn.Module, where: str, wanted: float | None) -> tuple[str, ...]:
    """See that the logit scale can be used, and put the wanted one in its place where it cannot; a note on that.

    Models have it as a logarithm. Some converters wrote the factor itself, of which the exponential overflows.

    Raises
    ------
    InputError
        If it is infinite, NaN or above 10,000, and none is wanted in its place.
    """
    own: Tensor = module.logit_scale  # type: ignore[assignment]
    held = float(own.detach().float().reshape(()))
    scale = float(own.detach().float().exp().reshape(()))
    if 0 < scale <= _LARGEST_SCALE:
        return ()
    if scale == scale and 1 < held <= _LARGEST_SCALE:
        reason = f"exp({held:g}) {'overflows' if math.isinf(scale) else f'is {scale:.3g}'}"
        reason += f": it holds {held:g}, not log {held:g}"
        way, temperature = option("logit_scale", _plain(held)), _plain(1 / held, 4)
    else:
        reason, way, temperature = f"it holds {held:g}", option("logit_scale", 100), 0.01
    if wanted is None:
        raise InputError(
            f"{where}: its logit_scale cannot be used: {reason}: {way} gets past it "
            f"(of measure, compare, report, plan and extract; in finetune {option('temperature', temperature)})"
        )
    with torch.no_grad():
        own.fill_(math.log(wanted))
    return (f"the logit_scale of {where} cannot be used ({reason}): {wanted:g} is taken in its place",)


def _plain(value: float, digits: int = 6) -> float:
    """A number as a person writes it, whole ones without a point."""
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() else short


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
