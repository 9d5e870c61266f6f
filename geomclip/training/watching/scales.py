"""Scales: where the logit scale of a training loop is held, as a factor, a logarithm or a function."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from geomclip.machine.errors import InputError
from geomclip.training.watching.looks import unwrapped


def scale_of(source: Any) -> Tensor | float | None:
    """1/temperature as a factor: what a function gives, e to the `logit_scale` of a module, or a number itself.

    Examples
    --------
    >>> scale_of(None), scale_of(20.0), scale_of(lambda: 14.3)
    (None, 20.0, 14.3)
    """
    if isinstance(source, nn.Module):
        held = attribute(source, "logit_scale")
        if not isinstance(held, Tensor):
            raise InputError(
                f"logit_scale: {type(source).__name__} has no logit_scale: give a function that returns it"
            )
        return held.detach().float().exp()
    found: Tensor | float | None = source() if callable(source) else source
    return found


def attribute(module: Any, name: str) -> Any:
    """What a module has under a name, DDP and the like taken off; None where it has none, or is no module."""
    module = unwrapped(module)
    return getattr(module, name, None) if isinstance(module, nn.Module) else None
