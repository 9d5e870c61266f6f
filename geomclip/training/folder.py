"""The run folder of finetune: its names, its config.json, and when a run may be gone on with."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import torch

from geomclip.encoders import towers
from geomclip.machine import places, regular
from geomclip.machine.blame import unreadable
from geomclip.machine.errors import InputError
from geomclip.machine.files import is_ours, make_folder, refuse_links
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.sums import check_sum, write_sealed
from geomclip.machine.version import __version__
from geomclip.machine.words import one_line, option
from geomclip.training import snapshots
from geomclip.training.settings import differences

SCHEMA = "geomclip.run/1"
CONFIG = "config.json"
LAST, BEST = "model.safetensors", "best.safetensors"
BEFORE, AFTER = "before.json", "after.json"
LOG = "log.jsonl"

PARTS = {
    **dict.fromkeys(("call", "base", "data", "also", "chosen", "versions"), dict),
    **dict.fromkeys(("between", "elsewhere"), list),
    "finished": bool,
}
"""The parts of a configuration, and of which kind each is."""
HARMLESS = ("workers", "save_every", "probe_every")
"""Settings that decide no weight: a resumed run may have others."""


class Chosen(Protocol):
    """Settings of a run, of any kind: a frozen dataclass."""

    @property
    def steps(self) -> int | None:
        """End after so many."""

    @property
    def epochs(self) -> int:
        """How long."""

    def to_dict(self) -> dict[str, Any]:
        """As config.json has them."""

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """What `to_dict` wrote."""


@dataclass(frozen=True)
class RunFolder:
    """Where a run is kept and shown, and whether it may go on with what is there."""

    path: Path
    resume: bool = False  # go on from its newest checkpoint
    override: bool = False  # although settings differ
    tensorboard: bool = False
    wandb: bool = False
    cache_dir: Path | None = None  # what remembers where its data and models lie

    def began_with(self, schema: str = SCHEMA) -> dict[str, Any] | None:
        """config.json of the run to be resumed, its data and models by where they lie; None if there is none."""
        if not self.resume or not (self.path / CONFIG).is_file():
            return None
        config = read_config(self.path, schema)
        return {**config, "call": call_of(config, self.cache_dir)}

    def refuse_forgotten(self, named: Mapping[str, Any], began: Mapping[str, Any] | None) -> None:
        """InputError if the run began with a place that neither its folder, nor the cache, nor the caller says."""
        short = {} if began is None else read_config(self.path, began["schema"])["call"]
        for name in (began or {}).get("elsewhere") or ():
            if named.get(name) is None and began is not None and began["call"].get(name) == short.get(name):
                raise InputError(
                    f"{self.path} began with {option(name, short.get(name))}, and the cache no longer knows where that "
                    f"lies: name it again with {option(name)}"
                )


@dataclass(frozen=True)
class Config:
    """What a run is made from: the same settings, base and data make the same weights."""

    call: Mapping[str, Any]
    settings: Chosen
    base: Mapping[str, Any]
    data: Mapping[str, Any]
    schema: str = SCHEMA
    command: str = "finetune"  # whose runs these are
    also: Mapping[str, Any] = field(default_factory=dict)  # other data that are measured before and after
    between: Sequence[Mapping[str, str]] = ()  # the models that are mixed, the base first

    def to_dict(self) -> dict[str, Any]:
        """As config.json has it."""
        call = places.shown_in(self.call)
        elsewhere = [name for name, value in self.call.items() if call[name] != value]
        return {
            "schema": self.schema,
            "call": call,
            **({"elsewhere": elsewhere} if elsewhere else {}),
            "settings": self.settings.to_dict(),
            "base": dict(self.base),
            "data": dict(self.data),
            **({"also": dict(self.also)} if self.also else {}),
            **({"between": places.shown_in(self.between)} if self.between else {}),
            "versions": {
                "geomclip": __version__,
                "open_clip": towers.version(),
                "torch": str(torch.__version__),
                "python": platform.python_version(),
            },
            "threads": torch.get_num_threads(),
        }


@dataclass(frozen=True)
class Kept:
    """What a folder held when the run began."""

    snapshot: Path | None = None
    finished: bool = False
    chosen: Mapping[str, Any] = field(default_factory=dict)


def folder_for(out: str | Path | None, method: str, data: str, *, resume: bool) -> Path:
    """The run folder: the one named, or the first free `runs/METHOD-DATA-N` (to resume: the last there is)."""
    if out is not None:
        return Path(out).expanduser()
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{method}-{data}").strip("-.") or method
    number = 1
    while (Path("runs") / f"{stem}-{number}").exists():
        number += 1
    return Path("runs") / f"{stem}-{number - 1 if resume and number > 1 else number}"


def completed(call: Mapping[str, Any], began: Mapping[str, Any] | None, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What a call means: its own values, else what the run began with, else the defaults."""
    before = {} if began is None else began.get("call", {})
    return {name: value if value is not None else before.get(name, defaults.get(name)) for name, value in call.items()}


def begin(place: RunFolder, config: Config, *, progress: Progress = SILENT) -> Kept:
    """Make the folder ready, and say what is there to go on with. Its lock is held.

    Raises
    ------
    InputError
        If the folder is not empty and `resume` is not given, holds something else, or a run that began with other
        settings, another base or other data (and `override` is not given); if its folder of snapshots is a link.
    """
    folder = place.path
    places.remember(_identity(config.to_dict()), config.call, place.cache_dir)
    make_folder(folder)
    refuse_links(folder, snapshots.FOLDER)
    others = sorted(entry.name for entry in folder.iterdir() if not is_ours(entry.name))
    if not others:
        if place.resume:
            progress.log(f"{folder} has no checkpoint: the run starts afresh")
        write_sealed(folder / CONFIG, config.to_dict())
        return Kept()
    if not (folder / CONFIG).is_file():
        raise InputError(
            f"{folder} is not empty ({others[0]}) and no run of geomclip {config.command}: name another {option('out')}"
        )
    if not place.resume:
        raise InputError(
            f"{folder} holds a run: go on with it by {option('resume', True)}, or name another {option('out')}"
        )
    there = read_config(folder, config.schema)
    _refuse_another(folder, there, config, override=place.override)
    began = config.settings.from_dict(there["settings"])
    longer = _length(config.settings) > _length(began)
    if there.get("finished") and not longer:
        snapshots.clear_old(folder)
        return Kept(finished=True, chosen=there.get("chosen", {}))
    snapshot = snapshots.newest(folder, progress=progress)
    if snapshot is None:
        progress.log(f"{folder} has no checkpoint: the run starts afresh")
    if longer:
        (folder / AFTER).unlink(missing_ok=True)
    write_sealed(folder / CONFIG, config.to_dict())
    return Kept(snapshot)


def finish(folder: Path, chosen: Mapping[str, Any], schema: str = SCHEMA) -> None:
    """Say in config.json that the run is complete, and which weights it chose."""
    write_sealed(folder / CONFIG, {**read_config(folder, schema), "finished": True, "chosen": dict(chosen)})


def call_of(config: Mapping[str, Any], cache_dir: Path | None) -> dict[str, Any]:
    """What a run was called with: its data and models by where they lie, as far as the cache knows."""
    return places.recalled(_identity(config), config.get("call") or {}, cache_dir)


def also_measured(folder: Path, call: Mapping[str, Any], also: Mapping[str, Any], cache_dir: Path | None) -> None:
    """Say in config.json of a finished run that other data have been measured too."""
    config = read_config(folder)
    places.remember(_identity(config), call, cache_dir)
    named = {**config.get("call", {}), "also": places.shown_in(call.get("also"))}
    write_sealed(folder / CONFIG, {**config, "call": named, "also": dict(also)})


def _identity(config: Mapping[str, Any]) -> list[Any]:
    """What a run is known by in the cache, wherever its folder is moved: the weights and data that it learns from."""
    data, base = (part if isinstance(part, dict) else {} for part in (config.get("data"), config.get("base")))
    prints = data.get("fingerprints")
    return [base.get("weights_sha256"), prints.get("train") if isinstance(prints, dict) else None]


def chosen_of(folder: Path) -> dict[str, Any]:
    """Which weights a finished run chose."""
    return dict(read_config(folder).get("chosen", {}))


def best_weights(folder: Path) -> Path:
    """The weights that a run chose."""
    best = folder / BEST
    return best if best.is_file() else folder / LAST


def read_config(folder: Path, schema: str = SCHEMA) -> dict[str, Any]:
    """config.json of a run.

    Raises
    ------
    InputError
        If it cannot be read, is damaged, or is of something else.
    """
    file = folder / CONFIG
    try:
        config = json.loads(regular.read(file, "json-bytes"))
    except OSError as error:
        raise unreadable(file, error) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read as JSON: {one_line(error, 100)}") from error
    if not isinstance(config, dict) or config.get("schema") != schema or not isinstance(config.get("settings"), dict):
        raise InputError(f"{file}: is not the configuration of a run ({schema})")
    for name, kind in PARTS.items():
        if name in config and not isinstance(config[name], kind):
            raise InputError(f"{file}: its {name!r} is of another kind than a run has: it is damaged")
    check_sum(config, file, f"put back a copy of it, or name another {option('out')}")
    return config


def _length(settings: Chosen) -> tuple[float, float]:
    return settings.steps or float("inf"), settings.epochs


def _refuse_another(folder: Path, there: Mapping[str, Any], here: Config, *, override: bool) -> None:
    """InputError unless the folder's run is this one, perhaps longer."""
    base = str(there.get("base", {}).get("weights_sha256", ""))
    if base != str(here.base.get("weights_sha256", "")):
        name = there.get("base", {}).get("model", "")
        raise InputError(
            f"{folder} began with other weights ({name} {base[:12]}): name them again, or another {option('out')}"
        )
    mixed = [[each["weights_sha256"] for each in models] for models in (there.get("between", ()), here.between)]
    if mixed[0] != mixed[1]:
        raise InputError(f"{folder} began between other models: name them again, or another {option('out')}")
    for part, fingerprint in here.data["fingerprints"].items():
        if there.get("data", {}).get("fingerprints", {}).get(part) != fingerprint:
            raise InputError(f"{folder} began with other data (its {part} split differs): name another {option('out')}")
    began = here.settings.from_dict(there["settings"])
    ignored = [*HARMLESS, *(["epochs", "steps"] if _length(here.settings) >= _length(began) else [])]
    differing = differences(began, here.settings, ignore=tuple(ignored))
    if differing and not override:
        raise InputError(
            f"{folder} began with other settings ({'; '.join(differing[:4])}): give the same, "
            f"or insist with {option('override', True)}"
        )
