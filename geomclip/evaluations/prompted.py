"""Prompted: images with the prompts that their classes are asked by, all templates together and each alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geomclip.embeddings.geometry import normalize
from geomclip.embeddings.record import EmbeddingSet
from geomclip.encoders.extraction.inputs import encoding_of
from geomclip.encoders.protocol import EncodesInputs
from geomclip.evaluations.subject import Subject
from geomclip.machine.errors import InputError
from geomclip.machine.progress import Progress
from geomclip.machine.words import option
from geomclip.pairs import Pairs
from geomclip.pairs.prompts import class_names_from, prompts_from, without_id

WAY_OUT = "name class data, or with {} the column of pairs that says the class"


@dataclass(frozen=True, eq=False)
class Prompted:
    """Images, and the rows of their classes.

    Parameters
    ----------
    embeddings : EmbeddingSet
        Whose `class_text` is the mean of the unit rows of the prompts of a class, at length 1.
    prompts : tuple of tuple of str
        Those of each class; () of vectors, whose prompts nobody knows.
    single : Tensor of shape (t, c, d), optional
        The unit rows of each template alone, where there are several and all classes have the same.
    templates : tuple of str
        What they look like, for the first class.
    """

    embeddings: EmbeddingSet
    prompts: tuple[tuple[str, ...], ...] = ()
    single: Tensor | None = None
    templates: tuple[str, ...] = ()

    @property
    def class_text(self) -> Tensor:
        """The rows of the classes (c, d)."""
        assert self.embeddings.class_text is not None
        return self.embeddings.class_text

    def params(self) -> dict[str, Any]:
        """What a result says of the prompts: how many, a hash of all with their classes, and those of two classes."""
        if not self.prompts:
            return {}
        classes = self.embeddings.classes or ()
        known = json.dumps([list(classes), [list(own) for own in self.prompts]], ensure_ascii=False)
        return {
            "prompts": {
                "sha256": hashlib.sha256(known.encode("utf-8", "surrogatepass")).hexdigest(),
                "count": sum(map(len, self.prompts)),
                "first": [classes[0], self.prompts[0][0]],
                "last": [classes[-1], self.prompts[-1][0]],
            }
        }

    def alike(self) -> str:
        """A warning where classes are asked by the same prompts, in a line; "" where none are."""
        owners: dict[tuple[str, ...], list[str]] = {}
        for name, own in zip(self.embeddings.classes or (), self.prompts, strict=False):
            owners.setdefault(own, []).append(name)
        same = [names for names in owners.values() if len(names) > 1]
        if not same:
            return ""
        first = " and ".join(same[0][:2])
        return (
            f"{sum(map(len, same))} classes share all prompts with another, as {first}: none of their images is right"
        )

    def note(self) -> str:
        """The prompts in a line; "" where nobody knows them."""
        if not self.prompts:
            return ""
        about = self.params()["prompts"]
        return f"{about['count']}, such as {about['first'][1]!r}; sha256 {about['sha256'][:12]}"


def of_classes(found: EmbeddingSet) -> str:
    """Why vectors cannot be classified; "" where they can."""
    if found.class_text is None:
        return f"the vectors have no classes, or one only: {WAY_OUT.format(option('label_column'))}"
    return _one(len(found.class_text), "the vectors")


def of_pairs(pairs: Pairs) -> str:
    """Why the images of data cannot be classified; "" where they can."""
    if pairs.classes is None:
        return f"{pairs.title} has no classes: {WAY_OUT.format(option('label_column'))}"
    return _one(len(pairs.classes), pairs.title)


def _one(count: int, title: str) -> str:
    return f"{title} has one class only: two are needed" if count < 2 else ""


def prompted(subject: Subject, classnames: str, templates: str, progress: Progress) -> Prompted:
    """The images of the subject, with the names and prompts of files where some are named, else with the data's own.

    Raises
    ------
    InputError
        If there are no classes, or files are named of which only vectors know nothing.
    """
    if not subject.has_encoder:
        for name, value in (("classnames", classnames), ("templates", templates)):
            if value:
                vectors = f"{option('embeddings')} are vectors"
                raise InputError(f"{option(name)} needs an encoder, and {vectors}: leave it out")
        found = subject.embedded(progress)
        if reason := of_classes(found):
            raise InputError(reason)
        return Prompted(found)
    pairs = subject.pairs(named=not classnames)
    if reason := of_pairs(pairs):
        raise InputError(reason)
    names, prompts = pairs.classes or (), pairs.class_prompts or ()
    by_template = True
    if classnames:  # files before images, which take long
        names = class_names_from(classnames, pairs.classes or (), pairs.name)
        prompts = tuple(map(_renamed, prompts, pairs.classes or (), map(without_id, names)))
    if templates:
        own = tuple(map(without_id, names)) if classnames else tuple(map(spoken, names, prompts))
        prompts, shown = prompts_from(templates, own, pairs.name)
        by_template = bool(shown)
    counts = {len(each) for each in prompts}
    found = subject.embedded(progress, pairs=pairs)
    if not classnames and not templates and counts == {1}:
        return Prompted(found, prompts)
    rows = encoded(subject, pairs, [text for each in prompts for text in each], progress)
    parts = rows.split([len(each) for each in prompts])
    if classnames or templates:
        text = torch.stack([part.mean(dim=0) for part in parts])
        made_from = _without_prompts(found.made_from)
        found = found.replace(classes=names, class_text=text, made_from=made_from)
    if not by_template or len(counts) > 1 or counts == {1}:
        return Prompted(found, prompts)
    return Prompted(found, prompts, torch.stack(parts, dim=1), prompts[0])


def spoken(name: str, prompts: Sequence[str]) -> str:
    """The name of a class as its prompts have it: of `crane (n01)` without what tells it from another.

    Examples
    --------
    >>> spoken("crane (n01)", ["a photo of a crane."]), spoken("cat", ["a photo of a cat."])
    ('crane', 'cat')
    """
    return name if not prompts or name in prompts[0] or " (" not in name else name.rpartition(" (")[0]


def _renamed(prompts: Sequence[str], old: str, new: str) -> tuple[str, ...]:
    return tuple(prompt.replace(spoken(old, prompts), new) for prompt in prompts)


def _without_prompts(made_from: Mapping[str, Any]) -> dict[str, Any]:
    """What images were made from without the reader's line on prompts that are not used."""
    read = dict(made_from.get("read") or {})
    if "how" in read:
        read["how"] = [line for line in read["how"] if not line.startswith("prompts such as")]
    return {**made_from, "read": read}


def with_classes(found: EmbeddingSet, of: Prompted, what: str) -> EmbeddingSet:
    """Other images of the same encoder with the classes of these, by their names; InputError for one that these lack.

    `what` is what a message calls the other images.
    """
    names, own = of.embeddings.classes, found.classes
    assert found.labels is not None
    if names is None or own is None:
        if len(of.class_text) != len(found.class_text if found.class_text is not None else ()):
            raise InputError(f"{what} have another number of classes, which have no names")
        return found.replace(class_text=of.class_text)
    place = {name: number for number, name in enumerate(names)}
    there = sorted({own[label] for label in found.labels.tolist()} - place.keys())
    if there:
        raise InputError(
            f"{what} have classes that the others lack ({', '.join(there[:5])}); those have {', '.join(names[:5])}, ..."
        )
    labels = torch.tensor([place.get(name, -1) for name in own])[found.labels.long()]
    return found.replace(class_text=of.class_text, classes=names, labels=labels)


def encoded(subject: Subject, pairs: Pairs, texts: Sequence[str], progress: Progress) -> Tensor:
    """Unit rows of texts (m, d), float64; each different text is encoded once."""
    encoder = subject.encoder()
    different = list(dict.fromkeys(texts))
    if isinstance(encoder, EncodesInputs):
        encoder.learn(pairs)
    done = 0

    def tick(count: int, reasons: dict[int, str]) -> None:
        nonlocal done
        done += count
        progress.stage("prompts", done, len(different))

    with encoding_of(encoder, batch=subject.batch_size, workers=subject.workers) as encoding:
        found = encoding.finished(encoding.texts(different), tick)
    if found.reasons:
        place, why = next(iter(found.reasons.items()))
        raise InputError(f"the prompt {different[place]!r} cannot be used: {why}")
    place_of = {text: place for place, text in enumerate(different)}
    return normalize(found.rows.double())[0][torch.tensor([place_of[text] for text in texts])]
