"""Blocks: numbers of a set too large for whole sweeps, from some of its images, each asked against the whole gallery.

The images in their order are cut into strata of one size, and of each stratum one block of consecutive images is drawn.
Their queries are answered exactly, by all images and all texts; only the mean over queries is estimated. What needs no
sweep is measured of all rows, as ever.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomclip.machine.words import option
from geomclip.metrics import AT_FIXED_SIZE, FIXED_SIZE, METRICS, Metric
from geomclip.metrics import contributions as parts
from geomclip.metrics.bins import Z95
from geomclip.metrics.calibration import Posterior
from geomclip.metrics.calibration_scores import brier_of
from geomclip.metrics.contributions import Sums
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.sweep import Asking
from geomclip.metrics.uniformity import GaussianSums
from geomclip.panels import intervals
from geomclip.panels.intervals import Interval, Units
from geomclip.panels.run import Run
from geomclip.panels.stages import sweeps, uncertainty

BLOCK = 250
"""Images of a block; fewer where a stratum has no more."""

STAGE = "blocks"

BINNED = "its bins hold fewer of the sampled answers, and err by chance more"
COUNTED = "who is found how often is known when all have asked"
FITTED = "it is fitted to the scores of all queries"
REASONS = {
    **dict.fromkeys(("ece", "ece_debiased", "mce", "ace", "smece"), BINNED),
    **dict.fromkeys(("hubness", "robin_hood", "antihub_share"), COUNTED),
    **dict.fromkeys(("temperature", "ece_calibrated"), FITTED),
    "median_rank": "a median is no mean over queries",
    "twonn": "it needs the neighbours of every row",
    "mutual_knn": "it needs the neighbours of every row",
}
"""Why blocks do not give a number, by its key without what it is of."""


def _kind(key: str) -> str:
    for before in ("text_retrieval_", "image_retrieval_", "text_", "image_"):
        key = key.removeprefix(before)
    return key.removesuffix("_image").removesuffix("_text")


NOT_SAMPLED = frozenset(key for key, metric in METRICS.items() if metric.group != "zeroshot" and _kind(key) in REASONS)
"""Keys of numbers of all pairs that blocks do not give."""

SAMPLED = frozenset(key for key, metric in METRICS.items() if metric.folds) - NOT_SAMPLED
"""Keys of means over queries, or over rows with all others: each query is answered by itself."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """A block of consecutive images of each stratum.

    A stratum is closed to a ring, so that each of its images is drawn as often as any other; a block that goes past its
    end is two runs.
    """

    n: int
    starts: Tensor  # (strata + 1,) where strata begin, and n
    offsets: Tensor  # (strata,) where in its stratum a block begins

    @classmethod
    def drawn(cls, n: int, strata: int, *, seed: int) -> Blocks:
        """One block of each of so many strata of n images, of equal sizes to within one."""
        starts = torch.arange(strata + 1) * n // strata
        drawn = np.random.default_rng([seed, 4]).random(strata)
        return cls(n, starts, (torch.from_numpy(drawn) * starts.diff()).long())

    @property
    def count(self) -> int:
        """Number of blocks."""
        return len(self.offsets)

    @cached_property
    def runs(self) -> list[slice]:
        """The images of all blocks, rising."""
        runs: list[slice] = []
        starts = self.starts.tolist()
        for first, end, offset in zip(starts[:-1], starts[1:], self.offsets.tolist(), strict=True):
            begin, stop = first + offset, first + offset + min(BLOCK, end - first)
            around = first + max(0, stop - end)  # where what goes past the end ends
            for low, high in ((first, around), (begin, min(stop, end))):
                if runs and runs[-1].stop == low:
                    runs[-1] = slice(runs[-1].start, high)
                elif low < high:
                    runs.append(slice(low, high))
        return runs

    @cached_property
    def images(self) -> Tensor:
        """(s,) the images of all blocks, rising."""
        return _places(self.runs)

    @cached_property
    def of_image(self) -> Tensor:
        """(s,) the block of each of them."""
        return torch.searchsorted(self.starts, self.images, right=True) - 1

    @cached_property
    def weights(self) -> Tensor:
        """(s,) float64: how many images of its stratum each stands for."""
        return (self.starts.diff().double() / torch.bincount(self.of_image, minlength=self.count))[self.of_image]

    def text_runs(self, pairing: Pairing) -> list[slice]:
        """The sorted texts of all blocks, rising."""
        return [slice(int(pairing.starts[run.start]), int(pairing.starts[run.stop])) for run in self.runs]

    def sums(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What each block adds to the sums over all images of what each image adds, columns (s,): (blocks,)."""
        empty = torch.zeros(self.count, dtype=torch.float64)
        return {name: empty.index_add(0, self.of_image, self.weights * each) for name, each in columns.items()}


def _places(runs: Sequence[slice]) -> Tensor:
    return torch.cat([torch.arange(run.start, run.stop) for run in runs])


def sampled(run: Run) -> Run:
    """What sweeps give, from blocks; and the run of those numbers that can be had so.

    Found is an estimate of each, with the 95 % interval of what whole sweeps of this set give.
    """
    for key in METRICS:
        if key in run.wanted & NOT_SAMPLED:
            run.undefined(key, reason(key))
    sweeps.every_pair(replace(run, wanted=run.wanted - SAMPLED - NOT_SAMPLED))  # what is a sum over rows
    run = replace(run, wanted=run.wanted - NOT_SAMPLED)
    assert run.options.sample_blocks is not None
    blocks = Blocks.drawn(run.n, run.options.sample_blocks, seed=run.options.seed)
    columns = {name: each[blocks.images] for name, each in run.found.columns.items()}
    columns |= dict(added(run, blocks))
    with run.timed(STAGE):
        estimate(run, blocks, columns)
    return run


def reason(key: str) -> str:
    """Why blocks do not give a number, and what does."""
    way = option("metrics", f"KEY@{FIXED_SIZE}")
    fixed = f" ({way} has it at {FIXED_SIZE} images)" if key in AT_FIXED_SIZE else ""
    return f"not measured from blocks: {REASONS[_kind(key)]}{fixed}"


def added(run: Run, blocks: Blocks) -> Iterator[tuple[str, Tensor]]:
    """What each image of the blocks adds to means over queries and over pairs of rows: columns (s,)."""
    pairing = run.pairs()
    images, texts = blocks.images, _places(text_runs := blocks.text_runs(pairing))
    part = Pairing.of(run.image[images], pairing.text[texts], torch.searchsorted(images, pairing.own[texts]))
    for cloud, rows, runs in (("image", run.image, blocks.runs), ("text", pairing.text, text_runs)):
        if f"{cloud} kernel" in run.folds:
            with_itself = Pairing.of(rows, rows)
            (sums,) = _answers(run, cloud, with_itself, Asking("text", runs), {"kernel": GaussianSums()}).values()
            yield f"gauss_{cloud}", sums["text"][images] if cloud == "image" else part.per_image(sums["text"][texts])
    folds = sweeps.needed(run, "cross", **sweeps.answering(run))
    found: dict[str, dict[str, Any]] = {name: {} for name in folds}
    for axis, rows in (("image", images), ("text", texts)) if folds else ():
        for name, result in _answers(run, f"{axis} query", pairing, Asking(axis, blocks.runs), folds).items():
            each = result[axis]
            found[name][axis] = each.of(rows) if isinstance(each, Posterior) else each[rows]
    if "hardest" in found:
        yield from parts.alignment_columns(part, found["hardest"]).items()
    if "kernel" in found:
        yield from parts.kernel_columns(part, found["kernel"]).items()
    if "ranks" in found:
        yield from parts.retrieval_columns(part, found["ranks"]).items()
    if "masses" in found:
        yield from scores(part, found["masses"], squares="cross squares" in run.folds)


def _answers(run: Run, what: str, pairing: Pairing, asking: Asking, folds: Mapping[str, Any]) -> dict[str, Any]:
    """What each fold finds of those who ask."""
    stage = f"{what} blocks"
    with run.timed(stage):
        results = run.sweep(stage, None, pairing, list(folds.values()), asking=asking)
    return dict(zip(folds, results, strict=True))


def scores(part: Pairing, found: Mapping[str, Posterior], *, squares: bool) -> Iterator[tuple[str, Tensor]]:
    """Likelihood and Brier score of the image query and, summed, of the text queries of each image."""
    asks = part.texts_of_image > 0
    for prefix, axis in (("text_retrieval", "image"), ("image_retrieval", "text")):
        posterior = found[axis]
        each = {"nll": -posterior.own}
        if squares:
            each["brier"] = brier_of(posterior.squares, posterior.own.exp())
        for name, score in each.items():
            yield f"{prefix}_{name}", part.per_image(score) if axis == "text" else torch.where(asks, score, 0.0)


def estimate(run: Run, blocks: Blocks, columns: Mapping[str, Tensor]) -> None:
    """Each number by its formula of weighted sums, and its interval by leaving out one block after the other."""
    found = run.found
    by_block = blocks.sums(columns)
    total = {name: each.sum() for name, each in by_block.items()}
    without = {name: total[name] - each for name, each in by_block.items()}
    asking = int((columns["queries"] > 0).sum())
    for key in parts.FORMULAS:
        if key not in run.wanted & SAMPLED:
            continue
        value, each = (parts.FORMULAS[key](Sums(sums, sums)) for sums in (total, without))
        if not math.isfinite(float(value)):
            run.undefined(key, "no image or text of the blocks has what it compares")
            continue
        run.put(key, float(value))
        found.sampled[key] = interval(METRICS[key], found.values[key] or 0.0, each, asking, blocks)
        found.notes[key] = f"sampled, from {blocks.count:,} blocks of images"
    found.params["sampled"] = {"blocks": blocks.count, "images": len(blocks.images)}
    found.from_blocks = (
        f"{len(found.sampled)} numbers are sampled: estimated from {len(blocks.images):,} of {run.n:,} images, in "
        f"{blocks.count:,} blocks; ± is the 95 % interval of what all images here give, and says nothing of others"
    )


def interval(metric: Metric, value: float, without: Tensor, asking: int, blocks: Blocks) -> Interval:
    """The 95 % interval of what all images give, from the number without each block (blocks,).

    The jackknife over blocks, as if each were drawn from the whole set: its variance is, on average, theirs and that
    between strata, so that it is not too small in any order of the images. Few blocks have the reach of Student's t.
    """
    if len(blocks.images) == blocks.n:
        return value, value
    units = Units.of(blocks.count)
    influence = intervals.as_influence(without)
    if metric.interval == "share":
        influence *= units.reach / Z95  # which a share has by its many images, not by the blocks
    ends = uncertainty.ends_of(metric, value, influence, asking, units)
    return intervals.within_range(*ends, metric.low, metric.high)
