"""Losses by tiles: those of the whole matrix, their gradients, one answer for any number of threads, no matrix."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from helpers import random_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geomclip import losses
from geomclip.embeddings.geometry import geodesic_mixup
from geomclip.losses import blockwise
from geomclip.losses import tiles as by_tiles

pytestmark = pytest.mark.numeric

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
LOSSES: dict[str, Loss] = {
    "contrastive": lambda x, y, tau, bias: losses.contrastive(x, y, tau),
    "m2_mix": lambda x, y, tau, bias: losses.m2_mix(x, y, 0.3, tau),
    "siglip": losses.siglip,
    "siglip at rest": lambda x, y, tau, bias: losses.siglip(x, y, tau),
}
TILES = 16


@pytest.fixture
def tiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tiles."""
    monkeypatch.setitem(by_tiles.TILE, "cpu", TILES)


def pairs(m: int, d: int, *, seed: int, near: float = 0.5) -> tuple[Tensor, Tensor]:
    x = random_rows(m, d, seed=seed)
    return x, F.normalize(x + near * random_rows(m, d, seed=seed + 1), dim=1)


def value_and_gradients(loss: Loss, *inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The loss, and its gradients by what it depends on."""
    own = [each.clone().requires_grad_() for each in inputs]
    value = loss(*own)
    found = torch.autograd.grad(3 * value, own, allow_unused=True)  # a factor that must come through
    return value, [each for each in found if each is not None]


def both_ways(
    monkeypatch: pytest.MonkeyPatch, loss: Loss, inputs: tuple[Tensor, ...], dtype: torch.dtype = torch.float64
) -> tuple[tuple[Tensor, list[Tensor]], tuple[Tensor, list[Tensor]]]:
    """By the whole matrix in float64, and by tiles in a type."""
    whole = value_and_gradients(loss, *inputs)
    monkeypatch.setattr(blockwise, "DENSE_UP_TO", 1)
    return whole, value_and_gradients(loss, *(each.to(dtype) for each in inputs))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("m", [2, 16, 17, 50])
@pytest.mark.parametrize("tau", [1.0, 0.07, 0.003])
def test_tiles_give_the_loss_and_the_gradients_of_the_whole_matrix(
    name: str, m: int, tau: float, tiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = (*pairs(m, 6, seed=m), torch.tensor(tau, dtype=torch.float64), torch.tensor(-2.0, dtype=torch.float64))
    whole, tiles = both_ways(monkeypatch, LOSSES[name], inputs)
    close = {"rtol": 2e-4, "atol": 1e-5} if "rest" in name else {"rtol": 5e-9, "atol": 1e-11}
    torch.testing.assert_close(tiles[0], whole[0], **close)
    assert len(tiles[1]) == len(whole[1]) >= 3
    for found, expected in zip(tiles[1], whole[1], strict=True):
        torch.testing.assert_close(found, expected, rtol=close["rtol"], atol=close["atol"] * max(1.0, 1 / tau))


@pytest.mark.parametrize("name", ["contrastive", "m2_mix", "siglip"])
def test_gradients_in_float32_are_within_three_millionths_of_the_largest(
    name: str, tiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = (
        *pairs(200, 64, seed=0, near=2.0),
        torch.tensor(0.02, dtype=torch.float64),
        torch.tensor(-4.0, dtype=torch.float64),
    )
    whole, tiles = both_ways(monkeypatch, LOSSES[name], inputs, torch.float32)
    for found, expected in zip(tiles[1][:2], whole[1][:2], strict=True):
        assert (found - expected).abs().max() <= 3e-6 * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("of_rows", [False, True])
def test_mixtures_some_rows_at_a_time_have_the_values_and_gradients_of_all_at_once(
    of_rows: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blockwise, "ROWS", 7)
    x, y = (each.to(dtype) for each in pairs(30, 5, seed=4))
    y[3], y[20] = -x[3], x[20]
    lam = (
        torch.rand(30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        if of_rows
        else torch.tensor(0.3)
    )
    towards = random_rows(30, 5, seed=5).to(torch.promote_types(dtype, torch.float32))
    found = []
    for mix in (geodesic_mixup, blockwise.mixed):
        given = [each.clone().requires_grad_() for each in (x, y, lam)]
        mixed = mix(*given)
        found.append([mixed.detach(), *torch.autograd.grad((mixed * towards).sum(), given)])
    for whole, parts in zip(*found, strict=True):
        assert parts.dtype == whole.dtype
        torch.testing.assert_close(parts, whole, rtol=1e-6, atol=1e-6)


def test_one_share_of_half_rows_is_not_rounded_as_they_are() -> None:
    x, y = (each.bfloat16() for each in pairs(30, 5, seed=4))
    torch.testing.assert_close(blockwise.mixed(x, y, 0.3), geodesic_mixup(x, y, 0.3), rtol=0, atol=1e-7)


def test_mixtures_of_another_number_of_shares_than_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one for each of 30 rows, got \(29,\)"):
        blockwise.mixed(*pairs(30, 5, seed=4), torch.full((29,), 0.5))


@settings(max_examples=25)
@given(
    st.integers(2, 40), st.integers(2, 5), st.floats(0.002, 2), st.integers(0, 99), st.sampled_from(sorted(LOSSES)[:3])
)
def test_any_batch_signed_or_with_duplicates_has_the_loss_of_the_whole_matrix(
    m: int, d: int, tau: float, seed: int, name: str
) -> None:
    x, y = pairs(m, d, seed=seed, near=2.0)
    x[-1], y[0] = x[0], -x[0]
    inputs = (x, y, torch.tensor(tau, dtype=torch.float64), torch.tensor(-1.0, dtype=torch.float64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(by_tiles.TILE, "cpu", 7)
        whole, tiles = both_ways(patch, LOSSES[name], inputs)
    torch.testing.assert_close(tiles[0], whole[0], rtol=1e-9, atol=1e-11)
    for found, expected in zip(tiles[1], whole[1], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9 * max(1.0, float(expected.abs().max())))


def test_rows_far_below_the_largest_logit_of_their_tile_lose_nothing(
    tiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.eye(4, dtype=torch.float64).repeat(4, 1)
    y = x.clone()
    y[8:] = -x[8:]  # their logits are 400 below those of the others
    inputs = (x, y, torch.tensor(0.005, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64))
    for dtype in (torch.float64, torch.float32):
        with monkeypatch.context() as patch:
            whole, tiles = both_ways(patch, LOSSES["contrastive"], inputs, dtype)
        torch.testing.assert_close(tiles[0].double(), whole[0], rtol=1e-6, atol=0)
        for found, expected in zip(tiles[1], whole[1], strict=True):
            torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_any_number_of_threads_gives_the_same_bits(name: str, tiled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blockwise, "DENSE_UP_TO", 1)
    inputs = tuple(each.float() for each in (*pairs(150, 32, seed=3), torch.tensor(0.05), torch.tensor(-3.0)))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(value_and_gradients(LOSSES[name], *inputs))
    finally:
        torch.set_num_threads(before)
    for value, gradients in found[1:]:
        assert value == found[0][0]
        assert all(torch.equal(one, other) for one, other in zip(gradients, found[0][1], strict=True))


def test_no_tensor_of_a_large_batch_is_larger_than_its_rows_or_a_tile(
    tiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, func: object, types: object, args: tuple = (), kwargs: dict | None = None):  # type: ignore[no-untyped-def, type-arg]
            result = func(*args, **(kwargs or {}))  # type: ignore[operator]
            for each in result if isinstance(result, tuple | list) else (result,):
                self.numel = max(self.numel, each.numel() if isinstance(each, Tensor) else 0)
            return result

    m, d = 400, 3
    monkeypatch.setattr(blockwise, "DENSE_UP_TO", 100)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # a mode is seen in its own thread alone
    try:
        for name, loss in LOSSES.items():
            with Largest() as largest:
                value_and_gradients(
                    loss, *(each.float() for each in (*pairs(m, d, seed=1), torch.tensor(0.1), torch.tensor(-1.0)))
                )
            assert 0 < largest.numel <= 2 * m * d, name
    finally:
        torch.set_num_threads(before)


def test_an_error_in_a_strip_ends_the_others(tiled: None) -> None:
    def strip(place: int, row: slice, turns: by_tiles.Turns) -> None:
        if place == 1:
            raise RuntimeError("the second strip")
        for column in turns:
            with turns.of(place, column):
                pass

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="the second strip"):
            by_tiles.walk(100, torch.device("cpu"), strip)
    finally:
        torch.set_num_threads(before)


def test_half_types_and_autocast_are_computed_in_float32(tiled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blockwise, "DENSE_UP_TO", 1)
    x, y = (each.bfloat16() for each in pairs(40, 8, seed=5))
    plain = losses.contrastive(x.float(), y.float(), 0.05)
    assert torch.equal(losses.contrastive(x, y, 0.05), plain)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(losses.contrastive(x, y, 0.05), plain)
