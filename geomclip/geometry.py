"""Primitives on the unit sphere: normalisation and the mean direction; everything else is built on them."""

from __future__ import annotations

import torch
from torch import Tensor


def normalize(x: Tensor, *, name: str = "x") -> tuple[Tensor, Tensor]:
    """Rows of x at length 1, and the lengths they had.

    Rows already at length 1 to within float32 rounding are divided all the same, in the precision of x
    (half types are raised to float32), so that a set measured twice gives the same numbers.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        No row may be zero or hold NaN or infinity.
    name : str
        How the error message calls x.

    Returns
    -------
    rows : Tensor of shape (n, d), float32 or float64
    norms : Tensor of shape (n,), float64

    Raises
    ------
    ValueError
        If x is not (n, d), or a row is zero or not finite; the message names the row.

    Examples
    --------
    >>> rows, norms = normalize(torch.tensor([[3.0, 4.0]]))
    >>> rows.tolist(), norms.tolist()
    ([[0.6000000238418579, 0.800000011920929]], [5.0])
    """
    if x.ndim != 2:
        raise ValueError(f"{name} must be (n, d), got shape {tuple(x.shape)}")
    if not x.is_floating_point():
        raise ValueError(f"{name} must hold floating-point numbers, got {x.dtype}")
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    # the largest entry is taken out first, so that the squares neither overflow nor vanish
    largest = x.abs().amax(dim=1, keepdim=True) if x.shape[1] else x.new_zeros(len(x), 1)
    bad = ~torch.isfinite(largest[:, 0])
    if bad.any():
        raise ValueError(f"{name} row {int(bad.nonzero()[0])} holds NaN or infinity ({int(bad.sum())} such rows)")
    zero = largest[:, 0] == 0
    if zero.any():
        raise ValueError(
            f"{name} row {int(zero.nonzero()[0])} is zero and has no direction ({int(zero.sum())} such rows)"
        )
    scaled = x / largest
    lengths = torch.linalg.vector_norm(scaled, dim=1, keepdim=True, dtype=torch.float64)
    norms = lengths[:, 0] * largest[:, 0].double()
    return scaled / lengths.to(x.dtype), norms
