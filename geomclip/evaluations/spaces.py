"""Spaces: vectors as they are, and maps of them in a plane, each brought to one size."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomclip import projections
from geomclip.evaluations.asked import VECTORS
from geomclip.machine.errors import InputError
from geomclip.machine.words import one_line

Floats = NDArray[np.float64]

MAKERS: dict[str, Callable[[int], Any]] = {
    "pca": lambda seed: projections.PCA(),
    "heat-geodesic": lambda seed: projections.HeatGeodesic(random_state=seed),
    "like-phate": lambda seed: projections.HeatGeodesic.like_phate(random_state=seed),
    "tsne": lambda seed: projections.TSNE(metric="euclidean", n_jobs=1, random_state=seed),
    "umap": lambda seed: projections.UMAP(metric="euclidean", random_state=seed),
}
"""Estimators of a plane by the name of the space, from a seed."""
PACKAGES = {"tsne": "openTSNE", "umap": "umap"}
"""What a space needs beside geomclip's own packages."""
ROUNDING = 1e-7
"""Of the largest number: rows that spread less are equal but for that."""
CHANCE = ("tsne", "umap")
"""Spaces that another seed draws otherwise."""


def absent(names: list[str]) -> str:
    """The spaces whose package is not installed, in a line with the way out; "" where all can be made."""
    without = [name for name in names if name in PACKAGES and find_spec(PACKAGES[name]) is None]
    if not without:
        return ""
    return f"{' and '.join(without)} cannot be drawn: pip install 'geomclip[viz]', or name other spaces"


def space(name: str, rows: Floats, seed: int) -> tuple[Floats, list[str]]:
    """Rows (n, d) in a space, `sized`, and a line of each warning while it was made.

    Raises
    ------
    InputError
        If it cannot be made of these rows.
    """
    if name == VECTORS:
        return sized(rows), []
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", category=UserWarning, module=r"geomclip\.")
            warnings.filterwarnings("always", message=".*knee.*")
            drawn = MAKERS[name](seed).fit_transform(rows)
    except InputError:
        raise
    except ValueError as problem:
        raise InputError(f"{name}: {one_line(problem)}") from problem
    lines = dict.fromkeys(f"{name}: {one_line(each.message)}" for each in heard)
    return sized(np.asarray(drawn, dtype=np.float64)), list(lines)


def sized(rows: Floats) -> Floats:
    """Rows with mean 0 and a root mean square length of 1: one factor for all axes, so that no shape is changed.

    Examples
    --------
    >>> sized(np.array([[1.0, 5.0], [5.0, 5.0]])).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    centred = rows - rows.mean(axis=0)
    length = float(np.sqrt((centred**2).sum(axis=1).mean()))
    if not length > ROUNDING * np.abs(rows).max():
        raise InputError("all rows are equal: there is nothing between them")
    return centred / length
