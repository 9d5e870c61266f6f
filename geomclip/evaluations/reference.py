"""Reference: what other models lead to expect of accuracy under shift, by a line on logit axes."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geomclip.machine.errors import InputError
from geomclip.machine.words import amount, option
from geomclip.pairs.parsing import read_text, shorten
from geomclip.pairs.source import expanded

IN = "in"
"""The column of accuracy on the data themselves."""
LEAST = 2
"""Models that a line needs."""


@dataclass(frozen=True)
class Line:
    """logit(accuracy on a set) = intercept + slope · logit(accuracy on the data)."""

    intercept: float
    slope: float
    models: int

    def expected(self, accuracy: float) -> float:
        """Accuracy on the set of a model with this accuracy on the data."""
        return 1 / (1 + math.exp(-(self.intercept + self.slope * logit(accuracy))))

    def steepness(self, accuracy: float) -> float:
        """How fast that rises with the accuracy on the data."""
        there = self.expected(accuracy)
        return self.slope * there * (1 - there) / (accuracy * (1 - accuracy))


def logit(share: float) -> float:
    """The logarithm of the odds of a share between 0 and 1."""
    return math.log(share / (1 - share))


def lines_of(file: str | Path, names: Sequence[str]) -> dict[str, Line]:
    """The line of each of these sets that a file of other models has.

    Parameters
    ----------
    file : path
        A .csv with a row a model: a column `in` of accuracies on the data, and one of the name of each set; shares
        between 0 and 1. A cell may be empty; other columns are not looked at.
    names : sequence of str
        Of the sets.

    Raises
    ------
    InputError
        If a column is not there, a cell is no share, or fewer than two models tell a line.

    References
    ----------
    Taori et al. (2020), "Measuring robustness to natural distribution shifts in image classification", NeurIPS.
    """
    path = expanded(file)
    rows = csv.DictReader(io.StringIO(read_text(path)), skipinitialspace=True)
    columns = list(rows.fieldnames or ())
    sets = [name for name in names if name in columns]
    if IN not in columns or not sets:
        having = f"{path} has the columns {', '.join(columns[:8]) or 'none'}"
        raise InputError(f"{option('reference')}: {having}; needed: {IN}, and one of {', '.join(names[:8])}")
    read = [(number, row) for number, row in enumerate(rows, start=2)]
    return {name: _line(path, read, name) for name in sets}


def _line(path: Path, rows: Sequence[tuple[int, dict[str, str]]], name: str) -> Line:
    points = [
        [logit(_share(path, number, column, row[column])) for column in (IN, name)]
        for number, row in rows
        if row.get(IN) and row.get(name)
    ]
    if len({x for x, _ in points}) < LEAST:
        have = f"{amount(len(points), 'model')} {'has' if len(points) == 1 else 'have'} {IN} and {name}"
        raise InputError(f"{path}: {have}; a line needs {LEAST} that differ")
    x, y = np.array(points).T
    slope, intercept = np.polyfit(x, y, 1)
    return Line(float(intercept), float(slope), len(points))


def _share(path: Path, number: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise InputError(f"{path}: line {number}, column {column!r}: {shorten(cell)} is no share between 0 and 1")
    return value
