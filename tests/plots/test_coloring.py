"""Colours by a column: groups and scales, one colour a value in all pictures, and columns that cannot colour."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import run_cli, small_set
from matplotlib.colors import to_hex

import geomclip as gc
from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.errors import InputError
from geomclip.plots import interactive, static
from geomclip.plots.coloring import ABSENT, MOST_GROUPS, PALETTE, SCALE, check_column, coloring_of
from geomclip.plots.still import still
from geomclip.plots.theme import PALETTES
from geomclip.projections.maps import Map, project

EVIL = "<img src=x onerror=alert(1)>"


def a_map(values: Sequence[str], *, kind: str = "sphere", column: str = "group") -> Map:
    """Images with these values, two texts each; the texts of the last image come first."""
    n = len(values)
    draw = np.random.default_rng(0)
    width = 3 if kind == "sphere" else 2
    own = np.arange(n).repeat(2)[::-1]
    rows = [draw.normal(size=(count, width)) + 1 for count in (n, 2 * n)]
    if kind == "sphere":
        rows = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in rows]
    return Map(*rows, own, kind, "angles", attributes={column: values})


def light(color: str) -> float:
    values = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in values]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_groups_have_a_colour_each_the_largest_first_and_texts_that_of_their_image() -> None:
    found = coloring_of(a_map(["b", "a", "b", "", "b", "a"]), "group")
    assert found is not None
    assert found.groups == ("b", "a")
    blue, red = PALETTE[:2]
    assert found.colors("image").tolist() == [blue, red, blue, ABSENT, blue, red]
    assert found.colors("text").tolist() == [red, red, blue, blue, ABSENT, ABSENT, blue, blue, red, red, blue, blue]
    assert found.palette() == [("b", blue), ("a", red), ("no value", ABSENT)]


def test_of_more_than_a_dozen_groups_the_rare_ones_are_one() -> None:
    values = [f"g{i:02}" for i in range(20) for _ in range(3 if i < 15 else 2)]
    found = coloring_of(a_map(values), "group")
    assert found is not None
    assert found.groups == (*(f"g{i:02}" for i in range(MOST_GROUPS - 1)), "other")
    assert len(set(found.colors("image"))) == MOST_GROUPS
    assert len({color for value, color in zip(values, found.colors("image"), strict=True) if value >= "g11"}) == 1


def test_numbers_are_on_a_scale_from_the_lowest_to_the_highest() -> None:
    found = coloring_of(a_map(["-1", "0.5", "2", "nan", ""]), "group")
    assert found is not None
    assert (found.groups, found.low, found.high) == ((), -1, 2)
    first, middle, last, *absent = found.colors("image")
    assert (first, last, absent) == (SCALE[0], SCALE[-1], [ABSENT, ABSENT])
    assert light(first) < light(middle) < light(last)


def test_a_few_whole_numbers_are_groups_and_many_a_scale() -> None:
    few, many = (coloring_of(a_map([str(i % count) for i in range(40)]), "group") for count in (12, 13))
    assert few is not None
    assert many is not None
    assert len(few.groups) == 12
    assert many.groups == ()


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_groups_stand_out_from_both_papers(mode: str) -> None:
    paper = light(PALETTES[mode]["paper"])
    for color in PALETTE:
        high, low = sorted((light(color), paper), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 3


def test_ten_thousand_different_texts_are_refused_and_ten_thousand_numbers_are_not() -> None:
    texts = {"name": [f"photo {i}" for i in range(10_000)], "size": [str(i) for i in range(10_000)]}
    with pytest.raises(InputError, match=r"color='name' has 10,000 different texts for 10,000 images") as refusal:
        check_column("name", texts)
    assert "\n" not in str(refusal.value)
    check_column("size", texts)
    check_column(None, texts)


def test_an_unknown_column_is_named_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"color='groop': no such column; did you mean group\?; .* set: group, size"):
        check_column("groop", {"group": ["a"], "size": ["1"]})
    with pytest.raises(InputError, match="columns of this set: none"):
        check_column("label", {})


@pytest.mark.parametrize("kind", ["sphere", "plane"])
def test_all_pictures_of_a_map_have_the_same_colours_and_tell_modalities_by_their_signs(kind: str) -> None:
    drawn = a_map(["a", "b", "c", "a"] * 3, kind=kind)
    expected = coloring_of(drawn, "group")
    assert expected is not None
    figure = getattr(interactive, kind)(drawn, color="group")
    dots = {trace.meta: trace for trace in figure.data if trace.meta in ("image", "text")}
    for modality, symbol in (("image", "circle"), ("text", "diamond")):
        assert list(dots[modality].marker.color) == expected.colors(modality).tolist()
        assert dots[modality].marker.symbol == symbol
    assert [trace.name for trace in figure.data if trace.meta == "key"] == ["a", "b", "c"]
    picture = getattr(static, kind)(drawn, color="group")
    shown = {to_hex(color) for axes in picture.axes for cloud in axes.collections for color in cloud.get_facecolors()}
    assert shown >= set(PALETTE[:3])
    if kind == "sphere":
        assert set(re.findall(r'class="image[^"]*" stroke="(#\w+)"', still([drawn], color="group"))) == set(PALETTE[:3])


def test_a_scale_is_drawn_with_its_ends_and_its_name() -> None:
    drawn = a_map([str(i / 2) for i in range(20)], column="length")
    words = {text.get_text() for text in static.sphere(drawn, color="length").texts}
    assert {"length", "0", "9.5"} <= words
    (key,) = [trace for trace in interactive.sphere(drawn, color="length").data if trace.meta == "key"]
    assert (key.marker.cmin, key.marker.cmax, key.name) == (0, 9.5, "length, 0 to 9.5")
    assert "length, 0 to 9.5" in still([drawn], color="length")


def test_before_and_after_have_the_colours_of_before() -> None:
    before = a_map(["a", "b"] * 4)
    after = before.replace(attributes={})
    figure = interactive.sphere_pair(before, after, color="group")
    first, second = [trace for trace in figure.data if trace.meta == "image"]
    assert list(first.marker.color) == list(second.marker.color)
    assert len([trace for trace in figure.data if trace.meta == "key"]) == 2
    assert static.sphere_pair(before, after, color="group").axes


def test_classes_are_coloured_by_their_label() -> None:
    draw = np.random.default_rng(0)
    embeddings = EmbeddingSet(
        draw.normal(size=(20, 8)), labels=[i % 2 for i in range(20)], class_text=draw.normal(size=(2, 8)),
        classes=["cat", "dog"],
    )  # fmt: skip
    found = coloring_of(project(embeddings, "svd"), "label")
    assert found is not None
    assert found.groups == ("cat", "dog")
    assert found.colors("text").tolist() == list(PALETTE[:2])


def test_markup_in_names_of_groups_and_columns_is_text() -> None:
    drawn = a_map([EVIL, "b"] * 4, column=EVIL)
    names = [trace.name for trace in interactive.sphere(drawn, color=EVIL).data if trace.meta == "key"]
    assert names == ["&lt;img src=x onerror=alert(1)&gt;", "b"]
    assert "<img" not in still([drawn], color=EVIL)
    numbers = a_map([str(i / 2) for i in range(20)], column=EVIL)
    assert "<img" not in still([numbers], color=EVIL)
    assert "<img" not in str(interactive.sphere(numbers, color=EVIL).to_json())


def with_columns(**columns: Sequence[str]) -> EmbeddingSet:
    return small_set(24, 1).replace(columns=columns)


@pytest.mark.parametrize("draw", [gc.plot_sphere, gc.report], ids=["plot_sphere", "report"])
def test_a_column_that_cannot_colour_is_refused_before_anything_is_measured_or_drawn(
    draw: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it was drawn or measured")

    monkeypatch.setattr("geomclip.projections.maps.project", refuse)
    monkeypatch.setattr("geomclip.panels.sources.measure", refuse)
    with pytest.raises(InputError, match="columns of this set: group"):
        draw(with_columns(group=["a", "b"] * 12), out=tmp_path / "x.html", color="nothing")
    with pytest.raises(InputError, match="24 different texts for 24 images"):
        draw(with_columns(group=[f"t{i}" for i in range(24)]), out=tmp_path / "x.html", color="group")


@pytest.mark.parametrize(
    "words", [["plot-sphere", "--out", "x.html"], ["project", "--method", "svd", "--out", "x.html"], ["report"]]
)
def test_the_commands_colour_by_a_column_and_refuse_one_that_is_not_there_in_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    gc.save(with_columns(group=["cats", "dogs"] * 12), tmp_path / "store")
    of = (
        ["store", "--bootstrap", "0", "--no-thumbnails", "--no-curves"]
        if words == ["report"]
        else ["--embeddings", "store"]
    )
    done = run_cli(capsys, *words, *of, "--quiet", "--color", "group")
    assert (done.code, done.err) == (0, "")
    page = Path(done.out.split()[-1])
    assert words == ["report"] or "cats" in page.read_text()
    done = run_cli(capsys, *words, *of, "--quiet", "--color", "species")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "--color species: no such column; columns of this set: group" in done.err


def test_a_result_has_no_dots_to_colour(tmp_path: Path) -> None:
    panel = gc.measure(small_set(12, 1), bootstrap=0)
    with pytest.raises(InputError, match="color='group': a result has no dots to colour"):
        gc.report(panel, tmp_path / "x.html", color="group")
