"""The model of grounding: it starts at the encoder's own answer, and its map is what it says it is."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from geomclip.grounding.model import Architecture, EncoderHeads, GroundingModel, logistic_curve, mask_weight
from geomclip.grounding.moments import proposals
from geomclip.grounding.objective import Options, batch_of, start_at_encoder
from geomclip.grounding.record import Query
from geomclip.machine.errors import InputError


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inputs(videos: int = 3, clips: int = 8, d: int = 12) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = drawn(1)
    rows = normalize(torch.randn(videos, clips, d, generator=generator), dim=-1)
    texts = normalize(torch.randn(2 * videos, d, generator=generator), dim=-1)
    return rows, texts, torch.arange(videos).repeat_interleave(2)


def test_at_the_start_the_ranking_is_the_encoders_own() -> None:
    rows, texts, owner = inputs()
    model = GroundingModel(Architecture(12, 12, clips=8, width=5), generator=drawn(0))
    means = normalize(proposals(8).means(rows), dim=-1)
    own = torch.einsum("qd,qnd->qn", texts, means[owner])
    with torch.no_grad():
        made = model(rows, texts, owner)
    torch.testing.assert_close(made.moments, means, rtol=0, atol=1e-7)
    torch.testing.assert_close(made.scores(), (0.5 * own + 0.5).sqrt() / 2, rtol=0, atol=1e-6)
    queries = [Query(f"v{int(video)}", str(place), ((2.0, 5.0),), 8.0) for place, video in enumerate(owner)]
    batch = batch_of(rows, texts, owner, queries, model.proposals)
    start_at_encoder(model, batch, Options())
    with torch.no_grad():
        assert torch.equal(model(rows, texts, owner).scores().argsort(1), own.argsort(1))


def test_the_gate_rises_with_the_cosine_even_where_the_truth_does_not() -> None:
    model = GroundingModel(Architecture(12, 12, clips=8, width=5), generator=drawn(0))
    cosines = torch.linspace(-0.5, 0.5, 50)
    assert isinstance(model.heads, EncoderHeads)
    for targets in (cosines + 0.5, 0.5 - cosines):
        model.heads.calibrate(cosines, targets)
        assert float(model.heads.steepness.detach()) > 0


@pytest.mark.parametrize("preset", ["encoder", "mmn"])
def test_a_video_is_answered_alike_whatever_is_beside_it(preset: str) -> None:
    rows, texts, owner = inputs()
    model = GroundingModel(Architecture(12, 12, clips=8, width=5, joint=7, preset=preset), generator=drawn(0)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3, generator=drawn(parameter.numel()))
    with torch.no_grad():
        together = model(rows, texts, owner).scores()
        alone = model(rows[1:2], texts[2:4], torch.zeros(2, dtype=torch.int64)).scores()
    torch.testing.assert_close(together[2:4], alone)


def test_a_convolution_of_a_constant_is_the_same_at_the_edge() -> None:
    """Seen to fail: without the weight a cell at the edge has a part of it."""
    every = proposals(8)
    ones = every.on_map(torch.ones(1, len(every)))[None]
    convolution = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    nn.init.constant_(convolution.weight, 0.5)
    with torch.no_grad():
        found = convolution(ones)[0, 0] * mask_weight(every.valid, 3)
    torch.testing.assert_close(found, torch.where(every.valid, 4.5, 0.0))


def test_what_is_not_proposed_changes_nothing() -> None:
    model = GroundingModel(Architecture(6, 6, clips=64, width=4), generator=drawn(0))
    seen: list[torch.Tensor] = []
    for convolution in model.convolutions:
        convolution.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    model.hidden(torch.randn(1, 64, 6, generator=drawn(2)))
    assert len(seen) == 2
    for at in seen:
        assert not at[..., ~model.proposals.valid].any()


def test_a_logistic_curve_is_found_again() -> None:
    x = torch.linspace(-1, 2, 400, dtype=torch.float64)
    steepness, center = logistic_curve(x, (7 * (x - 0.3)).sigmoid())
    assert steepness == pytest.approx(7, rel=0.02)  # a ridge holds it
    assert center == pytest.approx(0.3, abs=1e-2)
    assert logistic_curve(torch.ones(4).double(), torch.ones(4).double()) == (0.0, 0.0)
    assert logistic_curve(x, (x > 0.5).double())[0] > 20  # told apart without error, yet finite


def test_two_widths_have_no_answer_to_start_at() -> None:
    with pytest.raises(InputError, match=r"clips have 8 dimensions and sentences 12: .*preset='mmn'"):
        Architecture(8, 12)
    model = GroundingModel(Architecture(8, 12, clips=4, width=4, joint=6, preset="mmn"), generator=drawn(0))
    assert model(torch.randn(2, 4, 8), torch.randn(3, 12), torch.tensor([0, 1, 1])).scores().shape == (3, 10)


def test_shapes_that_are_not_the_architectures_are_refused() -> None:
    model = GroundingModel(Architecture(8, 8, clips=4, width=4), generator=drawn(0))
    with pytest.raises(ValueError, match=r"clips must be \(B, 4, 8\), got \(2, 5, 8\)"):
        model(torch.zeros(2, 5, 8), torch.zeros(1, 8), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"texts must be \(Q, 8\), got \(1, 7\)"):
        model(torch.zeros(2, 4, 8), torch.zeros(1, 7), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"owner must be \(2,\), got \(1,\)"):
        model(torch.zeros(2, 4, 8), torch.zeros(2, 8), torch.zeros(1, dtype=torch.int64))


def test_an_architecture_comes_back_from_its_file() -> None:
    made = Architecture(8, 8, clips=64, levels=(15, 8, 8), preset="mmn")
    assert Architecture.from_dict(made.to_dict()) == made
    with pytest.raises(InputError, match="preset 'x': use one of encoder, mmn, released"):
        Architecture(8, 8, preset="x")
    with pytest.raises(InputError, match="kernel 4: must be odd"):
        Architecture(8, 8, kernel=4)
