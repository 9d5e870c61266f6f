"""Uniformity: how evenly rows spread over the sphere, within a modality, across both, and jointly."""

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
class GaussianSums:
    """Fold: sums over unmatched pairs of exp(−t‖x − y‖²), per text (m,) and per image (n,), float64."""

    t: float = 2.0
    unmatched: ClassVar[bool] = True
    rules: ClassVar[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {"text": torch.add, "image": torch.add}

    def start(self, pairing: Pairing) -> dict[str, Tensor]:
        """Zeros."""
        return {
            "text": pairing.text.new_zeros(pairing.m, dtype=torch.float64),
            "image": pairing.text.new_zeros(pairing.n, dtype=torch.float64),
        }

    def update(self, state: dict[str, Tensor], block: Block) -> None:
        """Exp(2t s − 2t): one fused multiply-add and one exponential; matched entries are −inf and give 0."""
        kernel = torch.add(block.s.new_tensor(-2 * self.t), block.s, alpha=2 * self.t, out=block.scratch).exp_()
        if "text" in block.axes:
            state["text"][block.texts] += kernel.sum(1)
        if "image" in block.axes:
            state["image"][block.images] += kernel.sum(0)

    def take(self, state: dict[str, Tensor], block: Block) -> None:
        """As `update`, in compiled loops."""
        from geomclip.metrics.kernels import gaussian_columns, gaussian_rows

        if "text" in block.axes:
            gaussian_rows(block.s.numpy(), 2 * self.t, state["text"][block.texts].numpy())
        if "image" in block.axes:
            gaussian_columns(block.s.numpy(), 2 * self.t, state["image"][block.images].numpy())

    merge = merge_by

    def finish(self, state: dict[str, Tensor], pairing: Pairing) -> dict[str, Tensor]:
        """Both vectors, texts in sorted order; of a cloud against itself both are the sums over all other rows."""
        if pairing.mirrored:
            whole = state["text"] + state["image"]
            return {"text": whole, "image": whole}
        return state


@on_unit_rows
def uniformity(x: Tensor, *, t: float = 2.0) -> Tensor:
    """Log mean Gaussian potential over all pairs of rows: −4t (two poles) to 0 (one point); lower is more even.
    Rows are normalised.

    log mean over pairs p < q of exp(−t‖z_p − z_q‖²). Rows spread evenly over a sphere of many dimensions
    come near −2t: −4 for t = 2.

    Parameters
    ----------
    x : array of shape (n, d)
        n at least 2.
    t : float
        Sharpness; 2 is the custom.

    Returns
    -------
    0-d float64

    Raises
    ------
    ValueError
        With fewer than 2 rows.

    References
    ----------
    Wang and Isola (2020), ICML.

    Examples
    --------
    >>> round(uniformity(torch.eye(3)).item(), 6)  # all pairs at squared distance 2
    -4.0
    """
    if len(x) < 2:
        raise ValueError(f"uniformity needs at least 2 rows, got {len(x)}")
    (sums,) = sweep(Pairing.within(x), [GaussianSums(t)])
    return (sums["image"].sum() / (len(x) * (len(x) - 1))).log()


@on_unit_rows
def uniformity_cross(image: Tensor, text: Tensor, image_of_text: Tensor | None = None, *, t: float = 2.0) -> Tensor:
    """Log mean Gaussian potential over unmatched image-text pairs: −4t to 0; lower is further apart.
    Rows are normalised.

    Parameters
    ----------
    image, text, image_of_text
        As in `alignment`.
    t : float

    Returns
    -------
    0-d float64

    Raises
    ------
    ValueError
        If there is no unmatched pair.

    References
    ----------
    Oh et al. (2023), NeurIPS, whose uniformity is cross-modal.

    Examples
    --------
    >>> round(uniformity_cross(torch.eye(3), torch.eye(3)).item(), 6)
    -4.0
    """
    pairing = Pairing.of(image, text, image_of_text)
    pairs = pairing.n * pairing.m - pairing.m
    if pairs == 0:
        raise ValueError("there is no unmatched pair of image and text")
    (sums,) = sweep(pairing, [GaussianSums(t)])
    return (sums["text"].sum() / pairs).log()


@on_unit_rows
def uniformity_joint(image: Tensor, text: Tensor, *, t: float = 2.0) -> Tensor:
    """`uniformity` of the stacked set [image; text], every text counted: −4t to 0; lower is more even.
    Rows are normalised.

    Parameters
    ----------
    image : array of shape (n, d)
    text : array of shape (m, d)
    t : float

    Returns
    -------
    0-d float64

    References
    ----------
    Wang and Isola (2020), of both modalities together.

    Examples
    --------
    >>> round(uniformity_joint(torch.eye(4)[:2], torch.eye(4)[2:]).item(), 6)
    -4.0
    """
    return torch.as_tensor(uniformity(torch.cat([image, text.to(image.dtype)]), t=t))
