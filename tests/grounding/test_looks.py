"""What a page shows of a moment: its neighbourhood, and what words and moments are worth together."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from geomclip.grounding.looks import interactions, neighborhood, words_of
from geomclip.grounding.moments import proposals
from geomclip.grounding.record import Clips
from geomclip.grounding.videos import EncodedVideo
from geomclip.losses.interaction import matching_value, shapley_interaction


def unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)


def test_clips_of_the_same_scene_are_nearer_than_others_and_another_part_is_out_of_reach() -> None:
    one, other = torch.eye(8)[:2]
    scene = torch.stack([one] * 4 + [other] * 4) + 0.01 * torch.randn(8, 8, generator=torch.Generator().manual_seed(1))
    near = neighborhood(unit(scene), proposals(8), (0, 3))
    assert near[:4].max() < 0.1
    assert near[4:].min() > 0.5


@pytest.mark.numeric
def test_interactions_are_those_of_the_definition() -> None:
    draw = torch.Generator().manual_seed(2)
    words, moments = unit(torch.randn(3, 5, generator=draw)), unit(torch.randn(4, 5, generator=draw))
    similarity = 10 * (words.double() @ moments.double().T)

    def worth(present: tuple[int, ...]) -> float:
        who = torch.tensor([place in present for place in range(7)])
        return float(matching_value(similarity, who[:3], who[3:]))

    def index(i: int, j: int) -> float:
        others = [place for place in range(7) if place not in (i, j)]
        total = 0.0
        for size in range(6):
            for chosen in combinations(others, size):
                bracket = worth((*chosen, i, j)) - worth((*chosen, i)) - worth((*chosen, j)) + worth(chosen)
                total += bracket / (6 * math.comb(5, size))
        return total

    found = interactions(words, moments, scale=10.0, generator=draw)
    assert found.shape == (3, 4)
    for i in range(3):
        for j in range(4):
            assert float(found[i, j]) == pytest.approx(index(i, 3 + j), abs=1e-9)


@pytest.mark.numeric
def test_interactions_of_many_players_come_near_those_of_the_general_sampler() -> None:
    draw = torch.Generator().manual_seed(4)
    words, moments = unit(torch.randn(5, 6, generator=draw)), unit(torch.randn(5, 6, generator=draw))
    similarity = 10 * (words.double() @ moments.double().T)

    def worth(coalitions: Tensor) -> Tensor:
        block = similarity.expand(len(coalitions), 5, 5)
        return matching_value(block, coalitions[:, :5], coalitions[:, 5:])

    pairs = torch.cartesian_prod(torch.arange(5), torch.arange(5, 10))
    known = shapley_interaction(worth, 10, pairs, samples=514, generator=draw)
    found = interactions(words, moments, scale=10.0, generator=draw)
    # both err by 0.003 at most, of values up to 0.17
    assert (found.flatten() - known.values).abs().max() < 0.02


def test_a_word_is_worth_most_with_the_moment_that_shows_it() -> None:
    words, moments = torch.eye(6)[:3], unit(torch.eye(6)[:6] + 0.1)
    found = interactions(words, moments, scale=10.0, generator=torch.Generator().manual_seed(0))
    assert found.argmax(1).tolist() == [0, 1, 2]


def test_words_are_few_different_and_bare() -> None:
    assert words_of("A dog; the dog, THE (dog)!") == ["A", "dog", "the", "THE"]
    assert words_of(" . ") == []
    assert len(words_of(" ".join(map(str, range(100))))) == 12


def test_the_picture_of_a_time_is_the_one_on_the_screen() -> None:
    video = EncodedVideo(Clips("v", torch.eye(2), 2.0), 2, 1.0, (8, 8), ((0.0, b"first"), (1.0, b"second")))
    assert [video.thumbnail(at) for at in (0.0, 0.9, 1.0, 5.0)] == [b"first", b"first", b"second", b"second"]
    assert EncodedVideo(Clips("v", torch.eye(2), 2.0), 2, 1.0, (8, 8)).thumbnail(1.0) == b""
