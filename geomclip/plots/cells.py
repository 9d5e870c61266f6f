"""What heat maps and time lines are made of, whoever draws them: edges, ticks, outlines, steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]
Ends = Sequence[str] | ArrayLike
"""Of the cells along an axis: their names, or one more number than there are cells, rising."""


@dataclass(frozen=True)
class Axis:
    """Where the cells along an axis end, and, if they have names, what they are called."""

    edges: Numbers  # (cells + 1,)
    names: tuple[str, ...] = ()

    @property
    def middles(self) -> Numbers:
        """The middle of each cell: (cells,)."""
        return (self.edges[:-1] + self.edges[1:]) / 2

    @classmethod
    def of(cls, ends: Ends, count: int, what: str) -> Axis:
        """The axis of so many cells; ValueError if the ends are others."""
        if all(isinstance(each, str) for each in np.atleast_1d(np.asarray(ends, dtype=object))):
            names = tuple(str(each) for each in ends)  # type: ignore[union-attr]
            if len(names) != count:
                raise ValueError(f"{what}: {len(names)} names for {count} cells")
            return cls(np.arange(count + 1, dtype=np.float64), names)
        edges = np.asarray(ends, dtype=np.float64)
        if edges.shape != (count + 1,):
            raise ValueError(f"{what}: {edges.size} ends for {count} cells, which need {count + 1}")
        if not (np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
            raise ValueError(f"{what}: the ends must rise")
        return cls(edges)


def grid(values: ArrayLike, rows: Ends, columns: Ends) -> tuple[Numbers, Axis, Axis]:
    """The cells of a heat map (what is not finite is NaN) and its axes; ValueError if there is nothing to draw."""
    cells = np.array(values, dtype=np.float64)
    if cells.ndim != 2 or not cells.size:
        raise ValueError(f"values must be (rows, columns), got {cells.shape}")
    cells[~np.isfinite(cells)] = np.nan
    if np.isnan(cells).all():
        raise ValueError("there is no value to draw")
    return cells, Axis.of(rows, cells.shape[0], "rows"), Axis.of(columns, cells.shape[1], "columns")


def limits(cells: Numbers, about: float | None) -> tuple[float, float]:
    """The values of the first and the last colour; with `about` as far from it below as above."""
    low, high = float(np.nanmin(cells)), float(np.nanmax(cells))
    if about is not None:
        far = max(abs(low - about), abs(high - about)) or 1.0
        return about - far, about + far
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def outline(cell: tuple[int, int], rows: Axis, columns: Axis) -> tuple[Numbers, Numbers]:
    """x and y around a cell (row, column); ValueError if the map has it not."""
    row, column = cell
    if not (0 <= row < len(rows.edges) - 1 and 0 <= column < len(columns.edges) - 1):
        raise ValueError(f"the map has no cell {cell}")
    left, right = columns.edges[column : column + 2]
    low, high = rows.edges[row : row + 2]
    return np.array([left, right, right, left, left]), np.array([low, low, high, high, low])


def steps(edges: ArrayLike, values: Mapping[str, ArrayLike]) -> tuple[Numbers, dict[str, Numbers]]:
    """Ends of intervals of time, and a number for each in each line; what is not finite is NaN, which leaves a gap."""
    if not values:
        raise ValueError("there is no line to draw")
    lines = {}
    for name, each in values.items():
        line = np.array(each, dtype=np.float64)
        if line.ndim != 1 or not line.size:
            raise ValueError(f"{name}: values must be (T,), got {line.shape}")
        line[~np.isfinite(line)] = np.nan
        lines[name] = line
        axis = Axis.of(edges, len(line), name)
    return axis.edges, lines


def span(name: str, ends: tuple[float, float]) -> tuple[float, float]:
    """A stretch of time; ValueError if it ends before it starts."""
    start, end = map(float, ends)
    if not start < end:
        raise ValueError(f"{name}: {start:g} to {end:g} is no stretch of time")
    return start, end
