"""Pairs: what training and extraction ask a set for."""

from __future__ import annotations

from pathlib import Path

from geomclip.pairs.record import ImageFile, Pair, Pairs

SET = Pairs(
    "toy",
    "val",
    [
        Pair("a", ImageFile(Path("a.png")), ("a cat", "an animal")),
        Pair("b", ImageFile(Path("b.png"))),
        Pair("c", ImageFile(Path("c.png")), ("a dog",)),
    ],
)


def test_described_are_the_images_with_a_text_and_the_set_is_the_same() -> None:
    assert [pair.image_id for pair in SET.described().pairs] == ["a", "c"]
    assert SET.described().title == SET.title == "toy (val)"


def test_texts_come_image_by_image_with_the_place_of_theirs() -> None:
    assert SET.texts() == (["a cat", "an animal", "a dog"], [0, 0, 2])
    assert SET.text_counts() == [2, 0, 1]


def test_the_first_text_stands_for_an_image_and_is_empty_where_there_is_none() -> None:
    assert [pair.first_text for pair in SET.pairs] == ["a cat", "", "a dog"]
