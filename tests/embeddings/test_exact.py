"""Float64 answers some rows at a time against the same of all rows at once."""

from __future__ import annotations

import pytest
import torch
from helpers import random_rows

from geomclip.embeddings import exact

pytestmark = pytest.mark.numeric

OWN = torch.tensor([3, 3, 0, 7, 1])


@pytest.fixture(params=[1, 700, 2**16])
def cells(request, monkeypatch):
    """One row at a time, a few, all."""
    monkeypatch.setattr(exact, "CELLS", request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("d", [3, 300])  # one panel of columns, and more
@pytest.mark.usefixtures("cells")
def test_sums_and_products_are_those_of_all_rows_in_float64(d, dtype):
    x, y = random_rows(9, d, seed=0).to(dtype), random_rows(5, d, seed=1).to(dtype)
    wide, other = x.double(), y.double()
    vectors = random_rows(d, 2, seed=2)
    centre, weight = wide.mean(0), torch.linspace(0, 1, 9, dtype=torch.float64)
    for found, expected in (
        (exact.total(x), wide.sum(0)),
        (exact.dots(x, vectors[:, 0]), wide @ vectors[:, 0]),
        (exact.dots(x, vectors), wide @ vectors),
        (exact.matched(x, y, OWN), (wide[OWN] * other).sum(1)),
        (exact.distances(y, x, OWN[:, None]), (other - wide[OWN]).norm(dim=1)[:, None]),
        (exact.gram(x, centre), (wide - centre).T @ (wide - centre)),
        (exact.gram(x, weight=weight), wide.T @ (weight[:, None] * wide)),
    ):
        assert found.dtype == torch.float64
        assert found.shape == expected.shape
        assert (found - expected).abs().max().item() < 1e-14


def test_distances_keep_their_digits_where_rows_are_close():
    x = random_rows(1, 50, seed=0).float()
    y = (x.double() + 1e-5 * random_rows(1, 50, seed=1)).float()
    expected = (x.double() - y.double()).norm().item()
    assert exact.distances(x, y, torch.tensor([[0]])).item() == pytest.approx(expected, rel=1e-14)


def test_a_gram_matrix_is_symmetric_to_the_last_bit():
    x = random_rows(40, 300, seed=0).float()
    gram = exact.gram(x, exact.total(x) / 40)
    assert torch.equal(gram, gram.T)


@pytest.mark.usefixtures("cells")
def test_no_rows_add_nothing():
    none = torch.zeros(0, 4)
    assert exact.total(none).tolist() == [0] * 4
    assert exact.dots(none, torch.ones(4, dtype=torch.float64)).tolist() == []
    assert exact.gram(none, torch.zeros(4)).abs().sum() == 0


def test_some_rows_at_a_time_are_all_rows_once(monkeypatch):
    monkeypatch.setattr(exact, "CELLS", 12)
    x = torch.zeros(10, 3)
    assert [len(x[rows]) for rows in exact.slices(x)] == [4, 4, 2]
    assert [len(row) for row in (x[rows] for rows in exact.slices(torch.zeros(3, 50)))] == [1] * 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("keys", ["as they are", "all the same"])
@pytest.mark.usefixtures("cells")
def test_the_first_equal_row_is_found_whatever_the_keys_of_the_rows(keys, dtype, monkeypatch):
    x = torch.cat([torch.eye(5), -torch.eye(5), torch.zeros(1, 5), random_rows(8, 5, seed=0)]).to(dtype)
    x = x[torch.randint(len(x), (60,), generator=torch.Generator().manual_seed(1))]
    x[::7] = x[::7].mul(-1).mul(-1)
    x[x == 0] *= -1.0  # some zeros are negative
    if keys == "all the same":
        monkeypatch.setattr(exact, "_keys", lambda x: torch.zeros(len(x), dtype=torch.int64))
    expected = [next(j for j in range(60) if torch.equal(x[j], x[i])) for i in range(60)]
    assert exact.first_equal(x).tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_keys_tell_rows_of_few_bits_apart(dtype):
    # one-hot rows and their sums: the low bits of 1.0 are all 0
    x = torch.cat([torch.eye(300), torch.eye(300) + torch.eye(300).roll(1, 0), 2 * torch.eye(300)]).to(dtype)
    # the keys themselves: where they are equal the answer is the same, only later
    assert len(exact._keys(x).unique()) == 900  # private: a collision costs time alone, which no result shows
