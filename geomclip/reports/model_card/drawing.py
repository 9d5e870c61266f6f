"""The pictures of a card, as files beside it: confidence before and after, and on request the sphere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomclip.encoders.extraction.calls import embed
from geomclip.machine.errors import InputError
from geomclip.machine.progress import Progress
from geomclip.machine.words import option
from geomclip.pairs import Source
from geomclip.panels.directions import DIRECTIONS
from geomclip.panels.record import Panel
from geomclip.reports.model_card.run import Run, needs_weights
from geomclip.training.finetune import models_of
from geomclip.training.folder import call_of
from geomclip.training.splits import load_splits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RELIABILITY = "card-reliability-{side}.png"
SPHERE = "card-sphere.png"
"""Names of files."""
ASKED = {"zeroshot": "images looking for their class", **DIRECTIONS}
"""Diagrams of a panel, the first that it has is drawn, and what is looked for in each."""


def draw(run: Run, folder: Path, *, sphere: bool, cache_dir: Path | None, progress: Progress) -> dict[Path, str]:
    """Draw what can be drawn of a run into a folder; each file with what it shows."""
    from geomclip.plots import static

    found: dict[Path, str] = {}
    for side, panel in (("before", run.before), ("after", run.after)):
        queries = None if panel is None else _diagram(panel)
        if panel is not None and queries is not None:
            title = f"{side}, {ASKED[queries]}"
            file = folder / RELIABILITY.format(side=side)
            static.save(static.reliability(panel, title=title, queries=queries).figure, file)
            found[file] = f"Accuracy against confidence {title}"
    if sphere:
        file = folder / SPHERE
        static.save(_spheres(run, cache_dir, progress), file)
        found[file] = "Images and texts on the sphere before and after"
    return found


def _diagram(panel: Panel) -> str | None:
    return next((name for name in ASKED if panel.reliability.get(name)), None)


def _spheres(run: Run, cache_dir: Path | None, progress: Progress) -> Figure:
    """The reported split on one sphere before and after; InputError if data or base are not what they were."""
    from geomclip.plots import static
    from geomclip.projections.maps import project_pair

    encoder = needs_weights(run)
    call = call_of(run.config, cache_dir)
    for name in run.config.get("elsewhere") or ():
        if call.get(name) == run.part("call").get(name):
            lost = option(str(name), call.get(name))
            raise InputError(f"{option('sphere', True)}: the cache no longer knows where {lost} lies: leave it out")
    base, *_ = models_of(run.method, call, cache_dir=cache_dir, seed=int(run.settings.get("seed", 0)))
    _same(base.weights_sha256, run.part("base").get("weights_sha256"), "the base")
    source = Source(**{each.name: call[each.name] for each in fields(Source) if call.get(each.name) is not None})
    pairs = load_splits(source, holdout=call.get("holdout") or 0.0, cache_dir=cache_dir).report
    _same(pairs.fingerprint(), _report_digest(run.config), f"the data {pairs.title}")
    how: dict[str, Any] = {"cache_dir": cache_dir, "progress": progress}
    before, after = project_pair(embed(base, pairs, **how), embed(encoder, pairs, **how), progress=progress)
    return static.sphere_pair(before, after).figure


def _report_digest(config: Mapping[str, Any]) -> str:
    data = config.get("data") or {}
    return str((data.get("fingerprints") or {}).get("report", ""))


def _same(found: str, known: object, what: str) -> None:
    if found != known:
        raise InputError(f"{option('sphere', True)}: {what} changed since the run: leave it out")
