"""Comparisons of two panels: the paired draws, the verdicts, what is shared, what is refused."""

from __future__ import annotations

import csv
import json
from functools import cache
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import class_set, random_rows, small_set, with_influences, without_sums
from scipy import stats
from torch import Tensor

import geomclip as gc
from geomclip.embeddings.matching import matched
from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.errors import InputError
from geomclip.metrics import AT_FIXED_SIZE, METRICS
from geomclip.panels import intervals
from geomclip.panels.comparison import Comparison, Gate, Row, compare, tables, verdict
from geomclip.panels.lines import show
from geomclip.panels.measurement import measure
from geomclip.panels.record import Panel

pytestmark = pytest.mark.numeric

N = 30
ALL = tuple(key for key in METRICS if key not in AT_FIXED_SIZE.values())  # those need more images


@cache
def toy(which: str) -> EmbeddingSet:
    """Two sets of the same 30 images with two signed noisy texts each, the second moved by other noise."""
    made = small_set(N, 2, seed=3)
    assert made.text is not None
    made = made.replace(text=made.text + 0.6 * random_rows(2 * N, 16, seed=30))
    if which == "before":
        return made
    moved = made.image + 0.2 * random_rows(N, 16, seed=31)
    text = made.text + 0.4 * random_rows(2 * N, 16, seed=32)
    return made.replace(image=moved, text=text, made_from={**made.made_from, "model": "tuned"})


@cache
def panel(which: str, metrics: str | tuple[str, ...] = ALL, **options: Any) -> Panel:
    return measure(toy(which), metrics=metrics, bootstrap=200, dtype="float64", **options)


def both(**options: Any) -> Comparison:
    return compare(panel("before"), panel("after"), bootstrap=200, **options)


def of_queries(**options: Any) -> Comparison:
    return both(resample="queries", **options)


def resamples() -> Tensor:
    return torch.cat(list(intervals.resampled_counts(N, 200, seed=0)))


def repeated(embeddings: EmbeddingSet, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Images, texts and owners with each image as often as it was drawn, with its two texts each time."""
    images = torch.arange(N).repeat_interleave(counts.long())
    assert embeddings.text is not None
    texts = torch.cat([2 * images, 2 * images + 1])
    own = torch.arange(len(images)).repeat(2)
    return embeddings.image[images], embeddings.text[texts], own


def ranks(embeddings: EmbeddingSet) -> np.ndarray:
    """Of each text: 1 + the images nearer than its own."""
    assert embeddings.text is not None
    s = (embeddings.text @ embeddings.image.T).numpy()
    own = s[np.arange(2 * N), np.arange(2 * N) // 2]
    return 1 + (s > own[:, None]).sum(1)


# --- the paired draws


METRIC = {
    "alignment": gc.metrics.alignment,
    "mean_cosine_matched": gc.metrics.mean_cosine_matched,
}


@pytest.fixture(scope="module")
def measured_anew() -> dict[str, list[float]]:
    """Of each metric the differences after - before, measured on resampled embeddings."""
    drawn: dict[str, list[float]] = {key: [] for key in METRIC}
    for counts in resamples():
        before, after = (repeated(toy(which), counts) for which in ("before", "after"))
        for key, metric in METRIC.items():
            drawn[key].append(float(metric(*after)) - float(metric(*before)))
    return drawn


@pytest.mark.parametrize("key", METRIC)
def test_a_paired_interval_is_that_of_metrics_measured_anew_on_resampled_embeddings(
    key: str, measured_anew: dict[str, list[float]]
) -> None:
    low, high = np.percentile(measured_anew[key], [2.5, 97.5])
    row = of_queries()[key]
    assert row.paired
    assert row.ci == pytest.approx((low, high), rel=1e-9)


@pytest.mark.parametrize(
    ("key", "of_ranks"),
    [
        ("image_retrieval_recall@1", lambda ranks: np.mean(ranks <= 1)),
        ("image_retrieval_recall@5", lambda ranks: np.mean(ranks <= 5)),
        ("image_retrieval_mean_rank", np.mean),
        ("image_retrieval_median_rank", np.median),
    ],
)
def test_ranks_among_all_images_are_resampled_in_pairs(key: str, of_ranks: Any) -> None:
    sides = [ranks(toy(which)) for which in ("before", "after")]
    drawn = []
    for counts in resamples():
        texts = np.repeat(np.arange(2 * N), np.repeat(counts.long().numpy(), 2))
        drawn.append(of_ranks(sides[1][texts]) - of_ranks(sides[0][texts]))
    row = of_queries()[key]
    assert row.difference == pytest.approx(of_ranks(sides[1]) - of_ranks(sides[0]))
    assert row.ci == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=1e-12)
    if np.std(drawn):
        t = abs(row.difference) / np.std(drawn, ddof=1)
        assert row.p == pytest.approx(2 * stats.t(N - 1).sf(t))


def sides_of_a_sample(n: int, seed: int) -> list[EmbeddingSet]:
    """The same n images before and after, whose texts come nearer."""
    image, noise, more = (random_rows(n, 8, seed=1000 * k + seed) for k in (1, 2, 3))
    shift = 0.4 * random_rows(1, 8, seed=99)
    return [EmbeddingSet(image + shift, image + part * noise + 0.2 * more - shift) for part in (1.0, 0.8)]


def test_paired_intervals_cover_the_difference_of_a_large_sample_and_unpaired_ones_are_wider() -> None:
    """95 % intervals of 100 samples of 60 images; 100 tries at 0.95 are below 0.88 once in 400."""
    keys = ("alignment", "mean_cosine_matched")
    large = sides_of_a_sample(50_000, 0)
    of_large = {key: [float(METRIC[key](side.image, side.text, None)) for side in large] for key in keys}
    covered: dict[str, list[bool]] = {key: [] for key in keys}
    wider, nulls = [], {}  # those of the size are simulated once
    for seed in range(1, 101):
        panels = [measure(side, metrics=keys, bootstrap=100, null_cache=nulls) for side in sides_of_a_sample(60, seed)]
        rows = compare(*map(with_influences, panels))
        alone = compare(*(each.replace(items={}) for each in panels))
        wider += [width(alone[key]) / width(rows[key]) for key in keys]
        for key in keys:
            low, high = rows[key].ci or (1, 0)
            covered[key].append(low <= of_large[key][1] - of_large[key][0] <= high)
    for key in keys:
        assert np.mean(covered[key]) >= 0.88, (key, np.mean(covered[key]))
    assert min(wider) > 1.5


def width(row: Row) -> float:
    assert row.ci is not None
    return row.ci[1] - row.ci[0]


def test_every_number_with_influences_has_a_paired_interval() -> None:
    comparison = both()
    sides = [
        {name for name in panel(side).items["image"] if name.startswith("influence.")} for side in ("before", "after")
    ]
    assert len(sides[0] & sides[1]) > 40
    for name in sides[0] & sides[1]:
        assert comparison[name.removeprefix("influence.")].paired, name


def test_a_number_without_influences_on_one_side_has_an_unpaired_interval_and_that_is_said() -> None:
    before = panel("before")
    image = {name: column for name, column in before.items["image"].items() if name != "influence.modality_gap"}
    comparison = compare(before.replace(items={**before.items, "image": image}), panel("after"), bootstrap=200)
    assert comparison["modality_gap"].ci is not None
    assert not comparison["modality_gap"].paired
    assert comparison["modality_gap_debiased"].paired
    assert any("modality_gap" in note and "unpaired" in note for note in comparison.notes)


def test_class_panels_are_compared_in_pairs_too() -> None:
    before = class_set(60, seed=0)
    after = before.replace(image=before.image + 0.5 * random_rows(60, 16, seed=8))
    panels = [with_influences(measure(each, metrics="all", bootstrap=100)) for each in (before, after)]
    comparison = compare(*panels)
    assert comparison["zeroshot_acc1"].paired
    assert comparison.primary == ("zeroshot_acc1",)
    assert comparison["uniformity_text"].verdict == "same"
    assert "image_retrieval_recall@1" not in comparison


# --- exchanging, repeating, reordering


def test_exchanging_the_sides_changes_every_sign() -> None:
    there, back = both(), compare(panel("after"), panel("before"), bootstrap=200)
    swapped = {"better": "worse", "worse": "better"}
    for key, row in there.rows.items():
        assert back[key].difference == -row.difference
        assert back[key].verdict == swapped.get(row.verdict, row.verdict)
        if row.ci is not None:
            assert back[key].ci == pytest.approx((-row.ci[1], -row.ci[0]), abs=1e-12)


@pytest.mark.parametrize("items", [True, False])
def test_a_panel_and_itself_are_the_same(items: bool) -> None:
    one = panel("before")
    comparison = compare(one, one if items else one.replace())
    assert {row.verdict for row in comparison.rows.values()} == {"same"}
    assert {row.difference for row in comparison.rows.values()} == {0.0}
    assert comparison.paired


def test_images_are_paired_by_their_ids_in_whatever_order_they_come() -> None:
    order = torch.randperm(N, generator=torch.Generator().manual_seed(2))
    turned = measure(toy("after").select_images(order), metrics=ALL, bootstrap=200, dtype="float64")
    for resample, keys in (
        ("gallery", ("alignment", "image_retrieval_recall@1", "uniformity_joint")),
        ("queries", ("alignment", "image_retrieval_recall@1", "uniformity_joint", "image_retrieval_median_rank")),
    ):
        straight, other = (compare(panel("before"), each, resample=resample) for each in (panel("after"), turned))
        for key in keys:
            assert other[key].paired
            assert other[key].difference == pytest.approx(straight[key].difference)
            drawn_anew = {"rel": 0.35, "abs": 1e-12} if resample == "queries" else {"rel": 1e-6}
            assert width(other[key]) == pytest.approx(width(straight[key]), **drawn_anew)


def test_exchanging_the_sides_of_another_order_changes_every_sign_too() -> None:
    turned = measure(toy("after").select_images(torch.arange(N).flip(0)), metrics="alignment", bootstrap=20)
    sides = panel("before"), turned
    there, back = (compare(*each, resample="queries")["alignment"] for each in (sides, sides[::-1]))
    assert back.ci == pytest.approx((-there.ci[1], -there.ci[0]), rel=1e-9)
    assert matched(["c", "a", "b"], ["b", "c", "a"], "images").before == [1, 2, 0]


def test_another_seed_of_a_panel_changes_no_interval_over_the_gallery() -> None:
    other = compare(panel("before"), panel("after", seed=1))
    assert other["alignment"] == both()["alignment"]
    assert "seed 0 before, 1 after" in other.notes


def test_a_reordered_set_is_put_in_order_before_it_is_measured() -> None:
    order = torch.randperm(N, generator=torch.Generator().manual_seed(2))
    comparison = gc.compare(toy("before"), toy("before").select_images(order), bootstrap=50)
    assert {row.verdict for row in comparison.rows.values()} == {"same"}


# --- verdicts


@pytest.mark.parametrize(
    ("difference", "q", "ci", "better", "expected"),
    [
        (0.1, 0.01, (0.05, 0.15), "higher", "better"),
        (0.1, 0.01, (0.05, 0.15), "lower", "worse"),
        (-0.1, 0.01, (-0.15, -0.05), "lower", "better"),
        (-0.1, 0.01, (-0.15, -0.05), "higher", "worse"),
        (0.1, 0.2, (0.05, 0.15), "higher", "unclear"),
        (0.1, 0.05, (0.0, 0.2), "higher", "unclear"),
        (0.1, None, None, "higher", ""),
        (0.0, 1.0, (0.0, 0.0), "higher", "same"),
        (0.0, 1.0, (-0.1, 0.1), "higher", "unclear"),
        (0.0, None, None, "lower", "same"),
        (0.1, 0.01, (0.05, 0.15), "", ""),
        (0.0, 1.0, (0.0, 0.0), "", "same"),
    ],
)
def test_a_verdict_needs_a_direction_and_a_q_below_5_percent(
    difference: float, q: float | None, ci: tuple[float, float] | None, better: str, expected: str
) -> None:
    assert verdict(difference, q, better, ci) == expected


def test_the_verdict_of_each_key_has_its_direction() -> None:
    for key, row in both().rows.items():
        if row.verdict in ("better", "worse"):
            up = row.ci is not None and row.ci[0] > 0
            assert (row.verdict == "better") == (METRICS[key].better == ("higher" if up else "lower")), key
        elif not METRICS[key].judged:
            assert row.verdict in ("", "same"), key


# --- without items, without values


def test_without_items_the_interval_is_unpaired_and_says_so() -> None:
    before = Panel({"alignment": 1.0}, ci={"alignment": (0.7, 1.3)}, n_images=20)
    after = Panel({"alignment": 2.0}, ci={"alignment": (1.6, 2.4)}, n_images=20)
    comparison = compare(before, after)
    assert not comparison.paired
    assert comparison["alignment"].ci == pytest.approx((0.5, 1.5))  # 1 -+ sqrt(0.3**2 + 0.4**2)
    assert not comparison["alignment"].paired
    assert comparison["alignment"].p == pytest.approx(2 * stats.norm.sf(1 / (1 / (2 * 1.959964))), rel=1e-5)
    assert "unpaired intervals" in str(comparison)
    assert any("unpaired" in note for note in comparison.notes)


def test_without_resamples_there_is_no_interval() -> None:
    comparison = compare(panel("before"), panel("after"), bootstrap=0)
    assert {(row.ci, row.p, row.q) for row in comparison.rows.values()} == {(None, None, None)}
    assert {row.verdict for row in comparison.rows.values()} <= {"", "same"}
    assert "no intervals" in str(comparison)


@pytest.mark.parametrize("undefined", [None, nan])
def test_a_value_that_is_undefined_has_no_difference_and_its_reason_is_told(undefined: float | None) -> None:
    before = Panel({"alignment": undefined, "modality_gap": 1.0}, notes={"alignment": "too few"})
    after = Panel({"alignment": 0.5, "uniformity_image": -1.0})
    comparison = compare(before, after)
    assert comparison["alignment"] == Row(None, 0.5)
    assert list(comparison) == ["alignment", "uniformity_image", "modality_gap"]
    assert "alignment: none before: too few" in comparison.notes
    assert "modality_gap: none after: not measured" in comparison.notes
    assert "—" in str(comparison)
    json.dumps(comparison.to_dict(), allow_nan=False)


def test_a_number_of_a_paper_has_a_difference_and_no_direction() -> None:
    comparison = compare(Panel({"oh2023_uniformity": 0.5}), Panel({"oh2023_uniformity": 0.75}))
    assert comparison["oh2023_uniformity"] == Row(0.5, 0.75, 0.25)


def test_settings_that_differ_are_told() -> None:
    after = panel("after").replace(
        logit_scale=25.0,
        made_from={"dataset": "other", "split": "val", "data_sha256": "b"},
        params={**panel("after").params, "bins": 10},
    )
    before = panel("before").replace(made_from={**panel("before").made_from, "data_sha256": "a"})
    notes = "\n".join(compare(before, after, bootstrap=20).notes)
    assert "dataset toy before, other after" in notes
    assert "split test before, val after" in notes
    assert "bins 15 before, 10 after" in notes
    assert "logit scale 20 before, 25 after: each is calibrated at its own temperature" in notes
    assert "data_sha256" in notes


def test_warnings_of_the_panels_are_told_with_their_side() -> None:
    notes = compare(Panel({}, warnings=["odd", "both"]), Panel({}, warnings=["both"])).notes
    told = [note for note in notes if "items" not in note and "no intervals" not in note]
    assert told == ["before: odd", "before and after: both"]


# --- groups


def test_groups_of_both_are_compared() -> None:
    noise = [0.5 * random_rows(88, 16, seed=seed) for seed in (40, 41)]
    made = small_set(44, 2)
    assert made.text is not None
    sides = [
        measure(made.replace(text=made.text + each), metrics="alignment", by="source", bootstrap=50) for each in noise
    ]
    comparison = compare(*sides)
    assert list(comparison.groups) == ["a", "b"]
    assert comparison.by == "source"
    alone = compare(sides[0].groups["a"], sides[1].groups["a"])
    assert comparison.groups["a"]["alignment"] == alone["alignment"]
    assert comparison.groups["a"]["alignment"].paired
    lines = str(comparison.table(full=True)).splitlines()
    assert ["by", "source", "all", "a", "b"] in [line.split() for line in lines]
    assert comparison.to_dict()["groups"]["b"]["metrics"]["alignment"]["before"] is not None


def test_a_group_of_one_side_or_without_numbers_is_no_reason_to_fail() -> None:
    one = Panel({"alignment": 1.0}, n_images=4)
    before = Panel({"alignment": 1.0}, groups={"x": one, "y": Panel({}, n_images=1), "z": one})
    after = Panel({"alignment": 1.0}, groups={"x": one.replace(n_images=5), "y": Panel({}, n_images=1)})
    comparison = compare(before, after)
    assert list(comparison.groups) == ["y"]
    assert "groups of one side only: z" in comparison.notes
    assert any(note.startswith("group x: the two sets differ") for note in comparison.notes)


# --- sets that differ


def cut_sets() -> tuple[EmbeddingSet, EmbeddingSet]:
    """The first 25 and the last 26 of the images: 21 are shared."""
    return toy("before").select_images(torch.arange(25)), toy("after").select_images(torch.arange(4, N))


def test_sets_that_differ_are_refused_with_what_they_share() -> None:
    panels = [measure(each, bootstrap=0) for each in cut_sets()]
    reason = "4 images are only before .*5 images are only after .*; 21 are shared: intersect=True"
    with pytest.raises(ValueError, match=reason):
        compare(*panels)
    with pytest.raises(ValueError, match=reason):
        gc.compare(*cut_sets())


def test_shared_images_of_panels_keep_what_they_add_among_all_candidates() -> None:
    panels = [with_influences(measure(each, metrics="all", bootstrap=50, dtype="float64")) for each in cut_sets()]
    comparison = compare(*panels, intersect=True)
    assert comparison.n_images == 21
    assert any("21 images are shared, of 25 before and 26 after" in note for note in comparison.notes)
    hits = {
        which: [
            rank <= 1
            for rank, own in zip(each.items["text"]["rank"], each.items["text"]["image_id"], strict=True)
            if 4 <= int(own) < 25
        ]
        for which, each in zip(("before", "after"), panels, strict=True)
    }
    row = comparison["image_retrieval_recall@1"]
    assert (row.before, row.after) == pytest.approx((np.mean(hits["before"]), np.mean(hits["after"])))
    assert row.paired
    assert comparison["image_retrieval_median_rank"].paired
    assert comparison.resample == "queries"
    assert comparison["modality_gap"] == Row(None, None)
    assert any("not known of the shared images alone" in note for note in comparison.notes)


def test_vectors_are_cut_before_they_are_measured() -> None:
    before, after = cut_sets()
    comparison = gc.compare(before, after, intersect=True, bootstrap=0)
    shared = torch.arange(4, 25)
    alone = [measure(toy(which).select_images(shared), bootstrap=0) for which in ("before", "after")]
    assert comparison["image_retrieval_recall@1"].before == alone[0]["image_retrieval_recall@1"]
    assert comparison["modality_gap"].after == pytest.approx(alone[1]["modality_gap"])
    assert comparison.notes[0].startswith("cut before measuring: 21 images and 42 texts are shared")


def test_other_texts_of_the_same_images_are_a_difference() -> None:
    first = toy("after").first_texts()
    with pytest.raises(ValueError, match="30 texts are only before"):
        gc.compare(toy("before"), first)
    with pytest.raises(ValueError, match="30 images have other texts; 0 are shared"):
        compare(panel("before"), measure(first, bootstrap=0))
    comparison = gc.compare(toy("before"), first, intersect=True, bootstrap=0)
    assert comparison.after["n_texts"] == comparison.before["n_texts"] == 30


def test_a_text_of_another_image_is_another_text() -> None:
    own = toy("after").image_of_text
    assert own is not None
    moved = toy("after").replace(image_of_text=torch.cat([own[2:4], own[:2], own[4:]]))  # ids stay with the rows
    moved = moved.replace(caption_id=tuple(f"t{j}" for j in range(2 * N)))
    before = toy("before").replace(caption_id=moved.caption_id)
    with pytest.raises(ValueError, match="4 texts belong to another image; 56 are shared"):
        gc.compare(before, moved)
    assert gc.compare(before, moved, intersect=True, bootstrap=0).after["n_texts"] == 56


def test_texts_without_ids_are_matched_by_their_image_and_place() -> None:
    before, after = cut_sets()
    before, after = (each.replace(caption_id=()) for each in (before, after))  # each counts its rows from 0
    shared = torch.arange(4, 25)
    alone = [measure(toy(which).select_images(shared), bootstrap=0) for which in ("before", "after")]
    comparison = gc.compare(before, after, intersect=True, bootstrap=0)
    assert comparison["alignment"].before == pytest.approx(alone[0]["alignment"])
    assert comparison["alignment"].after == pytest.approx(alone[1]["alignment"])
    panels = [measure(each, bootstrap=0) for each in (before, after)]
    assert compare(*panels, intersect=True, bootstrap=0).n_images == 21


@pytest.mark.parametrize("intersect", [False, True])
def test_nothing_shared_is_refused(intersect: bool) -> None:
    other = toy("after").replace(image_id=tuple(f"x{i}" for i in range(N)))
    with pytest.raises(ValueError, match=r"0 are shared|only 0 images"):
        gc.compare(toy("before"), other, intersect=intersect)
    with pytest.raises(ValueError, match=r"0 are shared|only 0 images"):
        compare(panel("before"), measure(other, bootstrap=0), intersect=intersect)


def test_ids_that_occur_twice_pair_only_lists_that_are_the_same() -> None:
    twice = ("a", "a", *map(str, range(2, N)))
    sides = [toy(which).replace(image_id=twice) for which in ("before", "after")]
    assert gc.compare(*sides, metrics="alignment", bootstrap=50)["alignment"].paired
    with pytest.raises(ValueError, match="before: two images have the id 'a'"):
        gc.compare(sides[0], toy("after"))
    assert matched(["b", "b"], ["b", "b"], "images").aligned


def test_pairs_and_classes_share_no_numbers() -> None:
    classes = class_set(30)
    with pytest.raises(ValueError, match="retrieval, after of classification"):
        compare(panel("before"), measure(classes, bootstrap=0))
    with pytest.raises(ValueError, match="one side has pairs"):
        gc.compare(toy("before"), classes)
    with pytest.raises(ValueError, match="4 classes before, 5 after"):
        compare(measure(classes, bootstrap=0), measure(class_set(30, 5), bootstrap=0))
    with pytest.raises(ValueError, match="different classes"):
        gc.compare(classes, class_set(30, 5))


def test_panels_without_items_must_be_of_one_size() -> None:
    with pytest.raises(ValueError, match="9 images with 0 texts before, 8 with 0 after"):
        compare(Panel({}, n_images=9), Panel({}, n_images=8), intersect=True)


def test_a_negative_number_of_resamples_is_refused() -> None:
    with pytest.raises(ValueError, match="bootstrap must be 0"):
        compare(panel("before"), panel("after"), bootstrap=-1)


# --- gates


def gated() -> Comparison:
    rows = {
        "image_retrieval_recall@1": Row(0.5, 0.48, -0.02, (-0.03, -0.01), "worse", q=0.002, primary=True),
        "text_retrieval_mean_rank": Row(3.0, 2.0, -1.0, (-2.0, -0.2), "better", q=0.04),
        "text_retrieval_nll": Row(1.0, 1.1, 0.1, (-0.2, 0.4), "unclear", q=0.4),
        "text_retrieval_recall@5": Row(0.5, 0.6, 0.1, primary=True),
        "text_retrieval_recall@10": Row(0.5, 0.5, 0.0, None, "same", primary=True),
        "modality_gap": Row(0.5, 0.6, 0.1),
        "alignment": Row(None, 0.5),
    }
    return Comparison(rows, notes=["alignment: none before: too few"])


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("image_retrieval_recall@1<-0.01", True),
        ("image_retrieval_recall@1 < -0.02", False),
        ("image_retrieval_recall@1<=-0.02", True),
        ("modality_gap>0.05", True),
        ("modality_gap >= 0.2", False),
        ("modality_gap>-1e-3", True),
        ("image_retrieval_recall@1 worse", True),
        ("image_retrieval_recall@1 unclear", False),
        ("image_retrieval_recall@1 better", False),
        ("image_retrieval_recall@1 worse and q<0.01", True),
        ("image_retrieval_recall@1 worse and q < 0.001", False),
        ("image_retrieval_recall@1<-0.01 and q<0.05", True),
        ("image_retrieval_recall@1<-0.03 and q<0.05", False),
        ("text_retrieval_mean_rank better and q<0.05", True),
        ("text_retrieval_mean_rank better and q<0.04", False),
        ("text_retrieval_mean_rank worse and q<0.05", False),
        ("text_retrieval_nll worse and q<0.05", False),
        ("text_retrieval_nll>0 and q<0.5", True),
        ("text_retrieval_nll unclear", True),
        ("text_retrieval_recall@10 worse", False),
    ],
)
def test_a_condition_is_on_the_difference(condition: str, holds: bool) -> None:
    assert gated().fails(condition) is holds
    assert bool(gated().failure(condition)) is holds


def test_a_condition_that_holds_tells_the_change() -> None:
    assert gated().failure("image_retrieval_recall@1 worse") == (
        "'image_retrieval_recall@1 worse': the change of image_retrieval_recall@1 is -0.02 (-0.03 to -0.01), q 0.002"
    )


@pytest.mark.parametrize(
    "condition",
    [
        *("", "x", "x<", "x<y", "x=1", "x<nan", "x<inf", "<1", "x worst", "xworse", "x<1<2"),
        *(
            "x<1 and q<2",
            "x<1and q<0.05",
            "x<1 and q<0",
            "x worse and q<nan",
            "x worse and p<0.05",
            "x same and q<0.05",
        ),
    ],
)
def test_a_condition_that_cannot_be_read_is_refused(condition: str) -> None:
    with pytest.raises(ValueError, match="write KEY<NUMBER"):
        Gate.of(condition)


def test_a_gate_that_cannot_be_judged_does_not_pass() -> None:
    with pytest.raises(ValueError, match="nearest: image_retrieval_recall@1"):
        gated().fails("image_retrieval_recal@1<0")
    with pytest.raises(ValueError, match=r"alignment has no difference here .*too few"):
        gated().fails("alignment<0")
    for condition in ("text_retrieval_recall@5 worse", "text_retrieval_recall@5>0 and q<0.05"):
        with pytest.raises(ValueError, match=r"nothing says how sure the change of text_retrieval_recall@5 is, 0.1"):
            gated().fails(condition)


def test_better_and_worse_need_a_primary_key_or_a_q() -> None:
    way_out = "add 'and q<0.05', or name it before looking by primary='text_retrieval_nll'$"
    with pytest.raises(ValueError, match=f"text_retrieval_nll is no primary key.* get worse by chance: {way_out}"):
        gated().fails("text_retrieval_nll worse")
    for condition in ("modality_gap worse", "uniformity_image better and q<0.05", "modality_gap<0 and q<0.05"):
        with pytest.raises(ValueError, match="neither better nor worse: test the change alone, as in '"):
            Gate.of(condition)
    with pytest.raises(ValueError, match=r"nothing is called worse unless q<0\.05"):
        Gate.of("alignment worse and q<0.2")
    with pytest.raises(ValueError, match="unknown metric 'alignmet'; nearest: alignment"):
        Gate.of("alignmet worse", known=["alignment"], primary=())


# --- what is shown and written


def test_every_line_fits_80_columns_and_every_key_stands_whole() -> None:
    judged: tuple[Any, ...] = ("unclear", True, 0.1, 0.3)
    big = {
        key: Row(-123.456, 12345.6, -9999.9, (-9999.9, -1.2e-5), *(judged if each.judged else ()))
        for key, each in METRICS.items()
    }
    for comparison in (both(), Comparison(big)):
        lines = str(comparison.table(full=True)).splitlines()
        assert max(map(len, lines)) <= 80
        lines = lines[: next(i for i, line in enumerate(lines) if line.startswith("change: after - before"))]
        starts = [line.split()[0] for line in lines if line.split()]
        for key, row in comparison.rows.items():
            (line,) = [
                line for line, start in zip([x for x in lines if x.split()], starts, strict=True) if start == key
            ]
            assert line.endswith(row.verdict)
            assert len(line.split()) == (6 if row.ci else 4) + bool(row.verdict) + (row.q is not None)


def test_better_is_green_and_worse_red_only_where_there_is_colour() -> None:
    from io import StringIO

    from rich.console import Console

    rows = {
        "alignment": Row(1.0, 0.5, -0.5, (-0.6, -0.4), "better"),
        "text_retrieval_nll": Row(0, 1, 1, (1, 1), "worse"),
    }
    console = Console(file=StringIO(), width=80, force_terminal=True, color_system="standard", highlight=False)
    for full in (True, False):
        show(tables.comparison_lines(Comparison(rows), console.width, full=full), console)
        assert isinstance(console.file, StringIO)
        assert console.file.getvalue().count("\x1b[32mbetter") == 1 + (not full)
        assert console.file.getvalue().count("\x1b[31mworse") == 1 + (not full)
    assert "\x1b" not in str(Comparison(rows))


def test_files_hold_what_the_comparison_holds(tmp_path: Path) -> None:
    comparison = both()
    for name in ("x.json", "x.csv", "x.md"):
        assert comparison.save(tmp_path / name) == tmp_path / name
    kept = without_sums(json.loads((tmp_path / "x.json").read_text()))
    assert kept == json.loads(tables.comparison_json(comparison))
    assert kept["schema"] == "geomclip.compare/1"
    assert kept["metrics"]["alignment"]["difference"] == comparison["alignment"].difference
    with (tmp_path / "x.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["metric"] for line in lines] == comparison.keys()
    assert float(lines[0]["low"]) == comparison["alignment"].ci[0]
    assert float(lines[0]["q"]) == comparison["alignment"].q
    assert [line["metric"] for line in lines if line["primary"] == "true"] == list(comparison.primary)
    assert kept["metrics"]["alignment"]["p"] == comparison["alignment"].p
    assert kept["params"]["primary"] == ["text_retrieval_recall@1", "image_retrieval_recall@1"]
    assert kept["params"]["resample"] == "gallery"
    page = (tmp_path / "x.md").read_text()
    assert all(page.count(f"| `{key}` |") == 1 for key in comparison)
    assert len({line.count("|") for line in page.splitlines() if line.startswith("|")}) == 1


def test_other_names_and_pages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in .json, .csv, .md or .tex$"):
        both().save(tmp_path / "x.txt")
    with pytest.raises(InputError, match=r"x.html: a page of a comparison is made by geomclip.report\(comparison, "):
        both().save(tmp_path / "x.html")
    assert list(tmp_path.iterdir()) == []


def test_what_comes_from_outside_is_escaped() -> None:
    evil = "<script>alert(1)</script>|"
    comparison = Comparison({evil: Row(1, 2, 1)}, notes=[evil], before={"model": evil}, after={"dataset": evil})
    html = [tables.comparison_html(comparison, full=full) for full in (True, False)]
    for shown in (*html, tables.comparison_markdown(comparison)):
        assert "<script" not in shown
        assert "&lt;script" in shown
    table = [line for line in tables.comparison_markdown(comparison).splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1


def test_a_comparison_is_a_mapping_and_a_table() -> None:
    comparison = both()
    assert "alignment" in comparison
    assert len(comparison) == len(comparison.keys()) == len(list(comparison))
    with pytest.raises(KeyError, match="nearest: alignment"):
        comparison["alignmet"]
    table = comparison.to_pandas()
    assert table.loc["alignment", "verdict"] == comparison["alignment"].verdict
    assert table.loc["alignment", "q"] == comparison["alignment"].q
    assert table.loc["image_retrieval_recall@1", "primary"]
    assert isnan(table.loc["linear_cka", "low"])
    assert repr(comparison) == f"Comparison({len(comparison)} numbers, paired, 30 images)"
    assert "<table" in comparison._repr_html_()
