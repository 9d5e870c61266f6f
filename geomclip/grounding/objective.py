"""What grounding minimises: one table of methods, and the terms of a batch of videos and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from geomclip.grounding.model import EncoderHeads, GroundingModel, Rows
from geomclip.grounding.moments import Proposals, overlap
from geomclip.grounding.record import Query
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

    def __call__(self, rows: Rows, batch: Batch) -> Loss:
        """The loss of a batch, and each of its terms."""
        seen = Seen(rows, batch, self.options, rows.cosines())
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


def mean_over_sentences(by_pair: Tensor, batch: Batch) -> Tensor:
    """The mean over sentences of the mean over their windows."""
    count = torch.bincount(batch.pair_sentence, minlength=len(batch))
    return (by_pair / count[batch.pair_sentence]).sum() / len(batch)


TERMS = {"overlap": overlap_loss, "to_sentences": to_sentences, "to_moments": to_moments}
