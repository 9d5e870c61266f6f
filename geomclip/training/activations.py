"""Activations: kept for the gradients, or computed again from the inputs of each block to save memory."""

from __future__ import annotations

import warnings

from torch import nn

from geomclip.machine.errors import InputError
from geomclip.machine.words import option
from geomclip.training.parameters import has_moving_statistics


def checkpoint_activations(module: nn.Module, *, training: bool = True) -> None:
    """Keep only the inputs of the blocks of both towers; the rest is computed again when gradients need it.

    open_clip's own switch does nothing, with or without a word, where a tower cannot; here that is refused.

    Parameters
    ----------
    module : nn.Module
        open_clip's towers, with what is frozen frozen.
    training : bool
        Whether the module will be in train mode: towers of transformers do it in no other.

    Raises
    ------
    InputError
        If a tower cannot.
    """
    name = option("grad_checkpointing")
    for part in module.modules():
        kind = type(part).__name__
        if kind == "ModifiedResNet":
            raise InputError(f"{name}: the image tower is an OpenAI ResNet, which open_clip cannot checkpoint")
        if kind == "CustomResidualAttentionBlock":
            raise InputError(f"{name}: open_clip cannot checkpoint the custom attention blocks of this model")
        if kind == "HFTextEncoder" and not training:
            raise InputError(
                f"{name}: the text tower comes from transformers, which does it with {option('mode', 'train')} only"
            )
    if training and has_moving_statistics(module):
        raise InputError(
            f"{name} shows each batch to batch normalisation twice: train this model with {option('mode', 'eval')}"
        )
    trunk = getattr(getattr(module, "visual", None), "trunk", None)
    try:
        if trunk is not None:  # open_clip turns what it raises into a remark and goes on without
            trunk.set_grad_checkpointing(True)
        with warnings.catch_warnings():
            # open_clip calls transformers by a name that it is about to drop
            warnings.filterwarnings("ignore", message=".*gradient_checkpointing_enable", category=FutureWarning)
            module.set_grad_checkpointing(True)  # type: ignore[operator]
    except (AttributeError, AssertionError, NotImplementedError, ValueError) as error:
        raise InputError(f"{name}: a tower of this model cannot: {error}") from error
