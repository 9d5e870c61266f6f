"""What a page shows of a moment that was found: what it is near to, and which words it belongs with."""

from __future__ import annotations

import torch
from torch import Tensor

from geomclip.embeddings.graphs import geodesic_distances
from geomclip.grounding.moments import Proposals
from geomclip.losses.interaction import (
    MOST_PLAYERS,
    draw_coalitions,
    matching_value,
    sampled_interaction,
    shapley_interaction,
)

NEIGHBORS = 5
MOST_WORDS = 12
COALITIONS = 16_384
"""That are drawn where they cannot all be looked at; each serves every pair, with an error of about 0.003."""


def words_of(query: str) -> list[str]:
    """The different words of a sentence, in their order, at most twelve, without signs at their ends.

    Examples
    --------
    >>> words_of("a dog, a wet one!")
    ['a', 'dog', 'wet', 'one']
    """
    bare = (word.strip(".,;:!?\"'()") for word in query.split())
    return list(dict.fromkeys(word for word in bare if word))[:MOST_WORDS]


def neighborhood(clips: Tensor, moments: Proposals, cell: tuple[int, int]) -> Tensor:
    """How far each clip is from a moment along the graph of the video's moments.

    Parameters
    ----------
    clips : Tensor of shape (T, d)
        Unit rows.
    moments : Proposals
        Of so many clips; the row of each is the mean of its clips at length 1.
    cell : (first clip, last clip)
        A proposed moment.

    Returns
    -------
    Tensor of shape (T,), float64
        Radians; infinite where no way leads.
    """
    rows = torch.nn.functional.normalize(moments.means(clips.double()), dim=-1)
    source = ((moments.first == cell[0]) & (moments.last == cell[1])).nonzero()[:1]
    far = geodesic_distances(rows[None], k=NEIGHBORS, sources=source)[0, 0]
    single = (moments.first == moments.last).nonzero()[:, 0]
    return far[single[moments.first[single].argsort()]]


def interactions(words: Tensor, moments: Tensor, *, scale: float, generator: torch.Generator) -> Tensor:
    """How much each word and each moment are worth together beyond what they are apart: (W, M), of either sign.

    The Shapley interaction index of the game of words and moments (`geomclip.losses.matching_value`); exact for few
    players, else sampled.

    Parameters
    ----------
    words : Tensor of shape (W, d)
        Unit rows, each of a word by itself.
    moments : Tensor of shape (M, d)
    scale : float
        From cosines to logits.
    generator : torch.Generator
    """
    similarity = scale * (words.double() @ moments.double().T)
    many, players = len(words), len(words) + len(moments)
    if players > MOST_PLAYERS:
        return sampled_interaction(similarity, draw_coalitions(COALITIONS, players, generator=generator)).values

    def worth(coalitions: Tensor) -> Tensor:
        block = similarity.expand(*coalitions.shape[:-1], *similarity.shape)
        return matching_value(block, coalitions[..., :many], coalitions[..., many:])

    pairs = torch.cartesian_prod(torch.arange(many), torch.arange(many, players))
    return shapley_interaction(worth, players, pairs).values.unflatten(0, (many, len(moments)))
