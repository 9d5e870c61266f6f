import io
import json
import os
import pickle
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from helpers import flipped
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from geomclip.embeddings.record import EmbeddingSet
from geomclip.embeddings.store import load, save
from geomclip.machine.errors import DamagedError, InputError
from geomclip.machine.sums import sealed, unsealed


def rows(n, d=4, seed=0, dtype=np.float32):
    x = np.random.default_rng(seed).normal(size=(n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(dtype)


def several_captions():
    return EmbeddingSet(
        rows(3),
        rows(5, seed=1),
        image_of_text=np.array([0, 2, 0, 1, 2]),
        logit_scale=50.0,
        logit_bias=-10.0,
        image_id=("a", "b", "c"),
        image_path=("a.png", "b.png", "c.png"),
        caption_id=("a0", "c0", "a1", "b0", "c1"),
        caption=("ä", "two\nlines", "", "x" * 1000, "五"),
        columns={"source": ("web", "book", "web"), "label": ("cat", "dog", "cat")},
        made_from={
            "model": "m",
            "dataset": "d",
            "skipped": [{"image_id": "z", "path": "z.png", "reason": "cut"}],
        },
    )


def classes():
    return EmbeddingSet(
        rows(4),
        labels=np.array([0, 1, 1, 0]),
        class_text=rows(2, seed=2),
        classes=("cat", "dog"),
        logit_scale=9.0,
    )


def assert_equal(one, other):
    for name in ("image", "text", "class_text"):
        a, b = getattr(one, name), getattr(other, name)
        # both were normalised once more, which may move the last bit
        assert (a is None and b is None) or torch.allclose(a, b, rtol=0, atol=2e-7)
    for name in ("image_of_text", "labels"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None and b is None) or torch.equal(a, b)
    names = ("image_id", "image_path", "caption_id", "caption", "columns", "logit_scale", "logit_bias")
    for name in (*names, "logit_scale_source"):
        assert getattr(one, name) == getattr(other, name), name


@pytest.mark.parametrize("kept", ["set.npz", "set"])
@pytest.mark.parametrize("make", [several_captions, classes], ids=["texts", "classes"])
def test_what_is_saved_is_loaded(tmp_path, make, kept):
    before = make()
    after = load(save(before, tmp_path / kept))
    if kept == "set" and before.image_path is None:
        before = before.replace(image_path=after.image_path)
    assert_equal(before, after)
    assert after.classes == before.classes
    assert before.made_from.items() <= after.made_from.items()
    assert os.listdir(tmp_path) == [kept]


@pytest.mark.parametrize("kept", ["set.npz", "set"])
def test_the_same_set_gives_the_same_bytes(tmp_path, kept):
    one, two = (
        save(several_captions(), tmp_path / "1" / kept),
        save(several_captions(), tmp_path / "2" / kept),
    )
    files = [path.relative_to(one) for path in one.rglob("*") if path.is_file()] if one.is_dir() else [""]
    assert [(one / file).read_bytes() for file in files] == [(two / file).read_bytes() for file in files]


def test_float64_keeps_all_that_the_file_has(tmp_path):
    exact = rows(3, dtype=np.float64)
    np.savez(tmp_path / "a.npz", image=exact, text=exact)
    assert (load(tmp_path / "a.npz").image.numpy() - exact).max() < 1e-15
    assert load(tmp_path / "a.npz", dtype=torch.float32).image.dtype == torch.float32
    np.savez(tmp_path / "b.npz", image=exact.astype(np.float16), text=exact.astype(np.float32))
    assert load(tmp_path / "b.npz").image.dtype == torch.float32
    in_double = load(tmp_path / "b.npz", dtype=torch.float64)
    assert in_double.image.dtype == in_double.text.dtype == torch.float64
    assert load(save(load(tmp_path / "a.npz"), tmp_path / "folder")).image.dtype == torch.float64


def test_npz_of_others_is_read_under_both_names_of_the_pairing(tmp_path):
    for name in ("image_of_text", "text_image_index"):
        np.savez(tmp_path / "a.npz", image=rows(2), text=rows(3), logit_scale=np.float32(70), **{name: [1, 0, 1]})
        read = load(tmp_path / "a.npz")
        assert read.image_of_text.tolist() == [1, 0, 1]
        assert (read.logit_scale, read.logit_scale_source) == (70, "file")
    np.savez(tmp_path / "b.npz", image=rows(3), text=rows(3), image_id=[b"x", b"y", b"z"], caption=["p", "q", "r"])
    read = load(tmp_path / "b.npz")
    assert (read.image_id, read.caption) == (("x", "y", "z"), ("p", "q", "r"))
    assert (read.logit_scale, read.logit_scale_source) == (100, "assumed")
    assert read.made_from["dataset"] == ""
    assert read.made_from["skipped"] == []


def test_an_npy_of_two_layers_is_pairs(tmp_path):
    both = np.stack([rows(4), rows(4, seed=1)])
    np.save(tmp_path / "a.npy", both)
    read = load(tmp_path / "a.npy")
    assert torch.allclose(read.text, torch.from_numpy(both[1]), atol=1e-6)
    assert read.image_of_text.tolist() == [0, 1, 2, 3]
    np.save(tmp_path / "b.npy", np.asfortranarray(both))
    assert torch.equal(load(tmp_path / "b.npy").image, read.image)
    np.save(tmp_path / "c.npy", np.stack([both, both]))
    with pytest.raises(InputError, match=r"c.npy has no table of vectors of shape \(rows, dimensions\)"):
        load(tmp_path / "c.npy")


def clip_retrieval_output(folder, shards=(0, 2, 10), text=True, metadata=True):
    """Float16, numbered without zeros in front, no manifest, as its writer leaves them; 3 rows a shard."""
    for part in ("img_emb", "text_emb", "metadata"):
        (folder / part).mkdir(parents=True)
    for number in shards:
        np.save(folder / f"img_emb/img_emb_{number}.npy", rows(3, seed=number, dtype=np.float16))
        if text:
            np.save(folder / f"text_emb/text_emb_{number}.npy", rows(3, seed=100 + number, dtype=np.float16))
        if metadata:
            paths = [f"{number}/{i}.jpg" for i in range(3)]
            table = {
                "image_path": paths,
                "caption": [f"a {number}", None, "c"],
                "width": [1, 2, 3],
                "exif": [[1], [], [2]],
            }
            pq.write_table(pa.table(table), folder / f"metadata/metadata_{number}.parquet")
    return folder


def test_clip_retrievals_output_is_read_in_the_order_of_its_numbers(tmp_path):
    read = load(clip_retrieval_output(tmp_path))
    expected = np.concatenate([rows(3, seed=number, dtype=np.float16) for number in (0, 2, 10)])
    assert np.abs(read.image.numpy() - expected).max() < 1e-3
    assert read.image_of_text.tolist() == list(range(9))
    assert read.image_path[-1] == "10/2.jpg"
    assert read.image_id == read.image_path
    assert read.caption[:4] == ("a 0", "", "c", "a 2")
    assert read.columns["width"] == ("1", "2", "3") * 3
    assert "exif" not in read.columns


def test_clip_retrievals_output_may_lack_texts_and_metadata(tmp_path):
    read = load(clip_retrieval_output(tmp_path, text=False, metadata=False))
    assert read.text is None
    assert len(read.image) == 9


def test_clip_retrievals_shards_must_go_together(tmp_path):
    os.remove(clip_retrieval_output(tmp_path / "a") / "text_emb/text_emb_2.npy")
    with pytest.raises(InputError, match="img_emb and text_emb do not both have a shard 2"):
        load(tmp_path / "a")
    np.save(clip_retrieval_output(tmp_path / "b") / "text_emb/text_emb_2.npy", rows(2))
    with pytest.raises(InputError, match=r"text_emb_2\.npy has 2 rows, img_emb_2\.npy has 3"):
        load(tmp_path / "b")
    wide = clip_retrieval_output(tmp_path / "c") / "img_emb/img_emb_2.npy"
    np.save(wide, rows(3, d=5))
    with pytest.raises(InputError, match="different dimensions: 4, 5"):
        load(tmp_path / "c")
    (clip_retrieval_output(tmp_path / "d") / "metadata/metadata_10.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"metadata_10\.parquet is not a readable parquet file"):
        load(tmp_path / "d")


class Dangerous:
    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


def test_pickles_are_never_opened(tmp_path):
    objects = np.array([Dangerous(), Dangerous()], dtype=object)
    np.savez(tmp_path / "a.npz", image=objects, text=rows(2))
    with pytest.raises(InputError, match=r"a.npz: image holds Python objects, which are never unpickled") as caught:
        load(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)
    np.savez(tmp_path / "b.npz", image=rows(2), text=rows(2), other=objects)  # not looked at
    assert len(load(tmp_path / "b.npz").image) == 2
    np.save(tmp_path / "c.npy", objects)
    (tmp_path / "d.npz").write_bytes(pickle.dumps(Dangerous()))
    (tmp_path / "e.npy").write_bytes(pickle.dumps(Dangerous()))
    for name in ("c.npy", "d.npz", "e.npy"):
        with pytest.raises(InputError, match=name):
            load(tmp_path / name)


def spoiled(place, value):
    x = rows(5)
    x[place] = value
    return x


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": spoiled((3, 1), np.nan), "text": rows(5)}, "image row 3 holds NaN"),
        ({"image": rows(5), "text": spoiled((4, 0), np.inf)}, "text row 4 holds NaN or infinity"),
        ({"image": rows(5), "text": spoiled(2, 0)}, "text row 2 is zero"),
        ({"image": rows(5), "text": rows(5, d=3)}, "4 dimensions, text rows 3"),
        ({"image": rows(5)[0], "text": rows(5)}, r"image must have shape \(rows, dimensions\)"),
        ({"image": rows(5), "text": rows(6)}, "add an array image_of_text of 6 row numbers"),
        (
            {"image": rows(5), "text": rows(2), "image_of_text": [0, 5]},
            "entry 1 is 5, outside the 5 image rows",
        ),
        ({"image": rows(5), "text": rows(2), "image_of_text": [0.0, 1.0]}, "whole numbers"),
        ({"image": rows(5), "text": rows(5), "logit_scale": [1.0, 2.0]}, "logit_scale must be one number"),
        ({"image": rows(5), "text": rows(5), "logit_scale": -1.0}, "logit_scale must be positive"),
        ({"image": rows(5), "text": rows(5), "image_id": ["a"]}, "1 entries in image_id for 5 rows"),
        ({"image": rows(5), "text": rows(5), "image_id": [b"\xff"] * 5}, "image_id is not UTF-8"),
        ({"image": rows(1), "text": rows(1)}, "at least 2 images"),
        ({"image": rows(5).astype("c8"), "text": rows(5)}, "dtype complex64"),
        ({"image": rows(5), "class_text": rows(2)}, "labels and class_text go together"),
        ({"image": rows(5), "labels": [0, 1, 2, 0, 0], "class_text": rows(2)}, "labels entry 2 is 2"),
        ({"text": rows(5), "labels": [0] * 4}, "4 entries in column 'label' for 5 images"),
        ({"a": rows(5), "b": rows(5)}, "which of a, b are image rows and which text rows"),
        (
            {"image": rows(5), "text": rows(5), "geomclip_metadata": np.frombuffer(b"{]", np.uint8)},
            "malformed",
        ),
    ],
)
def test_an_npz_that_cannot_be_is_refused_in_one_line(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path / "a.npz")
    assert str(tmp_path / "a.npz") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_zip_bomb_is_refused_before_it_unfolds(tmp_path):
    path = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("image.npy", "w") as member,
    ):
        member.write(npy_header((1 << 18, 128)))
        for _ in range(128):
            member.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 18
    with pytest.raises(InputError, match="as a zip bomb: refused; if you trust it"):
        load(path)


def npy_header(shape, descr="<f4"):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


@pytest.mark.parametrize("shape", [(2, 10**9, 10**9), (2, -1, 4), (2, 10**40, 4), (0, 10**18, 10**18), (2, 3, 4)])
def test_an_npy_that_promises_more_than_it_holds_is_refused(tmp_path, shape):
    (tmp_path / "a.npy").write_bytes(npy_header(shape) + bytes(40))
    with pytest.raises(InputError, match=r"a\.npy (is cut short: it holds 40 of|has the impossible shape)"):
        load(tmp_path / "a.npy")


def test_a_bad_row_is_named_with_its_shard(tmp_path):
    clip_retrieval_output(tmp_path)
    bad = rows(3)
    bad[2, 1] = np.nan
    np.save(tmp_path / "text_emb/text_emb_2.npy", bad)
    with pytest.raises(InputError, match=r"text_emb_2\.npy row 2 holds NaN"):
        load(tmp_path)


def test_what_is_no_store_is_named(tmp_path):
    for name, message in (
        ("absent", "no such file"),
        (".", "is no embedding store"),
        ("a.txt", "is no store folder"),
    ):
        (tmp_path / "a.txt").write_text("hello")
        with pytest.raises(InputError, match=message):
            load(tmp_path / name)
    with pytest.raises(ValueError, match="dtype must be"):
        load(tmp_path, dtype=torch.float16)


def edited(folder, change):
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))


def rename_entry(name):
    def change(manifest):
        files = manifest["shards"][0]["files"]
        files[name] = files.pop("img_emb/img_emb_0000.npy")

    return change


@pytest.mark.parametrize("name", ["../outside.npy", "/etc/passwd", "img_emb/../../x.npy", "..\\x.npy", "c:/x.npy", ""])
def test_a_manifest_entry_that_leaves_the_folder_is_refused(tmp_path, name):
    folder = save(several_captions(), tmp_path / "set")
    shutil.copy(folder / "img_emb/img_emb_0000.npy", tmp_path / "outside.npy")
    edited(folder, rename_entry(name))
    with pytest.raises(InputError, match="leaves the folder"):
        load(folder)


def test_a_store_behind_a_symbolic_link_is_fine(tmp_path):
    save(several_captions(), tmp_path / "set")
    (tmp_path / "link").symlink_to(tmp_path / "set")
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "set" / "img_emb", tmp_path / "elsewhere")
    (tmp_path / "set" / "img_emb").symlink_to(tmp_path / "elsewhere" / "img_emb")
    assert_equal(load(tmp_path / "link"), several_captions())


def test_damage_is_found(tmp_path):
    for name in ("img_emb/img_emb_0000.npy", "metadata/metadata_0000.parquet"):
        folder = save(several_captions(), tmp_path / Path(name).stem)
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-3])
        with pytest.raises(InputError, match=f"{Path(name).name} is cut short or changed"):
            load(folder)
        (folder / name).write_bytes(whole[:-3] + b"\0\1\2")
        with pytest.raises(InputError, match=f"{Path(name).name} is damaged or changed"):
            load(folder)
        (folder / name).unlink()
        with pytest.raises(InputError, match=f"{Path(name).name} cannot be read"):
            load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda manifest: manifest.update(schema="geomclip.store/2"),
            "has schema 'geomclip.store/2'; this version",
        ),
        (lambda manifest: manifest.pop("schema"), "has schema 'None'"),
        (lambda manifest: manifest.update(done=False), "is unfinished: the same `geomclip extract`"),
        (lambda manifest: manifest.update(shards=7), "is malformed"),
        (
            lambda manifest: manifest["shards"][0]["files"]["img_emb/img_emb_0000.npy"].update(rows=[9] * 999),
            "malformed",
        ),
        (lambda manifest: manifest.pop("made_from"), "is malformed"),
        (lambda manifest: manifest.pop("logit_scale"), "is malformed"),
        (lambda manifest: manifest.update(logit_scale=10**400), "logit_scale must be positive and finite"),
        (lambda manifest: manifest["shards"][0]["files"].pop("text_emb/text_emb_0000.npy"), "set"),
    ],
)
def test_a_manifest_that_is_not_ours_is_refused(tmp_path, change, message):
    folder = save(several_captions(), tmp_path / "set")
    edited(folder, change)
    if message == "set":
        assert load(folder).text is None  # texts without vectors are no texts
        return
    with pytest.raises(InputError, match=message):
        load(folder)


def test_a_manifest_cut_in_half_or_lost_is_refused(tmp_path):
    folder = save(several_captions(), tmp_path / "set")
    whole = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is no whole JSON"):
        load(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"has lost its manifest.json"):
        load(folder)


def test_saving_does_not_overwrite_a_folder(tmp_path):
    (tmp_path / "set").mkdir()
    save(several_captions(), tmp_path / "set")  # an empty one is fine
    with pytest.raises(InputError, match="exists already"):
        save(several_captions(), tmp_path / "set")
    with pytest.raises(InputError, match="one array cannot hold a set"):
        save(several_captions(), tmp_path / "set.npy")
    with pytest.raises(InputError, match="cannot be written"):
        save(several_captions(), tmp_path / "set" / "manifest.json" / "below")


def test_columns_with_a_taken_name_keep_their_values(tmp_path):
    some = EmbeddingSet(rows(2), rows(2), columns={"image_id": ("p", "q"), "source": ("a", "b")})
    assert load(save(some, tmp_path / "set")).columns == {"image_id_": ("p", "q"), "source": ("a", "b")}


def complaint(path):
    """What loading complains about, "" if it gives a set; any other error is the test's failure."""
    try:
        assert isinstance(load(path), EmbeddingSet)
    except InputError as problem:
        return str(problem)
    return ""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    np.savez_compressed(folder / "packed.npz", image=rows(3), text=rows(3), image_of_text=[0, 1, 2], logit_scale=20.0)
    save(several_captions(), folder / "own.npz")
    save(several_captions(), folder / "store")
    np.save(folder / "layers.npy", np.stack([rows(3), rows(3)]))
    return folder


edits = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4), st.integers(0, 4)), max_size=4)


def mangled(content, edits):
    for where, new, gone in edits:
        start = int(where * len(content))
        content = content[:start] + new + content[start + gone :]
    return content


@pytest.mark.parametrize("name", ["packed.npz", "own.npz", "layers.npy", "store/manifest.json"])
def test_mangled_bytes_give_a_set_or_one_line(whole, tmp_path_factory, name):
    original = (whole / name).read_bytes()
    folder = tmp_path_factory.mktemp("mangled")
    shutil.copytree(whole / "store", folder / "store")

    @settings(
        max_examples=150,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=True,
    )
    @given(edits)
    @example([(0.5, b"", 4)])
    def check(edits):
        (folder / name).write_bytes(mangled(original, edits))
        assert "\n" not in complaint(folder / ("store" if "manifest" in name else name))

    check()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


def test_a_manifest_with_other_values_gives_a_set_or_one_line(whole, tmp_path):
    shutil.copytree(whole / "store", tmp_path / "store")
    manifest = json.loads((tmp_path / "store/manifest.json").read_text())

    def places(value, path=()):
        yield path
        for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            yield from places(value[key], (*path, key))

    @settings(
        max_examples=200,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=True,
    )
    @given(st.sampled_from([path for path in places(manifest) if path]), json_values)
    def check(path, value):
        changed = json.loads(json.dumps(manifest))
        inner = changed
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        (tmp_path / "store/manifest.json").write_text(json.dumps(sealed(changed)))
        assert "\n" not in complaint(tmp_path / "store")

    check()


# --- sums


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.update(logit_scale=49.0),
        lambda manifest: manifest["shards"].clear(),
        lambda manifest: manifest["shards"][0]["files"].pop("text_emb/text_emb_0000.npy"),
        lambda manifest: manifest["made_from"].update(model="another"),
    ],
)
def test_a_manifest_that_was_changed_since_it_was_written_is_refused(tmp_path, change):
    folder = save(several_captions(), tmp_path / "set")
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DamagedError, match=r"manifest\.json is damaged or changed: .*put back a copy of it, or make"):
        load(folder)


def test_a_store_of_a_version_without_sums_is_read(tmp_path):
    folder = save(several_captions(), tmp_path / "set")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(unsealed(manifest)))
    assert_equal(load(folder), several_captions())


@pytest.mark.parametrize("name", ["image_of_text", "logit_bias", "geomclip_metadata", "truncated"])
def test_a_name_in_an_npz_that_was_changed_is_refused_and_its_array_not_passed_over(tmp_path, name):
    file = save(several_captions().replace(truncated=np.zeros(5, bool)), tmp_path / "set.npz")
    content = file.read_bytes()
    assert content.count(name.encode() + b".npy") == 2  # before its numbers, and in the directory at the end
    flipped(file, content.rindex(name.encode() + b".npy"))
    with pytest.raises(InputError, match=r"set\.npz"):
        load(file)


def test_an_npz_that_lacks_an_array_of_those_it_was_saved_with_is_refused(tmp_path):
    file = save(several_captions(), tmp_path / "set.npz")
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(tmp_path / "less.npz", "w") as new:
        for name in old.namelist():
            if name != "logit_bias.npy":
                new.writestr(name, old.read(name))
    with pytest.raises(DamagedError, match=r"has not the arrays that it was saved with \(logit_bias\)"):
        load(tmp_path / "less.npz")


def same_fields(found, expected):
    for name, value in vars(expected).items():
        if name.startswith("_"):
            continue
        other = getattr(found, name)
        same = torch.equal(other, value) if isinstance(value, torch.Tensor) else other == value
        if not same:
            return name
    return ""


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_flip_of_any_bit_is_refused_or_gives_the_same_set(whole, data):
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        shutil.copytree(whole / "store", place / "store")
        save(load(whole / "store"), place / "set.npz")
        form = data.draw(st.sampled_from(["set.npz", "store"]))
        expected = load(place / form)
        files = sorted(each for each in (place / form).rglob("*") if each.is_file()) or [place / form]
        file = data.draw(st.sampled_from(files))
        flipped(file, data.draw(st.integers(0, file.stat().st_size - 1)), data.draw(st.integers(0, 7)))
        try:
            found = load(place / form)
        except InputError:
            return
        assert same_fields(found, expected) == ""
