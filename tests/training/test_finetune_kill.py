"""finetune in processes that are killed or interrupted, gone on with as if nothing had been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers import Done, answer_to_control_c, run_cli, wait_for_step
from tiny_models import tiny_model
from toy_pairs import toy_csv

from geomclip.cli.app import main
from geomclip.training.watching.journal import read_log

STEPS = 60


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A run of 60 steps with a checkpoint every five."""
    folder = tmp_path_factory.mktemp("kill")
    data, model = toy_csv(folder / "data"), tiny_model(folder / "tiny")
    return [
        *("finetune", "--method", "m3mix", "--model", f"local-dir:{model}", "--data", data, "--seed", "3"),
        *("--epochs=20", "--batch-size=8", "--lr=1e-3", "--precision=fp32", "--bootstrap=0", "--save-every=5"),
        *("--metrics=modality_gap", "--augment=crop", "--eval-every=4", "--cache-dir", str(folder / "cache")),
    ]


def start(arguments: list[str], out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "geomclip", *arguments, "--out", str(out), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=answer_to_control_c,
    )


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """As many as in the processes: another number would sum in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def finished(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """A run to its end, in this process."""

    def finished(out: Path, *more: str) -> Done:
        done = run_cli(capsys, *arguments, "--out", out, *more)
        assert done.code == 0, done.err
        return done

    return finished


@pytest.fixture(scope="module")
def whole(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert main([*arguments, "--out", str(out)]) == 0
    return out


def same_end(one: Path, other: Path) -> None:
    for file in ("model.safetensors", "best.safetensors"):
        assert (one / file).read_bytes() == (other / file).read_bytes(), file
    steps = [[row["step"] for row in read_log(run / "log.jsonl") if "loss" in row] for run in (one, other)]
    assert steps[0] == steps[1] == list(range(1, STEPS + 1))
    losses = [[row["loss"] for row in read_log(run / "log.jsonl") if "loss" in row] for run in (one, other)]
    assert losses[0] == losses[1]


def test_a_run_killed_and_then_interrupted_ends_with_the_bytes_of_an_undisturbed_one(
    arguments, whole, finished, tmp_path
):
    out = tmp_path / "run"
    process = start(arguments, out)
    wait_for_step(out, 13, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    # SIGTERM, which schedulers send, saves as Ctrl-C does, and says how to go on
    process = start(arguments, out, "--resume")
    wait_for_step(out, 37, process)
    process.send_signal(signal.SIGTERM)
    shown, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert shown == ""
    assert errors.strip().splitlines()[-1].startswith("geomclip: error: interrupted; step ")
    assert f"--resume --out {out} goes on" in errors
    assert "Traceback" not in errors

    errors = finished(out, "--resume").err
    killed, saved = [row["resumed"] for row in read_log(out / "log.jsonl") if "resumed" in row]
    assert killed >= 5
    assert killed % 5 == 0, "a checkpoint every five steps"
    assert saved >= 37, "no step that the log has is lost"
    assert f"resumed at step {saved}" in errors
    same_end(whole, out)
