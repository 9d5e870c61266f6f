"""Copies among the images of a panel: counted, warned of with what they do to recall, and no harm to the rest."""

from __future__ import annotations

import pytest
import torch
from helpers import class_set, random_rows, shared, small_set

import geomclip as gc
from geomclip.embeddings.record import EmbeddingSet
from geomclip.panels.measurement import measure

pytestmark = pytest.mark.numeric

RECALLS = ("image_retrieval_recall@1", "text_retrieval_recall@1")


def noisy_set(n: int = 40, per_image: int = 5) -> EmbeddingSet:
    """Pairs of which some queries are wrong."""
    made = small_set(n, per_image, seed=3)
    assert made.text is not None
    return made.replace(text=made.text + 0.9 * random_rows(*made.text.shape, seed=8))


def a_row_a_text(made: EmbeddingSet, apart: float = 0.0) -> EmbeddingSet:
    """The set as a loader with a row a text gives it: each image as often as it has texts, encoded each time anew."""
    assert made.image_of_text is not None
    image = made.image[made.image_of_text]
    image = image + apart * random_rows(*image.shape, seed=5)
    return EmbeddingSet(image, made.text, logit_scale=made.logit_scale)


def about_copies(panel) -> list[str]:
    return [line for line in panel.warnings if "copies" in line]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("apart", [0.0, 1e-5])
def test_images_given_five_times_are_told_with_the_recall_of_each_once(apart, dtype):
    made = noisy_set()
    once, five = (measure(each, bootstrap=0, dtype=dtype) for each in (made, a_row_a_text(made, apart)))
    by_text, by_image = (once[key] for key in RECALLS)
    assert five["duplicate_image_share"] == 1
    assert five[RECALLS[0]] < by_text < 1
    assert about_copies(five) == [
        f"160 of 200 image rows are copies of others; a copy counts against its query: "
        f"R@1 by text {five[RECALLS[0]]:.3f}, by image {five[RECALLS[1]]:.3f}, "
        f"with each image once (image_of_text) {by_text:.3f} and {by_image:.3f}"
    ]
    assert five["twonn_image"] == pytest.approx(once["twonn_image"], rel=1e-3 if apart else 1e-9)
    assert five.notes["twonn_image"] == "160 duplicate rows merged"


def test_a_set_without_copies_has_no_word_of_them():
    panel = measure(noisy_set(), bootstrap=0)
    assert panel["duplicate_image_share"] == 0
    assert about_copies(panel) == []
    assert panel.items["image"]["unit"] == list(range(40))


def test_units_number_the_images_as_they_first_occur():
    made = noisy_set(6, 1)
    panel = measure(made.replace(image=made.image[[0, 1, 0, 2, 1, 0]]), bootstrap=0)
    assert panel.items["image"]["unit"] == [0, 1, 0, 2, 1, 0]
    assert panel["duplicate_image_share"] == 5 / 6


def test_one_image_given_200_times_is_one_unit():
    made = noisy_set(30, 2)
    image = torch.cat([made.image, made.image[:1].expand(200, -1)])
    text = torch.cat([made.text, random_rows(200, 16, seed=1)])
    own = torch.cat([made.image_of_text, torch.arange(30, 230)])
    panel = measure(EmbeddingSet(image, text, own, logit_scale=10), bootstrap=0)
    assert panel["duplicate_image_share"] == 201 / 230
    assert about_copies(panel)[0].startswith("200 of 230 image rows are copies of others; ")
    assert panel["twonn_image"] == measure(made, bootstrap=0)["twonn_image"]


def test_rows_that_are_all_equal_are_copies_of_one_another():
    panel = measure(EmbeddingSet(torch.ones(12, 5), random_rows(12, 5, seed=0), logit_scale=10), bootstrap=0)
    assert panel["duplicate_image_share"] == 1
    assert about_copies(panel) == ["all 12 image rows are copies of one another"]
    assert panel["twonn_image"] is None
    assert "at least 3 different rows, got 1" in panel.notes["twonn_image"]


def test_copies_are_told_whatever_is_wanted():
    five = a_row_a_text(noisy_set(), 1e-5)
    (line,) = about_copies(measure(five, metrics=["image_retrieval_recall@1"], bootstrap=0))
    assert "with each image once" in line
    panel = measure(five, metrics=["alignment"], bootstrap=0)
    assert about_copies(panel) == ["160 of 200 image rows are copies of others: they count as images of their own"]
    assert set(panel.items["image"]["unit"]) == set(range(40))
    assert measure(five, metrics="duplicate_image_share", bootstrap=0).values == {"duplicate_image_share": 1}


def test_images_of_classes_can_be_copies():
    made = class_set(20)
    panel = measure(made.replace(image=made.image[[0, 0, *range(2, 20)]]), metrics="all", bootstrap=0)
    assert panel["duplicate_image_share"] == 2 / 20
    assert about_copies(panel) == ["1 of 20 image rows are copies of others: they count as images of their own"]


def test_a_group_counts_the_copies_within_it():
    made = noisy_set(20, 1)
    made = made.replace(image=made.image[[0, 1, 0, *range(3, 20)]])
    panel = measure(made, by="source", bootstrap=0)
    assert {name: group["duplicate_image_share"] for name, group in panel.groups.items()} == {"a": 2 / 10, "b": 0}


def test_texts_encoded_anew_are_one_text_to_the_intrinsic_dimension():
    made = noisy_set(100, 1)
    again = torch.cat([made.text, made.text + 1e-5 * random_rows(100, 16, seed=2)])
    panel = measure(EmbeddingSet(made.image, again, torch.arange(200) % 100, logit_scale=20), bootstrap=0)
    assert panel["twonn_text"] == pytest.approx(measure(made, bootstrap=0)["twonn_text"], rel=1e-9)
    assert panel.notes["twonn_text"] == "100 duplicate rows merged"


def test_real_vectors_repeated_five_times_are_told_their_true_recall():
    made = gc.load(shared("data/embeddings/flickr8k_100x5_vitb32/embeddings.npz"))
    panel = measure(a_row_a_text(made), bootstrap=0)
    assert panel["image_retrieval_recall@1"] == 0
    assert "400 of 500 image rows" in about_copies(panel)[0]
    assert about_copies(panel)[0].endswith("with each image once (image_of_text) 0.832 and 0.930")
