"""The gap after centring within halves of the images: its spread where influences of first order are too large."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geomclip.machine.threads import Workers, free_threads
from geomclip.metrics.gap import rough_shape_distance
from geomclip.metrics.moments import Moments
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.spectrum import Spectrum

SUBSAMPLES = 20
"""Halves that are drawn."""

GROUPS = 40
"""Of images, of which a half is every second one: what adds up over images is added up once a group."""


def shape_distance_of_halves(image: Tensor, pairing: Pairing, *, seed: int) -> float:
    """The standard deviation of `gap_after_centering` between halves of the images, drawn without replacement.

    Half of n rows drawn without replacement has variance (σ²/(n/2)) (1 − 1/2) = σ²/n about the whole: its spread is
    the standard error of the whole as it stands (the delete-half jackknife of Shao and Wu 1989).
    """
    generator = np.random.default_rng([seed, 1])
    n = pairing.n
    groups = min(n, GROUPS)
    group = torch.from_numpy(generator.permutation(n)) % groups
    chosen = torch.zeros(SUBSAMPLES, groups, dtype=torch.bool)
    for row in chosen:
        row[torch.from_numpy(generator.permutation(groups)[: groups // 2])] = True
    clouds = ((image, group), (pairing.text, group[pairing.own]))
    spectra: list[list[Spectrum | None]]
    if min(len(image), len(pairing.text)) > image.shape[1]:
        spectra = [[*Moments.of(rows, of_row, groups=groups).of_each(chosen)] for rows, of_row in clouds]
    else:
        spectra = [[_of(rows[each[of_row]]) for each in chosen] for rows, of_row in clouds]

    with Workers(free_threads(), "halves") as workers:
        calls = [
            workers.add(rough_shape_distance, one, other)
            for one, other in zip(*spectra, strict=True)
            if one is not None and other is not None
        ]
        values = [float(workers.result(call)) for call in calls]
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _of(rows: Tensor) -> Spectrum | None:
    return Spectrum.of(rows) if len(rows) else None
