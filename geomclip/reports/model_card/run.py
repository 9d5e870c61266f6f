"""Run: what the folder of a run of finetune says of itself, read back for its card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geomclip.encoders import Encoder, load_encoder
from geomclip.machine.errors import InputError
from geomclip.machine.words import one_line, option, typed
from geomclip.panels.comparison import Comparison, compare
from geomclip.panels.loading import load
from geomclip.panels.options import Measuring
from geomclip.panels.record import Panel
from geomclip.reports.model_card.public import public
from geomclip.training.folder import AFTER, BEFORE, CONFIG, best_weights, read_config
from geomclip.training.methods import METHODS, Method, method_named
from geomclip.training.others import after_of, before_of
from geomclip.training.result import about


@dataclass(frozen=True, eq=False)
class Run:
    """A run folder: its configuration, its weights and numbers as far as there are any."""

    folder: Path
    config: Mapping[str, Any]
    method: Method
    encoder: Encoder | None = None  # None where there are no weights yet
    before: Panel | None = None
    after: Panel | None = None
    comparison: Comparison | None = None
    also: Mapping[str, Comparison] = field(default_factory=dict)

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end."""
        return bool(self.config.get("finished"))

    @property
    def weights(self) -> Path:
        """The weights that were chosen."""
        return best_weights(self.folder)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of the run."""
        return dict(self.config.get("settings", {}))

    def part(self, name: str) -> dict[str, Any]:
        """A part of the configuration, empty where it is absent or no object."""
        found = self.config.get(name)
        return dict(found) if isinstance(found, Mapping) else {}


def read_run(folder: str | Path, *, cache_dir: Path | None = None) -> Run:
    """The run in a folder.

    Raises
    ------
    InputError
        If it is no run folder, or something in it is damaged.
    """
    place = Path(folder).expanduser()
    if not (place / CONFIG).is_file():
        what = "is no folder" if not place.is_dir() else f"has no {CONFIG}"
        raise InputError(f"{folder} {what}: name a run folder of {typed('geomclip finetune', 'geomclip.finetune')}")
    config = read_config(place)
    name = str(config["settings"].get("method", ""))
    if name not in METHODS:
        raise InputError(f"{place / CONFIG}: unknown method {name!r}")
    method = method_named(name)
    run = Run(place, config, method)
    try:
        _ = run.part("chosen") and about(run.part("chosen"))
    except (KeyError, TypeError, ValueError) as damage:
        raise InputError(f"{place / CONFIG} is malformed: chosen has no sound {one_line(damage)}") from damage
    has_weights = run.weights.is_file()
    encoder = load_encoder(str(place), cache_dir=cache_dir) if has_weights else None
    before, after = (_panel(place / file) for file in (BEFORE, AFTER))
    also = _others(place, config)
    comparison = None if before is None or after is None else _compared(before, after, also)
    return Run(place, run.config, method, encoder, before, after, comparison, also)


def _panel(file: Path) -> Panel | None:
    return load(file) if file.is_file() else None


def _others(folder: Path, config: Mapping[str, Any]) -> dict[str, Comparison]:
    """The comparisons on other data, by their names, of those that were measured on both sides."""
    found = {}
    for name in config.get("also") or {}:
        before, after = _panel(folder / before_of(name)), _panel(folder / after_of(name))
        if before is not None and after is not None:
            found[public(name)] = _compared(before, after)
    return found


def _compared(before: Panel, after: Panel, also: Mapping[str, Comparison] | None = None) -> Comparison:
    """As the run itself compared them."""
    bootstrap = before.params.get("bootstrap", Measuring.bootstrap)
    how: dict[str, Any] = {"bootstrap": bootstrap if isinstance(bootstrap, int) else Measuring.bootstrap}
    try:
        return compare(before, after, **how, seed=before.seed, others=also)
    except ValueError as differ:
        raise InputError(f"before and after are not of the same data: {differ}") from differ


def needs_weights(run: Run) -> Encoder:
    """The encoder of a run that has come to its end.

    Raises
    ------
    InputError
        If it has not.
    """
    if run.encoder is None or not run.is_finished:
        way = option("resume", True)
        raise InputError(f"{run.folder} is not finished: go on with {way} before its weights are pushed")
    return run.encoder
