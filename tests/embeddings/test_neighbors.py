"""Nearest neighbours against a sort of all products, and what has none."""

from __future__ import annotations

import pytest
import torch
from helpers import random_rows

from geomclip.embeddings import neighbors
from geomclip.embeddings.neighbors import blocks, nearest_candidates, products


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("exact", [False, True])
def test_candidates_are_the_best_of_every_row(dtype, exact, monkeypatch):
    monkeypatch.setattr(neighbors, "BLOCK", 64)
    x, y = random_rows(12, 4, seed=0).to(dtype), random_rows(30, 4, seed=1).to(dtype)
    indices, scores = nearest_candidates(x, y, 6, exact=exact)
    best = (x.double() @ y.double().T).topk(6, dim=1)
    assert indices.dtype == torch.int32
    assert torch.equal(indices.long(), best.indices)
    tolerance = 1e-14 if exact or dtype == torch.float64 else 1e-6
    assert scores.numpy() == pytest.approx(best.values.numpy(), abs=tolerance)


def test_candidates_leave_the_row_itself_out():
    x = random_rows(10, 3, seed=0)
    indices, _ = nearest_candidates(x, x, 9, exclude_self=True)
    assert not (indices == torch.arange(10)[:, None]).any()
    with pytest.raises(ValueError, match="k must be 1 to 9"):
        nearest_candidates(x, x, 10, exclude_self=True)


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        ((3, 2), (4, 3), {}, r"x \(n, d\) and y \(m, d\) must share d, got \(3, 2\) and \(4, 3\)"),
        ((3, 2), (4, 2), {"exclude_self": True}, "rows of x and y must be the same items, got 3 and 4"),
        ((3, 2), (1, 2), {}, "k must be 1 to 1 for 1 rows, got 2"),
    ],
)
def test_rows_without_so_many_neighbours_are_refused(x, y, options, message):
    with pytest.raises(ValueError, match=message):
        nearest_candidates(torch.ones(x), torch.ones(y), 2, **options)


def test_blocks_are_all_rows_in_order_with_few_products_each(monkeypatch):
    monkeypatch.setattr(neighbors, "BLOCK", 64)
    x = random_rows(50, 3, seed=0)
    parts = list(blocks(x, 10))
    assert torch.equal(torch.cat([rows for _, rows in parts]), x)
    assert [start for start, _ in parts] == list(range(0, 50, 6))
    some = list(blocks(x, 10, (7, 20)))
    assert torch.equal(torch.cat([rows for _, rows in some]), x[7:20])
    whole = torch.cat([products(rows, x, start, exclude_self=True) for start, rows in parts])
    expected = x @ x.T
    expected.fill_diagonal_(-torch.inf)
    assert torch.allclose(whole, expected)
