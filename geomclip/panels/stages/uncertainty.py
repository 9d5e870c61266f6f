"""Uncertainty: how far each number may be off."""

from __future__ import annotations

import math

from torch import Tensor

from geomclip.metrics import METRICS, Metric
from geomclip.metrics import contributions as parts
from geomclip.metrics.calibration_scores import debiased_square, debiased_square_without
from geomclip.metrics.squared_length import squared_length
from geomclip.panels import intervals
from geomclip.panels.intervals import LEAST, Interval, Units
from geomclip.panels.run import Found, Run


def intervals_of(run: Run) -> None:
    """95 % intervals of the values at hand, and why others have none."""
    found, units = run.found, run.units
    if not run.intervals:  # what some stages find on their way
        found.influence.clear()
    if not run.options.bootstrap:
        return
    found.params |= {"intervals": {"level": intervals.LEVEL, "unit": "image", "bootstrap": run.options.bootstrap}}
    with run.timed(intervals.STAGE):
        if run.intervals:
            keys = [key for key in parts.FORMULAS if run.has(key) and METRICS[key].interval]
            found.influence |= intervals.deleted_one(found.columns, found.gallery, keys)
            calibration_squares(run)
        for key, metric in METRICS.items():
            value = found.values.get(key)
            if value is None:
                continue
            ends = None if metric.interval == "" else _interval(run, metric, value, units)
            if ends is not None:
                found.ci[key] = ends
            else:
                found.ci.pop(key, None)
                found.no_interval[key] = _reason(metric, units)
        found.influence = {key: each for key, each in found.influence.items() if run.has(key)}


def calibration_squares(run: Run) -> None:
    """The squared lengths of the bins of calibration, whose roots are the debiased errors."""
    found, units = run.found, run.units
    for prefix in ("text_retrieval", "image_retrieval", "zeroshot"):
        key = f"{prefix}_ece_debiased"
        if not run.has(key):
            continue
        over = parts.binned_columns(f"{prefix}_over", found.columns)
        count = parts.binned_columns(f"{prefix}_bin", found.columns)
        moved = intervals.binned_over(prefix, found.columns, found.gallery)
        queries = count.sum(0).clamp(min=1)
        weight = (count.sum() * queries).rsqrt()
        # the part of chance is that of the sums in the bins; what each image moves is found by leaving it out
        influence = intervals.as_influence(debiased_square_without(over, count))
        influence = influence + 2 * ((moved - over) * over.sum(0) * weight.square()).sum(1)
        influence = influence * intervals.MOVES_SQUARED**0.5
        about_mean = (moved - over.sum(0) / queries * count) * weight
        length = squared_length(over.sum(0) * weight, about_mean - about_mean.mean(0), found.units)
        found.squared[key] = length.measured(
            float(debiased_square(over, count)), influence, units.standard_error(influence)
        )
        root = found.values[key] or 0.0
        if root > 0:
            found.influence[key] = influence / (2 * root)


def _interval(run: Run, metric: Metric, value: float, units: Units) -> Interval | None:
    """The ends of an interval of the kind that the metric names; None where there is not enough to make it of."""
    found, key = run.found, metric.key
    if units.count < max(LEAST, metric.least):
        return None
    if metric.interval == "root":
        return _root(found, key, units, metric)
    if metric.interval == "order":
        ends = found.ci.get(key)
        return None if ends is None else intervals.within_range(*ends, metric.low, metric.high)
    influence = found.influence.get(key)
    if influence is None:
        return None
    if not math.isfinite(units.standard_error(influence)):
        return None
    if metric.interval == "error":
        prefix = key.removesuffix("_ece")
        over = intervals.binned_over(prefix, found.columns, found.gallery)
        queries = parts.binned_columns(f"{prefix}_bin", found.columns).sum(1)
        how = run.options
        ends = intervals.error_interval(value, over, queries, units, bootstrap=how.bootstrap, seed=how.seed)
    else:
        ends = ends_of(metric, value, influence, _asking(run), units)
    return intervals.within_range(*ends, metric.low, metric.high)


def ends_of(metric: Metric, value: float, influence: Tensor, asking: int, units: Units) -> Interval:
    """The ends of an interval that the influences (n,) alone give: of a share of so many, a positive number, any."""
    if metric.interval == "positive":
        return intervals.positive_interval(value, influence, units, bound=metric.low)
    error = units.standard_error(influence)
    if metric.interval == "share":
        return intervals.share_interval(min(max(value, 0.0), 1.0), error, asking, units)
    return intervals.plain_interval(value, error, units)


def _root(found: Found, key: str, units: Units, metric: Metric) -> Interval | None:
    squared = found.squared.get(key)
    if squared is None:
        return None
    if key == "modality_gap_squared":
        ends = intervals.squared_interval(squared, units)
    else:
        ends = intervals.root_interval(squared, units, above=squared.bias if key == "modality_gap" else 0.0)
    return intervals.within_range(*ends, metric.low, metric.high)


def _asking(run: Run) -> int:
    """Images whose answers a share is one of."""
    if run.pairing is None:
        return run.n
    return int((run.pairing.texts_of_image > 0).sum())


def _reason(metric: Metric, units: Units) -> str:
    if metric.interval == "":
        return metric.why
    least = max(LEAST, metric.least)
    if units.count < least:
        what = "images" if units.count == len(units.of_image) else "distinct"
        return f"under {least} {what}"
    return "too little varies"
