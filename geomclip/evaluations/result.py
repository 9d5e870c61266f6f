"""Results of tasks as panels: means over images, and over draws, with intervals that a comparison can pair."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.clock import utc_now
from geomclip.machine.threads import free_threads
from geomclip.machine.version import __version__
from geomclip.metrics.evaluated import KNOWN
from geomclip.panels.comparison.influences import PREFIX
from geomclip.panels.intervals import (
    LEAST,
    LEVEL,
    Interval,
    Units,
    plain_interval,
    share_interval,
    variance_of_mean,
    within_range,
)
from geomclip.panels.record import Panel


def panel_of(
    task: str,
    embeddings: EmbeddingSet,
    values: Mapping[str, float | None],
    *,
    means: Mapping[str, Tensor] | None = None,
    influences: Mapping[str, Tensor] | None = None,
    draws: Mapping[str, Tensor] | None = None,
    params: Mapping[str, Any] | None = None,
    bootstrap: int = 1,
    seed: int = 0,
    **more: Any,
) -> Panel:
    """The panel of a task: numbers, intervals, and of each image how far it moves each number.

    Parameters
    ----------
    task : str
    embeddings : EmbeddingSet
        Of the images that the numbers are of.
    values : mapping of key to float
        Numbers without an interval, or whose `influences` are given; None is undefined (say why in `notes`).
    means : mapping of key to array of shape (n,) or (draws, n)
        What is averaged over images (and draws): the value, its interval and the influences come from it. Images
        that are in no mean of a draw are NaN there.
    influences : mapping of key to array of shape (n,)
        What each image moves a value by, so that the squares add up to its variance.
    draws : mapping of key to array of shape (draws,)
        The value in each draw, of numbers that are no means.
    params : mapping
        The options of the task, for the record.
    bootstrap : int
        0 for no intervals.
    **more
        Other fields of the panel: notes, warnings, curves, items, groups, no_interval, reliability.

    Returns
    -------
    Panel
        An interval is over images and, where there are some, over draws: both variances are added.
    """
    found, moved, drawn = dict(values), dict(influences or {}), dict(draws or {})
    n = len(embeddings.image)
    units = Units.of(n)
    for key, each in (means or {}).items():
        known = each.double() if each.ndim == 2 else each.double()[None]
        if known.shape[1] != n:
            raise ValueError(f"{key}: {known.shape[1]} images for {n}")
        found[key] = float(known.nanmean())
        by_image = known.nanmean(dim=0)
        there = by_image.isfinite()
        centred = torch.where(there, by_image - by_image[there].mean(), 0.0)
        count = int(there.sum())
        moved[key] = centred / count * (count / max(count - 1, 1)) ** 0.5
        if len(known) > 1:
            drawn[key] = known.nanmean(dim=1)
    ci: dict[str, Interval] = {}
    without = dict(more.pop("no_interval", {}))
    for key, value in found.items():
        if value is None:
            continue
        reason = "not asked for" if not bootstrap else "" if key in moved and n >= LEAST else _why(key, n, moved)
        if reason:
            without.setdefault(key, reason)
        else:
            ci[key] = _interval(key, value, units, moved[key], drawn.get(key))
    items = dict(more.pop("items", {}))
    columns = {PREFIX + key: each.tolist() for key, each in moved.items() if bootstrap}
    items["image"] = {"image_id": list(embeddings.image_id), **items.get("image", {}), **columns}
    classes = embeddings.class_text
    texts = 0 if embeddings.text is None else len(embeddings.text)
    order = {key: place for place, key in enumerate(KNOWN)}
    return Panel(
        values=dict(sorted(found.items(), key=lambda item: order.get(item[0], len(order)))),
        ci=ci,
        no_interval={} if not bootstrap else without,
        items=items,
        draws={key: each.tolist() for key, each in drawn.items()},
        params={**(params or {}), **({"intervals": {"level": LEVEL, "unit": "image"}} if bootstrap else {})},
        made_from=dict(embeddings.made_from),
        env={
            "geomclip": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "threads": free_threads(),
        },
        written={"created": utc_now()},
        n_images=n,
        n_texts=texts if classes is None else len(classes),
        dim=embeddings.image.shape[1],
        logit_scale=float(embeddings.logit_scale),
        logit_scale_source=embeddings.logit_scale_source,
        task=task,
        seed=seed,
        features_sha256=embeddings.features_sha256(),
        **more,
    )


def beside(panel: Panel, more: Panel, **changes: Any) -> Panel:
    """A panel with the numbers of another of the same images, and fields changed."""
    order = {key: place for place, key in enumerate(KNOWN)}
    values = sorted({**panel.values, **more.values}.items(), key=lambda item: order.get(item[0], len(order)))
    items = {name: {**panel.items.get(name, {}), **columns} for name, columns in {**panel.items, **more.items}.items()}
    merged = {name: {**getattr(panel, name), **getattr(more, name)} for name in ("ci", "no_interval", "notes", "draws")}
    return panel.replace(
        values=dict(values),
        items=items,
        params={**panel.params, **more.params},
        warnings=[*panel.warnings, *more.warnings],
        **merged | changes,
    )


def _why(key: str, n: int, moved: Mapping[str, Tensor]) -> str:
    if key in moved:
        return f"fewer than {LEAST} images ({n})"
    metric = KNOWN.get(key)
    return (metric.why if metric is not None else "") or "no method for it"


def _interval(key: str, value: float, units: Units, influence: Tensor, drawn: Tensor | None) -> Interval:
    of_draws = 0.0 if drawn is None else variance_of_mean(drawn.tolist())
    error = (units.standard_error(influence) ** 2 + of_draws) ** 0.5
    metric = KNOWN.get(key)
    if metric is not None and metric.interval == "share":
        return share_interval(value, error, units.count, units)
    low, high = plain_interval(value, error, units)
    return (low, high) if metric is None else within_range(low, high, metric.low, metric.high)
