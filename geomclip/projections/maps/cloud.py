"""Cloud: all points of a set in one array, and what every map of them needs to know of the full dimension."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.errors import InputError
from geomclip.projections.maps.faithfulness import Distances
from geomclip.projections.neighbors import Neighbors


@dataclass(frozen=True, eq=False)
class Cloud:
    """Images and texts of a set as the points of a map.

    Given to `project` in place of the set, for map after map, what these have in common is found once: the graph of
    neighbours in full dimension, and the distances between pairs of points that a map is judged by. Both are kept
    as long as the cloud.

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
    >>> cloud = Cloud.of(EmbeddingSet(torch.eye(6), torch.eye(6).roll(1, 0)))
    >>> len(cloud.rows), cloud.neighbors.nearest(1)[0].max().item()
    (12, 0.0)
    """

    set: EmbeddingSet
    rows: Tensor
    text: Tensor | None

    @classmethod
    def of(cls, embeddings: EmbeddingSet, captions: str = "all") -> Cloud:
        """Of a set with "all" its texts, or the "first" of each image."""
        if captions not in ("all", "first"):
            raise InputError(f"captions must be all or first, got {captions!r}")
        chosen = embeddings.first_texts() if captions == "first" else embeddings
        text = chosen.text if chosen.text is not None else chosen.class_text
        return cls(chosen, chosen.image if text is None else torch.cat([chosen.image, text]), text)

    @cached_property
    def neighbors(self) -> Neighbors:
        """Of all points, searched when a method asks for them."""
        return Neighbors(self.rows)

    @cached_property
    def distances(self) -> Distances:
        """Angles between pairs of points."""
        return Distances.of(self.rows)


def as_cloud(given: EmbeddingSet | Cloud, captions: str) -> Cloud:
    """The cloud of a set, or the one given, which has made the choice of captions."""
    if not isinstance(given, Cloud):
        return Cloud.of(given, captions)
    if captions != "all":
        raise InputError(f"captions={captions!r} is of a set: Cloud.of(set, {captions!r}) makes that choice")
    return given
