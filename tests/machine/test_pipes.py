"""A pipe in the place of any file that is read: one line, at once, for nothing may come out of it for ever."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import assert_one_line, folder_of_pairs, run_cli

from geomclip.embeddings.files.held import READERS, held
from geomclip.embeddings.shards import read_manifest, read_table, verify
from geomclip.encoders.weights.contents import read_contents
from geomclip.machine.array_files import npz_headers, read_npy, read_npz
from geomclip.machine.errors import InputError
from geomclip.pairs import Source, load_pairs
from geomclip.pairs.wds import TarMember
from geomclip.panels import loading
from geomclip.training.folder import read_config
from geomclip.training.watching.lines import read_log

pytestmark = pytest.mark.timeout(60, method="thread")  # libraries in C answer no signal


def pipe(place: Path) -> Path:
    os.mkfifo(place)
    return place


READS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    **{f"vectors {end}": (f"a{end}", held) for end in READERS},
    "numbers": ("a.npy", read_npy),
    "arrays": ("a.npz", lambda path: read_npz(path, ["image"])),
    "headers": ("a.npz", npz_headers),
    "a store": ("manifest.json", lambda path: read_manifest(path.parent)),
    "a shard": ("a.npy", lambda path: verify(path.parent, path.name, {"bytes": 0, "sha256": ""})),
    "weights": ("a.safetensors", read_contents),
    "a tar": ("a.tar", lambda path: load_pairs(Source(f"wds:{path}"))),
    "an image in a tar": ("a.tar", lambda path: TarMember(path, 0, 1, "a").read()),
    "a table": ("a.csv", lambda path: load_pairs(Source(f"csv:{path}"))),
    "rows": ("a.parquet", lambda path: load_pairs(Source(f"parquet:{path}"))),
    "a table of a store": ("a.parquet", read_table),
    "a log": ("log.jsonl", read_log),
    "a run": ("config.json", lambda path: read_config(path.parent)),
    "a result": ("r.json", loading.load),
}


@pytest.mark.parametrize(("name", "read"), READS.values(), ids=READS)
def test_a_pipe_is_refused_and_not_waited_for(name: str, read: Callable[[Path], Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no file|no such file|cannot be read"):
        read(pipe(tmp_path / name))


def test_pipes_beside_a_result_and_in_a_store_end_commands_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder_of_pairs(tmp_path / "pairs", 12)
    common = ["--data", f"folder:{data}", "--model", "demo", "--cache-dir", tmp_path / "cache"]
    done = run_cli(capsys, "extract", *common, "--out", tmp_path / "store")
    assert done.code == 0, done.err
    done = run_cli(capsys, "measure", "--embeddings", tmp_path / "store", "--out", tmp_path / "r.json")
    assert done.code == 0, done.err
    for file in (*tmp_path.glob("r*.parquet"), *(tmp_path / "store").rglob("*.npy")):
        file.unlink()
        pipe(file)
    for command in (
        ["compare", tmp_path / "r.json", tmp_path / "r.json"],
        ["measure", "--embeddings", tmp_path / "store"],
    ):
        done = run_cli(capsys, *command)
        assert_one_line(done, 2, "is no file but a pipe, a socket or a device: copy its content into a file")
