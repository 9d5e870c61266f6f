"""PointSet: all points of a set in one array, and what every map of them needs to know of the full dimension."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor

from geomclip.embeddings.matching import cut
from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.errors import InputError
from geomclip.projections.maps.faithfulness import Distances
from geomclip.projections.neighbors import NeighborSearch


@dataclass(frozen=True, eq=False)
class PointSet:
    """Images and texts of a set as the points of a map.

    Handed to `project` in place of the set, for map after map, what these have in common is found once: the graph of
    neighbours in full dimension, and the distances between pairs of points that a map is judged by. Both are kept
    as long as this object.

    Attributes
    ----------
    set : EmbeddingSet
        With the texts that are drawn.
    rows : Tensor of shape (n + m, d)
        Images first.
    text : Tensor of shape (m, d), or None
        Texts, or the classes.

    Examples
    --------
    >>> points = PointSet.of(EmbeddingSet(torch.eye(6), torch.eye(6).roll(1, 0)))
    >>> len(points.rows), points.neighbors.nearest(1)[0].max().item()
    (12, 0.0)
    """

    set: EmbeddingSet
    rows: Tensor
    text: Tensor | None

    @classmethod
    def of(cls, embeddings: EmbeddingSet, captions: str = "all") -> PointSet:
        """Of a set with "all" its texts, or the "first" of each image."""
        if captions not in ("all", "first"):
            raise InputError(f"captions must be all or first, got {captions!r}")
        chosen = embeddings.first_texts() if captions == "first" else embeddings
        text = chosen.text if chosen.text is not None else chosen.class_text
        return cls(chosen, chosen.image if text is None else torch.cat([chosen.image, text]), text)

    @property
    def made_from(self) -> Mapping[str, Any]:
        """Of the set."""
        return self.set.made_from

    @property
    def clouds(self) -> dict[str, Tensor]:
        """For estimators that take clouds: of each point which it is of, and what it counts there.

        The texts of an image count as much as one, however many it has.
        """
        n, m = len(self.set.image), len(self.rows) - len(self.set.image)
        weight = torch.ones(n + m, dtype=torch.float64)
        if self.set.image_of_text is not None and self.set.text is not None:
            own = self.set.image_of_text
            weight[n:] = 1 / own.bincount(minlength=n)[own].double()
        return {"groups": torch.arange(n + m) >= n, "sample_weight": weight}

    @cached_property
    def neighbors(self) -> NeighborSearch:
        """Of all points, searched when a method needs them."""
        return NeighborSearch(self.rows)

    @cached_property
    def distances(self) -> Distances:
        """Angles between pairs of points."""
        return Distances.of(self.rows)


Drawable: TypeAlias = EmbeddingSet | PointSet
"""What a map can be drawn of."""


def as_points(source: Drawable, captions: str) -> PointSet:
    """The points of a set; or those at hand, for which the choice of captions is made."""
    if not isinstance(source, PointSet):
        return PointSet.of(source, captions)
    if captions != "all":
        raise InputError(f"captions={captions!r} is of a set: PointSet.of(set, {captions!r}) makes that choice")
    return source


def of_same_items(
    before: Drawable, after: Drawable, captions: str, intersect: bool
) -> tuple[tuple[PointSet, PointSet], str]:
    """The points of both, of the same items in one order, cut to what both have if so wanted; a line on that."""
    sets = [each if isinstance(each, EmbeddingSet) else as_points(each, captions).set for each in (before, after)]
    first, second, note = cut(*sets, intersect=intersect)

    def points(source: Drawable, found: EmbeddingSet) -> PointSet:
        made = PointSet.of(found, captions)
        # what is known already is of points in their order
        return source if isinstance(source, PointSet) and torch.equal(source.rows, made.rows) else made

    return (points(before, first), points(after, second)), note
