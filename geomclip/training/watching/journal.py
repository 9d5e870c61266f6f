"""Journal: what a training run tells while it runs: log.jsonl, the bar on a terminal, TensorBoard, W&B."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from geomclip.machine.files import make_folder
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import option
from geomclip.training.watching.lines import LineLog, kept_lines, legal, scalars, step_of
from geomclip.training.watching.lines import read_log as read_log
from geomclip.training.watching.trackers import trackers

LOG_NAME = "log.jsonl"

SUMMARY_WIDTH = 40
"""Characters a line beside the bar: 80 columns then have room for count, speed and remaining time."""


class Journal:
    """The log of a run and all that shows it: `with Journal(folder, total=400) as journal: journal.step(...)`.

    log.jsonl grows by whole lines, a write each. What a line is about says one of its keys: `loss` a step,
    `probe` a look at the probe set, `val` an evaluation, `peak_memory` the most that was held, `note` a remark,
    `resumed` where a run went on. JSON has neither NaN nor infinity: such a value is null, and the line's `note` says
    what it was.

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
    ...         journal.step({"step": 1, "loss": 2.5, "terms": {"contrastive": float("inf")}})
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
        self._log_file = LineLog(self.path, kept, way_out=f"go on with {option('resume', True)}")
        if resumed_at is not None:
            self._log_file.append({"resumed": resumed_at})
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
        self._log_file.append({"step": self.position, "note": text})
        self.progress.log(text)

    def memory(self, peak: Mapping[str, int]) -> None:
        """Log the most memory that was held, bytes by kind, and tell it in a line; nothing where nobody knows."""
        if peak:
            self._log_file.append({"step": self.position, "peak_memory": dict(peak)})
            self.progress.log(f"peak memory: {peak_in_words(peak)}")

    def sync(self) -> None:
        """Have the log on disk; GeomclipError if the disk fails."""
        self._log_file.sync()

    def close(self, *, failed: bool = False) -> None:
        """End the log; a second time changes nothing."""
        if self._log_file.close():
            for tracker in self.trackers:
                tracker.close(failed=failed)

    def _log(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The record with legal values, as it is logged; not logged twice."""
        odd: list[str] = []
        shown: dict[str, Any] = legal(record, "", odd)
        self.position = shown["step"]
        if odd:
            shown["note"] = ", ".join(odd)
        if _about(shown) not in self._there:
            self._log_file.append(shown)
            for tracker in self.trackers:
                tracker.scalars(self.position, dict(scalars(shown)))
        return shown


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


def peak_in_words(peak: Mapping[str, int]) -> str:
    """The most memory that was held, in a line.

    Examples
    --------
    >>> peak_in_words({"resident": 1_234_000_000, "gpu": 5_600_000_000})
    '1.23 GB resident, 5.60 GB on the GPU'
    """
    where = {"resident": "resident", "gpu": "on the GPU"}
    return ", ".join(f"{size / 1e9:.2f} GB {where[kind]}" for kind, size in peak.items())


def _short(value: float | None) -> str:
    return "inf/nan" if value is None else f"{value:.4g}" if value >= 1000 else f"{value:.3f}"


def _about(record: Mapping[str, Any]) -> tuple[int, str]:
    """The step and what of it a line tells; notes and resumptions, which may come again, have no step here."""
    kind = next((key for key in ("loss", "probe", "val") if key in record), "")
    return (step_of(record) if kind else -1, kind)
