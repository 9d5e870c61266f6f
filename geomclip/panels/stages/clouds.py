"""Clouds: what the two clouds are as wholes: their gap, a hyperplane between them, their spectra, their likeness."""

from __future__ import annotations

import torch
from torch import Tensor

from geomclip.embeddings import exact
from geomclip.metrics.gap import shape_distance
from geomclip.metrics.separability import separability_of_subsets
from geomclip.metrics.shape import SPECTRA, spectral_measures
from geomclip.metrics.similarity import linear_cka, linear_cka_biased, mutual_knn, procrustes_distance
from geomclip.metrics.spectrum import Spectrum
from geomclip.panels import halves
from geomclip.panels.run import Run


def gap(run: Run) -> None:
    """The distance of the two means, whose resamples need the rows themselves."""
    with run.timed("gap"):
        if not run.wants("modality_gap"):
            return
        pairing, image = run.pairs(), run.image
        centre, other = exact.total(image) / run.n, exact.total(pairing.text) / pairing.m
        run.put("modality_gap", float((centre - other).norm()))
        if run.resampling is None:
            return
        text_sums = torch.zeros(run.n, image.shape[1], dtype=torch.float64)
        for some in exact.slices(pairing.text):
            text_sums.index_add_(0, pairing.own[some], pairing.text[some].double())
        counts = pairing.texts_of_image.double()
        rows = image.double()

    def gaps(weights: Tensor) -> Tensor:
        centre = weights @ rows / weights.sum(1, keepdim=True)
        other = weights @ text_sums / (weights @ counts)[:, None]
        return (centre - other).norm(dim=1)

    run.found.resampled["modality_gap"] = gaps


def separability(run: Run) -> None:
    """Logistic regression of image against text, of all and of the halves at once."""
    key = "linear_separability"
    if not run.wants(key):
        return
    pairing, seed = run.pairs(), run.options.seed
    with run.timed("linear separability"):
        text, own = pairing.text, pairing.own
        run.put(key, lambda: separability_of_subsets(run.image, text, own, [None], seeds=[seed])[0])
        if run.halves and run.has(key):
            with run.timed("halves"):
                run.found.of_halves[key] = halves.separabilities(pairing, run.halves, seed=seed)


def shapes(run: Run) -> None:
    """Everything read from singular values, of each cloud and of its halves."""
    clouds: dict[str, tuple[Tensor, Tensor | None]] = {"image": (run.image, torch.arange(run.n))}
    if run.text is not None:
        clouds["text"] = (run.text, None if run.pairing is None else run.pairing.own)
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
    if run.halves:
        with run.timed("halves"):
            owned = {name: (rows, owner) for name, (rows, owner) in clouds.items() if owner is not None}
            drawn = halves.shapes(owned, run.halves, names=spectral, centering=centering)
            run.found.of_halves |= {key: each for key, each in drawn.items() if run.has(key)}


def two_spaces(run: Run) -> None:
    """How alike the geometry of the images is to that of their first texts, row by row."""
    measures = (linear_cka, linear_cka_biased, mutual_knn, procrustes_distance)
    if not run.wants(*(measure.__name__ for measure in measures)):
        return
    with run.timed("two spaces"):
        text, own = run.pairs().first_texts()
        image = run.image[own]
        for measure in measures:
            run.put(measure.__name__, measure, image, text)
