"""What is seen of vectors: one space or two of the same items, drawn and listed, with thumbnails of the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from geomclip.embeddings.record import EmbeddingSet
from geomclip.machine.errors import InputError
from geomclip.machine.progress import SILENT, Named, Progress
from geomclip.panels.details import details_of
from geomclip.panels.measurement import Measured
from geomclip.reports.cards import GALLERY, Space, items
from geomclip.reports.figures import Picture, maps_of
from geomclip.reports.thumbnails import Thumbnails, thumbnails

POINTS = 50_000
"""Images and texts that a browser still draws and searches without a wait."""


@dataclass(frozen=True)
class Asked:
    """How a page is wanted; `of_data` says where images lie, None that no thumbnails are wanted."""

    of_data: Mapping[str, Any] | None
    points: int = POINTS
    seed: int = 0
    cache_dir: Path | None = None
    progress: Progress = SILENT

    def __post_init__(self) -> None:
        if self.points < 4:
            raise InputError(f"points must be at least 4, got {self.points}")


@dataclass(frozen=True)
class View:
    """Spaces, the maps of them, their items for the scripts, and remarks on what is not as one might think."""

    spaces: Sequence[Space] = ()
    maps: Sequence[Picture] = ()
    items: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()
    licence: str = ""


def view_of(sides: Mapping[str, Measured], asked: Asked) -> View:
    """The view of one side ('') or of both; empty where one has no vectors, or they are not of the same items."""
    sets = [_as_measured(side) for side in sides.values()]
    if any(each is None for each in sets):
        return View()
    whole = [each for each in sets if each is not None]
    if any((each.image_id, each.caption_id) != (whole[0].image_id, whole[0].caption_id) for each in whole):
        return View(notes=["no maps: the two sides do not have the same images and texts in one order"])
    drawn, note = sampled(whole, asked.points, asked.seed)
    spaces = []
    for (name, side), embeddings in zip(sides.items(), drawn, strict=True):
        details = details_of(embeddings, pairs=GALLERY, progress=Named(asked.progress, name))
        spaces.append(Space(name, embeddings, details, side.panel))
    found = Thumbnails() if asked.of_data is None else thumbnails(
        drawn[0], asked.of_data, cache_dir=asked.cache_dir, progress=asked.progress.stage
    )  # fmt: skip
    maps = maps_of(spaces, seed=asked.seed, progress=asked.progress.stage)
    told = [*([note] if note else []), *found.notes, *_details(spaces)]
    return View(spaces, maps, items(spaces, found.webp), told, found.licence)


def sampled(sets: Sequence[EmbeddingSet], points: int, seed: int) -> tuple[list[EmbeddingSet], str]:
    """The sets; or of larger ones the same images, so many that they and their texts are `points`, and a note on it."""
    first = sets[0]
    n, m = len(first.image), 0 if first.text is None else len(first.text)
    if n + m <= points:
        return list(sets), ""
    kept = max(2, points * n // (n + m))
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:kept].sort().values
    told = (
        f"pictures, search, neighbours and galleries are of {kept:,} of the {n:,} images, drawn by seed {seed}; "
        "numbers and ranks are of all"
    )
    return [each.select_images(rows) for each in sets], told


def _as_measured(side: Measured) -> EmbeddingSet | None:
    """The vectors with the texts that the panel is of."""
    if side.embeddings is None or side.panel.params.get("captions") != "first":
        return side.embeddings
    return side.embeddings.first_texts()


def _details(spaces: Sequence[Space]) -> list[str]:
    return [
        f"{f'{space.name}: ' if space.name else ''}{what}: {why}"
        for space in spaces
        for what, why in space.details.notes.items()
    ]
