"""Outputs: the rows of image and text in what a forward pass of a model gives, by the names that models use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from geomclip.machine.errors import InputError

NAMES = (("image_embeds", "text_embeds"), ("image_features", "text_features"))
"""What models of transformers call their rows, and those of open_clip."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Rows of images and of their texts, and the logit scale as a factor where the output has it."""

    image: Tensor
    text: Tensor
    logit_scale: Tensor | None = None
    logit_bias: Tensor | None = None


class Watches(Protocol):
    """What an adapter tells a watch."""

    def begin(self, step: int = 0, *, model: nn.Module | None = None) -> None:
        """Training begins behind this many steps."""

    def step(
        self,
        image_rows: Tensor,
        text_rows: Tensor,
        *,
        step: int | None = None,
        logit_scale: Tensor | float | None = None,
        logit_bias: Tensor | float | None = None,
    ) -> None:
        """A batch was trained on."""

    def close(self, *, failed: bool = False) -> None:
        """Training is over."""


def pair_of(output: Any) -> Pair | None:
    """The rows in an output: under the names of `NAMES`, or the first two tensors of a tuple; None if it has none.

    Examples
    --------
    >>> pair_of({"image_embeds": torch.eye(2), "text_embeds": torch.eye(2)}).image.shape
    torch.Size([2, 2])
    >>> pair_of(torch.eye(2)) is None
    True
    """
    if isinstance(output, Mapping):
        for names in NAMES:
            image, text = (output.get(name) for name in names)
            if isinstance(image, Tensor) and isinstance(text, Tensor):
                return Pair(image, text, output.get("logit_scale"), output.get("logit_bias"))
        return None
    if isinstance(output, tuple | list) and len(output) >= 2:
        image, text, *more = output
        if isinstance(image, Tensor) and isinstance(text, Tensor) and image.ndim == text.ndim == 2:
            more += [None, None]
            return Pair(image, text, *(each if isinstance(each, Tensor) else None for each in more[:2]))
    return None


class Passing:
    """Hooks that keep the rows of the newest forward pass with gradients, without touching it.

    Parameters
    ----------
    module : Module
        It, and any part of it that has two towers, is listened to.
    rows : callable, optional
        From an output to (image rows, text rows), for models that name them otherwise.
    """

    def __init__(self, module: nn.Module, rows: Callable[[Any], Any] | None = None) -> None:
        self.rows = rows
        self.last: Pair | None = None
        self.other = ""  # what an output without rows had in their place
        self._handles = [part.register_forward_hook(self._seen) for part in _with_towers(module)]

    def take(self) -> Pair:
        """The rows of the newest pass; the next call needs a newer one.

        Raises
        ------
        InputError
            If no pass had any.
        """
        pair, self.last = self.last, None
        if pair is None:
            had = f" (it has {self.other})" if self.other else ""
            names = " nor ".join(" and ".join(each) for each in NAMES)
            raise InputError(
                f"the output of the model has neither {names}{had}: a batch needs images and texts; "
                "rows=FUNCTION takes (image rows, text rows) from the output"
            )
        return pair

    def remove(self) -> None:
        """Listen no more."""
        for handle in self._handles:
            handle.remove()

    def _seen(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if not torch.is_grad_enabled():
            return
        pair = pair_of(self.rows(output) if self.rows is not None else output)
        if pair is None:
            self.other = self.other or _shown(output)
        else:
            self.last = Pair(pair.image.detach(), pair.text.detach(), pair.logit_scale, pair.logit_bias)


def model_in(module: nn.Module) -> nn.Module:
    """The model that a training module holds: the first part that has two towers, or the module itself."""
    return next((part for part in module.modules() if _has_towers(part)), module)


def _has_towers(part: nn.Module) -> bool:
    return hasattr(part, "encode_image") or hasattr(part, "get_image_features")


def _with_towers(module: nn.Module) -> Iterable[nn.Module]:
    return (part for part in module.modules() if part is module or _has_towers(part))


def _shown(output: Any) -> str:
    if isinstance(output, Mapping):
        return ", ".join(map(str, output)) or "nothing"
    return type(output).__name__
