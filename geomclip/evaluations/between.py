"""Between: encoders whose weights lie between those of two, as WiSE-FT takes a fine-tuned one back towards its base."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from geomclip.encoders.clip import Encoder
from geomclip.encoders.saved import with_weights
from geomclip.evaluations.subject import Subject
from geomclip.machine.errors import InputError
from geomclip.machine.words import option

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the way from the base to the model."""


def between(subject: Subject, base: str) -> Iterator[tuple[float, Subject]]:
    """The subject with each mixture of weights, (1 − α) base + α model, from the base on to just before the model.

    Raises
    ------
    InputError
        If one of the two has no weights at hand, or their weights have other names or shapes.

    References
    ----------
    Wortsman et al. (2022), "Robust fine-tuning of zero-shot models", CVPR.
    """
    model = subject.encoder()
    start = replace(subject, model=base, pretrained=None, arch=None, name=None).encoder()
    if not isinstance(model, Encoder) or not isinstance(start, Encoder):
        raise InputError(f"{option('between')} needs the weights of both models: this one only encodes")
    own, other = model.module.state_dict(), start.module.state_dict()
    if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in other.items()}:
        raise InputError(f"{option('between', base)} is of another architecture than the model: name its own base")
    for alpha in ALPHAS[:-1]:
        state = {
            name: (1 - alpha) * other[name] + alpha * value if value.is_floating_point() else value
            for name, value in own.items()
        }
        mixed = with_weights(model, state)
        ends = [share * each.shift for share, each in ((1 - alpha, start), (alpha, model)) if each.shift is not None]
        if ends:  # of method es: moved rows, beside the weights
            mixed = replace(mixed, shift=torch.stack(ends).sum(dim=0))
        yield alpha, replace(subject, model=mixed, pretrained=None, arch=None, name=None, logit_scale=None)
