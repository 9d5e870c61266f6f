"""The losses of G2L as its code was released, with its signs and its masks: for comparison, not to be trained with.

What differs from what they are meant to be is named at each function. Written from formulas; of the code's own pieces
two are not had here: its graph is over features before they are made unit, ours over unit rows; and its weights fall to
a tenth after five epochs, ours do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

if TYPE_CHECKING:
    from geomclip.grounding.batch import Batch
    from geomclip.grounding.model import Rows

TEMPERATURE, MARGIN, LEAST = 0.1, 0.3, 0.5
NEIGHBORS, LIMIT, POSITIVES, PLAYERS = 5, 0.5, 5, 7
SHARPENED = 1000.0
ABSENT = -1e9
"""What a removed player's features are filled with: it stays, and takes the softmax with it."""


def released_terms(rows: Rows, batch: Batch) -> tuple[Tensor, Tensor]:
    """`released_contrast` and `released_interaction`, from one graph of each video."""
    similar = geodesic_likeness(rows, batch)
    return released_contrast(rows, batch, similar), released_interaction(rows, batch, similar)


def released_contrast(rows: Rows, batch: Batch, similar: Tensor) -> Tensor:
    """The term of sentences and the hard geodesic term, added, from `geodesic_likeness`: 0-d.

    What is masked enters as a logit of 0, and so adds 1 to each denominator. The logits of moments of the sentence's
    own video are exponentials already, and are exponentiated again.
    """
    return _of_sentences(rows, batch) + _hard(rows, batch, similar)


def released_interaction(rows: Rows, batch: Batch, similar: Tensor) -> Tensor:
    """The sum of I log A over sentences and moments of each video, mean over videos: 0-d.

    I has two signs wrong, v(all) − v(without i) + v(without j) − v(without both); its players occur more than once;
    its values are listed moment by moment beside logarithms that are listed sentence by sentence; a player is removed
    by features of −1e9; and it is brought to length 1, with its sign.
    """
    found = []
    for video in range(len(rows.moments)):
        own = (batch.owner[batch.pair_sentence] == video).nonzero()[:, 0]
        if len(own):
            sentences = rows.sentences[batch.pair_sentence[own]]
            moments = rows.moments[video]
            near = similar[own].topk(min(PLAYERS, len(moments))).indices
            like = (sentences @ moments.T).topk(min(PLAYERS, len(moments))).indices
            found.append(_interaction(sentences, moments[torch.cat([near, like], dim=1).flatten()]))
    return torch.stack(found).mean()


def geodesic_likeness(rows: Rows, batch: Batch) -> Tensor:
    """1 − d of the moment of each pair with all of its video: (P, N); 0 where d is above 0.5 or nothing leads there.

    An edge of length 0, as between equal moments, is no edge.
    """
    moments = rows.moments.detach().double().cpu()
    found = torch.zeros(len(batch.pair_moment), moments.shape[1])
    for video in batch.owner[batch.pair_sentence].unique().tolist():
        own = (batch.owner[batch.pair_sentence] == video).nonzero()[:, 0]
        unit = moments[video]
        cosine = (unit @ unit.T).clamp(-1, 1)
        near = (-torch.cdist(unit, unit)).fill_diagonal_(-torch.inf).topk(min(NEIGHBORS, len(unit) - 1)).indices
        length = torch.zeros_like(cosine).scatter(1, near, 1 - cosine.gather(1, near))
        sources = batch.pair_moment[own].cpu().numpy()
        far = dijkstra(csr_array(length.numpy()), indices=sources, limit=LIMIT)
        found[own] = torch.from_numpy(np.where(np.isfinite(far), 1 - far, 0.0)).float()
    return found.to(rows.moments)


def _of_sentences(rows: Rows, batch: Batch) -> Tensor:
    pair, video = batch.pair_sentence, batch.owner[batch.pair_sentence]
    cosine = rows.moments[video, batch.pair_moment] @ rows.sentences.T  # (P, Q)
    kept = ~batch.same[pair]
    true = (cosine.gather(1, pair[:, None])[:, 0] - MARGIN) / TEMPERATURE
    others = (cosine * kept / TEMPERATURE).logsumexp(1)
    return (torch.logaddexp(true, others) - true).mean()


def _hard(rows: Rows, batch: Batch, similar: Tensor) -> Tensor:
    pair, video = batch.pair_sentence, batch.owner[batch.pair_sentence]
    moments, sentences = rows.moments, rows.sentences[pair]
    true = moments[video, batch.pair_moment]  # (P, j)
    own, like = (torch.einsum("pj,pnj->pn", each, moments[video]) for each in (sentences, true))
    weight, where = similar.topk(min(POSITIVES, similar.shape[1]))
    positive = weight * own.gather(1, where).exp() / TEMPERATURE  # (P, 5): where nothing leads there, 0
    harder = torch.where(similar == 1, 1.0, 1 + similar)
    inside = own.exp() * harder * like.exp() * (batch.overlaps[pair] < LEAST) / TEMPERATURE  # (P, N)
    every, alike = (torch.einsum("pj,bnj->pbn", each, moments) for each in (sentences, true))
    other = torch.ones(len(pair), len(moments), dtype=torch.bool, device=own.device)
    other[torch.arange(len(pair)), video] = False
    if other.any():
        shape = len(pair), -1
        every, alike = every[other].view(shape), alike[other].view(shape)  # (P, (B − 1) N)
        sharp = SHARPENED * every.softmax(1)
        above = (sharp > sharp.mean(1, keepdim=True)) * alike + (alike > alike.mean(1, keepdim=True)) * sharp
        outside = (every * above / TEMPERATURE).logsumexp(1)
    else:
        outside = torch.full_like(true[:, 0], -torch.inf)
    below = torch.stack([positive.logsumexp(1), inside.logsumexp(1), outside]).logsumexp(0)
    return (below[:, None] - positive).mean()


def _interaction(sentences: Tensor, moments: Tensor) -> Tensor:
    count, many = len(sentences), len(moments)
    whole = sentences @ moments.T  # (S, M)
    logits = whole.detach()
    # the dot products of a player of whom every feature is −1e9 with the others, and with such a one
    of_moment, of_sentence = ABSENT * sentences.detach().sum(1), ABSENT * moments.detach().sum(1)
    of_both = ABSENT**2 * sentences.shape[1]
    i, j = (each.flatten() for each in torch.meshgrid(torch.arange(many), torch.arange(count), indexing="ij"))
    at = torch.arange(len(i))

    def worth(without_moment: bool, without_sentence: bool) -> Tensor:
        """v of each pair's coalition, listed moment by moment: (M S,)."""
        left = logits.repeat(len(i), 1, 1)
        if without_moment:
            left[at, :, i] = of_moment
        if without_sentence:
            left[at, j] = of_sentence
        if without_moment and without_sentence:
            left[at, j, i] = of_both
        matched = left.softmax(2)  # (M S, S, M)
        return (matched.amax(1).mean(1) + matched.amax(2).mean(1)) / 2

    values = worth(False, False) - worth(True, False) + worth(False, True) - worth(True, True)
    weights = torch.nn.functional.normalize(values, dim=0)
    logs = whole.log_softmax(1).flatten()  # sentence by sentence
    return (weights * logs).sum() / many * count
