"""Templates: how accuracy spreads over single ones, and which of them are best together on images held out."""

from __future__ import annotations

import torch
from torch import Tensor

from geomclip.metrics.zeroshot import zeroshot_queries


def hits(image: Tensor, labels: Tensor, class_text: Tensor) -> Tensor:
    """Whether the class text nearest to each image is the right one (n,), float64; a tie counts against it."""
    return zeroshot_queries(image, labels, class_text, logit_scale=1.0)["hit"]


def hits_of_each(image: Tensor, labels: Tensor, single: Tensor) -> Tensor:
    """`hits` of each template (t, n), from their rows (t, c, d)."""
    return torch.stack([hits(image, labels, own) for own in single])


def choose(image: Tensor, labels: Tensor, single: Tensor) -> list[int]:
    """The templates that are added one by one, each the best beside those before, while accuracy rises.

    Of equally accurate ones the earlier. An ensemble is the mean of unit rows, as of all templates.
    """
    chosen: list[int] = []
    reached = -1.0
    while len(chosen) < len(single):
        scores = {
            place: float(hits(image, labels, single[[*chosen, place]].mean(dim=0)).mean())
            for place in range(len(single))
            if place not in chosen
        }
        best = max(scores, key=lambda place: (scores[place], -place))
        if scores[best] <= reached:
            break
        chosen.append(best)
        reached = scores[best]
    return chosen
