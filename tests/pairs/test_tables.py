"""Tables as people hold them: separators, headers, lists in cells, paths, shards; read right or refused in one line."""

import csv
import io
import json
import os
import pickle
import re
import unicodedata

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pair_files import jpeg, write

from geomclip.machine.errors import InputError
from geomclip.pairs import Source, load_pairs
from geomclip.pairs.tables import stored

quick = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NAMES = [f"{number}.jpg" for number in range(4)]
TEXTS = ["a cat", "two dogs, one big", "three; birds", "four | fish"]


def pictures(folder, names=NAMES):
    return write(folder, {name: jpeg() for name in names})


def table(folder, text, name="t.csv", names=NAMES):
    pictures(folder, names)
    write(folder, {name: text})
    return f"{name.rpartition('.')[2]}:{folder / name}"


def captions(data, **options):
    return {pair.image_id: list(pair.captions) for pair in load_pairs(Source(data, **options)).pairs}


def check_refused(data, match, **options):
    with pytest.raises(InputError, match=match) as caught:
        load_pairs(Source(data, **options))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


def understood(data, **options):
    return " / ".join(load_pairs(Source(data, **options)).read.how)


# ---- the separator


@pytest.mark.parametrize(("separator", "word"), [("\t", "tabs"), (";", "semicolons"), ("|", "bars"), (",", "")])
@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_the_separator_is_that_which_makes_the_columns_and_is_said(tmp_path, kind, separator, word):
    lines = [f"filepath{separator}title", *(f"{name}{separator}a {name[0]}" for name in NAMES)]
    data = table(tmp_path, "\n".join(lines), f"t.{kind}")
    assert captions(data) == {name: [f"a {name[0]}"] for name in NAMES}
    own = {"csv": ",", "tsv": "\t"}[kind] == separator
    assert understood(data) == "" if own else (word or "commas") in understood(data)


def test_a_csv_parted_by_tabs_may_have_commas_in_its_captions(tmp_path):
    rows = "".join(f"{name}\t{text}\n" for name, text in zip(NAMES, TEXTS, strict=True))
    data = table(tmp_path, "filepath\ttitle\n" + rows)
    assert captions(data) == {name: [text] for name, text in zip(NAMES, TEXTS, strict=True)}
    assert understood(data) == "the fields are parted by tabs (tab), as tsv:FILE is, not by commas"
    assert captions(data.replace("csv:", "tsv:")) == captions(data)


@pytest.mark.timeout(10)  # a search from each of its characters would take minutes
def test_a_name_of_any_length_in_a_header_is_looked_at_once(tmp_path):
    data = table(tmp_path, f"filepath\t{'t' * 400_000}\n1.jpg\ta cat\n", "t.tsv")
    with pytest.raises(InputError, match="title"):
        load_pairs(Source(data))


def test_columns_named_by_options_decide_the_separator(tmp_path):
    data = table(tmp_path, "bild;wort, oder zwei\n0.jpg;eins\n1.jpg;zwei\n")
    assert captions(data, image_column="bild", text_column="wort, oder zwei") == {"0.jpg": ["eins"], "1.jpg": ["zwei"]}


def test_between_tabs_an_open_quote_is_a_character_and_swallows_no_line(tmp_path):
    rows = 'filepath\ttitle\n0.jpg\t"Stop" says the sign\n1.jpg\t"half\n2.jpg\tor"\n3.jpg\t"whole ""it"""\n'
    wanted = {"0.jpg": ['"Stop" says the sign'], "1.jpg": ['"half'], "2.jpg": ['or"'], "3.jpg": ['whole "it"']}
    assert captions(table(tmp_path, rows, "t.tsv")) == wanted
    assert captions(table(tmp_path, 'filepath\ttitle\n1.jpg\t"one\n2.jpg\ttwo"\n', "u.tsv")) == {
        "1.jpg": ['"one'],
        "2.jpg": ['two"'],
    }
    kept = captions(table(tmp_path, 'filepath\ttitle\n1.jpg\t"one\nline\t, two"\n2.jpg\ttwo\n', "v.tsv"))
    assert kept == {"1.jpg": ["one line\t, two"], "2.jpg": ["two"]}


# ---- malformed rows


def kaggle(rows):
    """As results.csv of Flickr30k on Kaggle: bars, a header with blanks."""
    return "image_name| comment_number| comment\n" + "".join(rows)


def test_kaggles_flickr30k_is_read_and_its_malformed_row_counted(tmp_path):
    rows = [f"{name}| {number}| A {number} , by a {name[0]} .\n" for name in NAMES for number in range(5)]
    rows[9] = "1.jpg| 4   A dog runs across the grass .\n"
    pairs = load_pairs(Source(table(tmp_path, kaggle(rows))))
    assert [len(pair.captions) for pair in pairs.pairs] == [5, 4, 5, 5]
    assert pairs.pairs[0].captions[0] == "A 0 , by a 0 ."
    (left,) = pairs.read.left_out
    assert (left.what, left.count, left.names) == ("rows", 1, ("line 11",))
    assert "they have not the 3 fields" in left.reason


def test_many_malformed_rows_are_refused_with_the_line_and_how_to_mend_it(tmp_path):
    rows = ["0.jpg,a cat", "1.jpg,two dogs, one big", "2.jpg,three", "3.jpg,four"]
    data = table(tmp_path, "filepath,title\n" + "\n".join(rows))
    check_refused(data, r"t\.csv line 3 has 3 fields, the header 2; write a field with a ',' in it in quotes")
    rows[1] = '1.jpg,"two dogs, one big"'
    assert captions(table(tmp_path, "filepath,title\n" + "\n".join(rows)))["1.jpg"] == ["two dogs, one big"]


@pytest.mark.parametrize(("whole", "bad", "read"), [(99, 1, True), (9, 1, True), (8, 1, False), (89, 11, False)])
def test_few_malformed_rows_are_at_most_ten_and_a_tenth_or_one_percent(tmp_path, whole, bad, read):
    data = table(tmp_path, "filepath,title\n" + "0.jpg,a\n" * whole + "0.jpg\n" * bad)
    if read:
        assert load_pairs(Source(data)).read.left_out[0].count == bad
    else:
        check_refused(data, f"line {whole + 2} has 1 fields")


def test_one_percent_of_a_long_table_is_few_and_its_lines_are_named(tmp_path):
    data = table(tmp_path, "filepath,title\n" + ("0.jpg,a\n" * 99 + "\n0.jpg\n") * 20)
    (left,) = load_pairs(Source(data)).read.left_out
    assert (left.count, left.names[:2]) == (20, ("line 102", "line 203"))


def test_a_separator_too_many_at_the_end_of_a_line_is_nothing(tmp_path):
    assert captions(table(tmp_path, "filepath,title\n0.jpg,a,\n1.jpg,b\n")) == {"0.jpg": ["a"], "1.jpg": ["b"]}


# ---- the columns


@pytest.mark.parametrize(
    "header",
    ["image,caption", "image_name,comment", "filename,raw", "file_name,text", "image_path,caption", "Image,Caption"],
)
def test_known_names_of_columns_are_taken_and_said(tmp_path, header):
    data = table(tmp_path, f"{header}\n0.jpg,a cat\n1.jpg,a dog\n")
    assert captions(data) == {"0.jpg": ["a cat"], "1.jpg": ["a dog"]}
    image, text = header.split(",")
    assert f"column '{image}' holds the images" in understood(data)
    assert f"column '{text}' holds the captions" in understood(data)


def test_of_two_likely_columns_none_is_guessed_and_the_advice_works(tmp_path):
    data = table(tmp_path, "filepath,caption,text\n0.jpg,a cat,a pet\n")
    check_refused(
        data, r"no column 'title', and 2 that may be meant \(caption, text\): say which with text_column='caption'"
    )
    assert captions(data, text_column="caption") == {"0.jpg": ["a cat"]}


def test_of_two_likely_columns_the_one_with_names_of_images_is_the_images(tmp_path):
    data = table(tmp_path, "image,file_name,caption\n17,0.jpg,a cat\n18,1.jpg,a dog\n")
    assert captions(data) == {"0.jpg": ["a cat"], "1.jpg": ["a dog"]}


def test_a_column_named_by_an_option_is_never_another(tmp_path):
    data = table(tmp_path, "image,caption\n0.jpg,a\n")
    check_refused(data, "no column 'captoin'.*text_column; did you mean caption", text_column="captoin")


def test_the_official_csv_of_flickr30k_is_read_by_its_splits(tmp_path):
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["raw", "sentids", "split", "filename", "img_id"])
    for number, name in enumerate(NAMES):
        raw = json.dumps([f"{name} {each}" for each in range(5)])
        writer.writerow([raw, "[0, 1]", ["train", "test"][number % 2], name, number])
    data = table(tmp_path, text.getvalue())
    assert captions(data) == {name: [f"{name} {each}" for each in range(5)] for name in ("1.jpg", "3.jpg")}
    assert "'raw' holds JSON lists" in understood(data)


def test_filepath_and_filename_of_karpathy_are_folder_and_name(tmp_path):
    names = ["val2014/0.jpg", "train2014/1.jpg"]
    data = table(tmp_path, "filepath,filename,title\nval2014,0.jpg,a\ntrain2014,1.jpg,b\n", names=names)
    assert captions(data) == {"val2014/0.jpg": ["a"], "train2014/1.jpg": ["b"]}
    assert "filepath/filename" in understood(data)


# ---- no header


def test_flickr8ks_token_file_has_no_header_and_numbers_behind_its_names(tmp_path):
    rows = "".join(f"{name}#{number}\tA {number} .\n" for name in NAMES for number in range(5))
    data = table(tmp_path, rows, "t.tsv")
    assert captions(data) == {name: [f"A {number} ." for number in range(5)] for name in NAMES}
    assert "has no header: column 1 holds the images, column 2 the captions, and #N" in understood(data)


def test_with_a_header_a_number_behind_a_name_belongs_to_it(tmp_path):
    assert captions(table(tmp_path, "image,caption\n0.jpg#0,a\n", names=["0.jpg#0"])) == {"0.jpg#0": ["a"]}


def test_cc3m_without_header_is_refused_with_what_to_do(tmp_path):
    data = table(
        tmp_path, "a very typical bus station\thttp://example.com/1.jpg\nsierra looks\thttp://e.com/2\n", "t.tsv"
    )
    check_refused(data, r"t\.tsv line 1, .*is an address .*download the images first \(img2dataset .*wds:")


def test_a_header_of_unknown_names_is_refused_not_read_as_a_row(tmp_path):
    check_refused(table(tmp_path, "bild,wort\n0.jpg,eins\n"), "no column 'filepath'")


def test_a_file_without_header_whose_captions_are_unclear_is_refused_and_the_advice_works(tmp_path):
    rows = "0.jpg,a cat,a pet\n1.jpg,a dog,a pet\n"
    check_refused(table(tmp_path, rows), "no header, and which of its 3 columns holds the captions.*filepath and title")
    assert captions(table(tmp_path, "filepath,title,other\n" + rows)) == {"0.jpg": ["a cat"], "1.jpg": ["a dog"]}


# ---- cells


@pytest.mark.parametrize(("notation", "word"), [(json.dumps, "JSON"), (repr, "Python")])
def test_cells_that_are_all_lists_are_several_captions(tmp_path, notation, word):
    lists = [["it's a cat", 'a "pet"'], ["one"], [], ["ü\n x", "\\"]]
    text = io.StringIO()
    csv.writer(text).writerows([["image", "captions"], *([n, notation(c)] for n, c in zip(NAMES, lists, strict=True))])
    data = table(tmp_path, text.getvalue())
    assert list(captions(data).values()) == [["it's a cat", 'a "pet"'], ["one"], [], ["ü x", "\\"]]
    assert f"holds {word} lists" in understood(data) or "Python" in understood(data)


def test_one_cell_like_a_list_among_texts_is_a_text(tmp_path):
    rows = 'filepath,title\n0.jpg,"[""a"", ""b""]"\n1.jpg,two\n2.jpg,three\n3.jpg,[sic]\n'
    assert captions(table(tmp_path, rows))["0.jpg"] == ['["a", "b"]']
    assert captions(table(tmp_path, "filepath,title\n0.jpg,[sic]\n1.jpg,[so] it goes\n"))["0.jpg"] == ["[sic]"]


@pytest.mark.parametrize("bad", ["['a cat' 'a pet']", '["a cat", "a', "a cat", "[1, 2]"])
def test_a_damaged_list_among_lists_is_refused_with_its_line(tmp_path, bad):
    text = io.StringIO()
    csv.writer(text).writerows([["filepath", "title"], *([name, '["a", "b"]'] for name in NAMES[:3]), ["3.jpg", bad]])
    check_refused(
        table(tmp_path, text.getvalue()), r"t\.csv line 5, column 'title': most cells hold lists.*as a JSON list"
    )


def test_numpys_lists_without_commas_are_refused_not_joined(tmp_path):
    rows = "filepath,title\n0.jpg,['a cat' 'a pet']\n1.jpg,['a dog' 'a hound']\n"
    check_refused(table(tmp_path, rows), "line 2, column 'title'.*as a JSON list")


def test_line_breaks_in_a_cell_are_white_space_and_counted(tmp_path):
    data = table(tmp_path, 'filepath,title\n0.jpg,"a cat \r\n  on a mat"\n1.jpg,a dog\n')
    assert captions(data)["0.jpg"] == ["a cat on a mat"]
    assert "line breaks in 1 captions" in understood(data)


def test_a_column_without_any_caption_is_refused_and_the_advice_works(tmp_path):
    data = table(tmp_path, "filepath,title,words\n0.jpg,,a cat\n1.jpg, ,a dog\n")
    check_refused(data, r"t\.csv: 2 rows, but no caption in column 'title'; say which .* text_column")
    assert captions(data, text_column="words") == {"0.jpg": ["a cat"], "1.jpg": ["a dog"]}


def test_captions_that_are_all_numbers_are_said(tmp_path):
    data = table(tmp_path, "image,number,caption\n0.jpg,1,a\n1.jpg,2,b\n")
    assert "every caption in column 'number' is a number" in understood(data, text_column="number")
    assert "number" not in understood(data)


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_a_json_array_and_lines_of_json_are_read_under_either_name(tmp_path, kind):
    rows = [{"image": "0.jpg", "caption": ["a", {"raw": "b"}]}, {"image": "1.jpg", "caption": "c"}]
    wanted = {"0.jpg": ["a", "b"], "1.jpg": ["c"]}
    assert captions(table(tmp_path, json.dumps(rows, indent=1), f"a.{kind}")) == wanted
    assert captions(table(tmp_path, "\n".join(map(json.dumps, rows)), f"l.{kind}")) == wanted
    message = check_refused(
        table(tmp_path, json.dumps({"image": ["0.jpg"]}, indent=1), f"o.{kind}"), "line 1 begins an object"
    )
    assert "JSON array" in message


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_numbered_columns_are_the_captions_of_each_row_unless_there_is_one_of_that_name(tmp_path, kind):
    pictures(tmp_path)
    names = ("image", "caption_0", "caption_2", "caption_10")
    rows = [("0.jpg", "a", "b", "c"), ("1.jpg", "d", "", "f")]
    file = tmp_path / f"t.{kind}"
    if kind == "csv":
        write(tmp_path, {"t.csv": "\n".join(map(",".join, [names, *rows]))})
    elif kind == "jsonl":
        write(tmp_path, {"t.jsonl": "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows)})
    else:
        columns = [[cell or None for cell in each] for each in zip(*rows, strict=True)]
        pyarrow.parquet.write_table(pyarrow.table(columns, names), file)
    data = f"{kind}:{file}"
    assert captions(data) == {"0.jpg": ["a", "b", "c"], "1.jpg": ["d", "f"]}
    assert "columns caption_0 to caption_10 hold the captions of each row" in understood(data)
    assert captions(data, text_column="caption_10") == {"0.jpg": ["c"], "1.jpg": ["f"]}
    one = table(tmp_path, "image,caption,caption_0,caption_1\n0.jpg,a,b,c\n")
    assert captions(one) == {"0.jpg": ["a"]}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"0.jpg": ["a", "b"], "1.jpg": ["c"]}, "is one object, .* one JSON array"),
        ({"image": {"0": "0.jpg"}, "words": {"0": "a"}}, "is one object"),
        ({"images": [{"id": 1}], "annotations": [{"id": 1}]}, "seems to be of COCO: coco with the folder"),
        ({"images": [{"filename": "a.jpg"}], "dataset": "flickr8k"}, "seems to be of Karpathy"),
    ],
)
@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_one_object_in_place_of_rows_is_refused_as_what_it_seems(tmp_path, kind, content, match):
    check_refused(table(tmp_path, json.dumps(content), f"t.{kind}"), match)


# ---- paths


def test_one_path_written_in_several_ways_is_one_image_and_said(tmp_path):
    forms = ["0.jpg", "./0.jpg", ".//0.jpg", f"{tmp_path}/0.jpg", "sub/../0.jpg"]
    (tmp_path / "sub").mkdir()
    rows = "".join(f"{form},caption {number}\n" for number, form in enumerate(forms))
    data = table(tmp_path, f"filepath,title\n{rows}")
    assert captions(data) == {"0.jpg": [f"caption {number}" for number in range(5)]}
    assert "4 images are named in two ways ('0.jpg', './0.jpg')" in understood(data)


def test_backslashes_are_read_as_slashes_unless_the_name_has_them(tmp_path):
    data = table(tmp_path, "filepath,title\nsub\\0.jpg,a\n1\\.jpg,b\n", names=["sub/0.jpg", "1\\.jpg"])
    assert captions(data) == {"sub/0.jpg": ["a"], "1\\.jpg": ["b"]}
    assert "backslashes of 1 paths" in understood(data)


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_in_the_other_form_of_unicode_is_the_file_on_disk(tmp_path, on_disk, in_table):
    name, written = (unicodedata.normalize(form, "häuschen.jpg") for form in (on_disk, in_table))
    data = table(tmp_path, f"filepath,title\n{written},a\n{name},b\n", names=[name])
    (pair,) = load_pairs(Source(data)).pairs
    assert (pair.image_id, pair.captions) == (name, ("a", "b"))
    assert pair.image.read() == jpeg()


def test_white_space_around_a_path_is_nothing_unless_the_disk_has_it(tmp_path):
    data = table(tmp_path, 'filepath,title\n"0.jpg ",a\n" 1.jpg",b\n" 2.jpg",c\n', names=["0.jpg", "1.jpg", " 2.jpg"])
    assert captions(data) == {"0.jpg": ["a"], "1.jpg": ["b"], " 2.jpg": ["c"]}


def test_white_space_around_the_names_of_splits_is_nothing(tmp_path):
    data = table(tmp_path, "filepath,title,split\n0.jpg,a,test \n1.jpg,b, test\n2.jpg,c,train\n")
    assert captions(data) == {"0.jpg": ["a"], "1.jpg": ["b"]}


@pytest.mark.parametrize("folder", ["Images", "flickr/images"])
def test_images_in_another_folder_are_found_and_the_advice_works(tmp_path, folder):
    pictures(tmp_path / folder)
    write(tmp_path, {"captions.txt": "image,caption\n0.jpg,a\n1.jpg,b\n"})
    data = f"csv:{tmp_path / 'captions.txt'}"
    message = check_refused(
        data, rf"none of the 2 images of column 'image' is in {re.escape(str(tmp_path))} \(the first"
    )
    advice = re.search(r"image_root='([^']+)'$", message)
    assert advice is not None
    assert captions(data, image_root=advice[1]) == {"0.jpg": ["a"], "1.jpg": ["b"]}
    assert load_pairs(Source(data, image_root=advice[1])).pairs[0].image.read() == jpeg()
    check_refused(data, "image_root .*none is not a folder", image_root=tmp_path / "none")


def test_images_beside_the_folder_of_the_table_are_found_too(tmp_path):
    pictures(tmp_path / "images")
    write(tmp_path / "annotations", {"t.csv": "image,caption\n0.jpg,a\n"})
    check_refused(f"csv:{tmp_path}/annotations/t.csv", "images has them: image_root='")
    write(tmp_path / "images", {"t.csv": "image,caption\nimages/0.jpg,a\n"})
    check_refused(f"csv:{tmp_path}/images/t.csv", f"{re.escape(str(tmp_path))} has them: image_root='")


@pytest.mark.parametrize("address", ["https://example.com/0.jpg", "s3://bucket/0.jpg", "data:image/png;base64,AAAA"])
def test_addresses_are_refused_with_the_line(tmp_path, address):
    check_refused(table(tmp_path, f'image,caption\n0.jpg,a\n"{address}",b\n'), "line 3, column 'image' is an address")


def test_addresses_of_files_of_this_machine_are_paths(tmp_path):
    pictures(tmp_path, ["0.jpg", "ä b.jpg"])
    rows = f"image,caption\nfile://{tmp_path}/0.jpg,a\n{(tmp_path / 'ä b.jpg').as_uri()},b\nfile://localhost{tmp_path}/0.jpg,c\n"
    data = table(tmp_path, rows, names=["0.jpg"])
    assert captions(data) == {"0.jpg": ["a", "c"], "ä b.jpg": ["b"]}
    assert "addresses of 3 files (file:) were read as paths" in understood(data)
    check_refused(
        table(tmp_path, "image,caption\nfile://nas/0.jpg,a\n"), "line 2, column 'image' is no file:///PATH of"
    )


@pytest.mark.parametrize("path", ["C:\\\\data\\\\0.jpg", "d:/data/0.jpg"])
def test_a_path_on_a_drive_of_windows_is_refused_as_one(tmp_path, path):
    data = table(tmp_path, f"image,caption\n0.jpg,a\n{path},b\n")
    check_refused(data, "line 3, column 'image' is a path on a drive of Windows")
    write(tmp_path, {"t.csv": "image,caption\n0.jpg,a\n1.jpg,b\n"})  # as the message says
    assert captions(data) == {"0.jpg": ["a"], "1.jpg": ["b"]}


# ---- many files of text


SHARDS = {
    "csv": lambda rows: "filepath;title\n" + "".join(f'{name};"{text}"\n' for name, text in rows),
    "tsv": lambda rows: "".join(f"{name}\t{text}\n" for name, text in rows),
    "jsonl": lambda rows: "".join(json.dumps({"image": name, "text": text}) + "\n" for name, text in rows),
    "json": lambda rows: json.dumps([{"image": name, "text": text} for name, text in rows]),
}


@pytest.mark.parametrize("kind", SHARDS)
@pytest.mark.parametrize("place", ["", "part-*.{kind}", "part-{{1,2,9,10}}.{kind}"])
def test_folders_and_patterns_of_text_files_are_one_table_in_the_order_of_numbers(tmp_path, kind, place):
    pictures(tmp_path, [f"{number}.jpg" for number in range(8)])
    for row, number in enumerate((1, 2, 9, 10)):
        rows = [(f"{2 * row + k}.jpg", f"text {2 * row + k}") for k in range(2)]
        write(tmp_path, {f"part-{number}.{kind}": SHARDS[kind](rows)})
    data = f"{kind}:{tmp_path / place.format(kind=kind)}"
    pairs = load_pairs(Source(data))
    assert [(pair.image_id, *pair.captions) for pair in pairs.pairs] == [(f"{n}.jpg", f"text {n}") for n in range(8)]
    assert pairs.read.used["files"] == 4
    check_refused(f"{kind}:{tmp_path}/none-*.{kind}", rf"none-\*\.{kind}: no such file")
    check_refused(f"{kind}:{tmp_path}/part-{{1,3}}.{kind}", rf"part-3\.{kind}: no such file")


def test_text_files_named_as_splits_are_splits_unless_a_column_is(tmp_path):
    pictures(tmp_path)
    write(tmp_path, {"train.csv": "image,caption\n0.jpg,a\n", "test.csv": "image,caption\n1.jpg,b\n"})
    assert captions(f"csv:{tmp_path}") == {"1.jpg": ["b"]}
    assert captions(f"csv:{tmp_path}", split="train") == {"0.jpg": ["a"]}
    write(
        tmp_path,
        {"train.csv": "image,caption,split\n0.jpg,a,test\n", "test.csv": "image,caption,split\n1.jpg,b,test\n"},
    )
    assert captions(f"csv:{tmp_path}") == {"1.jpg": ["b"], "0.jpg": ["a"]}


def test_a_fault_in_a_shard_names_the_shard_and_its_line(tmp_path):
    pictures(tmp_path)
    write(tmp_path, {"a-1.csv": "image,caption\n0.jpg,a\n", "a-2.csv": "image,caption\n1.jpg,b\ns3://x/2.jpg,c\n"})
    check_refused(f"csv:{tmp_path}", r"a-2\.csv line 3, column 'image' is an address")
    write(tmp_path, {"a-2.csv": "image,words\n1.jpg,b\n"})
    check_refused(f"csv:{tmp_path}", r"a-2\.csv is no shard of the table of .*a-1\.csv: column 'caption'")


# ---- classes in place of captions


def class_parquet(folder, labels, names=("tree_frog", "owl", "fox"), column="label"):
    features = {"image": {"_type": "Image"}, column: {"_type": "ClassLabel", "names": list(names)}}
    content = pyarrow.table({"image": cells(len(labels)), column: labels})
    about = json.dumps({"info": {"features": features}})
    pyarrow.parquet.write_table(content.replace_schema_metadata({"huggingface": about}), folder / "t.parquet")
    return f"parquet:{folder / 't.parquet'}"


def test_a_parquet_of_images_and_class_labels_is_class_data(tmp_path):
    data = class_parquet(tmp_path, [2, 0, 2, 0])
    pairs = load_pairs(Source(data))
    assert pairs.classes == ("tree frog", "owl", "fox")
    assert pairs.class_prompts[0] == ("a photo of a tree frog.",)
    assert [pair.label for pair in pairs.pairs] == ["fox", "tree frog", "fox", "tree frog"]
    assert "prompts such as 'a photo of a tree frog.'" in pairs.read.how
    assert [(each.what, each.count, each.names) for each in pairs.read.left_out] == [("classes", 1, ("owl",))]
    write(
        tmp_path,
        {"zeroshot_classification_templates.txt": "a sketch of a {c}\n", "classnames.txt": "frog\nowl\nred fox\n"},
    )
    assert load_pairs(Source(data)).class_prompts == (
        ("a sketch of a frog",),
        ("a sketch of a owl",),
        ("a sketch of a red fox",),
    )


@pytest.mark.parametrize("label", [-1, None, 3])
def test_a_row_without_a_class_is_refused(tmp_path, label):
    check_refused(class_parquet(tmp_path, [0, label]), "row 1, column 'label': .* is no class")


def test_classes_that_are_numbers_are_refused_and_the_advice_works(tmp_path):
    data = class_parquet(tmp_path, [0, 1, 1], names=("0", "1"))
    message = check_refused(data, r"classes of column 'label' are called by numbers \(0\)")
    write(tmp_path, {re.search(r"names into (\S+),", message)[1]: "zero\none\n"})
    assert load_pairs(Source(data)).classes == ("zero", "one")


def test_words_in_a_column_label_of_csv_are_classes_but_captions_go_before(tmp_path):
    rows = "filename,label\n0.jpg,owl\n1.jpg,fox\n2.jpg,owl\n"
    pairs = load_pairs(Source(table(tmp_path, rows)))
    assert (pairs.classes, [pair.label for pair in pairs.pairs]) == (("fox", "owl"), ["owl", "fox", "owl"])
    with_captions = (
        rows.replace("label\n", "label,caption\n").replace("owl\n", "owl,a bird\n").replace("fox\n", "fox,a\n")
    )
    assert load_pairs(Source(table(tmp_path, with_captions))).classes is None
    assert captions(table(tmp_path, rows), text_column="label")["0.jpg"] == ["owl"]
    again = table(tmp_path, rows + "0.jpg,fox\n")
    check_refused(again, r"line 5, column 'label': its image is 'fox' here, 'owl' at .*line 2")


def test_of_two_columns_of_class_labels_none_is_guessed_and_the_advice_works(tmp_path):
    features = {name: {"_type": "ClassLabel", "names": ["owl", "fox"]} for name in ("fine_label", "coarse_label")}
    content = pyarrow.table({"img": cells(3), "fine_label": [0, 1, 1], "coarse_label": [1, 0, 0]})
    about = json.dumps({"info": {"features": features}})
    pyarrow.parquet.write_table(content.replace_schema_metadata({"huggingface": about}), tmp_path / "t.parquet")
    data = f"parquet:{tmp_path / 't.parquet'}"
    message = check_refused(data, "2 columns of classes")
    chosen = re.search(r"text_column='(\w+)'$", message)[1]
    assert [pair.label for pair in load_pairs(Source(data, text_column=chosen)).pairs] == ["owl", "fox", "fox"]


# ---- what can be drawn, is read whole

words = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=6)
sentences = st.lists(words, min_size=1, max_size=4).map(" ".join).filter(lambda text: not text.startswith(("[", '"')))
file_names = st.text("abcXYZ019_-äé ", min_size=1, max_size=8).map(str.strip).filter(bool)


@st.composite
def drawn_tables(draw):
    """Names and captions of images, and how their table is written."""
    names = draw(st.lists(file_names, min_size=1, max_size=5, unique_by=lambda n: unicodedata.normalize("NFC", n)))
    named = [name + draw(st.sampled_from([".jpg", ".PNG", ".webp"])) for name in names]
    texts = [draw(st.lists(sentences, min_size=1, max_size=3)) for _ in named]
    header = draw(st.sampled_from([("filepath", "title"), ("image", "caption"), ("file_name", "text")]))
    return named, texts, header, draw(st.sampled_from(",\t;|")), draw(st.sampled_from(["\n", "\r\n"]))


@quick
@given(drawn=drawn_tables(), swapped=st.booleans(), kind=st.sampled_from(["csv", "tsv"]), mark=st.booleans())
def test_a_table_written_in_any_dialect_is_read_whole(tmp_path, drawn, swapped, kind, mark):
    names, texts, header, separator, ending = drawn
    rows = [header, *((name, text) for name, own in zip(names, texts, strict=True) for text in own)]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=ending, quoting=csv.QUOTE_MINIMAL)
    writer.writerows([row[::-1] for row in rows] if swapped else rows)
    (tmp_path / "t").write_bytes(text.getvalue().encode("utf-8-sig" if mark else "utf-8"))
    assert captions(f"{kind}:{tmp_path / 't'}") == dict(zip(names, texts, strict=True))


@quick
@given(drawn=drawn_tables(), notation=st.sampled_from([json.dumps, repr]))
def test_lists_in_cells_are_read_whole(tmp_path, drawn, notation):
    names, texts, header, separator, ending = drawn
    text = io.StringIO()
    rows = [header, *((name, notation(own)) for name, own in zip(names, texts, strict=True))]
    csv.writer(text, delimiter=separator, lineterminator=ending).writerows(rows)
    (tmp_path / "t").write_bytes(text.getvalue().encode())
    assert captions(f"csv:{tmp_path / 't'}") == dict(zip(names, texts, strict=True))


@quick
@given(drawn=drawn_tables(), place=st.integers(0, 200), bad=st.sampled_from(["too", "few", "list", "address", "empty"]))
def test_a_damaged_row_is_refused_in_one_line_that_names_it(tmp_path, drawn, place, bad):
    names, texts, header, separator, ending = drawn
    rows = [[name, texts[0][0]] for name in names]
    at = place % len(rows)
    rows[at] = {
        "too": [names[0], "a", "b"],
        "few": [names[0]],
        "list": rows[at],
        "address": ["https://example.com/a.jpg", "a"],
        "empty": ["", "a"],
    }[bad]
    if bad == "list":
        rows = [[name, '["a", "b"]'] for name in names] + [[names[0], '["a"'], [names[0], '["b", "c"]']]
        at = len(rows) - 2
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator=ending).writerows([header, *rows])
    (tmp_path / "t").write_bytes(text.getvalue().encode())
    # with one row out of so few left out, too, nothing but the row itself may be blamed
    check_refused(f"csv:{tmp_path / 't'}", rf"t line {at + 2}\b")


# ---- parquet and Arrow


def cells(count, *, paths=True, start=0):
    colours = ["red", "blue", "green", "black"]
    return [
        {"bytes": jpeg(colours[(start + k) % 4]), "path": f"{start + k}.jpg" if paths else None} for k in range(count)
    ]


def test_images_in_the_rows_of_parquet_are_read_from_there(tmp_path):
    content = {"image": cells(5), "caption": [[f"{k}", f"{k} too"] for k in range(5)], "label": [0, 1, 0, 1, 0]}
    pyarrow.parquet.write_table(pyarrow.table(content), tmp_path / "t.parquet", row_group_size=2)
    pairs = load_pairs(Source(f"parquet:{tmp_path / 't.parquet'}")).pairs
    assert [pair.image_id for pair in pairs] == [f"{k}.jpg" for k in range(5)]
    assert [pair.captions for pair in pairs] == [(f"{k}", f"{k} too") for k in range(5)]
    assert [pair.image.read() for pair in pairs] == [cell["bytes"] for cell in cells(5)]
    again = pickle.loads(pickle.dumps(pairs[3].image))
    assert (again.read(), again.identity()) == (cells(5)[3]["bytes"], pairs[3].image.identity())
    assert len({pair.image.identity() for pair in pairs}) == 5


def test_bytes_alone_are_images_called_by_file_and_row(tmp_path):
    content = {"png": [cell["bytes"] for cell in cells(3)], "text": ["a", "b", "c"]}
    pyarrow.parquet.write_table(pyarrow.table(content), tmp_path / "t.parquet")
    pairs = load_pairs(Source(f"parquet:{tmp_path / 't.parquet'}")).pairs
    assert [pair.image_id for pair in pairs] == ["t.parquet/0", "t.parquet/1", "t.parquet/2"]
    assert pairs[2].image.read() == cells(3)[2]["bytes"]


def test_rows_of_one_path_are_one_image_only_if_their_bytes_are_equal(tmp_path):
    one, two = cells(2)
    images = [one, dict(one), {"bytes": two["bytes"], "path": one["path"]}]
    pyarrow.parquet.write_table(pyarrow.table({"image": images, "caption": ["a", "b", "c"]}), tmp_path / "t.parquet")
    pairs = load_pairs(Source(f"parquet:{tmp_path / 't.parquet'}"))
    assert [pair.captions for pair in pairs.pairs] == [("a", "b"), ("c",)]
    assert pairs.pairs[1].image.read() == two["bytes"]
    assert "1 paths beside images stand for 2 different images" in " ".join(pairs.read.how)


@pytest.mark.parametrize("path", ["../secret.jpg", "/etc/hostname", "a/../../secret.jpg", None])
def test_a_path_beside_no_bytes_is_opened_only_inside_the_folder(tmp_path, path):
    write(tmp_path, {"secret.jpg": "secret", "set/in.jpg": jpeg()})
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    images = pyarrow.array([{"bytes": None, "path": "in.jpg"}, {"bytes": None, "path": path}], kind)
    file = tmp_path / "set" / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"image": images, "caption": ["a", "b"]}), file)
    inner, outer = load_pairs(Source(f"parquet:{file}")).pairs
    assert inner.image.read() == jpeg()
    with pytest.raises(InputError, match=r"leaves|holds no image"):
        outer.image.read()


def write_shards(folder, names, *, column=None):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        content = {"image": cells(2, start=2 * number), "caption": [f"{number}a", f"{number}b"]}
        if column:
            content["split"] = column
        pyarrow.parquet.write_table(pyarrow.table(content), folder / name)
    return f"parquet:{folder}"


HUB = ["train-00000-of-00001.parquet", "test-00000-of-00002.parquet", "test-00001-of-00002-0123abcd.parquet"]


@pytest.mark.parametrize("inner", ["", "data"])
def test_a_folder_of_shards_has_the_splits_of_their_names(tmp_path, inner):
    write_shards(tmp_path / "set" / inner, HUB)
    data = f"parquet:{tmp_path / 'set'}"
    assert captions(data) == {"2.jpg": ["1a"], "3.jpg": ["1b"], "4.jpg": ["2a"], "5.jpg": ["2b"]}
    assert captions(data, split="train") == {"0.jpg": ["0a"], "1.jpg": ["0b"]}
    assert load_pairs(Source(data)).split == "test"
    check_refused(data, "no split 'val'; it has", split="val")
    assert len(captions(f"{data}/{inner or '.'}/test-*.parquet")) == 4
    assert len(captions(f"{data}/{inner or '.'}/{HUB[1]}")) == 2


def test_a_column_split_goes_before_the_names_of_shards(tmp_path):
    data = write_shards(tmp_path / "set", ["TEST-00000-of-00001.parquet"], column=["train", "test"])
    assert captions(data) == {"1.jpg": ["0b"]}


def test_folders_of_splits_are_splits(tmp_path):
    for split in ("train", "validation"):
        write_shards(tmp_path / split, ["0000.parquet", "0001.parquet"])
    pairs = load_pairs(Source(f"parquet:{tmp_path}"))
    assert (pairs.split, len(pairs)) == ("validation", 4)


def test_shards_that_are_not_there_are_counted(tmp_path):
    data = write_shards(tmp_path / "set", [HUB[0], HUB[1]])
    assert [(each.what, each.count) for each in load_pairs(Source(data)).read.left_out] == [("files", 1)]


def test_folders_that_are_unclear_are_refused_and_the_advice_works(tmp_path):
    data = write_shards(tmp_path / "set", [*HUB, "index.parquet"])
    message = check_refused(data, "index.parquet is of no split")
    advice = re.search(r"\(([^()]+)\)$", message)
    assert advice is not None
    assert len(captions(f"parquet:{advice[1]}")) == 2
    for name in ("one", "two"):
        write_shards(tmp_path / "many" / name, ["0.parquet"])
    check_refused(f"parquet:{tmp_path / 'many'}", "several folders of tables: name one .*one, .*two")
    (tmp_path / "empty").mkdir()
    check_refused(f"parquet:{tmp_path / 'empty'}", "holds no .parquet or .arrow file")
    check_refused(f"parquet:{tmp_path}/none-*.parquet", "no such file")


def test_shards_of_other_columns_are_refused(tmp_path):
    data = write_shards(tmp_path / "set", ["0.parquet"])
    pyarrow.parquet.write_table(pyarrow.table({"image": cells(1), "text": ["a"]}), tmp_path / "set" / "1.parquet")
    check_refused(
        data, r"1\.parquet is no shard of the table of .*0\.parquet: column 'caption' is in one of them alone"
    )


def saved(folder, *, start=0):
    """A folder as `Dataset.save_to_disk` writes it."""
    folder.mkdir(parents=True)
    content = pyarrow.table({"image": cells(3, start=start), "caption": ["a", "b", "c"], "label": [1, 0, 1]})
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    content = content.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    name = "data-00000-of-00001.arrow"
    with pyarrow.OSFile(str(folder / name), "wb") as sink, pyarrow.ipc.new_stream(sink, content.schema) as writer:
        writer.write_table(content, max_chunksize=2)
    write(folder, {"state.json": {"_data_files": [{"filename": name}]}, "dataset_info.json": {}})


def test_folders_of_save_to_disk_are_read_with_their_splits_and_labels(tmp_path):
    saved(tmp_path / "one")
    pairs = load_pairs(Source(f"parquet:{tmp_path / 'one'}")).pairs
    assert [(pair.image_id, pair.captions, pair.label) for pair in pairs] == [
        ("0.jpg", ("a",), "dog"),
        ("1.jpg", ("b",), "cat"),
        ("2.jpg", ("c",), "dog"),
    ]
    assert [pair.image.read() for pair in pairs] == [cell["bytes"] for cell in cells(3)]
    for number, split in enumerate(("train", "test")):
        saved(tmp_path / "all" / split, start=3 * number)
    write(tmp_path / "all", {"dataset_dict.json": {"splits": ["train", "test"]}})
    assert captions(f"parquet:{tmp_path / 'all'}") == {"3.jpg": ["a"], "4.jpg": ["b"], "5.jpg": ["c"]}
    write(tmp_path / "all", {"dataset_dict.json": {"splits": ["../one"]}})
    check_refused(f"parquet:{tmp_path / 'all'}", "leaves")


@quick
@given(place=st.integers(0, 4000), damage=st.binary(min_size=1, max_size=12), cut=st.none() | st.integers(0, 4000))
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_damaged_file_gives_pairs_or_an_error_of_one_line(tmp_path, kind, place, damage, cut):
    if not (tmp_path / "whole").exists():
        saved(tmp_path / "whole")
        write_shards(tmp_path / "whole", ["t.parquet"])
    source = tmp_path / "whole" / ("t.parquet" if kind == "parquet" else "data-00000-of-00001.arrow")
    data = bytearray(source.read_bytes())
    place %= len(data)
    data[place : place + len(damage)] = damage
    (tmp_path / f"t.{kind}").write_bytes(bytes(data[:cut]))
    message = ""
    try:
        for pair in load_pairs(Source(f"parquet:{tmp_path}/t.{kind}")).pairs:
            pair.image.read()
    except InputError as error:
        message = str(error)
    assert "\n" not in message


def test_only_so_much_of_the_groups_of_rows_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "KEPT_BYTES", 2000)
    content = {"image": cells(40), "caption": [str(k) for k in range(40)]}
    pyarrow.parquet.write_table(pyarrow.table(content), tmp_path / "t.parquet", row_group_size=1)
    pairs = load_pairs(Source(f"parquet:{tmp_path / 't.parquet'}")).pairs
    assert [pair.image.read() for pair in pairs] == [cell["bytes"] for cell in cells(40)]
    assert sum(each.nbytes for each in stored._GROUPS._kept.values()) < 4000
    os.truncate(tmp_path / "t.parquet", 100)
    with pytest.raises(InputError, match="is damaged"):
        pairs[0].image.read()


def test_a_column_that_holds_no_text_is_refused_by_its_kind(tmp_path):
    content = {"filepath": ["0.jpg"], "title": [0.5], "vector": [[0.1, 0.2]]}
    pyarrow.parquet.write_table(pyarrow.table(content), tmp_path / "t.parquet")
    check_refused(f"parquet:{tmp_path / 't.parquet'}", "column 'title' holds values of double, not texts")
    check_refused(f"parquet:{tmp_path / 't.parquet'}", "column 'vector' holds lists", text_column="vector")


def test_rows_without_an_image_are_skipped_when_read_not_before(tmp_path):
    pyarrow.parquet.write_table(
        pyarrow.table({"image": [*cells(2), None], "caption": list("abc")}), tmp_path / "t.parquet"
    )
    pairs = load_pairs(Source(f"parquet:{tmp_path / 't.parquet'}")).pairs
    assert [pair.image_id for pair in pairs] == ["0.jpg", "1.jpg", "t.parquet/2"]
    with pytest.raises(InputError, match=r"t\.parquet/2: the row holds no image"):
        pairs[2].image.read()


def test_an_id_of_two_images_in_rows_is_refused(tmp_path):
    one, two = cells(2)
    content = {"image": [one, one, two], "caption": list("abc"), "id": ["x", "x", "x"]}
    pyarrow.parquet.write_table(pyarrow.table(content), tmp_path / "t.parquet")
    data = f"parquet:{tmp_path / 't.parquet'}"
    check_refused(data, r"row 2: image id 'x' has another image than before", image_id_column="id")
    content["id"][2] = "y"
    pyarrow.parquet.write_table(pyarrow.table(content), tmp_path / "t.parquet")
    assert captions(data, image_id_column="id") == {"x": ["a", "b"], "y": ["c"]}


def test_a_file_beside_that_changes_changes_the_identity_of_its_row(tmp_path):
    write(tmp_path, {"in.jpg": jpeg()})
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    images = pyarrow.array([{"bytes": None, "path": "in.jpg"}], kind)
    pyarrow.parquet.write_table(pyarrow.table({"image": images, "caption": ["a"]}), tmp_path / "t.parquet")
    (pair,) = load_pairs(Source(f"parquet:{tmp_path / 't.parquet'}")).pairs
    before = pair.image.identity()
    write(tmp_path, {"in.jpg": jpeg("blue") + b" "})
    assert pair.image.identity() != before


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"\x1f\x8b\x08rest", "t is compressed: decompress it first"),
        (b"PK\x03\x04rest", "is a zip file, or a table of Excel"),
        (b"PAR1rest", "is a parquet file: name it parquet:FILE"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_files_that_are_no_text_are_refused_by_what_they_are(tmp_path, kind, content, match):
    check_refused(f"{kind}:{write(tmp_path, {'t': content}) / 't'}", match)


def test_the_column_of_row_numbers_that_pandas_writes_is_nothing(tmp_path):
    (pair,) = load_pairs(Source(table(tmp_path, ",filepath,title,source\n0,0.jpg,a,web\n"))).pairs
    assert pair.columns == (("source", "web"),)


def test_a_folder_of_parquet_without_its_kind_is_named_with_it(tmp_path):
    write_shards(tmp_path / "set", HUB)
    check_refused(str(tmp_path / "set"), rf"did you mean parquet:{re.escape(str(tmp_path))}/set\?")
