"""Model soups: the mean of weights, the two recipes, and which of them is taken."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tiny_models import tiny_model

from geomclip.encoders import Encoder, load_encoder
from geomclip.machine.errors import GeomclipError
from geomclip.machine.progress import Silent
from geomclip.training.post_hoc import wise_ft
from geomclip.training.soups import Blend, mean_of, sweep_soup

Score = Callable[[Encoder], float]


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Encoder]:
    """Three models of one architecture."""
    folder = tmp_path_factory.mktemp("members")
    return [load_encoder(f"local-dir:{tiny_model(folder / str(seed), seed=seed)}") for seed in range(3)]


def by_members(members: list[Encoder], scores: dict[str, float]) -> Score:
    """A score of the blend of these members, found by its weights: "02" is of the first and the last."""
    states = [member.module.state_dict() for member in members]
    name = "visual.proj"
    known = {key: torch.stack([states[int(place)][name] for place in key]).mean(dim=0) for key in scores}

    def score(encoder: Encoder) -> float:
        found = encoder.module.state_dict()[name]
        (key,) = [key for key, value in known.items() if torch.allclose(found, value, atol=1e-6)]
        return scores[key]

    return score


def test_the_mean_of_one_is_that_one_bit_for_bit(members: list[Encoder]) -> None:
    state = members[0].module.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in mean_of([state]).items())


def test_the_mean_of_two_is_half_way_between_them(members: list[Encoder]) -> None:
    one, other = (member.module.state_dict() for member in members[:2])
    half = wise_ft(one, other, 0.5)
    for name, value in mean_of([one, other]).items():
        assert torch.allclose(value, half[name], atol=1e-6), name


def test_the_order_changes_no_bit_of_a_mean(members: list[Encoder]) -> None:
    states = [member.module.state_dict() for member in members]
    one, other = mean_of(states), mean_of([states[2], states[0], states[1]])
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_scale_is_averaged_as_the_parameter_that_is_trained() -> None:
    scales = [{"logit_scale": torch.tensor(math.log(scale))} for scale in (1.0, 100.0)]
    assert mean_of(scales)["logit_scale"].exp().item() == pytest.approx(10)


def test_half_types_are_averaged_in_float32_and_counts_are_those_of_the_first() -> None:
    states = [{"w": torch.tensor([value]).bfloat16(), "count": torch.tensor(3)} for value in (1.0, 1.0078125)]
    found = mean_of([states[0], {**states[1], "count": torch.tensor(8)}])
    assert found["w"].dtype == torch.float32
    assert found["w"].item() == 1.00390625
    assert found["count"].item() == 3


def test_the_greedy_soup_goes_from_best_to_worst_and_keeps_what_does_no_harm(members: list[Encoder]) -> None:
    scores = {"0": 0.1, "1": 0.3, "2": 0.2, "012": 0.25, "12": 0.3, "01": 0.9}
    soup = sweep_soup(members, by_members(members, scores))
    assert soup.blends[3:] == (Blend("uniform", (0, 1, 2), 0.25), Blend("greedy", (1, 2), 0.3))  # 0 then harms
    assert [blend.members for blend in soup.blends[:3]] == [(0,), (1,), (2,)]
    assert soup.best == soup.blends[4]
    assert soup.gains
    expected = mean_of([member.module.state_dict() for member in members[1:]])
    assert all(torch.equal(value, expected[name]) for name, value in soup.encoder.module.state_dict().items())
    assert soup.encoder.logit_scale == pytest.approx(float(expected["logit_scale"].exp()))


def test_of_equal_soups_the_uniform_one_is_taken(members: list[Encoder]) -> None:
    scores = {"0": 0.5, "1": 0.3, "2": 0.2, "012": 0.5, "01": 0.4, "02": 0.4}
    soup = sweep_soup(members, by_members(members, scores))
    assert soup.best.recipe == "uniform"
    assert not soup.gains


def test_no_blend_is_scored_twice(members: list[Encoder]) -> None:
    seen: list[Encoder] = []

    def score(encoder: Encoder) -> float:
        seen.append(encoder)
        return 1.0

    soup = sweep_soup(members, score)
    assert soup.blends[4].members == (0, 1, 2)
    assert len(seen) == 3 + 1 + 1  # alone, all, the first two; the greedy soup of all is the uniform one


def test_progress_ends_at_the_number_of_blends(members: list[Encoder]) -> None:
    seen = []

    class Watching(Silent):
        def stage(self, name: str, done: int, total: int, note: str = "") -> None:
            seen.append((name, done, total))

    sweep_soup(members, lambda _: 1.0, progress=Watching())
    assert seen[0] == ("soup", 1, 6)
    assert seen[-1] == ("soup", 6, 6)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_a_score_that_is_no_number_chooses_nothing(members: list[Encoder]) -> None:
    with pytest.raises(GeomclipError, match="the soup of 1 models scores nan on validation"):
        sweep_soup(members, lambda _: math.nan)
