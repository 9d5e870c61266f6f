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


def geodesic_mixup(a: Tensor, b: Tensor, lam: float | Tensor) -> Tensor:
    """The point on the great circle from b (λ = 0) to a (λ = 1), row by row; unit rows in, unit rows out.

    m_λ(a, b) = sin(λθ)/sin θ · a + sin((1 − λ)θ)/sin θ · b with θ = arccos(a · b). It is computed from a + b
    and a − b, which are orthogonal, 2 cos(θ/2) and 2 sin(θ/2) long, and lose no digits at either end:

        m_λ = cos(κθ) (a + b)/‖a + b‖ + sin(κθ) (a − b)/‖a − b‖, κ = λ − ½.

    For θ → 0 the second term goes over into its power series, whose limit is linear. At θ = π, where every great
    circle through a joins a and b, it is the one through the coordinate axis farthest from them; the gradient
    grows with 1/‖a + b‖ on the way there, as that of the geodesic does, and stays finite. Only its part along the
    sphere has a meaning: the normalisation that made the rows drops the rest.

    Parameters
    ----------
    a, b : Tensor of shape (n, d)
        Unit rows, d at least 2. Half types are raised to float32.
    lam : float, or Tensor of shape () or (n,)
        λ, one for all rows or one a row. Beyond 0 to 1 the path goes on past its ends.

    Returns
    -------
    Tensor of shape (n, d), float32 or float64

    Raises
    ------
    ValueError
        If a and b are not of one shape (n, d) with d at least 2, or λ is neither one number nor one a row.

    References
    ----------
    Oh et al. (2023), "Geodesic Multi-Modal Mixup for Robust Fine-Tuning", NeurIPS. Shoemake (1985), "Animating
    rotation with quaternion curves", SIGGRAPH.

    Examples
    --------
    >>> a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> [round(value, 4) for value in geodesic_mixup(a, b, 1 / 3)[0].tolist()]  # 30 of the 90 degrees from b
    [0.5, 0.866]
    """
    if a.ndim != 2 or a.shape != b.shape or a.shape[1] < 2:
        raise ValueError(f"a and b must be (n, d) with d at least 2, got {tuple(a.shape)} and {tuple(b.shape)}")
    # nearer to −a than b can be told in the type it came in
    nothing = 4 * max(torch.finfo(a.dtype).eps, torch.finfo(b.dtype).eps)
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    a, b = a.to(dtype), b.to(dtype)
    lam = share_of_rows(lam, a)
    total, difference = a + b, a - b
    width = torch.linalg.vector_norm(difference, dim=1, keepdim=True)  # (n, 1)
    # rounding of the rows' lengths tilts the two against each other, by much where a + b is short
    tilt = (total * difference).sum(1, keepdim=True) / width.square().clamp_min(1)
    total = total - tilt * difference
    height = torch.linalg.vector_norm(total, dim=1, keepdim=True)
    turn = (lam - 0.5) * 2 * torch.atan2(width, height)  # κθ

    antipodal = height <= nothing
    middle = torch.where(antipodal, axis_across(difference), total / torch.where(antipodal, 1, height))
    # sin(κθ)/(2 sin(θ/2)) = κ F(λ, 1 − λ; 3/2; sin²(θ/2)); below 1e-5 the terms left out are under 1e-16
    t = width.square() / 4
    near = t < 1e-5
    once = lam * (1 - lam)
    series = (lam - 0.5) * (1 + once * t * (2 / 3 + 2 / 15 * (2 + once) * t))
    along = torch.where(near, series, turn.sin() / torch.where(near, 1, width))
    return turn.cos() * middle + along * difference


def share_of_rows(lam: float | Tensor, rows: Tensor) -> float | Tensor:
    """λ as it multiplies the rows (n, d): one number as it is (no transfer between devices), one a row as (n, 1)."""
    if not isinstance(lam, Tensor) or lam.ndim == 0:
        return lam
    if lam.shape != rows.shape[:1]:
        raise ValueError(f"lam must be one number or one for each of {len(rows)} rows, got {tuple(lam.shape)}")
    return lam.to(rows)[:, None]


@torch.no_grad()
def axis_across(x: Tensor) -> Tensor:
    """For each row of x (n, d) the unit vector orthogonal to it that is nearest to the axis of its least entry."""
    x = x / torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    least = x.abs().argmin(dim=1, keepdim=True)  # (n, 1)
    across = -x.gather(1, least) * x
    across.scatter_add_(1, least, torch.ones_like(x[:, :1]))
    return across / torch.linalg.vector_norm(across, dim=1, keepdim=True)
