import json
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from callers import command_line
from pair_files import COCO, jpeg, write
from PIL import Image
from recorder import Recorder
from tiny import CONTEXT, DIM, SIDE, TinyEncoder, png, tiny_pairs, tiny_preprocess, tree

from geomclip.embeddings.record import EmbeddingSet
from geomclip.embeddings.store import load
from geomclip.encoders.extraction.batches import Encoding
from geomclip.encoders.extraction.calls import embed, extract
from geomclip.encoders.extraction.plan import Extraction
from geomclip.encoders.extraction.refusals import refuse_foreign
from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.lock import Lock
from geomclip.machine.tally import Tally
from geomclip.pairs.record import ImageFile, Pairs
from geomclip.panels import measure
from geomclip.panels.tables import panel_json

pytestmark = pytest.mark.numeric


def extracted(folder, pairs, encoder=None, **options):
    return extract(encoder or TinyEncoder(), pairs, folder, **{"batch_size": 4, "shard_rows": 8, **options})


def direct_rows(pairs):
    """Each picture and caption encoded alone."""
    import io

    from PIL import Image

    encoder = TinyEncoder()
    picture = lambda pair: tiny_preprocess(Image.open(io.BytesIO(pair.image.read())).convert("RGB"))[None]  # noqa: E731
    image = torch.cat([encoder.encode_image(picture(pair)) for pair in pairs.pairs])
    texts = [text for pair in pairs.pairs for text in pair.captions]
    return image, encoder.encode_text(encoder.tokenize(texts)[0])


def test_every_row_is_that_of_its_own_input_in_order(tmp_path):
    pairs = tiny_pairs(tmp_path / "images", 20)
    image, text = direct_rows(pairs)
    read = load(extracted(tmp_path / "out", pairs), dtype=torch.float64)
    expected = EmbeddingSet(image, text, image_of_text=read.image_of_text)
    assert torch.allclose(read.image.float(), expected.image, atol=1e-6)
    assert torch.allclose(read.text.float(), expected.text, atol=1e-6)
    assert read.image_id == tuple(f"id{i}" for i in range(20))
    assert read.image_path == tuple(f"{i:03}.png" for i in range(20))
    assert read.caption == tuple(text for pair in pairs.pairs for text in pair.captions)
    assert read.caption_id[:4] == ("id0#0", "id0#1", "id1#0", "id1#1")
    assert [read.image_id[row] for row in read.image_of_text] == [name.split("#")[0] for name in read.caption_id]
    assert read.columns["source"][:3] == ("even", "odd", "even")
    assert read.columns["label"][:4] == ("kind0", "kind1", "kind2", "kind0")
    assert (read.logit_scale, read.logit_bias, read.logit_scale_source) == (20.0, None, "model")


def test_what_it_was_made_from_comes_back(tmp_path):
    pairs = replace(tiny_pairs(tmp_path / "images", 20), notes=("odd",))
    made = load(extracted(tmp_path / "out", pairs)).made_from
    wanted = {"dataset": "tiny-set", "split": "test", "language": "en", "licence": "CC0", "model": "tiny"}
    assert wanted.items() <= made.items()
    assert made["notes"] == ["odd", "tiny"]
    assert made["skipped"] == []
    # 18 images have captions of 9 and 14 characters; the longer ones exceed the context of 12
    assert made["truncated_texts"] == 18
    assert len(made["data_sha256"]) == 64


def test_images_of_twelve_bits_in_sixteen_are_counted_and_told(tmp_path):
    pairs = tiny_pairs(tmp_path / "images", 20)
    Image.fromarray(np.full((SIDE, SIDE), 0xFFF, np.uint16)).save(tmp_path / "deep.png")
    for place in (0, 13):  # in two shards
        image = replace(pairs.pairs[place], image=ImageFile(tmp_path / "deep.png"))
        pairs = replace(pairs, pairs=[*pairs.pairs[:place], image, *pairs.pairs[place + 1 :]])
    read = load(extracted(tmp_path / "out", pairs))
    assert read.made_from["twelve_bit_images"] == 2
    assert any(line.startswith("2 images of 16 bits") for line in measure(read, bootstrap=0).warnings)
    assert "twelve_bit_images" not in load(extracted(tmp_path / "plain", tiny_pairs(tmp_path / "p", 9))).made_from


def test_batches_have_one_size_and_never_straddle_shards(tmp_path):
    encoder = TinyEncoder()
    extracted(tmp_path / "out", tiny_pairs(tmp_path / "images", 21), encoder, batch_size=5)
    assert encoder.batch_shapes == {(5, 3, SIDE, SIDE), (5, CONTEXT)}
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert [record["inputs"] for record in manifest["shards"]] == [[0, 8], [8, 16], [16, 21]]
    assert [record["image_rows"] for record in manifest["shards"]] == [8, 8, 5]


def test_a_small_set_pays_for_no_more_than_itself(tmp_path):
    encoder = TinyEncoder()
    extract(encoder, tiny_pairs(tmp_path / "images", 3), tmp_path / "out")
    assert (3, 3, SIDE, SIDE) in encoder.batch_shapes


def test_the_layout_is_what_autofaiss_and_clip_retrieval_read(tmp_path):
    out = extracted(tmp_path / "out", tiny_pairs(tmp_path / "images", 20, bad=(1,)))
    for kind, table in (("img", "metadata"), ("text", "text_metadata")):
        vectors = sorted(os.listdir(out / f"{kind}_emb"))
        tables = sorted(os.listdir(out / table))
        assert vectors == [f"{kind}_emb_{i:04}.npy" for i in range(3)]
        assert tables == [f"{table}_{i:04}.parquet" for i in range(3)]
        for vector_file, table_file in zip(vectors, tables, strict=True):
            rows = np.load(out / f"{kind}_emb" / vector_file, mmap_mode="r")
            assert rows.dtype == np.float32
            assert rows.shape == (pq.read_metadata(out / table / table_file).num_rows, DIM)
            assert np.abs(np.linalg.norm(rows, axis=1) - 1).max() < 5e-7  # 4 ulp: made unit and summed in float32
    columns = pq.read_table(out / "metadata/metadata_0000.parquet").to_pydict()
    assert {"image_path", "image_id", "label", "caption"} <= columns.keys()
    assert columns["caption"][0] == "picture 0"
    # counted over all shards: the first has 7 images, since one is bad
    assert pq.read_table(out / "text_metadata/text_metadata_0001.parquet").to_pydict()["image_row"][0] == 7


def test_raw_keeps_the_lengths(tmp_path):
    pairs = tiny_pairs(tmp_path / "images", 8)
    read = load(extracted(tmp_path / "out", pairs, raw=True))
    assert torch.allclose(read.image_norms.float(), direct_rows(pairs)[0].norm(dim=1), rtol=1e-6)
    assert not json.loads((tmp_path / "out/manifest.json").read_text())["normalised"]


def test_a_bad_image_is_skipped_named_and_moves_nothing(tmp_path):
    clean = tree(extracted(tmp_path / "clean", tiny_pairs(tmp_path / "images", 41)))
    pairs, recorder = tiny_pairs(tmp_path / "images", 41, bad=(10,)), Recorder()
    os.remove(tmp_path / "images/030.png")
    out = extracted(tmp_path / "out", pairs, progress=recorder)
    read, dirty = load(out), tree(out)
    assert read.image_id == tuple(f"id{i}" for i in range(41) if i not in (10, 30))
    assert not {"id10#0", "id30#1"} & set(read.caption_id)
    first, second = read.made_from["skipped"]
    assert (first["image_id"], first["path"]) == ("id10", "010.png")
    assert "not an image" in first["reason"]
    assert second == {"input": 30, "image_id": "id30", "path": "030.png", "reason": "No such file or directory"}
    assert recorder.lines[-1].startswith("2 images skipped, named in ")
    assert "010.png" in recorder.lines[-1]
    assert recorder.stages[-1] == ("encoding", 41 + 2 * 36, 41 + 2 * 36, "2 skipped")
    assert recorder.stages[0][3] == ""
    for number in (0, 2, 4):  # shards without a bad image
        assert dirty[f"img_emb/img_emb_{number:04}.npy"] == clean[f"img_emb/img_emb_{number:04}.npy"]
        assert dirty[f"text_emb/text_emb_{number:04}.npy"] == clean[f"text_emb/text_emb_{number:04}.npy"]
    rows = [np.load(tmp_path / name / "img_emb/img_emb_0001.npy") for name in ("clean", "out")]
    assert np.array_equal(np.delete(rows[0], 2, axis=0), rows[1])  # its neighbours in the batch are the same
    # each text still stands by its image
    assert [read.image_id[row] for row in read.image_of_text] == [name.split("#")[0] for name in read.caption_id]


def test_images_of_a_table_that_are_missing_are_said_with_the_folder_searched(tmp_path):
    (tmp_path / "t.csv").write_text("filepath,title\n" + "".join(f"{k}.png,text {k}\n" for k in range(8)))
    where = re.escape(f"looked for in {tmp_path}, image_root names another folder")
    with pytest.raises(InputError, match=rf"of 8 images cannot be used.*No such file.*; {where}$"):
        embed(TinyEncoder(), f"csv:{tmp_path / 't.csv'}", out=tmp_path / "store")
    (tmp_path / "there").mkdir()
    for k in range(8):
        (tmp_path / "there" / f"{k}.png").write_bytes(png(k))
    made = embed(TinyEncoder(), f"csv:{tmp_path / 't.csv'}", out=tmp_path / "more", image_root=tmp_path / "there")
    assert made.image.shape[0] == 8


FLICKR8K = {
    "dataset_flickr8k.json": {
        "images": [{"filename": f"{k}.jpg", "split": "test", "sentences": [{"raw": f"{k}"}]} for k in range(3)]
    }
} | {f"images/{k}.jpg": jpeg() for k in range(3)}


@pytest.mark.parametrize(("data", "files", "folder"), [("coco", COCO, "val2017"), ("flickr8k", FLICKR8K, "images")])
def test_photos_that_a_list_names_and_nobody_has_are_refused_with_the_folder_searched(tmp_path, data, files, folder):
    write(tmp_path, files)
    for photo in (tmp_path / folder).iterdir():
        photo.unlink()
    with pytest.raises(InputError, match=f"looked for in {re.escape(str(tmp_path / folder))}, place them there$"):
        embed(TinyEncoder(), data, data_root=tmp_path, out=tmp_path / "store")
    write(tmp_path, files)
    assert embed(TinyEncoder(), data, data_root=tmp_path, out=tmp_path / "more").made_from["skipped"] == []


def test_more_than_a_tenth_missing_is_an_error_as_soon_as_it_is_certain(tmp_path):
    pairs, done = tiny_pairs(tmp_path / "images", 30, bad=(1, 9, 10, 11, 20, 21)), []
    with pytest.raises(InputError, match=r"4 of 30 images cannot be used, more than a tenth; first: 001.png") as caught:
        extracted(tmp_path / "out", pairs, progress=Recorder(done.append))
    assert "\n" not in str(caught.value)
    assert all(name in str(caught.value) for name in ("001.png", "009.png", "010.png"))
    assert max(done) < 30
    with pytest.raises(InputError, match="is unfinished"):
        load(tmp_path / "out")
    exactly_a_tenth = tiny_pairs(tmp_path / "others", 30, bad=(1, 9, 10))
    assert len(load(extracted(tmp_path / "enough", exactly_a_tenth)).image) == 27


def test_an_image_whose_embedding_has_no_direction_is_skipped(tmp_path):
    def spoil(rows):
        rows = rows.clone()
        rows[1, 3] = torch.nan
        rows[2] = 0
        rows[3, 0] = torch.inf
        return rows

    pairs = tiny_pairs(tmp_path / "images", 40)
    read = load(extracted(tmp_path / "out", pairs, TinyEncoder(spoil=spoil), batch_size=40, shard_rows=40))
    assert [entry["image_id"] for entry in read.made_from["skipped"]] == ["id1", "id2", "id3"]
    assert {entry["reason"] for entry in read.made_from["skipped"]} == {"its embedding is zero or not finite"}
    assert len(read.image) == 37


def test_a_text_whose_embedding_has_no_direction_is_dropped(tmp_path, monkeypatch):
    whole = TinyEncoder.encode_text
    pairs = tiny_pairs(tmp_path / "images", 8)
    spoiled = TinyEncoder().tokenize(pairs.pairs[1].captions[1:])[0]

    def spoil(self, tokens):
        rows = whole(self, tokens)
        rows[(tokens == spoiled).all(dim=1)] = 0
        return rows

    monkeypatch.setattr(TinyEncoder, "encode_text", spoil)
    read = load(extracted(tmp_path / "out", pairs, batch_size=8))
    (entry,) = read.made_from["skipped"]
    assert (entry["image_id"], entry["caption_id"]) == ("id1", "id1#1")
    assert "id1#1" not in read.caption_id
    assert len(read.image) == 8


def test_a_missing_package_is_no_bad_image(tmp_path):
    @dataclass(frozen=True)
    class Rendered:
        path: str = "drawn.svg"

        def read(self):
            raise NotAvailableError("pictures need the package resvg-py")

        def identity(self):
            return ""

    pairs = tiny_pairs(tmp_path / "images", 30)
    pairs = replace(pairs, pairs=[replace(pairs.pairs[0], image=Rendered()), *pairs.pairs[1:]])
    with pytest.raises(NotAvailableError, match="resvg-py"):
        extracted(tmp_path / "out", pairs)


def test_the_data_are_known_by_their_content_whatever_the_shards(tmp_path):
    pairs = tiny_pairs(tmp_path / "images", 20, bad=(3,))
    sha256 = lambda name, pairs, **options: load(extracted(tmp_path / name, pairs, **options)).made_from["data_sha256"]  # noqa: E731
    first = sha256("a", pairs)
    assert sha256("b", pairs, shard_rows=5, batch_size=2) == first
    (tmp_path / "images/007.png").write_bytes(png(99))
    assert sha256("c", pairs) != first
    os.utime(tmp_path / "images/007.png")
    (tmp_path / "images/007.png").write_bytes(png(7))
    assert sha256("d", pairs) == first


def stop_after(batches):
    """Progress that raises Ctrl-C in the midst."""
    count = 0

    def stop(done):
        nonlocal count
        count += 1
        if count == batches:
            raise KeyboardInterrupt

    return Recorder(stop)


@pytest.mark.parametrize("batches", [1, 4, 7, 12, 19])
def test_a_run_that_was_stopped_ends_with_the_same_bytes(tmp_path, batches):
    pairs, recorder = tiny_pairs(tmp_path / "images", 30, bad=(2, 12)), Recorder()
    whole = tree(extracted(tmp_path / "whole", pairs))
    with pytest.raises(KeyboardInterrupt, match=r"of 4 shards are in .*; the same command continues"):
        extracted(tmp_path / "out", pairs, progress=stop_after(batches))
    finished = len(json.loads((tmp_path / "out/manifest.json").read_text())["shards"])
    extracted(tmp_path / "out", pairs, TinyEncoder(), progress=recorder)
    assert tree(tmp_path / "out") == whole
    assert f"{finished} of 4 shards are finished and used again" in recorder.lines[0]
    assert recorder.stages[-1][1] == recorder.stages[-1][2]


def test_finished_shards_are_not_encoded_again(tmp_path):
    pairs = tiny_pairs(tmp_path / "images", 30)
    with pytest.raises(KeyboardInterrupt):
        extracted(tmp_path / "out", pairs, progress=stop_after(18))
    finished = len(json.loads((tmp_path / "out/manifest.json").read_text())["shards"])
    calls = []
    encoder = TinyEncoder(spoil=lambda rows: calls.append(len(rows)) or rows)
    extracted(tmp_path / "out", pairs, encoder)
    assert finished > 0
    assert len(calls) == [8, 6, 4, 2][finished]  # two batches a shard


def test_a_finished_store_is_left_as_it_is(tmp_path):
    pairs, recorder = tiny_pairs(tmp_path / "images", 20), Recorder()
    out = extracted(tmp_path / "out", pairs)
    before = (out / "manifest.json").read_bytes()
    extracted(out, pairs, TinyEncoder(spoil=lambda rows: pytest.fail("encoded again")), progress=recorder)
    assert (out / "manifest.json").read_bytes() == before
    assert recorder.lines == [f"{out} is finished: nothing to do"]


@pytest.mark.parametrize("name", ["img_emb/img_emb_0001.npy", "text_metadata/text_metadata_0001.parquet"])
def test_a_damaged_shard_is_made_again(tmp_path, name):
    pairs, recorder = tiny_pairs(tmp_path / "images", 20, bad=(9,)), Recorder()
    out = extracted(tmp_path / "out", pairs)
    whole = tree(out)
    (out / name).write_bytes((out / name).read_bytes()[:-9])
    extracted(out, pairs, progress=recorder)
    assert tree(out) == whole
    assert "made again" in recorder.lines[0]
    assert name.split("/")[1] in recorder.lines[0]


def test_what_another_run_left_half_written_is_cleared(tmp_path):
    pairs = tiny_pairs(tmp_path / "images", 20)
    whole = tree(extracted(tmp_path / "whole", pairs))
    with pytest.raises(KeyboardInterrupt):
        extracted(tmp_path / "out", pairs, progress=stop_after(9))
    (tmp_path / "out/img_emb/.img_emb_0001.npy.12ab.geomclip-tmp").write_bytes(b"half")
    (tmp_path / "out/.geomclip.lock").write_text("stale")
    extracted(tmp_path / "out", pairs)
    assert tree(tmp_path / "out") == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: {"encoder": TinyEncoder(name="other")}, "model: tiny there, other here"),
        (lambda folder: {"pairs": tiny_pairs(folder, 19)}, "inputs: 20 there, 19 here"),
        (lambda folder: {"pairs": replace(tiny_pairs(folder, 20), split="val")}, "split: test there, val here"),
        (lambda folder: {"pairs": tiny_pairs(folder, 20, captions=3)}, "the data: its ids, captions"),
        (lambda folder: {"raw": True}, "normalised: True there, False here"),
        (lambda folder: {"batch_size": 8}, "batch_size: 4 there, 8 here"),
        (lambda folder: {"shard_rows": 16}, "shard_rows: 8 there, 16 here"),
    ],
)
def test_another_extraction_is_not_mixed_in(tmp_path, change, message):
    pairs = tiny_pairs(tmp_path / "images", 20)
    whole = tree(extracted(tmp_path / "out", pairs))
    with pytest.raises(InputError, match=message) as caught:
        extracted(tmp_path / "out", **{"pairs": pairs, **change(tmp_path / "images")})
    assert "\n" not in str(caught.value)
    assert tree(tmp_path / "out") == whole


def test_folders_and_files_of_others_are_left_alone(tmp_path):
    pairs = tiny_pairs(tmp_path / "images", 8)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"is not empty \(thesis.tex\) and no embedding store"):
        extracted(tmp_path / "out", pairs)
    assert os.listdir(tmp_path / "out") == ["thesis.tex"]
    with pytest.raises(InputError, match="is a file"):
        extracted(tmp_path / "out/thesis.tex", pairs)
    (tmp_path / "out/manifest.json").write_text('{"manifest_version": 3}')
    with pytest.raises(InputError, match="has schema 'None'"):
        extracted(tmp_path / "out", pairs)
    assert sorted(os.listdir(tmp_path / "out")) == ["manifest.json", "thesis.tex"]


def test_a_second_writer_is_refused(tmp_path):
    with Lock(tmp_path / "out"), pytest.raises(InputError, match=f"being written by process {os.getpid()}"):
        extracted(tmp_path / "out", tiny_pairs(tmp_path / "images", 8))


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"shard_rows": 0}, {"workers": -1}])
def test_impossible_settings_are_refused(tmp_path, options):
    with pytest.raises(InputError, match=r"at least 1|0 or more"):
        extracted(tmp_path / "out", tiny_pairs(tmp_path / "images", 8), **options)
    assert not (tmp_path / "out").exists()


def test_a_set_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no images"):
        extracted(tmp_path / "out", Pairs("none", "test", []))


def test_images_without_any_text_are_a_store_too(tmp_path):
    read = load(extracted(tmp_path / "out", tiny_pairs(tmp_path / "images", 8, captions=0)))
    assert read.text is None
    assert not (tmp_path / "out/text_emb").exists()


def class_pairs(folder, **changes):
    prompts = (("a photo of kind0", "kind0"), ("kind1",), ("a photo of kind2",))
    fields = {"classes": ("kind0", "kind1", "kind2"), "class_prompts": prompts}
    return tiny_pairs(folder, 20, bad=(4,), **{**fields, **changes})


def test_classes_have_the_mean_of_their_prompts(tmp_path):
    pairs = class_pairs(tmp_path / "images")
    read = load(extracted(tmp_path / "out", pairs))
    encoder = TinyEncoder()
    flat = [prompt for own in pairs.class_prompts for prompt in own]
    rows = torch.nn.functional.normalize(encoder.encode_text(encoder.tokenize(flat)[0]))
    mean = torch.nn.functional.normalize(rows[:2].mean(dim=0), dim=0)
    assert torch.allclose(read.class_text, torch.stack([mean, rows[2], rows[3]]), atol=1e-6)
    assert read.classes == pairs.classes
    assert read.labels.tolist() == [i % 3 for i in range(20) if i != 4]
    assert read.text is None
    with pytest.raises(KeyboardInterrupt):
        extracted(tmp_path / "again", pairs, progress=stop_after(4))
    assert tree(extracted(tmp_path / "again", pairs)) == tree(tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("kind0", "kind1", "kind1")}, "class name 'kind1' stands twice"),
        ({"classes": ("kind0", "kind1", "other")}, "label 'kind2', which is no class"),
        ({"class_prompts": (("a",), (), ("b",))}, "needs a prompt"),
    ],
)
def test_classes_that_cannot_be_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        extracted(tmp_path / "out", class_pairs(tmp_path / "images", **changes))


def test_embed_takes_from_the_cache_what_was_made_before(tmp_path):
    pairs = tiny_pairs(tmp_path / "images", 20)
    first = embed(TinyEncoder(), pairs, cache_dir=tmp_path / "cache")
    unused = TinyEncoder(spoil=lambda rows: pytest.fail("encoded again"))
    recorder = Recorder()
    second = embed(unused, pairs, cache_dir=tmp_path / "cache", progress=recorder)
    assert torch.equal(first.image, second.image)
    assert recorder.lines == []  # nobody asked for a folder of the cache
    assert second.made_from == first.made_from
    embed(TinyEncoder(name="other"), pairs, cache_dir=tmp_path / "cache")
    embed(TinyEncoder(), pairs, limit=10, cache_dir=tmp_path / "cache")
    (tmp_path / "images/003.png").write_bytes(png(50, side=11))
    changed = embed(TinyEncoder(), pairs, cache_dir=tmp_path / "cache")
    assert not torch.equal(first.image, changed.image)
    assert len(os.listdir(tmp_path / "cache/embeddings")) == 4
    assert len(embed(TinyEncoder(), pairs, limit=5, out=tmp_path / "out").image) == 5


def test_a_cached_store_that_was_damaged_is_mended(tmp_path):
    pairs = tiny_pairs(tmp_path / "images", 20)
    first = embed(TinyEncoder(), pairs, cache_dir=tmp_path / "cache")
    (shard,) = (tmp_path / "cache").rglob("img_emb_0000.npy")
    shard.write_bytes(b"")
    assert torch.equal(embed(TinyEncoder(), pairs, cache_dir=tmp_path / "cache").image, first.image)


def test_workers_do_not_change_how_many_threads_torch_has(tmp_path):
    before = torch.get_num_threads()
    pairs = tiny_pairs(tmp_path, 9).pairs
    try:
        torch.set_num_threads(3)
        with Encoding(TinyEncoder(), batch=4, workers=2) as encoding:
            encoding.finished(encoding.images(pairs), lambda done, reasons: None)
            assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as pool:  # threads to come ask what the last call set
            assert pool.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_number_of_workers_and_of_torch_threads_changes_no_byte(tmp_path, workers):
    pairs, before = tiny_pairs(tmp_path / "images", 30, bad=(2, 12)), torch.get_num_threads()
    whole = tree(extracted(tmp_path / "whole", pairs, workers=2))
    try:
        torch.set_num_threads(1 + workers)
        assert tree(extracted(tmp_path / "out", pairs, workers=workers)) == whole
    finally:
        torch.set_num_threads(before)


def test_there_are_as_many_workers_as_torch_has_threads():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert Encoding(TinyEncoder(), batch=4).workers == 3
    finally:
        torch.set_num_threads(before)


def test_the_next_shard_is_begun_before_this_one_is_written(tmp_path):
    encoder = TinyEncoder(spoil=lambda rows: begun.append(len(rows)) or rows)
    begun, written = [], []

    def wait(done):
        if done == 8:  # all of the first shard, whose last batch has been handed over
            while len(begun) < 4 and len(written) < 5000:
                written.append(time.sleep(0.002))

    extracted(
        tmp_path / "out", tiny_pairs(tmp_path / "images", 30, captions=0), encoder, progress=Recorder(wait), workers=2
    )
    assert len(written) < 5000


def test_pixels_are_handed_over_as_bytes_where_the_encoder_takes_them(tmp_path):
    class Bytes:
        def __call__(self, image):
            raise AssertionError("bytes were to be asked for")

        def uint8(self, image):
            return (tiny_preprocess(image) * 255).round().to(torch.uint8)

    class OfBytes(TinyEncoder):
        def preprocess(self):
            return Bytes()

        def encode_image(self, pixels):
            assert pixels.dtype == torch.uint8
            return super().encode_image(pixels.float() / 255)

    pairs = tiny_pairs(tmp_path / "images", 8)
    read = load(extracted(tmp_path / "out", pairs, OfBytes()))
    assert torch.equal(read.image, load(extracted(tmp_path / "floats", pairs)).image)


class Watched(TinyEncoder):
    """Keeps the most calls of one of its methods that were under way at a time."""

    def __init__(self):
        super().__init__()
        self.lock, self.now, self.most = threading.Lock(), 0, 0

    def watched(self, call, argument):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.005)
        with self.lock:
            self.now -= 1
        return call(argument)


def test_the_tokenizer_is_used_by_one_thread_at_a_time():
    class Tokenizing(Watched):
        def tokenize(self, texts):
            return self.watched(super().tokenize, texts)

    encoder = Tokenizing()
    with Encoding(encoder, batch=2, workers=4) as encoding:
        encoded = encoding.finished(encoding.texts(["text"] * 40), lambda done, reasons: None)
    assert (len(encoded.rows), encoder.most) == (40, 1)


def test_on_a_gpu_two_batches_are_under_way_however_many_workers_there_are(monkeypatch):
    class OnGpu(Watched):
        device = "cuda"

        def encode_text(self, tokens):
            assert in_stream.stream in streams
            return self.watched(super().encode_text, tokens)

    @contextmanager
    def stream(chosen):
        in_stream.stream = chosen
        yield
        in_stream.stream = None

    in_stream, streams = threading.local(), []
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: streams.append(len(streams)) or streams[-1])
    monkeypatch.setattr(torch.cuda, "stream", stream)
    encoder = OnGpu()
    with Encoding(encoder, batch=2, workers=6) as encoding:
        encoding.finished(encoding.texts(["text"] * 60), lambda done, reasons: None)
    assert (encoder.most, streams) == (2, [0, 1])


def test_decoding_ahead_is_bounded(tmp_path):
    begun = []

    class Counting(TinyEncoder):
        def preprocess(self):
            return lambda image: begun.append(1) or tiny_preprocess(image)

        def encode_image(self, pixels):
            ahead.append(len(begun) - done[0])
            done[0] += len(pixels)
            return super().encode_image(pixels)

    ahead, done = [], [0]
    extracted(tmp_path / "out", tiny_pairs(tmp_path / "images", 60), Counting(seconds=0.02), shard_rows=60, workers=3)
    assert max(ahead) <= 3 * 4  # a batch for each worker


def test_a_key_is_for_one_extraction(tmp_path):
    pairs = tiny_pairs(tmp_path / "images", 8)
    assert Extraction(TinyEncoder(), pairs).key() == Extraction(TinyEncoder(), pairs).key()
    assert Extraction(TinyEncoder(), pairs).key() != Extraction(TinyEncoder(), pairs, raw=True).key()


def test_two_that_need_the_same_rows_of_the_cache_make_them_once(tmp_path):
    pairs = tiny_pairs(tmp_path / "images", 20)
    encoders = [TinyEncoder(seconds=0.02) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda encoder: embed(encoder, pairs, cache_dir=tmp_path / "cache"), encoders)
    assert torch.equal(one.image, two.image)
    assert sum(bool(encoder.batch_shapes) for encoder in encoders) == 1


def test_a_store_that_another_begins_at_this_moment_is_not_foreign(tmp_path, monkeypatch):
    listed = Path.iterdir

    def begun(folder):
        (folder / "manifest.json").write_text("{}")
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", begun)
    refuse_foreign(tmp_path)
    assert (tmp_path / "manifest.json").exists()


def test_an_error_names_options_as_who_called_writes_them(tmp_path):
    pairs = tiny_pairs(tmp_path / "images", 2)
    with pytest.raises(InputError, match=r"^batch_size and shard_rows must be at least 1, got 0 and 8$"):
        extract(TinyEncoder(), pairs, tmp_path / "out", batch_size=0, shard_rows=8)
    with command_line(), pytest.raises(InputError, match=r"^--batch-size and --shard-rows must be at least 1"):
        extract(TinyEncoder(), pairs, tmp_path / "out", batch_size=0, shard_rows=8)


# --- what the reader left out


def _read(left_out):
    tally = Tally()
    tally.use("files", 20)
    tally.leave_out("files", "an ending that is not read", "a.xyz", left_out)
    tally.understood("separated by tabs")
    return tally.read()


def test_what_the_reader_left_out_reaches_the_set_the_panel_and_its_result(tmp_path):
    pairs = replace(tiny_pairs(tmp_path / "images", 20), read=_read(3))
    embeddings = embed(TinyEncoder(), pairs, out=tmp_path / "store")
    assert embeddings.made_from["read"] == pairs.read.to_dict()
    panel = measure(embeddings, metrics="alignment", bootstrap=0)
    assert "3 of 23 files were left out: an ending that is not read (a.xyz, ...)" in panel.warnings
    assert "read: separated by tabs" in str(panel)
    record = json.loads(panel_json(panel))
    assert record["read"]["left_out"][0]["count"] == 3
    assert "read" not in record["made_from"]


def test_a_file_that_is_none_of_the_data_makes_nothing_anew_and_is_counted(tmp_path):
    pairs = tiny_pairs(tmp_path / "images", 20)
    extracted(tmp_path / "out", replace(pairs, read=_read(1)), TinyEncoder())
    again = TinyEncoder()
    extracted(tmp_path / "out", replace(pairs, read=_read(2)), again)
    assert not again.batch_shapes
    assert load(tmp_path / "out").made_from["read"]["left_out"][0]["count"] == 2
