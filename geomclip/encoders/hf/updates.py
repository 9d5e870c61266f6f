"""What the tensors of an adapter make of those of its base: sorted by module, compared with shapes, added.

An update of a weight W is s B A (Hu et al. 2021, "LoRA", section 4.1), of DoRA (Liu et al. 2024, equation 5) the rows
of W + s B A brought to learned lengths. Of PiSSA (Meng et al. 2024) and OLoRA (Büyükakyüz 2024) it is one of what is
left of W after its largest singular values, or the first columns of its QR decomposition, are taken out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from geomclip.machine.errors import InputError

Shape = tuple[int, ...]
PREFIX = "base_model.model."
_PASSED = (".base_layer", ".modules_to_save", ".default")  # parts of names that PEFT's wrappers bring in
_REPLACED = ".original_module."  # what a module of `modules_to_save` was before; bias="all" saves its bias beside
_PART = re.compile(r"\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)(?:\.(weight|bias))?$")


class Scaled(Protocol):
    """What must be known of an adapter to add its updates."""

    @property
    def residual(self) -> str:
        """How its base was reduced before it was trained: "pissa", "olora" or "" where it was not."""

    def scale(self, module: str, rank: int) -> float:
        """What the product of the two factors is multiplied by, in one module."""


@dataclass(frozen=True)
class Updates:
    """The tensors of an adapter by what they change, as it is called where the adapter was made."""

    whole: Mapping[str, Tensor]  # by the name of the tensor whose place they take
    modules: Mapping[str, Mapping[str, Tensor]]  # by the module, and by what they are in it
    wrapped: frozenset[str] = frozenset()  # output projections inside an attention that is updated as one

    def names(self) -> list[str]:
        """What is changed: tensors and modules."""
        return [*self.whole, *self.modules]


def sorted_out(tensors: Mapping[str, Tensor], file: Path) -> Updates:
    """The updates of an adapter from the tensors that its file holds.

    Raises
    ------
    InputError
        If it is DoRA of an embedding.
    """
    modules: dict[str, dict[str, Tensor]] = defaultdict(dict)
    whole: dict[str, Tensor] = {}
    wrapped: set[str] = set()
    for name, value in tensors.items():
        if _REPLACED in name:
            continue
        plain = name.removeprefix(PREFIX)
        for part in _PASSED:
            plain = plain.replace(part, "")
        part_of = _PART.search(plain)
        if not part_of:
            whole[plain] = value
            continue
        module = plain[: part_of.start()]
        modules[module][f"{part_of[1]}.bias" if part_of[2] == "bias" else part_of[1]] = value
        if ".base_layer.out_proj." in name:
            wrapped.add(module)
    for module, parts in modules.items():
        if "lora_embedding_A" in parts and "lora_magnitude_vector" in parts:
            raise InputError(
                f"{file}: is DoRA on the embedding {module}, which is not merged here: use merge_and_unload() in "
                "PEFT, then save_pretrained"
            )
    return Updates(whole, dict(modules), frozenset(wrapped))


@dataclass(frozen=True)
class Change:
    """What becomes of one tensor of the base."""

    factors: tuple[Tensor, Tensor] | None = None  # A and B
    scale: float = 0.0
    residual: str = ""  # what of the base is taken out first
    swapped: bool = False  # of an embedding, whose update is transposed
    lengths: Tensor | None = None  # of the rows, of DoRA
    added: Tensor | None = None  # to a bias
    whole: Tensor | None = None  # in place of what the base has

    def of(self, value: Tensor) -> Tensor:
        """The tensor of the base, changed; a new one, float32."""
        value = value.float() if self.whole is None else self.whole.float()
        if self.added is not None:
            value = value + self.scale * self.added.float()
        if self.factors is None:
            return value
        first, second = (factor.float().flatten(1) for factor in self.factors)
        update = (second @ first).mul_(self.scale)
        update = (update.T if self.swapped else update).reshape(value.shape)
        if self.residual and not self.swapped:
            value = value - _principal(value, len(first), self.scale, self.residual)
        value = update.add(value)
        return value if self.lengths is None else _with_lengths(value, self.lengths.float())


def _principal(value: Tensor, rank: int, scale: float, residual: str) -> Tensor:
    """The part of a weight (n, d) that the two factors had at the start, times their scale."""
    if residual == "pissa":
        u, s, v = torch.linalg.svd(value, full_matrices=False)
        return (u[:, :rank] * s[:rank]) @ v[:rank]
    q, r = torch.linalg.qr(value)
    return scale * q[:, :rank] @ r[:rank]


def _with_lengths(value: Tensor, lengths: Tensor) -> Tensor:
    """The weights of each output, of a linear map or a convolution, brought to a length."""
    rows = value.flatten(1)
    return (rows * (lengths.reshape(-1, 1) / rows.norm(dim=1, keepdim=True))).reshape(value.shape)


@dataclass
class Fit:
    """What the updates make of a base, below a prefix of its names, and what does not fit, in words."""

    prefix: str
    shapes: Mapping[str, Shape]  # of the base
    changes: dict[str, Change] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def fit(updates: Updates, shapes: Mapping[str, Shape], adapter: Scaled, prefix: str = "") -> Fit:
    """Compare the updates with the tensors of a base whose names begin with a prefix; nothing is computed."""
    found = Fit(prefix, shapes)
    for name, value in updates.whole.items():
        own = shapes.get(prefix + name)
        if own is not None and (own == tuple(value.shape) or (own in ((), (1,)) and value.numel() == 1)):
            found.changes[prefix + name] = Change(whole=value.reshape(own))
        else:
            found.faults.append(f"{prefix}{name} {tuple(value.shape)} {_instead(own)}")
    for module, parts in updates.modules.items():
        found.faults += _put_update(prefix + module, module, parts, shapes, adapter, found.changes)
    return found


def _put_update(
    module: str,
    trained: str,
    parts: Mapping[str, Tensor],
    shapes: Mapping[str, Shape],
    adapter: Scaled,
    changes: dict[str, Change],
) -> list[str]:
    """Enter the update of one module, called `trained` where it was made; what does not fit, in words."""
    swapped = "lora_embedding_A" in parts
    names = ("lora_embedding_A", "lora_embedding_B") if swapped else ("lora_A", "lora_B")
    if not all(name in parts for name in names):
        return [f"{module} has no {names[0]} or no {names[1]}"]
    lengths = parts.get("lora_magnitude_vector")
    target = next((name for name in (f"{module}.weight", f"{module}.in_proj_weight") if name in shapes), "")
    first, second = (parts[name] for name in names)
    found = (second.shape[0], *first.shape[1:]) if first.ndim != 2 or not swapped else (first.shape[1], second.shape[0])
    if not target or tuple(found) != shapes[target] or second.flatten(1).shape[1] != first.shape[0]:
        return [f"{module} is updated as {tuple(found)}, {_instead(shapes.get(target))}"]
    if lengths is not None and lengths.numel() != second.shape[0]:
        return [f"{module} has {lengths.numel()} lengths of {second.shape[0]} rows"]
    scale = adapter.scale(trained, first.shape[0])
    whole = changes[target].whole if target in changes else None
    changes[target] = Change((first, second), scale, adapter.residual, swapped, lengths, whole=whole)
    bias = parts.get(f"{names[1]}.bias")
    if bias is None:
        return []
    own = target.replace("weight", "bias")
    if shapes.get(own) != tuple(bias.shape):
        return [f"{own} is updated as {tuple(bias.shape)}, {_instead(shapes.get(own))}"]
    changes[own] = Change(scale=scale, added=bias, whole=changes[own].whole if own in changes else None)
    return []


def _instead(shape: Shape | None) -> str:
    return "which the base has not" if shape is None else f"where the base has {shape}"


class Merged(Mapping[str, Tensor]):
    """A base's tensors with an adapter's updates in them, each made when it is taken."""

    def __init__(self, base: Mapping[str, Tensor], changes: Mapping[str, Change]) -> None:
        self._base, self._changes = base, changes

    def __getitem__(self, name: str) -> Tensor:
        value = self._base[name]
        return self._changes[name].of(value) if name in self._changes else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._base)

    def __len__(self) -> int:
        return len(self._base)
