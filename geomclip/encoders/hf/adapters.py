"""Adapters of PEFT: low-rank updates of some weights of a base model, added to them in memory.

The scale of an update is alpha / r (Hu et al. 2021, "LoRA", section 4.1), alpha / sqrt(r) where it is rank-stabilised
(Kalajdzievski 2023). Every weight is updated once: PEFT 0.21 itself adds that of the output projection of torch's
MultiheadAttention, which open_clip's towers have, twice, or not at all where that projection alone is a target.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from geomclip.encoders import foreign_code
from geomclip.encoders.hf.config import KINDS
from geomclip.encoders.hf.names import Renamed, Row, rows_of, shapes_in
from geomclip.encoders.hf.updates import PREFIX, Fit, Merged, Shape, Updates, fit, sorted_out
from geomclip.encoders.weights.contents import Contents
from geomclip.machine import limits
from geomclip.machine.errors import InputError
from geomclip.machine.json_files import is_number
from geomclip.machine.words import option

FILE = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
NAMED = 5  # faults that one message names
LONGEST = 1000  # characters of the name of a base
_COSTLY = re.compile(r"\)\??[*+{?]|(?:[*+{].*){3}|\(\?", re.DOTALL)
"""Patterns whose search may not end: something repeated that is itself in brackets, or three things repeated."""
_ABSENT = (  # settings of PEFT's LoRA that change what is added, in ways that are not made here
    *("target_parameters", "trainable_token_indices", "layer_replication", "alora_invocation_tokens"),
    *("arrow_config", "kasa_config", "monteclora_config", "use_qalora", "use_bdlora"),
)
_PLAIN = ("true", "false", "none", "gaussian", "orthogonal", "eva", "mica")
"""Ways to start an update that leave the base as it is."""
_RESIDUAL = ("pissa", "olora")
"""Those that take a part out of the base which is found again from the base alone; of others it cannot be."""
_CONVERTED = ("pissa", "olora", "corda", "lora_ga")  # what PEFT can save as an update of the unchanged base
_WHOLE = {"CLIP": "clip", **{name: kind.removesuffix("2") for kind, name in KINDS.items()}}
"""The family of a whole model by its class; those of open_clip that can be of any are not here."""
_ANY = ("CustomTextCLIP", "CoCa")
_IMAGE = re.compile(r"Vision|^TimmModel$|^ModifiedResNet$")
_TEXT = re.compile(r"Text(Model|Transformer|Encoder)")


@dataclass(frozen=True)
class Adapter:
    """What an adapter_config.json says."""

    file: Path
    base: str  # as it was called where it was trained: a folder or a name of the hub; "" unknown
    alpha: float
    rank_stabilised: bool
    alphas: Mapping[str, float] = field(default_factory=dict)  # by pattern of a module's name
    residual: str = ""  # what its training took out of the base first: "pissa", "olora" or nothing
    trained: str = ""  # the class of what it is an adapter of, where it says so

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
    if not isinstance(base, str) or len(base) > LONGEST:
        raise InputError(f"{file}: its base_model_name_or_path is no name: {base!r:.60}")
    alpha, stable = float(found.get("lora_alpha", 8)), bool(found.get("use_rslora"))
    return Adapter(file, base, alpha, stable, alphas, _residual(found, file), _class(found))


def _residual(found: Mapping[str, Any], file: Path) -> str:
    """What the training of an adapter took out of its base.

    Raises
    ------
    InputError
        If the adapter does not say enough to take it out again.
    """
    start = str(found.get("init_lora_weights", True)).lower()
    if start in _RESIDUAL:
        return start
    if start in _PLAIN:
        return ""
    unchanged = (
        "save_pretrained(FOLDER, path_initial_model_for_weight_conversion=INITIAL), INITIAL the adapter as it was "
        "saved before training, or "
        if start.startswith(_CONVERTED)
        else ""
    )
    raise InputError(
        f"{file}: its init_lora_weights {start[:40]!r} changes the base in a way that the adapter does not tell: save "
        f"it where it was trained with {unchanged}merge_and_unload() in PEFT and save_pretrained(FOLDER)"
    )


def _class(found: Mapping[str, Any]) -> str:
    mapping = found.get("auto_mapping")
    return str(mapping.get("base_model_class") or "") if isinstance(mapping, dict) else ""


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
        If the adapter is of another base, or fits both towers and does not say which it is of.
    """
    updates = sorted_out(dict(found.tensors()), adapter.file)
    table = rows or rows_of(base.shapes)
    if table:
        _check_family(adapter, base.shapes, rows, what)
    theirs = {} if not table else shapes_in(table, base.shapes, to="transformers")
    if not table and _is_of_transformers(updates.names()):
        raise InputError(f"{adapter.file}: is an adapter of a model of transformers, and {what} is not like any there")
    place = _placed(updates, (base.shapes, theirs), adapter, what)

    def conversion(own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        before = own if base.conversion is None else base.conversion(own)
        if place.shapes is base.shapes:
            return Merged(before, place.changes)
        return Renamed(Merged(Renamed(before, table, to="transformers"), place.changes), table, to="open_clip")

    notes = _notes(updates, place, adapter, what)
    return replace(base, conversion=conversion, notes=(*base.notes, *notes))


def _check_family(adapter: Adapter, shapes: Mapping[str, Shape], rows: tuple[Row, ...], what: str) -> None:
    """Refuse an adapter of a SigLIP over a CLIP, or the other way round: their layers have the same names."""
    family = "siglip" if "visual.trunk.attn_pool.latent" in shapes else "clip"
    kind = family + ("2" if any(row.change == "patches" for row in rows) else "")
    own = _WHOLE.get(adapter.trained, family)
    exact = next((known for known, name in KINDS.items() if name == adapter.trained), kind)
    if own != family or (rows and exact != kind):
        raise InputError(
            f"{adapter.file}: is an adapter of a {adapter.trained}"
            f"{f' ({adapter.base})' if adapter.base else ''}, and {what} is a {KINDS[kind]}: "
            f"name its own base with {option('pretrained', 'FOLDER')}"
        )


def _is_of_transformers(names: Iterable[str]) -> bool:
    """Whether an adapter updates a model of transformers; of one of open_clip otherwise."""
    plain = [name.removeprefix(PREFIX) for name in names]
    return any(name.startswith(("text_model.", "vision_model.", "visual_projection.")) for name in plain) or all(
        name.startswith("text_projection.") for name in plain
    )


def _placed(updates: Updates, layouts: tuple[Mapping[str, Shape], ...], adapter: Adapter, what: str) -> Fit:
    """The one place in a base where all updates fit: the whole of it or a part, under the names of either layout.

    Raises
    ------
    InputError
        If there is none (up to five tensors are named), or more than one.
    """
    allowed = [prefix for prefix in _prefixes([*layouts[0], *layouts[1]]) if _may_be(adapter.trained, prefix)]
    tried = [fit(updates, shapes, adapter, prefix) for shapes in layouts for prefix in allowed]
    sound = [each for each in tried if not each.faults]
    if len(sound) == 1:
        return sound[0]
    if sound:
        parts = [f"{_part_of(each.prefix)} ({next(iter(each.changes))}, ...)" for each in sound[:3]]
        raise InputError(
            f"{adapter.file}: fits {' and '.join(parts)} of {what}, and does not say which it is of: write the class "
            'there, as in "auto_mapping": {"base_model_class": "VisionTransformer"}, "TextTransformer" or "CLIP"'
        )
    theirs = _is_of_transformers(updates.names())
    # of those that fit least badly the whole model, in the layout that the names are of
    closest = min(tried[:: -1 if theirs else 1], key=lambda each: (len(each.faults), each.prefix != ""))
    more = f" and {len(closest.faults) - NAMED} more" if len(closest.faults) > NAMED else ""
    raise InputError(
        f"{adapter.file}: is an adapter of another base than {what}: {'; '.join(closest.faults[:NAMED])}{more}: "
        f"name its own with {option('pretrained', 'FOLDER')}"
    )


def _prefixes(names: Iterable[str]) -> list[str]:
    """What names of tensors begin with, up to the lists of layers: "" for the whole model, "visual.", ...

    Examples
    --------
    >>> _prefixes(["visual.transformer.resblocks.0.ln_1.weight", "logit_scale"])
    ['', 'visual.', 'visual.transformer.', 'visual.transformer.resblocks.']
    """
    found = {"": None}
    for name in names:
        parts = name.split(".")[:-1]
        for end in range(1, len(parts) + 1):
            if parts[end - 1].isdigit():
                break
            found[".".join(parts[:end]) + "."] = None
    return list(found)


def _may_be(trained: str, prefix: str) -> bool:
    """Whether what lies below a prefix can be of the class that an adapter was trained on."""
    if trained in _WHOLE or trained in _ANY:
        return prefix == ""
    if _IMAGE.search(trained):
        return prefix.startswith(("visual.", "vision_model."))
    return not (_TEXT.search(trained) and prefix.startswith(("visual.", "vision_model.")))


def _part_of(prefix: str) -> str:
    """A part of a model in words."""
    if not prefix:
        return "the whole model"
    return "the image tower" if prefix.startswith(("visual.", "vision_model.")) else "the text tower"


def _notes(updates: Updates, place: Fit, adapter: Adapter, what: str) -> tuple[str, ...]:
    """What was merged into what, and where PEFT's own rows differ."""
    name = adapter.file.parent.name
    part = f"{_part_of(place.prefix)} of " if place.prefix else ""
    notes = [f"{name}: an adapter, merged into {part}{what}"]
    if adapter.base and Path(adapter.base).name != Path(what).name:
        notes.append(f"{name}: names {adapter.base} as its base, not {what}")
    if adapter.residual:
        notes.append(f"{name}: the base is reduced first as PEFT does ({adapter.residual})")
    outputs = [
        module
        for module, parts in updates.modules.items()
        if module.endswith(".out_proj")
        and f"{place.prefix}{module.removesuffix('out_proj')}in_proj_weight" in place.shapes
        and parts["lora_B"].any()
    ]
    for does, some in (
        ("adds it twice", [module for module in outputs if module in updates.wrapped]),
        ("runs without it", [module for module in outputs if module not in updates.wrapped]),
    ):
        if some:
            more = f" and {len(some) - 1} more" if len(some) > 1 else ""
            notes.append(f"{name}: the update of {some[0]}{more} is added once; PEFT 0.21 {does}")
    return tuple(notes)
