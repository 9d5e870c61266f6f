"""Looks: how a model, or a function of the caller's, makes the rows of a probe; and the numbers of these rows."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from geomclip import metrics
from geomclip.embeddings.geometry import normalize
from geomclip.machine.errors import InputError
from geomclip.training.watching.outputs import pair_of
from geomclip.training.watching.probe import NUMBERS
from geomclip.training.watching.samples import Samples, count_of
from geomclip.training.watching.undisturbed import eval_mode, same_generators

Encode = Callable[[Any, Any], Any]
"""From images and texts of as many pairs to (image rows, text rows)."""

PROBED: dict[str, Callable[[Tensor, Tensor], Any]] = {
    **NUMBERS,
    "mean_cosine_image": lambda image, text: metrics.mean_cosine(image),
    "mean_cosine_text": lambda image, text: metrics.mean_cosine(text),
    "rankme_image": lambda image, text: metrics.rankme(image),
    "rankme_text": lambda image, text: metrics.rankme(text),
}
"""What is measured of a probe, under the keys of the panel."""

TOWERS = (("encode_image", "encode_text"), ("get_image_features", "get_text_features"))
"""Names under which models have their two halves: open_clip's, and those of transformers."""
KINDS = (
    "a function of (images, texts), or a model with encode_image and encode_text, get_image_features and "
    "get_text_features, or encode"
)


class Look:
    """An encoder and the module whose mode is changed while it is looked at (None where a function hides it).

    Parameters
    ----------
    encode : callable or Module
        A function from images and texts to two tensors of rows, or a model of open_clip, transformers or
        sentence-transformers; wrappers of DDP and torch.compile are taken off.
    module : Module, optional
        What a function calls, which is then in eval mode.

    Raises
    ------
    InputError
        If it is none of these, or its weights are spread over processes, which one alone cannot look at.
    """

    def __init__(self, encode: Any, module: nn.Module | None = None) -> None:
        encode = unwrapped(encode)
        self.encode: Encode
        inner = getattr(encode, "module", None)
        if not isinstance(encode, nn.Module) and isinstance(inner, nn.Module):  # an encoder of geomclip
            encode = inner
        towers = next((names for names in TOWERS if all(hasattr(encode, name) for name in names)), None)
        if towers is not None:
            self.encode = _two_towers(encode, *towers)
        elif isinstance(encode, nn.Module) and hasattr(encode, "encode"):
            self.encode = _one_encoder(encode)
        elif callable(encode) and not isinstance(encode, nn.Module):
            self.encode = encode
        else:
            raise InputError(f"encode must be {KINDS}; got {type(encode).__name__}")
        owner = encode if isinstance(encode, nn.Module) else getattr(encode, "__self__", None)
        self.module = unwrapped(module) if module is not None else owner if isinstance(owner, nn.Module) else None
        if self.module is not None and _is_sharded(self.module):
            raise InputError(
                "the weights of this model are spread over processes (FSDP, ZeRO 3), and a watch looks from one alone: "
                "probe=None watches the batches"
            )

    def rows(self, samples: Samples) -> tuple[Tensor, Tensor]:
        """Rows (n, d) of both sides, float32 on the CPU, not normalised; model and generators stay as they were.

        Raises
        ------
        InputError
            If they are not a row a pair, of one width.
        """
        found: list[tuple[Tensor, Tensor]] = []
        cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
        with torch.no_grad(), same_generators(cuda), eval_mode(self.module):
            for images, texts in samples.batches():
                pair = pair_of(self.encode(images, texts))
                if pair is None:
                    raise InputError("encode must give (image rows, text rows), two tensors of a row a pair")
                check_rows(pair.image, pair.text, "encode gives", count_of(images))
                found.append((pair.image.detach().float().cpu(), pair.text.detach().float().cpu()))
        return torch.cat([image for image, _ in found]), torch.cat([text for _, text in found])


def probed(image: Tensor, text: Tensor) -> dict[str, float]:
    """The numbers of a probe, under the keys of `PROBED`; NaN where one is not defined, or rows hold NaN."""
    try:
        image, text = normalize(image)[0], normalize(text)[0]
    except ValueError:
        return dict.fromkeys(PROBED, math.nan)
    return {key: _value(function, image, text) for key, function in PROBED.items()}


def check_rows(image: Tensor, text: Tensor, what: str, expected: int | None = None) -> None:
    """Refuse rows that are no pairs; `what` begins the message.

    Raises
    ------
    InputError
        If they are not tensors (n, d) on both sides, with n as expected and at least 1.
    """
    if not (isinstance(image, Tensor) and isinstance(text, Tensor)):
        kinds = f"image rows of type {type(image).__name__} and text rows of type {type(text).__name__}"
        raise InputError(f"{what} {kinds}: two tensors of shape (b, d) are needed")
    shapes = tuple(image.shape), tuple(text.shape)
    if image.ndim == text.ndim == 2 and shapes[0] == shapes[1] and len(image) == (expected or len(image)) > 0:
        return
    shown = f"image rows of shape {shapes[0]} and text rows of shape {shapes[1]}"
    wanted = f" for {expected} pairs" if expected else ""
    raise InputError(f"{what} {shown}{wanted}: a row a pair is needed on both sides, of one width")


def unwrapped(module: Any) -> Any:
    """A module without what DDP, DataParallel and torch.compile put around it: DDP's own forward waits for others."""
    while isinstance(module, nn.Module):
        wrapped = isinstance(module, nn.parallel.DistributedDataParallel | nn.DataParallel)
        inner = getattr(module, "module", None) if wrapped else module._modules.get("_orig_mod")
        if not isinstance(inner, nn.Module):
            break
        module = inner
    return module


def _is_sharded(module: nn.Module) -> bool:
    return any(type(p).__name__ == "DTensor" or hasattr(p, "ds_id") for p in module.parameters()) or any(
        type(part).__name__ == "FullyShardedDataParallel" for part in module.modules()
    )


def _two_towers(module: Any, image_name: str, text_name: str) -> Encode:
    def encode(images: Any, texts: Any) -> tuple[Tensor, Tensor]:
        return _tower(module, image_name, images), _tower(module, text_name, texts)

    return encode


def _tower(module: Any, name: str, batch: Any) -> Tensor:
    """Rows of one half; mappings are handed over by name."""
    if not isinstance(batch, Tensor | Mapping):
        raise InputError(
            f"probe: {name} takes tensors, and these are {type(batch).__name__}: give preprocess= and tokenize=, "
            "or a batch of tensors"
        )
    weight = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    function = getattr(module, name)
    if isinstance(batch, Mapping):
        out = function(**{key: _moved(value, weight) for key, value in batch.items()})
    else:
        out = function(_moved(batch, weight))
    out = getattr(out, "pooler_output", out)
    return out[0] if isinstance(out, tuple) else out


def _moved(value: Any, weight: Tensor) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.to(weight.device, weight.dtype if value.is_floating_point() else None)


def _one_encoder(module: Any) -> Encode:
    """Both sides by `encode`, as models of sentence-transformers have it."""
    known = inspect.signature(module.encode).parameters
    how = {name: value for name, value in _QUIET.items() if name in known}

    def encode(images: Any, texts: Any) -> tuple[Tensor, Tensor]:
        return module.encode(images, **how), module.encode(texts, **how)

    return encode


_QUIET = {"convert_to_tensor": True, "show_progress_bar": False}


def _value(function: Callable[[Tensor, Tensor], Any], image: Tensor, text: Tensor) -> float:
    try:
        return float(function(image, text))
    except ValueError:
        return math.nan
