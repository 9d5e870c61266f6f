"""The three parts of a data set that fine-tuning needs: to learn from, to choose by, to report on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geomclip.machine.errors import InputError
from geomclip.machine.words import option
from geomclip.pairs import Source, load_pairs
from geomclip.pairs.parsing import ALL, NoSuchSplit
from geomclip.pairs.record import Pairs


@dataclass(frozen=True)
class Splits:
    """Pairs to train on, to select by, and to report on."""

    train: Pairs
    val: Pairs
    report: Pairs
    notes: tuple[str, ...] = ()

    def check(self, *, trained: bool) -> None:
        """InputError for a part that is too small, or (to be `trained` on) whose texts are all the same."""
        for pairs, use in ((self.train, "training"), (self.val, "validation"), (self.report, "measuring")):
            described = len(pairs.described())
            if described < 2:
                raise InputError(f"{pairs.title} has {described} images with captions: {use} needs at least 2")
        texts = {text.strip().casefold() for text in self.train.texts()[0]}
        if trained and len(texts) == 1:
            raise InputError(f"{self.train.title}: every caption is {texts.pop()[:60]!r}: nothing tells images apart")

    def part(self, name: str | None) -> Pairs:
        """train, val or test by name; left out, what is reported on."""
        parts = {None: self.report, "train": self.train, "val": self.val, "test": self.report}
        if name not in parts:
            raise InputError(f"{self.report.name} has no split {name!r}; {option('holdout')} makes train, val, test")
        return parts[name]

    def fingerprints(self) -> dict[str, str]:
        """What a run is made from."""
        return {"train": self.train.fingerprint(), "val": self.val.fingerprint(), "report": self.report.fingerprint()}


def load_splits(source: Source, *, holdout: float, cache_dir: Path | None = None) -> Splits:
    """The splits of a data set.

    Parameters
    ----------
    source : Source
        Its split is that to report on (left out: test if the set has one, else val), its limit of each split.
    holdout : float
        Of a set without splits (or without val): this share of its images is val and the same share again is
        what is reported on, chosen by a hash of the image ids. 0: the set's own splits.
    cache_dir : path, optional
        As `geomclip.pairs.load_pairs` takes it.

    Raises
    ------
    InputError
        If the set has no train or val split and no holdout is given.
    """
    if not 0 <= holdout < 0.5:
        raise InputError(f"{option('holdout')} {holdout:g}: must be at least 0 and below 0.5")
    if holdout:
        whole = replace(source, split="train", limit=None)
        return _held_out(_read(whole, cache_dir, whole_allowed=True), holdout, source)
    train = _read(replace(source, split="train"), cache_dir)
    try:
        val = _read(replace(source, split="val"), cache_dir)
    except InputError as error:
        reason = error.reason if isinstance(error, NoSuchSplit) else error
        raise InputError(
            f"{reason}: fine-tuning chooses by val; {option('holdout', 0.1)} makes one of a tenth of train"
        ) from error
    notes: tuple[str, ...] = ()
    if source.split is None:
        try:
            report = load_pairs(replace(source, split="test"), cache_dir=cache_dir)
        except InputError:
            report = val
            notes = (
                f"{source.data} has no test split: before and after are measured on val, by which the best was chosen",
            )
    else:
        report = load_pairs(source, cache_dir=cache_dir)
        if report.split == train.split:
            notes = ("before and after are measured on the training split: they say nothing about other pairs",)
        elif report.split == val.split:
            notes = ("before and after are measured on val, by which the best was chosen",)
    return Splits(train, val, report, notes)


def _read(source: Source, cache_dir: Path | None, *, whole_allowed: bool = False) -> Pairs:
    try:
        return load_pairs(source, cache_dir=cache_dir)
    except NoSuchSplit as error:
        if whole_allowed:
            return load_pairs(replace(source, split=None), cache_dir=cache_dir)
        if source.split == "train":
            hint = f"fine-tuning needs train and val; {option('holdout', 0.1)} makes them of a set without"
            raise InputError(f"{error.reason}: {hint}") from error
        raise


def _held_out(pairs: Pairs, share: float, source: Source) -> Splits:
    if source.split is not None:
        raise InputError(f"{option('holdout')} makes the split that is reported on: leave out {option('split')}")
    parts: dict[str, list[Any]] = {"train": [], "val": [], "test": []}
    for pair in pairs.pairs:
        place = int.from_bytes(hashlib.sha256(f"holdout:{pair.image_id}".encode()).digest()[:8], "big") / 2**64
        parts["test" if place < share else "val" if place < 2 * share else "train"].append(pair)
    made = {
        name: replace(pairs, pairs=tuple(kept), split=name if pairs.split == ALL else f"{pairs.split}/{name}")
        for name, kept in parts.items()
    }
    empty = [name for name, part in made.items() if not len(part)]
    if empty:
        raise InputError(
            f"{option('holdout')} {share:g} leaves no image of the {len(pairs)} of {pairs.name} for {empty[0]}: "
            "give a larger share or more images"
        )
    sizes = ", ".join(f"{len(part)} {name}" for name, part in made.items())
    note = f"{option('holdout')} {share:g}: {sizes} images"
    train, val, test = (made[name].limited(source.limit) for name in ("train", "val", "test"))
    return Splits(train, val, test, (note,))
