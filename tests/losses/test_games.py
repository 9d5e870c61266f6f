"""The compiled game of sentences and moments is the plain one, whoever is present."""

from __future__ import annotations

import pytest
import torch

from geomclip.losses import interaction
from geomclip.losses.interaction import draw_coalitions, sampled_interaction

pytest.importorskip("numba")
pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("shape", [(1, 1), (4, 2, 8), (2, 3, 5, 1), (3, 6, 6)])
@pytest.mark.parametrize("scale", [1.0, 10.0, 3000.0])  # of the last nothing is left but the best
@pytest.mark.parametrize("masked", [False, True])
def test_compiled_and_plain_are_the_same(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], scale: float, masked: bool
) -> None:
    generator = torch.Generator().manual_seed(len(shape))
    logits = scale * torch.randn(shape, dtype=torch.float64, generator=generator)
    coalitions = draw_coalitions(32, *shape[:-2], sum(shape[-2:]), generator=generator)
    masks = [None, None]
    if masked:
        masks = [torch.rand(part, generator=generator) < 0.7 for part in (shape[:-1], (*shape[:-2], shape[-1]))]
    before = logits.clone()
    compiled = sampled_interaction(logits, coalitions, *masks)
    assert torch.equal(logits, before)
    monkeypatch.setattr(interaction, "find_spec", lambda name: None)
    plain = sampled_interaction(logits, coalitions, *masks)
    torch.testing.assert_close(compiled.values, plain.values, rtol=0, atol=1e-12)
    torch.testing.assert_close(compiled.errors, plain.errors, rtol=0, atol=1e-12)
