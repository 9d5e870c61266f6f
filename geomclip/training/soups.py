"""Model soups: the mean of the weights of several models of one architecture, chosen among on validation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geomclip.encoders import Encoder, with_weights
from geomclip.machine.errors import GeomclipError
from geomclip.machine.progress import SILENT, Progress
from geomclip.training.post_hoc import Score


@dataclass(frozen=True)
class Blend:
    """The mean of some of the models, and what it scores on validation; of one it is that model."""

    recipe: str  # "alone", "uniform" or "greedy"
    members: tuple[int, ...]  # their places, in the order in which they came in
    score: float

    def named(self, names: Sequence[str]) -> str:
        """What a table calls it, by the names of the models.

        Examples
        --------
        >>> Blend("greedy", (1, 0), 0.5).named(["a", "b"]), Blend("alone", (1,), 0.5).named(["a", "b"])
        ('greedy of b, a', 'b')
        """
        members = ", ".join(names[place] for place in self.members)
        return members if self.recipe == "alone" else f"{self.recipe} of {members}"


@dataclass(frozen=True)
class Soup:
    """Every model alone, the two soups, and the encoder of the better one.

    The models alone are scored so that the soups can be held against them, and are no candidates; but the greedy soup
    begins with the best of them, and is that model where no other one helps.
    """

    blends: tuple[Blend, ...]  # the models alone in their order, uniform, greedy
    best: Blend
    encoder: Encoder

    @property
    def gains(self) -> bool:
        """Whether the better soup scores higher than the first model alone."""
        return self.best.score > self.blends[0].score

    def described(self, metric: str, names: Sequence[str]) -> dict[str, Any]:
        """Which soup was chosen by this metric, as config.json has it; `names` are those of the models."""
        found = {"swept": "soup", "value": self.best.named(names), "metric": metric, "score": self.best.score}
        points = [[one.named(names), one.score] for one in self.blends]
        return {**found, "start_score": self.blends[0].score, "beats_start": self.gains, "points": points}


def mean_of(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each weight over models of one architecture, summed in float64 and given in float32.

    All weights are averaged, logit scale (as its logarithm, the parameter that is trained) and bias too. Integer
    buffers are those of the first. The mean of one is that one, bit for bit.

    Parameters
    ----------
    states : sequence of mappings of name to Tensor
        State dicts of the same names and shapes, at least one.

    References
    ----------
    Wortsman et al. (2022), "Model soups: averaging weights of multiple fine-tuned models improves accuracy without
    increasing inference time", ICML.

    Examples
    --------
    >>> mean_of([{"w": torch.tensor([0.0, 4.0])}, {"w": torch.tensor([1.0, 0.0])}])["w"].tolist()
    [0.5, 2.0]
    """
    first, *others = states

    def mean(name: str) -> Tensor:
        start = first[name].detach()
        if not start.is_floating_point():
            return start.clone()
        total = start.to(torch.float64)
        for other in others:
            total = total + other[name].detach().to(total.device, torch.float64)
        return (total / len(states)).float()

    return {name: mean(name) for name in first}


def sweep_soup(members: Sequence[Encoder], score: Score, *, progress: Progress = SILENT) -> Soup:
    """The uniform soup of all models and the greedy one, the better of the two chosen on validation.

    The greedy soup takes the models from the best to the worst, and keeps each with which it scores no lower than
    without. Where both soups score alike the uniform one is taken, which has chosen nothing.

    Parameters
    ----------
    members : sequence of Encoder
        At least two, of one architecture, in float32 and without a shift.
    score : callable
        A number of an encoder on the validation split; higher is better.
    progress : Progress, optional
        Takes the blends done, of how many.

    Raises
    ------
    GeomclipError
        If a score is not finite.

    References
    ----------
    Wortsman et al. (2022), "Model soups", ICML, section 2, recipe 1.
    """
    states = [member.module.state_dict() for member in members]
    everyone = tuple(range(len(members)))
    known: dict[frozenset[int], float] = {}

    def scored(places: Sequence[int]) -> float:
        which = frozenset(places)
        if which not in known:
            found = float(score(blended(sorted(places))))
            if not math.isfinite(found):
                raise GeomclipError(f"the soup of {len(places)} models scores {found} on validation: none is chosen")
            known[which] = found
            progress.stage("soup", len(known), 2 * len(members))
        return known[which]

    def blended(places: Sequence[int]) -> Encoder:
        return with_weights(members[0], mean_of([states[place] for place in places]))

    alone = [Blend("alone", (place,), scored([place])) for place in everyone]
    uniform = Blend("uniform", everyone, scored(everyone))
    first, *rest = sorted(everyone, key=lambda place: -alone[place].score)
    chosen = [first]
    for place in rest:
        if scored([*chosen, place]) >= scored(chosen):
            chosen.append(place)
    greedy = Blend("greedy", tuple(chosen), scored(chosen))
    best = greedy if greedy.score > uniform.score else uniform
    progress.stage("soup", 2 * len(members), 2 * len(members))
    return Soup((*alone, uniform, greedy), best, blended(sorted(best.members)))
