"""Trainer: two towers, an objective and batches; one step after another, each a function of the seed and its number.

One class, as its parts share one state: the weights, their bf16 copy, the optimiser, the average. What knows nothing
of that stands apart: gradients of a divided batch, precision, the objective.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from geomclip.machine.errors import InputError
from geomclip.machine.words import option
from geomclip.training.activations import checkpoint_activations
from geomclip.training.attention import kernel, quicken
from geomclip.training.batches import Batch, Batches
from geomclip.training.captions import check_captioned, mean_of_tokens, rows_and_captions, tokens_predicted
from geomclip.training.gradients import differentiated, divided
from geomclip.training.loop import NotFinite
from geomclip.training.memory import kept_of_a_pair
from geomclip.training.objective import Features, Loss, Objective, Preserved
from geomclip.training.parameters import (
    freeze_statistics,
    has_moving_statistics,
    head_names,
    lock,
    parameter_groups,
    train_only,
    unfreeze,
)
from geomclip.training.precision import choose_training_precision, in_bf16
from geomclip.training.preservation import Base, unit_rows
from geomclip.training.processes import Processes
from geomclip.training.seeds import derived
from geomclip.training.settings import MAX_LOGIT_SCALE, Settings


class Trainer:
    """The state of a run, and one step of it.

    Parameters
    ----------
    module : nn.Module
        open_clip's towers; they are trained in place, in float32.
    settings : Settings
    objective : Objective
    batches : Batches
    steps : int
        Of the whole run, for the learning rate.
    processes : Processes
    heads_first : float
        Share of the steps in which only the projection heads are trained (LP-FT).
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        settings: Settings,
        objective: Objective,
        batches: Batches,
        steps: int,
        processes: Processes | None = None,
        heads_first: float = 0.0,
    ) -> None:
        self.settings, self.objective, self.batches, self.steps = settings, objective, batches, steps
        self.processes = processes or Processes()
        self.module = module.to(settings.device).float()
        check_captioned(self.module, settings)
        unfreeze(self.module, decoder=bool(settings.caption_weight))
        self.heads_until = round(heads_first * steps)
        self._set_temperature()
        quicken(self.module)
        low = choose_training_precision(settings) == "bf16"
        self.base = None
        if settings.preserve:  # what adapters are put on is not written to: it needs no copy
            self.base = Base(in_bf16(self.module) if low else self.module, own=not (low or settings.lora))
        if settings.lora:
            from geomclip.training.lora import adapt

            draws = derived(settings.seed, "lora")
            with_heads = bool(self.heads_until)
            self.module = adapt(self.module, settings.lora, settings.lora_alpha, draws, with_heads=with_heads)
        if settings.lock:
            lock(self.module, settings.lock)
        if settings.grad_checkpointing:
            checkpoint_activations(self.module, training=settings.mode == "train")
        self._refuse_batch_statistics()
        self.named = {name: each for name, each in self.module.named_parameters() if each.requires_grad}
        self.heads = head_names(self.module) & set(self.named) if self.heads_until else set(self.named)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.module, settings),
            lr=settings.lr,
            betas=settings.betas,
            eps=settings.eps,
            fused=True,
        )
        self.average = copy.deepcopy(self.module).requires_grad_(False) if settings.ema else None
        self.worker = self.module
        if low:
            self.worker = in_bf16(self.module)
        self.encode: list[Callable[..., Any]] = [self.worker.encode_image, self.worker.encode_text]  # type: ignore[list-item]
        if settings.compile:
            self.encode = [torch.compile(each) for each in self.encode]
        self.done = 0

    @property
    def epoch(self) -> int:
        """The epoch of the next step, counted from 0."""
        return self.done // self.steps_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        """How many steps an epoch has."""
        return self.batches.steps_per_epoch

    def step(self) -> dict[str, Any]:
        """One batch, one update; what the log says of it.

        Raises
        ------
        NotFinite
            If the loss or a gradient is not finite; the weights are then those of before the step.
        """
        step, epoch = self.done, self.epoch
        batch = self.batches.batch(step)
        rate = self._prepare(step)
        with self._randomness(), kernel(self.worker, self.settings.device):
            loss = self._gradients(batch, step, epoch)
        length = self._reduce()
        # all that the host wants to know of the step, in one wait for the device
        numbers = [length, loss.total.detach(), *(value.detach() for value in loss.terms.values())]
        norm, total, *terms = torch.stack([each.double() for each in numbers]).tolist()
        if not (math.isfinite(total) and math.isfinite(norm)):
            self.optimizer.zero_grad()
            raise NotFinite(self._what_failed(loss, norm))
        if self.settings.clip_norm and norm > self.settings.clip_norm:
            nn.utils.clip_grads_with_norm_(list(self.named.values()), self.settings.clip_norm, length)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._after()
        self.done += 1
        return {
            "step": self.done,
            "epoch": epoch,
            "loss": total,
            "terms": dict(zip(loss.terms, terms, strict=True)),
            **{key: dict(values) for key, values in loss.drawn.items()},
            "temperature": 1 / self.logit_scale(),
            "lr": rate,
            "grad_norm": norm,
            "pairs": len(batch) * self.processes.count,
        }

    def kept_of_a_pair(self, pixels: Tensor, tokens: Tensor) -> int:
        """Bytes that a pass keeps of a pair for its gradients, by trial; 0 where only a trial of a whole batch tells.

        No weight, statistic or generator is another afterwards.

        Parameters
        ----------
        pixels : Tensor of shape (3, h, w)
        tokens : Tensor of shape (1, context)
            Of a short text.
        """
        if self.settings.compile:
            return 0
        most = Batch(pixels.repeat(3, 1, 1, 1), tokens.repeat(3, 1))

        def rows_of(count: int) -> tuple[Tensor, ...]:
            return self.rows(Batch(most.pixels[:count], most.tokens[:count]), 0, 0)

        self.worker.train(self.settings.mode == "train")
        freeze_statistics(self.worker)
        buffers = list(self.worker.buffers())
        before = [each.clone() for each in buffers]
        try:
            with self._randomness(), kernel(self.worker, self.settings.device):
                return kept_of_a_pair(rows_of, [most.pixels, most.tokens, *self.worker.parameters(), *buffers])
        except NotFinite:  # which the first step says with its likely cause
            return 0
        finally:
            for each, kept in zip(buffers, before, strict=True):
                each.copy_(kept)

    def logit_scale(self) -> float:
        """1/temperature as a factor, as it is now."""
        return float(self.module.logit_scale.detach().exp())  # type: ignore[operator]

    def causes(self) -> list[str]:
        """What is likely to have made a loss infinite, the likeliest first, each with its remedy."""
        settings, causes = self.settings, []
        if settings.lr > 1e-4 and settings.method != "lp-ft":
            lower = option("lr", float(f"{settings.lr / 10:g}"))
            causes.append(f"the learning rate {settings.lr:g} is high (try {lower})")
        if not settings.clip_norm:
            causes.append(f"gradients are not clipped (try {option('clip_norm', 1)})")
        if settings.precision in ("bf16", "auto"):
            causes.append(f"bf16 rounds coarsely (try {option('precision', 'fp32')})")
        if self.logit_scale() > 99:
            causes.append("the temperature is at its lower limit")
        return causes

    def glimpse(self) -> nn.Module:
        """The model as it is now, in the precision of the passes: enough to look at, and quicker than `plain`.

        In use until the next step, which renews it.
        """
        if self.worker is self.module:
            return self.plain()
        self._renew(self.module if self.average is None else self.average)
        return self.worker

    def plain(self) -> nn.Module:
        """The model as it would be used now: averaged if asked for, adapters merged, float32, in eval mode.

        It may share its weights with the trainer's.
        """
        module = self.average if self.average is not None else self.module
        if self.settings.lora:
            from geomclip.training.lora import merged

            module = merged(module)
        return module.eval()

    # ------------------------------------------------------------------------------------------- one step

    def _prepare(self, step: int) -> float:
        """Modes, frozen parts and learning rate of a step; the bf16 copy renewed. Returns the learning rate."""
        if self.heads_until:
            learning = self.heads if step < self.heads_until else set(self.named)
            for module in {id(each): each for each in (self.module, self.worker)}.values():
                train_only(module, learning)
        self.worker.train(self.settings.mode == "train")
        freeze_statistics(self.worker)
        rate = self.settings.lr * self._schedule(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_factor", 1.0)
        if self.worker is not self.module:
            self._renew(self.module)
        return rate

    def _renew(self, source: nn.Module) -> None:
        """The worker gets the weights of a module."""
        with torch.no_grad():
            torch._foreach_copy_(list(self.worker.parameters()), list(source.parameters()))

    def _schedule(self, step: int) -> float:
        """Linear warm-up, then a cosine to 0; once for the heads and once more for all in LP-FT."""
        first, last = (0, self.heads_until) if step < self.heads_until else (self.heads_until, self.steps)
        length = max(1, last - first)
        return learning_rate_factor(step - first, length, warmup=round(self.settings.warmup * length))

    def _gradients(self, batch: Batch, step: int, epoch: int) -> Loss:
        """Gradients of the joint batch's loss, added to `grad` of the worker's weights; of this process's rows."""
        scale = self.module.logit_scale.exp()  # type: ignore[operator]
        bias = getattr(self.module, "logit_bias", None)

        parts = divided(batch, self.settings.accum_freq)
        base = self.base.rows(parts, self.settings.device) if self.base is not None else ()

        def loss_of(image: Tensor, text: Tensor, *more: Tensor) -> Loss:
            lengths, caption = (more[:2], more[2:]) if base else ((), more)
            rows = self._joint(image, text)
            features = Features(
                image=rows[0],
                text=rows[1],
                scale=scale,
                bias=bias,
                caption=self._caption(caption[0], batch) if caption else None,
                preserved=Preserved(*(self._joint(*each) for each in (lengths, base[:2], base[2:]))) if base else None,
            )
            return self.objective(features, batch, step=step, epoch=epoch)

        return differentiated(parts, lambda number: self.rows(parts[number], step, number), loss_of)

    def _joint(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """What all processes have of images and of texts, of these one round after the other."""
        rounds = len(text) // len(image)
        return self.processes.gather(image), torch.cat([self.processes.gather(part) for part in text.chunk(rounds)])

    def _caption(self, losses: Tensor, batch: Batch) -> Tensor:
        """The loss of a token of the joint batch's captions, of the sums over each of this process's."""
        counts = tokens_predicted(self.worker, batch).to(losses.device)
        return mean_of_tokens(self.processes.gather(losses), self.processes.gather(counts))

    def rows(self, part: Batch, step: int, number: int) -> tuple[Tensor, ...]:
        """Unit rows, float32, of a part of the batch, their lengths before where a base is preserved, and the losses
        of its captions where these have a weight.

        What dropout draws depends on the place alone.
        """
        torch.manual_seed(derived(self.settings.seed, "dropout", step, self.processes.rank, number))
        pixels, tokens = (each.to(self.settings.device, non_blocking=True) for each in (part.pixels, part.tokens))
        # converted on the device: converting first would make a copy that is not pinned
        pixels = pixels.to(next(self.worker.parameters()).dtype)
        captions: list[Tensor] = []
        if self.settings.caption_weight:
            *encoded, losses = rows_and_captions(self.worker, pixels, tokens)
            captions.append(losses)
        else:
            encoded = [encode(inputs) for encode, inputs in zip(self.encode, (pixels, tokens), strict=True)]
        try:
            (image, text), lengths = zip(*map(unit_rows, encoded), strict=True)
        except ValueError as problem:
            raise NotFinite(f"the rows of the model are unusable: {problem}") from problem
        return (image, text, *(lengths if self.base is not None else ()), *captions)

    def _reduce(self) -> Tensor:
        """Gradients of the worker to the weights, summed over processes; their norm."""
        if self.worker is not self.module:
            for own, low in zip(self.module.parameters(), self.worker.parameters(), strict=True):
                if low.grad is not None:
                    own.grad = low.grad.float() if own.grad is None else own.grad + low.grad.float()
                    low.grad = None
        joint = {id(self.module.logit_scale), id(getattr(self.module, "logit_bias", None))}
        # each process differentiates the whole joint loss by the scale: that gradient is complete already
        gradients = [p.grad for p in self.named.values() if p.grad is not None and id(p) not in joint]
        self.processes.add_up(gradients)
        return nn.utils.get_total_norm([p.grad for p in self.named.values() if p.grad is not None])

    def _after(self) -> None:
        """What follows an update: the scale in its range, the average moved, statistics copied back."""
        with torch.no_grad():
            self.module.logit_scale.clamp_(0, math.log(MAX_LOGIT_SCALE))  # type: ignore[operator]
            if self.worker is not self.module:
                for own, low in zip(self.module.buffers(), self.worker.buffers(), strict=True):
                    own.copy_(low)
            if self.average is not None:
                keep = min(self.settings.ema, (1 + self.done) / (10 + self.done))
                torch._foreach_lerp_(
                    list(self.average.parameters()), [p.detach() for p in self.module.parameters()], 1 - keep
                )
                for kept, own in zip(self.average.buffers(), self.module.buffers(), strict=True):
                    kept.copy_(own)

    @contextmanager
    def _randomness(self) -> Iterator[None]:
        """The caller's generators are left as they were."""
        index = torch.device(self.settings.device)
        devices = [index.index or 0] if index.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            yield

    def _what_failed(self, loss: Loss, norm: float) -> str:
        bad = [name for name, value in loss.terms.items() if not math.isfinite(float(value.detach()))]
        if bad:
            return f"the loss is not finite ({', '.join(bad)})"
        if not math.isfinite(float(loss.total.detach())):
            return "the loss is not finite (the sum of its terms overflows)"
        return f"the loss is finite, its gradient is not (norm {norm})"

    # --------------------------------------------------------------------------------------- construction

    def _set_temperature(self) -> None:
        scale = self.module.logit_scale
        assert isinstance(scale, nn.Parameter)
        if self.settings.temperature is not None:
            with torch.no_grad():
                scale.fill_(math.log(1 / self.settings.temperature))
        scale.requires_grad_(self.settings.learn_temperature)

    def _refuse_batch_statistics(self) -> None:
        is_divided = self.settings.accum_freq > 1 or self.processes.count > 1
        if self.settings.mode == "train" and is_divided and has_moving_statistics(self.module):
            raise InputError(
                "batch normalisation sees each forward pass apart, so a divided batch is another loss: "
                f"train this model with {option('mode', 'eval')}, or without {option('accum_freq')} and in one process"
            )

    # ---------------------------------------------------------------------------------------------- state

    def state(self) -> dict[str, dict[str, Tensor]]:
        """All tensors that a run goes on with: `model`, `optimizer` and, if there is one, `average`."""
        moments: dict[str, Tensor] = {}
        names = {id(parameter): name for name, parameter in self.named.items()}
        for parameter, kept in self.optimizer.state.items():
            for key, value in kept.items():
                moments[f"{key}/{names[id(parameter)]}"] = value
        state = {"model": dict(self.module.state_dict()), "optimizer": moments}
        if self.average is not None:
            state["average"] = dict(self.average.state_dict())
        return state

    def load(self, state: Mapping[str, Mapping[str, Tensor]], *, done: int) -> None:
        """Go on after `done` steps, where `state` was taken."""
        self.module.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.state.clear()
        for place, value in state["optimizer"].items():
            key, name = place.split("/", 1)
            self.optimizer.state[self.named[name]][key] = value.to(self.settings.device, copy=True)
        if self.worker is not self.module:
            with torch.no_grad():
                for low, own in zip(self.worker.buffers(), self.module.buffers(), strict=True):
                    low.copy_(own)
        self.done = done


def learning_rate_factor(step: int, steps: int, *, warmup: int) -> float:
    """Share of the learning rate at a step counted from 0: linear from 1/warmup to 1, then a cosine to 0.

    Examples
    --------
    >>> [round(learning_rate_factor(step, 6, warmup=2), 3) for step in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
