"""geomclip: the geometry of CLIP-like embeddings, measured exactly, seen, and improved by fine-tuning.

Public names, in the order in which a set passes through them; each is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name: module that has it; an empty string makes the module itself public
_PUBLIC = {
    "EmbeddingSet": "embeddings",
    "embed": "extract",
    "load": "store",
    "save": "store",
    "measure": "api",
    "Panel": "panel",
    "compare": "api",
    "Comparison": "comparison",
    "report": "reporting",
    "plot_sphere": "spheres",
    "metrics": "",
    "losses": "",
    "plots": "",
    "projections": "",
    "project": "maps",
    "project_pair": "maps",
    "Map": "maps",
    "finetune": "training.finetuning",
    "InputError": "errors",
    "GeomclipError": "errors",
}

if TYPE_CHECKING:
    from geomclip import losses as losses
    from geomclip import metrics as metrics
    from geomclip import plots as plots
    from geomclip import projections as projections
    from geomclip.api import compare as compare
    from geomclip.api import measure as measure
    from geomclip.comparison import Comparison as Comparison
    from geomclip.embeddings import EmbeddingSet as EmbeddingSet
    from geomclip.errors import GeomclipError as GeomclipError
    from geomclip.errors import InputError as InputError
    from geomclip.extract import embed as embed
    from geomclip.maps import Map as Map
    from geomclip.maps import project as project
    from geomclip.maps import project_pair as project_pair
    from geomclip.panel import Panel as Panel
    from geomclip.reporting import report as report
    from geomclip.spheres import plot_sphere as plot_sphere
    from geomclip.store import load as load
    from geomclip.store import save as save
    from geomclip.training.finetuning import finetune as finetune

__all__ = [
    "Comparison",
    "EmbeddingSet",
    "GeomclipError",
    "InputError",
    "Map",
    "Panel",
    "compare",
    "embed",
    "finetune",
    "load",
    "losses",
    "measure",
    "metrics",
    "plot_sphere",
    "plots",
    "project",
    "project_pair",
    "projections",
    "report",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'geomclip' has no attribute {name!r}")
    module = _PUBLIC[name]
    if not module:
        return import_module(f"geomclip.{name}")
    return getattr(import_module(f"geomclip.{module}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
