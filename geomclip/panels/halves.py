"""Values within halves of the images, for intervals of numbers that are no sums; none is a panel's value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomclip.machine.threads import Workers
from geomclip.metrics.moments import Moments
from geomclip.metrics.nearest import twonn_of_subset
from geomclip.metrics.neighborhood import hubness, k_occurrence_of_subset
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.separability import separability_of_subsets
from geomclip.metrics.shape import spectral_measures
from geomclip.metrics.spectrum import FactoredSpectrum, GramSpectrum, Spectrum

SUBSAMPLES = 50
"""Halves that are drawn."""


@dataclass(frozen=True, eq=False)
class Halves:
    """Subsamples of half of the images, without replacement, each made of whole groups of images.

    Images fall into at most 100 random groups of one size (to within one); a half is half of the groups. What
    adds up over images is then added up once a group.
    """

    group: Tensor  # (n,) group of each image
    chosen: Tensor  # (halves, groups) bool

    @classmethod
    def of(cls, n: int, *, seed: int, count: int = SUBSAMPLES) -> Halves:
        """`count` halves of n images; the same seed gives the same ones."""
        generator = np.random.default_rng([seed, 1])
        groups = min(n, 2 * SUBSAMPLES)
        group = torch.from_numpy(generator.permutation(n)) % groups
        chosen = torch.zeros(count, groups, dtype=torch.bool)
        for row in chosen:
            row[torch.from_numpy(generator.permutation(groups)[: groups // 2])] = True
        return cls(group, chosen)

    @property
    def params(self) -> dict[str, Any]:
        """What a panel keeps of how its halves were drawn."""
        return {"halves": {"subsamples": len(self), "images": len(self.group) // 2, "scale": 1.0}}

    def __iter__(self) -> Iterator[Tensor]:
        """Which images each half has: (n,) bool."""
        return (row[self.group] for row in self.chosen)

    def __len__(self) -> int:
        return len(self.chosen)


def dimensions(found: Mapping[str, Tensor], owner: Tensor, halves: Halves) -> Tensor:
    """TwoNN within each half, from the nearest candidates among all rows: (halves,), NaN where undefined."""
    score, index = found["text_score"], found["text_index"]
    return _each(halves, lambda images: twonn_of_subset(score, index, images[owner]))


def hubnesses(candidates: Tensor, pairing: Pairing, query: str, halves: Halves, *, k: int) -> Tensor:
    """Hubness within each half, from the nearest candidates among all items: (halves,), NaN where undefined."""
    short = candidates.int()

    def of(images: Tensor) -> Tensor:
        texts = images[pairing.own]
        rows, items = (images, texts) if query == "image" else (texts, images)
        return torch.as_tensor(hubness(k_occurrence_of_subset(short, rows, items, k=k)))

    return _each(halves, of)


def separabilities(pairing: Pairing, halves: Halves, *, seed: int) -> Tensor:
    """Linear separability within each half: (halves,), NaN where a half is too small."""
    subsets = [images.nonzero()[:, 0] for images in halves]
    seeds = [seed + 1 + place for place in range(len(halves))]
    try:
        return separability_of_subsets(pairing.image, pairing.text, pairing.own, subsets, seeds=seeds)
    except ValueError:
        return torch.full((len(halves),), torch.nan, dtype=torch.float64)


def shapes(
    clouds: Mapping[str, tuple[Tensor, Tensor]], halves: Halves, *, names: Sequence[str], centering: bool
) -> dict[str, Tensor]:
    """The named spectral measures of each cloud, and the gap after centring, within each half.

    A cloud of more rows than dimensions is multiplied once, a group of images at a time, and the halves add
    up those products; a smaller one is factored half by half. Threads share the halves, since eigenvalues are found
    by one thread whatever number torch may use.

    Parameters
    ----------
    clouds : mapping of name to (rows (r, d), image of each row (r,))
    halves : Halves
    names : sequence of str
        Of `geomclip.metrics.shape.SPECTRA`.
    centering : bool
        Whether `gap_after_centering` of the clouds "image" and "text" is wanted.

    Returns
    -------
    dict of key to (halves,) float64, NaN where undefined
    """

    def of(spectra: Sequence[Spectrum | None]) -> dict[str, float]:
        named = dict(zip(clouds, spectra, strict=True))
        found: dict[str, float] = {}
        for name, spectrum in named.items():
            values, reasons = spectral_measures(spectrum, names) if spectrum is not None else ({}, {})
            found |= {f"{key}_{name}": float(values.get(key, torch.nan)) for key in (*values, *reasons)}
        image, text = named.get("image"), named.get("text")
        if centering and image is not None and text is not None:
            found["gap_after_centering"] = float(_shape_distance(image, text))
        return found

    of_halves = zip(*(_spectra(rows, owner, halves) for rows, owner in clouds.values()), strict=True)
    drawn: dict[str, list[float]] = {}
    with Workers(torch.get_num_threads(), "halves") as workers:
        # a few at a time: each half holds matrices (d, d) of its own
        while some := [workers.add(of, spectra) for spectra in islice(of_halves, workers.count)]:
            for call in some:
                for key, value in workers.result(call).items():
                    drawn.setdefault(key, []).append(value)
    return {key: torch.tensor(values, dtype=torch.float64) for key, values in drawn.items()}


def _spectra(rows: Tensor, owner: Tensor, halves: Halves) -> Iterator[Spectrum | None]:
    """The spectrum of a cloud in each half; None where it has no row there."""
    group = halves.group[owner]
    if len(rows) > rows.shape[1]:
        yield from Moments.of(rows, group, groups=halves.chosen.shape[1]).of_each(halves.chosen)
        return
    for chosen in halves.chosen:
        kept = chosen[group]
        yield _OfFewRows.of_rows(rows[kept].double()) if bool(kept.any()) else None


@dataclass(frozen=True, eq=False)
class _OfFewRows(FactoredSpectrum):
    """The spectrum of fewer rows (n, d) than dimensions: singular values from the small Gram matrices (n, n)."""

    rows: Tensor

    @classmethod
    def of_rows(cls, rows: Tensor) -> _OfFewRows:
        """That of these rows, float64; their mean taken away they are a factor of themselves."""
        mean = rows.mean(0)
        return cls(len(rows), mean, rows - mean, rows)

    @cached_property
    def singular_values(self) -> Tensor:
        """Of the rows as they are: (n,), largest first."""
        return _roots(self.rows)

    @cached_property
    def singular_values_centered(self) -> Tensor:
        """Of the rows less their mean: (n,), largest first."""
        return _roots(self.factor)


def _roots(rows: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(rows @ rows.T).flip(0).clamp(min=0).sqrt()


def _shape_distance(image: Spectrum, text: Spectrum) -> Tensor:
    """`gap_after_centering` of two parts, in its trace form."""
    for one, other in ((text, image), (image, text)):
        if isinstance(one, GramSpectrum):
            return one.shape_distance(other)
    x, y = (each.root / each.n**0.5 for each in (image, text))
    squared = x.square().sum() + y.square().sum() - 2 * torch.linalg.svdvals(x @ y.T).sum()
    return squared.clamp(min=0).sqrt()


def _each(halves: Halves, statistic: Callable[[Tensor], Tensor]) -> Tensor:
    values = []
    for images in halves:
        try:
            values.append(float(statistic(images)))
        except ValueError:
            values.append(float("nan"))
    return torch.tensor(values, dtype=torch.float64)
