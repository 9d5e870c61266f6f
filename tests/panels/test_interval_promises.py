"""What holds of every interval of every set: ends in order and in range, or a reason; and what it is an interval of."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import class_set, random_rows, run_cli, small_set
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

import geomclip as gc
from geomclip.embeddings.record import EmbeddingSet
from geomclip.metrics import METRICS
from geomclip.panels.comparison import compare
from geomclip.panels.intervals import LEAST
from geomclip.panels.loading import load
from geomclip.panels.measurement import measure
from geomclip.panels.record import Panel
from geomclip.panels.sentences import read

pytestmark = pytest.mark.numeric

UNBIASED = ("_debiased", "_squared", "_standardized")
"""Keys whose value may be a root of less than 0, taken as 0."""


def unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=1)


def assert_sound(panel: Panel, folder: Path) -> None:
    """Every key has ends in order and in range about its value, or a reason; and the result comes back and compares."""
    for key, value in panel.values.items():
        metric = METRICS[key]
        if value is None:
            assert key in panel.notes, key
            assert key not in panel.ci, key
            assert key not in panel.no_interval, key
            continue
        inside = min(max(value, metric.low), metric.high)
        assert value == pytest.approx(inside, abs=1e-6), key
        assert (key in panel.ci) != (key in panel.no_interval), key
        if key in panel.no_interval:
            assert panel.no_interval[key].strip(), key
            continue
        low, high = panel.ci[key]
        assert metric.low <= low <= high <= metric.high, (key, low, high)
        assert math.isfinite(low), key
        assert math.isfinite(high), key
        if not key.endswith(UNBIASED):
            rounding = 1e-9 * max(1.0, abs(inside))
            assert low - rounding <= inside <= high + rounding, (key, low, value, high)
    if panel.n_images < LEAST:
        assert panel.ci == {}
    back = load(panel.save(folder / "r.json"))
    assert json.dumps(back.to_dict()) == json.dumps(panel.to_dict())
    found = compare(panel, back)
    assert {row.difference for row in found.rows.values()} <= {0.0, None}
    assert {row.verdict for row in found.rows.values()} <= {"same", ""}
    assert str(panel)
    assert str(found)


def drawn_set(n: int, d: int, texts: int, seed: int, **changes: bool) -> EmbeddingSet:
    """n images in d dimensions with up to so many texts, changed as asked."""
    counts = torch.randint(1, texts + 1, (n,), generator=torch.Generator().manual_seed(seed))
    if changes.get("one_has_200"):
        counts[n // 2] = 200
    if changes.get("some_without_text"):
        counts[: n // 2], counts[-1] = 0, 2
    own = torch.arange(n).repeat_interleave(counts)
    image = random_rows(n, d, seed=seed) + 0.5 * random_rows(1, d, seed=seed + 1)
    text = image[own] + 0.7 * random_rows(len(own), d, seed=seed + 2)
    if changes.get("one_caption"):
        text = text[:1].expand(len(own), d)
    if changes.get("equal_rows"):
        image, text = image[:1].expand(n, d), text[:1].expand(len(own), d)
    if changes.get("copied_images"):
        image = image[torch.arange(n) // 3 * 3]
    if changes.get("perfect"):
        text = image[own]
    return EmbeddingSet(unit(image), unit(text), own, logit_scale=30.0)


CHANGES = ("one_has_200", "some_without_text", "one_caption", "equal_rows", "copied_images", "perfect")


@given(
    n=st.integers(2, 40),
    d=st.sampled_from([1, 2, 3, 8, 50]),
    texts=st.integers(1, 4),
    seed=st.integers(0, 10_000),
    change=st.sampled_from([None, *CHANGES]),
    dtype=st.sampled_from(["float32", "float64"]),
)
@example(n=2, d=2, texts=1, seed=0, change="equal_rows", dtype="float32")  # cosines past 1
@example(n=20, d=1, texts=1, seed=0, change="one_caption", dtype="float32")  # no direction is left
@settings(max_examples=60, deadline=None)
def test_every_interval_of_any_small_set_is_in_order_in_range_and_about_its_value(
    tmp_path_factory: pytest.TempPathFactory, n: int, d: int, texts: int, seed: int, change: str | None, dtype: str
) -> None:
    made = drawn_set(n, d, texts, seed, **({change: True} if change else {}))
    panel = measure(made, metrics="all", bootstrap=40, dtype=dtype, null_cache=defaultdict(dict))
    assert_sound(panel, tmp_path_factory.mktemp("any"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [2, 25])
@pytest.mark.parametrize("change", [None, *CHANGES, "no_gap"])
def test_so_is_every_interval_of_a_set_that_has_nothing_to_vary(
    change: str | None, n: int, dtype: str, tmp_path: Path
) -> None:
    if change == "no_gap":
        image = random_rows(n, 6, seed=3)
        made = EmbeddingSet(image, image.flip(0), logit_scale=10.0)
        assert measure(made, metrics=["modality_gap"], bootstrap=0, dtype="float64")["modality_gap"] < 1e-15
    else:
        made = drawn_set(n, 6, 3, 5, **({change: True} if change else {}))
    assert_sound(measure(made, metrics="all", bootstrap=40, dtype=dtype), tmp_path)


@pytest.mark.parametrize("n", [2, 20, 60])
def test_so_is_every_interval_of_class_data(n: int, tmp_path: Path) -> None:
    assert_sound(measure(class_set(n), metrics="all", bootstrap=40), tmp_path)


@pytest.mark.parametrize("n", [100, 140])  # the most that any key needs, and copies among them
def test_so_is_every_interval_of_a_larger_set(n: int, tmp_path: Path) -> None:
    made = small_set(n, 2)
    if n > 100:
        made = made.replace(image=made.image[torch.arange(n) % 125])
    assert_sound(measure(made, metrics="all", bootstrap=40), tmp_path)


# --- which keys have one


def panel_of_200() -> Panel:
    """The default panel of 200 images in 64 dimensions with 1 to 3 texts, and the likelihoods, which are not in it."""
    own = torch.arange(200).repeat_interleave(1 + torch.arange(200) % 3)
    image = unit(random_rows(200, 64, seed=0) + 0.5 * random_rows(1, 64, seed=1))
    text = unit(image[own] + 3 * random_rows(len(own), 64, seed=2) - random_rows(1, 64, seed=1))
    made = EmbeddingSet(image, text, own, logit_scale=20.0)
    keys = ["default", "text_retrieval_nll", "image_retrieval_nll"]
    return measure(made, metrics=keys, bootstrap=300)


def test_few_numbers_of_the_default_panel_go_without_an_interval_and_none_of_those_that_count() -> None:
    panel = panel_of_200()
    without = {key for key, value in panel.values.items() if value is not None and key not in panel.ci}
    counted = {key for key in without if METRICS[key].group != "data"}  # shares of texts, which nothing is drawn for
    assert len(counted) <= 6, counted
    assert not any(value is None for key, value in panel.values.items() if METRICS[key].group != "zeroshot")
    both = ("text_retrieval", "image_retrieval")
    clouds = ("image", "text")
    must = [
        "alignment", "modality_gap", "modality_gap_debiased", "modality_gap_standardized",
        *(f"uniformity_{which}" for which in ("image", "text", "joint", "cross")),
        *(f"mean_cosine_{which}" for which in ("image", "text", "matched", "unmatched")),
        *(f"{prefix}_{key}" for prefix in both
          for key in ("recall@1", "recall@5", "recall@10", "mean_rank", "median_rank", "ece", "ece_debiased", "nll")),
        *(f"{key}_{cloud}" for key in ("effective_rank", "effective_rank_centered") for cloud in clouds),
    ]  # fmt: skip
    assert set(must) <= panel.ci.keys()
    assert all(panel.ci[key][0] < panel.ci[key][1] for key in must), [key for key in must if len({*panel.ci[key]}) < 2]


def test_the_reason_says_what_is_missing() -> None:
    few = measure(small_set(19, 2), bootstrap=20)
    assert few.ci == {}
    assert few.no_interval["modality_gap"] == "under 20 images"
    assert few.no_interval["text_hubness"] == "a few hubs decide it"
    copies = small_set(40, 2)
    copies = measure(copies.replace(image=copies.image[torch.arange(40) % 10]), bootstrap=20)
    assert copies.no_interval["text_robin_hood"].startswith("under 100 ")
    more = measure(small_set(60, 2), bootstrap=20)
    assert more.no_interval["gap_after_centering"] == "under 100 images"
    assert "alignment" in more.ci


def test_without_resamples_there_are_neither_intervals_nor_reasons() -> None:
    panel = measure(small_set(30, 2), bootstrap=0)
    assert (panel.ci, panel.no_interval) == ({}, {})
    assert not any(name.startswith("influence.") for name in panel.items["image"])
    assert "intervals" not in panel.params


def test_a_standardized_gap_that_has_a_value_has_no_note_that_it_has_none() -> None:
    panel = measure(small_set(30, 2), metrics=["modality_gap_standardized"], bootstrap=20)
    assert panel["modality_gap_standardized"] is not None
    assert "modality_gap_standardized" not in panel.notes


# --- a gap that a shift has closed


def photos_and_captions(n: int = 100, texts: int = 5, d: int = 512) -> EmbeddingSet:
    """Two cones with a gap of about 1, as encoders of photos and captions have; five captions an image."""
    own = torch.arange(n).repeat_interleave(texts)
    centres = [1.1 * random_rows(1, d, seed=seed) for seed in (1, 2)]
    meaning = random_rows(n, d, seed=3)
    image = centres[0] + meaning + 0.2 * random_rows(n, d, seed=4)
    text = centres[1] + 0.5 * meaning[own] + 0.9 * random_rows(n * texts, d, seed=5)
    return EmbeddingSet(unit(image), unit(text), own, logit_scale=100.0)


def shifted(made: EmbeddingSet) -> EmbeddingSet:
    """Both clouds moved by half of the gap, and back onto the sphere (the embedding shift)."""
    assert made.text is not None
    half = (made.image.mean(0) - made.text.mean(0)) / 2
    return made.replace(image=unit(made.image - half), text=unit(made.text + half))


def test_a_set_whose_gap_was_shifted_away_is_measured_saved_read_back_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = photos_and_captions()
    panels = [measure(each, bootstrap=100) for each in (before, shifted(before))]
    files = [panel.save(tmp_path / name) for panel, name in zip(panels, ("before.json", "shifted.json"), strict=True)]
    assert panels[0]["modality_gap"] > 0.8
    assert panels[1]["modality_gap"] < 0.03
    low, high = panels[1].ci["modality_gap"]
    assert 0 <= low <= panels[1]["modality_gap"] <= high
    found = compare(*map(load, files))
    low, high = found["modality_gap"].ci
    assert low <= found["modality_gap"].difference <= high < -0.8
    assert low <= found["modality_gap_debiased"].difference <= high
    done = run_cli(capsys, "compare", *files)
    assert (done.code, done.err) == (0, "")
    assert "modality_gap" in done.out


# --- sets in which there is no gap


@cache
def random_panels(n: int, d: int, count: int) -> list[Panel]:
    keys = ["modality_gap", "modality_gap_debiased", "modality_gap_standardized", "mean_cosine_image"]
    made = (EmbeddingSet(*(random_rows(n, d, seed=2 * seed + k) for k in (0, 1))) for seed in range(count))
    return [measure(each, metrics=keys, bootstrap=20, null_cache=defaultdict(dict)) for each in made]


def test_the_gap_of_random_clouds_is_in_its_own_interval_and_not_told_apart_from_none() -> None:
    panels = random_panels(100, 512, 60)
    for panel in panels:
        low, high = panel.ci["modality_gap"]
        assert low <= panel["modality_gap"] <= high
        assert panel.ci["modality_gap_debiased"][1] > 0
    told = [re.search("not told apart from no gap", read("gap", panel) or "") is None for panel in panels]
    # of 60 at 2.5 %, one side of an interval, more than 5 are told apart once in 300
    assert sum(told) <= 5
    assert sum(panel.ci["modality_gap_debiased"][0] == 0 for panel in panels) >= 55


def test_the_square_of_the_gap_of_random_clouds_is_0_on_average_and_so_is_what_chance_adds_to_it() -> None:
    panels = random_panels(100, 512, 60)
    plain = np.mean([panel["modality_gap"] ** 2 for panel in panels])
    assert plain == pytest.approx(2 / 100, rel=0.02)
    roots = np.array([panel["modality_gap_debiased"] for panel in panels])
    assert np.mean(roots == 0) == pytest.approx(0.5, abs=0.2)


# --- ranks where there are fewer images than dimensions


@pytest.mark.parametrize(("n", "d", "samples"), [(100, 64, 120), (100, 512, 250)])
def test_intervals_of_ranks_of_few_images_are_as_wide_as_new_samples_are_apart(n: int, d: int, samples: int) -> None:
    keys = [f"{rank}_{cloud}" for rank in ("effective_rank", "effective_rank_centered") for cloud in ("image", "text")]
    own = torch.arange(n).repeat_interleave(2)
    width = (1.0 + torch.arange(d, dtype=torch.float64)) ** -0.5
    values, widths = [], []
    for seed in range(samples):
        scale = 1 + 0.5 * torch.rand(n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        image = scale * random_rows(n, d, seed=1000 + seed) * d**0.5 * width + 2 * random_rows(1, d, seed=1)
        text = image[own] + random_rows(2 * n, d, seed=2000 + seed) * d**0.5 * width
        panel = measure(
            EmbeddingSet(unit(image), unit(text), own), metrics=keys, bootstrap=20, null_cache=defaultdict(dict)
        )
        values.append([panel[key] for key in keys])
        widths.append([panel.ci[key][1] - panel.ci[key][0] for key in keys])
    ratio = np.mean(widths, 0) / (2 * 1.96 * np.std(values, 0, ddof=1))
    assert (ratio >= 0.85).all(), dict(zip(keys, ratio.round(2), strict=True))
    assert (ratio <= 1.4).all(), dict(zip(keys, ratio.round(2), strict=True))


def test_the_panel_says_of_what_its_intervals_are() -> None:
    panel = gc.measure(small_set(30, 2), metrics=["alignment"], bootstrap=30)
    assert panel.params["intervals"] == {"level": 0.95, "unit": "image", "bootstrap": 30}
