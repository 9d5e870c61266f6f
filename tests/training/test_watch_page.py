"""The examples of docs/watch.md run as they stand, each in the real library, and what they log is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from helpers import ROOT
from sentences import sentence_model

from geomclip.training.watching.alarms import GRACE_STEPS, LEAST_SCALE, MOST_SCALE, SCALE_STEPS, Alarms
from geomclip.training.watching.estimates import KEYS, ROWS
from geomclip.training.watching.lines import read_log

PAGE = (ROOT / "docs" / "watch.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```$", PAGE, re.M | re.S))
NEEDED = {
    "In the Trainer of transformers": ("transformers", "accelerate"),
    "In Lightning": ("lightning.pytorch",),
    "In sentence-transformers": ("sentence_transformers", "datasets", "accelerate"),
    "In open_clip": ("open_clip_train",),
    "In a loop of your own": (),
}
MOST_LINES = 20
"""Lines of code of an example, without imports and what is empty."""


def test_every_loop_that_there_is_has_an_example() -> None:
    assert set(EXAMPLES) == set(NEEDED)


@pytest.mark.parametrize("heading", NEEDED)
@pytest.mark.filterwarnings("ignore")  # what trainers warn of: few workers, few batches, arguments of their own
def test_an_example_runs_and_logs_its_batches(heading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in NEEDED[heading]:
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    if heading == "In sentence-transformers":
        sentence_model(tmp_path / "tiny").save("model")
    torch.manual_seed(0)
    exec(compile(EXAMPLES[heading], heading, "exec"), {"__name__": "example"})
    log = next(tmp_path.glob("*.jsonl"))
    kinds = [kind for line in read_log(log) for kind in ("batch", "probe") if kind in line]
    assert kinds.count("batch") >= 2
    assert kinds.count("probe") >= 1


@pytest.mark.parametrize("heading", NEEDED)
def test_an_example_is_short(heading: str) -> None:
    lines = [line for line in EXAMPLES[heading].splitlines() if line and not line.startswith(("import ", "from "))]
    assert len(lines) <= MOST_LINES


def test_the_page_says_the_bounds_and_keys_that_there_are() -> None:
    for bound in (f"beyond {MOST_SCALE:g}, or below {LEAST_SCALE:g}", f"{GRACE_STEPS} steps to leave", "0.995"):
        assert bound in PAGE
    assert f"within {SCALE_STEPS} steps" in PAGE
    assert f"at most {ROWS} of its rows" in PAGE
    for key in KEYS:
        family = f"{key.rpartition('_')[0]}_*"
        assert f"`{key}`" in PAGE or f"`{family}`" in PAGE
    alarms = Alarms()
    told = [alarm.key for scale in (143.0, 0.5, float("nan")) for alarm in alarms.scale(1, scale)]
    told += [alarm.key for side in ("images", "texts") for alarm in alarms.not_finite(side, "batch")]
    assert len(told) == 6
    assert all(f"`{key}`" in PAGE for key in told)
