"""Notes: what a reader of a comparison must know of how the two sides came to be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from geomclip.embeddings.matching import Matched
from geomclip.machine.words import option
from geomclip.panels.comparison import influences
from geomclip.panels.comparison.estimates import FEWEST
from geomclip.panels.comparison.record import Comparison, Row
from geomclip.panels.record import Panel

KEYS_SHOWN = 4


def some(names: Sequence[str]) -> str:
    """The first names, and how many more there are.

    Examples
    --------
    >>> some(["a", "b"]), some(list("abcdef"))
    ('a, b', 'a, b, c, d and 2 more')
    """
    more = f" and {len(names) - KEYS_SHOWN} more" if len(names) > KEYS_SHOWN else ""
    return f"{', '.join(names[:KEYS_SHOWN])}{more}"


def of_sets(before: Panel, after: Panel, images: Matched | None, *, whole: bool) -> Iterator[str]:
    """How the images of the two were paired, if not simply one with its own."""
    if images is None:
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
    for name, there in settings[0].items():
        here = settings[1][name]
        if there != here:
            own = ": each is calibrated at its own temperature" if name == "logit scale" else ""
            yield f"{name} {_named(there)} before, {_named(here)} after{own}"
    data = [panel.made_from.get("data_sha256") for panel in (before, after)]
    if all(data) and data[0] != data[1]:
        yield "the data are not the same (data_sha256), whatever their ids are"
    for line in dict.fromkeys([*before.warnings, *after.warnings]):
        yield f"{_sides([line in before.warnings, line in after.warnings])}: {line}"


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
    if drawn and n < FEWEST:
        yield f"{n} images that are no copies of each other: below {FEWEST} there are no intervals and no verdicts"
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
    small = [name for name, group in groups.items() if group.bootstrap and group.n_images < FEWEST]
    if small:
        yield f"groups of fewer than {FEWEST} images have no intervals and no verdicts: {some(small)}"


def _reason(key: str, panel: Panel) -> str:
    known = "not known of the shared images alone" if key in panel.values else "not measured"
    return panel.notes.get(key) or known


def _sides(which: Sequence[bool]) -> str:
    return " and ".join(side for side, chosen in zip(("before", "after"), which, strict=True) if chosen)


def _named(value: object) -> str:
    return "unknown" if value in (None, "") else str(value)
