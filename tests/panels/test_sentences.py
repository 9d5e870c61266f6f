"""Each sentence says what the numbers of its panel say: one test a branch."""

from __future__ import annotations

import pytest

from geomclip.metrics import GROUPS
from geomclip.panels.record import Panel
from geomclip.panels.sentences import READINGS, percent, read


def test_every_group_of_metrics_has_a_reading() -> None:
    assert set(GROUPS) - set(READINGS) <= {"data"}  # shares that speak for themselves


@pytest.mark.parametrize("group", READINGS)
def test_a_panel_without_the_numbers_gets_no_sentence(group: str) -> None:
    assert read(group, Panel({})) is None


@pytest.mark.parametrize("group", READINGS)
def test_undefined_numbers_get_no_sentence(group: str) -> None:
    keys = ["relative_alignment_text_to_image", "modality_gap", "linear_separability", "mean_cosine_image"]
    keys += ["text_retrieval_recall@1", "effective_rank_image", "text_hubness", "zeroshot_acc1"]
    assert read(group, Panel(dict.fromkeys(keys), null={"modality_gap": 0.1, "text_hubness": 0.1})) is None


@pytest.mark.parametrize(
    ("value", "interval", "expected"),
    [
        (-0.07, (-0.08, -0.06), "nearer to its own image than to the nearest other image (-0.0700)"),
        (0.07, (0.06, 0.08), "further from its own image than from the nearest other image (0.0700)"),
        (-0.01, (-0.03, 0.01), "about as near to its own image as to the nearest other image (-0.0100)"),
        (-0.01, None, "nearer to its own image than to the nearest other image (-0.0100)"),
    ],
)
def test_relative_alignment_tells_who_is_nearer(
    value: float, interval: tuple[float, float] | None, expected: str
) -> None:
    key = "relative_alignment_text_to_image"
    panel = Panel({key: value}, ci={key: interval} if interval else {})
    assert read("alignment", panel) == f"On average a text is {expected}."


def test_both_ways_of_alignment_stand_in_one_sentence() -> None:
    values = {"relative_alignment_text_to_image": -0.1, "relative_alignment_image_to_text": 0.2}
    assert read("alignment", Panel(values)) == (
        "On average a text is nearer to its own image than to the nearest other image (-0.1000) and "
        "an image is further from its own texts than from the nearest other text (0.2000)."
    )


@pytest.mark.parametrize(
    ("value", "interval", "expected"),
    [
        (0.8, (0.7, 0.9), "The gap 0.8000 is 8 times its null 0.1000."),
        (0.11, (0.09, 0.13), "The gap 0.1100 is not told from its null 0.1000."),
        (0.05, (0.04, 0.06), "The gap 0.0500 is below its null 0.1000."),
    ],
)
def test_the_gap_is_held_against_its_null(value: float, interval: tuple[float, float], expected: str) -> None:
    panel = Panel({"modality_gap": value}, ci={"modality_gap": interval}, null={"modality_gap": 0.1})
    assert read("gap", panel) == expected


def test_cones_and_separability_are_told() -> None:
    values = {"linear_separability": 1.0, "mean_cosine_image": 0.5, "mean_cosine_text": 0.0}
    assert read("gap", Panel(values)) == (
        "A hyperplane tells images from texts in 100 % of cases (chance 50 %); "
        "mean cosine of two images 0.5000 (60°) and of two texts 0 (90°), against 0 (90°) if spread evenly."
    )


@pytest.mark.parametrize(
    ("interval", "expected"),
    [((0.8, 0.86), "83 times chance"), ((0.005, 0.86), "no more than chance")],
)
def test_recall_is_held_against_chance(interval: tuple[float, float], expected: str) -> None:
    key = "image_retrieval_recall@1"
    panel = Panel({key: 0.83}, ci={key: interval}, null={key: 0.01})
    assert read("retrieval", panel) == f"A text finds its image first in 83 % of cases ({expected}, 1 %)."


def reliability(confidence: float, accuracy: float, count: int = 200) -> dict[str, list[dict[str, float | None]]]:
    """Two bins that hold the same, and an empty one."""
    half: dict[str, float | None] = {"count": count / 2, "accuracy": accuracy, "confidence": confidence}
    empty: dict[str, float | None] = {"count": 0, "accuracy": None, "confidence": None}
    return {"image_retrieval": [half, empty, half]}


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [
        (0.9, "are overconfident"),
        (0.3, "are underconfident"),
        (0.55, "are, on the whole, as sure as they are right"),
    ],
)
def test_confidence_is_held_against_the_interval_of_accuracy(confidence: float, expected: str) -> None:
    panel = Panel({}, reliability=reliability(confidence, 0.5), n_images=200)  # Wilson: 0.431 to 0.569
    shown = f"confidence {percent(confidence)}, accuracy 50 %"
    assert read("calibration", panel) == f"Queries by text {expected} ({shown})."


def test_five_texts_of_one_image_are_one_case() -> None:
    panel = Panel({}, reliability=reliability(0.55, 0.5, count=1000), n_images=200)
    assert "as sure as they are right" in (read("calibration", panel) or "")  # of 1,000: 0.469 to 0.531
    assert "overconfident" in (read("calibration", panel.replace(n_images=1000)) or "")


def test_no_queries_no_sentence_of_confidence() -> None:
    assert read("calibration", Panel({}, reliability=reliability(0.5, 0.5, count=0))) is None


def test_shape_counts_directions_and_local_dimensions() -> None:
    values = {
        "effective_rank_image": 71.75,
        "effective_rank_text": 227.2,
        "twonn_image": 9.0,
        "twonn_text": 12.5,
    }
    assert read("shape", Panel(values, dim=512)) == (
        "Of 512 directions images use 71.8 and texts use 227; locally they have 9 and 12.5 dimensions (TwoNN)."
    )
    assert read("shape", Panel({"effective_rank_image": 71.75}, dim=512)) == "Of 512 directions images use 71.8."


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((1.5, 2.5), "A few texts are neighbours of many images (2.0000, null 0.3000)."),
        ((0.1, 2.5), "The hubness of texts is not told from its null (2.0000, null 0.3000)."),
    ],
)
def test_hubness_is_held_against_its_null(interval: tuple[float, float], expected: str) -> None:
    panel = Panel({"text_hubness": 2.0}, ci={"text_hubness": interval}, null={"text_hubness": 0.3})
    assert read("neighborhood", panel) == expected


def test_hubness_below_its_null_is_said() -> None:
    panel = Panel({"image_hubness": 0.1}, null={"image_hubness": 0.3})
    assert read("neighborhood", panel) == "The hubness of images is below its null (0.1000, null 0.3000)."


def test_zeroshot_tells_accuracy_chance_and_confidence() -> None:
    panel = Panel({"zeroshot_acc1": 0.7}, null={"zeroshot_acc1": 0.1}, ci={"zeroshot_acc1": (0.67, 0.73)}, n_images=200)
    assert read("zeroshot", panel) == "The class of an image is right in 70 % of cases (7 times chance, 10 %)."
    sure = panel.replace(reliability={"zeroshot": reliability(0.9, 0.5)["image_retrieval"]})
    assert "; the answers are overconfident (confidence 90 %, accuracy 50 %)." in (read("zeroshot", sure) or "")


def test_shared_neighbours_are_told_beside_their_chance() -> None:
    panel = Panel({"mutual_knn": 0.25}, null={"mutual_knn": 0.02})
    expected = "An image and its text have 25 % of their 10 nearest neighbours in common (chance 2 %)."
    assert read("similarity", panel) == expected
    assert read("similarity", Panel({})) is None
