"""Sweeps: one pass over each modality and one over images against texts, and what is read from them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from geomclip.embeddings import exact
from geomclip.metrics import contributions as parts
from geomclip.metrics.alignment import Hardest
from geomclip.metrics.bins import reliability
from geomclip.metrics.calibration import Masses, Posterior
from geomclip.metrics.calibration_scores import ace, brier_of, debiased_square, smece
from geomclip.metrics.copies import first_copies, rows_once
from geomclip.metrics.folds import Fold
from geomclip.metrics.gallery import HITS, Answers, gallery_effects
from geomclip.metrics.intrinsic_dimension import twonn_from_neighbors, twonn_influence
from geomclip.metrics.nearest import Nearest, k_occurrence_of_candidates, two_nearest_of_candidates
from geomclip.metrics.neighborhood import OF_COUNTS, robin_hood_influence
from geomclip.metrics.pairing import Pairing
from geomclip.metrics.retrieval import Ranks
from geomclip.metrics.uniformity import GaussianSums
from geomclip.panels import intervals
from geomclip.panels.run import NEIGHBORS, Run

FOLDS = frozenset(
    {
        *(f"{cloud} {fold}" for cloud in ("image", "text") for fold in ("kernel", "nearest")),
        *(f"cross {fold}" for fold in ("hardest", "kernel", "ranks", "masses", "squares", "nearest")),
    }
)
"""What `Metric.folds` may name: a sweep and a fold of it. "squares" is what `masses` add up for Brier scores."""


CANDIDATES = 8
"""Neighbours of each row of a cloud where intervals are wanted."""


def needed(run: Run, sweep: str, **folds: Callable[[], Fold[Any, Any]]) -> dict[str, Fold[Any, Any]]:
    """Those of the folds of a sweep that a wanted key reads, each made."""
    return {name: make() for name, make in folds.items() if f"{sweep} {name}" in run.folds}


def every_pair(run: Run) -> None:
    """One pass over each modality and one over both; of class data the last is not for here."""
    within_images(run)
    if run.text is not None:
        within_texts(run)
    if run.pairing is not None:
        across(run)


def within_images(run: Run) -> None:
    """One pass over the images."""
    within(run, "image", run.image, torch.arange(run.n))


def within_texts(run: Run) -> None:
    """One pass over the texts, or over those of the classes, which belong to no image."""
    assert run.text is not None
    within(run, "text", run.text, None if run.pairing is None else run.pairing.own)


def within(run: Run, cloud: str, rows: Tensor, owner: Tensor | None) -> None:
    """One pass over one modality: uniformity and intrinsic dimension. Class texts have no owner."""
    # where intervals are wanted each row needs two that are left when the texts of one image are gone
    count = min(CANDIDATES if run.intervals else 4, len(rows) - 1)
    with run.timed(f"{cloud} sweep"):
        folds = needed(run, cloud, kernel=GaussianSums, nearest=lambda: Nearest(count, unmatched=True))
        if not count:
            folds.pop("nearest", None)
        results = run.sweep(f"{cloud} sweep", cloud, Pairing.within(rows), list(folds.values())) if folds else []
        found = dict(zip(folds, results, strict=True))
        cosines = exact.dots(rows, exact.total(rows)) - 1
        sums = found["kernel"]["text"] if "kernel" in found else None
        if owner is not None:
            run.found.columns |= parts.within_columns(cloud, sums, cosines, owner, run.n)
        elif count:
            pairs = len(rows) * (len(rows) - 1)
            run.put(f"mean_cosine_{cloud}", float(cosines.sum()) / pairs)
            if sums is not None:
                run.put(f"uniformity_{cloud}", float((sums.sum() / pairs).log()))
    if "nearest" in found:
        with run.timed("intrinsic dimension"):
            intrinsic_dimension(run, cloud, rows, owner, found["nearest"])


def intrinsic_dimension(run: Run, cloud: str, rows: Tensor, owner: Tensor | None, found: dict[str, Tensor]) -> None:
    """TwoNN of one cloud from the candidates of its sweep."""
    key = f"twonn_{cloud}"
    score, index = found["text_score"], found["text_index"]
    if cloud == "image" and (units := run.found.units) is not None:
        first = rows_once(units)[units]
    else:
        first = first_copies(rows, score[:, 0])
    try:
        r1, r2, merged = two_nearest_of_candidates(rows, score, index, first)
    except ValueError as undefined:
        run.undefined(key, str(undefined))
        return
    run.put(key, twonn_from_neighbors, r1, r2)
    if merged:
        run.found.notes.setdefault(key, f"{merged} duplicate rows merged")
    if run.intervals and owner is not None and run.has(key):
        with run.timed(intervals.STAGE), suppress(ValueError):
            run.found.influence[key] = twonn_influence(score, index, first, owner, run.n)


def answering(run: Run) -> dict[str, Callable[[], Any]]:
    """Folds across the modalities that answer each query by itself."""
    return {
        "hardest": Hardest,
        "kernel": GaussianSums,
        "ranks": Ranks,
        "masses": lambda: Masses(run.logit_scale, squares="cross squares" in run.folds),
    }


def across(run: Run) -> None:
    """One pass over images against texts: everything that compares the two row by row."""
    pairing = run.pairs()
    run.found.columns |= parts.text_columns(pairing)
    folds = needed(run, "cross", **answering(run), nearest=lambda: Nearest(NEIGHBORS + 1))
    of_image, of_text = run.found.image_items, run.found.text_items
    with run.timed("image-text sweep"):
        results = run.sweep("image-text sweep", "cross", pairing, list(folds.values())) if folds else []
        found = dict(zip(folds, results, strict=True))
        run.found.columns |= parts.cross_columns(pairing, found.get("kernel"))
        if "hardest" in found:
            run.found.columns |= parts.alignment_columns(pairing, found["hardest"])
            of_text["hardest_cosine"] = pairing.unsorted(found["hardest"]["text"])
            of_image["hardest_cosine"] = found["hardest"]["image"]
        if "ranks" in found:
            ranks(run, found["ranks"])
        if "masses" in found:
            calibration(run, found["masses"])
    if run.intervals:
        with run.timed(intervals.STAGE):
            gallery(run, found)
    of_text["matched_cosine"] = pairing.unsorted(pairing.matched)
    of_image["matched_cosine"] = pairing.per_image(pairing.matched) / pairing.texts_of_image
    if "nearest" in found:
        with run.timed("neighbourhoods"):
            neighborhoods(run, found["nearest"])


def gallery(run: Run, found: dict[str, Any]) -> None:
    """What each image does to the queries of others by being there to be found."""
    wanted = frozenset(name for key in run.wanted for name in parts.COLUMNS.get(key, ()))
    answers = {
        axis: Answers(
            found["ranks"][axis] if "ranks" in found else None, found["masses"][axis] if "masses" in found else None
        )
        for axis in ("text", "image")
    }
    effects = gallery_effects(run.pairs(), answers, run.logit_scale, wanted, seed=run.options.seed)
    run.found.gallery |= effects.all_settled()
    if hits := sorted(wanted & HITS):
        run.found.pairs = effects.pairs(hits)


def ranks(run: Run, ranks: dict[str, Tensor]) -> None:
    """Columns and items of the ranks; the medians, which are no sums."""
    pairing = run.pairs()
    run.found.columns |= parts.retrieval_columns(pairing, ranks)
    run.found.text_items["rank"] = pairing.unsorted(ranks["text"])
    run.found.image_items["rank"] = ranks["image"]
    queries = (ranks["image"] > 0).nonzero()[:, 0]
    for key, each, owner in (
        ("text_retrieval_median_rank", ranks["image"][queries], queries),
        ("image_retrieval_median_rank", ranks["text"], pairing.own),
    ):
        medians = intervals.weighted_median(each, owner)
        run.put(key, float(medians(torch.ones(1, run.n, dtype=torch.float64))))
        if run.intervals and run.has(key):
            ranked = each.double().sort(stable=True)
            ends, influence = intervals.median_interval(ranked.values, owner[ranked.indices], run.units)
            run.found.ci[key], run.found.influence[key] = ends, influence


def calibration(run: Run, both: dict[str, Posterior]) -> None:
    """Columns, items and reliability of both directions."""
    pairing = run.pairs()
    queries = (pairing.texts_of_image > 0).nonzero()[:, 0]
    for prefix, axis, owner in (
        ("text_retrieval", "image", queries),
        ("image_retrieval", "text", pairing.own),
    ):
        posterior = both[axis]
        confidence, hit, nll = posterior.confidence, posterior.hit(run.logit_scale), -posterior.own
        for name, each in (("confidence", confidence), ("hit", hit), ("nll", nll)):
            if axis == "text":
                run.found.text_items[name] = pairing.unsorted(each)
            else:
                run.found.image_items[name] = torch.where(pairing.texts_of_image > 0, each, torch.nan)
        chosen = slice(None) if axis == "text" else queries
        brier = brier_of(posterior.squares, posterior.own.exp())[chosen] if run.wants(f"{prefix}_brier") else None
        confidence, hit, nll = confidence[chosen], hit[chosen], nll[chosen]
        run.found.columns |= parts.calibration_columns(prefix, confidence, hit, nll, brier, owner, run.n)
        run.found.reliability[prefix] = reliability(confidence, hit)
        debiased(run, prefix)
        run.put(f"{prefix}_ace", ace, confidence, hit)
        run.put(f"{prefix}_smece", smece, confidence, hit)


def debiased(run: Run, prefix: str) -> None:
    """A calibration error without what chance adds, from what each image adds to its bins."""
    over, count = (parts.binned_columns(f"{prefix}_{name}", run.found.columns) for name in ("over", "bin"))
    run.put(f"{prefix}_ece_debiased", lambda: debiased_square(over, count).clamp(min=0).sqrt())


def neighborhoods(run: Run, found: dict[str, Tensor]) -> None:
    """Hubness and its kin of texts (as neighbours of images) and of images (of texts)."""
    pairing = run.pairs()
    for what, query, size, items in (
        ("text", "image", pairing.m, run.found.text_items),
        ("image", "text", pairing.n, run.found.image_items),
    ):
        try:
            if size < NEIGHBORS:
                raise ValueError(f"needs at least {NEIGHBORS} {what}s, got {size}")
            counts = k_occurrence_of_candidates(pairing, found, query, k=NEIGHBORS)
        except ValueError as undefined:
            for name in OF_COUNTS:
                run.undefined(f"{what}_{name}", str(undefined))
            continue
        for name, measure in OF_COUNTS.items():
            run.put(f"{what}_{name}", measure, counts)
        items["k_occurrence"] = pairing.unsorted(counts) if what == "text" else counts
        key = f"{what}_robin_hood"
        nearest = found[f"{query}_index"]
        if run.intervals and run.has(key) and nearest.shape[1] > NEIGHBORS:
            images = torch.arange(run.n)
            asking, owner = (images, pairing.own) if query == "image" else (pairing.own, images)
            with run.timed(intervals.STAGE):
                run.found.influence[key] = robin_hood_influence(counts, nearest, asking, owner, run.n)
