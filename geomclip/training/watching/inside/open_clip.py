"""In open_clip's loop: its loss is called with the rows of each batch and the logit scale, so it is listened to."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from geomclip.machine.errors import InputError
from geomclip.training.watching.outputs import Watches

PARAMETERS = ("image_features", "text_features", "logit_scale")


def watched_loss(watch: Watches, loss: Any, accumulate: int = 1) -> Any:
    """The loss, which tells the watch each batch that it is called with under gradients.

    Raises
    ------
    InputError
        If it is not called with image and text features, or `accumulate` is below 1.
    """
    if accumulate < 1:
        raise InputError(f"accumulate must be 1 call a step or more, got {accumulate}")
    function = loss.forward if isinstance(loss, nn.Module) else loss
    if not callable(function):
        raise InputError(f"a loss is a module or a function, got {type(loss).__name__}")
    signature = inspect.signature(function)
    absent = [name for name in PARAMETERS[:2] if name not in signature.parameters]
    if absent:
        raise InputError(
            f"{type(loss).__name__} takes no {' and no '.join(absent)}: call watch.step(image_rows, text_rows) in "
            "the loop instead"
        )
    told = _Told(watch, signature, accumulate)
    if isinstance(loss, nn.Module):
        loss.register_forward_pre_hook(lambda module, args, kwargs: told(*args, **kwargs), with_kwargs=True)
        return loss
    return _wrapped(loss, told)


class _Told:
    """Counts calls, and tells each that ends a step."""

    def __init__(self, watch: Watches, signature: inspect.Signature, accumulate: int) -> None:
        self.watch, self.signature, self.accumulate = watch, signature, accumulate
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        given = self.signature.bind(*args, **kwargs).arguments
        image, text = (given[name] for name in PARAMETERS[:2])
        if not torch.is_grad_enabled() or not isinstance(image, Tensor) or not isinstance(text, Tensor):
            return
        self.calls += 1
        if self.calls % self.accumulate == 0:
            more = {name: given[name] for name in ("logit_scale", "logit_bias") if given.get(name) is not None}
            self.watch.step(image, text, **more)


def _wrapped(loss: Callable[..., Any], told: _Told) -> Callable[..., Any]:
    @functools.wraps(loss)
    def watched(*args: Any, **kwargs: Any) -> Any:
        told(*args, **kwargs)
        return loss(*args, **kwargs)

    return watched
