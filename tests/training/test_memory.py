"""A batch whose losses or passes do not fit is refused before the first step, with the size that would fit."""

from __future__ import annotations

import copy
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import assert_one_line, run_cli
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_model
from tiny_training import same, tiny_module, tiny_trainer, weights
from toy_pairs import toy_csv

from geomclip.losses.blockwise import DENSE_UP_TO
from geomclip.machine.errors import InputError
from geomclip.training import memory
from geomclip.training.batches import Batch
from geomclip.training.memory import COPIES, check_fits, check_passes_fit, kept_of_a_pair
from geomclip.training.methods import METHODS
from geomclip.training.settings import Settings
from geomclip.training.watching.journal import read_log


def test_a_batch_beyond_memory_is_refused_with_what_would_fit() -> None:
    with pytest.raises(InputError, match=r"joint batch of 40000 pairs needs at least 26 GB for hcl") as refused:
        check_fits(METHODS["hcl"].terms, 40_000, free=8_000_000_000)
    fits = int(re.search(r"(\d+) pairs would fit", str(refused.value))[1])  # type: ignore[index]
    assert COPIES * 4 * fits**2 <= 8_000_000_000 < COPIES * 4 * (fits + 1) ** 2
    check_fits(METHODS["hcl"].terms, fits, free=8_000_000_000)


def test_terms_add_up() -> None:
    free = COPIES * 4 * 20_000**2
    check_fits(METHODS["hcl"].terms, 20_000, free=free)
    with pytest.raises(InputError, match="v_mix, l_mix, vl_mix"):
        check_fits(METHODS["imix"].terms, 20_000, free=free)


def test_what_is_preserved_counts_too() -> None:
    check_fits([*METHODS["ft"].terms, "cosine_preservation"], 10**6, free=1)
    with pytest.raises(InputError, match="for similarity_preservation, of which"):
        check_fits([*METHODS["ft"].terms, "similarity_preservation"], 10**6, free=10**9)


@pytest.mark.parametrize("name", ["ft", "m2mix", "siglip", "lp-ft"])
def test_a_method_by_tiles_fits_always(name: str) -> None:
    check_fits(METHODS[name].terms, 10**6, free=1)


def test_a_small_batch_is_not_looked_at() -> None:
    check_fits(METHODS["hcl"].terms, DENSE_UP_TO, free=1)


def test_what_is_left_of_this_machine_is_what_a_batch_must_fit_into(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_left", lambda device: {"cpu": 8e9}[str(device)])
    with pytest.raises(InputError, match="of which 8 GB are free"):
        check_fits(METHODS["hcl"].terms, 40_000)
    monkeypatch.setattr(memory, "memory_left", lambda device: math.inf)
    check_fits(METHODS["hcl"].terms, 10**7)


DROPPING = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "patch_dropout": 0.5}


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        ({}, {}),
        ({"grad_checkpointing": True}, {}),
        ({"precision": "bf16"}, {}),
        ({"lora": 2}, {}),
        ({"lock": "image"}, {}),
        ({"mode": "train"}, {"vision_cfg": DROPPING}),
    ],
)
def test_what_a_pass_keeps_grows_by_what_a_trial_says_of_a_pair(changes: dict[str, Any], config: Any) -> None:
    if "lora" in changes:
        pytest.importorskip("peft")
    trainer = tiny_trainer(module=tiny_module(**config), **changes)
    batch = trainer.batches.batch(0)
    of_a_pair = trainer.kept_of_a_pair(batch.pixels[0], batch.tokens[:1])
    assert of_a_pair > 0
    known = [batch.pixels, batch.tokens, *trainer.worker.parameters(), *trainer.worker.buffers()]
    more = lambda count: trainer.rows(Batch(batch.pixels[: 2 * count], batch.tokens[: 2 * count]), 0, 0)  # noqa: E731
    assert kept_of_a_pair(more, known) == 2 * of_a_pair  # of six pairs over four


def test_checkpointed_activations_keep_less() -> None:
    plain, checkpointed = (tiny_trainer(grad_checkpointing=each) for each in (False, True))
    batch = plain.batches.batch(0)
    one = batch.pixels[0], batch.tokens[:1]
    assert checkpointed.kept_of_a_pair(*one) < plain.kept_of_a_pair(*one) / 2


def test_a_trial_changes_no_step() -> None:
    module = tiny_module(vision_cfg=DROPPING)
    norm = torch.nn.BatchNorm2d(3)
    module.visual.conv1 = torch.nn.Sequential(norm, module.visual.conv1)
    tried, other = (tiny_trainer(module=copy.deepcopy(module), mode="train") for _ in range(2))
    before = torch.random.get_rng_state()
    batch = tried.batches.batch(0)
    tried.kept_of_a_pair(batch.pixels[0], batch.tokens[:1])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert tried.step() == other.step()
    assert same(weights(tried), weights(other))


@given(st.integers(1, 10**9), st.integers(1, 10**7), st.integers(2, 10**5), st.integers(1, 64), st.floats(1e6, 1e13))
def test_a_pass_is_refused_where_it_surely_does_not_fit(
    kept: int, pixels: int, batch_size: int, accum_freq: int, free: float
) -> None:
    def fits(size: int) -> str:
        try:
            check_passes_fit(kept, pixels, Settings(batch_size=size, accum_freq=accum_freq), free=free)
        except InputError as problem:
            return str(problem)
        return ""

    said = fits(batch_size)
    assert bool(said) == (0.9 * batch_size * (kept + accum_freq * pixels) > free)
    if most := re.search("at most ([0-9]+) would fit", said):
        assert not fits(int(most[1]))
        assert fits(int(most[1]) + 1)


def test_the_command_refuses_such_a_batch_in_a_line_and_else_tells_the_most_memory(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = f"local-dir:{tiny_model(tmp_path / 'model')}"
    words = ("finetune", "--method", "ft", "--model", model, "--data", toy_csv(tmp_path / "set"), "--steps", "1")
    words += ("--batch-size", "8", "--bootstrap", "0", "--cache-dir", tmp_path / "cache", "--log-every", "0")
    with monkeypatch.context() as patch:
        patch.setattr(memory, "memory_left", lambda device: 5e5)
        done = run_cli(capsys, *words, "--quiet", "--out", tmp_path / "refused")
        way = "(fewer by --batch-size, in more passes by --accum-freq; --grad-checkpointing keeps less)"
        assert_one_line(done, 2, "a pass of 8 pairs needs at least 0.0", "would fit", way)
        assert not (tmp_path / "refused" / "log.jsonl").exists()
    done = run_cli(capsys, *words, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert re.search(r"^peak memory: \d+\.\d\d GB resident$", done.err, re.MULTILINE)
    last = read_log(tmp_path / "run" / "log.jsonl")[-1]
    assert last["step"] == 1
    assert last["peak_memory"]["resident"] > 10**8
