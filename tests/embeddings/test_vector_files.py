"""Files of vectors as people hold them: read whole and told how, or refused in one line with the way out."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from geomclip.embeddings.files.held import READERS, WAY
from geomclip.embeddings.store import load
from geomclip.machine.errors import InputError
from geomclip.panels import measure
from geomclip.panels.tables import panel_text


def rows(n=20, d=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


IMAGE, TEXT = rows(), rows(seed=1)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def lists(x):
    return pa.array(list(x))


def fixed(x, kind=None):
    flat = pa.array(x.astype(kind or x.dtype).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, x.shape[1])


def as_parquet(path, arrays, column=lists):
    pq.write_table(pa.table({name: column(array) for name, array in arrays.items()}), path, row_group_size=7)


def as_arrow_stream(path, arrays):
    table = pa.table({name: fixed(array) for name, array in arrays.items()})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table, max_chunksize=6)


def as_hdf5(path, arrays):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(f"features/{name}", data=array, compression="gzip")


WRITERS = {
    "npz": lambda path, arrays: np.savez(path, **arrays),
    "lists.parquet": as_parquet,
    "fixed.parquet": lambda path, arrays: as_parquet(path, arrays, fixed),
    "feather": lambda path, arrays: pyarrow.feather.write_feather(
        pa.table({name: lists(array) for name, array in arrays.items()}), str(path)
    ),
    "arrow": as_arrow_stream,
    "safetensors": lambda path, arrays: save_file({name: torch.tensor(x) for name, x in arrays.items()}, path),
    "pt": lambda path, arrays: torch.save({name: torch.tensor(x) for name, x in arrays.items()}, path),
    "old.pt": lambda path, arrays: torch.save(
        {"features": {name: torch.tensor(x) for name, x in arrays.items()}},
        path,
        _use_new_zipfile_serialization=False,
    ),
    "list.pth": lambda path, arrays: torch.save({name: list(torch.tensor(x)) for name, x in arrays.items()}, path),
    "h5": as_hdf5,
}

NAMES = [
    ("image", "text"),
    ("image_embeds", "text_embeds"),
    ("img_emb", "txt_emb"),
    ("imageFeatures", "captionFeatures"),
    ("visual", "language"),
    ("clip_image_features_norm", "clip_text_features_norm"),
    ("query_embeddings", "document_embeddings"),
]


@pytest.mark.parametrize("ending", WRITERS)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(NAMES), st.booleans(), st.integers(2, 30), st.integers(1, 9))
def test_a_file_of_two_clouds_is_read_whole_whatever_its_arrays_are_called(tmp_path, ending, names, turned, n, d):
    arrays = dict(zip(names, (rows(n, d), rows(n, d, 1)), strict=True))
    path = tmp_path / f"e.{ending}"
    path.unlink(missing_ok=True)
    WRITERS[ending](path, dict(reversed(arrays.items())) if turned else arrays)
    read = load(path)
    np.testing.assert_allclose(read.image.numpy(), unit(rows(n, d)), atol=1e-6)
    np.testing.assert_allclose(read.text.numpy(), unit(rows(n, d, 1)), atol=1e-6)
    assert read.made_from["read"]["used"]["image rows"] == n
    told = " ".join(read.made_from["read"]["how"])
    assert ending == "h5" or names[0] == "image" or names[0] in told


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_half_single_and_double_columns_are_the_same_vectors(tmp_path, kind):
    as_parquet(tmp_path / "e.parquet", {"image": IMAGE, "text": TEXT}, lambda x: fixed(x, kind))
    np.testing.assert_allclose(load(tmp_path / "e.parquet").image.numpy(), unit(IMAGE), atol=2e-3)
    torch.save({"image": torch.tensor(IMAGE).bfloat16(), "text": torch.tensor(TEXT)}, tmp_path / "e.pt")
    np.testing.assert_allclose(load(tmp_path / "e.pt").image.numpy(), unit(IMAGE), atol=2e-2)


def test_ids_captions_labels_and_columns_beside_the_vectors_are_kept(tmp_path):
    table = {
        "id": pa.array(range(100, 120)),
        "file_name": [f"{i}.jpg" for i in range(20)],
        "vector": fixed(IMAGE),
        "text_vector": fixed(TEXT),
        "caption": [f"a {i}" for i in range(20)],
        "source": pa.array(["a", "b"] * 10).dictionary_encode(),
        "box": [{"x": 1}] * 20,
    }
    pq.write_table(pa.table(table), tmp_path / "e.parquet")
    read = load(tmp_path / "e.parquet", columns="image=vector,text=text_vector")
    assert read.image_id[0] == "100"
    assert read.image_path[1] == "1.jpg"
    assert read.caption[2] == "a 2"
    assert read.columns["source"][:2] == ("a", "b")
    assert [each["names"] for each in read.made_from["read"]["left_out"]] == [["box"]]


def test_rows_alone_are_one_cloud_with_the_numbers_of_one_cloud(tmp_path):
    np.save(tmp_path / "vectors.npy", IMAGE)
    torch.save(list(torch.tensor(IMAGE)), tmp_path / "list.pt")
    for name in ("vectors.npy", "list.pt"):
        panel = measure(load(tmp_path / name), bootstrap=0)
        assert panel.task == "cloud"
        assert panel.values["uniformity_image"] < 0
        assert not [key for key in panel.values if "zeroshot" in key or "gap" in key or "recall" in key]
        shown = panel_text(panel)
        assert "classes" not in shown.replace("needs texts or classes", "")
        assert "Zero-shot" not in shown
        assert "logit scale" not in shown


def test_one_class_alone_leaves_the_numbers_of_the_images(tmp_path):
    np.savez(tmp_path / "e.npz", image=IMAGE, labels=np.zeros(20, int), class_text=TEXT[:1])
    panel = measure(load(tmp_path / "e.npz"), bootstrap=0)
    assert panel.task == "cloud"
    assert any("one class alone" in warning for warning in panel.warnings)


def test_two_files_are_a_set_and_half_of_one_is_refused_with_what_reads_both(tmp_path):
    np.save(tmp_path / "image_emb.npy", IMAGE)
    np.save(tmp_path / "text_emb.npy", TEXT)
    with pytest.raises(InputError) as caught:
        load(tmp_path / "image_emb.npy")
    both = re.search(r"(image=\S+,text=\S+),", str(caught.value))[1]
    assert load(both).text.shape == (20, 6)
    alone = re.search(r"or (image=\S+) for one cloud", str(caught.value))[1]
    assert load(alone).text is None
    assert WAY in str(caught.value)
    WRITERS["pt"](tmp_path / "all.pt", {"image": IMAGE, "text": TEXT})
    mixed = load(f"image={tmp_path / 'image_emb.npy'},text={tmp_path / 'all.pt'}")
    np.testing.assert_allclose(mixed.text.numpy(), unit(TEXT), atol=1e-6)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(1, 5), min_size=2, max_size=13), st.sampled_from(["npy", "npz", "parquet"]), st.booleans())
def test_shards_are_read_in_the_order_of_their_numbers(tmp_path_factory, sizes, ending, as_glob):
    folder = tmp_path_factory.mktemp("shards")
    n = sum(sizes)
    image, text = rows(n), rows(n, seed=1)
    start = 0
    for number, size in enumerate(sizes):
        some = slice(start, start + size)
        start += size
        if ending == "npy":
            np.save(folder / f"img_emb_{number}.npy", image[some])
            np.save(folder / f"text_emb_{number}.npy", text[some])
        elif ending == "npz":
            np.savez(folder / f"part-{number}-of-{len(sizes)}.npz", image=image[some], text=text[some])
        else:
            as_parquet(folder / f"part-{number}-of-{len(sizes)}.parquet", {"image": image[some], "text": text[some]})
    (folder / "readme.md").write_text("notes")
    read = load(folder / f"*.{ending}" if as_glob else folder)
    np.testing.assert_allclose(read.image.numpy(), unit(image), atol=1e-6)
    np.testing.assert_allclose(read.text.numpy(), unit(text), atol=1e-6)
    assert bool(read.made_from["read"]["left_out"]) == (not as_glob)


def test_image_rows_that_a_loader_repeated_for_each_text_are_one_image(tmp_path):
    repeated = np.repeat(IMAGE[:4], 5, 0)
    paths = np.repeat([f"{i}.jpg" for i in range(4)], 5)
    np.savez(tmp_path / "e.npz", image=repeated, text=TEXT, image_path=paths)
    read = load(tmp_path / "e.npz")
    assert read.image.shape == (4, 6)
    assert read.image_of_text.tolist() == np.repeat(range(4), 5).tolist()
    assert "20 image rows of 4 images, repeated for each text" in read.made_from["read"]["how"]
    np.savez(tmp_path / "e.npz", image=IMAGE, text=TEXT, image_path=paths)  # one path, other vectors: no copies
    assert load(tmp_path / "e.npz").image.shape == (20, 6)


@pytest.mark.parametrize(("scale", "meant"), [(np.log(100), "100"), (np.log(1 / 0.07), "14.29"), (np.log(10), "10")])
def test_a_logit_scale_that_is_a_logarithm_is_warned_of_with_what_is_meant(tmp_path, scale, meant):
    np.savez(tmp_path / "e.npz", image=IMAGE, text=TEXT, logit_scale=scale)
    warning = next(line for line in measure(load(tmp_path / "e.npz"), bootstrap=0).warnings if "log of" in line)
    assert f"log of {meant}" in warning
    again = measure(load(tmp_path / "e.npz", logit_scale=float(meant)), bootstrap=0)
    assert not [line for line in again.warnings if "log of" in line]


@pytest.mark.parametrize("scale", [np.inf, np.nan, -3.0, 0.0])
def test_a_logit_scale_that_is_none_is_named_and_another_gets_past_it(tmp_path, scale):
    np.savez(tmp_path / "e.npz", image=IMAGE, text=TEXT, logit_scale=scale)
    with pytest.raises(InputError, match=r"e\.npz: logit_scale must be positive and finite.*logit_scale=100"):
        load(tmp_path / "e.npz")
    assert load(tmp_path / "e.npz", logit_scale=100).logit_scale == 100


class Object:
    pass


def refused(tmp_path):
    np.savez(tmp_path / "ab.npz", a=IMAGE, b=TEXT)
    np.savez(tmp_path / "three.npz", image_a=IMAGE, image_b=IMAGE, text=TEXT)
    np.savez(tmp_path / "five.npz", image=IMAGE[:4], text=TEXT)
    np.savez(tmp_path / "bytes.npz", image=IMAGE.astype(np.uint8) + 1, text=TEXT)
    torch.save({"image": torch.tensor(IMAGE), "own": Object()}, tmp_path / "object.pt")
    ragged = pa.table({"image": [[1.0, 2.0], [1.0]], "text": [[1.0, 2.0], [1.0, 3.0]]})
    pq.write_table(ragged, tmp_path / "ragged.parquet")
    pq.write_table(pa.table({"image": [[1.0], None], "text": [[1.0], [2.0]]}), tmp_path / "empty.parquet")
    pq.write_table(pa.table({"caption": ["a", "b"]}), tmp_path / "words.parquet")
    for name in READERS:
        (tmp_path / f"damaged{name}").write_bytes(b"\x00\xff not that")
    for name in (".pkl", ".csv", ".json", ".faiss", ".xyz"):
        (tmp_path / f"other{name}").write_text("1,2")
    return {
        "ab.npz": "which of a, b are image rows and which text rows",
        "three.npz": "image_a and image_b could each be the image rows",
        "five.npz": r"np\.repeat\(np\.arange\(4\), 5\)",
        "bytes.npz": "holds bytes",
        "object.pt": "never unpickled",
        "ragged.parquet": "row 1 has 1 numbers, row 0 has 2",
        "empty.parquet": "row 1 is empty",
        "words.parquet": re.escape(WAY),
        **{f"damaged{name}": f"damaged{re.escape(name)}" for name in READERS},
        "other.pkl": "runs code",
        **{f"other{name}": re.escape(WAY) for name in (".csv", ".json", ".faiss", ".xyz")},
    }


def test_what_cannot_be_read_is_refused_in_one_line_with_the_way_out(tmp_path):
    for name, message in refused(tmp_path).items():
        if name.endswith(("h5", "hdf5")):
            pytest.importorskip("h5py")
        with pytest.raises(InputError, match=message) as caught:
            load(tmp_path / name)
        line = str(caught.value)
        assert name in line
        assert "\n" not in line
        assert len(line) < 600


def test_a_page_of_a_parquet_that_a_disk_changed_is_refused_in_one_line(tmp_path):
    as_parquet(tmp_path / "pages.parquet", {"image": IMAGE, "text": TEXT})
    content = bytearray((tmp_path / "pages.parquet").read_bytes())
    content[4:40] = b"\xff" * 36  # the header of the first page: the footer is whole
    (tmp_path / "pages.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"pages\.parquet is not a readable \.parquet file \(") as caught:
        load(tmp_path / "pages.parquet")
    assert "\n" not in str(caught.value)


def test_texts_for_no_images_are_refused_in_one_line(tmp_path):
    np.savez(tmp_path / "none.npz", image=IMAGE[:0], text=TEXT)
    with pytest.raises(InputError, match=r"20 texts for 0 images"):
        load(tmp_path / "none.npz")


def test_the_ways_out_of_a_refusal_work(tmp_path):
    refused(tmp_path)
    assert load(tmp_path / "ab.npz", columns="image=a,text=b").text.shape == (20, 6)
    assert load(tmp_path / "three.npz", columns={"image": "image_b", "text": "text"}).image.shape == (20, 6)
    np.savez(tmp_path / "five.npz", image=IMAGE[:4], text=TEXT, image_of_text=np.repeat(np.arange(4), 5))
    assert load(tmp_path / "five.npz").image.shape == (4, 6)
    with pytest.raises(InputError, match="no role 'picture'"):
        load(tmp_path / "ab.npz", columns="picture=a")
    with pytest.raises(InputError, match=r"has no 'c'; nearest"):
        load(tmp_path / "ab.npz", columns="image=c")
    with pytest.raises(InputError, match="is no ROLE=NAME"):
        load(tmp_path / "ab.npz", columns="image")


def test_a_parquet_that_unfolds_to_far_more_than_its_size_is_refused(tmp_path):
    flat = np.zeros((1 << 20, 64), np.float32)
    as_parquet(tmp_path / "bomb.parquet", {"image": flat, "text": flat}, fixed)
    if Path(tmp_path / "bomb.parquet").stat().st_size * 200 < 2 * flat.nbytes:
        with pytest.raises(InputError, match="claims to unfold"):
            load(tmp_path / "bomb.parquet")
    tensor = torch.zeros(1).expand(1 << 26, 64)
    torch.save({"image": tensor}, tmp_path / "bomb.pt")
    with pytest.raises(InputError, match="claims the shape"):
        load(tmp_path / "bomb.pt")


def test_a_list_of_two_tensors_is_said_to_be_images_and_texts_and_unequal_ones_have_numbers(tmp_path: Path) -> None:
    rows = torch.eye(4, 6)
    torch.save([rows, rows.flip(0)], tmp_path / "two.pt")
    found = load(tmp_path / "two.pt")
    assert found.text is not None
    assert torch.equal(found.text, rows.flip(0))
    assert "two.pt has the shape (2, 4, 6): image rows, then their text rows" in found.made_from["read"]["how"]
    torch.save((rows[:2], rows), tmp_path / "unlike.pt")
    with pytest.raises(InputError, match="which of 0, 1 are image rows") as raised:
        load(tmp_path / "unlike.pt")
    chosen = re.search(r"columns='([^']+)'", str(raised.value))
    assert chosen is not None
    with pytest.raises(InputError, match="4 texts for 2 images"):  # what they are, no longer which
        load(tmp_path / "unlike.pt", columns=chosen[1])


def test_plural_names_of_paths_say_which_rows_are_one_image(tmp_path: Path) -> None:
    rows, paths = np.eye(4, 6, dtype=np.float32), [f"{row // 3}.jpg" for row in range(12)]
    np.savez(tmp_path / "e.npz", image_embeddings=rows.repeat(3, 0), text_embeddings=np.ones((12, 6)), paths=paths)
    found = load(tmp_path / "e.npz")
    assert (len(found.image), found.image_path[:2]) == (4, ("0.jpg", "1.jpg"))
    assert "12 image rows of 4 images, repeated for each text" in found.made_from["read"]["how"]


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_weights_of_a_model_are_no_vectors(tmp_path: Path, ending: str) -> None:
    file, weights = tmp_path / f"w{ending}", {"visual.proj": torch.eye(4), "ln.weight": torch.ones(4)}
    if ending == ".pt":
        torch.save({"state_dict": weights, "epoch": 3}, file)
    else:
        save_file(weights, file)
    with pytest.raises(InputError, match="holds the weights of a model, not vectors: pretrained="):
        load(file)
    name = "state_dict.visual.proj" if ending == ".pt" else "visual.proj"
    assert len(load(file, columns=f"image={name}").image) == 4
