"""The released losses, against loops over pairs that write down what the code of Li et al. (2023) computes."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

from geomclip.grounding.model import Rows
from geomclip.grounding.moments import overlap, proposals
from geomclip.grounding.objective import Batch
from geomclip.grounding.released import (
    _hard,
    _interaction,
    _of_sentences,
    geodesic_likeness,
    released_terms,
)

EVERY = proposals(4)


def some(seed: int, videos: int = 3, d: int = 5) -> tuple[Rows, Batch]:
    """Two sentences a video, random unit rows."""
    draws = torch.Generator().manual_seed(seed)

    def unit(*shape: int) -> Tensor:
        return torch.nn.functional.normalize(torch.randn(*shape, generator=draws, dtype=torch.float64), dim=-1)

    owner = torch.arange(videos).repeat_interleave(2)
    spans = torch.tensor([[0.0, 0.5], [0.5, 1.0]], dtype=torch.float64).repeat(videos, 1)
    overlaps = overlap(spans, EVERY.spans)
    count = len(owner)
    # near each other, so that the graph leads somewhere within its limit
    middle = unit(videos, 1, d)
    moments = torch.nn.functional.normalize(middle + 0.6 * unit(videos, len(EVERY), d), dim=-1)
    rows = Rows(moments, unit(count, d), torch.zeros(count, len(EVERY), dtype=torch.float64), owner)
    same = torch.eye(count, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    batch = Batch(
        clips=torch.zeros(videos, 4, d),
        texts=rows.sentences,
        owner=owner,
        overlaps=overlaps,
        pair_sentence=torch.arange(count),
        pair_moment=overlaps.argmax(1),
        same=same,
    )
    return rows, batch


def likeness_by_loops(moments: Tensor, source: int) -> list[float]:
    n = len(moments)
    cosine = (moments @ moments.T).clamp(-1, 1)
    length = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        others = sorted((j for j in range(n) if j != i), key=lambda j: float((moments[i] - moments[j]).norm()))
        for j in others[:5]:
            length[i, j] = 1 - cosine[i, j]
    far = dijkstra(length.numpy(), directed=True, indices=source)
    return [1 - d if d <= 0.5 else 0.0 for d in far]


def test_the_geodesic_likeness_is_directed_and_ends_at_a_half() -> None:
    rows, batch = some(0)
    found = geodesic_likeness(rows, batch)
    for pair in range(len(batch)):
        expected = likeness_by_loops(rows.moments[batch.owner[pair]], int(batch.pair_moment[pair]))
        assert found[pair].tolist() == pytest.approx(expected, abs=1e-6)
    assert ((found == 0) | (found >= 0.5)).all()
    assert (found == 0).any()
    assert ((found > 0.5) & (found < 1)).any()


def test_equal_moments_have_no_edge() -> None:
    rows, batch = some(1)
    rows.moments[0] = rows.moments[0, 0]
    assert (geodesic_likeness(rows, batch)[0] > 0).sum() == 1  # itself


def test_a_masked_sentence_adds_one_to_the_denominator() -> None:
    rows, batch = some(2)
    total = 0.0
    for pair in range(len(batch)):
        true = rows.moments[batch.owner[pair], batch.pair_moment[pair]]
        plus = math.exp((float(true @ rows.sentences[pair]) - 0.3) / 0.1)
        others = 0.0
        for other in range(len(batch)):
            others += 1.0 if batch.same[pair, other] else math.exp(float(true @ rows.sentences[other]) / 0.1)
        total -= math.log(plus / (plus + others))
    assert _of_sentences(rows, batch).item() == pytest.approx(total / len(batch))


def test_hard_negatives_are_exponentiated_twice_within_a_video_and_once_beyond() -> None:
    rows, batch = some(3)
    videos, n = rows.moments.shape[:2]
    total, count = 0.0, 0
    for pair in range(len(batch)):
        video, q = int(batch.owner[pair]), rows.sentences[pair]
        true = rows.moments[video, batch.pair_moment[pair]]
        g = likeness_by_loops(rows.moments[video], int(batch.pair_moment[pair]))
        inside = []
        for m in range(n):
            moment = rows.moments[video, m]
            factor = 1.0 if g[m] == 1 else 1 + g[m]
            logit = math.exp(float(q @ moment)) * factor * math.exp(float(true @ moment)) / 0.1
            inside.append(logit if batch.overlaps[pair, m] < 0.5 else 0.0)
        others = [(b, m) for b in range(videos) if b != video for m in range(n)]
        cosines = [float(q @ rows.moments[b, m]) for b, m in others]
        alike = [float(true @ rows.moments[b, m]) for b, m in others]
        sharp = [1000 * math.exp(c) / sum(map(math.exp, cosines)) for c in cosines]
        mean_sharp, mean_alike = sum(sharp) / len(sharp), sum(alike) / len(alike)
        outside = [
            c * ((u > mean_sharp) * a + (a > mean_alike) * u) / 0.1
            for c, a, u in zip(cosines, alike, sharp, strict=True)
        ]
        best = sorted(range(n), key=lambda m: -g[m])[:5]
        z = [g[m] * math.exp(float(q @ rows.moments[video, m])) / 0.1 for m in best]
        below = float(torch.tensor([*z, *inside, *outside], dtype=torch.float64).logsumexp(0))
        total += sum(below - each for each in z)
        count += len(z)
    assert _hard(rows, batch, geodesic_likeness(rows, batch)).item() == pytest.approx(total / count, rel=1e-6)


def test_the_interaction_has_the_released_signs_order_and_masks() -> None:
    rows, _ = some(4)
    sentences, moments = rows.sentences[:2], rows.moments[0, [0, 1, 1]]
    values = []
    for i in range(3):
        for j in range(2):

            def v(i: int | None, j: int | None) -> float:
                present, said = moments.clone(), sentences.clone()
                if i is not None:
                    present[i] = -1e9
                if j is not None:
                    said[j] = -1e9
                a = (said @ present.T).softmax(1)
                return float((a.amax(0).mean() + a.amax(1).mean()) / 2)

            values.append(v(None, None) - v(i, None) + v(None, j) - v(i, j))
    weights = torch.tensor(values, dtype=torch.float64)
    weights = weights / weights.norm()
    logs = (sentences @ moments.T).log_softmax(1)
    listed = [float(logs[s, m]) for s in range(2) for m in range(3)]  # not in the order of the values
    expected = sum(w * each for w, each in zip(weights.tolist(), listed, strict=True)) / 3 * 2
    assert _interaction(sentences, moments).item() == pytest.approx(expected)


def test_both_give_finite_gradients() -> None:
    rows, batch = some(5)
    moments = rows.moments.clone().requires_grad_()
    again = Rows(moments, rows.sentences, rows.gates, rows.owner)
    sum(released_terms(again, batch)).backward()
    assert moments.grad is not None
    assert moments.grad.isfinite().all()
    assert moments.grad.abs().sum() > 0
