"""The sweep: blocks hold the right scores, and no result depends on how the matrix is cut."""

from __future__ import annotations

import pytest
import torch
from helpers import random_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from recorder import Recorder
from torch import Tensor

from geomclip.metrics.alignment import Hardest
from geomclip.metrics.calibration import Masses
from geomclip.metrics.folds import Block
from geomclip.metrics.nearest import Nearest
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.retrieval import Ranks
from geomclip.metrics.sweep import Asking, blocks, sweep, text_slices
from geomclip.metrics.uniformity import GaussianSums

pytestmark = pytest.mark.numeric


def pairing(n: int = 9, m: int = 31, d: int = 6, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Pairing:
    """Random owners: some images have many texts, some none."""
    own = torch.randint(0, n - 1, (m,), generator=torch.Generator().manual_seed(seed))
    return Pairing.of(random_rows(n, d, seed=seed).to(dtype), random_rows(m, d, seed=seed + 1).to(dtype), own)


class Collect:
    """A fold that keeps the whole matrix: for tests only."""

    def __init__(self, unmatched: bool) -> None:
        self.unmatched = unmatched

    def start(self, pairing: Pairing) -> Tensor:
        return torch.full((pairing.m, pairing.n), torch.nan, dtype=pairing.text.dtype)

    def update(self, state: Tensor, block: Block) -> None:
        assert state[block.texts, block.images].isnan().all(), "each entry comes once"
        state[block.texts, block.images] = block.s

    def finish(self, state: Tensor, pairing: Pairing) -> Tensor:
        return state


@pytest.mark.parametrize(("text_block", "image_block"), [(1, 1), (4, 3), (7, 100), (1000, 2), (1000, 1000)])
def test_every_score_comes_once_and_matched_ones_are_hidden_only_where_asked(text_block, image_block):
    p = pairing()
    whole, hidden = sweep(p, [Collect(False), Collect(True)], text_block=text_block, image_block=image_block)
    expected = p.text @ p.image.T
    assert torch.allclose(whole, expected, atol=1e-14)
    expected[torch.arange(p.m), p.own] = -torch.inf
    assert torch.allclose(hidden, expected, atol=1e-14)


@given(counts=st.lists(st.integers(0, 6), min_size=2, max_size=12).filter(sum), size=st.integers(1, 9))
@settings(max_examples=60)
def test_a_block_never_splits_the_texts_of_one_image(counts, size):
    own = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    p = Pairing.of(torch.ones(len(counts), 1), torch.ones(len(own), 1), own)
    seen = []
    for texts, images in text_slices(p, size):
        assert set(own[texts].tolist()) <= set(range(images.start, images.stop))
        assert texts.stop > texts.start
        seen += own[texts].tolist()
        assert texts.stop - texts.start <= max(size, max(counts))
    assert seen == own.tolist()


FOLDS = {
    "hardest": Hardest(),
    "gaussian": GaussianSums(),
    "ranks": Ranks(),
    "masses": Masses(30.0, squares=True),
    "nearest": Nearest(4),
    "nearest_unmatched": Nearest(3, "text", unmatched=True),
}


def flat(result: object) -> dict[str, Tensor]:
    if isinstance(result, dict):
        return {f"{k}.{key}": value for k, part in result.items() for key, value in flat(part).items()}
    if isinstance(result, Tensor):
        return {"": result}
    return {key: value for key, value in vars(result).items() if isinstance(value, Tensor)}


@pytest.mark.parametrize("name", FOLDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_size_of_blocks_changes_nothing(name, dtype):
    p, fold = pairing(dtype=dtype), FOLDS[name]
    near = 1e-9 if dtype == torch.float64 else 1e-4  # a logit of 30 cosines in float32
    (whole,) = sweep(p, [fold])
    for text_block, image_block in ((1, 1), (5, 4), (13, 2)):
        (cut,) = sweep(p, [fold], text_block=text_block, image_block=image_block)
        for key, value in flat(whole).items():
            assert torch.allclose(flat(cut)[key], value, rtol=near, atol=near, equal_nan=True), key


@pytest.mark.parametrize("name", FOLDS)
def test_states_of_different_blocks_merge_into_the_state_of_all(name):
    p, fold = pairing(), FOLDS[name]
    (whole,) = sweep(p, [fold])
    first, second = fold.start(p), fold.start(p)
    middle = p.m // 2
    for ready in blocks(p, text_block=4, image_block=3):
        block = ready(fold.unmatched)
        fold.update(first if block.texts.start < middle else second, block)
    merged = fold.finish(fold.merge(first, second), p)
    for key, value in flat(whole).items():
        assert torch.allclose(flat(merged)[key], value, rtol=1e-9, atol=1e-9, equal_nan=True), key


@given(
    counts=st.lists(st.integers(0, 5), min_size=3, max_size=14).filter(sum),
    edges=st.lists(st.integers(0, 14), min_size=2, max_size=6),
    size=st.tuples(st.integers(1, 7), st.integers(1, 9)),
    compiled=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_queries_of_some_images_are_answered_as_where_all_ask(counts, edges, size, compiled):
    n, own = len(counts), torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    dtype, near = (torch.float32, 1e-4) if compiled else (torch.float64, 1e-9)
    p = Pairing.of(random_rows(n, 5, seed=n).to(dtype), random_rows(len(own), 5, seed=n + 1).to(dtype), own)
    edges = sorted({min(edge, n) for edge in edges})
    runs = [slice(*ends) for ends in zip(edges[::2], edges[1::2], strict=False)]
    images = torch.zeros(n, dtype=torch.bool)
    for run in runs:
        images[run] = True
    folds = [Hardest(), GaussianSums(), Ranks(), Masses(30.0, squares=True)]
    how = {"text_block": size[0], "image_block": size[1], "compiled": compiled}
    whole = sweep(p, folds, **how)
    for axis, chosen in (("image", images), ("text", images[p.own])):
        for fold, expected, found in zip(folds, whole, sweep(p, folds, asking=Asking(axis, runs), **how), strict=True):
            for key, each in flat(found[axis]).items():
                right = flat(expected[axis])[key][chosen]
                assert torch.allclose(each[chosen], right, rtol=near, atol=near, equal_nan=True), (fold, axis, key)


def test_half_of_a_matrix_answers_no_queries_of_some():
    with pytest.raises(ValueError, match="pair the cloud with itself"):
        sweep(Pairing.within(random_rows(5, 3, seed=0)), [GaussianSums()], asking=Asking("text", [slice(0, 2)]))


def test_pairing_sorts_texts_by_image_and_leads_back():
    image, text = random_rows(3, 4, seed=0), random_rows(4, 4, seed=1)
    p = Pairing.of(image, text, torch.tensor([2, 0, 2, 1]))
    assert p.order.tolist() == [1, 3, 0, 2]
    assert torch.equal(p.text, text[p.order])
    assert torch.equal(p.unsorted(p.text), text)
    assert p.texts_of_image.tolist() == [1, 1, 2]


def test_an_image_without_text_has_no_matched_score():
    p = Pairing.of(random_rows(3, 4, seed=0), random_rows(2, 4, seed=1), torch.tensor([0, 2]))
    assert torch.isneginf(p.best_matched).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("own", "text"),
    [(None, "31 texts for 9 images"), (torch.zeros(5, dtype=torch.int64), r"must be \(31,\), got \(5,\)")],
)
def test_owners_that_do_not_fit_are_refused_with_both_numbers(own, text):
    with pytest.raises(ValueError, match=text):
        Pairing.of(random_rows(9, 4, seed=0), random_rows(31, 4, seed=1), own)


def test_an_owner_outside_the_images_is_refused():
    with pytest.raises(ValueError, match="0 to 9 for 9 images"):
        Pairing.of(random_rows(9, 4, seed=0), random_rows(2, 4, seed=1), torch.tensor([0, 9]))


def test_nothing_is_made_on_a_device_by_default():
    """On a GPU a tensor made without its device would lie on the CPU; here it would have no values."""
    p = pairing()
    expected = sweep(p, list(FOLDS.values()))
    with torch.device("meta"):
        found = sweep(pairing_like(p), list(FOLDS.values()))
        mirrored = sweep(Pairing.within(p.text), [GaussianSums(), Hardest(), Nearest(3, unmatched=True)])
    for result, same in zip(expected, found, strict=True):
        assert all(
            torch.equal(flat(same)[key].nan_to_num(9), value.nan_to_num(9)) for key, value in flat(result).items()
        )
    assert all(value.device.type == "cpu" for result in mirrored for value in flat(result).values())


def pairing_like(p: Pairing) -> Pairing:
    """Made anew, so that nothing is at hand that was computed before."""
    return Pairing.of(p.image, p.unsorted(p.text), p.unsorted(p.own))


def test_what_a_sweep_gives_lies_where_the_pairing_lies():
    p = pairing()
    assert p.to("cpu") is p
    moved = Pairing.within(p.text).to("meta")
    assert moved.text is moved.image, "a cloud against itself is moved once"
    (best,) = sweep(p, [Hardest()], device="cpu")
    assert best["text"].device == p.text.device


def test_inputs_are_left_alone():
    image, text = random_rows(5, 4, seed=0), random_rows(5, 4, seed=1)
    before = image.clone(), text.clone()
    sweep(Pairing.of(image, text), list(FOLDS.values()))
    assert torch.equal(image, before[0])
    assert torch.equal(text, before[1])


def test_progress_counts_the_texts_that_are_done():
    seen = Recorder()
    sweep(pairing(), [Hardest()], text_block=8, image_block=4, stage="all", progress=seen)
    assert seen.stages[-1] == ("all", 31, 31, "")
    assert seen.stages == sorted(seen.stages)
