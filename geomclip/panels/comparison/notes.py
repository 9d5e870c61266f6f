"""Notes: what a reader of a comparison must know of how the two sides came to be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from geomclip.embeddings.matching import Matched
from geomclip.machine.words import option
from geomclip.metrics import AT_FIXED_SIZE, FIXED_SIZE
from geomclip.panels.comparison import influences
from geomclip.panels.comparison.record import Comparison, Row
from geomclip.panels.intervals import LEAST
from geomclip.panels.lines import some
from geomclip.panels.peers import program
from geomclip.panels.record import Panel

SIDES = ("before", "after")
TEXTS_DIFFER = 0.02
"""Texts an image that differ by more than this share are other data."""


def of_sets(before: Panel, after: Panel, images: Matched | None, *, whole: bool) -> Iterator[str]:
    """How the images of the two were paired, if not simply one with its own."""
    if program(before) or program(after):
        shared = before.values.keys() & after.values.keys()
        for name, side in zip(SIDES, (before, after), strict=True):
            if left := len(side.values.keys() - shared):
                yield f"{left} {'number' if left == 1 else 'numbers'} of {name} left out: the other side has none"
        yield f"{_sides([bool(program(side)) for side in (before, after)])}: no intervals, so differences have none"
    elif images is None and not whole:
        yield f"no items on both sides: which images are shared is not known; numbers at {FIXED_SIZE} images compare"
    elif images is None:
        yield "no items on both sides: intervals are unpaired, as if the images were others, and wider than need be"
    elif not whole:
        yield (
            f"{len(images)} images are shared, of {before.n_images} before and {after.n_images} after; what each "
            "adds (ranks, confidences) was computed among all candidates of its side"
        )


def of_settings(before: Panel, after: Panel) -> Iterator[str]:
    """What the two were measured on or with, where it is not the same; and what each was warned of."""
    settings = [
        {name: panel.made_from.get(name) for name in ("dataset", "split", "language", "precision")}
        | {name: panel.params.get(name) for name in ("captions", "dtype", "bins", "t", "k")}
        | {"seed": panel.seed, "logit scale": f"{panel.logit_scale:.6g}"}
        for panel in (before, after)
    ]
    not_said = any(map(program, (before, after)))
    for name, there in settings[0].items():
        here = settings[1][name]
        if not_said and (name not in ("dataset", "split", "language") or not (there and here)):
            continue
        if there != here:
            own = ": each is calibrated at its own temperature" if name == "logit scale" else ""
            yield f"{name} {_named(there)} before, {_named(here)} after{own}"
    data = [panel.made_from.get("data_sha256") for panel in (before, after)]
    if all(data) and data[0] != data[1]:
        yield "the data are not the same (data_sha256), whatever their ids are"
    for line in dict.fromkeys([*before.warnings, *after.warnings]):
        yield f"{_sides([line in before.warnings, line in after.warnings])}: {line}"


def of_sizes(rows: Mapping[str, Row], before: Panel, after: Panel) -> Iterator[str]:
    """Which numbers depend on the number of images, where the two differ in it, and what compares in their place."""
    sides = before, after
    moved = [key for key in AT_FIXED_SIZE if all(key in side.values for side in sides)]
    if before.n_images == after.n_images or not moved:
        return
    depend = f"the number of images ({before.n_images} before, {after.n_images} after)"
    known = [key for key in moved if (row := rows.get(AT_FIXED_SIZE[key])) is not None and row.difference is not None]
    if known:
        some_fixed = some([AT_FIXED_SIZE[key] for key in known])
        compare = "compares" if len(known) == 1 else "compare"
        yield f"{some(known)}: {_depend(known)} on {depend}; {some_fixed} {compare}"
    if alone := [key for key in moved if key not in known]:
        way = f"measure both with {option('metrics', 'all')}, and at least {FIXED_SIZE} images each, to compare"
        yield f"{some(alone)}: {_depend(alone)} on {depend}; {way}"
    texts = [side.n_texts / max(1, side.n_images) for side in sides]
    if known and before.task == "retrieval" and abs(texts[0] - texts[1]) > TEXTS_DIFFER * max(texts):
        yield (
            f"{texts[0]:.3g} texts an image before, {texts[1]:.3g} after: at {FIXED_SIZE} images the numbers of texts "
            f"are of other numbers of them ({option('captions', 'first')} gives one each)"
        )


def _depend(keys: Sequence[str]) -> str:
    return "depends" if len(keys) == 1 else "depend"


def of_rows(rows: Mapping[str, Row], before: Panel, after: Panel, *, paired: bool) -> Iterator[str]:
    """Why keys have no difference, and which have an unpaired interval though the panels are paired."""
    keys_of: dict[str, list[str]] = {}
    for key, row in rows.items():
        if row.difference is None:
            reasons = {
                side: _reason(key, panel)
                for side, panel, value in (("before", before, row.before), ("after", after, row.after))
                if value is None
            }
            for reason in dict.fromkeys(reasons.values()):
                sides = _sides([reasons.get(side) == reason for side in ("before", "after")])
                keys_of.setdefault(f"none {sides}: {reason}", []).append(key)
    yield from (f"{some(keys)}: {reason}" for reason, keys in keys_of.items())
    unpaired = [key for key, row in rows.items() if row.ci is not None and not row.paired]
    if paired and unpaired:
        yield (
            f"{some(unpaired)}: unpaired, since the panels do not hold what each image adds to them; as if the images "
            "were others, and wider than need be"
        )


def of_intervals(before: Panel, after: Panel, n: int, drawn: bool, *, wanted: str, used: str) -> Iterator[str]:
    """Why there are none of `n` units, or they are of another kind than was wanted."""
    if drawn and n < LEAST and not (program(before) or program(after)):
        yield f"{n} images that are no copies of each other: below {LEAST} there are no intervals and no verdicts"
    if wanted == "gallery" and used == "queries":
        sides = _sides([not influences.known(panel) for panel in (before, after)])
        yield (
            f"{sides}: without influences, as older versions and {option('bootstrap', 0)} write results: intervals "
            "and verdicts are for this gallery, which is held fixed"
        )


def of_verdicts(rows: Mapping[str, Row], withheld: Mapping[str, str], alike: Sequence[str]) -> Iterator[str]:
    """Which numbers fell and are not called better, and which moved so that nothing says how sure it is."""
    keys_of: dict[str, list[str]] = {}
    for key, reason in withheld.items():
        if rows[key].verdict == "lower":
            keys_of.setdefault(reason, []).append(key)
    yield from (f"{some(keys)}: lower, and not called better: {reason}" for reason, keys in keys_of.items())
    if alike:
        yield f"{some(alike)}: changed alike with every image: no spread to judge by"


def of_groups(groups: Mapping[str, Comparison]) -> Iterator[str]:
    """Which groups are too small for intervals."""
    small = [name for name, group in groups.items() if group.bootstrap and group.n_images < LEAST]
    if small:
        yield f"groups of fewer than {LEAST} images have no intervals and no verdicts: {some(small)}"


def _reason(key: str, panel: Panel) -> str:
    known = "not known of the shared images alone" if key in panel.values else "not measured"
    return panel.notes.get(key) or known


def _sides(which: Sequence[bool]) -> str:
    return " and ".join(side for side, chosen in zip(SIDES, which, strict=True) if chosen)


def _named(value: object) -> str:
    return "unknown" if value in (None, "") else str(value)
