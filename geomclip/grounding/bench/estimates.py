"""Means over seeds and test videos with intervals that count the chance of both."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from geomclip.panels.intervals import student

POWER = 0.842
"""Standard errors from the edge of an interval to a difference that is found in 80 % of such experiments."""


@dataclass(frozen=True)
class Estimate:
    """A mean, its standard error and its 95 % interval."""

    value: float
    error: float
    low: float
    high: float

    @property
    def detectable(self) -> float:
        """The difference that would have been found with a probability of 80 %."""
        return (self.high - self.low) / 2 + POWER * self.error


def two_way(values: Tensor, unit: Tensor) -> Estimate:
    """The mean of values that share the luck of a seed in rows, and that of a test video in columns.

    Both are drawn: with e the deviations from the mean, the variance is Σ_s (Σ_q e_sq)² + Σ_u (Σ_s,q∈u e_sq)² −
    Σ_su (Σ_q∈u e_sq)², over the squared count; each sum times n/(n − 1) of its groups. Of the three the last is what
    the others count twice. It is at least the larger of the first two. Student's t with Satterthwaite's degrees of
    freedom.

    Parameters
    ----------
    values : Tensor of shape (s, q)
        Of each seed and query; with one seed, only the units are drawn.
    unit : Tensor of shape (q,), int64
        The test video (or picture) of each query.

    References
    ----------
    Cameron, Gelbach and Miller (2011), "Robust inference with multiway clustering", JBES.

    Examples
    --------
    >>> import torch
    >>> found = two_way(torch.tensor([[1.0, 3.0], [1.0, 3.0]]), torch.tensor([0, 1]))
    >>> found.value, round(found.error, 6)
    (2.0, 1.0)
    """
    values = values.double()
    seeds, queries = values.shape
    mean = values.mean()
    _, group = unit.unique(return_inverse=True)
    units = int(group.max()) + 1
    if units < 2:
        raise ValueError("an interval over test videos needs at least two of them")
    deviations = (values - mean) / (seeds * queries)
    cells = deviations.new_zeros(seeds, units).index_add_(1, group, deviations)  # (s, u)
    many = seeds > 1
    by_unit = float(cells.sum(0).square().sum()) * units / (units - 1)
    by_seed = float(cells.sum(1).square().sum()) * seeds / (seeds - 1) if many else 0.0
    twice = float(cells.square().sum()) * units / (units - 1) * seeds / (seeds - 1) if many else 0.0
    variance = max(by_unit + by_seed - twice, by_unit, by_seed)
    if variance == 0:
        return Estimate(float(mean), 0.0, float(mean), float(mean))
    shares = by_unit**2 / (units - 1) + (by_seed**2 / (seeds - 1) if many else 0.0)
    degrees = max((by_unit + by_seed) ** 2 / shares, 1.0)
    error = variance**0.5
    reach = student(degrees) * error
    return Estimate(float(mean), error, float(mean) - reach, float(mean) + reach)


def over_seeds(values: Tensor) -> Estimate:
    """The mean of one value a seed (s,), with the interval of Student's t; of one seed the value alone.

    Examples
    --------
    >>> import torch
    >>> found = over_seeds(torch.tensor([1.0, 3.0]))
    >>> found.value, round(found.high - found.value, 4)
    (2.0, 12.7062)
    """
    mean = float(values.double().mean())
    if len(values) == 1:
        return Estimate(mean, 0.0, mean, mean)
    error = float(values.double().std()) / len(values) ** 0.5
    reach = student(len(values) - 1) * error
    return Estimate(mean, error, mean - reach, mean + reach)
