"""project and project_pair: a set of embeddings, or two on common axes, drawn by any of the projections."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomclip.machine.errors import InputError
from geomclip.machine.progress import SILENT, Progress
from geomclip.machine.words import nearest, option
from geomclip.projections import PROJECTIONS, Projector
from geomclip.projections.maps import faithfulness
from geomclip.projections.maps.cloud import Drawable, PointSet, as_points, of_same_items
from geomclip.projections.maps.record import Map

# option: the largest value that n points allow
LARGEST: Mapping[str, Callable[[int], int]] = {
    "n_neighbors": lambda n: max(2, n - 1),
    "k": lambda n: max(1, n - 1),
    "perplexity": lambda n: max(1, (n - 1) // 3),
}


def project(
    embeddings: Drawable,
    method: str = "angles",
    *,
    n_components: int | None = None,
    captions: str = "all",
    random_state: int | None = 0,
    progress: Progress = SILENT,
    **options: Any,
) -> Map:
    """Images and texts of a set drawn together, with what the drawing keeps.

    Parameters
    ----------
    embeddings : EmbeddingSet or PointSet
        Pairs; or images only; or images and classes, whose names are then the texts. A `PointSet` of them where
        several maps are drawn, which then search neighbours once.
    method : str
        A name in `geomclip.projections.PROJECTIONS`: svd, pca, umap, umap-sphere, tsne, angles, dosnes,
        heat-geodesic.
    n_components : int, optional
        2, a plane, or 3, a space, where the method has both; of a sphere it cannot be chosen.
    captions : str
        "all", or "first": one text an image.
    random_state : int, optional
        Same seed, same machine: same map.
    progress : Progress, optional
        Takes how far each stage is.
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
    >>> from geomclip import EmbeddingSet
    >>> drawn = project(EmbeddingSet(torch.eye(6), torch.eye(6).roll(1, 0)), "svd")
    >>> drawn
    Map(svd of 6 images and 6 texts, plane)
    """
    points = as_points(embeddings, captions)
    plan = _Plan.of(method, len(points.rows), n_components, random_state, options)
    progress.stage(f"drawing by {method}", 0, 1)
    drawn = plan.drawn(points)
    progress.stage(f"drawing by {method}", 1, 1)
    return _map(points, plan, drawn, progress)


def project_pair(
    before: Drawable,
    after: Drawable,
    method: str = "angles",
    *,
    n_components: int | None = None,
    captions: str = "all",
    random_state: int | None = 0,
    intersect: bool = False,
    progress: Progress = SILENT,
    **options: Any,
) -> tuple[Map, Map]:
    """The same images and texts before and after, on common axes.

    How is the `pairing` of the method's row in PROJECTIONS: svd and pca are fitted to both sets together; umap draws
    both with its AlignedUMAP; the others draw each by itself (angles, dosnes and tsne start the second from the
    first), and
    the second is turned on the first by the orthogonal Procrustes rotation, on planes about the means, without
    scaling.

    Parameters
    ----------
    before, after : EmbeddingSet or PointSet
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
    both, cut = of_same_items(before, after, captions, intersect)
    plan = _Plan.of(method, len(both[0].rows), n_components, random_state, options)
    stage = f"drawing by {method}"
    progress.stage(stage, 0, 2)
    drawn, how = _on_common_axes(plan, *both, lambda: progress.stage(stage, 1, 2))
    progress.stage(stage, 2, 2)
    notes = [*([cut] if cut else []), how]
    first, second = (_map(points, plan, at, progress, notes) for points, at in zip(both, drawn, strict=True))
    return first, second


@dataclass(frozen=True)
class _Plan:
    """An estimator about to be made: of which method, with what, and notes on that."""

    name: str
    projector: Projector
    params: Mapping[str, Any]
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls, name: str, n: int, n_components: int | None, random_state: int | None, options: Mapping[str, Any]
    ) -> _Plan:
        if name not in PROJECTIONS:
            near = nearest(name, list(PROJECTIONS)) or f"; there are {', '.join(PROJECTIONS)}"
            raise InputError(f"no method {name!r}{near}")
        projector = PROJECTIONS[name]
        refuse_too_many(name, n)
        known = inspect.signature(projector.estimator().__init__).parameters
        chosen = {key: value for key, value in options.items() if value is not None}
        own = dict(projector.options)
        for key in chosen:
            if key not in known or key in own:
                there = [each for each in known if each not in {"self", *own}]
                raise InputError(f"{name} has no option {key!r}{nearest(key, there)}; it has {', '.join(there)}")
        if n_components is not None:
            allowed = projector.dimensions
            if n_components not in allowed:
                raise InputError(f"{name} draws in {' or '.join(map(str, allowed))} dimensions, not {n_components}")
            if projector.kind != "sphere":
                chosen["n_components"] = n_components
        lowered = {}
        for key, largest in LARGEST.items():
            most = largest(n)
            default = known[key].default if key in known else None
            if key not in chosen and default is not None and default > most:
                lowered[key] = most
        notes = tuple(f"{key} is {value}, the most that {n} points allow" for key, value in lowered.items())
        return cls(name, projector, {**own, **chosen, **lowered, "random_state": random_state}, notes)

    def estimator(self, **more: Any) -> Any:
        """A fresh one."""
        return self.projector.estimator()(**{**self.params, **more})

    def drawn(self, points: PointSet, **more: Any) -> Tensor:
        """The points (n + m, k) as a fresh estimator draws them."""
        clouds = points.clouds if self.projector.clouds else {}
        return torch.as_tensor(self.estimator(**more).fit_transform(points.rows, neighbors=points.neighbors, **clouds))


def refuse_too_many(name: str, n: int) -> None:
    """Refuse, before starting, more points than a method is made for.

    Raises
    ------
    InputError
        With the estimated cost and what to use instead.
    """
    projector = PROJECTIONS[name]
    if projector.up_to is None or n <= projector.up_to:
        return
    instead = [each for each, other in PROJECTIONS.items() if other.up_to is None or other.up_to >= n]
    raise InputError(
        f"{name} of {n:,} points would take about {projector.minutes(n):,.0f} minutes and is started with up to "
        f"{projector.up_to:,}: use {', '.join(instead)}, or fewer images ({option('limit')}) or texts "
        f"({option('captions', 'first')})"
    )


def _on_common_axes(
    plan: _Plan, one: PointSet, other: PointSet, between: Callable[[], None]
) -> tuple[tuple[Any, Any], str]:
    """Both sets drawn as the method's pairing says, and a line on how their axes were made common."""
    before, after, pairing = one.rows, other.rows, plan.projector.pairing
    if pairing == "together":
        if before.shape[1] != after.shape[1]:
            raise ValueError(
                f"{plan.name} draws two sets of one dimension together, got {before.shape[1]} and {after.shape[1]}: "
                "umap, tsne, angles and dosnes align sets of different dimensions"
            )
        fitted = plan.estimator().fit(torch.cat([before, after.to(before.dtype)]))
        return (fitted.transform(before), fitted.transform(after)), "axes: fitted to both sets together"
    if pairing == "aligned":
        return plan.estimator().aligned(before.numpy(), after.numpy()), "axes: both sets by AlignedUMAP"
    first = plan.drawn(one).numpy()
    between()
    more = {"init": first} if pairing == "started" else {}
    second = plan.drawn(other, **more).numpy()
    turned = turned_on(second, first, about_means=plan.projector.kind != "sphere")
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


def _map(points: PointSet, plan: _Plan, drawn: Any, progress: Progress, notes: Sequence[str] = ()) -> Map:
    """The record of drawn points (n + m, k), with what they keep."""
    at = torch.as_tensor(drawn)
    sphere = plan.projector.kind == "sphere"
    kind = plan.projector.kind if at.shape[1] == 2 or sphere else "space"
    progress.stage("measuring the map", 0, 1)
    keeps, k, sampled = _kept(points, at, sphere=sphere)
    progress.stage("measuring the map", 1, 1)
    return Map.of_set(
        at.float().numpy(),
        points.set,
        kind=kind,
        method=plan.name,
        params={key: _plain(value) for key, value in plan.params.items()},
        keeps=keeps,
        notes=[*plan.notes, *notes, *sampled],
        k=k,
        dim=points.rows.shape[1],
    )


def _plain(value: Any) -> Any:
    """An option as JSON has it: of an array only that there was one."""
    return value if isinstance(value, int | float | str | None) else "given"


def _kept(points: PointSet, at: Tensor, *, sphere: bool) -> tuple[dict[str, float | None], int, list[str]]:
    """What the drawing `at` (n + m, k) keeps, the neighbours looked at, and notes on samples."""
    n, sampled = len(at), []
    keeps: dict[str, float | None] = {}
    k = faithfulness.neighbors_for(n)
    if k:
        queries = None
        if n > faithfulness.ALL_QUERIES_UP_TO:
            generator = torch.Generator().manual_seed(0)
            queries = torch.randperm(n, generator=generator)[: faithfulness.QUERIES]
            sampled.append(f"trustworthiness and continuity: of {len(queries):,} points, drawn by lot, among all")
        kept = faithfulness.near_kept(points.rows, at, k=k, sphere=sphere, queries=queries)
        keeps["trustworthiness"], keeps["continuity"] = kept
        correlations = points.distances.kept(at, sphere=sphere)
        keeps["distance_pearson"], keeps["distance_spearman"] = correlations
        if n > faithfulness.ALL_PAIRS_UP_TO:
            sampled.append(f"correlation of distances: over {len(points.distances.full):,} pairs, drawn by lot")
    images = n - (0 if points.text is None else len(points.text))
    halves = {"image": slice(0, images), "text": slice(images, n)}
    for name, rows in halves.items():
        keeps |= faithfulness.widths(name, points.rows, at, rows, sphere=sphere)
    if points.text is not None:
        keeps |= faithfulness.gaps((points.rows[:images], points.text), (at[:images], at[images:]), sphere=sphere)
    return keeps, k, sampled
