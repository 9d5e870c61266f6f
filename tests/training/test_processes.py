"""Two processes that torchrun started learn what one process with the joint batch learns; gloo on the CPU.

Run by torchrun as a script it takes the steps of every case and leaves what it saw in a folder:

torchrun --standalone --nproc-per-node 2 tests/training/test_processes.py FOLDER
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import ROOT
from tiny_training import NoiseBatches, tiny_module, tiny_trainer

from geomclip.training.processes import Processes

STEPS = 2
MINUTES = 3  # a quiet machine takes seconds
METHODS = ("ft", "m2mix", "m3mix", "siglip", "cua", "cuaxu", "cyclip", "hcl")
CASES: dict[str, dict[str, Any]] = {
    **{method: {"method": method} for method in METHODS},
    **{
        f"{method} in parts": {"method": method, "accum_freq": 2}
        for method in ("ft", "m2mix", "m3mix", "siglip", "cua")
    },
    "a lambda a row": {"method": "m3mix", "per_sample": True},
    "clipped": {"method": "m2mix", "clip_norm": 0.01},
    "text locked": {"method": "m2mix", "lock": "text"},
    "image locked in parts": {"method": "m2mix", "lock": "image", "accum_freq": 2},
    "heads first": {"method": "lp-ft"},
    "adapters": {"method": "m2mix", "lora": 2},
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
    said = {
        "agree": [processes.agree(mine) for mine in (processes.rank == 1, False)],
        "gathered": processes.gather(torch.full((2, 1), float(processes.rank))),
        "count": processes.count,
    }
    processes.wait()
    torch.save({"found": found, "said": said}, folder / f"{processes.rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What each of the two processes saw."""
    folder = tmp_path_factory.mktemp("processes")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")]),
    }
    with subprocess.Popen(
        [*launcher, __file__, str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as started:
        try:
            said = started.communicate(timeout=60 * MINUTES)[0]
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            pytest.fail(f"two processes took more than {MINUTES} minutes: {started.communicate()[0][-2000:]}")
    assert started.returncode == 0, said[-4000:]
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
        assert each["said"]["count"] == 2
        assert each["said"]["agree"] == [True, False]
        assert each["said"]["gathered"].flatten().tolist() == [0.0, 0.0, 1.0, 1.0]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
