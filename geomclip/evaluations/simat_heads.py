"""SIMAT's heads: a linear map of images and one of texts, trained behind a CLIP, before rows are made unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geomclip.encoders.weights import pickles
from geomclip.machine import limits
from geomclip.machine.array_files import read_npz
from geomclip.machine.errors import InputError
from geomclip.machine.words import one_line, option

NAMES = ("img_head", "txt_head")
PARTS = tuple(f"{name}.{part}" for name in NAMES for part in ("weight", "bias"))
SAVED = "torch.save({k: h.state_dict() for k, h in torch.load(FILE, weights_only=False).items()}, 'heads.pt')"
"""The line that makes a file without modules of one with them, as SIMAT's are."""


@dataclass(frozen=True, eq=False)
class Head:
    """x W^T + b, as of torch.nn.Linear."""

    weight: Tensor  # (d_out, d)
    bias: Tensor | None = None  # (d_out,)

    def __call__(self, rows: Tensor, what: str) -> Tensor:
        """The rows (n, d_out); InputError, naming what they are, for another width than it takes."""
        if rows.shape[1] != self.weight.shape[1]:
            raise InputError(f"{what} have {rows.shape[1]} dimensions, the head takes {self.weight.shape[1]}")
        moved = rows @ self.weight.T
        return moved if self.bias is None else moved + self.bias


@dataclass(frozen=True, eq=False)
class Heads:
    """Both; a bias counts beside rows at the lengths that the model gives them, not at length 1."""

    image: Head
    text: Head

    @property
    def has_bias(self) -> bool:
        """Whether the image head has a bias that is not 0."""
        return self.image.bias is not None and bool(self.image.bias.any())


def read_heads(path: Path) -> Heads:
    """The heads in a .npz, a .safetensors, or a .pt without modules: img_head.weight, txt_head.weight and biases.

    Raises
    ------
    InputError
        If the file is none of these, lacks a weight, or its shapes or numbers cannot be.
    """
    if path.suffix.lower() == ".npz":
        arrays = read_npz(path, PARTS, needed="img_head.weight and txt_head.weight")
        found: dict[str, Any] = {name: torch.from_numpy(array) for name, array in arrays.items()}
    else:
        found = _flat(_loaded(path))
    if absent := [f"{name}.weight" for name in NAMES if not isinstance(found.get(f"{name}.weight"), Tensor)]:
        raise InputError(f"{path} has no {' and no '.join(absent)}")
    image, text = (_head(path, name, found) for name in NAMES)
    if len(image.weight) != len(text.weight):
        raise InputError(f"{path}: img_head gives {len(image.weight)} dimensions, txt_head {len(text.weight)}")
    return Heads(image, text)


def _head(path: Path, name: str, found: Mapping[str, Any]) -> Head:
    weight, bias = found[f"{name}.weight"], found.get(f"{name}.bias")
    if weight.ndim != 2 or not (bias is None or (isinstance(bias, Tensor) and bias.shape == weight.shape[:1])):
        shape = "" if bias is None else f" and {tuple(getattr(bias, 'shape', ()))}"
        raise InputError(f"{path}: {name} has {tuple(weight.shape)}{shape}; a matrix and as long a bias are meant")
    both = [weight] if bias is None else [weight, bias]
    if any(each.is_complex() or not bool(each.double().isfinite().all()) for each in both):
        raise InputError(f"{path}: {name} holds numbers that are not finite")
    return Head(weight.double(), None if bias is None else bias.double())


def _flat(content: object) -> dict[str, Any]:
    """`{"img_head": {"weight": ...}}` under the names of `{"img_head.weight": ...}`."""
    found: dict[str, Any] = {}
    for name, value in content.items() if isinstance(content, Mapping) else ():
        parts = value.items() if isinstance(value, Mapping) else [("", value)]
        found |= {f"{name}.{part}" if part else str(name): each for part, each in parts}
    return found


def _loaded(path: Path) -> object:
    if not path.is_file():
        raise InputError(f"{option('simat_heads')} {path}: no such file")
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found = pickles.load(path)
    except InputError as problem:
        if "torch.nn.modules.linear.Linear" not in str(problem):
            raise
        raise InputError(
            f"{path} holds modules, which could run code, not tensors alone: if you trust it, run {SAVED}"
        ) from problem
    except Exception as problem:
        # torch and safetensors raise whatever the bytes provoke
        raise InputError(f"{path} holds no readable heads ({one_line(problem, 200)})") from problem
    claimed = sum(each.numel() * each.element_size() for each in _flat(found).values() if isinstance(each, Tensor))
    limits.check_unfolded(path.stat().st_size, claimed, f"{path} claims {claimed} bytes of heads")
    return found
