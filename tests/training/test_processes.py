"""Two processes that torchrun started learn what one process with the joint batch learns; gloo on the CPU.

As a script it is torchrun, which has two processes take the steps of every case, fine-tune, and leave what they saw in
a folder. They are forks of it, so that what takes seconds to load is loaded once.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import ROOT, Done
from safetensors.torch import load_file
from tiny_models import tiny_model
from tiny_training import NoiseBatches, tiny_module, tiny_trainer
from toy_pairs import toy_csv

from geomclip.cli.app import main as geomclip
from geomclip.training.processes import Processes
from geomclip.training.watching.journal import read_log

STEPS = 2
MINUTES = 3  # a quiet machine takes seconds
METHODS = ("ft", "m2mix", "m3mix", "siglip", "cua", "cuaxu", "cyclip", "hcl", "geodesic", "g2l")
RUNS = {"new": (), "again": ("--resume",), "longer": ("--resume", "--epochs=3")}
CASES: dict[str, dict[str, Any]] = {
    **{method: {"method": method} for method in METHODS},
    **{
        f"{method} in parts": {"method": method, "accum_freq": 2}
        for method in ("ft", "m2mix", "m3mix", "siglip", "cua", "g2l")
    },
    "a lambda a row": {"method": "m3mix", "per_sample": True},
    "clipped": {"method": "m2mix", "clip_norm": 0.01},
    "text locked": {"method": "m2mix", "lock": "text"},
    "image locked in parts": {"method": "m2mix", "lock": "image", "accum_freq": 2},
    "heads first": {"method": "lp-ft"},
    "adapters": {"method": "m2mix", "lora": 2},
    "a base preserved": {"method": "m2mix", "preserve": {"embedding": 1.0, "cosine": 1.0, "similarity": 10.0}},
    "a base preserved in parts": {"method": "ft", "preserve": {"similarity": 10.0}, "accum_freq": 2},
}


def course(case: str, processes: Processes, **changes: Any) -> dict[str, Any]:
    """What a process sees in the steps of one case: records, gradients of each step, weights at the end."""
    settings = {"clip_norm": 0.0, **CASES[case], **changes}
    config = {"init_logit_bias": -2.0} if settings["method"] == "siglip" else {}
    batches = NoiseBatches(12, rank=processes.rank, count=processes.count)
    trainer = tiny_trainer(module=tiny_module(**config), batches=batches, processes=processes, **settings)
    seen: list[dict[str, torch.Tensor]] = []
    update = trainer.optimizer.step

    def keep(*arguments: Any, **more: Any) -> Any:
        seen.append({name: each.grad.clone() for name, each in trainer.named.items() if each.grad is not None})
        return update(*arguments, **more)

    trainer.optimizer.step = keep  # type: ignore[method-assign]
    records = [trainer.step() for _ in range(STEPS)]
    return {"records": records, "gradients": seen, "weights": dict(trainer.module.state_dict())}


def skipped(case: str) -> bool:
    import importlib.util

    return "lora" in CASES[case] and importlib.util.find_spec("peft") is None


def main(folder: Path) -> None:
    """The part of one of torchrun's processes."""
    processes = Processes.from_environment("cpu")
    found = {case: course(case, processes) for case in CASES if not skipped(case)}
    together = {
        "agree": [processes.agree(mine) for mine in (processes.rank == 1, False)],
        "gathered": processes.gather(torch.full((2, 1), float(processes.rank))),
        "count": processes.count,
    }
    ports = processes.gather(torch.tensor(free_ports(len(RUNS))))[: len(RUNS)].tolist()
    processes.wait()
    torch.distributed.destroy_process_group()
    del os.environ["TORCHELASTIC_USE_AGENT_STORE"]  # torchrun's, in which the keys of the group above still are
    runs = {}
    for (name, more), port in zip(RUNS.items(), ports, strict=True):
        os.environ["MASTER_PORT"] = str(port)
        runs[name] = command(folder, "two", "--batch-size=4", *more)
        if name == "new" and processes.first:
            shutil.copyfile(folder / "two" / "model.safetensors", folder / "two.safetensors")
    torch.save({"found": found, "together": together, "runs": runs}, folder / f"{processes.rank}.pt")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def command(folder: Path, out: str, *more: str) -> Done:
    """`geomclip finetune` in this process."""
    arguments = [
        *("finetune", "--method=m2mix", f"--model=local-dir:{folder / 'model'}", f"--data=csv:{folder / 'pairs.csv'}"),
        *("--epochs=2", "--lr=1e-3", "--precision=fp32", "--bootstrap=0", "--metrics=modality_gap", "--save-every=2"),
        *(f"--cache-dir={folder / 'cache'}", f"--out={folder / out}"),
    ]
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.redirect_stderr(io.StringIO()) as errors:
        code = geomclip([*arguments, *more])
    return Done(code, shown.getvalue(), errors.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model, and a toy set with its table."""
    folder = tmp_path_factory.mktemp("processes")
    tiny_model(folder / "model")
    assert toy_csv(folder) == f"csv:{folder / 'pairs.csv'}"
    return folder


@pytest.fixture(scope="module")
def both(folder):
    """What each of the two processes saw."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")]),
    }
    with subprocess.Popen(
        [sys.executable, __file__, str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as started:
        try:
            output = started.communicate(timeout=60 * MINUTES)[0]
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            pytest.fail(f"two processes took more than {MINUTES} minutes: {started.communicate()[0][-2000:]}")
    assert started.returncode == 0, output[-4000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


def off(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Distance of two sets of gradients relative to their length."""
    assert one.keys() == other.keys()
    difference = sum(float((one[name] - other[name]).double().square().sum()) for name in one)
    return (difference / sum(float(value.double().square().sum()) for value in one.values())) ** 0.5


def assert_same_course(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Equal to 1e-5, which is rounding: a float32 sum in another order."""
    for record, wanted in zip(found["records"], expected["records"], strict=True):
        assert record["loss"] == pytest.approx(wanted["loss"], rel=1e-5)
        assert record["grad_norm"] == pytest.approx(wanted["grad_norm"], rel=1e-5)
        assert record["terms"] == pytest.approx(wanted["terms"], rel=1e-5)
        assert (record["lambda"], record["pairs"]) == (wanted["lambda"], wanted["pairs"])
    for gradients, wanted in zip(found["gradients"], expected["gradients"], strict=True):
        assert off(wanted, gradients) < 1e-5


@pytest.mark.parametrize("case", CASES)
def test_two_processes_give_the_loss_and_the_gradients_of_one_with_the_joint_batch(both, case):
    if skipped(case):
        pytest.skip("peft is not installed")
    joint = course(case, Processes(), accum_freq=1)
    for each in both:
        assert_same_course(each["found"][case], joint)


@pytest.mark.parametrize("parts", [2, 5])  # 5 do not divide 12 pairs: 3, 3, 3 and 3 it is
@pytest.mark.parametrize("case", METHODS)
def test_accumulated_passes_give_the_loss_and_the_gradients_of_the_joint_batch(case, parts):
    assert_same_course(course(case, Processes(), accum_freq=parts), course(case, Processes()))


@pytest.mark.parametrize("case", CASES)
def test_both_processes_end_with_the_same_weights_to_the_bit(both, case):
    if skipped(case):
        pytest.skip("peft is not installed")
    first, second = (each["found"][case]["weights"] for each in both)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_processes_gather_in_order_and_agree_if_one_says_so(both):
    for each in both:
        assert each["together"]["count"] == 2
        assert each["together"]["agree"] == [True, False]
        assert each["together"]["gathered"].flatten().tolist() == [0.0, 0.0, 1.0, 1.0]


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_log(run / "log.jsonl") if "loss" in row]


def test_two_processes_make_the_run_of_one(folder, both):
    assert command(folder, "one", "--batch-size=8").code == 0
    assert [each["runs"]["new"].code for each in both] == [0, 0]
    assert sum(each["runs"]["new"].out.count("use it: geomclip measure") for each in both) == 1, "shown once"
    single, joint = load_file(folder / "one" / "model.safetensors"), load_file(folder / "two.safetensors")
    assert all(torch.allclose(single[name], joint[name], atol=2e-5) for name in single)
    assert losses(folder / "one") == pytest.approx(losses(folder / "two")[:6], rel=1e-5)


def test_two_processes_leave_a_finished_run_and_go_on_with_a_longer_one(folder, both):
    first, second = (each["runs"] for each in both)
    assert (first["again"].code, second["again"].code) == (0, 0)
    assert "is finished: nothing to do" in first["again"].err
    assert (first["longer"].code, second["longer"].code) == (0, 0)
    assert "resumed at step 6" in first["longer"].err
    assert len(losses(folder / "two")) == 9
    assert not any(run.out or run.err for run in second.values()), "the second process is silent"


if __name__ == "__main__":
    torch.set_num_threads(1)
    if "RANK" in os.environ:
        main(Path(sys.argv[1]))
    else:
        from torch.distributed.run import main as torchrun

        tiny_module()  # loads what both need
        torchrun(["--standalone", "--nproc-per-node=2", "--start-method=fork", "--run-path", __file__, sys.argv[1]])
