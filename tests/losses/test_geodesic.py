"""Terms along geodesics beside their loops: who is a positive, who a negative, who neither; players of a video."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from helpers import on_circle, random_rows
from torch import Tensor

from geomclip.embeddings.graphs import geodesic_distances
from geomclip.losses import contrastive
from geomclip.losses.geodesic import (
    geodesic_contrastive,
    geodesic_weights,
    interaction_alignment,
    moment_alignment,
    moment_contrastive,
    shapley_alignment,
)
from geomclip.losses.interaction import draw_coalitions, pair_removal, sampled_interaction

pytestmark = pytest.mark.numeric

B, N, Q, D = 3, 9, 5, 6


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Grounded:
    """A batch of videos and sentences."""

    moments: Tensor
    queries: Tensor
    owner: Tensor
    best: Tensor
    overlaps: Tensor
    distances: Tensor

    def weights(self, width: float = 0.9) -> Tensor:
        return geodesic_weights(self.distances, width=width)

    def to(self, dtype: torch.dtype) -> Grounded:
        return replace(self, moments=self.moments.to(dtype), queries=self.queries.to(dtype))

    def loss(self, weights: Tensor | None = None, **options: object) -> Tensor:
        return moment_contrastive(
            self.moments, self.queries, self.owner, self.best, self.overlaps, weights, **{"temperature": 0.2, **options}
        )


def grounded() -> Grounded:
    """Signed rows; sentences 1 and 3 name moments of one video."""
    moments = random_rows(B * N, D, seed=0).unflatten(0, (B, N))
    owner, best = torch.tensor([0, 1, 2, 1, 0]), torch.tensor([2, 0, 8, 5, 2])
    overlaps = torch.rand(Q, N, generator=rng(1), dtype=torch.float64).scatter(1, best[:, None], 1.0)
    distances = geodesic_distances(moments, k=1)[owner, best]
    assert (distances < 0.9 * math.sqrt(math.log(2))).sum() > Q  # some are near beside the best
    assert distances.isinf().any()
    return Grounded(moments, random_rows(Q, D, seed=2), owner, best, overlaps, distances)


def by_loop(
    of: Grounded, weights: list[list[float]], *, tau: float, margin: float, most: int, allowed: Tensor | None = None
) -> list[float]:
    found = []
    for q in range(Q):
        v, w = int(of.owner[q]), weights[q]
        cosine = [[float(of.queries[q] @ of.moments[b, m]) for m in range(N)] for b in range(B)]
        positives = sorted(range(N), key=lambda m, w=w: -w[m])[:most]
        towards = sum(w[m] * math.exp((cosine[v][m] - margin) / tau) for m in positives)
        against = 0.0
        for b in range(B):
            for m in range(N):
                if allowed is not None and not allowed[q, b, m]:
                    continue
                if b != v:
                    against += math.exp(cosine[b][m] / tau)
                elif of.overlaps[q, m] < 0.5 and w[m] < 0.5:
                    against += (1 + w[m]) * math.exp(cosine[b][m] / tau)
        found.append(-math.log(towards / (towards + against)))
    return found


# -------------------------------------------------------------------------------------------------------- weights


def test_weights_fall_with_the_square_of_the_distance_and_end_with_the_component():
    weights = geodesic_weights(torch.tensor([0.0, 0.35, 0.7, torch.inf]))
    assert weights.tolist() == pytest.approx([1, math.exp(-1), math.exp(-4), 0])


def test_a_width_of_0_is_refused():
    with pytest.raises(ValueError, match="width must be positive, got 0"):
        geodesic_weights(torch.zeros(2), width=0)


# ------------------------------------------------------------------------------------------ sentences and moments


@pytest.mark.parametrize("most", [1, 3, 50])
@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_the_moment_term_equals_its_loop(most, margin):
    of = grounded()
    expected = by_loop(of, of.weights().tolist(), tau=0.2, margin=margin, most=most)
    assert of.loss(of.weights(), margin=margin, most=most).tolist() == pytest.approx(expected, rel=1e-12)
    float32 = of.to(torch.float32).loss(of.weights().float(), margin=margin, most=most)
    assert float32.dtype == torch.float32
    assert float32.tolist() == pytest.approx(expected, rel=1e-5)


def test_without_weights_the_best_moment_is_the_only_positive():
    of = grounded()
    alone = [[float(m == best) for m in range(N)] for best in of.best.tolist()]
    expected = by_loop(of, alone, tau=0.2, margin=0.3, most=1)
    assert of.loss().tolist() == pytest.approx(expected, rel=1e-12)
    assert of.loss(of.weights(1e-3)).tolist() == pytest.approx(expected, rel=1e-12)  # all others are far


def test_what_is_not_allowed_is_no_negative():
    of, allowed = grounded(), torch.rand(Q, B, N, generator=rng(3)) < 0.5
    expected = by_loop(of, of.weights().tolist(), tau=0.2, margin=0.3, most=5, allowed=allowed)
    assert of.loss(of.weights(), allowed=allowed).tolist() == pytest.approx(expected, rel=1e-12)


def test_a_masked_moment_is_absent_and_not_a_cosine_of_0():
    """One video, all other moments overlap: nothing is left to be told from."""
    of = grounded()
    rows = of.moments[:1].clone().requires_grad_()
    alone = replace(of, moments=rows, owner=of.owner * 0, overlaps=torch.ones(Q, N))
    found = alone.loss(of.weights())
    assert found.tolist() == [0] * Q
    assert torch.autograd.grad(found.sum(), alone.moments)[0].tolist() == torch.zeros(1, N, D).tolist()


def test_a_moment_of_weight_0_is_no_positive():
    of = grounded()
    weights = of.weights()
    assert (weights == 0).any()
    whole = of.loss(weights, most=N)
    pulled = replace(of, moments=of.moments.clone().requires_grad_())
    gradient = torch.autograd.grad(
        pulled.loss(weights, most=N, allowed=torch.zeros(Q, B, N).bool()).sum(), pulled.moments
    )
    assert (gradient[0] == 0).all()  # of positives alone the share is 1
    assert torch.isfinite(whole).all()


@pytest.mark.parametrize("best", range(N))
def test_of_more_copies_than_positives_the_best_moment_is_one(best):
    copies = random_rows(1, D, seed=0).expand(1, N, D).clone().requires_grad_()
    found = moment_contrastive(
        torch.cat([copies, random_rows(N, D, seed=1)[None]]),
        random_rows(1, D, seed=2),
        torch.tensor([0]),
        torch.tensor([best]),
        torch.zeros(1, N),
        torch.ones(1, N),
        most=3,
    )
    gradient = torch.autograd.grad(found.sum(), copies)[0][0].norm(dim=1)
    assert (gradient > 0).sum() == 3
    assert gradient[best] > 0


def test_weights_get_no_gradient_and_rows_do():
    of, weights = grounded(), grounded().weights().requires_grad_()
    rows = replace(of, moments=of.moments.clone().requires_grad_(), queries=of.queries.clone().requires_grad_())
    found = rows.loss(weights).mean()
    assert torch.autograd.grad(found, [weights], allow_unused=True, retain_graph=True) == (None,)
    assert all((each.abs().sum() > 0) for each in torch.autograd.grad(found, [rows.moments, rows.queries]))


@pytest.mark.parametrize("temperature", [0.01, 0.1, torch.tensor(0.05)])
def test_terms_are_finite_with_finite_gradients_in_float32(temperature):
    of = grounded().to(torch.float32)
    of = replace(of, moments=of.moments.requires_grad_(), queries=of.queries.requires_grad_())
    aligned = moment_alignment(
        of.moments, of.queries, of.owner, of.distances, generator=rng(), temperature=temperature, most=4
    )
    for found in (of.loss(of.weights().float(), temperature=temperature).mean(), aligned):
        assert torch.isfinite(found)
        assert all(torch.isfinite(each).all() for each in torch.autograd.grad(found, [of.moments, of.queries]))


def test_gradients_are_the_same_under_autocast():
    def gradients(autocast: bool) -> tuple[Tensor, ...]:
        of = grounded().to(torch.float32)
        rows = [of.moments.clone().requires_grad_(), of.queries.clone().requires_grad_()]
        of = replace(of, moments=rows[0], queries=rows[1])
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found = of.loss(of.weights().float(), temperature=0.01).mean()
            found = found + moment_alignment(*rows, of.owner, of.distances, generator=rng(), temperature=0.01)
        return torch.autograd.grad(found, rows)

    for one, other in zip(gradients(False), gradients(True), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"queries": torch.ones(Q, D + 1)}, r"queries \(Q, d\), got \(3, 9, 6\) and \(5, 7\)"),
        ({"owner": torch.zeros(2).long()}, r"owner must be \(5,\), got \(2,\)"),
        ({"overlaps": torch.ones(Q, N + 1)}, r"overlaps must be \(5, 9\), got \(5, 10\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(changes, why):
    with pytest.raises(ValueError, match=why):
        replace(grounded(), **changes).loss()


def divergence(target: list[float], model: list[float]) -> float:
    share = lambda logits: [math.exp(x) / sum(map(math.exp, logits)) for x in logits]  # noqa: E731
    return sum(t * math.log(t / a) for t, a in zip(share(target), share(model), strict=True))


def test_alignment_is_the_mean_divergence_of_sentences_that_are_there():
    logits, found = torch.randn(2, 3, 4, generator=rng()), torch.randn(2, 3, 4, generator=rng(1))
    sentences = torch.tensor([[1, 1, 0], [0, 1, 1]]).bool()
    moments = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0]]).bool()
    rows = [(0, 0), (0, 1)]
    expected = [divergence((found[b, s, [0, 2, 3]] / 0.5).tolist(), logits[b, s, [0, 2, 3]].tolist()) for b, s in rows]
    value = interaction_alignment(logits, found, softness=0.5, sentences=sentences, moments=moments)
    assert value.item() == pytest.approx(sum(expected) / 2, rel=1e-5)


def test_interactions_get_no_gradient():
    logits, found = torch.eye(2, requires_grad=True), torch.eye(2, requires_grad=True)
    gradients = torch.autograd.grad(interaction_alignment(logits, found), [logits, found], allow_unused=True)
    assert gradients[0].abs().sum() > 0
    assert gradients[1] is None


def test_a_batch_of_nobody_is_0_with_a_gradient():
    logits = torch.zeros(1, 2, 3, requires_grad=True)
    value = interaction_alignment(logits, torch.zeros(1, 2, 3), moments=torch.zeros(1, 3).bool())
    assert value.item() == 0
    assert (torch.autograd.grad(value, logits)[0] == 0).all()


@pytest.mark.parametrize("sampled", [True, False])
def test_players_of_a_video_are_its_sentences_and_the_moments_near_what_they_name(sampled):
    of = grounded()
    found = moment_alignment(
        of.moments, of.queries, of.owner, of.distances, generator=rng() if sampled else None, temperature=0.3, most=6
    )
    sentences = [[q for q in range(Q) if of.owner[q] == b] for b in range(B)]
    near = [
        sorted(
            {
                m
                for q in some
                for m in sorted(range(N), key=lambda m, q=q: float(of.distances[q, m]))[:6]
                if of.distances[q, m] < torch.inf
            }
        )
        for some in sentences
    ]
    most = max(map(len, sentences)), max(map(len, near))
    coalitions = draw_coalitions(64, B, sum(most), generator=rng())
    total = 0.0
    for b in range(B):
        logits = of.queries[sentences[b]] @ of.moments[b, near[b]].T / 0.3
        mine = [*range(len(sentences[b])), *range(most[0], most[0] + len(near[b]))]
        worth = sampled_interaction(logits, coalitions[:, b, mine]).values if sampled else pair_removal(logits)
        total += sum(divergence((w / 0.1).tolist(), a.tolist()) for w, a in zip(worth, logits, strict=True))
    assert found.item() == pytest.approx(total / Q, rel=1e-9)


def test_a_video_without_sentences_changes_nothing():
    of = grounded()
    more = torch.cat([of.moments, random_rows(N, D, seed=9)[None]])
    rest = (of.queries, of.owner, of.distances)
    assert torch.equal(
        moment_alignment(of.moments, *rest, generator=None), moment_alignment(more, *rest, generator=None)
    )


# ------------------------------------------------------------------------------------------------ images and texts


def test_near_images_stand_in_for_each_other():
    """Two pairs of images a degree apart: a caption may match the other of its pair, and none of the other pair."""
    image = on_circle(0, 1, 120, 121)
    near, far = image[[1, 0, 3, 2]], image[[2, 3, 0, 1]]
    assert geodesic_contrastive(image, near, 0.001, neighbors=1) < 0.05 < contrastive(image, near, 0.001)
    assert geodesic_contrastive(image, far, 0.01, neighbors=1) > 0.9 * contrastive(image, far, 0.01)


def test_of_far_images_it_is_the_contrastive_term():
    image, text = random_rows(8, 40, seed=0), random_rows(8, 40, seed=1)
    found = geodesic_contrastive(image, text, 0.05, width=0.01, most=1)
    assert found.item() == pytest.approx(contrastive(image, text, 0.05).item(), rel=1e-12)


def test_most_neighbors_and_width_are_checked():
    x = random_rows(4, 3, seed=0)
    for options, why in (({"most": 0}, "most"), ({"neighbors": 0}, "k"), ({"width": 0.0}, "width")):
        with pytest.raises(ValueError, match=f"{why} must be"):
            geodesic_contrastive(x, x, 0.1, **options)


def test_a_block_never_holds_more_pairs_than_there_are_nor_those_that_cannot_be_reached():
    image = on_circle(0, 2, 90, 92)  # with one neighbour each, two parts
    text = random_rows(4, 2, seed=1)
    coalitions = draw_coalitions(64, 12, generator=rng())
    found = shapley_alignment(image, text, 0.5, coalitions, neighbors=1)
    # of six players a block has four, of which two are there
    here = coalitions[:, [0, 1, 6, 7]]
    parts = [shapley_alignment(image[part], text[part], 0.5, here) for part in (slice(0, 2), slice(2, 4))]
    assert found.item() == pytest.approx(sum(parts).item() / 2, rel=1e-9)


def test_coalitions_of_an_odd_number_are_refused():
    x = random_rows(4, 3, seed=0)
    with pytest.raises(ValueError, match=r"coalitions must be \(K, 2 P\), got \(8, 5\)"):
        shapley_alignment(x, x, 0.1, torch.ones(8, 5).bool())
