"""95 % intervals over images, from what each image moves a number by."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomclip.metrics.bins import Z95, wilson_interval
from geomclip.metrics.contributions import FORMULAS, Columns, Sums, binned_columns
from geomclip.metrics.squared_length import SquaredLength
from geomclip.panels.options import Measuring

LEVEL = 0.95
STAGE = "intervals"
"""What the seconds of a panel call it."""

LEAST = 20
"""With fewer images no number has an interval: its spread cannot be told from so few."""

NORMAL = 1e7
"""Degrees of freedom from which the points of Student's t and of the normal differ by less than 1e-6."""

FIT = 0.5
"""Share of the variance of a held-out accuracy at ½ that its fits add: answers of one fit share its luck."""

AGAIN = 0.5
"""Share of the chance in a bin of calibration that is taken off before bins are drawn, which add chance once more."""

ASKED = 0.75
"""Share of what a bin moves with the number of queries that is taken off: with them queries change bins as well."""

MOVES, MOVES_SQUARED = 1.12, 1.2
"""What the variance of a calibration error, and of a debiased one, is multiplied by: queries change bins as well."""

SETTLED = 0.25
"""Failing images at which the design effect of a share counts as much as that of independent images does."""

Interval = tuple[float, float]
Statistic = Callable[[Tensor], Tensor]
"""From counts of images (b, n) to values (b,)."""
Drawn = dict[str, Tensor]
"""Key to its resampled values (resamples,)."""


@dataclass(frozen=True, eq=False)
class Units:
    """What counts as one draw: an image with its texts, together with its copies."""

    of_image: Tensor  # (n,) int64, numbered from 0
    count: int

    @classmethod
    def of(cls, n: int, of_image: Tensor | None = None) -> Units:
        """Each of n images by itself, or as it is numbered."""
        if of_image is None:
            return cls(torch.arange(n), n)
        return cls(of_image, int(of_image.max()) + 1)

    def summed(self, by_image: Tensor) -> Tensor:
        """(units, ...) sums over the images of each unit of a quantity (n, ...)."""
        if self.count == len(self.of_image):
            return by_image
        return by_image.new_zeros(self.count, *by_image.shape[1:]).index_add_(0, self.of_image, by_image)

    def standard_error(self, influence: Tensor) -> float:
        """Root of the summed squares of what each unit moves a number by."""
        return float(self.summed(influence).square().sum().sqrt())

    @property
    def reach(self) -> float:
        """Standard errors to either side that hold 95 %: of Student's t with units − 1 degrees of freedom."""
        return student(self.count - 1)


@lru_cache(1024)
def student(degrees: float) -> float:
    """The 97.5 % point of Student's t.

    Examples
    --------
    >>> round(student(10), 4), round(student(1e9), 4)
    (2.2281, 1.96)
    """
    if degrees > NORMAL:
        return Z95
    # with t = √ν tan θ the density is c cos^(ν−1) θ; importing scipy would cost more than this
    constant = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(math.pi)
    nodes, weights = np.polynomial.legendre.leggauss(32)
    angle = math.atan(Z95 / math.sqrt(degrees))
    for _ in range(50):
        density = constant * np.cos(angle * (nodes + 1) / 2) ** (degrees - 1)
        missing = LEVEL / 2 - float(weights @ density) * angle / 2
        step = missing / (constant * math.cos(angle) ** (degrees - 1))
        angle += step  # the density falls, so that no step goes too far
        if abs(step) <= 1e-14 * angle:
            break
    return math.sqrt(degrees) * math.tan(angle)


def deleted_one(columns: Columns, gallery: Mapping[str, Tensor], keys: Sequence[str]) -> dict[str, Tensor]:
    """What each image moves the number of each key by, from the number without it: (n,), summing to 0.

    Parameters
    ----------
    columns : mapping of name to (n,) float64
        What each image adds to each sum (`geomclip.metrics.contributions`).
    gallery : mapping of name to (n,) float64
        What it adds to those as a candidate (`geomclip.metrics.gallery`).
    keys : sequence of str
        Keys of `FORMULAS`; those whose columns are absent are left out.
    """
    total = {name: column.sum() for name, column in columns.items()}
    left = {name: total[name] - column for name, column in columns.items()}
    left |= {name: left[name] - gallery[name] for name in gallery if name in left}
    sums = Sums(total, left)
    found = {}
    for key in keys:
        try:
            values = FORMULAS[key](sums)
        except KeyError:  # a column that this set does not have
            continue
        found[key] = as_influence(values)
    return found


def as_influence(without: Tensor, inflation: float = 1.0) -> Tensor:
    """From a number without each image (n,) to what each moves it by, so that the squares add up to its variance.

    The jackknife of Tukey (1958). `inflation` is what its variance is to be divided by. An image without which the
    number is undefined is taken to move it as the others do on average.
    """
    n = len(without)
    defined = without.isfinite()
    moved = torch.where(defined, without[defined].mean() - without, 0.0)
    return moved * ((n - 1) / n / inflation) ** 0.5


def variance_of_mean(values: Sequence[float] | NDArray[np.float64]) -> float:
    """The variance of the mean of independent values, those that are no numbers left out; 0 of fewer than two.

    Examples
    --------
    >>> variance_of_mean([1.0, 3.0]), variance_of_mean([2.0]), variance_of_mean([])
    (1.0, 0.0, 0.0)
    """
    each = np.asarray(values, dtype=np.float64)
    each = each[np.isfinite(each)]
    return float(each.var(ddof=1) / len(each)) if len(each) > 1 else 0.0


def within_range(low: float, high: float, least: float, most: float) -> Interval:
    """The two ends, kept in the range of the number."""
    return min(max(low, least), most), max(min(high, most), least)


def plain_interval(value: float, error: float, units: Units) -> Interval:
    """The value and so many standard errors to either side."""
    return value - units.reach * error, value + units.reach * error


def positive_interval(value: float, influence: Tensor, units: Units, *, bound: float) -> Interval:
    """Of a mean of amounts above a bound that few images carry: symmetric in the logarithm of what is above it.

    The degrees of freedom are 1.3 times those of Satterthwaite for the spread, 2 / (Σ ψ⁴ / (Σ ψ²)² − 1/n): a sum that
    five images carry has about thirteen, not hundreds. Where nothing is above the bound, the rule of three: up to three
    images in n may have been missed, each of one unit.
    """
    above = value - bound
    by_unit = units.summed(influence)
    spread = float(by_unit.square().sum())
    if above <= 0 or spread == 0:
        return value, value + 3 / units.count
    heavy = float(by_unit.pow(4).sum()) / spread**2 - 1 / units.count
    degrees = min(units.count - 1.0, max(2.0, 2.6 / max(heavy, 1e-9)))
    factor = math.exp(min(student(degrees) * spread**0.5 / above, 4.0))
    return bound + above / factor, bound + above * factor


def share_interval(value: float, error: float, count: int, units: Units) -> Interval:
    """Wilson's interval of a share, at the number of independent images that would have its standard error.

    Near 0 and 1 the few images on the rare side cannot tell that number: it is drawn towards that of `count`
    images, the more the fewer they are. At 0 and 1 exactly, the rule of three.
    """
    variance = value * (1 - value)
    rare = count * min(value, 1 - value)
    effect = error**2 * count / variance if variance > 0 else 1.0
    effective = count * (rare + SETTLED) / (rare * effect + SETTLED)
    low, high = wilson_interval(value * effective, effective)
    if variance == 0:
        return (max(low, 1 - 3 / count), 1.0) if value else (0.0, min(high, 3 / count))
    least = least_expected(effective * min(value, 1 - value)) / effective
    return (low, max(high, 1 - least)) if value > 0.5 else (min(low, least), high)


def least_expected(count: float) -> float:
    """The expectation at which a Poisson count would be this large or larger in 2.5 % of cases.

    By Wilson and Hilferty (1931), "The distribution of chi-square", PNAS 17. Of few rare cases Wilson's interval leaves
    too little room for a rarer share.

    Examples
    --------
    >>> round(least_expected(10), 1)  # 4.8 exactly
    4.8
    """
    return count * max(0.0, 1 - 1 / (9 * count) - Z95 / (3 * count**0.5)) ** 3


def error_interval(value: float, over: Tensor, queries: Tensor, units: Units, *, bootstrap: int, seed: int) -> Interval:
    """Of a calibration error Σ_b |over_b| / queries: normal bins about those at hand, shifted to the value.

    An absolute value folds what is normal: close to 0 the error cannot fall as far as a linear rule has it, and
    resampling raises it on average. So bins are drawn about those at hand, drawn towards 0 by a part of their chance,
    with the covariance that the images give them, and the percentiles of the errors are moved so that their mean is the
    value.

    Parameters
    ----------
    over : Tensor of shape (n, bins)
        What each image adds to hits − confidence in each bin.
    queries : Tensor of shape (n,)
        How many queries each image has: a sum over more of them is larger, and the mean is not (`ASKED`).
    bootstrap : int
        Draws.
    seed : int
    """
    asked = queries.sum()
    by_unit = units.summed(over - ASKED * over.sum(0) / asked * queries[:, None])
    centred = by_unit - by_unit.mean(0)
    covariance = centred.T @ centred * (units.count / (units.count - 1))
    values, vectors = torch.linalg.eigh(covariance)
    here = over.sum(0)
    here = here.sign() * (here.square() - AGAIN * covariance.diagonal()).clamp(min=0).sqrt()
    noise = torch.from_numpy(np.random.default_rng([seed, 3]).standard_normal((bootstrap, len(values))))
    drawn = (here + (noise * values.clamp(min=0).sqrt()) @ vectors.T).abs().sum(1) / asked
    low, high = np.quantile((drawn - drawn.mean()).numpy(), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    wider = MOVES**0.5 * units.reach / Z95
    return value + wider * float(low), value + wider * float(high)


def squared_interval(found: SquaredLength, units: Units) -> Interval:
    """Of a squared length without bias."""
    return found.ends(units.reach)


def root_interval(found: SquaredLength, units: Units, *, above: float = 0.0) -> Interval:
    """Of the root of a squared length, or of one that is longer by `above`: roots of the ends, from 0 up.

    Without `above` a negative square counts as 0, so that there is always room for the true length.
    """
    low, high = squared_interval(found, units)
    if not above:
        high = max(high, replace(found, value=max(found.value, 0.0)).ends(units.reach)[1])
    return max(0.0, low + above) ** 0.5, max(0.0, high + above) ** 0.5


def median_interval(ranked: Tensor, owner: Tensor, units: Units) -> tuple[Interval, Tensor]:
    """Of a median: the values at the shares whose distance from ½ is the error of the share below it; and influences.

    Woodruff (1952), "Confidence intervals for medians and other position measures", JASA 47. The influences (n,) have
    the spread that the width says.

    Parameters
    ----------
    ranked : Tensor of shape (q,)
        Values, rising.
    owner : Tensor of shape (q,)
        Image of each.
    """
    q, n = len(ranked), len(units.of_image)
    middle = (ranked[(q - 1) // 2] + ranked[q // 2]) / 2
    below = (ranked <= middle).double()
    moved = torch.zeros(n, dtype=torch.float64).index_add_(0, owner, below - below.mean()) / q
    error = units.standard_error(moved)
    reach = units.reach * error
    low = min(float(ranked[max(0, math.floor((0.5 - reach) * q))]), float(middle))
    high = max(float(ranked[min(q - 1, math.ceil((0.5 + reach) * q) - 1)]), float(middle))
    influence = -moved * ((high - low) / (2 * reach)) if reach > 0 else torch.zeros_like(moved)
    return (low, high), influence


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
    """Resamples of n images with replacement, the gallery as it stands. The same seed draws the same ones.

    So two sets of the same images are resampled in pairs.
    """

    n: int
    resamples: int
    seed: int

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


def binned_over(prefix: str, columns: Mapping[str, Tensor], gallery: Mapping[str, Tensor]) -> Tensor:
    """What each image adds to hits − confidence in each bin, as a query and as a candidate: (n, bins)."""
    moved = {name: columns[name] + effect for name, effect in gallery.items() if name in columns}
    return binned_columns(f"{prefix}_over", {**columns, **moved})


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
