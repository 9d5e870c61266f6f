"""compare: the differences of two panels of the same images, with intervals and verdicts."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from geomclip.embeddings.matching import Matched
from geomclip.metrics import METRICS
from geomclip.panels import intervals
from geomclip.panels.comparison import notes
from geomclip.panels.comparison.draws import defined, differences, of_images, unpaired_interval
from geomclip.panels.comparison.matching import matched_images
from geomclip.panels.comparison.record import Comparison, Row
from geomclip.panels.intervals import Interval
from geomclip.panels.options import Measuring
from geomclip.panels.record import Panel


def compare(
    before: Panel,
    after: Panel,
    *,
    bootstrap: int = Measuring.bootstrap,
    seed: int = Measuring.seed,
    intersect: bool = False,
) -> Comparison:
    """The differences after - before of two panels of the same images, with 95 % intervals and verdicts.

    Numbers that are sums over images, and medians, are resampled in pairs: the same images drawn for both.
    Those whose interval comes from halves, or from rows that a panel does not keep, use the values that both
    panels kept, if both drew the same. What is left has an unpaired interval, from the two intervals.

    Parameters
    ----------
    before, after : Panel
        Of the same images and texts (by `image_id` and `caption_id`), in any order. Panels without items are
        compared unpaired.
    bootstrap : int
        Resamples of images; 0 for no intervals.
    seed : int
        Of the resamples.
    intersect : bool
        Compare the images that both have, with what each adds as it was computed among all candidates.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If one panel is of pairs and the other of classes, or the sets differ without `intersect`.

    Examples
    --------
    >>> print(compare(Panel({"alignment": 1.0}), Panel({"alignment": 0.8}))["alignment"].verdict)
    unclear
    """
    how = Measuring(bootstrap=bootstrap, seed=seed)
    _check(before, after)
    images = _images(before, after, intersect=intersect)
    whole = images is None or len(images) == before.n_images == after.n_images
    sides = before, after
    if images is not None and not whole:
        sides = of_images(before, images.before), of_images(after, images.after)
    drawn: dict[str, Tensor] = {}
    halves: dict[str, Tensor] = {}
    if images is not None and bootstrap:
        drawn, halves = differences(*sides, images, how)
    rows = {}
    for key in _keys(before, after):
        paired = _paired(key, *sides, drawn.get(key), halves.get(key))
        rows[key] = _row(key, *sides, paired, intervals_too=bootstrap > 0)
    groups, unlike = _groups(before, after, how) if whole else ({}, [])
    return Comparison(
        rows,
        paired=images is not None,
        notes=[
            *notes.of_sets(before, after, images, whole=whole),
            *notes.of_settings(before, after),
            *notes.of_rows(rows, *sides, paired=images is not None),
            *unlike,
        ],
        before=_identity(before),
        after=_identity(after),
        n_images=before.n_images if images is None else len(images),
        bootstrap=bootstrap,
        seed=seed,
        by=str(before.params.get("by") or ""),
        groups=groups,
    )


def verdict(difference: float, ci: Interval | None, better: str) -> str:
    """'same', 'better', 'worse', 'unclear', or '' where no direction is better.

    Examples
    --------
    >>> verdict(-0.1, (-0.2, -0.05), "lower"), verdict(0.1, (-0.1, 0.3), "higher"), verdict(0.1, (0.05, 0.2), "")
    ('better', 'unclear', '')
    >>> verdict(0.0, (0.0, 0.0), "")
    'same'
    """
    if difference == 0 and ci in (None, (0.0, 0.0)):
        return "same"
    if not better:
        return ""
    if ci is None or ci[0] <= 0 <= ci[1]:
        return "unclear"
    return "better" if (ci[0] > 0) == (better == "higher") else "worse"


def _check(before: Panel, after: Panel) -> None:
    if before.task != after.task:
        raise ValueError(f"before is a panel of {before.task}, after of {after.task}: they share no numbers")
    if before.task == "classification" and before.n_texts != after.n_texts:
        raise ValueError(f"{before.n_texts} classes before, {after.n_texts} after: accuracies cannot be compared")


def _images(before: Panel, after: Panel, *, intersect: bool) -> Matched | None:
    """The images of both; None where a panel has no items, which can be compared if the sizes are the same."""
    if all("image_id" in panel.items.get("image", {}) for panel in (before, after)):
        return matched_images(before, after, intersect=intersect)
    sizes = [(panel.n_images, panel.n_texts) for panel in (before, after)]
    if sizes[0] != sizes[1]:
        (n, m), (others, more) = sizes
        raise ValueError(
            f"the two sets differ: {n} images with {m} texts before, {others} with {more} after; "
            "what they share only items can tell (r.items.parquet beside r.json)"
        )
    return None


def _keys(before: Panel, after: Panel) -> list[str]:
    """The keys of either, in the order of the table of metrics."""
    order = {key: place for place, key in enumerate(METRICS)}
    return sorted({**before.values, **after.values}, key=lambda key: order.get(key, len(order)))


def _paired(key: str, before: Panel, after: Panel, drawn: Tensor | None, halves: Tensor | None) -> Interval | None:
    """The interval of a difference from its draws, made as that of the number itself is; None without draws."""
    values = [defined(side.values.get(key)) for side in (before, after)]
    if values[0] is None or values[1] is None:
        return None
    if drawn is not None and key in METRICS and METRICS[key].interval == "basic":
        return intervals.basic_interval(values[1] - values[0], drawn)
    if drawn is not None:
        return intervals.percentile_interval(drawn)
    return None if halves is None else intervals.half_interval(values[1] - values[0], halves)


def _row(key: str, before: Panel, after: Panel, paired: Interval | None, *, intervals_too: bool) -> Row:
    one, other = (defined(side.values.get(key)) for side in (before, after))
    if one is None or other is None:
        return Row(one, other)
    ci = paired
    ends = before.ci.get(key), after.ci.get(key)
    if ci is None and intervals_too and ends[0] is not None and ends[1] is not None:
        ci = unpaired_interval(one, ends[0], other, ends[1])
    better = METRICS[key].better if key in METRICS else ""
    return Row(one, other, other - one, ci, verdict(other - one, ci, better), paired is not None)


def _groups(before: Panel, after: Panel, how: Measuring) -> tuple[dict[str, Comparison], list[str]]:
    """The groups that both panels have, compared, and a line for each that cannot be."""
    compared, unlike = {}, []
    for name, group in before.groups.items():
        if name not in after.groups:
            continue
        try:
            compared[name] = compare(group, after.groups[name], bootstrap=how.bootstrap, seed=how.seed)
        except ValueError as differ:
            unlike.append(f"group {name}: {differ}")
    alone = sorted(before.groups.keys() ^ after.groups.keys())
    return compared, unlike + ([f"groups of one side only: {notes.some(alone)}"] if alone else [])


def _identity(panel: Panel) -> dict[str, Any]:
    """What a panel was measured of, for the record."""
    record = panel.to_dict()
    names = ("dataset", "split", "model", "pretrained", "precision", "task", "n_images", "n_texts", "dim")
    more = ("logit_scale", "logit_scale_source", "seed", "data_sha256", "features_sha256", "warnings")
    return {name: record[name] for name in (*names, *more)}
