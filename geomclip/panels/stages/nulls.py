"""Nulls: what each number is for random rows, random answers, or answers that are right as often as they say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial

from torch import Tensor

from geomclip.metrics import null_draws
from geomclip.metrics.honest import honest_errors
from geomclip.metrics.neighborhood import OF_COUNTS
from geomclip.metrics.null import (
    LARGE,
    chance,
    closed_form,
    gap_null,
    hardest_partners,
    participation,
    variance_of_mean,
    variance_of_mean_text,
)
from geomclip.metrics.null_draws import Means
from geomclip.metrics.shape import SPECTRA
from geomclip.panels.run import NEIGHBORS, Run

LINE = "rows of one dimension are two points"
"""Why a set of one dimension lacks what is simulated."""


def nulls_of(run: Run) -> None:
    """The null of every value that has one, the error of those that are simulated, and p of honest confidences."""
    with run.timed("nulls"):
        m = 0 if run.text is None else len(run.text)
        if m:
            _put(run, closed_form(run.image.shape[1]))
            _gap(run)
        if run.pairing is not None:
            _put(run, chance(run.pairing))
            if run.wants("relative_alignment_text_to_image", "relative_alignment_image_to_text"):
                _put(run, hardest_partners(run.pairing))
        elif run.classes is not None:
            guesses = {"acc1": 1 / m, "acc5": min(5, m) / m, "mean_per_class_recall": 1 / m, "nll": math.log(m)}
            _put(run, {f"zeroshot_{key}": value for key, value in guesses.items()})
        if m >= 2:
            _simulated(run, m)
        _honest(run)


def _put(run: Run, nulls: dict[str, float]) -> None:
    run.found.null |= {key: value for key, value in nulls.items() if run.has(key)}


def _absent(run: Run, keys: Iterable[str], reason: str) -> None:
    """Say why values have no null, where nothing else is to be said of them."""
    for key in keys:
        if run.has(key) and key not in run.found.null:
            run.found.notes.setdefault(key, f"no null: {reason}")


def _gap(run: Run) -> None:
    """The gap that two samples of one law have; of the corrected gaps it is 0."""
    if not run.has("modality_gap"):
        return
    try:
        if run.pairing is not None:
            texts = variance_of_mean_text(run.pairing)
        else:
            assert run.classes is not None
            texts = variance_of_mean(run.classes.text)
        # the variance of a mean of n is (1 − c)/n
        cosine = 1 - run.n * variance_of_mean(run.image)
    except ValueError as reason:
        _absent(run, ["modality_gap"], str(reason))
    else:
        _put(run, {"modality_gap": gap_null(run.n, cosine, texts)})
    _put(run, {"modality_gap_debiased": 0.0, "modality_gap_squared": 0.0})


def _simulated(run: Run, m: int) -> None:
    """Means over draws of random rows, at the size of the set."""
    n, d = run.image.shape
    shaped = [f"{key}_{cloud}" for cloud in ("image", "text") for key in SPECTRA] + ["gap_after_centering"]
    near = [f"{what}_{key}" for what in ("text", "image") for key in OF_COUNTS]
    if d < 2:
        _absent(run, [*shaped, *near], LINE)
        return
    sizes = {"image": n, "text": m}
    if any(run.has(key) for key in shaped):
        _put_means(run, _kept(run, f"shapes-{n}x{m}x{d}", lambda: null_draws.shapes(n, m, d)))
    for cloud, rows in sizes.items():
        if rows >= LARGE:  # known, so not simulated
            known = {f"{key}_{cloud}": value for key, value in participation(rows, d).items()}
            _put(run, known)
            run.found.null_error = {key: error for key, error in run.found.null_error.items() if key not in known}
        if not null_draws.affordable(rows, d):
            _absent(run, shaped, f"{rows:,} {cloud} rows of {d:,} dimensions are too many to simulate")
        if run.has(f"twonn_{cloud}"):
            means = _kept(run, f"twonn-{rows}x{d}", partial(null_draws.dimension, rows, d))
            _put_means(run, {f"{key}_{cloud}": pair for key, pair in means.items()})
    if any(run.has(key) for key in near):
        try:
            cut = null_draws.cut(n, m, d)
        except ValueError as reason:
            _absent(run, near, str(reason))
            return
        name = f"neighborhoods-{n}x{m}x{d}-{NEIGHBORS}"
        _put_means(run, _kept(run, name, lambda: null_draws.neighborhoods(n, m, d, k=NEIGHBORS)))
        run.found.params["null"] = {"neighborhood_rows": list(cut)}


def _kept(run: Run, name: str, simulate: Callable[[], Means]) -> Means:
    """What was simulated before, or now; a cache on a full disk keeps nothing."""
    name = f"{name}-v{null_draws.VERSION}"
    try:
        return run.nulls[name]
    except KeyError:
        found = run.nulls[name] = simulate()
        return found


def _put_means(run: Run, means: Means) -> None:
    _put(run, {key: mean for key, (mean, _) in means.items()})
    run.found.null_error |= {key: error for key, (_, error) in means.items() if run.has(key)}


def _honest(run: Run) -> None:
    """Calibration errors of answers that are right as often as the confidences say."""
    of_image, of_text = run.found.image_items, run.found.text_items
    queries: dict[str, tuple[dict[str, Tensor], Tensor | None]] = {
        "text_retrieval": (of_image, None),
        "image_retrieval": (of_text, None if run.pairing is None else run.pairing.unsorted(run.pairing.own)),
        "zeroshot": (of_image, None),
    }
    for prefix, (items, owner) in queries.items():
        if not any(run.has(f"{prefix}_{kind}") for kind in ("ece", "mce")):
            continue
        asks = ~items["confidence"].isnan()  # an image without text asks nothing
        owner = None if owner is None else owner[asks]
        for kind, each in honest_errors(items["confidence"][asks], items["hit"][asks], owner).items():
            key = f"{prefix}_{kind}"
            if run.has(key):
                run.found.null[key], run.found.null_error[key], run.found.p[key] = each.mean, each.error, each.p
        _put(run, {f"{prefix}_ece_debiased": 0.0})
