"""Commands as a page shows them: the one it was made with, and the one that would show more."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geomclip.machine.places import shown


def called(function: str, *arguments: object, **options: object) -> str:
    """A call in Python as its caller could have written it; things at hand by what they are.

    Examples
    --------
    >>> called("report", "demo", Path("r.html"), seed=1)
    "geomclip.report('demo', 'r.html', seed=1)"
    """
    shown = [_shown(each) for each in arguments] + [f"{name}={_shown(each)}" for name, each in options.items()]
    return f"geomclip.{function}({', '.join(shown)})"


def _shown(value: object) -> str:
    if isinstance(value, str | Path):
        return repr(shown(value))
    return repr(value) if isinstance(value, int | float | list | tuple | None) else f"<{type(value).__name__}>"


def with_vectors(made_from: Mapping[str, Any]) -> str:
    """The command that gives the same report with its vectors, as far as model and data are named.

    Examples
    --------
    >>> with_vectors({"model": "demo", "dataset": "emoji", "split": "test"})
    'geomclip report demo --data emoji --split test --out report.html'
    >>> with_vectors({})
    'geomclip report STORE --out report.html'
    """
    model = source(made_from)
    return f"geomclip report {model}{of_data(made_from) if model != 'STORE' else ''} --out report.html"


def of_both(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The same for a comparison.

    Examples
    --------
    >>> of_both({"model": "demo", "dataset": "emoji"}, {})
    'geomclip compare demo STORE --data emoji --out compare.html'
    """
    data = next((of_data(side) for side in (before, after) if source(side) != "STORE"), "")
    return f"geomclip compare {source(before)} {source(after)}{data} --out compare.html"


def source(made_from: Mapping[str, Any]) -> str:
    """The model's name, for a shell; STORE where it is not known."""
    return shlex.quote(str(made_from["model"])) if made_from.get("model") else "STORE"


def of_data(made_from: Mapping[str, Any]) -> str:
    """The options that name the data."""
    flags = (("--data", "dataset"), ("--split", "split"))
    return "".join(f" {flag} {shlex.quote(str(made_from[key]))}" for flag, key in flags if made_from.get(key))
