"""Values within halves of the images, for intervals of numbers that are no sums; none is a panel's value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor

from geomclip.machine.threads import Workers
from geomclip.metrics.moments import Moments
from geomclip.metrics.nearest import twonn_of_subset
from geomclip.metrics.neighborhood import hubness, k_occurrence_of_subset
from geomclip.metrics.separability import separability_of_subsets
from geomclip.metrics.spectrum import Cloud, FactoredCloud, GramCloud, cloud_shape
from geomclip.metrics.sweep import Pairing
from geomclip.panels.intervals import Halves


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
    by one thread whatever torch is given.

    Parameters
    ----------
    clouds : mapping of name to (rows (r, d), image of each row (r,))
    halves : Halves
    names : sequence of str
        Of `geomclip.metrics.spectrum.SPECTRA`.
    centering : bool
        Whether `gap_after_centering` of the clouds "image" and "text" is wanted.

    Returns
    -------
    dict of key to (halves,) float64, NaN where undefined
    """

    def of(parts: Sequence[Cloud | None]) -> dict[str, float]:
        named = dict(zip(clouds, parts, strict=True))
        found: dict[str, float] = {}
        for name, cloud in named.items():
            values, reasons = cloud_shape(cloud, names) if cloud is not None else ({}, {})
            found |= {f"{key}_{name}": float(values.get(key, torch.nan)) for key in (*values, *reasons)}
        image, text = named.get("image"), named.get("text")
        if centering and image is not None and text is not None:
            found["gap_after_centering"] = float(_shape_distance(image, text))
        return found

    of_halves = zip(*(_parts(rows, owner, halves) for rows, owner in clouds.values()), strict=True)
    drawn: dict[str, list[float]] = {}
    with Workers(torch.get_num_threads(), "halves") as workers:
        # a few at a time: each half holds matrices (d, d) of its own
        while some := [workers.add(of, parts) for parts in islice(of_halves, workers.count)]:
            for call in some:
                for key, value in workers.result(call).items():
                    drawn.setdefault(key, []).append(value)
    return {key: torch.tensor(values, dtype=torch.float64) for key, values in drawn.items()}


def _parts(rows: Tensor, owner: Tensor, halves: Halves) -> Iterator[Cloud | None]:
    """The part of a cloud in each half; None where it has no row."""
    group = halves.group[owner]
    if len(rows) > rows.shape[1]:
        yield from Moments.of(rows, group, groups=halves.chosen.shape[1]).of_each(halves.chosen)
        return
    for chosen in halves.chosen:
        kept = chosen[group]
        yield _few_rows(rows[kept].double()) if bool(kept.any()) else None


def _few_rows(rows: Tensor) -> FactoredCloud:
    """A cloud of fewer rows (n, d) than dimensions, its singular values from the small Gram matrices (n, n)."""
    mean = rows.mean(0)
    centered = rows - mean
    cloud = FactoredCloud(len(rows), mean, centered)
    whole, about_mean = (torch.linalg.eigvalsh(x @ x.T).flip(0).clamp(min=0).sqrt() for x in (rows, centered))
    vars(cloud).update(singular_values=whole, singular_values_centered=about_mean)
    return cloud


def _shape_distance(image: Cloud, text: Cloud) -> Tensor:
    """`gap_after_centering` of two parts, in its trace form."""
    for one, other in ((text, image), (image, text)):
        if isinstance(one, GramCloud):
            return one.shape_distance(other)
    x, y = (cloud.root / cloud.n**0.5 for cloud in (image, text))
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
