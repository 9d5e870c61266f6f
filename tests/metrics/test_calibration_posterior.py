"""Queries that float32 leaves open are scored again within two tables of 16 MB, with the bits of the plain formula."""

import os
import subprocess
import sys

import pytest
import torch
from helpers import ROOT
from torch import Tensor

from geomclip.embeddings import exact
from geomclip.embeddings.geometry import normalize
from geomclip.metrics import calibration
from geomclip.metrics.pairing import Pairing

SCALE = 70.0


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made(n: int, m: int, d: int, seed: int) -> Pairing:
    """Images with several texts, with one and with none."""
    draw = torch.Generator().manual_seed(seed)
    rows = [normalize(torch.randn(size, d, generator=draw) + 0.5)[0] for size in (n, m)]
    return Pairing.of(*rows, torch.randint(0, n, (m,), generator=draw))


def plain_log_sums(logits: Tensor, pairing: Pairing) -> Tensor:
    lengths = pairing.texts_of_image
    top = torch.segment_reduce(logits, "max", lengths=lengths, axis=0)
    finite = torch.where(torch.isneginf(top), 0.0, top)
    return finite + torch.segment_reduce((logits - finite[pairing.own]).exp(), "sum", lengths=lengths, axis=0).log()


def plain(queries: Tensor, pairing: Pairing, axis: str, lengths: dict[str, Tensor] | None) -> tuple[Tensor, ...]:
    """The formula on whole tables, each step in a table of its own."""
    image, text = pairing.image, pairing.text
    if axis == "text":
        logits = SCALE * (text[queries].double() @ image.double().T)
        right = pairing.own[queries]
        if lengths is not None:
            logits = logits / (lengths["text"][queries, None] * lengths["image"])
    else:
        scores = exact.dots(text, SCALE * image[queries].double().T)
        if lengths is not None:
            scores = scores / (lengths["text"][:, None] * lengths["image"][queries])
        logits, right = plain_log_sums(scores, pairing).T, queries
    logits = logits - logits.logsumexp(1, keepdim=True)
    own = logits.gather(1, right[:, None])[:, 0]
    squares = (2 * logits).exp().sum(1)
    return own, logits.scatter(1, right[:, None], -torch.inf).amax(1), squares


@pytest.mark.parametrize("axis", ["text", "image"])
@pytest.mark.parametrize("divided", [False, True])
@pytest.mark.parametrize(
    ("n", "m", "d", "count"), [(7, 11, 3, 7), (700, 1100, 12, 300), (4001, 9003, 5, 1), (300, 301, 64, 29)]
)
def test_pieces_give_the_bits_of_whole_tables(axis: str, divided: bool, n: int, m: int, d: int, count: int) -> None:
    pairing = made(n, m, d, seed=n)
    lengths = calibration._lengths(pairing) if divided else None
    described = (pairing.texts_of_image > 0).nonzero()[:, 0]
    queries = (described if axis == "image" else torch.arange(m))[:count]
    found = calibration._exact_posterior(queries, pairing, axis, SCALE, lengths)
    for each, expected in zip(found, plain(queries, pairing, axis, lengths), strict=True):
        assert torch.equal(each, expected)


@pytest.mark.parametrize("shape", [(), (1,), (6,), (40,)])
def test_sums_over_the_texts_of_images_do_not_depend_on_how_many_images_are_taken_at_a_time(shape, monkeypatch) -> None:
    pairing = made(3000, 5000, 4, seed=1)
    logits = 30 * torch.randn(pairing.m, *shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = plain_log_sums(logits, pairing)
    assert torch.isneginf(expected).any()
    for cells in (1, 100, exact.CELLS):
        monkeypatch.setattr(exact, "CELLS", cells)
        assert torch.equal(calibration.log_sums(logits, pairing), expected)


def test_where_no_query_is_open_nothing_is_scored_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_exact_posterior", lambda *_: pytest.fail("scored again"))
    sure = torch.full((5,), 0.5).log().double()
    posterior = calibration.Posterior(sure, sure - 2, torch.zeros(5, dtype=torch.float64))
    assert calibration._settle(posterior, made(5, 5, 3, seed=0), "text", 20.0) is posterior


LIMITED = """
import re, resource, sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
from test_calibration_posterior import made, plain
from geomclip.metrics import calibration

torch.set_num_threads(1)
axis, n, m = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
pairing, queries = made(n, m, 8, seed=0), torch.arange(2**22 // (n if axis == "text" else m))
lengths = calibration._lengths(pairing)
calibration._exact_posterior(queries[:2], pairing, axis, 70.0, lengths)  # what libraries set aside at first
held = int(re.search(r"VmData:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (held + (int(sys.argv[5]) << 20), resource.RLIM_INFINITY))
if sys.argv[6] == "plain":
    plain(queries, pairing, axis, lengths)
else:
    calibration._exact_posterior(queries, pairing, axis, 70.0, lengths)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of data are Linux's")
@pytest.mark.parametrize(
    ("axis", "n", "m"), [("text", 100_000, 100_001), ("image", 100_000, 300_000), ("image", 90_000, 90_001)]
)
def test_no_more_than_two_tables_are_held(axis: str, n: int, m: int) -> None:
    def run(how: str) -> subprocess.CompletedProcess[str]:
        here = str(ROOT / "tests" / "metrics")
        command = [sys.executable, "-c", LIMITED, here, axis, str(n), str(m), "84", how]
        env = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests" / "support")))}
        env["MALLOC_MMAP_THRESHOLD_"] = str(2**20)  # what was freed is given back, and no room besides the limit's
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env)

    whole = run("plain")
    assert whole.returncode != 0
    assert "allocate memory" in whole.stderr
    in_pieces = run("pieces")
    assert in_pieces.returncode == 0, in_pieces.stderr
