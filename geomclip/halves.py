"""Values within halves of the images, for the intervals of numbers that are no sums; none is a panel's value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from geomclip.metrics.nearest import twonn_of_subset
from geomclip.metrics.neighborhood import hubness, k_occurrence_of_subset
from geomclip.metrics.separability import separability_of_subsets
from geomclip.metrics.spectrum import Cloud, cloud_shape
from geomclip.sweep import Pairing

UNDEFINED = float("nan")


def dimensions(found: Mapping[str, Tensor], owner: Tensor, halves: Sequence[Tensor], *, n: int) -> Tensor:
    """TwoNN within each half, from the nearest candidates among all rows: (halves,), NaN where undefined."""
    values = []
    for half in halves:
        try:
            values.append(float(twonn_of_subset(found["text_score"], found["text_index"], mask(half, n)[owner])))
        except ValueError:
            values.append(UNDEFINED)
    return torch.tensor(values, dtype=torch.float64)


def hubnesses(candidates: Tensor, pairing: Pairing, query: str, halves: Sequence[Tensor], *, k: int) -> Tensor:
    """Hubness within each half, from the nearest candidates among all items: (halves,), NaN where undefined."""
    values = []
    for half in halves:
        images = mask(half, pairing.n)
        texts = images[pairing.own]
        rows, items = (images, texts) if query == "image" else (texts, images)
        try:
            values.append(float(hubness(k_occurrence_of_subset(candidates.int(), rows, items, k=k))))
        except ValueError:
            values.append(UNDEFINED)
    return torch.tensor(values, dtype=torch.float64)


def separabilities(pairing: Pairing, halves: Sequence[Tensor], *, seed: int) -> Tensor:
    """Linear separability within each half: (halves,), NaN where a half is too small."""
    seeds = [seed + 1 + place for place in range(len(halves))]
    try:
        return separability_of_subsets(pairing.image, pairing.text, pairing.own, list(halves), seeds=seeds)
    except ValueError:
        return torch.full((len(halves),), UNDEFINED, dtype=torch.float64)


def shapes(
    clouds: Mapping[str, tuple[Tensor, Tensor]], halves: Sequence[Tensor], *, n: int, centering: bool
) -> dict[str, Tensor]:
    """Every spectral measure of each cloud, and the gap after centring, within each half.

    Singular values come from Gram matrices here, whose smallest are off by 1e-8 of the largest: nothing to an
    interval, and a tenth of the time of factoring the rows.

    Parameters
    ----------
    clouds : mapping of name to (rows (r, d), image of each row (r,))
    halves : sequence of (n // 2,) row numbers of images
    n : int
        Number of images.
    centering : bool
        Whether `gap_after_centering` of the clouds "image" and "text" is wanted.

    Returns
    -------
    dict of key to (halves,) float64
    """
    drawn: dict[str, list[float]] = {}
    for half in halves:
        kept = mask(half, n)
        parts = {name: _Half.of(rows[kept[owner]]) for name, (rows, owner) in clouds.items()}
        for name, part in parts.items():
            values, reasons = cloud_shape(part.cloud) if part is not None else ({}, {})
            for key, value in values.items():
                drawn.setdefault(f"{key}_{name}", []).append(float(value))
            for key in reasons:
                drawn.setdefault(f"{key}_{name}", []).append(UNDEFINED)
        image, text = parts.get("image"), parts.get("text")
        if centering and image is not None and text is not None:
            drawn.setdefault("gap_after_centering", []).append(image.distance(text))
    return {key: torch.tensor(values, dtype=torch.float64) for key, values in drawn.items()}


class _Half:
    """Some rows of a cloud, as the least that their spectra need.

    `factor` (k, d), k = min(rows, d), has the same Gram matrix as the centred rows.
    """

    def __init__(self, cloud: Cloud, factor: Tensor) -> None:
        self.cloud = cloud
        self.factor = factor

    @classmethod
    def of(cls, rows: Tensor) -> _Half | None:
        """None if there are fewer than 2 rows."""
        n, d = rows.shape
        if n < 2:
            return None
        mean = rows.mean(0, dtype=torch.float64)
        if n <= d:
            rows = rows.double()
            centered = rows - mean
            values, centered_values = (_root_values(each @ each.T) for each in (rows, centered))
            factor = centered
        else:
            gram = (rows.T @ rows).double()
            spread = gram - n * torch.outer(mean, mean)
            values, centered_values = _root_values(gram), _root_values(spread)
            # a breath on the diagonal keeps the factor where rounding left an eigenvalue below 0
            spread.diagonal().add_(1e-7 * spread.diagonal().mean())
            factor = torch.linalg.cholesky(spread).T
        cloud = Cloud(n, mean, factor)
        vars(cloud).update(singular_values=values, singular_values_centered=centered_values)
        return cls(cloud, factor)

    def distance(self, other: _Half) -> float:
        """`gap_after_centering`: the trace form, whose nuclear norm is all that couples the two."""
        here, there = self.factor / self.cloud.n**0.5, other.factor / other.cloud.n**0.5
        coupling = torch.linalg.svdvals(here @ there.T).sum()
        squared = here.square().sum() + there.square().sum() - 2 * coupling
        return float(squared.clamp(min=0).sqrt())


def _root_values(gram: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(gram).flip(0).clamp(min=0).sqrt()


def mask(rows: Tensor, n: int) -> Tensor:
    """(n,) bool, true at these rows."""
    return torch.zeros(n, dtype=torch.bool).index_fill_(0, rows, True)
