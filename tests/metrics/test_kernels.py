"""The compiled loops: the same numbers as the plain updates, on every kind of input, with any number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from helpers import random_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geomclip.metrics import sweep as sweep_module
from geomclip.metrics.alignment import Hardest
from geomclip.metrics.calibration import Masses
from geomclip.metrics.folds import Block, CompiledFold, Fold
from geomclip.metrics.nearest import Nearest
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.retrieval import Ranks
from geomclip.metrics.sweep import load_kernels, runs_compiled, sweep
from geomclip.metrics.uniformity import GaussianSums
from geomclip.panels.histograms import Histogram

pytestmark = pytest.mark.numeric

numba = pytest.importorskip("numba", reason="numba is not installed")
kernels = pytest.importorskip("geomclip.metrics.kernels", reason="numba is not installed")

ACROSS = [Hardest(), GaussianSums(), Ranks(), Masses(100.0), Masses(1.0, squares=True), Nearest(5)]
WITHIN = [Hardest(), GaussianSums(), Nearest(7, unmatched=True)]


def clouds(kind: str) -> tuple[Tensor, Tensor, Tensor]:
    """Images, texts and owners, of which one image has no text and one has many."""
    image, text = random_rows(70, 24, seed=0).float(), random_rows(331, 24, seed=1).float()
    own = torch.randint(1, 70, (331,), generator=torch.Generator().manual_seed(2))
    own[:40] = 5
    if kind == "cones":  # as CLIP's: far apart, each narrow
        image, text = image + 3 * image[:1], text - 3 * image[:1]
    elif kind == "duplicates":
        image[10:20], text[50:90], text[100:130] = image[3].clone(), text[7].clone(), image[3].clone()
    elif kind == "extreme":  # scores of 1 and -1 to the last bit
        image = torch.eye(24)[torch.arange(70) % 24]
        text = -torch.eye(24)[torch.arange(331) % 24]
        text[::2] *= -1
    return torch.nn.functional.normalize(image), torch.nn.functional.normalize(text), own


def parts(result: object) -> dict[str, Tensor]:
    if isinstance(result, Tensor):
        return {"": result}
    pieces = result if isinstance(result, dict) else vars(result)
    return {f"{key}.{name}": each for key, piece in pieces.items() for name, each in parts(piece).items()}


def assert_same(fold: Fold, pairing: Pairing, *, near: float, **cut: int) -> None:
    """A fold by compiled loops and by torch, in blocks of the same size."""
    assert isinstance(fold, CompiledFold)
    (compiled,), (plain,) = (sweep(pairing, [fold], compiled=each, **cut) for each in (True, False))
    for name, expected in parts(plain).items():
        got = parts(compiled)[name]
        if name.startswith(("text_index", "image_index")):
            continue  # ties may be taken in any order: the scores tell
        if isinstance(fold, Masses) and not fold.squares and "squares" in name:
            continue  # not asked for
        assert got.dtype == expected.dtype
        assert torch.allclose(got.double(), expected.double(), rtol=near, atol=near, equal_nan=True), (fold, name)


@pytest.mark.parametrize("kind", ["signed", "cones", "duplicates", "extreme"])
@pytest.mark.parametrize("fold", ACROSS, ids=lambda fold: type(fold).__name__)
def test_compiled_loops_give_what_torch_gives(fold, kind):
    near = 1e-4 if isinstance(fold, Masses) else 2e-6  # a logit of 100 cosines has no more digits in float32
    assert_same(fold, Pairing.of(*clouds(kind)), near=near, text_block=100, image_block=33)


@pytest.mark.parametrize("kind", ["signed", "cones", "duplicates", "extreme"])
@pytest.mark.parametrize("fold", WITHIN, ids=lambda fold: type(fold).__name__)
def test_compiled_loops_give_what_torch_gives_within_a_cloud(fold, kind):
    assert_same(fold, Pairing.within(clouds(kind)[1]), near=2e-6, text_block=100, image_block=33)


@given(n=st.integers(2, 12), m=st.integers(2, 150), d=st.integers(1, 5), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_any_small_shape_gives_the_same(n, m, d, seed):
    own = torch.randint(0, n, (m,), generator=torch.Generator().manual_seed(seed))
    pairing = Pairing.of(random_rows(n, d, seed=seed).float(), random_rows(m, d, seed=seed + 1).float(), own)
    for fold in ACROSS:
        assert_same(fold, pairing, near=2e-4)


@pytest.mark.parametrize("unmatched", [False, True])
def test_the_neighbours_found_have_the_scores_that_are_told(unmatched):
    pairing = Pairing.of(*clouds("duplicates"))
    (found,) = sweep(pairing, [Nearest(5, unmatched=unmatched)], compiled=True, text_block=50, image_block=20)
    scores = pairing.text @ pairing.image.T
    assert torch.allclose(scores.gather(1, found["text_index"]), found["text_score"], atol=1e-6)
    assert torch.allclose(scores.T.gather(1, found["image_index"]), found["image_score"], atol=1e-6)
    assert all(len(set(row)) == 5 for row in found["text_index"].tolist())
    assert bool((found["text_score"].diff(dim=1) <= 0).all()), "best first"


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of torch's threads; it is what it was after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def assert_no_bit_differs(results: list[list[dict[str, Tensor]]]) -> None:
    for other in results[1:]:
        for one, same in zip(results[0], other, strict=True):
            assert all(torch.equal(one[name].nan_to_num(9), same[name].nan_to_num(9)) for name in one)


@pytest.mark.parametrize(("text_block", "image_block"), [(20, 7), (400, 70)], ids=["many rows of blocks", "one row"])
@pytest.mark.parametrize("within", [False, True])
def test_the_number_of_threads_changes_no_bit(threads, within, text_block, image_block):
    image, text, own = clouds("signed")
    pairing, folds = (Pairing.within(text), WITHIN) if within else (Pairing.of(image, text, own), ACROSS)
    results = []
    for count in (1, 2, 5, 8):
        threads(count)
        found = sweep(pairing, folds, compiled=True, text_block=text_block, image_block=image_block)
        results.append([parts(each) for each in found])
    assert_no_bit_differs(results)


def test_folds_without_loops_see_every_score_once_in_threads(threads):
    threads(3)
    image, text, own = clouds("signed")
    (counted, _) = sweep(Pairing.of(image, text, own), [Histogram(), Hardest()], compiled=True, text_block=20)
    assert counted.sum() == 70 * 331 - 331


class Fails(Hardest):
    """A fold that fails in the third row of blocks, while others wait for it."""

    def take(self, state: object, block: Block) -> None:
        if block.texts.start > 50:
            raise RuntimeError("no more")


def test_what_fails_in_a_thread_ends_the_sweep_with_its_error(threads):
    threads(3)
    with pytest.raises(RuntimeError, match="no more"):
        sweep(Pairing.of(*clouds("signed")), [Fails()], compiled=True, text_block=20, image_block=7)
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("count", [1, 2, 8])
def test_sweeps_may_run_at_once(threads, count):
    threads(count)
    pairing = Pairing.of(*clouds("signed"))
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(sweep, pairing, ACROSS, compiled=True, text_block=20) for _ in range(4)]
        assert_no_bit_differs([[parts(each) for each in future.result()] for future in futures])


def test_the_exponential_is_right_to_three_ulp_and_0_where_float32_ends():
    x = np.concatenate([np.linspace(-86.9, 0, 100_001), [-87.1, -1e30, -np.inf]]).astype(np.float32)
    got = np.empty_like(x)

    @numba.njit
    def exponentials(x, out):
        for k in range(len(x)):
            out[k] = kernels._exp(x[k])  # private, but its error is that of every fold

    exponentials(x, got)
    exact = np.exp(x.astype(np.float64))
    assert np.abs(got[:-3] / exact[:-3] - 1).max() < 3 * np.finfo(np.float32).eps
    assert got[-3:].tolist() == [0, 0, 0]


def test_a_close_call_is_decided_by_the_float64_score():
    seen = set()
    for seed in range(40):
        text = torch.nn.functional.normalize(torch.randn(1, 3, generator=torch.Generator().manual_seed(seed)))
        image = torch.cat([text, text]) + 1e-7 * random_rows(2, 3, seed=seed)  # far within the doubt
        pairing = Pairing.of(image.float(), text, torch.tensor([0]))
        exact = (pairing.text.double() @ pairing.image.double().T)[0]
        (ranks,) = sweep(pairing, [Ranks()], compiled=True)
        assert ranks["text"].tolist() == [1 + int(exact[1] >= exact[0] - sweep_module.TIE)]
        seen |= set(ranks["text"].tolist())
    assert seen == {1, 2}


def test_only_large_float32_sweeps_are_compiled(monkeypatch):
    pairing = Pairing.of(*clouds("signed"))
    assert not runs_compiled(pairing)
    monkeypatch.setattr(sweep_module, "KERNELS_FROM", pairing.scores)
    assert runs_compiled(pairing)
    assert not runs_compiled(Pairing.of(pairing.image.double(), pairing.text.double(), pairing.own))


def test_without_numba_sweeps_run_by_torch_and_asking_for_loops_says_why(monkeypatch):
    def missing(name: str) -> None:
        raise ImportError(f"no module {name}")

    load_kernels.cache_clear()
    monkeypatch.setattr(sweep_module, "import_module", missing)
    monkeypatch.setattr(sweep_module, "KERNELS_FROM", 1)
    pairing = Pairing.of(*clouds("signed"))
    try:
        assert len(sweep(pairing, [Hardest()])) == 1
        with pytest.raises(ValueError, match="pip install numba"):
            sweep(pairing, [Hardest()], compiled=True)
    finally:
        load_kernels.cache_clear()


def test_a_fold_that_sees_matched_entries_is_refused_within_a_cloud():
    with pytest.raises(ValueError, match="must be unmatched"):
        sweep(Pairing.within(clouds("signed")[0]), [Nearest(3)])
