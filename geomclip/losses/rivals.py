"""Other answers to which negatives count: weighted by their hardness, or each judged alone."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from geomclip.losses import blockwise
from geomclip.losses.batch import cosines, paired, scaled, without_diagonal


def hcl(
    image: Tensor, text: Tensor, temperature: float | Tensor, *, tau_plus: float = 0.1, beta: float = 1.0
) -> Tensor:
    """Contrastive term with hard negatives counted more, and the share of false ones taken out.

    −log p/(p + N_g) with p = exp(x_i · y_i/τ), n_j = exp(x_i · y_j/τ), j ≠ i, N = M − 1 and

        N_g = max((Σ n_j^(1+β) / mean n_j^β − τ₊ N p)/(1 − τ₊), N exp(−1/τ)),

    where the bound is the least that N negatives can have, so that N_g is positive. β = τ₊ = 0 is `contrastive`.

    Parameters
    ----------
    image, text, temperature
        As in `contrastive`.
    tau_plus : float
        τ₊, the share of negatives that are in truth positives; 0 to below 1.
    beta : float
        β, how much harder negatives count; 0: all the same.

    Returns
    -------
    0-d Tensor, at least 0

    Raises
    ------
    ValueError
        As in `contrastive`, and for τ₊ outside [0, 1) or negative β.

    References
    ----------
    Robinson et al. (2021), "Contrastive learning with hard negative samples", ICLR.

    Examples
    --------
    >>> round(hcl(torch.eye(2), torch.eye(2), 1.0, tau_plus=0.0, beta=0.0).item(), 4)
    0.3133
    """
    if not (0 <= tau_plus < 1 and beta >= 0):
        raise ValueError(f"tau_plus must be in [0, 1) and beta at least 0, got {tau_plus} and {beta}")
    x, y = paired(image, text)
    logits = scaled(cosines(x, y), temperature)
    positive = logits.diagonal()
    harder, hard = without_diagonal((1 + beta) * logits), without_diagonal(beta * logits)
    count = len(x) - 1
    least = math.log(count) - 1 / temperature - positive  # of log(N_g/p)

    def direction(dim: int) -> Tensor:
        # everything as logarithms over p: at τ = 0.01 the exponentials themselves leave float32
        weight = harder.logsumexp(dim) - hard.logsumexp(dim) + math.log(count) - positive
        if tau_plus:
            above = weight - math.log(tau_plus * count)  # the logarithm of how much the share of p is exceeded
            enough = above > 0
            above = torch.where(enough, above, 1.0)
            weight = math.log(tau_plus * count) + above + torch.log(-torch.expm1(-above))
            weight = torch.where(enough, weight - math.log1p(-tau_plus), least)
        return F.softplus(torch.maximum(weight, least)).mean()

    return (direction(1) + direction(0)) / 2


def siglip(image: Tensor, text: Tensor, temperature: float | Tensor, bias: float | Tensor | None = None) -> Tensor:
    """Each of the M x M pairs judged alone: −Σ_ij log σ(±(x_i · y_j/τ + b)) / M, + where i = j.

    Parameters
    ----------
    image, text, temperature
        As in `contrastive`.
    bias : float or 0-d Tensor, optional
        b. Left out: the one at which the loss of this batch is least, where the probabilities of a match sum to M;
        a learned bias comes to rest there.

    Returns
    -------
    0-d Tensor, at least 0

    Raises
    ------
    ValueError
        As in `contrastive`.

    References
    ----------
    Zhai et al. (2023), "Sigmoid loss for language image pre-training", ICCV.

    Examples
    --------
    >>> x, y = torch.eye(2), torch.eye(2)
    >>> round(siglip(x, y, 1.0, bias=-0.5).item(), 4)  # all four at ±0.5: 2 log(1 + exp(−0.5))
    0.9482
    >>> round(siglip(x, y, 1.0).item(), 4)
    0.9482
    """
    x, y = paired(image, text)
    if len(x) > blockwise.DENSE_UP_TO:
        return blockwise.siglip(x, y, temperature, bias)
    logits = scaled(cosines(x, y), temperature)
    logits = logits + (resting_bias(logits) if bias is None else bias)
    against = torch.diagonal_scatter(logits, -logits.diagonal())  # evidence against what is so
    return F.softplus(against).sum() / len(x)


@torch.no_grad()
def resting_bias(logits: Tensor) -> Tensor:
    """b with Σ σ(logits + b) = M, by halving: there the loss does not change with b, so b needs no gradient."""
    m = len(logits)
    low, high = -logits.max() - math.log(m), -logits.min()  # Σ σ below m²/(1 + m), and at least m²/2
    for _ in range(24):  # an interval of 200 comes down to 1e-5, the loss to its square
        middle = (low + high) / 2
        over = torch.sigmoid(logits + middle).sum() > m
        low, high = torch.where(over, low, middle), torch.where(over, middle, high)
    return (low + high) / 2
