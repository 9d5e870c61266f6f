"""Bad input end to end: one line, the right exit code, nothing half written, no traceback."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import stat
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Done, assert_one_line, folder_of_pairs, picture, run_cli, small_set
from pair_files import COCO, KARPATHY, write
from tiny_models import tiny_model

from geomclip.machine.sums import sealed

Cli = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Cli:
    return lambda *arguments: run_cli(capsys, *arguments)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local-dir:{tiny_model(tmp_path_factory.mktemp('model') / 'tiny')}"


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def check_refused(run: Cli, model: str, tmp_path: Path) -> Callable[..., None]:
    """Runs `measure` on data; it must be refused with 2, one line that says this, and no output file."""

    def check(data: str, *expected: str, code: int = 2, more: tuple[str, ...] = ()) -> None:
        out = tmp_path / "out"
        out.mkdir()
        cache = tmp_path / "cache"
        arguments = ["--model", model, "--data", data, "--workers", 0, "--cache-dir", cache, *more]
        assert_one_line(run("measure", *arguments, "--out", out / "r.json"), code, *expected)
        assert names(out) == set()

    return check


def bomb() -> bytes:
    """A PNG of a few bytes that says it is 100,000 pixels wide and high."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


# --- images


BAD_IMAGES = {
    "cut short": ("jpg", picture(0, (64, 64), "JPEG")[:300]),
    "bomb": ("png", bomb()),
    "text": ("jpg", b"this is no picture\n" * 20),
    "empty": ("jpg", b""),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_one_bad_image_among_forty_good_ones_is_skipped_and_named(
    run: Cli, model: str, tmp_path: Path, kind: str
) -> None:
    suffix, content = BAD_IMAGES[kind]
    data = folder_of_pairs(tmp_path / "pairs", 40)
    (data / f"bad.{suffix}").write_bytes(content)
    (data / "bad.txt").write_text("a bad one")
    arguments = ["--model", model, "--data", f"folder:{data}", "--workers", 0, "--cache-dir", tmp_path / "cache"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = run("measure", *arguments, "--bootstrap", 0, "--metrics", "alignment", "--json")
    assert done.code == 0, done.err
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024  # MB; Linux counts in KB
    assert grown < 600, "a first run loads the libraries, 300 MB; the bomb decoded would be 30 GB"
    result = json.loads(done.out)
    assert result["n_images"] == 40
    (skipped,) = result["skipped"]
    assert skipped["path"] == f"bad.{suffix}"
    assert skipped["reason"]
    table = run("measure", *arguments, "--bootstrap", 0, "--metrics", "alignment")
    assert f"! 1 image skipped: bad.{suffix} (" in " ".join(table.out.split())
    assert "Traceback" not in done.err + table.err


def test_many_bad_images_are_an_error(check_refused: Callable[..., None], tmp_path: Path) -> None:
    data = folder_of_pairs(tmp_path / "pairs", 8)
    for name in ("000", "001"):
        (data / f"{name}.png").write_bytes(b"no picture")
    check_refused(f"folder:{data}", "2 of 8 images", "000.png")


# --- data sets


def test_an_empty_folder_is_refused(check_refused: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check_refused(f"folder:{tmp_path / 'empty'}", "empty")


def test_a_folder_that_is_not_there_is_refused(check_refused: Callable[..., None], tmp_path: Path) -> None:
    check_refused(f"folder:{tmp_path / 'nowhere'}", "nowhere")


def test_a_csv_without_the_column_is_refused(check_refused: Callable[..., None], tmp_path: Path) -> None:
    write(tmp_path, {"a.csv": "filepath,legend\na.png,x\n"})
    check_refused(f"csv:{tmp_path / 'a.csv'}", "a.csv", "title", "legend")


def test_a_csv_in_another_encoding_is_refused(check_refused: Callable[..., None], tmp_path: Path) -> None:
    write(tmp_path, {"a.csv": "filepath,title\na.png,caf\u00e9\n".encode("latin-1")})
    check_refused(f"csv:{tmp_path / 'a.csv'}", "a.csv", "UTF-8")


def test_a_caption_of_a_million_characters_is_cut_and_counted(run: Cli, model: str, tmp_path: Path) -> None:
    data = folder_of_pairs(tmp_path / "pairs", 3)
    (data / "000.txt").write_text("a cat " * 170_000)
    arguments = ["--model", model, "--data", f"folder:{data}", "--workers", 0, "--cache-dir", tmp_path / "cache"]
    done = run("measure", *arguments, "--bootstrap", 0, "--metrics", "alignment,truncated_text_share", "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["metrics"]["truncated_text_share"] >= 1 / 3
    assert result["warnings"]


@pytest.mark.parametrize(("data", "files"), [("coco", COCO), ("flickr8k", KARPATHY)])
def test_json_cut_in_half_is_refused(
    check_refused: Callable[..., None], tmp_path: Path, data: str, files: dict[str, Any]
) -> None:
    root = write(tmp_path / data, files)
    (annotations,) = root.rglob("*.json")
    annotations.write_bytes(annotations.read_bytes()[: annotations.stat().st_size // 2])
    check_refused(data, annotations.name, more=("--data-root", str(root)))


def test_annotations_of_absent_images_are_an_error(check_refused: Callable[..., None], tmp_path: Path) -> None:
    root = write(tmp_path / "coco", COCO)
    for photo in root.rglob("*.jpg"):
        photo.unlink()
    check_refused("coco", "val2017", more=("--data-root", str(root)))


@pytest.mark.parametrize("name", ["../secret.jpg", "{absolute}", "a/../../secret.jpg"])
@pytest.mark.parametrize("data", ["coco", "flickr8k"])
def test_a_file_name_that_leaves_its_folder_is_refused(
    check_refused: Callable[..., None], tmp_path: Path, data: str, name: str
) -> None:
    (tmp_path / "secret.jpg").write_bytes(picture())
    root = write(tmp_path / data, COCO if data == "coco" else KARPATHY)
    (annotations,) = root.rglob("*.json")
    old = "003.jpg" if data == "coco" else "b.jpg"
    named = name.format(absolute=tmp_path / "secret.jpg")
    annotations.write_text(annotations.read_text().replace(old, named))
    check_refused(data, annotations.name, "secret.jpg", more=("--data-root", str(root)))


# --- embeddings


def npz(path: Path, **arrays: Any) -> Path:
    rows = small_set(6, 1)
    assert rows.text is not None
    np.savez(path, **{"image": rows.image.numpy(), "text": rows.text.numpy(), **arrays})
    return path


def with_row(value: float) -> np.ndarray[Any, Any]:
    rows = small_set(6, 1).image.numpy().copy()
    rows[3] = value
    return rows


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"image": with_row(float("nan"))}, "3"),
        ({"text": with_row(float("inf"))}, "3"),
        ({"image": with_row(0.0)}, "3"),
        ({"image": np.zeros((6, 9)) + 1}, "dimensions"),
        ({"image": np.ones(6)}, "image"),
        ({"text": np.ones((5, 16))}, "5 texts for 6 images"),
        ({"image_of_text": np.array([0, 1, 2, 3, 4, 9])}, "9"),
        ({"image": np.array([{}, []] * 3, dtype=object)}, "object"),
        ({"image": np.array(["a", "b"])}, "image"),
        ({"logit_scale": np.array(-1.0)}, "logit_scale"),
    ],
)
def test_bad_vectors_are_refused(run: Cli, tmp_path: Path, arrays: dict[str, Any], expected: str) -> None:
    file = npz(tmp_path / "bad.npz", **arrays)
    done = run("measure", "--embeddings", file, "--bootstrap", 0, "--out", tmp_path / "r.json")
    assert_one_line(done, 2, expected)
    assert names(tmp_path) == {"bad.npz"}


def test_an_object_array_is_never_unpickled(run: Cli, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    np.save(tmp_path / "trap.npy", np.array([Trap(), Trap()], dtype=object), allow_pickle=True)
    npz(tmp_path / "trap.npz", image=np.array([Trap()] * 6, dtype=object))
    for name in ("trap.npy", "trap.npz"):
        assert_one_line(run("measure", "--embeddings", tmp_path / name), 2, name)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and then nothing", b"\x93NUMPY", b"text"])
@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_a_file_that_is_no_array_is_refused(run: Cli, tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"bad.{suffix}").write_bytes(content)
    assert_one_line(run("measure", "--embeddings", tmp_path / f"bad.{suffix}"), 2, f"bad.{suffix}")


def test_embeddings_that_are_not_there_are_refused(run: Cli, tmp_path: Path) -> None:
    assert_one_line(run("measure", "--embeddings", tmp_path / "no.npz"), 2, "no.npz")
    (tmp_path / "empty").mkdir()
    assert_one_line(run("measure", "--embeddings", tmp_path / "empty"), 2, "empty")


@pytest.fixture
def store(run: Cli, model: str, tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    data = f"folder:{folder_of_pairs(tmp_path / 'pairs')}"
    done = run("extract", "--model", model, "--data", data, "--workers", 0, "--out", folder, "--shard-rows", 4)
    assert done.code == 0, done.err
    return folder


def test_a_store_with_a_shard_cut_short_is_refused(run: Cli, store: Path) -> None:
    shard = store / "img_emb" / "img_emb_0001.npy"
    shard.write_bytes(shard.read_bytes()[:-20])
    assert_one_line(run("measure", "--embeddings", store), 2, "img_emb_0001.npy")


def test_a_store_without_one_of_its_shards_is_refused(run: Cli, store: Path) -> None:
    (store / "text_emb" / "text_emb_0000.npy").unlink()
    assert_one_line(run("measure", "--embeddings", store), 2, "text_emb_0000.npy")


def changed_manifest(store: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = store / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


def test_a_manifest_of_another_version_is_refused(run: Cli, store: Path) -> None:
    changed_manifest(store, lambda manifest: manifest.update(schema="geomclip.store/99"))
    assert_one_line(run("measure", "--embeddings", store), 2, "geomclip.store/99")


def test_a_manifest_cut_in_half_is_refused(run: Cli, store: Path) -> None:
    file = store / "manifest.json"
    file.write_text(file.read_text()[:200])
    assert_one_line(run("measure", "--embeddings", store), 2, "manifest.json")


def test_a_manifest_entry_that_leaves_the_store_is_refused(run: Cli, store: Path, tmp_path: Path) -> None:
    shutil.copy(store / "img_emb" / "img_emb_0000.npy", tmp_path / "secret.npy")
    file = store / "manifest.json"
    text = file.read_text()
    own = '"img_emb/img_emb_0000.npy"'
    assert own in text
    for name in ("../secret.npy", str(tmp_path / "secret.npy")):
        file.write_text(json.dumps(sealed(json.loads(text.replace(own, json.dumps(name))))))
        assert_one_line(run("measure", "--embeddings", store), 2, "leaves the folder; refused")


# --- outputs, names


@pytest.mark.parametrize("which", [1, 2])
def test_a_disk_that_fills_up_leaves_nothing_half_written_loses_no_number_and_is_one_line(
    run: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, which: int
) -> None:
    file = npz(tmp_path / "good.npz")
    arguments = ["measure", "--embeddings", file, "--bootstrap", 0, "--metrics", "alignment"]
    assert run(*arguments).code == 0  # the nulls are in the cache: what follows writes only the result
    count = 0
    sync = os.fsync

    def full(descriptor: int) -> None:
        nonlocal count
        count += stat.S_ISREG(os.fstat(descriptor).st_mode)  # folders are synchronised too
        if count == which:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    done = run(*arguments, "--out", tmp_path / "r.json")
    assert "Alignment" in done.out  # the numbers are not lost with the file
    assert_one_line(done._replace(out=""), 1, "full", "r.")
    assert not (tmp_path / "r.json").exists()
    assert names(tmp_path) <= {"good.npz", "r.items.parquet"}  # whole, or not there


def test_a_cache_that_takes_nothing_costs_time_not_results(run: Cli, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()  # no folder, so nothing can be kept in it
    arguments = ["measure", "--embeddings", npz(tmp_path / "a.npz"), "--bootstrap", 0, "--metrics", "modality_gap"]
    assert run(*arguments, "--cache-dir", tmp_path / "cache").code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_told(run: Cli, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    done = run("measure", "--embeddings", npz(tmp_path / "a.npz"), "--out", tmp_path / "locked" / "r.json")
    assert_one_line(done, 2, "locked", "Permission denied")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that even root cannot write to")
@pytest.mark.parametrize("command", [["measure", "--out", "/proc/self/r.json"], ["extract", "--out", "/proc/self/s"]])
def test_a_folder_that_takes_no_files_is_told(run: Cli, command: list[str]) -> None:
    assert_one_line(run(*command), 2, "cannot write in", "self")


def test_an_unknown_model_is_answered_with_the_nearest(run: Cli, tmp_path: Path) -> None:
    done = run("measure", "--model", "ViT-B-23", "--data", f"folder:{folder_of_pairs(tmp_path / 'pairs')}")
    assert_one_line(done, 2, "ViT-B-23", "ViT-B-32")


def test_unknown_data_are_answered_with_the_nearest(run: Cli) -> None:
    assert_one_line(run("measure", "--data", "cocoo"), 2, "cocoo", "coco")


def test_weights_that_cannot_be_fetched_say_where_to_put_them(run: Cli, tmp_path: Path) -> None:
    data = f"folder:{folder_of_pairs(tmp_path / 'pairs')}"
    assert_one_line(run("measure", "--model", "ViT-B/32", "--data", data, "--cache-dir", tmp_path / "c"), 2, "ViT-B")


def test_a_column_that_is_not_there_is_answered_with_those_that_are(run: Cli, tmp_path: Path) -> None:
    assert_one_line(run("measure", "--embeddings", npz(tmp_path / "a.npz"), "--by", "label"), 2, "label")


def test_a_second_writer_is_refused_with_the_pid(run: Cli, model: str, store: Path, tmp_path: Path) -> None:
    from geomclip.machine.lock import Lock

    data = f"folder:{folder_of_pairs(tmp_path / 'pairs', 7)}"
    with Lock(store):
        done = run("extract", "--model", model, "--data", data, "--workers", 0, "--out", store)
    assert_one_line(done, 2, str(os.getpid()))
