"""Bank: pictures as rows of crops along their drifts, with sentences; what videos are composed of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

SPLITS = ("train", "val", "test")
DRIFTS = 2
"""Ways that a camera goes over a picture."""
STOPS = 3
"""Crops along a drift that are encoded; the rows of frames between them are interpolated."""
KIN = 3
"""Similar pictures that are known of each."""


@dataclass(frozen=True, eq=False)
class Bank:
    """Pictures with sentences, as rows.

    Attributes
    ----------
    source : str
        What results call it.
    views : Tensor of shape (p, DRIFTS, STOPS, d), float32
        Unit rows of the crops of each picture, in the order in which a drift meets them.
    texts : Tensor of shape (m, d), float32
        Unit rows of the sentences.
    sentences : sequence of m str
    picture_of_text : Tensor of shape (m,), int64
    concept : Tensor of shape (p,), int64
        Pictures of one concept are what no sentence tells apart.
    members : mapping of "train", "val", "test" to Tensor of int64
        The pictures of each split; train and test share no concept.
    kin : Tensor of shape (p, KIN), int64
        Pictures of the same split and another concept that are most like each.
    picture_id : sequence of p str
    made_from : mapping
        Model, data, sizes.
    """

    source: str
    views: Tensor
    texts: Tensor
    sentences: Sequence[str]
    picture_of_text: Tensor
    concept: Tensor
    members: Mapping[str, Tensor]
    kin: Tensor
    picture_id: Sequence[str]
    unit: str = "video"
    """What intervals resample: videos, or pictures where they are few."""
    made_from: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """Dimensions of a row."""
        return self.views.shape[-1]

    def variants(self, picture: int) -> Tensor:
        """The pictures of its split that are of its concept, itself among them."""
        same = (self.concept == self.concept[picture]).nonzero()[:, 0]
        own = next(members for members in self.members.values() if (members == picture).any())
        return same[torch.isin(same, own)]


def nearest_others(rows: Tensor, concept: Tensor, members: Mapping[str, Tensor], group: Sequence[str]) -> Tensor:
    """The KIN most similar pictures of each: of its split, other concepts, and its group before all others.

    Parameters
    ----------
    rows : Tensor of shape (p, d)
        One unit row a picture.
    group : sequence of p str
        As the subgroups of emoji; "" is no group.

    Returns
    -------
    Tensor of shape (p, KIN), int64
    """
    labels = {name: place for place, name in enumerate(dict.fromkeys(group))}
    grouped = torch.tensor([labels[name] for name in group])
    named = torch.tensor([bool(name) for name in group])
    found = torch.zeros(len(rows), KIN, dtype=torch.int64)
    for own in members.values():
        likeness = rows[own] @ rows[own].T
        likeness += 2.0 * ((grouped[own][:, None] == grouped[own][None]) & named[own][:, None])  # more than any cosine
        likeness[concept[own][:, None] == concept[own][None]] = -torch.inf
        found[own] = own[likeness.topk(KIN, dim=1).indices]
    return found
