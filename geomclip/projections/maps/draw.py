"""project and project_pair: a set of embeddings, or two on common axes, drawn by any of the projections."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomclip.embeddings.matching import cut
from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.errors import InputError
from geomclip.machine.words import nearest
from geomclip.projections import PROJECTIONS, Method
from geomclip.projections.maps import faithfulness
from geomclip.projections.maps.cloud import Cloud, as_cloud
from geomclip.projections.maps.record import Map

Stage = Callable[[str, int, int], None]

# option: the largest value that n points allow
LARGEST: Mapping[str, Callable[[int], int]] = {
    "n_neighbors": lambda n: max(2, n - 1),
    "k": lambda n: max(1, n - 1),
    "perplexity": lambda n: max(1, (n - 1) // 3),
}
STARTED = ("dosnes", "tsne")
"""Methods whose second map starts from the first."""


def project(
    embeddings: EmbeddingSet | Cloud,
    method: str = "dosnes",
    *,
    n_components: int | None = None,
    captions: str = "all",
    random_state: int | None = 0,
    progress: Stage | None = None,
    **options: Any,
) -> Map:
    """Images and texts of a set drawn together, with what the drawing keeps.

    Parameters
    ----------
    embeddings : EmbeddingSet or Cloud
        Pairs; or images only; or images and classes, whose names are then the texts. A `Cloud` of them where
        several maps are drawn, which then search neighbours once.
    method : str
        A name in `geomclip.projections.PROJECTIONS`: svd, pca, umap, umap-sphere, tsne, dosnes, heat-geodesic.
    n_components : int, optional
        2, a plane, or 3, a space, where the method has both; of a sphere it cannot be chosen.
    captions : str
        "all", or "first": one text an image.
    random_state : int, optional
        Same seed, same machine: same map.
    progress : callable, optional
        Called with (stage, done, of).
    **options
        Of the estimator. Left out, those that must not exceed the number of points are lowered to it, and
        the notes say so.

    Returns
    -------
    Map

    Raises
    ------
    InputError
        If the method or an option is unknown, or the set is larger than the method is started with: says the cost
        and what to use instead.
    ValueError
        If there are too few points, all are equal, or an option does not fit.
    NotAvailableError
        If a package is missing.

    Examples
    --------
    >>> drawn = project(EmbeddingSet(torch.eye(6), torch.eye(6).roll(1, 0)), "svd")
    >>> drawn
    Map(svd of 6 images and 6 texts, plane)
    """
    cloud = as_cloud(embeddings, captions)
    plan = _Plan.of(method, len(cloud.rows), n_components, random_state, options)
    say = progress or _silent
    say(f"drawing by {method}", 0, 1)
    drawn = plan.estimator().fit_transform(cloud.rows, neighbors=cloud.neighbors)
    say(f"drawing by {method}", 1, 1)
    return _map(cloud, plan, drawn, say)


def project_pair(
    before: EmbeddingSet | Cloud,
    after: EmbeddingSet | Cloud,
    method: str = "dosnes",
    *,
    n_components: int | None = None,
    captions: str = "all",
    random_state: int | None = 0,
    intersect: bool = False,
    progress: Stage | None = None,
    **options: Any,
) -> tuple[Map, Map]:
    """The same images and texts before and after, on common axes.

    svd and pca are fitted to both sets together; umap draws both with its AlignedUMAP; the others draw each by
    itself (dosnes and tsne start the second from the first), and the second is turned on the first by the
    orthogonal Procrustes rotation, on planes about the means, without scaling.

    Parameters
    ----------
    before, after : EmbeddingSet or Cloud
        Of the same items, in any order; dimensions may differ, but not for svd and pca.
    intersect : bool
        Draw what both have where the sets differ; else they are refused.
    method, n_components, captions, random_state, progress, **options
        As in `project`.

    Returns
    -------
    tuple of two Maps

    Raises
    ------
    InputError, ValueError, NotAvailableError
        As `project`; ValueError also if the sets are not of the same items.
    """
    clouds, told = _of_same_items(before, after, captions, intersect)
    plan = _Plan.of(method, len(clouds[0].rows), n_components, random_state, options)
    say = progress or _silent
    say(f"drawing by {method}", 0, 2)
    drawn, how = _on_common_axes(plan, *clouds, lambda: say(f"drawing by {method}", 1, 2))
    say(f"drawing by {method}", 2, 2)
    notes = [*([told] if told else []), how]
    first, second = (_map(cloud, plan, points, say, notes) for cloud, points in zip(clouds, drawn, strict=True))
    return first, second


@dataclass(frozen=True)
class _Plan:
    """An estimator about to be made: of which method, with what, and what is to be said of that."""

    name: str
    method: Method
    params: Mapping[str, Any]
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls, name: str, n: int, n_components: int | None, random_state: int | None, options: Mapping[str, Any]
    ) -> _Plan:
        if name not in PROJECTIONS:
            near = nearest(name, list(PROJECTIONS)) or f"; there are {', '.join(PROJECTIONS)}"
            raise InputError(f"no method {name!r}{near}")
        method = PROJECTIONS[name]
        refuse_too_many(name, n)
        known = inspect.signature(method.estimator().__init__).parameters
        given = {key: value for key, value in options.items() if value is not None}
        for option in given:
            if option not in known or option in dict(method.options):
                there = [key for key in known if key not in {"self", *dict(method.options)}]
                raise InputError(f"{name} has no option {option!r}{nearest(option, there)}; it has {', '.join(there)}")
        if n_components is not None:
            allowed = (3,) if method.kind == "sphere" else (2,) if name == "tsne" else (2, 3)
            if n_components not in allowed:
                raise InputError(f"{name} draws in {' or '.join(map(str, allowed))} dimensions, not {n_components}")
            if method.kind != "sphere":
                given["n_components"] = n_components
        lowered = {}
        for option, largest in LARGEST.items():
            most = largest(n)
            default = known[option].default if option in known else None
            if option not in given and default is not None and default > most:
                lowered[option] = most
        notes = tuple(f"{option} is {value}, the most that {n} points allow" for option, value in lowered.items())
        return cls(name, method, {**dict(method.options), **given, **lowered, "random_state": random_state}, notes)

    def estimator(self, **more: Any) -> Any:
        """A fresh one."""
        return self.method.estimator()(**{**self.params, **more})


def refuse_too_many(name: str, n: int) -> None:
    """Refuse, before starting, more points than a method is made for.

    Raises
    ------
    InputError
        With the estimated cost and what to use instead.
    """
    method = PROJECTIONS[name]
    if method.up_to is None or n <= method.up_to:
        return
    instead = [each for each, other in PROJECTIONS.items() if other.up_to is None or other.up_to >= n]
    raise InputError(
        f"{name} of {n:,} points would take about {method.minutes(n):,.0f} minutes and is started with up to "
        f"{method.up_to:,}: use {', '.join(instead)}, or fewer images (--limit) or texts (--captions first)"
    )


def _of_same_items(
    before: EmbeddingSet | Cloud, after: EmbeddingSet | Cloud, captions: str, intersect: bool
) -> tuple[tuple[Cloud, Cloud], str]:
    """The clouds of two sets, cut to what both have where that is asked for, and a line on what was cut."""
    given = [each if isinstance(each, EmbeddingSet) else as_cloud(each, captions).set for each in (before, after)]
    first, second, told = cut(*given, intersect=intersect)

    def cloud(given: EmbeddingSet | Cloud, found: EmbeddingSet) -> Cloud:
        made = Cloud.of(found, captions)
        # what a cloud knows already is of its points in their order
        return given if isinstance(given, Cloud) and torch.equal(given.rows, made.rows) else made

    return (cloud(before, first), cloud(after, second)), told


def _on_common_axes(plan: _Plan, one: Cloud, other: Cloud, between: Callable[[], None]) -> tuple[tuple[Any, Any], str]:
    """Both clouds drawn, and a line on how their axes were made common."""
    before, after = one.rows, other.rows
    if plan.name in ("svd", "pca"):
        if before.shape[1] != after.shape[1]:
            raise ValueError(
                f"{plan.name} draws two sets of one dimension together, got {before.shape[1]} and {after.shape[1]}: "
                "umap, tsne and dosnes align sets of different dimensions"
            )
        fitted = plan.estimator().fit(torch.cat([before, after.to(before.dtype)]))
        return (fitted.transform(before), fitted.transform(after)), "axes: fitted to both sets together"
    if plan.name == "umap":
        from geomclip.projections.umap import aligned

        return aligned(plan.estimator(), before.numpy(), after.numpy()), "axes: both sets by AlignedUMAP"
    first = plan.estimator().fit_transform(before, neighbors=one.neighbors).numpy()
    between()
    more = {"init": first} if plan.name in STARTED else {}
    second = plan.estimator(**more).fit_transform(after, neighbors=other.neighbors).numpy()
    turned = turned_on(second, first, about_means=plan.method.kind != "sphere")
    start = "started from the first and " if more else ""
    return (first, turned), f"axes: the second is {start}turned on the first"


def turned_on(points: NDArray[Any], onto: NDArray[Any], *, about_means: bool) -> NDArray[Any]:
    """Points (n, k) under the rotation or reflection that brings them nearest to `onto` (n, k), not scaled.

    Parameters
    ----------
    about_means : bool
        The means are put on each other, and turned about; else the origin, as on a sphere.

    References
    ----------
    Schönemann (1966), "A generalized solution of the orthogonal Procrustes problem", Psychometrika 31.

    Examples
    --------
    >>> square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 2]])
    >>> quarter = square @ np.array([[0.0, 1], [-1, 0]]) + 5
    >>> turned_on(quarter, square, about_means=True).round(6).tolist() == square.tolist()
    True
    """
    x, y = points.astype(np.float64), onto.astype(np.float64)
    here, there = (x.mean(axis=0), y.mean(axis=0)) if about_means else (0.0, 0.0)
    u, _, v = np.linalg.svd((x - here).T @ (y - there))
    return np.asarray(((x - here) @ (u @ v) + there).astype(points.dtype))


def _map(cloud: Cloud, plan: _Plan, drawn: Any, say: Stage, notes: list[str] | None = None) -> Map:
    """The record of drawn points (n + m, k), with what they keep."""
    points = torch.as_tensor(drawn)
    embeddings, n = cloud.set, len(cloud.set.image)
    kind = plan.method.kind if points.shape[1] == 2 or plan.method.kind == "sphere" else "space"
    keeps, k, sampled = _kept(cloud, points, kind, say)
    told = {
        key: value if isinstance(value, int | float | str | None) else "given" for key, value in plan.params.items()
    }
    of_pairs = embeddings.text is not None
    return Map(
        image=points[:n].float().numpy(),
        text=None if cloud.text is None else points[n:].float().numpy(),
        image_of_text=None if embeddings.image_of_text is None else embeddings.image_of_text.numpy(),
        kind=kind,
        method=plan.name,
        params=told,
        made_from=embeddings.made_from,
        keeps=keeps,
        notes=[*plan.notes, *(notes or []), *sampled],
        k=k,
        dim=embeddings.image.shape[1],
        image_id=embeddings.image_id,
        text_id=embeddings.caption_id if of_pairs else embeddings.classes or (),
        caption=embeddings.caption if of_pairs else embeddings.classes,
    )


def _kept(cloud: Cloud, points: Tensor, kind: str, say: Stage) -> tuple[dict[str, float | None], int, list[str]]:
    """What the drawing keeps, the neighbours looked at, and notes on samples."""
    n, sphere, sampled = len(points), kind == "sphere", []
    keeps: dict[str, float | None] = {}
    k = faithfulness.neighbors_for(n)
    say("measuring the map", 0, 1)
    if k:
        queries = None
        if n > faithfulness.ALL_QUERIES_UP_TO:
            generator = torch.Generator().manual_seed(0)
            queries = torch.randperm(n, generator=generator)[: faithfulness.QUERIES]
            sampled.append(f"trustworthiness and continuity: of {len(queries):,} points, drawn by lot, among all")
        kept = faithfulness.near_kept(cloud.rows, points, k=k, sphere=sphere, queries=queries)
        keeps["trustworthiness"], keeps["continuity"] = kept
        correlations = cloud.distances.kept(points, sphere=sphere)
        keeps["distance_pearson"], keeps["distance_spearman"] = correlations
        if n > faithfulness.ALL_PAIRS_UP_TO:
            sampled.append(f"correlation of distances: over {len(cloud.distances.full):,} pairs, drawn by lot")
    if cloud.text is not None:
        images = len(cloud.set.image)
        keeps |= faithfulness.gaps((cloud.set.image, cloud.text), (points[:images], points[images:]), sphere=sphere)
    say("measuring the map", 1, 1)
    return keeps, k, sampled


def _silent(stage: str, done: int, of: int) -> None:
    """No progress is asked for."""
