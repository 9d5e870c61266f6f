"""The probe: what a training run sees of itself, without being disturbed by looking."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tiny import TinyEncoder, tiny_pairs
from torch import Tensor, nn

from geomclip import metrics
from geomclip.encoders.extraction.batches import unit_rows
from geomclip.machine.errors import InputError
from geomclip.training.watching.probe import NUMBERS, Probe

pytestmark = pytest.mark.numeric


class Towers(nn.Module):
    """Two linear towers of which the image's has dropout and batch statistics; the text tower may be locked."""

    def __init__(self, encoder: TinyEncoder) -> None:
        super().__init__()
        self.visual = nn.Sequential(
            nn.BatchNorm1d(encoder.image_weights.shape[0]),
            nn.Dropout(0.5),
            nn.Linear(*encoder.image_weights.shape, bias=False),
        )
        self.text = nn.Linear(*encoder.text_weights.shape, bias=False)
        with torch.no_grad():
            self.visual[2].weight.copy_(encoder.image_weights.T)
            self.text.weight.copy_(encoder.text_weights.T)

    def encode_image(self, pixels: Tensor, normalize: bool = False) -> Tensor:
        return self.visual(pixels.flatten(1))

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        return self.text(tokens.to(self.text.weight.dtype) / 50)


@pytest.fixture
def probe(tmp_path: Path) -> Probe:
    return Probe(TinyEncoder(), tiny_pairs(tmp_path, 20), size=10)


@pytest.fixture
def towers() -> Towers:
    return Towers(TinyEncoder()).eval()


def test_the_numbers_are_those_of_the_metrics(tmp_path: Path, probe: Probe, towers: Towers) -> None:
    image = unit_rows(towers.encode_image(probe.pixels).detach())
    text = unit_rows(towers.encode_text(probe.tokens).detach())
    found = probe.measure(towers)
    assert set(found) == set(NUMBERS)
    assert found["alignment"] == pytest.approx(float(metrics.alignment(image, text)), abs=1e-6)
    assert found["uniformity_image"] == pytest.approx(float(metrics.uniformity(image)), abs=1e-6)
    assert found["uniformity_text"] == pytest.approx(float(metrics.uniformity(text)), abs=1e-6)
    assert found["uniformity_joint"] == pytest.approx(float(metrics.uniformity_joint(image, text)), abs=1e-6)
    assert found["uniformity_cross"] == pytest.approx(float(metrics.uniformity_cross(image, text)), abs=1e-6)
    assert found["modality_gap"] == pytest.approx(float(metrics.modality_gap(image, text)), abs=1e-6)
    assert found["relative_modality_gap"] == pytest.approx(float(metrics.relative_modality_gap(image, text)), abs=1e-6)
    assert len(set(found.values())) == len(NUMBERS)


def test_every_number_has_the_name_it_has_in_a_panel() -> None:
    assert set(NUMBERS) <= set(metrics.METRICS)


def test_each_part_is_left_in_the_mode_it_was_in(probe: Probe, towers: Towers) -> None:
    towers.train()
    towers.text.eval()  # a locked tower
    before = {name: part.training for name, part in towers.named_modules()}
    probe.measure(towers)
    assert {name: part.training for name, part in towers.named_modules()} == before
    assert set(before.values()) == {True, False}


def test_training_mode_changes_neither_the_numbers_nor_the_batch_statistics(probe: Probe, towers: Towers) -> None:
    calm = probe.measure(towers)
    state = {name: value.clone() for name, value in towers.state_dict().items()}
    assert probe.measure(towers.train()) == calm
    assert all(torch.equal(value, state[name]) for name, value in towers.state_dict().items())


def test_the_mode_comes_back_even_if_the_model_fails(probe: Probe, towers: Towers) -> None:
    def fails(tokens: Tensor, normalize: bool = False) -> Tensor:
        raise RuntimeError("no memory")

    towers.train().encode_text = fails
    with pytest.raises(RuntimeError, match="no memory"):
        probe.measure(towers)
    assert towers.training
    assert towers.visual[1].training


def test_the_generator_is_left_as_it_was(probe: Probe) -> None:
    class Noisy(Towers):
        def encode_image(self, pixels: Tensor, normalize: bool = False) -> Tensor:
            return super().encode_image(pixels) + 0.1 * torch.randn(1)

    noisy = Noisy(TinyEncoder())
    before = torch.get_rng_state()
    probe.measure(noisy)
    assert torch.equal(torch.get_rng_state(), before)


def test_looking_twice_gives_the_same_to_the_last_bit(probe: Probe, towers: Towers) -> None:
    towers.train()
    first = probe.measure(towers)
    torch.rand(3)
    assert probe.measure(towers) == first


def test_no_graph_is_kept_of_a_look(probe: Probe) -> None:
    class Watched(Towers):
        def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
            assert not torch.is_grad_enabled()
            return super().encode_text(tokens)

    probe.measure(Watched(TinyEncoder()))
    assert torch.is_grad_enabled()


def test_the_images_are_spread_over_the_split_each_with_its_first_text(tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path, 20)
    encoder = TinyEncoder()
    probe = Probe(encoder, pairs, size=6)
    # 18 of 20 have captions (6 and 13 do not); every third of those
    chosen = [[pair for pair in pairs.pairs if pair.captions][i] for i in (0, 3, 6, 9, 12, 15)]
    assert torch.equal(probe.tokens, encoder.tokenize([pair.captions[0] for pair in chosen])[0])
    assert len(probe) == 6
    assert len(Probe(encoder, pairs, size=100)) == 18


def test_images_that_cannot_be_read_are_left_out_with_their_texts(tmp_path: Path) -> None:
    pairs = tiny_pairs(tmp_path, 20, bad=(3,))
    encoder = TinyEncoder()
    probe = Probe(encoder, pairs, size=18)
    readable = [pair.captions[0] for i, pair in enumerate(pairs.pairs) if pair.captions and i != 3]
    assert torch.equal(probe.tokens, encoder.tokenize(readable)[0])
    assert len(probe.pixels) == len(probe.tokens) == 17


def test_a_split_of_too_few_pairs_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tiny-set \(test\): 1 images .*probe_every=0"):
        Probe(TinyEncoder(), tiny_pairs(tmp_path, 1))
    with pytest.raises(ValueError, match="at least 2 pairs, got size 1"):
        Probe(TinyEncoder(), tiny_pairs(tmp_path, 5), size=1)


def test_weights_that_are_not_finite_give_nan_and_one_point_gives_what_is_defined(probe: Probe, towers: Towers) -> None:
    with torch.no_grad():
        towers.visual[2].weight[0, 0] = math.nan
    assert all(math.isnan(value) for value in probe.measure(towers).values())

    class OnePoint(Towers):
        def encode_image(self, pixels: Tensor, normalize: bool = False) -> Tensor:
            return torch.tensor([[1.0, 0.0]]).repeat(len(pixels), 1)

        encode_text = encode_image

    found = probe.measure(OnePoint(TinyEncoder()))
    assert math.isnan(found["relative_modality_gap"])
    assert found["alignment"] == found["modality_gap"] == 0


def test_a_model_in_bfloat16_that_returns_more_than_rows_is_measured_all_the_same(probe: Probe, towers: Towers) -> None:
    class Captioning(Towers):
        def encode_text(self, tokens: Tensor, normalize: bool = True) -> tuple[Tensor, Tensor]:
            assert not normalize
            return super().encode_text(tokens), tokens

    found = probe.measure(Captioning(TinyEncoder()).bfloat16())
    for key, value in probe.measure(towers).items():
        assert found[key] == pytest.approx(value, abs=0.05)
