"""zeroshot: images named by the nearest class text, as `measure` on class data has it, and how far to believe it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from geomclip.embeddings.record import EmbeddingSet
from geomclip.evaluations.asked import ZeroShot
from geomclip.evaluations.confusions import confusion, most_confused, permuted
from geomclip.evaluations.parts import check_divisible, held_out
from geomclip.evaluations.prompted import Prompted, of_classes, of_pairs, prompted, with_classes
from geomclip.evaluations.result import beside, panel_of
from geomclip.evaluations.subject import Subject
from geomclip.evaluations.task import Task
from geomclip.evaluations.templates import choose, hits, hits_of_each
from geomclip.machine.errors import InputError
from geomclip.machine.json_files import read_json
from geomclip.machine.progress import Progress
from geomclip.machine.threads import one_torch_thread
from geomclip.machine.words import amount, option
from geomclip.metrics import METRICS
from geomclip.metrics.calibration_scores import ece, fit_logit_scale
from geomclip.metrics.zeroshot import zeroshot_queries
from geomclip.pairs import Pairs
from geomclip.panels import measure
from geomclip.panels.record import Panel

KEYS = [key for key, metric in METRICS.items() if metric.group == "zeroshot"]
"""Numbers of `measure` that this task has."""
TOP = 5
"""Classes that an answer among the first five needs at least."""
NAMED = 3
"""Confusions that a table names."""


WHOLE = 100
"""Of so many classes a result has the whole table of confusions."""


def run(subject: Subject, asked: ZeroShot, progress: Progress) -> Panel:
    """The panel of the classification of images by the texts of classes; raises as `evaluate`."""
    elsewhere = carried(asked.temperature_from) if asked.temperature_from else None
    val_pairs = _val_pairs(subject, asked)
    if asked.val_share and subject.has_encoder:  # before images, which take long
        check_divisible([pair.label for pair in subject.pairs(named=not asked.classnames).pairs])
    asking = prompted(subject, asked.classnames, asked.templates, progress)
    found, val, how = _held_out(subject, asked, asking, val_pairs, progress)
    panel = classified(found, subject, progress)
    with one_torch_thread():
        label = _labels(found)
        each = zeroshot_queries(found.image, label, asking.class_text, logit_scale=float(found.logit_scale))
        names = found.classes or [str(number) for number in range(len(asking.class_text))]
        table = confusion(label, each["prediction"], len(names))
        pairs = most_confused(table, names)
        values: dict[str, float | None] = {}
        means: dict[str, Tensor] = {}
        notes = {"prompts": asking.note()} if asking.prompts else {}
        how |= asking.params() | {"confusions": pairs}
        if len(names) <= WHOLE:
            how["confusion"] = {"classes": list(names), "counts": table.tolist()}
        if asked.temperature_from:
            how["temperature_from"] = Path(asked.temperature_from).name
        if asking.single is not None:
            _of_templates(asking, found, val if asked.choose_templates else None, values, means, how)
        elif asked.templates:
            notes["zeroshot_template"] = "of one template, or prompts of each class alone: nothing to compare"
        _of_temperature(elsewhere, found, val, asking.class_text, values, means, notes, how)
        warning = permuted(label, each["prediction"], names, subject.seed)
    if pairs:
        shown = (
            f"{own['right']} → {own['called']} ({amount(own['count'], 'image')}, {100 * own['share']:.0f} %)"
            for own in pairs[:NAMED]
        )
        notes["confused"] = f"most often {', '.join(shown)}"
    more = panel_of(
        "classification",
        found,
        values,
        means=means,
        params=how,
        notes=notes,
        warnings=[line for line in (asking.alike(), warning) if line],
        bootstrap=subject.bootstrap,
        seed=subject.seed,
    )
    return beside(panel, more)


def classified(found: EmbeddingSet, subject: Subject, progress: Progress) -> Panel:
    """What `measure` says of the classification; accuracy@5 of fewer than five classes is undefined."""
    panel = measure(
        found,
        metrics=KEYS,
        bootstrap=subject.bootstrap,
        seed=subject.seed,
        cache_dir=subject.cache_dir,
        progress=progress,
    )
    panel = panel.replace(params={name: value for name, value in panel.params.items() if name != "metrics"})
    classes = panel.n_texts if found.class_text is None else len(found.class_text)
    if classes >= TOP:
        return panel
    key = "zeroshot_acc5"
    ci, null = ({name: value for name, value in each.items() if name != key} for each in (panel.ci, panel.null))
    notes = {**panel.notes, key: f"undefined for fewer than {TOP} classes ({classes})"}
    return panel.replace(values={**panel.values, key: None}, ci=ci, null=null, notes=notes)


def _val_pairs(subject: Subject, asked: ZeroShot) -> Pairs | None:
    """The data of the split that is held out, if one is named."""
    if not asked.val_split:
        return None
    if not subject.has_encoder:
        raise InputError(
            f"{option('val_split')} is of data, and {option('embeddings')} are vectors: give {option('val_share')}"
        )
    named = not asked.classnames
    pairs = subject.on(split=asked.val_split).pairs(named=named)
    if pairs.split == subject.pairs(named=named).split:
        raise InputError(f"{option('val_split', asked.val_split)} is what is tested on: name another split")
    return pairs


def _held_out(
    subject: Subject, asked: ZeroShot, asking: Prompted, val_pairs: Pairs | None, progress: Progress
) -> tuple[EmbeddingSet, EmbeddingSet | None, dict[str, Any]]:
    """The images that are tested on, those held out from that, if any, and how they were told apart."""
    found = asking.embeddings
    if asked.val_share:
        kept = held_out(_labels(found), asked.val_share, subject.seed)
        test, val = (found.select_images(rows.nonzero()[:, 0]) for rows in (kept, ~kept))
        return test, val, {"val_share": asked.val_share}
    if val_pairs is None:
        return found, None, {}
    val = subject.on(split=asked.val_split).embedded(progress, pairs=val_pairs)
    val = _as_named(val, asking) if asked.classnames else with_classes(val, asking, "val images")
    return found, val, {"val_split": asked.val_split}


def _as_named(val: EmbeddingSet, asking: Prompted) -> EmbeddingSet:
    """The images of another split with the names that those of this one were given, in the same order."""
    if val.class_text is None or len(val.class_text) != len(asking.class_text):
        raise InputError("val images and test images have other classes")
    return val.replace(classes=asking.embeddings.classes, class_text=asking.class_text)


def _of_templates(
    asking: Prompted,
    found: EmbeddingSet,
    val: EmbeddingSet | None,
    values: dict[str, float | None],
    means: dict[str, Tensor],
    how: dict[str, Any],
) -> None:
    """The spread over single templates, and the accuracy of those that are best on the images held out."""
    assert asking.single is not None
    each = hits_of_each(found.image, _labels(found), asking.single)
    own = each.mean(dim=1)
    means["zeroshot_template_acc1_mean"] = each.mean(dim=0)
    values["zeroshot_template_acc1_min"] = float(own.min())
    values["zeroshot_template_acc1_max"] = float(own.max())
    values["zeroshot_template_acc1_sd"] = float(own.std())
    how["templates"] = {
        "count": len(own),
        "best": asking.templates[int(own.argmax())],
        "worst": asking.templates[int(own.argmin())],
    }
    if val is None:
        return
    chosen = choose(val.image, _labels(val), asking.single)
    means["zeroshot_chosen_acc1"] = hits(found.image, _labels(found), asking.single[chosen].mean(dim=0))
    how["templates"] |= {"chosen": [asking.templates[place] for place in chosen]}


def _of_temperature(
    scale: float | None,
    found: EmbeddingSet,
    val: EmbeddingSet | None,
    class_text: Tensor,
    values: dict[str, float | None],
    means: dict[str, Tensor],
    notes: dict[str, str],
    how: dict[str, Any],
) -> None:
    """Honesty at a temperature that was fitted on other images: those held out, or those of another result."""
    keys = ("zeroshot_ece_fitted", "zeroshot_nll_fitted", "zeroshot_temperature_fitted")
    if scale is None and val is None:
        return
    if scale is None:
        assert val is not None
        try:
            scale = fitted(val)
        except ValueError as problem:
            values |= dict.fromkeys(keys)
            notes |= dict.fromkeys(keys, str(problem))
            return
    how["fitted_logit_scale"] = scale
    each = zeroshot_queries(found.image, _labels(found), class_text, logit_scale=scale)
    values[keys[0]] = float(ece(each["confidence"], each["hit"]))
    means[keys[1]] = each["nll"]
    values[keys[2]] = 1 / scale


def fitted(val: EmbeddingSet) -> float:
    """The logit scale at which the right classes of images are most likely; ValueError where none is.

    References
    ----------
    Guo et al. (2017), "On calibration of modern neural networks", ICML, section 4.2.
    """
    assert val.class_text is not None
    logits = val.image.double() @ val.class_text.double().T
    own = logits.gather(1, _labels(val)[:, None])[:, 0]
    return fit_logit_scale(lambda scale: float(((scale * logits).logsumexp(dim=1) - scale * own).mean()))


def carried(file: str) -> float:
    """The logit scale that a result was fitted with; InputError where it was not."""
    params = read_json(Path(file).expanduser()).get("params")
    scale = params.get("fitted_logit_scale") if isinstance(params, dict) else None
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < float("inf"):
        raise InputError(
            f"{option('temperature_from')}: {file} has no fitted temperature: evaluate it with "
            f"{option('val_split')} or {option('val_share')}"
        )
    return float(scale)


def _labels(found: EmbeddingSet) -> Tensor:
    assert found.labels is not None
    return found.labels.long()


def applies(subject: Subject, asked: ZeroShot) -> str:
    """Why it cannot be asked, as far as names tell."""
    if not subject.has_encoder:
        return of_classes(subject.embedded())
    return of_pairs(subject.pairs(named=not asked.classnames))


def reads(subject: Subject, asked: ZeroShot) -> Pairs:
    """The images that are classified."""
    return subject.pairs(named=not asked.classnames)


TASK = Task(
    "zeroshot",
    "how often the nearest class text is the right one, and how honest its confidence is",
    ZeroShot,
    run,
    applies,
    reads,
)
