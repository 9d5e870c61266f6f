"""What the shape of a cloud would be without each image in turn: exact, and all at once, from one decomposition.

With M the Gram matrix of the rows and A the rows of one image, log det(M − AᵀA + s) − log det(M + s) is
L(s) = log det(1 − A (M + s)⁻¹ Aᵀ), as large as A has rows. Sums over the singular values σ = √λ follow from it,
without any further decomposition: from √λ = (1/π) ∫ λ/(λ + s) ds/√s, integrated by parts,

    Σ √λ       moves by (1/π) ∫ L(u²) du
    Σ √λ log λ moves by (2/π) ∫ L(u²) (log u + 1) du

which are sums over `NODES` values of u. Leaving rows out changes the mean as well: the scatter about the mean loses
Aᵀ (1 + J/(rows left)) A, A less the mean and J all ones. The Gram matrix of the rows as they are is the scatter and
n times the mean's outer product: one decomposition, that of the scatter, serves both.

For intervals. The first derivative will not do here: where there are fewer rows than some dimensions, every row makes
a direction of its own, which only taking it away shows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geomclip.embeddings import exact
from geomclip.machine import scratch
from geomclip.machine.threads import Workers, free_threads
from geomclip.metrics.spectrum import Spectrum

NODES = 32
"""Of the quadrature over log u, which reaches `REACH` beyond the logarithms of the singular values."""

REACH = 9.0
"""Beyond it about exp(−REACH) of the singular values is left; of what an image does that alone has a direction more."""

EMPTY = 1e-12
"""Eigenvalues below this share of the largest are those of directions that the cloud does not have."""

ROUNDING = 1e-28
"""And below this share of n squared lengths of the mean they are what subtracting it rounds."""

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
    """A cloud of the rows of n images along the principal directions about its mean.

    `along` (rows, r) are the rows less their mean, `values` (r,) the eigenvalues of their Gram matrix, `vectors` (d, r)
    the directions, `middle` (r,) the mean along them and `beside` the squared length of what else there is of it.
    """

    along: Tensor
    values: Tensor
    vectors: Tensor
    mean: Tensor  # (d,)
    middle: Tensor
    beside: float
    as_they_are: Tensor | None = None  # eigenvalues of the rows as they are, rising, where they are known already

    @classmethod
    def of(cls, x: Tensor, spectrum: Spectrum | None = None) -> Decomposed:
        """The rows of x (n, d); `spectrum`, if there is one already, is that of x."""
        n, d = x.shape
        mean = exact.total(x) / n if spectrum is None else spectrum.mean
        length = float(mean @ mean)
        if n <= d:
            rows = x.double() - mean
            values, vectors = _directions(rows @ rows.T, n * length)
            along = vectors * values.sqrt()
            vectors = rows.T @ vectors / values.sqrt()
        else:
            gram = exact.gram(x, mean) if spectrum is None else spectrum.gram(centered=True)
            values, vectors = _directions(gram, n * length)
            dtype = torch.float64 if n <= FEW_ROWS * d else x.dtype
            along = scratch.empty(n, len(values), dtype=dtype)
            torch.mm(scratch.to(x, dtype), vectors.to(dtype), out=along)
            along -= (mean @ vectors).to(dtype)
        middle = mean @ vectors
        beside = float((mean - vectors @ middle).square().sum())
        known = None if spectrum is None else spectrum.singular_values.flip(0).square()
        return cls(along, values, vectors, mean, middle, beside if beside > EMPTY * length else 0.0, known)

    def eigenvalues(self, *, about_mean: bool) -> Tensor:
        """Of the Gram matrix of the rows about their mean, or as they are, those that are not 0; rising."""
        if about_mean:
            return self.values
        values = self.as_they_are
        if values is None:
            corner = torch.nn.functional.pad(self.middle, (0, 1), value=self.beside**0.5)
            gram = torch.diag(torch.nn.functional.pad(self.values, (0, 1)))
            values = torch.linalg.eigvalsh(gram + len(self.along) * torch.outer(corner, corner))
        return values[values > EMPTY * values[-1]]


def _directions(gram: Tensor, of_mean: float) -> tuple[Tensor, Tensor]:
    """Eigenvalues and -vectors of the directions that a centred cloud has; `of_mean`: n squared lengths of its mean."""
    values, vectors = torch.linalg.eigh(gram)
    kept = values > max(EMPTY * float(values[-1]), ROUNDING * of_mean)
    return values[kept], vectors[:, kept]


def without_images(cloud: Decomposed, starts: Tensor, names: Collection[str], *, seed: int) -> dict[str, Deleted]:
    """Measures of a cloud without each of n images.

    Threads share the images, in parts that do not depend on how many threads there are.

    Parameters
    ----------
    cloud : Decomposed
    starts : Tensor of shape (n + 1,)
        Rows starts[i]:starts[i + 1] are those of image i; they may be none.
    names : collection of str
        Of `geomclip.metrics.shape.SPECTRA`.
    seed : int
        Of the pairs that are left out together.

    Returns
    -------
    dict of name to Deleted
    """
    n, count = len(starts) - 1, starts.diff()
    without = _Without(cloud, names)
    values = {name: torch.full((n,), value, dtype=torch.float64) for name, value in without.whole.items()}
    if not without.spectra:  # all rows are one point, whichever are left out
        return {name: Deleted(each) for name, each in values.items()}
    pairs, r = _pairs(count, seed), max(1, len(cloud.values))
    with Workers(free_threads(), "deletion") as workers:
        single = []
        for texts in count.unique().tolist():
            if texts == 0 or texts == len(cloud.along):
                continue
            images = (count == texts).nonzero()[:, 0]
            for some in images.split(max(1, CELLS // (texts * texts * r))):
                rows = starts[some, None] + torch.arange(texts)
                mask = torch.ones(rows.shape, dtype=torch.float64)
                single.append((some, workers.add(without.rows, rows, mask)))
        double = [workers.add(without.rows, *each) for each in _rows_of_pairs(starts, pairs, r)]
        for some, call in single:
            for name, found in workers.result(call).items():
                values[name][some] = found
        together = [workers.result(call) for call in double]
    result = {name: Deleted(each) for name, each in values.items()}
    if pairs is None:
        return result
    one, other = pairs
    for name in without.names:
        each, both = values[name], torch.cat([part[name] for part in together])
        mixed = without.whole[name] - each[one] - each[other] + both
        spread = float((each - each.mean()).square().sum())
        share = n * (n - 1) / 2 * float(mixed.square().mean()) / spread if spread > 0 else 0.0
        result[name] = Deleted(each, min(1 + PAIRED * share**3, MOST))
    return result


def _rows_of_pairs(starts: Tensor, pairs: tuple[Tensor, Tensor] | None, r: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows (c, g) of some pairs of images at a time, and which of them (c, g) are real."""
    if pairs is None:
        return
    count = starts.diff()
    size = int(count[torch.cat(pairs)].max())
    places = torch.arange(size)
    index = torch.cat([(starts[images, None] + places).clamp(max=int(starts[-1]) - 1) for images in pairs], 1)
    there = torch.cat([(places < count[images, None]).double() for images in pairs], 1)
    step = max(1, CELLS // (4 * size * size * r))
    yield from zip(index.split(step), there.split(step), strict=True)


def _pairs(count: Tensor, seed: int) -> tuple[Tensor, Tensor] | None:
    images = ((count > 0) & (count <= PAIRED_TEXTS)).nonzero()[:, 0]
    if len(images) < 3:
        return None
    generator = np.random.default_rng([seed, 2])
    one = generator.integers(0, len(images), PAIRS)
    other = (one + generator.integers(1, len(images), PAIRS)) % len(images)
    return images[torch.from_numpy(one)], images[torch.from_numpy(other)]


class _Without:
    """A cloud of which some rows are left out."""

    def __init__(self, cloud: Decomposed, names: Collection[str]) -> None:
        self.cloud, self.d = cloud, len(cloud.mean)
        known = {each: cloud.eigenvalues(about_mean=each) for each in {name in CENTERED for name in names}}
        sums = {about_mean: self._sums(values) for about_mean, values in known.items()}
        self.whole = {name: float(measured(name, sums[name in CENTERED], self.d)) for name in names}
        self.spectra = {about_mean: sums[about_mean] for about_mean, values in known.items() if len(values)}
        self.names = [name for name in names if (name in CENTERED) in self.spectra]
        if not self.spectra:
            return
        logs = torch.cat([values.log() for values in known.values()]) / 2
        closed = all(name.startswith(("participation_ratio", "isoscore")) for name in self.names)
        self.nodes = _Nodes.between(float(logs.min()) - REACH, float(logs.max()) + REACH, 0 if closed else NODES)
        values, inverse = cloud.values[:, None], 1 / (cloud.values[:, None] + self.nodes.squares)
        columns = torch.cat([torch.ones_like(values), values, inverse], 1)  # (r, 2 + nodes)
        beside = torch.cat([torch.tensor([1.0, 0.0], dtype=torch.float64), 1 / self.nodes.squares])
        self.of_mean = cloud.middle.square() @ columns + cloud.beside * beside  # (2 + nodes,)
        self.columns = columns.to(cloud.along.dtype)
        self.to_mean = (cloud.middle[:, None] * columns).to(cloud.along.dtype)

    def _sums(self, values: Tensor) -> _Sums:
        mean, sigma = self.cloud.mean, values.sqrt()
        rows = torch.tensor(float(len(self.cloud.along)), dtype=torch.float64)
        entropy = (sigma * values.log()).sum()
        return _Sums(rows, mean @ mean, sigma.sum(), entropy, values.sum(), values.square().sum())

    def rows(self, rows: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Measures without each of c sets of rows (c, g), of which mask (c, g) says which are real: (c,) each."""
        taken = self.cloud.along[rows]
        if not mask.all():
            taken = taken * mask[:, :, None].to(taken.dtype)
        products = _products(taken, self.columns)  # (c, g, g, columns)
        sums = {}
        if True in self.spectra:
            sums[True] = self._about_mean(taken, mask, products)
        if False in self.spectra:
            sums[False] = self._as_they_are(taken, mask, products)
        return {name: measured(name, sums[name in CENTERED], self.d) for name in self.names}

    def _about_mean(self, taken: Tensor, mask: Tensor, products: Tensor) -> _Sums:
        middle, whole = self.cloud.middle, self.spectra[True]
        left = whole.rows - mask.sum(1)
        weight = torch.eye(mask.shape[1], dtype=torch.float64)
        weight = weight + mask[:, :, None] * mask[:, None, :] / left[:, None, None]
        lost, along = weight @ products[..., 0], weight @ products[..., 1]
        inner = weight[..., None, :, :] @ products[..., 2:].movedim(-1, 1)
        shift = taken.sum(1, dtype=torch.float64) / left[:, None]  # the mean of what is left is the mean less this
        moved = whole.mean_square - 2 * shift @ middle + shift.square().sum(1)
        return self._less(whole, left, moved, lost, along, inner)

    def _as_they_are(self, taken: Tensor, mask: Tensor, products: Tensor) -> _Sums:
        """By the rank-one step from the scatter S to the Gram matrix S + n μμᵀ, written so that nothing cancels:
        a row μ + c has (μ + c)ᵀ (S + nμμᵀ + s)⁻¹ (μ + c') = cᵀRc' + (μᵀRc + μᵀRc' + μᵀRμ − n μᵀRc μᵀRc')/(1 + n μᵀRμ),
        R = (S + s)⁻¹."""
        whole, n = self.spectra[False], len(self.cloud.along)
        there = (mask[:, :, None] * mask[:, None, :])[..., None]
        side = (taken @ self.to_mean).double()  # (c, g, columns)
        one, other, both = side[:, :, None], side[:, None], self.of_mean
        mixed = there * (one + other + both)
        scores = there[..., 0] * (one + both)[..., 0] * (other + both)[..., 0]  # of the mean with rows as they are
        lost, along = products[..., 0] + mixed[..., 0], products[..., 1] + mixed[..., 1] + n * scores
        less = mixed[..., 2:] - n * one[..., 2:] * other[..., 2:]
        inner = products[..., 2:] + less / (1 + n * both[2:])
        left = whole.rows - mask.sum(1)
        return self._less(whole, left, whole.mean_square, lost, along, inner.movedim(-1, 1))

    def _less(
        self, whole: _Sums, left: Tensor, mean_square: Tensor, lost: Tensor, along: Tensor, inner: Tensor
    ) -> _Sums:
        """Sums with A Aᵀ `lost`, A M Aᵀ `along`, both (c, g, g), and A (M + s)⁻¹ Aᵀ `inner` (c, nodes, g, g) less."""
        log_det = torch.linalg.slogdet(torch.eye(inner.shape[-1], dtype=torch.float64) - inner)[1]
        return _Sums(
            left,
            mean_square,
            whole.roots + log_det @ self.nodes.roots,
            whole.entropy + log_det @ self.nodes.entropy,
            whole.squares - lost.diagonal(dim1=-2, dim2=-1).sum(-1),
            whole.fourths - 2 * along.diagonal(dim1=-2, dim2=-1).sum(-1) + (lost * lost.mT).sum((-2, -1)),
        )


@dataclass(frozen=True, eq=False)
class _Nodes:
    """Of the quadrature over log u: u², and what log det at each adds to the two integrals."""

    squares: Tensor
    roots: Tensor
    entropy: Tensor

    @classmethod
    def between(cls, low: float, high: float, count: int) -> _Nodes:
        """Gauss and Legendre's."""
        x, w = np.polynomial.legendre.leggauss(count) if count else (np.zeros(0), np.zeros(0))
        log_u = torch.from_numpy(low + (high - low) * (x + 1) / 2)
        step = torch.from_numpy(w * (high - low) / 2) * log_u.exp() / np.pi
        return cls((2 * log_u).exp(), step, 2 * step * (log_u + 1))


def _products(rows: Tensor, columns: Tensor) -> Tensor:
    """Σ_r rows[c, a, r] rows[c, b, r] columns[r, k]: (c, a, b, k), float64."""
    c, g, r = rows.shape
    if g == 1:
        return (rows[:, 0].square() @ columns).double()[:, None, None]
    full = torch.empty(c, g, g, columns.shape[1], dtype=torch.float64)
    for apart in range(g):
        each = (rows[:, : g - apart] * rows[:, apart:]).view(c * (g - apart), r) @ columns
        of_pairs = each.view(c, g - apart, -1).movedim(-1, 1)
        full.diagonal(apart, 1, 2).copy_(of_pairs)
        full.diagonal(-apart, 1, 2).copy_(of_pairs)
    return full
