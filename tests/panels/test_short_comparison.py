"""A comparison in short: ten numbers that answer, changes in points, what is left out, and groups."""

from __future__ import annotations

from dataclasses import replace

import pytest

from geomclip.metrics import METRICS
from geomclip.panels import chosen
from geomclip.panels.comparison import Comparison, Row, short, tables

R1 = "text_retrieval_recall@1"


def lines_of(comparison: Comparison, width: int = 80, *, full: bool = False) -> list[str]:
    return [line.rstrip() for line in tables.comparison_text(comparison, width, full=full).splitlines()]


def pairs(**rows: Row) -> Comparison:
    """A comparison of all keys of pairs, each a little lower, but for those that are named."""
    known = {key: Row(0.5, 0.4, -0.1, (-0.15, -0.05)) for key in METRICS if not key.startswith("zeroshot")}
    return Comparison(known | rows)


def test_ten_lines_answer_and_with_what_stands_below_them_fit_a_terminal() -> None:
    lines = lines_of(pairs())
    start = next(i for i, line in enumerate(lines) if "95 % interval" in line)
    for line, each in zip(lines[start + 1 : start + 11], chosen.PAIRS, strict=True):
        assert line.startswith(f"{each.label}  ")
    assert max(map(len, lines)) <= 80
    assert len(lines[start:]) <= 24 - 1 - 8  # a prompt, and a verdict in eight lines


def test_shares_change_by_points_in_the_digits_of_their_interval() -> None:
    rows = {R1: Row(0.1038, 0.0601, -0.0437, (-0.0741, -0.0132), "worse"), "alignment": Row(1.0, 1.0, 0.0, (0.0, 0.0))}
    lines = [line.split() for line in lines_of(Comparison(rows))]
    assert [
        "Recall@1,",
        "image",
        "→",
        "text",
        *["10.4", "%", "6.0", "%", "-4.4", "pp", "-7.4", "to", "-1.3", "worse"],
    ] in lines
    assert ["Alignment", *["1.0000", "1.0000", "0", "0", "to", "0"]] in lines


def test_what_is_left_out_is_counted_with_its_verdicts() -> None:
    left = {"twonn_image": Row(1, 2, 1, (0.5, 1.5), "worse"), "text_retrieval_nll": Row(1, 0, -1, (-2, -0.5), "better")}
    count = len(pairs()) - 10
    assert f"{count} more (1 better, 1 worse): .table(full=True)" in lines_of(pairs(**left))
    assert f"{count} more: .table(full=True)" in lines_of(pairs())
    assert not any("more" in line for line in lines_of(Comparison({R1: Row(0.1, 0.2, 0.1)})))


def test_primary_keys_stand_first_and_keys_of_others_last() -> None:
    primary = replace(pairs().rows["twonn_text"], primary=True)
    comparison = Comparison({**pairs(twonn_text=primary).rows, "own": Row(1, 2, 1)})
    keys = short.keys_of(comparison)
    assert (keys[0], keys[1], keys[-1], len(keys)) == ("twonn_text", R1, "own", 11)


def test_a_calibration_error_that_fell_with_recall_is_explained_where_it_is_shown() -> None:
    lower = Row(0.2, 0.1, -0.1, (-0.15, -0.05), "lower")
    assert short.LOWER in lines_of(pairs(text_retrieval_ece=lower))
    assert short.LOWER not in lines_of(pairs(text_retrieval_mce=lower))


@pytest.mark.parametrize("width", [40, 66, 80, 100])
def test_numbers_of_any_size_break_no_column(width: int) -> None:
    big = {key: Row(-123.456, 12345.6, -9999.9, (-9999.9, -1.2e-5), "unclear") for key in METRICS}
    for comparison in (Comparison(big), Comparison(big, groups={"one": Comparison(big), "two": Comparison({})})):
        text = tables.comparison_text(comparison, width)
        assert max(len(line.rstrip()) for line in text.splitlines()) <= width
        rows = [line for line in text.splitlines() if line.startswith(("Modality gap", "modality gap"))]
        assert len(rows) == (1 if not comparison.groups else 3 if width == 40 else 2)


def test_a_narrow_table_marks_better_and_worse() -> None:
    rows = {
        R1: Row(0.1, 0.2, 0.1, (0.05, 0.15), "better"),
        "alignment": Row(1.0, 1.1, 0.1, (0.05, 0.15), "worse"),
        "modality_gap": Row(1.0, 1.1, 0.1, (0.05, 0.15)),
    }
    lines = lines_of(Comparison(rows), 40)
    assert [line[-1] for line in lines if line.startswith(("R@1", "align", "modal"))] == ["*", "0", "!"]


def test_groups_stand_in_one_table_with_marks() -> None:
    better, worse = Row(0.1, 0.2, 0.1, (0.05, 0.15), "better"), Row(0.2, 0.1, -0.1, (-0.15, -0.05), "worse")
    none = Row(0.1, None)
    groups = {name: Comparison({R1: row}, n_images=9) for name, row in {"a": better, "b": worse, "c": none}.items()}
    lines = [line.split() for line in lines_of(Comparison({R1: better}, n_images=27, by="kind", groups=groups))]
    assert ["by", "kind", "all", "a", "b", "c"] in lines
    assert ["images", "27", "9", "9", "9"] in lines
    assert ["R@1", "image", "→", "text", "%", "+10*", "+10*", "-10!", "—"] in lines


def test_notes_stand_above_the_table_so_that_the_end_is_the_answer() -> None:
    lines = lines_of(pairs().replace(notes=["the data are not the same"]))
    assert lines.index("! the data are not the same") < next(
        i for i, line in enumerate(lines) if "before " in line[20:]
    )


def test_print_and_a_notebook_show_the_short_table_or_on_demand_the_full_one() -> None:
    comparison = pairs()
    assert str(comparison) == str(comparison.table()) == tables.comparison_text(comparison)
    assert str(comparison.table(full=True)) == tables.comparison_text(comparison, full=True)
    assert comparison._repr_html_() == comparison.table()._repr_html_()
    assert comparison._repr_html_().count("<tr>") == 1 + 10
    assert all(f">{key}<" in comparison.table(full=True)._repr_html_() for key in comparison)
