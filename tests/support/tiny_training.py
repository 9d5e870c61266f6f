"""A tiny dual encoder and batches of noise, for tests of the trainer."""

from __future__ import annotations

from typing import Any

import torch
from tiny_models import CONFIG
from torch import nn

from geomclip.encoders import towers
from geomclip.training.batches import Batch
from geomclip.training.methods import METHODS
from geomclip.training.objective import method_objective
from geomclip.training.preservation import preserving
from geomclip.training.seeds import generator
from geomclip.training.settings import Settings
from geomclip.training.trainer import Trainer

SMALL: dict[str, Any] = {
    **CONFIG,
    "text_cfg": {"context_length": 6, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


def tiny_module(seed: int = 0, **config: Any) -> nn.Module:
    """Towers of a few thousand weights in float32."""
    return towers.build({**SMALL, **config}, {}, seed=seed, where="tiny")


class NoiseBatches:
    """Batches of noise, `rows` pairs each; process `rank` of `count` sees its part."""

    steps_per_epoch = 4

    def __init__(self, rows: int = 8, *, seed: int = 0, rank: int = 0, count: int = 1) -> None:
        self.rows, self.seed, self.rank, self.count = rows, seed, rank, count

    def batch(self, step: int) -> Batch:
        """The same for the same step."""
        draw = generator(self.seed, "noise", step)
        pixels = torch.randn(self.rows, 3, 32, 32, generator=draw)
        tokens = torch.randint(1, 62, (self.rows, 6), generator=draw)
        tokens[:, -1] = 63  # the end of a text has the highest number
        share = self.rows // self.count
        own = slice(self.rank * share, (self.rank + 1) * share)
        return Batch(pixels[own], tokens[own], tuple((i, 0) for i in range(self.rows))[own])


def tiny_settings(method: str = "ft", **changes: Any) -> Settings:
    """Settings that move a tiny model visibly."""
    defaults = {"precision": "fp32", "lr": 1e-3, "warmup": 0.0, "epochs": 2, "batch_size": 8, "probe_every": 0}
    return Settings(**{**defaults, **METHODS[method].defaults, **changes, "method": method})


def tiny_trainer(
    method: str = "ft",
    *,
    module: nn.Module | None = None,
    batches: Any = None,
    steps: int = 8,
    processes: Any = None,
    **changes: Any,
) -> Trainer:
    """A trainer of a fresh tiny model on noise."""
    settings = tiny_settings(method, **changes)
    objective = method_objective(METHODS[method], settings)
    return Trainer(
        tiny_module() if module is None else module,
        settings=settings,
        objective=preserving(objective, settings.preserve) if settings.preserve else objective,
        batches=NoiseBatches() if batches is None else batches,
        steps=steps,
        processes=processes,
        heads_first=METHODS[method].heads_first,
    )


def gradients(trainer: Trainer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Gradients of the first step by name, before clipping; and what the log says of the step."""
    kept = {}
    step = trainer.optimizer.step

    def keep(*args: Any, **more: Any) -> Any:
        kept.update({name: p.grad.clone() for name, p in trainer.named.items() if p.grad is not None})
        return step(*args, **more)

    trainer.optimizer.step = keep  # type: ignore[method-assign]
    record = trainer.step()
    return kept, record


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    """A copy of all weights, as they are now."""
    return {name: value.clone() for name, value in trainer.module.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether both have the same names and bits."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def off(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Largest difference relative to the largest gradient of a tensor."""
    return max(float((one[name] - other[name]).abs().max() / one[name].abs().max().clamp_min(1e-6)) for name in one)
