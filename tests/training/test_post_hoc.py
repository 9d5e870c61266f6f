"""WiSE-FT and ES: the interpolation, the shift, and the sweeps that choose among them on validation."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from helpers import random_rows, small_set
from tiny_models import tiny_model
from torch import Tensor

from geomclip.embeddings.record import EmbeddingSet
from geomclip.encoders import Encoder, load_encoder, save_checkpoint, with_weights
from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.progress import Silent
from geomclip.metrics.gap_curves import SHIFTS, gap_shift_curve
from geomclip.training import post_hoc
from geomclip.training.post_hoc import shift_of, sweep_es, sweep_wise_ft, wise_ft

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return load_encoder(str(tiny_model(tmp_path_factory.mktemp("base") / "tiny")))


def tuned(encoder: Encoder) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(5)
    state = encoder.module.state_dict()
    return {name: value + 0.1 * torch.randn(value.shape, generator=draw) for name, value in state.items()}


# weights between two models


def test_the_ends_are_the_two_models_bit_for_bit(encoder: Encoder) -> None:
    base, other = encoder.module.state_dict(), tuned(encoder)
    assert all(torch.equal(value, base[name]) for name, value in wise_ft(base, other, 0.0).items())
    assert all(torch.equal(value, other[name]) for name, value in wise_ft(base, other, 1.0).items())


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.7])
def test_weights_lie_on_the_line_between_the_two(encoder: Encoder, alpha: float) -> None:
    base, other = encoder.module.state_dict(), tuned(encoder)
    for name, value in wise_ft(base, other, alpha).items():
        expected = (1 - alpha) * base[name].double() + alpha * other[name].double()
        assert torch.allclose(value.double(), expected, atol=1e-6), name


def test_half_types_are_interpolated_in_float32_and_counts_are_those_of_the_tuned_model() -> None:
    base = {"w": torch.tensor([1.0]).bfloat16(), "count": torch.tensor(3)}
    other = {"w": torch.tensor([1.0078125]).bfloat16(), "count": torch.tensor(8)}  # the next bfloat16
    between = wise_ft(base, other, 0.5)
    assert between["w"].dtype == torch.float32
    assert between["w"].item() == 1.00390625
    assert between["count"].item() == 8
    assert base["count"].item() == 3


def test_the_arguments_are_left_alone_and_not_shared() -> None:
    base, other = {"w": torch.zeros(2), "n": torch.tensor(1)}, {"w": torch.ones(2), "n": torch.tensor(2)}
    for alpha in (0.0, 0.5, 1.0):
        between = wise_ft(base, other, alpha)
        between["w"] += 5
        between["n"] += 5
    assert (base["w"].tolist(), other["w"].tolist()) == ([0, 0], [1, 1])
    assert (base["n"].item(), other["n"].item()) == (1, 2)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_an_alpha_outside_the_line_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\]"):
        wise_ft({"w": torch.zeros(1)}, {"w": torch.zeros(1)}, alpha)


def test_states_of_two_architectures_are_refused() -> None:
    with pytest.raises(ValueError, match=r"w is \(1,\) in base, \(2,\) in tuned"):
        wise_ft({"w": torch.zeros(1)}, {"w": torch.zeros(2)}, 0.5)
    with pytest.raises(ValueError, match=r"v is absent in base, \(2,\) in tuned"):
        wise_ft({}, {"v": torch.zeros(2)}, 0.5)
    with pytest.raises(ValueError, match=r"v is \(2,\) in base, absent in tuned"):
        wise_ft({"v": torch.zeros(2)}, {}, 0.5)


# alpha chosen on validation


def distance(encoder: Encoder, state: dict[str, Tensor]) -> float:
    return math.sqrt(sum(float((v - state[n]).square().sum()) for n, v in encoder.module.state_dict().items()))


def test_the_sweep_scores_every_alpha_and_returns_the_best_encoder(encoder: Encoder) -> None:
    other = tuned(encoder)
    goal = wise_ft(encoder.module.state_dict(), other, 0.7)
    seen: list[tuple[str, int, int | None]] = []

    class Watching(Silent):
        def stage(self, name: str, done: int, total: int | None, note: str = "") -> None:
            seen.append((name, done, total))

    sweep = sweep_wise_ft(encoder, other, lambda e: -distance(e, goal), progress=Watching())
    assert sweep.best == 0.7
    assert sweep.gains
    assert [value for value, _ in sweep.points] == pytest.approx([step / 10 for step in range(11)])
    assert all(torch.equal(value, goal[name]) for name, value in sweep.encoder.module.state_dict().items())
    assert sweep.encoder.weights_sha256 == with_weights(encoder, goal).weights_sha256
    assert sweep.encoder.logit_scale == pytest.approx(goal["logit_scale"].exp().item())
    assert seen == [("wise-ft", done, 11) for done in range(1, 12)]


def test_the_base_model_is_scored_and_is_no_candidate(encoder: Encoder) -> None:
    base = encoder.module.state_dict()
    sweep = sweep_wise_ft(encoder, tuned(encoder), lambda e: -distance(e, base), alphas=(0.25, 0.5))
    assert [value for value, _ in sweep.points] == [0, 0.25, 0.5, 1]
    assert max(sweep.points, key=lambda point: point[1])[0] == 0
    assert sweep.best == 0.25
    assert not sweep.gains


def test_of_equal_scores_the_nearest_to_the_start_wins(encoder: Encoder) -> None:
    sweep = sweep_wise_ft(encoder, tuned(encoder), lambda _: 1.0, alphas=(0.25, 0.5))
    assert sweep.best == 0.25
    assert not sweep.gains
    shifts = sweep_es(encoder, pairs(), lambda _: 1.0, amounts=(-0.5, 0.25, 1.0))
    assert shifts.best == 0.25


def test_sweeps_refuse_what_cannot_be_swept(encoder: Encoder) -> None:
    with pytest.raises(GeomclipError, match="alpha 0 scores nan on validation: no best can be chosen"):
        sweep_wise_ft(encoder, tuned(encoder), lambda _: math.nan)
    with pytest.raises(InputError, match=r"interpolates float32 weights: load .* with precision='fp32'"):
        sweep_wise_ft(dataclasses.replace(encoder, precision="bf16"), tuned(encoder), lambda _: 1.0)
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\], got 1\.5"):
        sweep_wise_ft(encoder, tuned(encoder), lambda _: 1.0, alphas=(0.5, 1.5))
    with pytest.raises(InputError, match="is shifted along the gap already"):
        sweep_es(dataclasses.replace(encoder, shift=torch.zeros(16)), pairs(), lambda _: 1.0)
    with pytest.raises(ValueError, match="at least one value besides 0"):
        sweep_es(encoder, pairs(), lambda _: 1.0, amounts=(0.0,))


def test_a_mixture_saved_from_the_encoder_that_was_swept_names_its_base(encoder: Encoder, tmp_path: Path) -> None:
    sweep = sweep_wise_ft(encoder, tuned(encoder), lambda _: 1.0, alphas=(0.5,))
    save_checkpoint(encoder, sweep.encoder.module.state_dict(), tmp_path / "model.safetensors", made={"alpha": 0.5})
    again = load_encoder(str(tmp_path))
    assert again.weights_sha256 == sweep.encoder.weights_sha256
    assert again.made_from()["finetuned"]["base"]["weights_sha256"] == encoder.weights_sha256


# rows along the gap


def pairs() -> EmbeddingSet:
    return small_set(d=16)


def test_the_shift_is_the_amount_of_the_difference_of_the_means() -> None:
    train = pairs()
    assert train.text is not None
    gap = train.image.mean(dim=0) - train.text.mean(dim=0)
    assert torch.allclose(shift_of(train, 0.3), (0.3 * gap).float())
    assert shift_of(train, 0.3).dtype == torch.float32


def test_a_shift_is_a_point_of_the_shift_curve(encoder: Encoder) -> None:
    train = pairs()
    assert train.text is not None
    curve = gap_shift_curve(train.image, train.text, train.image_of_text)

    class Ready:
        """A module whose rows are what it takes."""

        def encode_image(self, rows: Tensor, normalize: bool) -> Tensor:
            return rows

        encode_text = encode_image

    ready = dataclasses.replace(encoder, module=Ready())
    for place, amount in enumerate(SHIFTS):
        shifted = dataclasses.replace(ready, shift=shift_of(train, amount))
        image = shifted.encode_image(train.image.float())
        text = shifted.encode_text(train.text.float())
        gap = (image.mean(dim=0) - text.mean(dim=0)).norm().item()
        assert gap == pytest.approx(curve["modality_gap"][place].item(), abs=1e-5)


def test_a_shift_needs_a_gap_and_texts() -> None:
    rows = random_rows(4, 8, seed=0)
    with pytest.raises(ValueError, match="there is no gap to shift along"):
        shift_of(EmbeddingSet(rows, rows), 0.5)
    with pytest.raises(ValueError, match="needs images and texts"):
        shift_of(EmbeddingSet(rows, class_text=rows, labels=torch.arange(4)), 0.5)
    with pytest.raises(ValueError, match="amount must be finite"):
        shift_of(EmbeddingSet(rows, -rows), math.nan)


def test_the_amount_is_chosen_by_the_score_of_the_shifted_encoder(encoder: Encoder) -> None:
    train = pairs()
    goal = shift_of(train, 0.75)

    def score(candidate: Encoder) -> float:
        shift = torch.zeros(16) if candidate.shift is None else candidate.shift
        return -float((shift - goal).norm())

    sweep = sweep_es(encoder, train, score)
    assert sweep.best == 0.75
    assert sweep.gains
    assert tuple(value for value, _ in sweep.points) == SHIFTS
    assert sweep.encoder.shift is not None
    assert torch.equal(sweep.encoder.shift, goal)
    assert sweep.encoder.weights_sha256 == encoder.weights_sha256
    assert encoder.shift is None


def test_a_swept_encoder_can_be_saved_and_loaded(encoder: Encoder, tmp_path: Path) -> None:
    sweep = sweep_es(encoder, pairs(), lambda e: 0.0 if e.shift is None else 1.0, amounts=(0.5,))
    made = {"method": "es", "amount": sweep.best, "points": sweep.points}
    save_checkpoint(sweep.encoder, sweep.encoder.module.state_dict(), tmp_path / "best.safetensors", made=made)
    again = load_encoder(str(tmp_path))
    assert again.fingerprint() == sweep.encoder.fingerprint()
    assert again.made_from()["finetuned"]["points"] == [[0.0, 0.0], [0.5, 1.0]]
    assert post_hoc.ALPHAS[0] == 0
    assert post_hoc.ALPHAS[-1] == 1
