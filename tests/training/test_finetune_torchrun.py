"""finetune started by torchrun: one run folder, told once, the weights of one process with the joint batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import tiny_model
from toy_pairs import toy_csv

from geomclip.training.watching.journal import read_log


def finetune(*arguments: object, processes: int) -> subprocess.CompletedProcess[str]:
    runner = [] if processes == 1 else ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(["-m", *runner] if runner else []), "-m", "geomclip", "finetune", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    folder = tmp_path_factory.mktemp("torchrun")
    data, model = toy_csv(folder / "data"), tiny_model(folder / "tiny")
    return [
        *("--method", "m2mix", "--model", f"local-dir:{model}", "--data", data, "--cache-dir", folder / "cache"),
        *("--epochs=2", "--lr=1e-3", "--precision=fp32", "--bootstrap=0", "--metrics=modality_gap", "--save-every=2"),
    ]


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_log(run / "log.jsonl") if "loss" in row]


def test_two_processes_make_the_run_of_one(arguments: list[object], tmp_path: Path) -> None:
    one = finetune(*arguments, "--batch-size=8", "--out", tmp_path / "one", processes=1)
    two = finetune(*arguments, "--batch-size=4", "--out", tmp_path / "two", processes=2)
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    assert two.stdout.count("use it: geomclip measure") == 1
    single, joint = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(single[name], joint[name], atol=2e-5) for name in single)
    assert losses(tmp_path / "one") == pytest.approx(losses(tmp_path / "two"), rel=1e-5)
    again = finetune(*arguments, "--batch-size=4", "--out", tmp_path / "two", "--resume", processes=2)
    assert again.returncode == 0, again.stderr
    assert "is finished: nothing to do" in again.stderr
    longer = finetune(*arguments, "--batch-size=4", "--epochs=3", "--out", tmp_path / "two", "--resume", processes=2)
    assert longer.returncode == 0, longer.stderr
    assert "resumed at step 6" in longer.stderr
    assert len(losses(tmp_path / "two")) == 9
