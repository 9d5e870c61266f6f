"""Alignment, uniformity, retrieval and its calibration: pencil, float64 double loops, ties, torch and numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import on_circle, random_rows, small_set
from torch import Tensor

from geomclip.metrics import (
    alignment,
    relative_alignment_image_to_text,
    relative_alignment_text_to_image,
    retrieval,
    retrieval_posterior,
    uniformity,
    uniformity_cross,
    uniformity_joint,
)
from geomclip.metrics.calibration import Masses, calibrated
from geomclip.metrics.null import chance, closed_form
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.retrieval import chance_recall
from geomclip.metrics.sweep import sweep

pytestmark = pytest.mark.numeric


def rows_of(n: int = 14, per_image: int = 3, *, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Signed rows, texts in shuffled order, the last image without text."""
    made = small_set(n, per_image, seed=seed)
    own = made.image_of_text
    kept = (own < n - 1).nonzero()[:, 0]
    kept = kept[torch.randperm(len(kept), generator=torch.Generator().manual_seed(seed))]
    return made.image, made.text[kept], own[kept]


def loop(image: Tensor, text: Tensor, own: Tensor, scale: float = 20.0) -> dict[str, float]:
    """Every number by its definition, one query at a time."""
    x, y, own = image.double().numpy(), text.double().numpy(), own.numpy()
    s = x @ y.T
    n, m = s.shape
    out: dict[str, float] = {}
    out["alignment"] = np.mean([np.sum((x[own[j]] - y[j]) ** 2) for j in range(m)])
    out["t2i"] = 2 * np.mean([max(s[i, j] for i in range(n) if i != own[j]) - s[own[j], j] for j in range(m)])
    asks = [i for i in range(n) if (own == i).any()]
    out["i2t"] = 2 * np.mean([s[i, own != i].max() - s[i, own == i].mean() for i in asks])
    kernel = lambda a, b: math.exp(-2 * np.sum((a - b) ** 2))  # noqa: E731
    out["cross"] = math.log(np.mean([kernel(x[i], y[j]) for i in range(n) for j in range(m) if own[j] != i]))
    for name, z in (("image", x), ("text", y), ("joint", np.concatenate([x, y]))):
        pairs = [kernel(z[p], z[q]) for p in range(len(z)) for q in range(p)]
        out[name] = math.log(np.mean(pairs))
    text_rank = [1 + sum(s[i, j] >= s[own[j], j] - 1e-9 for i in range(n) if i != own[j]) for j in range(m)]
    image_rank = [1 + sum(s[i, j] >= s[i, own == i].max() - 1e-9 for j in range(m) if own[j] != i) for i in asks]
    for prefix, rank in (("image_retrieval", np.array(text_rank)), ("text_retrieval", np.array(image_rank))):
        for k in (1, 5, 10):
            out[f"{prefix}_recall@{k}"] = np.mean(rank <= k)
        out[f"{prefix}_median_rank"] = np.median(rank)
        out[f"{prefix}_mean_rank"] = rank.mean()
    return out


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_numbers_equal_a_float64_double_loop(seed, dtype, tolerance):
    image, text, own = rows_of(seed=seed)
    image, text = image.to(dtype), text.to(dtype)
    expected = loop(image, text, own)
    found = {
        "alignment": alignment(image, text, own),
        "t2i": relative_alignment_text_to_image(image, text, own),
        "i2t": relative_alignment_image_to_text(image, text, own),
        "cross": uniformity_cross(image, text, own),
        "image": uniformity(image),
        "text": uniformity(text),
        "joint": uniformity_joint(image, text),
        **retrieval(image, text, own),
    }
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert float(found[key]) == pytest.approx(value, abs=tolerance * max(1, abs(value))), key


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scale", [1.0, 20.0, 300.0])
def test_posteriors_equal_a_float64_softmax(dtype, scale):
    image, text, own = rows_of(seed=3)
    text = torch.nn.functional.normalize(text + random_rows(*text.shape, seed=9), dim=1)  # so that some are wrong
    found = retrieval_posterior(image.to(dtype), text.to(dtype), own, logit_scale=scale)
    logits = scale * (image.to(dtype).double() @ text.to(dtype).double().T)
    by_text = logits.softmax(0)  # (n, m)
    per_image = torch.zeros(len(image), len(image), dtype=torch.float64).index_add_(1, own, logits.softmax(1))
    tolerance = {"abs": 1e-12 if dtype == torch.float64 else scale * 1e-6}
    right = by_text[own, torch.arange(len(own))]
    assert found["image_retrieval_nll"].tolist() == pytest.approx((-right.log()).tolist(), **tolerance)
    assert found["image_retrieval_confidence"].tolist() == pytest.approx(by_text.amax(0).tolist(), **tolerance)
    asks = torch.bincount(own, minlength=len(image)) > 0
    assert found["text_retrieval_confidence"][asks].tolist() == pytest.approx(
        per_image.amax(1)[asks].tolist(), **tolerance
    )
    assert (
        found["text_retrieval_hit"][asks].tolist()
        == (per_image.argmax(1)[asks] == torch.arange(len(image))[asks]).double().tolist()
    )
    assert found["text_retrieval_confidence"][~asks].isnan().all()
    if scale > 1:
        assert 0 < found["text_retrieval_hit"][asks].mean() < 1
    p = Pairing.of(image.to(dtype), text.to(dtype), own)
    (both,) = sweep(p, [Masses(scale, squares=True)])
    assert p.unsorted(both["text"].squares).tolist() == pytest.approx(by_text.square().sum(0).tolist(), **tolerance)
    assert both["image"].squares[asks].tolist() == pytest.approx(per_image.square().sum(1)[asks].tolist(), **tolerance)


def test_an_image_wins_by_the_sum_of_its_texts_not_by_its_best_one():
    # one text of image 1 is nearest to image 0, but image 0 has two texts nearly as near
    image = on_circle(0, 90)
    text = on_circle(12, -12, 10)
    found = retrieval_posterior(image, text, torch.tensor([0, 0, 1]), logit_scale=10.0)
    assert found["text_retrieval_hit"][0] == 1
    assert retrieval(image, text, torch.tensor([0, 0, 1]))["text_retrieval_recall@1"] == 0.0


def test_two_texts_of_one_image_are_one_class_where_another_image_has_none():
    # as many images as texts: their numbers do not tell that image 0 has two texts
    image, text = on_circle(0, 90, 180, 350), on_circle(10, -10, 170, 90)
    own = torch.tensor([0, 0, 2, 3])
    found = retrieval_posterior(image, text, own, logit_scale=1.0)
    weights = (image @ text.T).exp()[3]
    masses = torch.stack([weights[:2].sum(), weights[2], weights[3]])
    assert torch.isclose(found["text_retrieval_confidence"][3], masses.max() / masses.sum())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_duplicates_in_other_blocks_count_against_the_query(dtype):
    # 1,500 copies of one image: a text of one of them has 1,499 ties before it
    copies = random_rows(1, 8, seed=0).repeat(1500, 1).to(dtype)
    found = retrieval(copies, copies)
    assert found["image_retrieval_mean_rank"] == 1500
    assert found["text_retrieval_mean_rank"] == 1500
    assert found["text_retrieval_recall@10"] == 0


def test_a_rank_is_that_of_exact_scores_where_float32_cannot_tell():
    # scores 1e-8 apart lie in one float32 step: only float64 ranks them, 1e-10 apart is a tie
    base = random_rows(1, 32, seed=0)[0]
    aside = random_rows(1, 32, seed=1)[0]
    aside = aside - (aside @ base) * base
    steps = torch.tensor([0.0, 2e-4, 4e-4], dtype=torch.float64)[:, None]
    image = torch.nn.functional.normalize(base + steps * aside, dim=1)
    exact = retrieval(image, image[[0, 0, 0]], torch.tensor([0, 1, 2]))
    for_float32 = retrieval(image.float(), image[[0, 0, 0]].float(), torch.tensor([0, 1, 2]))
    assert exact["image_retrieval_mean_rank"] == 2  # ranks 1, 2, 3
    scores = image.float().double() @ image[0].float().double()
    ranks = [1 + int(sum(scores[i] >= scores[j] - 1e-9 for i in range(3) if i != j)) for j in range(3)]
    assert for_float32["image_retrieval_mean_rank"] == sum(ranks) / 3


def test_a_negative_cosine_can_be_the_best_answer():
    found = retrieval(on_circle(0, 180), on_circle(100, -100), torch.tensor([0, 1]))
    assert found["image_retrieval_recall@1"] == 0.5


def test_moving_the_scale_of_rows_changes_nothing():
    image, text, own = rows_of()
    grown = retrieval(7 * image, 0.1 * text, own)
    assert grown == retrieval(image, text, own)


def test_numpy_in_numpy_out_and_torch_in_torch_out():
    image, text, own = rows_of()
    assert isinstance(alignment(image, text, own), Tensor)
    assert isinstance(alignment(image.numpy(), text.numpy(), own.numpy()), np.floating)
    assert alignment(image.numpy(), text.numpy(), own.numpy()) == alignment(image, text, own).item()


def test_half_precision_rows_are_measured_in_float32():
    image, text, own = rows_of()
    assert float(alignment(image.half(), text.half(), own)) == pytest.approx(
        float(alignment(image, text, own)), abs=2e-3
    )


def test_uniformity_of_three_points_by_pencil():
    # 0, 60, 180 degrees: squared distances 1, 4, 3
    expected = math.log((math.exp(-2) + math.exp(-8) + math.exp(-6)) / 3)
    assert uniformity(on_circle(0, 60, 180)).item() == pytest.approx(expected, abs=1e-14)


def test_uniformity_of_one_row_is_refused():
    with pytest.raises(ValueError, match="at least 2 rows, got 1"):
        uniformity(torch.eye(3)[:1])


def test_relative_alignment_needs_a_text_of_another_image():
    with pytest.raises(ValueError, match="no image has both"):
        relative_alignment_image_to_text(torch.eye(2), torch.eye(2), torch.tensor([0, 0]))


def test_chance_of_recall_equals_counting_all_orders():
    import itertools

    own = torch.tensor([0, 0, 1, 2])
    p = Pairing.of(torch.eye(3), torch.eye(4)[:, :3] + 0.1, own)
    for k in (1, 2, 3):
        orders = list(itertools.permutations(own.tolist()))
        by_image = np.mean([[i in order[:k] for i in range(3)] for order in orders])
        assert chance_recall(p, k) == pytest.approx((by_image, k / 3))


def test_chance_of_the_mean_rank_equals_counting_all_orders():
    import itertools

    own = torch.tensor([0, 0, 1, 2])
    p = Pairing.of(torch.eye(3), torch.eye(4)[:, :3] + 0.1, own)
    orders = list(itertools.permutations(own.tolist()))
    # the rank counts unmatched items before the first matched one
    mean = np.mean([[1 + sum(o != i for o in order[: order.index(i)]) for i in range(3)] for order in orders])
    assert chance(p)["text_retrieval_mean_rank"] == pytest.approx(mean)


def test_nulls_in_closed_form_are_those_of_random_rows():
    image, text = random_rows(400, 24, seed=5), random_rows(300, 24, seed=6)
    nulls = closed_form(24)
    assert float(uniformity(image)) == pytest.approx(nulls["uniformity_image"], abs=0.02)
    assert float(uniformity_joint(image, text)) == pytest.approx(nulls["uniformity_joint"], abs=0.02)


@pytest.mark.parametrize("axis", ["text", "image"])
def test_the_fitted_temperature_is_that_of_a_fine_grid(axis):
    image, text, own = rows_of(40, 2, seed=8)
    p = Pairing.of(image, text, own)
    temperature, error = calibrated(p, axis, seed=0)
    order = torch.randperm(p.n, generator=torch.Generator().manual_seed(0))
    first = torch.zeros(p.n, dtype=torch.bool).index_fill_(0, order[: p.n // 2], True)
    s = p.image @ p.text.T
    grid = torch.logspace(-2, 4, 6001, dtype=torch.float64)

    def nll(scale: float) -> float:
        if axis == "text":
            return float(-(scale * s).log_softmax(0)[p.own, torch.arange(p.m)][first[p.own]].mean())
        masses = torch.zeros(p.n, p.n, dtype=torch.float64).index_add_(1, p.own, (scale * s).softmax(1))
        return float(-masses.diagonal().log()[first & (p.texts_of_image > 0)].mean())

    best = min(grid.tolist(), key=nll)
    assert 1 / temperature == pytest.approx(best, rel=3e-3)
    assert 0 <= error <= 1
