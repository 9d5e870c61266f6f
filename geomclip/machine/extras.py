"""Packages that not every installation has: imported where they are used, or named in one line with the way to them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from geomclip.machine.errors import NotAvailableError

PACKAGES = {"umap": "umap-learn", "sklearn": "scikit-learn"}
"""Names on the package index of modules that are called otherwise."""


def optional(module: str, what: str, extra: str = "viz") -> Any:
    """The module of this name; NotAvailableError if its package is not installed.

    Parameters
    ----------
    module : str
        As in an import statement: "plotly.graph_objects".
    what : str
        Who needs it, for the message.
    extra : str
        The extra of geomclip that brings it.

    Raises
    ------
    NotAvailableError
        "WHAT needs PACKAGE: pip install 'geomclip[EXTRA]'". A package that is there but broken raises its own error.

    Examples
    --------
    >>> optional("json", "plot-sphere").dumps([1])
    '[1]'
    >>> optional("not_there.at_all", "plot-sphere")
    Traceback (most recent call last):
    geomclip.machine.errors.NotAvailableError: plot-sphere needs not_there: pip install 'geomclip[viz]'
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        top = module.partition(".")[0]
        if (missing.name or "").partition(".")[0] != top:
            raise
        raise NotAvailableError(f"{what} needs {PACKAGES.get(top, top)}: pip install 'geomclip[{extra}]'") from None
