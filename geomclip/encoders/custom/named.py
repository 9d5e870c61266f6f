"""Names of encoders that are none of open_clip's: `encoder:MODULE:NAME`, the caller's own code, and `st:NAME`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from geomclip.encoders.custom import sentence
from geomclip.encoders.custom.located import located
from geomclip.encoders.custom.taken import taken
from geomclip.encoders.load import load_encoder
from geomclip.encoders.protocol import AnyEncoder
from geomclip.machine.errors import InputError
from geomclip.machine.words import option

ENCODER = "encoder:"
"""Before code of the caller's own, MODULE:NAME or FILE.py:NAME."""
SENTENCE = sentence.PREFIX
"""Before the name or folder of a model of sentence-transformers."""


def is_custom(model: Any) -> bool:
    """Whether a name is one of these.

    Examples
    --------
    >>> [is_custom(name) for name in ("encoder:mine:f", "st:clip-ViT-B-32", "sentence-transformers/LaBSE", "demo")]
    [True, True, True, False]
    """
    return isinstance(model, str) and model.startswith((ENCODER, SENTENCE, f"{sentence.ORGANISATION}/"))


def check(model: str) -> None:
    """Refuse a name that means nothing, before long work; the caller's own code is loaded for it.

    Raises
    ------
    InputError, NotAvailableError
        As `encoder_of`.
    """
    if model.startswith(ENCODER):
        located(model.removeprefix(ENCODER))


def encoder_of(
    model: str,
    *,
    name: str | None = None,
    logit_scale: float | None = None,
    pretrained: str | None = None,
    arch: str | None = None,
    precision: str = "fp32",
    device: str = "cpu",
    cache_dir: Path | None = None,
) -> AnyEncoder:
    """The encoder that such a name means, loaded.

    Raises
    ------
    InputError, NotAvailableError
        If it means nothing, needs what is not here, or goes with no such option.
    """
    own = model.startswith(ENCODER)
    idle = {"pretrained": pretrained, "arch": arch, "precision": None if precision == "fp32" else precision}
    idle |= {"device": None if device == "cpu" or not own else device}
    for flag, value in idle.items():
        if value is not None:
            why = "your own code decides that" if own else "its files say that"
            raise InputError(f"{option(flag, value)} has no meaning for {model}: leave it out, {why}")
    if own:
        spec = model.removeprefix(ENCODER)
        return taken(located(spec), what=os.path.basename(spec), name=name, logit_scale=logit_scale)
    place = model.removeprefix(SENTENCE)
    return sentence.load(place, name=name, logit_scale=logit_scale, device=device, cache_dir=cache_dir)


def any_encoder(model: str, *, name: str | None = None, seed: int = 0, **weights: Any) -> AnyEncoder:
    """The encoder that any name means, one of these or of `load_encoder`; options as of these.

    Raises
    ------
    InputError, NotAvailableError
        As `encoder_of` and `load_encoder`.
    """
    if is_custom(model):
        return encoder_of(model, name=name, **weights)
    return load_encoder(model, seed=seed, **weights)
