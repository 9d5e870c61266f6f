"""table: panels side by side, as notebooks call it; what is best in each row stands out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from geomclip.panels import naming
from geomclip.panels.lines import told_apart
from geomclip.panels.loading import load
from geomclip.panels.papers.best import best
from geomclip.panels.papers.table import Table, of_panels
from geomclip.panels.record import Panel

Side: TypeAlias = "Panel | str | Path"
"""A panel, or the file of a result (.json)."""

BOLD = "bold: better than every other beyond chance (q < 0.05)"


def table(
    panels: Sequence[Side] | Mapping[str, Side] | Panel,
    names: Sequence[str] | None = None,
    *,
    keys: str | Sequence[str] | None = None,
    interval: str | None = "±",
    bold: bool = True,
    seed: int = 0,
) -> Table:
    """Numbers of several panels side by side, a row a number and a column a panel, for a paper.

    Parameters
    ----------
    panels : sequence of Panel or path, or mapping of name to them, or a Panel
        Paths are of results (.json) of `geomclip measure --out`.
    names : sequence of str, optional
        Of the columns. Left out: the names that the panels were measured with, else model and weights, with a number
        behind those that are the same.
    keys : str or sequence of str, optional
        In their order; "all" for every number. Left out: ten that answer most.
    interval : "±", "range" or None
        Half the width of the 95 % interval behind each number, its ends in brackets, or none.
    bold : bool
        Show the best of a row in bold, where it is better than every other beyond chance.
    seed : int
        Of the draws in which calibration errors are compared.

    Returns
    -------
    Table

    Raises
    ------
    InputError
        If a file cannot be read.
    ValueError
        If there is no panel, names are too many, too few or the same, a key is unknown, or `interval` is another.

    Examples
    --------
    >>> one, two = (Panel({"alignment": value}, made_from={"model": "demo"}) for value in (1.5, 1.25))
    >>> print(table([one, two], keys="alignment"))
                   demo  demo (2)
    Alignment ↓  1.5000    1.2500
    """
    if isinstance(panels, Mapping) and not isinstance(panels, Panel):
        if names is not None:
            raise ValueError("names: the mapping of panels has names already")
        names, panels = list(panels), list(panels.values())
    sides = [panels] if isinstance(panels, Panel | str | Path) else list(panels)
    if not sides:
        raise ValueError("there is no panel to make a table of")
    found = [side if isinstance(side, Panel) else load(side) for side in sides]
    called = naming.checked(names, len(found)) or told_apart(
        [naming.name_of(panel.made_from, panel.name) for panel in found]
    )
    plain = of_panels(found, called, keys, interval=interval)  # names and keys can be mistyped
    if not bold or len(found) < 2:
        return plain
    places, notes = best(found, plain.rows, seed=seed)
    return of_panels(found, called, keys, interval=interval, best=places, notes=[*([BOLD] if places else []), *notes])
