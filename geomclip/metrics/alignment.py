"""Alignment: how close an image and its own text are, absolutely and against the nearest wrong one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from geomclip.metrics.folds import Block, merge_by
from geomclip.metrics.kinds import on_unit_rows
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.sweep import sweep


@dataclass(frozen=True)
class Hardest:
    """Fold: the best unmatched score of each text (m,) and of each image (n,); -inf where there is none."""

    unmatched: ClassVar[bool] = True
    rules: ClassVar[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
        "text": torch.maximum,
        "image": torch.maximum,
    }

    def start(self, pairing: Pairing) -> dict[str, Tensor]:
        """Nothing seen yet."""
        return {
            "text": pairing.text.new_full((pairing.m,), -torch.inf),
            "image": pairing.image.new_full((pairing.n,), -torch.inf),
        }

    def update(self, state: dict[str, Tensor], block: Block) -> None:
        """Take the largest of each row and column."""
        text, image = state["text"][block.texts], state["image"][block.images]
        if "text" in block.axes:
            torch.maximum(text, block.s.amax(1), out=text)
        if "image" in block.axes:
            torch.maximum(image, block.s.amax(0), out=image)

    def take(self, state: dict[str, Tensor], block: Block) -> None:
        """As `update`, in compiled loops."""
        from geomclip.metrics.kernels import largest_columns, largest_rows

        if "text" in block.axes:
            largest_rows(block.s.numpy(), state["text"][block.texts].numpy())
        if "image" in block.axes:
            largest_columns(block.s.numpy(), state["image"][block.images].numpy())

    merge = merge_by

    def finish(self, state: dict[str, Tensor], pairing: Pairing) -> dict[str, Tensor]:
        """Both vectors in float64, texts in sorted order; of a cloud against itself both are those of all rows."""
        if pairing.mirrored:
            best = torch.maximum(state["text"], state["image"]).double()
            return {"text": best, "image": best}
        return {key: value.double() for key, value in state.items()}


@on_unit_rows
def alignment(image: Tensor, text: Tensor, image_of_text: Tensor | None = None) -> Tensor:
    """Mean squared distance between a text and its image: 0 (one point) to 4 (opposite); lower is closer.
    Rows are normalised.

    The mean over texts j of ‖x_own(j) − y_j‖² = 2 − 2 cos.

    Parameters
    ----------
    image : array of shape (n, d)
    text : array of shape (m, d)
    image_of_text : integer array of shape (m,), optional
        Row of the image that each text describes; left out: text i describes image i.

    Returns
    -------
    0-d float64, in squared units of the sphere's radius.

    References
    ----------
    Wang and Isola (2020), "Understanding contrastive representation learning through alignment and
    uniformity on the hypersphere", ICML; α = 2.

    Examples
    --------
    >>> round(alignment(torch.eye(3), torch.eye(3)[[1, 1, 2]]).item(), 6)  # (2 + 0 + 0)/3
    0.666667
    """
    return 2 - 2 * Pairing.of(image, text, image_of_text).matched.mean()


@on_unit_rows
def relative_alignment_text_to_image(image: Tensor, text: Tensor, image_of_text: Tensor | None = None) -> Tensor:
    """How much closer the nearest wrong image is than the right one: −4 to 4; lower is better. Rows are normalised.

    The mean over texts j of ‖x_own(j) − y_j‖² − min over i ≠ own(j) of ‖x_i − y_j‖², negative where the own
    image wins on average.

    Parameters
    ----------
    image, text, image_of_text
        As in `alignment`.

    Returns
    -------
    0-d float64

    References
    ----------
    Oh et al. (2023), "Geodesic Multi-Modal Mixup for Robust Fine-Tuning", NeurIPS.

    Examples
    --------
    >>> relative_alignment_text_to_image(torch.eye(3), torch.eye(3)).item()  # 0 - 2
    -2.0
    """
    pairing = Pairing.of(image, text, image_of_text)
    (hardest,) = sweep(pairing, [Hardest()])
    return relative_text_to_image(pairing, hardest["text"]).mean()


@on_unit_rows
def relative_alignment_image_to_text(image: Tensor, text: Tensor, image_of_text: Tensor | None = None) -> Tensor:
    """The same from the images: 2 mean_i (best unmatched score − mean matched score); −4 to 4; lower is better.
    Rows are normalised.

    Images without text are left out, and so is an image that owns every text.

    Parameters
    ----------
    image, text, image_of_text
        As in `alignment`.

    Returns
    -------
    0-d float64

    Raises
    ------
    ValueError
        If no image has both a text of its own and a text of another.

    References
    ----------
    Oh et al. (2023), as above, with several texts an image.

    Examples
    --------
    >>> relative_alignment_image_to_text(torch.eye(2), torch.eye(2)[[0, 0, 1]], torch.tensor([0, 0, 1])).item()
    -2.0
    """
    pairing = Pairing.of(image, text, image_of_text)
    (hardest,) = sweep(pairing, [Hardest()])
    each = relative_image_to_text(pairing, hardest["image"])
    kept = each[torch.isfinite(each)]
    if not len(kept):
        raise ValueError("no image has both a text of its own and a text of another image")
    return kept.mean()


def relative_text_to_image(pairing: Pairing, hardest: Tensor) -> Tensor:
    """(m,) contribution of each sorted text to the relative alignment, from its best unmatched score."""
    return 2 * (hardest - pairing.matched)


def relative_image_to_text(pairing: Pairing, hardest: Tensor) -> Tensor:
    """(n,) contribution of each image; NaN where it has no text or no unmatched one (those are left out)."""
    mean_matched = pairing.per_image(pairing.matched) / pairing.texts_of_image
    each = 2 * (hardest - mean_matched)
    return torch.where(torch.isfinite(each), each, torch.nan)
