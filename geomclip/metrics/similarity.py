"""Two spaces of the same items compared: before and after training, model A and B, image and text."""

from __future__ import annotations

import torch
from torch import Tensor

from geomclip.machine import scratch
from geomclip.metrics.kinds import on_unit_rows
from geomclip.metrics.neighborhood import NearestBlock, neighbors


@on_unit_rows
def linear_cka(x: Tensor, y: Tensor) -> Tensor:
    """Linear CKA, unbiased: 1 (same up to rotation and scale), about 0 (unrelated); higher is closer.
    Rows are normalised.

    HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)) with the unbiased estimator of HSIC, K = XXᵀ, L = YYᵀ; never n x n.
    Slightly negative by chance.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        n at least 4.
    y : Tensor of shape (n, e)
        Row i is the same item as row i of x.

    Returns
    -------
    Tensor of shape (), float64
        Symmetric.

    Raises
    ------
    ValueError
        With fewer than 4 rows, or where all rows of x, or of y, are one point or equally far from each other.

    References
    ----------
    Song et al. (2012), "Feature selection via dependence maximization", JMLR 13, equation 5;
    Kornblith et al. (2019), "Similarity of neural network representations revisited", ICML;
    Nguyen et al. (2021), "Do wide and deep networks learn the same things?", ICLR.

    Examples
    --------
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [0.6, 0.8]])
    >>> round(linear_cka(x, x.flip(1)).item(), 6)
    1.0
    """
    _check_same_items(x, y, least=4)
    x, y = _centered(x, "x"), _centered(y, "y")
    return _hsic_unbiased(x, y) / (_hsic_of_one(x, "x") * _hsic_of_one(y, "y")).sqrt()


@on_unit_rows
def linear_cka_biased(x: Tensor, y: Tensor) -> Tensor:
    """Linear CKA as first published: 0 to 1, higher is closer; far above 0 for unrelated clouds where n < d.
    Rows are normalised.

    ‖XᵀY‖² / (‖XᵀX‖ ‖YᵀY‖) of the centred rows. Arguments as in `linear_cka`; 2 rows are enough.

    References
    ----------
    Kornblith et al. (2019), "Similarity of neural network representations revisited", ICML.

    Examples
    --------
    >>> x = torch.eye(5)
    >>> round(linear_cka_biased(x, x.flip(1)).item(), 6)
    1.0
    """
    _check_same_items(x, y, least=2)
    x, y = _centered(x, "x"), _centered(y, "y")
    return _energy(x.T @ y) / (_energy(x.T @ x) * _energy(y.T @ y)).sqrt()


@on_unit_rows
def mutual_knn(x: Tensor, y: Tensor, *, k: int = 10) -> Tensor:
    """Share of the k nearest neighbours in one space that are so in the other too: 0 to 1; higher is closer.
    Rows are normalised.

    An item is no neighbour of itself. Where several tie for the last places they share them in equal
    fractions, and an item counts with the smaller of its two shares. By chance: k/(n − 1).

    Parameters
    ----------
    x : Tensor of shape (n, d)
    y : Tensor of shape (n, e)
        Row i is the same item as row i of x.
    k : int
        1 to n − 1.

    Returns
    -------
    Tensor of shape (), float64
        Symmetric.

    Raises
    ------
    ValueError
        If k is not between 1 and n − 1.

    References
    ----------
    Huh et al. (2024), "The Platonic representation hypothesis", ICML.

    Examples
    --------
    >>> x = torch.nn.functional.normalize(torch.tensor([[1.0, 0], [9, 1], [1, 9], [0, 1]]), dim=1)
    >>> mutual_knn(x, x.flip(0), k=1).item()
    1.0
    """
    _check_same_items(x, y, least=2)
    kept = 0.0
    # the two spaces may cut their rows differently: a few rows at a time, each cut once more inside
    step = max(1, ROWS_TIMES_ITEMS // len(x))
    for start in range(0, len(x), step):
        stop = min(start + step, len(x))
        kept += float(torch.minimum(_dense(x, k, start, stop), _dense(y, k, start, stop)).sum())
    return torch.tensor(kept / (len(x) * k), dtype=torch.float64)


def mutual_knn_chance(n: int, k: int = 10) -> float:
    """What `mutual_knn` is between unrelated spaces: k/(n − 1).

    Examples
    --------
    >>> mutual_knn_chance(101)
    0.1
    """
    return k / (n - 1)


@on_unit_rows
def procrustes_distance(x: Tensor, y: Tensor) -> Tensor:
    """What no rotation of one cloud onto the other removes: 0 (same shape) to 1; lower is closer. Rows are normalised.

    1 − (Σ singular values of XᵀY)² of the centred clouds at Frobenius norm 1: the squared residual once y is
    turned, mirrored and scaled onto x. Spaces of different dimensions are padded with zeros.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    y : Tensor of shape (n, e)
        Row i is the same item as row i of x.

    Returns
    -------
    Tensor of shape (), float64
        Symmetric.

    Raises
    ------
    ValueError
        If all rows of x, or of y, are one point.

    References
    ----------
    Gower (1975), "Generalized Procrustes analysis", Psychometrika 40; `disparity` in scipy's `procrustes`.

    Examples
    --------
    >>> x = torch.eye(5)
    >>> round(procrustes_distance(x, x.flip(1)).item(), 6)
    0.0
    """
    _check_same_items(x, y, least=2)
    x, y = _centered(x, "x"), _centered(y, "y")
    overlap = torch.linalg.svdvals(x.T @ y).sum() / (_energy(x) * _energy(y)).sqrt()
    return (1 - overlap.square()).clamp(0, 1)


ROWS_TIMES_ITEMS = 8_000_000
"""Neighbour shares held at a time in each space: 64 MB."""


def _dense(x: Tensor, k: int, start: int, stop: int) -> Tensor:
    """Shares of the neighbour places of rows start to stop among all rows of x: (stop - start, n)."""
    held = torch.zeros(stop - start, len(x), dtype=torch.float64)
    for block in neighbors(x, x, k, exclude_self=True, rows=(start, stop)):
        _fill(held, block, start)
    return held


def _fill(held: Tensor, block: NearestBlock, start: int) -> None:
    held[(block.plain - start)[:, None], block.nearest] = 1
    held[block.tied - start] = block.shares.double()


def _check_same_items(x: Tensor, y: Tensor, *, least: int) -> None:
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"rows of x and y must be the same items, got {tuple(x.shape)} and {tuple(y.shape)}")
    if len(x) < least:
        raise ValueError(f"at least {least} rows are needed, got {len(x)}")


def _centered(x: Tensor, name: str) -> Tensor:
    x = scratch.to(x, torch.float64)
    moved = torch.sub(x, x.mean(dim=0), out=scratch.empty(*x.shape, dtype=torch.float64))
    if _energy(moved) <= 1e-28 * _energy(x):
        raise ValueError(f"all rows of {name} are one point, so there is no shape to compare")
    return moved


def _squares(x: Tensor) -> Tensor:
    """The squared length of each row."""
    return scratch.each(lambda some: some.square().sum(dim=1), x)


def _energy(x: Tensor) -> Tensor:
    return torch.square(x, out=scratch.empty(*x.shape, dtype=x.dtype)).sum()


def _hsic_unbiased(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased HSIC of XXᵀ and YYᵀ, both with zeroed diagonals, of centred x (n, d) and y (n, e)."""
    n = len(x)
    own_x, own_y = _squares(x), _squares(y)  # the diagonals
    both = _energy(x.T @ y) - own_x @ own_y  # tr KL
    # rows of centred x sum to zero, so a row of K without its diagonal sums to -|x_i|²
    sums = own_x.sum() * own_y.sum() / ((n - 1) * (n - 2))  # 1ᵀK1 1ᵀL1
    cross = 2 / (n - 2) * (own_x @ own_y)  # 1ᵀKL1
    return (both + sums - cross) / (n * (n - 3))


def _hsic_of_one(x: Tensor, name: str) -> Tensor:
    value = _hsic_unbiased(x, x)
    # of points equally far from each other nothing but rounding is left
    if value * len(x) ** 2 <= 1e-12 * _energy(x.T @ x):
        raise ValueError(f"all rows of {name} are equally far from each other, so there is no shape to compare")
    return value
