"""In the Trainer of transformers: a hook on the model sees its rows, a callback says when a step is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from transformers import TrainerCallback

from geomclip.training.watching.looks import unwrapped
from geomclip.training.watching.outputs import Passing, Watches


class WatchCallback(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
    """Tells a watch the rows of the last forward pass of each step; with gradient accumulation its last part.

    Parameters
    ----------
    watch : Watch
    rows : callable, optional
        From the output of the model to (image rows, text rows).
    """

    def __init__(self, watch: Watches, rows: Callable[[Any], Any] | None = None) -> None:
        self.watch, self.rows = watch, rows
        self.passing: Passing | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: nn.Module, **more: Any) -> None:
        """Listen to the model, and look at it before the first step."""
        self.end()
        self.watch.begin(state.global_step, model=model)
        self.passing = Passing(unwrapped(model), self.rows)

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Tell the batch of the step."""
        assert self.passing is not None
        pair = self.passing.take()
        scales = {"logit_scale": pair.logit_scale, "logit_bias": pair.logit_bias}
        self.watch.step(pair.image, pair.text, step=state.global_step, **scales)

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Listen no more, and close the watch."""
        self.end()
        self.watch.close()

    def end(self) -> None:
        """Take the hooks away."""
        if self.passing is not None:
            self.passing.remove()
            self.passing = None


def callback(watch: Watches, rows: Callable[[Any], Any] | None = None) -> WatchCallback:
    """The callback of a watch."""
    return WatchCallback(watch, rows)
