"""What the shape of a cloud would be without each image in turn: exact, and all at once, from one decomposition.

With M the Gram matrix of the rows and A the rows of one image, log det(M − AᵀA + s) − log det(M + s) is
L(s) = log det(1 − A (M + s)⁻¹ Aᵀ), as large as A has rows. Sums over the singular values σ = √λ follow from it,
without any further decomposition: from √λ = (1/π) ∫ λ/(λ + s) ds/√s, integrated by parts,

    Σ √λ       moves by (1/π) ∫ L(u²) du
    Σ √λ log λ moves by (2/π) ∫ L(u²) (log u + 1) du

which are sums over `NODES` values of u. Leaving rows out changes the mean as well: the scatter about the mean loses
Aᵀ (1 + J/(rows left)) A, A less the mean and J all ones.

For intervals. The first derivative will not do here: where there are fewer rows than some dimensions, every row makes
a direction of its own, which only taking it away shows.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geomclip.embeddings import exact
from geomclip.machine import scratch
from geomclip.metrics.spectrum import Spectrum

NODES = 32
"""Of the quadrature over log u, which reaches `REACH` beyond the logarithms of the singular values."""

REACH = 9.0
"""Beyond it about exp(−REACH) of the singular values is left; of what an image does that alone has a direction more."""

EMPTY = 1e-12
"""Eigenvalues below this share of the largest are those of directions that the cloud does not have."""

PAIRS = 200
"""Pairs of images that are also left out together."""

PAIRED = 3.8

MOST = 1.9
"""The largest correction for pairs: where there are about as many rows as dimensions, they alone overstate it."""

PAIRED_TEXTS = 16
"""Images with more texts are in no such pair: their determinants would be as large."""

FEW_ROWS = 8
"""Below this many rows a dimension the decomposition is float64: small eigenvalues matter, and it is cheap."""

CELLS = 2**21


@dataclass(frozen=True, eq=False)
class Deleted:
    """A measure of a cloud without each image: (n,), and how much of its spread counts twice.

    `inflation`: what the variance of the jackknife is to be divided by, 1 to `MOST`. A part of the variance that k
    images bring about together counts k times in it, and k (k − 1)/2 times in the sum of the squares of what pairs do
    beyond each by itself (Efron and Stein 1981). With r the second over the first the variance is taken to be
    1 + `PAIRED` r³ times too large, which holds for clouds of fewer and of more rows than dimensions.
    """

    values: Tensor
    inflation: float = 1.0


@dataclass(frozen=True, eq=False)
class _Sums:
    """Of a cloud, or of clouds (c,): rows, squared length of the mean, and sums of powers of the singular values."""

    rows: Tensor
    mean_square: Tensor
    roots: Tensor  # Σ σ
    entropy: Tensor  # Σ σ log σ²
    squares: Tensor  # Σ σ²
    fourths: Tensor  # Σ σ⁴


def measured(name: str, sums: _Sums, d: int) -> Tensor:
    """A measure of `geomclip.metrics.shape` from such sums, of the scatter or of the Gram matrix as its name asks."""
    if name.startswith("participation_ratio"):
        return sums.squares.square() / sums.fourths
    if name == "isoscore":
        return (sums.squares.square() / sums.fourths - 1) / (d - 1)
    if name == "w2_uniformity":
        inner = sums.mean_square + sums.squares / sums.rows - 2 * sums.roots / (sums.rows * d).sqrt() + 1
        return inner.clamp(min=0).sqrt()
    return sums.roots * torch.exp(-sums.entropy / (2 * sums.roots))  # effective ranks, and RankMe but for its 1e-7


CENTERED = frozenset({"effective_rank_centered", "participation_ratio_centered", "isoscore", "w2_uniformity"})
"""Measures of the scatter about the mean; the others are of the rows as they are."""


@dataclass(frozen=True, eq=False)
class Decomposed:
    """A cloud of the rows of n images along its principal directions.

    `along` (rows, r) are the rows, `values` (r,) the eigenvalues of their Gram matrix, `vectors` (d, r) the directions.
    """

    along: Tensor
    values: Tensor
    vectors: Tensor
    mean: Tensor  # (d,) of the rows as they were
    centered: bool

    @classmethod
    def of(cls, x: Tensor, *, centered: bool, spectrum: Spectrum | None = None) -> Decomposed:
        """The rows of x (n, d) as they are, or less their mean; `spectrum`, if there is one already, is that of x."""
        n, d = x.shape
        mean = exact.total(x) / n if spectrum is None else spectrum.mean
        if n <= d:
            rows = x.double() - mean if centered else x.double()
            values, vectors = torch.linalg.eigh(rows @ rows.T)
            kept = values > EMPTY * values[-1]
            values, vectors = values[kept], vectors[:, kept]
            along = vectors * values.sqrt()
            return cls(along, values, rows.T @ vectors / values.sqrt(), mean, centered)
        gram = exact.gram(x, mean if centered else None) if spectrum is None else spectrum.gram(centered=centered)
        values, vectors = torch.linalg.eigh(gram)
        kept = values > EMPTY * values[-1]
        values, vectors = values[kept], vectors[:, kept]
        dtype = torch.float64 if n <= FEW_ROWS * d else x.dtype
        along = scratch.empty(n, len(values), dtype=dtype)
        torch.mm(scratch.to(x, dtype), vectors.to(dtype), out=along)
        if centered:
            along -= (mean @ vectors).to(dtype)
        return cls(along, values, vectors, mean, centered)

    def sums(self) -> _Sums:
        """Of the whole cloud."""
        sigma, rows = self.values.sqrt(), torch.tensor(float(len(self.along)), dtype=torch.float64)
        return _Sums(
            rows,
            self.mean @ self.mean,
            sigma.sum(),
            (sigma * self.values.log()).sum(),
            self.values.sum(),
            self.values.square().sum(),
        )


def without_images(cloud: Decomposed, starts: Tensor, names: Collection[str], *, seed: int) -> dict[str, Deleted]:
    """Measures of a cloud without each of n images.

    Parameters
    ----------
    cloud : Decomposed
    starts : Tensor of shape (n + 1,)
        Rows starts[i]:starts[i + 1] are those of image i; they may be none.
    names : collection of str
        Of `geomclip.metrics.shape.SPECTRA`, all of the scatter or all of the rows as they are.
    seed : int
        Of the pairs that are left out together.

    Returns
    -------
    dict of name to Deleted
    """
    n, count = len(starts) - 1, starts.diff()
    whole, d = cloud.sums(), len(cloud.mean)
    values = {name: torch.full((n,), float(measured(name, whole, d)), dtype=torch.float64) for name in names}
    if len(cloud.values) == 0:  # all rows are one point, whichever are left out
        return {name: Deleted(values[name]) for name in names}
    deeper = any(not name.startswith(("participation_ratio", "isoscore")) for name in names)
    quadrature = _Quadrature(cloud.values, 0 if not deeper else NODES)
    for texts in count.unique().tolist():
        if texts == 0 or texts == len(cloud.along):
            continue
        images = (count == texts).nonzero()[:, 0]
        for some in images.split(max(1, CELLS // (texts * texts * len(cloud.values)))):
            rows = starts[some, None] + torch.arange(texts)
            sums = _without(cloud, cloud.along[rows], torch.ones(rows.shape, dtype=torch.float64), whole, quadrature)
            for name in names:
                values[name][some] = measured(name, sums, d)
    pairs = _pairs(count, seed)
    if pairs is None:
        return {name: Deleted(values[name]) for name in names}
    one, other = pairs
    size = int(count[torch.cat(pairs)].max())
    places = torch.arange(size)
    index, there = [], []
    for images in (one, other):
        there.append((places < count[images, None]).double())
        index.append((starts[images, None] + places).clamp(max=len(cloud.along) - 1))
    together: dict[str, list[Tensor]] = {name: [] for name in names}
    step = max(1, CELLS // (4 * size * size * len(cloud.values)))
    for some in torch.arange(len(one)).split(step):
        rows, mask = (torch.cat([part[some] for part in parts], 1) for parts in (index, there))
        sums = _without(cloud, cloud.along[rows] * mask[:, :, None].to(cloud.along.dtype), mask, whole, quadrature)
        for name in names:
            together[name].append(measured(name, sums, d))
    result = {}
    for name in names:
        both = torch.cat(together[name])
        value = float(measured(name, whole, d))
        mixed = value - values[name][one] - values[name][other] + both
        spread = float((values[name] - values[name].mean()).square().sum())
        share = n * (n - 1) / 2 * float(mixed.square().mean()) / spread if spread > 0 else 0.0
        result[name] = Deleted(values[name], min(1 + PAIRED * share**3, MOST))
    return result


def _pairs(count: Tensor, seed: int) -> tuple[Tensor, Tensor] | None:
    images = ((count > 0) & (count <= PAIRED_TEXTS)).nonzero()[:, 0]
    if len(images) < 3:
        return None
    generator = np.random.default_rng([seed, 2])
    one = generator.integers(0, len(images), PAIRS)
    other = (one + generator.integers(1, len(images), PAIRS)) % len(images)
    return images[torch.from_numpy(one)], images[torch.from_numpy(other)]


@dataclass(frozen=True, eq=False)
class _Quadrature:
    """Weights of the eigen-directions at each node, and what each node adds to the two integrals."""

    columns: Tensor  # (r, 2 + nodes): 1, λ, and 1/(λ + u²) at each node
    roots: Tensor  # (nodes,)
    entropy: Tensor

    def __init__(self, values: Tensor, nodes: int) -> None:
        logs = values.log() / 2
        x, w = np.polynomial.legendre.leggauss(nodes) if nodes else (np.zeros(0), np.zeros(0))
        low, high = float(logs.min()) - REACH, float(logs.max()) + REACH
        log_u = torch.from_numpy(low + (high - low) * (x + 1) / 2)
        step = torch.from_numpy(w * (high - low) / 2) * log_u.exp() / np.pi
        inverse = 1 / (values[:, None] + (2 * log_u).exp())
        object.__setattr__(self, "columns", torch.cat([torch.ones_like(values)[:, None], values[:, None], inverse], 1))
        object.__setattr__(self, "roots", step)
        object.__setattr__(self, "entropy", 2 * step * (log_u + 1))


def _without(cloud: Decomposed, taken: Tensor, mask: Tensor, whole: _Sums, quadrature: _Quadrature) -> _Sums:
    """Sums of the cloud without some sets of rows: taken (c, g, r), of which mask (c, g) says which are real."""
    left = whole.rows - mask.sum(1)
    products = _products(taken, quadrature.columns.to(taken.dtype))  # (c, g, g, columns)
    weight = torch.eye(mask.shape[1], dtype=torch.float64)
    if cloud.centered:
        weight = weight + mask[:, :, None] * mask[:, None, :] / left[:, None, None]
    lost, along = weight @ products[..., 0], weight @ products[..., 1]
    inner = torch.eye(mask.shape[1], dtype=torch.float64) - weight[..., None, :, :] @ products[..., 2:].movedim(-1, 1)
    log_det = torch.linalg.slogdet(inner)[1] if len(quadrature.roots) else inner.new_zeros(len(mask), 0)
    moved = whole.mean_square.expand(len(mask))
    if cloud.centered:  # the mean of what is left is the mean less the rows taken over the number left
        shift = taken.double().sum(1) @ cloud.vectors.T  # (c, d)
        moved = (cloud.mean - shift / left[:, None]).square().sum(1)
    trace = lost.diagonal(dim1=-2, dim2=-1).sum(-1)
    return _Sums(
        left,
        moved,
        whole.roots + log_det @ quadrature.roots,
        whole.entropy + log_det @ quadrature.entropy,
        whole.squares - trace,
        whole.fourths - 2 * along.diagonal(dim1=-2, dim2=-1).sum(-1) + (lost * lost.mT).sum((-2, -1)),
    )


def _products(rows: Tensor, columns: Tensor) -> Tensor:
    """Σ_r rows[c, a, r] rows[c, b, r] columns[r, k]: (c, a, b, k), float64."""
    c, g, r = rows.shape
    if g == 1:
        return (rows[:, 0].square() @ columns).double()[:, None, None]
    a, b = torch.triu_indices(g, g)
    upper = ((rows[:, a] * rows[:, b]).view(-1, r) @ columns).double().view(c, len(a), -1)
    full = upper.new_empty(c, g, g, columns.shape[1])
    full[:, a, b] = upper
    full[:, b, a] = upper
    return full
