"""Terms that preserve a base model: how far rows, and their cosines, are from those it gives the same inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from geomclip.losses.batch import cosines, paired


def embedding_preservation(image: Tensor, text: Tensor, base_image: Tensor, base_text: Tensor) -> Tensor:
    """How far the rows have moved, lengths included: Σ_i |x_i − x⁰_i|² / Σ_i |x⁰_i|², mean over images and texts.

    1 is a move as long as the rows of the base are, whatever length a model gives its rows. Of unit rows it is twice
    `cosine_preservation`; the difference is what rows before normalisation do to their lengths.

    Parameters
    ----------
    image, text : Tensor of shape (M, D)
        Rows of any length, as a tower gives them; M at least 2.
    base_image, base_text : Tensor of shape (M, D)
        Those of the base for the same inputs, in the same order.

    Returns
    -------
    0-d Tensor, at least 0; NaN where all rows of the base are zero

    Raises
    ------
    ValueError
        If the shapes differ or are not (M, D), or M is below 2.

    References
    ----------
    Romero et al. (2015), "FitNets: hints for thin deep nets", ICLR (a squared distance of features).

    Examples
    --------
    >>> embedding_preservation(2 * torch.eye(2), torch.eye(2), torch.eye(2), torch.eye(2)).item()
    0.5
    """
    sides = _beside(image, text, base_image, base_text)
    moved = [(rows - there).square().sum() / there.square().sum() for rows, there in sides]
    return torch.stack(moved).mean()


def cosine_preservation(image: Tensor, text: Tensor, base_image: Tensor, base_text: Tensor) -> Tensor:
    """How far the directions of the rows have turned: mean of 1 − x_i · x⁰_i over images and texts, 0 to 2.

    Computed as |x_i − x⁰_i|²/2, which is the same of unit rows and exact where nothing has turned.

    Parameters
    ----------
    image, text, base_image, base_text : Tensor of shape (M, D)
        As in `embedding_preservation`, of unit length.

    Returns
    -------
    0-d Tensor, at least 0

    Raises
    ------
    ValueError
        If the shapes differ or are not (M, D), or M is below 2.

    References
    ----------
    Hou et al. (2019), "Learning a unified classifier incrementally via rebalancing", CVPR (the less-forget constraint).

    Examples
    --------
    >>> cosine_preservation(torch.eye(2), torch.eye(2), -torch.eye(2), torch.eye(2)).item()
    1.0
    """
    sides = _beside(image, text, base_image, base_text)
    return torch.stack([(rows - there).square().sum(dim=1).mean() / 2 for rows, there in sides]).mean()


def similarity_preservation(image: Tensor, text: Tensor, base_image: Tensor, base_text: Tensor) -> Tensor:
    """How far cosines are from those of the base: mean squared difference of their matrices, mean of three, 0 to 4.

    The three are images with images, texts with texts, and images with texts, M x M each, with their diagonals. A
    rotation of all rows together costs nothing: only how they lie to each other is held.

    Parameters
    ----------
    image, text, base_image, base_text
        As in `cosine_preservation`.

    Returns
    -------
    0-d Tensor, at least 0

    Raises
    ------
    ValueError
        As in `cosine_preservation`.

    References
    ----------
    Tung and Mori (2019), "Similarity-preserving knowledge distillation", ICCV (matrices of a batch);
    Park et al. (2019), "Relational knowledge distillation", CVPR (relations of rows in place of rows).

    Examples
    --------
    >>> turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    >>> similarity_preservation(turn, turn, torch.eye(2), torch.eye(2)).item()
    0.0
    """
    (x, x0), (y, y0) = _beside(image, text, base_image, base_text)
    pairs = (((x, x), (x0, x0)), ((y, y), (y0, y0)), ((x, y), (x0, y0)))
    return torch.stack([(cosines(*now) - cosines(*then)).square().mean() for now, then in pairs]).mean()


def _beside(
    image: Tensor, text: Tensor, base_image: Tensor, base_text: Tensor
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Images with those of the base, and texts, checked, in one type of at least float32."""
    if base_image.shape != image.shape or base_text.shape != text.shape:
        shapes = [tuple(each.shape) for each in (image, base_image, text, base_text)]
        raise ValueError("rows and those of the base must have one shape, got {} and {}, {} and {}".format(*shapes))
    x, y = paired(image, text)
    x0, y0 = paired(base_image, base_text)
    dtype = torch.promote_types(x.dtype, x0.dtype)
    return (x.to(dtype), x0.to(dtype)), (y.to(dtype), y0.to(dtype))
