"""zeroshot: images named by the nearest class text, as `measure` on class data has it."""

from __future__ import annotations

from geomclip.embeddings.record import EmbeddingSet
from geomclip.evaluations.asked import ZeroShot
from geomclip.evaluations.subject import Subject
from geomclip.evaluations.task import Task
from geomclip.machine.errors import InputError
from geomclip.machine.progress import Progress
from geomclip.machine.words import option
from geomclip.metrics import METRICS
from geomclip.panels import measure
from geomclip.panels.record import Panel


def run(subject: Subject, asked: ZeroShot, progress: Progress) -> Panel:
    """The panel of the classification of images by the texts of classes; raises as `evaluate`."""
    found = subject.embedded(progress)
    if reason := of_classes(found):
        raise InputError(reason)
    keys = [key for key, metric in METRICS.items() if metric.group == "zeroshot"]
    return measure(
        found,
        metrics=keys,
        bootstrap=subject.bootstrap,
        seed=subject.seed,
        cache_dir=subject.cache_dir,
        progress=progress,
    )


def of_classes(found: EmbeddingSet) -> str:
    """Why vectors cannot be classified; "" where they can."""
    return "" if found.class_text is not None else f"the vectors have no classes: {_way_out()}"


def applies(subject: Subject, asked: ZeroShot) -> str:
    """Why it cannot be asked, as far as names tell."""
    if not subject.has_encoder:
        return of_classes(subject.embedded())
    pairs = subject.pairs()
    return "" if pairs.classes is not None else f"{pairs.title} has no classes: {_way_out()}"


def _way_out() -> str:
    return f"name class data, or with {option('label_column')} the column of pairs that says the class"


TASK = Task(
    "zeroshot",
    "how often the nearest class text is the right one, and how honest its confidence is",
    ZeroShot,
    run,
    applies,
)
