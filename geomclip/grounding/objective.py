"""What grounding minimises: one table of methods, and the terms of a batch of videos and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from geomclip.embeddings.graphs import geodesic_distances
from geomclip.grounding.model import EncoderHeads, GroundingModel, Rows
from geomclip.grounding.moments import Proposals, overlap
from geomclip.grounding.record import Query
from geomclip.losses.interaction import pair_removal, sampled_interaction
from geomclip.machine.errors import InputError
from geomclip.machine.words import nearest

CONTRAST = 0.1
"""Weight of the contrastive terms beside the overlap (Wang et al. 2022; Li et al. 2023, released configurations)."""

INTERACTION = 0.05
"""Weight of the terms of interaction: of the size of the contrastive ones at the start, and ours."""


@dataclass(frozen=True)
class Method:
    """What is minimised: terms with their weights."""

    name: str
    title: str
    source: str
    terms: Mapping[str, float]


BASE = {"overlap": 1.0, "to_sentences": CONTRAST}
WANG, LI, OURS = "Wang et al. 2022", "Li et al. 2023, released code", "after Li et al. 2023; the formula is ours"
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("base", "overlap and contrast both ways", WANG, {**BASE, "to_moments": CONTRAST}),
        Method("geodesic", "moments near the true one are positives", OURS, {**BASE, "geodesic": CONTRAST}),
        Method(
            "shapley",
            "base, cosines agree with sampled interactions",
            OURS,
            {**BASE, "to_moments": CONTRAST, "interaction": INTERACTION},
        ),
        Method("g2l", "geodesic and shapley", OURS, {**BASE, "geodesic": CONTRAST, "interaction": INTERACTION}),
        Method(
            "pair-removal",
            "base, cosines agree with the removal of pairs",
            OURS,
            {**BASE, "to_moments": CONTRAST, "pair_removal": INTERACTION},
        ),
    )
}


def method_named(name: str) -> Method:
    """A method of the table.

    Raises
    ------
    InputError
        If there is none of this name; the message has the nearest.

    Examples
    --------
    >>> list(method_named("base").terms)
    ['overlap', 'to_sentences', 'to_moments']
    """
    if name not in METHODS:
        hint = nearest(name, list(METHODS)) or f"; the methods are {', '.join(METHODS)}"
        raise InputError(f"unknown method {name!r}{hint}")
    return METHODS[name]


@dataclass(frozen=True)
class Options:
    """Constants of the terms."""

    temperature: float = 0.1
    margin: float = 0.3  # taken off the cosine of what belongs together (0.4 and 0.1 for Charades-STA and TACoS)
    least: float = 0.5  # overlap from which a moment begins to count, and below which it is a negative
    most: float = 1.0  # overlap from which it counts in full
    neighbors: int = 5  # of a moment in the graph that geodesic distances are taken along
    reach: float = 0.35  # radians: a moment at that distance weighs 1/e
    positives: int = 5  # moments that count as positives, the true one included
    players: int = 4  # moments that a sentence brings into the game by distance, and as many by cosine
    coalitions: int = 64  # that are drawn
    sharpness: float = 0.1  # temperature of the distribution that interactions are made into

    def scaled(self, overlaps: Tensor) -> Tensor:
        """Overlaps brought from `least` … `most` to 0 … 1: what the gate is to predict."""
        return ((overlaps - self.least) / (self.most - self.least)).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class Batch:
    """B videos and Q sentences of them, with what belongs together."""

    clips: Tensor  # (B, T, d)
    texts: Tensor  # (Q, d')
    owner: Tensor  # (Q,) int64: the video of each sentence
    overlaps: Tensor  # (Q, N): of each moment of its video with the nearest of its windows
    pair_sentence: Tensor  # (P,) int64: a sentence, once for each of its windows
    pair_moment: Tensor  # (P,) int64: the moment that overlaps that window most
    same: Tensor  # (Q, Q) bool: no negatives of each other
    allowed: Tensor | None = None  # (Q, B, N) bool: what may be a negative; None: all

    def __len__(self) -> int:
        return len(self.texts)


def batch_of(
    clips: Tensor,
    texts: Tensor,
    owner: Tensor,
    queries: Sequence[Query],
    every: Proposals,
    *,
    least: float = Options.least,
    allowed: Tensor | None = None,
) -> Batch:
    """A batch with its targets.

    Sentences of one video are no negatives of each other where a window of one overlaps one of the other by `least`
    or more, or where they are the same sentence. A sentence that is written twice, with two moments, is to be one
    query with two windows before (`merged`).

    Parameters
    ----------
    clips : Tensor of shape (B, T, d)
    texts : Tensor of shape (Q, d')
    owner : Tensor of shape (Q,), int64
    queries : sequence of Query
        Each with at least one window.
    every : Proposals
    least : float
    allowed : Tensor of shape (Q, B, N), bool, optional
    """
    windows = [windows_of(query) for query in queries]
    found = [overlap(each, every.spans) for each in windows]  # each (windows, N)
    pair_sentence = torch.repeat_interleave(torch.tensor([len(each) for each in windows]))
    same = torch.zeros(len(queries), len(queries), dtype=torch.bool)
    for one, query in enumerate(queries):
        for other in range(one, len(queries)):
            if owner[one] == owner[other]:
                alike = query.text == queries[other].text or bool(
                    (overlap(windows[one], windows[other]) >= least).any()
                )
                same[one, other] = same[other, one] = alike
    return Batch(
        clips=clips,
        texts=texts,
        owner=owner,
        overlaps=torch.stack([each.amax(0) for each in found]).float(),
        pair_sentence=pair_sentence,
        pair_moment=torch.cat([each.argmax(1) for each in found]),
        same=same,
        allowed=allowed,
    )


def windows_of(query: Query) -> Tensor:
    """The windows of a query as shares of its video: (windows, 2) float64."""
    return torch.tensor(query.windows, dtype=torch.float64).reshape(-1, 2) / query.duration


def merged(queries: Sequence[Query]) -> list[Query]:
    """Queries with those that say the same of one video made one, with the windows of all.

    Examples
    --------
    >>> jump = Query("v", "he jumps", ((0.0, 1.0),), 9.0), Query("v", "he jumps", ((5.0, 6.0),), 9.0)
    >>> [query.windows for query in merged(jump)]
    [((0.0, 1.0), (5.0, 6.0))]
    """
    found: dict[tuple[str, str], Query] = {}
    for query in queries:
        key = query.video, query.text
        before = found.get(key)
        windows = query.windows if before is None else tuple(dict.fromkeys((*before.windows, *query.windows)))
        first = query if before is None else before
        found[key] = Query(first.video, first.text, windows, first.duration, first.id)
    return list(found.values())


@torch.no_grad()
def start_at_encoder(model: GroundingModel, batch: Batch, options: Options) -> None:
    """Set the gate of a model that starts at the encoder to what overlaps look like in its cosines; else nothing.

    The more videos the batch has, the better; the ranking of moments stays the encoder's own.
    """
    if isinstance(model.heads, EncoderHeads):
        rows = model(batch.clips, batch.texts, batch.owner)
        own = rows.cosines()[torch.arange(len(batch)), batch.owner]
        model.heads.calibrate(own.flatten(), options.scaled(batch.overlaps).flatten())


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
        seen = Seen(rows, batch, self.options, rows.cosines(), generator)
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
    cosines: Tensor  # (Q, B, N)
    generator: torch.Generator | None = None

    @property
    def pair_cosine(self) -> Tensor:
        """Of each sentence with its moment: (P,)."""
        batch = self.batch
        return self.cosines[batch.pair_sentence, batch.owner[batch.pair_sentence], batch.pair_moment]

    def negatives(self) -> Tensor:
        """Which moments are negatives of each sentence: (Q, B, N) bool.

        Of its own video those that overlap none of its windows by `least`, of others all.
        """
        batch = self.batch
        kept = torch.ones_like(self.cosines, dtype=torch.bool)
        kept[torch.arange(len(batch)), batch.owner] = batch.overlaps < self.options.least
        return kept if batch.allowed is None else kept & batch.allowed

    @cached_property
    def distances(self) -> Tensor:
        """From the moment of each pair to all moments of its video, along the graph of moments: (P, N), radians.

        Infinite beyond three reaches, where a weight is 1e-4.
        """
        batch, options = self.batch, self.options
        video = batch.owner[batch.pair_sentence]
        slot = place_within(video)
        sources = torch.zeros(len(self.rows.moments), int(slot.max()) + 1, dtype=torch.int64)
        sources[video, slot] = batch.pair_moment
        limit = 3 * options.reach
        found = geodesic_distances(self.rows.moments.detach(), k=options.neighbors, sources=sources, limit=limit)
        return found[video, slot]

    @cached_property
    def game(self) -> Game:
        """The sentences and some moments of each video, as players: nearest along the graph, and likest."""
        batch, options = self.batch, self.options
        slot = place_within(batch.owner)
        videos, n = self.rows.moments.shape[:2]
        most = min(options.players, n)
        own = self.cosines.detach()[torch.arange(len(batch)), batch.owner]  # (Q, N)
        nearest = self.distances.topk(most, largest=False)
        chosen = torch.zeros(videos, n, dtype=torch.bool)
        chosen[batch.owner[:, None], own.topk(most).indices] = True
        pair_video = batch.owner[batch.pair_sentence][:, None].expand_as(nearest.indices)
        reached = nearest.values.isfinite()
        chosen[pair_video[reached], nearest.indices[reached]] = True  # each once, however many sentences bring it
        count = int(chosen.sum(1).max())
        moments = chosen.byte().topk(count).indices  # (B, M)
        sentences = torch.zeros(videos, int(slot.max()) + 1, dtype=torch.int64)
        there = torch.zeros_like(sentences, dtype=torch.bool)
        sentences[batch.owner, slot], there[batch.owner, slot] = torch.arange(len(batch)), True
        video = torch.arange(videos)[:, None, None]
        cosines = self.cosines[sentences[:, :, None], video, moments[:, None]]  # (B, S, M)
        return Game(cosines / options.temperature, there, chosen.gather(1, moments))


@dataclass(frozen=True, eq=False)
class Game:
    """Sentences and moments of B videos, and how like they are."""

    similarity: Tensor  # (B, S, M), logits
    sentences: Tensor  # (B, S) bool: who is there
    moments: Tensor  # (B, M) bool


def place_within(owner: Tensor) -> Tensor:
    """How many of the same owner come before each: (n,).

    Examples
    --------
    >>> place_within(torch.tensor([0, 0, 2, 0])).tolist()
    [0, 1, 0, 2]
    """
    return ((owner[:, None] == owner) & torch.ones(len(owner), len(owner), dtype=torch.bool).tril(-1)).sum(1)


def overlap_loss(seen: Seen) -> Tensor:
    """Cross-entropy between the predicted overlap and the true one, brought from `least` … `most` to 0 … 1."""
    return functional.binary_cross_entropy_with_logits(seen.rows.gates, seen.options.scaled(seen.batch.overlaps))


def to_sentences(seen: Seen) -> Tensor:
    """The moment of each sentence against all other sentences of the batch but those that it may belong to.

    −log e^((c − μ)/τ) / (e^((c − μ)/τ) + Σ e^(c'/τ)); c' is absent, not 0, where it is masked (Wang et al. 2022 leave
    it in as 0).
    """
    batch, options = seen.batch, seen.options
    of_pair = seen.cosines[:, batch.owner[batch.pair_sentence], batch.pair_moment].T  # (P, Q)
    others = (of_pair / options.temperature).masked_fill(batch.same[batch.pair_sentence], -torch.inf)
    true = (seen.pair_cosine - options.margin) / options.temperature
    return mean_over_sentences(torch.logaddexp(true, others.logsumexp(1)) - true, batch)


def to_moments(seen: Seen) -> Tensor:
    """Each sentence's moment against those of its video that it does not name, and all of other videos."""
    batch, options = seen.batch, seen.options
    others = (seen.cosines / options.temperature).masked_fill(~seen.negatives(), -torch.inf).flatten(1).logsumexp(1)
    true = (seen.pair_cosine - options.margin) / options.temperature
    return mean_over_sentences(torch.logaddexp(true, others[batch.pair_sentence]) - true, batch)


def geodesic(seen: Seen) -> Tensor:
    """As `to_moments`, but the moments nearest to the true one along the graph of moments are positives too.

    With w = exp(−(d/s)²), d the geodesic distance from the true moment, P those of largest w: −log of
    Σ_P w e^((c − μ)/τ) over the same plus Σ (1 + w) e^(c/τ) over moments of its video that overlap the sentence's by
    less than `least`, have w < ½ and are not in P, plus Σ e^(c/τ) over moments of other videos. With w = 1 for the
    true moment alone it is `to_moments`.
    """
    batch, options = seen.batch, seen.options
    weights = (-(seen.distances / options.reach).square()).exp().to(seen.cosines)  # (P, N)
    own = seen.cosines[batch.pair_sentence, batch.owner[batch.pair_sentence]]  # (P, N)
    kept, where = weights.topk(min(options.positives, weights.shape[1]))
    near = kept.log() + (own.gather(1, where) - options.margin) / options.temperature  # −inf where out of reach
    true = near.logsumexp(1)
    negative = seen.negatives()  # (Q, B, N)
    apart = (weights < 0.5).scatter(1, where, kept == 0)
    of_own = negative[batch.pair_sentence, batch.owner[batch.pair_sentence]] & apart
    inside = (own / options.temperature + weights.log1p()).masked_fill(~of_own, -torch.inf).logsumexp(1)
    elsewhere = negative.clone()
    elsewhere[torch.arange(len(batch)), batch.owner] = False
    outside = (seen.cosines / options.temperature).masked_fill(~elsewhere, -torch.inf).flatten(1).logsumexp(1)
    below = torch.logaddexp(torch.logaddexp(true, inside), outside[batch.pair_sentence])
    return mean_over_sentences(below - true, batch)


def interaction(seen: Seen) -> Tensor:
    """Cosines of sentences with moments follow their Shapley interactions in the game of `matching_value`, sampled."""
    options, game = seen.options, seen.game
    if seen.generator is None:
        raise ValueError("coalitions are drawn: give the objective a generator")
    found = sampled_interaction(
        game.similarity,
        samples=options.coalitions,
        generator=seen.generator,
        sentences=game.sentences,
        moments=game.moments,
    )
    return agreement(game, found.values, options.sharpness)


def removal(seen: Seen) -> Tensor:
    """As `interaction`, but of one coalition, that of all others: what the code of Li et al. (2023) means."""
    game = seen.game
    return agreement(game, pair_removal(game.similarity, game.sentences, game.moments), seen.options.sharpness)


def agreement(game: Game, worth: Tensor, sharpness: float) -> Tensor:
    """Kullback-Leibler divergence of what the cosines say of each sentence's moments from what the worth says.

    KL(softmax(I/t) ‖ softmax(c/τ)) over the moments that are there, mean over sentences; no gradient through I.
    """
    absent = ~game.moments[:, None]
    expected = (worth.detach().to(game.similarity) / sharpness).masked_fill(absent, -torch.inf).log_softmax(-1)
    found = game.similarity.masked_fill(absent, -torch.inf).log_softmax(-1)
    apart = (expected.exp() * (expected - found).masked_fill(absent, 0)).sum(-1)  # (B, S)
    return apart[game.sentences].mean()


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
}
