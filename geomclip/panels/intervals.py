"""95 % intervals over images: weighted sums resampled, or the spread between halves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomclip.metrics.bins import Z95
from geomclip.metrics.contributions import FORMULAS, Columns, Sums
from geomclip.panels.options import Measuring

LEVEL = 0.95
STAGE = "bootstrap"
"""What the seconds of a panel call its resampling."""

Interval = tuple[float, float]
Statistic = Callable[[Tensor], Tensor]
"""From counts of images (b, n) to values (b,)."""
Drawn = dict[str, Tensor]
"""Key to its resampled values (resamples,)."""


def resampled_counts(n: int, resamples: int, *, seed: int, cells: int = 2**23) -> Iterator[Tensor]:
    """How often each of n images is drawn in each resample: blocks (b, n) float64 of at most `cells` cells."""
    generator = np.random.default_rng(seed)
    size = max(1, cells // n)
    for first in range(0, resamples, size):
        b = min(size, resamples - first)
        draws = generator.integers(0, n, size=(b, n)) + n * np.arange(b)[:, None]
        yield torch.from_numpy(np.bincount(draws.ravel(), minlength=b * n).reshape(b, n).astype(np.float64))


@dataclass(frozen=True)
class Resampling:
    """Resamples of n images with replacement. The same seed draws the same ones from as many images.

    So two sets of the same images are resampled in pairs.
    """

    n: int
    resamples: int
    seed: int

    @property
    def params(self) -> dict[str, Any]:
        """What a panel keeps of how its intervals were made."""
        return {"bootstrap": {"resamples": self.resamples, "level": LEVEL, "unit": "image"}}

    def values(self, columns: Columns, keys: Sequence[str], others: Mapping[str, Statistic]) -> Drawn:
        """Resampled values (resamples,) of each key that has a formula, and of each other statistic.

        Parameters
        ----------
        columns : mapping of name to (n,) float64
            What each image adds (`geomclip.metrics.contributions`).
        keys : sequence of str
            Keys of `FORMULAS`; those whose columns are absent are left out.
        others : mapping of key to function
            From counts (b, n) to values (b,).
        """
        names = list(columns)
        table = torch.stack([columns[name] for name in names], 1)  # (n, names)
        total = dict(zip(names, table.sum(0), strict=True))
        drawn: dict[str, list[Tensor]] = {}
        for counts in resampled_counts(self.n, self.resamples, seed=self.seed):
            weighted = dict(zip(names, (counts @ table).T, strict=True))
            sums = Sums(total, weighted)
            for key in keys:
                try:
                    drawn.setdefault(key, []).append(FORMULAS[key](sums))
                except KeyError:  # a column that this set does not have
                    drawn.pop(key, None)
            for key, statistic in others.items():
                drawn.setdefault(key, []).append(statistic(counts))
        return {key: torch.cat(parts) for key, parts in drawn.items()}


def resampling_of(n: int, options: Measuring) -> Resampling | None:
    """The resamples that are wanted of n images; None where no intervals are."""
    return Resampling(n, options.bootstrap, options.seed) if options.bootstrap else None


def percentile_interval(drawn: Tensor) -> Interval | None:
    """The middle 95 % of resampled values; None if fewer than half of them are defined."""
    kept = drawn[torch.isfinite(drawn)]
    if len(kept) < max(2, len(drawn) / 2):
        return None
    low, high = np.quantile(kept.numpy(), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def basic_interval(value: float, drawn: Tensor, *, low: float = -np.inf, high: float = np.inf) -> Interval | None:
    """Twice the value less the percentile interval, reversed: right where resampling itself biases upwards."""
    ends = percentile_interval(drawn)
    if ends is None:
        return None
    return max(low, 2 * value - ends[1]), min(high, 2 * value - ends[0])


def half_interval(value: float, of_halves: Tensor, *, low: float = -np.inf, high: float = np.inf) -> Interval | None:
    """Value ± 1.96 standard deviations between halves drawn without replacement, kept in the metric's range.

    Half of n rows drawn without replacement has variance (σ²/(n/2)) (1 − 1/2) = σ²/n about the whole: its
    spread is the standard error of the whole as it stands (the delete-half jackknife of Shao and Wu 1989).
    """
    kept = of_halves[torch.isfinite(of_halves)]
    if len(kept) < max(2, len(of_halves) / 2):
        return None
    reach = Z95 * float(kept.std())
    return max(low, value - reach), min(high, value + reach)


def weighted_median(values: Tensor, owner: Tensor) -> Statistic:
    """A function from counts of images (b, n) to the median of `values` (q,) with the counts of their owners."""
    order = values.argsort()
    ranked, owner = values[order].double(), owner[order]

    def medians(counts: Tensor) -> Tensor:
        reached = counts[:, owner].cumsum(1)  # (b, q)
        last = reached[:, -1:]
        middles = torch.cat([((last - 1) / 2).floor(), (last / 2).floor()], 1)  # zero-based places
        places = torch.searchsorted(reached, middles, right=True).clamp(max=len(ranked) - 1)
        return torch.where(last[:, 0] > 0, ranked[places].mean(1), torch.nan)

    return medians
