"""Verdicts: how often they are false where nothing changed, how often they are missed, and what is never judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from helpers import random_rows, small_set, with_influences
from numpy.typing import NDArray
from scipy import stats

from geomclip.metrics import AT_FIXED_SIZE, METRICS
from geomclip.panels.comparison import Comparison, Row, compare, differences, tables, verdicts
from geomclip.panels.comparison.verdicts import CALIBRATION_ERRORS, PRIMARY, benjamini_hochberg, holm, primary_keys
from geomclip.panels.measurement import measure
from geomclip.panels.record import Panel

pytestmark = pytest.mark.numeric

Array = NDArray[np.float64]
Draw = Callable[[int, np.random.Generator], list[Panel]]
"""Two panels of n images between which nothing changed."""
FIRST = ("text_retrieval_recall@1", "image_retrieval_recall@1")


# --- panels by hand


def panel_of(
    values: dict[str, float], influences: dict[str, Array], *, unit: Any = None, n: int | None = None, **more: Any
) -> Panel:
    """A panel of n images with one text each, and the influences of its images."""
    n = len(next(iter(influences.values()))) if n is None else n
    ids = [str(i) for i in range(n)]
    image: dict[str, list[Any]] = {"image_id": ids, "unit": list(range(n) if unit is None else unit)}
    image |= {f"influence.{key}": list(each) for key, each in influences.items()}
    items = {"image": image, "text": {"caption_id": ids, "image_id": ids}}
    return Panel(values, items=items, n_images=n, n_texts=n, **more)


def of_contributions(each: dict[str, Array], **more: Any) -> Panel:
    """The panel whose values are the means of what its images contribute."""
    values = {key: float(one.mean()) for key, one in each.items()}
    return panel_of(values, {key: (one - one.mean()) / len(one) for key, one in each.items()}, **more)


def unequal(n: int = 30, *, seed: int = 0) -> tuple[Array, Array]:
    """Contributions of the same images to one mean before and after, alike but not the same."""
    rng = np.random.default_rng(seed)
    before = rng.normal(0.5, 0.1, n)
    return before, before + rng.normal(0.02, 0.05, n)


# --- the estimate


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    before, after = unequal()
    row = compare(of_contributions({"alignment": before}), of_contributions({"alignment": after}))["alignment"]
    change = after - before
    error = np.sqrt(np.square(change - change.mean()).sum()) / len(change)
    reach = stats.t(len(change) - 1).ppf(0.975) * error
    assert row.ci == pytest.approx((change.mean() - reach, change.mean() + reach))
    assert row.p == pytest.approx(2 * stats.t(len(change) - 1).sf(abs(change.mean()) / error))
    assert row.paired
    assert row.q == row.p  # the only one that is judged


def test_images_that_are_copies_on_either_side_count_once() -> None:
    before, after = unequal(44)
    pairs = [i // 2 for i in range(44)]  # 0 0 1 1 2 2 ...: copies before
    chain = [0, 1, 1, *range(3, 44)]  # images 1 and 2 are copies after, so images 0 to 3 are one unit
    one = of_contributions({"alignment": before}, unit=pairs)
    row = compare(one, of_contributions({"alignment": after}, unit=chain))["alignment"]
    influence = (after - after.mean() - before + before.mean()) / 44
    of_unit = [influence[:4].sum(), *influence[4:].reshape(20, 2).sum(1)]
    reach = stats.t(len(of_unit) - 1).ppf(0.975) * np.linalg.norm(of_unit)
    assert row.ci is not None
    assert row.ci[1] - row.ci[0] == pytest.approx(2 * reach)


def test_below_20_images_that_are_no_copies_nothing_is_judged() -> None:
    for n, unit in ((19, None), (40, [i // 3 for i in range(40)])):
        sides = (of_contributions({"alignment": each}, unit=unit) for each in unequal(n))
        comparison = compare(*sides)
        row = comparison["alignment"]
        assert (row.ci, row.p, row.q, row.verdict) == (None, None, None, "")
        units = n if unit is None else 14
        note = f"{units} images that are no copies of each other: below 20 there are no intervals and no verdicts"
        assert note in comparison.notes
        assert "no intervals" in str(comparison)
    assert compare(*(of_contributions({"alignment": each}) for each in unequal(20)))["alignment"].ci is not None


def test_what_changed_alike_with_every_image_has_no_spread_to_judge_by() -> None:
    before = unequal()[0]
    comparison = compare(*(of_contributions({"alignment": before + by}) for by in (0.0, 0.1)))
    row = comparison["alignment"]
    assert (row.ci, row.p, row.q, row.verdict) == (None, None, None, "unclear")
    assert "alignment: changed alike with every image: no spread to judge by" in comparison.notes
    same = compare(*(of_contributions({"alignment": each}) for each in (before, before)))["alignment"]
    assert (same.ci, same.p, same.verdict) == ((0.0, 0.0), 1.0, "same")


def test_an_interval_stays_within_what_a_difference_can_be() -> None:
    rng = np.random.default_rng(0)
    sides = [panel_of({FIRST[0]: value}, {FIRST[0]: rng.normal(0, 0.1, 30)}) for value in (0.0, 1.0)]
    row = compare(*sides)[FIRST[0]]
    assert row.ci is not None
    assert row.ci[0] < 1
    assert row.ci[1] == 1.0


def test_a_number_for_which_no_interval_holds_has_none_whatever_an_older_version_wrote() -> None:
    key = next(key for key, each in METRICS.items() if each.better and not each.interval)
    sides = [Panel({key: value}, ci={key: (value, value + 0.01)}, n_images=30) for value in (0.1, 0.5)]
    assert compare(*sides)[key].ci is None


# --- what is resampled


def both(**options: Any) -> Comparison:
    made = small_set(40, 2)
    assert made.text is not None
    after = made.replace(text=made.text + 0.4 * random_rows(80, 16, seed=9))
    panels = [measure(each, metrics=("default", "uniformity_image"), bootstrap=60) for each in (made, after)]
    if options.pop("influences", True):
        panels = [with_influences(each) for each in panels]
    else:
        panels = [without_influences(each) for each in panels]
    return compare(*panels, bootstrap=60, **options)


def without_influences(panel: Panel) -> Panel:
    """The panel as an older version wrote it."""
    kept = {name: each for name, each in panel.items["image"].items() if not name.startswith("influence.")}
    kept.pop("unit", None)
    return panel.replace(items={**panel.items, "image": kept})


def test_what_is_resampled_stands_above_the_table() -> None:
    gallery, queries = both(), both(resample="queries")
    assert (gallery.resample, queries.resample) == ("gallery", "queries")
    assert "40 images · paired intervals, for other images of their kind" in str(gallery)
    assert "40 images · paired intervals of 60 resamples, for this gallery" in str(queries)
    assert gallery["alignment"].ci != queries["alignment"].ci
    with pytest.raises(ValueError, match="resample must be one of gallery, queries, got 'images'"):
        both(resample="images")


def test_a_panel_of_an_older_version_has_its_gallery_held_fixed_and_says_so() -> None:
    comparison = both(influences=False)
    assert comparison.resample == "queries"
    assert comparison["alignment"].paired
    assert any(
        note.startswith("before and after: without influences, as older versions") and "held fixed" in note
        for note in comparison.notes
    )
    assert not any("without influences" in note for note in both(influences=False, resample="queries").notes)


# --- primary keys


def test_primary_keys_are_those_named_or_the_usual_ones_that_are_there() -> None:
    assert primary_keys(None, known=METRICS) == tuple(key for key in PRIMARY if key in METRICS)
    assert both().primary == FIRST
    assert both(primary="alignment").primary == ("alignment",)
    named = ("alignment", "text_retrieval_ece")
    assert both(primary=["text_retrieval_ece,alignment", "alignment"]).primary == named
    assert compare(Panel({"modality_gap": 1.0}), Panel({"modality_gap": 2.0})).primary == ()


@pytest.mark.parametrize(
    ("primary", "message"),
    [
        ("alignmet", "primary='alignmet': not among the numbers compared; nearest: alignment"),
        ("zeroshot_acc1", "primary='zeroshot_acc1': not among the numbers compared"),
        (["alignment", "modality_gap"], "primary='modality_gap': a change of it is neither better nor worse"),
        ("uniformity_image", "primary='uniformity_image': a change of it is neither better nor worse"),
        (",", "primary names no key; left out it is text_retrieval_recall@1"),
    ],
)
def test_a_primary_key_that_cannot_be_judged_is_refused(primary: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        both(primary=primary)


def test_primary_keys_stand_first_and_once_wherever_they_are_shown() -> None:
    comparison = both()
    lines = str(comparison.table(full=True)).splitlines()
    start = lines.index("Primary, named before looking")
    assert [line.split()[0] for line in lines[start + 1 : start + 3]] == list(FIRST)
    assert sum(line.startswith(f"{FIRST[0]} ") for line in lines) == 1
    page, html = tables.comparison_markdown(comparison), tables.comparison_html(comparison, full=True)
    assert page.index("**Primary, named before looking**") < page.index(FIRST[0]) < page.index("**All others**")
    assert html.index("Primary, named before looking") < html.index(FIRST[0]) < html.index("alignment")
    assert html.count(f">{FIRST[0]}<") == 1


def test_groups_are_corrected_each_by_itself() -> None:
    rng = np.random.default_rng(2)
    sides = []
    for by in (0.0, 0.1):
        groups = {name: of_contributions({FIRST[0]: rng.normal(0.5 + by, 0.1, 30)}) for name in "xy"}
        sides.append(of_contributions({FIRST[0]: rng.normal(0.5, 0.1, 60)}, groups=groups))
    comparison = compare(*sides)
    assert comparison.groups["x"][FIRST[0]].q == comparison.groups["x"][FIRST[0]].p
    assert "* better or worse, by a correction within that group alone" in str(comparison.table(full=True))
    assert "* better, ! worse, by a correction within that group alone" in " ".join(str(comparison).split())
    small = [each.replace(groups={"z": of_contributions({"alignment": unequal(8)[0]})}) for each in sides]
    assert "groups of fewer than 20 images have no intervals and no verdicts: z" in compare(*small).notes


# --- corrections


def test_corrections_are_those_of_the_literature() -> None:
    rng = np.random.default_rng(0)
    for size in (0, 1, 2, 30):
        p = [float(each) for each in rng.uniform(0, 1, size) ** 3]
        assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p) if p else [])
        adjusted = holm(p)
        for level in (
            0.01,
            0.05,
            0.3,
        ):  # the smallest p against level / size, the next against level / (size - 1)
            rejected, order = [False] * size, np.argsort(p)
            for step, each in enumerate(order):
                if p[each] > level / (size - step):
                    break
                rejected[each] = True
            assert [each <= level for each in adjusted] == rejected


def test_primary_keys_are_corrected_apart_from_the_others() -> None:
    comparison = both()
    rows = comparison.rows
    first = [rows[key].p for key in FIRST]
    assert [rows[key].q for key in FIRST] == pytest.approx(holm(first))
    others = [key for key, row in rows.items() if row.q is not None and key not in FIRST]
    assert [rows[key].q for key in others] == pytest.approx(benjamini_hochberg([rows[key].p for key in others]))
    assert all(METRICS[key].judged for key in others)
    assert rows["uniformity_image"].p is not None
    assert rows["uniformity_image"].q is None


# --- what is never called better


def test_uniformity_and_the_like_are_no_judgement() -> None:
    unjudged = {key for key, each in METRICS.items() if each.better and not each.judged}
    expected = {
        *(f"uniformity_{which}" for which in ("image", "text", "joint", "cross")),
        *("w2_uniformity_image", "w2_uniformity_text", "mean_cosine_matched", "mean_cosine_unmatched"),
    }
    fixed = {AT_FIXED_SIZE[key] for key in expected if key in AT_FIXED_SIZE}
    assert {key for key in unjudged if METRICS[key].group != "data"} == expected | fixed
    assert not any(each.judged for each in METRICS.values() if not each.better or each.group == "data")
    for key in expected:
        rng = np.random.default_rng(0)
        sides = [of_contributions({key: rng.normal(-by, 0.1, 30)}) for by in (0.5, 0.9)]
        row = compare(*sides)[key]
        assert row.ci is not None
        assert row.ci[1] < 0
        assert (row.q, row.verdict) == (None, "")


def calibrated(recall: tuple[float, float], error: str = "ece", **more: Any) -> Comparison:
    """An ECE of image queries that fell for sure, and the recall of those queries before and after."""
    key, hits = f"text_retrieval_{error}", FIRST[0]
    rng = np.random.default_rng(3)
    sides = []
    for right, wrong in zip(recall, (0.3, 0.1), strict=True):
        influences = {name: rng.normal(0, 0.001, 30) for name in (key, hits)}
        sides.append(panel_of({key: wrong, hits: right}, influences, **more))
    return compare(*sides)


@pytest.mark.parametrize("error", [each for each in CALIBRATION_ERRORS if f"text_retrieval_{each}" in METRICS])
def test_an_encoder_that_only_got_worse_is_not_called_better_calibrated(error: str) -> None:
    key = f"text_retrieval_{error}"
    if METRICS[key].interval:
        assert calibrated((0.6, 0.61), error)[key].verdict == "better"
        comparison = calibrated((0.6, 0.4), error)
        assert (comparison[FIRST[0]].verdict, comparison[key].verdict) == ("worse", "lower")
        assert f"{key}: lower, and not called better: {FIRST[0]} fell too" in comparison.notes
        assert "lower: it fell" in str(comparison)
        assert not comparison.fails(f"{key} better and q<0.05")
    else:
        assert calibrated((0.6, 0.4), error)[key].verdict == ""


def test_calibration_of_guesses_is_not_called_better() -> None:
    null, near = {FIRST[0]: 0.02}, {FIRST[0]: (0.01, 0.06)}
    assert calibrated((0.03, 0.04), null=null, ci=near)["text_retrieval_ece"].verdict == "lower"
    assert calibrated((0.3, 0.31), null=null)["text_retrieval_ece"].verdict == "better"
    alone = [
        panel_of({"text_retrieval_ece": value}, {"text_retrieval_ece": np.random.default_rng(0).normal(0, 0.001, 30)})
        for value in (0.3, 0.2)
    ]
    moved = [alone[0], panel_of({"text_retrieval_ece": 0.2}, {"text_retrieval_ece": np.full(30, 1e-4)})]
    comparison = compare(*moved)
    assert comparison["text_retrieval_ece"].verdict == "lower"
    assert any(note.endswith(f"{FIRST[0]} is not known") for note in comparison.notes)


def test_proper_scores_are_judged_whatever_the_recall() -> None:
    assert calibrated((0.6, 0.4), "nll")["text_retrieval_nll"].verdict == "better"


# --- no true difference (F7): two encoders whose noise is of one law, on the same images

JUDGED = tuple(
    key for key, each in METRICS.items() if each.judged and each.interval and each.default and each.group != "zeroshot"
)


def contributions(image: Array, rng: np.random.Generator) -> dict[str, Array]:
    """What each image adds to every number that is judged: its own part, and noise that the numbers share in part.

    The noise has heavy tails (t with 4 degrees of freedom), `image` is (n, numbers).
    """
    n, numbers = image.shape
    shared = rng.standard_t(4, (n, 5)) @ rng.normal(size=(5, numbers)) / np.sqrt(5)
    noise = shared + rng.standard_t(4, (n, numbers))
    return dict(zip(JUDGED, (0.5 + 0.001 * (image + noise)).T, strict=True))


def panels_by_contributions(n: int, rng: np.random.Generator) -> list[Panel]:
    image = 3 * rng.normal(size=(n, len(JUDGED)))
    return [of_contributions(contributions(image, rng)) for _ in range(2)]


def encoder(latent: Array, noise: float, rng: np.random.Generator) -> Array:
    """Cosines (n, n) of images (rows) and their texts, both the latent points moved by noise of their own."""
    clouds = [latent + noise * rng.normal(size=latent.shape) / np.sqrt(latent.shape[1]) for _ in range(2)]
    image, text = (cloud / np.linalg.norm(cloud, axis=1, keepdims=True) for cloud in clouds)
    return image @ text.T


def left_out(own: Array, others: Array) -> Iterator[tuple[str, Array]]:
    """Of the queries of one direction: each number with all images, then without each; the oracle of influences.

    `own` (n,) are the scores of the pairs, `others` (n, n) those of query and candidate.
    """
    n = len(own)
    gone = np.eye(n, dtype=bool)
    beaten = (others > own[:, None]) & ~gone
    rank = 1 + beaten.sum(1)
    ranks = np.concatenate([rank[:, None], rank[:, None] - beaten], 1)  # (query, nobody or who is left out)
    mass = np.exp(20 * (others - own[:, None]))
    total = mass.sum(1)
    masses = np.concatenate([total[:, None], total[:, None] - mass], 1)
    squares = np.square(mass).sum(1)
    square = np.concatenate([squares[:, None], squares[:, None] - np.square(mass)], 1)
    asks = np.concatenate([np.ones((n, 1), dtype=bool), ~gone], 1)
    masses = np.where(asks, masses, 1.0)
    for name, each in (
        *((f"recall@{k}", (ranks <= k).astype(float)) for k in (1, 5, 10)),
        ("mean_rank", ranks.astype(float)),
        ("nll", np.log(masses)),
        ("brier", 1 - 2 / masses + square / np.square(masses)),
    ):
        yield name, np.where(asks, each, 0).sum(0) / asks.sum(0)


def measured_by_hand(cosines: Array) -> Panel:
    """The panel of an encoder whose influences are a jackknife: each image left out, as query and from the gallery."""
    n = len(cosines)
    matched = np.diag(cosines)
    found = {"alignment": 2 - 2 * np.concatenate([[matched.mean()], (matched.sum() - matched) / (n - 1)])}
    for what, scores in (("text", cosines), ("image", cosines.T)):
        found |= {f"{what}_retrieval_{name}": each for name, each in left_out(matched, scores)}
    influences = {key: np.sqrt((n - 1) / n) * (each[1:].mean() - each[1:]) for key, each in found.items()}
    return panel_of({key: float(each[0]) for key, each in found.items()}, influences)


def panels_by_hand(n: int, rng: np.random.Generator, d: int = 16, noise: float = 1.2) -> list[Panel]:
    latent = rng.normal(size=(n, d)) / np.sqrt(d)
    return [measured_by_hand(encoder(latent, noise, rng)) for _ in range(2)]


def false_shares(draw: Draw, n: int, trials: int, *, seed: int = 0) -> tuple[float, float, float]:
    """Of tables of two equal sides: with a false verdict on a primary key, on any; with an interval without 0."""
    rng = np.random.default_rng(seed)
    primary, either, plain = 0, 0, 0
    for _ in range(trials):
        rows = compare(*draw(n, rng)).rows
        called = [key for key, row in rows.items() if row.verdict in ("better", "worse")]
        primary += any(rows[key].primary for key in called)
        either += bool(called)
        plain += any(row.ci is not None and not row.ci[0] <= 0 <= row.ci[1] for row in rows.values())
    return primary / trials, either / trials, plain / trials


@pytest.mark.parametrize("draw", [panels_by_contributions, panels_by_hand])
def test_tables_of_two_equal_sides_rarely_have_a_false_verdict(draw: Draw) -> None:
    """A thin slice: of 150 tables at true shares of 0.07 and 0.10 more than these are false once in 1,000."""
    primary, either, plain = false_shares(draw, 60, 150)
    assert primary <= 0.14
    assert either <= 0.19
    if draw is panels_by_contributions:
        assert plain > 0.4  # what the words went by before: an interval each, of many numbers


@pytest.mark.slow
@pytest.mark.parametrize("n", [60, 200])
@pytest.mark.parametrize("draw", [panels_by_contributions, panels_by_hand])
def test_false_verdicts_are_as_rare_as_is_said(draw: Draw, n: int) -> None:
    trials = 2000
    primary, either, _ = false_shares(draw, n, trials, seed=1)
    assert primary <= 0.07 + 2 * np.sqrt(0.07 * 0.93 / trials)
    assert either <= 0.10 + 2 * np.sqrt(0.10 * 0.90 / trials)


# --- a true difference


def test_a_true_difference_is_found_nearly_as_often_as_by_who_knows_the_spread() -> None:
    """Two primary keys with the same true gain: 0.9 of the power of z-tests with the true spread, by Holm too."""
    rng = np.random.default_rng(5)
    n, trials, gain, spread = 60, 400, 0.9, 2.0
    found, oracle = np.zeros(2), np.zeros(2)
    for _ in range(trials):
        change = rng.normal(gain, spread, (2, n))
        before = rng.normal(0, 1, (2, n))
        sides = [of_contributions(dict(zip(FIRST, each, strict=True))) for each in (before / 9, (before + change) / 9)]
        rows = compare(*sides).rows
        found += [rows[key].verdict == "better" for key in FIRST]
        p = 2 * stats.norm.sf(np.abs(change.mean(1)) / (spread / np.sqrt(n)))
        oracle += [each < 0.05 for each in holm(list(p))]
    assert (oracle / trials > 0.5).all()
    assert (found >= 0.9 * oracle).all(), (found / trials, oracle / trials)


def test_several_tables_share_one_correction_of_primary_keys_and_one_of_the_others() -> None:
    p = {FIRST[0]: 0.02, FIRST[1]: 0.03, "alignment": 0.01, "text_retrieval_nll": 0.04, "modality_gap": 0.001}
    tables_ = [{key: Row(1, 2, 1, p=value * scale) for key, value in p.items()} for scale in (1, 0.5, 0.1)]
    alone = verdicts.corrected(tables_[:1], [FIRST])[0]
    together = verdicts.corrected(tables_, [FIRST] * 3)
    firsts = verdicts.holm([row.p for rows in tables_ for key, row in rows.items() if key in FIRST])
    others = verdicts.benjamini_hochberg(
        [rows[key].p for rows in tables_ for key in ("alignment", "text_retrieval_nll")]
    )
    assert [q[key] for q in together for key in FIRST] == firsts
    assert [q[key] for q in together for key in ("alignment", "text_retrieval_nll")] == others
    assert together[0][FIRST[0]] > alone[FIRST[0]]
    assert all("modality_gap" not in q for q in together)  # a change of it is neither better nor worse


def test_compared_together_fewer_primary_keys_are_called_better() -> None:
    rng = np.random.default_rng(5)
    base, moved = rng.normal(0.5, 0.1, 40), rng.normal(0.0, 0.1, 40)
    before = of_contributions({FIRST[0]: base})
    after = of_contributions({FIRST[0]: base + moved - moved.mean() + 2.2 * moved.std() / 40**0.5})
    alone = compare(before, after)[FIRST[0]]
    several = [each[FIRST[0]] for each in differences.compare_all([(before, after)] * 5)]
    assert alone.verdict == "better"
    assert {each.verdict for each in several} == {"unclear"}
    assert several[0].q == pytest.approx(5 * alone.q)
    assert (several[0].ci, several[0].p) == (alone.ci, alone.p)
