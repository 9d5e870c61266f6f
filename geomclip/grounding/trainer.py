"""GroundingTrainer: a model, an objective and annotated videos; each step is a function of the seed and its number."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geomclip.grounding.model import GroundingModel
from geomclip.grounding.objective import Batch, Loss, Objective, batch_of, method_named, start_at_encoder
from geomclip.grounding.record import Clips, Moment, Query
from geomclip.grounding.scores import Scores, best_moments, score
from geomclip.grounding.settings import GroundingSettings
from geomclip.machine.errors import InputError
from geomclip.machine.words import option
from geomclip.training.loop import NotFinite
from geomclip.training.processes import Processes
from geomclip.training.seeds import generator
from geomclip.training.trainer import learning_rate_factor

STARTING = 256
"""Videos by whose cosines a gate starts: about 500 sentences with 136 moments each settle two numbers."""

TOGETHER = 64
"""Videos that are answered at a time."""

SHOWN = 5
"""Videos that a message names."""


@dataclass(frozen=True, eq=False)
class Annotated:
    """Videos with their sentences, ready to be learned from or answered."""

    clips: Tensor  # (V, T, d)
    texts: Tensor  # (Q, d')
    owner: Tensor  # (Q,) int64: the video of each sentence
    queries: tuple[Query, ...]  # of each row of texts

    def __len__(self) -> int:
        return len(self.clips)

    def of(self, videos: Tensor) -> tuple[Tensor, Tensor]:
        """The sentences of some videos, and the place of each one's video among those: (Q,) each."""
        place = torch.full((len(self),), -1).scatter(0, videos, torch.arange(len(videos)))
        chosen = (place[self.owner] >= 0).nonzero()[:, 0]
        chosen = chosen[place[self.owner[chosen]].argsort(stable=True)]
        return chosen, place[self.owner[chosen]]

    def fingerprint(self) -> str:
        """A sha256 of all of it: the same data make the same."""
        digest = hashlib.sha256(repr(self.queries).encode())
        for rows in (self.clips, self.texts):
            digest.update(rows.contiguous().numpy().tobytes())
        return digest.hexdigest()


def annotated(queries: Sequence[Query], clips: Iterable[Clips], texts: Tensor) -> Annotated:
    """Queries with the clips of their videos and the rows of their sentences, checked.

    Parameters
    ----------
    queries : sequence of Query
    clips : iterable of Clips
        Of every video that a query names; others are left out.
    texts : Tensor of shape (Q, d')
        Row i is the sentence of query i.

    Raises
    ------
    InputError
        If there is no query, a video has no clips, rows are not finite, or widths or numbers of clips differ.
    """
    if not queries:
        raise InputError("no query: there is nothing to learn or to score")
    wanted = list(dict.fromkeys(query.video for query in queries))
    found = {each.video: each.rows for each in clips}
    absent = [video for video in wanted if video not in found]
    if absent:
        named = ", ".join(absent[:SHOWN]) + (", ..." if len(absent) > SHOWN else "")
        raise InputError(f"{len(absent)} of {len(wanted)} annotated videos have no features: {named}")
    first = found[wanted[0]]
    for video in wanted:
        rows = found[video]
        if rows.ndim != 2 or rows.shape != first.shape:
            there, here = tuple(first.shape), tuple(rows.shape)
            raise InputError(f"features of {video} are {here}, those of {wanted[0]} {there}: (clips, width) must agree")
        if not torch.isfinite(rows).all():
            place = int((~torch.isfinite(rows)).any(1).int().argmax())
            raise InputError(f"features of {video} hold NaN or infinity in clip {place}")
    if len(texts) != len(queries):
        raise ValueError(f"{len(texts)} rows of sentences for {len(queries)} queries")
    number = {video: place for place, video in enumerate(wanted)}
    owner = torch.tensor([number[query.video] for query in queries])
    return Annotated(torch.stack([found[video] for video in wanted]).float(), texts.float(), owner, tuple(queries))


@torch.no_grad()
def answers(
    model: GroundingModel, data: Annotated, *, most: int = 5, threshold: float = 0.5
) -> list[tuple[Moment, ...]]:
    """The best moments of each query's video, in the order of the queries; the model is in eval mode."""
    found: dict[int, tuple[Moment, ...]] = {}
    for videos in torch.arange(len(data)).split(TOGETHER):
        chosen, owner = data.of(videos)
        scores = model(data.clips[videos], data.texts[chosen], owner).scores()
        for place, of_query in zip(chosen.tolist(), scores, strict=True):
            duration = data.queries[place].duration
            found[place] = best_moments(model.proposals, of_query, duration, most=most, threshold=threshold)
    return [found[place] for place in range(len(data.queries))]


@dataclass(frozen=True, eq=False)
class HeldOutVideos:
    """What decides which weights are best: the mean overlap of the first moment, on videos not trained on."""

    data: Annotated

    def scores(self, module: nn.Module) -> Scores:
        """All scores of a model."""
        assert isinstance(module, GroundingModel)
        return score(answers(module, self.data), self.data.queries)

    def __call__(self, module: nn.Module, *, device: str) -> dict[str, float]:
        """Means of a model."""
        return self.scores(module).values

    def score(self, values: dict[str, float]) -> float:
        """mIoU."""
        return values["mIoU"]


class GroundingTrainer:
    """The state of a run of grounding, and one step of it: what `geomclip.training.loop.train` drives.

    Parameters
    ----------
    model : GroundingModel
        Trained in place.
    settings : GroundingSettings
    data : Annotated
        Sentences that are said of one video more than once are one query each (`objective.merged`).
    """

    def __init__(self, model: GroundingModel, *, settings: GroundingSettings, data: Annotated) -> None:
        self.model, self.settings, self.data = model, settings, data
        self.processes = Processes()
        self.objective = Objective(method_named(settings.method), settings.options())
        self.steps_per_epoch = max(1, len(data) // settings.batch_size)
        self.steps = min(self.steps_per_epoch * settings.epochs, settings.steps or 10**12)
        self.named = dict(model.named_parameters())
        self.optimizer = torch.optim.AdamW(
            self.named.values(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True
        )
        self.done = 0
        drawn = torch.randperm(len(data), generator=generator(settings.seed, "starting"))[:STARTING]
        start_at_encoder(model.eval(), self._made(drawn), self.objective.options)

    @property
    def epoch(self) -> int:
        """The epoch of the next step, counted from 0."""
        return self.done // self.steps_per_epoch

    def step(self) -> dict[str, Any]:
        """One batch, one update; what the log says of it.

        Raises
        ------
        NotFinite
            If the loss or a gradient is not finite; the weights are then those of before the step.
        """
        settings, step, epoch = self.settings, self.done, self.epoch
        batch = self._batch(step)
        rate = settings.lr * learning_rate_factor(step, self.steps, warmup=round(settings.warmup * self.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        self.optimizer.zero_grad()
        rows = self.model(batch.clips, batch.texts, batch.owner)
        loss = self.objective(rows, batch, generator=generator(settings.seed, "coalitions", step))
        loss.total.backward()
        length = nn.utils.get_total_norm([each.grad for each in self.named.values() if each.grad is not None])
        total, norm = float(loss.total.detach()), float(length)
        if not (math.isfinite(total) and math.isfinite(norm)):
            self.optimizer.zero_grad()
            raise NotFinite(_what_failed(loss, norm))
        if settings.clip_norm and norm > settings.clip_norm:
            nn.utils.clip_grads_with_norm_(list(self.named.values()), settings.clip_norm, length)
        self.optimizer.step()
        self.done += 1
        return {
            "step": self.done,
            "epoch": epoch,
            "loss": total,
            "terms": {name: float(value.detach()) for name, value in loss.terms.items()},
            "lr": rate,
            "grad_norm": norm,
            "pairs": len(batch),
        }

    def plain(self) -> nn.Module:
        """The model as it would be used now, in eval mode; it shares its weights with the trainer's."""
        return self.model.eval()

    def glimpse(self) -> nn.Module:
        """The same."""
        return self.plain()

    def causes(self) -> list[str]:
        """What is likely to have made a loss infinite, the likeliest first, each with its remedy."""
        causes = []
        if self.settings.lr > 1e-4:
            lower = option("lr", float(f"{self.settings.lr / 10:g}"))
            causes.append(f"the learning rate {self.settings.lr:g} is high (try {lower})")
        if not self.settings.clip_norm:
            causes.append(f"gradients are not clipped (try {option('clip_norm', 1)})")
        return causes

    def state(self) -> dict[str, dict[str, Tensor]]:
        """All tensors that a run goes on with: `model` and `optimizer`."""
        names = {id(parameter): name for name, parameter in self.named.items()}
        moments = {
            f"{key}/{names[id(parameter)]}": value
            for parameter, kept in self.optimizer.state.items()
            for key, value in kept.items()
        }
        return {"model": dict(self.model.state_dict()), "optimizer": moments}

    def load(self, state: Mapping[str, Mapping[str, Tensor]], *, done: int) -> None:
        """Go on after `done` steps, where `state` was taken."""
        self.model.load_state_dict(state["model"])
        self.optimizer.state.clear()
        for place, value in state["optimizer"].items():
            key, name = place.split("/", 1)
            self.optimizer.state[self.named[name]][key] = value.clone()
        self.done = done

    def _batch(self, step: int) -> Batch:
        """The videos of a step: each epoch shows every video once, in an order of its own, but for a last part."""
        epoch, within = divmod(step, self.steps_per_epoch)
        order = torch.randperm(len(self.data), generator=generator(self.settings.seed, "order", epoch))
        size = self.settings.batch_size
        return self._made(order[within * size : (within + 1) * size])

    def _made(self, videos: Tensor) -> Batch:
        data, (chosen, owner) = self.data, self.data.of(videos)
        queries = [data.queries[place] for place in chosen.tolist()]
        least = self.objective.options.least
        return batch_of(data.clips[videos], data.texts[chosen], owner, queries, self.model.proposals, least=least)


def _what_failed(loss: Loss, norm: float) -> str:
    bad = [name for name, value in loss.terms.items() if not math.isfinite(float(value.detach()))]
    if bad:
        return f"the loss is not finite ({', '.join(bad)})"
    return f"the loss is finite, its gradient is not (norm {norm})"
