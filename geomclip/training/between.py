"""Between: the models whose weights are mixed without training, loaded, and refused unless they are of one kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from geomclip.encoders import Encoder, load_encoder
from geomclip.encoders.configuration import complete
from geomclip.encoders.weights.shards import is_weights
from geomclip.machine.errors import InputError
from geomclip.machine.words import option
from geomclip.panels.lines import told_apart
from geomclip.training.methods import METHODS, Method

SHOWN = 5
"""Shapes that differ, so many of which are named."""
PROBE = ("a photo of a dog", "Two RED buses, 1998!", "café\u2014naïve", "")
"""Texts that two tokenizers must make the same tokens of."""
_PLACES = ("hf_tokenizer_name", "tokenizer_kwargs", "hf_model_name")
"""Settings that may name a folder, and are told by the tokens themselves."""


def checked_names(method: Method, between: str | Sequence[str] | None, others: Mapping[str, Any]) -> list[str] | None:
    """The names of the models to be mixed; None where a method takes none.

    `others` are options that say what the model is in another way.

    Raises
    ------
    InputError
        If the method mixes no models, they are too few or too many, or one is named in two ways.
    """
    if not between:
        if method.members and method.members[1] is None:
            raise InputError(f"{option('method', method.name)} mixes models: name them with {option('between')}")
        return None  # wise-ft of a run has its base
    names = [between] if isinstance(between, str) else [str(name) for name in between]
    if not method.members:
        mixing = " or ".join(option("method", name) for name, each in METHODS.items() if each.members)
        raise InputError(f"{option('between')} is of models that are mixed: add {mixing}")
    for name in ("model", "pretrained"):
        if others.get(name) is not None:
            raise InputError(f"{option('between')} names the models: leave {option(name, others[name])} out")
    least, most = method.members
    if not least <= len(names) <= (most or len(names)):
        wanted = f"{least} models" if least == most else f"{least} models or more"
        way = f"; the mean of several is {option('method', 'soup')}" if len(names) > least else ""
        raise InputError(f"{option('method', method.name)} is between {wanted}, got {len(names)}{way}")
    return names


def load_members(names: Sequence[str], *, arch: str | None, cache_dir: Path | None, seed: int) -> list[Encoder]:
    """The models that are to be mixed, in float32; `arch` is of those that are files of weights.

    Raises
    ------
    InputError
        If one cannot be loaded, is shifted along the gap, is of another architecture, preprocessing or tokenizer than
        the first, or has the weights of another one.
    """
    found: list[Encoder] = []
    files = [name for name in names if is_weights(name)]
    if arch is not None and not files:
        raise InputError(f"{option('arch', arch)} says what a file of weights is, and none of the models is one")
    for name in names:
        own = arch if name in files else None
        encoder = load_encoder(name, arch=own, cache_dir=cache_dir, seed=seed)
        if encoder.shift is not None:
            raise InputError(f"{name} is shifted along the gap: name the model that it was made from")
        if found:
            _refuse_unlike(names[0], found[0], name, encoder)
        for other, known in zip(names, found, strict=False):
            if known.weights_sha256 == encoder.weights_sha256:
                raise InputError(f"{name} has the very weights of {other}: there is nothing between them")
        found.append(encoder)
    return found


def described(names: Sequence[str], members: Sequence[Encoder]) -> list[dict[str, str]]:
    """Which models were mixed: what each was called, and the fingerprint of its weights."""
    return [
        {"model": name, "weights_sha256": member.weights_sha256} for name, member in zip(names, members, strict=True)
    ]


def short_names(models: Sequence[Mapping[str, str]]) -> list[str]:
    """What a table calls the models: the last part of each path that is here, told apart.

    Examples
    --------
    >>> short_names([{"model": "demo"}, {"model": "ViT-B/32"}])
    ['demo', 'ViT-B/32']
    """
    places = [each["model"].removeprefix("local-dir:") for each in models]
    return told_apart([Path(place).name if Path(place).expanduser().exists() else place for place in places])


def _refuse_unlike(first: str, base: Encoder, name: str, encoder: Encoder) -> None:
    """InputError unless two encoders differ in nothing but the values of their weights."""
    shapes = [{key: tuple(value.shape) for key, value in each.module.state_dict().items()} for each in (base, encoder)]
    differing = [key for key in {**shapes[0], **shapes[1]} if shapes[0].get(key) != shapes[1].get(key)]
    if differing:
        named = [
            f"{key} {shapes[0].get(key, 'absent')} and {shapes[1].get(key, 'absent')}" for key in differing[:SHOWN]
        ]
        more = f"; {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        raise InputError(f"{first} and {name} are of two architectures: {'; '.join(named)}{more}")
    for what, one, other in (
        ("configuration", _settings(base), _settings(encoder)),
        ("preprocessing", _prepared(base), _prepared(encoder)),
    ):
        for key in {**one, **other}:
            if one.get(key) != other.get(key):
                values = f"{key} {one.get(key)} and {other.get(key)}"
                raise InputError(f"{first} and {name} have another {what}: {values}: their weights do not mix")
    tokens = [each.tokenize(PROBE)[0] for each in (base, encoder)]
    if not torch.equal(*tokens):
        raise InputError(f"{first} and {name} have other tokenizers: their weights do not mix")


def _prepared(encoder: Encoder) -> dict[str, Any]:
    """How a model wants its images; the colour of what is filled up only where something is."""
    padded = encoder.preprocessing["resize_mode"] == "longest"
    return {key: value for key, value in encoder.preprocessing.items() if padded or key != "fill_color"}


def _settings(encoder: Encoder) -> dict[str, Any]:
    """Every setting of a configuration by its full name, without those that say where something lies."""
    flat: dict[str, Any] = {}
    for key, value in complete(encoder.model_cfg).items():
        flat |= {f"{key}.{each}": v for each, v in value.items()} if isinstance(value, dict) else {key: value}
    return {key: value for key, value in flat.items() if key.rpartition(".")[2] not in _PLACES}
