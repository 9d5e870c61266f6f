"""How many images a width needs: the rule, what it says where it misleads, and what it refuses."""

from __future__ import annotations

import json
from functools import cache

import pytest
import torch
from helpers import class_set, small_set

import geomclip as gc
from geomclip.machine.words import speak_of_flags
from geomclip.metrics import METRICS
from geomclip.panels import planning
from geomclip.panels.measurement import measure
from geomclip.panels.planning import plan
from geomclip.panels.record import Panel

RECALL = "image_retrieval_recall@1"


def panel(key: str = RECALL, low: float = 0.4, high: float = 0.6, *, n: int = 100, **more: object) -> Panel:
    """A panel of one number with an interval."""
    return Panel({key: (low + high) / 2}, ci={key: (low, high)}, n_images=n).replace(**more)


@cache
def measured(kind: str = "pairs") -> Panel:
    made = small_set(60, 2, seed=3, apart=0.2) if kind == "pairs" else class_set(60, 8, 4)
    return measure(made, bootstrap=50)


# --- the rule


@pytest.mark.parametrize(
    ("width", "expected"),
    [(0.1, 400), (0.05, 1600), (0.02, 10_000), (0.01, 40_000), (0.07, 820), (0.0199, 11_000)],
)
def test_half_the_width_needs_four_times_the_images_rounded_up_to_two_digits(width: float, expected: int) -> None:
    need = plan(panel(), width, RECALL)[RECALL]
    assert (need.images, need.reached) == (expected, False)
    assert (need.value, need.ci, need.width) == (0.5, (0.4, 0.6), pytest.approx(0.2))


def test_rounding_of_the_width_asks_for_no_more_images() -> None:
    assert 0.4 - 0.1 > 0.3
    assert plan(panel(low=0.1, high=0.4), 0.1, RECALL)[RECALL].images == 900


@pytest.mark.parametrize(("width", "expected"), [(0.2, 100), (0.25, 64), (0.4, 25), (2.0, 20)])
def test_a_width_that_is_reached_says_so_and_how_few_would_do(width: float, expected: int) -> None:
    need = plan(panel(high=0.6 - 1e-12), width, RECALL)[RECALL]
    assert (need.images, need.reached) == (expected, True)


def test_no_plan_that_is_reached_asks_for_more_than_there_are() -> None:
    assert plan(panel(n=101), 0.1999999999999, RECALL)[RECALL].images == 110
    assert plan(panel(n=101), 0.2001, RECALL)[RECALL].images == 101


def test_a_panel_of_that_many_images_has_about_that_width() -> None:
    key = "alignment"
    made = small_set(1000, 1, seed=5)
    few, many = (measure(made.select_images(torch.arange(n)), metrics=key, bootstrap=400) for n in (100, 900))
    width = many.ci[key][1] - many.ci[key][0]
    assert 600 < plan(few, width, key)[key].images < 1400


def test_without_names_it_is_for_recalls_accuracies_and_the_gap() -> None:
    found = plan(measured(), 0.01)
    recalls = {f"{what}_retrieval_recall@{k}" for what in ("text", "image") for k in (1, 5, 10)}
    refused = {note.split()[3] for note in found.notes}
    assert {*found, *refused} == {*recalls, "modality_gap"}
    assert RECALL in found
    assert {"zeroshot_acc1", "modality_gap"} <= set(plan(measured("classes"), 0.01)) <= set(planning.DEFAULT)


def test_several_numbers_come_in_the_order_in_which_they_are_named() -> None:
    assert list(plan(measured(), 0.01, ["modality_gap", "alignment", "modality_gap"])) == ["modality_gap", "alignment"]
    assert list(plan(measured(), 0.01, "modality_gap, alignment")) == ["modality_gap", "alignment"]


def test_it_is_a_public_function_on_a_panel() -> None:
    assert gc.plan(panel(), width=0.1, metrics=RECALL)[RECALL].images == 400


# --- where it misleads


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (RECALL, "recall falls"),
        ("text_retrieval_ece", "recall falls"),
        ("relative_alignment_text_to_image", "as the gallery grows"),
        ("effective_rank_image", "the value itself moves with the number of images"),
        ("twonn_text", "the value itself moves with the number of images"),
        ("gap_after_centering", "the value itself moves with the number of images"),
    ],
)
def test_what_moves_with_the_number_of_images_is_told(key: str, words: str) -> None:
    assert words in plan(panel(key), 0.1, key)[key].notes[0]


@pytest.mark.parametrize("key", ["alignment", "modality_gap", "mean_cosine_image", "zeroshot_acc1"])
def test_what_does_not_move_has_no_such_note(key: str) -> None:
    assert plan(panel(key), 0.1, key)[key].notes == ()


@pytest.mark.parametrize(("low", "high", "at_the_edge"), [(0.9, 1.0, True), (0.0, 0.1, True), (0.9, 0.99, False)])
def test_an_interval_that_ends_where_the_range_does_is_told(low: float, high: float, at_the_edge: bool) -> None:
    need = plan(panel("zeroshot_acc1", low, high), 0.01, "zeroshot_acc1")["zeroshot_acc1"]
    assert any("fewer may do" in note for note in need.notes) == at_the_edge


def test_the_table_says_that_it_extrapolates_and_fits_80_columns() -> None:
    found = plan(measured(), 0.3, [RECALL, "modality_gap", "relative_alignment_text_to_image"])
    text = str(found)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    (line,) = [line for line in lines if line.startswith("modality_gap")]
    assert line.split()[-2:] == [str(found["modality_gap"].images), "reached"]
    words = " ".join(text.split())
    assert "width 0.3, from low end to high end" in words
    assert "extrapolates from the interval at hand" in words
    assert "square root of the number of images, if they are of the same kind" in words
    assert "! image_retrieval_recall@1, relative_alignment_text_to_image: each query" in words


def test_json_has_what_the_plan_has() -> None:
    found = plan(measured(), 0.01, RECALL)
    record = json.loads(planning.plan_json(found))
    assert record["schema"] == "geomclip.plan/1"
    assert (record["width"], record["level"], record["n_images"]) == (0.01, 0.95, 60)
    need = record["metrics"][RECALL]
    assert need == {**vars(found[RECALL]), "ci": list(found[RECALL].ci), "notes": list(found[RECALL].notes)}
    assert need["images"] > 60
    assert not need["reached"]


# --- what is refused


@pytest.mark.parametrize("width", [0.0, -0.1, float("inf"), float("-inf"), float("nan")])
def test_a_width_that_cannot_be_wanted_is_refused(width: float) -> None:
    with pytest.raises(ValueError, match="width must be above 0 and finite"):
        plan(panel(), width, RECALL)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("image_retrieval_recal@1", "unknown metric 'image_retrieval_recal@1'; nearest: image_retrieval_recall@1"),
        ("qqqqqqqq", "unknown metric 'qqqqqqqq'; geomclip.metrics.METRICS has all keys"),
        ("linear_cka", "linear_cka has no interval to plan from"),
        ("text_hubness", r"text_hubness has no interval to plan from \(a few hubs decide it\)"),
        ("effective_rank_image@500", "effective_rank_image@500 has no interval to plan from"),
        ("text_retrieval_mean_rank", "grows with the gallery, and its interval with it"),
        ("image_retrieval_median_rank", "grows with the gallery, and its interval with it"),
        ("alignment", r"alignment has no value here: it was not measured \(metrics='alignment' does\)"),
        ([], "no metric is named"),
        (" , ", "no metric is named"),
    ],
)
def test_a_number_that_cannot_be_planned_for_is_refused_with_the_reason(metrics: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan(panel(), 0.1, metrics)


def test_an_interval_of_no_width_is_refused_and_left_out_with_a_note_by_default() -> None:
    sure = panel(low=1.0, high=1.0)
    with pytest.raises(ValueError, match=r"has no width \(1.0000 to 1.0000\)"):
        plan(sure, 0.1, RECALL)
    with pytest.raises(ValueError, match=r"no recall, accuracy or gap to plan from .*no width"):
        plan(sure, 0.1)
    both = sure.replace(values={**sure.values, "modality_gap": 0.5}, ci={**sure.ci, "modality_gap": (0.4, 0.6)})
    assert list(plan(both, 0.1)) == ["modality_gap"]
    assert "has no width" in plan(both, 0.1).notes[0]
    assert "has no width" in str(plan(both, 0.1))


def test_an_undefined_number_says_its_reason() -> None:
    undefined = panel().replace(values={RECALL: 0.5, "twonn_image": None}, notes={"twonn_image": "too few rows"})
    with pytest.raises(ValueError, match="twonn_image has no value here: too few rows"):
        plan(undefined, 0.1, "twonn_image")
    without = panel().replace(values={RECALL: 0.5, "twonn_image": 3.0})
    with pytest.raises(ValueError, match="twonn_image has no interval here: the panel does not say why"):
        plan(without, 0.1, "twonn_image")
    small = without.replace(no_interval={"twonn_image": "under 20 images"})
    with pytest.raises(ValueError, match="twonn_image has no interval here: under 20 images"):
        plan(small, 0.1, "twonn_image")


def test_a_panel_without_intervals_or_without_recalls_is_refused() -> None:
    with pytest.raises(ValueError, match="no intervals to plan from: was it measured with bootstrap=0, or is it of"):
        plan(measure(small_set(), bootstrap=0), 0.1)
    with pytest.raises(ValueError, match="no intervals to plan from: under 20 images"):
        plan(measure(small_set(12, 2), bootstrap=20), 0.1)
    with pytest.raises(ValueError, match="no recall, accuracy or gap to plan from: name a number with metric"):
        plan(panel("alignment"), 0.1)


def test_no_plan_asks_for_fewer_images_than_the_interval_of_the_number_needs() -> None:
    few = {key: plan(panel(key, n=1000), 0.9, key)[key].images for key in ("alignment", "text_robin_hood")}
    assert few == {"alignment": 50, "text_robin_hood": METRICS["text_robin_hood"].least}


def test_a_width_out_of_reach_is_refused() -> None:
    with pytest.raises(ValueError, match=r"width 1e-300 is out of reach: image_retrieval_recall@1 would need"):
        plan(panel(), 1e-300, RECALL)
    assert plan(panel(), 1e300, RECALL)[RECALL].reached


def test_users_of_the_command_line_read_flags() -> None:
    speak_of_flags()
    try:
        with pytest.raises(ValueError, match="--width must be above 0"):
            plan(panel(), 0.0)
    finally:
        speak_of_flags(False)
