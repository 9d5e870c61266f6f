"""Tasks shared out among processes: what one process writes, one pass over images, a way out of each failure."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import troubled
from helpers import assert_one_line, class_set, files_but_for_time, run_cli
from tiny import TinyEncoder, tiny_pairs
from tiny_models import tiny_model
from toy_pairs import toy_cifar

import geomclip as gc
from geomclip.evaluations import calls
from geomclip.evaluations.sharing import Question, shared_out
from geomclip.evaluations.subject import Subject
from geomclip.evaluations.task import Task
from geomclip.machine.errors import GeomclipError, InputError, NotAvailableError
from geomclip.machine.progress import Silent
from geomclip.panels.record import Panel


class Seen(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.stages: list[tuple[str, int, int | None]] = []

    def stage(self, name: str, done: int, total: int | None, note: str = "") -> None:
        self.stages.append((name, done, total))

    def log(self, line: str) -> None:
        self.lines.append(line)


def question(run: Any, asked: Any = None, **more: Any) -> Question:
    return Question(Task(run.__name__.replace("_", "-"), "", object, run, troubled.of_no_data, **more), asked)


def answers(*questions: Question, subject: Subject | None = None, progress: Seen | None = None) -> list[Any]:
    subject = Subject(embeddings=class_set(), seed=7) if subject is None else subject
    return list(shared_out(questions, subject, engine="process", count=2, progress=progress or Seen()))


def test_processes_write_what_one_process_writes_also_where_tasks_train(tmp_path: Path) -> None:
    how: dict[str, Any] = {"data": f"npz:{toy_cifar(tmp_path / 'c.npz')}", "workers": 0, "bootstrap": 20}
    how |= {"shots": "1,2", "draws": 2, "corrupt": "noise", "severities": "1", "tree": True, "spaces": "pca"}
    how |= {"train": True, "train_steps": 2, "train_draws": 1, "train_methods": "ft", "repeats": 1, "gmc_epochs": 1}
    model = f"local-dir:{tiny_model(tmp_path / 'model')}"
    here, there = (
        calls.evaluate_all(model, **how, cache_dir=tmp_path / name, **engine)
        for name, engine in (("here", {}), ("there", {"engine": "process"}))
    )
    assert list(there.panels) == ["zeroshot", "fewshot", "shift", "missing-modality", "interpolation"]
    assert there.reasons == here.reasons
    assert files_but_for_time(there, tmp_path / "b") == files_but_for_time(here, tmp_path / "a")


def test_a_task_that_kills_its_process_is_asked_again_and_what_it_says_is_heard(tmp_path: Path) -> None:
    seen = Seen()
    found = answers(question(troubled.dies_once, tmp_path / "a"), question(troubled.refuses, 3), progress=seen)
    assert isinstance(found[0], Panel)
    assert found[0].values == {"x": 7.0}
    assert found[1] == "limit 3: no image can be read"
    assert seen.lines == ["a was asked again"]
    assert seen.stages[-1] == ("tasks", 2, 2)


def test_a_task_of_which_all_processes_die_is_one_line_with_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geomclip.machine.engines.MOST_DEATHS", 2)
    reason = r"^task='dies': 2 workers died of it, the last by signal 9: .*; the others can be asked one by one$"
    with pytest.raises(GeomclipError, match=reason):
        answers(question(troubled.dies))


def test_images_are_encoded_once_before_and_read_from_the_cache_by_each_process(tmp_path: Path) -> None:
    encoder, pairs = troubled.Homebound(), tiny_pairs(tmp_path / "images", 8)
    subject, seen = Subject(encoder, pairs, cache_dir=tmp_path / "cache", workers=0), Seen()
    asked = [question(troubled.counts_images, reads=troubled.data_of) for _ in range(2)]
    found = answers(*asked, subject=subject, progress=seen)
    assert [each.values for each in found] == [{"images": 8.0}] * 2
    assert [name for name, *_ in seen.stages][-3:] == ["encoding", "tasks", "tasks"]


def test_what_cannot_be_sent_or_found_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = tiny_pairs(tmp_path / "images", 4)
    encoder = TinyEncoder(spoil=lambda rows: rows)
    with pytest.raises(InputError, match=r"^this model or data cannot be sent to another process"):
        calls.evaluate_all(encoder, pairs, tree=True, spaces="pca", engine="process")
    with pytest.raises(InputError, match=r"^engine 'proces' is not known; did you mean process"):
        calls.evaluate_all(embeddings=class_set(), engine="proces")
    with pytest.raises(InputError, match=r"^processes is of an engine: name one by engine='process'$"):
        calls.evaluate_all(embeddings=class_set(), processes=2)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NotAvailableError, match=r"^engine='ray' needs ray: pip install 'geomclip\[ray\]'$"):
        calls.evaluate_all(embeddings=class_set(), engine="ray")


def test_the_command_prints_by_an_engine_what_it_prints_without(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    vectors = gc.save(class_set(), tmp_path / "v.npz")
    asked = ("evaluate", "--all", "--embeddings", vectors, "--shots", "1", "--draws", "2", "--bootstrap", "20")
    here, there = (run_cli(capsys, *asked, *more) for more in ((), ("--engine", "process", "--processes", "1")))
    assert (there.code, there.out) == (0, here.out)
    assert there.err == here.err
    done = run_cli(capsys, "evaluate", "--task", "zeroshot", "--engine", "process", "--processes", "2")
    assert_one_line(done, 2, "--engine, --processes: one --task is asked by this process; they are of --all")
