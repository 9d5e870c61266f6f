"""Estimates: how far a difference may be off, and how odd it would be if nothing had changed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from geomclip.metrics.bins import Z95
from geomclip.metrics.evaluated import KNOWN
from geomclip.panels.intervals import LEAST, Interval, student

FOLDS = "folds"
"""What intervals are over where nothing is paired: parts of each side that share no row."""
ROUNDING = 1e-12
"""A standard error below this part of what it comes from is rounding."""


@dataclass(frozen=True)
class Estimate:
    """The 95 % interval of a difference, and the two-sided p of no difference; neither where there is no spread."""

    ci: Interval | None = None
    p: float | None = None
    paired: bool = True

    @property
    def spread(self) -> bool:
        """Whether there is anything to judge the difference by."""
        return self.p is not None


NO_SPREAD = Estimate()


def by_t(difference: float, error: float, degrees: int, key: str, *, ci: Interval | None = None) -> Estimate:
    """The estimate from a standard error with so many degrees of freedom.

    Parameters
    ----------
    difference, error : float
    degrees : int
        Units less one.
    key : str
        Of the number: its range bounds the interval.
    ci : pair of float, optional
        In place of difference ± t x error.

    Examples
    --------
    >>> estimate = by_t(0.2, 0.1, 19, "alignment")
    >>> [round(end, 4) for end in estimate.ci], round(estimate.p, 4)
    ([-0.0093, 0.4093], 0.06)
    >>> by_t(0.2, 0.0, 19, "alignment").spread, by_t(0.0, 0.0, 19, "alignment")
    (False, Estimate(ci=(0.0, 0.0), p=1.0, paired=True))
    """
    from scipy.special import stdtr

    if error == 0 and difference and degrees >= LEAST - 1 and key in KNOWN and KNOWN[key].interval == "share":
        return _alike(difference, degrees + 1, key)
    if error == 0:
        return NO_SPREAD if difference else Estimate((0.0, 0.0), 1.0)
    reach = student(degrees) * error
    p = 2 * float(stdtr(degrees, -abs(difference) / error))
    return Estimate(ci or within_range(key, difference - reach, difference + reach), p)


def _alike(difference: float, units: int, key: str) -> Estimate:
    """Of a share that moved alike with every unit: p of the sign test, and the rule of three towards no difference.

    So an encoder that finds all, and one that finds nothing, are told apart.
    """
    least = math.copysign(max(0.0, abs(difference) - 3 / units), difference)
    return Estimate(within_range(key, min(difference, least), max(difference, least)), 2.0 ** (1 - units))


def by_normal(difference: float, ci: Interval) -> Estimate:
    """The estimate from an interval of two sets that are not paired, its error taken from its width.

    Examples
    --------
    >>> round(by_normal(0.196, (0.0, 0.392)).p, 3)
    0.05
    """
    error = (ci[1] - ci[0]) / (2 * Z95)
    if error == 0:
        return Estimate(paired=False) if difference else Estimate(ci, 1.0, paired=False)
    return Estimate(ci, math.erfc(abs(difference) / error / math.sqrt(2)), paired=False)


def within_range(key: str, low: float, high: float) -> Interval:
    """The ends kept within what a difference of two values of this key can be."""
    if key not in KNOWN:
        return low, high
    most = KNOWN[key].high - KNOWN[key].low
    return max(-most, low), min(most, high)
