"""Each sentence says what the numbers of its panel say: one test a branch."""

from __future__ import annotations

import pytest

from geomclip.metrics import GROUPS
from geomclip.panels.record import Panel
from geomclip.panels.sentences import READINGS, WIDER, against, percent, read


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
    ],
)
def test_relative_alignment_tells_who_is_nearer(value: float, interval: tuple[float, float], expected: str) -> None:
    key = "relative_alignment_text_to_image"
    panel = Panel({key: value}, ci={key: interval})
    assert read("alignment", panel) == f"On average a text is {expected}."


def test_both_ways_of_alignment_stand_in_one_sentence() -> None:
    values = {"relative_alignment_text_to_image": -0.1, "relative_alignment_image_to_text": 0.2}
    panel = Panel(values, ci={key: (value - 0.05, value + 0.05) for key, value in values.items()})
    assert read("alignment", panel) == (
        "On average a text is nearer to its own image than to the nearest other image (-0.1000) and "
        "an image is further from its own texts than from the nearest other text (0.2000)."
    )


def test_without_an_interval_nobody_is_said_to_be_nearer() -> None:
    assert read("alignment", Panel({"relative_alignment_image_to_text": -0.1})) == (
        "On average the squared distance of an image to its own texts less that to the nearest other text is -0.1000."
    )


@pytest.mark.parametrize(
    ("value", "interval", "expected"),
    [
        (0.144, (0.072, 0.102), -1),  # the value is above, its whole interval below
        (0.144, (0.130, 0.150), 0),
        (0.130, (0.142, 0.150), 1),
        (0.144, None, None),
        (0.144, (0.150, 0.150), None),  # all resamples agree: nothing is known of other images
        (None, (0.072, 0.102), None),
    ],
)
def test_the_ends_of_the_interval_decide_and_never_the_value(
    value: float | None, interval: tuple[float, float] | None, expected: int | None
) -> None:
    panel = Panel({"modality_gap": value}, ci={"modality_gap": interval} if interval else {})
    assert against(panel, "modality_gap", 0.141) == expected


def test_a_reference_that_is_simulated_is_no_point_and_a_shared_sentence_asks_for_more() -> None:
    panel = Panel({"text_robin_hood": 0.3}, ci={"text_robin_hood": (0.2, 0.4)})
    assert against(panel, "text_robin_hood", 0.19) == 1
    assert against(panel, "text_robin_hood", 0.19, 0.01) == 0
    assert against(panel, "text_robin_hood", 0.19, wider=WIDER) == 0
    assert against(panel, "text_robin_hood", 0.41) == -1
    assert against(panel, "text_robin_hood", 0.41, 0.01) == 0
    assert against(panel, "text_robin_hood", 0.41, wider=WIDER) == 0
    assert against(panel, "text_robin_hood", 0.42, wider=WIDER) == -1


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((0.7, 0.9), "The gap 0.8000 is 1.25 times the spread within the clouds."),
        ((0.0, 0.9), "The gap 0.8000 is not told apart from no gap (1.25 times the spread within the clouds)."),
        (None, "The gap 0.8000 is 1.25 times the spread within the clouds."),
    ],
)
def test_the_gap_is_told_in_units_of_the_spread_within_the_clouds(
    interval: tuple[float, float] | None, expected: str
) -> None:
    key = "modality_gap_debiased"
    panel = Panel({key: 0.8, "modality_gap_standardized": 1.25}, ci={key: interval} if interval else {})
    assert read("gap", panel) == expected
    alone = read("gap", panel.replace(values={key: 0.8})) or ""
    assert alone in ("The gap is 0.8000.", "The gap 0.8000 is not told apart from no gap.")


def test_the_plain_gap_is_not_judged() -> None:
    panel = Panel({"modality_gap": 0.8}, ci={"modality_gap": (0.7, 0.9)}, null={"modality_gap": 0.1})
    assert read("gap", panel) == "The gap is 0.8000 (null 0.1000)."
    assert read("gap", panel.replace(null={})) == "The gap is 0.8000."


def test_cones_and_separability_are_told() -> None:
    values = {"linear_separability": 1.0, "mean_cosine_image": 0.5, "mean_cosine_text": 0.0}
    assert read("gap", Panel(values)) == (
        "A hyperplane tells images from texts in 100 % of cases (chance 50 %); "
        "mean cosine of two images 0.5000 (60°) and of two texts 0 (90°), against 0 (90°) if spread evenly."
    )


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((0.8, 0.86), "83 times chance, 1 %"),
        ((0.005, 0.86), "not told apart from chance, 1 %"),
        ((0.0, 0.005), "below chance, 1 %"),
        (None, "chance 1 %"),
    ],
)
def test_recall_is_held_against_chance(interval: tuple[float, float] | None, expected: str) -> None:
    key = "image_retrieval_recall@1"
    panel = Panel({key: 0.83}, ci={key: interval} if interval else {}, null={key: 0.01})
    assert read("retrieval", panel) == f"A text finds its image first in 83 % of cases ({expected})."
    assert read("retrieval", panel.replace(null={})) == "A text finds its image first in 83 % of cases."


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
    assert read("calibration", panel) == f"Queries text → image {expected} ({shown})."


def test_five_texts_of_one_image_are_one_case() -> None:
    panel = Panel({}, reliability=reliability(0.55, 0.5, count=1000), n_images=200)
    assert "as sure as they are right" in (read("calibration", panel) or "")  # of 1,000: 0.469 to 0.531
    assert "overconfident" in (read("calibration", panel.replace(n_images=1000)) or "")


def test_no_queries_no_sentence_of_confidence() -> None:
    assert read("calibration", Panel({}, reliability=reliability(0.5, 0.5, count=0))) is None


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0.371, "not told apart from that of honest confidences (p = 0.37)"),
        (0.0312, "not told apart from that of honest confidences (p = 0.031)"),  # two judgements share one sentence
        (0.0149, "larger than honest confidences give (p = 0.015)"),
        (0.001, "larger than honest confidences give (p < 0.01)"),
    ],
)
def test_a_calibration_error_is_held_against_that_of_honest_confidences(p: float, expected: str) -> None:
    panel = Panel({}, p={"image_retrieval_ece": p, "text_retrieval_mce": 0.0})
    assert read("calibration", panel) == f"The calibration error of queries text → image is {expected}."
    sure = panel.replace(reliability=reliability(0.55, 0.5), n_images=200)
    assert (read("calibration", sure) or "").endswith(f"; their calibration error is {expected}.")


def test_confidence_is_not_called_too_high_where_honest_ones_err_as_much() -> None:
    panel = Panel({}, reliability=reliability(0.9, 0.5), n_images=200, p={"image_retrieval_ece": 0.2})
    assert (read("calibration", panel) or "").startswith(
        "Queries text → image are neither over- nor underconfident beyond"
    )
    sure = read("calibration", panel.replace(p={"image_retrieval_ece": 0.001})) or ""
    assert sure.startswith("Queries text → image are overconfident")


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


def test_fewer_rows_than_dimensions_use_at_most_as_many_directions() -> None:
    values = {"effective_rank_image": 50.2, "effective_rank_text": 60.1}
    panel = Panel(values, dim=64, n_images=60, n_texts=180)
    expected = "Images use 50.2 of at most 60 directions and texts use 60.1 of at most 64 directions."
    assert read("shape", panel) == expected
    assert read("shape", panel.replace(n_images=64)) == "Of 64 directions images use 50.2 and texts use 60.1."


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((0.35, 0.45), "A few texts are neighbours of many images"),
        ((0.2, 0.45), "The neighbours that images find among texts are not told apart from the null"),
        ((0.1, 0.15), "Texts are neighbours of images more evenly than the null"),
    ],
)
def test_hubs_are_told_by_the_robin_hood_index_and_hubness_is_bare(
    interval: tuple[float, float], expected: str
) -> None:
    values = {"text_robin_hood": 0.4, "text_hubness": 2.0}
    null, error = {"text_robin_hood": 0.2713, "text_hubness": 0.3}, {"text_robin_hood": 0.004, "text_hubness": 0.1}
    panel = Panel(values, ci={"text_robin_hood": interval}, null=null, null_error=error)
    assert read("neighborhood", panel) == f"{expected} (Robin Hood index 0.4000, null 0.27, hubness 2.0000)."


def test_hubs_are_not_judged_without_an_interval() -> None:
    panel = Panel({"image_robin_hood": 0.4, "image_hubness": 3.0}, null={"image_robin_hood": 0.3, "image_hubness": 0.1})
    expected = "Images as neighbours of texts: Robin Hood index 0.4000, null 0.3000, hubness 3.0000."
    assert read("neighborhood", panel) == expected
    assert read("neighborhood", Panel({"text_hubness": 2.0})) == "Texts as neighbours of images: hubness 2.0000."


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
