"""In the trainer of sentence-transformers: its loss knows the columns of a batch, a hook on the model their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from geomclip.machine.errors import InputError
from geomclip.training.watching.looks import unwrapped
from geomclip.training.watching.outputs import Watches


class WatchCallback(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
    """Tells a watch the rows of the first two columns of each step; with gradient accumulation its last part.

    Losses encode the columns one after another, in parts or together, so the rows that come while the loss is
    computed are put behind each other: the first b are the first column's, the next b the second's.

    Parameters
    ----------
    watch : Watch
    loss : Module, or mapping of name to Module
        What the trainer was given.
    """

    def __init__(self, watch: Watches, loss: Any) -> None:
        losses = list(loss.values()) if isinstance(loss, Mapping) else [loss]
        for each in losses:
            if not isinstance(each, nn.Module):
                raise InputError(f"loss must be the module that the trainer is given, got {type(each).__name__}")
        self.watch, self.losses = watch, losses
        self.handles: list[Any] = []
        self.columns: list[int] | None = None  # rows of each, while a loss is computed
        self.parts: list[Tensor] = []
        self.last: tuple[Tensor, Tensor] | None = None
        self.scale: float | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: nn.Module, **more: Any) -> None:
        """Listen to losses and model, and look at it before the first step."""
        self.end()
        self.watch.begin(state.global_step, model=model)
        self.handles = [unwrapped(model).register_forward_hook(self._rows)]
        for loss in self.losses:
            self.handles += [loss.register_forward_pre_hook(self._begun), loss.register_forward_hook(self._ended)]

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Tell the batch of the step."""
        if self.last is None:
            raise InputError(
                "the loss of the trainer was not the one that for_sentence_transformers got, or its data have one "
                "column: a batch needs two, of pairs"
            )
        pair, self.last = self.last, None
        self.watch.step(*pair, step=state.global_step, logit_scale=self.scale)

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Listen no more, and close the watch."""
        self.end()
        self.watch.close()

    def end(self) -> None:
        """Take the hooks away."""
        for handle in self.handles:
            handle.remove()
        self.handles = []

    def _begun(self, loss: nn.Module, inputs: tuple[Any, ...]) -> None:
        if torch.is_grad_enabled() and inputs:
            self.columns, self.parts = [_rows_of(column) for column in inputs[0]], []

    def _rows(self, model: nn.Module, inputs: Any, output: Any) -> None:
        if self.columns is not None and isinstance(output, Mapping) and "sentence_embedding" in output:
            self.parts.append(output["sentence_embedding"].detach())

    def _ended(self, loss: nn.Module, inputs: Any, output: Any) -> None:
        columns, self.columns = self.columns, None
        parts, self.parts = self.parts, []
        if columns is None or len(columns) < 2 or not parts:
            return
        rows = _of_one_width(parts)
        self.last = rows[: columns[0]], rows[columns[0] : columns[0] + columns[1]]
        scale = getattr(loss, "scale", None)
        self.scale = float(scale) if isinstance(scale, int | float) else None


def callback(watch: Watches, loss: Any) -> WatchCallback:
    """The callback of a watch."""
    return WatchCallback(watch, loss)


def _rows_of(column: Mapping[str, Any]) -> int:
    """How many inputs one column of a batch has."""
    return next((len(value) for value in column.values() if isinstance(value, Tensor) and value.ndim), 0)


def _of_one_width(parts: Iterable[Tensor]) -> Tensor:
    """The rows behind each other, as long as they are as wide as the first: some losses go on with shorter ones."""
    found: list[Tensor] = []
    for part in parts:
        if found and part.shape[1] != found[0].shape[1]:
            break
        found.append(part)
    return torch.cat(found)
