"""One table, one set of tests: every key of a panel keeps its range, and what must not matter does not."""

from __future__ import annotations

from functools import cache
from math import inf, isfinite

import pytest
import torch
from helpers import class_set, random_rows, small_set

from geomclip.embeddings.record import EmbeddingSet
from geomclip.metrics import AT_FIXED_SIZE, FIXED_SIZE, GROUPS, METRICS, Metric
from geomclip.metrics.contributions import FORMULAS
from geomclip.panels.measurement import measure
from geomclip.panels.record import Panel
from geomclip.panels.stages.sweeps import FOLDS

pytestmark = pytest.mark.numeric

OF_CLASSES = [key for key in METRICS if key.startswith("zeroshot_")]
OF_PAIRS = [key for key in METRICS if key not in OF_CLASSES and key != "truncated_text_share"]
SEEDED = {"temperature", "ece_calibrated", "linear_separability", f"@{FIXED_SIZE}"}
"""Numbers that split or draw the images by a seed: another order of rows is another split."""


def near(value: float, key: str) -> object:
    """As close as float64 sums are; a fitted temperature as close as its search."""
    fitted = key.endswith(("temperature", "ece_calibrated"))
    return pytest.approx(value, rel=1e-5 if fitted else 1e-6 if "twonn" in key else 1e-9, abs=1e-6 if fitted else 1e-9)


FIRST_TEXT = {"linear_cka", "linear_cka_biased", "mutual_knn", "procrustes_distance"}
"""Numbers of the first text of each image: another order of texts is another first."""


@cache
def toy(name: str) -> EmbeddingSet:
    if name == "classes":
        return class_set(60, 6)
    many = FIXED_SIZE + 20  # of which to draw
    n, per_image = {
        "pairs": (24, 3),
        "twins": (24, 1),
        "many": (many, 2),
        "many twins": (many, 1),
        "hundred": (100, 3),
    }[name]
    made = small_set(n, per_image, seed=4)
    assert made.text is not None
    noise = random_rows(*made.text.shape, seed=40)  # some queries must be wrong, or no temperature is best
    return made.replace(text=made.text + noise)


@cache
def panel(name: str, change: str = "") -> Panel:
    made = toy(name)
    d, n = made.image.shape[1], len(made.image)
    turn, _ = torch.linalg.qr(random_rows(d, d, seed=77))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(5))
    other = "class_text" if made.text is None else "text"
    if change == "turned":
        made = made.replace(image=made.image @ turn, **{other: getattr(made, other) @ turn})
    elif change == "scaled":
        made = made.replace(image=3 * made.image, **{other: 0.2 * getattr(made, other)})
    elif change == "reordered":
        made = made.select_images(order)
        if made.text is not None:
            made = made.select_texts(torch.randperm(len(made.text), generator=torch.Generator().manual_seed(6)))
    elif change == "swapped":
        assert made.text is not None
        made = made.replace(image=made.text, text=made.image)
    metrics = tuple(AT_FIXED_SIZE.values()) if name.startswith("many") else "all"
    return measure(made, metrics=metrics, bootstrap=0, dtype="float64")


def set_of(key: str, pairs: str = "pairs") -> str:
    if key in AT_FIXED_SIZE.values():
        return {"pairs": "many", "twins": "many twins"}[pairs]
    return "classes" if key in OF_CLASSES else pairs


def value(key: str, change: str = "", *, name: str | None = None) -> float:
    found = panel(name or set_of(key), change)[key]
    assert found is not None, panel(name or set_of(key), change).notes
    return found


@pytest.mark.parametrize("key", OF_PAIRS + OF_CLASSES)
def test_a_value_keeps_its_range_and_is_finite(key):
    metric = METRICS[key]
    assert isfinite(value(key))
    assert metric.low - 1e-12 <= value(key) <= metric.high + 1e-12


@pytest.mark.parametrize("key", OF_PAIRS + OF_CLASSES)
def test_a_rotation_of_the_sphere_changes_nothing(key):
    assert value(key, "turned") == near(value(key), key)


@pytest.mark.parametrize("key", OF_PAIRS + OF_CLASSES)
def test_the_lengths_of_rows_change_nothing(key):
    assert value(key, "scaled") == near(value(key), key)


@pytest.mark.parametrize("key", [key for key in OF_PAIRS + OF_CLASSES if not key.endswith((*SEEDED, *FIRST_TEXT))])
def test_the_order_of_rows_changes_nothing(key):
    assert value(key, "reordered") == near(value(key), key)


@pytest.mark.parametrize("key", [key for key in OF_PAIRS if METRICS[key].swaps_to])
def test_images_and_texts_that_change_places_change_the_name_only(key):
    twins = set_of(key, "twins")
    assert value(METRICS[key].swaps_to, "swapped", name=twins) == near(value(key, name=twins), key)


@pytest.mark.parametrize("key", METRICS)
def test_the_table_itself_is_sound(key):
    metric = METRICS[key]
    assert metric.key == key
    assert metric.group in GROUPS
    assert metric.better in ("lower", "higher", "")
    assert -inf <= metric.low < metric.high
    assert metric.interval in ("plain", "positive", "share", "error", "root", "order", "")
    assert set(metric.folds) <= FOLDS
    if metric.swaps_to:
        assert METRICS[metric.swaps_to].swaps_to == key


def test_the_table_covers_everything_that_a_panel_can_hold():
    keys = {*panel("pairs").keys(), *panel("classes").keys(), "truncated_text_share"}
    assert keys == set(METRICS)
    assert set(FORMULAS) <= set(METRICS)


@pytest.mark.parametrize("key", [key for key in OF_PAIRS + OF_CLASSES if METRICS[key].interval])
def test_every_promised_interval_is_there_and_in_range(key):
    with_intervals = panel_with_intervals("classes" if key in OF_CLASSES else "hundred")  # the most that any needs
    low, high = with_intervals.ci[key]
    assert METRICS[key].low - 1e-12 <= low <= high <= METRICS[key].high + 1e-12


@cache
def panel_with_intervals(name: str) -> Panel:
    return measure(toy(name), metrics="all", bootstrap=60)


def test_a_metric_is_a_value():
    assert Metric("a", "gap", "A", "", 0, 1) == Metric("a", "gap", "A", "", 0, 1)
