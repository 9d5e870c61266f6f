"""compare: the differences of two panels of the same images, with intervals and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomclip.embeddings.matching import Matched
from geomclip.embeddings.wording import OF_TEXTS, is_of_texts
from geomclip.machine.clock import utc_now
from geomclip.machine.errors import naming
from geomclip.machine.words import option
from geomclip.metrics.evaluated import KNOWN
from geomclip.panels.comparison import draws, influences, notes, verdicts
from geomclip.panels.comparison.draws import FIXED, at_fixed_size, defined, of_images, unpaired_interval
from geomclip.panels.comparison.estimates import FOLDS, Estimate, by_normal
from geomclip.panels.comparison.matching import matched_images
from geomclip.panels.comparison.record import RESAMPLED, Comparison, Row
from geomclip.panels.comparison.rules import answered
from geomclip.panels.intervals import LEAST
from geomclip.panels.lines import some
from geomclip.panels.options import Measuring
from geomclip.panels.peers import is_of_unknown_size, program
from geomclip.panels.record import Panel


def compare(
    before: Panel,
    after: Panel,
    *,
    bootstrap: int = Measuring.bootstrap,
    seed: int = Measuring.seed,
    intersect: bool = False,
    resample: str = "gallery",
    primary: str | Sequence[str] | None = None,
    others: Mapping[str, Comparison] | None = None,
) -> Comparison:
    """The differences after - before of two panels of the same images, with 95 % intervals and verdicts.

    The interval of a difference is over other images of the same kind, as queries and as gallery; or, with
    `resample="queries"`, over other queries to this gallery. What cannot be paired has an unpaired interval, from the
    two of its own. A verdict stands where its p, corrected for all that are judged, is below 0.05.

    Parameters
    ----------
    before, after : Panel
        Of the same images and texts (by `image_id` and `caption_id`), in any order. Panels without items are
        compared unpaired.
    bootstrap : int
        Resamples of images where queries are resampled; 0 for no intervals in any case.
    seed : int
        Of the resamples.
    intersect : bool
        Compare the images that both have, with what each adds as it was computed among all candidates. Of panels
        without items, whose sizes differ, compare the numbers at a fixed size.
    resample : str
        "gallery" or "queries".
    primary : str or sequence of str, optional
        The keys that the comparison is about, named before looking: as a list, or with commas between. Left out:
        recall@1 both ways, or accuracy of classes.
    others : mapping of name to Comparison, optional
        Of the same two sides on other data, for `verdict`: what was forgotten there, or kept.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If one panel is of pairs and the other of classes, the sets differ without `intersect`, or a primary key is
        in neither or can be neither better nor worse.

    Examples
    --------
    >>> print(compare(Panel({"alignment": 1.0}), Panel({"alignment": 1.0}))["alignment"].verdict)
    same
    """
    options: dict[str, Any] = {"bootstrap": bootstrap, "seed": seed, "intersect": intersect, "resample": resample}
    return compare_all([(before, after)], **options, primary=primary, others=others)[0]


def compare_all(
    pairs: Sequence[tuple[Panel, Panel]],
    *,
    bootstrap: int = Measuring.bootstrap,
    seed: int = Measuring.seed,
    intersect: bool = False,
    resample: str = "gallery",
    primary: str | Sequence[str] | None = None,
    others: Mapping[str, Comparison] | None = None,
    names: Sequence[str] = (),
) -> list[Comparison]:
    """The comparison of each pair of panels, as `compare` makes one; verdicts are corrected over all of them.

    Groups are corrected each by itself. `names`, one a pair, say in errors which it is; `others` are on other data.
    """
    check_options(resample, primary)
    how = Measuring(bootstrap=bootstrap, seed=seed)
    drafts = []
    for pair, name in zip(pairs, names or [""] * len(pairs), strict=True):
        with naming(name):
            drafts.append(_draft(*pair, how, primary, intersect=intersect, resample=resample))
    corrected = verdicts.corrected([draft.rows for draft in drafts], [draft.primary for draft in drafts])
    return [_judged(draft, q, how, resample, others) for draft, q in zip(drafts, corrected, strict=True)]


@dataclass(frozen=True)
class _Draft:
    """Two panels and their differences, before it is said which of these are sure."""

    before: Panel
    after: Panel
    sides: tuple[Panel, Panel]  # the two with their numbers on what is compared
    images: Matched | None  # None where nothing says which images are shared
    whole: bool  # all images of both are compared
    n: int  # units
    primary: tuple[str, ...]
    used: str  # of RESAMPLED, or FOLDS
    rows: dict[str, Row]
    alike: list[str]  # keys that moved alike with every image


def _draft(
    before: Panel,
    after: Panel,
    how: Measuring,
    primary: str | Sequence[str] | None,
    *,
    intersect: bool,
    resample: str,
) -> _Draft:
    _check(before, after)
    keys = _keys(before, after)
    primary = verdicts.primary_keys(primary, known=keys)
    images = _images(before, after, intersect=intersect)
    whole = _same_size(before, after) if images is None else len(images) == before.n_images == after.n_images
    sides = before, after
    if images is not None and not whole:
        sides = of_images(before, images.before), of_images(after, images.after)
    elif not whole:
        sides = at_fixed_size(before), at_fixed_size(after)
    units = None if images is None else influences.joint_units(before, after, images)
    n = before.n_images if units is None else int(units.max()) + 1
    if images is not None and n < LEAST:  # one side may have made rows of different images equal
        n, resample = influences.told_apart(before, after, images), "queries"
    used, found = "", dict[str, Estimate]()
    if how.bootstrap and n >= LEAST:
        used, found = _estimates(keys, *sides, images, units, how, resample if whole else "queries")
    rows = {key: _row(*sides, key, found.get(key)) for key in keys}
    alike = [key for key, estimate in found.items() if not estimate.spread]
    return _Draft(before, after, sides, images, whole, n, primary, used, rows, alike)


def _judged(
    draft: _Draft,
    q: Mapping[str, float],
    how: Measuring,
    resample: str,
    others: Mapping[str, Comparison] | None = None,
) -> Comparison:
    """The comparison of a draft, its verdicts by these q."""
    before, after, images, whole = draft.before, draft.after, draft.images, draft.whole
    withheld = verdicts.withheld(draft.rows, before, after)
    rows = verdicts.judged(draft.rows, draft.primary, withheld=withheld, alike=draft.alike, q=q)
    groups, unlike = _groups(before, after, how, resample, draft.primary) if whole else ({}, [])
    paired = images is not None and draft.used != FOLDS
    return Comparison(
        rows,
        paired=paired,
        notes=[
            *notes.of_sets(before, after, images, whole=whole),
            *notes.of_settings(before, after),
            *notes.of_intervals(
                before, after, draft.n, how.bootstrap > 0, wanted=resample if whole else "", used=draft.used
            ),
            *notes.of_sizes(rows, before, after),
            *notes.of_rows(rows, *draft.sides, paired=paired),
            *notes.of_verdicts(rows, withheld, draft.alike),
            *notes.of_groups(groups),
            *unlike,
        ],
        before=_identity(before),
        after=_identity(after),
        n_images=len(images) if images is not None else max(before.n_images, after.n_images) if whole else 0,
        bootstrap=how.bootstrap,
        seed=how.seed,
        resample=draft.used,
        by=str(before.params.get("by") or ""),
        groups=groups,
        others=dict(others or {}),
        verdict=answered(rows, before, after, others),
        written={"created": utc_now()} if whole else {},
    )


def check_options(resample: str, primary: str | Sequence[str] | None) -> None:
    """Refuse what is no way to resample, and primary keys that no comparison has; ValueError says why."""
    if resample not in RESAMPLED:
        raise ValueError(f"{option('resample')} must be one of {', '.join(RESAMPLED)}, got {resample!r}")
    verdicts.primary_keys(primary)


def _estimates(
    keys: Sequence[str],
    before: Panel,
    after: Panel,
    images: Matched | None,
    units: NDArray[np.int64] | None,
    how: Measuring,
    resample: str,
) -> tuple[str, dict[str, Estimate]]:
    """What was resampled, and the estimate of each key that has one."""
    used, found = "", dict[str, Estimate]()
    if any(_unit(panel) == "fold" for panel in (before, after)):
        used = FOLDS
    elif images is not None and units is not None:
        used = resample if influences.known(before) and influences.known(after) else "queries"
        if used == "gallery":
            found = influences.estimates(before, after, images, units)
        else:
            found = draws.estimates(before, after, images, how)
        found = {key: estimate for key, estimate in found.items() if _may_have_an_interval(key)}
    for key in keys:
        one, other = (defined(side.values.get(key)) for side in (before, after))
        ends = before.ci.get(key), after.ci.get(key)
        if key in found or one is None or other is None or not _may_have_an_interval(key):
            continue
        if one == other and before.features_sha256 and before.features_sha256 == after.features_sha256:
            found[key] = Estimate((0.0, 0.0), 1.0)  # one and the same vectors: nothing can have changed
            continue
        if ends[0] is not None and ends[1] is not None:
            found[key] = by_normal(other - one, unpaired_interval(one, ends[0], other, ends[1]))
    return used, found


def _unit(panel: Panel) -> str:
    """What the intervals of a panel are over."""
    return str((panel.params.get("intervals") or {}).get("unit", "image"))


def _may_have_an_interval(key: str) -> bool:
    """Whether there is a method for it that holds: an older version wrote intervals of numbers that have none now."""
    return key not in KNOWN or KNOWN[key].interval != ""


def _check(before: Panel, after: Panel) -> None:
    if before.task != after.task:
        raise ValueError(f"before is a panel of {before.task}, after of {after.task}: they share no numbers")
    for name, panel in (("before", before), ("after", after)):
        if panel.sampled:
            raise ValueError(
                f"{name} is estimated from blocks of its set, and a comparison needs all of it: measure it without "
                f"{option('sample_blocks')}"
            )
    unknown = is_of_unknown_size(before) or is_of_unknown_size(after)
    if before.task == "classification" and before.n_texts != after.n_texts and not unknown:
        raise ValueError(f"{before.n_texts} classes before, {after.n_texts} after: accuracies cannot be compared")


def _images(before: Panel, after: Panel, *, intersect: bool) -> Matched | None:
    """The images of both; None where a panel has no items, which can be compared if the sizes are the same.

    With `intersect` they can, too, if both have numbers at a fixed size.
    """
    if all("image_id" in panel.items.get("image", {}) for panel in (before, after)):
        return matched_images(before, after, intersect=intersect)
    fixed = FIXED.intersection(*({key for key in side.values if side[key] is not None} for side in (before, after)))
    if not _same_size(before, after) and not (intersect and fixed):
        (n, m), (others, more) = ((panel.n_images, panel.n_texts) for panel in (before, after))
        raise ValueError(
            f"the two sets differ: {n} images with {m} texts before, {others} with {more} after; "
            "what they share only items can tell (r.items.parquet beside r.json)"
        )
    return None


def _same_size(before: Panel, after: Panel) -> bool:
    """Whether both have as many images and texts, as far as they say how many."""
    if is_of_unknown_size(before) or is_of_unknown_size(after):
        return True
    return (before.n_images, before.n_texts) == (after.n_images, after.n_texts)


def _keys(before: Panel, after: Panel) -> list[str]:
    """The keys of either, in the order of the table of metrics; of both where one is of another program."""
    order = {key: place for place, key in enumerate(KNOWN)}
    found = {**before.values, **after.values}
    if program(before) or program(after):
        found = {key: None for key in found if key in before.values and key in after.values}
        if not found:
            names = (some(list(side.values)) for side in (before, after))
            raise ValueError(f"they share no number: {next(names)} before, {next(names)} after")
    return sorted(found, key=lambda key: order.get(key, len(order)))


def _row(before: Panel, after: Panel, key: str, estimate: Estimate | None) -> Row:
    one, other = (defined(side.values.get(key)) for side in (before, after))
    if one is None or other is None:
        return Row(one, other)
    if estimate is None:
        return Row(one, other, other - one)
    return Row(one, other, other - one, estimate.ci, paired=estimate.paired, p=estimate.p)


def _groups(
    before: Panel, after: Panel, how: Measuring, resample: str, primary: Sequence[str]
) -> tuple[dict[str, Comparison], list[str]]:
    """The groups that both panels have, compared, and a line for each that cannot be."""
    compared, unlike = {}, []
    for name, group in before.groups.items():
        if name not in after.groups:
            continue
        there = [key for key in primary if key in group.values or key in after.groups[name].values]
        try:
            compared[name] = compare(
                group,
                after.groups[name],
                bootstrap=how.bootstrap,
                seed=how.seed,
                resample=resample,
                primary=there or None,
            )
        except ValueError as differ:
            unlike.append(f"group {name}: {differ}")
    alone = sorted(before.groups.keys() ^ after.groups.keys())
    return compared, unlike + ([f"groups of one side only: {some(alone)}"] if alone else [])


def _identity(panel: Panel) -> dict[str, Any]:
    """What a panel was measured of, for the record."""
    record = panel.to_dict()
    names = ("dataset", "split", "model", "pretrained", "precision", "task", "n_images", "n_texts", "dim")
    more = ("logit_scale", "logit_scale_source", "seed", "data_sha256", "features_sha256", "warnings")
    sides = {"sides": list(OF_TEXTS)} if is_of_texts(panel.made_from) else {}
    return {name: record[name] for name in (*names, *more)} | sides | ({"name": panel.name} if panel.name else {})
