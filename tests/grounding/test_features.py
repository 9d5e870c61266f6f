"""Features of others: from HDF5 and folders, pooled to clips over time, refused where they lead out."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geomclip.grounding.features import absent, load_features, open_features, pool
from geomclip.grounding.record import Clips
from geomclip.machine.errors import InputError, NotAvailableError

h5py = pytest.importorskip("h5py")

ROWS = {
    "v_a": np.arange(12, dtype=np.float32).reshape(6, 2),
    "v_b": np.ones((1, 2), np.float16),
    "sub/c": np.array([[3, 4], [-3, 4]], np.int16),
}
DURATIONS = {"v_a": 6.0, "v_b": 1.5, "sub/c": 2}


def write_folder(folder: Path, rows: dict[str, Any]) -> Path:
    for video, held in rows.items():
        file = folder / f"{video}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, held)
    return folder


def write_npz(folder: Path, rows: dict[str, Any]) -> Path:
    for video, held in rows.items():
        file = folder / f"{video}.npz"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(file, features=held, other=np.zeros(3))
    return folder


def write_hdf5(folder: Path, rows: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "f.hdf5", "w") as file:
        for video, held in rows.items():
            file[video] = held
    return folder / "f.hdf5"


def write_groups(folder: Path, rows: dict[str, Any]) -> Path:
    """As C3D's: a group a video; packed, in chunks."""
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "f.hdf5", "w") as file:
        for video, held in rows.items():
            packed = {"compression": "gzip", "maxshape": (None,) * held.ndim} if held.size else {}
            file.create_dataset(f"{video}/c3d_features", data=held, **packed)
    return folder / "f.hdf5"


WRITERS = {"npy": write_folder, "npz": write_npz, "hdf5": write_hdf5, "groups": write_groups}


def loaded(path: Path, rows: dict[str, Any] = ROWS, **options: Any) -> list[Clips]:
    return list(load_features(path, rows, dict.fromkeys(rows, 5.0), **({"clips": 2} | options)))


@pytest.mark.parametrize("kind", WRITERS)
def test_a_place_of_each_kind_gives_the_same_clips_in_the_order_wanted(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path / "features", ROWS)
    found = list(load_features(path, ["sub/c", "v_a", "v_b", "v_a"], DURATIONS, clips=3))
    assert [(clips.video, clips.duration) for clips in found] == [("sub/c", 2), ("v_a", 6), ("v_b", 1.5)]
    assert found[1].rows.tolist() == [[1, 2], [5, 6], [9, 10]]
    assert found[2].rows.tolist() == [[1, 1]] * 3
    assert found[0].rows.tolist() == [[3, 4], [0, 4], [-3, 4]]
    assert all(clips.rows.dtype == torch.float32 for clips in found)


@pytest.mark.parametrize("kind", WRITERS)
def test_clips_have_length_1_on_request(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path / "features", {"c": ROWS["sub/c"]})
    assert loaded(path, {"c": 0}, clips=2, normalize=True)[0].rows.tolist() == [
        [pytest.approx(0.6), pytest.approx(0.8)],
        [pytest.approx(-0.6), pytest.approx(0.8)],
    ]
    opposite = WRITERS[kind](tmp_path / "more", {"z": np.array([[1.0, 1], [1, 1], [2, 1], [-2, -1]])})
    with pytest.raises(InputError, match="'z' clip 1 is zero and has no direction"):
        loaded(opposite, {"z": 0}, normalize=True)
    assert loaded(opposite, {"z": 0})[0].rows[1].tolist() == [0, 0]


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=24), st.integers(1, 24))
def test_a_clip_is_the_integral_of_the_rows_over_its_part_of_time(values: list[int], clips: int) -> None:
    n = len(values)
    expected = []
    for clip in range(clips):
        start, end = Fraction(clip, clips), Fraction(clip + 1, clips)
        parts = [
            value * max(Fraction(0), min(end, Fraction(at + 1, n)) - max(start, Fraction(at, n)))
            for at, value in enumerate(values)
        ]
        expected.append(float(sum(parts) * clips))
    found = pool(np.array(values, dtype=np.int16)[:, None], clips)[:, 0]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-13, atol=1e-10)


def test_pooling_the_clips_again_is_the_mean_of_all_rows() -> None:
    rows = np.random.default_rng(0).normal([0, 1e8, 0], size=(101, 3))
    torch.testing.assert_close(
        pool(pool(rows, 16).numpy(), 1)[0], torch.from_numpy(rows.mean(0)), rtol=1e-12, atol=1e-9
    )


@pytest.mark.parametrize("kind", WRITERS)
def test_videos_without_features_are_counted_and_named_before_any_is_read(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path / "features", ROWS)
    lacking = [f"n{number}" for number in range(7)]
    assert absent(path, ["v_b", *lacking, "sub/c", "n0", "sub/none", "v_a/none/none"]) == [
        *lacking,
        "sub/none",
        "v_a/none/none",
    ]
    with pytest.raises(InputError, match=r"no features of 7 of 8 videos: 'n0', 'n1', 'n2', 'n3', 'n4', ...; it has '"):
        load_features(path, ["v_a", *lacking], {}, clips=2)


FAULTS = {
    "NaN": (np.array([[1, 2], [np.nan, 2]]), "'bad' row 1 holds NaN or infinity"),
    "infinity": (np.vstack([np.ones((5000, 2)), [[1, -np.inf]]]), "'bad' row 5000 holds NaN or infinity"),
    "beyond float32": (np.array([[1.0, 1e39]]), "'bad' row 0 holds NaN or infinity"),
    "one axis": (np.ones(3), r"'bad' should have shape \(rows, width\), has \(3,\)"),
    "three axes": (np.ones((2, 1, 2)), r"should have shape \(rows, width\), has \(2, 1, 2\)"),
    "no row": (np.ones((0, 2)), r"has \(0, 2\)"),
    "no width": (np.ones((2, 0)), r"has \(2, 0\)"),
    "truth values": (np.ones((2, 2), bool), "'bad' holds no numbers"),
    "another width": (np.ones((2, 3)), "'bad' has width 3, but 'good' has 2"),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("case", FAULTS)
def test_rows_that_are_no_table_of_numbers_name_video_and_row(tmp_path: Path, kind: str, case: str) -> None:
    held, expected = FAULTS[case]
    path = WRITERS[kind](tmp_path / "features", {"good": np.ones((2, 2)), "bad": held})
    found = load_features(path, ["good", "bad"], {"good": 1, "bad": 1}, clips=2)
    assert next(found).video == "good"
    with pytest.raises(InputError, match=expected):
        next(found)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    "video", ["../v_a", "/v_a", "sub\\c", "sub/../../v_a", "..\\v_a", ".", "sub/.", "", "v_a/", "a\0b"]
)
def test_a_name_that_leads_out_is_refused(tmp_path: Path, kind: str, video: str) -> None:
    path = WRITERS[kind](tmp_path / "features", ROWS)
    np.save(tmp_path / "v_a.npy", ROWS["v_a"])
    np.save(tmp_path / "features.npy", ROWS["v_a"])
    with pytest.raises(InputError, match="features of") as refused:
        absent(path, [video])
    assert "\n" not in str(refused.value)


def test_a_link_out_of_the_folder_is_refused_and_one_within_is_followed(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "features", ROWS)
    np.save(tmp_path / "outside.npy", ROWS["v_a"])
    (folder / "out.npy").symlink_to(tmp_path / "outside.npy")
    (folder / "away").symlink_to(tmp_path)
    (folder / "within.npy").symlink_to("v_a.npy")
    for video in ("out", "away/outside"):
        with pytest.raises(InputError, match="is a link that leaves"):
            absent(folder, [video])
    assert loaded(folder, {"within": 0})[0].rows.tolist() == [[2, 3], [8, 9]]


def test_two_files_of_one_video_are_refused(tmp_path: Path) -> None:
    write_npz(write_folder(tmp_path, {"v": np.ones((2, 2))}), {"v": np.ones((2, 2))})
    with pytest.raises(InputError, match=r"v.npz are both there"):
        loaded(tmp_path, {"v": 0})


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="never unpickled"):
        loaded(tmp_path, {"v": 0})
    np.savez(tmp_path / "w.npz", other=np.ones(2))
    with pytest.raises(InputError, match=r"holds other; needed: features"):
        loaded(tmp_path, {"w": 0})
    np.save(tmp_path / "s.npy", np.array([["a"]]))
    with pytest.raises(InputError, match="'s' holds no numbers"):
        loaded(tmp_path, {"s": 0})


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A file whose members lead elsewhere: to another file, or to another place in it."""
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["v"] = ROWS["v_a"]
    (tmp_path / "raw").write_bytes(ROWS["v_a"].tobytes())
    with h5py.File(tmp_path / "f.hdf5", "w") as file:
        file["here"] = ROWS["v_a"]
        file["external"] = h5py.ExternalLink("other.hdf5", "/v")
        file["soft"] = h5py.SoftLink("/here")
        file["group/inner"] = h5py.ExternalLink("other.hdf5", "/v")
        layout = h5py.VirtualLayout(shape=(6, 2), dtype="f4")
        layout[:] = h5py.VirtualSource("other.hdf5", "v", shape=(6, 2))
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("raw", (6, 2), "f4", external=[(str(tmp_path / "raw"), 0, h5py.h5f.UNLIMITED)])
        file["none"] = h5py.Empty("f4")
        file["text"] = "a text"
        file["reference"] = np.array([file["here"].ref], dtype=h5py.ref_dtype)
        file["two/a"], file["two/b"] = ROWS["v_a"], ROWS["v_a"]
        file.create_group("empty")
        file.create_group("deep/deeper/deepest")
        file["type"] = np.dtype("f4")
        file.create_dataset("unwritten", (6, 2), "f4")
    return tmp_path / "f.hdf5"


@pytest.mark.parametrize(
    ("video", "expected"),
    [
        ("external", "'external' is a link to another place, which is not followed"),
        ("external/x", "is a link to another place"),
        ("soft", "is a link to another place"),
        ("group", "'group' is a link to another place"),
        ("virtual", "keeps its numbers in other files"),
        ("raw", "keeps its numbers in other files"),
        ("none", r"holds no numbers \(nothing\)"),
        ("text", r"holds no numbers \(object\)"),
        ("reference", r"holds no numbers \(object\)"),
        ("two", "should hold one data set, holds 'a', 'b'"),
        ("empty", "should hold one data set, holds nothing"),
        ("deep", "'deep' is no data set"),
        ("type", "'type' is no data set"),
        ("unwritten", "was made, but its numbers were never written"),
    ],
)
def test_what_lies_elsewhere_in_hdf5_or_nowhere_is_not_read(linked: Path, video: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        loaded(linked, {video: 0})
    assert loaded(linked, {"here": 0})[0].rows.tolist() == [[2, 3], [8, 9]]


def test_size_is_bounded_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(tmp_path / "f.hdf5", "w") as file:
        file.create_dataset("claims", (10**9, 10**6), "f4", chunks=(64, 64))
        file.create_dataset("folds", data=np.zeros((40_000_000 // 64, 64), np.float32), compression="gzip")
        chunk = dict(chunks=(2**14, 2**14), maxshape=(None, None))
        file.create_dataset("chunk", (1, 1), "f4", **chunk)
    for video, expected in {
        "claims": "has 4000000000000000 bytes, more than 2048 MiB: refused",
        "folds": "claims 160000000 bytes of .* stored: refused",
        "chunk": "claims 4 bytes of 0 stored: refused",
    }.items():
        with pytest.raises(InputError, match=expected):
            loaded(tmp_path / "f.hdf5", {video: 0})
    monkeypatch.setenv("GEOMCLIP_LIMITS", "feature-bytes=100")
    for kind, writer in WRITERS.items():
        path = writer(tmp_path / kind, {"v": np.ones((30, 2))})
        with pytest.raises(InputError, match=r"bytes, more than \d+.*: refused"):
            loaded(path, {"v": 0})


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "f is no HDF5 file, and no folder"),
        (b"no features", "f is no HDF5 file, and no folder"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 90, "f is no HDF5 file|f cannot be read"),
    ],
)
def test_a_file_that_is_no_hdf5_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(InputError, match=expected):
        absent(tmp_path / "f", ["v"])
    with pytest.raises(InputError, match="no such file or folder"):
        absent(tmp_path / "g", ["v"])


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_refused_in_one_line(tmp_path: Path, share: float) -> None:
    whole = write_groups(tmp_path, {"v": np.random.default_rng(0).normal(size=(50, 30))}).read_bytes()
    (tmp_path / "cut").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=r"cut(?: 'v')? cannot be read|is no HDF5 file") as refused:
        loaded(tmp_path / "cut", {"v": 0})
    assert "\n" not in str(refused.value)


def test_one_video_is_held_at_a_time(tmp_path: Path) -> None:
    rows = np.ones((200, 1000), np.float64)
    for kind in ("npy", "hdf5"):
        path = WRITERS[kind](tmp_path / kind, {f"v{number}": rows for number in range(40)})
        code = (
            "import sys, tracemalloc\n"
            "from geomclip.grounding.features import load_features\n"
            "videos = [f'v{number}' for number in range(40)]\n"
            "tracemalloc.start()\n"
            "for clips in load_features(sys.argv[1], videos, dict.fromkeys(videos, 1), clips=4):\n"
            "    pass\n"
            "print(tracemalloc.get_traced_memory()[1])\n"
        )
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
        assert int(done.stdout) < 5 * rows.nbytes, kind  # all together are 40 times


def test_without_h5py_the_way_to_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_hdf5(tmp_path, ROWS)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        NotAvailableError, match=r"f.hdf5 as features in HDF5 needs h5py: pip install 'geomclip\[video\]'"
    ):
        open_features(path)
    assert absent(write_folder(tmp_path / "n", {"v": ROWS["v_a"]}), ["v"]) == []


def test_a_video_needs_a_clip_and_a_folder_may_be_a_link(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "features", ROWS)
    os.symlink(folder, tmp_path / "link")
    assert len(loaded(tmp_path / "link")) == 3
    with pytest.raises(InputError, match="a video needs at least one clip, got 0"):
        loaded(folder, clips=0)
