"""The rows of the benchmark: what is free, what is trained, and the oracle that knows the planted repeats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from geomclip.grounding.bench.bank import Bank
from geomclip.grounding.bench.composer import Videos, compose
from geomclip.grounding.model import Architecture, GroundingModel, Rows
from geomclip.grounding.moments import Proposals, overlap, proposals
from geomclip.grounding.objective import Batch, Objective, method_named
from geomclip.grounding.record import Moment, Query
from geomclip.grounding.scores import best_fixed, best_moments, blind, map_oracle, random_proposal
from geomclip.training.seeds import generator

NEVER = -30.0
"""A gate's logit that says no for certain: a moment with it and no overlap adds nothing to the loss."""


@dataclass(frozen=True)
class Row:
    """One row of the table.

    `method` is what is trained (`geomclip.grounding.objective.METHODS`), "" for rows that are free; `preset` the
    heads of the model. An oracle row takes the planted repeats out of the negatives. A row that is blind to the
    sentence gets the same one always.
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
    weight_decay: float = 1e-2
    clip_norm: float = 5.0


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
    objective = Objective(method_named(row.method))
    optimizer = torch.optim.AdamW(model.parameters(), lr=sizes.lr, weight_decay=sizes.weight_decay)
    for batch in _batches(row, setting, device):
        rows = model(batch.clips, batch.texts, batch.owner)
        loss = objective(without_repeats(rows, batch) if row.oracle else rows, batch).total
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), sizes.clip_norm)
        optimizer.step()
    return model.eval()


def without_repeats(rows: Rows, batch: Batch) -> Rows:
    """The rows with the gates of moments that may be no negatives held at no, where they cost and teach nothing."""
    assert batch.allowed is not None
    own = batch.allowed[torch.arange(len(batch)), batch.owner]
    return replace(rows, gates=rows.gates.masked_fill(~own, NEVER))


def repeats_of(videos: Videos, every: Proposals, *, least: float = 0.5) -> Tensor:
    """Which moments overlap an unannotated repeat of what each query describes, by `least`: (Q, N) bool."""
    found = torch.zeros(len(videos.text), len(every), dtype=torch.bool)
    for query, spans in enumerate(videos.repeats):
        if len(spans):
            found[query] = (overlap(spans, every.spans) >= least).any(0)
    return found


def _batches(row: Row, setting: Setting, device: str) -> Iterator[Batch]:
    """The batches of a run: epochs of shuffled videos, a query count a video."""
    videos, sizes, every = setting.train, setting.sizes, setting.every
    texts, overlaps = setting.texts(videos, row), overlap(videos.spans, every.spans).float()
    best = overlap(videos.spans, every.spans).argmax(1)
    repeats = repeats_of(videos, every)
    of_video: list[list[int]] = [[] for _ in range(len(videos))]
    for query, video in enumerate(videos.owner.tolist()):
        of_video[video].append(query)
    order: list[int] = []
    epoch = 0
    for _ in range(sizes.steps):
        if len(order) < sizes.batch_size:
            order += torch.randperm(len(videos), generator=generator(setting.seed, "order", epoch)).tolist()
            epoch += 1
        chosen, order = order[: sizes.batch_size], order[sizes.batch_size :]
        queries = torch.tensor([query for video in chosen for query in of_video[video]])
        owner = torch.tensor([place for place, video in enumerate(chosen) for _ in of_video[video]])
        allowed = None
        if row.oracle:
            allowed = torch.ones(len(queries), len(chosen), len(every), dtype=torch.bool)
            allowed[torch.arange(len(queries)), owner] = ~repeats[queries]
            allowed = allowed.to(device)
        yield Batch(
            clips=videos.clips[chosen].to(device),
            texts=texts[queries].to(device),
            owner=owner.to(device),
            overlaps=overlaps[queries].to(device),
            pair_sentence=torch.arange(len(queries), device=device),
            pair_moment=best[queries].to(device),
            same=torch.eye(len(queries), dtype=torch.bool, device=device),
            allowed=allowed,
        )
