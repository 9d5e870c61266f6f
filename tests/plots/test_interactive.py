"""Interactive pictures: what their traces hold, what they say of themselves, and that nothing in them is markup."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Opened, browser
from numpy.typing import NDArray

from geomclip.plots import interactive, offline, theme
from geomclip.plots.arcs import along, ball, graticule, great_circles
from geomclip.projections.maps import Map

HOSTILE = "<script>alert(1)</script> </script> <b>bold</b> <a href='javascript:alert(1)'>x</a> \u2028 %{x} $a$ &amp;"
KEEPS = {
    **{"trustworthiness": 0.91, "continuity": 0.93, "distance_pearson": 0.7, "distance_spearman": 0.6},
    **{"gap": 0.8, "gap_drawn": 1.1},
}


def unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def sphere_map(n: int = 12, per_image: int = 2, *, apart: float = 0.8, seed: int = 0, **more: Any) -> Map:
    """Two caps that overlap, `apart` of the gap between them."""
    draw = np.random.default_rng(seed)
    base, gap, own = draw.normal(size=(n, 3)), np.array([1.0, 0.3, -0.5]), np.repeat(np.arange(n), per_image)
    text = base[own] + 0.3 * draw.normal(size=(n * per_image, 3)) - apart * gap
    return Map(unit(base + apart * gap), unit(text), own, "sphere", "dosnes", keeps=KEEPS, dim=512, **more)


def plane_map(n: int = 12, **more: Any) -> Map:
    rows = np.random.default_rng(1).normal(size=(2 * n, 2))
    return Map(rows[:n], rows[n:] + 3, np.arange(n), "plane", "svd", keeps={**KEEPS, "gap_drawn": None}, **more)


def traces(figure: Any, meta: str) -> list[Any]:
    return [trace for trace in figure.data if trace.meta == meta]


def rows_of(trace: Any) -> NDArray[np.float32]:
    return np.stack([np.asarray(trace[axis]) for axis in "xyz"], axis=1)


def texts_of(figure: Any) -> str:
    return "<br>".join(annotation.text for annotation in figure.layout.annotations)


# --- lines on the sphere


def test_arcs_join_their_ends_on_the_sphere_and_have_a_gap_after_each() -> None:
    start, end = sphere_map().image, sphere_map(seed=1).image
    line = great_circles(start, end)
    gaps = np.isnan(line).all(axis=1)
    assert gaps.sum() == len(start)
    assert np.abs(np.linalg.norm(line[~gaps], axis=1) - 1).max() < 1e-6
    parts = np.split(line, np.flatnonzero(gaps) + 1)[:-1]
    np.testing.assert_allclose([part[0] for part in parts], start, atol=1e-6)
    np.testing.assert_allclose([part[-2] for part in parts], end, atol=1e-6)
    # of a great circle, not only on the sphere: every point is in the plane of the ends
    for part, a, b in zip(parts, start, end, strict=True):
        assert np.abs(part[:-1] @ np.cross(a, b)).max() < 1e-6
        assert np.degrees(np.arccos((part[0] * part[1]).sum().clip(-1, 1))) < 5.1


def test_very_many_arcs_get_fewer_points_and_keep_their_ends() -> None:
    draw = np.random.default_rng(0)
    start, end = (unit(draw.normal(size=(500, 3))) for _ in range(2))
    line = great_circles(start, end, most_points=3000)
    assert len(line) <= 3000 < len(great_circles(start, end))
    parts = np.split(line, np.flatnonzero(np.isnan(line[:, 0])) + 1)[:-1]
    np.testing.assert_allclose([part[-2] for part in parts], end, atol=1e-6)


@pytest.mark.parametrize("end", [[1.0, 0, 0], [-1.0, 0, 0]])
def test_arcs_between_equal_and_opposite_points_stay_on_the_sphere(end: list[float]) -> None:
    line = great_circles(np.eye(3, dtype=np.float32)[:1], np.array([end], dtype=np.float32))
    np.testing.assert_allclose(np.linalg.norm(line[:-1], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(line[-2], end, atol=1e-6)


def test_the_globe_is_closed_and_its_net_lies_on_it() -> None:
    corners, triangles = ball()
    np.testing.assert_allclose(np.linalg.norm(corners, axis=1), 1, atol=1e-6)
    sides = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    _, shared = np.unique(sides, axis=0, return_counts=True)
    assert (shared[np.ptp(corners[np.unique(sides, axis=0)][..., 2], axis=1) > 1e-6] == 2).all()
    net = graticule()
    np.testing.assert_allclose(np.linalg.norm(net[~np.isnan(net[:, 0])], axis=1), 1, atol=1e-5)


# --- the sphere


def test_dots_are_the_map_as_typed_arrays_with_their_row_and_modality() -> None:
    drawn = sphere_map()
    figure = interactive.sphere(drawn)
    assert drawn.text is not None
    for meta, rows in (("image", drawn.image), ("text", drawn.text)):
        (trace,) = traces(figure, meta)
        assert rows_of(trace).dtype == np.float32
        np.testing.assert_array_equal(rows_of(trace), rows)
        np.testing.assert_array_equal(trace.customdata, np.arange(len(rows)))
        assert trace.marker.color == {"image": theme.IMAGE, "text": theme.TEXT}[meta]
        packed = next(each for each in json.loads(figure.to_json())["data"] if each.get("meta") == meta)
        assert (packed["x"]["dtype"], packed["customdata"]["dtype"]) == ("f4", "i4")


def test_every_text_is_linked_to_its_image() -> None:
    drawn = sphere_map(n=3, per_image=2)
    (trace,) = traces(interactive.sphere(drawn), "link")
    line = rows_of(trace)
    parts = np.split(line, np.flatnonzero(np.isnan(line[:, 0])) + 1)[:-1]
    np.testing.assert_allclose([part[0] for part in parts], drawn.image[[0, 0, 1, 1, 2, 2]], atol=1e-6)
    np.testing.assert_allclose([part[-2] for part in parts], drawn.text, atol=1e-6)
    assert trace.name == "6 pairs"


def test_of_many_links_an_even_share_is_drawn_and_the_legend_says_so() -> None:
    drawn = sphere_map(n=400)
    count = lambda trace: int(np.isnan(trace.x).sum())  # noqa: E731
    (some,) = traces(interactive.sphere(drawn), "link")
    assert (count(some), some.name) == (300, "300 of 800 pairs")
    (every,) = traces(interactive.sphere(drawn, links=True), "link")
    assert (count(every), every.name) == (800, "800 pairs")
    assert traces(interactive.sphere(drawn, links=False), "link") == []


def test_the_gap_goes_on_a_great_circle_from_the_mean_image_to_the_mean_text() -> None:
    drawn = sphere_map()
    parts = traces(interactive.sphere(drawn), "mean")
    arrow = next(part for part in parts if part.name == "means and gap")
    ends = rows_of(arrow)[[0, -1]]
    np.testing.assert_allclose(unit(ends), [drawn.image_mean, drawn.text_mean], atol=1e-6)
    cone = next(part for part in parts if part.type == "cone")
    way = np.array([cone.u[0], cone.v[0], cone.w[0]])
    assert way @ (ends[1] - rows_of(arrow)[-2]) > 0
    marks = {part.name: rows_of(part)[0] for part in parts if part.name.startswith("mean of")}
    np.testing.assert_allclose(unit(marks["mean of the texts"][None])[0], drawn.text_mean, atol=1e-6)


def test_the_first_view_has_both_means_in_front_and_the_images_on_the_left() -> None:
    drawn = sphere_map()
    camera = interactive.sphere(drawn).layout.scene.camera
    eye, up = (np.array([vector.x, vector.y, vector.z]) for vector in (camera.eye, camera.up))
    assert drawn.text_mean is not None
    assert min(eye @ drawn.image_mean, eye @ drawn.text_mean) > 0
    right = np.cross(up, eye)
    assert right @ drawn.image_mean < 0 < right @ drawn.text_mean
    above = np.cross(drawn.image_mean, drawn.text_mean)
    height = float(eye @ above / np.linalg.norm(eye) / np.linalg.norm(above))
    assert np.degrees(np.arcsin(abs(height))) == pytest.approx(35, abs=0.01)


def test_means_on_opposite_sides_are_lifted_above_the_rim() -> None:
    rows = unit(np.array([[1, 0.1, 0], [1, -0.1, 0]]))
    figure = interactive.sphere(Map(rows, -rows, [0, 1], "sphere", "dosnes"))
    camera = figure.layout.scene.camera
    eye = np.array([camera.eye.x, camera.eye.y, camera.eye.z])
    reach = figure.layout.scene.xaxis.range[1]
    away = np.linalg.norm(eye) * 2 * reach  # plotly's box of this reach has sides of length 1
    for part in traces(figure, "mean"):
        if part.name.startswith("mean of"):
            at = rows_of(part)[0].astype(float)
            sideways = np.linalg.norm(at - (at @ eye) * eye / (eye @ eye))
            depth = away - at @ eye / np.linalg.norm(eye)
            assert sideways / depth > 1 / np.sqrt(away**2 - 1)  # outside of the globe's outline


def test_a_picture_prints_what_it_keeps() -> None:
    for figure, drawn in (
        (interactive.sphere(sphere_map()), sphere_map()),
        (interactive.plane(plane_map()), plane_map()),
    ):
        for line in drawn.facts():
            assert line in texts_of(figure)
    pair = interactive.sphere_pair(sphere_map(), sphere_map(seed=1))
    assert texts_of(pair).count("trustworthiness 0.910") == 2
    assert texts_of(pair).count("<b>before</b>") == texts_of(pair).count("<b>after</b>") == 1


def test_images_alone_and_means_without_a_direction_are_drawn_without_arrow() -> None:
    alone = interactive.sphere(Map(np.eye(3), None, None, "sphere", "dosnes"))
    assert [len(traces(alone, meta)) for meta in ("image", "text", "link")] == [1, 0, 0]
    assert [part.name for part in traces(alone, "mean")] == ["mean of the images"]
    even = np.array([[1.0, 0, 0], [-1, 0, 0]])
    assert traces(interactive.sphere(Map(even, even, [0, 1], "sphere", "dosnes")), "mean") == []


def test_classes_have_no_links() -> None:
    figure = interactive.sphere(Map(np.eye(3), np.eye(3)[:2], None, "sphere", "dosnes"))
    assert traces(figure, "link") == []
    assert traces(figure, "text")[0].name == "2 classes"


def test_a_map_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind 'sphere' is needed, got 'plane'"):
        interactive.sphere(plane_map())
    with pytest.raises(ValueError, match="kind 'plane' is needed, got 'sphere'"):
        interactive.plane(sphere_map())
    with pytest.raises(ValueError, match="before has 12 images and 24 texts, after 13 images and 26 texts"):
        interactive.sphere_pair(sphere_map(), sphere_map(13))


def test_a_map_in_space_is_drawn_with_straight_links() -> None:
    rows = np.random.default_rng(0).normal(size=(8, 3))
    figure = interactive.space(Map(rows[:4], rows[4:], [0, 1, 2, 3], "space", "umap"))
    assert traces(figure, "globe") == []
    np.testing.assert_allclose(rows_of(traces(figure, "link")[0])[:2], rows[[0, 4]], atol=1e-6)


# --- before and after


def test_side_by_side_are_two_linked_scenes_from_one_camera() -> None:
    before, after = sphere_map(), sphere_map(seed=1)
    figure = interactive.sphere_pair(before, after)
    assert figure.layout.meta["linked"] == ["scene", "scene2"]
    assert figure.layout.scene.camera == figure.layout.scene2.camera
    for scene, drawn in (("scene", before), ("scene2", after)):
        (dots,) = [trace for trace in traces(figure, "image") if (trace.scene or "scene") == scene]
        np.testing.assert_array_equal(rows_of(dots), drawn.image)


def test_the_same_pairs_are_joined_before_and_after_and_on_the_way() -> None:
    before, after = sphere_map(n=400), sphere_map(n=400, seed=1)
    pair = traces(interactive.sphere_pair(before, after), "link")
    assert [trace.name for trace in pair] == ["300 of 800 pairs"] * 2
    assert before.text is not None
    rows = np.arange(300) * 800 // 300
    for trace, drawn in zip(pair, (before, after), strict=True):
        line = rows_of(trace)
        first = np.flatnonzero(np.isnan(np.concatenate([[[np.nan] * 3], line[:-1]])[:, 0]))
        assert drawn.image_of_text is not None
        np.testing.assert_allclose(line[first], drawn.image[drawn.image_of_text[rows]], atol=1e-6)
    morph = interactive.sphere_pair(before, after, morph=True)
    place = [trace.meta for trace in morph.data].index("link")
    for frame in morph.frames:
        gaps = np.isnan(np.asarray(frame.data[frame.traces.index(place)].x))
        assert gaps.sum() == 300


def test_a_morph_starts_before_ends_after_and_moves_on_great_circles() -> None:
    before, after = sphere_map(), sphere_map(seed=1, apart=0.1)
    figure = interactive.sphere_pair(before, after, morph=True)
    place = next(index for index, trace in enumerate(figure.data) if trace.meta == "text")
    moved = [rows_of(frame.data[frame.traces.index(place)]) for frame in figure.frames]
    np.testing.assert_allclose(moved[0], before.text, atol=1e-6)
    np.testing.assert_allclose(moved[-1], after.text, atol=1e-6)
    assert before.text is not None
    assert after.text is not None
    for share, rows in zip(np.linspace(0, 1, len(moved)), moved, strict=True):
        np.testing.assert_allclose(rows, along(before.text, after.text, float(share)), atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    steps = figure.layout.sliders[0].steps
    assert [step.args[0][0] for step in steps] == [frame.name for frame in figure.frames]
    assert (steps[0].label, steps[-1].label) == ("before", "after")


def test_the_frames_of_a_large_morph_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geomclip.plots.interactive.spheres.MOST_VALUES", 20_000)
    few, many = (interactive.sphere_pair(sphere_map(n), sphere_map(n, seed=1), morph=True) for n in (20, 300))
    assert len(few.frames) > len(many.frames) >= 5
    assert all(part.hovertext is None for frame in many.frames for part in frame.data)


# --- planes


def test_a_plane_has_one_scale_webgl_dots_and_straight_links() -> None:
    drawn = plane_map()
    figure = interactive.plane(drawn)
    (dots,) = traces(figure, "image")
    assert (dots.type, figure.layout.yaxis.scaleanchor) == ("scattergl", "x")
    (line,) = traces(figure, "link")
    assert drawn.text is not None
    np.testing.assert_array_equal(line.x[1::3], drawn.text[:, 0])
    pair = interactive.plane_pair(drawn, drawn)
    assert (pair.layout.xaxis2.matches, pair.layout.yaxis2.matches) == ("x", "y")


# --- text


@pytest.mark.parametrize("draw", [interactive.sphere, interactive.plane])
def test_hostile_captions_and_titles_hold_no_markup(draw: Any) -> None:
    make = sphere_map if draw is interactive.sphere else plane_map
    count = len(make().text)
    figure = draw(make(caption=[HOSTILE] * count, text_id=[HOSTILE] * count), title=HOSTILE)
    shown = [*traces(figure, "text")[0].hovertext, *traces(figure, "image")[0].hovertext, figure.layout.title.text]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown[0]
    for text in shown:
        assert re.findall(r"<(?!br>)", text) == []
        assert "\u2028" not in text
    assert set("<>&\u2028\u2029").isdisjoint(offline.figure_json(figure))


def test_the_pointer_shows_ids_and_captions_or_what_it_is_given() -> None:
    drawn = sphere_map(2, 1, image_id=["a.png", "b.png"], text_id=["t1", "t2"], caption=["a red ball", "word " * 99])
    shown = {meta: traces(interactive.sphere(drawn), meta)[0].hovertext for meta in ("image", "text")}
    assert (shown["image"][0], shown["text"][0]) == ("a.png: a red ball", "t1: a red ball")
    lines = shown["text"][1].split("<br>")
    assert len(lines) == 4
    assert lines[-1].endswith("…")
    own = interactive.sphere(drawn, hover={"text": ["one", "two"]})
    assert traces(own, "text")[0].hovertext == ("one", "two")
    assert "image %{customdata}" in traces(own, "image")[0].hovertemplate


def test_no_text_is_made_for_the_pointer_where_none_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Map, "labels", lambda *_: pytest.fail("text was made"))
    monkeypatch.setattr("geomclip.plots.interactive.spheres.FRAMES", (2, 2))
    globes, planes = (sphere_map(), sphere_map(seed=1)), (plane_map(), plane_map())
    for figure in (
        interactive.sphere(globes[0], hover=False),
        interactive.sphere_pair(*globes, hover=False, morph=True),
        interactive.plane_pair(*planes, hover=False),
    ):
        dots = [*traces(figure, "image"), *traces(figure, "text")]
        assert {(dot.hoverinfo, dot.hovertext, dot.hovertemplate) for dot in dots} == {("none", None, None)}


def test_the_frames_of_a_morph_make_no_text_for_the_pointer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geomclip.plots.interactive.spheres.FRAMES", (3, 3))
    made, labels = [], Map.labels
    monkeypatch.setattr(Map, "labels", lambda drawn, meta: made.append(meta) or labels(drawn, meta))
    interactive.sphere_pair(sphere_map(), sphere_map(seed=1), morph=True)
    assert made == ["image", "text"]  # of the first


# --- pictures of numbers


def test_similarities_have_area_one_and_their_counts() -> None:
    edges = np.linspace(-1, 1, 21)
    counts = {"matched": np.arange(20), "unmatched": np.ones(20) * 7, "none": np.zeros(20)}
    figure = interactive.similarities(edges, counts)
    assert [trace.name for trace in figure.data] == ["matched", "unmatched"]
    for trace in figure.data:
        assert (np.asarray(trace.y) * 0.1).sum() == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="matched: 3 counts for 20 bins"):
        interactive.similarities(edges, {"matched": [1, 2, 3]})


def test_a_reliability_diagram_has_intervals_counts_and_its_error() -> None:
    filled = {"low": 0.5, "high": 1.0, "count": 8, "accuracy": 0.5, "confidence": 0.7}
    bins = [
        {"low": 0.0, "high": 0.5, "count": 0, **dict.fromkeys(("accuracy", "confidence", "accuracy_low"))},
        {**filled, "accuracy_low": 0.2, "accuracy_high": 0.9},
    ]
    figure = interactive.reliability(bins, 0.2, (0.1, 0.3))
    line, bars = figure.data[1], figure.data[2]
    assert (line.x.tolist(), line.y.tolist()) == ([0.7], [0.5])
    assert [float(line.error_y.array[0]), float(line.error_y.arrayminus[0])] == pytest.approx([0.4, 0.3])
    assert bars.y.tolist() == [0, 8]
    assert "ECE 0.200 [0.100, 0.300]" in texts_of(figure)
    assert len(interactive.reliability(bins[:1]).data[1].x) == 0


def test_the_plane_of_alignment_and_uniformity_has_points_and_the_path() -> None:
    figure = interactive.alignment_uniformity({"before": (1, -1), "<b>": (0.5, -2)}, [(0, 1, -1), (9, 0.5, -2)])
    path, before, other = figure.data
    assert (path.customdata.tolist(), path.x.tolist(), path.y.tolist()) == ([0, 9], [1, 0.5], [-1, -2])
    assert (before.x, before.y, other.text) == ((1,), (-1,), ("&lt;b&gt;",))
    assert len(interactive.alignment_uniformity({"only": (1, -1)}).data) == 1


def test_spectra_of_two_sides_have_the_colours_of_their_modality_and_the_second_is_dashed() -> None:
    names = ("images before", "texts before", "images after", "texts after")
    lines = [trace.line for trace in interactive.spectrum({name: [0.6, 0.4] for name in names}).data]
    assert [line.color for line in lines] == [theme.IMAGE, theme.TEXT] * 2
    assert [line.dash for line in lines] == ["solid", "solid", "dash", "dash"]


def test_a_spectrum_leaves_out_what_a_logarithm_cannot_show() -> None:
    figure = interactive.spectrum({"images": [0.5, 0.5, 0.0], "texts": [0.7, 0.2, 0.1]})
    assert [len(trace.y) for trace in figure.data] == [2, 3]
    assert figure.layout.yaxis.type == "log"


def test_gap_curves_have_a_panel_a_number_and_need_a_curve() -> None:
    keys = ("modality_gap", "text_retrieval_recall@1", "image_retrieval_recall@1", "uniformity_joint")
    shift = {"shift": [0, 1], **{key: [0.1, 0.2] for key in keys}}
    ablation = {"removed": [0, 1, 2], **{key: [1, 2, 3] for key in keys}}
    figure = interactive.gap_curves(shift, ablation)
    assert [(trace.xaxis, trace.yaxis) for trace in figure.data[:4]] == [
        ("x", "y"),
        ("x2", "y2"),
        ("x2", "y2"),
        ("x3", "y3"),
    ]
    assert figure.data[4].xaxis == "x4"
    assert figure.data[4].y.tolist() == [1, 2, 3]
    assert len(interactive.gap_curves(None, ablation).data) == 4
    with pytest.raises(ValueError, match="no curve"):
        interactive.gap_curves(None, None)


def test_k_occurrence_is_the_share_at_least_so_often() -> None:
    figure = interactive.k_occurrence([0, 1, 1, 6], None, 2)
    (trace,) = figure.data
    assert (trace.x.tolist(), trace.y.tolist()) == ([1, 6], [0.75, 0.25])
    assert trace.name == "images: mean 2.0, most 6, never 25%"


# --- light, dark and narrow


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two colours."""

    def luminance(color: str) -> float:
        parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", theme.MODES)
def test_text_and_dots_stand_out_from_their_paper(mode: str) -> None:
    colors = theme.PALETTES[mode]
    for ink in ("ink", "quiet"):
        assert contrast(colors["paper"], colors[ink]) >= 7  # AAA
        assert contrast(colors["globe"], colors[ink]) >= 4.5  # AA
    for dot in (theme.IMAGE, theme.TEXT, theme.GAP):
        assert contrast(colors["paper"], dot) >= 3  # AA for what is no text
    named = theme.template(mode)["layout"]
    assert (named["paper_bgcolor"], named["font"]["color"]) == (colors["paper"], colors["ink"])


def test_the_page_and_the_pictures_have_the_same_colours() -> None:
    for name, of_theme in (("paper", "paper"), ("ink", "ink"), ("quiet", "quiet"), ("raised", "globe")):
        light, dark = (theme.PALETTES[mode][of_theme] for mode in theme.MODES)
        assert f"--{name}: light-dark({light}, {dark});" in offline.style()
    accent = re.search(r"--accent: light-dark\((#\w+), (#\w+)\)", offline.style())
    assert accent is not None
    assert all(
        contrast(color, theme.PALETTES[mode]["paper"]) >= 4.5
        for mode, color in zip(theme.MODES, accent.groups(), strict=True)
    )


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="light or dark, got 'blue'"):
        theme.template("blue")


@pytest.mark.parametrize("pair", [False, True])
def test_the_places_for_narrow_pages_keep_maps_and_facts_apart(pair: bool) -> None:
    one, other = sphere_map(), sphere_map(seed=1)
    figure = interactive.sphere_pair(one, other) if pair else interactive.sphere(one)
    widths = [width for width, _ in figure.layout.meta["places"]]
    assert widths == sorted(widths)
    assert widths[0] == 0
    for width, changes in figure.layout.meta["places"]:
        inner = changes["height"] - changes["margin.t"] - changes["margin.b"]
        if not pair:
            assert inner <= max(width, 320)  # a globe is as wide as high
            continue
        (x, x2), (y, y2) = ([changes[f"{scene}.domain.{axis}"] for scene in ("scene", "scene2")] for axis in "xy")
        assert x[1] <= x2[0] or y2[1] <= y[0]
        assert (y[1] - y[0]) * inner <= max((x[1] - x[0]) * width, 330)
        if x == x2:  # stacked: the facts of the first have their lines between both
            assert (y[0] - y2[1]) * inner >= 11 * len(one.facts())


# --- pages


class Tags(HTMLParser):
    """The tags of a page and the text of its scripts, as a browser reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def hostile_page() -> str:
    drawn = plane_map(caption=[HOSTILE] * 12)
    figures = {HOSTILE: interactive.plane(drawn), "sphere": interactive.sphere(sphere_map(caption=[HOSTILE] * 24))}
    return offline.page(figures, HOSTILE, [HOSTILE], foot={HOSTILE: HOSTILE})


def test_a_page_holds_all_it_needs_and_names_no_address(hostile_page: str) -> None:
    tags = Tags()
    tags.feed(hostile_page)
    asking = [(tag, attrs) for tag, attrs in tags.found if {"src", "href", "srcset", "action", "data"} & set(attrs)]
    assert asking == []
    policy = next(attrs["content"] for tag, attrs in tags.found if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    packed = re.search(r'id="plotly-packed">([^<]+)<', hostile_page)
    assert packed is not None
    code = zlib.decompress(base64.b64decode(packed[1])).decode()
    assert "plotly.js v" in code[:200]
    assert hostile_page.index("plotly-packed") < hostile_page.index("geomclip.start()")


def test_text_in_a_page_is_no_markup(hostile_page: str) -> None:
    tags = Tags()
    tags.feed(hostile_page)
    assert [tag for tag, _ in tags.found if tag in ("b", "a")] == []
    assert sum(tag == "script" for tag, _ in tags.found) == 7  # plotly 2, figures 2, start 1, and a block a figure
    assert "alert(1)</script>" not in hostile_page
    blocks = re.findall(r'id="figure-\d+-data">(.*?)</script>', hostile_page, re.DOTALL)
    shown = json.loads(blocks[0])["data"][2]["hovertext"][0]
    assert shown.startswith("0: &lt;script&gt;alert(1)&lt;/script&gt;")


def test_the_same_figures_make_the_same_page() -> None:
    one, other = (offline.page([interactive.sphere(sphere_map())], "same") for _ in range(2))
    assert one == other


def test_json_for_a_script_comes_back_as_it_was() -> None:
    value = {"a": [HOSTILE, 1.5, None], "</script>": "\u2029"}
    assert json.loads(offline.script_json(value)) == value
    with pytest.raises(ValueError, match=r"not JSON compliant|Out of range"):
        offline.script_json([float("nan")])


# --- in a browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def opened(chromium: Any, hostile_page: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    path = tmp_path_factory.mktemp("page") / "hostile.html"
    path.write_text(hostile_page, encoding="utf-8")
    page = Opened(chromium, path)
    page.draw()
    yield page
    page.close()


def test_a_page_is_drawn_without_errors_and_without_a_request(opened: Opened) -> None:
    assert opened.troubles == []
    assert opened.view.locator("canvas").count() >= 2
    assert opened.view.get_by_text("WebGL is not supported").count() == 0
    assert opened.view.evaluate("document.documentElement.scrollWidth") <= 500


def test_captions_are_shown_as_text_at_the_pointer(opened: Opened) -> None:
    figure = opened.view.locator("#figure-1")
    figure.scroll_into_view_if_needed()
    x, y = figure.evaluate(
        "(at) => { const {xaxis, yaxis} = at._fullLayout; const dots = at._fullData[2];"
        "const box = at.getBoundingClientRect();"
        "return [box.x + xaxis._offset + xaxis.l2p(dots.x[3]), box.y + yaxis._offset + yaxis.l2p(dots.y[3])]; }"
    )
    opened.view.mouse.move(x - 3, y)
    opened.view.mouse.move(x, y)
    opened.view.wait_for_selector("#figure-1 .hoverlayer .hovertext")
    shown = figure.evaluate("(at) => at.querySelector('.hoverlayer').textContent")
    assert shown.startswith("3: <script>alert(1)</script>")
    assert "<b>bold</b>" in shown
    assert figure.evaluate("(at) => at.querySelectorAll('.hoverlayer a').length") == 0
    assert " ".join(opened.view.locator("h1").inner_text().split()) == " ".join(HOSTILE.split())


def test_buttons_show_and_hide_and_are_reached_by_keyboard(opened: Opened) -> None:
    button = opened.view.get_by_role("button", name="24 texts")
    button.focus()
    visible = "document.getElementById('figure-2').data.find((trace) => trace.meta === 'text').visible"
    opened.view.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "false"
    opened.view.wait_for_function(f"{visible} === 'legendonly'")
    opened.view.keyboard.press("Space")
    opened.view.wait_for_function(f"{visible} === true")


def test_arrow_keys_turn_a_focused_sphere(opened: Opened) -> None:
    eye = "document.getElementById('figure-2')._fullLayout.scene._scene.getCamera().eye"
    first = opened.view.evaluate(eye)
    opened.view.locator("#figure-2").focus()
    opened.view.keyboard.press("ArrowRight")
    opened.view.wait_for_function(f"Math.abs({eye}.x - {first['x']}) > 1e-3")
    then = opened.view.evaluate(eye)
    lengths = [sum(value**2 for value in each.values()) for each in (first, then)]
    assert lengths[1] == pytest.approx(lengths[0], rel=1e-3)


def test_the_button_goes_from_light_to_dark(opened: Opened) -> None:
    behind = "document.getElementById('figure-1')._fullLayout.paper_bgcolor"
    assert opened.view.evaluate(behind) == theme.PALETTES["light"]["paper"]
    opened.view.get_by_role("button", name="Switch between light and dark").click()
    opened.view.wait_for_function(f"{behind} === '{theme.PALETTES['dark']['paper']}'")
    assert opened.view.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"


def test_before_and_after_turn_together_and_the_slider_moves_the_dots(chromium: Any, tmp_path: Path) -> None:
    maps = sphere_map(6), sphere_map(6, seed=1)
    figures = [interactive.sphere_pair(*maps), interactive.sphere_pair(*maps, morph=True)]
    path = tmp_path / "pair.html"
    path.write_text(offline.page(figures, "pair"), encoding="utf-8")
    page = Opened(chromium, path, scheme="dark")
    page.draw()
    page.view.evaluate(
        "Plotly.relayout('figure-1', {'scene.camera': {eye: {x: 0, y: 0, z: 1.5}, up: {x: 1, y: 0, z: 0}}})"
    )
    page.view.wait_for_function("document.getElementById('figure-1').layout.scene2.camera.eye.z === 1.5")
    slider = page.view.get_by_role("slider", name="from before to after")
    slider.focus()
    page.view.keyboard.press("End")
    dots = "Array.from(document.getElementById('figure-2')._fullData.find((trace) => trace.meta === 'image').x)"
    page.view.wait_for_function(f"Math.abs({dots}[0] - {float(maps[1].image[0, 0])}) < 1e-5")
    assert slider.get_attribute("aria-valuetext") == "after"
    assert page.troubles == []
    page.close()


def test_a_browser_that_cannot_unpack_says_so(chromium: Any, tmp_path: Path) -> None:
    path = tmp_path / "old.html"
    page = offline.page([interactive.spectrum({"images": [0.6, 0.4]})], "old")
    path.write_text(
        page.replace("<head>", "<head><script>delete window.DecompressionStream</script>"), encoding="utf-8"
    )
    opened = Opened(chromium, path)
    trouble = opened.view.get_by_role("alert")
    assert "cannot unpack the pictures" in trouble.inner_text()
    assert opened.troubles == []
    opened.close()


# --- heat maps and time lines


def test_a_heat_map_has_its_cells_its_marks_and_markup_that_is_shown() -> None:
    values = [[1.0, np.nan], [np.inf, 4.0]]
    figure = interactive.heat_map(values, rows=["<b>a</b>", "c"], columns=[0, 1, 3], marks={"<i>": (1, 1)}, of="<u>")
    cells, mark = figure.data
    assert np.nan_to_num(np.asarray(cells.z), nan=-1).tolist() == [[1, -1], [-1, 4]]
    assert (cells.zmin, cells.zmax) == (1, 4)
    assert list(cells.x) == [0, 1, 3]
    assert list(cells.customdata[0][1]) == ["&lt;b&gt;a&lt;/b&gt;", "1 to 3"]
    assert (min(mark.x), max(mark.x), min(mark.y), max(mark.y)) == (1, 3, 1, 2)
    assert mark.name == "&lt;i&gt;"
    assert cells.colorbar.title.text == "&lt;u&gt;"
    assert figure.layout.yaxis.autorange == "reversed"


def test_a_time_line_draws_each_step_whole_also_before_a_gap() -> None:
    figure = interactive.time_line(
        [0, 2, 3, 5], {"a": [1, np.inf, 2], "b": [0, 0, 0]}, spans={"a": (2, 3), "c": (0, 1)}
    )
    of_line, alone, line, _ = figure.data
    assert list(line.x) == [0, 2, 2, 3, 3, 5]
    assert np.nan_to_num(np.asarray(line.y), nan=-1).tolist() == [1, 1, -1, -1, 2, 2]
    # a stretch named as a line goes with it
    assert of_line.line.color == line.line.color
    assert (of_line.showlegend, alone.showlegend) == (False, True)
    assert of_line.legendgroup == line.legendgroup


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: interactive.heat_map([[1, 2]], rows=["a"], columns=["b"]), "columns: 1 names for 2 cells"),
        (lambda: interactive.time_line([0, 1], {"a": [1, 2]}), "a: 2 ends for 2 cells, which need 3"),
        (lambda: interactive.time_line([0, 1], {"a": [1]}, spans={"b": (2, 1)}), "b: 2 to 1 is no stretch of time"),
    ],
)
def test_maps_and_lines_that_do_not_fit_are_refused(draw: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        draw()
