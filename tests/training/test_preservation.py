"""Preserving the base in training: gradients by hand, divided batches, adapters, resumption, and what is refused."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from helpers import assert_one_line
from tiny_models import tiny_model
from tiny_training import gradients, off, same, tiny_module, tiny_settings, tiny_trainer, weights
from toy_pairs import toy_csv

import geomclip as gc
from geomclip import losses
from geomclip.machine.errors import InputError
from geomclip.machine.words import speak_of_flags
from geomclip.training.methods import METHODS
from geomclip.training.settings import PRESERVE, Settings, differences, preserve_weights
from geomclip.training.watching.journal import read_log

pytestmark = pytest.mark.numeric

ALL = {"embedding": 0.7, "cosine": 1.3, "similarity": 5.0}
NAMES = [f"{kind}_preservation" for kind in ALL]
TRAINED = [name for name, method in METHODS.items() if method.stage == "train"]
every = pytest.mark.parametrize("kind", ALL)


def after_steps(steps, method="ft", **changes):
    """A trainer that has taken some steps, and so has left its base."""
    trainer = tiny_trainer(method, clip_norm=0.0, **changes)
    for _ in range(steps):
        trainer.step()
    return trainer


@every
def test_the_gradients_are_those_of_the_terms_by_hand(kind):
    trainer = after_steps(2, preserve={kind: 3.0})
    base, now, batch = tiny_module(), copy.deepcopy(trainer.module), trainer.batches.batch(2)
    now.zero_grad()
    unit = torch.nn.functional.normalize
    raw = [now.encode_image(batch.pixels), now.encode_text(batch.tokens)]
    kept = [each.detach() for each in (base.encode_image(batch.pixels), base.encode_text(batch.tokens))]
    rows = raw + kept if kind == "embedding" else [unit(each) for each in raw + kept]
    term = getattr(losses, f"{kind}_preservation")(*rows)
    (losses.contrastive(*map(unit, raw), 1 / now.logit_scale.exp()) + 3 * term).backward()
    got, record = gradients(trainer)
    assert record["terms"][f"{kind}_preservation"] == pytest.approx(term.item(), rel=1e-4)
    assert term > 1e-6
    assert off({name: p.grad for name, p in now.named_parameters() if name in got}, got) < 1e-3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_before_the_first_update_nothing_has_changed(precision):
    record = tiny_trainer(preserve=ALL, precision=precision).step()
    assert [record["terms"][name] for name in NAMES] == pytest.approx([0, 0, 0], abs=1e-12)


@pytest.mark.parametrize("method", TRAINED)
def test_every_method_that_trains_can_preserve(method):
    trainer = after_steps(2, method, preserve=ALL)
    record = trainer.step()
    assert list(record["terms"]) == [*METHODS[method].terms, *NAMES]
    assert min(record["terms"][name] for name in NAMES) > 0


def test_the_loss_is_the_methods_and_the_weighted_terms():
    trainer = after_steps(2, preserve=ALL)
    record = trainer.step()
    terms = record["terms"]
    weighted = terms["contrastive"] + sum(weight * terms[f"{kind}_preservation"] for kind, weight in ALL.items())
    assert record["loss"] == pytest.approx(weighted, rel=1e-6)


@pytest.mark.parametrize("method", ["ft", "m2mix"])
@pytest.mark.parametrize("parts", [2, 3])
def test_a_divided_batch_has_the_gradients_of_the_joint_one(method, parts):
    joint, record = gradients(after_steps(2, method, preserve=ALL))
    trainer = after_steps(2, method, preserve=ALL)
    trainer.settings = tiny_settings(method, clip_norm=0.0, preserve=ALL, accum_freq=parts)
    divided, again = gradients(trainer)
    assert again["terms"] == pytest.approx(record["terms"], rel=1e-4)
    assert off(joint, divided) < 1e-3


@every
def test_a_heavy_weight_keeps_the_rows_nearer_to_the_base(kind):
    def ends(weight):
        trainer = after_steps(8, preserve={kind: weight})
        return trainer.step()["terms"][f"{kind}_preservation"]

    assert ends(1000.0) < 0.5 * ends(1e-6)


def test_the_base_stays_as_it_was_and_is_no_part_of_the_state():
    trainer = after_steps(3, preserve=ALL)
    assert same(dict(trainer.base.module.state_dict()), dict(tiny_module().state_dict()))
    assert not same(weights(trainer), dict(tiny_module().state_dict()))
    assert set(trainer.state()) == {"model", "optimizer"}


def test_under_adapters_the_base_is_the_model_below_them_and_no_copy():
    pytest.importorskip("peft")
    trainer = after_steps(3, preserve=ALL, lora=2)
    below = {each.data_ptr() for each in trainer.module.parameters()}
    own = [name for name, each in trainer.base.module.named_parameters() if each.data_ptr() not in below]
    assert own == ["logit_scale"]
    assert same(dict(trainer.base.module.state_dict()), dict(tiny_module().state_dict()))
    assert trainer.step()["terms"]["cosine_preservation"] > 0


def test_a_locked_tower_does_not_leave_its_base():
    trainer = after_steps(3, preserve=ALL, lock="text")
    batch = trainer.batches.batch(3)
    text = trainer.base.rows([batch], "cpu")[1]
    assert torch.equal(text, trainer.rows(batch, 3, 0)[1])


@pytest.mark.parametrize(
    "changes", [{}, {"precision": "bf16"}, {"lora": 2}, {"accum_freq": 2}, {"method": "lp-ft"}, {"ema": 0.9}]
)
def test_a_trainer_loaded_from_a_state_goes_on_bit_for_bit(changes):
    if "lora" in changes:
        pytest.importorskip("peft")
    whole, first, second = (tiny_trainer(**{"method": "m2mix", "preserve": ALL, **changes}) for _ in range(3))
    for _ in range(4):
        whole.step()
    for _ in range(2):
        first.step()
    second.load(copy.deepcopy(first.state()), done=2)
    for _ in range(2):
        second.step()
    for part, tensors in whole.state().items():
        assert same(tensors, second.state()[part])


def test_what_it_draws_leaves_the_other_draws_as_they_are():
    plain, held = tiny_trainer("m3mix").step(), tiny_trainer("m3mix", preserve={"cosine": 1.0}).step()
    assert plain["lambda"] == held["lambda"]
    assert plain["loss"] == pytest.approx(held["loss"], rel=1e-6)  # nothing has changed yet


def test_a_base_whose_rows_have_no_direction_is_named():
    module = tiny_module()
    module.text_projection.data.zero_()
    trainer = tiny_trainer(preserve={"cosine": 1.0})
    trainer.base.module.load_state_dict(module.state_dict())
    with pytest.raises(InputError, match="preserve: the rows of the base are unusable: x row 0 is zero"):
        trainer.step()


# ------------------------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("cosine", {"cosine": PRESERVE["cosine"]}),
        ("cosine,similarity=2", {"cosine": 10.0, "similarity": 2.0}),
        (["embedding=0.5", " cosine = 3 , similarity"], {"embedding": 0.5, "cosine": 3.0, "similarity": 1000.0}),
        ({"cosine": 2}, {"cosine": 2.0}),
        ((), {}),
        ({}, {}),
    ],
)
def test_kinds_and_weights_are_read_as_they_are_written(written, meant):
    assert Settings(preserve=written).preserve == meant == preserve_weights(written)
    kept = json.loads(json.dumps(Settings(preserve=written).to_dict()))
    assert Settings.from_dict(kept) == Settings(preserve=written)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("cosin", "preserve='cosin' is none of what can be preserved; did you mean cosine?"),
        ("x", "is none of what can be preserved: use embedding, cosine, similarity"),
        ("cosine=", "preserve='cosine=': write KIND or KIND=X, as cosine=2"),
        ("cosine=much", "write KIND or KIND=X"),
        ("cosine=0", "preserve='cosine=0': a weight is positive and finite"),
        ("cosine=-1", "a weight is positive and finite"),
        ("cosine=nan", "a weight is positive and finite"),
        ("cosine=inf", "a weight is positive and finite"),
        ("cosine,cosine=2", "preserve='cosine' is given twice"),
        ({"cosine": "2"}, "a weight is positive and finite"),
        (3, "preserve 3: write KIND or KIND=X"),
        ("", "preserve '' names nothing: use embedding, cosine, similarity, or leave it out"),
        ([""], "preserve '' names nothing"),
        (" , ", "preserve '' names nothing"),
        ([3], "write KIND or KIND=X"),
    ],
)
def test_what_cannot_be_preserved_is_said_in_one_line(written, said):
    with pytest.raises(InputError, match=said.replace("(", r"\(")) as problem:
        Settings(preserve=written)
    assert "\n" not in str(problem.value)


# ---------------------------------------------------------------------------------------------------------- runs


def test_a_run_records_what_it_preserved_goes_on_alike_and_cites_its_sources(tmp_path, own_cache):
    tiny_model(tmp_path / "model")
    model, data = f"local-dir:{tmp_path / 'model'}", toy_csv(tmp_path)
    how = {"batch_size": 8, "lr": 1e-3, "precision": "fp32", "workers": 0, "bootstrap": 0, "metrics": "modality_gap"}
    how |= {"eval_every": 0, "probe_every": 0, "augment": "crop", "epochs": 9, "save_every": 2}
    result = gc.finetune("ft", model, data, out=tmp_path / "run", steps=4, preserve=["cosine", "similarity=2"], **how)
    kept = json.loads((result.folder / "config.json").read_text())["settings"]
    assert kept["preserve"] == {"cosine": 10.0, "similarity": 2.0}
    terms = [record["terms"] for record in read_log(result.folder / "log.jsonl") if "terms" in record]
    assert [list(each) for each in terms] == [["contrastive", "cosine_preservation", "similarity_preservation"]] * 4
    assert terms[0]["cosine_preservation"] < 1e-6 < terms[-1]["cosine_preservation"]
    assert "tung2019similarity" in gc.cite(result)
    card = gc.card(result.folder, tmp_path / "card.md").path.read_text("utf-8")
    assert "preserving cosine (10) and similarity (2) of its base" in card
    assert "hou2019learning" in card
    plain = gc.finetune("ft", model, data, out=tmp_path / "plain", steps=4, **how)
    assert "tung2019similarity" not in gc.cite(plain)


def test_a_method_that_trains_nothing_preserves_nothing(run, tmp_path, own_cache):
    asked = ("finetune", "--method", "es", "--preserve", "cosine", "--out", tmp_path / "run")
    assert_one_line(run(*asked), 2, "--preserve cosine: --method es trains nothing: leave it out")
    assert not (tmp_path / "run").exists()


def test_a_mistyped_kind_is_said_before_anything_is_made(run, tmp_path, own_cache):
    asked = ("finetune", "--preserve", "cosine", "--preserve", "similarty=2", "--out", tmp_path / "run")
    assert_one_line(run(*asked), 2, "--preserve similarty is none of what can be preserved; did you mean similarity?")
    assert not (tmp_path / "run").exists()


def test_an_empty_kind_is_refused_before_anything_is_made(run, tmp_path, own_cache):
    asked = ("finetune", "--preserve", "", "--out", tmp_path / "run")
    assert_one_line(run(*asked), 2, "--preserve '' names nothing: use embedding, cosine, similarity, or leave it out")
    assert not (tmp_path / "run").exists()


def test_what_a_run_began_with_is_told_as_one_types_it():
    held, other = Settings(preserve="cosine,similarity=2"), Settings(preserve="embedding=0.5")
    assert differences(held, other) == ["preserve {'cosine': 10.0, 'similarity': 2.0} there, {'embedding': 0.5} here"]
    speak_of_flags()
    try:
        assert differences(held, other) == [
            "--preserve cosine=10 --preserve similarity=2 there, --preserve embedding=0.5 here"
        ]
        assert differences(Settings(), other) == ["--preserve none there, --preserve embedding=0.5 here"]
        assert differences(held, Settings()) == ["--preserve cosine=10 --preserve similarity=2 there, none here"]
        mixed = Settings(weights={"m2_mix": 0.5})
        assert differences(mixed, Settings())[0].startswith("--weight m2_mix=0.5 there, --weight m2_mix=")
    finally:
        speak_of_flags(False)
