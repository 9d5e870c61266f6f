"""What grounding minimises: the terms of a batch of videos and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from geomclip.embeddings.graphs import geodesic_distances
from geomclip.grounding.batch import Batch as Batch
from geomclip.grounding.batch import batch_of as batch_of
from geomclip.grounding.batch import merged as merged
from geomclip.grounding.batch import windows_of as windows_of
from geomclip.grounding.methods import METHODS as METHODS
from geomclip.grounding.methods import Method as Method
from geomclip.grounding.methods import Options as Options
from geomclip.grounding.methods import method_named as method_named
from geomclip.grounding.model import EncoderHeads, GroundingModel, Rows
from geomclip.grounding.released import geodesic_likeness, released_contrast, released_interaction
from geomclip.losses.geodesic import geodesic_weights, interaction_alignment, moment_contrastive
from geomclip.losses.interaction import draw_coalitions, pair_removal, sampled_interaction


def scaled(overlaps: Tensor, options: Options) -> Tensor:
    """Overlaps brought from `least` … `most` to 0 … 1: what the gate is to predict."""
    return ((overlaps - options.least) / (options.most - options.least)).clamp(0, 1)


@torch.no_grad()
def start_at_encoder(model: GroundingModel, batch: Batch, options: Options) -> None:
    """Set the gate of a model that starts at the encoder to what overlaps look like in its cosines; else nothing.

    The more videos the batch has, the better; the ranking of moments stays the encoder's own.
    """
    if isinstance(model.heads, EncoderHeads):
        rows = model(batch.clips, batch.texts, batch.owner)
        own = rows.cosines()[torch.arange(len(batch)), batch.owner]
        model.heads.calibrate(own.flatten(), scaled(batch.overlaps, options).flatten())


@dataclass(frozen=True)
class Loss:
    """What an objective makes of a batch."""

    total: Tensor  # 0-d, differentiable
    terms: Mapping[str, Tensor] = field(default_factory=dict)  # each 0-d, before its weight


class Objective:
    """A method's terms and their weighted sum."""

    def __init__(self, method: Method, options: Options | None = None) -> None:
        self.method, self.options = method, options or Options()

    def __call__(self, rows: Rows, batch: Batch, *, generator: torch.Generator | None = None) -> Loss:
        """The loss of a batch, and each of its terms; the generator draws coalitions, where a term needs some."""
        seen = Seen(rows, batch, self.options, generator)
        terms = {name: TERMS[name](seen) for name in self.method.terms}
        return Loss(sum_of([self.method.terms[name] * value for name, value in terms.items()]), terms)


def sum_of(values: Sequence[Tensor]) -> Tensor:
    """The sum of 0-d tensors."""
    return torch.stack(list(values)).sum()


@dataclass(frozen=True, eq=False)
class Seen:
    """What every term looks at."""

    rows: Rows
    batch: Batch
    options: Options
    generator: torch.Generator | None = None

    @cached_property
    def pair_video(self) -> Tensor:
        """The video of each pair: (P,)."""
        return self.batch.owner[self.batch.pair_sentence]

    @cached_property
    def distances(self) -> Tensor:
        """From the moment of each pair to all moments of its video, along the graph of moments: (P, N), radians.

        Infinite beyond three reaches, where a weight is 1e-4.
        """
        options, slot = self.options, place_within(self.pair_video)
        sources = slot.new_zeros(len(self.rows.moments), int(slot.max()) + 1)
        sources[self.pair_video, slot] = self.batch.pair_moment
        limit = 3 * options.reach
        found = geodesic_distances(self.rows.moments, k=options.neighbors, sources=sources, limit=limit)
        return found[self.pair_video, slot]

    @cached_property
    def nearest(self) -> Tensor:
        """From the nearest moment of each sentence to all moments of its video: (Q, N)."""
        shape = (len(self.batch), self.distances.shape[1])
        index = self.batch.pair_sentence[:, None].expand_as(self.distances)
        return self.distances.new_full(shape, torch.inf).scatter_reduce(0, index, self.distances, "amin")

    @cached_property
    def likeness(self) -> Tensor:
        """As the released code of G2L has it: (P, N)."""
        return geodesic_likeness(self.rows, self.batch)

    @cached_property
    def game(self) -> Game:
        """The players of each video: its sentences and, each once, the moments nearest to what a sentence names."""
        batch, options, slot = self.batch, self.options, place_within(self.batch.owner)
        videos, n = self.rows.moments.shape[:2]
        near = self.nearest.topk(min(options.players, n), largest=False)
        counts = self.nearest.new_zeros(videos, n)
        counts.index_put_((batch.owner[:, None], near.indices), near.values.isfinite().to(counts), accumulate=True)
        present = (counts > 0).byte()
        moments = present.topk(int(present.sum(1).max())).indices  # (B, M)
        sentences = slot.new_zeros(videos, int(slot.max()) + 1)
        there = torch.zeros_like(sentences, dtype=torch.bool)
        sentences[batch.owner, slot], there[batch.owner, slot] = torch.arange(len(batch), device=slot.device), True
        cosines = self.rows.own[sentences[:, :, None], moments[:, None]]  # (B, S, M)
        return Game(cosines / options.temperature, there, present.gather(1, moments).bool())

    def by_pair(self, weights: Tensor | None) -> Tensor:
        """`moment_contrastive` of the sentence and the moment of each pair: (P,)."""
        rows, batch, options, sentence = self.rows, self.batch, self.options, self.batch.pair_sentence
        return moment_contrastive(
            rows.moments,
            rows.sentences[sentence],
            self.pair_video,
            batch.pair_moment,
            batch.overlaps[sentence],
            weights,
            temperature=options.temperature,
            margin=options.margin,
            least=options.least,
            most=options.positives,
            allowed=None if batch.allowed is None else batch.allowed[sentence],
        )


@dataclass(frozen=True, eq=False)
class Game:
    """The sentences and moments of B videos that play with each other, and how like they are."""

    logits: Tensor  # (B, S, M): cosines over the temperature
    sentences: Tensor  # (B, S) bool: who is there
    moments: Tensor  # (B, M) bool

    def aligned(self, worth: Tensor) -> Tensor:
        """How far the distributions of sentences over moments are from what they are worth together (B, S, M)."""
        return interaction_alignment(self.logits, worth, sentences=self.sentences, moments=self.moments)


def place_within(owner: Tensor) -> Tensor:
    """How many of the same owner come before each: (n,).

    Examples
    --------
    >>> place_within(torch.tensor([0, 0, 2, 0])).tolist()
    [0, 1, 0, 2]
    """
    return (owner[:, None] == owner).tril(-1).sum(1)


def overlap_loss(seen: Seen) -> Tensor:
    """Cross-entropy between the predicted overlap and the true one, brought from `least` … `most` to 0 … 1.

    Of the moments of its video that a sentence may have as negatives or that overlap its own.
    """
    batch, options = seen.batch, seen.options
    counted = None
    if batch.allowed is not None:
        allowed = batch.allowed[torch.arange(len(batch)), batch.owner]
        counted = (allowed | (batch.overlaps >= options.least)).to(seen.rows.gates)
    target = scaled(batch.overlaps, options).to(seen.rows.gates)
    found = functional.binary_cross_entropy_with_logits(seen.rows.gates, target, weight=counted, reduction="sum")
    return found / (target.numel() if counted is None else counted.sum())


def to_sentences(seen: Seen) -> Tensor:
    """The moment of each sentence against all other sentences of the batch but those that it may belong to.

    −log e^((c − μ)/τ) / (e^((c − μ)/τ) + Σ e^(c'/τ)); c' is absent, not 0, where it is masked (Wang et al. 2022 leave
    it in as 0).
    """
    rows, batch, options = seen.rows, seen.batch, seen.options
    logits = rows.moments[seen.pair_video, batch.pair_moment] @ rows.sentences.T / options.temperature  # (P, Q)
    others = logits.masked_fill(batch.same[batch.pair_sentence], -torch.inf).logsumexp(1)
    true = logits.gather(1, batch.pair_sentence[:, None])[:, 0] - options.margin / options.temperature
    return mean_over_sentences(torch.logaddexp(true, others) - true, batch)


def to_moments(seen: Seen) -> Tensor:
    """Each sentence's moment against those of its video that it does not name, and all of other videos."""
    return mean_over_sentences(seen.by_pair(None), seen.batch)


def geodesic(seen: Seen) -> Tensor:
    """As `to_moments`, but the moments nearest to the true one along the graph of moments are positives too."""
    return mean_over_sentences(seen.by_pair(geodesic_weights(seen.distances, width=seen.options.reach)), seen.batch)


def interaction(seen: Seen) -> Tensor:
    """Cosines of sentences with moments follow their Shapley interactions, sampled."""
    if seen.generator is None:
        raise ValueError("coalitions are drawn: give the objective a generator")
    game = seen.game
    shape = (len(game.logits), sum(game.logits.shape[1:]))
    coalitions = draw_coalitions(seen.options.coalitions, *shape, generator=seen.generator)
    return game.aligned(sampled_interaction(game.logits, coalitions, game.sentences, game.moments).values)


def removal(seen: Seen) -> Tensor:
    """As `interaction`, but of one coalition, that of all others: what the code of Li et al. (2023) means."""
    game = seen.game
    return game.aligned(pair_removal(game.logits, game.sentences, game.moments))


def contrast_as_released(seen: Seen) -> Tensor:
    """`released_contrast`."""
    return released_contrast(seen.rows, seen.batch, seen.likeness)


def interaction_as_released(seen: Seen) -> Tensor:
    """`released_interaction`."""
    return released_interaction(seen.rows, seen.batch, seen.likeness)


def mean_over_sentences(by_pair: Tensor, batch: Batch) -> Tensor:
    """The mean over sentences of the mean over their windows."""
    count = torch.bincount(batch.pair_sentence, minlength=len(batch))
    return (by_pair / count[batch.pair_sentence]).sum() / len(batch)


TERMS = {
    "overlap": overlap_loss,
    "to_sentences": to_sentences,
    "to_moments": to_moments,
    "geodesic": geodesic,
    "interaction": interaction,
    "pair_removal": removal,
    "released_contrast": contrast_as_released,
    "released_interaction": interaction_as_released,
}
