"""Continuum: rows with the time at which each was seen, read from a file or generated as a tree that is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from geomclip.embeddings.files.held import READERS, held
from geomclip.embeddings.record import EmbeddingSet
from geomclip.evaluations.subject import Subject
from geomclip.machine.errors import InputError
from geomclip.machine.progress import Progress
from geomclip.machine.words import amount, are, nearest, option

Floats = NDArray[np.float64]

TIMES, ROWS = 5, 400
"""Times of a generated tree, and rows of each."""
BRANCHES, FORK = 3, 1.5
"""Fates that a cell can have, and the moment from which they differ."""
GENES = 30
"""Dimensions: a third of them of the trunk, the others of one fate each."""
APART = 0.3
"""Spread of the moments of cells that are seen at one time: they do not develop in step."""
NOISE = 0.25
"""Standard deviation of what is added to each dimension."""


@dataclass(frozen=True, eq=False)
class Continuum:
    """Rows (n, d) as they are, not at length 1, the time of each (n,), and the set that a result is of."""

    rows: Floats
    time: Floats
    embeddings: EmbeddingSet


@dataclass(frozen=True, eq=False)
class Tree:
    """A generated tree of cells: rows (n, d) with and without noise, and what is known of each."""

    rows: Floats
    clean: Floats
    time: Floats
    moment: Floats
    branch: NDArray[np.int64]


def generated(seed: int, rows: int = ROWS, noise: float = NOISE, times: int = TIMES) -> Tree:
    """Cells that differentiate into three fates: `rows` of each time, whose own moments spread around it.

    A cell of moment u and fate b has, of the trunk, genes that are switched on and off again one after the other, and
    of its fate, from the fork on, genes that are switched on and stay. So the way of a cell is bent, and a straight
    line between two times leaves it.
    """
    rng = np.random.default_rng([seed, 23])
    time = np.repeat(np.arange(times, dtype=np.float64), rows)
    moment = np.clip(time + APART * rng.standard_normal(len(time)), 0, times - 1)
    branch = rng.integers(BRANCHES, size=len(time))
    clean = developed(moment, branch, times)
    return Tree(clean + noise * rng.standard_normal(clean.shape), clean, time, moment, branch)


def developed(moment: Floats, branch: NDArray[np.int64], times: int = TIMES) -> Floats:
    """Where cells of these moments and fates are, without noise: (n, 30)."""
    trunk = GENES // 3
    peak = np.linspace(0, times - 1, trunk)
    shared = 2 * np.exp(-((moment[:, None] - peak) ** 2) / (2 * 0.5**2))
    own = GENES - trunk
    fate = np.arange(own) % BRANCHES
    since = np.linspace(FORK, times - 1, own)
    after = np.maximum(moment[:, None] - FORK, 0)
    turned = 2 * np.tanh(after) / (1 + np.exp(-(moment[:, None] - since) / 0.2))
    return np.hstack([shared, np.where(branch[:, None] == fate, turned, 0)])


def read(subject: Subject, column: str, tree: bool, progress: Progress) -> Continuum:
    """The rows of the subject with their times, or of a generated tree.

    Rows of vectors are taken as they are, and of an encoder at length 1.

    Raises
    ------
    InputError
        If there is no such column (the nearest are named), or what it holds are no numbers (the row is named).
    """
    if tree:
        found = generated(subject.seed)
        made = {"model": "generated", "dataset": "tree of cells", "split": ""}
        known = {"time": tuple(f"{each:g}" for each in found.time), "branch": tuple(map(str, found.branch))}
        cells = EmbeddingSet(torch.from_numpy(found.rows), columns=known, made_from=made)
        return Continuum(found.rows, found.time, cells)
    embeddings = subject.embedded(progress)
    rows = embeddings.image.double()
    if not subject.has_encoder:
        norms = embeddings.image_norms
        rows = rows if norms is None else rows * torch.as_tensor(norms).double()[:, None]
    return Continuum(rows.numpy(), times_of(subject, embeddings, column), embeddings)


def times_of(subject: Subject, embeddings: EmbeddingSet, column: str) -> Floats:
    """The time of each row (n,); raises as `read`."""
    known = embeddings.attributes()
    values: Iterable[object] | None = known.get(column)
    if values is None and isinstance(subject.embeddings, str | Path):
        file = Path(subject.embeddings).expanduser()
        if file.suffix.lower() in READERS and file.is_file():
            numbers = {name: entry for name, entry in held(file).items() if len(entry.shape) == 1 and entry.kind == "f"}
            known = {**known, **dict.fromkeys(numbers, ())}
            values = None if column not in numbers else list(numbers[column].read())
    if values is None:
        raise InputError(without(column, list(known)))
    return _numbers(list(values), column, len(embeddings.image))


def without(column: str, known: Sequence[str]) -> str:
    """That there is no such column, in a line, and which there are."""
    have = f"; there {are(len(known))} {', '.join(known[:10])}" if known else ""
    named = f"{option('time_column', column)}: no such column{nearest(column, list(known))}{have}"
    return f"{named}; {option('tree', True)} generates rows with times"


def _numbers(values: Sequence[object], column: str, count: int) -> Floats:
    if len(values) != count:
        own = amount(len(values), "entry", "entries")
        raise InputError(f"{option('time_column', column)}: {own} for {amount(count, 'row')}")
    time = np.empty(count)
    for row, value in enumerate(values):
        try:
            time[row] = float(str(value))
        except ValueError:
            time[row] = np.nan
        if not np.isfinite(time[row]):
            raise InputError(f"{option('time_column', column)}: row {row} has {str(value)!r}, a number is meant")
    return time
