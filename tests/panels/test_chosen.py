"""The ten numbers of a short table, and the digits that an interval supports."""

from __future__ import annotations

import math

import pytest
from helpers import class_set, small_set

from geomclip.metrics import METRICS
from geomclip.panels import chosen
from geomclip.panels.measurement import measure


@pytest.mark.parametrize("table", [chosen.PAIRS, chosen.CLASSES])
def test_ten_numbers_are_chosen_and_each_has_a_name_that_narrow_columns_hold(table: tuple[chosen.Chosen, ...]) -> None:
    assert len({each.key for each in table}) == chosen.MOST == 10
    assert all(each.key in METRICS and METRICS[each.key].default for each in table)
    assert all(0 < len(each.short) <= 16 for each in table)
    assert len({each.short for each in table}) == len({each.label for each in table}) == 10
    assert {each.unit for each in table} == {"share", "plain"}


def test_the_ten_stand_in_the_panels_that_they_are_of() -> None:
    pairs, classes = measure(small_set(20, 2), bootstrap=0), measure(class_set(), bootstrap=0)
    assert chosen.chosen(pairs) == [each.key for each in chosen.PAIRS]
    assert chosen.chosen(classes)[:4] == [each.key for each in chosen.CLASSES][:4]


def test_where_few_are_known_others_fill_the_table_in_their_order() -> None:
    assert chosen.chosen(["twonn_image", "alignment", "own"]) == ["alignment", "twonn_image", "own"]
    many = [f"own_{i}" for i in range(20)]
    assert chosen.chosen([*many, "alignment"]) == ["alignment", *many[:9]]


def test_what_must_be_there_stands_first_and_is_never_cut() -> None:
    everything = list(METRICS)
    assert chosen.chosen(everything, ["twonn_text", "absent"])[0] == "twonn_text"
    assert len(chosen.chosen(everything, ["twonn_text"])) == 10
    assert chosen.chosen(everything, everything[:12]) == everything[:12]


@pytest.mark.parametrize(
    ("half", "expected"),
    [(0.354, 2), (0.356, 1), (0.0949, 2), (0.0951, 2), (0.94, 1), (0.96, 1), (96.0, 0), (250.0, 0), (1e-9, 4)],
)
def test_a_half_width_shows_with_one_or_two_of_its_digits(half: float, expected: int) -> None:
    assert chosen.decimals(half) == expected


@pytest.mark.parametrize("half", [0.0, -1.0, math.inf, math.nan])
def test_a_half_width_that_says_nothing_gives_no_decimals(half: float) -> None:
    assert chosen.decimals(half) is None


def test_a_share_is_in_percent_and_its_change_in_points() -> None:
    key = "text_retrieval_recall@1"
    assert chosen.digits(key, (0.0737, 0.1389)) == 1
    assert chosen.digits("alignment", (1.2515, 1.2709)) == 3
    assert chosen.digits("alignment", None) is None
    assert chosen.written(key, 0.1038, 1) == "10.4 %"
    assert chosen.change(key, -0.0312, 1) == "-3.1 pp"
    assert chosen.change(key, -0.0312, 1, unit=False) == "-3.1"
    assert chosen.change(key, 0.00001, 1) == "0.0 pp"
    assert chosen.change("alignment", None) == "—"


def test_robin_hood_and_cosines_are_no_shares() -> None:
    shares = {key for key in METRICS if chosen.is_share(key)}
    assert {"image_retrieval_recall@10", "zeroshot_acc5", "truncated_text_share", "linear_separability"} <= shares
    assert not {"text_robin_hood", "mean_cosine_image", "relative_modality_gap", "text_retrieval_brier"} & shares
