"""Maps: what they keep, checked against float64 brute force and scikit-learn; and what is refused before it starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import torch
from helpers import class_set, random_rows, small_set
from scipy.stats import pearsonr, spearmanr

import geomclip as gc
from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.errors import InputError
from geomclip.machine.progress import SILENT
from geomclip.machine.words import speak_of_flags
from geomclip.metrics import continuity, modality_gap, trustworthiness
from geomclip.panels.record import Panel
from geomclip.projections import neighbors
from geomclip.projections.maps import Map, PointSet, faithfulness, project, project_pair
from geomclip.projections.maps.draw import refuse_too_many, turned_on

FAST = ("svd", "pca", "dosnes", "heat-geodesic")
OF_ONE_GRAPH = {"tsne": {"perplexity": 10}, "dosnes": {"perplexity": 10}, "heat-geodesic": {"k": 6}}
"""The first asks for the most neighbours."""


def cloud_of(embeddings: EmbeddingSet) -> torch.Tensor:
    assert embeddings.text is not None
    return torch.cat([embeddings.image, embeddings.text])


def drawn_of(drawn: Map) -> torch.Tensor:
    assert drawn.text is not None
    return torch.from_numpy(np.concatenate([drawn.image, drawn.text]))


def brute_force_trust(full: np.ndarray, drawn: np.ndarray, k: int) -> float:
    """By the definition, from two matrices of distances: 1 − 2/(nk(2n − 3k − 1)) Σ (rank in full − k)."""
    n, excess = len(full), 0
    for i in range(n):
        others = [j for j in range(n) if j != i]
        near = sorted(others, key=lambda j: drawn[i, j])[:k]
        for j in near:
            excess += max(0, 1 + sum(full[i, other] < full[i, j] for other in others) - k)
    return 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * excess


def angles(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(np.arccos(np.clip(x @ x.T, -1, 1)))


# what a map keeps


@pytest.mark.parametrize("method", ["svd", "dosnes"])
def test_what_a_map_keeps_is_what_brute_force_finds(method: str) -> None:
    embeddings = small_set(10, 2)
    drawn = project(embeddings, method)
    full, points = cloud_of(embeddings).numpy(), drawn_of(drawn).numpy().astype(np.float64)
    shown = angles(points) if method == "dosnes" else np.linalg.norm(points[:, None] - points[None], axis=2)
    assert drawn.k == 14  # 30 points: below half
    assert drawn.keeps["trustworthiness"] == pytest.approx(brute_force_trust(angles(full), shown, 14), abs=1e-12)
    assert drawn.keeps["continuity"] == pytest.approx(brute_force_trust(shown, angles(full), 14), abs=1e-12)
    pairs = np.triu_indices(30, 1)
    assert drawn.keeps["distance_pearson"] == pytest.approx(pearsonr(angles(full)[pairs], shown[pairs])[0], abs=1e-7)
    assert drawn.keeps["distance_spearman"] == pytest.approx(spearmanr(angles(full)[pairs], shown[pairs])[0], abs=1e-7)


def test_near_kept_is_that_of_scikit_learn_and_of_the_metrics() -> None:
    from sklearn import manifold

    full, drawn = random_rows(200, 20, seed=0), random_rows(200, 3, seed=1)
    drawn[:, 0] += 0.3 * full[:, 0]
    trust, whole = faithfulness.near_kept(full, drawn, k=15, sphere=False)
    assert trust == pytest.approx(manifold.trustworthiness(full, drawn, n_neighbors=15, metric="cosine"), abs=1e-12)
    assert trust == pytest.approx(trustworthiness(full, drawn, k=15).item(), abs=1e-12)
    assert whole == pytest.approx(continuity(full, drawn, k=15).item(), abs=1e-12)


def test_blocks_change_nothing_and_a_sample_of_queries_comes_near(monkeypatch: pytest.MonkeyPatch) -> None:
    full, drawn = random_rows(150, 8, seed=0), random_rows(150, 2, seed=1)
    whole = faithfulness.near_kept(full, drawn, k=7, sphere=False)
    monkeypatch.setattr(faithfulness, "BLOCK", 1000)
    assert faithfulness.near_kept(full, drawn, k=7, sphere=False) == pytest.approx(whole, abs=1e-12)
    parts = [
        faithfulness.near_kept(full, drawn, k=7, sphere=False, queries=rows) for rows in torch.arange(150).split(50)
    ]
    assert np.mean(parts, axis=0) == pytest.approx(whole, abs=1e-12)  # the mean over samples is the whole


def test_large_sets_are_sampled_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = project(small_set(60, 1), "svd")
    assert exact.notes == ()
    for name, value in (("ALL_QUERIES_UP_TO", 50), ("QUERIES", 90), ("ALL_PAIRS_UP_TO", 50), ("PAIRS", 900)):
        monkeypatch.setattr(faithfulness, name, value)
    sampled = project(small_set(60, 1), "svd")
    assert sampled.notes == (
        "trustworthiness and continuity: of 90 points, drawn by lot, among all",
        "correlation of distances: over 960 pairs, drawn by lot",
    )
    for key in ("trustworthiness", "continuity", "distance_pearson"):
        assert sampled.keeps[key] != exact.keeps[key]
        assert sampled.keeps[key] == pytest.approx(exact.keeps[key], abs=0.05)


@pytest.mark.parametrize("n", [3, 6, 7, 40])
def test_all_pairs_are_compared_once(n: int) -> None:
    x = random_rows(n, 5, seed=n)
    found = faithfulness.Distances.of(x)
    upper = np.triu_indices(n, 1)
    assert np.sort(found.full) == pytest.approx(np.sort(angles(x.numpy())[upper]), abs=1e-7)


def test_drawn_pairs_are_different_and_every_point_is_in_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faithfulness, "ALL_PAIRS_UP_TO", 10)
    monkeypatch.setattr(faithfulness, "PAIRS", 250)
    order, steps = faithfulness.pairs_of(30, 0)
    pairs = [(order[i].item(), order[(i + step) % 30].item()) for step in steps for i in range(30)]
    assert len({frozenset(pair) for pair in pairs}) == len(pairs) == 270
    assert np.bincount(np.array(pairs).ravel()).tolist() == [18] * 30
    assert [row.item() for row in order] != list(range(30))
    place = torch.arange(30.0)[:, None]
    expected = [abs(i - j) for i, j in pairs]
    assert faithfulness.distances_of_pairs(place[order], steps, angles=False).tolist() == expected


class Searches:
    """How often neighbours are searched, and distances measured in full dimension."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.graphs, self.distances = 0, 0
        search, measure = neighbors.nearest, faithfulness.Distances.of

        def searched(*values: Any, **options: Any) -> Any:
            self.graphs += 1
            return search(*values, **options)

        def measured(*values: Any, **options: Any) -> Any:
            self.distances += 1
            return measure(*values, **options)

        monkeypatch.setattr(neighbors, "nearest", searched)
        monkeypatch.setattr(faithfulness.Distances, "of", measured)


def test_maps_of_the_same_points_search_their_neighbours_once(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings = small_set(30, 2)
    alone = {name: project(embeddings, name, **options) for name, options in OF_ONE_GRAPH.items()}
    seen, points = Searches(monkeypatch), PointSet.of(embeddings)
    for name, options in OF_ONE_GRAPH.items():
        drawn = project(points, name, **options)
        assert drawn.keeps["trustworthiness"] == pytest.approx(alone[name].keeps["trustworthiness"], abs=0.01), name
    assert (seen.graphs, seen.distances) == (1, 1)


def test_two_maps_of_a_page_measure_distances_once_a_side(monkeypatch: pytest.MonkeyPatch) -> None:
    from geomclip.panels.details import details_of
    from geomclip.reports.figures import maps_of
    from geomclip.reports.spaces import Space

    spaces = []
    for name in ("before", "after"):
        embeddings = small_set(12, 2, seed=len(spaces))
        spaces.append(Space(name, embeddings, details_of(embeddings), Panel({})))
    seen = Searches(monkeypatch)
    assert [picture.absent for picture in maps_of(spaces, seed=0, progress=SILENT)] == ["", ""]
    assert (seen.graphs, seen.distances) == (0, 2)  # angles and svd need no neighbours


def test_a_pair_of_sets_of_points_in_other_orders_is_brought_to_one() -> None:
    embeddings = small_set(12, 2)
    turned = embeddings.select_images(torch.arange(12).flip(0))
    before, after = project_pair(PointSet.of(embeddings), PointSet.of(turned), "svd")
    assert before.image_id == after.image_id
    assert np.allclose(before.image, after.image, atol=1e-5)


def test_a_set_of_points_has_chosen_its_captions() -> None:
    points = PointSet.of(small_set(12, 3), "first")
    assert len(project(points, "svd").text) == 12
    with pytest.raises(InputError, match=r"PointSet\.of\(set, 'first'\) makes that choice"):
        project(points, "svd", captions="first")


def test_the_gap_stands_beside_the_drawn_one_in_units_that_compare() -> None:
    embeddings = small_set(20, 2, apart=1.0)
    true_gap = modality_gap(embeddings.image, embeddings.text).item()
    on_sphere, on_plane = project(embeddings, "dosnes"), project(embeddings, "svd")
    for drawn in (on_sphere, on_plane):
        assert drawn.keeps["gap"] == pytest.approx(true_gap)
    assert on_sphere.keeps["gap_drawn"] == pytest.approx(modality_gap(on_sphere.image, on_sphere.text), abs=1e-6)
    assert on_plane.keeps["gap_drawn"] is None  # a plane has no unit
    points = drawn_of(on_plane).double()
    means = on_plane.image.mean(axis=0) - on_plane.text.mean(axis=0)
    apart = torch.pdist(points).square().mean().sqrt().item()
    assert on_plane.keeps["gap_drawn_relative"] == pytest.approx(np.linalg.norm(means) / apart, rel=1e-5)
    full = torch.pdist(cloud_of(embeddings)).square().mean().sqrt().item()
    assert on_plane.keeps["gap_relative"] == pytest.approx(true_gap / full, rel=1e-9)


def test_the_width_of_a_drawn_cloud_is_that_of_two_of_its_points() -> None:
    # two unit rows at 60° are 1 apart, at 90° √2
    full = torch.tensor([[1.0, 0, 0], [0.5, 3**0.5 / 2, 0], [0, 0, 1]], dtype=torch.float64)
    drawn = torch.eye(3, dtype=torch.float64)
    found = faithfulness.widths("image", full, drawn, slice(0, 2), sphere=True)
    assert found == pytest.approx({"mean_cosine_image": 0.5, "mean_cosine_image_drawn": 0.0, "width_image": 2**0.5})
    # of all three: 1, √2, √2 in full (mean square 5/3), √2 each as drawn
    on_plane = faithfulness.widths("image", full, drawn, slice(0, 2), sphere=False)
    assert on_plane["width_image"] == pytest.approx(2**0.5 * (5 / 3) ** 0.5 / 2**0.5)
    assert on_plane["mean_cosine_image_drawn"] is None
    assert faithfulness.widths("text", full, drawn, slice(2, 3), sphere=True) == {}  # one point has no width
    assert faithfulness.widths("image", full, drawn, slice(0, 3), sphere=False) == {}  # a plane's own unit


MOMENTS = {
    "right": ({"width_image": 1.02, "width_text": 0.97}, "images and texts drawn as wide as they are", False),
    "one wide": (
        {"width_image": 2.3, "width_text": 1.0},
        "images drawn 2.3 times too wide, texts as wide as they are",
        True,
    ),
    "both narrow": ({"width_image": 0.05, "width_text": 0.05}, "images and texts drawn 20 times too narrow", True),
    "a little": (
        {"width_image": 1.4, "width_text": 0.7},
        "images drawn 1.4 times too wide, texts 1.4 times too narrow",
        False,
    ),
    "gap": ({"gap": 0.82, "gap_drawn": 0.12}, "gap drawn 0.12 for 0.82 in 512 dimensions", True),
    "gap near 0": ({"gap": 0.01, "gap_drawn": 0.04}, "gap drawn 0.04 for 0.01 in 512 dimensions", False),
    "gap of 0": ({"gap": 0.0, "gap_drawn": 0.4}, "gap drawn 0.40 for 0.00 in 512 dimensions", True),
    "on a plane": (
        {"width_image": 1.0, "gap": 0.8, "gap_drawn": None, "gap_relative": 0.7, "gap_drawn_relative": 0.8},
        "images drawn as wide as they are, gap 0.80 for 0.70 of a typical distance",
        False,
    ),
    "unknown": ({}, "", False),
}


@pytest.mark.parametrize("case", MOMENTS)
def test_one_sentence_compares_what_is_drawn_with_what_is_and_warns_beyond_1_5(case: str) -> None:
    keeps, sentence, misleads = MOMENTS[case]
    drawn = Map(np.eye(3), np.eye(3), [0, 1, 2], "sphere", "dosnes", keeps=keeps, dim=512)
    assert (drawn.moments(), drawn.misleads()) == (sentence, misleads)
    assert " ".join(drawn.facts()[1:]).startswith(sentence)
    assert any("warning: " in line for line in drawn.facts()) == misleads


def test_facts_are_short_and_never_round_up_to_perfect() -> None:
    for drawn in (project(small_set(), "svd"), project(small_set(), "dosnes")):
        assert len(drawn.facts()) >= 4
        assert max(map(len, drawn.facts())) < 60
    almost = project(small_set(), "svd").replace(keeps={"trustworthiness": 0.99996, "continuity": 1.0})
    assert almost.facts()[1] == "trustworthiness 0.999, continuity 1.000 (k = 15)"


# one set


@pytest.mark.parametrize("method", FAST)
def test_the_same_seed_gives_the_same_map(method: str) -> None:
    one, other = (project(small_set(20, 2), method, random_state=3) for _ in range(2))
    assert one.image.tobytes() == other.image.tobytes()
    assert one.keeps == other.keeps
    assert one.kind == ("sphere" if method == "dosnes" else "plane")


def test_a_map_carries_ids_captions_and_what_it_was_made_from() -> None:
    embeddings = small_set(6, 2).replace(image_id=list("abcdef"), caption=[f"text {i}" for i in range(12)])
    drawn = project(embeddings, "svd", n_components=3)
    assert (drawn.kind, drawn.image.shape, drawn.dim) == ("space", (6, 3), 16)
    assert drawn.image_id == tuple("abcdef")
    assert drawn.caption == embeddings.caption
    assert drawn.made_from["dataset"] == "toy"
    assert drawn.params == {"n_components": 3, "random_state": 0}
    first = project(embeddings, "svd", captions="first")
    assert first.text is not None
    assert first.text.shape == (6, 2)
    assert first.caption == embeddings.first_texts().caption


def test_one_modality_is_drawn_without_a_gap() -> None:
    drawn = project(EmbeddingSet(random_rows(40, 8, seed=0)), "svd")
    assert drawn.text is None
    assert drawn.text_mean is None
    assert "gap" not in drawn.keeps
    assert not any("gap" in fact for fact in drawn.facts())
    assert drawn.facts()[0] == "svd of 40 images"


def test_names_of_classes_are_the_texts_of_class_data() -> None:
    classes = class_set()
    drawn = project(classes, "svd")
    assert drawn.text is not None
    assert (drawn.text.shape, drawn.image_of_text) == ((4, 2), None)
    assert drawn.caption == classes.classes
    assert drawn.facts()[0] == "svd of 40 images and 4 classes"


def test_duplicates_are_drawn_at_one_place_by_linear_maps_and_near_by_others() -> None:
    rows = random_rows(30, 8, seed=0)
    rows[1] = rows[0]
    drawn = project(EmbeddingSet(rows), "svd")
    # a matrix product need not sum each of its rows in one order
    assert drawn.image[0] == pytest.approx(drawn.image[1], rel=1e-6)
    assert np.isfinite(project(EmbeddingSet(rows), "dosnes").image).all()


def test_options_too_large_for_few_points_are_lowered_and_said_unless_they_are_given() -> None:
    embeddings = small_set(4, 1)
    drawn = project(embeddings, "dosnes")
    assert drawn.notes[0] == "perplexity is 2, the most that 8 points allow"
    assert drawn.params["perplexity"] == 2
    with pytest.raises(ValueError, match="TSNE with perplexity=30 needs at least 91 points, got 8"):
        project(embeddings, "tsne", perplexity=30)


@pytest.mark.parametrize("method", ["umap", "tsne", "heat-geodesic"])
def test_1_to_3_points_are_refused_in_one_line(method: str) -> None:
    with pytest.raises(ValueError, match="at least 2 images are needed, got 1"):
        EmbeddingSet(torch.eye(3)[:1])
    for n in (2, 3):
        with pytest.raises(ValueError, match=rf"needs at least \d+ .*points, got {n}"):
            project(EmbeddingSet(torch.eye(4)[:n]), method)


def test_two_points_have_a_linear_map_of_which_nothing_can_be_measured() -> None:
    drawn = project(EmbeddingSet(torch.eye(4)[:2]), "svd")
    assert (drawn.k, dict(drawn.keeps)) == (0, {})
    assert drawn.facts() == ["svd of 2 images"]


def test_points_that_are_all_equal_and_nan_are_refused() -> None:
    with pytest.raises(ValueError, match="SVD cannot map 20 points that are all equal"):
        project(EmbeddingSet(torch.ones(20, 4)), "svd")
    broken = torch.eye(5)
    broken[2, 1] = torch.nan
    with pytest.raises(ValueError, match="image row 2 holds NaN"):
        project(EmbeddingSet(broken), "svd")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "tsen"}, "no method 'tsen'; did you mean tsne?"),
        ({"method": "isomap-xyz"}, "no method 'isomap-xyz'; there are svd, pca, umap"),
        ({"method": "svd", "perplexity": 5}, "svd has no option 'perplexity'; it has n_components, random_state"),
        ({"method": "umap-sphere", "output": "plane"}, "umap-sphere has no option 'output'"),
        ({"method": "dosnes", "n_components": 2}, "dosnes draws in 3 dimensions, not 2"),
        ({"method": "svd", "n_components": 7}, "svd draws in 2 or 3 dimensions, not 7"),
        ({"method": "svd", "captions": "some"}, "captions must be all or first, got 'some'"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        project(small_set(), **options)


def test_too_many_points_are_refused_with_the_cost_before_anything_starts() -> None:
    with pytest.raises(InputError, match=r"^tsne of 200,000 points would take about \d+ minutes") as refused:
        refuse_too_many("tsne", 200_000)
    assert "use svd, pca, umap, or fewer images (limit) or texts (captions='first')" in str(refused.value)
    big = EmbeddingSet(torch.eye(4).repeat(15_000, 1), torch.eye(4).repeat(15_000, 1))
    with pytest.raises(InputError, match="heat-geodesic of 120,000 points would take about"):
        project(big, "heat-geodesic")
    refuse_too_many("svd", 10_000_000)


@pytest.mark.parametrize(
    ("flags", "message"),
    [(True, "images (--limit) or texts (--captions first)"), (False, "images (limit) or texts (captions='first')")],
)
def test_options_are_named_as_who_called_writes_them(flags: bool, message: str) -> None:
    speak_of_flags(flags)
    try:
        with pytest.raises(InputError) as refused:
            refuse_too_many("tsne", 200_000)
    finally:
        speak_of_flags(False)
    assert message in str(refused.value)


# two sets


@pytest.mark.parametrize("method", FAST)
def test_a_set_and_itself_are_drawn_on_each_other(method: str) -> None:
    embeddings = small_set(20, 2)
    before, after = project_pair(embeddings, embeddings, method)
    # dosnes goes on from where the first ended, and a few points of so small a set find another place
    assert np.corrcoef(before.image.ravel(), after.image.ravel())[0, 1] > (0.95 if method == "dosnes" else 0.999)
    assert after.notes[-1].startswith("axes: ")


@pytest.mark.parametrize("method", ["dosnes", "heat-geodesic"])
def test_a_rotated_space_is_drawn_where_it_was(method: str) -> None:
    embeddings = small_set(20, 2)
    turn = torch.linalg.qr(random_rows(16, 16, seed=5))[0]
    rotated = embeddings.replace(image=embeddings.image @ turn, text=embeddings.text @ turn)
    before, after = project_pair(embeddings, rotated, method)
    away = np.median(np.linalg.norm(before.image - after.image, axis=1))
    assert away < 0.15 * before.image.std(axis=0).max()


def test_the_second_map_is_turned_as_near_to_the_first_as_it_can_be() -> None:
    embeddings = small_set(20, 2)
    other = embeddings.replace(image=embeddings.image + 0.5 * random_rows(20, 16, seed=7))
    before, after = map(drawn_of, project_pair(embeddings, other, "heat-geodesic"))
    again = turned_on(after.numpy(), before.numpy(), about_means=True)
    assert np.allclose(again, after, atol=1e-4 * float(before.std()))


def test_pairs_are_matched_by_their_ids_and_others_refused() -> None:
    embeddings = small_set(12, 1).replace(
        image_id=[f"i{i}" for i in range(12)], caption_id=[f"t{i}" for i in range(12)]
    )
    before, after = project_pair(embeddings, embeddings.select_images(torch.arange(12).flip(0)), "svd")
    assert before.image_id == after.image_id
    assert np.allclose(before.image, after.image, atol=1e-6)
    fewer = embeddings.select_images(torch.arange(9))
    with pytest.raises(ValueError, match="3 images are only before"):
        project_pair(embeddings, fewer, "svd")
    shared, _ = project_pair(embeddings, fewer, "svd", intersect=True)
    assert len(shared.image) == 9
    assert "9 images and 9 texts are shared" in shared.notes[0]


def test_linear_maps_refuse_sets_of_different_dimensions_and_dosnes_takes_them() -> None:
    embeddings = small_set(20, 2)
    wider = embeddings.replace(
        image=torch.cat([embeddings.image, 0 * embeddings.image], 1),
        text=torch.cat([embeddings.text, 0 * embeddings.text], 1),  # type: ignore[list-item]
    )
    with pytest.raises(ValueError, match="svd draws two sets of one dimension together, got 16 and 32"):
        project_pair(embeddings, wider, "svd")
    before, after = project_pair(embeddings, wider, "dosnes")
    assert np.median(np.linalg.norm(before.image - after.image, axis=1)) < 0.15


def test_turning_undoes_a_turn_and_a_reflection_and_keeps_distances() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(30, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0] @ np.diag([1, 1, -1])
    assert np.allclose(turned_on(points @ turn, points, about_means=False), points)
    other = rng.normal(size=(30, 3))
    turned = turned_on(other, points, about_means=True)
    gram = [(each - each.mean(0)) @ (each - each.mean(0)).T for each in (other, turned)]
    assert np.allclose(*gram)
    assert np.linalg.norm(turned - points) < np.linalg.norm(other - points)


@pytest.mark.slow  # AlignedUMAP compiles for half a minute
def test_umap_draws_two_sets_on_common_axes() -> None:
    embeddings = small_set(20, 2)
    before, after = project_pair(embeddings, embeddings, "umap")
    assert np.linalg.norm(before.image - after.image, axis=1).mean() < 0.2 * before.image.std(axis=0).mean()


# the record and its files


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "torus"}, "kind must be one of plane, sphere, space"),
        ({"image": [[1, 2, 3]]}, r"image of a plane must be \(rows, 2\), got \(1, 3\)"),
        ({"image": [[1, np.nan], [0, 0]]}, "image row 0 holds NaN"),
        ({"kind": "sphere", "image": [[1, 0, 0], [0, 2, 0]], "text": None}, "image row 1 is not on the sphere"),
        ({"image_of_text": [0, 2]}, "image_of_text holds 0 to 2 for 2 images"),
        ({"image_of_text": [0.0, 1.0]}, "image_of_text must be 2 whole numbers"),
        ({"caption": ["one"]}, "1 entries in caption for 2 rows"),
        ({"keeps": {"truth": 1.0}}, "keeps has no truth; it may have trustworthiness"),
    ],
)
def test_a_map_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    good = Map([[0, 0], [1, 1]], [[0, 1], [1, 0]], [0, 1], "plane", "svd")  # type: ignore[arg-type]
    if changes.get("text", 0) is None:
        good = good.replace(text=None, image_of_text=None, text_id=())
    with pytest.raises(ValueError, match=message):
        good.replace(**changes)


def test_means_on_a_sphere_are_directions() -> None:
    drawn = Map(np.eye(3)[:2], np.array([[0, 0, 1.0], [0, 0, -1]]), None, "sphere", "dosnes")  # type: ignore[arg-type]
    assert drawn.image_mean.tolist() == pytest.approx([0.5**0.5, 0.5**0.5, 0])
    assert drawn.text_mean is not None
    assert drawn.text_mean.tolist() == [0, 0, 0]  # it has none


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz", ".json"])
def test_a_file_gives_back_the_coordinates_and_is_the_same_twice(suffix: str, tmp_path: Path) -> None:
    hostile = [f'=1+1,"{i}"\n<script>\udcff' for i in range(8)]
    drawn = project(small_set(4, 2).replace(caption=hostile), "svd")
    one, other = (drawn.save(tmp_path / f"{name}{suffix}").read_bytes() for name in "ab")
    assert one == other
    x, record = read_back(tmp_path / f"a{suffix}")
    assert np.array_equal(x, np.concatenate([drawn.image, drawn.text])[:, 0])  # type: ignore[list-item]
    if record is not None:
        assert record["keeps"]["trustworthiness"] == drawn.keeps["trustworthiness"]
        assert record["facts"] == drawn.facts()


def read_back(path: Path) -> tuple[np.ndarray, dict[str, Any] | None]:
    """First coordinates of all points, and what else the file tells."""
    if path.suffix == ".csv":
        import csv

        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows[-1]["caption"] == '=1+1,"7"\n<script>\udcff'
        return np.array([float(row["x"]) for row in rows], np.float32), None
    if path.suffix == ".parquet":
        table = pyarrow.parquet.read_table(path)
        return table["x"].to_numpy(), json.loads(table.schema.metadata[b"geomclip"])
    if path.suffix == ".npz":
        with np.load(path) as kept:
            return np.concatenate([kept["image"], kept["text"]])[:, 0], json.loads(str(kept["map"][0]))
    record = json.loads(path.read_text())
    return np.array([point["x"] for point in record["points"]], np.float32), record


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.txt must end in \.csv, \.parquet, \.npz or \.json"):
        project(small_set(), "svd").save(tmp_path / "a.txt")


def test_the_public_names_are_these() -> None:
    assert (gc.project, gc.project_pair, gc.Map) == (project, project_pair, Map)
