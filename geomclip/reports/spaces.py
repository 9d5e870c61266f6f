"""Spaces: embeddings of the same items that a page shows, one or two, and the sample that it shows of large ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from geomclip.embeddings.record import EmbeddingSet
from geomclip.panels.details import Details
from geomclip.panels.measurement import Measured
from geomclip.panels.record import Panel


@dataclass(frozen=True, eq=False)
class Space:
    """One embedding of the items: before, after, or the only one."""

    name: str
    embeddings: EmbeddingSet
    details: Details
    panel: Panel


def as_measured(side: Measured) -> EmbeddingSet | None:
    """The vectors with the texts that the panel is of."""
    if side.embeddings is None or side.panel.params.get("captions") != "first":
        return side.embeddings
    return side.embeddings.first_texts()


def sampled(sets: Sequence[EmbeddingSet], points: int, seed: int) -> tuple[list[EmbeddingSet], str]:
    """The sets; or of larger ones the same images, so many that they and their texts are `points`, and a note on it."""
    first = sets[0]
    n, m = len(first.image), 0 if first.text is None else len(first.text)
    if n + m <= points:
        return list(sets), ""
    kept = max(2, points * n // (n + m))
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:kept].sort().values
    note = (
        f"pictures, search, neighbours and galleries are of {kept:,} of the {n:,} images, drawn by seed {seed}; "
        "numbers and ranks are of all"
    )
    return [each.select_images(rows) for each in sets], note
