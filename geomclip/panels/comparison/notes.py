"""Notes: what a reader of a comparison must know of how the two sides came to be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from geomclip.embeddings.matching import Matched
from geomclip.panels.comparison.record import Row
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
            f"{some(unpaired)}: unpaired, since the panels do not hold values of the same draws "
            "(images in one order, one seed, as many resamples)"
        )


def _reason(key: str, panel: Panel) -> str:
    known = "not known of the shared images alone" if key in panel.values else "not measured"
    return panel.notes.get(key) or known


def _sides(which: Sequence[bool]) -> str:
    return " and ".join(side for side, chosen in zip(("before", "after"), which, strict=True) if chosen)


def _named(value: object) -> str:
    return "unknown" if value in (None, "") else str(value)
