"""Adapters of PEFT: low-rank updates of some weights of a base model, added to them in memory.

The update of a weight W is s B A with s = alpha / r (Hu et al. 2021, "LoRA", section 4.1), alpha / sqrt(r) where it is
rank-stabilised (Kalajdzievski 2023), and of DoRA (Liu et al. 2024, equation 5) the rows of W + s B A brought to learned
lengths. Every weight is updated once: PEFT 0.21 itself adds that of the output projection of torch's
MultiheadAttention, which open_clip's towers have, twice.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from torch import Tensor

from geomclip.encoders import foreign_code
from geomclip.encoders.hf.names import Renamed, Row, rows_of, shapes_in
from geomclip.encoders.weights.contents import Contents
from geomclip.machine import limits
from geomclip.machine.errors import InputError
from geomclip.machine.json_files import is_number
from geomclip.machine.words import option

FILE = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
NAMED = 5  # faults that one message names
_PREFIX = "base_model.model."
_PASSED = (".base_layer", ".modules_to_save", ".default")  # parts of names that PEFT's wrappers bring in
_PART = re.compile(r"\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)(?:\.(weight|bias))?$")
_COSTLY = re.compile(r"\)\??[*+{?]|(?:[*+{].*){3}|\(\?", re.DOTALL)
"""Patterns whose search may not end: something repeated that is itself in brackets, or three things repeated."""
_ABSENT = (  # settings of PEFT's LoRA that change what is added, in ways that are not made here
    *("target_parameters", "trainable_token_indices", "layer_replication", "alora_invocation_tokens"),
    *("arrow_config", "kasa_config", "monteclora_config", "use_qalora", "use_bdlora"),
)
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Adapter:
    """What an adapter_config.json says."""

    file: Path
    base: str  # as it was called where it was trained: a folder or a name of the hub; "" unknown
    alpha: float
    rank_stabilised: bool
    alphas: Mapping[str, float] = field(default_factory=dict)  # by pattern of a module's name

    def scale(self, module: str, rank: int) -> float:
        """What the product of the two factors is multiplied by, in one module."""
        alpha = self.alpha
        for pattern, value in self.alphas.items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                alpha = value
                break
        return alpha / math.sqrt(rank) if self.rank_stabilised else alpha / rank


def is_adapter(path: Path) -> bool:
    """Whether a folder is one of an adapter, or a file the weights of one by its name."""
    return (path / FILE).is_file() if path.is_dir() else path.name in WEIGHTS


def read(folder: Path) -> Adapter:
    """The configuration of an adapter, checked.

    Raises
    ------
    InputError
        If it cannot be read, is of another kind than LoRA, or has a setting that is not made here.
    """
    file = folder / FILE
    if not file.is_file():
        raise InputError(f"{folder}: holds weights of an adapter without the {FILE} that says how they are added")
    found = foreign_code.read(file)
    kind = found.get("peft_type")
    if kind != "LORA":
        raise InputError(
            f"{file}: is an adapter of the kind {str(kind)[:40]!r}: LORA is read (with DoRA), others must be merged "
            "where they were trained: merge_and_unload() in PEFT, then save_pretrained(FOLDER)"
        )
    for key in _ABSENT:
        if found.get(key):
            raise InputError(
                f"{file}: has {key}, which is not merged here: use merge_and_unload() in PEFT, then save_pretrained"
            )
    alphas = found.get("alpha_pattern") or {}
    if not isinstance(alphas, dict) or not all(
        is_number(value) for value in [found.get("lora_alpha", 8), *alphas.values()]
    ):
        raise InputError(f"{file}: has no sound 'lora_alpha' or 'alpha_pattern'")
    limits.check("patterns", len(alphas), f"{file}: alpha_pattern")
    for pattern in alphas:
        if _COSTLY.search(pattern):
            raise InputError(
                f"{file}: its alpha_pattern {pattern!r:.60} may take for ever to look for: name the modules, or "
                "use merge_and_unload() in PEFT, then save_pretrained"
            )
        try:
            re.compile(pattern)
        except re.error as error:
            raise InputError(f"{file}: its alpha_pattern {pattern!r:.60} is no pattern ({error})") from error
    base = found.get("base_model_name_or_path") or ""
    return Adapter(file, str(base), float(found.get("lora_alpha", 8)), bool(found.get("use_rslora")), alphas)


def weights_of(folder: Path) -> Path:
    """The file with the weights of an adapter.

    Raises
    ------
    InputError
        If there is none.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder}: is an adapter without {WEIGHTS[0]}")


@dataclass(frozen=True)
class _Change:
    """What becomes of one tensor of the base."""

    factors: tuple[Tensor, Tensor] | None = None  # A and B
    scale: float = 0.0
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
        value = (update.T if self.swapped else update).reshape(value.shape).add(value)
        return value if self.lengths is None else _with_lengths(value, self.lengths.float())


def _with_lengths(value: Tensor, lengths: Tensor) -> Tensor:
    """The weights of each output, of a linear map or a convolution, brought to a length."""
    rows = value.flatten(1)
    return (rows * (lengths.reshape(-1, 1) / rows.norm(dim=1, keepdim=True))).reshape(value.shape)


class Merged(Mapping[str, Tensor]):
    """A base's tensors with an adapter's updates in them, each made when it is taken.

    Parameters
    ----------
    base, tensors : mapping of name to Tensor
        Of the base, and of the adapter as its file names them.
    shapes : mapping of name to shape
        Of the tensors of the base.
    adapter : Adapter
    what : str
        What the base is called in messages.

    Raises
    ------
    InputError
        If the adapter is of another base; up to five tensors are named.
    """

    def __init__(
        self,
        base: Mapping[str, Tensor],
        tensors: Mapping[str, Tensor],
        *,
        shapes: Mapping[str, Shape],
        adapter: Adapter,
        what: str,
    ) -> None:
        self._base = base
        self._changes = _changes(shapes, tensors, adapter, what)

    def __getitem__(self, name: str) -> Tensor:
        value = self._base[name]
        return self._changes[name].of(value) if name in self._changes else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._base)

    def __len__(self) -> int:
        return len(self._base)


def into(base: Contents, rows: tuple[Row, ...], adapter: Adapter, found: Contents, what: str) -> Contents:
    """The weights of a base with an adapter merged into them, under open_clip's names as the base has them.

    Parameters
    ----------
    base : Contents
        Of the base.
    rows : tuple of Row
        The table of the base, where it is from transformers; empty for one of open_clip.
    adapter : Adapter
    found : Contents
        The weights of the adapter, by the names in their file.
    what : str
        What the base is called in messages.

    Raises
    ------
    InputError
        If the adapter is of another base.
    """
    tensors = dict(found.tensors())
    theirs = _is_of_transformers(tensors)
    rows = (rows or rows_of(base.shapes)) if theirs else ()
    if theirs and not rows:
        raise InputError(f"{adapter.file}: is an adapter of a model of transformers, and {what} is not like any there")
    shapes = shapes_in(rows, base.shapes, to="transformers") if theirs else base.shapes
    merge = partial(Merged, tensors=tensors, shapes=shapes, adapter=adapter, what=what)
    merge({})  # what does not fit is said now

    def conversion(own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        before = own if base.conversion is None else base.conversion(own)
        if not theirs:
            return merge(before)
        return Renamed(merge(Renamed(before, rows, to="transformers")), rows, to="open_clip")

    return replace(base, conversion=conversion)


def _is_of_transformers(names: Iterable[str]) -> bool:
    """Whether an adapter updates a model of transformers; of one of open_clip otherwise."""
    plain = [name.removeprefix(_PREFIX) for name in names]
    return any(name.startswith(("text_model.", "vision_model.", "visual_projection.")) for name in plain) or all(
        name.startswith("text_projection.") for name in plain
    )


def _changes(
    shapes: Mapping[str, Shape], tensors: Mapping[str, Tensor], adapter: Adapter, what: str
) -> dict[str, _Change]:
    modules: dict[str, dict[str, Tensor]] = defaultdict(dict)
    changes: dict[str, _Change] = {}
    faults: list[str] = []
    for name, value in tensors.items():
        plain = name.removeprefix(_PREFIX)
        for part in _PASSED:
            plain = plain.replace(part, "")
        part_of = _PART.search(plain)
        if part_of:
            kind = f"{part_of[1]}.bias" if part_of[2] == "bias" else part_of[1]
            modules[plain[: part_of.start()]][kind] = value
        elif _one_number(shapes.get(plain)) and value.numel() == 1:
            changes[plain] = _Change(whole=value.reshape(shapes[plain]))
        elif shapes.get(plain) == tuple(value.shape):
            changes[plain] = _Change(whole=value)
        else:
            faults.append(f"{plain} {tuple(value.shape)} {_instead(shapes.get(plain))}")
    for module, parts in modules.items():
        faults += _put_update(module, parts, shapes, adapter, changes)
    if faults:
        more = f" and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        raise InputError(
            f"{adapter.file}: is an adapter of another base than {what}: {'; '.join(faults[:NAMED])}{more}: "
            f"name its own with {option('pretrained', 'FOLDER')}"
        )
    return changes


def _put_update(
    module: str, parts: Mapping[str, Tensor], shapes: Mapping[str, Shape], adapter: Adapter, changes: dict[str, _Change]
) -> list[str]:
    """Enter the update of one module; what does not fit, in words."""
    swapped = "lora_embedding_A" in parts
    names = ("lora_embedding_A", "lora_embedding_B") if swapped else ("lora_A", "lora_B")
    if not all(name in parts for name in names):
        return [f"{module} has no {names[0]} or no {names[1]}"]
    lengths = parts.get("lora_magnitude_vector")
    if swapped and lengths is not None:
        raise InputError(
            f"{adapter.file}: is DoRA on the embedding {module}, which is not merged here: use merge_and_unload() in "
            "PEFT, then save_pretrained"
        )
    target = next((name for name in (f"{module}.weight", f"{module}.in_proj_weight") if name in shapes), "")
    first, second = (parts[name] for name in names)
    found = (second.shape[0], *first.shape[1:]) if first.ndim != 2 or not swapped else (first.shape[1], second.shape[0])
    if not target or tuple(found) != shapes[target] or second.flatten(1).shape[1] != first.shape[0]:
        return [f"{module} is updated as {tuple(found)}, {_instead(shapes.get(target))}"]
    if lengths is not None and lengths.numel() != second.shape[0]:
        return [f"{module} has {lengths.numel()} lengths of {second.shape[0]} rows"]
    scale = adapter.scale(module, first.shape[0])
    whole = changes[target].whole if target in changes else None
    changes[target] = _Change((first, second), scale, swapped, lengths, whole=whole)
    bias = parts.get(f"{names[1]}.bias")
    if bias is None:
        return []
    own = target.replace("weight", "bias")
    if shapes.get(own) != tuple(bias.shape):
        return [f"{own} is updated as {tuple(bias.shape)}, {_instead(shapes.get(own))}"]
    changes[own] = _Change(scale=scale, added=bias, whole=changes[own].whole if own in changes else None)
    return []


def _instead(shape: Shape | None) -> str:
    return "which the base has not" if shape is None else f"where the base has {shape}"


def _one_number(shape: Shape | None) -> bool:
    return shape in ((), (1,))
