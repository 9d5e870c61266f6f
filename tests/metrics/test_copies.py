"""Copies: the units of brute force, whatever the crowd; and an intrinsic dimension that does not see them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from helpers import on_circle, random_rows

from geomclip.embeddings.geometry import normalize
from geomclip.metrics import copies, twonn
from geomclip.metrics.copies import REACH, first_copies, rows_once, share_with_copies, unit_of_rows
from geomclip.metrics.intrinsic_dimension import two_nearest_distances, twonn_from_neighbors
from geomclip.metrics.nearest import Nearest, two_nearest_of_candidates
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.sweep import sweep

pytestmark = pytest.mark.numeric


def brute_first(x: torch.Tensor) -> torch.Tensor:
    """The least row that each reaches by steps of 1 − cos < 1e-6, from all pairs in float64."""
    rows = torch.nn.functional.normalize(x.double(), dim=1)
    close = 1 - rows @ rows.T < 1e-6
    found = torch.arange(len(x))
    while True:
        lower = torch.where(close, found, len(x)).amin(1)
        if torch.equal(lower, found):
            return found
        found = lower


def near(rows: torch.Tensor, apart: float, *, seed: int) -> torch.Tensor:
    """Each row moved by so much, at length 1."""
    return torch.nn.functional.normalize(rows + apart * random_rows(*rows.shape, seed=seed), dim=1)


def chain(steps: int, step: float, d: int) -> torch.Tensor:
    """Rows along an arc, each at this angle from the one before."""
    turn = torch.linalg.qr(random_rows(d, 2, seed=9)).Q
    return on_circle(*torch.rad2deg(torch.arange(steps) * step).tolist()) @ turn.T


SETS = {
    "none": lambda: random_rows(300, 32, seed=0),
    "five times": lambda: random_rows(40, 32, seed=0).repeat_interleave(5, 0),
    "five times, encoded anew": lambda: near(random_rows(40, 32, seed=0).repeat_interleave(5, 0), 3e-4, seed=1),
    "one 200 times": lambda: torch.cat([random_rows(30, 32, seed=0), random_rows(1, 32, seed=1).expand(200, 32)]),
    "one 200 times, anew": lambda: torch.cat(
        [random_rows(30, 32, seed=0), near(random_rows(1, 32, seed=1).expand(200, 32), 3e-4, seed=2)]
    ),
    "all equal": lambda: random_rows(1, 32, seed=0).expand(50, 32),
    "all near": lambda: near(random_rows(1, 32, seed=0).expand(500, 32), 5e-4, seed=1),
    "on the edge": lambda: near(random_rows(1, 32, seed=0).expand(300, 32), 1.05e-3, seed=1),
    "crowds apart by as much": lambda: (
        near(near(random_rows(1, 32, seed=0).expand(9, 32), 2e-3, seed=1), 0, seed=0)
        .repeat_interleave(40, 0)
        .add(3e-4 * random_rows(360, 32, seed=3))
    ),
    "a chain": lambda: chain(400, 0.9 * REACH, 32),
    "a broken chain": lambda: torch.cat([chain(60, 0.9 * REACH, 32), chain(120, 0.9 * REACH, 32)[61:]]),
    "a circle": lambda: random_rows(2000, 2, seed=0),
    "a line": lambda: random_rows(20, 1, seed=0),
    "two rows": lambda: near(random_rows(1, 8, seed=0).expand(2, 8), 1e-4, seed=0),
}


def rows_of(kind: str, dtype: torch.dtype) -> torch.Tensor:
    x = normalize(SETS[kind]().to(dtype))[0]
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(3))]


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_first_of_all_copies_is_that_of_brute_force(kind, dtype, monkeypatch):
    x = rows_of(kind, dtype)
    expected = brute_first(x)
    assert torch.equal(first_copies(x), expected)
    (found,) = sweep(Pairing.within(x), [Nearest(1, unmatched=True)])
    assert torch.equal(first_copies(x, found["text_score"][:, 0]), expected)
    monkeypatch.setattr(copies, "rows_at_a_time", lambda m: 7)
    assert torch.equal(first_copies(x), expected)


def test_units_are_numbered_as_they_first_occur():
    first = torch.tensor([0, 1, 1, 3, 0, 3])
    assert unit_of_rows(first).tolist() == [0, 1, 1, 2, 0, 2]
    assert rows_once(unit_of_rows(first)).tolist() == [0, 1, 3]


def test_the_share_counts_every_row_that_has_a_copy():
    assert share_with_copies(torch.tensor([0, 1, 1, 2])) == 0.5
    assert share_with_copies(torch.tensor([0, 1, 2])) == 0
    assert share_with_copies(torch.tensor([0, 0])) == 1


@pytest.mark.parametrize(("cosine", "unit"), [(1 - 0.99e-6, [0, 0]), (1 - 1.01e-6, [0, 1])])
def test_the_edge_is_decided_in_float64(cosine, unit):
    angle = torch.rad2deg(torch.arccos(torch.tensor(cosine, dtype=torch.float64)))
    assert unit_of_rows(first_copies(on_circle(20, 20 + float(angle)))).tolist() == unit


def test_no_copy_imports_no_scipy():
    code = (
        "import sys, torch\nfrom geomclip.metrics.copies import first_copies\n"
        "x = torch.nn.functional.normalize(torch.randn(3000, 64, generator=torch.Generator().manual_seed(0)), dim=1)\n"
        "assert first_copies(x).tolist() == list(range(3000))\nsys.exit('scipy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("kind", ["five times", "five times, encoded anew", "one 200 times, anew", "none"])
@pytest.mark.parametrize("count", [2, 4, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_two_nearest_of_candidates_are_those_among_the_first_of_all_copies(kind, count, dtype):
    x = rows_of(kind, dtype)
    (found,) = sweep(Pairing.within(x), [Nearest(count, unmatched=True)])
    r1, r2, merged = two_nearest_of_candidates(x, found["text_score"], found["text_index"], first_copies(x))
    kept = x[brute_first(x).unique()]
    expected = two_nearest_distances(kept)
    assert merged == len(x) - len(kept)
    assert r1.numpy() == pytest.approx(expected[0].numpy(), rel=1e-12)
    assert r2.numpy() == pytest.approx(expected[1].numpy(), rel=1e-12)


def test_twonn_of_images_encoded_five_times_is_that_of_the_images():
    x = random_rows(300, 32, seed=0)
    five = near(x.repeat_interleave(5, 0), 3e-4, seed=1)
    assert twonn(five) == pytest.approx(float(twonn(five[::5])), rel=1e-12)
    assert twonn(five) == pytest.approx(float(twonn(x)), rel=1e-2)


def test_twonn_without_copies_is_unchanged_to_the_bit():
    x = random_rows(500, 16, seed=0)
    assert torch.equal(first_copies(x), torch.arange(500))
    assert torch.equal(twonn(x), twonn_from_neighbors(*two_nearest_distances(normalize(x)[0])))


def test_rows_of_a_dense_cloud_are_close_by_chance_and_not_merged():
    x = random_rows(3000, 2, seed=0)  # a circle: half of the rows are within 0.0014 of another
    assert share_with_copies(unit_of_rows(first_copies(x))) > 0.4
    assert twonn(x) == pytest.approx(1, abs=0.05)
