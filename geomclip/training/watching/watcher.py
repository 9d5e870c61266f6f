"""Watch: the geometry of a model while any loop trains it: numbers of each batch, of a probe, and alarms."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from geomclip.machine.errors import InputError
from geomclip.machine.extras import optional
from geomclip.training.processes import is_follower
from geomclip.training.watching.alarms import BATCH, PROBE, Alarm, Alarms
from geomclip.training.watching.estimates import Batch, estimates, on_the_way
from geomclip.training.watching.lines import step_of
from geomclip.training.watching.looks import Look, check_rows, probed
from geomclip.training.watching.samples import Samples
from geomclip.training.watching.scales import attribute, scale_of
from geomclip.training.watching.watch_log import WatchLog

SIDES = {"image": "images", "text": "texts"}


class Watch:
    """A watch over a training loop, as `watch` makes it; `with watch(...) as watched:` closes it.

    Each line of its log is an object: `batch` are the numbers of a batch, `probe` those of the probe, `warning` the
    key of an alarm with its `note`; the first line says what is watched. Processes other than the first do nothing.

    Attributes
    ----------
    warnings : list of str
        What was warned of, in the order of the steps; each rule warns once.
    batch, probe : dict
        The newest numbers of either.
    """

    def __init__(
        self,
        log: WatchLog,
        seen: Samples | None,
        look: Look | None,
        *,
        every: int,
        logit_scale: Any = None,
    ) -> None:
        self.every, self.out = every, log.path
        self.warnings: list[str] = []
        self.batch: dict[str, float] = {}
        self.probe: dict[str, float] = {}
        self._samples, self._look, self._logit_scale = seen, look, logit_scale
        self._alarms = Alarms()
        self._log = log
        self._waiting: Batch | None = None
        self._done = 0

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(failed=error is not None)

    def begin(self, step: int = 0, *, model: nn.Module | None = None) -> None:
        """Open the log and look at the probe before training, as callbacks do; a loop need not call it.

        Parameters
        ----------
        step : int
            Steps done before: those of the checkpoint where a run goes on. Later lines of the log are dropped.
        model : Module, optional
            What is looked at, and has the logit scale, where `encode` and `logit_scale` were left out.

        Raises
        ------
        InputError
            If the log is another run's, or there is a probe and nothing that encodes it.
        """
        if not _is_first() or self._log.is_open:
            return
        if model is not None:
            if self._look is None and self._samples is not None:
                self._look = Look(model)
            if self._logit_scale is None and isinstance(attribute(model, "logit_scale"), Tensor):
                self._logit_scale = model
        self._open(step)
        if self._samples is not None and not self.probe:
            self._look_at(step)

    def step(
        self,
        image_rows: Tensor,
        text_rows: Tensor,
        *,
        step: int | None = None,
        logit_scale: Tensor | float | None = None,
        logit_bias: Tensor | float | None = None,
    ) -> None:
        """A step was trained on these rows: log their numbers, and each `every` steps those of the probe.

        Of a batch at most 128 rows are measured, spread evenly over it, in a few milliseconds; rows on a GPU are
        copied without waiting for it, and measured at the next step.

        Parameters
        ----------
        image_rows, text_rows : Tensor of shape (b, d)
            Row i of one belongs to row i of the other; of any length, precision and device.
        step : int, optional
            The number of this step. Left out: one more than before, from 1.
        logit_scale, logit_bias : Tensor or float, optional
            1/temperature as a factor, not its logarithm, and the bias of a sigmoid loss.

        Raises
        ------
        InputError
            If the rows are no pairs, a step comes again, or the log is another run's.
        """
        if not _is_first():
            return
        step = self._done + 1 if step is None else int(step)
        check_rows(image_rows, text_rows, f"step {step}:")
        if not self._log.is_open:
            self._open(step - 1)
        elif step <= self._done:
            raise InputError(f"step {step} comes after step {self._done}: a watch takes each step once, in order")
        self._done = step
        if logit_scale is None:
            logit_scale = scale_of(self._logit_scale)
        if logit_bias is None:
            logit_bias = attribute(self._logit_scale, "logit_bias")
        self._settle()
        self._waiting = on_the_way(step, image_rows, text_rows, logit_scale, logit_bias)
        if self._waiting.copied is None:
            self._settle()
        if self._samples is not None and (step % self.every == 0 or not self.probe):
            self._settle()
            self._look_at(step)

    def close(self, *, failed: bool = False) -> None:
        """End the log and what shows it; a second time changes nothing."""
        if self._log.is_open:
            self._settle()
        self._log.close(failed=failed)

    def for_open_clip(self, loss: Any, *, accumulate: int = 1) -> Any:
        """The loss, which from now on tells this watch each batch: `loss = watch.for_open_clip(create_loss(args))`.

        Parameters
        ----------
        loss : Module or callable
            Called with image_features, text_features and logit_scale, as `open_clip.ClipLoss` is. A module is the
            same one, with a hook.
        accumulate : int
            Calls a step: `--accum-freq` of open_clip's trainer.
        """
        from geomclip.training.watching.inside.open_clip import watched_loss

        return watched_loss(self, loss, accumulate)

    def for_transformers(self, rows: Callable[[Any], Any] | None = None) -> Any:
        """A callback for the Trainer of transformers: `Trainer(..., callbacks=[watch.for_transformers()])`.

        Parameters
        ----------
        rows : callable, optional
            From the output of the model to (image rows, text rows). Left out: its image_embeds and text_embeds.
        """
        optional("transformers", "for_transformers", "hf")
        from geomclip.training.watching.inside.transformers import callback

        return callback(self, rows)

    def for_sentence_transformers(self, loss: Any) -> Any:
        """A callback for the trainer of sentence-transformers, given the loss that it trains with.

        The first two columns of the data are the pairs: `loss` says how many rows they have.
        """
        optional("sentence_transformers", "for_sentence_transformers", "st")
        from geomclip.training.watching.inside.sentence_transformers import callback

        return callback(self, loss)

    def for_lightning(self, rows: Callable[[Any], Any] | None = None) -> Any:
        """A callback for Lightning: `Trainer(callbacks=[watch.for_lightning()])`.

        Parameters
        ----------
        rows : callable, optional
            From what the model (or `training_step`) returns to (image rows, text rows). Left out: image_embeds and
            text_embeds, or image_features and text_features, of either.
        """
        from geomclip.training.watching.inside.lightning import callback

        return callback(self, rows)

    def _open(self, done: int) -> None:
        """Go on behind this many steps, with what the alarms had seen until then; nothing is told again."""
        if self._samples is not None and self._look is None:
            raise InputError("a probe needs encode=, a function of (images, texts) or a model; probe=None has no looks")
        for record in self._log.open(done):
            step = step_of(record)
            if "batch" in record:
                self._judge(step, record["batch"])
            elif "probe" in record and "step" in record:
                self._judge_probe(step, record["probe"])
                self.probe = record["probe"] if step == done else self.probe
            elif "warning" in record:
                self._alarms.told.add(record["warning"])
                self.warnings.append(record["note"])
        self._done = done

    def _settle(self) -> None:
        """Measure the batch that waits."""
        batch, self._waiting = self._waiting, None
        if batch is None:
            return
        if batch.copied is not None:
            batch.copied.synchronize()
        image, text = batch.image.float(), batch.text.float()
        values: dict[str, float] = {"rows": batch.size, **estimates(image, text)}
        if batch.logit_scale is not None:
            scale = float(batch.logit_scale)
            values |= {"logit_scale": scale, "temperature": 1 / scale if scale else math.inf}
        if batch.logit_bias is not None:
            values["logit_bias"] = float(batch.logit_bias)
        self.batch = values
        self._log.write({"step": batch.step, "batch": values})
        alarms = self._not_finite(image, text, f"batch of step {batch.step}")
        self._warn(batch.step, [*alarms, *self._judge(batch.step, values)])

    def _look_at(self, step: int) -> None:
        assert self._samples is not None
        assert self._look is not None
        image, text = self._look.rows(self._samples)
        self.probe = probed(image, text)
        self._log.write({"step": step, "probe": self.probe})
        self._warn(step, [*self._not_finite(image, text, "probe"), *self._judge_probe(step, self.probe)])

    def _judge(self, step: int, values: Mapping[str, Any]) -> list[Alarm]:
        found = self._alarms.space(BATCH, step, values, values["rows"])
        if "logit_scale" in values:
            scale = values["logit_scale"]
            known = math.nan if scale is None else scale
            found += self._alarms.scale(step, known, bounded="logit_bias" not in values)
        return found

    def _judge_probe(self, step: int, values: Mapping[str, float | None]) -> list[Alarm]:
        return self._alarms.space(PROBE, step, values, 0 if self._samples is None else len(self._samples))

    def _not_finite(self, image: Tensor, text: Tensor, where: str) -> list[Alarm]:
        sides = [SIDES[side] for side, rows in (("image", image), ("text", text)) if not torch.isfinite(rows).all()]
        return [alarm for side in sides for alarm in self._alarms.not_finite(side, where)]

    def _warn(self, step: int, alarms: list[Alarm]) -> None:
        for alarm in alarms:
            line = f"step {step}: {alarm.text}"
            self.warnings.append(line)
            self._log.write({"step": step, "warning": alarm.key, "note": line})
            warnings.warn(line, stacklevel=4)


def _is_first() -> bool:
    """Whether this process writes: the first of those that train together, however they were started."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    return not is_follower() and os.environ.get("LOCAL_RANK", "0") == "0"
