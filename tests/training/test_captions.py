"""Captions in training: the loss of open_clip's CoCa, the same however a batch is divided, and what is refused."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from helpers import assert_one_line
from safetensors.torch import load_file
from tiny_models import tiny_coca
from tiny_training import NoiseBatches, gradients, off, same, tiny_module, tiny_settings, weights
from tower_kinds import CONFIGS
from toy_pairs import toy_csv

import geomclip as gc
from geomclip.machine.errors import InputError
from geomclip.training.captions import captioned
from geomclip.training.methods import METHODS
from geomclip.training.objective import method_objective
from geomclip.training.trainer import Trainer
from geomclip.training.watching.journal import read_log

pytestmark = pytest.mark.numeric

COCA = {
    **CONFIGS["coca"],
    "text_cfg": {"context_length": 6, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    | {"embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {"context_length": 6, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


class Padded(NoiseBatches):
    """Texts of different lengths: their ends are padding."""

    def batch(self, step):
        found = super().batch(step)
        for row, tokens in enumerate(found.tokens):
            tokens[3 + row % 3 :] = 0
        return found


def caption_trainer(method="ft", *, module=None, **changes):
    settings = tiny_settings(method, **{"caption_weight": 2.0, "clip_norm": 0.0, **changes})
    objective = method_objective(METHODS[method], settings)
    return Trainer(
        tiny_module(**COCA) if module is None else module,
        settings=settings,
        objective=captioned(objective, settings.caption_weight) if settings.caption_weight else objective,
        batches=Padded(),
        steps=8,
    )


def test_the_gradients_are_those_of_cocas_own_loss():
    import open_clip

    module = tiny_module(**COCA)
    plain = copy.deepcopy(module).requires_grad_(True)
    batch = Padded().batch(0)
    made = plain(batch.pixels, batch.tokens)
    contrastive, caption = open_clip.CoCaLoss(caption_loss_weight=2.0, clip_loss_weight=1.0)(**made)
    (contrastive + caption).backward()
    got, record = gradients(caption_trainer(module=module))
    assert record["loss"] == pytest.approx((contrastive + caption).item(), rel=1e-5)  # float32 sums in another order
    assert record["terms"]["caption"] == pytest.approx(caption.item() / 2, rel=1e-5)
    assert off(got, {name: p.grad for name, p in plain.named_parameters() if name in got}) < 1e-4
    assert set(got) == {name for name, p in plain.named_parameters() if p.grad is not None}
    assert any(name.startswith("text_decoder.") for name in got)


@pytest.mark.parametrize("method", ["ft", "m2mix"])
@pytest.mark.parametrize("parts", [2, 3])
def test_a_divided_batch_has_the_gradients_of_the_joint_one(method, parts):
    joint, record = gradients(caption_trainer(method))
    divided, again = gradients(caption_trainer(method, accum_freq=parts))
    assert again["terms"]["caption"] == pytest.approx(record["terms"]["caption"], rel=1e-5)
    assert off(joint, divided) < 1e-3


def test_without_a_weight_the_decoder_stays_as_it_is():
    trainer = caption_trainer(caption_weight=0.0)
    before = weights(trainer)
    record = trainer.step()
    after = weights(trainer)
    assert "caption" not in record["terms"]
    decoder = [name for name in before if name.startswith("text_decoder.")]
    assert decoder
    assert all(torch.equal(before[name], after[name]) for name in decoder)
    assert not same(before, after)


@pytest.mark.parametrize("changes", [{}, {"precision": "bf16"}, {"grad_checkpointing": True}])
def test_a_trainer_loaded_from_a_state_goes_on_bit_for_bit(changes):
    whole, first, second = (caption_trainer("m2mix", **changes) for _ in range(3))
    for _ in range(4):
        whole.step()
    for _ in range(2):
        first.step()
    second.load(copy.deepcopy(first.state()), done=2)
    for _ in range(2):
        second.step()
    for part, tensors in whole.state().items():
        assert same(tensors, second.state()[part])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"module": "clip"}, "caption_weight=2.0: this model writes no captions"),
        ({"lora": 2}, "lora does not reach the decoder"),
        ({"compile": True}, "compile does not reach the decoder"),
    ],
)
def test_captions_that_cannot_be_learned_are_refused(changes, said):
    changes = {**changes, "module": tiny_module()} if "module" in changes else changes
    with pytest.raises(InputError, match=said):
        caption_trainer(**changes)


def test_a_run_trains_the_decoder_records_its_weight_and_is_evaluated_by_what_it_writes(tmp_path, own_cache):
    model, data = f"local-dir:{tiny_coca(tmp_path / 'coca')}", toy_csv(tmp_path / "toy")
    how = {"batch_size": 8, "lr": 1e-3, "precision": "fp32", "workers": 0, "bootstrap": 0, "metrics": "modality_gap"}
    result = gc.finetune("m2mix", model, data, out=tmp_path / "run", steps=3, caption_weight=2.0, eval_every=0, **how)
    assert json.loads((result.folder / "config.json").read_text())["settings"]["caption_weight"] == 2
    terms = [record["terms"] for record in read_log(result.folder / "log.jsonl") if "terms" in record]
    assert [list(each) for each in terms] == [["contrastive", "m2_mix", "caption"]] * 3
    before = load_file(tmp_path / "coca" / "open_clip_model.safetensors")
    after = load_file(result.folder / "model.safetensors")
    assert not torch.equal(before["text_decoder.text_projection"], after["text_decoder.text_projection"])
    panel = gc.evaluate("captioning", str(result.folder), data, split="test", max_tokens=5, beams=1)
    assert 0 <= panel["caption_cider_d"] <= 10


def test_a_model_that_writes_no_captions_is_refused_before_anything_is_made(run, tmp_path, own_cache):
    asked = ["--caption-weight", 2, "--out", tmp_path / "run"]
    assert_one_line(run("finetune", *asked), 2, "--caption-weight 2.0: this model writes no captions: name a CoCa")
    assert not (tmp_path / "run").exists()
