"""Files of class names and templates in the forms that people have, and the ways in which they do not fit."""

import json
from pathlib import Path

import numpy as np
import pytest
from pair_files import jpeg, write, write_tar

from geomclip.machine.errors import InputError
from geomclip.pairs import Source, load_pairs
from geomclip.pairs.prompts import class_names_from, filled, prompts_from, without_id
from geomclip.pairs.source import Unnamed

IDS = ("n01440764", "n01443537", "n01484850")
FISH = ("tench", "goldfish", "white shark")


def file(tmp_path: Path, name: str, content: object) -> str:
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "tench\ngoldfish\nwhite shark\n"),
        ("a.txt", "n01443537 goldfish\nn01484850 white shark\nn01440764 tench\n"),
        ("a.json", list(FISH)),
        ("a.json", {"fish": list(FISH), "cars": ["bmw"]}),
        ("a.json", {"whatever": list(FISH)}),
        ("a.json", dict(zip(reversed(IDS), reversed(FISH), strict=True))),
    ],
)
def test_names_come_in_the_order_of_the_classes_whatever_the_form(tmp_path: Path, name: str, content: object) -> None:
    assert class_names_from(file(tmp_path, name, content), IDS, "imagenet-folder:fish") == FISH


def test_a_set_is_named_behind_a_colon(tmp_path: Path) -> None:
    names = file(tmp_path, "a.json", {"one": list(FISH), "two": ["a", "b", "c"]})
    assert class_names_from(f"{names}:two", IDS, "npz:other.npz") == ("a", "b", "c")
    with pytest.raises(InputError, match=r"2 sets \(one, two\), none called as npz:other.npz: name one"):
        class_names_from(names, IDS, "npz:other.npz")
    with pytest.raises(InputError, match="no set 'tow'; did you mean two"):
        class_names_from(f"{names}:tow", IDS, "npz:other.npz")


INDEX = {
    "0": ["n01440764", "tench"],
    "1": ["n02012849", "crane"],
    "2": ["n03126707", "crane"],
    "3": ["n01484850", "great_white_shark"],
}


@pytest.mark.parametrize("classes", [("n01484850", "n02012849", "n03126707"), ("3", "1", "2")])
def test_the_class_index_of_imagenet_names_ids_and_numbers_of_some_of_its_classes(
    tmp_path: Path, classes: tuple[str, ...]
) -> None:
    index = file(tmp_path, "imagenet_class_index.json", INDEX)
    names = ("great white shark", "crane (n02012849)", "crane (n03126707)")
    assert class_names_from(index, classes, "x") == names
    assert list(map(without_id, names)) == ["great white shark", "crane", "crane"]


def test_classes_that_the_class_index_lacks_are_named(tmp_path: Path) -> None:
    index = file(tmp_path, "i.json", INDEX)
    with pytest.raises(InputError, match=r"4 classes by WordNet ids, not 1 class \(n09999999\) of x"):
        class_names_from(index, ("n01440764", "n09999999"), "x")
    with pytest.raises(InputError, match=r"4 classes by WordNet ids or numbers, not 2 classes \(cat, dog\) of x"):
        class_names_from(index, ("cat", "dog"), "x")
    # sets that are called by numbers are no index
    sets = file(tmp_path, "s.json", {"0": ["a", "b"], "1": ["c", "d"]})
    assert class_names_from(f"{sets}:1", ("x", "y"), "z") == ("c", "d")


def test_the_same_words_in_another_order_name_their_own_classes(tmp_path: Path) -> None:
    names = file(tmp_path, "a.txt", "Dog\nSea lion\ncat\n")
    assert class_names_from(names, ("cat", "dog", "sea_lion"), "x") == ("cat", "Dog", "Sea lion")


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.txt", "tench\ngoldfish\n", "fish: a.txt has 2 names for 3 classes"),
        (
            "a.json",
            ["tench", "goldfish"],
            r"a.json has 2 names \(tench, goldfish\), fish has 3 classes \(cat, dog, ant",
        ),
        (
            "a.json",
            {"cat": "cat", "dgo": "dog", "ant": "ant"},
            r"disagree: 1 class \(dgo\) of the file.*\(dog\) of the",
        ),
        ("a.txt", "ox\ncat\nbee\n", "name 2 is 'cat', class 2 of fish is 'dog', and its class 1 is 'cat'"),
        ("a.txt", "ox\nbee\nox\n", "'ox' is the name of classes 1 and 3"),
        ("a.json", [], "is not empty"),
        ("a.json", ["a", 3, "b"], "name 2 should be text, is 3"),
        ("a.txt", "", "is empty"),
    ],
)
def test_names_that_do_not_fit_are_refused(tmp_path: Path, name: str, content: object, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        class_names_from(file(tmp_path, name, content), ("cat", "dog", "ant"), "fish")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.txt", "a photo of a {c}.\nart of the {}\n"),
        ("t.json", ["a photo of a {}.", "art of the {c}"]),
        ("t.json", {"fish": ["a photo of a {c}.", "art of the {c}"], "cars": ["a {c}"]}),
    ],
)
def test_templates_are_filled_with_each_name(tmp_path: Path, name: str, content: object) -> None:
    prompts, templates = prompts_from(file(tmp_path, name, content), ("cat", "dog"), "wds:fish")
    assert prompts == (("a photo of a cat.", "art of the cat"), ("a photo of a dog.", "art of the dog"))
    assert len(templates) == 2


@pytest.mark.parametrize("nested", [False, True])
def test_whole_prompts_of_a_class_are_taken_by_its_name(tmp_path: Path, nested: bool) -> None:
    own = {"Dog": ["it barks"], "cat": ["it purrs", "it scratches"], "eel": ["it is wet"]}
    content = {"fish": own} if nested else own
    prompts, templates = prompts_from(file(tmp_path, "t.json", content), ("cat", "dog"), "wds:fish")
    assert prompts == (("it purrs", "it scratches"), ("it barks",))
    assert templates == ()


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("t.txt", "a photo of a {c}.\na photo\n", "template 2, 'a photo', has no {c} or {}"),
        ("t.txt", "a {c} or {}\n", "template 1, 'a {c} or {}', has both {c} and {}"),
        ("t.txt", "", "the templates are empty"),
        (
            "t.json",
            {"dog": ["it barks"], "eel": ["wet"]},
            r"no prompts for 1 class \(cat\) of fish, but for 1 other \(eel",
        ),
        ("t.json", {"dog": ["it barks"], "cat": []}, "the prompts of 'cat' are empty"),
        ("t.json", 3, "list or an object"),
    ],
)
def test_templates_that_do_not_fit_are_refused(tmp_path: Path, name: str, content: object, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        prompts_from(file(tmp_path, name, content), ("cat", "dog"), "fish")
    assert "\n" not in str(caught.value)


def test_a_name_with_braces_is_not_filled_again() -> None:
    assert filled("a {}", "{c}") == "a {c}"


def test_numbers_and_ids_are_names_only_where_names_come_from_elsewhere(tmp_path: Path) -> None:
    write(tmp_path, {f"{key}/1.jpg": jpeg() for key in IDS})
    with pytest.raises(InputError, match="WordNet ids"):
        load_pairs(Source(f"imagenet-folder:{tmp_path}"))
    assert load_pairs(Unnamed(f"imagenet-folder:{tmp_path}")).classes == IDS


def test_tars_and_arrays_without_names_have_numbers_where_names_come_from_elsewhere(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", {"0.jpg": jpeg(), "0.cls": "2", "1.jpg": jpeg(), "1.cls": "0"})
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 4, 4, 3), np.uint8), labels=np.array([0, 2, 1]))
    for data in (f"wds:{tmp_path / '0.tar'}", f"npz:{tmp_path / 'a.npz'}"):
        with pytest.raises(InputError, match=r"classnames\.txt"):
            load_pairs(Source(data))
        assert load_pairs(Unnamed(data)).classes == ("0", "1", "2")
