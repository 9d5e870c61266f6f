"""Numbers at 500 images: means over draws of a set, and the plain number of a set of just as many."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from helpers import class_set, small_set

from geomclip.embeddings.record import EmbeddingSet
from geomclip.metrics import AT_FIXED_SIZE, FIXED_SIZE, METRICS
from geomclip.panels.measurement import measure
from geomclip.panels.record import Panel
from geomclip.panels.run import NO_TEXT
from geomclip.panels.stages import subsamples

pytestmark = pytest.mark.numeric

KEYS = tuple(AT_FIXED_SIZE.values())
BOTH = (*AT_FIXED_SIZE, *KEYS)


@cache
def images(n: int, per_image: int = 2) -> EmbeddingSet:
    """n images of one law, whatever n is: the first n of many."""
    return small_set(1600, per_image, seed=8).select_images(torch.arange(n))


@cache
def panel(n: int, **options: Any) -> Panel:
    return measure(images(n), **{"metrics": BOTH, "bootstrap": 0, "dtype": "float64", **options})


def drawn(n: int, *, seed: int = 0) -> list[torch.Tensor]:
    return list(subsamples.draws(n, seed=seed))


# --- the draws


@pytest.mark.parametrize("n", [501, 620, 1000, 4321, 10_000])
def test_a_draw_has_no_image_twice_and_all_draws_have_each_as_often_to_within_one(n: int) -> None:
    rows = drawn(n)
    assert len(rows) == max(20, -(-n // 500))
    assert all(len(each) == len(each.unique()) == 500 for each in rows)
    counts = torch.cat(rows).bincount(minlength=n)
    assert len(counts) == n
    assert len(torch.stack(rows).unique(dim=0)) == len(rows)
    assert counts.max() - counts.min() <= 1


def test_more_images_than_twenty_draws_hold_are_all_drawn() -> None:
    assert len(drawn(12_345)) == 25
    assert len(torch.cat(drawn(12_345)).unique()) == 12_345


def test_the_seed_draws_and_nothing_else_does() -> None:
    assert torch.equal(torch.stack(drawn(700)), torch.stack(drawn(700)))
    assert not torch.equal(torch.stack(drawn(700)), torch.stack(drawn(700, seed=1)))


# --- the values


def test_a_value_is_the_mean_of_sets_of_the_drawn_images_with_their_texts() -> None:
    whole = images(540)
    of_each = [measure(whole.select_images(rows), metrics=list(AT_FIXED_SIZE), bootstrap=0) for rows in drawn(540)]
    found = measure(whole, metrics=KEYS, bootstrap=0)
    for plain, key in AT_FIXED_SIZE.items():
        values = [each[plain] for each in of_each]
        assert len(values) == 20
        assert None not in values
        assert found[key] == pytest.approx(sum(values) / 20, rel=1e-12), key


def test_as_many_images_have_the_plain_value() -> None:
    for plain, key in AT_FIXED_SIZE.items():
        assert panel(500)[key] == panel(500)[plain] is not None, key
    assert "subsamples" not in panel(500).seconds
    alone = panel(500, metrics=KEYS)
    assert {key: alone[key] for key in KEYS} == pytest.approx({key: panel(500)[key] for key in KEYS}, rel=1e-12)


def test_fewer_images_have_no_value_and_the_reason_says_how_many_there_are() -> None:
    found = panel(499)
    assert {found[key] for key in KEYS} == {None}
    assert {found.notes[key] for key in KEYS} == {"needs at least 500 images, got 499"}
    assert "subsamples" not in found.seconds


def test_what_moves_with_the_number_of_images_does_not_at_a_fixed_size() -> None:
    many = small_set(1600, 2, 96, seed=8)
    keys = ["effective_rank_image", "effective_rank_text", "gap_after_centering", "image_retrieval_ece"]
    found = [
        measure(some, metrics=[*keys, *(AT_FIXED_SIZE[key] for key in keys)], bootstrap=0)
        for some in (many.select_images(torch.arange(600)), many)
    ]
    for key in keys:
        plain, fixed = (abs(found[1][name] - found[0][name]) for name in (key, AT_FIXED_SIZE[key]))
        assert fixed < plain / 3, key


def test_plain_values_are_those_of_a_panel_without_draws() -> None:
    without = panel(600, metrics=tuple(AT_FIXED_SIZE))
    assert {key: without[key] for key in AT_FIXED_SIZE} == {key: panel(600)[key] for key in AT_FIXED_SIZE}
    assert "subsamples" not in without.seconds


def test_the_draws_are_told_and_timed_as_a_stage_of_their_own() -> None:
    assert panel(600).params["subsamples"] == {"images": 500, "draws": 20}
    assert panel(600).seconds["subsamples"] > 0


@pytest.mark.usefixtures("threads")
def test_the_number_of_threads_changes_no_bit() -> None:
    found = []
    for count in (1, 3):
        torch.set_num_threads(count)
        found.append(measure(images(560), metrics=KEYS, bootstrap=0).values)
    assert found[0] == found[1]


def test_another_seed_draws_others() -> None:
    assert panel(600, seed=1)["twonn_image@500"] != panel(600)["twonn_image@500"]


def test_the_default_panel_draws_nothing() -> None:
    found = measure(images(600), bootstrap=0)
    assert not set(KEYS) & set(found)
    assert "subsamples" not in found.seconds


def test_images_without_text_stay_in_the_gallery_of_a_draw() -> None:
    some = images(700).select_texts(torch.arange(600))  # of the first 300 images
    found = measure(some, metrics=KEYS, bootstrap=0)
    of_each = [measure(some.select_images(rows), metrics=["image_retrieval_ece"], bootstrap=0) for rows in drawn(700)]
    mean = sum(each["image_retrieval_ece"] for each in of_each) / 20
    assert found["image_retrieval_ece@500"] == pytest.approx(mean, rel=1e-12)


def test_a_draw_that_has_no_value_is_the_reason_that_there_is_none() -> None:
    few = images(1500).select_texts(torch.arange(2))  # both of one image, which a third of the draws have
    found = measure(few, metrics=["effective_rank_text@500", "effective_rank_image@500"], bootstrap=0)
    assert found["effective_rank_text@500"] is None
    assert found.notes["effective_rank_text@500"] == "in a draw of 500 images: at least 2 texts are needed, got 0"
    assert found["effective_rank_image@500"] is None


def test_class_data_have_the_numbers_of_the_images_and_say_why_not_those_of_texts() -> None:
    found = measure(class_set(560), metrics=BOTH, bootstrap=0)
    of_images = {key for key in KEYS if key.endswith("_image@500")}
    assert {key for key in KEYS if found.values.get(key) is not None} == of_images
    few = measure(class_set(40), metrics=BOTH, bootstrap=0)
    for key in set(KEYS) - of_images:
        assert found.notes[key] == few.notes[key] == NO_TEXT
    assert abs(found["effective_rank_image@500"] - found["effective_rank_image"]) < 0.2
    assert few.notes["twonn_image@500"].endswith("got 40")


def test_each_group_of_images_has_its_own() -> None:
    found = measure(images(1100), metrics=["effective_rank_image@500"], bootstrap=0, by="source")
    assert {name: one["effective_rank_image@500"] is not None for name, one in found.groups.items()} == {
        "a": True,
        "b": True,
    }
    assert measure(images(600), metrics=KEYS[3:4], bootstrap=0, by="source").groups["a"].notes


def test_the_table_has_a_row_for_each_beside_that_of_its_plain_number() -> None:
    order = list(METRICS)
    for plain, key in AT_FIXED_SIZE.items():
        of_all, at_500 = METRICS[plain], METRICS[key]
        assert order.index(key) == order.index(plain) + 1
        assert (at_500.low, at_500.high, at_500.better) == (of_all.low, of_all.high, of_all.better)
        assert (at_500.group, at_500.default, at_500.interval) == (of_all.group, False, "")
        assert at_500.title == f"{of_all.title}, at {FIXED_SIZE} images"
