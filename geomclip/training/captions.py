"""Captions: the loss of CoCa's decoder, a number an image beside the rows of a batch, and what it needs of a model."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from geomclip.machine.errors import InputError
from geomclip.machine.words import option
from geomclip.training.batches import Batch
from geomclip.training.objective import Features, Loss, Objective
from geomclip.training.settings import Settings

CAPTION = "caption"
"""The term, as the log has it."""


def has_decoder(module: nn.Module) -> bool:
    """Whether it writes captions, as CoCa of open_clip does."""
    return hasattr(module, "text_decoder") and hasattr(module, "pad_id")


def check_captioned(module: nn.Module, settings: Settings) -> None:
    """InputError where captions have a weight and cannot be learned.

    Raises
    ------
    InputError
        If the model has no decoder, or another setting leaves the decoder as it is.
    """
    if not settings.caption_weight:
        return
    weighed = option("caption_weight", settings.caption_weight)
    if not has_decoder(module):
        raise InputError(f"{weighed}: this model writes no captions: name a CoCa with {option('model')}, or 0")
    for name in ("lora", "compile"):
        if getattr(settings, name):
            raise InputError(f"{weighed}: {option(name)} does not reach the decoder: leave one of the two out")


def rows_and_captions(module: nn.Module, pixels: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of images and texts, and of each image the negative log-likelihood (b,) of its caption's tokens together."""
    made = module(pixels, tokens)
    loss = nn.functional.cross_entropy(
        made["logits"].float().transpose(1, 2),  # (b, vocabulary, context - 1)
        made["labels"],
        ignore_index=int(module.pad_id),  # type: ignore[arg-type]
        reduction="none",
    )
    return made["image_features"], made["text_features"], loss.sum(dim=1)


def tokens_predicted(module: nn.Module, batch: Batch) -> Tensor:
    """How many tokens of each caption are to be predicted (b,): all but the first and the padding."""
    padding = int(module.pad_id)  # type: ignore[arg-type]
    return batch.tokens[:, 1:].ne(padding).sum(dim=1).float()


def captioned(objective: Objective, weight: float) -> Objective:
    """An objective, and a weight times the mean negative log-likelihood of a token of the captions (in nats)."""

    def both(features: Features, batch: Batch, *, step: int, epoch: int) -> Loss:
        loss = objective(features, batch, step=step, epoch=epoch)
        assert features.caption is not None
        terms = {**loss.terms, CAPTION: features.caption.detach()}
        return replace(loss, total=loss.total + weight * features.caption, terms=terms)

    return both


def mean_of_tokens(losses: Tensor, counts: Tensor) -> Tensor:
    """The mean over the tokens of a joint batch, of sums over each caption (M,) and how many they are of (M,)."""
    return losses.sum() / torch.clamp(counts.sum(), min=1)
