"""Gates: conditions on the values of a panel; those on changes are in test_comparison.py."""

from __future__ import annotations

import math

import pytest
from callers import command_line
from helpers import class_set, small_set

from geomclip.panels.comparison import Comparison, Row
from geomclip.panels.gates import OF_PAPERS, Gate
from geomclip.panels.measurement import measure
from geomclip.panels.record import Panel

PANEL = Panel(
    {"image_retrieval_recall@1": 0.25, "modality_gap": 0.5, "hubness_image": None, "alignment": math.nan},
    ci={"image_retrieval_recall@1": (0.2, 0.3)},
    notes={"hubness_image": "too few images", "zeroshot_acc1": "these are pairs"},
)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("image_retrieval_recall@1<0.3", True),
        ("image_retrieval_recall@1 < 0.25", False),
        ("image_retrieval_recall@1 <= 0.25", True),
        ("  modality_gap  >=  5e-1  ", True),
        ("modality_gap>0.5", False),
    ],
)
def test_a_condition_of_a_panel_is_on_the_value(condition: str, holds: bool) -> None:
    assert PANEL.fails(condition) is holds
    assert bool(PANEL.failure(condition)) is holds


def test_a_condition_that_holds_tells_the_value_and_its_interval() -> None:
    expected = "'image_retrieval_recall@1<0.3': image_retrieval_recall@1 is 0.25 (0.2 to 0.3)"
    assert PANEL.failure("image_retrieval_recall@1<0.3") == expected
    assert PANEL.failure("modality_gap>0") == "'modality_gap>0': modality_gap is 0.5"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("alignment worse", "nothing before it to be worse than: test the value, as in 'alignment<NUMBER'"),
        ("alignment better and q<0.05", "nothing before it to be better than"),
        ("alignment same", "nothing before it to be same than"),
        ("alignment<1 and q<0.05", "a value has no q, which is of a change: leave 'and q<0.05' out"),
        ("alignment", r"write KEY<NUMBER \(or <=, >, >=; it is the value that is tested\)$"),
        ("alignment<inf", "write KEY<NUMBER"),
        ("alignment = 1", "write KEY<NUMBER"),
        ("alignment<nan", "write KEY<NUMBER"),
    ],
)
def test_what_only_a_change_has_is_refused_of_a_value(condition: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        PANEL.failure(condition)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("modality_gab<1", "unknown metric 'modality_gab'; nearest: modality_gap"),
        ("hubness_image<1", r"hubness_image has no value here \(too few images\)"),
        ("zeroshot_acc1<1", r"zeroshot_acc1 has no value here \(these are pairs\)"),
        ("alignment<1", "alignment has no value here$"),
        (
            "modality_gap_squared<1",
            r"unknown metric 'modality_gap_squared': it is not among those measured here \(metrics='all'",
        ),
    ],
)
def test_a_value_that_is_missing_does_not_pass(condition: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        PANEL.fails(condition)


def test_the_way_out_is_a_flag_on_the_command_line() -> None:
    with command_line(), pytest.raises(ValueError, match=r"--metrics all measures all"):
        PANEL.fails("modality_gap_squared<1")
    with pytest.raises(ValueError, match=r"add 'and q<0\.05'$"):
        Gate.of("alignment worse", primary=(), nameable=False)


def test_a_change_that_is_no_number_or_of_unknown_surety_does_not_pass() -> None:
    rows = {"alignment": Row(1.0, math.nan, math.nan), "text_retrieval_nll": Row(1.0, 1.5, 0.5)}
    with pytest.raises(ValueError, match="alignment has no difference here"):
        Comparison(rows).fails("alignment>0")
    for condition in ("text_retrieval_nll unclear", "text_retrieval_nll>0.1 and q<0.05"):
        with pytest.raises(ValueError, match=r"nothing says how sure the change of text_retrieval_nll is, 0\.5"):
            Comparison(rows).fails(condition)
    assert not Comparison(rows).fails("text_retrieval_nll same")


def test_the_keys_of_papers_are_those_that_panels_have_by_them() -> None:
    with_paper, without = (measure(small_set(), bootstrap=0, paper=paper) for paper in ("oh2023", None))
    assert tuple(key for key in with_paper if key not in without) == OF_PAPERS


def test_classes_have_no_recall_and_say_why() -> None:
    with pytest.raises(ValueError, match=r"image_retrieval_recall@1 has no value here \(.+\)"):
        measure(class_set(), bootstrap=0).fails("image_retrieval_recall@1<0.5")
