"""WatchLog: the log of a watch, which continues the one that is there if it is this run's, and what shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geomclip.machine.errors import InputError
from geomclip.machine.files import refuse_links
from geomclip.machine.outputs import check_output_folder
from geomclip.machine.version import __version__
from geomclip.training.watching.lines import LineLog, kept_lines, legal, scalars, step_of, whole_lines
from geomclip.training.watching.trackers import OpenRun, TensorBoard, Tracker, WeightsAndBiases, Writer

WAY_OUT = "start again from the last checkpoint"


class WatchLog:
    """A log that is opened at the first step: until then nothing says where the run begins.

    Parameters
    ----------
    path : path
    about : mapping
        The probe and its pairs: a log of another probe is another run's.
    every : int
    tensorboard, wandb
        As `geomclip.watch` has them.

    Raises
    ------
    InputError
        If its folder cannot be written to, or it is there and is no log of this probe.
    """

    def __init__(self, path: Path, about: Mapping[str, Any], *, every: int, tensorboard: Any, wandb: Any) -> None:
        self.path = path
        self._about = {"format": 1, **about}
        self._head = {"watch": self._about, "every": every, "geomclip": __version__}
        self._shown_by = tensorboard, wandb
        self._lines: LineLog | None = None
        self._trackers: list[Tracker] = []
        self._check()

    @property
    def is_open(self) -> bool:
        """Whether it takes lines."""
        return self._lines is not None

    def open(self, done: int) -> list[dict[str, Any]]:
        """Begin, or go on behind this many steps, without the lines of later ones; the records that are kept.

        Raises
        ------
        InputError
            If it has steps and all are later ones: it is another run's.
        """
        self._check()
        first = next((step_of(each) for each in self._records() if "batch" in each), None)
        if first is not None and first > done:
            raise self._another(f"it has step {first}, and this run begins at {done + 1}")
        kept = kept_lines(self.path, done)
        self._trackers = _trackers(self.path.parent, done if kept else None, self._head, *self._shown_by)
        self._lines = LineLog(self.path, kept, way_out=WAY_OUT)
        self._lines.append({"resumed": done} if kept else self._head)
        return [json.loads(line) for line in kept]

    def write(self, record: Mapping[str, Any]) -> None:
        """A line, and its numbers wherever they are shown; what JSON has no number for is null, with a note."""
        if self._lines is None:
            raise ValueError(f"{self.path} is closed")
        odd: list[str] = []
        shown = legal(record, "", odd)
        self._lines.append({**shown, "note": ", ".join(odd)} if odd else shown)
        for tracker in self._trackers:
            tracker.scalars(shown["step"], dict(scalars(shown)))

    def close(self, *, failed: bool = False) -> None:
        """End it; a second time changes nothing."""
        if self._lines is not None and self._lines.close():
            for tracker in self._trackers:
                tracker.close(failed=failed)
        self._lines = None

    def _check(self) -> None:
        check_output_folder(self.path.parent)
        if self.path.is_dir():
            raise InputError(f"out={str(self.path)!r} is a folder: name a file in it")
        if not self.path.exists() or not self.path.stat().st_size:
            return
        head: dict[str, Any] = next(iter(self._records()), {})
        if "watch" not in head:
            raise self._another("it is no log of a watch")
        if head["watch"] != self._about:
            raise self._another("its probe is another")

    def _records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in whole_lines(self.path)] if self.path.exists() else []

    def _another(self, why: str) -> InputError:
        return InputError(f"{self.path} is another run's ({why}): name another file with out=, or remove it")


def _trackers(
    folder: Path, resumed_at: int | None, config: Mapping[str, Any], tensorboard: Any, wandb: Any
) -> list[Tracker]:
    """What shows the numbers besides the log; InputError if a folder of its own that one writes to is a link."""
    found: list[Tracker] = []
    open_run = hasattr(wandb, "log") and hasattr(wandb, "define_metric")
    refuse_links(folder, *["tensorboard"] * (tensorboard is True), *["wandb"] * (bool(wandb) and not open_run))
    if hasattr(tensorboard, "add_scalar"):
        found.append(Writer(tensorboard))
    elif tensorboard:
        place = folder / "tensorboard" if tensorboard is True else Path(tensorboard).expanduser()
        found.append(TensorBoard(place, resumed_at, config))
    if open_run:
        found.append(OpenRun(wandb))
    elif wandb:
        found.append(WeightsAndBiases(folder, resumed_at, config))
    return found
