"""The map of proposals, what its moments hold, and which of them are kept."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geomclip.grounding.moments import overlap, proposals, suppress


@pytest.mark.parametrize("clips", [1, 2, 3, 7, 16, 64, 128])
def test_maxima_and_means_are_those_of_each_moments_clips(clips: int) -> None:
    rows = torch.randn(2, clips, 3, generator=torch.Generator().manual_seed(clips)).double()
    all_of = proposals(clips)
    maxima, means = all_of.maxima(rows), all_of.means(rows)
    for place, (first, last) in enumerate(zip(all_of.first.tolist(), all_of.last.tolist(), strict=True)):
        held = rows[:, first : last + 1]
        assert torch.equal(maxima[:, place], held.amax(1))
        torch.testing.assert_close(means[:, place], held.mean(1))


@pytest.mark.parametrize(("clips", "count"), [(1, 1), (16, 136), (64, 1104), (128, 2548)])
def test_the_published_maps_have_as_many_proposals_as_they_are_known_for(clips: int, count: int) -> None:
    assert len(proposals(clips)) == count
    assert int(proposals(clips).valid.sum()) == count


def test_values_go_onto_the_map_and_back() -> None:
    every = proposals(64)
    values = torch.randn(3, len(every))
    cells = every.on_map(values)
    assert torch.equal(every.from_map(cells), values)
    assert not cells[:, ~every.valid].any()


def test_the_gradient_of_a_maximum_goes_to_the_clip_that_has_it() -> None:
    rows = torch.tensor([[1.0], [3.0], [2.0]], requires_grad=True)
    proposals(3).maxima(rows).sum().backward()
    assert rows.grad is not None
    assert rows.grad[:, 0].tolist() == [1.0, 4.0, 1.0]  # 0; 1, 01, 12, 012; 2


spans = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 20)).map(lambda pair: (pair[0], pair[0] + pair[1])),
    min_size=1,
    max_size=12,
)


@given(spans, st.data())
def test_no_kept_moment_overlaps_a_better_one_and_every_dropped_one_does(found: list, data: st.DataObject) -> None:
    scores = torch.tensor(data.draw(st.lists(st.integers(0, 5), min_size=len(found), max_size=len(found)))).double()
    where = torch.tensor(found).double()
    kept = suppress(where, scores, most=len(found)).tolist()
    assert scores[kept].tolist() == sorted(scores[kept].tolist(), reverse=True)
    between = overlap(where, where)
    for place, one in enumerate(kept):
        assert all(between[one, other] <= 0.5 for other in kept[:place])
    for other in set(range(len(found))) - set(kept):
        assert any(between[one, other] > 0.5 and scores[one] >= scores[other] for one in kept)
    assert suppress(where, scores, most=2).tolist() == kept[:2]


def test_overlap_is_of_shares_counted_by_hand() -> None:
    one, other = torch.tensor([[0.0, 4.0]]), torch.tensor([[2.0, 6.0], [4.0, 8.0], [0.0, 4.0], [1.0, 2.0]])
    assert overlap(one, other)[0].tolist() == [pytest.approx(1 / 3), 0.0, 1.0, 0.25]
