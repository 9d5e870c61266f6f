"""Interaction of players: the axioms by brute force, sampling with an error that covers, closed forms beside loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain, combinations

import pytest
import torch
from torch import Tensor

from geomclip.losses import interaction
from geomclip.losses.interaction import (
    draw_coalitions,
    matching_value,
    pair_removal,
    sampled_interaction,
    shapley_interaction,
)

pytestmark = pytest.mark.numeric

Game = Callable[[Tensor], Tensor]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_game(players: int, *, seed: int = 0) -> Game:
    """Each coalition has a worth of its own, from a table."""
    table = torch.randn(1 << players, generator=rng(seed), dtype=torch.float64)
    return lambda coalitions: table[(coalitions.long() << torch.arange(players)).sum(dim=1)]


def worth(game: Game, members: set[int] | frozenset[int], players: int) -> float:
    coalition = torch.zeros(1, players, dtype=torch.bool)
    coalition[0, list(members)] = True
    return game(coalition).item()


def subsets(of: set[int]) -> list[set[int]]:
    return [set(each) for each in chain.from_iterable(combinations(sorted(of), size) for size in range(len(of) + 1))]


def by_definition(game: Game, players: int, group: tuple[int, ...]) -> float:
    """Grabisch and Roubens (1999), one coalition at a time."""
    n, t, total = players, len(group), 0.0
    for rest in subsets(set(range(n)) - set(group)):
        s = len(rest)
        weight = math.factorial(s) * math.factorial(n - s - t) / math.factorial(n - t + 1)
        total += weight * sum((-1) ** (t - len(some)) * worth(game, rest | some, n) for some in subsets(set(group)))
    return total


def exact(game: Game, players: int, *group: int) -> float:
    return shapley_interaction(game, players, torch.tensor([group])).values.item()


# ------------------------------------------------------------------------------------------------------- exactly


@pytest.mark.parametrize(
    ("players", "size"), [(players, size) for players in (2, 3, 5, 6) for size in (1, 2, 3) if size <= players]
)
def test_the_index_is_that_of_its_definition(players, size):
    groups = list(combinations(range(players), size))
    found = shapley_interaction(random_game(players), players, torch.tensor(groups))
    expected = [by_definition(random_game(players), players, group) for group in groups]
    assert found.values.tolist() == pytest.approx(expected, rel=1e-12)
    assert (found.errors == 0).all()


def test_pairs_left_out_are_all_pairs_and_their_order_does_not_matter():
    game = random_game(4)
    of_all = shapley_interaction(game, 4).values
    assert torch.equal(of_all, shapley_interaction(game, 4, torch.tensor(list(combinations(range(4), 2)))).values)
    assert exact(game, 4, 2, 1) == exact(game, 4, 1, 2)


def test_several_games_are_played_at_once():
    games = [random_game(5, seed=seed) for seed in range(3)]
    found = shapley_interaction(lambda coalitions: torch.stack([game(coalitions) for game in games]), 5).values
    assert torch.equal(found, torch.stack([shapley_interaction(game, 5).values for game in games]))


def test_linearity():
    one, other = random_game(6, seed=1), random_game(6, seed=2)
    both = shapley_interaction(lambda coalitions: 2 * one(coalitions) - 3 * other(coalitions), 6).values
    apart = 2 * shapley_interaction(one, 6).values - 3 * shapley_interaction(other, 6).values
    assert torch.allclose(both, apart, rtol=0, atol=1e-12)


def test_a_dummy_interacts_with_nobody():
    game, without = random_game(5), lambda coalitions: random_game(4)(coalitions[:, :4])
    with_dummy = lambda coalitions: without(coalitions) + 0.7 * coalitions[:, 4]  # noqa: E731
    for other in range(4):
        assert exact(with_dummy, 5, other, 4) == pytest.approx(0, abs=1e-12)
        assert abs(exact(game, 5, other, 4)) > 1e-3
    assert exact(with_dummy, 5, 4) == pytest.approx(0.7)


def test_symmetry_who_changes_places_takes_the_interaction_along():
    game, order = random_game(5), torch.tensor([3, 0, 4, 1, 2])
    moved = lambda coalitions: game(coalitions[:, order])  # noqa: E731  # player k plays the part of order⁻¹(k)
    for i, j in combinations(range(5), 2):
        assert exact(moved, 5, int(order[i]), int(order[j])) == pytest.approx(exact(game, 5, i, j))


def test_recursion_a_pair_is_worth_more_as_one_than_each_without_the_other():
    game = random_game(6)
    merged = lambda coalitions: game(torch.cat([coalitions, coalitions[:, 4:]], dim=1))  # noqa: E731
    out = torch.zeros(1, dtype=torch.bool)
    without_4 = lambda c: game(torch.cat([c[:, :4], out.expand(len(c), 1), c[:, 4:]], dim=1))  # noqa: E731
    without_5 = lambda c: game(torch.cat([c, out.expand(len(c), 1)], dim=1))  # noqa: E731
    expected = exact(merged, 5, 4) - exact(without_5, 5, 4) - exact(without_4, 5, 4)
    assert exact(game, 6, 4, 5) == pytest.approx(expected)


def test_moebius_each_dividend_is_shared_by_how_many_beside_the_pair_need_it():
    game = random_game(5)
    dividend = {
        frozenset(big): sum((-1) ** (len(big) - len(some)) * worth(game, some, 5) for some in subsets(big))
        for big in subsets(set(range(5)))
    }
    for pair in combinations(range(5), 2):
        expected = sum(m / (len(big) - 1) for big, m in dividend.items() if set(pair) <= big)
        assert exact(game, 5, *pair) == pytest.approx(expected)


def test_efficiency_holds_for_single_players_and_not_for_pairs():
    game = random_game(6)
    whole = worth(game, set(range(6)), 6) - worth(game, set(), 6)
    single = shapley_interaction(game, 6, torch.arange(6)[:, None]).values.sum().item()
    assert single == pytest.approx(whole)
    assert abs(single + shapley_interaction(game, 6).values.sum().item() - whole) > 1


def test_the_interaction_has_a_gradient_where_the_game_has_one():
    table = torch.randn(8, generator=rng(), dtype=torch.float64, requires_grad=True)
    value = lambda coalitions: table[(coalitions.long() << torch.arange(3)).sum(dim=1)]  # noqa: E731
    gradient = torch.autograd.grad(shapley_interaction(value, 3, torch.tensor([[0, 1]])).values.sum(), table)[0]
    # v(S) for S of player 2 or not (bit 4), half each; S + 0, S + 1 and S + 0 + 1
    assert gradient.tolist() == pytest.approx([0.5, -0.5, -0.5, 0.5, 0.5, -0.5, -0.5, 0.5])


# ------------------------------------------------------------------------------------------------------- sampled


@pytest.mark.parametrize(("players", "seed"), [(6, 0), (7, 1), (9, 2), (10, 3)])
def test_the_error_covers_in_95_of_100_draws(players, seed):
    """2,000 draws of one pair: the share is known to 0.5 points, three of which are allowed for."""
    game, truth = random_game(players, seed=seed), by_definition(random_game(players, seed=seed), players, (1, 3))
    same = torch.tensor([[1, 3]]).expand(2000, 2)
    found = shapley_interaction(game, players, same, samples=258, generator=rng(seed))
    covered = ((found.values - truth).abs() <= 1.96 * found.errors).double().mean().item()
    assert covered == pytest.approx(0.95, abs=0.015)
    assert found.values.mean().item() == pytest.approx(truth, abs=4 * found.values.std().item() / math.sqrt(2000))
    assert found.errors.square().mean().sqrt().item() == pytest.approx(found.values.std().item(), rel=0.06)


def test_sizes_in_turn_and_complements_beat_independent_draws():
    """Of a game of the size of the coalition beside the pair and of who leads it, only the leader is drawn."""
    leads = lambda c: c.double().sum(dim=1) ** 2 * (1 + c[:, 4])  # noqa: E731
    found = shapley_interaction(leads, 8, torch.tensor([[0, 1]]).expand(500, 2), samples=50, generator=rng())
    alone = shapley_interaction(leads, 8, torch.tensor([[0, 1]])).values.item()
    size = torch.randint(7, (500, 50), generator=rng())
    beside = torch.rand(500, 50, 6, generator=rng()).argsort(dim=-1) < size[..., None]
    bracket = 2.0 * (1 + beside[..., 2])  # (s + 2)² − 2(s + 1)² + s² = 2, twice that with the leader
    assert found.values.std() < 0.3 * bracket.mean(dim=1).std()
    assert found.values.mean().item() == pytest.approx(alone, rel=0.02)


@pytest.mark.parametrize("group", [(0,), (0, 1), (0, 1, 2)])
def test_groups_of_every_size_are_sampled(group):
    game, same = random_game(8), torch.tensor([group]).expand(400, len(group))
    found = shapley_interaction(game, 8, same, samples=40, generator=rng())
    assert found.values.mean().item() == pytest.approx(
        by_definition(game, 8, group), abs=4 * found.values.std().item() / 20
    )


def test_more_sizes_than_samples_are_drawn_from_in_turn():
    weights = torch.randn(40, 40, generator=rng(), dtype=torch.float64)
    quadratic = lambda c: ((c.double() @ weights) * c).sum(dim=1)  # noqa: E731  # every bracket is w_ij + w_ji
    pairs = torch.tensor([[0, 1], [5, 39]])
    found = shapley_interaction(quadratic, 40, pairs, samples=12, generator=rng())
    assert found.values.tolist() == pytest.approx([(weights + weights.T)[i, j].item() for i, j in pairs.tolist()])
    assert found.errors.tolist() == pytest.approx([0, 0], abs=1e-9)


def test_the_error_is_that_of_few_draws_too():
    """Two or three draws of each kind, 8,000 times."""
    same = torch.tensor([[1, 3]]).expand(8000, 2)
    found = shapley_interaction(random_game(9), 9, same, samples=12, generator=rng())
    assert found.errors.square().mean().sqrt().item() == pytest.approx(found.values.std().item(), rel=0.03)


@pytest.mark.parametrize("players", [2, 3])
def test_where_every_coalition_is_looked_at_there_is_no_error(players):
    found = shapley_interaction(random_game(players), players, samples=10, generator=rng())
    assert torch.allclose(found.values, shapley_interaction(random_game(players), players).values)
    assert (found.errors == 0).all()


def test_the_same_generator_gives_the_same_draws():
    draw = lambda seed: shapley_interaction(random_game(9), 9, samples=20, generator=rng(seed)).values  # noqa: E731
    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))


def test_many_pairs_are_looked_at_a_few_at_a_time(monkeypatch):
    sizes = []

    def game(coalitions: Tensor) -> Tensor:
        sizes.append(coalitions.numel())
        return random_game(9)(coalitions)

    monkeypatch.setattr(interaction, "ENTRIES", 4000)
    found = shapley_interaction(game, 9, samples=20, generator=rng())
    assert found.values.shape == (36,)
    assert max(sizes) <= 4000
    assert len(sizes) > 5


@pytest.mark.parametrize(
    ("players", "pairs", "options", "why"),
    [
        (9, None, {}, "9 players have 2\\^9 coalitions: give samples, or at most 8"),
        (4, [[0, 4]], {}, r"different players from 0 to 3, got \[0, 4\]"),
        (4, [[0, 1], [2, 2]], {}, r"different players from 0 to 3, got \[2, 2\]"),
        (4, [0, 1], {}, r"must be \(P, 2\) integers, got torch.int64 of \(2,\)"),
        (4, None, {"samples": 5, "generator": rng()}, "at least 6 samples and a generator, got 5"),
        (4, None, {"samples": 8}, "at least 6 samples and a generator, got 8 and None"),
    ],
)
def test_what_cannot_be_played_is_refused(players, pairs, options, why):
    with pytest.raises(ValueError, match=why):
        shapley_interaction(random_game(4), players, None if pairs is None else torch.tensor(pairs), **options)


# ------------------------------------------------------------------------------- the game of sentences and moments


def value_by_loop(similarity: list[list[float]], sentences: set[int], moments: set[int]) -> float:
    """v by its definition, in plain Python floats; those absent are out of the softmax."""
    if not sentences or not moments:
        return 0.0
    share = {}
    for s in sentences:
        top = max(similarity[s][m] for m in moments)
        total = sum(math.exp(similarity[s][m] - top) for m in moments)
        share |= {(s, m): math.exp(similarity[s][m] - top) / total for m in moments}
    of_moments = sum(max(share[s, m] for s in sentences) for m in moments) / len(moments)
    return (of_moments + sum(max(share[s, m] for m in moments) for s in sentences) / len(sentences)) / 2


def removal_by_loop(similarity: Tensor, sentences: set[int], moments: set[int]) -> Tensor:
    found, rows = torch.zeros(similarity.shape, dtype=torch.float64), similarity.tolist()
    for i in sentences:
        for j in moments:
            found[i, j] = (
                value_by_loop(rows, sentences, moments)
                - value_by_loop(rows, sentences - {i}, moments)
                - value_by_loop(rows, sentences, moments - {j})
                + value_by_loop(rows, sentences - {i}, moments - {j})
            )
    return found


def blocks(s: int, m: int, *, sharp: float = 2.0) -> Tensor:
    return sharp * torch.randn(3, s, m, generator=rng(), dtype=torch.float64)


SHAPES = [(1, 1), (1, 4), (4, 1), (2, 5), (5, 4)]


@pytest.mark.parametrize(("s", "m"), SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_pair_removal_equals_the_loop(s, m, dtype, tolerance):
    similarity = blocks(s, m)
    expected = torch.stack([removal_by_loop(block, set(range(s)), set(range(m))) for block in similarity])
    found = pair_removal(similarity.to(dtype))
    assert found.dtype == dtype
    assert torch.allclose(found.double(), expected, rtol=0, atol=tolerance)


def test_absent_sentences_and_moments_are_no_players():
    similarity = blocks(3, 5)
    sentences = torch.tensor([[1, 1, 0], [0, 1, 0], [1, 1, 1]]).bool()
    moments = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]).bool()
    whole = [
        (set(s.nonzero()[:, 0].tolist()), set(m.nonzero()[:, 0].tolist()))
        for s, m in zip(sentences, moments, strict=True)
    ]
    found = pair_removal(similarity, sentences, moments)
    expected = torch.stack([removal_by_loop(block, *who) for block, who in zip(similarity, whole, strict=True)])
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)
    values = [value_by_loop(block.tolist(), *who) for block, who in zip(similarity, whole, strict=True)]
    assert matching_value(similarity, sentences, moments).tolist() == pytest.approx(values)


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_a_moment_that_has_all_the_weight_can_be_removed(scale):
    similarity = scale * torch.tensor([[1.0, 0.0, 0.3], [-1.0, 0.9, 0.2]])
    expected = removal_by_loop(similarity.double(), {0, 1}, {0, 1, 2})
    assert torch.allclose(pair_removal(similarity).double(), expected, rtol=0, atol=1e-5)


def exactly(similarity: Tensor) -> Tensor:
    """The interaction of each sentence with each moment of one block, by the general function."""
    s, m = similarity.shape
    game = lambda c: matching_value(similarity.expand(len(c), s, m), c[:, :s], c[:, s:])  # noqa: E731
    pairs = torch.cartesian_prod(torch.arange(s), torch.arange(s, s + m))
    return shapley_interaction(game, s + m, pairs).values.unflatten(0, (s, m))


@pytest.mark.parametrize(("s", "m"), [(1, 1), (1, 4), (4, 1), (2, 5), (4, 4)])
def test_sampled_coalitions_give_the_interaction_of_the_general_function(s, m):
    similarity = blocks(s, m)
    expected = torch.stack([exactly(block) for block in similarity])
    found = sampled_interaction(similarity, draw_coalitions(8000, 3, s + m, generator=rng()))
    assert ((found.values - expected).abs() <= 4 * found.errors + 1e-12).all()
    assert found.errors.max() < 0.01
    if s > 1 and m > 1:
        assert (pair_removal(similarity) - expected).abs().max() > 0.05  # one coalition is another number


def test_the_error_of_sampled_coalitions_covers():
    similarity = blocks(2, 5)[0]
    found = sampled_interaction(similarity.expand(1000, 2, 5), draw_coalitions(64, 1000, 7, generator=rng()))
    covered = ((found.values - exactly(similarity)).abs() <= 1.96 * found.errors).double().mean(dim=0)
    assert (covered > 0.93).all()
    assert (found.errors.square().mean(dim=0).sqrt() < 1.5 * found.values.std(dim=0)).all()


def test_absent_players_are_not_sampled_and_blocks_are_their_own():
    similarity = blocks(3, 5)
    sentences, moments = torch.tensor([1, 1, 0]).bool().expand(3, 3), torch.tensor([1, 0, 1, 1, 0]).bool().expand(3, 5)
    found = sampled_interaction(similarity, draw_coalitions(8000, 3, 8, generator=rng()), sentences, moments)
    expected = torch.stack([exactly(block[:2][:, [0, 2, 3]]) for block in similarity])
    present = found.values[:, :2][:, :, [0, 2, 3]]
    assert ((present - expected).abs() <= 4 * found.errors[:, :2][:, :, [0, 2, 3]]).all()
    assert (found.values[:, 2] == 0).all()
    assert (found.values[:, :, [1, 4]] == 0).all()


def test_how_many_coalitions_are_made_together_changes_nothing(monkeypatch):
    coalitions = draw_coalitions(64, 3, 6, generator=rng())
    whole = sampled_interaction(blocks(2, 4), coalitions).values
    monkeypatch.setattr(interaction, "TOGETHER", 1)
    assert torch.equal(sampled_interaction(blocks(2, 4), coalitions).values, whole)


def test_coalitions_may_be_those_of_all_blocks():
    coalitions = draw_coalitions(64, 6, generator=rng())
    apart = torch.stack([sampled_interaction(block, coalitions).values for block in blocks(2, 4)])
    assert torch.allclose(sampled_interaction(blocks(2, 4), coalitions).values, apart)
    own = coalitions[:, None].expand(64, 3, 6)
    assert torch.allclose(sampled_interaction(blocks(2, 4), own).values, apart)


def test_but_for_two_players_every_size_is_equally_likely():
    """Of 7 players 5 are beside the pair: six sizes; 24,000 coalitions give 4,000 of each, ± 58 were they alone."""
    coalitions = draw_coalitions(24_000, 7, generator=rng())
    assert torch.equal(coalitions[1::2], ~coalitions[::2])
    counts = torch.bincount(coalitions[:, [0, 2, 3, 4, 6]].sum(dim=1))
    assert (counts - 4000).abs().max() < 250
    assert (coalitions.double().mean(dim=0) - 0.5).abs().max() < 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_played_in_float32_even_under_autocast(dtype):
    similarity = blocks(2, 4).to(dtype)
    coalitions = draw_coalitions(64, 6, generator=rng())
    with torch.autocast("cpu", torch.bfloat16):
        found, sampled = pair_removal(similarity), sampled_interaction(similarity, coalitions).values
    assert found.dtype == sampled.dtype == torch.float32
    assert torch.equal(found, pair_removal(similarity.float()))
    assert torch.equal(sampled, sampled_interaction(similarity.float(), coalitions).values)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: pair_removal(torch.ones(3)), r"must be \(..., S, M\), got torch.float32 of \(3,\)"),
        (lambda: pair_removal(torch.ones(2, 3), torch.ones(3).bool()), r"sentences must be \(2,\) bool, .* of \(3,\)"),
        (
            lambda: pair_removal(torch.ones(2, 3), None, torch.ones(3)),
            r"moments must be \(3,\) bool, got torch.float32",
        ),
        (lambda: draw_coalitions(5, 2, generator=rng()), "even and at least 4, got 5"),
        (
            lambda: sampled_interaction(torch.ones(2, 3), torch.ones(4, 4).bool()),
            r"coalitions must be \(K, 5\) bool, K even, got torch.bool of \(4, 4\)",
        ),
        (lambda: sampled_interaction(torch.ones(2, 3), torch.ones(5, 5).bool()), r"K even, got torch.bool of \(5, 5\)"),
    ],
)
def test_blocks_that_are_none_are_refused(call, why):
    with pytest.raises(ValueError, match=why):
        call()
