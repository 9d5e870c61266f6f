"""Preservation: the rows that the model before training gives a batch, and terms that hold those of now to them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from geomclip import losses
from geomclip.embeddings.geometry import normalize
from geomclip.machine.errors import InputError
from geomclip.machine.words import option
from geomclip.training.batches import Batch
from geomclip.training.objective import Features, Loss, Objective

LENGTHS = ("embedding",)
"""Kinds that hold rows before normalisation; the others unit rows."""


class Base:
    """A model as it is now, kept so: its rows of a batch, without gradients, dropout off and statistics fixed.

    Parameters
    ----------
    module : nn.Module
        In the precision of the passes, so that what has not changed is at distance 0.
    own : bool
        Copy the weights; off where nobody will change them, as those below low-rank adapters.
    """

    def __init__(self, module: nn.Module, *, own: bool) -> None:
        self.module = (copy.deepcopy(module) if own else module).eval()

    @torch.no_grad()
    def rows(self, parts: Sequence[Batch], device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Unit rows of images and of texts, and the lengths of both, of all parts of a batch in order."""
        made = [self._rows(part, device) for part in parts]
        image, text, image_length, text_length = (torch.cat(side) for side in zip(*made, strict=True))
        return image, text, image_length, text_length

    def _rows(self, part: Batch, device: str) -> tuple[Tensor, ...]:
        pixels = part.pixels.to(device, non_blocking=True).to(next(self.module.parameters()).dtype)
        tokens = part.tokens.to(device, non_blocking=True)
        image, text = self.module.encode_image(pixels), self.module.encode_text(tokens)  # type: ignore[operator]
        try:
            (x, x_length), (y, y_length) = unit_rows(image), unit_rows(text)
        except ValueError as problem:
            raise InputError(f"{option('preserve')}: the rows of the base are unusable: {problem}") from problem
        return x, y, x_length, y_length


def unit_rows(encoded: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Unit rows in float32 of what a tower gives, and their lengths (n,); ValueError for rows without a direction."""
    rows, lengths = normalize((encoded[0] if isinstance(encoded, tuple) else encoded).float())  # CoCa gives tokens too
    return rows, lengths.float()


def preserving(objective: Objective, weights: Mapping[str, float]) -> Objective:
    """An objective, and weights times what has changed of the base: its kinds as `geomclip.losses` has them."""

    def both(features: Features, batch: Batch, *, step: int, epoch: int) -> Loss:
        loss = objective(features, batch, step=step, epoch=epoch)
        values = {f"{kind}_preservation": changed(kind, features) for kind in weights}
        total = loss.total + sum(
            weight * value for weight, value in zip(weights.values(), values.values(), strict=True)
        )
        return replace(
            loss, total=total, terms={**loss.terms, **{name: each.detach() for name, each in values.items()}}
        )

    return both


def changed(kind: str, features: Features) -> Tensor:
    """How far the rows of a joint batch are from those of the base, in one kind."""
    found = features.preserved
    assert found is not None
    rows, base = (features.image, features.text), found.base
    if kind in LENGTHS:
        rows, base = _long(rows, found.lengths), _long(base, found.base_lengths)
    value: Tensor = getattr(losses, f"{kind}_preservation")(*rows, *base)
    return value


def _long(rows: tuple[Tensor, Tensor], lengths: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Unit rows at the lengths that they had."""
    image, text = (side * length[:, None] for side, length in zip(rows, lengths, strict=True))
    return image, text
