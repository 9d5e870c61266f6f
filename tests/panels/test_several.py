"""Several runs side by side: names, one correction, marks, files, and what is refused."""

from __future__ import annotations

import csv
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import class_set, random_rows, small_set, without_sums

import geomclip as gc
from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.errors import InputError
from geomclip.panels import chosen, sources
from geomclip.panels.comparison import Comparison, Comparisons, Row, side_by_side, verdicts
from geomclip.panels.measurement import measure

N = 40
R1 = "text_retrieval_recall@1"


@cache
def run(noise: float = 0.0, model: str = "stock") -> EmbeddingSet:
    made = small_set(N, 2, seed=3)
    assert made.text is not None
    text = made.text + 0.3 * random_rows(2 * N, 16, seed=30)
    moved = made.replace(text=text + noise * random_rows(2 * N, 16, seed=31))
    return moved.replace(made_from={**made.made_from, "model": model})


@cache
def several(**options: Any) -> Comparisons:
    return gc.compare(run(), run(0.01, "mild"), run(2.0, "wild"), bootstrap=100, **options)


def of_rows(names: list[str], key: str = R1, **more: Any) -> Comparisons:
    row = Row(0.1, 0.2, 0.1, (0.05, 0.15), "better")
    return Comparisons("stock", {name: Comparison({key: row}, **more) for name in names})


def lines_of(runs: Comparisons, width: int = 80, *, full: bool = False) -> list[str]:
    return [line.rstrip() for line in side_by_side.several_text(runs, width, full=full).splitlines()]


# --- what is compared


def test_each_run_is_compared_with_the_first() -> None:
    runs = several()
    assert (runs.reference, runs.keys()) == ("stock", ["mild", "wild"])
    alone = gc.compare(run(), run(2.0, "wild"), bootstrap=100)
    for key, row in alone.rows.items():
        assert (runs["wild"][key].difference, runs["wild"][key].ci) == (row.difference, row.ci), key
    assert isinstance(alone, Comparison)


def test_verdicts_are_corrected_over_all_runs() -> None:
    runs = several()
    rows = [comparison.rows for comparison in runs.comparisons.values()]
    expected = verdicts.corrected(rows, [verdicts.PRIMARY] * 2)
    for comparison, q in zip(runs.comparisons.values(), expected, strict=True):
        assert {key: row.q for key, row in comparison.rows.items() if row.q is not None} == q
    alone = gc.compare(run(), run(2.0, "wild"), bootstrap=100)
    assert any(runs["wild"][key].q != row.q for key, row in alone.rows.items())


def test_the_first_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []
    original = sources.measure

    def counted(embeddings: EmbeddingSet, **options: Any) -> Any:
        measured.append(embeddings.made_from["model"])
        return original(embeddings, **options)

    monkeypatch.setattr(sources, "measure", counted)
    gc.compare(run(), run(0.01, "mild"), run(2.0, "wild"), bootstrap=0, metrics="alignment")
    assert measured == ["stock", "mild", "wild"]


def test_runs_that_share_other_images_are_each_compared_on_what_they_share() -> None:
    some = [run(0.01, "a").select_images(torch.arange(30)), run(2.0, "b").select_images(torch.arange(10, 40))]
    runs = gc.compare(run(), *some, intersect=True, bootstrap=0, metrics="alignment")
    assert [each.n_images for each in runs.comparisons.values()] == [30, 30]
    assert runs["a"]["alignment"].before != runs["b"]["alignment"].before
    with pytest.raises(ValueError, match=r"^a: the two sets differ: 10 images are only before"):
        gc.compare(run(), *some, bootstrap=0, metrics="alignment")


def test_what_cannot_be_compared_is_said_with_the_name_of_the_run() -> None:
    classes = class_set().replace(made_from={"model": "other"})
    with pytest.raises(ValueError, match=r"^other: one side has pairs, the other classes"):
        gc.compare(run(), run(0.01, "mild"), classes, bootstrap=0)
    panels = [measure(each, bootstrap=0, metrics="alignment") for each in (run(), run(0.01, "mild"))]
    smaller = measure(run(2.0, "wild").select_images(torch.arange(20)), bootstrap=0, metrics="alignment")
    with pytest.raises(ValueError, match=r"^wild: the two sets differ"):
        gc.compare(*panels, smaller)


# --- names


@pytest.mark.parametrize(
    ("sides", "names"),
    [
        (["a.json", "b.json", "c.json"], ["a.json", "b.json", "c.json"]),
        (["r/x/a.json", "r/y/a.json", "b.json"], ["x/a.json", "y/a.json", "b.json"]),
        (["x/r/a.json", "y/r/a.json", "r/a.json"], ["x/r/a.json", "y/r/a.json", "r/a.json"]),
        (["ViT-B/32", "ViT-L/32", "demo"], ["ViT-B/32", "ViT-L/32", "demo"]),
        (["a.json", "a.json", "a.json"], ["a.json", "a.json (2)", "a.json (3)"]),
    ],
)
def test_names_are_as_short_as_tells_them_apart(sides: list[str], names: list[str]) -> None:
    assert sources.names_of(sides) == names


def test_panels_and_sets_have_the_name_of_their_model() -> None:
    panel = measure(run(0.0, "ViT-B/32"), bootstrap=0, metrics="alignment")
    assert sources.names_of([panel, run(0.01, "mild"), run(0.01, "mild"), panel.replace(made_from={})]) == [
        "ViT-B/32",
        "mild",
        "mild (2)",
        "unnamed",
    ]


def test_a_run_that_is_not_there_is_answered_with_the_nearest() -> None:
    with pytest.raises(KeyError, match="no run 'mil' is compared; did you mean mild"):
        several()["mil"]
    assert "mild" in several()
    assert (len(several()), list(several())) == (2, ["mild", "wild"])
    assert repr(several()) == "Comparisons(mild, wild with stock)"


# --- gates


def test_a_gate_fails_if_any_run_fails_it_and_says_which() -> None:
    runs = several()
    assert runs.failure("alignment>0.5").startswith("wild: 'alignment>0.5': the change of alignment is ")
    assert "mild" not in runs.failure("alignment>0.5")
    both = runs.failure("alignment>-9")
    assert both.startswith("mild: ")
    assert "; wild: " in both
    assert not runs.fails("alignment>9")
    with pytest.raises(ValueError, match="unknown metric 'alignmet'"):
        runs.fails("alignmet>0")


# --- tables


def test_each_line_has_the_reference_and_of_each_run_value_change_and_mark() -> None:
    better, worse = Row(0.1, 0.2, 0.1, (0.06, 0.14), "better"), Row(0.1, 0.05, -0.05, (-0.09, -0.01), "worse")
    runs = Comparisons("stock", {"a": Comparison({R1: better}), "b": Comparison({R1: worse})})
    lines = [line.split() for line in lines_of(runs)]
    assert ["stock", "a", "b"] in lines
    assert ["R@1", "image", "→", "text", "%", "10", "20", "+10*", "5", "-5!"] in lines
    assert side_by_side.LEGEND.split() in lines


@pytest.mark.parametrize("width", [40, 80, 110])
@pytest.mark.parametrize("full", [False, True])
def test_many_runs_go_on_in_blocks_of_columns_and_every_line_fits(width: int, full: bool) -> None:
    width = max(width, 80 if full else 0)
    runs = Comparisons("stock", dict.fromkeys([f"a-very-long-name-of-a-run-{i}" for i in range(7)], several()["wild"]))
    lines = lines_of(runs, width, full=full)
    assert max(map(len, lines)) <= width
    start = 1 + max(i for i, line in enumerate(lines) if line == "") - len(lines)
    heads = [line.split()[1:] for line in lines[:start] if line.lstrip().startswith("stock ") and "·" not in line]
    names = [name for head in heads for name in head]
    assert len(set(names)) == len(names) == 7
    assert all(name.endswith(f"-{i}") for i, name in enumerate(names))
    key = "alignment"
    assert sum(line.split()[0] == key for line in lines if line) == len(heads)


def test_the_short_table_is_the_chosen_ten_and_full_has_every_key() -> None:
    lines = lines_of(several())
    for each in chosen.PAIRS:
        assert sum(line.startswith(f"{each.short} ") for line in lines) == 1, each
    count = len(several()["mild"]) - 10
    assert f"{count} more: .table(full=True)" in lines
    full = lines_of(several(), full=True)
    assert all(sum(line.split()[0] == key for line in full if line) == 1 for key in several()["mild"])


def test_a_number_that_a_run_has_not_is_a_dash() -> None:
    runs = Comparisons(
        "stock", {"a": Comparison({R1: Row(0.1, 0.2, 0.1)}), "b": Comparison({"alignment": Row(1, 2, 1)})}
    )
    lines = [line.split() for line in lines_of(runs)]
    assert ["alignment", "1.0000", "—", "—", "2.0000", "+1.0000"] in lines


def test_notes_that_all_runs_share_stand_once() -> None:
    runs = Comparisons("stock", {"a": Comparison({}, notes=["all", "one"]), "b": Comparison({}, notes=["all"])})
    lines = lines_of(runs)
    assert lines.count("! all") == 1
    assert "! a: one" in lines


def test_groups_of_each_run_stand_below() -> None:
    group = Comparison({R1: Row(0.1, 0.2, 0.1, (0.05, 0.15), "better")}, n_images=9)
    runs = of_rows(["a", "b"], by="kind", groups={"cats": group}, n_images=27)
    for full in (False, True):
        lines = lines_of(runs, full=full)
        assert [line for line in lines if line in ("a", "b")] == ["a", "b"]
        assert sum(line.split() == ["by", "kind", "all", "cats"] for line in lines) == 2


def test_print_and_a_notebook_show_the_short_table_or_on_demand_the_full_one() -> None:
    runs = several()
    assert str(runs) == side_by_side.several_text(runs)
    assert str(runs.table(full=True)) == side_by_side.several_text(runs, full=True)
    assert runs._repr_html_().count("<tr>") == 1 + 10
    assert "Recall@1, image → text %" in runs._repr_html_()
    assert runs.table(full=True)._repr_html_().count("<tr>") == 1 + len(runs["mild"])


def test_what_comes_from_outside_is_escaped() -> None:
    evil = "<script>alert(1)</script>|"
    runs = of_rows([evil], key=evil, notes=[evil], before={"model": evil})
    for shown in (side_by_side.several_html(runs), side_by_side.several_markdown(runs)):
        assert "<script" not in shown
        assert "&lt;script" in shown


# --- files


def test_files_hold_what_the_comparisons_hold(tmp_path: Path) -> None:
    runs = several()
    for name in ("x.json", "x.csv", "x.md"):
        assert runs.save(tmp_path / name) == tmp_path / name
    kept = without_sums(json.loads((tmp_path / "x.json").read_text()))
    assert (kept["schema"], kept["reference"]) == ("geomclip.comparisons/1", "stock")
    assert kept["comparisons"]["wild"] == json.loads(json.dumps(runs["wild"].to_dict()))
    assert kept == json.loads(side_by_side.several_json(runs))
    with (tmp_path / "x.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["run"], line["metric"]) for line in lines] == [
        (name, key) for name in runs for key in runs[name].rows
    ]
    assert float(lines[0]["difference"]) == runs["mild"][lines[0]["metric"]].difference
    page = (tmp_path / "x.md").read_text()
    assert page.count("| Recall@1, image → text |") == 1
    assert [line for line in page.splitlines() if line.startswith("## ")] == ["## mild", "## wild"]
    frame = runs.to_pandas()
    assert frame.loc[("wild", "alignment"), "difference"] == runs["wild"]["alignment"].difference


def test_a_page_of_more_than_two_sides_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x.html: a page shows two sides: compare two, or write .json, .csv or .md$"):
        several().save(tmp_path / "x.html")
    with pytest.raises(InputError, match=r"several comparisons are written to .json, .csv or .md$"):
        several().save(tmp_path / "x.txt")
