"""Panels as people see them."""

from __future__ import annotations

import io
import json
import re

import pytest
from helpers import small_set
from rich.console import Console

from geomclip.metrics import METRICS
from geomclip.panels import chosen, documents, short, tables
from geomclip.panels.lines import show
from geomclip.panels.measurement import measure
from geomclip.panels.record import Panel

ALL_KEYS = {key: (-123.456 if metric.low < 0 else 0.5) for key, metric in METRICS.items()}


def full_panel(**changes: object) -> Panel:
    """A panel with every key, an interval and a null each."""
    panel = Panel(
        ALL_KEYS,
        ci={key: (value - 1, value + 1) for key, value in ALL_KEYS.items()},
        null=dict.fromkeys(ALL_KEYS, 1234.5),
        n_images=399,
        n_texts=1210,
        dim=128,
        logit_scale=54.321,
        logit_scale_source="model",
        made_from={"dataset": "emoji", "split": "test", "model": "demo", "precision": "fp32"},
    )
    return panel.replace(**changes)


def shown(panel: Panel, width: int = 80, *, colour: bool = False, full: bool = True) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=colour, highlight=False, markup=False, emoji=False
    )
    show(tables.panel_lines(panel, width, full=full), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 110])
def test_every_key_stands_whole_on_one_line_with_value_interval_and_null(width: int) -> None:
    lines = shown(full_panel(), width).splitlines()
    assert max(map(len, lines)) <= width
    for key, value in ALL_KEYS.items():
        (line,) = [line for line in lines if line.split() and line.split()[0] == key]
        assert line.split()[1] == tables.number(value)
        assert line.split()[-1] == "1,234" or line.split()[-1] == "1,235"
        assert " to " in line


def test_a_simulated_null_shows_the_digits_that_its_error_leaves() -> None:
    panel = full_panel(null={"twonn_image": 32.226, "alignment": 2.0}, null_error={"twonn_image": 0.36})
    last = {line.split()[0]: line.split()[-1] for line in shown(panel).splitlines() if " to " in line}
    assert (last["twonn_image"], last["alignment"]) == ("32", "2.0000")


def test_p_is_explained_where_there_is_one() -> None:
    assert tables.HONEST not in " ".join(shown(full_panel()).split())
    panel = full_panel(p={"image_retrieval_ece": 0.25})
    assert tables.HONEST in " ".join(shown(panel).split())
    assert tables.HONEST in tables.panel_html(panel, full=True)
    page = documents.panel_markdown(panel)
    assert tables.HONEST in page
    assert "is not told apart from that of honest confidences (p = 0.25)." in page  # the p that is explained
    assert tables.HONEST not in documents.panel_markdown(full_panel())


def test_no_line_breaks_inside_a_row() -> None:
    lines = shown(full_panel()).splitlines()
    rows = [line for line in lines if re.match(r"\S+ +[-\d]", line) and " to " in line]
    assert len(rows) == len(ALL_KEYS)


def test_the_better_direction_is_an_arrow() -> None:
    text = shown(full_panel())
    arrows = {"lower": "↓", "higher": "↑"}
    for key, metric in METRICS.items():
        (line,) = [line for line in text.splitlines() if line.split() and line.split()[0] == key]
        assert ("↓" in line, "↑" in line) == (metric.better == "lower", metric.better == "higher"), key
    assert all(arrow in tables.LEGEND for arrow in arrows.values())


def test_the_header_says_what_was_measured() -> None:
    first, second, *_ = shown(full_panel()).splitlines()
    assert first == "emoji (test) · demo"
    assert second == "399 images · 1,210 texts · 128 dimensions · logit scale 54.321 (model) · fp32"


def test_skips_notes_and_warnings_are_told() -> None:
    skipped = [{"image_id": str(i), "path": f"{i}.jpg", "reason": "cut short"} for i in range(5)]
    made = {"skipped": skipped, "notes": ["random weights"]}
    panel = Panel(
        {"modality_gap": None}, notes={"modality_gap": "too few"}, warnings=["odd", "random weights"], made_from=made
    )
    text = shown(panel)
    assert text.count("! random weights") == 1  # a warning of the panel, not once more as a note of the model
    assert "! odd" in text
    assert "! 5 images skipped: 0.jpg (cut short); 1.jpg (cut short); 2.jpg (cut short);" in text
    assert "2 more in the result" in " ".join(text.split())


def test_texts_that_were_left_out_are_counted_beside_images() -> None:
    lost = {"path": "a.jpg", "image_id": "a", "reason": "not finite"}
    made = {"skipped": [lost, *({**lost, "caption_id": f"a#{i}"} for i in range(4))]}
    lines = list(tables.skipped(made["skipped"]))
    assert lines[0] == "1 image skipped: a.jpg (not finite)"
    assert lines[1].startswith("4 texts skipped: a#0 (not finite); ")
    qa = Panel({"modality_gap": None}, made_from={**made, "sides": ["query", "document"]})
    text = " ".join(shown(qa).split())
    assert "! 1 query skipped: " in text
    assert "! 4 documents skipped: " in text


def test_a_key_without_a_value_says_why() -> None:
    text = shown(Panel({"modality_gap": None}, notes={"modality_gap": "too few"}))
    assert "modality_gap: too few" in text


def test_keys_with_one_reason_share_a_line() -> None:
    panel = Panel({}, notes={f"key_{i}": "class data" for i in range(9)})
    assert list(tables.footnotes(panel)) == ["key_0, key_1, key_2, key_3 and 5 more: class data"]


def test_an_undefined_value_is_a_dash_not_a_number() -> None:
    text = shown(Panel({"modality_gap": None}))
    (line,) = [line for line in text.splitlines() if line.startswith("modality_gap")]
    assert line.split() == ["modality_gap", "—"]


def test_markup_in_names_is_shown_as_it_is() -> None:
    text = shown(full_panel(made_from={"dataset": "[red]x[/red] :smile:", "model": "[/]"}))
    assert text.splitlines()[0] == "[red]x[/red] :smile: · [/]"


def test_no_color_keeps_colour_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown(full_panel(), colour=True)
    assert not re.search(r"\x1b\[[\d;]*3\dm", text)


def test_without_a_terminal_there_are_no_escapes() -> None:
    assert "\x1b" not in shown(full_panel())


def grouped_panel(**groups: Panel) -> Panel:
    return Panel({"modality_gap": 0.5}, n_images=50, params={"by": "label"}, groups=groups)


def test_groups_stand_side_by_side_and_go_on_in_a_second_table() -> None:
    names = [f"group {i}" for i in range(7)]
    panel = grouped_panel(**dict.fromkeys(names, Panel({"modality_gap": 0.25}, n_images=10)))
    text = shown(panel, full=False)
    assert max(map(len, text.splitlines())) <= 80
    assert all(text.count(name) == 1 for name in names)
    blocks = [line.split() for line in text.splitlines() if line.startswith("by label")]
    assert [len(block) for block in blocks] == [2 + 1 + 2 * 5, 2 + 1 + 2 * 2]  # five groups beside "all", then two
    assert [line.split()[1:] for line in text.splitlines() if line.startswith("images ")] == [
        ["50", "10", "10", "10", "10", "10"],
        ["50", "10", "10"],
    ]


def test_a_group_without_numbers_has_dashes() -> None:
    lines = shown(grouped_panel(lone=Panel({}, n_images=1)), full=False).splitlines()
    assert ["modality", "gap", "0.5000", "—"] in [line.split() for line in lines]


def test_names_of_groups_that_are_cut_alike_are_told_apart() -> None:
    long = {f"a very long name of a {end}": Panel({"modality_gap": 0.25}, n_images=10) for end in ("cat", "dog")}
    (head,) = [line for line in shown(grouped_panel(**long), full=False).splitlines() if line.startswith("by label")]
    assert head.split()[2] == "all"
    assert "cat" in head
    assert "dog" in head


def test_full_has_a_panel_of_each_group() -> None:
    panel = grouped_panel(**{f"group {i}": Panel({"modality_gap": 0.25}, n_images=10) for i in range(2)})
    lines = [line.rstrip() for line in shown(panel).splitlines()]
    for name in panel.groups:
        start = lines.index(f"by label: {name} · 10 images")
        assert "modality_gap                           0.2500" in lines[start:]


@pytest.mark.parametrize(
    ("key", "judging", "star"),
    [
        ("alignment", "alignment", True),
        ("mean_cosine_text", "mean_cosine_text", True),
        ("modality_gap", "modality_gap_debiased", True),
        ("modality_gap", "modality_gap", False),  # it is higher in small groups
        ("text_retrieval_recall@1", "text_retrieval_recall@1", False),  # it is higher in small groups
        ("text_robin_hood", "text_robin_hood", False),
    ],
)
def test_a_star_marks_a_group_that_is_unlike_all_but_not_one_that_is_only_smaller(
    key: str, judging: str, star: bool
) -> None:
    group = Panel({key: 0.25, judging: 0.25}, ci={judging: (0.2, 0.3)}, n_images=10)
    near = group.replace(ci={judging: (0.2, 0.6)})
    whole = Panel({key: 0.5, judging: 0.5}, n_images=50, params={"by": "label"}, groups={"far": group, "near": near})
    text = shown(whole, full=False)
    table = text[text.index("by label") :].splitlines()
    (line,) = [line for line in table if line.startswith(f"{chosen.short_label(key)} ")]
    assert line.count("*") == int(star)
    assert (short.GROUPS_LEGEND.split(";")[0] in " ".join(text.split())) == star


def test_json_is_what_the_result_file_holds() -> None:
    panel = full_panel()
    assert json.loads(tables.panel_json(panel)) == json.loads(json.dumps(panel.to_dict()))


def test_nan_never_becomes_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        tables.panel_json(Panel({"modality_gap": float("nan")}))


@pytest.mark.parametrize("full", [True, False])
def test_html_escapes_what_comes_from_outside(full: bool) -> None:
    evil = "<script>alert(1)</script>"
    panel = full_panel(
        made_from={
            "dataset": evil,
            "model": evil,
            "notes": [evil],
            "skipped": [{"path": evil, "reason": evil}],
        },
        warnings=[evil],
        notes={evil: evil},
        logit_scale_source=evil,
    )
    html = tables.panel_html(panel.replace(values={**ALL_KEYS, evil: 1.0}), full=full)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 8


def test_html_has_every_key_and_the_reading() -> None:
    html = tables.panel_html(full_panel(), full=True)
    assert all(f">{key}</td>" in html for key in METRICS)
    assert "<em>The gap " in html
    assert html.count("<tr>") == html.count("</tr>")


def test_curves_that_were_asked_for_are_shown() -> None:
    panel = measure(small_set(20, 2), curves=True, bootstrap=0)
    text = tables.panel_text(panel)
    assert "in units of the gap" in tables.panel_text(panel, full=True)
    assert all(len(line) <= 80 for line in text.splitlines())
    at_rest = text.split("in units of the gap\n")[1].splitlines()[3].split()  # heads, -0.5, -0.25, 0
    assert at_rest[0] == "0"
    assert at_rest[1] == tables.number(panel["modality_gap"])
    assert "<pre>" in tables.panel_html(panel, full=True)


# --- numbers without an interval


def without_intervals() -> Panel:
    """A panel of one number with an interval, one with none and a reason, and an undefined one."""
    return Panel(
        {"alignment": 1.0, "text_hubness": 2.0, "image_hubness": None},
        ci={"alignment": (0.9, 1.1)},
        no_interval={"text_hubness": "a few hubs decide it", "image_hubness": "a few hubs decide it"},
    )


def test_the_reason_stands_where_an_interval_would() -> None:
    lines = {line.split()[0]: line for line in shown(without_intervals()).splitlines() if line.strip()}
    end = lines["alignment"].index("1.1000") + len("1.1000")
    assert lines["text_hubness"][:end].endswith(" 2.0000  a few hubs decide it")
    assert "hubs" not in lines["image_hubness"]


def test_a_table_of_reasons_alone_has_the_heading_too() -> None:
    panel = measure(small_set(12, 2), bootstrap=50)
    text = shown(panel)
    assert panel.ci == {}
    assert "95 % interval" in text
    assert len(re.findall(r" under 20 images\b", text)) > 20
    assert max(map(len, panel.no_interval.values())) <= tables.INTERVAL


def test_every_reason_of_the_table_of_metrics_fits_its_column() -> None:
    assert max(len(metric.why) for metric in METRICS.values()) <= tables.INTERVAL
    assert all(metric.why for metric in METRICS.values() if not metric.interval)


def test_a_longer_reason_is_cut_and_the_table_stays_as_wide() -> None:
    panel = full_panel(ci={}, no_interval=dict.fromkeys(ALL_KEYS, "turned ends, of an earlier version"))
    text = shown(panel)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("turned ends, of an …") == len(ALL_KEYS)


def test_without_resamples_no_reason_is_shown() -> None:
    panel = measure(small_set(30, 2), bootstrap=0)
    assert "95 % interval" not in shown(panel)
    assert not any(metric.why in shown(panel) for metric in METRICS.values() if metric.why)


def test_html_shows_the_reason_in_the_background() -> None:
    html = tables.panel_html(without_intervals(), full=True)
    assert '<td style="opacity: 0.6">a few hubs decide it</td>' in html
    assert html.count("opacity") == 1
    assert "<td>0.9000 to 1.1000</td>" in html


# --- fewer rows than dimensions


def few(n: int, m: int, dim: int, keys: tuple[str, ...] = ("effective_rank_image", "effective_rank_text")) -> Panel:
    """A panel of ranks, of n images and m texts."""
    return Panel(dict.fromkeys(keys, 12.0), n_images=n, n_texts=m, dim=dim)


@pytest.mark.parametrize(
    ("n", "m", "expected"),
    [
        (100, 600, ["Ranks of images are of at most 100 (centred 99): fewer images than dimensions."]),
        (
            100,
            100,
            [
                "Ranks of images are of at most 100 (centred 99): fewer images than dimensions.",
                "Ranks of texts are of at most 100 (centred 99): fewer texts than dimensions.",
            ],
        ),
        (512, 512, []),
        (511, 2555, ["Ranks of images are of at most 511 (centred 510): fewer images than dimensions."]),
    ],
)
def test_ranks_of_fewer_rows_than_dimensions_are_said_to_be_of_at_most_so_many(
    n: int, m: int, expected: list[str]
) -> None:
    panel = few(n, m, 512)
    assert list(tables.limits("shape", panel)) == expected
    text, html = " ".join(shown(panel).split()), tables.panel_html(panel, full=True)
    assert all(line in text and line in html for line in expected)
    assert text.count("are of at most") == html.count("are of at most") == len(expected)


def test_a_bound_is_told_of_what_is_in_the_panel_alone() -> None:
    assert list(tables.limits("shape", few(10, 10, 64, ("twonn_image", "w2_uniformity_text")))) == []
    assert list(tables.limits("gap", few(10, 10, 64))) == []
    assert list(tables.limits("shape", few(10, 10, 64).replace(values={"effective_rank_image": None}))) == []
    (line,) = tables.limits("shape", few(10, 10, 64, ("participation_ratio_centered_text",)))
    assert "texts" in line


def test_the_bound_at_500_images_is_told_where_they_are_fewer_than_dimensions() -> None:
    keys = ("effective_rank_image", "effective_rank_image@500", "rankme_text", "rankme_text@500")
    assert list(tables.limits("shape", few(600, 1200, 768, keys))) == [
        "Ranks of images are of at most 600 (centred 599): fewer images than dimensions.",
        "At 500 images ranks of images are of at most 500 (centred 499): fewer images than dimensions.",
    ]
    assert list(tables.limits("shape", few(5000, 5100, 512, keys))) == [
        "At 500 images ranks of images are of at most 500 (centred 499): fewer images than dimensions.",
        "At 500 images ranks of texts are of at most about 510 (centred 509): fewer texts than dimensions.",
    ]


def test_no_rank_of_real_rows_is_above_its_bound() -> None:
    panel = measure(small_set(12, 2, 32), metrics="all", bootstrap=0)
    for rows, cloud in ((12, "image"), (24, "text")):
        assert panel[f"effective_rank_{cloud}"] <= rows + 1e-9
        assert panel[f"effective_rank_centered_{cloud}"] <= rows - 1 + 1e-9
        assert any(f"{cloud}s are of at most {rows} " in line for line in tables.limits("shape", panel))


# --- ten numbers that answer


@pytest.mark.parametrize("width", [80, 100, 110])
def test_a_short_table_has_ten_lines_that_fit_and_says_how_to_see_the_others(width: int) -> None:
    lines = shown(full_panel(), width, full=False).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= 24 - 1  # and a prompt
    for line, each in zip(lines[4:14], chosen.CLASSES, strict=True):
        assert line.startswith(f"{each.label}  ")
    assert f"{len(ALL_KEYS) - 10} more: .table(full=True)" in lines


def test_a_short_table_of_pairs_names_the_ten_in_their_order() -> None:
    panel = measure(small_set(30, 2), bootstrap=50)
    lines = shown(panel, full=False).splitlines()
    start = next(i for i, line in enumerate(lines) if "95 % interval" in line) + 1
    for line, each in zip(lines[start : start + 10], chosen.PAIRS, strict=True):
        assert line.startswith(f"{each.label} "), line
        assert line.split("  ")[1:], line
    assert f"{len(panel) - 10} more: .table(full=True)" in lines


def test_numbers_have_the_digits_of_their_interval_and_shares_are_in_percent() -> None:
    panel = Panel(
        {"text_retrieval_recall@1": 0.10383, "alignment": 1.26121},
        ci={"text_retrieval_recall@1": (0.0737, 0.1389), "alignment": (1.2515, 1.2709)},
        null={"text_retrieval_recall@1": 0.00273, "alignment": 2.0},
    )
    lines = [line.split() for line in shown(panel, full=False).splitlines()]
    assert ["Recall@1,", "image", "→", "text", *["10.4", "%", "7.4", "to", "13.9", "↑", "0.27", "%"]] in lines
    assert ["Alignment", *["1.261", "1.252", "to", "1.271", "↓", "2.0000"]] in lines


def test_numbers_that_were_named_are_shown_however_many_they_are() -> None:
    keys = list(METRICS)[:15]
    panel = Panel(dict.fromkeys(keys, 0.5), params={"metrics": keys})
    assert sorted(short.keys_of(panel)) == sorted(keys)
    assert "more:" not in shown(panel, full=False)
    paper = full_panel(params={"metrics": "all"}).replace(values={**ALL_KEYS, "oh2023_alignment": 0.5})
    assert short.keys_of(paper)[10:] == ["oh2023_alignment"]


def test_40_columns_hold_name_value_and_half_width() -> None:
    panel = measure(small_set(30, 2), bootstrap=50)
    lines = shown(panel, 40, full=False).splitlines()
    assert max(map(len, lines)) <= 40
    start = next(i for i, line in enumerate(lines) if line.split() == ["value", "±"]) + 1
    for line, each in zip(lines[start : start + 10], chosen.PAIRS, strict=True):
        assert line.startswith(each.short)
        assert "±" in line or panel.ci.get(each.key) is None
    assert max(map(len, shown(grouped_panel(a=Panel({}), b=Panel({})), 40, full=False).splitlines())) <= 40


def test_a_number_too_long_for_its_column_is_written_as_usual() -> None:
    panel = Panel({"modality_gap": 1e6 + 0.125}, ci={"modality_gap": (1e6, 1e6 + 0.25)})
    assert max(map(len, shown(panel, full=False).splitlines())) <= 80
    assert "1,000,000 " in shown(panel, full=False)


def test_notes_of_numbers_that_are_not_shown_stay_with_the_full_table() -> None:
    panel = full_panel(notes={"twonn_text": "merged", "text_retrieval_recall@1": "tied", "whole": "odd"}).replace(
        values={key: value for key, value in ALL_KEYS.items() if not key.startswith("zeroshot")}
    )
    assert "merged" not in shown(panel, full=False)
    assert "tied" in shown(panel, full=False)
    assert "whole: odd" in shown(panel, full=False)
    assert "merged" in shown(panel)


def test_print_and_a_notebook_show_the_short_table_or_on_demand_the_full_one() -> None:
    panel = full_panel()
    assert str(panel) == str(panel.table()) == repr(panel.table()) == shown(panel, full=False)
    assert str(panel.table(full=True)) == shown(panel)
    assert panel._repr_html_() == panel.table()._repr_html_() == tables.panel_html(panel)
    assert panel.table(full=True)._repr_html_() == tables.panel_html(panel, full=True)
    assert tables.panel_html(panel).count("<tr>") == 1 + 10
    assert ".table(full=True)" in tables.panel_html(panel)
