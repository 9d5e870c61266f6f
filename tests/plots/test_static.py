"""Static pictures: every text can be read, the same input gives the same bytes, and what is drawn is what was given."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from helpers import ROOT
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, StepPatch
from matplotlib.text import Text
from PIL import Image

from geomclip.machine.errors import GeomclipError
from geomclip.plots import static
from geomclip.plots.camera import back_view, front_view
from geomclip.plots.static.canvas import COLUMN, MISSING, PAGE, legible, width_of, wrapped
from geomclip.plots.static.marks import linked
from geomclip.plots.static.orthographic import broken, great_circles, net
from geomclip.plots.theme import IMAGE, TEXT
from geomclip.projections.maps import Map

HOSTILE = (
    "a $x_1^{2$ \\frac{1} title & <script>alert(1)</script> \U0001f3f3\ufe0f\u200d\U0001f308 of \u4e2d\u6587\x00\n"
    "with \ud800 and much too many words to stand on one line or on two or even on three of them, "
    + "and-a-word-that-never-ends"
    * 9
)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def at(degrees: float, *, height: float = 0.0) -> list[float]:
    """The direction at this longitude in the plane of x and z, this many degrees above it."""
    turn, up = math.radians(degrees), math.radians(height)
    return [math.cos(up) * math.sin(turn), math.sin(up), math.cos(up) * math.cos(turn)]


def a_map(n: int, *, per_image: int = 1, kind: str = "sphere", apart: float = 2.0, seed: int = 0) -> Map:
    draw = np.random.default_rng(seed)
    own = np.arange(n).repeat(per_image)
    k = 2 if kind == "plane" else 3
    shift = apart * np.eye(k)[0]
    image, text = draw.normal(size=(n, k)) - shift, draw.normal(size=(n * per_image, k)) + shift
    return map_of(image, text, own, kind=kind)


def map_of(image: Any, text: Any, own: Any = None, *, kind: str = "sphere") -> Map:
    image, text = np.asarray(image, dtype=np.float32), np.asarray(text, dtype=np.float32)
    if kind == "sphere":
        image, text = unit(image), unit(text)
    own = np.arange(len(text)) if own is None else np.asarray(own)
    keeps = {"trustworthiness": 0.91, "continuity": 0.88, "distance_pearson": 0.42, "distance_spearman": 0.45}
    return Map(image, text, own, kind, "dosnes", keeps={**keeps, "gap": 0.83, "gap_drawn": 1.41}, dim=512)


def bins(count: int = 15, *, filled: int = 15) -> list[dict[str, Any]]:
    rows = []
    for b in range(count):
        low, high = b / count, (b + 1) / count
        full = b < filled
        values = {"accuracy": low, "confidence": high - 0.01, "accuracy_low": low / 2, "accuracy_high": high}
        nothing = dict.fromkeys(values)
        rows.append({"low": low, "high": high, "count": 100 * (b + 1) if full else 0, **(values if full else nothing)})
    return rows


def curve(name: str, at: list[float]) -> dict[str, list[float]]:
    keys = ("text_retrieval_recall@1", "image_retrieval_recall@1", "modality_gap", "uniformity_joint")
    return {name: at, **{key: [0.5 + 0.01 * i for i in range(len(at))] for key in keys}}


SHIFT = curve("shift", [-0.5, 0, 0.5, 1, 2])
ABLATION = curve("removed", [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024])
PICTURE = Image.fromarray(np.arange(40 * 30 * 3, dtype=np.uint8).reshape(40, 30, 3))
CAPTIONS = [HOSTILE, "", "a red apple", "😀 \u200b \ufffd", "no_breaks" * 30, "$\\alpha$"]

SECONDS = {"rows": np.linspace(0, 12, 17), "columns": np.linspace(0, 12, 17)}
PICTURES: dict[str, Callable[..., Figure]] = {
    "sphere of 3": lambda **more: static.sphere(a_map(3), **more),
    "sphere of 100, five texts each": lambda **more: static.sphere(a_map(100, per_image=5), **more),
    "sphere of 20,000": lambda **more: static.sphere(a_map(20_000, apart=0.5), **more),
    "sphere, one side": lambda **more: static.sphere(a_map(50, apart=0.0), view=(0, 0, 1), **more),
    "spheres": lambda **more: static.sphere_pair(a_map(60), a_map(60, apart=0.2, seed=1), names=(HOSTILE, "b"), **more),
    "plane of 3": lambda **more: static.plane(a_map(3, kind="plane"), **more),
    "plane of 20,000": lambda **more: static.plane(a_map(20_000, kind="plane"), **more),
    "planes": lambda **more: static.plane_pair(a_map(60, kind="plane"), a_map(60, kind="plane", seed=1), **more),
    "similarities": lambda **more: static.similarities(
        [0, 0.25, 0.5, 1], {"matched": [0, 1, 2], "unmatched": [10**9, 10**8, 0], HOSTILE: [1, 1, 1]}, **more
    ),
    "reliability": lambda **more: static.reliability(bins(), 0.1234, (0.1, 0.2), **more),
    "reliability of one bin": lambda **more: static.reliability(bins(filled=1), None, **more),
    "alignment and uniformity": lambda **more: static.alignment_uniformity(
        {"before": (1.3, -2.0), HOSTILE: (1.31, -2.01), **{f"model {i}": (1.0, -i / 10) for i in range(9)}},
        [(step, 1.3 - step / 1000, -2 - step / 500) for step in range(0, 400, 40)],
        **more,
    ),
    "alignment and uniformity of one": lambda **more: static.alignment_uniformity({"model": (1.3, -2.0)}, **more),
    "spectrum": lambda **more: static.spectrum({"images": 2.0 ** -np.arange(40), "texts": [1.0, 0, 0]}, **more),
    "spectrum of one": lambda **more: static.spectrum({"images": [1.0]}, **more),
    "gap curves": lambda **more: static.gap_curves(SHIFT, ABLATION, **more),
    "gap shift": lambda **more: static.gap_curves(SHIFT, None, **more),
    "k-occurrence": lambda **more: static.k_occurrence([0, 1, 2.5, 9], np.arange(30_000.0), 10, **more),
    "k-occurrence of few": lambda **more: static.k_occurrence(None, [1.0, 1.0, 1.0], 1, **more),
    "map of 16 clips": lambda **more: static.heat_map(
        np.where(np.tri(16).T > 0, np.arange(256).reshape(16, 16), np.nan),
        **SECONDS,
        x="end (s)",
        y="start (s)",
        of="score",
        marks={"found": (4, 8), HOSTILE: (4, 9)},
        **more,
    ),
    "map of words": lambda **more: static.heat_map(
        np.arange(90.0).reshape(45, 2) - 40, rows=[HOSTILE] * 45, columns=["a", HOSTILE], about=0, **more
    ),
    "map of one cell": lambda **more: static.heat_map([[0.5]], rows=["a"], columns=["b"], **more),
    "time line": lambda **more: static.time_line(
        np.arange(9), {"a": [0.1, 0.2] * 4, HOSTILE: [np.inf] * 8}, spans={"found": (2, 4), HOSTILE: (3, 5)}, **more
    ),
    "gallery": lambda **more: static.gallery([PICTURE, None] * 3, CAPTIONS, ["rank 12,345, cosine 0.2134"] * 6, **more),
    "captions": lambda **more: static.gallery(None, CAPTIONS, credit=HOSTILE, **more),
}


def drawn_texts(figure: Figure) -> list[tuple[str, Any]]:
    """Every text that is drawn, with its box in pixels."""
    found: list[Text] = []
    whole = Text.draw

    def noting(self: Text, renderer: Any) -> None:
        if self.get_visible() and self.get_text():
            found.append(self)
        whole(self, renderer)

    canvas = FigureCanvasAgg(figure)
    Text.draw = noting  # type: ignore[method-assign]
    try:
        canvas.draw()
    finally:
        Text.draw = whole  # type: ignore[method-assign]
    return [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in found]


def words(figure: Figure) -> str:
    return "\n".join(text for text, _ in drawn_texts(figure))


def check_legible(figure: Figure) -> None:
    """No text is cut at the edge of the sheet, and no two overlap."""
    boxes = drawn_texts(figure)
    assert boxes
    for text, box in boxes:
        inside = box.x0 >= -0.5, box.y0 >= -0.5, box.x1 <= figure.bbox.x1 + 0.5, box.y1 <= figure.bbox.y1 + 0.5
        assert all(inside), f"{text!r} is cut: {box} on {figure.bbox}"
    for (text, box), (other, its_box) in combinations(boxes, 2):
        apart = box.x1 - 1 <= its_box.x0 or its_box.x1 - 1 <= box.x0
        apart = apart or box.y1 - 1 <= its_box.y0 or its_box.y1 - 1 <= box.y0
        assert apart, f"{text!r} overlaps {other!r}"


@pytest.mark.parametrize("width", [COLUMN, PAGE])
@pytest.mark.parametrize("name", PICTURES)
def test_all_text_can_be_read_at_the_width_of_a_column_and_of_a_page(name: str, width: float) -> None:
    check_legible(PICTURES[name](title=HOSTILE, width=width))


def test_the_check_of_legibility_sees_what_is_cut_and_what_overlaps() -> None:
    for places in ([(0.9, 0.5)], [(0.1, 0.5), (0.15, 0.5)]):
        figure = Figure()
        for x, y in places:
            figure.text(x, y, "a text of some length")
        with pytest.raises(AssertionError, match=r"cut|overlaps"):
            check_legible(figure)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("spheres", ".svg"),
        ("plane of 20,000", ".png"),
        ("gallery", ".pdf"),
        ("gap curves", ".svg"),
        ("spectrum", ".pdf"),
    ],
)
def test_the_same_input_gives_the_same_bytes_whatever_the_readers_settings(
    name: str, kind: str, tmp_path: Path
) -> None:
    first = static.save(PICTURES[name](title="once"), tmp_path / f"a{kind}").read_bytes()
    with matplotlib.rc_context({"text.usetex": True, "figure.facecolor": "black", "savefig.dpi": 30, "font.size": 30}):
        figure = PICTURES[name](title="once")
        before = dict(matplotlib.rcParams)
        second = static.save(figure, tmp_path / f"b{kind.upper()}").read_bytes()
        assert dict(matplotlib.rcParams) == before
    third = static.save(figure, tmp_path / f"c{kind}").read_bytes()
    assert first == second == third
    for words in (b"Date", str(ROOT).encode(), str(tmp_path).encode()):
        assert words not in first


def test_a_picture_of_twenty_thousand_points_keeps_them_as_pixels(tmp_path: Path) -> None:
    for name, most in (("sphere of 20,000", 2_000_000), ("plane of 20,000", 1_000_000)):
        assert static.save(PICTURES[name](), tmp_path / "a.svg").stat().st_size < most


def test_other_extensions_are_refused_with_those_there_are(tmp_path: Path) -> None:
    figure = static.spectrum({"images": [1.0, 0.5]})
    for name, got in (("a.jpg", "got .jpg"), ("a", "got no extension")):
        with pytest.raises(ValueError, match=rf"{name}: a picture is written as .png, .svg or .pdf, {got}"):
            static.save(figure, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(GeomclipError, match="file"):
        static.save(figure, tmp_path / "file" / "a.png")


def test_pictures_need_neither_pyplot_nor_a_display_and_name_what_is_missing() -> None:
    code = """
import sys
import geomclip as gc
assert "matplotlib" not in sys.modules
gc.plots
assert "matplotlib" not in sys.modules
sys.modules["matplotlib"] = None
try:
    gc.plots.static
except gc.GeomclipError as missing:
    print(missing)
del sys.modules["matplotlib"]
gc.plots.static.spectrum({"images": [1.0, 0.5]})
assert "matplotlib.pyplot" not in sys.modules
assert not [name for name in sys.modules if "backend_tkagg" in name or "backend_qt" in name]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "a static picture needs matplotlib: pip install 'geomclip[viz]'\n"


def test_a_picture_shows_itself_in_a_notebook() -> None:
    assert static.spectrum({"images": [1.0, 0.5]})._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


# ----------------------------------------------------------------------------------------------------------- text


def test_text_is_set_as_it_is_and_what_has_no_glyph_is_a_square() -> None:
    figure = static.gallery(None, ["50 $ and 60 $ \u4e2d\U0001f308"], ["rank 1"])
    assert f"50 $ and 60 $ {MISSING}{MISSING}" in words(figure).replace("\n", " ")
    assert legible("a\r\nb\x1b[0m \u202ec\u0301") == "a b [0m ć"
    assert legible("\ud800") == MISSING


def test_lines_are_as_wide_as_they_are_told_and_the_last_says_that_there_is_more() -> None:
    text = "some words of a caption that goes on and on " * 4
    lines = wrapped(text, 30, 7, lines=3)
    assert len(lines) == 3
    assert all(width_of(line, 7) <= 30 for line in lines)
    assert lines[-1].endswith("…")
    assert text.startswith(" ".join(lines)[:-1])
    assert wrapped("ab" * 40, 20, 7, lines=99) != []
    assert "".join(wrapped("ab" * 40, 20, 7, lines=99)) == "ab" * 40
    assert wrapped(" \n ", 20, 7, lines=2) == []


def test_a_line_takes_the_room_that_it_was_measured_to_take() -> None:
    figure = static.spectrum({"images": [1.0, 0.5]}, title="Measured as it is drawn, 0123")
    boxes = dict(drawn_texts(figure))
    drawn = boxes["Measured as it is drawn, 0123"].width * 25.4 / figure.dpi
    assert drawn == pytest.approx(width_of("Measured as it is drawn, 0123", 8.5, bold=True), rel=0.02)


def test_a_sheet_narrower_than_its_text_is_refused() -> None:
    with pytest.raises(ValueError, match=r"width is in millimetres, at least 60, got 8.5"):
        static.spectrum({"images": [1.0]}, width=8.5)


# --------------------------------------------------------------------------------------------------------- sphere


@pytest.mark.parametrize("turn", [np.eye(3), np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]])
def test_near_means_lie_left_and_right_of_the_middle_and_are_seen_from_35_degrees_above(turn: np.ndarray) -> None:
    seen = front_view(map_of([at(20)] @ turn, [at(80)] @ turn))
    image, text = (np.array([at(20), at(80)]) @ turn @ seen.T).tolist()
    half, above = math.radians(30), math.radians(35)
    low, near = -math.cos(half) * math.sin(above), math.cos(half) * math.cos(above)
    assert image == pytest.approx([-math.sin(half), low, near], abs=1e-6)
    assert text == pytest.approx([math.sin(half), low, near], abs=1e-6)
    # the equator of the net goes through both
    equator = net()[np.abs(net() @ [0, math.cos(above), math.sin(above)]).max(axis=1).argmin()]
    assert np.abs(equator @ np.cross(image, text)).max() < 1e-6


def test_far_means_lie_near_the_middle_of_a_view_each_and_the_arrow_goes_round_to_the_right() -> None:
    front = front_view(map_of([at(0)], [at(160)]))
    image, text = np.array([at(0)]) @ front.T, np.array([at(160)]) @ back_view(front).T
    ten, above = math.radians(10), math.radians(35)
    low, near = math.cos(ten) * math.sin(above), math.cos(ten) * math.cos(above)
    assert image[0] == pytest.approx([math.sin(ten), -low, near], abs=1e-6)
    assert text[0] == pytest.approx([-math.sin(ten), low, near], abs=1e-6)
    # what leaves the front view at its right edge comes into the back view at its left edge, at the same height
    limb = np.array([[math.cos(0.4), math.sin(0.4), 0.0]]) @ front
    assert (limb @ back_view(front).T)[0] == pytest.approx([-math.cos(0.4), math.sin(0.4), 0], abs=1e-6)


@pytest.mark.parametrize("places", [([at(0)], [at(0)]), ([at(0)], [at(180)]), ([[0, 1, 0]], [[0, -1, 0]])])
def test_equal_and_opposite_means_have_a_view_too(places: Any) -> None:
    for seen in (front_view(map_of(*places)), front_view(map_of(*places), view=[0, 0, 2])):
        assert seen @ seen.T == pytest.approx(np.eye(3), abs=1e-6)
        assert np.linalg.det(seen) == pytest.approx(1)
    check_legible(static.sphere(map_of(*places)))


def test_points_whose_mean_has_no_direction_are_drawn_without_an_arrow() -> None:
    shown = words(static.sphere(map_of([[0, 0, 1], [0, 0, -1]], [[1, 0, 0], [-1, 0, 0]])))
    assert "mean" not in shown
    assert "front" in shown


def test_a_view_is_the_direction_towards_the_reader() -> None:
    seen = front_view(a_map(5), view=[0, -3, 4])
    assert seen @ [0, -0.6, 0.8] == pytest.approx([0, 0, 1])
    for view in ([0, 0, 0], [1, 2], [math.nan, 0, 1]):
        with pytest.raises(ValueError, match="view is a direction of three numbers"):
            static.sphere(a_map(5), view=view)


def test_links_are_great_circles_that_are_parted_at_the_limb() -> None:
    arcs = great_circles(np.array([at(0), at(0)]), np.array([at(170), at(0, height=60)]))
    assert np.linalg.norm(arcs, axis=2) == pytest.approx(np.ones(arcs.shape[:2]), abs=1e-6)
    middle = arcs[:, arcs.shape[1] // 2]
    assert middle[0] == pytest.approx(at(85), abs=1e-6)
    assert middle[1] == pytest.approx(at(0, height=30), abs=1e-6)
    near, far = broken(arcs, near=True), broken(arcs, near=False)
    shown = ~np.isnan(near[..., 0]), ~np.isnan(far[..., 0])
    assert (shown[0] | shown[1]).all()
    assert shown[0][1].all()
    assert not shown[1][1].any()
    assert (shown[0] & shown[1])[0].sum() == 2  # both ends of the segment that crosses
    assert (arcs[..., 2][shown[0] & ~shown[1]] >= 0).all()
    assert np.linalg.norm(net(), axis=2) == pytest.approx(np.ones(net().shape[:2]), abs=1e-6)


def clouds(figure: Figure) -> Iterator[list[PathCollection]]:
    for axes in figure.axes:
        yield [each for each in axes.collections if isinstance(each, PathCollection) and len(each.get_offsets())]


def test_each_point_is_crisp_in_the_view_of_its_side_and_faded_in_the_other() -> None:
    map = map_of([at(0), at(20), at(5, height=10)], [at(170), at(190), at(180, height=20)])
    front, back = clouds(static.sphere(map))
    for (faded, crisp), color, other in ((front, IMAGE, TEXT), (back, TEXT, IMAGE)):
        for cloud, own, opacity in ((faded, other, (0.05, 0.2)), (crisp, color, (0.5, 1.0))):
            assert len(cloud.get_offsets()) == 3
            red, green, blue, alpha = cloud.get_facecolor()[0]
            assert f"#{int(255 * red + 0.5):02x}{int(255 * green + 0.5):02x}{int(255 * blue + 0.5):02x}" == own
            assert opacity[0] < alpha <= opacity[1]


def test_points_on_one_side_have_one_view() -> None:
    assert len(static.sphere(map_of([at(-30)], [at(40)])).axes) == 1
    assert len(static.sphere(map_of([at(0), at(10)], [at(170)])).axes) == 2


def test_a_few_points_behind_are_faded_in_one_view_and_more_have_a_view_of_their_own() -> None:
    for behind, views in ((1, 1), (2, 2)):
        rows = [at(0)] * (20 - behind) + [at(180, height=20)] * behind
        figure = static.sphere(map_of(rows, [at(10)] * 10))
        assert len(figure.axes) == views
        assert len(list(clouds(figure))) == views
    few = static.sphere(map_of([at(0)] * 19 + [at(180, height=20)], [at(10)] * 10))
    faded, crisp = next(clouds(few))
    assert (len(faded.get_offsets()), len(crisp.get_offsets())) == (1, 29)


def link_count(figure: Figure) -> int:
    """Near-side links of the first axes."""
    found = [each for each in figure.axes[0].collections if isinstance(each, LineCollection)]
    return len(found[-1].get_paths()) if found else 0


@pytest.mark.parametrize(("kind", "picture"), [("sphere", static.sphere), ("plane", static.plane)])
def test_many_links_are_an_even_share_and_the_key_says_so(kind: str, picture: Callable[..., Figure]) -> None:
    many = a_map(250, per_image=2, kind=kind)
    for links, count, key in (
        (None, 200, "matched pairs, 200 of 500"),
        (True, 500, "500 matched pairs"),
        (False, 0, None),
    ):
        figure = picture(many, links=links)
        assert link_count(figure) == count
        shown = words(figure)
        assert (key or "250 images") in shown
        assert ("matched" in shown) == (key is not None)


def test_an_even_share_is_spread_over_all_rows() -> None:
    rows = linked(a_map(1001), None)
    assert rows[:4].tolist() == [0, 5, 10, 15]
    assert rows[-1] == 995
    assert linked(a_map(3), None).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("kind", "picture"), [("sphere", static.sphere), ("plane", static.plane)])
def test_a_map_prints_on_itself_what_it_keeps(kind: str, picture: Callable[..., Figure]) -> None:
    map = a_map(30, kind=kind)
    facts = map.facts()
    assert len(facts) >= 3
    shown = words(picture(map)).replace("\n", " ")
    assert all(word in shown for fact in facts for word in fact.split())


@pytest.mark.parametrize(("kind", "picture"), [("sphere", static.sphere), ("plane", static.plane)])
def test_images_alone_and_classes_have_neither_links_nor_what_they_lack(
    kind: str, picture: Callable[..., Figure]
) -> None:
    rows = np.eye(3)[:2, :2] if kind == "plane" else np.eye(3)[:2]
    alone = picture(Map(rows[:1], None, None, kind, "svd"))
    assert words(alone) == "1 image\nsvd of 1 images"
    check_legible(alone)
    classes = words(picture(Map(rows, rows[:1], None, kind, "svd"), links=True))
    assert "2 images" in classes
    assert "1 class\n" in classes
    assert "matched" not in classes
    assert "mean" in classes


def test_maps_of_another_kind_are_refused_with_what_draws_them() -> None:
    with pytest.raises(ValueError, match=r"a map of kind 'plane' is no sphere: draw it with `plane`"):
        static.sphere(a_map(5, kind="plane"))
    with pytest.raises(ValueError, match=r"a map of kind 'sphere' is not on the plane: draw it with `plots.static.sph"):
        static.plane(a_map(5))
    for pair, kind in ((static.sphere_pair, "sphere"), (static.plane_pair, "plane")):
        with pytest.raises(ValueError, match="before has 5 images and 5 texts, after 6 images and 6 texts"):
            pair(a_map(5, kind=kind), a_map(6, kind=kind))  # type: ignore[operator]


def test_the_same_pairs_are_joined_before_and_after() -> None:
    before, after = a_map(450, apart=0.2), a_map(450, apart=3.0, seed=2)
    figure = static.sphere_pair(before, after)
    seen, rows = front_view(before), np.arange(200) * 450 // 200
    fronts = [axes for axes in figure.axes if any("front" in text.get_text() for text in axes.texts)]
    for axes, drawn in zip(fronts, (before, after), strict=True):
        near = [each for each in axes.collections if isinstance(each, LineCollection)][-1]
        starts = (drawn.image[rows] @ seen.T)[:, :2]
        for path, start, depth in zip(near.get_paths(), starts, drawn.image[rows] @ seen[2], strict=True):
            if depth > 0.1:
                assert path.vertices[0] == pytest.approx(start, abs=1e-5)


def test_a_pair_is_seen_from_one_direction_and_at_one_scale() -> None:
    before, after = a_map(40, apart=0.2), a_map(40, apart=3.0, seed=2)
    figure = static.sphere_pair(before, after, names=("base", "tuned"))
    seen = front_view(before)
    crisp = [drawn[-1] for drawn in clouds(figure)]
    expected = np.concatenate([after.image, after.text]) @ seen.T  # type: ignore[list-item]
    shown = np.asarray(crisp[2].get_offsets())  # axes go down the columns: before front, before back, after front
    near = expected[np.argsort(expected[:, 2], kind="stable")][-len(shown) :]
    assert shown == pytest.approx(near[:, :2], abs=1e-5)
    assert {"base", "tuned"} <= set(words(figure).split("\n"))
    left, right = static.plane_pair(a_map(9, kind="plane"), a_map(9, kind="plane", apart=9.0)).axes
    assert left.get_xlim() == right.get_xlim()
    assert left.get_ylim() == right.get_ylim()


@pytest.mark.parametrize("rows", [[[1.0, 2.0]] * 3, [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]])
def test_points_on_one_place_or_one_line_have_a_plane(rows: list[list[float]]) -> None:
    figure = static.plane(map_of(rows, rows, kind="plane"))
    check_legible(figure)
    box = figure.axes[0].get_window_extent()
    assert 0.59 < box.height / box.width < 1.01


# --------------------------------------------------------------------------------------------------------- charts


def test_similarities_are_densities() -> None:
    edges = [-0.5, 0.0, 0.25, 1.0]
    figure = static.similarities(edges, {"matched": [1, 2, 1], "within texts": [0, 0, 0]})
    (values, places, _) = next(each.get_data() for each in figure.axes[0].patches if isinstance(each, StepPatch))
    assert (values * np.diff(places)).tolist() == [0.25, 0.5, 0.25]
    assert places.tolist() == edges
    assert {"matched, 4", "within texts, 0"} <= set(words(figure).split("\n"))


def test_the_reliability_diagram_prints_the_error_its_interval_and_the_counts() -> None:
    figure = static.reliability(bins(5, filled=3), 0.0512, (0.041, 0.062))
    assert "ECE 0.051 [0.041, 0.062], 600 queries in 5 bins" in words(figure)
    heights = [bar.get_height() for bar in figure.axes[1].patches if isinstance(bar, Rectangle)]
    assert heights == [100, 200, 300, 0, 0]
    (line,) = [each for each in figure.axes[0].lines if each.get_marker() == "o"]
    assert line.get_xydata().tolist() == [[(b + 1) / 5 - 0.01, b / 5] for b in range(3)]
    assert "ECE" not in words(static.reliability(bins(5), None))


def test_the_path_of_a_training_is_drawn_in_the_order_of_its_steps() -> None:
    path = [(20, 1.0, -3.0), (0, 1.3, -2.0), (10, 1.2, -2.5), (15, math.nan, -2.0)]
    figure = static.alignment_uniformity({"base": (1.3, -2.0)}, path)
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[-2.0, 1.3], [-2.5, 1.2], [-3.0, 1.0]]
    assert figure.axes[0].lines[1].get_xydata().tolist() == [[-2.0, 1.3]]
    assert {"training, step 0 to 20", "better: down and to the left"} <= set(words(figure).split("\n"))


def test_a_spectrum_is_in_percent_and_says_how_many_values_are_zero() -> None:
    figure = static.spectrum({"images": [0.75, 0.25, 0.0, 1e-17], "texts": [0.5, 0.5]})
    assert [line.get_xydata().tolist() for line in figure.axes[0].lines] == [[[1, 75], [2, 25]], [[1, 50], [2, 50]]]
    assert "images: 2 of 4 are 0" in words(figure)


def test_gap_curves_have_a_column_a_curve_and_a_row_a_number() -> None:
    assert len(static.gap_curves(SHIFT, ABLATION).axes) == 6
    assert len(static.gap_curves(None, ABLATION).axes) == 3
    recall = static.gap_curves(SHIFT, None).axes[0].lines[0]
    assert recall.get_xydata()[:, 0].tolist() == SHIFT["shift"]
    assert recall.get_xydata()[0, 1] == 50
    ticks = [each.get_text() for each in static.gap_curves(None, ABLATION).axes[2].get_xticklabels()]
    assert ticks == ["0", "4", "32", "256"]


def test_occurrences_are_shares_of_all_items_in_doubling_spans() -> None:
    figure = static.k_occurrence([0, 0.5, 1, 2, 3, 4, 7, 8], [0, 0, 0, 20], 10)
    axes = figure.axes[0]
    assert [each.get_text() for each in axes.get_xticklabels()] == ["never", "1", "2–3", "4–7", "8–15", "16–31"]
    heights = [bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)]
    assert heights[:6] == [12.5, 25, 25, 25, 12.5, 0]
    assert heights[6:] == [75, 0, 0, 0, 0, 25]
    assert "texts: mean 5, most 20, never 75 %" in words(figure)


def test_a_gallery_shows_each_picture_whole_with_its_number_and_caption() -> None:
    figure = static.gallery([PICTURE, None], ["an apple", "a pear"], ["rank 1", "rank 2"], credit="CC BY-SA")
    (shown,) = [image for axes in figure.axes for image in axes.images]
    assert shown.get_array().shape == (40, 30, 3)  # type: ignore[union-attr]
    shown = words(figure)
    assert all(text in shown for text in ("an apple", "a pear", "rank 1", "rank 2", "CC BY-SA", "no picture"))
    long = words(static.gallery(None, ["a caption of many words " * 20])).split("\n")
    assert len(long) == 3
    assert long[-1].endswith("…")


def test_a_heat_map_has_its_values_in_its_cells_and_leaves_out_what_is_not_finite() -> None:
    values = np.array([[1.0, 2.0, np.nan], [np.inf, 4.0, 5.0]])
    figure = static.heat_map(values, rows=["a", "b"], columns=[0, 1, 2, 4], of="score", marks={"best": (1, 2)})
    (mesh,) = (each for each in figure.axes[0].collections if isinstance(each, QuadMesh))
    shown = np.ma.asarray(mesh.get_array()).reshape(2, 3)
    assert shown.filled(-1).tolist() == [[1, 2, -1], [-1, 4, 5]]
    assert mesh.get_clim() == (1, 5)
    assert figure.axes[0].get_ylim() == (2, 0)  # words are read downwards
    (outlined,) = figure.axes[0].lines
    assert {*map(float, outlined.get_xdata())} == {2, 4}  # type: ignore[arg-type]
    assert {*map(float, outlined.get_ydata())} == {1, 2}  # type: ignore[arg-type]
    assert "score" in words(figure)


def test_a_heat_map_about_a_value_has_it_in_the_middle_of_its_colours() -> None:
    figure = static.heat_map([[-1.0, 3.0]], rows=["a"], columns=["b", "c"], about=0)
    (mesh,) = (each for each in figure.axes[0].collections if isinstance(each, QuadMesh))
    assert mesh.get_clim() == (-3, 3)


def test_a_time_line_steps_at_the_ends_and_leaves_a_gap_where_there_is_no_value() -> None:
    figure = static.time_line([0, 2, 3, 5], {"a": [1, np.inf, 2]}, spans={"moment": (2, 3)})
    steps, moment = figure.axes[0].patches
    if not isinstance(steps, StepPatch):
        steps, moment = moment, steps
    assert isinstance(steps, StepPatch)
    values, edges, _ = steps.get_data()
    assert list(edges) == [0, 2, 3, 5]
    assert [values[0], values[2]] == [1, 2]
    assert np.isnan(values[1])
    assert moment.get_extents().transformed(figure.axes[0].transData.inverted()).x0 == pytest.approx(2)


REFUSED: Mapping[str, tuple[Callable[[], object], str]] = {
    "no counts": (lambda: static.similarities([0, 1], {}), "no similarities to draw"),
    "other bins": (
        lambda: static.similarities([0, 1], {"matched": [1, 2]}),
        r"matched has counts of shape \(2,\) for 1",
    ),
    "empty bins": (lambda: static.reliability(bins(filled=0), 0.1), "no bin of the reliability diagram holds a query"),
    "no point": (lambda: static.alignment_uniformity({}), "neither a point nor a path"),
    "no values": (lambda: static.spectrum({"images": []}), "no singular values to draw"),
    "no curve": (lambda: static.gap_curves(None, {}), "no curve to draw: measure with curves=True"),
    "no items": (lambda: static.k_occurrence(None, [], 10), "no counts to draw"),
    "no tile": (lambda: static.gallery(None, []), "nothing to show"),
    "more pictures": (lambda: static.gallery([PICTURE], ["a", "b"]), "1 pictures for 2 captions"),
    "flat map": (lambda: static.heat_map([1, 2], rows=["a"], columns=["b"]), r"values must be \(rows, columns\)"),
    "blank map": (lambda: static.heat_map([[np.nan]], rows=["a"], columns=["b"]), "no value to draw"),
    "few names": (lambda: static.heat_map([[1, 2]], rows=["a"], columns=["b"]), "columns: 1 names for 2 cells"),
    "few ends": (lambda: static.heat_map([[1, 2]], rows=["a"], columns=[0, 1]), "columns: 2 ends for 2 cells"),
    "ends that fall": (lambda: static.heat_map([[1]], rows=["a"], columns=[1, 0]), "the ends must rise"),
    "no such cell": (
        lambda: static.heat_map([[1]], rows=["a"], columns=["b"], marks={"best": (0, 1)}),
        r"the map has no cell \(0, 1\)",
    ),
    "no line": (lambda: static.time_line([0, 1], {}), "no line to draw"),
    "no stretch": (lambda: static.time_line([0, 1], {"a": [1]}, spans={"b": (1, 1)}), "b: 1 to 1 is no stretch"),
    "more numbers": (lambda: static.gallery(None, ["a"], ["1", "2"]), "2 numbers for 1 captions"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_drawn_is_refused(name: str) -> None:
    draw, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        draw()


def test_static_and_interactive_pictures_take_the_same_arguments() -> None:
    interactive = pytest.importorskip("geomclip.plots.interactive")
    own = {"width", "view", "hover", "morph"}  # millimetres and camera on paper, pointer and slider on the screen
    shared = set(static.__all__) & set(interactive.__all__)
    assert len(shared) == 12

    def taken(module: Any, name: str) -> list[tuple[str, Any]]:
        arguments = inspect.signature(getattr(module, name)).parameters.values()
        return [(each.name, each.default) for each in arguments if each.name not in own]

    for name in sorted(shared):
        assert taken(static, name) == taken(interactive, name), name
