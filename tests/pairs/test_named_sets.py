"""COCO, Karpathy's lists and class labels that are drawn, are read whole; with one fault, refused in one line."""

import json

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pair_files import jpeg, write

from geomclip.machine.errors import InputError
from geomclip.pairs import Source, load_pairs, parsing

quick = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
names = st.text("abcXYZ019_-äé ", min_size=1, max_size=8).map(str.strip).filter(bool).map("{}.jpg".format)
texts = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=9)
ids = st.integers(-(2**70), 2**70)


@st.composite
def sets(draw):
    """Names of images, each with its texts."""
    found = draw(st.lists(names, min_size=1, max_size=6, unique=True))
    return {name: draw(st.lists(texts, max_size=4)) for name in found}


def coco(drawn, numbers, order):
    images = [{"id": number, "file_name": name} for number, name in zip(numbers, drawn, strict=False)]
    annotations = [
        {"id": len(text), "image_id": number, "caption": f" {text}\n"}
        for number, own in zip(numbers, drawn.values(), strict=False)
        for text in own
    ]
    return {"images": images, "annotations": sorted(annotations, key=lambda each: order.random())}


def check_refused(source, *words):
    with pytest.raises(InputError) as caught:
        load_pairs(source)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@quick
@given(drawn=sets(), numbers=st.lists(ids, min_size=6, max_size=6, unique=True), order=st.randoms(), data=st.data())
def test_a_coco_list_in_any_order_is_read_whole_and_with_a_fault_refused(tmp_path, drawn, numbers, order, data):
    file = tmp_path / "annotations/captions_val2017.json"
    (tmp_path / "val2017").mkdir(exist_ok=True)
    content = coco(drawn, numbers, order)
    write(tmp_path, {"annotations/captions_val2017.json": content})
    source = Source("coco", data_root=tmp_path)
    pairs = load_pairs(source)
    assert {pair.image.path.removeprefix("val2017/"): sorted(pair.captions) for pair in pairs.pairs} == {
        name: sorted(own) for name, own in drawn.items()
    }
    assert [pair.image_id for pair in pairs.pairs] == [str(number) for number in numbers[: len(drawn)]]
    assert pairs.read.used["captions"] == sum(map(len, drawn.values()))
    row = data.draw(st.integers(0, len(drawn) - 1))
    fault = data.draw(st.sampled_from(["no name", "text for id", "true for id", "leaves", "twice"]))
    image = content["images"][row]
    if fault == "no name":
        del image["file_name"]
    elif fault == "leaves":
        image["file_name"] = "../" + image["file_name"]
    elif fault == "twice":
        content["images"].insert(row, dict(image))
        row += 1
    else:
        image["id"] = str(image["id"]) if fault == "text for id" else True
    file.write_text(json.dumps(content))
    check_refused(source, str(file), f"images[{row}]")


@quick
@given(drawn=sets(), splits=st.lists(st.sampled_from(["train", "val", "test"]), min_size=6, max_size=6), data=st.data())
def test_a_list_of_karpathys_is_read_whole_and_with_a_fault_refused(tmp_path, drawn, splits, data):
    images = [
        {"filename": name, "split": split, "sentences": [{"raw": text} for text in own]}
        for (name, own), split in zip(drawn.items(), splits, strict=False)
    ]
    write(tmp_path, {"dataset_flickr8k.json": {"images": images}})
    (tmp_path / "images").mkdir(exist_ok=True)
    found = {}
    for split in dict.fromkeys(splits[: len(drawn)]):
        found |= {pair.image_id: list(pair.captions) for pair in load_pairs(Source("flickr8k", split, tmp_path)).pairs}
    assert found == drawn
    row = data.draw(st.integers(0, len(images) - 1))
    key = data.draw(st.sampled_from(["filename", "split", "sentences"]))
    del images[row][key]
    write(tmp_path, {"dataset_flickr8k.json": {"images": images}})
    check_refused(Source("flickr8k", splits[row], tmp_path), "dataset_flickr8k.json", f"images[{row}].{key}")


@quick
@given(classes=st.lists(texts.filter(lambda text: text.isalpha()), min_size=2, max_size=5, unique=True), data=st.data())
def test_class_labels_in_parquet_are_read_whole_and_with_a_fault_refused(tmp_path, classes, data):
    labels = data.draw(st.lists(st.integers(0, len(classes) - 1), min_size=1, max_size=8))
    about = {"info": {"features": {"label": {"_type": "ClassLabel", "names": classes}}}}

    def written(values):
        table = pyarrow.table({"image": [{"bytes": jpeg(), "path": None} for _ in values], "label": values})
        pyarrow.parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(about)}), file)

    file = tmp_path / "t.parquet"
    written(labels)
    pairs = load_pairs(Source(f"parquet:{file}"))
    assert [pairs.classes.index(pair.label) for pair in pairs.pairs] == labels
    row = data.draw(st.integers(0, len(labels) - 1))
    labels[row] = data.draw(st.sampled_from([-1, len(classes), None]))
    written(labels)
    check_refused(Source(f"parquet:{file}"), str(file), f"row {row}, column 'label'")


FAULTLESS = '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"id": 2, "image_id": 1, "caption": "%s"}]}'


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        (FAULTLESS % "a cat", "a cat"),
        (FAULTLESS % "\\ud800 cat", "\ufffd cat"),
        ("\ufeff" + FAULTLESS % "a cat", "a cat"),
        (FAULTLESS.replace('"id": 2', '"id": 7, "area": NaN, "id": 2') % "a cat", "a cat"),
    ],
    ids=["plain", "half a surrogate pair", "byte order mark", "NaN beside"],
)
def test_what_the_fast_decoder_refuses_is_read_by_the_slower_one(tmp_path, text, caption):
    write(tmp_path, {"annotations/captions_val2017.json": text, "val2017/a.jpg": jpeg()})
    (pair,) = load_pairs(Source("coco", data_root=tmp_path)).pairs
    assert (pair.captions, pair.caption_ids) == ((caption,), ("2",))


json_values = st.recursive(
    st.none() | st.booleans() | ids | st.floats() | st.text(max_size=4), lambda inner: st.lists(inner, max_size=2)
)


@quick
@given(
    rows=st.lists(
        st.fixed_dictionaries({"id": ids | json_values, "file_name": texts | json_values}, optional={"x": json_values})
    )
)
def test_both_ways_to_decode_give_the_same_columns_or_the_same_refusal(tmp_path, rows):
    file = tmp_path / "list.json"
    file.write_text(json.dumps({"images": rows, "info": rows}))
    kinds = {"images": {"id": int, "file_name": str}}
    fast = parsing._decoded(file.read_bytes(), kinds)
    try:
        slow = [parsing.columns(json.loads(file.read_bytes())["images"], kinds["images"], entry="images")]
    except InputError:
        assert fast is None
    else:
        assert fast in (None, slow)
        assert parsing.json_columns(file, kinds) == slow
