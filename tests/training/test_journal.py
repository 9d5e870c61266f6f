"""The journal of a training run: whole lines, each step once, and what shows it elsewhere."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from geomclip.cli.line_progress import LineProgress
from geomclip.cli.terminal import progress_bar
from geomclip.machine.errors import GeomclipError, InputError, NotAvailableError
from geomclip.training.loop import Course, save
from geomclip.training.processes import Processes
from geomclip.training.settings import Settings
from geomclip.training.watching.journal import Journal, read_log, summary
from geomclip.training.watching.lines import scalars


def record(step: int, **changes) -> dict:
    return {
        "step": step,
        "epoch": 0,
        "loss": 2.0 + step / 64,
        "terms": {"contrastive": 2.0, "m2_mix": 5.0},
        "lambda": {"m2_mix": 0.25},
        "temperature": 0.07,
        "lr": 1e-5,
        "grad_norm": 0.5,
        "seconds": 0.25 * step,
        "images_per_second": 500.0,
    } | changes


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def run(folder: Path, first: int, last: int, *, fails: bool = False, **options) -> None:
    """Steps with a probe every second and an evaluation every fifth, as a trainer journals them."""
    with Journal(folder, **options) as journal:
        if first == 1:
            journal.evaluation(0, {"alignment": 1.5})
        for step in range(first, last + 1):
            journal.step(record(step))
            if step % 2 == 0:
                journal.probe(step, {"alignment": 1.0})
            if step % 5 == 0:
                journal.evaluation(step, {"alignment": 1.25})
        if fails:
            raise ZeroDivisionError


def about(line: dict) -> tuple[int, str]:
    return line["step"], next(key for key in ("loss", "probe", "val") if key in line)


def test_every_record_is_one_line_of_json_in_the_order_it_came(tmp_path: Path) -> None:
    run(tmp_path, 1, 2)
    assert [about(line) for line in lines(tmp_path)] == [(0, "val"), (1, "loss"), (2, "loss"), (2, "probe")]
    assert lines(tmp_path)[1] == record(1)


def test_a_resumed_log_has_each_step_once(tmp_path: Path) -> None:
    run(tmp_path / "undisturbed", 1, 12)
    run(tmp_path / "killed", 1, 8)
    run(tmp_path / "killed", 6, 12, resumed_at=5)
    log = lines(tmp_path / "killed")
    assert [line for line in log if "resumed" in line] == [{"resumed": 5}]
    assert [line for line in log if "resumed" not in line] == lines(tmp_path / "undisturbed")
    assert log.index({"resumed": 5}) == log.index(record(6)) - 1


def test_what_the_step_of_the_checkpoint_tells_again_is_logged_once(tmp_path: Path) -> None:
    run(tmp_path, 1, 5)
    with Journal(tmp_path, resumed_at=5) as journal:
        journal.evaluation(0, {"alignment": 1.5})
        journal.evaluation(5, {"alignment": 1.25})
        journal.probe(5, {"alignment": 1.0})  # 5 is odd: not there yet
    log = [about(line) for line in lines(tmp_path) if "resumed" not in line]
    assert len(log) == len(set(log))
    assert (5, "probe") in log


def test_a_checkpoint_before_an_earlier_resumption_drops_that_too(tmp_path: Path) -> None:
    run(tmp_path, 1, 9)
    run(tmp_path, 9, 9, resumed_at=8)
    run(tmp_path, 5, 6, resumed_at=4)
    log = lines(tmp_path)
    assert [line["resumed"] for line in log if "resumed" in line] == [4]
    assert [line["step"] for line in log if "loss" in line] == [1, 2, 3, 4, 5, 6]


def test_notes_of_dropped_steps_go_with_them(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for step in (1, 2, 3):
            journal.step(record(step))
            journal.note(f"at {step}")
    with Journal(tmp_path, resumed_at=2):
        pass
    assert [line["note"] for line in lines(tmp_path) if "note" in line] == ["at 1", "at 2"]


NO_RECORDS = (b'{"step": 4, "lo', b"\0\0\0\0", b'{"step": 4}', b"\xff\xfe\n", b"17\n", b"\n")
# of a disk, or a writer, that is none of ours
CHANGED = (b'{"step": [4]}\n', b'{"resumed": "\\ud800"}\n', b'{"step": 1, "val": ' + b"[" * 5000 + b"]" * 5000 + b"}\n")


@pytest.mark.parametrize("torn", [*NO_RECORDS, *CHANGED])
def test_half_a_line_of_a_killed_writer_is_not_kept(tmp_path: Path, torn: bytes) -> None:
    run(tmp_path, 1, 3)
    whole = lines(tmp_path)
    with (tmp_path / "log.jsonl").open("ab") as file:
        file.write(torn)
    assert read_log(tmp_path / "log.jsonl") == whole
    run(tmp_path, 4, 4, resumed_at=3)
    assert [line for line in lines(tmp_path) if line.get("step", 9) <= 3] == whole


def test_a_new_run_begins_a_new_log_and_resuming_without_one_begins_one_too(tmp_path: Path) -> None:
    run(tmp_path, 1, 3)
    run(tmp_path, 1, 1)
    assert [about(line) for line in lines(tmp_path)] == [(0, "val"), (1, "loss")]
    run(tmp_path / "other", 4, 4, resumed_at=3)
    assert lines(tmp_path / "other")[0] == {"resumed": 3}


def test_a_log_that_cannot_be_read_is_not_thrown_away(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(InputError, match=r"log\.jsonl cannot be read .*resume=True"):
        Journal(tmp_path, resumed_at=3)


def test_what_json_has_no_word_for_is_null_and_named(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        odd = record(1, loss=float("nan"), terms={"contrastive": 2.0, "m2_mix": torch.tensor(float("-inf"))})
        journal.step(odd)
        journal.evaluation(1, {"alignment": np.float32("inf")})
    step, evaluation = lines(tmp_path)
    assert step["loss"] is None
    assert step["terms"] == {"contrastive": 2.0, "m2_mix": None}
    assert step["note"] == "loss nan, terms.m2_mix -inf"
    assert evaluation == {"step": 1, "val": {"alignment": None}, "note": "val.alignment inf"}
    assert "NaN" not in (tmp_path / "log.jsonl").read_text()


def test_tensors_and_numpy_numbers_are_logged_so_that_float32_comes_back(tmp_path: Path) -> None:
    third = torch.tensor(1 / 3)
    with Journal(tmp_path) as journal:
        journal.step({"step": np.int64(1), "loss": third, "terms": {"contrastive": np.float64(0.5)}})
    (line,) = lines(tmp_path)
    assert line == {"step": 1, "loss": line["loss"], "terms": {"contrastive": 0.5}}
    assert torch.tensor(line["loss"]).equal(third)


def test_a_step_costs_far_less_than_a_millisecond(tmp_path: Path) -> None:
    with Journal(tmp_path, progress=LineProgress(0)) as journal:
        spent = []
        for step in range(1, 301):
            began = time.perf_counter()
            journal.step(record(step))
            spent.append(time.perf_counter() - began)
    assert sorted(spent)[150] < 3e-4  # the median: the machine may be busy with something else


def test_a_full_disk_leaves_whole_lines_and_says_what_to_do(tmp_path: Path) -> None:
    # the limit on the size of files stands for the end of the disk: the write that crosses it is cut short
    run(tmp_path, 1, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        journal = Journal(tmp_path, resumed_at=1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(GeomclipError, match=r"log\.jsonl cannot be written .*resume=True"):
            any(journal.step(record(step)) for step in range(2, 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    journal.close()
    text = (tmp_path / "log.jsonl").read_text()
    assert text.endswith("\n")
    steps = [line["step"] for line in lines(tmp_path) if "loss" in line]
    assert steps == list(range(1, 1 + len(steps)))
    assert 2 <= len(steps) < 19


def test_a_closed_journal_takes_nothing_more(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.close()
    journal.close()
    with pytest.raises(ValueError, match="is closed"):
        journal.note("late")


def test_the_bar_says_loss_terms_and_speed_and_keeps_names_with_their_values() -> None:
    terms = {"contrastive": 2.2, "m2_mix": 5.5, "v_mix": 3.25, "l_mix": 3.125, "vl_mix": None}
    shown = summary({"loss": 2.31, "terms": terms, "images_per_second": 1531.8}).splitlines()
    assert shown[0] == "loss 2.310, 1,532 images/s"
    assert ", ".join(line.rstrip(",") for line in shown[1:]) == (
        "contrastive 2.200, m2_mix 5.500, v_mix 3.250, l_mix 3.125, vl_mix inf/nan"
    )
    assert max(map(len, shown)) <= 40
    assert summary({"loss": 12345.678}) == "loss 1.235e+04"


def test_notes_and_resumptions_are_told_and_steps_are_not_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bar(quiet=False) as report, Journal(tmp_path, resumed_at=4, progress=report) as journal:
        journal.step(record(5))
        journal.note("one image cannot be read")
    assert capsys.readouterr() == ("", "resumed at step 4\none image cannot be read\n")


def test_a_terminal_shows_steps_loss_speed_and_what_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    with (
        progress_bar(quiet=False) as report,
        Journal(tmp_path, resumed_at=40, total=60, progress=report) as journal,
    ):
        for step in range(41, 46):
            journal.step(record(step))
            time.sleep(0.01)
        report.bars.refresh()
    shown = screen.getvalue()
    for words in ("resumed at step 40", "loss 2.703, 500 images/s", "contrastive 2.000, m2_mix 5.000"):
        assert words in shown
    assert re.search(r"45/60 +[\d.,]+/s +0:00:0\d", shown), "count, speed and remaining time"
    rate = float(report.bars.tasks[0].speed)
    assert rate < 200, "the 40 steps of the earlier run took no time, and must not count as speed"


def test_trackers_see_every_number_under_a_short_name_and_nothing_that_is_none() -> None:
    seen = dict(scalars(record(3, loss=None, note="loss nan")))
    assert seen["terms/m2_mix"] == 5.0
    assert seen["lambda/m2_mix"] == 0.25
    assert seen["train/images_per_second"] == 500.0
    assert not {"train/loss", "train/step", "train/note"} & set(seen)
    assert dict(scalars({"step": 3, "probe": {"alignment": 1.0}})) == {"probe/alignment": 1.0}


@pytest.mark.parametrize(("tracker", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_a_tracker_that_is_not_installed_is_one_line_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: str, module: str
) -> None:
    run(tmp_path, 1, 3)
    whole = lines(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NotAvailableError, match=rf"^{tracker} needs .*: pip install 'geomclip\[{tracker}\]'$"):
        Journal(tmp_path, resumed_at=1, **{tracker: True})
    assert lines(tmp_path) == whole


def test_no_tracker_is_imported_unless_asked_for(tmp_path: Path) -> None:
    before = set(sys.modules)
    run(tmp_path, 1, 2)
    assert not {name for name in set(sys.modules) - before if name.split(".")[0] in ("tensorboard", "wandb")}


class FakeRun:
    """A run of a W&B that keeps what it is handed."""

    def __init__(self, options: dict) -> None:
        self.options, self.logged, self.axis, self.code = options, [], {}, None

    def define_metric(self, name: str, step_metric: str) -> None:
        self.axis[name] = step_metric

    def log(self, values: dict) -> None:
        self.logged.append(values)

    def finish(self, exit_code: int) -> None:
        self.code = exit_code


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> list:
    """A stand-in for the package; the list gets what was called."""
    module, calls = ModuleType("wandb"), []
    module.Settings = dict
    module.setup = lambda settings: calls.append(settings)
    module.errors = SimpleNamespace(Error=ConnectionError)

    def init(**options):
        if options["config"].get("offline"):
            raise ConnectionError("no such host\nwhile retrying.")
        calls.append(FakeRun(options))
        return calls[-1]

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return calls


def test_wandb_is_told_each_step_once_under_one_id_and_asks_nothing(tmp_path: Path, wandb: list) -> None:
    run(tmp_path / "m2mix-1", 1, 3, wandb=True, config={"lr": 1e-5})
    with pytest.raises(ZeroDivisionError):
        run(tmp_path / "m2mix-1", 3, 4, wandb=True, resumed_at=3, fails=True)
    silent, first, silent_again, second = wandb
    assert silent["silent"]
    assert silent_again == silent
    assert first.options["config"] == {"lr": 1e-5}
    assert first.options["name"] == "m2mix-1"
    assert first.options["id"] == second.options["id"]
    assert first.axis == {"*": "step"}
    assert [values["step"] for values in first.logged] == [0, 1, 2, 2, 3]
    assert first.logged[1]["terms/m2_mix"] == 5.0
    assert [values["step"] for values in second.logged] == [4, 4], "step 3 was logged by the first"
    assert (first.code, second.code) == (0, 1)
    run(tmp_path / "m2mix-1", 1, 1, wandb=True)
    assert wandb[-1].options["id"] != first.options["id"]


def test_wandb_that_cannot_begin_is_one_line_with_the_way_out(tmp_path: Path, wandb: list) -> None:
    with pytest.raises(NotAvailableError) as refused:
        Journal(tmp_path, wandb=True, config={"offline": True})
    assert str(refused.value) == (
        "wandb: no such host while retrying: run `wandb login`, or set WANDB_MODE=offline and `wandb sync` later"
    )


@pytest.mark.filterwarnings("default")  # those of its dependencies
def test_tensorboard_has_the_curves_of_a_resumed_run_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path, 1, 8, tensorboard=True, config={"lr": 1e-5})
    run(tmp_path, 6, 10, tensorboard=True, resumed_at=5)
    curves = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in curves.Scalars("train/loss")] == list(range(1, 11))
    assert [event.value for event in curves.Scalars("terms/m2_mix")] == [5.0] * 10
    assert [event.step for event in curves.Scalars("probe/alignment")] == [2, 4, 6, 8, 10]


@pytest.mark.filterwarnings("default")
def test_wandb_works_offline_and_goes_on_under_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run(tmp_path, 1, 3, wandb=True, config={"lr": 1e-5})
    identity = (tmp_path / "wandb" / "geomclip-run-id").read_text()
    run(tmp_path, 3, 4, wandb=True, resumed_at=2)
    kept = {path.name for path in tmp_path.glob("wandb/offline-run-*/*.wandb")}
    assert kept == {f"run-{identity}.wandb"}


def test_wandb_without_a_login_is_one_line_and_asks_nothing(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    # its own process: W&B reads the environment once
    code = (
        "import sys\n"
        "from geomclip.training.watching.journal import Journal\n"
        "try:\n    Journal(sys.argv[1], wandb=True)\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    keep = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env={**keep, "HOME": str(tmp_path)}, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert line.startswith("NotAvailableError wandb: ")
    assert line.endswith(": run `wandb login`, or set WANDB_MODE=offline and `wandb sync` later")


def test_the_log_is_on_disk_before_a_snapshot_of_its_last_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    state = {"model": {"a": torch.zeros(1)}}
    steps = SimpleNamespace(processes=Processes(), settings=Settings(), epoch=0, done=1, state=lambda: state)
    with Journal(tmp_path) as journal:
        journal.step(record(1))
        monkeypatch.setattr(os, "fsync", fsync)
        save(steps, tmp_path, Course(), journal)
    assert synced[0] == "log.jsonl"
    assert any("model.safetensors" in name for name in synced[1:])


def test_a_disk_that_fails_to_keep_the_log_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Journal(tmp_path) as journal:
        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(GeomclipError, match=r"log\.jsonl cannot be written \(Input/output error\)"):
            journal.sync()
