"""The contrastive losses of large batches, tile by tile: the M x M matrix of logits is never there.

Forward keeps the logarithms of the softmax denominators, M or 2 M numbers; backward computes each tile once more and
adds to both gradients. With x̂ = x/τ there are four products of M x M x D in all, where the whole matrix takes three and
several passes over M² numbers. Matched pairs stand apart from the others, as 1 − p is lost where p is nearly 1: the
entropy of a pair is log(1 + e^(r − l)), r the logarithm of its other exponentials and l its own logit, and its gradient
−σ(r − l).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from geomclip.embeddings.geometry import geodesic_mixup, share_of_rows
from geomclip.losses.tiles import Turns, walk

DENSE_UP_TO = 8192
"""Rows of the largest batch whose logits are made as one matrix: 256 MB of float32, six times that with gradients."""
ROWS = 4096
"""Multiplied number by number at a time: a sum in float64 writes a copy twice as wide first."""
STEPS = 40
"""Most steps to the bias at rest; about five are taken."""
ABSENT = -1e30
"""In place of a logit that does not count."""


def contrastive(x: Tensor, y: Tensor, temperature: float | Tensor) -> Tensor:
    """`losses.contrastive` of rows in float32 or float64, by tiles."""
    found: Tensor = _Contrastive.apply(x, y, _inverse(x, temperature))
    return found


def own_entropy(x: Tensor, z: Tensor, matched: Tensor, temperature: float | Tensor) -> Tensor:
    """Mean over the rows of −log softmax at the diagonal of x zᵀ/τ, where the diagonal is `matched`/τ, by tiles.

    Parameters
    ----------
    x, z : Tensor of shape (M, D)
    matched : Tensor of shape (M,)
        What stands on the diagonal of x zᵀ.
    temperature : float or 0-d Tensor
    """
    found: Tensor = _OwnEntropy.apply(x, z, matched, _inverse(x, temperature))
    return found


def mixed(x: Tensor, y: Tensor, lam: float | Tensor) -> Tensor:
    """`geodesic_mixup`, some rows at a time: what it would keep for the gradients is made anew."""
    found: Tensor = _Mixed.apply(x, y, lam if isinstance(lam, Tensor) else torch.tensor(lam, dtype=torch.float64))
    return found


def siglip(x: Tensor, y: Tensor, temperature: float | Tensor, bias: float | Tensor | None) -> Tensor:
    """`losses.siglip` of rows in float32 or float64, by tiles."""
    scale = _inverse(x, temperature)
    if bias is None:
        bias = resting_bias(x.detach() * scale.detach(), y.detach())
    bias = torch.as_tensor(bias, dtype=x.dtype, device=x.device)
    found: Tensor = _Sigmoid.apply(x, y, scale, bias)
    return found


def resting_bias(scaled: Tensor, y: Tensor) -> Tensor:
    """b with Σ σ(logits + b) = M, by Newton's method on the logarithm of the sum, kept between bounds by halving.

    Parameters
    ----------
    scaled, y : Tensor of shape (M, D)
        Logits are scaled yᵀ.
    """
    m = len(scaled)
    low = math.log(m) - float(_of_all(scaled, y).logsumexp(0))  # where σ were exp, which is more
    high = float(scaled.norm(dim=1).max() * y.norm(dim=1).max())  # no σ is below a half
    bias = low
    for _ in range(STEPS):
        total, slope = _sums_of_sigmoid(scaled, y, bias)
        low, high = (bias, high) if total < m else (low, bias)
        step = math.log(m / total) * total / slope if slope > 0 else math.inf
        before, bias = bias, bias + step
        if not low <= bias <= high:
            bias = (low + high) / 2
        if abs(bias - before) < 1e-6 or abs(total / m - 1) < 1e-9:
            break
    return scaled.new_tensor(bias)


def _inverse(x: Tensor, temperature: float | Tensor) -> Tensor:
    if not isinstance(temperature, Tensor) and not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be positive and finite, got {temperature}")
    return 1 / torch.as_tensor(temperature, dtype=x.dtype, device=x.device)


def _safe(dtype: torch.dtype) -> float:
    """How far below a shift the largest number of a row may lie so that nothing that matters of it is lost."""
    return 60.0 if dtype == torch.float32 else 600.0


# ----------------------------------------------------------------------------------------------------- both softmaxes


class _Contrastive(torch.autograd.Function):
    """Mean of the entropies of both directions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            scaled, texts = x.detach() * scale.detach(), y.detach()
            rows, columns = _others(scaled, texts)
            own = _matched(scaled, texts)
            ctx.save_for_backward(x, y, scale, own, rows, columns)
            return ((F.softplus(rows - own) + F.softplus(columns - own)).mean() / 2).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y, scale, own, rows, columns = (each.detach() for each in ctx.saved_tensors)
        with torch.autocast(x.device.type, enabled=False):
            of_own = -(torch.sigmoid(rows - own) + torch.sigmoid(columns - own)).to(x.dtype)
            rows, columns = (torch.logaddexp(each, own).to(x.dtype) for each in (rows, columns))

            def weights(logits: Tensor, row: slice, column: slice) -> Tensor:
                weight = _both_weights(logits, rows[row], columns[column])
                if column == row:
                    weight.diagonal().copy_(of_own[row])
                return weight

            return _gradients(x, y, scale, gradient / (2 * len(x)), weights)


def _matched(scaled: Tensor, y: Tensor) -> Tensor:
    """Products of the rows of a pair, (M,) in float64: with rows over τ the logits of matched pairs."""
    parts = zip(scaled.split(ROWS), y.split(ROWS), strict=True)
    return torch.cat([(one * other).sum(1, dtype=torch.float64) for one, other in parts])


def _others(scaled: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of the sums of exp(scaled yᵀ) along rows and columns but for the diagonal, (M,) each in float64."""
    rows = scaled.new_full((len(scaled),), -torch.inf, dtype=torch.float64)
    columns = rows.clone()

    def strip(place: int, row: slice, turns: Turns) -> None:
        for column in turns:
            logits = scaled[row] @ y[column].T
            if column == row:
                logits.diagonal().fill_(ABSENT)
            of_rows, of_columns = _log_sums(logits)
            rows[row] = torch.logaddexp(rows[row], of_rows.double())
            with turns.of(place, column):
                columns[column] = torch.logaddexp(columns[column], of_columns.double())

    walk(len(scaled), scaled.device, strip)
    return rows, columns


def _log_sums(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Log-sum-exps along both directions of a tile, which is used up: of one exponential where all is near enough."""
    along, down = logits.amax(1), logits.amax(0)
    most = along.max()
    if most - torch.minimum(along.min(), down.min()) > _safe(logits.dtype):
        return logits.logsumexp(1), logits.logsumexp(0)
    weight = logits.sub_(most).exp_()
    return weight.sum(1).log_() + most, weight.sum(0).log_() + most


def _both_weights(logits: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """exp(logits − rows) + exp(logits − columns) of a tile, which is used up."""
    # no logit is above the denominators of its row and of its column
    most = torch.minimum(rows.max(), columns.max())
    if most - torch.minimum(rows.min(), columns.min()) > _safe(logits.dtype):
        along = (logits - rows[:, None]).exp_()
        return along.add_(logits.sub_(columns).exp_())
    weight = logits.sub_(most).exp_()
    return weight.mul_((most - rows).exp_()[:, None] + (most - columns).exp_())


# ------------------------------------------------------------------------------------ one softmax, another diagonal


class _OwnEntropy(torch.autograd.Function):
    """Mean of the entropies of the rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, z: Tensor, matched: Tensor, scale: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            scaled, own, others = x.detach() * scale.detach(), (matched.detach() * scale.detach()).double(), z.detach()
            rows = torch.full_like(own, -torch.inf)

            def strip(_: int, row: slice, turns: Turns) -> None:
                for column in turns:
                    logits = scaled[row] @ others[column].T
                    if column == row:
                        logits.diagonal().fill_(ABSENT)
                    most = logits.amax(1)
                    sums = logits.sub_(most[:, None]).exp_().sum(1)
                    rows[row] = torch.logaddexp(rows[row], (sums.log_() + most).double())

            walk(len(x), x.device, strip)
            ctx.save_for_backward(x, z, matched, scale, own, rows)
            return F.softplus(rows - own).mean().to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, z, matched, scale, own, rows = (each.detach() for each in ctx.saved_tensors)
        with torch.autocast(x.device.type, enabled=False):
            of_own = -torch.sigmoid(rows - own).to(x.dtype)
            rows = torch.logaddexp(rows, own).to(x.dtype)

            def weights(logits: Tensor, row: slice, column: slice) -> Tensor:
                weight = logits.sub_(rows[row, None]).exp_()
                if column == row:
                    weight.diagonal().zero_()
                return weight

            share = gradient / len(x)
            into_x, into_z, into_scale = _gradients(x, z, scale, share, weights)
            into_scale += share * (of_own * matched).sum(dtype=torch.float64).to(x.dtype)
            return into_x, into_z, of_own * (scale * share), into_scale


class _Mixed(torch.autograd.Function):
    """Mixtures of the rows of two clouds."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, lam: Tensor) -> Tensor:
        ctx.save_for_backward(x, y, lam)
        share_of_rows(lam, x)  # refuses another number of λ
        dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
        found = torch.empty_like(x, dtype=dtype)
        for some, *given in _parts(x.detach(), y.detach(), lam.detach()):
            found[some] = geodesic_mixup(*given)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y, lam = (each.detach() for each in ctx.saved_tensors)
        wanted = ctx.needs_input_grad
        found = [torch.zeros_like(each) if want else None for each, want in zip((x, y, lam), wanted, strict=True)]
        for some, *given in _parts(x, y, lam):
            with torch.enable_grad():
                given = [each.detach().requires_grad_(want) for each, want in zip(given, wanted, strict=True)]
                parts = torch.autograd.grad(
                    geodesic_mixup(*given), [each for each in given if each.requires_grad], gradient[some]
                )
            for whole, part in zip([each for each in found if each is not None], parts, strict=True):
                if whole.ndim:
                    whole[some] = part
                else:
                    whole += part
        return tuple(found)


def _parts(x: Tensor, y: Tensor, lam: Tensor) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    for start in range(0, len(x), ROWS):
        some = slice(start, start + ROWS)
        yield some, x[some], y[some], lam[some] if lam.ndim else lam


# --------------------------------------------------------------------------------------------------------- sigmoids


class _Sigmoid(torch.autograd.Function):
    """Sum of the entropies of all pairs, judged alone, over M."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            scaled, texts, shift = x.detach() * scale.detach(), y.detach(), bias.detach()
            sums = x.new_zeros(len(x), dtype=torch.float64)

            def strip(_: int, row: slice, turns: Turns) -> None:
                for column in turns:
                    against = (scaled[row] @ texts[column].T).add_(shift)
                    if column == row:
                        against.diagonal().neg_()
                    sums[row] += F.softplus(against).sum(1, dtype=torch.float64)

            walk(len(x), x.device, strip)
            ctx.save_for_backward(x, y, scale, bias)
            return (sums.sum() / len(x)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y, scale, bias = (each.detach() for each in ctx.saved_tensors)
        with torch.autocast(x.device.type, enabled=False):
            total = x.new_zeros(len(x), dtype=torch.float64)

            def weights(logits: Tensor, row: slice, column: slice) -> Tensor:
                weight = logits.add_(bias)
                if column == row:
                    weight.diagonal().neg_()
                weight.sigmoid_()
                if column == row:
                    weight.diagonal().neg_()
                total[row] += weight.sum(1, dtype=torch.float64)
                return weight

            share = gradient / len(x)
            return *_gradients(x, y, scale, share, weights), (share * total.sum()).to(x.dtype)


def _sums_of_sigmoid(scaled: Tensor, y: Tensor, bias: float) -> tuple[float, float]:
    """Σ σ(logits + b), and its slope in b."""
    both = scaled.new_zeros(2, len(scaled), dtype=torch.float64)

    def strip(_: int, row: slice, turns: Turns) -> None:
        for column in turns:
            judged = (scaled[row] @ y[column].T).add_(bias).sigmoid_()
            both[0, row] += judged.sum(1, dtype=torch.float64)
            both[1, row] += judged.mul_(1 - judged).sum(1, dtype=torch.float64)

    walk(len(scaled), scaled.device, strip)
    total, slope = both.sum(1).tolist()
    return total, slope


def _of_all(scaled: Tensor, y: Tensor) -> Tensor:
    """Logarithms of the sums of exp(scaled yᵀ) along rows, (M,)."""
    rows, _ = _others(scaled, y)
    return torch.logaddexp(rows, _matched(scaled, y))


def _gradients(
    x: Tensor, y: Tensor, scale: Tensor, share: Tensor, weights: Callable[[Tensor, slice, slice], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, y and 1/τ of a loss whose gradient by the logits x̂ yᵀ is `share` times W, each tile made once.

    Parameters
    ----------
    weights : callable
        Makes W of a tile of logits, which it may use up, and of the rows and columns that the tile has.
    """
    scaled, of_x, of_y = x * scale, torch.zeros_like(x), torch.zeros_like(y)

    def strip(place: int, row: slice, turns: Turns) -> None:
        for column in turns:
            weight = weights(scaled[row] @ y[column].T, row, column)
            of_x[row].addmm_(weight, y[column])
            with turns.of(place, column):
                of_y[column].addmm_(weight.T, scaled[row])

    walk(len(x), x.device, strip)
    of_scale = share * _matched(of_x, x).sum().to(x.dtype)
    return of_x.mul_(scale * share), of_y.mul_(share), of_scale
