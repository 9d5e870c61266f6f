"""interpolation: whether what lies between two times in a space is what was seen there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geomclip.evaluations import continuum, spaces
from geomclip.evaluations.asked import Interpolation
from geomclip.evaluations.continuum import Continuum
from geomclip.evaluations.result import panel_of
from geomclip.evaluations.subject import Subject
from geomclip.evaluations.task import Task
from geomclip.evaluations.transport import interpolated, median_distance, mmd_linear, mmd_rbf, wasserstein
from geomclip.machine.errors import InputError
from geomclip.machine.progress import Progress
from geomclip.machine.words import amount, option
from geomclip.metrics.evaluated import KNOWN
from geomclip.pairs import Pairs
from geomclip.panels.intervals import LEVEL, student, variance_of_mean, within_range
from geomclip.panels.record import Panel
from geomclip.training.seeds import derived

Floats = NDArray[np.float64]

MEASURES = ("w1", "w2", "mmd_rbf", "mmd_linear")
CLOUDS = ("interpolated", "before", "after", "truth")
"""What is held against the rows of a time: those interpolated, those before and after, and others of that time."""
FEWEST, MOST = 5, 1000
"""Rows of a cloud; of a part with more rows so many are used."""
NO_DISTANCE = "the clouds that it is a share of the distance of are equal"
SHORTEST = 3
"""Times that there must be for one of them to be left out."""


@dataclass(frozen=True)
class LeftOut:
    """A time that is left out, those beside it, and the rows of each fold: (folds, m) each."""

    time: float
    share: float
    before: NDArray[np.intp]
    after: NDArray[np.intp]
    target: NDArray[np.intp]
    other: NDArray[np.intp]


def run(subject: Subject, asked: Interpolation, progress: Progress) -> Panel:
    """Numbers in the first of the spaces, and in each other one as a group; raises as `evaluate`."""
    data = continuum.read(subject, asked.time_column, asked.tree, progress)
    gaps = left_out(data.time, asked.folds, subject.seed)
    names, panels = asked.names(), {}
    for place, name in enumerate(names):
        progress.stage("spaces", place, len(names), name)
        seeds = [derived(subject.seed, "interpolation", fold) % 2**31 for fold in range(asked.folds)]
        clouds, warnings = _drawn(name, data, seeds)
        found = np.stack([[measured(at, gap, fold) for fold, at in enumerate(clouds)] for gap in gaps])
        panels[name] = _panel(found, data, gaps, subject, warnings)
    progress.stage("spaces", len(names), len(names))
    whole = panels.pop(names[0])
    params = {
        "space": names[0],
        "folds": asked.folds,
        "times": sorted(set(data.time.tolist())),
        "rows_of_a_cloud": {f"{gap.time:g}": gap.target.shape[1] for gap in gaps},
        **({"tree": True} if asked.tree else {"time_column": asked.time_column}),
    }
    if not panels:
        return whole.replace(params={**whole.params, **params})
    params |= {"by": "space", "whole": {"name": names[0], "n_images": whole.n_images}}
    warnings = [*whole.warnings, *(line for one in panels.values() for line in one.warnings)]
    return whole.replace(params={**whole.params, **params}, groups=panels, warnings=warnings)


def left_out(time: Floats, folds: int, seed: int) -> list[LeftOut]:
    """Each time but the first and the last, with as many rows of the times beside it; no row is in two folds.

    Raises
    ------
    InputError
        If there are fewer than three times, or one has too few rows for so many folds: it is named.
    """
    known = np.unique(time)
    if len(known) < SHORTEST:
        raise InputError(f"{amount(len(known), 'time')} ({_listed(known)}): three are needed to leave one out")
    parts = []
    for place, each in enumerate(known):
        own = np.random.default_rng([seed, 3, place]).permutation(np.flatnonzero(time == each))
        size = len(own) // folds
        inner = 0 < place < len(known) - 1
        needed = folds * FEWEST * (2 if inner else 1)
        if len(own) < needed:
            raise InputError(
                f"time {each:g} has {amount(len(own), 'row')}, {needed} are needed with {option('folds', folds)}: "
                f"fewer folds, or times rounded so that more rows share one"
            )
        parts.append(own[: folds * size].reshape(folds, size))
    gaps = []
    for place in range(1, len(known) - 1):
        before, during, after = parts[place - 1 : place + 2]
        m = min(before.shape[1], after.shape[1], during.shape[1] // 2, MOST)
        share = (known[place] - known[place - 1]) / (known[place + 1] - known[place - 1])
        rows = (before[:, :m], after[:, :m], during[:, :m], during[:, m : 2 * m])
        gaps.append(LeftOut(float(known[place]), float(share), *rows))
    return gaps


def _drawn(name: str, data: Continuum, seeds: Sequence[int]) -> tuple[list[Floats], list[str]]:
    """The rows in a space for each fold: drawn anew for each where chance has a part in it."""
    if name not in spaces.CHANCE:
        found, warnings = spaces.space(name, data.rows, seeds[0])
        return [found] * len(seeds), warnings
    drawn = [spaces.space(name, data.rows, seed) for seed in seeds]
    return [found for found, _ in drawn], list(dict.fromkeys(line for _, lines in drawn for line in lines))


def measured(at: Floats, gap: LeftOut, fold: int) -> Floats:
    """(4, 4) distances of the left-out rows of a fold to each of `CLOUDS`, by each of `MEASURES`."""
    before, after, target, other = (at[rows[fold]] for rows in (gap.before, gap.after, gap.target, gap.other))
    width = median_distance(np.concatenate([before, target, after]))
    between = interpolated(before, after, gap.share)
    return np.array(
        [
            [*wasserstein(cloud, target), mmd_rbf(cloud, target, width), mmd_linear(cloud, target)]
            for cloud in (between, before, after, other)
        ]
    )


def _panel(found: Floats, data: Continuum, gaps: Sequence[LeftOut], subject: Subject, warnings: Sequence[str]) -> Panel:
    """Of distances (times, folds, clouds, measures): their means over times and folds, and ratios of these means."""
    between, before, after, floor = np.moveaxis(found, 2, 0)
    later = after.mean(axis=1, keepdims=True) < before.mean(axis=1, keepdims=True)
    nearer = np.where(later, after, before)
    draws: dict[str, Floats] = {}
    notes: dict[str, str] = {}
    by_time: dict[str, dict[str, float]] = {}
    for place, name in enumerate(MEASURES):
        each, idle, best = (some[..., place].mean(axis=0) for some in (between, nearer, floor))
        key = f"interpolation_{name}"
        draws |= {key: each, f"{key}_nearer": idle, f"{key}_floor": best}
        for end, under in (("over_nearer", idle), ("over_floor", best)):
            if under.mean() > 0:
                draws[f"{key}_{end}"] = ratio(each, under)
            else:
                notes[f"{key}_{end}"] = NO_DISTANCE
        ways = zip(gaps, between[..., place].mean(axis=1), nearer[..., place].mean(axis=1), strict=True)
        by_time[name] = {f"{gap.time:g}": float(one / idle) for gap, one, idle in ways if idle > 0}
    values: dict[str, float | None] = {key: float(each.mean()) for key, each in draws.items()}
    values |= dict.fromkeys(notes, None)
    panel = panel_of(
        "interpolation",
        data.embeddings,
        values,
        params={"over_nearer_by_time": by_time},
        notes=notes,
        warnings=list(warnings),
        bootstrap=subject.bootstrap,
        seed=subject.seed,
    )
    drawn = {key: each.tolist() for key, each in draws.items()}
    panel = replace(panel, n_texts=len(gaps), draws=drawn)
    if not subject.bootstrap:
        return panel
    params = {**panel.params, "intervals": {"level": LEVEL, "unit": "fold"}}
    return replace(panel, ci={key: interval(key, each) for key, each in draws.items()}, no_interval={}, params=params)


def ratio(over: Floats, under: Floats) -> Floats:
    """The ratio of two means, as numbers a fold whose mean it is and whose spread tells its error (linearised)."""
    share = over.mean() / under.mean()
    return np.asarray(share + (over - share * under) / under.mean())


def interval(key: str, draws: Floats) -> tuple[float, float]:
    """95 % of Student's t over folds, which share no row; within the range of the number."""
    mean, error = float(draws.mean()), variance_of_mean(draws) ** 0.5
    reach = student(len(draws) - 1) * error
    return within_range(mean - reach, mean + reach, KNOWN[key].low, KNOWN[key].high)


def _listed(times: Floats) -> str:
    return ", ".join(f"{each:g}" for each in times)


def applies(subject: Subject, asked: Interpolation) -> str:
    """Why it cannot be asked, as far as names tell."""
    if reason := spaces.absent(asked.names()):
        return reason
    if asked.tree:
        return ""
    if subject.has_encoder:
        known = list(dict.fromkeys(name for pair in subject.pairs(named=False).pairs for name, _ in pair.columns))
        return "" if asked.time_column in known else continuum.without(asked.time_column, known)
    try:
        continuum.times_of(subject, subject.embedded(), asked.time_column)
    except InputError as problem:
        return str(problem)
    return ""


def reads(subject: Subject, asked: Interpolation) -> Pairs | None:
    """The rows with their times; a generated tree has rows of its own."""
    return None if asked.tree else subject.pairs()


TASK = Task(
    "interpolation",
    "whether what lies between two times, in vectors and in maps of them, is what was seen there",
    Interpolation,
    run,
    applies,
    reads,
)
