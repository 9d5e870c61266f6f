"""shift: one model on a family of sets of the same classes: how right and how honest it stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from geomclip.embeddings.record import EmbeddingSet
from geomclip.evaluations.asked import SOURCE, Shift, ZeroShot
from geomclip.evaluations.between import between
from geomclip.evaluations.prompted import Prompted, of_pairs, prompted
from geomclip.evaluations.reference import Line, lines_of
from geomclip.evaluations.result import panel_of
from geomclip.evaluations.subject import Subject
from geomclip.evaluations.task import Task
from geomclip.evaluations.templates import hits
from geomclip.evaluations.zeroshot import applies as has_classes
from geomclip.evaluations.zeroshot import classified
from geomclip.machine.errors import InputError
from geomclip.machine.progress import Named, Progress
from geomclip.machine.words import amount, option
from geomclip.pairs import Pairs
from geomclip.pairs.corrupted import corrupted
from geomclip.panels.lines import some
from geomclip.panels.record import Panel


@dataclass(frozen=True, eq=False)
class Shifted:
    """A set beside the data, asked the same way.

    Parameters
    ----------
    embeddings : EmbeddingSet
        Its images, with the class texts of the data.
    hit : Tensor of shape (n,)
        Whether each image is right.
    inside : Tensor of shape (k,)
        Those images of the data whose classes it has.
    inside_hit : Tensor of shape (k,)
        Whether each of them is right among these classes.
    """

    embeddings: EmbeddingSet
    hit: Tensor
    inside: Tensor
    inside_hit: Tensor


def run(subject: Subject, asked: Shift, progress: Progress) -> Panel:
    """Accuracy and ECE on the data and on each set; raises as `evaluate`."""
    names = [*asked.family, *(f"{kind}-{level}" for kind, level in asked.corruptions())]
    lines = lines_of(asked.reference, names) if asked.reference else {}
    others = _pairs_of(subject, asked)
    source = prompted(subject, asked.classnames, asked.templates, progress)
    shifted = dict(_shifted(subject, asked, source, others, progress))
    whole = classified(source.embeddings, subject, progress)
    groups = {name: classified(each.embeddings, subject, progress) for name, each in shifted.items()}
    pooled, place = _pooled([source.embeddings, *(each.embeddings for each in shifted.values())])
    values = _values(whole, groups, shifted)
    ins, outs = _influences(shifted, place, len(pooled.image))
    own = hits(source.embeddings.image, _labels(source.embeddings), source.class_text)
    moved = {
        "zeroshot_acc1": _moved(own, place[0], len(pooled.image)),
        "shift_acc1_mean": outs.mean(dim=0),
        "shift_drop": (ins - outs).mean(dim=0),
    }
    worst = min(shifted, key=lambda name: float(shifted[name].hit.mean()))
    notes = {"worst": f"lowest accuracy on {worst}"} | ({"prompts": source.note()} if source.prompts else {})
    how: dict[str, Any] = {
        "by": "set",
        "whole": {"name": SOURCE, "n_images": len(source.embeddings.image)},
        "sets": {name: str(each.embeddings.made_from.get("dataset") or "") for name, each in shifted.items()},
        **source.params(),
    }
    if lines:
        measured = {name: (_mean_of(each.inside_hit), _mean_of(each.hit)) for name, each in shifted.items()}
        how["reference"] = robust = _robustness(lines, measured, notes)
        values["shift_effective_robustness"] = _mean([each["beyond"] for each in robust.values()]) if robust else None
        if robust:
            chosen = [names.index(name) for name in robust]
            slopes = torch.tensor([lines[name].steepness(measured[name][0]) for name in robust], dtype=torch.float64)
            moved["shift_effective_robustness"] = (outs[chosen] - slopes[:, None] * ins[chosen]).mean(dim=0)
    curves = {}
    if asked.between:
        end = float(whole["zeroshot_acc1"] or 0.0), float(values["shift_acc1_mean"] or 0.0)
        curves["wise_ft_curve"] = _curve(subject, asked, others, end, progress)
    panel = panel_of(
        "shift",
        pooled,
        values,
        influences=moved,
        params=how,
        notes=notes,
        groups=groups,
        curves=curves,
        bootstrap=subject.bootstrap,
        seed=subject.seed,
    )
    if "zeroshot_ece" not in whole.ci:
        return panel
    without = {key: reason for key, reason in panel.no_interval.items() if key != "zeroshot_ece"}
    return panel.replace(ci={**panel.ci, "zeroshot_ece": whole.ci["zeroshot_ece"]}, no_interval=without)


def _values(whole: Panel, groups: Mapping[str, Panel], shifted: Mapping[str, Shifted]) -> dict[str, float | None]:
    """The numbers of the data, and those over the sets."""
    accuracies = [_mean_of(each.hit) for each in shifted.values()]
    inside = [_mean_of(each.inside_hit) for each in shifted.values()]
    errors = [float(group["zeroshot_ece"] or 0.0) for group in groups.values()]
    return {
        "zeroshot_acc1": whole["zeroshot_acc1"],
        "zeroshot_ece": whole["zeroshot_ece"],
        "shift_acc1_mean": _mean(accuracies),
        "shift_acc1_worst": min(accuracies),
        "shift_drop": _mean(inside) - _mean(accuracies),
        "shift_ece_mean": _mean(errors),
        "shift_ece_worst": max(errors),
        "shift_ece_rise": _mean(errors) - float(whole["zeroshot_ece"] or 0.0),
    }


def _influences(shifted: Mapping[str, Shifted], place: Sequence[Tensor], n: int) -> tuple[Tensor, Tensor]:
    """Of each set what each image moves its accuracy by, and that of the data on its classes: both (sets, n)."""
    ins = [_moved(each.inside_hit, place[0][each.inside], n) for each in shifted.values()]
    outs = [_moved(each.hit, own, n) for each, own in zip(shifted.values(), place[1:], strict=True)]
    return torch.stack(ins), torch.stack(outs)


def _curve(
    subject: Subject, asked: Shift, others: Mapping[str, Pairs], end: tuple[float, float], progress: Progress
) -> dict[str, list[float]]:
    """Accuracy on the data and over the sets along the way from a base to the model, whose own is the end."""
    found: dict[str, list[float]] = {"alpha": [], "zeroshot_acc1": [], "shift_acc1_mean": []}
    for alpha, mixed in between(subject, asked.between):
        bar = Named(progress, f"alpha {alpha:g}")
        source = prompted(mixed, asked.classnames, asked.templates, bar)
        own = hits(source.embeddings.image, _labels(source.embeddings), source.class_text)
        sets = [float(each.hit.mean()) for _, each in _shifted(mixed, asked, source, others, bar)]
        for values, value in zip(found.values(), (alpha, float(own.mean()), _mean(sets)), strict=True):
            values.append(value)
    for values, value in zip(found.values(), (1.0, *end), strict=True):
        values.append(value)
    return found


def _pairs_of(subject: Subject, asked: Shift) -> dict[str, Pairs]:
    """The data of the sets of the family, found before anything is encoded; {} for vectors."""
    if not subject.has_encoder:
        return {}
    found = {}
    for name, data in asked.family.items():
        there = replace(subject, data=data, split=asked.family_split.get(name), label_column=None)
        pairs = there.pairs(named=not asked.classnames)
        if pairs.classes is None and subject.label_column is not None:
            pairs = replace(there, label_column=subject.label_column).pairs()
        if reason := of_pairs(pairs):
            raise InputError(f"{option('family', f'{name}={data}')}: {reason}")
        found[name] = pairs
    return found


def _shifted(
    subject: Subject, asked: Shift, source: Prompted, others: Mapping[str, Pairs], progress: Progress
) -> Iterator[tuple[str, Shifted]]:
    """Each set by its name: those of the family, then the corruptions of the data."""
    keys = source.embeddings.classes
    own = subject.pairs(named=not asked.classnames) if subject.has_encoder else None
    if own is not None:
        keys = own.classes
    for name, data in asked.family.items():
        bar = Named(progress, name)
        found = subject.embedded(bar, pairs=others[name]) if subject.has_encoder else subject.of_vectors(data, bar)
        yield name, _beside(found, source, keys, f"{option('family', name)}")
    for kind, level in asked.corruptions():
        assert own is not None
        made = corrupted(own, kind, level, subject.seed)
        name = f"{kind}-{level}"
        yield name, _beside(subject.embedded(Named(progress, name), pairs=made), source, keys, name)


def _beside(found: EmbeddingSet, source: Prompted, keys: Sequence[str] | None, what: str) -> Shifted:
    """A set with the class texts of the data, among the classes that it has; InputError for a class of its own."""
    data = source.embeddings
    if found.class_text is None:
        raise InputError(f"{what} has no classes")
    if found.classes is None or keys is None:
        if len(found.class_text) != len(source.class_text):
            own = amount(len(found.class_text), "class", "classes")
            raise InputError(f"{what} has {own}, the data have {len(source.class_text)}")
        rows = torch.arange(len(source.class_text))
    else:
        place = {name: number for number, name in enumerate(keys)}
        alone = [name for name in found.classes if name not in place]
        if alone:
            lacking = [name for name in keys if name not in found.classes]
            beside = f"; of the data alone: {some(lacking)}" if lacking else ""
            raise InputError(f"{what} has classes that the data lack: {some(alone)}{beside}")
        rows = torch.tensor([place[name] for name in found.classes])
    text = source.class_text[rows]
    if len(text) < 2:
        raise InputError(f"{what} has one class only: two are needed")
    names = None if data.classes is None else tuple(data.classes[row] for row in rows.tolist())
    there = found.replace(class_text=text, classes=names)
    of_class = torch.full((len(source.class_text),), -1)
    of_class[rows] = torch.arange(len(rows))
    label = of_class[_labels(data)]
    inside = (label >= 0).nonzero()[:, 0]
    if not len(inside):
        raise InputError(f"{what}: the data have no image of its classes")
    return Shifted(
        there, hits(there.image, _labels(there), text), inside, hits(data.image[inside], label[inside], text)
    )


def _pooled(sets: Sequence[EmbeddingSet]) -> tuple[EmbeddingSet, list[Tensor]]:
    """All images, those of one id once, and of each set which of them its images are.

    An interval is over these: a picture and its corruptions, or one thing drawn by several hands, are not independent.
    """
    number: dict[str, int] = {}
    place = [torch.tensor([number.setdefault(name, len(number)) for name in each.image_id]) for each in sets]
    first = [(which, row) for which, each in enumerate(place) for row in _firsts(each, which, place)]
    image = torch.stack([sets[which].image[row] for which, row in first])
    made = sets[0]
    pooled = EmbeddingSet(
        image,
        labels=torch.zeros(len(first), dtype=torch.int64),
        class_text=made.class_text,
        classes=made.classes,
        image_id=tuple(sets[which].image_id[row] for which, row in first),
        logit_scale=made.logit_scale,
        logit_scale_source=made.logit_scale_source,
        made_from=made.made_from,
    )
    return pooled, place


def _firsts(own: Tensor, which: int, place: Sequence[Tensor]) -> list[int]:
    """The rows of a set whose image no row before has."""
    known = set(torch.cat([own[:0], *place[:which]]).tolist())
    rows = []
    for row, each in enumerate(own.tolist()):
        if each not in known:
            known.add(each)
            rows.append(row)
    return rows


def _moved(values: Tensor, place: Tensor, n: int) -> Tensor:
    """What each of n images moves the mean by of those at `place`; the squares add up to its variance."""
    count = len(values)
    moved = (values - values.mean()) / count * (count / max(count - 1, 1)) ** 0.5
    return torch.zeros(n, dtype=torch.float64).index_add_(0, place, moved.double())


def _robustness(
    lines: Mapping[str, Line], measured: Mapping[str, tuple[float, float]], notes: dict[str, str]
) -> dict[str, dict[str, float]]:
    """Of each set that others were measured on: the line, what it leads to expect, and how far accuracy is beyond."""
    found = {}
    for name, line in lines.items():
        inside, out = measured[name]
        if not 0 < inside < 1:
            notes["shift_effective_robustness"] = f"undefined where accuracy on the data is {100 * inside:.0f} %"
            continue
        expected = line.expected(inside)
        found[name] = {
            "slope": line.slope,
            "intercept": line.intercept,
            "models": float(line.models),
            "expected": expected,
            "beyond": out - expected,
        }
    return found


def _mean_of(hit: Tensor) -> float:
    return float(hit.mean())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _labels(found: EmbeddingSet) -> Tensor:
    assert found.labels is not None
    return found.labels.long()


def applies(subject: Subject, asked: Shift) -> str:
    """Why it cannot be asked, as far as names tell."""
    if not asked.family and not asked.corrupt:
        return f"no other set: name some with {option('family')}, or corruptions with {option('corrupt')}"
    if asked.family_split and not subject.has_encoder:
        return f"{option('family_split')} is of data, and {option('embeddings')} are vectors, which have no splits"
    if asked.between and not subject.has_encoder:
        return f"{option('between')} needs weights, and {option('embeddings')} are vectors"
    if asked.corrupt and not subject.has_encoder:
        return f"{option('corrupt')} needs images, and {option('embeddings')} are vectors"
    return has_classes(subject, ZeroShot(classnames=asked.classnames))


def reads(subject: Subject, asked: Shift) -> Pairs:
    """The data themselves; the sets beside them are this task's own."""
    return subject.pairs(named=not asked.classnames)


TASK = Task("shift", "how right and how honest it stays on other sets of the same classes", Shift, run, applies, reads)
