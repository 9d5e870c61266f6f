"""Methods: one table, one line a method, from a name to what is minimised; nothing heavy is loaded to read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from geomclip.machine.errors import InputError
from geomclip.machine.words import nearest
from geomclip.training.settings import WEIGHTS, Settings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from geomclip.training.batches import Batch
    from geomclip.training.trainer import Loss, Objective

OH = "Oh et al. 2023"
EQUAL = {"weights": {**WEIGHTS, "v_mix": 1.0, "l_mix": 1.0, "vl_mix": 1.0}, "decay": "none"}
"""Mixed terms that are the loss or half of it, and no small addition that fades."""


@dataclass(frozen=True)
class Method:
    """What is minimised, and when."""

    name: str
    title: str
    source: str
    plain: Mapping[str, float] = field(default_factory=dict)  # terms with their weights
    mixed: tuple[str, ...] = ()  # terms whose weights are settings and decay with the epochs
    stage: Literal["train", "after", "without"] = "train"  # after training, or without any
    defaults: Mapping[str, Any] = field(default_factory=dict)  # settings that differ for this method
    heads_first: float = 0.0  # share of the steps in which only the projection heads are trained

    @property
    def terms(self) -> tuple[str, ...]:
        """All that is computed, in the order of the log."""
        return (*self.plain, *self.mixed)


PLAIN = {"contrastive": 1.0}
CYCLIC = {**PLAIN, "in_modal_consistency": 0.25, "cross_modal_consistency": 0.25}
CUA = {**PLAIN, "uniformity": 1.0, "alignment": 1.0}
WITHIN = ("v_mix", "l_mix", "vl_mix")
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("ft", "contrastive", "Radford et al. 2021", PLAIN),
        Method("m2mix", "contrastive, negatives mixed across modalities", OH, PLAIN, ("m2_mix",)),
        Method("m3mix", "m2mix, vmix, lmix and vlmix", OH, PLAIN, ("m2_mix", *WITHIN), defaults={"beta_m2": 0.2}),
        Method("vmix", "contrastive, images mixed", OH, PLAIN, ("v_mix",)),
        Method("lmix", "contrastive, texts mixed", OH, PLAIN, ("l_mix",)),
        Method("vlmix", "contrastive, images and texts mixed alike", OH, PLAIN, ("vl_mix",)),
        Method("imix", "vmix, lmix and vlmix without contrastive", "Lee et al. 2021", {}, WITHIN, defaults=EQUAL),
        Method("unmix", "vmix, lmix and vlmix at full weight", "Shen et al. 2022", PLAIN, WITHIN, defaults=EQUAL),
        Method("hcl", "contrastive, hard negatives weighted", "Robinson et al. 2021", {"hcl": 1.0}),
        Method("cyclip", "contrastive, cosines consistent in and across modalities", "Goel et al. 2022", CYCLIC),
        Method("cua", "contrastive, uniformity, alignment", "Fahim et al. 2024", CUA),
        Method("cuaxu", "cua, uniformity across modalities", "Fahim et al. 2024", {**CUA, "cross_uniformity": 1.0}),
        Method("siglip", "each pair judged alone", "Zhai et al. 2023", {"siglip": 1.0}),
        # half of the steps each, so that the budget is that of ft
        Method("lp-ft", "contrastive, heads first, then all", "Kumar et al. 2022", PLAIN, heads_first=0.5),
        Method("wise-ft", "weights between those before and after", "Wortsman et al. 2022", stage="after"),
        Method("es", "rows shifted along the gap", "Liang et al. 2022", stage="without"),
    )
}


def method_named(name: str) -> Method:
    """A method of the table.

    Raises
    ------
    InputError
        If there is none of this name; the message has the nearest.

    Examples
    --------
    >>> method_named("m2mix").terms
    ('contrastive', 'm2_mix')
    """
    if name not in METHODS:
        hint = nearest(name, list(METHODS)) or f"; the methods are {', '.join(METHODS)}"
        raise InputError(f"unknown method {name!r}{hint}")
    return METHODS[name]


# ----------------------------------------------------------------------------------------------------- randomness

BETA = {"m2_mix": "beta_m2", "v_mix": "beta_mix", "l_mix": "beta_mix", "vl_mix": "beta_vl"}
"""The setting b of each mixed term's λ ~ Beta(b, b)."""


@dataclass(frozen=True)
class Draws:
    """The randomness of one step, on the CPU."""

    lam: Mapping[str, Tensor]  # λ of each mixed term, () or (M,)
    partner: Tensor  # (M,): the pair that each is mixed with


def draws(method: Method, size: int, generator: torch.Generator, settings: Settings) -> Draws:
    """Mixing shares and partners for a joint batch of `size` pairs, from the generator alone.

    Every term has a stream of its own, so that two methods that share a term share its λ.

    Raises
    ------
    ValueError
        If size is below 2: nothing has a partner.
    """
    import numpy as np
    import torch

    if size < 2:
        raise ValueError(f"a batch of {size} has no partners to mix: at least 2 pairs are needed")
    seed = int(torch.randint(2**62, (), generator=generator))
    shape = (size,) if settings.per_sample else ()
    lam = {}
    for place, (term, beta) in enumerate(BETA.items()):
        if term in method.mixed:
            b = getattr(settings, beta)
            lam[term] = torch.as_tensor(np.random.default_rng([seed, place]).beta(b, b, shape))
    return Draws(lam, partners(size, generator, settings.partner))


def partners(size: int, generator: torch.Generator, kind: str) -> Tensor:
    """Another pair for each: all arrangements without a fixed point alike, or ("flip") the batch reversed."""
    import torch

    own = torch.arange(size)
    if kind == "flip":
        return own.flip(0)
    while True:  # 1 in e permutations will do
        drawn = torch.randperm(size, generator=generator)
        if not (drawn == own).any():
            return drawn


# ------------------------------------------------------------------------------------------------------ objective


@dataclass(frozen=True)
class Features:
    """The rows of a joint batch and what turns their cosines into logits."""

    image: Tensor  # (M, D), unit rows
    text: Tensor  # (M, D), row i belongs to image i
    scale: Tensor  # 0-d, 1/τ
    bias: Tensor | None = None  # 0-d, of models trained with a sigmoid


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
    table = _terms(features, drawn, settings)
    values = {term: table[term]() for term in method.terms}
    total = sum((weights[term] * value for term, value in values.items()), start=features.scale.new_zeros(()))
    return total, {term: value.detach() for term, value in values.items()}


def _terms(features: Features, drawn: Draws, settings: Settings) -> dict[str, Callable[[], Tensor]]:
    """Every term that a method can have, computed when called."""
    from geomclip import losses

    x, y, tau = features.image, features.text, 1 / features.scale
    lam, r = drawn.lam, drawn.partner
    return {
        "contrastive": lambda: losses.contrastive(x, y, tau),
        "m2_mix": lambda: losses.m2_mix(x, y, lam["m2_mix"], settings.temperature_m2),
        "v_mix": lambda: losses.v_mix(x, y, lam["v_mix"], r, tau),
        "l_mix": lambda: losses.l_mix(x, y, lam["l_mix"], r, tau),
        "vl_mix": lambda: losses.vl_mix(x, y, lam["vl_mix"], r, tau, target=settings.vl_target),
        "hcl": lambda: losses.hcl(x, y, tau),
        "in_modal_consistency": lambda: losses.in_modal_consistency(x, y),
        "cross_modal_consistency": lambda: losses.cross_modal_consistency(x, y),
        "uniformity": lambda: losses.uniformity(x, y),
        "alignment": lambda: losses.alignment(x, y),
        "cross_uniformity": lambda: losses.cross_uniformity(x, y),
        "siglip": lambda: losses.siglip(x, y, tau, features.bias),
    }


def method_objective(method: Method, settings: Settings) -> Objective:
    """What a method minimises, as the trainer asks for it: the draws of a step are those of the seed and the step.

    Raises
    ------
    InputError
        If the method does not train.
    """
    from geomclip.training.seeds import generator
    from geomclip.training.trainer import Loss

    if method.stage != "train":
        raise InputError(f"{method.name} minimises nothing: {method.title}")

    def of_step(features: Features, batch: Batch, *, step: int, epoch: int) -> Loss:
        drawn = draws(method, len(features.image), generator(settings.seed, "mixing", step), settings)
        total, terms = objective(method, features, drawn, settings, epoch)
        return Loss(total, terms, {term: float(lam.mean()) for term, lam in drawn.lam.items()})

    return of_step
