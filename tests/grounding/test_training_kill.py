"""ground train in processes that are killed or interrupted, gone on with as if nothing had been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import answer_to_control_c, run_cli, wait_for_step
from scenes import write_scenes

from geomclip.training.watching.journal import read_log

STEPS = 60


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As many as in the processes: another number would sum in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """A run of 60 steps with a checkpoint every five."""
    file, features = write_scenes(tmp_path / "data")
    return [
        *("ground", "train", "--method", "g2l", "--annotations", str(file), "--features", str(features)),
        *("--epochs=12", "--batch-size=4", "--clips=8", "--width=32", "--layers=3", "--save-every=5", "--seed=3"),
        *("--eval-every=4", "--holdout=0.15"),
    ]


def start(arguments: list[str], out: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "geomclip", *arguments, "--out", str(out), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=answer_to_control_c,
    )


def test_a_run_killed_and_then_interrupted_ends_with_the_bytes_of_an_undisturbed_one(arguments, tmp_path, capsys):
    whole, out = tmp_path / "whole", tmp_path / "run"
    done = run_cli(capsys, *arguments, "--out", whole)
    assert done.code == 0, done.err
    process = start(arguments, out)
    wait_for_step(out, 13, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    process = start(arguments, out, "--resume")
    wait_for_step(out, 25, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"--resume --out {out} goes on" in errors
    assert "Traceback" not in errors
    done = run_cli(capsys, *arguments, "--out", out, "--resume")
    assert done.code == 0, done.err
    killed, saved = [row["resumed"] for row in read_log(out / "log.jsonl") if "resumed" in row]
    assert killed >= 5
    assert killed % 5 == 0, "a checkpoint every five steps"
    assert saved >= 25, "no step that the log has is lost"
    for file in ("model.safetensors", "best.safetensors", "before.json", "after.json"):
        assert (whole / file).read_bytes() == (out / file).read_bytes(), file
    logs = [
        [(row["step"], row["loss"]) for row in read_log(run / "log.jsonl") if "loss" in row] for run in (whole, out)
    ]
    assert logs[0] == logs[1]
    assert [step for step, _ in logs[0]] == list(range(1, STEPS + 1))
