"""Trainer: exact gradients however the batch is divided, and a state that is all there is."""

from __future__ import annotations

import copy
import functools
import math

import pytest
import torch
from tiny_training import NoiseBatches, gradients, off, same, tiny_module, tiny_trainer, weights

from geomclip.machine.errors import InputError
from geomclip.training.methods import METHODS
from geomclip.training.precision import in_bf16
from geomclip.training.trainer import NotFinite, learning_rate_factor

pytestmark = pytest.mark.numeric

TRAINING = [name for name, method in METHODS.items() if method.stage == "train"]


@pytest.mark.parametrize("method", TRAINING)
def test_every_method_trains_and_tells_its_terms(method):
    trainer = tiny_trainer(method)
    before = weights(trainer)
    records = [trainer.step() for _ in range(3)]
    assert all(math.isfinite(record["loss"]) and record["terms"] for record in records)
    assert not same(before, weights(trainer))
    assert [record["step"] for record in records] == [1, 2, 3]


def test_the_gradients_of_ft_are_those_of_clips_own_loss():
    import open_clip

    module = tiny_module()
    plain = copy.deepcopy(module).requires_grad_(True)
    batch = NoiseBatches().batch(0)
    loss = open_clip.ClipLoss()(
        plain.encode_image(batch.pixels, normalize=True),
        plain.encode_text(batch.tokens, normalize=True),
        plain.logit_scale.exp(),
    )
    loss.backward()
    got, record = gradients(tiny_trainer(module=module, clip_norm=0.0))
    assert record["loss"] == pytest.approx(loss.item(), rel=1e-5)  # float32 sums in another order
    assert off(got, {name: p.grad for name, p in plain.named_parameters() if name in got}) < 1e-4
    assert set(got) == {name for name, p in plain.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("method", ["ft", "m2mix", "m3mix", "siglip", "cua", "geodesic", "g2l"])
@pytest.mark.parametrize("parts", [2, 3])
def test_accumulated_passes_give_the_gradients_of_the_joint_batch(method, parts):
    joint, record = gradients(tiny_trainer(method, clip_norm=0.0))
    divided, again = gradients(tiny_trainer(method, clip_norm=0.0, accum_freq=parts))
    assert again["loss"] == pytest.approx(record["loss"], rel=1e-5)
    assert again["grad_norm"] == pytest.approx(record["grad_norm"], rel=1e-4)
    assert off(joint, divided) < 1e-3


@pytest.mark.parametrize(("parts", "passes"), [(1, 1), (2, 3), (4, 7)])
def test_of_a_divided_batch_every_part_but_the_last_is_encoded_twice(parts, passes):
    trainer, seen = tiny_trainer(accum_freq=parts), []
    encode_image, encode_text = trainer.encode
    trainer.encode = [lambda pixels: seen.append(len(pixels)) or encode_image(pixels), encode_text]
    trainer.step()
    assert seen == [8 // parts] * passes


def test_divided_passes_drop_the_same_patches_in_both_runs_of_the_towers():
    vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "patch_dropout": 0.5}
    one = tiny_trainer(module=tiny_module(vision_cfg=vision), accum_freq=2, clip_norm=0.0)
    rows = [one.rows(one.batches.batch(0), 0, 0)[0] for _ in range(2) if one.worker.train()]
    assert torch.equal(rows[0], rows[1])


@pytest.mark.parametrize("changes", [{}, {"ema": 0.9}, {"precision": "bf16"}, {"lora": 2}, {"layer_decay": 0.7}])
def test_a_trainer_loaded_from_a_state_goes_on_bit_for_bit(changes):
    if "lora" in changes:
        pytest.importorskip("peft")
    whole = tiny_trainer("m3mix", **changes)
    for _ in range(6):
        whole.step()
    first = tiny_trainer("m3mix", **changes)
    for _ in range(3):
        first.step()
    kept = copy.deepcopy(first.state())
    second = tiny_trainer("m3mix", **changes)
    second.load(kept, done=3)
    for _ in range(3):
        second.step()
    for part, tensors in whole.state().items():
        assert same(tensors, second.state()[part])


@pytest.mark.parametrize("method", ["geodesic", "g2l"])
def test_geodesic_and_g2l_go_on_bit_for_bit_and_learn_what_ft_does_not(method):
    weights = {}
    for name in (method, "ft"):
        whole, second = (tiny_trainer(name) for _ in range(2))
        for _ in range(4):
            whole.step()
        first = tiny_trainer(name)
        for _ in range(2):
            first.step()
        second.load(copy.deepcopy(first.state()), done=2)
        for _ in range(2):
            second.step()
        assert same(whole.state()["model"], second.state()["model"])
        weights[name] = whole.state()["model"]
    moved = [key for key, value in weights["ft"].items() if not torch.equal(value, weights[method][key])]
    assert "visual.proj" in moved
    assert "text_projection" in moved


def test_steps_leave_the_callers_generators_alone():
    trainer = tiny_trainer("m3mix")
    before = torch.get_rng_state()
    trainer.step()
    assert torch.equal(before, torch.get_rng_state())


def test_another_seed_draws_another_course():
    one, other = tiny_trainer("m2mix"), tiny_trainer("m2mix", seed=1)
    assert one.step()["lambda"] != other.step()["lambda"]


def test_the_learning_rate_warms_up_falls_to_zero_and_is_restarted_for_lp_ft():
    factors = [learning_rate_factor(step, 10, warmup=2) for step in range(10)]
    assert factors[:2] == [0.5, 1.0]
    assert factors[2:] == sorted(factors[2:], reverse=True)
    assert factors[-1] < 0.05
    trainer = tiny_trainer("lp-ft", steps=8)
    rates = [trainer.step()["lr"] for _ in range(8)]
    assert rates[:4] == rates[4:]


def test_lp_ft_trains_only_heads_at_first():
    trainer = tiny_trainer("lp-ft", steps=4)
    start = weights(trainer)
    trainer.step()
    changed = {name for name, value in weights(trainer).items() if not torch.equal(value, start[name])}
    assert changed
    assert changed <= trainer.heads
    for _ in range(2):
        trainer.step()
    changed = {name for name, value in weights(trainer).items() if not torch.equal(value, start[name])}
    assert changed > trainer.heads


@pytest.mark.parametrize("tower", ["image", "text"])
def test_a_locked_tower_stays_as_it_is(tower):
    trainer = tiny_trainer("m2mix", lock=tower)
    before = weights(trainer)
    trainer.step()
    after = weights(trainer)
    for name in before:
        in_image = name.startswith("visual.")
        if name != "logit_scale" and in_image == (tower == "image"):
            assert torch.equal(before[name], after[name]), name
    assert not same(before, after)


def test_the_temperature_is_fixed_if_asked_and_never_leaves_clips_range():
    fixed = tiny_trainer(temperature=0.05, learn_temperature=False)
    assert fixed.step()["temperature"] == pytest.approx(0.05)
    assert fixed.step()["temperature"] == pytest.approx(0.05)
    learned = tiny_trainer(temperature=0.0101, lr=1.0, clip_norm=0.0)
    for _ in range(4):
        assert 0.01 - 1e-6 <= learned.step()["temperature"] <= 1 + 1e-6


def test_bf16_keeps_float32_weights_near_those_of_float32():
    exact, low = tiny_trainer("m2mix"), tiny_trainer("m2mix", precision="bf16")
    for _ in range(3):
        exact.step()
        low.step()
    for name, value in low.module.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.allclose(value, exact.module.state_dict()[name], atol=0.02), name
    assert next(low.worker.parameters()).dtype == torch.bfloat16


def test_batch_statistics_stay_float32_in_bf16_and_come_back():
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    trainer = tiny_trainer(module=tiny_module(vision_cfg=vision), precision="bf16")
    name = next(n for n, _ in trainer.module.named_buffers() if n.endswith("running_mean"))
    before = dict(trainer.module.named_buffers())[name].clone()
    trainer.step()
    after = dict(trainer.module.named_buffers())[name]
    assert after.dtype == torch.float32
    assert not torch.equal(before, after)
    assert all(b.dtype != torch.bfloat16 for n, b in in_bf16(trainer.module).named_buffers() if "running" in n)


def test_batch_norm_refuses_a_divided_batch_unless_in_eval_mode():
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    with pytest.raises(InputError, match="batch normalisation sees each forward pass apart"):
        tiny_trainer(module=tiny_module(vision_cfg=vision), accum_freq=2)
    trainer = tiny_trainer(module=tiny_module(vision_cfg=vision), accum_freq=2, mode="eval")
    assert math.isfinite(trainer.step()["loss"])


def test_gradient_checkpointing_changes_no_gradient():
    plain, _ = gradients(tiny_trainer(clip_norm=0.0))
    saved, _ = gradients(tiny_trainer(clip_norm=0.0, grad_checkpointing=True))
    assert off(plain, saved) < 1e-5


def test_clipping_limits_the_step_and_reports_the_norm_before_it():
    trainer = tiny_trainer(clip_norm=1e-3)
    got, record = gradients(trainer)
    assert record["grad_norm"] > 1e-3
    assert math.sqrt(sum(float(g.square().sum()) for g in got.values())) == pytest.approx(1e-3, rel=1e-3)


def test_gradients_within_the_limit_are_not_touched(monkeypatch):
    free, record = gradients(tiny_trainer(clip_norm=0.0))
    passes = []
    monkeypatch.setattr(torch.nn.utils, "clip_grads_with_norm_", lambda *_: passes.append("a pass over all"))
    limited, _ = gradients(tiny_trainer(clip_norm=2 * record["grad_norm"]))
    assert same(free, limited)
    assert not passes
    tiny_trainer(clip_norm=0.5 * record["grad_norm"]).step()
    assert passes


@pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"precision": "bf16", "ema": 0.5}, {"lora": 2}, {}])
def test_a_glimpse_is_the_model_as_it_is_and_changes_no_step(changes):
    if "lora" in changes:
        pytest.importorskip("peft")
    looked, left = tiny_trainer("m2mix", **changes), tiny_trainer("m2mix", **changes)
    batch = looked.batches.batch(0)
    for _ in range(3):
        looked.step()
        left.step()
        dtype = torch.bfloat16 if "precision" in changes else torch.float32
        with torch.no_grad():
            seen = looked.glimpse().eval().encode_image(batch.pixels.to(dtype), normalize=True)
            used = looked.plain().encode_image(batch.pixels, normalize=True)
        assert torch.allclose(seen.float(), used, atol=0.01 if "precision" in changes else 1e-5)
    assert same(weights(looked), weights(left))
    assert looked.step()["loss"] == left.step()["loss"]


def test_a_loss_that_is_not_finite_leaves_the_weights_as_they_were():
    trainer = tiny_trainer("m2mix")
    trainer.step()
    with torch.no_grad():
        trainer.module.visual.ln_post.bias.fill_(math.nan)
    before = weights(trainer)
    with pytest.raises(NotFinite):
        trainer.step()
    after = weights(trainer)
    assert all(torch.equal(before[name].nan_to_num(), after[name].nan_to_num()) for name in before)
    assert trainer.done == 1


def test_averaged_weights_lag_and_are_what_is_used():
    trainer = tiny_trainer(ema=0.99)
    for _ in range(4):
        trainer.step()
    used, last = trainer.plain().state_dict(), trainer.module.state_dict()
    assert not same(used, last)
    start = tiny_module().state_dict()
    name = "visual.proj"
    assert (used[name] - start[name]).norm() < (last[name] - start[name]).norm()


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_towers_give_the_same_step(backend, monkeypatch):
    """What is traced of the towers and their gradients is run as it is, or (slow) made C++ of."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    plain, compiled = tiny_trainer("m2mix"), tiny_trainer("m2mix", compile=True)
    assert compiled.step()["loss"] == pytest.approx(plain.step()["loss"], rel=1e-4)
