"""Features of other images are never taken for these, and images that are known are not read again."""

import io
import json
import os
import shutil
import tarfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recorder import Recorder
from tiny import TinyEncoder, png, tiny_pairs

from geomclip.embeddings.store import load
from geomclip.encoders.extraction import digests
from geomclip.encoders.extraction.calls import embed, extract
from geomclip.encoders.extraction.digests import Digests
from geomclip.machine.errors import InputError
from geomclip.machine.sums import unsealed
from geomclip.pairs import Source, load_pairs
from geomclip.pairs.emoji import EmojiImage, emoji_pairs
from geomclip.pairs.record import ImageFile, Pair, Pairs
from geomclip.panels import measure

pytestmark = pytest.mark.numeric

LONG_AGO = 10**18  # in ns since 1970


def refusing():
    return TinyEncoder(spoil=lambda rows: pytest.fail("encoded again"))


def extracted(folder, pairs, encoder=None, **options):
    return extract(encoder or TinyEncoder(), pairs, folder, **{"batch_size": 4, "shard_rows": 8, **options})


def bmp(seed):
    """A picture whose file is as long as that of any other."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(png(seed))).save(buffer, "BMP")
    return buffer.getvalue()


def written(folder, seeds):
    """A picture for each seed under the same names, sizes and times."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (folder / f"{number}.bmp").write_bytes(bmp(seed))
        os.utime(folder / f"{number}.bmp", ns=(LONG_AGO, LONG_AGO))
    images = [ImageFile(folder / f"{number}.bmp", f"{number}.bmp") for number in range(len(seeds))]
    return Pairs("set", "test", [Pair(f"id{i}", image, (f"text {i}",)) for i, image in enumerate(images)])


@pytest.fixture
def settled(monkeypatch):
    """Files count as settled 50 ms after they were changed; waits for that."""
    monkeypatch.setattr(digests, "SETTLED_NS", 50 * 10**6)
    return lambda: time.sleep(0.1)


@pytest.fixture
def reads(monkeypatch):
    """How often each image file is read."""
    counts, read = Counter(), ImageFile.read
    monkeypatch.setattr(ImageFile, "read", lambda image: counts.update([image.path]) or read(image))
    return counts


# --- which features are taken


def test_pictures_replaced_under_the_same_name_size_and_time_are_encoded(tmp_path, settled):
    cache = tmp_path / "cache"
    pairs = written(tmp_path / "data", range(6))
    before = pairs.fingerprint()
    settled()
    first = embed(TinyEncoder(), pairs, cache_dir=cache)
    pairs = written(tmp_path / "data", [0, 1, 2, 33, 4, 5])
    assert pairs.fingerprint() == before  # names, sizes and times say nothing of it
    settled()
    second = embed(TinyEncoder(), pairs, cache_dir=cache)
    truth = embed(TinyEncoder(), pairs, cache_dir=tmp_path / "other")
    assert torch.equal(second.image, truth.image)
    assert not torch.equal(second.image, first.image)
    assert second.made_from["data_sha256"] == truth.made_from["data_sha256"] != first.made_from["data_sha256"]
    written(tmp_path / "data", range(6))
    assert torch.equal(embed(refusing(), pairs, cache_dir=cache).image, first.image)  # as they were: known still


@settings(max_examples=8)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["write", "swap", "copy", "touch", "absent"]), st.integers(0, 3), st.integers(0, 3)),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_is_done_to_pictures_the_cache_gives_what_encoding_gives(tmp_path_factory, steps):
    place = tmp_path_factory.mktemp("steps")
    data, kept = place / "data", digests.SETTLED_NS
    digests.SETTLED_NS = 20 * 10**6
    try:
        pairs = written(data, range(40))  # as many as may lose four of them
        for kind, one, other in [("touch", 0, 0), *steps]:
            first, second = data / f"{one}.bmp", data / f"{other}.bmp"
            if kind == "write":
                first.write_bytes(bmp(50 + other))
            elif kind == "absent":
                first.unlink(missing_ok=True)
            elif first.exists() and second.exists() and one != other and kind == "swap":
                for source, target in ((first, data / "aside"), (second, first), (data / "aside", second)):
                    source.rename(target)
            elif first.exists() and one != other and kind == "copy":
                shutil.copy2(first, second)
            if first.exists():
                os.utime(first, ns=(LONG_AGO, LONG_AGO))
            time.sleep(0.05)
            found = embed(TinyEncoder(), pairs, cache_dir=place / "cache", batch_size=8)
            truth = load(extracted(place / "truth", pairs, batch_size=8, cache_dir=place / "none"))
            shutil.rmtree(place / "truth")
            assert torch.equal(found.image, truth.image)
            assert found.made_from["data_sha256"] == truth.made_from["data_sha256"]
            assert found.made_from["skipped"] == truth.made_from["skipped"]
    finally:
        digests.SETTLED_NS = kept


def test_a_copy_of_the_data_elsewhere_is_not_encoded_anew(tmp_path):
    pairs = tiny_pairs(tmp_path / "images", 20, bad=(3,))
    first = embed(TinyEncoder(), pairs, cache_dir=tmp_path / "cache")
    copied = tiny_pairs(tmp_path / "copied", 20, bad=(3,))  # with other times
    second = embed(refusing(), copied, cache_dir=tmp_path / "cache")
    assert torch.equal(first.image, second.image)
    assert second.made_from == first.made_from


def test_a_skipped_picture_that_was_mended_is_encoded(tmp_path):
    pairs = tiny_pairs(tmp_path / "images", 20, bad=(3,))
    os.remove(tmp_path / "images/005.png")
    assert len(embed(TinyEncoder(), pairs, cache_dir=tmp_path / "cache").image) == 18
    assert len(embed(refusing(), pairs, cache_dir=tmp_path / "cache").image) == 18
    (tmp_path / "images/003.png").write_bytes(png(3))
    assert len(embed(TinyEncoder(), pairs, cache_dir=tmp_path / "cache").image) == 19
    (tmp_path / "images/005.png").write_bytes(png(5))
    assert len(embed(TinyEncoder(), pairs, cache_dir=tmp_path / "cache").image) == 20


def test_a_picture_replaced_within_a_tar_is_encoded(tmp_path, settled):
    def packed(seeds):
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            for number, seed in enumerate(seeds):
                for ending, content in (("bmp", bmp(seed)), ("txt", b"text")):
                    member = tarfile.TarInfo(f"{number:03}.{ending}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        os.utime(tmp_path / "a.tar", ns=(LONG_AGO, LONG_AGO))
        settled()
        return load_pairs(Source(f"wds:{tmp_path / 'a.tar'}"))

    first = embed(TinyEncoder(), packed(range(6)), cache_dir=tmp_path / "cache")
    second = embed(TinyEncoder(), packed([0, 1, 2, 3, 44, 5]), cache_dir=tmp_path / "cache")
    assert [torch.equal(*rows) for rows in zip(first.image, second.image, strict=True)] == [True] * 4 + [False, True]


def test_a_run_that_was_stopped_does_not_go_on_with_other_pictures(tmp_path):
    pairs = tiny_pairs(tmp_path / "images", 30)

    def stop(done):
        if done > 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extracted(tmp_path / "out", pairs, progress=Recorder(stop))
    assert json.loads((tmp_path / "out/manifest.json").read_text())["shards"]
    content = (tmp_path / "images/002.png").read_bytes()
    (tmp_path / "images/002.png").write_bytes(png(99))
    with pytest.raises(InputError) as caught:
        extracted(tmp_path / "out", pairs)
    shards = len(json.loads((tmp_path / "out/manifest.json").read_text())["shards"])
    assert str(caught.value) == (
        f"{tmp_path / 'out'} holds another extraction (the bytes of 1 of {min(30, 8 * shards)} images are others now; "
        "first: 002.png): name a new folder"
    )
    assert len(load(extracted(tmp_path / "new", pairs)).image) == 30  # the way out
    (tmp_path / "images/002.png").write_bytes(content)
    assert len(load(extracted(tmp_path / "out", pairs)).image) == 30


@pytest.mark.parametrize("changed", [False, True])
def test_a_store_of_an_earlier_version_is_continued_unless_its_pictures_are_others(tmp_path, changed):
    pairs = written(tmp_path / "data", range(20))
    out = extracted(tmp_path / "out", pairs)
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["written"]["texts_sha256"]
    manifest["written"]["data_fingerprint"] = pairs.fingerprint()
    for shard in manifest["shards"]:
        del shard["skipped_sha256"]
    (out / "manifest.json").write_text(json.dumps(unsealed(manifest)))
    assert len(load(out).image) == 20
    if changed:
        written(tmp_path / "data", [*range(19), 33])
        with pytest.raises(InputError, match="1 of 20 images are others now"):
            extracted(out, pairs, refusing())
    else:
        assert extracted(out, pairs, refusing()) == out
        os.utime(tmp_path / "data/3.bmp")
        with pytest.raises(InputError, match="or the size or time of an image file"):
            extracted(out, pairs, refusing())


# --- what is read


def test_a_later_run_reads_only_what_was_changed(tmp_path, settled, reads):
    pairs = tiny_pairs(tmp_path / "images", 20)
    settled()
    embed(TinyEncoder(), pairs, cache_dir=tmp_path / "cache")
    assert set(reads.values()) == {1}  # digests are made of the bytes that are decoded
    embed(refusing(), pairs, cache_dir=tmp_path / "cache")
    embed(refusing(), pairs, cache_dir=tmp_path / "cache")
    assert set(reads.values()) == {1}
    os.utime(tmp_path / "images/004.png")
    settled()
    reads.clear()
    embed(refusing(), pairs, cache_dir=tmp_path / "cache")
    embed(refusing(), pairs, cache_dir=tmp_path / "cache")
    assert reads == {"004.png": 1}
    embed(TinyEncoder(name="other"), pairs, cache_dir=tmp_path / "cache")
    assert len(next((tmp_path / "cache/digests").iterdir()).read_bytes()) == 64 * (1 + 20 + 1)  # none is kept twice


def test_a_file_that_was_just_changed_is_read_again(tmp_path, reads):
    pairs = tiny_pairs(tmp_path / "images", 4)
    embed(TinyEncoder(), pairs, cache_dir=tmp_path / "cache")
    embed(refusing(), pairs, cache_dir=tmp_path / "cache")
    assert set(reads.values()) == {2}  # within two seconds: it may change again at the same time
    assert not (tmp_path / "cache/digests").exists()


def test_two_texts_for_one_place_of_one_path_are_known_apart(tmp_path, settled):
    file = tmp_path / "a"
    file.write_bytes(b"ab")
    settled()

    class Part(ImageFile):
        @property
        def place(self):
            return super().place._replace(within=self.shown)

        def read(self):
            return self.file.read_bytes()[int(self.shown) :]

    parts = [Part(file, "0"), Part(file, "1")]
    one, two = Digests(parts, tmp_path / "cache").sha256([0, 1])
    assert one != two
    assert Digests(parts, tmp_path / "cache").sha256([1, 0]) == [two, one]


def test_pictures_that_lie_in_no_file_are_read_each_time(tmp_path):
    class Made:
        path = "made.png"

        def __init__(self, seed):
            self.seed = seed

        def read(self):
            return png(self.seed)

        def identity(self):
            return ""

    def rows(seed):
        pairs = Pairs("made", "test", [Pair(f"id{i}", Made(seed + i), ("a text",)) for i in range(2)])
        return embed(TinyEncoder(), pairs, cache_dir=tmp_path / "cache").image

    assert torch.equal(rows(1), rows(1))
    assert not torch.equal(rows(1), rows(2))


def test_emoji_that_are_known_are_not_rendered_again(tmp_path, monkeypatch):
    pairs = emoji_pairs("test").limited(4)
    first = embed(TinyEncoder(), pairs, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(EmojiImage, "read", lambda image: pytest.fail("rendered again"))
    assert torch.equal(embed(refusing(), pairs, cache_dir=tmp_path / "cache").image, first.image)
    assert emoji_pairs("test").pairs[0].image.place != replace(pairs.pairs[0].image, size=9).place


# --- the file of digests


def kept_file(cache: Path) -> Path:
    (file,) = (cache / "digests").iterdir()
    return file


def settled_pairs(tmp_path, settled, n=20):
    pairs = tiny_pairs(tmp_path / "images", n)
    settled()
    embed(TinyEncoder(), pairs, cache_dir=tmp_path / "cache")
    return pairs


@pytest.mark.parametrize(
    ("damage", "again", "told"),
    [
        (lambda content: content[:-10], 1, ""),
        (lambda content: content + b"half of a record", 0, ""),
        (lambda content: b"", 20, "is made anew: it is damaged, or of another version"),
        (lambda content: content.replace(b"digests/1", b"digests/0"), 20, "is made anew"),
        (lambda content: content[:-20] + bytes(20), 1, "is damaged: 1 of 20 digests are made anew"),
        (lambda content: content[: 64 * 5 + 30] + b"?" + content[64 * 5 + 31 :], 1, "is damaged"),
        (lambda content: content[:64] + bytes(64 * 20), 20, "20 of 20 digests"),
    ],
)
def test_a_damaged_file_of_digests_is_made_anew(tmp_path, settled, reads, damage, again, told):
    pairs = settled_pairs(tmp_path, settled)
    file, recorder = kept_file(tmp_path / "cache"), Recorder()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    reads.clear()
    embed(refusing(), pairs, cache_dir=tmp_path / "cache", progress=recorder)
    assert sum(reads.values()) == again
    lines = [line for line in recorder.lines if "finished" not in line]
    assert [told in line and str(file) in line for line in lines] == [True] * bool(told)
    reads.clear()
    recorder = Recorder()
    embed(refusing(), pairs, cache_dir=tmp_path / "cache", progress=recorder)
    assert not reads
    assert recorder.lines == []
    if again:
        assert sorted(cut(file.read_bytes())) == sorted(cut(whole))


def cut(content):
    return [content[at : at + 64] for at in range(0, len(content), 64)]


def test_a_file_of_digests_that_is_a_link_is_not_written_through(tmp_path, settled, reads):
    pairs = settled_pairs(tmp_path, settled)
    file = kept_file(tmp_path / "cache")
    file.rename(tmp_path / "mine")
    file.symlink_to(tmp_path / "mine")
    before = (tmp_path / "mine").read_bytes()
    recorder = Recorder()
    reads.clear()
    embed(refusing(), pairs, cache_dir=tmp_path / "cache", progress=recorder)
    assert sum(reads.values()) == 20
    assert "is made anew" in recorder.lines[0]
    assert (tmp_path / "mine").read_bytes() == before
    assert file.read_bytes() == before
    assert not file.is_symlink()


def test_a_cache_that_cannot_be_written_costs_only_the_reading(tmp_path, settled):
    pairs, recorder = tiny_pairs(tmp_path / "images", 20), Recorder()
    settled()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/digests").write_text("a file where the folder would be")
    assert len(load(extracted(tmp_path / "out", pairs, cache_dir=tmp_path / "cache", progress=recorder)).image) == 20
    extracted(tmp_path / "out", pairs, refusing(), cache_dir=tmp_path / "cache")
    told = [line for line in recorder.lines if "digests of images are not kept" in line]
    assert len(told) == 1  # for three shards


def test_processes_that_keep_digests_at_once_lose_none(tmp_path, settled):
    images = [pair.image for pair in tiny_pairs(tmp_path / "images", 60).pairs]
    settled()
    Digests(images, tmp_path / "cache").sha256([0])  # the file is there
    with ThreadPoolExecutor(4) as pool:
        parts = [range(start, 60, 4) for start in range(4)]
        made = list(pool.map(lambda places: Digests(images, tmp_path / "cache").sha256(places), parts))
    assert len({digest for part in made for digest in part}) == 60
    assert len(Digests(images, tmp_path / "cache")._records) == 60


def test_digests_of_files_that_were_replaced_do_not_pile_up(tmp_path, settled, monkeypatch):
    monkeypatch.setattr(digests, "READ_AT_ONCE", 4)
    images = [pair.image for pair in tiny_pairs(tmp_path / "images", 8).pairs]
    sizes = []
    for seconds in range(8):
        for image in images:
            os.utime(image.file, (seconds, seconds))
        settled()
        Digests(images, tmp_path / "cache").sha256(range(8))
        sizes.append(kept_file(tmp_path / "cache").stat().st_size // 64 - 1)
    assert max(sizes) <= 2 * 8 + 4 + 8
    monkeypatch.setattr(digests, "MOST_RECORDS", 4)
    few = Digests(images[:1], tmp_path / "cache")
    assert len(few._records) == 4


# --- copies


def test_equal_files_under_two_names_are_counted(tmp_path):
    pairs = written(tmp_path / "data", [0, 1, 2, 0, 3, 0, 1, 4])
    made_from = embed(TinyEncoder(), pairs, cache_dir=tmp_path / "cache").made_from
    copies = "5 of 8 images have a copy by file: the same bytes under another name"
    assert made_from["notes"] == ["tiny", copies]
    panel = measure(load(extracted(tmp_path / "out", pairs)), metrics="alignment", bootstrap=0)
    assert copies in panel.warnings
    other = written(tmp_path / "other", range(8))
    assert embed(TinyEncoder(), other, cache_dir=tmp_path / "cache").made_from["notes"] == ["tiny"]
