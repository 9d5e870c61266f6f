"""Influences: paired differences over a population of images, each both a query and a part of the gallery.

A panel keeps of each number how far it moves with each image (`influence.KEY`): what is left of the number without
an image differs by that, as a query it no longer asks and as a candidate that no longer stands in the way. Of two
panels of the same images the influences on a difference are the differences of the influences, so what makes an
image easy or hard on both sides cancels. Of recalls the panels keep single pairs too, and the variance is that without
their chance (`geomclip.panels.comparison.single_pairs`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geomclip.embeddings.matching import Matched
from geomclip.panels.comparison import single_pairs
from geomclip.panels.comparison.draws import defined
from geomclip.panels.comparison.estimates import ROUNDING, Estimate, by_t
from geomclip.panels.intervals import variance_of_mean
from geomclip.panels.record import Panel

PREFIX = "influence."


def known(panel: Panel) -> bool:
    """Whether a panel keeps influences; those of an older version, or without intervals, do not."""
    return any(name.startswith(PREFIX) for name in panel.items.get("image", {}))


def joint_units(before: Panel, after: Panel, images: Matched) -> NDArray[np.int64]:
    """The unit of each shared image: images that are copies of each other on either side, or by way of others.

    Returns
    -------
    array of shape (n,)
        Numbered from 0.
    """
    sides = _units_of_sides(before, after, images)
    joined = np.arange(len(images))
    while True:  # each image takes the smallest number of its unit, on one side and the other, until none changes
        smallest = joined
        for unit in sides:
            least = np.full(len(joined), len(joined))
            np.minimum.at(least, unit, smallest)
            smallest = least[unit]
        if (smallest == joined).all():
            return np.unique(joined, return_inverse=True)[1].astype(np.int64)
        joined = smallest


def told_apart(before: Panel, after: Panel, images: Matched) -> int:
    """How many of the shared images a side tells apart: copies of the data's are equal on both sides.

    Rows that are equal on one side alone are what that encoder makes of different images, a collapse.
    """
    return len(np.unique(np.stack(_units_of_sides(before, after, images)), axis=1).T) if len(images) else 0


def _units_of_sides(before: Panel, after: Panel, images: Matched) -> list[NDArray[np.int64]]:
    """The unit of each shared image on each side."""
    return [
        np.unique(np.asarray(panel.items["image"].get("unit", range(panel.n_images)))[rows], return_inverse=True)[1]
        for panel, rows in ((before, images.before), (after, images.after))
    ]


def estimates(before: Panel, after: Panel, images: Matched, units: NDArray[np.int64]) -> dict[str, Estimate]:
    """Of each key of which both panels keep influences: the estimate of its difference after - before.

    The squared standard error is the sum over units of the squared sum of the influences within each, and of recalls
    whose pairs are known less what that counts twice.
    """
    found = {}
    variances = single_pairs.variances(before, after, images, units)
    size = int(units.max()) + 1
    for key in before.values:
        values = [defined(panel.values.get(key)) for panel in (before, after)]
        columns = [panel.items["image"].get(PREFIX + key) for panel in (before, after)]
        if values[0] is None or values[1] is None or columns[0] is None or columns[1] is None:
            continue
        one = np.asarray(columns[0], dtype=np.float64)[images.before]
        other = np.asarray(columns[1], dtype=np.float64)[images.after]
        if not (np.isfinite(one).all() and np.isfinite(other).all()):
            continue
        variance = variances.get(key)
        if variance is None:
            variance = float(np.square(np.bincount(units, other - one, size)).sum())
        variance += _variance_of_draws(before, after, key)
        error = variance**0.5
        if error <= ROUNDING * float(np.hypot(np.linalg.norm(one), np.linalg.norm(other))):
            error = 0.0
        found[key] = by_t(values[1] - values[0], error, size - 1, key)
    return found


def _variance_of_draws(before: Panel, after: Panel, key: str) -> float:
    """What the draws (seeds) of an evaluation add to the variance of a difference; 0 where they are not the same."""
    one, other = (panel.draws.get(key) or [] for panel in (before, after))
    if len(one) != len(other) or before.seed != after.seed:
        return 0.0
    return variance_of_mean(np.asarray(other, dtype=np.float64) - np.asarray(one, dtype=np.float64))
