"""What changes an encoder without training: weights between two models (WiSE-FT), rows along the gap (ES)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from geomclip.encoders import Encoder, with_weights
from geomclip.machine.errors import GeomclipError, InputError
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import option
from geomclip.metrics.gap_curves import SHIFTS

ALPHAS = tuple(step / 10 for step in range(11))
"""0 is the base model itself and 1 the fine-tuned one itself."""

Score = Callable[[Encoder], float]
"""A number of an encoder on the validation split; higher is better."""


class PairedRows(Protocol):
    """Unit rows of pairs."""

    @property
    def image(self) -> Tensor:
        """One row an image."""

    @property
    def text(self) -> Tensor | None:
        """One row a text; None where there are classes in their place."""


@dataclass(frozen=True)
class Sweep:
    """Every point that was scored, and the encoder of the best.

    The point 0 is the model that one started from. It is scored so that the others can be held against it,
    and is no candidate: `best` is the best of the others, and `gains` tells whether it beats 0.
    """

    name: str  # what is swept: "alpha" (WiSE-FT) or "amount" (ES)
    points: tuple[tuple[float, float], ...]  # (value, score), in the order of the values
    best: float  # the value whose score is highest; of equal ones the nearest to 0
    encoder: Encoder  # at `best`; to save it, give save_checkpoint the encoder that was swept, with this one's shift

    @property
    def gains(self) -> bool:
        """Whether the best point scores higher than 0, the model one started from."""
        scores = dict(self.points)
        return scores[self.best] > scores[0.0]

    def described(self, metric: str) -> dict[str, Any]:
        """Which point was chosen by this metric, as config.json has it."""
        scores = dict(self.points)
        found = {"swept": self.name, "value": self.best, "metric": metric, "score": scores[self.best]}
        points = [list(point) for point in self.points]
        return {**found, "start_score": scores[0.0], "beats_start": self.gains, "points": points}


def wise_ft(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """Weights on the straight line between two models: (1 - alpha) base + alpha tuned, in float32.

    All weights are interpolated: logit scale (as its logarithm, the parameter that is trained) and bias, and
    the running means and variances of batch norms too. Integer buffers are those of `tuned`. alpha = 0 gives
    the floating point values of `base` and alpha = 1 those of `tuned`, bit for bit.

    Parameters
    ----------
    base, tuned : mappings of name to Tensor
        State dicts of one architecture.
    alpha : float
        In [0, 1].

    Returns
    -------
    dict of name to Tensor
        New tensors; the arguments are left alone.

    Raises
    ------
    ValueError
        If names or shapes differ, or alpha is outside [0, 1].

    References
    ----------
    Wortsman et al. (2022), "Robust fine-tuning of zero-shot models", CVPR, section 3: weight-space ensembles.

    Examples
    --------
    >>> wise_ft({"w": torch.tensor([0.0, 4.0])}, {"w": torch.tensor([1.0, 0.0])}, 0.25)["w"].tolist()
    [0.25, 3.0]
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}")
    for name in [*base, *tuned]:
        shapes = [tuple(state[name].shape) if name in state else "absent" for state in (base, tuned)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"not two states of one architecture: {name} is {shapes[0]} in base, {shapes[1]} in tuned")

    def between(name: str) -> Tensor:
        end = tuned[name].detach()
        if not end.is_floating_point():
            return end.clone()
        return torch.lerp(base[name].detach().float().to(end.device), end.float(), alpha)

    return {name: between(name) for name in tuned}


def sweep_wise_ft(
    encoder: Encoder,
    tuned: Mapping[str, Tensor],
    score: Score,
    *,
    alphas: Sequence[float] = ALPHAS,
    progress: Progress = SILENT,
) -> Sweep:
    """WiSE-FT with alpha chosen on validation: every alpha scored, from the base model (0) to the tuned one (1).

    Parameters
    ----------
    encoder : Encoder
        The base model, in float32.
    tuned : mapping of name to Tensor
        The weights that were fine-tuned from it.
    score : callable
        A number of an encoder on the validation split; higher is better.
    alphas : sequence of float
        In [0, 1]; 0 and 1 are added if they are not there.
    progress : Progress, optional
        Takes the points done, of how many.

    Raises
    ------
    ValueError
        If the weights are not of the encoder's architecture, or an alpha is outside [0, 1].
    InputError
        If the encoder is not in float32.
    GeomclipError
        If a score is not finite.
    """
    if encoder.precision != "fp32":
        raise InputError(
            f"wise-ft interpolates float32 weights: load {encoder.model} with {option('precision', 'fp32')}"
        )
    base = encoder.module.state_dict()

    def at(alpha: float) -> Encoder:
        return with_weights(encoder, wise_ft(base, tuned, alpha))

    return _sweep("wise-ft", "alpha", [*alphas, 1.0], at, score, progress)


def shift_of(train: PairedRows, amount: float) -> Tensor:
    """The shift (d,) float32 of an amount of the gap: amount times (mean image row - mean text row).

    An encoder with this shift s gives x' = norm(x - s/2), y' = norm(y + s/2): at amount 1 each mean moves
    half-way to the other, above 1 they pass, below 0 the gap widens.

    Parameters
    ----------
    train : EmbeddingSet, or whatever has image and text rows
        Of the *train* split: means of the split that is measured would tell the model of it.
    amount : float
        In units of the gap.

    Raises
    ------
    ValueError
        If the set has no texts, its two means are one point, or the amount is not finite.

    References
    ----------
    Liang et al. (2022), "Mind the gap", NeurIPS, section 5: embedding shift.

    Examples
    --------
    >>> from geomclip.embeddings.record import EmbeddingSet
    >>> pairs = EmbeddingSet(torch.eye(2), -torch.eye(2))
    >>> shift_of(pairs, 0.5).tolist()
    [0.5, 0.5]
    """
    if train.text is None:
        raise ValueError("a shift along the gap needs images and texts, this set has classes")
    if not math.isfinite(amount):
        raise ValueError(f"amount must be finite, got {amount}")
    gap = train.image.double().mean(dim=0) - train.text.double().mean(dim=0)
    if not gap.any():
        raise ValueError("the mean image is the mean text: there is no gap to shift along")
    return (amount * gap).float()


def sweep_es(
    encoder: Encoder,
    train: PairedRows,
    score: Score,
    *,
    amounts: Sequence[float] = SHIFTS,
    progress: Progress = SILENT,
) -> Sweep:
    """ES with its amount chosen on validation; 0 is the encoder as it is.

    Parameters
    ----------
    encoder : Encoder
        Without a shift.
    train : EmbeddingSet, or whatever has image and text rows
        What the encoder makes of the train split; gives the direction.
    score : callable
        A number of an encoder on the validation split; higher is better.
    amounts : sequence of float
        In units of the gap; 0 is added if it is not there.
    progress : Progress, optional
        Takes the points done, of how many.

    Raises
    ------
    ValueError
        As `shift_of`.
    InputError
        If the encoder is shifted already.
    GeomclipError
        If a score is not finite.
    """
    if encoder.shift is not None:
        raise InputError(f"{encoder.model} is shifted along the gap already: start from the model it was made from")

    def at(amount: float) -> Encoder:
        return replace(encoder, shift=shift_of(train, amount)) if amount else encoder

    return _sweep("es", "amount", amounts, at, score, progress)


def _sweep(
    method: str,
    name: str,
    values: Sequence[float],
    at: Callable[[float], Encoder],
    score: Score,
    progress: Progress,
) -> Sweep:
    """Score the encoder at each value, 0 among them; one encoder is held at a time, and the best."""
    ordered = sorted({0.0, *map(float, values)})
    if len(ordered) < 2:
        raise ValueError(f"{name}: at least one value besides 0 is needed")
    points: list[tuple[float, float]] = []
    best: tuple[float, float, Encoder] | None = None  # score, value, encoder
    for value in ordered:
        encoder = at(value)
        found = float(score(encoder))
        if not math.isfinite(found):
            raise GeomclipError(f"{name} {value:g} scores {found} on validation: no best can be chosen")
        points.append((value, found))
        if value and (best is None or (found, -abs(value)) > (best[0], -abs(best[1]))):
            best = (found, value, encoder)
        progress.stage(method, len(points), len(ordered))
    assert best is not None
    return Sweep(name, tuple(points), best[1], best[2])
