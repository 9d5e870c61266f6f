"""The benchmark's runs: one a row, dose and seed, each a file, whole or not at all; in several processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from geomclip.grounding.bench import space
from geomclip.grounding.bench.bank import Bank
from geomclip.grounding.bench.rows import ROWS, Setting, Sizes, answers, free_answers, trained, zero_shot
from geomclip.grounding.bench.table import Table, table_of
from geomclip.grounding.scores import Scores, score
from geomclip.machine.devices import choose_device
from geomclip.machine.errors import InputError
from geomclip.machine.files import atomic_json, make_folder, refuse_links
from geomclip.machine.json_files import read_json
from geomclip.machine.lock import Lock
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.sums import check_sum, write_sealed
from geomclip.machine.threads import same_torch_threads
from geomclip.machine.words import near, option

REPEATED = 0.6
"""Probability that a spare segment of train shows something again, at whatever dose; more where a dose is more."""
GRAPH = "graph"
"""What the look at the graphs of train is called among the runs."""
PLAN, RUNS, SECONDS = "bench.json", "runs", "seconds"


@dataclass(frozen=True)
class Plan:
    """What is run.

    Parameters
    ----------
    doses : tuple of float
        The first is what the others are compared with.
    seeds : int
        How many; each composes its own train, draws its own weights and batches.
    rows : tuple of str
        Names of `ROWS`; without base there are no differences.
    seed : int
        Of the videos of val and test, which all seeds share, and the first seed of train.
    device : str
        Where models are trained.
    """

    doses: tuple[float, ...] = (0.0, 0.6)
    seeds: int = 5
    rows: tuple[str, ...] = tuple(ROWS)
    sizes: Sizes = field(default_factory=Sizes)
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in self.rows:
            if name not in ROWS:
                known = near(name, ROWS) or list(ROWS)
                raise InputError(f"{option('rows')}: no row {name!r}; did you mean {', '.join(known)}?")
        if self.seeds < 1:
            raise InputError(f"{option('seeds')} must be at least 1, got {self.seeds}")
        if not self.doses or any(not 0 <= dose <= 1 for dose in self.doses):
            raise InputError(f"{option('doses')} must be numbers from 0 to 1, got {', '.join(map(str, self.doses))}")
        if len(set(self.doses)) < len(self.doses):
            raise InputError(f"{option('doses')} has one twice: {', '.join(map(str, self.doses))}")

    @property
    def repeated(self) -> float:
        """Probability that a spare segment shows anything again: the same for all doses."""
        return max(REPEATED, *self.doses)

    def trials(self) -> list[Trial]:
        """The runs; rows that no dose changes once a seed."""
        seeds = range(self.seed, self.seed + self.seeds)
        doses = {name: self.doses if ROWS[name].has_doses else self.doses[:1] for name in self.rows}
        # those of one seed and dose beside one another, for they share the videos
        shared = [(seed, dose) for seed in seeds for dose in self.doses]
        runs = [Trial(name, dose, seed) for seed, dose in shared for name in self.rows if dose in doses[name]]
        return runs + [Trial(GRAPH, dose, seed) for seed, dose in shared if dose]

    def fixed(self, bank: Bank) -> dict[str, Any]:
        """What must agree before a folder is gone on with."""
        return {
            "source": bank.source,
            "made_from": dict(bank.made_from),
            "sizes": asdict(self.sizes),
            "repeated": self.repeated,
            "seed": self.seed,
            "device": self.device.partition(":")[0],
        }


@dataclass(frozen=True)
class Trial:
    """One run."""

    row: str
    dose: float
    seed: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.row}-dose{self.dose:g}-seed{self.seed}"


def bench(
    bank: Bank, out: str | Path, plan: Plan | None = None, *, processes: int = 2, progress: Progress = SILENT
) -> Table:
    """Run what is not there yet, and make the table of all.

    Parameters
    ----------
    bank : Bank
        Of `geomclip.grounding.bench.sources`.
    out : path
        A folder of this benchmark, or a new one. It gets a file a run, and the table as JSON, CSV and Markdown.
    plan : Plan, optional
    processes : int
        Runs at a time, one torch thread each; the numbers are the same for any.
    progress : Progress
        Gets the stage "runs".

    Raises
    ------
    InputError
        If the folder holds a benchmark of another source or other sizes, is being written, or has links in it.
    """
    plan, folder = plan or Plan(), Path(out).expanduser()
    plan = replace(plan, device=choose_device(plan.device))
    if processes < 1:
        raise InputError(f"{option('processes')} must be at least 1, got {processes}")
    with Lock(make_folder(folder)):
        refuse_links(folder, RUNS, SECONDS)
        _begin(folder, plan.fixed(bank))
        missing = [trial for trial in plan.trials() if not _is_kept(_file(folder, trial), progress)]
        total = len(plan.trials())
        progress.stage("runs", total - len(missing), total)
        for done in _finished(missing, bank, plan, folder, processes):
            progress.stage("runs", total - len(missing) + done, total)
        table = table_of(plan.fixed(bank), [read_json(_file(folder, trial)) for trial in plan.trials()])
        table.save(folder)
    return table


def _begin(folder: Path, fixed: dict[str, Any]) -> None:
    path = folder / PLAN
    if not path.exists():
        if others := [each.name for each in folder.iterdir() if not each.name.startswith(".")]:
            raise InputError(f"{folder} holds {others[0]} and no benchmark: name a new folder with {option('out')}")
        write_sealed(path, fixed)
        return
    kept = read_json(path)
    check_sum(kept, path, f"name a new folder with {option('out')}")
    for name, value in fixed.items():
        if kept.get(name) != value:
            raise InputError(f"{folder} holds a benchmark with another {name}: name a new folder with {option('out')}")


def _file(folder: Path, trial: Trial) -> Path:
    return folder / RUNS / f"{trial.name}.json"


def _is_kept(file: Path, progress: Progress) -> bool:
    """Whether a trial is there and what it was when it was written; one that is damaged is run again, with a line."""
    if not file.exists():
        return False
    try:
        check_sum(read_json(file), file)
    except InputError as problem:
        progress.log(f"{problem}; run again")
        return False
    return True


def _finished(missing: Sequence[Trial], bank: Bank, plan: Plan, folder: Path, processes: int) -> Iterator[int]:
    """How many are done, after each."""
    if processes == 1 or len(missing) < 2:
        with same_torch_threads():
            torch.set_num_threads(1)
            for done, trial in enumerate(missing, 1):
                _keep(trial, bank, plan, folder)
                yield done
        return
    # bytes, for tensors sent as they are would share memory that some machines have little of
    shared = pickle.dumps((bank, plan, folder))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_prepare, initargs=(shared,)) as pool:
        futures = [pool.submit(_run_there, trial) for trial in missing]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                yield done
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_there: dict[str, Any] = {}
"""What a process of the pool works on."""


def _prepare(shared: bytes) -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(1)
    _there["work"] = pickle.loads(shared)


def _end_with(parent: BaseProcess) -> None:
    """Nobody waits for the work of a process whose parent was killed."""
    parent.join()
    os._exit(1)


def _run_there(trial: Trial) -> None:
    _keep(trial, *_there["work"])


def _keep(trial: Trial, bank: Bank, plan: Plan, folder: Path) -> None:
    began, worked = time.perf_counter(), time.process_time()
    result = run_trial(trial, _setting(bank, plan, trial.seed, trial.dose), device=plan.device)
    write_sealed(_file(folder, trial), result, indent=None)
    # apart, for the same seed is to give the same bytes
    spent = {"seconds": time.perf_counter() - began, "of_a_core": time.process_time() - worked}
    atomic_json(folder / SECONDS / f"{trial.name}.json", {name: round(value, 2) for name, value in spent.items()})


@lru_cache(maxsize=3)
def _setting(bank: Bank, plan: Plan, seed: int, dose: float) -> Setting:
    return Setting(bank, plan.sizes, seed, dose, plan.repeated, plan.seed)


def run_trial(trial: Trial, setting: Setting, *, device: str = "cpu") -> dict[str, Any]:
    """Train where there is something to train, answer the queries of val and test, and measure the space."""
    known: dict[str, Any] = {"row": trial.row, "dose": trial.dose, "seed": trial.seed}
    if trial.row == GRAPH:
        moments, _ = zero_shot(setting, setting.train)
        return known | {"graph": space.neighbours_of_truth(moments, setting.train, setting.every)}
    row, every = ROWS[trial.row], setting.every
    scores: dict[str, Scores] = {}
    model = None if row.free else trained(row, setting, device=device)
    for split, videos in (("val", setting.val), ("test", setting.test)):
        queries = videos.queries(setting.bank)
        if model is None:
            found = free_answers(row, setting, videos)
        else:
            with torch.inference_mode():
                texts = setting.texts(videos, row)
                rows = model(videos.clips.to(device), texts.to(device), videos.owner.to(device))
            found = answers(rows.scores().cpu(), queries, every)
            if split == "test" and not row.blind:
                known["space"] = space.panel_of(rows.moments, rows.sentences, videos, every)
        if split == "test" and row.name == "zero-shot":
            known["space"] = space.panel_of(*zero_shot(setting, videos), videos, every)
        scores[split] = score(found, queries)
    return known | {
        "val": {key: round(value, 6) for key, value in scores["val"].values.items()},
        "test": {key: [round(each, 6) for each in values.tolist()] for key, values in scores["test"].by_query.items()},
        "unit": unit_of(setting).tolist(),
    }


def unit_of(setting: Setting) -> torch.Tensor:
    """What is resampled, of each query of test: its video, or the picture that it describes."""
    return setting.test.picture if setting.bank.unit == "picture" else setting.test.owner
