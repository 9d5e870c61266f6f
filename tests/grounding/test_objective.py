"""Terms of the objective against loops over their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from geomclip.embeddings.graphs import geodesic_distances
from geomclip.grounding.model import Rows
from geomclip.grounding.moments import proposals
from geomclip.grounding.objective import (
    METHODS,
    TERMS,
    Batch,
    Objective,
    Options,
    Seen,
    batch_of,
    merged,
    method_named,
    overlap_loss,
    scaled,
    to_moments,
    to_sentences,
)
from geomclip.grounding.record import Query
from geomclip.losses.geodesic import geodesic_weights, moment_alignment
from geomclip.machine.errors import InputError

CLIPS = 5


def scene(seed: int = 0) -> tuple[Rows, Batch, list[Query]]:
    """Three videos: overlapping sentences in the first, two windows in the second, one sentence in the third."""
    generator = torch.Generator().manual_seed(seed)
    queries = [
        Query("a", "runs", ((0.0, 2.0),), 5.0),
        Query("a", "runs fast", ((0.0, 3.0),), 5.0),  # overlaps the first by 2/3
        Query("a", "sits", ((4.0, 5.0),), 5.0),
        Query("b", "jumps", ((0.0, 1.0), (6.0, 10.0)), 10.0),
        Query("c", "runs", ((3.0, 4.0),), 5.0),
    ]
    owner = torch.tensor([0, 0, 0, 1, 2])
    every = proposals(CLIPS)
    moments = normalize(torch.randn(3, len(every), 6, generator=generator).double(), dim=-1)
    sentences = normalize(torch.randn(5, 6, generator=generator).double(), dim=-1)
    rows = Rows(moments, sentences, torch.randn(5, len(every), generator=generator).double(), owner)
    return rows, batch_of(torch.zeros(3, CLIPS, 6), torch.zeros(5, 6), owner, queries, every), queries


def ratio(one: tuple[float, float], other: tuple[float, float]) -> float:
    inside = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    return inside / (one[1] - one[0] + other[1] - other[0] - inside)


def seconds(query: Query) -> list[tuple[float, float]]:
    return [(start * query.duration, end * query.duration) for start, end in proposals(CLIPS).spans.tolist()]


def seen(rows: Rows, batch: Batch, options: Options | None = None) -> Seen:
    return Seen(rows, batch, options or Options())


def test_targets_are_overlaps_with_the_nearest_window() -> None:
    _, batch, queries = scene()
    for place, query in enumerate(queries):
        expected = [max(ratio(moment, window) for window in query.windows) for moment in seconds(query)]
        assert batch.overlaps[place].tolist() == pytest.approx(expected)
    assert batch.pair_sentence.tolist() == [0, 1, 2, 3, 3, 4]
    for sentence, moment, window in zip(
        batch.pair_sentence.tolist(), batch.pair_moment.tolist(), [w for q in queries for w in q.windows], strict=True
    ):
        found = [ratio(each, window) for each in seconds(queries[sentence])]
        assert found[moment] == max(found)


def test_sentences_whose_moments_overlap_are_no_negatives_of_each_other() -> None:
    _, batch, _ = scene()
    expected = torch.eye(5, dtype=torch.bool)
    expected[0, 1] = expected[1, 0] = True  # "runs" of another video stays a negative
    assert torch.equal(batch.same, expected)


def test_overlap_is_cross_entropy_with_scaled_overlaps() -> None:
    rows, batch, _ = scene()
    total = 0.0
    for q in range(5):
        for m in range(len(proposals(CLIPS))):
            target = min(1.0, max(0.0, (float(batch.overlaps[q, m]) - 0.5) / 0.5))
            chance = 1 / (1 + math.exp(-float(rows.gates[q, m])))
            total -= target * math.log(chance) + (1 - target) * math.log(1 - chance)
    assert float(overlap_loss(seen(rows, batch))) == pytest.approx(total / (5 * len(proposals(CLIPS))), rel=1e-6)


def by_loops(rows: Rows, batch: Batch, options: Options, *, moments: bool) -> float:
    cosines = rows.cosines()
    videos, n = rows.moments.shape[:2]
    by_sentence: dict[int, list[float]] = {}
    for q, m in zip(batch.pair_sentence.tolist(), batch.pair_moment.tolist(), strict=True):
        own = int(batch.owner[q])
        true = math.exp((float(cosines[q, own, m]) - options.margin) / options.temperature)
        below = true
        if moments:
            for video in range(videos):
                for other in range(n):
                    if video != own or batch.overlaps[q, other] < 0.5:
                        below += math.exp(float(cosines[q, video, other]) / options.temperature)
        else:
            for other in range(len(batch)):
                if not batch.same[q, other]:
                    below += math.exp(float(cosines[other, own, m]) / options.temperature)
        by_sentence.setdefault(q, []).append(-math.log(true / below))
    return sum(sum(each) / len(each) for each in by_sentence.values()) / len(by_sentence)


@pytest.mark.parametrize("options", [Options(), Options(temperature=0.5, margin=0.0)])
def test_contrast_is_its_definition(options: Options) -> None:
    rows, batch, _ = scene()
    for term, moments in ((to_sentences, False), (to_moments, True)):
        assert float(term(seen(rows, batch, options))) == pytest.approx(by_loops(rows, batch, options, moments=moments))


def test_what_is_not_allowed_is_no_negative() -> None:
    rows, batch, _ = scene()
    allowed = torch.ones(5, 3, len(proposals(CLIPS)), dtype=torch.bool)
    allowed[0, 2, 3] = False
    oracle = Batch(**{**vars(batch), "allowed": allowed})
    assert float(to_moments(seen(rows, oracle))) < float(to_moments(seen(rows, batch)))
    allowed[:] = True
    assert float(to_moments(seen(rows, oracle))) == float(to_moments(seen(rows, batch)))
    allowed[0, 0] = False  # of its own video: what overlaps its moment still counts, the rest does not
    expected = overlap_loss(
        Seen(Rows(rows.moments, rows.sentences, rows.gates[1:], rows.owner[1:]), part(batch), Options())
    )
    own = batch.overlaps[0] >= 0.5
    inside = torch.nn.functional.binary_cross_entropy_with_logits(
        rows.gates[0, own], scaled(batch.overlaps[0, own], Options()).double(), reduction="sum"
    )
    count = 4 * len(proposals(CLIPS))
    whole = (float(expected) * count + float(inside)) / (count + int(own.sum()))
    assert float(overlap_loss(seen(rows, oracle))) == pytest.approx(whole)


def part(batch: Batch) -> Batch:
    """Without the first sentence, for terms that look at overlaps alone."""
    return Batch(**{**vars(batch), "texts": batch.texts[1:], "owner": batch.owner[1:], "overlaps": batch.overlaps[1:]})


def test_a_lone_sentence_has_no_negatives_and_a_gradient_that_is_a_number() -> None:
    every = proposals(1)  # a video of one clip
    query = Query("a", "runs", ((0.0, 5.0),), 5.0)
    moments = normalize(torch.randn(1, 1, 4, generator=torch.Generator().manual_seed(0)), dim=-1).requires_grad_()
    owner = torch.zeros(1, dtype=torch.int64)
    batch = batch_of(torch.zeros(1, 1, 4), torch.zeros(1, 4), owner, [query], every)
    for name in METHODS:
        rows = Rows(moments, normalize(torch.ones(1, 4), dim=-1), torch.zeros(1, 1), owner)
        loss = Objective(method_named(name))(rows, batch, generator=torch.Generator().manual_seed(0))
        assert torch.isfinite(loss.total), name
        (gradient,) = torch.autograd.grad(loss.total, moments)
        assert torch.isfinite(gradient).all(), name


def test_the_total_is_the_weighted_sum_of_the_terms() -> None:
    rows, batch, _ = scene()
    for name, method in METHODS.items():
        loss = Objective(method)(rows, batch, generator=torch.Generator().manual_seed(0))
        expected = sum(weight * float(loss.terms[term]) for term, weight in method.terms.items())
        assert float(loss.total) == pytest.approx(expected), name


def test_one_sentence_with_two_moments_becomes_one_query() -> None:
    twice = [
        Query("v", "jumps", ((0.0, 1.0),), 9.0, "1"),
        Query("w", "jumps", ((2.0, 3.0),), 9.0, "2"),
        Query("v", "jumps", ((5.0, 6.0), (0.0, 1.0)), 9.0, "3"),
    ]
    assert merged(twice) == [Query("v", "jumps", ((0.0, 1.0), (5.0, 6.0)), 9.0, "1"), twice[1]]


def test_a_method_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown method 'geodesics'; did you mean geodesic"):
        method_named("geodesics")


def test_the_geodesic_term_counts_near_moments_as_positives() -> None:
    """With a reach of nothing it is contrast alone; a copy of the true moment elsewhere is pulled, not pushed."""
    rows, batch, _ = scene()
    none = seen(rows, batch, Options(reach=1e-6))
    assert float(TERMS["geodesic"](none)) == pytest.approx(float(to_moments(none)))
    pair = 5  # the sentence of the third video
    moments, true = rows.moments.clone(), int(batch.pair_moment[pair])
    copy = int((batch.overlaps[4] == 0).nonzero()[0, 0])
    moments[2, copy] = moments[2, true]
    moments.requires_grad_()
    made = seen(Rows(moments, rows.sentences, rows.gates, rows.owner), batch)
    for weights, sign in ((None, 1), (geodesic_weights(made.distances), -1)):
        (gradient,) = torch.autograd.grad(made.by_pair(weights)[pair], moments)
        assert math.copysign(1, float(gradient[2, copy] @ rows.sentences[4])) == sign


def test_the_distance_from_a_sentence_is_that_from_its_nearest_moment() -> None:
    rows, batch, _ = scene()
    made = seen(rows, batch, Options(reach=2.0))
    every = geodesic_distances(rows.moments, k=5)
    for sentence in range(len(batch)):
        pairs = (batch.pair_sentence == sentence).nonzero()[:, 0]
        rows_of = every[int(batch.owner[sentence]), batch.pair_moment[pairs]]
        assert torch.equal(made.distances[pairs], rows_of)
        assert torch.equal(made.nearest[sentence], rows_of.amin(0))


def test_coalitions_need_a_generator_and_are_the_same_from_the_same() -> None:
    rows, batch, _ = scene()
    method = Objective(method_named("shapley"))
    with pytest.raises(ValueError, match="give the objective a generator"):
        method(rows, batch)
    one, other, third = (
        method(rows, batch, generator=torch.Generator().manual_seed(seed)).terms["interaction"] for seed in (0, 0, 1)
    )
    assert torch.equal(one, other)
    assert not torch.equal(one, third)


@pytest.mark.parametrize("sampled", [True, False])
def test_the_game_of_a_video_is_that_of_its_sentences_and_nearest_moments(sampled: bool) -> None:
    """As `moment_alignment` plays it, which gathers rows where cosines are not at hand."""
    rows, batch, _ = scene()
    made = Seen(rows, batch, Options(reach=2.0), torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0) if sampled else None
    expected = moment_alignment(
        rows.moments, rows.sentences, rows.owner, made.nearest, generator=generator, most=Options.players
    )
    found = TERMS["interaction" if sampled else "pair_removal"](made)
    assert float(found) == pytest.approx(float(expected), abs=0.02 if sampled else 1e-9)
    assert made.game.moments.sum(1).tolist() == [
        len(
            {
                int(m)
                for q in (batch.owner == video).nonzero()[:, 0]
                for m in made.nearest[q].argsort()[: Options.players]
            }
        )
        for video in range(3)
    ]
