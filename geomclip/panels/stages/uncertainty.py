"""Uncertainty: how far each number may be off, and what it is for random rows or random answers."""

from __future__ import annotations

from geomclip.metrics import METRICS, Metric
from geomclip.metrics import contributions as parts
from geomclip.metrics.null import NULL_ROWS, chance, closed_form, simulated
from geomclip.panels import intervals
from geomclip.panels.intervals import Interval
from geomclip.panels.run import Found, Run


def intervals_of(run: Run) -> None:
    """95 % intervals of all values at hand."""
    found = run.found
    if run.resampling is None:
        return
    with run.timed(intervals.STAGE):
        keys = [key for key in parts.FORMULAS if run.has(key)]
        drawn = run.resampling.values(found.columns, keys, found.resampled)
        found.drawn = {key: drawn[key] for key in found.resampled}
    for key, metric in METRICS.items():
        value = found.values.get(key)
        ends = None if value is None else _interval(metric, value, found, drawn)
        if ends is not None:
            found.ci[key] = ends
    found.params |= run.resampling.params
    if found.of_halves and run.halves is not None:
        found.params |= run.halves.params


def _interval(metric: Metric, value: float, found: Found, drawn: intervals.Drawn) -> Interval | None:
    if metric.key in found.of_halves:
        return intervals.half_interval(value, found.of_halves[metric.key], low=metric.low, high=metric.high)
    if metric.key not in drawn:
        return None
    if metric.interval == "basic":
        return intervals.basic_interval(value, drawn[metric.key], low=metric.low, high=metric.high)
    return intervals.percentile_interval(drawn[metric.key])


def nulls_of(run: Run) -> None:
    """What each number is for random rows or random answers."""
    with run.timed("nulls"):
        n, d = run.image.shape
        m = 0 if run.text is None else len(run.text)
        nulls = closed_form(n, m, d) if m else {}
        if run.pairing is not None:
            nulls |= chance(run.pairing)
        elif run.classes is not None:
            nulls |= {"zeroshot_acc1": 1 / m, "zeroshot_acc5": min(5, m) / m}
        if m >= 2:
            rows, seed = (min(n, NULL_ROWS), min(m, NULL_ROWS), d), run.options.seed
            name = f"{'x'.join(map(str, rows))}-{seed}"
            kept = run.nulls.get(name)
            if kept is None:  # a cache on a full disk keeps nothing: what was put is not read back
                kept = run.nulls[name] = simulated(*rows, seed=seed)
            nulls |= kept
            run.found.params["null"] = {"rows": rows, "seed": seed}
        run.found.null = {key: value for key, value in nulls.items() if run.has(key)}
