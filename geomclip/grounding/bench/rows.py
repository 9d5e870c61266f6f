"""The rows of the benchmark: what is free, what is trained, and the oracle that knows the planted repeats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from geomclip.grounding.bench.bank import Bank
from geomclip.grounding.bench.composer import Videos, compose
from geomclip.grounding.methods import Options, method_named
from geomclip.grounding.model import Architecture, GroundingModel
from geomclip.grounding.moments import Proposals, overlap, proposals
from geomclip.grounding.objective import Batch, Objective, start_at_encoder
from geomclip.grounding.record import Moment, Query
from geomclip.grounding.scores import best_fixed, best_moments, blind, map_oracle, random_proposal
from geomclip.training.seeds import generator
from geomclip.training.trainer import learning_rate_factor

CALIBRATED = 128
"""Videos of train by whose cosines the gate starts."""


@dataclass(frozen=True)
class Row:
    """One row of the table.

    `method` is what is trained (`geomclip.grounding.methods.METHODS`, or "released"), "" for rows that are free;
    `preset` the heads of the model. An oracle row takes the planted repeats out of the negatives. A row that is blind
    gets the same sentence always.
    """

    name: str
    title: str
    method: str = ""
    preset: str = "encoder"
    oracle: bool = False
    blind: bool = False

    @property
    def free(self) -> bool:
        """Whether nothing is trained."""
        return not self.method

    @property
    def has_doses(self) -> bool:
        """Whether the dose of train changes it."""
        return not self.free and not self.blind


ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        Row("random", "random proposal"),
        Row("fixed", "best fixed proposal of train"),
        Row("sentence", "the sentence alone"),
        Row("video", "the video alone: base, blind to the sentence", "base", blind=True),
        Row("map", "the best proposal of the map"),
        Row("zero-shot", "zero-shot: mean of a moment's clips against the sentence"),
        Row("base", "base: MMN's losses on the encoder's rows", "base"),
        Row("geodesic", "base with geodesic positives", "geodesic"),
        Row("shapley", "base and sampled Shapley interaction", "shapley"),
        Row("g2l", "both", "g2l"),
        Row("pair-removal", "base and removal of pairs", "pair-removal"),
        Row("oracle", "base, the planted repeats no negatives", "base", oracle=True),
        Row("mmn", "base, heads drawn at random as MMN's", "base", preset="mmn"),
        Row("released", "G2L's losses as released, heads drawn at random", "released", preset="released"),
    )
}
FREE = tuple(name for name, row in ROWS.items() if row.free)
COMPARED = ("geodesic", "shapley", "g2l", "pair-removal", "oracle")
"""Rows whose difference from base is what the benchmark is about; they have the same heads and starting weights."""


@dataclass(frozen=True)
class Sizes:
    """How much is composed, and how it is trained on."""

    clips: int = 16
    train: int = 800
    val: int = 150
    test: int = 300
    steps: int = 200
    batch_size: int = 16
    width: int = 48
    layers: int = 2
    kernel: int = 3
    lr: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 1e-2
    clip_norm: float = 1.0


@dataclass(frozen=True, eq=False)
class Setting:
    """Videos of one seed and dose, and of the test that all share."""

    bank: Bank
    sizes: Sizes
    seed: int
    dose: float
    repeated: float
    test_seed: int

    @cached_property
    def every(self) -> Proposals:
        """The moments that are proposed."""
        return proposals(self.sizes.clips)

    @cached_property
    def train(self) -> Videos:
        """Of this seed and dose."""
        sizes = self.sizes
        how = {"dose": self.dose, "repeated": self.repeated}
        return compose(self.bank, "train", sizes.train, seed=self.seed, clips=sizes.clips, **how)

    @cached_property
    def val(self) -> Videos:
        """The same for all seeds."""
        return compose(self.bank, "val", self.sizes.val, seed=self.test_seed, clips=self.sizes.clips)

    @cached_property
    def test(self) -> Videos:
        """The same for all seeds."""
        return compose(self.bank, "test", self.sizes.test, seed=self.test_seed, clips=self.sizes.clips)

    def texts(self, videos: Videos, row: Row) -> Tensor:
        """The sentences' rows (Q, d), or for a row that is blind to them their mean in train."""
        texts = self.bank.texts[videos.text]
        if not row.blind:
            return texts
        mean = torch.nn.functional.normalize(self.bank.texts[self.train.text].mean(0), dim=0)
        return mean.expand_as(texts)


Found = list[tuple[Moment, ...]]


def free_answers(row: Row, setting: Setting, videos: Videos) -> Found:
    """What a row answers that is not trained, the best moment first."""
    queries, every = videos.queries(setting.bank), setting.every
    learned = setting.train.queries(setting.bank) if row.name in ("fixed", "sentence") else []
    if row.name == "random":
        return random_proposal(queries, every, generator=generator(setting.seed, "random proposals"))
    if row.name == "fixed":
        return best_fixed(learned, queries, every)
    if row.name == "sentence":
        known, asked = (setting.texts(each, row) for each in (setting.train, videos))
        return blind(learned, known, queries, asked, every)
    if row.name == "map":
        return map_oracle(queries, every)
    moments, sentences = zero_shot(setting, videos)
    return answers(torch.einsum("qd,qnd->qn", sentences, moments[videos.owner]), queries, every)


def zero_shot(setting: Setting, videos: Videos) -> tuple[Tensor, Tensor]:
    """The encoder's own rows: of moments (B, N, d), the mean of their clips, and of sentences (Q, d)."""
    moments = torch.nn.functional.normalize(setting.every.means(videos.clips), dim=-1)
    return moments, setting.bank.texts[videos.text]


def answers(scores: Tensor, queries: list[Query], every: Proposals) -> Found:
    """The best moments of scores (Q, N)."""
    return [best_moments(every, own, query.duration) for own, query in zip(scores, queries, strict=True)]


def trained(row: Row, setting: Setting, *, device: str = "cpu") -> GroundingModel:
    """The model of a row after its steps; one seed gives all rows of one preset the same start and batches."""
    sizes, bank = setting.sizes, setting.bank
    shape = Architecture(
        bank.dim,
        bank.dim,
        clips=sizes.clips,
        width=sizes.width,
        layers=sizes.layers,
        kernel=sizes.kernel,
        preset=row.preset,
    )
    model = GroundingModel(shape, generator=generator(setting.seed, "weights")).to(device).train()
    batches, options = Batches(row, setting, device), Options()
    objective = Objective(method_named(row.method), options)
    start_at_encoder(model, batches.of(range(min(CALIBRATED, len(setting.train)))), options)
    optimizer = torch.optim.AdamW(model.parameters(), lr=sizes.lr, weight_decay=sizes.weight_decay)
    for step, chosen in enumerate(batches.chosen()):
        for group in optimizer.param_groups:
            group["lr"] = sizes.lr * learning_rate_factor(step, sizes.steps, warmup=round(sizes.warmup * sizes.steps))
        batch = batches.of(chosen)
        rows = model(batch.clips, batch.texts, batch.owner)
        loss = objective(rows, batch, generator=generator(setting.seed, "coalitions", step)).total
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), sizes.clip_norm)
        optimizer.step()
    return model.eval()


def repeats_of(videos: Videos, every: Proposals, *, least: float = 0.5) -> Tensor:
    """Which moments overlap an unannotated repeat of what each query describes, by `least`: (Q, N) bool."""
    found = torch.zeros(len(videos.text), len(every), dtype=torch.bool)
    for query, spans in enumerate(videos.repeats):
        if len(spans):
            found[query] = (overlap(spans, every.spans) >= least).any(0)
    return found


class Batches:
    """The batches of a run: epochs of shuffled videos, each with its queries."""

    def __init__(self, row: Row, setting: Setting, device: str) -> None:
        videos, every = setting.train, setting.every
        found = overlap(videos.spans, every.spans)
        self.setting, self.device, self.videos = setting, device, videos
        self.texts, self.overlaps, self.best = setting.texts(videos, row), found.float(), found.argmax(1)
        self.repeats = repeats_of(videos, every) if row.oracle else None
        self.of_video: list[list[int]] = [[] for _ in range(len(videos))]
        for query, video in enumerate(videos.owner.tolist()):
            self.of_video[video].append(query)

    def chosen(self) -> Iterator[list[int]]:
        """The videos of each step."""
        sizes, epoch = self.setting.sizes, 0
        order: list[int] = []
        for _ in range(sizes.steps):
            while len(order) < sizes.batch_size:
                shuffled = torch.randperm(len(self.videos), generator=generator(self.setting.seed, "order", epoch))
                order, epoch = order + shuffled.tolist(), epoch + 1
            chosen, order = order[: sizes.batch_size], order[sizes.batch_size :]
            yield chosen

    def of(self, chosen: Sequence[int]) -> Batch:
        """The batch of some videos."""
        device = self.device
        queries = torch.tensor([query for video in chosen for query in self.of_video[video]])
        owner = torch.tensor([place for place, video in enumerate(chosen) for _ in self.of_video[video]])
        allowed = None
        if self.repeats is not None:
            allowed = torch.ones(len(queries), len(chosen), self.repeats.shape[1], dtype=torch.bool)
            allowed[torch.arange(len(queries)), owner] = ~self.repeats[queries]
            allowed = allowed.to(device)
        return Batch(
            clips=self.videos.clips[list(chosen)].to(device),
            texts=self.texts[queries].to(device),
            owner=owner.to(device),
            overlaps=self.overlaps[queries].to(device),
            pair_sentence=torch.arange(len(queries), device=device),
            pair_moment=self.best[queries].to(device),
            same=torch.eye(len(queries), dtype=torch.bool, device=device),
            allowed=allowed,
        )
