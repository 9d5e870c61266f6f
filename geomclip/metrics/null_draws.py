"""What numbers without a closed form are for random unit rows: means over simulated draws, each with its error.

All draws come from one fixed generator, so the same sizes give the same means, whatever the seed of a panel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from geomclip.metrics.gap import rough_shape_distance
from geomclip.metrics.intrinsic_dimension import twonn_from_neighbors
from geomclip.metrics.neighborhood import OF_COUNTS
from geomclip.metrics.null import CosineLaw
from geomclip.metrics.shape import spectral_measures
from geomclip.metrics.spectrum import FactoredSpectrum, GramSpectrum, Spectrum

VERSION = 2
"""Of what is simulated here: names of kept nulls have it, so that those of another version are not read."""

SEED = 12_021
"""Of all draws."""

Means = dict[str, tuple[float, float]]
"""Key to the mean over draws and its standard error."""

Nearest = tuple[Tensor | np.ndarray, Tensor | np.ndarray]
"""Distances (n,) of n points to their two nearest others."""

AFFORDABLE = 2e10
"""Multiplications of one Gram matrix; a larger cloud has no simulated spectrum (76,000 rows of 512 dimensions)."""

ROWS = 8192
"""Rows drawn at a time: 8192 x 512 x 4 bytes = 17 MB."""

EXACT_ROWS = 8
"""Rows a dimension up to which Gram matrices are float64."""

SEARCHED = 500
"""Rows up to which all distances of a cloud are computed; beyond, points are as good as independent."""

SCORES = 5e8
"""Work of one draw of all scores, in multiplications; where it is more, both clouds are cut to one share."""

PICKED = 64
"""Multiplications that finding the largest scores takes as long as, for each score."""

FEWEST = 400
"""Rows of the smaller cloud where both are cut."""


@lru_cache(32)
def shapes(n: int, m: int, d: int) -> Means:
    """Spectral measures of n and of m random rows, and `gap_after_centering` of the two, at these sizes.

    A cloud too large to be simulated has no keys.
    """
    sizes = {name: rows for name, rows in (("image", n), ("text", m)) if affordable(rows, d)}
    # an eigenvalue takes several multiplications for each of a product, and there are five such problems a draw
    work = sum(rows * d * min(rows, d) + 25 * min(rows, d) ** 3 for rows in sizes.values())
    generator = torch.Generator().manual_seed(SEED)

    def draw() -> dict[str, float]:
        spectra = {name: _random_spectrum(rows, d, generator) for name, rows in sizes.items()}
        found: dict[str, float] = {}
        for name, spectrum in spectra.items():
            values, _ = spectral_measures(spectrum)
            found |= {f"{key}_{name}": float(value) for key, value in values.items()}
        if len(spectra) == 2:
            found["gap_after_centering"] = float(rough_shape_distance(spectra["image"], spectra["text"]))
        return found

    return _means(draw() for _ in range(_draws(2e10 / max(work, 1), 4, 100)))


def affordable(rows: int, d: int) -> bool:
    """Whether the spectrum of a cloud of so many rows is simulated."""
    return rows * d * min(rows, d) <= AFFORDABLE


@lru_cache(32)
def dimension(n: int, d: int) -> Means:
    """`twonn` of n random rows in d dimensions; nothing where it is undefined.

    Up to 500 rows all distances are computed. Beyond, each point's two nearest distances are drawn by themselves:
    their law is exact, and that points share neighbours moves the mean by less than 0.2 % (measured).
    """
    if n < 3 or d < 2:
        return {}
    drawn: Iterator[Nearest]
    if n <= SEARCHED:
        rows = torch.Generator().manual_seed(SEED)
        drawn = (_searched(n, d, rows) for _ in range(_draws(4e9 / (n * n * d), 40, 200)))
    else:
        law, numbers = CosineLaw.of(d), np.random.default_rng(SEED)
        drawn = (law.two_nearest(n - 1, n, numbers) for _ in range(_draws(1e6 / n, 20, 200)))
    return _means({"twonn": float(twonn_from_neighbors(*map(torch.as_tensor, near)))} for near in drawn)


def _searched(n: int, d: int, generator: torch.Generator) -> Nearest:
    """Distances (n,) of each of n even directions to the nearest and the second nearest other."""
    rows = _random_rows(n, d, generator).double()
    scores = (rows @ rows.T).fill_diagonal_(-torch.inf)
    near, far = (2 - 2 * scores.topk(2, dim=1).values).clamp(min=0).sqrt().T
    return near, far


@lru_cache(32)
def neighborhoods(n: int, m: int, d: int, *, k: int) -> Means:
    """Hubness, Robin Hood index and share of anti-hubs of random rows, in both directions.

    Where all n x m scores of a draw take too long, both clouds are cut to one share of their rows: the counts of
    neighbours depend on k n/m first, and on the size itself little. How much shows in a second simulation at half
    of that size, and the difference is part of the error.

    Raises
    ------
    ValueError
        If the clouds are too large and their ratio too extreme to be cut.
    """
    rows, others = cut(n, m, d)
    whole = _neighborhoods(rows, others, d, k)
    if (rows, others) == (n, m):
        return whole
    half = _neighborhoods(rows // 2, others // 2, d, k)
    return {key: (mean, math.hypot(error, mean - half[key][0])) for key, (mean, error) in whole.items() if key in half}


def cut(n: int, m: int, d: int) -> tuple[int, int]:
    """The rows of the two clouds that neighbourhoods are simulated with: n and m, or a share of both."""
    if _work(n, m, d) <= SCORES:
        return n, m
    share = min(1.0, FEWEST / min(n, m))
    rows, others = round(n * share), round(m * share)
    if _work(rows, others, d) > 4 * SCORES:
        raise ValueError(f"{n:,} and {m:,} rows of {d:,} dimensions are too many to simulate neighbourhoods of")
    return rows, others


def _work(n: int, m: int, d: int) -> int:
    return n * m * (d + PICKED)


def _neighborhoods(n: int, m: int, d: int, k: int) -> Means:
    generator = torch.Generator().manual_seed(SEED)

    def draw() -> dict[str, float]:
        scores = _random_rows(n, d, generator) @ _random_rows(m, d, generator).T
        found: dict[str, float] = {}
        for what, each in (("text", scores), ("image", scores.T.contiguous())):
            if each.shape[1] < k:
                continue
            counts = torch.bincount(each.topk(k, dim=1).indices.flatten(), minlength=each.shape[1])
            for name, measure in OF_COUNTS.items():
                _put(found, f"{what}_{name}", measure, counts)
        return found

    return _means(draw() for _ in range(_draws(3e10 / _work(n, m, d), 30, 120)))


def _put(found: dict[str, float], key: str, measure: Callable[[Tensor], Tensor], counts: Tensor) -> None:
    try:
        found[key] = float(measure(counts))
    except ValueError:  # all counts are equal, as they are at this size in every draw
        return


def _random_rows(n: int, d: int, generator: torch.Generator) -> Tensor:
    """n even directions (n, d); float64 in few dimensions, where some lie closer than float32 can tell."""
    dtype = torch.float64 if d < 16 else torch.float32
    rows = torch.randn(n, d, generator=generator, dtype=dtype)
    return rows.div_(rows.norm(dim=1, keepdim=True))


def _random_spectrum(n: int, d: int, generator: torch.Generator) -> Spectrum:
    """The spectrum of n even directions, of which some are held at a time."""
    if n < d:
        rows = _random_rows(n, d, generator).double()
        mean = rows.mean(0)
        return FactoredSpectrum(n, mean, rows - mean)
    total = torch.zeros(d, dtype=torch.float64)
    gram = torch.zeros(d, d, dtype=torch.float64)
    for first in range(0, n, ROWS):
        rows = _random_rows(min(ROWS, n - first), d, generator)
        rows = rows.double() if n <= EXACT_ROWS * d else rows
        total += rows.sum(0, dtype=torch.float64)
        gram += rows.T @ rows
    mean = total / n
    return GramSpectrum(n, mean, gram - n * torch.outer(mean, mean))


def _draws(wanted: float, least: int, most: int) -> int:
    return max(least, min(most, int(wanted)))


def _means(draws: Iterator[dict[str, float]]) -> Means:
    """Mean and standard error of each key over the draws, of which there are at least two."""
    columns: dict[str, list[float]] = {}
    for found in draws:
        for key, value in found.items():
            columns.setdefault(key, []).append(value)
    return {
        key: (float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values)))
        for key, values in columns.items()
        if len(values) > 1
    }
