"""Primitives on the unit sphere: normalisation and the mean direction; everything else is built on them."""

from __future__ import annotations

import torch
from torch import Tensor

from geomclip.machine import scratch


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
    whole = len(x) <= scratch.ROWS or x.requires_grad or x.device.type != "cpu"
    largest = _largest(x) if whole else scratch.each(_largest, x, torch.promote_types(x.dtype, torch.float32))
    bad = ~torch.isfinite(largest)
    if bad.any():
        raise ValueError(f"{name} row {int(bad.nonzero()[0])} holds NaN or infinity ({int(bad.sum())} such rows)")
    zero = largest == 0
    if zero.any():
        raise ValueError(
            f"{name} row {int(zero.nonzero()[0])} is zero and has no direction ({int(zero.sum())} such rows)"
        )
    if whole:
        return _unit(x, largest)
    rows = scratch.empty(*x.shape, dtype=largest.dtype)
    norms = torch.empty(len(x), dtype=torch.float64)
    for some in scratch.blocks(x):
        rows[some], norms[some] = _unit(x[some], largest[some])
    return rows, norms


def _largest(x: Tensor) -> Tensor:
    """The largest entry of each row of x (n, d), half types raised to float32: (n,)."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return x.abs().amax(dim=1) if x.shape[1] else x.new_zeros(len(x))


def _unit(x: Tensor, largest: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of x (n, d) at length 1 and their lengths, the largest entry of each known."""
    # it is taken out first, so that the squares neither overflow nor vanish
    scaled = x.to(largest.dtype) / largest[:, None]
    lengths = torch.linalg.vector_norm(scaled, dim=1, keepdim=True, dtype=torch.float64)
    norms = lengths[:, 0] * largest.double()
    return scaled / lengths.to(scaled.dtype), norms


def geodesic_mixup(a: Tensor, b: Tensor, lam: float | Tensor) -> Tensor:
    """The point on the great circle from b (λ = 0) to a (λ = 1), row by row; unit rows in, unit rows out.

    m_λ(a, b) = sin(λθ)/sin θ · a + sin((1 − λ)θ)/sin θ · b with θ = arccos(a · b). It is computed from h = a + b
    and d = a − b, which are orthogonal, 2 cos(θ/2) and 2 sin(θ/2) long, and lose no digits at either end:

        m_λ = p h + q d, p = cos(κθ)/‖h‖, q = sin(κθ)/‖d‖, κ = λ − ½.

    For θ → 0 both go over into their power series in sin²(θ/2), so the limit is linear. At θ = π, where every great
    circle through a joins a and b, it is the one through the first or second coordinate axis, whichever is farther
    from a; the gradient grows with 1/‖h‖ on the way there, as that of the geodesic does, and stays finite. Only its
    part along the sphere has a meaning: the normalisation that made the rows drops the rest.

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
    h = a + b
    whole = torch.linalg.vector_norm(h, dim=1, keepdim=True).square()  # (n, 1), as all that follows but the last
    with torch.no_grad():  # constant on the sphere: 4 and 0, but for rounding
        around = 2 * sum(torch.linalg.vector_norm(each, dim=1, keepdim=True).square() for each in (a, b))  # ‖h‖² + ‖d‖²
        along = 2 * (a * h).sum(1, keepdim=True) - whole  # h · d, to the digits of h
        tilt = along / (around - whole).clamp_min(1)  # of h against d, by much where h is short
    dd, hh = around - whole, whole - tilt * along
    antipodal = hh <= nothing * (nothing + whole)  # what is left of h is rounding
    p, q, extra = arc(hh, dd, around, lam, antipodal=antipodal, corner=a[:, :2] - b[:, :2])
    p_tilt = p * tilt
    mixed = torch.addcmul((p + p_tilt - q) * h, 2 * (q - p_tilt), a)  # p (h − tilt d) + q d with d = 2a − h
    mixed.detach()[:, :2] += extra  # a constant: gradients pass it by
    return mixed


def arc(
    hh: Tensor, dd: Tensor, around: Tensor, lam: float | Tensor, *, antipodal: Tensor, corner: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The weights p and q (n, 1) of h and d in `geodesic_mixup`, and what antipodal rows get at both first axes.

    Parameters
    ----------
    hh, dd, around : Tensor of shape (n, 1)
        ‖h‖², ‖d‖² and their sum.
    antipodal : bool Tensor of shape (n, 1)
        Where h has no direction.
    corner : Tensor of shape (n, 2)
        The first entries of d.
    """
    t = dd / around  # sin²(θ/2)
    near = t < 1e-5  # the terms left out of the series are under 1e-16
    height, width = torch.where(antipodal, 1, hh).sqrt(), torch.where(near, 1, dd).sqrt()
    turn = (lam - 0.5) * 2 * torch.atan2(width, torch.where(antipodal, 0, height))  # κθ
    p, q = turn.cos() / height, turn.sin() / width

    # cos(κθ)/cos(θ/2) = F(λ, 1 − λ; 1/2; t) and sin(κθ)/sin(θ/2) = 2κ F(λ, 1 − λ; 3/2; t)
    once = lam * (1 - lam)
    p_near = 1 + once * t * (2 + 2 / 3 * (2 + once) * t)
    q_near = (2 * lam - 1) * (1 + once * t * (2 / 3 + 2 / 15 * (2 + once) * t))
    p, q = torch.where(near, p_near / around.sqrt(), p), torch.where(near, q_near / around.sqrt(), q)

    # in place of h/‖h‖ the axis e with its part along d taken away, at length 1: (e − c d/‖d‖)/√(1 − c²)
    with torch.no_grad():
        cosine, axis = (corner / width).abs().min(1, keepdim=True)
        cosine = cosine * corner.gather(1, axis).sign()
        middle = torch.where(antipodal, turn.cos() * (1 - cosine.square()).rsqrt(), 0)
        extra = torch.zeros_like(corner).scatter(1, axis, middle)
    return torch.where(antipodal, 0, p), q - middle * cosine / width, extra


def share_of_rows(lam: float | Tensor, rows: Tensor) -> float | Tensor:
    """λ as it multiplies the rows (n, d): one number as it is (no transfer between devices), one a row as (n, 1)."""
    if not isinstance(lam, Tensor) or lam.ndim == 0:
        return lam
    if lam.shape != rows.shape[:1]:
        raise ValueError(f"lam must be one number or one for each of {len(rows)} rows, got {tuple(lam.shape)}")
    return lam.to(rows)[:, None]
