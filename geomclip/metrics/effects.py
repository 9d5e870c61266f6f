"""Effects of images on a number by being there to be found, and how much of them is the chance of single pairs.

Effects counted pair by pair (image that asks, image found) hold the chance of each single pair, which the query's own
part holds already. What is left of the spread of the effects once that chance is taken away is what an image really
does to the queries: `Effect.settled`. This is the correction of the jackknife for pairs of Efron and Stein (1981), "The
jackknife estimate of variance", Annals of Statistics 9.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(eq=False)
class Effect:
    """What each of n images adds to a sum over queries as a candidate, and how much is the chance of single pairs."""

    total: Tensor  # (n,) float64
    chance: float = 0.0  # Σ over pairs (image that asks, image found) of the squared effect
    single: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # pairs added one by one, and their effects

    def settled(self) -> Tensor:
        """The effects less their mean, shrunk to the spread that the chance of single pairs does not explain."""
        centred = self.total - self.total.mean()
        spread = float(centred.square().sum())
        if spread <= 0:
            return torch.zeros_like(centred)
        return centred * max(0.0, 1 - self.chance / spread) ** 0.5


@dataclass(frozen=True, eq=False)
class Pairs:
    """Single pairs (image that asks, image found) that have an effect, and their effects by column."""

    asking: Tensor  # (p,) int64
    candidate: Tensor  # (p,) int64
    effects: dict[str, Tensor]  # column -> (p,) float64


@dataclass(eq=False)
class Effects:
    """The effects found so far, by column."""

    n: int
    scale: float = 1.0  # all images that ask over those that were looked at
    found: dict[str, Effect] = field(default_factory=dict)

    def _of(self, name: str) -> Effect:
        return self.found.setdefault(name, Effect(torch.zeros(self.n, dtype=torch.float64)))

    def add(self, name: str, by_image: Tensor) -> None:
        """Effects (images that ask, n): a row for each."""
        effect = self._of(name)
        effect.total += self.scale * by_image.sum(0).double()
        effect.chance += self.scale**2 * float(by_image.square().sum(1).double().sum())

    def add_pairs(self, name: str, asking: Tensor, items: Tensor, effects: Tensor) -> None:
        """Effects (p,) of single queries on single images; those of one image that asks count together."""
        if len(effects) == 0:
            return
        pair, place = (asking * self.n + items).unique(return_inverse=True)
        together = torch.zeros(len(pair), dtype=torch.float64).index_add_(0, place, effects.double())
        effect = self._of(name)
        effect.total.index_add_(0, pair % self.n, self.scale * together)
        effect.chance += self.scale**2 * float(together.square().sum())
        effect.single.append((pair, self.scale * together))

    def merge(self, more: Effects) -> None:
        """Add those of other images that ask."""
        for name, other in more.found.items():
            effect = self._of(name)
            effect.total += other.total
            effect.chance += other.chance
            effect.single += other.single

    def settled(self, name: str) -> Tensor:
        """`Effect.settled` of one name: (n,); zeros where nothing was added."""
        return self._of(name).settled()

    def all_settled(self) -> dict[str, Tensor]:
        """`Effect.settled` of each name to which something was added."""
        return {name: effect.settled() for name, effect in self.found.items()}

    def pairs(self, names: Collection[str]) -> Pairs:
        """The single pairs of some names, of which all effects were added pair by pair."""
        single = {name: self.found[name].single if name in self.found else [] for name in names}
        pair = torch.cat([torch.zeros(0, dtype=torch.int64), *(ids for each in single.values() for ids, _ in each)])
        pair = pair.unique()
        effects = {}
        for name, each in single.items():
            effects[name] = torch.zeros(len(pair), dtype=torch.float64)
            for ids, effect in each:
                effects[name].index_add_(0, torch.searchsorted(pair, ids), effect)
        return Pairs(pair // self.n, pair % self.n, effects)
