"""Views: samples that are seen in three ways, with a number to be told of each; generated with known truth, or read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomclip.machine.array_files import npz_headers, read_npz
from geomclip.machine.errors import InputError
from geomclip.machine.words import amount, are, one_line

VIEWS = 3
LABEL, SPLIT = "label", "split"
WIDTHS = {"one": 24, "two": 16, "three": 12}
"""Dimensions of the generated views."""
TRAIN, TEST = 1200, 800
"""Samples that are generated."""
OWN = 0.25
"""Variance of the truth that each view alone knows; as much again is in all three."""
NUISANCES = 4
"""Numbers in a view that say nothing of the truth."""
SHARED_NOISE, OWN_NOISE, NOISE = 0.5, 0.15, 0.2
"""Standard deviations of what is added to what is shared, to what is the view's own, and to each of its numbers."""
STEP = 1 / 3
"""Labels are rounded to thirds, as means of three people's ratings are, so that some are exactly neutral."""
BOUND = 3.0
FEWEST = 2


@dataclass(frozen=True, eq=False)
class Part:
    """Samples: of each view a row (n, d), and the label (n,)."""

    views: Mapping[str, Tensor]
    label: Tensor

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True, eq=False)
class Views:
    """What is learned from, what is tested on, and what it is called."""

    train: Part
    test: Part
    name: str
    names: tuple[str, ...] = field(default=())


def subsets(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The seven ways in which some of three views are there, fewest first.

    Examples
    --------
    >>> list(subsets(("a", "b", "c")))
    ['a', 'b', 'c', 'a+b', 'a+c', 'b+c', 'a+b+c']
    """
    return {"+".join(some): some for count in range(1, VIEWS + 1) for some in combinations(names, count)}


def generated(seed: int, train: int = TRAIN, test: int = TEST) -> Views:
    """Three views of which each knows a quarter of the truth alone, and all one more quarter, with noise.

    The truth is (z + p₁ + p₂ + p₃)/2 of independent standard normals. View k sees z and p_k, each with noise, and
    nuisances, mixed, half of its numbers bent by a sine. So whatever is learned of one view explains less than ½ of
    the variance of the truth, of two less than ¾, and of three up to 0.96.
    """
    rng = np.random.default_rng([seed, 17])
    count = train + test
    shared, own = rng.normal(size=count), rng.normal(size=(VIEWS, count))
    truth = OWN**0.5 * (shared + own.sum(axis=0))
    label = np.clip(np.round(truth / STEP) * STEP, -BOUND, BOUND)
    views = {}
    for (name, width), mine in zip(WIDTHS.items(), own, strict=True):
        causes = np.column_stack(
            [
                shared + SHARED_NOISE * rng.normal(size=count),
                mine + OWN_NOISE * rng.normal(size=count),
                rng.normal(size=(count, NUISANCES)),
            ]
        )
        mixed = causes @ rng.normal(size=(causes.shape[1], width)) / causes.shape[1] ** 0.5
        mixed[:, ::2] = np.sin(2 * mixed[:, ::2])
        views[name] = mixed + NOISE * rng.normal(size=mixed.shape)
    return _parted(views, label, np.arange(count) < train, np.arange(count) >= train, "generated views")


def read_views(path: str | Path) -> Views:
    """Views of a .npz: three arrays (n, d) of any names, `label` (n,), and `split` (n,) of "train" and "test".

    Raises
    ------
    InputError
        If an array is absent, of another length, not finite, or a view is all zeros: file and array are named.
    """
    path = Path(path).expanduser()
    headers = npz_headers(path)
    names = [name for name in headers if name not in (LABEL, SPLIT)]
    if absent := [name for name in (LABEL, SPLIT) if name not in headers]:
        raise InputError(f"{path} has no {' and no '.join(absent)}: three views, label and split are meant")
    if len(names) != VIEWS:
        raise InputError(f"{path}: three views are meant beside label and split, it has {', '.join(names) or 'none'}")
    arrays = read_npz(path, [*names, LABEL, SPLIT], needed="three views, label and split")
    label = arrays[LABEL]
    if label.ndim != 1 or label.dtype.kind not in "fiu" or not np.isfinite(label).all():
        raise InputError(f"{path}: label is to be a finite number for each sample")
    for name in names:
        _check_view(path, name, arrays[name], len(label))
    split = arrays[SPLIT]
    if split.shape != label.shape or split.dtype.kind not in "US":
        raise InputError(f"{path}: split is to be a text (train, test) for each sample")
    parts = [split == (kind if split.dtype.kind == "U" else kind.encode()) for kind in ("train", "test")]
    for kind, rows in zip(("train", "test"), parts, strict=True):
        if (count := int(rows.sum())) < FEWEST:
            own = f"{amount(count, 'sample')} {are(count)} of split {kind}"
            raise InputError(f"{path}: {own}, at least {FEWEST} are needed")
        if kind == "train" and len(np.unique(label[rows])) < FEWEST:
            raise InputError(f"{path}: every label of split train is {label[rows][0]:g}: nothing can be learned")
        if not label[rows].any():
            raise InputError(f"{path}: every label of split {kind} is 0: none has a sign")
    views = {name: arrays[name].astype(np.float64) for name in names}
    train, test = parts
    return _parted(views, label.astype(np.float64), train, test, one_line(path.name))


def _check_view(path: Path, name: str, rows: NDArray[np.generic], count: int) -> None:
    if rows.ndim != 2 or len(rows) != count or rows.dtype.kind not in "fiu":
        meant = f"{amount(count, 'row')} of numbers {are(count)} meant, as there are labels"
        raise InputError(f"{path}: view {name} is {rows.shape}, {meant}")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise InputError(f"{path}: row {int((~finite).argmax())} of view {name} holds a number that is not finite")
    if not rows.any():
        raise InputError(f"{path}: view {name} is all zeros")


def _parted(
    views: Mapping[str, NDArray[np.float64]],
    label: NDArray[np.float64],
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
    name: str,
) -> Views:
    """Both parts, each column with mean 0 and spread 1 in the training part; one that is constant there is 0."""
    scaled = {}
    for key, rows in views.items():
        mean, spread = rows[train].mean(axis=0), rows[train].std(axis=0)
        scaled[key] = np.where(spread > 0, (rows - mean) / np.where(spread > 0, spread, 1), 0)

    def part(chosen: NDArray[np.bool_]) -> Part:
        rows = {key: torch.from_numpy(each[chosen]).float() for key, each in scaled.items()}
        return Part(rows, torch.from_numpy(label[chosen]))

    return Views(part(train), part(test), name, tuple(views))
