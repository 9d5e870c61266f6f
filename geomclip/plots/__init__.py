"""Pictures: arrays or a map in, figure out; nothing is computed here.

`static` draws with matplotlib for paper, `interactive` with plotly for the screen; the same names in both. Each is
imported when it is first used, since both need packages of the extra `viz`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geomclip.plots import interactive as interactive
    from geomclip.plots import static as static

__all__ = ["interactive", "static"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'geomclip.plots' has no attribute {name!r}")
    return import_module(f"geomclip.plots.{name}")


def __dir__() -> list[str]:
    return __all__
