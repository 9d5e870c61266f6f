"""When a watch warns: a collapse, a logit scale that runs away, NaN; each once, and not of what trains well."""

from __future__ import annotations

import math

import pytest

from geomclip.training.watching.alarms import (
    BATCH,
    GRACE_STEPS,
    LEAST_SCALE,
    MOST_SCALE,
    PROBE,
    RANK_LEFT,
    SCALE_MOVED,
    SCALE_STEPS,
    Alarms,
    Source,
)


def values(cosine: float = 0.3, rank: float = 40.0) -> dict[str, float | None]:
    return {"mean_cosine_image": cosine, "mean_cosine_text": 0.2, "rankme_image": rank, "rankme_text": 40.0}


def keys(
    alarms: Alarms, source: Source, course: list[dict[str, float | None]], rows: int = 64
) -> list[tuple[int, str]]:
    return [(i, alarm.key) for i, each in enumerate(course) for alarm in alarms.space(source, i, each, rows)]


def test_images_at_one_point_are_told_once_after_ten_batches_in_a_row() -> None:
    course = [values(), *[values(0.999)] * 30]
    assert keys(Alarms(), BATCH, course) == [(10, "collapse_image")]


def test_a_batch_between_that_is_apart_begins_the_count_anew() -> None:
    course = [values(), *[values(0.999)] * 9, values(0.9), *[values(0.999)] * 9]
    assert keys(Alarms(), BATCH, course) == []


def test_a_model_that_begins_at_one_point_has_a_hundred_steps_to_leave_it() -> None:
    for source in (BATCH, PROBE):
        assert keys(Alarms(), source, [values(0.999)] * GRACE_STEPS) == []
        assert keys(Alarms(), source, [values(0.999)] * (GRACE_STEPS + 9)) == [(100, "collapse_image")]


def test_one_look_at_a_probe_that_became_one_point_is_enough() -> None:
    assert keys(Alarms(), PROBE, [values(), values(0.996)]) == [(1, "collapse_image")]
    assert keys(Alarms(), PROBE, [values(0.996), values(0.996)]) == []


def test_a_rank_below_half_of_what_it_was_is_told() -> None:
    assert keys(Alarms(), PROBE, [values(), values(rank=RANK_LEFT * 40 + 0.1)]) == []
    assert keys(Alarms(), PROBE, [values(), values(rank=RANK_LEFT * 40 - 0.1)]) == [(1, "rank_image")]
    course = [values()] * 10 + [values(rank=10)] * 10
    assert keys(Alarms(), BATCH, course) == [(16, "rank_image")]  # (3 x 40 + 7 x 10) / 10 = 19 is below 20


def test_the_short_batch_at_the_end_of_an_epoch_is_no_lost_rank() -> None:
    alarms = Alarms()
    assert keys(alarms, BATCH, [values()] * 20) == []
    assert keys(alarms, BATCH, [values(rank=4)] * 20, rows=5) == []


def test_a_cloud_that_became_a_point_is_told_as_that_alone() -> None:
    assert keys(Alarms(), PROBE, [values(), values(0.999, rank=2), values(0.999, rank=2)]) == [(1, "collapse_image")]


def test_numbers_that_are_not_defined_are_passed_over() -> None:
    assert keys(Alarms(), PROBE, [values(), {**values(), "mean_cosine_image": None}, values(math.nan)]) == []


@pytest.mark.parametrize(
    ("scale", "bounded", "expected"),
    [
        (MOST_SCALE, True, []),
        (MOST_SCALE * 1.0005, True, []),  # e to a logarithm in bfloat16
        (MOST_SCALE * 1.01, True, ["scale_high"]),
        (MOST_SCALE * 1.2, False, []),  # what SigLIP learns
        (LEAST_SCALE, True, []),
        (0.9995, True, []),
        (0.9, True, ["scale_low"]),
        (0.9, False, []),  # where SigLIP begins in transformers
        (math.inf, True, ["scale_nan"]),
        (math.nan, True, ["scale_nan"]),
    ],
)
def test_a_scale_out_of_its_bounds_is_told(scale: float, bounded: bool, expected: list[str]) -> None:
    assert [alarm.key for alarm in Alarms().scale(1, scale, bounded=bounded)] == expected


def steps(course: list[float]) -> list[tuple[int, str]]:
    alarms = Alarms()
    return [(step, alarm.key) for step, scale in enumerate(course) for alarm in alarms.scale(step, scale)]


def test_a_scale_that_moves_fast_is_told_once_and_one_that_learns_is_not() -> None:
    fast = [14.3 * math.exp(0.01 * step) for step in range(150)]
    first = math.ceil(100 * math.log(SCALE_MOVED))
    assert steps(fast) == [(first, "scale_drift")]
    assert steps([60 / value for value in fast])[0] == (first, "scale_drift")
    # from CLIP's start to its bound, at the largest learning rates that are used: a thousandth of the logarithm a step
    slow = [min(14.3 * math.exp(0.001 * step), 100) for step in range(3000)]
    assert steps(slow) == []
    assert slow[-1] == 100


def test_only_the_last_hundred_steps_count() -> None:
    assert steps([20.0, *[20.0 * 1.3] * SCALE_STEPS, *[20.0 * 1.3 * 1.3] * 10]) == []
    assert steps([20.0, *[20.0 * 1.3] * 50, *[20.0 * 1.3 * 1.3] * 10]) == [(51, "scale_drift")]


def test_nan_is_told_once_a_side() -> None:
    alarms = Alarms()
    assert [alarm.key for alarm in alarms.not_finite("images", "batch")] == ["nan_images"]
    assert alarms.not_finite("images", "probe") == []
    assert [alarm.key for alarm in alarms.not_finite("texts", "probe")] == ["nan_texts"]


def test_every_alarm_is_one_line_with_a_way_out() -> None:
    alarms = Alarms()
    found = [*alarms.scale(1, 143.0), *alarms.scale(2, 0.5), *alarms.scale(3, math.nan)]
    found += alarms.not_finite("texts", "probe")
    for each in (values(), values(rank=3), values(0.999, rank=3)):
        found += alarms.space(PROBE, 1, each, 64)
    assert len(found) == 7
    assert all("\n" not in alarm.text and ": " in alarm.text for alarm in found)
    assert "the logit scale is 143, beyond 100" in found[0].text
