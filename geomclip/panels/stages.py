"""The stages of a panel: each takes the run and puts values, columns to resample, and items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from geomclip.embeddings import exact
from geomclip.metrics import METRICS
from geomclip.metrics import contributions as parts
from geomclip.metrics.alignment import Hardest, relative_alignment_text_to_image
from geomclip.metrics.calibration import Masses, Posterior, calibrated
from geomclip.metrics.calibration_scores import ace, brier_of, reliability, smece
from geomclip.metrics.gap import shape_distance
from geomclip.metrics.gap_curves import gap_ablation_curve, gap_shift_curve
from geomclip.metrics.intrinsic_dimension import twonn_from_neighbors
from geomclip.metrics.nearest import Nearest, k_occurrence_of_candidates, two_nearest_of_candidates
from geomclip.metrics.neighborhood import antihub_share, hubness, robin_hood
from geomclip.metrics.null import NULL_ROWS, chance, closed_form, simulated
from geomclip.metrics.retrieval import Ranks
from geomclip.metrics.separability import separability_of_subsets
from geomclip.metrics.similarity import linear_cka, linear_cka_biased, mutual_knn, procrustes_distance
from geomclip.metrics.spectrum import SPECTRA, Cloud, cloud_shape
from geomclip.metrics.sweep import Fold, Pairing
from geomclip.metrics.uniformity import GaussianSums, uniformity
from geomclip.metrics.zeroshot import zeroshot_whole
from geomclip.panels import halves, intervals
from geomclip.panels.run import NEIGHBORS, Run, duplicate_text_share


def all_stages(run: Run, *, curves: bool, paper: str | None) -> None:
    """Everything that was asked for, in the order in which it is cheapest."""
    within(run, "image", run.image, torch.arange(run.n))
    if run.pairing is not None:
        within(run, "text", run.pairing.text, run.pairing.own)
        across(run)
    elif run.set.class_text is not None:
        within(run, "text", run.set.class_text, None)
        zeroshot(run)
    shapes(run)
    if curves and run.pairing is not None:
        draw_curves(run)
    if paper == "oh2023" and run.pairing is not None:
        as_in_the_paper(run)
    texts_told(run)
    run.finish()
    if run.bootstrap:
        make_intervals(run)
    make_nulls(run)


def within(run: Run, cloud: str, rows: Tensor, owner: Tensor | None) -> None:
    """One pass over one modality: uniformity and intrinsic dimension. Class texts have no owner."""
    kernel = run.wants("uniformity_joint", f"uniformity_{cloud}")
    dimension = run.wants(f"twonn_{cloud}")
    with run.timed(f"{cloud} sweep"):
        folds: list[Fold[Any, Any]] = []
        if kernel:
            folds.append(GaussianSums())
        # half of 16 candidates leaves fewer than two once in 4,000 rows
        count = min(16 if run.bootstrap else 4, len(rows) - 1)
        if dimension and count:
            folds.append(Nearest(count, unmatched=True))
        results = run.sweep(f"{cloud} sweep", Pairing.within(rows), folds) if folds else []
        cosines = exact.dots(rows, exact.total(rows)) - 1
        sums = results[0]["text"] if kernel else None
        if owner is not None:
            run.columns |= parts.within_columns(cloud, sums, cosines, owner, run.n)
        elif count:
            pairs = len(rows) * (len(rows) - 1)
            run.put(f"mean_cosine_{cloud}", float(cosines.sum()) / pairs)
            if sums is not None:
                run.put(f"uniformity_{cloud}", float((sums.sum() / pairs).log()))
    if dimension and count:
        with run.timed("intrinsic dimension"):
            intrinsic_dimension(run, cloud, rows, owner, results[-1])


def intrinsic_dimension(run: Run, cloud: str, rows: Tensor, owner: Tensor | None, found: dict[str, Tensor]) -> None:
    """TwoNN of one cloud from the candidates of its sweep."""
    key = f"twonn_{cloud}"
    try:
        r1, r2, merged = two_nearest_of_candidates(rows, found["text_score"], found["text_index"])
    except ValueError as undefined:
        run.undefined(key, str(undefined))
        return
    run.put(key, twonn_from_neighbors, r1, r2)
    if merged:
        run.notes.setdefault(key, f"{merged} duplicate rows merged")
    if run.halves and owner is not None and run.values.get(key) is not None:
        with run.timed("halves"):
            run.of_halves[key] = halves.dimensions(found, owner, run.halves)


def across(run: Run) -> None:
    """One pass over images against texts: everything that compares the two."""
    pairing, scale = run.pairs(), float(run.set.logit_scale)
    run.columns |= parts.text_columns(pairing)
    kinds = ("ece", "mce", "ace", "smece", "brier", "nll")
    folds: dict[str, Fold[Any, Any]] = {}
    if any("relative_alignment" in key for key in run.wanted):
        folds["hardest"] = Hardest()
    if run.wants("uniformity_cross", "uniformity_joint"):
        folds["kernel"] = GaussianSums()
    if any("_retrieval_recall" in key or "_rank" in key for key in run.wanted):
        folds["ranks"] = Ranks()
    if any(key.endswith(kinds) and "_retrieval_" in key for key in run.wanted):
        folds["masses"] = Masses(scale, squares=run.wants("text_retrieval_brier", "image_retrieval_brier"))
    if any(METRICS[key].group == "neighborhood" for key in run.wanted):
        # half of 40 candidates leaves fewer than ten once in 3,000 rows
        folds["nearest"] = Nearest(4 * NEIGHBORS if run.bootstrap else NEIGHBORS + 1)
    with run.timed("image-text sweep"):
        results = run.sweep("image-text sweep", pairing, list(folds.values()))
        found = dict(zip(folds, results, strict=True))
        cross = found.get("kernel")
        run.columns |= parts.cross_columns(pairing, cross)
        if "hardest" in found:
            run.columns |= parts.alignment_columns(pairing, found["hardest"])
            run.items["text"]["hardest_cosine"] = pairing.unsorted(found["hardest"]["text"])
            run.items["image"]["hardest_cosine"] = found["hardest"]["image"]
        if "ranks" in found:
            ranks(run, found["ranks"])
        if "masses" in found:
            calibration(run, found["masses"], scale)
    run.items["text"]["matched_cosine"] = pairing.unsorted(pairing.matched)
    run.items["image"]["matched_cosine"] = pairing.per_image(pairing.matched) / pairing.texts_of_image
    if "nearest" in found:
        with run.timed("neighbourhoods"):
            neighborhoods(run, found["nearest"])
    with run.timed("gap"):
        gap(run)
    if run.wants("linear_separability"):
        with run.timed("linear separability"):
            separability(run)
    two_spaces(run)
    temperatures(run)


def ranks(run: Run, ranks: dict[str, Tensor]) -> None:
    """Columns and items of the ranks; the medians, which are no sums."""
    pairing = run.pairs()
    run.columns |= parts.retrieval_columns(pairing, ranks)
    run.items["text"]["rank"] = pairing.unsorted(ranks["text"])
    run.items["image"]["rank"] = ranks["image"]
    queries = (ranks["image"] > 0).nonzero()[:, 0]
    for key, each, owner in (
        ("text_retrieval_median_rank", ranks["image"][queries], queries),
        ("image_retrieval_median_rank", ranks["text"], pairing.own),
    ):
        medians = intervals.weighted_median(each, owner)
        run.put(key, float(medians(torch.ones(1, run.n, dtype=torch.float64))))
        if key in run.wanted:
            run.resampled[key] = medians


def calibration(run: Run, both: dict[str, Posterior], scale: float) -> None:
    """Columns, items and reliability of both directions."""
    pairing = run.pairs()
    queries = (pairing.texts_of_image > 0).nonzero()[:, 0]
    for prefix, axis, owner in (
        ("text_retrieval", "image", queries),
        ("image_retrieval", "text", pairing.own),
    ):
        posterior = both[axis]
        confidence, hit, nll = posterior.confidence, posterior.hit(scale), -posterior.own
        item = run.items[axis]
        for name, each in (("confidence", confidence), ("hit", hit), ("nll", nll)):
            if axis == "text":
                item[name] = pairing.unsorted(each)
            else:
                item[name] = torch.where(pairing.texts_of_image > 0, each, torch.nan)
        chosen = slice(None) if axis == "text" else queries
        brier = brier_of(posterior.squares, posterior.own.exp())[chosen] if run.wants(f"{prefix}_brier") else None
        confidence, hit, nll = confidence[chosen], hit[chosen], nll[chosen]
        run.columns |= parts.calibration_columns(prefix, confidence, hit, nll, brier, owner, run.n)
        run.reliability[prefix] = reliability(confidence, hit)
        run.put(f"{prefix}_ace", ace, confidence, hit)
        run.put(f"{prefix}_smece", smece, confidence, hit)


def neighborhoods(run: Run, found: dict[str, Tensor]) -> None:
    """Hubness and its kin of texts (as neighbours of images) and of images (of texts)."""
    pairing = run.pairs()
    for what, query, items in (("text", "image", pairing.m), ("image", "text", pairing.n)):
        try:
            if items < NEIGHBORS:
                raise ValueError(f"needs at least {NEIGHBORS} {what}s, got {items}")
            counts = k_occurrence_of_candidates(pairing, found, query, k=NEIGHBORS)
            run.put(f"{what}_hubness", hubness, counts)
            run.put(f"{what}_robin_hood", robin_hood, counts)
            run.put(f"{what}_antihub_share", antihub_share, counts)
        except ValueError as undefined:
            for key in ("hubness", "robin_hood", "antihub_share"):
                run.undefined(f"{what}_{key}", str(undefined))
            continue
        run.items[what]["k_occurrence"] = pairing.unsorted(counts) if what == "text" else counts
        key = f"{what}_hubness"
        if run.halves and run.values.get(key) is not None:
            candidates = found[f"{query}_index"]
            with run.timed("halves"):
                run.of_halves[key] = halves.hubnesses(candidates, pairing, query, run.halves, k=NEIGHBORS)


def gap(run: Run) -> None:
    """The distance of the two means, whose resamples need the rows themselves."""
    if not run.wants("modality_gap"):
        return
    pairing, image = run.pairs(), run.image
    centre, other = exact.total(image) / run.n, exact.total(pairing.text) / pairing.m
    run.put("modality_gap", float((centre - other).norm()))
    if not run.bootstrap:
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

    run.resampled["modality_gap"] = gaps


def separability(run: Run) -> None:
    """Logistic regression of image against text, of all and of the halves at once."""
    pairing, key = run.pairs(), "linear_separability"
    text, own = pairing.text, pairing.own
    run.put(key, lambda: separability_of_subsets(run.image, text, own, [None], seeds=[run.seed])[0])
    if run.halves and run.values.get(key) is not None:
        with run.timed("halves"):
            run.of_halves[key] = halves.separabilities(pairing, run.halves, seed=run.seed)


def shapes(run: Run) -> None:
    """Everything read from singular values, of each cloud and of its halves."""
    pairing = run.pairing
    clouds: dict[str, tuple[Tensor, Tensor | None]] = {"image": (run.image, torch.arange(run.n))}
    if pairing is not None:
        clouds["text"] = (pairing.text, pairing.own)
    elif run.set.class_text is not None:
        clouds["text"] = (run.set.class_text, None)
    spectral = [key for key in SPECTRA if run.wants(f"{key}_image", f"{key}_text")]
    centering = run.wants("gap_after_centering") and pairing is not None
    if not spectral and not centering:
        return
    factors: dict[str, Cloud] = {}
    with run.timed("spectra"):
        for name, (rows, _) in clouds.items():
            factors[name] = Cloud.of(rows)
            values, reasons = cloud_shape(factors[name], spectral)
            for key in spectral:
                if key in values:
                    run.put(f"{key}_{name}", float(values[key]))
                else:
                    run.undefined(f"{key}_{name}", reasons[key])
        if centering:
            run.put("gap_after_centering", lambda: shape_distance(factors["image"], factors["text"]))
    if run.halves:
        with run.timed("halves"):
            owned = {name: (rows, owner) for name, (rows, owner) in clouds.items() if owner is not None}
            drawn = halves.shapes(owned, run.halves, names=spectral, centering=centering)
            run.of_halves |= {key: each for key, each in drawn.items() if run.values.get(key) is not None}


def two_spaces(run: Run) -> None:
    """How alike the geometry of the images is to that of their first texts, row by row."""
    measures = (linear_cka, linear_cka_biased, mutual_knn, procrustes_distance)
    if not run.wants(*(measure.__name__ for measure in measures)):
        return
    with run.timed("two spaces"):
        first = run.set.first_texts()
        assert first.text is not None
        assert first.image_of_text is not None
        image, text = run.image[first.image_of_text], first.text
        for measure in measures:
            run.put(measure.__name__, measure, image, text)


def temperatures(run: Run) -> None:
    """The temperature fitted on half of the images, and the calibration error of the other half at it."""
    pairing = run.pairs()
    for prefix, axis in (("text_retrieval", "image"), ("image_retrieval", "text")):
        if run.wants(f"{prefix}_temperature", f"{prefix}_ece_calibrated"):
            with run.timed("temperature"):
                try:
                    temperature, error = calibrated(pairing, axis, seed=run.seed)
                except ValueError as undefined:
                    run.undefined(f"{prefix}_temperature", str(undefined))
                    run.undefined(f"{prefix}_ece_calibrated", str(undefined))
                    continue
                run.put(f"{prefix}_temperature", temperature)
                run.put(f"{prefix}_ece_calibrated", error)


def zeroshot(run: Run) -> None:
    """Classification by the nearest class text, and the calibration of its softmax."""
    with run.timed("zero-shot"):
        labels, class_text = run.set.labels, run.set.class_text
        assert labels is not None
        assert class_text is not None
        scale = float(run.set.logit_scale)
        values, each = zeroshot_whole(run.image, labels, class_text, logit_scale=scale)
        for key, value in values.items():
            run.put(key, float(value))
        run.columns["images"] = torch.ones(run.n, dtype=torch.float64)
        for k in (1, 5):
            run.columns[f"zeroshot_hit@{k}"] = (each["rank"] <= k).double()
        brier = brier_of(each["squares"], each["own"])
        run.columns |= parts.calibration_columns(
            "zeroshot", each["confidence"], each["hit"], each["nll"], brier, torch.arange(run.n), run.n
        )
        run.reliability["zeroshot"] = reliability(each["confidence"], each["hit"])
        run.items["image"] |= {name: each[name] for name in ("confidence", "hit", "nll", "rank", "prediction")}
        if run.wants("modality_gap"):
            class_gap(run, class_text)
        if run.wants("zeroshot_mean_per_class_recall"):
            run.resampled["zeroshot_mean_per_class_recall"] = recall_by_class(labels, each["hit"], len(class_text))


def recall_by_class(labels: Tensor, hit: Tensor, classes: int) -> Callable[[Tensor], Tensor]:
    """A function from counts of images (b, n) to the mean recall of the classes drawn (b,); never n x c."""

    def recalls(weights: Tensor) -> Tensor:
        right, count = (
            weights.new_zeros(len(weights), classes).index_add_(1, labels, each) for each in (weights * hit, weights)
        )
        return (right / count).nanmean(1)

    return recalls


def class_gap(run: Run, class_text: Tensor) -> None:
    """The gap between the images and the class texts, which stay as they are when images are resampled."""
    rows, centre = run.image.double(), class_text.double().mean(0)

    def gaps(weights: Tensor) -> Tensor:
        return (weights @ rows / weights.sum(1, keepdim=True) - centre).norm(dim=1)

    run.put("modality_gap", float(gaps(torch.ones(1, run.n, dtype=torch.float64))))
    run.resampled["modality_gap"] = gaps


def draw_curves(run: Run) -> None:
    """How gap, recall and uniformity move as the clouds are shifted together, or dimensions removed."""
    pairing = run.pairs()
    with run.timed("curves"):
        for name, curve in (("gap_shift_curve", gap_shift_curve), ("gap_ablation_curve", gap_ablation_curve)):
            try:
                points = curve(run.image, pairing.text, pairing.own)
            except ValueError as undefined:  # the means are one point, as a value that is undefined is told
                run.notes[name] = str(undefined)
                continue
            run.curves[name] = {key: each.tolist() for key, each in points.items()}


def as_in_the_paper(run: Run) -> None:
    """Two numbers as the code of Oh et al. (2023) has them, on the first text of each image.

    Its uniformity stacks the images twice (2n rows, each with a copy at distance 0) and leaves the texts out:
    log( 2(n − 1)/(2n − 1) exp(uniformity_image) + 1/(2n − 1) ).
    """
    with run.timed("paper"):
        first = run.set.first_texts()
        assert first.text is not None
        assert first.image_of_text is not None
        n = run.n
        images = torch.as_tensor(uniformity(run.image)).exp()
        run.values["oh2023_uniformity"] = float((2 * (n - 1) * images / (2 * n - 1) + 1 / (2 * n - 1)).log())
        run.values["oh2023_relative_alignment"] = float(
            relative_alignment_text_to_image(first.image, first.text, first.image_of_text)
        )


def make_intervals(run: Run) -> None:
    """95 % intervals of all values at hand."""
    with run.timed("bootstrap"):
        keys = [key for key in parts.FORMULAS if run.values.get(key) is not None]
        drawn = intervals.bootstrap(run.columns, keys, run.resampled, n=run.n, resamples=run.bootstrap, seed=run.seed)
        run.drawn = {key: drawn[key] for key in run.resampled}
    for key, metric in METRICS.items():
        value = run.values.get(key)
        if value is None:
            continue
        ends = None
        if key in run.of_halves:
            ends = intervals.half_interval(value, run.of_halves[key], low=metric.low, high=metric.high)
        elif key in drawn and metric.interval == "basic":
            ends = intervals.basic_interval(value, drawn[key], low=metric.low, high=metric.high)
        elif key in drawn:
            ends = intervals.percentile_interval(drawn[key])
        if ends is not None:
            run.ci[key] = ends
    run.params["bootstrap"] = {"resamples": run.bootstrap, "level": intervals.LEVEL, "unit": "image"}
    if run.of_halves:
        run.params["halves"] = {"subsamples": intervals.SUBSAMPLES, "images": run.n // 2, "scale": 1.0}


def make_nulls(run: Run) -> None:
    """What each number is for random rows or random answers."""
    with run.timed("nulls"):
        n, d = run.image.shape
        pairing = run.pairing
        m = pairing.m if pairing is not None else len(run.set.class_text) if run.set.class_text is not None else 0
        nulls = closed_form(n, m, d) if m else {}
        if pairing is not None:
            nulls |= chance(pairing)
        elif run.set.class_text is not None:
            nulls |= {"zeroshot_acc1": 1 / m, "zeroshot_acc5": min(5, m) / m}
        if m >= 2:
            rows = (min(n, NULL_ROWS), min(m, NULL_ROWS), d)
            name = f"{'x'.join(map(str, rows))}-{run.seed}"
            kept = run.null_cache.get(name)
            if kept is None:  # a cache on a full disk keeps nothing: what was put is not read back
                kept = run.null_cache[name] = simulated(*rows, seed=run.seed)
            nulls |= kept
            run.params["null"] = {"rows": rows, "seed": run.seed}
        run.null = {key: value for key, value in nulls.items() if run.values.get(key) is not None}


def texts_told(run: Run) -> None:
    """Shares of texts that occur under different images, and that the encoder cut."""
    pairing = run.pairing
    if pairing is None:
        return
    run.put("duplicate_text_share", lambda: duplicate_text_share(run.set))
    if run.set.truncated is not None:
        run.put("truncated_text_share", float(run.set.truncated.double().mean()))
    else:
        run.notes["truncated_text_share"] = "not known for vectors that were not extracted here"
