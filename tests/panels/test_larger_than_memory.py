"""Stores larger than the memory that the system lets a process have: the same bits, from rows in files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import ROOT

from geomclip.embeddings import store
from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine import scratch
from geomclip.panels import compare, sources
from geomclip.panels.measurement import measure

KEYS = (
    "alignment",
    "image_retrieval_recall@1",
    "image_retrieval_ece",
    "text_retrieval_brier",
    "text_robin_hood",
    "modality_gap_debiased",
    "linear_separability",
)
IMAGES, TEXTS, DIM = 6000, 18000, 512
ROOM = 100
"""MB above what the imports take; the rows are 49 MB in float32, and a panel holds several copies of that size."""

OF_OTHER = 20
"""MB more for the names, norms and numbers of a second side."""

CHILD = """
import json, re, resource, sys
from pathlib import Path
import torch
from geomclip.embeddings import store
from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine import scratch
from geomclip.metrics.sweep import load_kernels
from geomclip.panels import compare
from geomclip.panels.measurement import measure

load_kernels()
import pyarrow.parquet

place, keys = sys.argv[1], sys.argv[4].split()
# what libraries keep from their first work on differs between processors
draw = torch.Generator().manual_seed(0)
some = [torch.randn(rows, 512, generator=draw) for rows in (300, 900)]
measure(EmbeddingSet(*some, torch.arange(900) % 300), metrics=keys, bootstrap=0)
if sys.argv[2] == "memory":
    scratch.memory_left = lambda: float("inf")
held = int(re.search(r"VmData:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (held + (int(sys.argv[3]) << 20), resource.RLIM_INFINITY))
if sys.argv[2] == "compare":
    found = compare(place, place + "-after", metrics=keys, bootstrap=0)
    print(json.dumps([(key, row.before, row.after) for key, row in found.rows.items()]))
else:
    panel = measure(store.load(place), metrics=keys, bootstrap=0)
    print(json.dumps([panel.values, panel.null, panel.features_sha256, scratch.note()]))
"""


def made() -> EmbeddingSet:
    draw = torch.Generator().manual_seed(0)
    image = torch.randn(IMAGES, DIM, generator=draw)
    own = torch.arange(TEXTS) % IMAGES
    text = image[own] + 2 * torch.randn(TEXTS, DIM, generator=draw) + 0.5
    return EmbeddingSet(image, text, own, logit_scale=50.0)


def run(place: Path, cache: Path, how: str, room: int = ROOM) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILD, str(place), how, str(room), " ".join(KEYS)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "GEOMCLIP_CACHE": str(cache),
            "OMP_NUM_THREADS": "1",
            "ARROW_DEFAULT_MEMORY_POOL": "system",
        },
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of data are Linux's")
def test_a_store_that_memory_has_no_room_for_gives_the_same_bits(tmp_path: Path) -> None:
    place = store.save(made(), tmp_path / "store")
    expected = measure(store.load(place), metrics=KEYS, bootstrap=0)
    # the limit bites: with all tables in memory the same work dies of it
    held = run(place, tmp_path / "cache", "memory")
    assert held.returncode != 0
    assert "memory" in held.stderr
    done = run(place, tmp_path / "cache", "files")
    assert done.returncode == 0, done.stderr
    values, null, digest, _ = json.loads(done.stdout)
    assert (values, null, digest) == (expected.values, expected.null, expected.features_sha256)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of data are Linux's")
def test_two_stores_that_memory_has_no_room_for_are_compared_with_the_same_bits(tmp_path: Path) -> None:
    before = made()
    assert before.text is not None
    place = store.save(before, tmp_path / "store")
    store.save(before.replace(text=before.text + 0.05), tmp_path / "store-after")
    done = run(place, tmp_path / "cache", "compare", ROOM + OF_OTHER)
    assert done.returncode == 0, done.stderr
    expected = compare(place, tmp_path / "store-after", metrics=KEYS, bootstrap=0)
    found = [tuple(each) for each in json.loads(done.stdout.splitlines()[-1])]
    assert found == [(key, row.before, row.after) for key, row in expected.rows.items()]
    assert any(before != after for _, before, after in found)


def test_names_that_both_sides_have_are_held_once() -> None:
    rows = torch.eye(4)
    one, other = (
        EmbeddingSet(
            rows, rows, caption=[f"text {i}" for i in range(4)], columns={"label": list("abab"), name: list("wxyz")}
        )
        for name in ("of one", "of the other")
    )
    shared = sources._sharing(other, [one])
    assert all(mine is theirs for mine, theirs in zip(shared.caption, one.caption, strict=True))
    assert shared.columns == {"label": tuple("abab"), "of the other": tuple("wxyz")}
    assert shared.image is other.image
    different = sources._sharing(other.replace(caption=list("abcd")), [one])
    assert different.caption == tuple("abcd")


class Lines:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def stage(self, name: str, done: int, total: int | None, note: str = "") -> None:
        """Nothing."""

    def log(self, line: str) -> None:
        """The line."""
        self.lines.append(line)


def bits(panel: dict[str, object]) -> str:
    return json.dumps({key: each for key, each in panel.items() if key not in ("seconds", "env", "written")})


def test_panels_and_comparisons_have_the_same_bits_with_all_tables_in_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = torch.Generator().manual_seed(1)
    image = torch.randn(301, 12, generator=draw)
    image[5] = image[3]  # copies
    own = torch.arange(800) % 300
    text = image[own] + torch.randn(800, 12, generator=draw)

    def sides() -> list[EmbeddingSet]:
        return [EmbeddingSet(each, text, own, logit_scale=50.0) for each in (image, image + 0.1 * image.flip(0))]

    def found() -> list[str]:
        first = sides()[0]
        panels = [measure(first, bootstrap=0, dtype="float64"), measure(first, bootstrap=0, captions="first")]
        return [bits(each.to_dict()) for each in (*panels, compare(*sides(), metrics="all", bootstrap=20))]

    in_memory = found()
    monkeypatch.setenv("GEOMCLIP_CACHE", str(tmp_path))
    monkeypatch.setattr(scratch, "memory_left", lambda: 0.0)
    monkeypatch.setattr(scratch, "LEAST", 1)
    assert found() == in_memory
    told = Lines()
    measure(sides()[0], metrics=["alignment"], bootstrap=0, progress=told)
    assert len(told.lines) == 1
    assert "kept in files" in told.lines[0]
