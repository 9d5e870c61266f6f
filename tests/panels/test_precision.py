"""What a panel promises of its digits: float64 of the rows given, large logit scales, every value in its range."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch
from helpers import class_set, random_rows, shared, small_set

import geomclip as gc
from geomclip.embeddings.record import EmbeddingSet
from geomclip.metrics import METRICS, calibration
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.sweep import sweep
from geomclip.panels.loading import load
from geomclip.panels.measurement import measure
from geomclip.panels.run import without_rounding

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_float64_of_float32_rows_is_that_of_the_rows_given(kind):
    made = small_set(60, 2, d=24)
    own = made.image_of_text
    image, text = ((size * rows.numpy()).astype(kind) for size, rows in ((3.3, made.image), (0.7, made.text)))
    given = EmbeddingSet(image, text, own, logit_scale=20)
    wide = EmbeddingSet(image.astype(float), text.astype(float), own, logit_scale=20)
    found, expected = (measure(each, metrics="all", bootstrap=0, dtype="float64").values for each in (given, wide))
    assert found == {key: value if value is None else pytest.approx(value, abs=1e-9) for key, value in expected.items()}


def close_set(n: int = 200, d: int = 32, *, spread: float = 0.02) -> EmbeddingSet:
    """Pairs whose cosines differ by 1e-4: what a model with a logit scale of 10,000 tells apart."""
    image = random_rows(1, d, seed=0) + spread * random_rows(n, d, seed=1)
    text = image.repeat_interleave(2, 0) + spread * random_rows(2 * n, d, seed=2)
    return EmbeddingSet(image, text, torch.arange(n).repeat_interleave(2), logit_scale=1e4)


def sets_of_large_scales() -> dict[str, EmbeddingSet]:
    real = gc.load(shared("data/embeddings/flickr8k_100x5_vitb32/embeddings.npz"), dtype=torch.float64)
    return {"close": close_set(), "few": close_set(8, 3), "real": real}


@pytest.mark.parametrize("name", ["close", "few", "real"])
@pytest.mark.parametrize("scale", [1e3, 1e4, 1e5])
def test_a_large_logit_scale_keeps_the_promise_of_float32(name, scale):
    made = sets_of_large_scales()[name]
    keys = [f"{way}_retrieval_{key}" for way in ("image", "text") for key in ("ece", "mce", "ace", "brier", "nll")]
    found, exact = (
        measure(made, metrics=keys, bootstrap=0, dtype=dtype, logit_scale=scale) for dtype in ("float32", "float64")
    )
    for key in keys:
        assert found[key] == pytest.approx(exact[key], rel=2e-5, abs=2e-5), key
    if name != "few":  # three dimensions of a float32 row do not hold an angle as well
        for way in ("image", "text"):
            sure = found.items[way]["confidence"]
            assert sure == pytest.approx(exact.items[way]["confidence"], abs=2e-5)


@pytest.mark.parametrize("scale", [20.0, 100.0])
def test_a_usual_logit_scale_settles_no_more_than_edges_and_ties(scale, monkeypatch):
    one, other = (4 / scale**0.5 * random_rows(200, 32, seed=seed) for seed in (1, 2))
    centre = random_rows(1, 32, seed=0)
    made = EmbeddingSet((centre + one).float(), (centre + 0.5 * one + other).float())
    pairing = Pairing.of(made.image, made.text)
    (both,) = sweep(pairing, [calibration.Masses(scale)])
    assert ((both["text"].confidence > 0.1) & (both["text"].confidence < 0.9)).double().mean() > 0.3
    settled = []
    exact = calibration._exact_posterior

    def counted(queries, *args):
        settled.append(len(queries))
        return exact(queries, *args)

    monkeypatch.setattr(calibration, "_exact_posterior", counted)
    sweep(pairing, [calibration.Masses(scale)])
    assert sum(settled) < 0.05 * (pairing.n + pairing.m)
    settled.clear()
    sweep(pairing, [calibration.Masses(1e4)])
    assert sum(settled) > 0


def test_hits_are_those_of_the_ranks_at_any_scale():
    made = close_set(spread=1e-3)
    for scale in (10.0, 1e4):
        panel = measure(made, bootstrap=0, logit_scale=scale)
        ranks, hits = (np.array(panel.items["text"][name]) for name in ("rank", "hit"))
        assert (hits == (ranks == 1)).all()


def test_the_neighbours_of_two_spaces_are_those_of_the_rows_that_all_keys_use():
    image = random_rows(1, 8, seed=0) + 3e-4 * random_rows(60, 8, seed=1)
    text = random_rows(1, 8, seed=2) + 3e-4 * random_rows(60, 8, seed=3)
    made = EmbeddingSet(image, text, logit_scale=10)
    panel = measure(made, metrics=["mutual_knn"], bootstrap=0)
    kept = made.in_precision(torch.float32)
    places = []
    for rows in (kept.image.double(), kept.text.double()):
        scores = (rows @ rows.T).fill_diagonal_(-torch.inf)
        edge = scores.topk(10).values[:, -1:]
        above, level = scores > edge + 1e-9, (scores - edge).abs() <= 1e-9  # those level share what is left
        places.append(above + level * (10 - above.sum(1, keepdim=True)) / level.double().sum(1, keepdim=True))
    assert panel["mutual_knn"] == pytest.approx(float(torch.minimum(*places).sum()) / 600, abs=1e-12)


def turned(n: int, rows: torch.Tensor) -> torch.Tensor:
    """Every other row turned around."""
    return torch.where(torch.arange(n) % 2 == 0, 1.0, -1.0)[:, None] * rows


DEGENERATE = {
    "plain": lambda n, d: (random_rows(n, d, seed=n), random_rows(2 * n, d, seed=d), torch.arange(2 * n) % n),
    "all equal": lambda n, d: (random_rows(1, d, seed=n).expand(n, d),) * 2,
    "each equal": lambda n, d: tuple(random_rows(1, d, seed=seed).expand(n, d) for seed in (n, d)),
    "opposite": lambda n, d: tuple(sign * random_rows(1, d, seed=n).expand(n, d) for sign in (1, -1)),
    "two poles": lambda n, d: (turned(n, random_rows(1, d, seed=n).expand(n, d)),) * 2,
    "mirrored": lambda n, d: (turned(n, random_rows(n, d, seed=n)), random_rows(n, d, seed=n)),
    "one caption": lambda n, d: (random_rows(n, d, seed=n), random_rows(1, d, seed=d).expand(n, d)),
    "one image of 200 captions": lambda n, d: (
        random_rows(n, d, seed=n),
        random_rows(200, d, seed=d),
        torch.zeros(200, dtype=torch.int64),
    ),
    "perfect": lambda n, d: (random_rows(n, d, seed=n),) * 2,
    "close": lambda n, d: tuple(
        random_rows(1, d, seed=n) + 1e-4 * random_rows(n, d, seed=seed) for seed in (n + 1, d + 1)
    ),
}


NULLS: dict[str, dict[str, float]] = {}
"""Simulated once for all sets of a size."""


def assert_in_range(panel: gc.Panel) -> None:
    for key, value in panel.values.items():
        assert value is None or METRICS[key].low <= value <= METRICS[key].high, (key, value)


@pytest.mark.parametrize("kind", DEGENERATE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("d", [1, 2, 16])
def test_no_value_leaves_its_range_and_every_result_reads_back(kind, dtype, d, tmp_path):
    for n, scale in ((2, 1e4), (4, 1.0), (20, 1e4)):
        embeddings = EmbeddingSet(*DEGENERATE[kind](n, d), logit_scale=scale)
        panel = measure(embeddings, metrics="all", bootstrap=0, dtype=dtype, null_cache=NULLS)
        assert_in_range(panel)
        assert json.loads(json.dumps(panel.to_dict(), allow_nan=False))["metrics"] == dict(panel.values)
        assert load(panel.save(tmp_path / f"{n}.json")).values == panel.values


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("d", [1, 2, 16])
def test_no_value_of_classes_leaves_its_range(dtype, d):
    for n, classes in ((2, 2), (3, 2), (7, 3), (30, 3)):
        made = class_set(n, classes, d)
        equal = made.replace(image=made.image[:1].expand(n, d), class_text=made.class_text[:1].expand(classes, d))
        for each in (made, equal):
            assert_in_range(measure(each, metrics="all", bootstrap=0, dtype=dtype))


def test_more_than_rounding_is_not_hidden():
    kept = partial(without_rounding, "mean_cosine_text", rounding=2e-6)
    assert [kept(value) for value in (1.0000000278, -1 - 1e-7, 1.001, 0.3)] == [1, -1, 1.001, 0.3]
