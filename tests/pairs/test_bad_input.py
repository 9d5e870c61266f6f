"""Bad data: each ends in one line that names the file and the entry, never in another exception."""

import json
import os
import tarfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from helpers import folder_of_pairs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pair_files import COCO, KARPATHY, jpeg, write, write_tar

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.pairs import Pairs, Source, load_pairs
from geomclip.pairs.parsing import read_bytes
from geomclip.pairs.reading import value_or_reason
from geomclip.pairs.record import ImageFile

quick = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def check_refused(data, match, **options):
    with pytest.raises(InputError, match=match) as caught:
        load_pairs(Source(data, **options))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def changed(files, name, **changes):
    return {**files, name: {**files[name], **changes}}


COCO_FILE = "annotations/captions_val2017.json"


# ---- coco and Karpathy


@pytest.mark.parametrize("name", ["../up.jpg", "a/../../up.jpg", "/etc/passwd", "..\\up.jpg", "\\\\host\\x.jpg"])
def test_a_name_that_leaves_its_folder_is_refused(tmp_path, name):
    write(tmp_path, changed(COCO, COCO_FILE, images=[{"id": 1, "file_name": name}]))
    check_refused("coco", r"images\[0\]\.file_name: .* leaves .*val2017", data_root=tmp_path)
    image = {**KARPATHY["dataset_flickr8k.json"]["images"][1], "filename": name}
    write(tmp_path, changed(KARPATHY, "dataset_flickr8k.json", images=[image]))
    check_refused("flickr8k", r"images\[0\]\.filename: .* leaves .*images", data_root=tmp_path)
    image |= {"filepath": name, "filename": "x.jpg"}
    write(tmp_path, changed(KARPATHY, "dataset_flickr8k.json", images=[image]))
    check_refused("flickr8k", r"images\[0\]\.filename: .* leaves .*images", data_root=tmp_path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"images": []}, "lists no images"),
        ({"images": None}, "images should be a list, is missing"),
        ({"images": {"id": 1}}, "images should be a list"),
        ({"images": [3]}, r"images\[0\] should be an object, is 3"),
        ({"images": [{"file_name": "a.jpg"}]}, r"images\[0\]\.id should be a whole number, is missing"),
        (
            {"images": [{"id": True, "file_name": "a.jpg"}]},
            r"images\[0\]\.id should be a whole number, is True",
        ),
        ({"images": [{"id": 1, "file_name": 5}]}, r"images\[0\]\.file_name should be text, is 5"),
        ({"images": [{"id": 1, "file_name": "a\0.jpg"}]}, "cannot be the name of a file"),
        ({"images": [{"id": 1, "file_name": ""}]}, "cannot be the name of a file"),
        ({"images": [{"id": 1, "file_name": "a.jpg"}] * 2}, r"images\[1\]: the image id 1 is there twice"),
        (
            {"annotations": [{"id": 1, "image_id": 7}]},
            r"annotations\[0\]\.caption should be text, is missing",
        ),
        (
            {"annotations": [{"id": 1, "image_id": [], "caption": ""}]},
            r"annotations\[0\]\.image_id should be a whole",
        ),
        ({"annotations": "none"}, "annotations should be a list, is 'none'"),
    ],
)
def test_coco_of_another_shape_is_refused_with_the_entry(tmp_path, changes, match):
    write(tmp_path, changed(COCO, COCO_FILE, **changes))
    check_refused("coco", rf"captions_val2017\.json.*{match}|{match}", data_root=tmp_path)


@pytest.mark.parametrize(("name", "files"), [("coco", COCO), ("flickr8k", KARPATHY)])
def test_json_cut_in_half_is_one_line_that_says_what_to_do(tmp_path, name, files):
    write(tmp_path, files)
    file = next(tmp_path.rglob("*.json"))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    check_refused(name, rf"{file.name} is not valid JSON .*cut short: fetch or write it again", data_root=tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b"9" * 5000, b"null", b'"\\ud800"', b"\xe9"])
def test_odd_json_is_refused(tmp_path, content):
    write(tmp_path, {**COCO, COCO_FILE: content})
    check_refused("coco", "captions_val2017.json", data_root=tmp_path)


def test_photos_that_are_not_there_are_one_line(tmp_path):
    write(tmp_path, {COCO_FILE: COCO[COCO_FILE], "dataset_flickr8k.json": KARPATHY["dataset_flickr8k.json"]})
    for name in ("coco", "flickr8k"):
        with pytest.raises(NotAvailableError, match="photos"):
            load_pairs(Source(name, data_root=tmp_path))


def test_half_a_surrogate_becomes_a_replacement_character(tmp_path):
    annotations = [{"id": 1, "image_id": 7, "caption": "a \ud83d dog \ud83d\ude00"}]
    write(tmp_path, changed(COCO, COCO_FILE, annotations=annotations))
    pairs = load_pairs(Source("coco", data_root=tmp_path))
    assert pairs.pairs[0].captions == ("a \ufffd dog \U0001f600",)
    assert pairs.fingerprint()


def test_a_name_that_no_file_can_have_is_refused(tmp_path):
    name = "\ud800.jpg"  # as JSON can have it, and no name of a file
    write(tmp_path, changed(COCO, COCO_FILE, images=[{"id": 1, "file_name": name}]))
    check_refused("coco", r"images\[0\]\.file_name: .* cannot be the name of a file", data_root=tmp_path)
    write(tmp_path, {"t.jsonl": json.dumps({"filepath": name, "title": "a"})})
    check_refused(f"jsonl:{tmp_path}/t.jsonl", "line 1, column 'filepath': .* cannot be the name of a file")


def test_a_message_about_names_of_any_length_is_short(tmp_path):
    image = {**KARPATHY["dataset_flickr8k.json"]["images"][1], "split": "1" * 5000}
    write(tmp_path, changed(KARPATHY, "dataset_flickr8k.json", images=[image]))
    with pytest.raises(InputError, match="neither a test nor a val split") as caught:
        load_pairs(Source("flickr8k", data_root=tmp_path))
    assert len(str(caught.value)) < 1000
    write(tmp_path, {"saved/state.json": {"_data_files": [{"filename": "1" * 5000}]}, "saved/dataset_info.json": {}})
    check_refused(f"parquet:{tmp_path}/saved", r"cannot be read \(File name too long\)", image_column="image")


# ---- tables


def test_a_table_that_says_another_number_of_rows_than_it_has_is_refused(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"filepath": ["a.jpg"] * 7, "title": ["a"] * 7}), tmp_path / "t.parquet")
    content = (tmp_path / "t.parquet").read_bytes()
    count = b"\x16\x0e\x19\x1c"  # of rows, 7, before the list of the one group
    assert content.count(count) == 1
    (tmp_path / "t.parquet").write_bytes(content.replace(count, b"\x16\x0c\x19\x1c"))
    check_refused(f"parquet:{tmp_path}/t.parquet", "not a readable parquet file: it says that it has 6 rows")


@pytest.mark.parametrize(
    ("kind", "content", "match"),
    [
        (
            "csv",
            "where,title\na.jpg,a\n",
            r"no column 'filepath' \(columns: where, title\); say which with image_column",
        ),
        ("csv", "filepath,words\na.jpg,a\n", r"no column 'title' .*text_column"),
        ("csv", "filepath,title\n", "has no rows"),
        ("csv", "", "is empty"),
        ("csv", "filepath,title\na.jpg,a,b\n", "line 2 has 3 fields, the header 2"),
        ("csv", 'filepath,title\na.jpg,"a\nb.jpg,b\n', "line 3: unexpected end of data"),
        ("csv", 'filepath,title\na.jpg,"a" b\n', "line 2: ',' expected after '\"'"),
        ("csv", "filepath,title,title\na.jpg,a,b\n", "two columns of one name"),
        ("csv", "filepath,title\n,a\n", "line 2, column 'filepath': '' cannot be the name of a file"),
        ("csv", "filepath,title\na\0.jpg,a\n", "line 2, column 'filepath'.*cannot be the name of a file"),
        (
            "csv",
            "filepath,title\na.jpg,caf\xe9\n".encode("latin-1"),
            r"not UTF-8 \(byte 0xe9 at 24\); save it as UTF-8",
        ),
        ("csv", "filepath,title\na.jpg,a\n".encode("utf-16"), "not UTF-8 .* save it as UTF-8"),
        ("jsonl", '{"filepath": "a.jpg", "title": "a"}\n{"filepath": "b.j', "line 2 is not valid JSON"),
        ("jsonl", '{"filepath": 1, "title": "a"}', "line 1, column 'filepath' should be text, is 1"),
        ("jsonl", '{"filepath": "a.jpg", "title": 1}', "line 1, column 'title' should be text, is 1"),
        ("jsonl", '{"filepath": "a.jpg", "title": ["a", 2]}', "line 1, column 'title' should be text, is 2"),
        ("jsonl", '["a.jpg"]', "row 0 should be an object"),
        (
            "jsonl",
            '{"filepath": "a.jpg", "title": "a", "split": null}',
            "line 1, column 'split' should be text",
        ),
        ("parquet", "PAR1 but not really", "not a readable parquet file"),
        ("parquet", "", "not a readable parquet file"),
    ],
)
def test_a_bad_table_is_refused_with_the_line(tmp_path, kind, content, match):
    write(tmp_path, {f"t.{kind}": content})
    check_refused(f"{kind}:{tmp_path}/t.{kind}", rf"t\.{kind}.*{match}")


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_that_is_not_there_is_one_line(tmp_path, kind):
    check_refused(f"{kind}:{tmp_path}/none.{kind}", "no such file")
    check_refused(f"{kind}:{tmp_path}", "no such file|cannot be read")


def test_an_image_id_with_two_paths_is_refused(tmp_path):
    write(tmp_path, {"t.csv": "filepath,title,id\na.jpg,a,1\nb.jpg,b,1\n"})
    check_refused(
        f"csv:{tmp_path}/t.csv", r"line 3: image id '1' is 'b.jpg' here, 'a.jpg' before", image_id_column="id"
    )
    write(tmp_path, {"t.csv": "filepath,title,id\na.jpg,a,\n"})
    check_refused(f"csv:{tmp_path}/t.csv", r"line 2: column 'id' is empty", image_id_column="id")
    check_refused(f"csv:{tmp_path}/t.csv", r"no column 'no'.*image_id_column", image_id_column="no")


def test_a_caption_of_a_million_characters_passes(tmp_path):
    import csv

    limit = csv.field_size_limit()
    text = "long " * 200_000
    write(tmp_path, {"t.csv": f"filepath,title\na.jpg,{text}\n", "a.jpg": jpeg(), "a.txt": text})
    for data in (f"csv:{tmp_path}/t.csv", f"folder:{tmp_path}"):
        assert load_pairs(Source(data)).pairs[0].captions == (text.strip(),)
    assert csv.field_size_limit() == limit


# ---- folders and tars


def test_folders_without_what_is_needed_are_refused(tmp_path):
    check_refused(f"folder:{tmp_path}", "holds no image")
    check_refused(f"imagenet-folder:{tmp_path}", "has no subfolders")
    check_refused(f"folder:{tmp_path}/none", "is not there")
    write(tmp_path, {"a/x.txt": "no image"})
    check_refused(f"imagenet-folder:{tmp_path}", "hold no image")
    check_refused(f"imagenet-folder:{tmp_path}/a/x.txt", "is a file, not a folder")
    write(tmp_path, {"a/1.jpg": jpeg()})
    check_refused(f"folder:{tmp_path}", "1 images but no caption: each needs a text file")
    write(tmp_path, {"a/1.txt": b"caf\xe9"})
    check_refused(f"folder:{tmp_path}", r"1\.txt is not UTF-8")
    write(tmp_path, {"classnames.txt": "a\nb\n"})
    check_refused(f"imagenet-folder:{tmp_path}", "classnames.txt has 2 names for 1 class folders")
    write(tmp_path, {"classnames.txt": "a\n", "zeroshot_classification_templates.txt": "a photo\n"})
    check_refused(f"imagenet-folder:{tmp_path}", r"'a photo' has no \{c\}")


def test_bad_tars_are_refused(tmp_path):
    check_refused(f"wds:{tmp_path}/{{0..3}}.tar", "there is no tar at .*0.tar")
    check_refused("wds:https://example.org/0.tar", "read from disk only")
    good = {"a.jpg": jpeg(), "a.txt": "a", "b.jpg": jpeg(), "b.txt": "b"}
    whole = write_tar(tmp_path / "t.tar", good).read_bytes()
    for name, content, match in (
        ("cut", whole[:2700], "is not a whole tar"),
        ("empty", b"", "is not a whole tar"),
        ("text", b"not a tar at all" * 100, "is not a whole tar"),
        ("zeros", bytes(10240), "0 samples but no image"),
    ):
        (tmp_path / f"{name}.tar").write_bytes(content)
        check_refused(f"wds:{tmp_path}/{name}.tar", match)
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "t.tar", "t")
    check_refused(f"wds:{tmp_path}/c.tar.gz", "is compressed")
    for name, members, match in (
        ("encoding", {"a.jpg": jpeg(), "a.txt": b"\xe9"}, "a.txt is not UTF-8"),
        ("json", {"a.jpg": jpeg(), "a.json": '{"caption": "a'}, "a.json is not valid JSON"),
        ("kind", {"a.jpg": jpeg(), "a.json": '{"caption": 3}'}, "a.json: caption should be text, is 3"),
        ("silent", {"a.jpg": jpeg()}, "1 images but no caption"),
    ):
        write_tar(tmp_path / f"{name}.tar", members)
        check_refused(f"wds:{tmp_path}/{name}.tar", match)
    (tmp_path / "t.tar").write_bytes(whole + b"")
    with tarfile.open(tmp_path / "t.tar", "a") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    check_refused(f"wds:{tmp_path}/t.tar", "'a.txt' is there twice")


def test_a_tar_that_shrank_since_it_was_listed_is_one_line(tmp_path):
    tar = write_tar(tmp_path / "t.tar", {"a.txt": "a", "a.jpg": jpeg()})
    image = load_pairs(Source(f"wds:{tar}")).pairs[0].image
    tar.write_bytes(tar.read_bytes()[:1600])
    with pytest.raises(InputError, match="shorter than when it was listed"):
        image.read()
    tar.unlink()
    assert image.identity() == "absent"


def test_a_negative_size_in_a_tar_ends(tmp_path):
    """Sizes below zero once made tarfile loop for ever (CVE-2025-8194)."""
    tar = write_tar(tmp_path / "t.tar", {"a.txt": "a", "b.jpg": jpeg(), "b.txt": "b"})
    data = bytearray(tar.read_bytes())
    data[124:136] = b"\xff" * 10 + (-1024 & 0xFFFF).to_bytes(2)
    data[148:156] = b" " * 8
    data[148:156] = f"{sum(data[:512]):06o}\0 ".encode()
    tar.write_bytes(data)
    check_refused(f"wds:{tar}", "t.tar")


@pytest.mark.parametrize("data", ["folder:", "csv:", "wds:", "imagenet-folder:", "parquet:", ""])
def test_a_name_too_long_for_a_file_is_one_line(data):
    with pytest.raises(InputError):
        load_pairs(Source(data + "x" * 300))


# ---- fuzz: anything at all gives pairs or an InputError

scalars = st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.text(max_size=9)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)


def of_shape(**fields):
    """Objects with these fields, each of the right kind, of any kind, or absent."""
    return st.fixed_dictionaries({}, optional={name: kind | anything for name, kind in fields.items()})


def entries(**fields):
    return st.lists(of_shape(**fields), max_size=4)


some_text = st.text(st.characters(exclude_categories=()), max_size=12)
few_ids = st.integers(0, 2)
coco_files = of_shape(
    images=entries(id=few_ids, file_name=some_text),
    annotations=entries(id=few_ids, image_id=few_ids, caption=some_text),
)
karpathy_files = of_shape(
    images=entries(
        filename=some_text,
        split=st.sampled_from(["test", "val"]),
        sentences=entries(raw=some_text),
        filepath=some_text,
    )
)


def check_answer(data, **options):
    """Pairs that hold together, or an InputError of one line; nothing else is raised."""
    message = ""
    try:
        pairs = load_pairs(Source(data, **options))
    except InputError as error:
        message = str(error)
    else:
        assert isinstance(pairs, Pairs)
        assert len(pairs) > 0
        assert pairs.fingerprint()
    assert "\n" not in message


@quick
@given(content=coco_files | anything)
def test_any_json_as_coco_gives_pairs_or_an_error_of_one_line(tmp_path, content):
    write(tmp_path, {COCO_FILE: json.dumps(content), "val2017/x": b""})
    check_answer("coco", data_root=tmp_path)


@quick
@given(content=karpathy_files | anything)
def test_any_json_as_karpathy_gives_pairs_or_an_error_of_one_line(tmp_path, content):
    write(tmp_path, {"dataset_flickr8k.json": json.dumps(content), "images/x": b""})
    check_answer("flickr8k", data_root=tmp_path)


@quick
@given(rows=st.lists(of_shape(filepath=some_text, title=some_text, split=some_text, label=some_text), max_size=4))
def test_any_rows_as_jsonl_give_pairs_or_an_error_of_one_line(tmp_path, rows):
    write(tmp_path, {"t.jsonl": "\n".join(map(json.dumps, rows))})
    check_answer(f"jsonl:{tmp_path}/t.jsonl")


@quick
@given(head=st.sampled_from([b"", b"filepath,title\n", b"filepath\ttitle\na.jpg\t"]), body=st.binary(max_size=60))
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_any_bytes_as_a_table_give_pairs_or_an_error_of_one_line(tmp_path, kind, head, body):
    write(tmp_path, {"t": head + body})
    check_answer(f"{kind}:{tmp_path}/t")


@quick
@given(
    place=st.integers(0, 4095),
    damage=st.binary(min_size=1, max_size=20),
    cut=st.none() | st.integers(0, 10240),
)
def test_a_damaged_tar_gives_pairs_or_an_error_of_one_line(tmp_path, place, damage, cut):
    data = bytearray(write_tar(tmp_path / "t.tar", {"a.txt": "a", "a.jpg": jpeg(), "a.json": "{}"}).read_bytes())
    data[place : place + len(damage)] = damage
    (tmp_path / "t.tar").write_bytes(data[:cut])
    check_answer(f"wds:{tmp_path}/t.tar")


@quick
@given(data=some_text | st.sampled_from(["csv:\0", "folder:\0", "wds:\0", "imagenet-folder:\0", "parquet:\0", "~\0"]))
def test_any_name_of_data_is_answered_with_one_line(data):
    check_answer(data)


def test_a_pipe_among_images_is_skipped_and_one_of_captions_refused_without_waiting(tmp_path: Path) -> None:
    folder = folder_of_pairs(tmp_path / "pairs", 3)
    (folder / "001.png").unlink()
    os.mkfifo(folder / "001.png")
    reason = value_or_reason(ImageFile(folder / "001.png").read, name="001.png")
    assert "001.png is no file but a pipe" in str(reason)
    os.mkfifo(tmp_path / "table.csv")
    with pytest.raises(InputError, match=r"table\.csv is no file but a pipe"):
        read_bytes(tmp_path / "table.csv", limit="table-bytes")


def test_a_file_too_large_for_an_image_is_a_reason_to_skip_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"x" * 11)
    monkeypatch.setenv("GEOMCLIP_LIMITS", "image-bytes=10")
    assert "11 bytes of the file of an image" in str(value_or_reason(ImageFile(tmp_path / "a.png").read, name="a"))
