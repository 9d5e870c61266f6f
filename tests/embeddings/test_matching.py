"""Two sets cut to what they share: by id, in one order, with a line on what was cut."""

from __future__ import annotations

import pytest
import torch
from helpers import class_set, small_set

from geomclip.embeddings.matching import cut, differing
from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine import words


def pairs(images: list[str], texts: list[str], image_of_text: list[int]) -> EmbeddingSet:
    """Unit vectors along the axes, with these ids."""
    return EmbeddingSet(
        torch.eye(8)[: len(images)],
        torch.eye(8)[: len(texts)],
        torch.tensor(image_of_text),
        image_id=tuple(images),
        caption_id=tuple(texts),
    )


def test_both_sets_have_the_shared_rows_in_one_order():
    before = pairs(["a", "b", "c"], ["t", "u", "v"], [0, 1, 2])
    after = pairs(["c", "d", "a"], ["v", "t", "w"], [0, 2, 1])
    one, other, note = cut(before, after, intersect=True)
    assert one.image_id == other.image_id == ("a", "c")
    assert one.caption_id == other.caption_id == ("t", "v")
    assert torch.equal(one.image, before.image[[0, 2]])
    assert torch.equal(other.image, after.image[[2, 0]])
    assert note == ("cut before measuring: 2 images and 2 texts are shared, of 3 and 3 before and of 3 and 3 after")


def test_class_sets_are_cut_by_image_and_the_note_counts_only_these():
    whole = class_set(6, 3)
    note = cut(whole, whole.select_images(torch.arange(4)), intersect=True)[2]
    assert note == "cut before measuring: 4 images are shared, of 6 before and of 4 after"


def test_equal_sets_are_handed_back_as_they_are():
    whole = small_set()
    one, other, note = cut(whole, whole, intersect=False)
    assert (one, other, note) == (whole, whole, "")


def test_texts_that_moved_to_another_image_are_told_apart_from_missing_ones():
    before = pairs(["a", "b", "c"], ["t", "u", "v"], [0, 1, 2])
    after = pairs(["a", "b", "c"], ["t", "u", "v"], [0, 2, 1])
    with pytest.raises(ValueError, match=r"differ: 2 texts belong to another image; 1 are shared: intersect=True"):
        cut(before, after, intersect=False)


def test_the_way_out_is_written_as_the_caller_writes_it():
    ids = [["a", "b"], ["b"]]
    start = "the two sets differ: 1 images are only before ('a'); 1 are shared: "
    assert differing(ids, 1, "images") == f"{start}intersect=True compares what is shared"
    words.speak_of_flags()
    try:
        assert differing(ids, 1, "images") == f"{start}--intersect compares what is shared"
    finally:
        words.speak_of_flags(False)
