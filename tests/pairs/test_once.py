"""Rows of one image file are one image with several texts; and every image says which file it is made of."""

import importlib
import json
import pkgutil
from dataclasses import replace
from pathlib import Path

import pytest

import geomclip.pairs
from geomclip.pairs import Source, load_pairs
from geomclip.pairs.record import ImageFile, Pair, Pairs


def pair(number, path, *captions, **fields):
    return Pair(f"id{number}", ImageFile(Path("/photos", path), path), captions, **fields)


def test_pairs_of_one_path_are_one_image_with_the_texts_of_all():
    rows = [pair(0, "a.jpg", "one"), pair(1, "b.jpg", "two"), pair(2, "a.jpg", "three", "four", caption_ids=("x", "y"))]
    pairs = Pairs("set", "test", rows).once()
    assert [each.image_id for each in pairs.pairs] == ["id0", "id1"]
    assert pairs.pairs[0].captions == ("one", "three", "four")
    assert pairs.pairs[0].caption_ids == ("id0#0", "x", "y")
    assert pairs.read.how == ("1 of 3 images have the path of another: one image, with the texts of both",)


def test_pairs_that_differ_in_more_than_their_texts_stay_apart():
    one, two = pair(0, "a.jpg", "one"), pair(1, "a.jpg", "two")
    elsewhere = replace(two, image=replace(two.image, file=Path("/others/a.jpg")))
    for other in (replace(two, label="dog"), replace(two, columns=(("source", "web"),)), elsewhere):
        pairs = Pairs("set", "test", [one, other])
        assert pairs.once() is pairs


def test_a_file_that_annotations_name_under_two_ids_is_one_image(tmp_path):
    images = [{"id": number, "file_name": f"{name}.jpg"} for number, name in enumerate("aab")]
    texts = [{"id": 10 + number, "image_id": number, "caption": f"text {number}"} for number in range(3)]
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/captions_val2017.json").write_text(json.dumps({"images": images, "annotations": texts}))
    (tmp_path / "val2017").mkdir()
    for name in "ab":
        (tmp_path / f"val2017/{name}.jpg").touch()
    pairs = load_pairs(Source("coco", data_root=tmp_path))
    assert [each.captions for each in pairs.pairs] == [("text 0", "text 1"), ("text 2",)]
    assert "1 of 3 images have the path of another" in pairs.read.how[-1]


def test_an_id_of_each_row_that_was_asked_for_is_taken_at_its_word(tmp_path):
    (tmp_path / "a.jpg").touch()
    rows = ["filepath,title,number", *(f"{name}.jpg,text {i},{i}" for i, name in enumerate("aaabb"))]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    assert len(load_pairs(Source(f"csv:{tmp_path / 't.csv'}", image_id_column="number"))) == 5
    assert len(load_pairs(Source(f"csv:{tmp_path / 't.csv'}"))) == 2


IMAGES = {
    value.__name__: value
    for module in pkgutil.walk_packages(geomclip.pairs.__path__, "geomclip.pairs.")
    for value in vars(importlib.import_module(module.name)).values()
    if isinstance(value, type) and hasattr(value, "identity") and value.__name__ != "ImageSource"
}


def test_the_kinds_of_images_are_found():
    assert {"ImageFile", "TarMember", "EmojiImage"} <= IMAGES.keys()


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_images_say_which_file_they_are_made_of_so_that_their_digests_are_kept(name):
    assert hasattr(IMAGES[name], "place")
