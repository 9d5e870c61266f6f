"""fewshot: what a few images a class are worth, by a linear probe, by prototypes, and beside the class texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomclip.embeddings.record import EmbeddingSet
from geomclip.evaluations import zeroshot
from geomclip.evaluations.asked import FewShot, ZeroShot
from geomclip.evaluations.logistic import TOLERANCE, Fits, fit, spanned
from geomclip.evaluations.parts import check_divisible, check_same_classes, held_out
from geomclip.evaluations.prompted import of_classes
from geomclip.evaluations.result import panel_of
from geomclip.evaluations.subject import Subject
from geomclip.evaluations.task import Task
from geomclip.evaluations.tuned import Tuning
from geomclip.machine.errors import InputError
from geomclip.machine.progress import Progress
from geomclip.machine.threads import one_torch_thread
from geomclip.machine.words import amount, option
from geomclip.metrics.calibration_scores import ece
from geomclip.metrics.zeroshot import zeroshot_queries
from geomclip.pairs import Pairs
from geomclip.panels.lines import some
from geomclip.panels.record import Panel

GRID = tuple(10.0**power for power in range(-6, 7, 2))
"""The values of C that are tried first."""
BISECTIONS = 8
"""Halvings of the interval of log C around the best of them."""
FOR_VALIDATION = 4
"""Images a class that C is chosen on, at most; as many as there are shots where these are fewer."""
HALF = 0.5
"""Share of the images of one set that can be drawn from, where nothing says another."""

CHOOSING = 1e-2
"""Tolerance of the fits that C is chosen among: an accuracy is then that of the minimum within 0.1 point."""

Logits = Callable[[int, Tensor], Tensor]
"""From a draw and rows (m, d) to scores of classes (m, c)."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """Which images of the pool each draw learns from and chooses C on: rows (draws, n) and (draws, v)."""

    shots: Tensor
    validation: Tensor


def run(subject: Subject, asked: FewShot, progress: Progress) -> Panel:
    """Accuracy and calibration on the test images, for each number of shots; raises as `evaluate`."""
    pool, test, how = pool_and_test(subject, asked, progress)
    classes = len(_text_of(test))
    means: dict[str, Tensor] = {}
    values: dict[str, float | None] = {}
    drawn: dict[str, Tensor] = {}
    chosen: dict[str, list[float]] = {}
    counts, warnings = asked.counts(), _warnings(pool, asked.counts())
    with one_torch_thread():
        rows, label = test.image.double(), _labels_of(test)
        text = _text_of(test).double()
        means["zeroshot_acc1"] = zeroshot_queries(rows, label, text, logit_scale=float(test.logit_scale))["hit"]
        for place, shots in enumerate(counts):
            progress.stage("few-shot", place, len(counts), f"{shots} a class")
            picked = draw(_labels_of(pool), classes, shots, asked.draws, subject.seed)
            for name, (logits, c) in _methods(pool, picked, float(test.logit_scale)).items():
                key = f"fewshot_{name}_{{}}@{shots}"
                hits, errors = _judged(logits, rows, label, asked.draws)
                means[key.format("acc1")] = hits
                values[key.format("ece")] = float(errors.mean())
                drawn[key.format("ece")] = errors
                if c is not None:
                    chosen[f"fewshot_{name}@{shots}"] = c.tolist()
        progress.stage("few-shot", len(counts), len(counts))
    notes = {}
    if asked.train:
        tuning = Tuning.of(subject, asked, pool, test, how.get("train_split"))
        how["train"] = _fine_tuned(tuning, pool, subject.seed, progress, means, values, drawn)
        notes["fine-tuned"] = (
            f"{amount(asked.train_steps, 'step')} each, in batches of at most one image a class, "
            f"{how['train']['draws']} of {amount(asked.draws, 'draw')}"
        )
    return panel_of(
        "fewshot",
        test,
        values,
        means=means,
        draws=drawn,
        params={"shots": list(counts), "draws": asked.draws, "c": chosen, **how},
        notes=notes,
        warnings=warnings,
        bootstrap=subject.bootstrap,
        seed=subject.seed,
    )


def _fine_tuned(
    tuning: Tuning,
    pool: EmbeddingSet,
    seed: int,
    progress: Progress,
    means: dict[str, Tensor],
    values: dict[str, float | None],
    drawn: dict[str, Tensor],
) -> dict[str, Any]:
    """Put in what each method gives after fine-tuning on the first of the draws; how, for the record."""
    asked = tuning.asked
    draws = min(asked.draws, asked.train_draws)
    fits = [(method, shots) for method in asked.methods() for shots in asked.counts()]
    for place, (method, shots) in enumerate(fits):
        progress.stage("fine-tuning", place, len(fits), f"{method}, {shots} a class")
        picked = draw(_labels_of(pool), len(_text_of(pool)), shots, draws, seed)
        key = f"fewshot_finetuned_{method.replace('-', '_')}_{{}}@{shots}"
        means[key.format("acc1")], errors = tuning.accuracy(method, picked.shots, seed)
        values[key.format("ece")], drawn[key.format("ece")] = float(errors.mean()), errors
    progress.stage("fine-tuning", len(fits), len(fits))
    lr = {method: tuning.settings_of(method, 0).lr for method in asked.methods()}
    return {"methods": list(asked.methods()), "steps": asked.train_steps, "lr": lr, "draws": draws}


def pool_and_test(
    subject: Subject, asked: FewShot, progress: Progress
) -> tuple[EmbeddingSet, EmbeddingSet, dict[str, Any]]:
    """The images that shots are drawn from, those that all is tested on, and how they were told apart.

    Raises
    ------
    InputError
        If either has no classes, or the classes of the two are not the same (those of one alone are named).
    """
    if asked.holdout and subject.has_encoder:  # before images, which take long
        check_divisible([pair.label for pair in subject.pairs().pairs])
    test = subject.embedded(progress)
    if reason := of_classes(test):
        raise InputError(reason)
    if asked.holdout or (not subject.has_encoder and not asked.train_embeddings):
        share = asked.holdout or HALF
        kept = held_out(_labels_of(test), share, subject.seed)
        pool, test = (test.select_images(rows.nonzero()[:, 0]) for rows in (~kept, kept))
        return pool, test, {"holdout": share}
    if asked.train_embeddings:
        pool = subject.of_vectors(asked.train_embeddings, progress)
        how: dict[str, Any] = {"train_embeddings": True}
    else:
        pool = subject.on(split=asked.train_split).embedded(progress)
        how = {"train_split": asked.train_split}
    if reason := of_classes(pool):
        raise InputError(f"{option('train_split')}: {reason}")
    check_same_classes(pool, test, "shots", "test images")
    return pool, test, how


def draw(labels: Tensor, classes: int, shots: int, draws: int, seed: int) -> Drawn:
    """Shots and validation images of each class, disjoint: of fewer images all are shots.

    A draw of more shots holds that of fewer with the same seed.
    """
    taken, checked = [], []
    for number in range(draws):
        rng = np.random.default_rng([seed, 2, number])
        order = [rng.permutation((labels == each).nonzero()[:, 0].numpy()) for each in range(classes)]
        taken.append(np.concatenate([own[:shots] for own in order]))
        checked.append(np.concatenate([own[shots:][-min(shots, FOR_VALIDATION) :] for own in order]))
    return Drawn(torch.from_numpy(np.stack(taken)), torch.from_numpy(np.stack(checked)))


def _methods(pool: EmbeddingSet, picked: Drawn, scale: float) -> dict[str, tuple[Logits, Tensor | None]]:
    """What each way to learn gives: its scores, and the C that each draw chose."""
    labels, text = _labels_of(pool), _text_of(pool).double()
    rows = pool.image.double()[picked.shots]
    own = labels[picked.shots]
    centres = prototypes(rows, own, len(text))
    probe, c = probed(pool, picked, offset=None)
    beside, c_beside = probed(pool, picked, offset=scale * text.T)
    return {
        "probe": (lambda draw, each: probe.logits(each, draw), c),
        "prototypes": (lambda draw, each: scale * each @ centres[draw].T, None),
        "zeroshot_probe": (lambda draw, each: scale * each @ text.T + beside.logits(each, draw), c_beside),
    }


def prototypes(rows: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The mean row of each class at length 1 (b, c, d); zero for a class without an example, which none is near to."""
    wanted = torch.nn.functional.one_hot(labels, classes).to(rows.dtype)
    return torch.nn.functional.normalize(wanted.mT @ rows, dim=2)


def probed(pool: EmbeddingSet, picked: Drawn, offset: Tensor | None) -> tuple[Fits, Tensor]:
    """Logistic regression of each draw, at the C that is best on its validation images, and that C (draws,).

    `offset` (d, c) are class weights that are there before: what is fitted is added to them.

    Seven values of C from 1e-6 to 1e6, then 8 halvings of the interval of one factor of 10 to either side of the best
    in log C; of equally good ones the smaller. Without validation images C is 1.
    """
    labels, classes = _labels_of(pool), len(_text_of(pool))
    image = pool.image.double()
    rows, own = image[picked.shots], labels[picked.shots]
    inside, basis = spanned(rows)
    before = None if offset is None else rows @ offset
    checked, right = image[picked.validation], labels[picked.validation]
    draws = len(rows)

    def at(c: Tensor, start: Fits | None, tolerance: float = CHOOSING) -> tuple[Fits, Tensor]:
        found = fit(inside, own, classes, c, offset=before, start=start, tolerance=tolerance)
        if not checked.shape[1]:
            return found, rows.new_zeros(draws)
        scores = checked @ (basis @ found.weight) + found.bias[:, None]
        if offset is not None:
            scores = scores + checked @ offset
        return found, (scores.argmax(dim=2) == right).double().mean(dim=1)

    if not checked.shape[1]:
        found, _ = at(rows.new_ones(draws), None, TOLERANCE)
        return Fits(basis @ found.weight, found.bias, found.converged), rows.new_ones(draws)
    best, accuracy, start = rows.new_full((draws,), GRID[0]), rows.new_full((draws,), -1.0), None
    for value in GRID:
        start, reached = at(rows.new_full((draws,), value), start)
        best = torch.where(reached > accuracy, value, best)
        accuracy = torch.maximum(accuracy, reached)
    low, high = best.log10() - 1, best.log10() + 1
    found, of_low = at(10**low, start)
    _, of_high = at(10**high, found)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        found, of_middle = at(10**middle, found)
        up = of_high > of_low
        low, of_low = torch.where(up, middle, low), torch.where(up, of_middle, of_low)
        high, of_high = torch.where(up, high, middle), torch.where(up, of_high, of_middle)
    ends = torch.where(of_high > of_low, high, low)
    reached = torch.maximum(of_high, of_low)
    c = torch.where(reached > accuracy, 10**ends, best)
    found, _ = at(c, found, TOLERANCE)
    return Fits(basis @ found.weight, found.bias, found.converged), c


def _judged(logits: Logits, rows: Tensor, labels: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    """Whether each test image is right in each draw (draws, n), and the calibration error of each draw."""
    hits, errors = [], []
    for number in range(draws):
        probability = logits(number, rows).softmax(dim=1)
        confidence, prediction = probability.max(dim=1)
        hit = (prediction == labels).double()
        hits.append(hit)
        errors.append(ece(confidence, hit))
    return torch.stack(hits), torch.stack(errors)


def _warnings(pool: EmbeddingSet, shots: Sequence[int]) -> list[str]:
    """A line where classes have fewer images than shots."""
    text = _text_of(pool)
    counts = torch.bincount(_labels_of(pool), minlength=len(text)).tolist()
    names = pool.classes or [str(each) for each in range(len(text))]
    few = [f"{name} ({count})" for name, count in zip(names, counts, strict=True) if count < max(shots)]
    return [f"classes with fewer images than shots give all of them: {some(few)}"] if few else []


def _labels_of(embeddings: EmbeddingSet) -> Tensor:
    assert embeddings.labels is not None
    return embeddings.labels.long()


def _text_of(embeddings: EmbeddingSet) -> Tensor:
    assert embeddings.class_text is not None
    return embeddings.class_text


def applies(subject: Subject, asked: FewShot) -> str:
    """Why it cannot be asked, as far as names tell."""
    if asked.train and (not subject.has_encoder or asked.train_embeddings):
        which = option("train_embeddings" if subject.has_encoder else "embeddings")
        return f"{option('train', True)} needs images and a model, and {which} are vectors: leave it out"
    if not subject.has_encoder:
        return of_classes(subject.embedded())
    return zeroshot.applies(subject, ZeroShot())


def reads(subject: Subject, asked: FewShot) -> Pairs:
    """The images that all is tested on."""
    return subject.pairs()


TASK = Task(
    "fewshot",
    "what a few labelled images a class are worth, beside the class texts alone",
    FewShot,
    run,
    applies,
    reads,
)
