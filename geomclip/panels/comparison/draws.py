"""Draws: differences of two panels over resampled queries, and their numbers on the images that they share."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch

from geomclip.embeddings.matching import Matched
from geomclip.metrics import AT_FIXED_SIZE
from geomclip.metrics.contributions import FORMULAS, Columns, value_of
from geomclip.panels.comparison.estimates import ROUNDING, Estimate, by_t
from geomclip.panels.intervals import Interval, Statistic, percentile_interval, resampling_of, weighted_median
from geomclip.panels.options import Measuring
from geomclip.panels.record import Panel

FIXED = frozenset(AT_FIXED_SIZE.values())
"""Keys of numbers at a fixed size."""


def defined(value: float | None) -> float | None:
    """The value, None if it is NaN."""
    return None if value is None or math.isnan(value) else value


def columns_of(panel: Panel, rows: Sequence[int], *, names: Collection[str] | None = None) -> Columns:
    """What each of these images adds, from the items of a panel: all columns, or those of these names."""
    chosen = torch.tensor(rows)
    return {
        name.removeprefix("sum."): torch.tensor(column, dtype=torch.float64)[chosen]
        for name, column in panel.items["image"].items()
        if name.startswith("sum.") and (names is None or name.removeprefix("sum.") in names)
    }


def medians_of(panel: Panel, rows: Sequence[int]) -> dict[str, Statistic]:
    """The statistics that ranks give, as functions from counts of these images (b, s) to values (b,)."""
    image, text = panel.items["image"], panel.items.get("text", {})
    if "rank" not in image or "rank" not in text:
        return {}
    of_images = torch.tensor(image["rank"], dtype=torch.float64)[torch.tensor(rows)]
    queries = (of_images > 0).nonzero()[:, 0]  # an image without text asks nothing
    place = {image["image_id"][row]: place for place, row in enumerate(rows)}
    if len(place) < len(rows):  # ids that occur twice do not say whose a text is
        return {}
    kept = [(rank, place[own]) for rank, own in zip(text["rank"], text["image_id"], strict=True) if own in place]
    of_texts = torch.tensor([rank for rank, _ in kept], dtype=torch.float64)
    owner = torch.tensor([own for _, own in kept], dtype=torch.int64)
    medians = {
        "text_retrieval_median_rank": weighted_median(of_images[queries], queries),
        "image_retrieval_median_rank": weighted_median(of_texts, owner),
    }
    return {key: median for key, median in medians.items() if defined(panel.values.get(key)) is not None}


def of_images(panel: Panel, rows: Sequence[int]) -> Panel:
    """The panel with its numbers on some of its images, as far as sums and ranks give them; None for the others.

    Numbers at a fixed size stay: they are of draws from all images of the side.
    """
    columns, medians = columns_of(panel, rows), medians_of(panel, rows)
    once = torch.ones(1, len(rows), dtype=torch.float64)
    values: dict[str, float | None] = {}
    for key, whole in panel.values.items():
        values[key] = None
        if defined(whole) is not None and key in medians:
            values[key] = float(medians[key](once))
        elif defined(whole) is not None and key in FORMULAS:
            values[key] = value_of(key, columns)
        elif key in FIXED:
            values[key] = whole
    return panel.replace(values=values, ci={})


def at_fixed_size(panel: Panel) -> Panel:
    """The panel with its numbers at a fixed size alone: what compares where nothing says which images are shared."""
    return panel.replace(values={key: value if key in FIXED else None for key, value in panel.values.items()}, ci={})


def estimates(before: Panel, after: Panel, images: Matched, how: Measuring) -> dict[str, Estimate]:
    """Of each key that sums or ranks give: the estimate of its difference, with the gallery held fixed.

    The same images are drawn for both sides. The interval are the percentiles of the differences; p is that of t with
    their standard deviation for its error.
    """
    sides = []
    for panel, rows in ((before, images.before), (after, images.after)):
        columns = columns_of(panel, rows)
        keys = [key for key in FORMULAS if defined(panel.values.get(key)) is not None]
        resampling = resampling_of(len(rows), how) if columns else None
        sides.append({} if resampling is None else resampling.values(columns, keys, medians_of(panel, rows)))
    found = {}
    for key in filter(sides[1].__contains__, sides[0]):
        values = [defined(panel.values.get(key)) for panel in (before, after)]
        drawn = sides[1][key] - sides[0][key]
        ci = percentile_interval(drawn)
        if values[0] is None or values[1] is None or ci is None:
            continue
        error = float(drawn[torch.isfinite(drawn)].std())
        if error <= ROUNDING * max(abs(values[0]), abs(values[1])):
            error = 0.0
        found[key] = by_t(values[1] - values[0], error, len(images) - 1, key, ci=ci)
    return found


def unpaired_interval(before: float, ci_before: Interval, after: float, ci_after: Interval) -> Interval:
    """Interval of after - before from the two of their own, as if the samples were independent.

    The distance of each end is the root of the summed squares of the distances of the ends it comes from.
    Panels of the same images are not independent: their difference is surer than this says.

    References
    ----------
    Zou and Donner (2008), "Construction of confidence limits about effect measures: a general approach",
    Statistics in Medicine 27(10).

    Examples
    --------
    >>> low, high = unpaired_interval(1.0, (0.7, 1.3), 2.0, (1.6, 2.4))
    >>> round(low, 9), round(high, 9)
    (0.5, 1.5)
    """
    down = math.hypot(max(0.0, after - ci_after[0]), max(0.0, ci_before[1] - before))
    up = math.hypot(max(0.0, ci_after[1] - after), max(0.0, before - ci_before[0]))
    return after - before - down, after - before + up
