"""The squared length of a mean, without the part that chance adds, and how far it may be off."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geomclip.machine import scratch


@dataclass(frozen=True, eq=False)
class SquaredLength:
    """‖E v‖² estimated from the mean of independent units, without bias.

    `value` may be negative where the true length is near 0. `bias` is what the plain ‖mean v‖² has above it. Were the
    true square q, `value` would have variance 4 q `along` + `chance`; `spread` is its root at `value`. `influence` (n,)
    is what each image moves it by; the squares add up to more than `spread`² where chance alone makes the mean long.
    """

    value: float
    bias: float
    along: float
    chance: float
    influence: Tensor

    @property
    def spread(self) -> float:
        """The standard deviation of `value`, were that the true square."""
        return max(0.0, 4 * max(0.0, self.value) * self.along + self.chance) ** 0.5

    def measured(self, value: float, influence: Tensor, error: float) -> SquaredLength:
        """Of another value, with influences whose squares add up to `error`²: its spread, whatever the true square.

        They hold the part of chance twice.
        """
        return SquaredLength(value, self.bias, 0.0, max(error**2 - self.chance, self.chance), influence)

    def ends(self, reach: float) -> tuple[float, float]:
        """The true squares q that `value` is `reach` deviations from: (value − q)² = reach² (4 q along + chance).

        The spread grows with the true square, so an interval of fixed width about a value that came out small would be
        too narrow, and too low.
        """
        shift = 2 * self.along * reach**2
        root = max(0.0, shift**2 + reach**2 * (4 * self.value * self.along + self.chance)) ** 0.5
        return min(self.value, self.value + shift - root), max(self.value, self.value + shift + root)


def squared_length(mean: Tensor, deviations: Tensor, unit: Tensor | None = None) -> SquaredLength:
    """The unbiased squared length of E v from a mean of units and what each unit adds to it.

    With mean = E v + Σ r_i, the r_i independent with expectation 0, ‖mean‖² is ‖E v‖² + Σ ‖r_i‖² on average:
    Σ ‖r_i‖² is taken away. What is left is the U-statistic Σ_{i≠j} v_i · v_j. Its variance is
    4 E v' C E v + 2 tr C², C the covariance of the mean; with h_i = r_i · (mean − r_i), less their mean, both are
    estimated by 4 Σ h_i² − 2 Σ_{i≠j} (r_i · r_j)². The part that grows with the square is kept as v' C v / ‖v‖².

    Parameters
    ----------
    mean : Tensor of shape (d,), float64
    deviations : Tensor of shape (n, d), float64
        What each of n images adds to the mean, less the average: they sum to 0.
    unit : Tensor of shape (n,), int64, optional
        The unit of each image, numbered from 0; left out, each image is one.

    Returns
    -------
    SquaredLength

    References
    ----------
    Hoeffding (1948), "A class of statistics with asymptotically normal distribution", for the variance.

    Examples
    --------
    >>> four = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]], dtype=torch.float64)
    >>> squared_length(four.mean(0), (four - four.mean(0)) / 4).value  # mean of the products of different rows
    -0.3333333333333333
    """
    together = deviations
    if unit is not None:
        together = scratch.zeros(int(unit.max()) + 1, deviations.shape[1], dtype=deviations.dtype)
        together.index_add_(0, unit, deviations)
    n = len(together)
    scale = (n / (n - 1)) ** 0.5 if n > 1 else 1.0
    r = torch.mul(together, scale, out=scratch.empty(*together.shape, dtype=together.dtype))
    lengths = scratch.each(lambda some: some.square().sum(1), r)
    bias = lengths.sum()
    alone = r @ mean - lengths
    alone = alone - alone.mean()
    gram = r.T @ r if n > r.shape[1] else r @ r.T
    chance = (gram.square().sum() - lengths.square().sum()).clamp(min=0)
    value = mean @ mean - bias
    widest = chance.sqrt() + lengths.square().sum().sqrt()  # at least the largest eigenvalue of C
    noise = (2 * chance).sqrt()
    along = (alone.square().sum() - chance) / torch.maximum(value, noise).clamp(min=1e-300)
    # where the square is lost in chance its direction is too: that of a mean of chance, and no less
    lost = (2 * noise / torch.maximum(value, noise).clamp(min=1e-300)).clamp(max=1).square()
    least = 2 * lost * chance / bias if bias > 0 else chance
    along = torch.maximum(along, least).clamp(min=0, max=float(widest))
    own = torch.empty_like(deviations[:, 0])
    for some in scratch.blocks(deviations):
        own[some] = (deviations[some] * r[some if unit is None else unit[some]]).sum(1)
    by_image = scale * (deviations @ mean - own)
    influence = 2 * (by_image - by_image.mean())
    return SquaredLength(float(value), float(bias), float(along), 2 * float(chance), influence)
