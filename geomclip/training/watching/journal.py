"""Journal: what a training run tells while it runs: log.jsonl, the bar on a terminal, TensorBoard, W&B."""

from __future__ import annotations

import json
import math
import os
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.files import atomic_bytes, make_folder
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import option
from geomclip.training.watching.trackers import trackers

LOG_NAME = "log.jsonl"

SUMMARY_WIDTH = 40
"""Characters a line beside the bar: 80 columns then have room for count, speed and remaining time."""


class Journal:
    """The log of a run and all that shows it: `with Journal(folder, total=400) as journal: journal.step(...)`.

    log.jsonl grows by whole lines, a write each. What a line is about says one of its keys: `loss` a step,
    `probe` a look at the probe set, `val` an evaluation, `note` a remark, `resumed` where a run went on. JSON
    has neither NaN nor infinity: such a value is null, and the line's `note` says what it was.

    Parameters
    ----------
    folder : path
        The run's folder; made if absent. Its writer holds the folder's lock.
    resumed_at : int, optional
        The step of the checkpoint that the run goes on from: lines of later steps are dropped, and those of
        this step that come again are left out, so that the log has each step once. Left out: a new log.
    total : int, optional
        The last step of the run, for the remaining time.
    progress : Progress, optional
        Takes the steps done as the stage "training", with loss, terms and images a second as its note.
    tensorboard, wandb : bool
        Tell TensorBoard (`tensorboard/` in the folder) or W&B (`wandb/`) too.
    config : mapping, optional
        What they show as the settings of the run; JSON types.

    Raises
    ------
    InputError
        If the log cannot be written, or the one to go on with cannot be read.
    NotAvailableError
        If TensorBoard or W&B is asked for and not installed, or W&B has no login.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Journal(folder) as journal:
    ...         journal.step({"step": 1, "loss": 2.5, "terms": {"contrastive": math.inf}})
    ...     Path(folder, "log.jsonl").read_text()
    '{"step": 1, "loss": 2.5, "terms": {"contrastive": null}, "note": "terms.contrastive inf"}\\n'
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        resumed_at: int | None = None,
        total: int | None = None,
        progress: Progress = SILENT,
        tensorboard: bool = False,
        wandb: bool = False,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = make_folder(folder) / LOG_NAME
        self.total, self.progress = total, progress
        # first: that a package is absent should be found before anything is changed
        self.trackers = trackers(self.path.parent, resumed_at, config or {}, tensorboard=tensorboard, wandb=wandb)
        self.position = resumed_at or 0
        kept = [] if resumed_at is None else kept_lines(self.path, resumed_at)
        self._there = {_about(json.loads(line)) for line in kept}
        atomic_bytes(self.path, b"".join(kept))
        self._end = sum(map(len, kept))
        self._file: int | None = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        if resumed_at is not None:
            self._append({"resumed": resumed_at})
            progress.log(f"resumed at step {resumed_at}")

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(failed=error is not None)

    def step(self, record: Mapping[str, Any]) -> None:
        """Log a step: `step`, `loss`, `terms`, `lambda`, `temperature`, ...; numbers or 0-d tensors."""
        shown = self._log(record)
        self.progress.stage("training", self.position, self.total, summary(shown))

    def probe(self, step: int, values: Mapping[str, float]) -> None:
        """Log a look at the probe set."""
        self._log({"step": step, "probe": values})

    def evaluation(self, step: int, values: Mapping[str, Any]) -> None:
        """Log an evaluation on the validation split."""
        self._log({"step": step, "val": values})

    def note(self, text: str) -> None:
        """Log a remark, with the step it was made at, and tell it on stderr."""
        self._append({"step": self.position, "note": text})
        self.progress.log(text)

    def close(self, *, failed: bool = False) -> None:
        """End the log; a second time changes nothing."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
            for tracker in self.trackers:
                tracker.close(failed=failed)

    def _log(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The record with legal values, as it is logged; not logged twice."""
        odd: list[str] = []
        legal: dict[str, Any] = _legal(record, "", odd)
        self.position = legal["step"]
        if odd:
            legal["note"] = ", ".join(odd)
        if _about(legal) not in self._there:
            self._append(legal)
            for tracker in self.trackers:
                tracker.scalars(self.position, dict(scalars(legal)))
        return legal

    def _append(self, record: Mapping[str, Any]) -> None:
        if self._file is None:
            raise ValueError(f"{self.path} is closed")
        line = _line(record)
        try:
            if os.write(self._file, line) == len(line):
                self._end += len(line)
                return
            reason = "the disk is full"
        except OSError as problem:
            reason = problem.strerror or str(problem)
        os.ftruncate(self._file, self._end)  # no half lines
        raise GeomclipError(
            f"{self.path} cannot be written ({reason}): make room and go on with {option('resume', True)}"
        )


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a log.jsonl as dictionaries; what a killed writer left of a line is left out."""
    return [json.loads(line) for line in _whole_lines(Path(path))]


def kept_lines(path: Path, step: int) -> list[bytes]:
    """The lines of a log that a run resumed at this step keeps: all that are whole and not of a later step."""
    try:
        return [line for line in _whole_lines(path) if _place(json.loads(line)) <= step]
    except FileNotFoundError:
        return []
    except OSError as problem:
        raise InputError(
            f"{path} cannot be read ({problem.strerror}): it is what {option('resume', True)} goes on with"
        ) from problem


def summary(record: Mapping[str, Any]) -> str:
    """What the bar says of a step: the loss and its speed, and below them the terms where there are several.

    Examples
    --------
    >>> summary({"loss": 2.31, "terms": {"contrastive": 2.2}, "images_per_second": 531.8})
    'loss 2.310, 532 images/s'
    """
    first = [f"loss {_short(record.get('loss'))}"]
    if record.get("images_per_second"):
        first.append(f"{record['images_per_second']:,.0f} images/s")
    lines, terms = [", ".join(first)], record.get("terms") or {}
    if len(terms) > 1:
        together = "\N{NO-BREAK SPACE}"  # a name stays with its value: textwrap breaks at other spaces only
        words = ", ".join(f"{name}{together}{_short(value)}" for name, value in terms.items())
        wrapped = textwrap.wrap(words, SUMMARY_WIDTH, break_on_hyphens=False)
        lines += [line.replace(together, " ") for line in wrapped]
    return "\n".join(lines)


def scalars(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a record under the names that trackers show.

    Examples
    --------
    >>> dict(scalars({"step": 3, "loss": 2.5, "terms": {"m2_mix": 4.0, "v_mix": None}}))
    {'train/loss': 2.5, 'terms/m2_mix': 4.0}
    """
    for key, value in record.items():
        group, entries = (key, value) if isinstance(value, Mapping) else ("train", {key: value})
        for name, number in entries.items():
            if key != "step" and isinstance(number, int | float):
                yield f"{group}/{name}", float(number)


def _short(value: float | None) -> str:
    return "inf/nan" if value is None else f"{value:.4g}" if value >= 1000 else f"{value:.3f}"


def _line(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, allow_nan=False) + "\n").encode("ascii")


def _legal(value: Any, name: str, odd: list[str]) -> Any:
    """The value in JSON's types; numbers that JSON has not are None, and named in `odd`."""
    if isinstance(value, Mapping):
        return {key: _legal(entry, f"{name}.{key}" if name else key, odd) for key, entry in value.items()}
    if hasattr(value, "item"):  # 0-d tensors, numpy's numbers
        value = value.item()
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        odd.append(f"{name} {value}")
        return None
    return float(f"{value:.9g}")  # what tells any two float32 apart


def _whole_lines(path: Path) -> Iterator[bytes]:
    """The lines that end and are JSON objects: all but those of a writer that was killed or lost power."""
    with path.open("rb") as file:
        for line in file:
            try:
                whole = line.endswith(b"\n") and isinstance(json.loads(line), dict)
            except ValueError:
                whole = False
            if whole:
                yield line


def _place(record: Mapping[str, Any]) -> int:
    """The step that a line belongs to."""
    return int(record.get("step", record.get("resumed", 0)))


def _about(record: Mapping[str, Any]) -> tuple[int, str]:
    """The step and what of it a line tells; notes and resumptions, which may come again, have no step here."""
    kind = next((key for key in ("loss", "probe", "val") if key in record), "")
    return (_place(record) if kind else -1, kind)
