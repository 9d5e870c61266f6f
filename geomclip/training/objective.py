"""Objective: what a method minimises of a joint batch, and everything that is drawn for it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from geomclip import losses
from geomclip.machine.errors import InputError
from geomclip.training.batches import Batch
from geomclip.training.methods import Method
from geomclip.training.seeds import generator
from geomclip.training.settings import TERMS, WEIGHTS, Settings


@dataclass(frozen=True)
class Preserved:
    """What is held to a base model, and what it is held to; of a joint batch."""

    lengths: tuple[Tensor, Tensor]  # (M,) each, of the rows of images and texts before normalisation
    base: tuple[Tensor, Tensor]  # (M, D) each, unit rows by the base
    base_lengths: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Features:
    """The rows of a joint batch and what turns their cosines into logits."""

    image: Tensor  # (M, D), unit rows
    text: Tensor  # (M, D), row i belongs to image i
    scale: Tensor  # 0-d, 1/τ
    bias: Tensor | None = None  # 0-d, of models trained with a sigmoid
    caption: Tensor | None = None  # 0-d, mean loss of a token of the captions, where they are learned
    preserved: Preserved | None = None  # where terms hold the rows to a base


@dataclass(frozen=True)
class Loss:
    """What an objective makes of a joint batch."""

    total: Tensor  # 0-d, differentiable
    terms: Mapping[str, Tensor]  # each 0-d, before its weight
    drawn: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # what the log says of the draws, by key


class Objective(Protocol):
    """What is minimised."""

    def __call__(self, features: Features, batch: Batch, *, step: int, epoch: int) -> Loss:
        """The loss of a joint batch; `batch` is this process's part of it."""


# ----------------------------------------------------------------------------------------------------- randomness


@dataclass(frozen=True)
class Draws:
    """The randomness of one step, on the CPU."""

    lam: Mapping[str, Tensor]  # λ of each mixed term, () or (M,)
    partner: Tensor  # (M,): the pair that each is mixed with
    coalitions: Tensor | None = None  # (K, 2 · players), bool, where a term plays a game


def draws(method: Method, size: int, generator: torch.Generator, settings: Settings) -> Draws:
    """Mixing shares, partners and coalitions for a joint batch of `size` pairs, from the generator alone.

    Every term has a stream of its own, so that two methods that share a term share its λ.

    Raises
    ------
    ValueError
        If size is below 2: nothing has a partner.
    """
    if size < 2:
        raise ValueError(f"a batch of {size} has no partners to mix: at least 2 pairs are needed")
    seed = int(torch.randint(2**62, (), generator=generator))
    shape = (size,) if settings.per_sample else ()
    lam = {}
    for place, term in enumerate(WEIGHTS):  # the number of a term's stream is its place among the mixed ones
        if term in method.mixed:
            b = getattr(settings, TERMS[term].beta)
            lam[term] = torch.as_tensor(np.random.default_rng([seed, place]).beta(b, b, shape))
    coalitions = None
    if "shapley_alignment" in method.terms:
        stream = torch.Generator().manual_seed(seed)
        coalitions = losses.draw_coalitions(settings.coalitions, 2 * settings.players, generator=stream)
    return Draws(lam, partners(size, generator, settings.partner), coalitions)


def partners(size: int, generator: torch.Generator, kind: str) -> Tensor:
    """Another pair for each: all arrangements without a fixed point alike, or ("flip") the batch reversed."""
    own = torch.arange(size)
    if kind == "flip":
        return own.flip(0)
    while True:  # 1 in e permutations will do
        drawn = torch.randperm(size, generator=generator)
        if not (drawn == own).any():
            return drawn


# ------------------------------------------------------------------------------------------------------ objective


def objective(
    method: Method, features: Features, drawn: Draws, settings: Settings, epoch: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """What a method minimises, of a joint batch.

    Σ weight · plain term + w Σ weight · mixed term, w = 1/(epoch + 1), or 1 where `settings.decay` is "none".

    Parameters
    ----------
    epoch : int
        Counted from 0.

    Returns
    -------
    total : 0-d Tensor, differentiable
    terms : dict of 0-d Tensors
        Each before its weight, detached.
    """
    fading = 1 / (epoch + 1) if settings.decay == "epoch" else 1.0
    weights = dict(method.plain) | {term: fading * settings.weights.get(term, WEIGHTS[term]) for term in method.mixed}
    model = {"temperature": 1 / features.scale, "bias": features.bias}
    values = {term: value_of(term, features, model, drawn, settings) for term in method.terms}
    total = sum((weights[term] * value for term, value in values.items()), start=features.scale.new_zeros(()))
    return total, {term: value.detach() for term, value in values.items()}


def value_of(
    term: str, features: Features, model: Mapping[str, Tensor | None], drawn: Draws, settings: Settings
) -> Tensor:
    """One term of a joint batch: the function of its name, with the parameters that it asks for by theirs."""
    function = getattr(losses, term)
    known: dict[str, Any] = {
        **model,
        "lam": drawn.lam.get(term),
        "partner": drawn.partner,
        "coalitions": drawn.coalitions,
        **{parameter: getattr(settings, name) for parameter, name in TERMS[term].options.items()},
    }
    wanted = {name: known[name] for name in inspect.signature(function).parameters if name in known}
    value: Tensor = function(features.image, features.text, **wanted)
    return value


def method_objective(method: Method, settings: Settings) -> Objective:
    """What a method minimises, as the trainer asks for it: the draws of a step are those of the seed and the step.

    Raises
    ------
    InputError
        If the method does not train.
    """
    if method.stage != "train":
        raise InputError(f"{method.name} minimises nothing: {method.title}")

    def of_step(features: Features, batch: Batch, *, step: int, epoch: int) -> Loss:
        drawn = draws(method, len(features.image), generator(settings.seed, "mixing", step), settings)
        total, terms = objective(method, features, drawn, settings, epoch)
        return Loss(total, terms, {"lambda": {term: float(lam.mean()) for term, lam in drawn.lam.items()}})

    return of_step
