"""Two sets that differ in size: what a comparison shows at a fixed size, and what it says of the rest."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from helpers import random_rows, small_set

from geomclip.embeddings.record import EmbeddingSet
from geomclip.metrics import AT_FIXED_SIZE
from geomclip.panels.comparison import Comparison, compare
from geomclip.panels.measurement import measure

pytestmark = pytest.mark.numeric

KEYS = tuple(AT_FIXED_SIZE.values())
BOTH = (*AT_FIXED_SIZE, *KEYS)


@cache
def images(n: int) -> EmbeddingSet:
    """n images of one law, whatever n is: the first n of many."""
    return small_set(900, 2, seed=8).select_images(torch.arange(n))


def of(n: int, *, noise: float = 0.0) -> EmbeddingSet:
    whole = images(n)
    return whole.replace(image=whole.image + noise * random_rows(n, whole.image.shape[1], seed=9))


@cache
def changed(before: int = 600, after: int = 900, *, items: bool = True) -> Comparison:
    sides = [measure(of(n, noise=noise), metrics="all", bootstrap=30) for n, noise in ((before, 0), (after, 0.1))]
    if not items:
        sides = [side.replace(items={}) for side in sides]
    return compare(*sides, intersect=True, bootstrap=30)


def test_sets_that_differ_in_size_are_compared_at_a_fixed_size() -> None:
    found = changed()
    for plain, key in AT_FIXED_SIZE.items():
        assert found[key].difference is not None
        assert found[key].ci is None
        assert plain.endswith("_ece") or found[plain].difference is None
    lines = [note for note in found.notes if "on the number of images (600 before, 900 after)" in note]
    assert lines == [
        "gap_after_centering, text_retrieval_ece, image_retrieval_ece, text_retrieval_ece_debiased and 19 more: depend "
        "on the number of images (600 before, 900 after); gap_after_centering@500, text_retrieval_ece@500, "
        "image_retrieval_ece@500, text_retrieval_ece_debiased@500 and 19 more compare"
    ]


def test_sets_too_small_for_it_are_told_so() -> None:
    before, after = (measure(images(n), metrics=["alignment", "effective_rank_image"], bootstrap=0) for n in (30, 40))
    (line,) = [
        note
        for note in compare(before, after, intersect=True, bootstrap=0).notes
        if "effective_rank" in note and "depends" in note
    ]
    assert line == (
        "effective_rank_image: depends on the number of images (30 before, 40 after); "
        "measure both with metrics='all', and at least 500 images each, to compare"
    )


def test_without_items_the_numbers_at_a_fixed_size_are_all_that_compares() -> None:
    found = changed(items=False)
    assert {key for key, row in found.rows.items() if row.difference is not None} == set(KEYS)
    assert any("which images are shared is not known" in note for note in found.notes)
    assert not any("as if the images were others" in note for note in found.notes)
    assert found.n_images == 0


def test_without_items_and_numbers_at_a_fixed_size_sets_of_two_sizes_are_refused() -> None:
    for intersect, metrics in ((True, ["alignment"]), (False, "all")):
        sides = [measure(images(n), metrics=metrics, bootstrap=0).replace(items={}) for n in (520, 540)]
        with pytest.raises(ValueError, match="what they share only items can tell"):
            compare(*sides, intersect=intersect, bootstrap=0)


def test_other_numbers_of_texts_an_image_are_told() -> None:
    whole = measure(images(600), metrics=BOTH, bootstrap=0)
    one_each = measure(images(700).first_texts(), metrics=BOTH, bootstrap=0)
    notes = compare(whole.replace(items={}), one_each.replace(items={}), intersect=True, bootstrap=0).notes
    (line,) = [note for note in notes if "texts an image" in note]
    assert line.startswith("2 texts an image before, 1 after")
    assert not any("texts an image" in note for note in changed().notes)


def test_sets_of_one_size_have_no_such_note() -> None:
    same = [measure(of(520, noise=noise), metrics=BOTH, bootstrap=0) for noise in (0, 0.1)]
    assert not any("depend" in note for note in compare(*same, bootstrap=0).notes)
