"""Result: what a run of finetune leaves, and the sentences that say which weights it is about."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geomclip.encoders import Encoder, how_to_load
from geomclip.machine.places import shown
from geomclip.machine.words import typed
from geomclip.panels.comparison.record import Comparison
from geomclip.panels.record import Panel
from geomclip.training.folder import best_weights
from geomclip.training.settings import Settings


@dataclass(frozen=True)
class Result:
    """What a run left: numbers before and after, their differences, and where the weights are."""

    folder: Path
    settings: Settings
    before: Panel
    after: Panel
    comparison: Comparison
    chosen: Mapping[str, Any] = field(default_factory=dict)  # step or alpha or amount, and its score on val
    notes: tuple[str, ...] = ()
    also: Mapping[str, Comparison] = field(default_factory=dict)  # of data that were not trained on, by their names

    @property
    def weights(self) -> Path:
        """The weights that `after` was measured with."""
        return best_weights(self.folder)

    @property
    def written_notes(self) -> tuple[str, ...]:
        """The notes as files have them: the run folder by its last part."""
        return tuple(note.replace(str(self.folder), shown(self.folder)) for note in self.notes)

    def __str__(self) -> str:
        return "\n".join([str(self.comparison), *self.notes])


def about(chosen: Mapping[str, Any]) -> str:
    """Which weights `after` are, in one sentence."""
    what = f"step {chosen.get('step')} of {chosen.get('steps')}"
    if "swept" in chosen:
        value = chosen["value"]
        what = f"{chosen['swept']} {value if isinstance(value, str) else f'{value:g}'}"
    best = f"after: {what}, the best on val by {chosen['metric']}: {chosen['score']:.4g}"
    start = f"the starting weights {chosen['start_score']:.4g}"
    return f"{best}; {start}" if chosen["beats_start"] else f"{best}; but {start}: nothing beat them"


def compared(chosen: Mapping[str, Any]) -> tuple[str, ...]:
    """What each point of a sweep scored on val, in one sentence; none of a run that trained."""
    points = [
        f"{name if isinstance(name, str) else f'{name:g}'} {score:.4g}" for name, score in chosen.get("points", ())
    ]
    return (f"on val by {chosen['swept']}: {'; '.join(points)}",) if points else ()


def how_to_use(folder: Path, encoder: Encoder) -> str:
    """The line that says what to do with the weights of a run; the encoder is used as they are."""
    use = typed(f"geomclip measure --model {shlex.quote(str(folder))}", f"geomclip.embed({str(folder)!r})")
    return f"use it: {use}; {how_to_load(encoder, best_weights(folder))}"
