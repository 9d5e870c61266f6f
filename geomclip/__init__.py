"""geomclip: the geometry of CLIP-like embeddings, measured exactly, seen, and improved by fine-tuning.

Public names, in the order in which a set passes through them; each is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from geomclip.machine import notebooks as _notebooks
from geomclip.machine.version import __version__ as __version__

# public name: module that has it; an empty string makes the module itself public
_PUBLIC = {
    "EmbeddingSet": "embeddings.record",
    "embed": "encoders.extraction.calls",
    "load": "embeddings.store",
    "save": "embeddings.store",
    "measure": "panels",
    "Panel": "panels.record",
    "compare": "panels",
    "Comparison": "panels.comparison",
    "Comparisons": "panels.comparison",
    "plan": "panels.planning",
    "table": "panels.papers.calls",
    "Table": "panels.papers.table",
    "cite": "panels.papers.citations",
    "report": "reports",
    "card": "reports.model_card",
    "plot_sphere": "plots.globe",
    "metrics": "",
    "losses": "",
    "plots": "",
    "projections": "",
    "project": "projections.maps",
    "project_pair": "projections.maps",
    "Map": "projections.maps",
    "finetune": "training.finetune",
    "reproduce": "reproduction.run",
    "watch": "training.watching.calls",
    "GeometryEvaluator": "training.watching.evaluator",
    "ground": "grounding.calls",
    "keep_paths": "machine.places",
    "InputError": "machine.errors",
    "GeomclipError": "machine.errors",
}

if TYPE_CHECKING:
    from geomclip import losses as losses
    from geomclip import metrics as metrics
    from geomclip import plots as plots
    from geomclip import projections as projections
    from geomclip.embeddings.record import EmbeddingSet as EmbeddingSet
    from geomclip.embeddings.store import load as load
    from geomclip.embeddings.store import save as save
    from geomclip.encoders.extraction.calls import embed as embed
    from geomclip.grounding.calls import ground as ground
    from geomclip.machine.errors import GeomclipError as GeomclipError
    from geomclip.machine.errors import InputError as InputError
    from geomclip.machine.places import keep_paths as keep_paths
    from geomclip.panels import compare as compare
    from geomclip.panels import measure as measure
    from geomclip.panels.comparison import Comparison as Comparison
    from geomclip.panels.comparison import Comparisons as Comparisons
    from geomclip.panels.papers.calls import table as table
    from geomclip.panels.papers.citations import cite as cite
    from geomclip.panels.papers.table import Table as Table
    from geomclip.panels.planning import plan as plan
    from geomclip.panels.record import Panel as Panel
    from geomclip.plots.globe import plot_sphere as plot_sphere
    from geomclip.projections.maps import Map as Map
    from geomclip.projections.maps import project as project
    from geomclip.projections.maps import project_pair as project_pair
    from geomclip.reports import report as report
    from geomclip.reports.model_card import card as card
    from geomclip.reproduction.run import reproduce as reproduce
    from geomclip.training.finetune import finetune as finetune
    from geomclip.training.watching.calls import watch as watch
    from geomclip.training.watching.evaluator import GeometryEvaluator as GeometryEvaluator

__all__ = [
    "Comparison",
    "Comparisons",
    "EmbeddingSet",
    "GeomclipError",
    "GeometryEvaluator",
    "InputError",
    "Map",
    "Panel",
    "Table",
    "card",
    "cite",
    "compare",
    "embed",
    "finetune",
    "ground",
    "keep_paths",
    "load",
    "losses",
    "measure",
    "metrics",
    "plan",
    "plot_sphere",
    "plots",
    "project",
    "project_pair",
    "projections",
    "report",
    "reproduce",
    "save",
    "table",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'geomclip' has no attribute {name!r}")
    module = _PUBLIC[name]
    if not module:
        return import_module(f"geomclip.{name}")
    return getattr(import_module(f"geomclip.{module}"), name)


def _png_of_map(map: Any) -> bytes | None:
    from geomclip.plots.shown import png_of

    return png_of(map)


# maps lie below the plots and do not know them
_notebooks.drawn_by("Map", _png_of_map)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
