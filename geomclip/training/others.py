"""Others: data that a run is not trained on, measured before and after, so that what it forgets is seen."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from geomclip.machine.addresses import plain
from geomclip.machine.errors import InputError
from geomclip.machine.places import shown
from geomclip.machine.words import option
from geomclip.pairs import Source, load_pairs
from geomclip.pairs.record import Pairs
from geomclip.panels.lines import told_apart
from geomclip.training.folder import AFTER, BEFORE
from geomclip.training.splits import Splits

LONGEST = 60
"""Characters of a data name within the name of a file."""


def names_of(also: str | Sequence[str] | None, began: Mapping[str, Any] | None) -> list[str]:
    """The data named now, after those that the run began with; each once."""
    before = [] if began is None else began.get("call", {}).get("also") or []
    return list(dict.fromkeys([*before, *([also] if isinstance(also, str) else also or [])]))


def load_others(
    names: Sequence[str], source: Source, splits: Splits, *, cache_dir: Path | None = None
) -> dict[str, Pairs]:
    """The pairs of other data by the names that the run has for them; read as `source` is, but for data and split.

    Raises
    ------
    InputError
        If a name means nothing, the data are not here or have fewer than 2 images to measure, or are a part of what
        the run is trained on, chosen by or reported on.
    """
    found: dict[str, Pairs] = {}
    for name, called in zip(names, told_apart(list(map(shown, names))), strict=True):
        try:
            found[called] = load_pairs(replace(source, data=name, split=None), cache_dir=cache_dir)
        except InputError as error:
            raise InputError(f"{option('also', plain(name))}: {error}") from error
        _refuse_unfit(name, found[called])
    kept = {fingerprint: part for part, fingerprint in splits.fingerprints().items()}
    for name, pairs in zip(names, found.values(), strict=True):
        if (part := kept.get(pairs.fingerprint())) is not None:
            use = {"train": "trained on", "val": "chosen by", "report": "reported on"}[part]
            raise InputError(f"{option('also', plain(name))}: {pairs.title} is what is {use}: name other data")
    return found


def _refuse_unfit(name: str, pairs: Pairs) -> None:
    usable = pairs if pairs.classes is not None else pairs.described()
    if len(usable) < 2:
        what = "images" if pairs.classes is not None else "images with captions"
        raise InputError(
            f"{option('also', plain(name))}: {pairs.title} has {len(usable)} {what}, and measuring needs 2"
        )
    absent = [pair.image.path for pair in usable.pairs if pair.image.identity() == "absent"]
    if len(usable) - len(absent) < 2:
        raise InputError(
            f"{option('also', plain(name))}: of {pairs.title} {len(absent)} of {len(usable)} images are not there "
            f"({absent[0]}), and measuring needs 2"
        )


def refuse_changed(folder: Path, began: Mapping[str, Any] | None, others: Mapping[str, Pairs]) -> None:
    """InputError for other data that are no longer what they were when the run measured them before."""
    known = {} if began is None else began.get("also", {})
    for name, pairs in others.items():
        if name in known and known[name].get("fingerprint") != pairs.fingerprint():
            raise InputError(
                f"{folder} began with other data ({option('also', plain(name))} differs): name another {option('out')}"
            )


def described(others: Mapping[str, Pairs]) -> dict[str, Any]:
    """What config.json says of them."""
    return {
        name: {
            "dataset": pairs.name,
            "split": pairs.split,
            "images": len(pairs),
            "fingerprint": pairs.fingerprint(),
            "before": before_of(name),
            "after": after_of(name),
        }
        for name, pairs in others.items()
    }


def before_of(name: str) -> str:
    """The file of the panel before, of data of this name.

    Examples
    --------
    >>> before_of("emoji"), before_of("csv:photos/pairs.csv")
    ('before-emoji.json', 'before-csv-photos-pairs.csv-e558e39a.json')
    """
    return _beside(BEFORE, name)


def after_of(name: str) -> str:
    """The file of the panel after, of data of this name."""
    return _beside(AFTER, name)


def _beside(file: str, name: str) -> str:
    """The file with the name in it, as far as files can be named so; a part of its hash where they cannot."""
    stem, _, suffix = file.partition(".")
    return f"{stem}-{as_file(name)}.{suffix}"


def as_file(name: str) -> str:
    """A name as a part of that of a file, and a part of its hash where files cannot be named so.

    Examples
    --------
    >>> as_file("emoji"), as_file("csv:pairs.csv")
    ('emoji', 'csv-pairs.csv-f542fa18')
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
    if safe == name and len(safe) <= LONGEST:
        return safe
    return f"{safe[-LONGEST:].strip('-.')}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
