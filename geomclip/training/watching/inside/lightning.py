"""In Lightning: what `training_step` returns, or a hook on the model within the module, has the rows of a batch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from torch import nn

from geomclip.machine.extras import optional
from geomclip.training.watching.outputs import Passing, Watches, model_in, pair_of

NAMES = ("lightning.pytorch", "pytorch_lightning")
"""The package under its two names: a callback must be of the one that the trainer is of."""


def callback(watch: Watches, rows: Callable[[Any], Any] | None = None) -> Any:
    """The callback of a watch, of the package that was imported.

    Raises
    ------
    NotAvailableError
        If Lightning is not installed.
    """
    name = next((name for name in NAMES if name in sys.modules), NAMES[0])
    base = optional(name, "for_lightning", "lightning").Callback
    return type("WatchCallback", (_Told, base), {"__doc__": _Told.__doc__})(watch, rows)


class _Told:
    """Tells a watch the rows of the last batch of each step; with gradient accumulation its last part.

    Parameters
    ----------
    watch : Watch
    rows : callable, optional
        From what the model, or `training_step`, returns to (image rows, text rows).
    """

    def __init__(self, watch: Watches, rows: Callable[[Any], Any] | None = None) -> None:
        super().__init__()
        self.watch, self.rows = watch, rows
        self.passing: Passing | None = None
        self.done = 0

    def on_train_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Listen to the model, and look at it before the first step."""
        self.end()
        self.done = trainer.global_step
        self.watch.begin(self.done, model=model_in(pl_module))
        self.passing = Passing(pl_module, self.rows)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Tell the batch, where it ended a step."""
        assert self.passing is not None
        if trainer.global_step == self.done:
            return
        self.done = trainer.global_step
        pair = pair_of(outputs) or self.passing.take()
        scales = {"logit_scale": pair.logit_scale, "logit_bias": pair.logit_bias}
        self.watch.step(pair.image, pair.text, step=self.done, **scales)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Listen no more, and close the watch."""
        self.end()
        self.watch.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """The same, of a run that failed."""
        self.end()
        self.watch.close(failed=True)

    def end(self) -> None:
        """Take the hooks away."""
        if self.passing is not None:
            self.passing.remove()
            self.passing = None
