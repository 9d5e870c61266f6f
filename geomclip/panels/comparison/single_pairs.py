"""Single pairs: the variance of a difference of recalls without what it would count twice.

What a candidate does to one query is the chance of that pair. It is in the influence of the image that asks and in that
of the candidate, so the sum of squared influences counts it twice (Efron and Stein 1981, "The jackknife estimate of
variance", Annals of Statistics 9). A panel keeps these pairs of its recalls one by one (items of kind "pair"). What the
two sides have of a pair in common cancels in a difference; what is left is taken off once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from geomclip.embeddings.matching import Matched
from geomclip.metrics.contributions import COLUMNS, FORMULAS, Columns, Sums
from geomclip.metrics.gallery import HITS
from geomclip.panels.comparison.draws import columns_of
from geomclip.panels.intervals import deleted_one
from geomclip.panels.items import EFFECT
from geomclip.panels.record import Panel

LEAST_PART = 0.7
"""Of the variance of the queries alone, what is left at least: candidates may take off from it, and of few images it
comes out far too small by chance. By simulation (`analyses/coverage.py`): without it false verdicts at 60 images are
twice as many as is said, and with all of it true differences are missed."""

Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Moved:
    """What moves a recall on one side: each image (n,) by asking and as a candidate, and each pair (p,)."""

    asking: Numbers
    candidates: Numbers
    pair: Rows  # image that asks x n + candidate
    effect: Numbers


def variances(before: Panel, after: Panel, images: Matched, units: Rows) -> dict[str, float]:
    """Of each recall whose pairs both panels keep: the variance of its difference after - before.

    With d_ij the difference of what candidate j does to the queries of image i, Σ over units (Σ of the influences
    within)² − Σ over pairs of units (Σ d_ij within)²; at least `LEAST_PART` of that of the queries alone. The
    influences are those with all that candidates do, not settled as in a panel. What copies of one image do to each
    other is left out: they come and go together.
    """
    sides = (before, images.before), (after, images.after)
    columns = [_columns(panel, rows) for panel, rows in sides]
    found = {}
    for key, names in COLUMNS.items():
        if not HITS.isdisjoint(names) and all(_knows(names[0], panel) for panel in (before, after)):
            one, other = (_moved(key, *side, each, units) for side, each in zip(sides, columns, strict=True))
            found[key] = _variance(one, other, units)
    return found


def _knows(name: str, panel: Panel) -> bool:
    return f"{EFFECT}{name}" in panel.items.get("pair", {}) and f"sum.{name}" in panel.items["image"]


def _columns(panel: Panel, rows: list[int]) -> Columns:
    return columns_of(panel, rows, names=HITS | {"queries", "texts"})


def _moved(key: str, panel: Panel, rows: list[int], columns: Columns, units: Rows) -> _Moved:
    (name,) = COLUMNS[key]
    n = len(rows)
    place = np.full(panel.n_images, -1)  # of each row of the panel among the images
    place[rows] = np.arange(n)
    pair = panel.items["pair"]
    asking, candidate = (place[np.asarray(pair[which], dtype=np.int64)] for which in ("asking", "candidate"))
    effect = np.asarray(pair[f"{EFFECT}{name}"], dtype=np.float64)
    kept = (effect != 0) & (asking >= 0) & (candidate >= 0) & (units[asking] != units[candidate])
    asking, candidate, effect = asking[kept], candidate[kept], effect[kept]
    total = torch.from_numpy(np.bincount(candidate, effect, n))
    both = deleted_one(columns, {name: total}, [key])[key]
    alone = deleted_one(columns, {}, [key])[key]
    left = {each: column.sum() - column for each, column in columns.items()}
    # what a hit counts in the number of the others
    worth = FORMULAS[key](Sums(left, {**left, name: torch.ones(n, dtype=torch.float64)}))
    worth = torch.where(worth.isfinite(), worth, 0.0) * ((n - 1) / n) ** 0.5
    return _Moved(alone.numpy(), (both - alone).numpy(), asking * n + candidate, effect * worth.numpy()[candidate])


def _variance(before: _Moved, after: _Moved, units: Rows) -> float:
    n, size = len(units), int(units.max()) + 1
    asking = np.bincount(units, after.asking - before.asking, size)
    both = asking + np.bincount(units, after.candidates - before.candidates, size)
    pair = np.concatenate([before.pair, after.pair])
    of_units, place = np.unique(units[pair // n] * size + units[pair % n], return_inverse=True)
    single = np.bincount(place, np.concatenate([-before.effect, after.effect]), len(of_units))
    chance = float(np.square(single).sum())
    return max(float(np.square(both).sum()) - chance, LEAST_PART * float(np.square(asking).sum()))
