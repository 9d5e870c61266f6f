"""Trackers: TensorBoard and W&B behind one small interface; neither is imported unless asked for."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol
from unittest import mock

from geomclip.machine import regular
from geomclip.machine.errors import NotAvailableError
from geomclip.machine.files import atomic_bytes, make_folder, refuse_links
from geomclip.machine.places import are_kept
from geomclip.machine.words import one_line, option


class Tracker(Protocol):
    """What a journal tells besides its log."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """The numbers of a step."""

    def close(self, *, failed: bool) -> None:
        """Write what is not yet written."""


def trackers(
    folder: Path, resumed_at: int | None, config: Mapping[str, Any], *, tensorboard: bool, wandb: bool
) -> list[Tracker]:
    """Those asked for, begun; NotAvailableError, with the command that helps, if one cannot be.

    InputError if the folder that one writes to is a link.
    """
    refuse_links(folder, *["tensorboard"] * tensorboard, *["wandb"] * wandb)
    begun: list[Tracker] = []
    if tensorboard:
        begun.append(TensorBoard(folder / "tensorboard", resumed_at, config))
    if wandb:
        begun.append(WeightsAndBiases(folder, resumed_at, config))
    return begun


class TensorBoard:
    """Event files in a folder; `tensorboard --logdir FOLDER` shows them."""

    def __init__(self, folder: Path, resumed_at: int | None, config: Mapping[str, Any]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise NotAvailableError(
                f"{option('tensorboard')} needs the tensorboard package: pip install 'geomclip[tensorboard]'"
            ) from None
        # what an earlier start told of steps that come again is not shown
        with _unnamed_machine():
            self.writer = SummaryWriter(folder, purge_step=None if resumed_at is None else resumed_at + 1)
        if resumed_at is None:
            self.writer.add_text("config", f"```json\n{json.dumps(dict(config), indent=2)}\n```")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A point of each curve."""
        for name, value in values.items():
            # a tag may hold letters, digits and -/._ only, and torch logs a line for each that does not
            self.writer.add_scalar(name.replace("@", "_at_"), value, step)

    def close(self, *, failed: bool) -> None:
        """Write what is not yet written."""
        self.writer.close()


class WeightsAndBiases:
    """A W&B run, online or (WANDB_MODE=offline) in the folder; a resumed run goes on with the same id."""

    def __init__(self, folder: Path, resumed_at: int | None, config: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError:
            raise NotAvailableError(
                f"{option('wandb')} needs the wandb package: pip install 'geomclip[wandb]'"
            ) from None
        make_folder(folder / "wandb")  # without it W&B writes to the system's temporary folder
        # without what W&B would gather of the machine: its name, the user's, the command with its paths
        gathered = {"x_disable_meta": True, "disable_git": True, "host": "geomclip"}
        unnamed: dict[str, Any] = {} if are_kept() else gathered
        quiet = wandb.Settings(silent=True, console="off", init_timeout=30, **unnamed)
        # silent from the start, or it would ask for a key in the middle of a bar
        wandb.setup(settings=quiet)
        try:
            self.run = wandb.init(
                project="geomclip",
                dir=folder,
                id=_run_id(folder / "wandb" / "geomclip-run-id", resumed_at),
                resume="allow",
                reinit="create_new",  # a run that the caller has open is the caller's
                name=folder.resolve().name,
                config=dict(config),
                settings=quiet,
            )
        except wandb.errors.Error as error:
            way_out = "run `wandb login`, or set WANDB_MODE=offline and `wandb sync` later"
            raise NotAvailableError(f"{option('wandb')}: {one_line(error).rstrip('.')}: {way_out}") from error
        self.run.define_metric("*", step_metric="step")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A point of each curve."""
        self.run.log({**values, "step": step})

    def close(self, *, failed: bool) -> None:
        """Hand over what is not yet written, and say whether the run came to its end."""
        self.run.finish(exit_code=int(failed))


@contextmanager
def _unnamed_machine() -> Iterator[None]:
    """Have TensorBoard, which puts the name of the machine into that of its file, put `geomclip` there."""
    from tensorboard.summary.writer import event_file_writer

    if are_kept():
        yield
        return
    with mock.patch.object(event_file_writer, "socket", SimpleNamespace(gethostname=lambda: "geomclip")):
        yield


def _run_id(file: Path, resumed_at: int | None) -> str:
    """The id of the run that this folder holds; a new one for a new run."""
    if resumed_at is not None and file.is_file():
        return regular.read(file, "json-bytes").decode("ascii").strip()
    identity = secrets.token_hex(4)
    atomic_bytes(file, identity.encode())
    return identity


class Writer:
    """A SummaryWriter of the caller's, who closes it; names begin with `geomclip/`."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A point of each curve."""
        for name, value in values.items():
            self.writer.add_scalar(f"geomclip/{name.replace('@', '_at_')}", value, step)

    def close(self, *, failed: bool) -> None:
        """Write what is not yet written."""
        self.writer.flush()


class OpenRun:
    """A W&B run of the caller's, who ends it; names begin with `geomclip/`, and have a step of their own."""

    def __init__(self, run: Any) -> None:
        self.run = run
        run.define_metric("geomclip/*", step_metric="geomclip/step")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A point of each curve."""
        self.run.log({**{f"geomclip/{name}": value for name, value in values.items()}, "geomclip/step": step})

    def close(self, *, failed: bool) -> None:
        """The run is the caller's."""
