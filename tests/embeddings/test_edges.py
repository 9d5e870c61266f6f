"""Edges of graphs of nearest neighbours: the compiled loop joins whom torch joins, as far apart."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from geomclip.embeddings import graphs

pytest.importorskip("numba")
pytestmark = pytest.mark.numeric


@pytest.mark.parametrize(("videos", "n", "k"), [(1, 2, 1), (3, 20, 5), (2, 9, 50), (1, 1, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("copies", [False, True])
def test_compiled_and_plain_find_the_same_edges(
    monkeypatch: pytest.MonkeyPatch, videos: int, n: int, k: int, dtype: torch.dtype, copies: bool
) -> None:
    rows = normalize(torch.randn(videos, n, 6, dtype=dtype, generator=torch.Generator().manual_seed(n)), dim=-1)
    if copies:  # more than k equally near ones
        rows[:, n // 3 :] = rows[:, :1]
    compiled = graphs._angles(rows, k)
    monkeypatch.setattr(graphs, "find_spec", lambda name: None)
    plain = graphs._angles(rows, k)
    assert (compiled != 0).sum() == (plain != 0).sum()
    assert abs(compiled - plain).max() <= (1e-6 if dtype == torch.float32 else 1e-14)  # sums in another order
    assert ((compiled != 0) != (plain != 0)).sum() == 0
