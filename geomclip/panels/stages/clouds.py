"""Clouds: what the two clouds are as wholes: their gap, a hyperplane between them, their spectra, their likeness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from geomclip.embeddings import exact
from geomclip.machine import scratch
from geomclip.machine.threads import side_by_side
from geomclip.metrics import METRICS
from geomclip.metrics import contributions as parts
from geomclip.metrics.deletion import Decomposed, without_images
from geomclip.metrics.gap import debiased_gap, shape_distance, shape_distance_influence
from geomclip.metrics.kinds import on_kept_rows
from geomclip.metrics.separability import held_out_answers
from geomclip.metrics.shape import SPECTRA, spectral_measures
from geomclip.metrics.similarity import linear_cka, linear_cka_biased, mutual_knn, procrustes_distance
from geomclip.metrics.spectrum import Spectrum
from geomclip.metrics.squared_length import SquaredLength
from geomclip.panels import intervals
from geomclip.panels.halves import shape_distance_of_halves
from geomclip.panels.intervals import Units
from geomclip.panels.run import Run

CANCELLED_WIDTH = 1e-6
"""1 − mean cosine below this is rounding."""

MANY_IMAGES = 8
"""Images a dimension from which influences of first order give the spread of `gap_after_centering`; else halves do."""

FIRST_ORDER = 0.85
"""What the spread that those say is to be multiplied by: they say a little too much."""

HALVED = 0.95
"""What the spread between halves is to be multiplied by: they differ by a little more than their share."""

GAPS = ("modality_gap", "modality_gap_debiased", "modality_gap_squared", "modality_gap_standardized")


def gap(run: Run) -> None:
    """The distance of the two means: as it is, and without what chance adds to it."""
    with run.timed("gap"):
        if not run.wants(*GAPS):
            return
        pairing, image = run.pairs(), run.image
        centre, other = exact.total(image) / run.n, exact.total(pairing.text) / pairing.m
        run.put("modality_gap", float((centre - other).norm()))
        text_sums = scratch.zeros(run.n, image.shape[1], dtype=torch.float64)
        for some in exact.slices(pairing.text):
            text_sums.index_add_(0, pairing.own[some], pairing.text[some].double())
        wide = scratch.to(image, torch.float64)
        put_gaps(run, debiased_gap(wide, text_sums, pairing.texts_of_image.double(), run.found.units))


def put_gaps(run: Run, squared: SquaredLength) -> None:
    """The numbers of the gap that one squared length gives, and what each image moves them by."""
    run.put("modality_gap", max(0.0, squared.value + squared.bias) ** 0.5)
    run.put("modality_gap_squared", squared.value)
    root = max(0.0, squared.value) ** 0.5
    run.put("modality_gap_debiased", root)
    found = run.found
    lengths = {"modality_gap": (squared.value + squared.bias) ** 0.5, "modality_gap_debiased": root}
    for key, length in lengths.items():
        found.squared[key] = squared
        if length > 0:
            found.influence[key] = squared.influence / (2 * length)
    found.squared["modality_gap_squared"] = squared
    found.influence["modality_gap_squared"] = squared.influence


def standardized(run: Run) -> None:
    """The gap in units of the spread within the clouds: once the mean cosines are known."""
    key, found = "modality_gap_standardized", run.found
    squared = found.squared.get("modality_gap_squared")
    if squared is None or not run.wants(key):
        return
    widths, moved = [], torch.zeros(run.n, dtype=torch.float64)
    for cloud in ("image", "text"):
        columns = {name: found.columns[name] for name in (f"cosine_{cloud}", f"pairs_{cloud}") if name in found.columns}
        cosine = parts.value_of(f"mean_cosine_{cloud}", columns)
        if cosine is None:
            continue
        widths.append(1 - cosine)
        moved -= intervals.deleted_one(columns, {}, [f"mean_cosine_{cloud}"])[f"mean_cosine_{cloud}"]
    width = sum(widths) / max(1, len(widths))
    if width <= CANCELLED_WIDTH:
        run.undefined(key, "the rows of each cloud are one point, so the gap has no spread to be measured by")
        return
    ratio = squared.value / width
    influence = (squared.influence - ratio * moved / len(widths)) / width
    # the width of the clouds is not known either: what that adds to the spread, as far as the influences have it
    of_square, of_ratio = run.units.standard_error(squared.influence) / width, run.units.standard_error(influence)
    wider = (of_ratio / of_square) ** 2 if of_square > 0 else 1.0
    along, chance = squared.along / width * wider, squared.chance / width**2 * wider
    found.squared[key] = SquaredLength(ratio, 0.0, along, chance, influence)
    run.put(key, max(0.0, ratio) ** 0.5)
    if ratio > 0:
        found.influence[key] = influence / (2 * ratio**0.5)


def separability(run: Run) -> None:
    """Logistic regression of image against text, and how often each image and its text are told apart."""
    key = "linear_separability"
    if not run.wants(key):
        return
    pairing = run.pairs()
    with run.timed("linear separability"):
        try:
            answers = held_out_answers(run.image, pairing.text, pairing.own, seed=run.options.seed)
        except ValueError as undefined:
            run.undefined(key, str(undefined))
            return
        run.put(key, float(answers.accuracy))
        right = torch.zeros(run.n, dtype=torch.float64)
        right[answers.images] = answers.right.double().mean(1) - float(answers.right.double().mean())
        overlap = 4 * float(answers.accuracy) * (1 - float(answers.accuracy))  # 1 where the clouds are one, 0 apart
        run.found.influence[key] = right / len(answers.images) * (1 + intervals.FIT * overlap**2) ** 0.5


def shapes(run: Run) -> None:
    """Everything read from singular values, of each cloud, and what each image moves it by."""
    clouds: dict[str, tuple[Tensor, Tensor | None]] = {"image": (run.image, torch.arange(run.n + 1))}
    if run.text is not None:
        clouds["text"] = (run.text, None if run.pairing is None else run.pairing.starts)
    spectral = [key for key in SPECTRA if run.wants(f"{key}_image", f"{key}_text")]
    centering = run.wants("gap_after_centering") and run.pairing is not None
    if not spectral and not centering:
        return
    spectra: dict[str, Spectrum] = {}
    with run.timed("spectra"):
        for name, (rows, _) in clouds.items():
            spectra[name] = Spectrum.of(rows)
            values, reasons = spectral_measures(spectra[name], spectral)
            for key in spectral:
                if key in values:
                    run.put(f"{key}_{name}", float(values[key]))
                else:
                    run.undefined(f"{key}_{name}", reasons[key])
        if centering:
            run.put("gap_after_centering", lambda: shape_distance(spectra["image"], spectra["text"]))
    if run.intervals:
        with run.timed(intervals.STAGE):
            owned = [
                Cloud(name, rows, starts, spectra[name])
                for name, (rows, starts) in clouds.items()
                if starts is not None
            ]
            shape_influences(
                run, owned, spectral, centering=centering and run.n >= METRICS["gap_after_centering"].least
            )


@dataclass(frozen=True, eq=False)
class Cloud:
    """The rows of one modality, those of each image side by side."""

    name: str
    rows: Tensor
    starts: Tensor  # (n + 1,)
    spectrum: Spectrum


def shape_influences(run: Run, clouds: Sequence[Cloud], spectral: Sequence[str], *, centering: bool) -> None:
    """What each image moves the spectral numbers of each cloud, and the gap after centring, by."""
    centering = centering and run.has("gap_after_centering")
    names = {cloud.name: [key for key in spectral if run.has(f"{key}_{cloud.name}")] for cloud in clouds}
    clouds = [cloud for cloud in clouds if names[cloud.name] or centering]
    made = side_by_side(*(partial(Decomposed.of, cloud.rows, cloud.spectrum) for cloud in clouds))
    decomposed = {cloud.name: each for cloud, each in zip(clouds, made, strict=True)}
    # texts take longest by far: what there is besides goes beside them
    ordered = sorted(clouds, key=lambda cloud: len(cloud.rows))
    rest, longest = ordered[:-1], ordered[-1:]

    def of(clouds: Sequence[Cloud], *, centering: bool) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for cloud in clouds:
            found |= _without_each(run, cloud, decomposed[cloud.name], names[cloud.name])
        if centering:
            found["gap_after_centering"] = _centering_influence(run, decomposed["image"], decomposed["text"])
        return found

    for found in side_by_side(partial(of, rest, centering=centering), partial(of, longest, centering=False)):
        run.found.influence |= found


def _without_each(run: Run, cloud: Cloud, decomposed: Decomposed, keys: Sequence[str]) -> dict[str, Tensor]:
    leading, starts = first_of_units(run.units), cloud.starts
    if leading is not None:
        decomposed, starts = by_units(decomposed, starts, run.units)
    influence = {}
    for key, deleted in without_images(decomposed, starts, keys, seed=run.options.seed).items():
        moved = intervals.as_influence(deleted.values, deleted.inflation)
        if leading is not None:  # what a unit does stands at its first image
            moved = torch.zeros(run.n, dtype=torch.float64).index_copy_(0, leading, moved)
        influence[f"{key}_{cloud.name}"] = moved
    return influence


def _centering_influence(run: Run, image: Decomposed, text: Decomposed) -> Tensor:
    pairing = run.pairs()
    of_image, of_text = shape_distance_influence(image, text)
    moved = of_image + pairing.per_image(of_text)
    moved = moved - moved.mean()
    if run.n >= MANY_IMAGES * run.image.shape[1]:
        return moved * FIRST_ORDER
    spread = HALVED * shape_distance_of_halves(run.image, pairing, seed=run.options.seed)
    size = float(moved.square().sum().sqrt())
    return moved * (min(1.0, spread / size) if size > 0 else 0.0)


def first_of_units(units: Units) -> Tensor | None:
    """The first image of each unit (units,); None where no image has a copy."""
    n = len(units.of_image)
    if units.count == n:
        return None
    first = torch.full((units.count,), n, dtype=torch.int64)
    return first.scatter_reduce(0, units.of_image, torch.arange(n), "amin")


def by_units(cloud: Decomposed, starts: Tensor, units: Units) -> tuple[Decomposed, Tensor]:
    """The cloud with the rows of each unit side by side, and where those of each begin (units + 1,)."""
    unit = units.of_image.repeat_interleave(starts.diff())
    order = unit.argsort(stable=True)
    counts = torch.bincount(unit, minlength=units.count)
    return replace(cloud, along=scratch.rows(cloud.along, order)), torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def two_spaces(run: Run) -> None:
    """How alike the geometry of the images is to that of their first texts, row by row."""
    measures = (linear_cka, linear_cka_biased, mutual_knn, procrustes_distance)
    if not run.wants(*(measure.__name__ for measure in measures)):
        return
    with run.timed("two spaces"):
        text, own = run.pairs().first_texts()
        image = scratch.rows(run.image, own)
        for measure in measures:
            run.put(measure.__name__, on_kept_rows(measure), image, text)
