"""Folders of images and of classes: what is read, what is left out and counted, what is refused with the way out."""

import re
import shutil
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pair_files import jpeg, write

from geomclip.machine.errors import InputError
from geomclip.pairs import Pairs, Source, load_pairs
from geomclip.pairs.walking import IMAGE_SUFFIXES

quick = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NAMES = ("oak", "ash", "elm", "fir", "yew", "bay", "box", "fig", "nut", "tea", "hop", "rye")


def folder(root: Path) -> Pairs:
    return load_pairs(Source(f"folder:{root}"))


def classes(root: Path, split: str | None = None) -> Pairs:
    return load_pairs(Source(f"imagenet-folder:{root}", split=split))


def refusal(data: str, match: str, **options) -> str:
    with pytest.raises(InputError, match=match) as caught:
        load_pairs(Source(data, **options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def left_out(pairs: Pairs) -> dict[str, tuple[int, tuple[str, ...]]]:
    return {each.reason.partition(",")[0]: (each.count, tuple(each.names)) for each in pairs.read.left_out}


# ---- folder:


def test_every_ending_of_an_image_is_read_whatever_its_case(tmp_path):
    for number, ending in enumerate(sorted(IMAGE_SUFFIXES)):
        name = f"{number}{ending.upper() if number % 2 else ending}"
        write(tmp_path, {name: jpeg(), f"{number}.txt": f"picture {number}"})
    pairs = folder(tmp_path)
    assert {"jfif", "jpe", "avif", "jp2", "tga"} <= {pair.image_id.rpartition(".")[2].lower() for pair in pairs.pairs}
    assert len(pairs) == len(IMAGE_SUFFIXES)
    assert not pairs.read.left_out


def test_what_is_no_image_and_no_text_of_one_is_counted_by_its_reason(tmp_path):
    files = {
        "a.jpg": jpeg(),
        "a.txt": "a",
        "b.heic": b"",
        "c.HEIC": b"",
        "notes": "",
        "lost.txt": "x",
        ".DS_Store": b"",
    }
    files |= {".git/x.jpg": b"", "__MACOSX/a.jpg": b"", "sub/.hidden.txt": "", "sub/c.json": "{}"}
    write(tmp_path / "set", files)
    write(tmp_path / "elsewhere", {"d.jpg": jpeg()})
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "elsewhere")
    pairs = folder(tmp_path / "set")
    assert [pair.image_id for pair in pairs.pairs] == ["a.jpg"]
    assert {(each.what, each.reason.partition(",")[0]): each.count for each in pairs.read.left_out} == {
        ("folders", "hidden"): 1,
        ("files", "hidden"): 2,
        ("folders", "made by a system"): 1,
        ("folders", "links to folders"): 1,
        ("files", "the ending .heic is not read"): 2,
        ("files", "no ending"): 1,
        ("files", ".txt files without an image of their name"): 1,
        ("files", ".json files without an image of their name"): 1,
    }
    assert ("sub/c.json",) in [each.names for each in pairs.read.left_out]
    assert pairs.read.seen == {"files": 9, "folders": 3}
    assert any("2 of 9 files were left out: the ending .heic" in line for line in pairs.read.warnings())


def test_a_linked_folder_is_read_when_it_is_named(tmp_path):
    """The advice in the reason why it is left out."""
    write(tmp_path / "real", {"d.jpg": jpeg(), "d.txt": "d"})
    write(tmp_path / "set", {"a.jpg": jpeg(), "a.txt": "a"})
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "real")
    assert any("name the folder" in each.reason for each in folder(tmp_path / "set").read.left_out)
    assert len(folder(tmp_path / "set" / "linked")) == 1


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_both_unicode_forms_of_a_name_are_one_name(tmp_path, forms):
    image, text = (unicodedata.normalize(form, "Café") for form in forms)
    write(tmp_path, {f"{image}.jpg": jpeg(), f"{text}.TXT": "a café"})
    assert folder(tmp_path).pairs[0].captions == ("a café",)
    assert not folder(tmp_path).read.left_out


def test_two_texts_of_one_image_are_refused_with_both_names(tmp_path):
    write(tmp_path, {"a.jpg": jpeg(), "a.txt": "one", "a.TXT": "another"})
    refusal(f"folder:{tmp_path}", r"a\.\w+ and a\.\w+ are texts of one image; keep one of them")
    (tmp_path / "a.TXT").unlink()
    assert folder(tmp_path).pairs[0].captions == ("one",)


def test_two_images_of_one_text_are_told(tmp_path):
    write(tmp_path, {"a.jpg": jpeg(), "a.png": jpeg(), "a.txt": "one", "b.jpg": jpeg(), "b.txt": "b"})
    pairs = folder(tmp_path)
    assert [pair.captions for pair in pairs.pairs] == [("one",), ("one",), ("b",)]
    assert pairs.notes == ("1 images share a text file with another image of the same name but for its ending",)


def test_a_record_beside_a_text_says_how_many_captions_it_has(tmp_path):
    files = {"a.jpg": jpeg(), "a.txt": "a hill\nPhoto: B", "a.json": {"caption": "a hill\nPhoto: B"}}
    files |= {"b.jpg": jpeg(), "b.txt": "one\ntwo", "b.json": {"caption": ["one", "two"]}}
    files |= {"c.jpg": jpeg(), "c.txt": "one\ntwo", "d.jpg": jpeg(), "d.json": {"caption": "of the record"}}
    files |= {"e.jpg": jpeg(), "e.txt": "one\ntwo", "e.json": {"caption": "other words"}}
    files |= {"f.jpg": jpeg(), "f.txt": "boxes", "f.json": [1, 2]}
    pairs = folder(write(tmp_path, files))
    assert [pair.captions for pair in pairs.pairs] == [
        ("a hill Photo: B",),
        ("one", "two"),
        ("one", "two"),
        ("of the record",),
        ("one", "two"),
        ("boxes",),
    ]
    assert pairs.read.how == (
        "each line of a .txt is a caption (3 have more than one)",
        "lines of a .txt are the captions that its .json has (1 are one, or fewer)",
        "the .txt is read where its .json has other words (1 do)",
    )


def test_a_folder_whose_captions_are_of_another_kind_says_what_it_saw(tmp_path):
    write(tmp_path, {"a.jpg": jpeg(), "a.caption": "a"})
    refusal(
        f"folder:{tmp_path}", r"1 images but no caption.*photo\.txt.*the ending \.caption is not read \(a\.caption\)"
    )
    (tmp_path / "a.caption").rename(tmp_path / "a.txt")
    assert folder(tmp_path).pairs[0].captions == ("a",)


stems = st.text("abcé.-_ 0", min_size=1, max_size=6).filter(lambda stem: stem.strip() == stem and stem[0] != ".")
lines = st.lists(st.text("xyzé ", min_size=1, max_size=9).filter(str.strip), min_size=1, max_size=3)


@quick
@given(
    content=st.dictionaries(
        st.tuples(
            st.sampled_from(["", "one/", "one/two/", "zwei/"]), stems, st.sampled_from([".jpg", ".PNG", ".jfif"])
        ),
        lines,
        min_size=1,
        max_size=6,
    ),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    mark=st.booleans(),
)
def test_a_folder_is_read_whole(tmp_path, content, end, mark):
    shutil.rmtree(tmp_path / "set", ignore_errors=True)
    expected = {}
    for (inner, stem, ending), captions in {key[:2]: (key, value) for key, value in content.items()}.values():
        text = ("\ufeff" if mark else "") + end.join(captions)
        write(tmp_path / "set", {f"{inner}{stem}{ending}": jpeg(), f"{inner}{stem}.txt": text})
        expected[f"{inner}{stem}{ending}"] = tuple(map(str.strip, captions))
    pairs = folder(tmp_path / "set")
    assert {pair.image_id: pair.captions for pair in pairs.pairs} == expected
    assert pairs.read.seen == pairs.read.used == {"files": 2 * len(expected)}


# ---- imagenet-folder:


def write_classes(root: Path, names, *, images: int = 1) -> Path:
    return write(root, {f"{name}/{number}.jpg": jpeg() for name in names for number in range(images)})


def test_numbered_folders_are_in_the_order_of_their_numbers(tmp_path):
    for width in (1, 2):
        root = write_classes(tmp_path / str(width), [f"{number:0{width}d}" for number in range(12)])
        write(root, {"classnames.txt": "\n".join(NAMES)})
        pairs = classes(root)
        assert [pair.label for pair in pairs.pairs] == list(NAMES)
        assert [prompts[0] for prompts in pairs.class_prompts] == [f"a photo of a {name}." for name in NAMES]


def test_lines_that_begin_with_their_folder_may_come_in_any_order(tmp_path):
    root = write_classes(tmp_path, ["n00000002", "n00000001"])
    write(root, {"classnames.txt": "n00000002 red fox\nn00000001\tcrane, a bird\n"})
    assert classes(root).classes == ("crane, a bird", "red fox")
    assert "the lines of classnames.txt begin with the folders that they name" in classes(root).read.how


def test_a_name_that_begins_with_its_folder_stays_whole(tmp_path):
    root = write_classes(tmp_path, ["red", "blue"])
    write(root, {"classnames.txt": "blue circle\nred circle\n"})
    assert classes(root).classes == ("blue circle", "red circle")


def test_folders_whose_order_is_in_doubt_need_their_names_in_classnames(tmp_path):
    root = write_classes(tmp_path, [f"tree{number}" for number in range(12)])
    write(root, {"classnames.txt": "\n".join(NAMES)})
    refusal(f"imagenet-folder:{root}", r"letters \(tree0, tree1, tree10\) or of their numbers \(tree0, tree1, tree2\)")
    write(root, {"classnames.txt": "\n".join(f"tree{number} {name}" for number, name in enumerate(NAMES))})
    assert classes(root).pairs[2].label == NAMES[10]


@pytest.mark.parametrize(
    "names", [("n01440764", "n01443537"), ("0", "1", "7"), ("class_3", "class_9"), ("person1", "person2")]
)
def test_ids_and_numbers_are_no_prompts_until_somebody_says_so(tmp_path, names):
    root = write_classes(tmp_path, names)
    message = refusal(f"imagenet-folder:{root}", "no names for prompts; write the names into .*classnames.txt")
    assert names[0] in message
    file = Path(message.partition("write the names into ")[2].partition(", one a line")[0])
    file.write_text("\n".join(names))
    assert classes(root).class_prompts[0] == (f"a photo of a {names[0]}.",)


def test_names_that_only_end_in_numbers_are_names(tmp_path):
    assert classes(write_classes(tmp_path, ["A320", "A330", "DC-10"])).classes == ("A320", "A330", "DC-10")


def test_a_number_before_each_name_is_not_in_the_prompts(tmp_path):
    pairs = classes(write_classes(tmp_path, ["2.Laysan_Albatross", "10.Red_Fox", "1.Crane"]))
    assert pairs.classes == ("Crane", "Laysan Albatross", "Red Fox")
    assert any("1.Crane" in line for line in pairs.read.how)


def test_one_prompt_is_shown(tmp_path):
    assert "prompts such as 'a photo of a ash.'" in classes(write_classes(tmp_path, NAMES[:2])).read.how


def test_a_class_may_be_called_train(tmp_path):
    root = write_classes(tmp_path, ["bird", "boat", "train"])
    assert classes(root).classes == ("bird", "boat", "train")
    refusal(f"imagenet-folder:{root}", "has no splits", split="train")


def test_splits_are_folders_that_hold_folders(tmp_path):
    root = write(tmp_path, {"train/oak/1.jpg": jpeg(), "val/oak/1.jpg": jpeg(), "devkit/readme.txt": ""})
    assert classes(root).split == "val"
    assert left_out(classes(root))["beside the splits"] == (1, ("devkit",))


def test_folders_that_may_be_splits_or_classes_are_refused_with_the_way_out(tmp_path):
    root = write(tmp_path / "a", {"train/oak/1.jpg": jpeg(), "boat/1.jpg": jpeg()})
    message = refusal(f"imagenet-folder:{root}", "train/ holds folders as a split does, boat/ images as a class does")
    named = message.partition("name imagenet-folder:")[2].partition(" for the classes")[0]
    assert classes(Path(named)).classes == ("oak",)
    (root / "boat").rename(tmp_path / "boat")
    assert classes(root, "train").classes == ("oak",)
    flat = write_classes(tmp_path / "b", ["train", "val"])
    refusal(f"imagenet-folder:{flat}", "hold images directly, not class folders; move each image into a folder")


@pytest.mark.parametrize("sets", [("Training", "Testing"), ("clipart", "photo"), ("images",)])
def test_classes_a_floor_deeper_are_refused_with_their_folder(tmp_path, sets):
    root = write(tmp_path, {f"{one}/{name}/1.jpg": jpeg() for one in sets for name in NAMES[:3]})
    message = refusal(f"imagenet-folder:{root}", r"folders that look like the classes \(ash, elm, oak\)")
    assert classes(Path(message.rpartition("imagenet-folder:")[2])).classes == ("ash", "elm", "oak")


def test_what_is_no_class_is_counted(tmp_path):
    root = write_classes(tmp_path, ["oak", "__MACOSX", ".ipynb_checkpoints", "oak/deeper"])
    write(root, {"stray.jpg": jpeg(), "fir/readme.md": ""})
    pairs = classes(root)
    assert pairs.classes == ("fir", "oak")
    assert pairs.read.used == {"files": 2, "classes": 1}
    assert {key: value[0] for key, value in left_out(pairs).items()} == {
        "made by a system": 1,
        "hidden": 1,
        "the ending .md is not read": 1,
        "no image in the folder": 1,
        "in no class folder": 1,
    }
    assert "images in deeper folders belong to the class of the first (1 do)" in pairs.read.how


def test_a_class_folder_that_is_a_link_is_read(tmp_path):
    write_classes(tmp_path / "set", ["oak"])
    write_classes(tmp_path / "elsewhere", ["fir"])
    (tmp_path / "set" / "fir").symlink_to(tmp_path / "elsewhere" / "fir")
    assert [pair.label for pair in classes(tmp_path / "set").pairs] == ["fir", "oak"]


def test_blank_lines_of_classnames_never_move_a_name(tmp_path):
    root = write_classes(tmp_path, NAMES[:3])
    write(root, {"classnames.txt": "Ash\n\nElm\nOak\n\n\n"})
    assert classes(root).classes == ("Ash", "Elm", "Oak")
    assert left_out(classes(root)) == {"blank in classnames.txt": (1, ("line 2",))}
    write(root, {"classnames.txt": "Ash\n\nOak\n"})
    refusal(f"imagenet-folder:{root}", r"classnames\.txt: line 2 is blank: write the name of its class there")
    write(root, {"classnames.txt": "Ash\nElm\nOak\n"})
    assert classes(root).classes == ("Ash", "Elm", "Oak")


def test_one_class_alone_is_read(tmp_path):
    assert len(classes(write_classes(tmp_path, ["oak"], images=3))) == 3


@quick
@given(
    names=st.sets(st.sampled_from(NAMES), min_size=1, max_size=5),
    images=st.lists(st.integers(1, 3), min_size=5, max_size=5),
    order=st.randoms(use_true_random=False),
    deep=st.booleans(),
)
def test_class_folders_are_read_whole(tmp_path, names, images, order, deep):
    shutil.rmtree(tmp_path / "set", ignore_errors=True)
    files = {
        f"{name}/{'inner/' if deep and number else ''}{number}.jpg": jpeg()
        for name, count in zip(sorted(names), images, strict=False)
        for number in range(count)
    }
    shuffled = list(files)
    order.shuffle(shuffled)
    pairs = classes(write(tmp_path / "set", {name: files[name] for name in shuffled}))
    assert pairs.classes == tuple(sorted(names))
    assert {pair.image_id for pair in pairs.pairs} == set(files)
    assert all(pair.image_id.startswith(f"{pair.label}/") for pair in pairs.pairs)
    assert pairs.read.seen == pairs.read.used


@pytest.mark.parametrize(("name", "text"), [("metadata.csv", "file_name,text\na.jpg,x\n"), ("metadata.jsonl", None)])
def test_a_folder_with_a_table_of_captions_is_refused_and_the_advice_works(tmp_path, name, text):
    write(tmp_path, {"a.jpg": jpeg(), name: text or '{"file_name": "a.jpg", "text": "x"}'})
    with pytest.raises(InputError, match=f"if the captions are in {name}, ") as raised:
        load_pairs(Source(f"folder:{tmp_path}"))
    advice = re.search(rf"in {name}, (\w+:\S+);", str(raised.value))[1]
    assert [pair.captions for pair in load_pairs(Source(advice)).pairs] == [("x",)]


@pytest.mark.parametrize("folders", [["class_1", "class_2", "class_10"], ["1", "02", "10"], ["n01440764", "n01443537"]])
def test_folders_called_by_numbers_are_refused_and_the_advice_works(tmp_path, folders):
    write(tmp_path, {f"{folder}/a.jpg": jpeg() for folder in folders})
    with pytest.raises(InputError, match="no names for prompts; write the names into ") as raised:
        load_pairs(Source(f"imagenet-folder:{tmp_path}"))
    file, how = re.search(r"names into (\S+), (.*)$", str(raised.value)).groups()
    names = {folder: f"name {place}" for place, folder in enumerate(folders)}
    write(
        tmp_path,
        {file: "".join(f"{f} {name}\n" if "begins with it" in how else f"{name}\n" for f, name in names.items())},
    )
    pairs = load_pairs(Source(f"imagenet-folder:{tmp_path}")).pairs
    assert {pair.image_id.partition("/")[0]: pair.label for pair in pairs} == names
